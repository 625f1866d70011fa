/* The embedded PostgreSQL behind a Unix socket, for comparing it with a server through psql. One session at a time: a
 * new connection ends the one before, and begins a backend on the files that it left. So what sessions share lasts, and
 * what is a session's ends with it, as on a server. A backend that broke is followed by one that recovers from the
 * files, which is said on standard error.
 *
 * usage: pg_host DIRECTORY CACHE SOCKET FILES [NAME=VALUE ...]
 *
 * FILES       an absolute path. The files in FILES/data are there for the backend under the same path, and an empty
 *             FILES/results to write to.
 * NAME=VALUE  settings of the server. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#undef W_OK /* of access(2); wasi.h has another */

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "pg/image.h"
#include "pg/instance.h"
#include "pg/protocol.h"
#include "serve/wire.h"

#define PIECE_BYTES 65536u
#define COPIES_MAX 64u

struct host {
    struct postgres *postgres;
    struct buf wasm;
    struct instance *instance;
    bool used; /* there was a session */
    /* of the session */
    struct buf pending; /* messages that wait for the rest of their unit */
    struct buf unit;    /* a query that reads from the client, with all that came for it */
    size_t unit_sent;   /* of its answer */
    unsigned copies;    /* how many times it asked for data */
    char transaction;
};

static enum sorex_status ask(struct host *host, const char *sql, struct sorex_error *err)
{
    struct buf in = {0}, out = {0};
    enum sorex_status status = protocol_query(&in, bytes_str(sql), err);
    if (status == SOREX_OK)
        status = instance_exchange(host->instance, buf_view(&in), &out, err);
    buf_deinit(&in);
    buf_deinit(&out);
    return status;
}

/* Another backend on the same files, which recovers if the one before did not end in order. */
static enum sorex_status backend_renew(struct host *host, struct sorex_error *err)
{
    struct process *process = instance_process(host->instance);
    struct instance_options options = {.time_us = process->state->clock_ns / 1000, .seed = process->state->random};
    struct tree tree;
    if (!instance_broken(host->instance)) {
        TRY(ask(host, "rollback", err));
        TRY(instance_shut(host->instance, err));
    }
    tree_copy(&tree, process->tree);
    instance_close(host->instance);
    host->instance = NULL;
    return instance_start(host->postgres, buf_view(&host->wasm), &tree, &options, &host->instance, err);
}

/* ---- a session ---- */

static enum sorex_status setting_say(struct buf *out, const char *name, const char *value, struct sorex_error *err)
{
    uint8_t header[5] = {'S'};
    u32be_put(header + 1, (uint32_t)(4 + strlen(name) + 1 + strlen(value) + 1));
    TRY(buf_append(out, bytes_of(header, sizeof header), err));
    TRY(buf_append(out, bytes_of(name, strlen(name) + 1), err));
    return buf_append(out, bytes_of(value, strlen(value) + 1), err);
}

static enum sorex_status session_open(void *user_data, const struct wire_startup *startup, void **out_session,
                                      struct buf *out, struct sorex_error *err)
{
    static const uint8_t key[] = {'K', 0, 0, 0, 12, 0, 0, 0, 42, 0, 0, 0, 0}, ready[] = {'Z', 0, 0, 0, 5, 'I'};
    struct host *host = user_data;
    char sql[256];
    if (host->used)
        TRY(backend_renew(host, err));
    host->used = true;
    if (!bytes_equal(startup->user, bytes_str("postgres"))) {
        (void)snprintf(sql, sizeof sql, "set session authorization \"%.*s\"", BYTES_FMT(startup->user));
        TRY(ask(host, sql, err));
    }
    TRY(ask(host, "set application_name = 'psql'", err));
    TRY(setting_say(out, "server_version", "18.6", err));
    TRY(setting_say(out, "server_encoding", "UTF8", err));
    TRY(setting_say(out, "client_encoding", "UTF8", err));
    TRY(setting_say(out, "standard_conforming_strings", "on", err));
    TRY(setting_say(out, "is_superuser", "on", err));
    TRY(setting_say(out, "integer_datetimes", "on", err));
    TRY(buf_append(out, bytes_of(key, sizeof key), err));
    TRY(buf_append(out, bytes_of(ready, sizeof ready), err));
    *out_session = host;
    return SOREX_OK;
}

static void session_close(void *session)
{
    struct host *host = session;
    host->pending.len = 0;
    host->unit.len = 0;
    host->copies = 0;
    host->unit_sent = 0;
}

