#include "pg/native.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define PIECE_BYTES 4096u
#define ARGUMENTS_MAX 32u

static enum sorex_status socket_open(const struct postgres_server *server, int *out, struct sorex_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char directory[64], port[16];
    if (sscanf(postgres_server_url(server), "host=%63s port=%15s", directory, port) != 2)
        return sorex_error_set(err, SOREX_INVALID, "no place: %s", postgres_server_url(server));
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/.s.PGSQL.%s", directory, port);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0) {
        *out = fd;
        return SOREX_OK;
    }
    enum sorex_status status = sorex_error_set_errno(err, SOREX_IO, errno, "connect %s", address.sun_path);
    if (fd >= 0)
        (void)close(fd);
    return status;
}

enum sorex_status native_open(const struct postgres_server *server, struct native *out, struct sorex_error *err)
{
    static const char *const texts[][2] = {{"user", "postgres"},
                                           {"database", "postgres"},
                                           {"client_encoding", "UTF8"},
                                           {"TimeZone", "UTC"},
                                           {"DateStyle", "ISO, MDY"}};
    struct protocol_setting settings[5];
    struct buf startup = {0}, replies = {0};
    struct results results;
    results_init(&results, 0);
    for (size_t i = 0; i < 5; i++)
        settings[i] = (struct protocol_setting){bytes_str(texts[i][0]), bytes_str(texts[i][1])};
    enum sorex_status status = socket_open(server, &out->fd, err);
    if (status == SOREX_OK)
        status = protocol_startup(&startup, PROTOCOL_VERSION_3_0, settings, 5, err);
    if (status == SOREX_OK)
        status = results_exchange(&results, native_exchange, out, buf_view(&startup), &replies, err);
    if (status == SOREX_OK && results.transaction != 'I')
        status = sorex_error_set(err, SOREX_IO, "the session did not begin");
    results_deinit(&results);
    buf_deinit(&startup);
    buf_deinit(&replies);
    return status;
}

void native_close(struct native *native) { (void)close(native->fd); }

static enum sorex_status all_send(int fd, struct bytes bytes, struct sorex_error *err)
{
    while (bytes.len > 0) {
        ssize_t sent = send(fd, bytes.data, bytes.len, MSG_NOSIGNAL);
        if (sent < 0)
            return sorex_error_set_errno(err, SOREX_IO, errno, "send");
        bytes.data += sent;
        bytes.len -= (size_t)sent;
    }
    return SOREX_OK;
}

/* Whether the bytes from *at on have ReadyForQuery in them; *at moves over whole messages. */
static enum sorex_status ready_look(const struct buf *buf, size_t *at, bool *out_ready, struct sorex_error *err)
{
    struct protocol_message message;
    struct bytes rest = bytes_of(buf->data + *at, buf->len - *at);
    bool whole = true;
    *out_ready = false;
    while (whole && !*out_ready) {
        enum sorex_status status = protocol_take(&rest, &message, &whole, err);
        if (status != SOREX_OK)
            return status;
        *out_ready = whole && message.type == PROTOCOL_READY;
    }
    *at = buf->len - rest.len;
    return SOREX_OK;
}

enum sorex_status native_exchange(void *user_data, struct bytes messages, struct buf *out, struct sorex_error *err)
{
    struct native *native = user_data;
    size_t at = out->len;
    bool ready = false;
    enum sorex_status status = all_send(native->fd, messages, err);
    while (status == SOREX_OK && !ready) {
        status = buf_reserve(out, PIECE_BYTES, err);
        if (status != SOREX_OK)
            break;
        ssize_t got = recv(native->fd, out->data + out->len, PIECE_BYTES, 0);
        if (got < 0)
            return sorex_error_set_errno(err, SOREX_IO, errno, "recv");
        if (got == 0)
            break; /* the server ended the connection: an error says so, or results_collect does */
        out->len += (size_t)got;
        status = ready_look(out, &at, &ready, err);
    }
    return status;
}

/* ---- psql ---- */

static void psql_run(char *const arguments[], const struct postgres_server *server, int in, int out)
{
    char directory[64], port[16];
    if (sscanf(postgres_server_url(server), "host=%63s port=%15s", directory, port) != 2 || dup2(in, 0) < 0 ||
        dup2(out, 1) < 0 || dup2(out, 2) < 0)
        _exit(126);
    (void)setenv("PGHOST", directory, 1);
    (void)setenv("PGPORT", port, 1);
    (void)setenv("PGUSER", "postgres", 1);
    (void)setenv("PGDATABASE", "postgres", 1);
    (void)setenv("PGCLIENTENCODING", "UTF8", 1);
    (void)setenv("PGTZ", "UTC", 1);
    (void)setenv("PGDATESTYLE", "ISO, MDY", 1);
    (void)setenv("LC_ALL", "C.UTF-8", 1);
    (void)setenv("PAGER", "", 1);
    (void)unsetenv("PSQLRC");
    (void)unsetenv("COLUMNS");
    (void)execvp(arguments[0], arguments);
    _exit(127);
}

/* The script goes through a file without a name: no pipe can fill up. */
static int script_open(struct bytes script)
{
    FILE *file = tmpfile();
    int fd = -1;
    if (file == NULL)
        return -1;
    if (fwrite(script.data, 1, script.len, file) == script.len && fflush(file) == 0) {
        rewind(file);
        fd = fcntl(fileno(file), F_DUPFD_CLOEXEC, 3);
    }
    (void)fclose(file);
    return fd;
}

static void all_read(int fd, struct buf *out)
{
    ssize_t got = 1;
    while (got > 0 && buf_reserve(out, PIECE_BYTES, NULL) == SOREX_OK) {
        got = read(fd, out->data + out->len, PIECE_BYTES);
        out->len += got > 0 ? (size_t)got : 0;
    }
}

bool native_psql(const struct postgres_server *server, const char *const *arguments, struct bytes script,
                 struct buf *out)
{
    char *argv[ARGUMENTS_MAX] = {0};
    static char name[] = "psql", no_rc[] = "-X";
    size_t count = 0;
    int ends[2];
    int wait_status = -1;
    argv[count++] = name;
    argv[count++] = no_rc;
    for (; *arguments != NULL && count + 1 < ARGUMENTS_MAX; arguments++)
        argv[count++] = (char *)(uintptr_t)*arguments;
    int in = script_open(script);
    if (in < 0)
        return false;
    if (pipe2(ends, O_CLOEXEC) != 0) {
        (void)close(in);
        return false;
    }
    pid_t pid = fork();
    if (pid == 0)
        psql_run(argv, server, in, ends[1]);
    (void)close(in);
    (void)close(ends[1]);
    if (pid > 0) {
        all_read(ends[0], out);
        (void)waitpid(pid, &wait_status, 0);
    }
    (void)close(ends[0]);
    return wait_status == 0;
}
