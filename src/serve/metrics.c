#include "serve/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <microhttpd.h>

#include "base/check.h"
#include "base/log.h"
#include "serve/exposition.h"

#define CONNECTIONS_MAX 16u
#define BACKLOG 128                         /* who waits beyond that tries again after a second */
#define CONNECTION_SECONDS 5u               /* of silence */
#define CONNECTION_BYTES ((size_t)16 << 10) /* for the head of a request; what is answered is not in it */
#define HOST_SIZE 256

struct metrics {
    metrics_status_fn *status;
    void *user_data;
    struct MHD_Daemon *daemon;
    uint16_t port;
    char place[64]; /* "127.0.0.1:9100" */
};

/* ---- answers ---- */

static enum sorex_status metrics_answer(struct metrics *metrics, struct buf *out, struct sorex_error *err)
{
    struct buf status_json = {0};
    enum sorex_status status = metrics->status(metrics->user_data, &status_json, err);
    if (status == SOREX_OK)
        status = exposition_write(buf_view(&status_json), out, err);
    buf_deinit(&status_json);
    return status;
}

static enum sorex_status status_answer(struct metrics *metrics, struct buf *out, struct sorex_error *err)
{
    TRY(metrics->status(metrics->user_data, out, err));
    return buf_append_u8(out, '\n', err);
}

static const struct page {
    const char *path, *content_type;
    enum sorex_status (*answer)(struct metrics *metrics, struct buf *out, struct sorex_error *err);
} pages[] = {
    {"/metrics", EXPOSITION_CONTENT_TYPE, metrics_answer},
    {"/status", "application/json", status_answer},
};

/* body is emptied. */
static enum MHD_Result send_body(struct MHD_Connection *connection, unsigned code, const char *content_type,
                                 struct buf *body)
{
    size_t len;
    void *data = buf_steal(body, &len);
    struct MHD_Response *response = MHD_create_response_from_buffer(len, data, MHD_RESPMEM_MUST_FREE);
    if (response == NULL) {
        free(data);
        return MHD_NO;
    }
    enum MHD_Result result = MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, content_type);
    if (result == MHD_YES && code == MHD_HTTP_METHOD_NOT_ALLOWED)
        result = MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    if (result == MHD_YES)
        result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result send_text(struct MHD_Connection *connection, unsigned code, const char *text)
{
    struct buf body = {0};
    enum MHD_Result result = MHD_NO;
    if (buf_printf(&body, NULL, "%s\n", text) == SOREX_OK)
        result = send_body(connection, code, "text/plain; charset=utf-8", &body);
    buf_deinit(&body);
    return result;
}

static enum MHD_Result send_page(struct metrics *metrics, struct MHD_Connection *connection, const struct page *page)
{
    struct buf body = {0};
    struct sorex_error err = {0};
    enum MHD_Result result;
    if (page->answer(metrics, &body, &err) == SOREX_OK)
        result = send_body(connection, MHD_HTTP_OK, page->content_type, &body);
    else
        result = send_text(connection, MHD_HTTP_SERVICE_UNAVAILABLE, err.text);
    buf_deinit(&body);
    return result;
}

/* Called when the head of a request is there, and again when its body is. A request that is refused at once has its
 * body unread. */
static enum MHD_Result answer(void *user_data, struct MHD_Connection *connection, const char *path, const char *method,
                              const char *version, const char *upload, size_t *upload_len, void **seen)
{
    struct metrics *metrics = user_data;
    (void)version;
    (void)upload;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return send_text(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "there is nothing to change here: GET or HEAD");
    if (*seen == NULL || *upload_len > 0) {
        *seen = metrics;
        *upload_len = 0;
        return MHD_YES;
    }
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++)
        if (strcmp(path, pages[i].path) == 0)
            return send_page(metrics, connection, &pages[i]);
    return send_text(connection, MHD_HTTP_NOT_FOUND, "there are /metrics and /status");
}

/* ---- listening ---- */

