/* initdb is a program of its own, in a machine of its own, on the same files. It runs postgres several times: it asks
 * the host to, which puts postgres' memory back to what it was before its first main and calls main again. What one
 * writes to the other goes through two files. */
#include "pg/cluster.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "pg/guest.h"
#include "pg/library.h"
#include "pg/syscall.h"

#define COMMAND_BYTES_MAX 4096
#define ARGS_MAX 128
#define STDIN_PATH "/pglite/pgstdin"
#define STDOUT_PATH "/pglite/pgstdout"

/* -- files */

static bool number_take(struct bytes *line, size_t *out)
{
    size_t at = 0, value = 0;
    while (at < line->len && line->data[at] >= '0' && line->data[at] <= '9' && value < (size_t)1 << 40)
        value = value * 10 + (size_t)(line->data[at++] - '0');
    if (at == 0 || at == line->len || line->data[at] != ' ')
        return false;
    *line = bytes_of(line->data + at + 1, line->len - at - 1);
    *out = value;
    return true;
}

static enum sorex_status line_put(struct tree *tree, struct bytes line, struct bytes data, struct sorex_error *err)
{
    size_t start, end;
    char path[512];
    if (!number_take(&line, &start) || !number_take(&line, &end) || start > end || end > data.len || line.len == 0 ||
        line.len >= sizeof path || line.data[0] != '/')
        return sorex_error_set(err, SOREX_CORRUPT, "the list of PGlite's files does not decode");
    memcpy(path, line.data, line.len);
    path[line.len] = '\0';
    bool program = strncmp(path, "/pglite/bin/", 12) == 0;
    bool password = strcmp(path, "/home/postgres/.pgpass") == 0;
    return tree_put(tree, path, bytes_of(data.data + start, end - start), program ? 0555 : password ? 0600 : 0644, err);
}

static enum sorex_status files_put(struct tree *tree, const struct distribution *distribution, struct sorex_error *err)
{
    static const struct {
        const char *path;
        enum tree_kind kind;
        uint32_t mode;
    } made[] = {
        {"/tmp", TREE_DIRECTORY, 0777},         {"/dev/shm/tmp", TREE_DIRECTORY, 0777}, {"/dev/null", TREE_NULL, 0666},
        {"/dev/urandom", TREE_RANDOM, 0666},    {"/dev/random", TREE_RANDOM, 0666},     {"/dev/tty0", TREE_TTY, 0666},
        {"/pglite/data", TREE_DIRECTORY, 0700}, {STDIN_PATH, TREE_FILE, 0666},          {STDOUT_PATH, TREE_FILE, 0666}};
    struct bytes rest = distribution->files;
    while (rest.len > 0) {
        const uint8_t *end = memchr(rest.data, '\n', rest.len);
        size_t len = end == NULL ? rest.len : (size_t)(end - rest.data);
        TRY(line_put(tree, bytes_of(rest.data, len), distribution->data, err));
        len += end != NULL;
        rest = bytes_of(rest.data + len, rest.len - len);
    }
    for (size_t i = 0; i < sizeof made / sizeof *made; i++)
        TRY(tree_put_kind(tree, made[i].path, made[i].kind, made[i].mode, err));
    return SOREX_OK;
}

/* -- running postgres for initdb */

struct program {
    struct machine *machine;
    struct process process;
    struct process_state state;
};

struct initdb {
    const struct machine_code *code; /* of postgres */
    struct program postgres, initdb;
    struct machine_image pristine;   /* of postgres, before its first main */
    uint32_t reads, writes;          /* initdb's ends of the two files */
    char pending[COMMAND_BYTES_MAX]; /* a command that runs when its input is complete */
    bool is_pending;
    int32_t status; /* wait status of the last command */
};

