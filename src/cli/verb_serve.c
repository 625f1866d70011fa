/* sorex serve: a data directory's database at PostgreSQL's port, beside whoever writes it. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "base/check.h"
#include "base/log.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "config/scalar.h"
#include "serve/forks.h"
#include "serve/postgres.h"

#define ADDRESS_DEFAULT "127.0.0.1:5433"
#define STOP_SECONDS 2u /* a statement that heeds nothing is abandoned then: nothing of it was kept anyway */

static enum sorex_status port_options(const struct arguments *arguments, const struct pipeline_scalars *top,
                                      struct postgres_port_options *out, struct sorex_error *err)
{
    uint64_t connections = top != NULL ? top->postgres_connections : 0;
    uint64_t timeout_ms = top != NULL ? top->postgres_statement_timeout : 0;
    if (arguments->connections != NULL &&
        (!scalar_u64(bytes_str(arguments->connections), &connections) || connections == 0 || connections > 10000))
        return sorex_error_set(err, SOREX_INVALID, "--connections %s: not a number from 1 to 10000",
                               arguments->connections);
    if (arguments->statement_timeout != NULL && !scalar_ms(bytes_str(arguments->statement_timeout), &timeout_ms))
        return sorex_error_set(err, SOREX_INVALID, "--statement-timeout %s: not a time, as 30s or 500ms",
                               arguments->statement_timeout);
    out->address = arguments->postgres != NULL            ? arguments->postgres
                   : top != NULL && top->postgres != NULL ? top->postgres
                                                          : ADDRESS_DEFAULT;
    out->remote = arguments->remote || (top != NULL && top->postgres_remote);
    out->connections_max = (uint32_t)connections;
    out->statement_timeout_ms = timeout_ms;
    return SOREX_OK;
}

/* How to connect, for who reads it. */
static void place_print(struct postgres_port *server, const char *name)
{
    struct postgres_port_status status;
    postgres_port_status(server, &status);
    if (postgres_port_number(server) == 0)
        printf("%s: every connection gets a fork of the database %s\n", status.place, name);
    else
        printf("%s: every connection gets a fork; psql postgresql://%s/%s\n", status.place, status.place, name);
    (void)fflush(stdout);
}

static void stop_late(int number)
{
    (void)number;
    _exit(EXIT_OK_CODE);
}

static void signals_wait(const sigset_t *signals)
{
    int number = 0;
    (void)sigwait(signals, &number);
    log_line(LOG_INFO, "serve", "%s: sessions end", number == SIGINT ? "SIGINT" : "SIGTERM");
    (void)signal(SIGALRM, stop_late);
    (void)alarm(STOP_SECONDS);
}

static enum sorex_status serve(const struct arguments *arguments, const struct pipeline_settings *settings, const char *dir,
                               const sigset_t *signals, struct sorex_error *err)
{
    const struct pipeline_scalars *top = settings != NULL ? &settings->top : NULL;
    const struct forks_options options = {.name = top != NULL ? top->name : NULL,
                                          .sink = arguments->sink,
                                          .settings = settings,
                                          .dir = dir};
    struct postgres_port_options server_options = {0};
    struct postgres_port *server = NULL;
    struct forks *forks = NULL;
    TRY(port_options(arguments, top, &server_options, err));
    TRY(forks_open(&options, &forks, err));
    server_options.states = forks_states(forks);
    enum sorex_status status = postgres_port_start(&server_options, &server, err);
    if (status == SOREX_OK) {
        place_print(server, top != NULL ? top->name : "postgres");
        signals_wait(signals);
        postgres_port_stop(server);
    }
    forks_close(forks);
    return status;
}

static int serve_run(struct arguments *arguments)
{
    sigset_t signals;
    struct sorex_error err = {0};
    struct pipeline_settings settings = {0};
    enum sorex_status status = SOREX_OK;
    (void)sigemptyset(&signals);
    (void)sigaddset(&signals, SIGTERM);
    (void)sigaddset(&signals, SIGINT);
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL); /* before there are threads */
    (void)signal(SIGPIPE, SIG_IGN);
    if ((arguments->data != NULL) == (arguments->word_count > 0))
        status = sorex_error_set(&err, SOREX_INVALID, "which database? give a pipeline file or --data DIR");
    else if (arguments->data == NULL)
        status = pipeline_settings_read(arguments->words[0], arguments->overrides, arguments->override_count, &settings,
                                        &err);
    if (status == SOREX_OK && settings.event_source_type != NULL && !settings.has_reducer)
        status = sorex_error_set(&err, SOREX_INVALID, "a stream has no database of its own, but with a reducer");
    if (status == SOREX_OK)
        status = arguments->data != NULL ? serve(arguments, NULL, arguments->data, &signals, &err)
                                         : serve(arguments, &settings, settings.top.data, &signals, &err);
    pipeline_settings_deinit(&settings);
    return status == SOREX_OK ? EXIT_OK_CODE : cli_fail(&err);
}

const struct verb verb_serve = {
    .name = "serve",
    .summary = "the embedded database at PostgreSQL's port: psql, drivers, tools",
    .usage = "(PIPELINE | --data DIR) [--postgres ADDRESS]",
    .flags = "data postgres sink remote connections statement-timeout set",
    .words_max = 1,
    .about =
        "Listens as a PostgreSQL server does, beside a running `sorex run` too. Every connection gets a fork of the "
        "newest durable\n"
        "state, in milliseconds: it sees one state for as long as it lasts, may write, and what it wrote ends with "
        "it.\n"
        "An earlier state is asked for by the database's name, as in pipeline@14000, or by an option:\n"
        "    psql \"postgresql://127.0.0.1:5433/pipeline?options=-c%20sorex.height%3D14000\"\n"
        "\n"
        "The database is called by the pipeline's name, its sink's, or postgres. Nobody is asked for a password: "
        "addresses that other\n"
        "machines reach are refused without --remote. `postgres: ADDRESS` in a pipeline file makes `sorex run` "
        "itself listen, without\n"
        "opening the store for each new state (docs/serve.md).",
    .example = "sorex serve pipeline.yaml --postgres 127.0.0.1:5433 &\n"
               "  psql -h 127.0.0.1 -p 5433 -d pipeline -c \"select count(*) from balances\"",
    .run = serve_run,
};