static void cancel(void *user_data, uint32_t process, struct bytes secret)
{
    (void)user_data;
    (void)process;
    (void)secret;
}

static bool word_in(struct bytes text, const char *word)
{
    size_t len = strlen(word);
    for (size_t i = 0; i + len <= text.len; i++)
        if (strncasecmp((const char *)text.data + i, word, len) == 0)
            return true;
    return false;
}

/* Where the answer's request for data number `count` (from 1) ends; 0: there are fewer. */
static size_t request_find(struct bytes answer, unsigned count)
{
    for (size_t at = 0; at + 5 <= answer.len;) {
        size_t len = 1 + u32be_get(answer.data + at + 1);
        if (answer.data[at] == 'G' && --count == 0)
            return at + len;
        at += len;
    }
    return 0;
}

/* The backend reads a COPY's data within one call. So a query that may ask for data is run with all that came for it so
 * far; when it asks for more, the backend is put back to before it, and it runs again once there is more: the same
 * bytes again, and then others. */
static enum sorex_status unit_try(struct host *host, bool *out_asks, struct buf *out, struct sorex_error *err)
{
    struct buf answer = {0};
    struct snapshot *before = NULL;
    size_t whole = host->unit.len, end = 0;
    TRY(instance_save(host->instance, &before, err));
    enum sorex_status status = protocol_copy_fail(&host->unit, bytes_str("no more"), err);
    if (status == SOREX_OK)
        status = instance_exchange(host->instance, buf_view(&host->unit), &answer, err);
    host->unit.len = whole;
    if (status == SOREX_OK)
        end = request_find(buf_view(&answer), host->copies + 1);
    *out_asks = end > 0;
    if (end > 0) {
        host->copies++;
        status = instance_restore(host->instance, before, err);
    } else {
        end = answer.len;
    }
    if (status == SOREX_OK || answer.len > host->unit_sent) {
        enum sorex_status appended =
            buf_append(out, bytes_of(answer.data + host->unit_sent, end - host->unit_sent), err);
        status = status == SOREX_OK ? appended : status;
        host->unit_sent = end;
    }
    snapshot_drop(before);
    buf_deinit(&answer);
    return status;
}

static enum sorex_status unit_run(struct host *host, struct buf *out, struct sorex_error *err)
{
    bool asks = false;
    TRY(unit_try(host, &asks, out, err));
    if (!asks) {
        host->unit.len = 0;
        host->copies = 0;
        host->unit_sent = 0;
    }
    return SOREX_OK;
}

/* One message: what completes a unit runs it. */
static enum sorex_status message_take(struct host *host, struct bytes message, struct buf *out, struct sorex_error *err)
{
    uint8_t type = message.data[0];
    if (host->copies > 0) {
        if (type != 'd' && type != 'c' && type != 'f')
            return SOREX_OK; /* ignored while data is expected */
        TRY(buf_append(&host->unit, message, err));
        return type == 'd' ? SOREX_OK : unit_run(host, out, err);
    }
    if (type == 'Q' && word_in(message, "copy") && word_in(message, "from std")) {
        TRY(buf_append(&host->unit, message, err));
        return unit_run(host, out, err);
    }
    TRY(buf_append(&host->pending, message, err));
    if (type != 'Q' && type != 'S' && type != 'F')
        return SOREX_OK;
    enum sorex_status status = instance_exchange(host->instance, buf_view(&host->pending), out, err);
    host->pending.len = 0;
    return status;
}

static enum sorex_status exchange(void *session, struct bytes messages, struct buf *out, struct sorex_error *err)
{
    struct host *host = session;
    while (messages.len >= 5) {
        size_t len = 1 + u32be_get(messages.data + 1);
        CHECK(len <= messages.len);
        enum sorex_status status = message_take(host, bytes_of(messages.data, len), out, err);
        if (status != SOREX_OK) {
            (void)fprintf(stderr, "pg_host: the backend broke: %s\n", err->text);
            return status;
        }
        messages = bytes_of(messages.data + len, messages.len - len);
    }
    return SOREX_OK;
}

/* ---- connections ---- */

static int socket_listen(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (snprintf(address.sun_path, sizeof address.sun_path, "%s", path) >= (int)sizeof address.sun_path || fd < 0 ||
        bind(fd, (const struct sockaddr *)&address, sizeof address) != 0 || listen(fd, 8) != 0) {
        perror(path);
        exit(1);
    }
    return fd;
}