/* Splits a command of initdb's as a shell would, up to a redirection. Returns the number of words. */
static size_t words_split(char *command, const char *words[ARGS_MAX])
{
    size_t count = 0;
    char *in = command, *out = command;
    for (;;) {
        in += strspn(in, " ");
        if (*in == '\0' || strchr("<>|&;", *in) != NULL || count == ARGS_MAX)
            return count;
        char quote = 0;
        words[count++] = out;
        for (; *in != '\0' && (quote != 0 || strchr(" <>|&;", *in) == NULL); in++) {
            if (quote == 0 && (*in == '"' || *in == '\''))
                quote = *in;
            else if (*in == quote)
                quote = 0;
            else if (*in == '\\' && quote == 0 && in[1] != '\0')
                *out++ = *++in;
            else
                *out++ = *in;
        }
        bool more = *in == ' ';
        in += more;
        *out++ = '\0'; /* never ahead of in, which passed the space; at the end the terminator is its own */
        if (!more)
            return count;
    }
}

/* Puts postgres back to what it was before its first main; in a new machine when it grew since. */
static enum sorex_status postgres_renew(struct initdb *initdb, struct sorex_error *err)
{
    struct program *postgres = &initdb->postgres;
    struct sorex_error why = {0};
    enum sorex_status status = machine_restore(postgres->machine, &initdb->pristine, &why);
    if (status != SOREX_MISMATCH)
        return status == SOREX_OK ? status : sorex_error_set(err, status, "%s", why.text);
    struct machine_options options = {.user_data = &postgres->process};
    machine_close(postgres->machine);
    postgres->machine = NULL;
    TRY(machine_open(initdb->code, &options, &postgres->machine, err));
    return machine_restore(postgres->machine, &initdb->pristine, err);
}

static enum sorex_status command_run(struct initdb *initdb, const char *command, struct sorex_error *err)
{
    char text[COMMAND_BYTES_MAX];
    const char *words[ARGS_MAX];
    int32_t code;
    if (snprintf(text, sizeof text, "%s", command) >= (int)sizeof text)
        return sorex_error_set(err, SOREX_INVALID, "initdb: a command is too long");
    size_t count = words_split(text, words);
    struct program *postgres = &initdb->postgres;
    TRY(postgres_renew(initdb, err));
    TRY(guest_main(&postgres->process, postgres->machine, words, count, &code, err));
    initdb->status = code << 8;
    return SOREX_OK;
}

static enum machine_next give(struct machine *machine, union wasm_value *values, enum sorex_status status,
                              const struct sorex_error *err, uint32_t result)
{
    if (status != SOREX_OK)
        return machine_fail_with(machine, err);
    values[0].u32 = result;
    return MACHINE_GO;
}

static struct initdb *initdb_of(void *user_data) { return ((struct process *)user_data)->owner; }

static enum machine_next on_system(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct initdb *initdb = initdb_of(user_data);
    struct sorex_error err = {0};
    const char *command = syscall_text(machine, values[0].u32);
    enum sorex_status status = command_run(initdb, command == NULL ? "" : command, &err);
    return give(machine, values, status, &err, (uint32_t)initdb->status);
}

/* "r": runs at once, its output is read; "w": runs when it is closed. */
static enum machine_next on_popen(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct initdb *initdb = initdb_of(user_data);
    struct sorex_error err = {0};
    const char *command = syscall_text(machine, values[0].u32), *mode = syscall_text(machine, values[1].u32);
    if (command == NULL || mode == NULL || strlen(command) >= COMMAND_BYTES_MAX)
        return machine_fail(machine, SOREX_GUEST, "initdb: a command is too long");
    if (mode[0] == 'r')
        return give(machine, values, command_run(initdb, command, &err), &err, initdb->reads);
    memcpy(initdb->pending, command, strlen(command) + 1);
    initdb->is_pending = true;
    values[0].u32 = initdb->writes;
    return MACHINE_GO;
}

