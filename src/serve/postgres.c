/* The listener: accepts connections, looks after them, ends them. */
#include "serve/postgres.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/signals.h"
#include "serve/postgres_private.h"

#define CONNECTIONS_MAX 100u
#define CONNECTIONS_SPARE 32u /* beyond the limit there is room to say so, and for requests to cancel */
#define LOOK_MS 200           /* how often busy connections are looked at */
#define STOP_LOOK_MS 10
#define EXHAUSTED_MS 100 /* when there is no descriptor for another connection */

static struct listen_rules rules_for(bool remote)
{
    return (struct listen_rules){
        .what = "postgres", .example = 5433, .paths = true, .open = remote ? NULL : "--remote (postgres_remote: true)"};
}

enum sorex_status postgres_address_check(const char *address, bool remote, struct sorex_error *err)
{
    struct listen_rules rules = rules_for(remote);
    return listen_check(&rules, address, err);
}

/* ---- what connections ask ---- */

enum sorex_status server_admit(struct postgres_port *server, struct sorex_error *err)
{
    (void)pthread_mutex_lock(&server->lock);
    bool full = server->sessions >= server->options.connections_max;
    server->sessions += !full;
    server->refused += full;
    (void)pthread_mutex_unlock(&server->lock);
    return full ? sorex_error_set(err, SOREX_LIMIT, "sorry, too many clients already") : SOREX_OK;
}

void server_leave(struct postgres_port *server, bool opened)
{
    (void)pthread_mutex_lock(&server->lock);
    server->sessions--;
    server->refused += !opened;
    (void)pthread_mutex_unlock(&server->lock);
}

void server_database_set(struct connection *connection, struct database *database)
{
    struct postgres_port *server = connection->server;
    (void)pthread_mutex_lock(&server->lock);
    connection->database = database;
    server->opened += database != NULL;
    (void)pthread_mutex_unlock(&server->lock);
}

static bool is_busy(const struct connection *connection)
{
    return atomic_load_explicit(&connection->busy_since_ms, memory_order_relaxed) != 0;
}

/* How long it takes says nothing about the secret. */
static bool secret_is(const struct connection *connection, struct bytes secret)
{
    uint8_t differs = 0;
    if (secret.len != CONNECTION_SECRET_BYTES)
        return false;
    for (size_t i = 0; i < CONNECTION_SECRET_BYTES; i++)
        differs |= secret.data[i] ^ connection->secret[i];
    return differs == 0;
}

void server_cancel(struct postgres_port *server, uint32_t process, struct bytes secret)
{
    (void)pthread_mutex_lock(&server->lock);
    for (struct connection *c = server->connections; c != NULL; c = c->next)
        if (c->process == process && secret_is(c, secret) && is_busy(c)) {
            connection_interrupt(c, false);
            server->cancelled++;
        }
    (void)pthread_mutex_unlock(&server->lock);
}

void postgres_port_status(struct postgres_port *server, struct postgres_port_status *out)
{
    (void)pthread_mutex_lock(&server->lock);
    *out = (struct postgres_port_status){.connections = server->sessions,
                                         .connections_max = server->options.connections_max,
                                         .opened = server->opened,
                                         .refused = server->refused,
                                         .cancelled = server->cancelled};
    for (const struct connection *c = server->connections; c != NULL; c = c->next)
        out->busy += is_busy(c);
    (void)pthread_mutex_unlock(&server->lock);
    (void)snprintf(out->place, sizeof out->place, "%s", server->listening.place);
}

uint16_t postgres_port_number(const struct postgres_port *server) { return server->listening.port; }

/* ---- looking after them ---- */

