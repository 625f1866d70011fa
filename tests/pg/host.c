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

#define PIECE_BYTES 65536u
#define STARTUP_BYTES_MAX 10000u

struct host {
    struct postgres *postgres;
    struct buf wasm;
    struct instance *instance;
    bool used; /* there was a session */
    int fd;    /* of the session's connection; -1: none */
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

/* Its first message, from behind the length; requests for encryption before it are declined. False: there was none. */
static bool startup_take(int fd, char text[STARTUP_BYTES_MAX])
{
    uint8_t head[8];
    for (;;) {
        if (recv(fd, head, sizeof head, MSG_WAITALL) != sizeof head)
            return false;
        uint32_t len = u32be_get(head), code = u32be_get(head + 4);
        if (code == PROTOCOL_VERSION_3_0 && len >= sizeof head && len < STARTUP_BYTES_MAX) {
            ssize_t rest = (ssize_t)(len - sizeof head);
            memset(text, 0, STARTUP_BYTES_MAX);
            return recv(fd, text, (size_t)rest, MSG_WAITALL) == rest;
        }
        if ((code != PROTOCOL_SSL && code != PROTOCOL_GSSENC) || send(fd, "N", 1, MSG_NOSIGNAL) != 1)
            return false;
    }
}

static const char *startup_value(const char *text, const char *name)
{
    for (; *text != '\0'; text += strlen(text) + 1) {
        bool is_it = strcmp(text, name) == 0;
        text += strlen(text) + 1;
        if (is_it)
            return text;
    }
    return "";
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

static enum sorex_status session_begin(struct host *host, struct sorex_error *err)
{
    char text[STARTUP_BYTES_MAX], sql[256];
    struct buf greeting = {0};
    if (!startup_take(host->fd, text))
        return sorex_error_set(err, SOREX_IO, "no startup message");
    if (host->used || instance_broken(host->instance))
        TRY(backend_renew(host, err));
    host->used = true;
    const char *user = startup_value(text, "user");
    TRY(ask(host, "set application_name = 'psql'", err));
    if (strcmp(user, "postgres") != 0) {
        (void)snprintf(sql, sizeof sql, "set session authorization \"%.100s\"", user);
        TRY(ask(host, sql, err));
    }
    enum sorex_status status = instance_greet(host->instance, &greeting, err);
    if (status == SOREX_OK && !all_send(host->fd, buf_view(&greeting)))
        status = sorex_error_set(err, SOREX_IO, "the client is gone");
    buf_deinit(&greeting);
    return status;
}

static enum sorex_status stream_read(void *user_data, uint8_t *to, size_t room, size_t *out_len,
                                     struct sorex_error *err)
{
    const struct host *host = user_data;
    (void)err;
    ssize_t got = recv(host->fd, to, room, 0);
    *out_len = got > 0 ? (size_t)got : 0;
    return SOREX_OK;
}

static enum sorex_status stream_write(void *user_data, struct bytes bytes, struct sorex_error *err)
{
    const struct host *host = user_data;
    (void)err;
    (void)all_send(host->fd, bytes); /* a client that is gone is noticed when it is read from */
    return SOREX_OK;
}

/* False: the session is over. */
static bool session_go_on(struct host *host)
{
    static uint8_t piece[PIECE_BYTES];
    struct sorex_error err = {0};
    struct instance_stream stream = {host, stream_read, stream_write};
    bool ended = false;
    ssize_t got = recv(host->fd, piece, sizeof piece, 0);
    if (got <= 0 || (got == 5 && piece[0] == 'X')) /* Terminate: the backend can go on */
        return false;
    enum sorex_status status = instance_converse(host->instance, bytes_of(piece, (size_t)got), &stream, &ended, &err);
    if (status != SOREX_OK)
        (void)fprintf(stderr, "pg_host: the backend broke: %s\n", err.text);
    return status == SOREX_OK && !ended;
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

static void session_end(struct host *host)
{
    if (host->fd >= 0)
        (void)close(host->fd);
    host->fd = -1;
}

static _Noreturn void serve(struct host *host, int listener)
{
    struct sorex_error err = {0};
    host->fd = -1;
    for (;;) {
        struct pollfd polls[2] = {{.fd = listener, .events = POLLIN}, {.fd = host->fd, .events = POLLIN}};
        if (poll(polls, 2, -1) < 0)
            exit(1);
        if (polls[0].revents != 0) {
            session_end(host);
            host->fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
            if (session_begin(host, &err) != SOREX_OK) {
                (void)fprintf(stderr, "pg_host: no session: %s\n", err.text);
                session_end(host);
            }
        } else if (!session_go_on(host)) {
            session_end(host);
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
    if (argc < 5) {
        (void)fputs("usage: pg_host DIRECTORY CACHE SOCKET FILES [NAME=VALUE ...]\n", stderr);
        return 2;
    }
    if (host_start(&host, argv, &err) != SOREX_OK) {
        (void)fprintf(stderr, "pg_host: %s\n", err.text);
        return 1;
    }
    serve(&host, socket_listen(argv[3]));
}