static enum machine_next on_pclose(void *user_data, struct machine *machine, union wasm_value *values)
{
    struct initdb *initdb = initdb_of(user_data);
    struct sorex_error err = {0};
    uint32_t stream = values[0].u32, result = 0;
    if (stream != initdb->reads && stream != initdb->writes)
        return give(machine, values, guest_invoke(machine, GUEST_PCLOSE, stream, 0, &result, &err), &err, result);
    enum sorex_status status = guest_invoke(machine, GUEST_FFLUSH, initdb->writes, 0, NULL, &err);
    if (status == SOREX_OK && initdb->is_pending)
        status = command_run(initdb, initdb->pending, &err);
    initdb->is_pending = false;
    return give(machine, values, status, &err, (uint32_t)initdb->status);
}

static const struct machine_import callbacks[3] = {{"host", "system", "(i32) -> i32", on_system},
                                                   {"host", "popen", "(i32, i32) -> i32", on_popen},
                                                   {"host", "pclose", "(i32) -> i32", on_pclose}};

/* -- the two programs */

static const char *const postgres_environment[] = {"USER=postgres",
                                                   "LOGNAME=postgres",
                                                   "PATH=/",
                                                   "PWD=/",
                                                   "HOME=/home/postgres",
                                                   "LANG=en_US.UTF-8",
                                                   "_=/pglite/bin/postgres",
                                                   "PGDATA=/pglite/data",
                                                   "PGUSER=postgres",
                                                   "PGDATABASE=postgres",
                                                   "LC_COLLATE=en_US.UTF-8",
                                                   "LC_CTYPE=en_US.UTF-8",
                                                   "TZ=UTC",
                                                   "PGTZ=UTC",
                                                   "PGCLIENTENCODING=UTF8",
                                                   "ICU_DATA=/pglite/icu",
                                                   NULL};
static const char *const initdb_environment[] = {"USER=postgres",
                                                 "LOGNAME=postgres",
                                                 "PATH=/",
                                                 "PWD=/",
                                                 "HOME=/home/postgres",
                                                 "LANG=C.UTF-8",
                                                 "_=/pglite/bin/initdb",
                                                 "PGDATA=/pglite/data",
                                                 "TZ=UTC",
                                                 "ICU_DATA=/pglite/icu",
                                                 NULL};
static const char *const initdb_arguments[] = {"/pglite/bin/initdb", "--allow-group-access",   "--encoding",  "UTF8",
                                               "--locale=C.UTF-8",   "--locale-provider=libc", "--auth=trust"};

static enum sorex_status program_open(struct program *program, const struct machine_code *code, struct tree *tree,
                                      const struct instance_options *options, const char *const *environment,
                                      struct sorex_error *err)
{
    program->process.tree = tree;
    program->process.environment = environment;
    program->process.state = &program->state;
    TRY(process_begin(&program->process, options->time_us, options->seed, err));
    return machine_open(code, &(struct machine_options){.user_data = &program->process}, &program->machine, err);
}

static enum sorex_status program_begin(struct program *program, struct bytes wasm, struct sorex_error *err)
{
    TRY(machine_start(program->machine, wasm, err));
    return guest_invoke(program->machine, GUEST_CTORS, 0, 0, NULL, err);
}

/* Puts a path and a mode onto postgres' stack and reopens descriptor 0 or 1 on it. */
static enum sorex_status stream_reopen(struct machine *machine, const char *path, const char *mode, uint32_t fd,
                                       struct sorex_error *err)
{
    uint32_t path_at, mode_at;
    TRY(guest_text_push(machine, path, &path_at, err));
    TRY(guest_text_push(machine, mode, &mode_at, err));
    union wasm_value values[3] = {{.u32 = path_at}, {.u32 = mode_at}, {.u32 = fd}};
    return machine_call(machine, GUEST_FREOPEN, values, NULL, err);
}

