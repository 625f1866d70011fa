/* One client's socket and thread. */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/log.h"
#include "base/signals.h"
#include "serve/postgres_private.h"

#define PIECE_BYTES 16384u
#define STOP_SEND_MS 500 /* for the last words of a session when the server ends */

static bool is_starting(const struct connection *c) { return c->wire.state == WIRE_STARTING; }

/* Until the socket is ready for one of the events. */
static enum sorex_status ready_wait(struct connection *c, short events, struct sorex_error *err)
{
    struct pollfd fds[2] = {{.fd = c->fd, .events = events}, {.fd = c->server->stop_fd, .events = POLLIN}};
    int timeout = -1;
    if (is_starting(c)) {
        uint64_t passed = clock_ms() - c->begun_ms, patience = c->server->options.startup_timeout_ms;
        timeout = passed < patience ? (int)(patience - passed) : 0;
    }
    int n = poll(fds, 2, timeout);
    if (n < 0 && errno != EINTR)
        return sorex_error_set_errno(err, SOREX_IO, errno, "poll");
    if (n == 0)
        return sorex_error_set(err, SOREX_AGAIN, "nothing came in time");
    if (fds[1].revents != 0)
        return sorex_error_set(err, SOREX_STOPPED, "terminating connection due to administrator command");
    return SOREX_OK;
}

enum sorex_status connection_receive(struct connection *c, uint8_t *to, size_t room, size_t *out_len,
                                     struct sorex_error *err)
{
    for (;;) {
        ssize_t n = recv(c->fd, to, room, MSG_DONTWAIT);
        *out_len = n > 0 ? (size_t)n : 0;
        if (n >= 0)
            return SOREX_OK;
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            return sorex_error_set_errno(err, SOREX_IO, errno, "the client is gone");
        TRY(ready_wait(c, POLLIN, err));
    }
}

/* When the server ends, the last words have a moment. */
static enum sorex_status writable_wait(struct connection *c, struct sorex_error *err)
{
    struct pollfd fd = {.fd = c->fd, .events = POLLOUT};
    enum sorex_status status = ready_wait(c, POLLOUT, err);
    return status == SOREX_STOPPED && poll(&fd, 1, STOP_SEND_MS) > 0 ? SOREX_OK : status;
}

/* From *at on, which moves. */
static enum sorex_status send_from(struct connection *c, size_t *at, struct sorex_error *err)
{
    while (*at < c->out.len) {
        ssize_t n = send(c->fd, c->out.data + *at, c->out.len - *at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            *at += (size_t)n;
            continue;
        }
        if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
            return sorex_error_set_errno(err, SOREX_IO, errno, "the client is gone");
        TRY(writable_wait(c, err));
    }
    return SOREX_OK;
}

/* What was not sent, when the server ends, stays: last words go behind it. */
enum sorex_status connection_send(struct connection *c, struct sorex_error *err)
{
    size_t at = 0;
    enum sorex_status status = send_from(c, &at, err);
    if (at > 0 && at < c->out.len)
        memmove(c->out.data, c->out.data + at, c->out.len - at);
    c->out.len -= at;
    return status;
}

/* ---- the thread ---- */

static enum sorex_status turn(struct connection *c, bool *out_end, struct sorex_error *err)
{
    uint8_t piece[PIECE_BYTES];
    size_t len = 0;
    struct sorex_error why = {0};
    enum sorex_status status = connection_receive(c, piece, sizeof piece, &len, &why);
    if (status == SOREX_STOPPED)
        TRY(wire_refuse(&c->wire, &why, &c->out, err));
    else if (status == SOREX_OK && len > 0)
        TRY(wire_feed(&c->wire, bytes_of(piece, len), &c->out, err));
    else
        *out_end = true;
    TRY(connection_send(c, err));
    *out_end |= c->wire.state == WIRE_CLOSED;
    return SOREX_OK;
}

static void *connection_run(void *user_data)
{
    struct connection *c = user_data;
    struct sorex_error err = {0};
    for (bool end = false; !end;)
        if (turn(c, &end, &err) != SOREX_OK)
            break;
    wire_deinit(&c->wire);
    (void)shutdown(c->fd, SHUT_RDWR);
    atomic_store(&c->finished, true);
    return NULL;
}

static void socket_prepare(int fd)
{
    int yes = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes); /* fails for Unix sockets */
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &yes, sizeof yes);
}

static void connection_free(struct connection *c)
{
    (void)close(c->fd);
    buf_deinit(&c->out);
    free(c);
}

enum sorex_status connection_start(struct postgres_port *server, int fd, uint32_t process, struct connection **out,
                                   struct sorex_error *err)
{
    sigset_t before;
    struct connection *c = calloc(1, sizeof *c);
    if (c == NULL) {
        (void)close(fd);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    }
    c->server = server;
    c->fd = fd;
    c->process = process;
    c->begun_ms = clock_ms();
    c->backend = session_backend;
    c->backend.user_data = c;
    wire_init(&c->wire, &c->backend);
    socket_prepare(fd);
    bool secret = getrandom(c->secret, sizeof c->secret, 0) == (ssize_t)sizeof c->secret;
    signals_block(&before);
    int code = secret ? pthread_create(&c->thread, NULL, connection_run, c) : EIO;
    signals_restore(&before);
    if (code != 0) {
        connection_free(c);
        return sorex_error_set_errno(err, SOREX_IO, code, "no thread");
    }
    *out = c;
    return SOREX_OK;
}

void connection_end(struct connection *c)
{
    (void)pthread_join(c->thread, NULL);
    connection_free(c);
}