static bool all_send(int fd, struct bytes bytes)
{
    while (bytes.len > 0) {
        ssize_t sent = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        bytes = bytes_of(bytes.data + sent, bytes.len - (size_t)sent);
    }
    return true;
}

/* False: the connection is over. */
static bool feed(struct wire *wire, int fd)
{
    static uint8_t piece[PIECE_BYTES];
    struct sorex_error err = {0};
    struct buf out = {0};
    ssize_t got = recv(fd, piece, sizeof piece, 0);
    bool ok = got > 0 && wire_feed(wire, bytes_of(piece, (size_t)got), &out, &err) == SOREX_OK;
    ok = all_send(fd, buf_view(&out)) && ok && wire->state != WIRE_CLOSED;
    buf_deinit(&out);
    return ok;
}

static _Noreturn void serve(const struct wire_backend *backend, int listener)
{
    struct wire wire = {0};
    int fd = -1;
    for (;;) {
        struct pollfd polls[2] = {{.fd = listener, .events = POLLIN}, {.fd = fd, .events = POLLIN}};
        if (poll(polls, 2, -1) < 0)
            exit(1);
        bool over = fd >= 0 && (polls[0].revents != 0 || (polls[1].revents != 0 && !feed(&wire, fd)));
        if (over) {
            wire_deinit(&wire);
            (void)close(fd);
            fd = -1;
        }
        if (polls[0].revents != 0) {
            fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            wire_init(&wire, backend, 0);
        }
    }
}

/* ---- start ---- */

static enum sorex_status files_take(struct host *host, const char *folder, struct sorex_error *err)
{
    struct tree *tree = instance_process(host->instance)->tree;
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/results", folder);
    enum sorex_status status = tree_put_kind(tree, path, TREE_DIRECTORY, 0777, err);
    (void)snprintf(path, sizeof path, "%s/data", folder);
    DIR *dir = opendir(path);
    if (dir == NULL)
        return sorex_error_set_errno(err, SOREX_IO, errno, "%s", path);
    for (struct dirent *entry; status == SOREX_OK && (entry = readdir(dir)) != NULL;) {
        struct buf content = {0};
        if (entry->d_type == DT_REG &&
            snprintf(path, sizeof path, "%s/data/%s", folder, entry->d_name) < (int)sizeof path) {
            status = file_read(path, SOREX_MODULE_BYTES_MAX, &content, err);
            if (status == SOREX_OK)
                status = tree_put(tree, path, buf_view(&content), 0644, err);
        }
        buf_deinit(&content);
    }
    (void)closedir(dir);
    return status;
}

static enum sorex_status host_start(struct host *host, char **argv, struct sorex_error *err)
{
    char path[4096];
    struct buf image = {0};
    struct snapshot *base = NULL;
    (void)snprintf(path, sizeof path, "%s/pglite.wasm", argv[1]);
    TRY(file_read(path, SOREX_MODULE_BYTES_MAX, &host->wasm, err));
    TRY(postgres_open(buf_view(&host->wasm), &(struct postgres_options){.cache_dir = argv[2]}, &host->postgres, err));
    (void)snprintf(path, sizeof path, "%s/cluster.image", argv[1]);
    TRY(file_read(path, SOREX_MODULE_BYTES_MAX, &image, err));
    enum sorex_status status = image_read(host->postgres, buf_view(&image), &base, err);
    buf_deinit(&image);
    if (status == SOREX_OK)
        status = instance_fork(base, 0, &host->instance, err);
    snapshot_drop(base);
    TRY(status);
    TRY(files_take(host, argv[4], err));
    for (char **setting = argv + 5; *setting != NULL; setting++) {
        size_t name = strcspn(*setting, "=");
        (void)snprintf(path, sizeof path, "alter system set %.*s = %s", (int)name, *setting, *setting + name + 1);
        TRY(ask(host, path, err));
    }
    return backend_renew(host, err);
}

int main(int argc, char **argv)
{
    struct sorex_error err = {0};
    struct host host = {0};
    struct wire_backend backend = {&host, session_open, exchange, session_close, cancel, NULL};
    if (argc < 5) {
        (void)fputs("usage: pg_host DIRECTORY CACHE SOCKET FILES [NAME=VALUE ...]\n", stderr);
        return 2;
    }
    if (host_start(&host, argv, &err) != SOREX_OK) {
        (void)fprintf(stderr, "pg_host: %s\n", err.text);
        return 1;
    }
    serve(&backend, socket_listen(argv[3]));
}