static enum sorex_status initdb_run(struct initdb *initdb, const struct distribution *distribution,
                                    struct sorex_error *err)
{
    int32_t code;
    struct machine *postgres = initdb->postgres.machine, *machine = initdb->initdb.machine;
    TRY(program_begin(&initdb->postgres, distribution->postgres, err));
    TRY(guest_commands_set(postgres, instance_callback(0), err));
    TRY(machine_save(postgres, &initdb->pristine, err));
    TRY(program_begin(&initdb->initdb, distribution->initdb, err));
    TRY(guest_commands_set(machine, callbacks, err));
    TRY(stream_reopen(postgres, STDIN_PATH, "r", 0, err));
    TRY(stream_reopen(postgres, STDOUT_PATH, "w", 1, err));
    TRY(guest_fopen(machine, STDOUT_PATH, "r", &initdb->reads, err));
    TRY(guest_fopen(machine, STDIN_PATH, "w", &initdb->writes, err));
    TRY(guest_main(&initdb->initdb.process, machine, initdb_arguments,
                   sizeof initdb_arguments / sizeof *initdb_arguments, &code, err));
    return code == 0 ? SOREX_OK : sorex_error_set(err, SOREX_GUEST, "initdb failed with exit code %d", (int)code);
}

static enum sorex_status initdb_on(struct tree *tree, struct postgres *postgres, const struct machine_code *code,
                                   const struct distribution *distribution, const struct instance_options *options,
                                   struct sorex_error *err)
{
    struct initdb *initdb = calloc(1, sizeof *initdb);
    if (initdb == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "initdb: out of memory");
    initdb->code = postgres_code(postgres);
    initdb->postgres.process.host = &library_host;
    initdb->postgres.process.postgres = postgres;
    initdb->postgres.process.owner = initdb->initdb.process.owner = initdb;
    enum sorex_status status =
        program_open(&initdb->postgres, postgres_code(postgres), tree, options, postgres_environment, err);
    if (status == SOREX_OK)
        status = program_open(&initdb->initdb, code, tree, options, initdb_environment, err);
    if (status == SOREX_OK)
        status = initdb_run(initdb, distribution, err);
    if (status == SOREX_OK)
        status = process_end(&initdb->initdb.process, err);
    if (status == SOREX_OK)
        status = process_end(&initdb->postgres.process, err);
    machine_close(initdb->initdb.machine);
    machine_close(initdb->postgres.machine);
    machine_image_deinit(&initdb->pristine);
    free(initdb);
    return status;
}

/* What the two programs wrote to each other is no part of the cluster. */
static enum sorex_status streams_remove(struct tree *tree, struct sorex_error *err)
{
    static const char *const paths[] = {STDIN_PATH, STDOUT_PATH};
    for (size_t i = 0; i < 2; i++) {
        struct tree_place place;
        if (tree_walk(tree, TREE_ROOT, paths[i], false, &place) != W_SUCCESS ||
            tree_unlink(tree, place.directory, place.name) != W_SUCCESS)
            return sorex_error_set(err, SOREX_NOMEM, "file %s: out of memory", paths[i]);
    }
    return SOREX_OK;
}

enum sorex_status cluster_make(struct postgres *postgres, const struct distribution *distribution,
                               const struct instance_options *options, const char *cache_dir, struct tree *out,
                               struct sorex_error *err)
{
    struct machine_code *code = NULL;
    struct machine_code_options code_options = {.name = "initdb",
                                                .cache_dir = cache_dir,
                                                .imports = process_imports,
                                                .imports_count = process_imports_count,
                                                .exports = guest_initdb_exports,
                                                .exports_count = GUEST_INITDB_EXPORTS};
    TRY(tree_init(out, 0, err));
    enum sorex_status status = files_put(out, distribution, err);
    if (status == SOREX_OK)
        status = machine_code_open(distribution->initdb, &code_options, &code, err);
    if (status == SOREX_OK)
        status = initdb_on(out, postgres, code, distribution, options, err);
    if (status == SOREX_OK)
        status = streams_remove(out, err);
    machine_code_close(code);
    if (status != SOREX_OK)
        tree_deinit(out);
    return status;
}