/* Splits at the last colon; what has none is a port. */
static enum sorex_status address_split(const char *address, char host[HOST_SIZE], const char **out_port,
                                       struct sorex_error *err)
{
    const char *colon = strrchr(address, ':');
    const char *begin = address;
    size_t len = colon != NULL ? (size_t)(colon - address) : 0;
    *out_port = colon != NULL ? colon + 1 : address;
    if (len > 2 && begin[0] == '[' && begin[len - 1] == ']') {
        begin++;
        len -= 2;
    } else if (memchr(begin, ':', len) != NULL || memchr(begin, '[', len) != NULL)
        len = HOST_SIZE; /* refused below */
    size_t digits = strspn(*out_port, "0123456789");
    if (len >= HOST_SIZE || digits == 0 || digits > 5 || (*out_port)[digits] != '\0' ||
        strtoul(*out_port, NULL, 10) > UINT16_MAX)
        return sorex_error_set(err, SOREX_INVALID,
                               "metrics: \"%s\" is not HOST:PORT, as in 127.0.0.1:9100 or [::1]:9100", address);
    (void)snprintf(host, HOST_SIZE, "%.*s", (int)len, len == 0 ? "" : begin);
    if (len == 0)
        (void)snprintf(host, HOST_SIZE, "127.0.0.1");
    return SOREX_OK;
}

enum sorex_status metrics_address_check(const char *address, struct sorex_error *err)
{
    char host[HOST_SIZE];
    const char *port;
    return address_split(address, host, &port, err);
}

static enum sorex_status socket_listen(const char *address, const struct addrinfo *at, int *out,
                                       struct sorex_error *err)
{
    int yes = 1, code = 0;
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, at->ai_addr, at->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0)
        code = errno;
    if (code != 0 && fd >= 0)
        (void)close(fd);
    if (code != 0)
        return sorex_error_set_errno(err, SOREX_IO, code, "metrics: listen at %s", address);
    *out = fd;
    return SOREX_OK;
}

static enum sorex_status address_listen(const char *address, int *out, struct sorex_error *err)
{
    char host[HOST_SIZE];
    const char *port;
    struct addrinfo *found, hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    TRY(address_split(address, host, &port, err));
    int code = getaddrinfo(host, port, &hints, &found);
    if (code != 0)
        return sorex_error_set(err, SOREX_INVALID, "metrics: %s: %s", address, gai_strerror(code));
    enum sorex_status status = socket_listen(address, found, out, err);
    freeaddrinfo(found);
    return status;
}

/* Where it listens, when the kernel chose the port too. */
static void place_read(struct metrics *metrics, int fd)
{
    struct sockaddr_storage at = {0};
    socklen_t len = sizeof at;
    char host[INET6_ADDRSTRLEN] = "?";
    if (getsockname(fd, (struct sockaddr *)&at, &len) != 0)
        return;
    bool six = at.ss_family == AF_INET6;
    const struct sockaddr_in *in = (const struct sockaddr_in *)&at;
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)&at;
    (void)inet_ntop(at.ss_family, six ? (const void *)&in6->sin6_addr : (const void *)&in->sin_addr, host, sizeof host);
    metrics->port = ntohs(six ? in6->sin6_port : in->sin_port);
    (void)snprintf(metrics->place, sizeof metrics->place, six ? "[%s]:%u" : "%s:%u", host, metrics->port);
}

SOREX_PRINTF(2, 0)
static void library_log(void *user_data, const char *format, va_list args)
{
    char text[256];
    (void)user_data;
    if (vsnprintf(text, sizeof text, format, args) < 0)
        return;
    text[strcspn(text, "\n")] = '\0';
    log_line(LOG_DEBUG, "metrics", "%s", text);
}

enum sorex_status metrics_start(const char *address, metrics_status_fn *status, void *user_data, struct metrics **out,
                                struct sorex_error *err)
{
    int fd;
    TRY(address_listen(address, &fd, err));
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics == NULL) {
        (void)close(fd);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for the metrics server");
    }
    *metrics = (struct metrics){.status = status, .user_data = user_data};
    place_read(metrics, fd);
    metrics->daemon =
        MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL, answer, metrics,
                         MHD_OPTION_EXTERNAL_LOGGER, library_log, NULL, MHD_OPTION_LISTEN_SOCKET, fd,
                         MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                         CONNECTION_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, MHD_OPTION_END);
    if (metrics->daemon == NULL) {
        (void)close(fd);
        free(metrics);
        return sorex_error_set(err, SOREX_IO, "metrics: %s: the server does not start", address);
    }
    log_line(LOG_INFO, "metrics", "http://%s/metrics", metrics->place);
    *out = metrics;
    return SOREX_OK;
}

uint16_t metrics_port(const struct metrics *metrics) { return metrics->port; }

void metrics_stop(struct metrics *metrics)
{
    if (metrics == NULL)
        return;
    MHD_stop_daemon(metrics->daemon);
    free(metrics);
}