/* Nobody waits for the answer any more. */
static bool client_left(const struct connection *connection)
{
    struct pollfd poll_fd = {.fd = connection->fd, .events = POLLRDHUP};
    return poll(&poll_fd, 1, 0) > 0 && (poll_fd.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
}

static void connection_look(struct postgres_port *server, struct connection *connection, bool stopping)
{
    uint64_t since = atomic_load_explicit(&connection->busy_since_ms, memory_order_relaxed);
    uint64_t timeout = server->options.statement_timeout_ms;
    if (stopping || (since != 0 && client_left(connection))) {
        connection_interrupt(connection, true);
    } else if (since != 0 && timeout != 0 && clock_ms() - since >= timeout) {
        connection_interrupt(connection, false);
        (void)atomic_compare_exchange_strong(&connection->busy_since_ms, &since, clock_ms()); /* unless it just ended */
        server->cancelled++;
    }
}

/* Takes those that ended out of the list. */
static void connections_look(struct postgres_port *server, bool stopping)
{
    struct connection *ended = NULL;
    (void)pthread_mutex_lock(&server->lock);
    for (struct connection **link = &server->connections; *link != NULL;) {
        struct connection *c = *link;
        if (atomic_load(&c->finished)) {
            *link = c->next;
            c->next = ended;
            ended = c;
        } else {
            connection_look(server, c, stopping);
            link = &c->next;
        }
    }
    (void)pthread_mutex_unlock(&server->lock);
    while (ended != NULL) {
        struct connection *next = ended->next;
        connection_end(ended);
        server->connections_count--;
        ended = next;
    }
}

static void connection_add(struct postgres_port *server, int fd)
{
    struct connection *connection;
    struct sorex_error err = {0};
    if (server->connections_count >= server->options.connections_max + CONNECTIONS_SPARE) {
        (void)close(fd);
        return;
    }
    if (connection_start(server, fd, ++server->process_last, &connection, &err) != SOREX_OK) {
        log_line(LOG_WARN, "postgres", "a connection could not be served: %s", err.text);
        return;
    }
    server->connections_count++;
    (void)pthread_mutex_lock(&server->lock);
    connection->next = server->connections;
    server->connections = connection;
    (void)pthread_mutex_unlock(&server->lock);
}

static bool is_stopping(const struct postgres_port *server, int patience_ms)
{
    struct pollfd stop = {.fd = server->stop_fd, .events = POLLIN};
    return poll(&stop, 1, patience_ms) > 0;
}

static void accept_all(struct postgres_port *server)
{
    for (;;) {
        int fd = accept4(server->listening.fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0)
            connection_add(server, fd);
        else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
            (void)is_stopping(server, EXHAUSTED_MS);
        if (fd < 0)
            return;
    }
}

static void *server_run(void *user_data)
{
    struct postgres_port *server = user_data;
    bool stopping = false;
    while (!stopping) {
        struct pollfd fds[2] = {{.fd = server->listening.fd, .events = POLLIN},
                                {.fd = server->stop_fd, .events = POLLIN}};
        (void)poll(fds, 2, server->connections_count > 0 ? LOOK_MS : -1);
        stopping = (fds[1].revents & POLLIN) != 0;
        if (!stopping && fds[0].revents != 0)
            accept_all(server);
        connections_look(server, stopping);
    }
    while (server->connections_count > 0) {
        (void)poll(NULL, 0, STOP_LOOK_MS);
        connections_look(server, true);
    }
    return NULL;
}

/* ---- start and stop ---- */

static void server_free(struct postgres_port *server)
{
    listen_close(&server->listening);
    if (server->stop_fd >= 0)
        (void)close(server->stop_fd);
    (void)pthread_mutex_destroy(&server->lock);
    free(server);
}

/* Signals are for the threads that wait for them. */
static enum sorex_status thread_start(struct postgres_port *server, struct sorex_error *err)
{
    sigset_t before;
    signals_block(&before);
    int code = pthread_create(&server->thread, NULL, server_run, server);
    signals_restore(&before);
    return code == 0 ? SOREX_OK : sorex_error_set_errno(err, SOREX_IO, code, "postgres: no thread");
}

enum sorex_status postgres_port_start(const struct postgres_port_options *options, struct postgres_port **out,
                                      struct sorex_error *err)
{
    struct listening listening;
    struct listen_rules rules = rules_for(options->remote);
    TRY(listen_open(&rules, options->address, &listening, err));
    struct postgres_port *server = calloc(1, sizeof *server);
    if (server == NULL) {
        listen_close(&listening);
        return sorex_error_set(err, SOREX_NOMEM, "postgres: out of memory");
    }
    server->options = *options;
    server->options.address = NULL; /* the caller's */
    if (options->connections_max == 0)
        server->options.connections_max = CONNECTIONS_MAX;
    if (options->startup_timeout_ms == 0)
        server->options.startup_timeout_ms = 30000;
    server->listening = listening;
    (void)pthread_mutex_init(&server->lock, NULL);
    server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    enum sorex_status status = server->stop_fd >= 0
                                   ? thread_start(server, err)
                                   : sorex_error_set_errno(err, SOREX_IO, errno, "postgres: no descriptor");
    if (status != SOREX_OK) {
        server_free(server);
        return status;
    }
    log_line(LOG_INFO, "postgres", "listening at %s", listening.place);
    *out = server;
    return SOREX_OK;
}

void postgres_port_stop(struct postgres_port *server)
{
    if (server == NULL)
        return;
    CHECK(eventfd_write(server->stop_fd, 1) == 0);
    (void)pthread_join(server->thread, NULL);
    server_free(server);
}
