#include "serve/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"

#define CONTROL_CLIENTS_MAX 32
#define CONTROL_REQUEST_MAX ((size_t)16 << 20) /* a block as hex in a preview: 8 MB and room */
#define CONTROL_FRAME_MAX ((size_t)1 << 30)
#define CONTROL_OUTPUT_BYTES ((size_t)64 << 10)
#define CONTROL_PIECE_BYTES ((size_t)64 << 10)
#define FRAME_HEADER 5
#define STOP_PATIENCE_MS 1000 /* what is being answered when the pipeline ends has so long to reach the asker */

struct control {
    struct service *service;
    int listener;
    int wake[2]; /* closing wake[1] ends the accept loop */
    pthread_t thread;
    pthread_mutex_t lock; /* guards clients and their sockets, which are closed under it */
    pthread_cond_t idle;
    struct client *clients;
    unsigned count;
    _Atomic bool stopping;
    char path[4096];
};

struct client {
    struct control *control;
    struct client *next, **link;
    int fd;
    struct buf pending; /* output not sent yet: a dump has many short lines */
};

/* sun_path is short and data directories are not: the directory is reached through /proc/self/fd. */
static enum sorex_status socket_address(const char *data_dir, struct sockaddr_un *out, int *out_dir, struct sorex_error *err)
{
    *out_dir = open(data_dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (*out_dir < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "open directory %s", data_dir);
    *out = (struct sockaddr_un){.sun_family = AF_UNIX};
    (void)snprintf(out->sun_path, sizeof out->sun_path, "/proc/self/fd/%d/control.sock", *out_dir);
    return SOREX_OK;
}

static bool write_all(int fd, const uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static bool read_all(int fd, uint8_t *data, size_t len)
{
    while (len > 0) {
        ssize_t n = recv(fd, data, len, 0);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

static bool frame_write(int fd, char type, struct bytes payload)
{
    uint8_t header[FRAME_HEADER] = {(uint8_t)type};
    u32le_put(header + 1, (uint32_t)payload.len);
    return write_all(fd, header, sizeof header) && write_all(fd, payload.data, payload.len);
}

/* Makes room as bytes come: who only says that many will follow gets no memory for them. */
static bool payload_read(int fd, size_t len, struct buf *out)
{
    while (out->len < len) {
        size_t piece = len - out->len < CONTROL_PIECE_BYTES ? len - out->len : CONTROL_PIECE_BYTES;
        if (buf_reserve(out, piece, NULL) != SOREX_OK || !read_all(fd, out->data + out->len, piece))
            return false;
        out->len += piece;
    }
    return true;
}

/* False on a broken connection or a frame over max. out is reset. */
static bool frame_read(int fd, size_t max, char *out_type, struct buf *out)
{
    uint8_t header[FRAME_HEADER];
    buf_reset(out);
    if (!read_all(fd, header, sizeof header))
        return false;
    size_t len = u32le_get(header + 1);
    if (len > max || !payload_read(fd, len, out))
        return false;
    *out_type = (char)header[0];
    return true;
}

static enum sorex_status client_flush(struct client *client, struct sorex_error *err)
{
    bool sent = client->pending.len == 0 || frame_write(client->fd, 'D', buf_view(&client->pending));
    buf_reset(&client->pending);
    return sent ? SOREX_OK : sorex_error_set(err, SOREX_STOPPED, "the asker went away");
}

static enum sorex_status client_output(void *user_data, struct bytes text, struct sorex_error *err)
{
    struct client *client = user_data;
    TRY(buf_append(&client->pending, text, err));
    return client->pending.len < CONTROL_OUTPUT_BYTES ? SOREX_OK : client_flush(client, err);
}

static void client_serve(struct client *client)
{
    struct buf request = {0}, answer = {0};
    struct sorex_error err = {0};
    char type;
    struct timeval patience = {.tv_sec = 30};
    (void)setsockopt(client->fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (frame_read(client->fd, CONTROL_REQUEST_MAX, &type, &request) && type == 'Q') {
        enum sorex_status status =
            service_handle(client->control->service, buf_view(&request), client_output, client, &err);
        if (status == SOREX_OK)
            status = client_flush(client, &err);
        if (status == SOREX_OK)
            (void)frame_write(client->fd, 'Z', bytes_of(NULL, 0));
        else if (buf_append_u8(&answer, (uint8_t)status, NULL) == SOREX_OK && buf_append_str(&answer, err.text, NULL) == SOREX_OK)
            (void)frame_write(client->fd, 'E', buf_view(&answer));
    }
    buf_deinit(&request);
    buf_deinit(&answer);
    buf_deinit(&client->pending);
}

/* The lock is held. */
static void client_drop(struct client *client)
{
    struct control *control = client->control;
    *client->link = client->next;
    if (client->next != NULL)
        client->next->link = client->link;
    (void)close(client->fd);
    free(client);
    control->count--;
    (void)pthread_cond_broadcast(&control->idle);
}

static void *client_thread(void *user_data)
{
    struct client *client = user_data;
    struct control *control = client->control;
    client_serve(client);
    pthread_mutex_lock(&control->lock);
    client_drop(client);
    pthread_mutex_unlock(&control->lock);
    return NULL;
}

/* NULL when there are too many. */
static struct client *client_new(struct control *control, int fd)
{
    struct client *client = NULL;
    pthread_mutex_lock(&control->lock);
    if (control->count < CONTROL_CLIENTS_MAX)
        client = calloc(1, sizeof *client);
    if (client != NULL) {
        *client = (struct client){.control = control, .next = control->clients, .link = &control->clients, .fd = fd};
        if (client->next != NULL)
            client->next->link = &client->next;
        control->clients = client;
        control->count++;
    }
    pthread_mutex_unlock(&control->lock);
    return client;
}

static void client_accept(struct control *control)
{
    int fd = accept4(control->listener, NULL, NULL, SOCK_CLOEXEC);
    if (fd < 0)
        return;
    pthread_t thread;
    struct client *client = client_new(control, fd);
    if (client == NULL) {
        (void)close(fd);
    } else if (pthread_create(&thread, NULL, client_thread, client) == 0) {
        (void)pthread_detach(thread);
    } else {
        pthread_mutex_lock(&control->lock);
        client_drop(client);
        pthread_mutex_unlock(&control->lock);
    }
}

static void *accept_thread(void *user_data)
{
    struct control *control = user_data;
    struct pollfd fds[2] = {{.fd = control->listener, .events = POLLIN}, {.fd = control->wake[0], .events = POLLIN}};
    while (!atomic_load(&control->stopping))
        if (poll(fds, 2, -1) > 0 && (fds[0].revents & POLLIN) != 0)
            client_accept(control);
    return NULL;
}

static enum sorex_status listen_at(struct control *control, const char *data_dir, struct sorex_error *err)
{
    struct sockaddr_un address;
    int dir;
    TRY(socket_address(data_dir, &address, &dir, err));
    control->listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    (void)unlink(control->path);
    int failed = 0;
    if (control->listener < 0 || bind(control->listener, (const struct sockaddr *)&address, sizeof address) != 0 ||
        listen(control->listener, CONTROL_CLIENTS_MAX) != 0)
        failed = errno;
    (void)close(dir);
    return failed == 0 ? SOREX_OK : sorex_error_set_errno(err, SOREX_IO, failed, "listen at %s", control->path);
}

static void control_free(struct control *control)
{
    if (control->listener >= 0)
        (void)close(control->listener);
    for (int i = 0; i < 2; i++)
        if (control->wake[i] >= 0)
            (void)close(control->wake[i]);
    (void)pthread_cond_destroy(&control->idle);
    (void)pthread_mutex_destroy(&control->lock);
    free(control);
}

enum sorex_status control_start(struct service *service, const char *data_dir, struct control **out, struct sorex_error *err)
{
    struct control *control = calloc(1, sizeof *control);
    if (control == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for the control socket");
    control->service = service;
    control->listener = control->wake[0] = control->wake[1] = -1;
    CHECK(pthread_mutex_init(&control->lock, NULL) == 0);
    pthread_condattr_t monotonic;
    CHECK(pthread_condattr_init(&monotonic) == 0);
    CHECK(pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0);
    CHECK(pthread_cond_init(&control->idle, &monotonic) == 0);
    (void)pthread_condattr_destroy(&monotonic);
    (void)snprintf(control->path, sizeof control->path, "%s/control.sock", data_dir);
    enum sorex_status status = listen_at(control, data_dir, err);
    if (status == SOREX_OK && pipe2(control->wake, O_CLOEXEC) != 0)
        status = sorex_error_set_errno(err, SOREX_IO, errno, "pipe");
    if (status == SOREX_OK && pthread_create(&control->thread, NULL, accept_thread, control) != 0)
        status = sorex_error_set(err, SOREX_IO, "no thread for the control socket");
    if (status != SOREX_OK) {
        control_free(control);
        return status;
    }
    *out = control;
    return SOREX_OK;
}

/* how: SHUT_RD ends the wait for a request that does not come, SHUT_RDWR whatever a client is at. The lock is held. */
static void clients_shutdown(struct control *control, int how)
{
    for (struct client *client = control->clients; client != NULL; client = client->next)
        (void)shutdown(client->fd, how);
}

/* Nobody who is silent, or does not read, holds up the end. The lock is held. */
static void clients_end(struct control *control)
{
    uint64_t end = clock_ms() + STOP_PATIENCE_MS;
    struct timespec deadline = {.tv_sec = (time_t)(end / 1000), .tv_nsec = (long)(end % 1000) * 1000000};
    clients_shutdown(control, SHUT_RD);
    while (control->count != 0 && pthread_cond_timedwait(&control->idle, &control->lock, &deadline) != ETIMEDOUT) {
    }
    clients_shutdown(control, SHUT_RDWR);
    while (control->count != 0)
        (void)pthread_cond_wait(&control->idle, &control->lock);
}

void control_stop(struct control *control)
{
    atomic_store(&control->stopping, true);
    (void)close(control->wake[1]);
    control->wake[1] = -1;
    (void)pthread_join(control->thread, NULL);
    pthread_mutex_lock(&control->lock);
    clients_end(control);
    pthread_mutex_unlock(&control->lock);
    (void)unlink(control->path);
    control_free(control);
}

/* A status that this program does not know comes from a newer one. */
static enum sorex_status error_of(struct bytes frame, struct sorex_error *err)
{
    enum sorex_status status = SOREX_FATAL;
#define KNOWN(name, text, action)                                                                                      \
    if (frame.data[0] == SOREX_##name)                                                                                 \
        status = SOREX_##name;
    SOREX_STATUS_LIST(KNOWN)
#undef KNOWN
    if (status == SOREX_OK)
        return sorex_error_set(err, SOREX_IO, "the running pipeline says that it failed with \"ok\"");
    if (frame.len == 1 || frame.data[1] == '\0')
        return sorex_error_set(err, status, "the running pipeline gives no reason");
    return sorex_error_set(err, status, "%.*s", (int)(frame.len - 1), (const char *)frame.data + 1);
}

static enum sorex_status answer_read(int fd, service_output_fn *output, void *user_data, struct sorex_error *err)
{
    struct buf frame = {0};
    char type;
    enum sorex_status status = SOREX_OK;
    for (;;) {
        if (!frame_read(fd, CONTROL_FRAME_MAX, &type, &frame)) {
            status = sorex_error_set(err, SOREX_AGAIN, "the running pipeline closed the connection before it had answered");
            break;
        }
        if (type == 'Z')
            break;
        if (type == 'E' && frame.len >= 1) {
            status = error_of(buf_view(&frame), err);
            break;
        }
        if (type == 'D' && (status = output(user_data, buf_view(&frame), err)) != SOREX_OK)
            break;
    }
    buf_deinit(&frame);
    return status;
}

enum sorex_status control_ask(const char *data_dir, struct bytes request, service_output_fn *output, void *user_data,
                              bool *out_connected, struct sorex_error *err)
{
    struct sockaddr_un address;
    int dir;
    *out_connected = false;
    TRY(socket_address(data_dir, &address, &dir, err));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    (void)close(dir);
    enum sorex_status status = SOREX_OK;
    if (connected) {
        *out_connected = true;
        status = frame_write(fd, 'Q', request) ? answer_read(fd, output, user_data, err)
                                               : sorex_error_set(err, SOREX_AGAIN, "the running pipeline does not listen");
    }
    if (fd >= 0)
        (void)close(fd);
    return status;
}
