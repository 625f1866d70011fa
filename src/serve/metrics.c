#include "serve/metrics.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include <microhttpd.h>

#include "base/check.h"
#include "base/log.h"
#include "serve/exposition.h"
#include "serve/listen.h"

#define CONNECTIONS_MAX 16u
#define CONNECTION_SECONDS 5u               /* of silence */
#define CONNECTION_BYTES ((size_t)16 << 10) /* for the head of a request; what is answered is not in it */

struct metrics {
    metrics_status_fn *status;
    void *user_data;
    struct MHD_Daemon *daemon;
    uint16_t port;
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

static const struct listen_rules rules = {.what = "metrics", .example = 9100};

enum sorex_status metrics_address_check(const char *address, struct sorex_error *err)
{
    return listen_check(&rules, address, err);
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
    struct listening listening;
    TRY(listen_open(&rules, address, &listening, err));
    struct metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics == NULL) {
        listen_close(&listening);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for the metrics server");
    }
    *metrics = (struct metrics){.status = status, .user_data = user_data, .port = listening.port};
    metrics->daemon =
        MHD_start_daemon(MHD_USE_POLL_INTERNAL_THREAD | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL, answer, metrics,
                         MHD_OPTION_EXTERNAL_LOGGER, library_log, NULL, MHD_OPTION_LISTEN_SOCKET, listening.fd,
                         MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX, MHD_OPTION_CONNECTION_TIMEOUT,
                         CONNECTION_SECONDS, MHD_OPTION_CONNECTION_MEMORY_LIMIT, CONNECTION_BYTES, MHD_OPTION_END);
    if (metrics->daemon == NULL) {
        listen_close(&listening);
        free(metrics);
        return sorex_error_set(err, SOREX_IO, "metrics: %s: the server does not start", address);
    }
    log_line(LOG_INFO, "metrics", "http://%s/metrics", listening.place);
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
