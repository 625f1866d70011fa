/* Request: POST, {"jsonrpc":"1.0","id":N,"method":"...","params":[...]}, or an array of these with "2.0"; answer:
 * {"result":..., "error":null|{"code":...,"message":"..."},"id":N}. Bitcoin Core answers errors with HTTP 500 (404 for
 * an unknown method) and a JSON body, btcd with HTTP 200; so the body decides when it is JSON, and the HTTP status
 * otherwise.
 *
 * The cookie file ("user:password", rewritten at every start of the node) is read at the first call and again after a
 * 401. */
#include "source/rpc.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "json/writer.h"

#define ANSWER_BYTES_MAX (2 * SOREX_ENTRY_BYTES_MAX + 4096) /* a block in hex */
#define CONNECT_TIMEOUT_MS 5000
#define COOKIE_BYTES_MAX 4096

/* Codes of Bitcoin Core's and btcd's JSON-RPC errors. */
enum {
    CODE_MISC = -1, /* btcd: height out of range; Core: block not on disk (pruned) */
    CODE_BLOCK_NOT_FOUND = -5,
    CODE_OUT_OF_RANGE = -8,
    CODE_WARMUP = -28,
    CODE_NO_METHOD = -32601,
};

struct rpc {
    char *url;
    char *root;  /* of rest: scheme, host and port */
    char *label; /* "node HOST:PORT" */
    char *cookie_file;
    uint32_t timeout_ms;
    atomic_uint interrupts;
    pthread_mutex_t lock; /* of what follows */
    char *password;       /* "user:password" or NULL */
    struct rpc_line *idle;
};

struct rpc_line {
    struct rpc *rpc;
    struct rpc_line *next; /* in the list of idle ones */
    CURL *curl;
    struct curl_slist *headers;
    struct json_parser *parser;
    struct json_doc doc;
    struct buf request, answer;
    unsigned interrupts; /* of rpc when the transfer began */
    bool too_large;
    char text[CURL_ERROR_SIZE];
};

enum sorex_status rpc_error(const struct rpc *rpc, struct sorex_error *err, enum sorex_status status,
                            const char *format, ...)
{
    char text[SOREX_ERROR_TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    (void)vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    return sorex_error_set(err, status, "%s: %s", rpc->label, text);
}

static void init_curl(void) { CHECK(curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK); }

/* "FORMAT" of two strings in memory of its own, or NULL. */
static char *join(const char *a, const char *between, const char *b)
{
    size_t size = strlen(a) + strlen(between) + strlen(b) + 1;
    char *text = malloc(size);
    if (text != NULL)
        (void)snprintf(text, size, "%s%s%s", a, between, b);
    return text;
}

static bool split_url(struct rpc *rpc, CURLU *url, const char *text)
{
    char *host = NULL;
    char *port = NULL;
    char *scheme = NULL;
    bool good = curl_url_set(url, CURLUPART_URL, text, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_HOST, &host, 0) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_PORT, &port, CURLU_DEFAULT_PORT) == CURLUE_OK &&
                curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) == CURLUE_OK &&
                (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    if (good) {
        char *place = join(host, ":", port);
        rpc->label = place == NULL ? NULL : join("node", " ", place);
        rpc->root = place == NULL ? NULL : join(scheme, "://", place);
        rpc->url = strdup(text);
        free(place);
    }
    curl_free(host);
    curl_free(port);
    curl_free(scheme);
    return good;
}

enum sorex_status rpc_new(const struct rpc_options *options, struct rpc **out, struct sorex_error *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    CHECK(pthread_once(&once, init_curl) == 0);
    struct rpc *rpc = calloc(1, sizeof *rpc);
    CURLU *url = curl_url();
    if (rpc == NULL || url == NULL) {
        free(rpc);
        curl_url_cleanup(url);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a connection");
    }
    CHECK(pthread_mutex_init(&rpc->lock, NULL) == 0);
    rpc->timeout_ms = options->timeout_ms;
    bool good = split_url(rpc, url, options->url);
    curl_url_cleanup(url);
    if (options->cookie_file != NULL)
        rpc->cookie_file = strdup(options->cookie_file);
    else if (options->user != NULL)
        rpc->password = join(options->user, ":", options->password != NULL ? options->password : "");
    bool whole = rpc->url != NULL && rpc->root != NULL && rpc->label != NULL &&
                 (options->cookie_file == NULL || rpc->cookie_file != NULL) &&
                 (options->cookie_file != NULL || options->user == NULL || rpc->password != NULL);
    if (good && whole) {
        *out = rpc;
        return SOREX_OK;
    }
    rpc_free(rpc);
    if (good)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a connection");
    return sorex_error_set(err, SOREX_INVALID, "url is not of the form http://HOST:PORT");
}

static void line_free(struct rpc_line *line)
{
    curl_easy_cleanup(line->curl);
    curl_slist_free_all(line->headers);
    json_parser_free(line->parser);
    buf_deinit(&line->request);
    buf_deinit(&line->answer);
    free(line);
}

void rpc_free(struct rpc *rpc)
{
    if (rpc == NULL)
        return;
    while (rpc->idle != NULL) {
        struct rpc_line *line = rpc->idle;
        rpc->idle = line->next;
        line_free(line);
    }
    pthread_mutex_destroy(&rpc->lock);
    free(rpc->url);
    free(rpc->root);
    free(rpc->label);
    free(rpc->cookie_file);
    free(rpc->password);
    free(rpc);
}

void rpc_interrupt(struct rpc *rpc) { atomic_fetch_add(&rpc->interrupts, 1); }

const char *rpc_label(const struct rpc *rpc) { return rpc->label; }

static size_t on_data(char *data, size_t size, size_t count, void *user_data)
{
    struct rpc_line *line = user_data;
    enum sorex_status status = buf_append(&line->answer, bytes_of(data, size * count), NULL);
    line->too_large = status == SOREX_LIMIT;
    return status == SOREX_OK ? size * count : 0;
}

static int on_progress(void *user_data, curl_off_t total, curl_off_t now, curl_off_t upload_total,
                       curl_off_t upload_now)
{
    struct rpc_line *line = user_data;
    (void)total;
    (void)now;
    (void)upload_total;
    (void)upload_now;
    return atomic_load(&line->rpc->interrupts) != line->interrupts;
}

static bool set_options(struct rpc_line *line)
{
    CURL *curl = line->curl;
    long connect_ms = line->rpc->timeout_ms < CONNECT_TIMEOUT_MS ? (long)line->rpc->timeout_ms : CONNECT_TIMEOUT_MS;
    line->headers = curl_slist_append(NULL, "Content-Type: application/json");
    if (line->headers == NULL)
        return false;
    struct curl_slist *more = curl_slist_append(line->headers, "Expect:");
    return more != NULL && curl_easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "http,https") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_PROXY, "") == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_TCP_KEEPALIVE, 1L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_TIMEOUT_MS, (long)line->rpc->timeout_ms) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS, connect_ms) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_ERRORBUFFER, line->text) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEFUNCTION, on_data) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_WRITEDATA, line) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_NOPROGRESS, 0L) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_XFERINFOFUNCTION, on_progress) == CURLE_OK &&
           curl_easy_setopt(curl, CURLOPT_XFERINFODATA, line) == CURLE_OK;
}

enum sorex_status rpc_line_take(struct rpc *rpc, struct rpc_line **out, struct sorex_error *err)
{
    pthread_mutex_lock(&rpc->lock);
    struct rpc_line *line = rpc->idle;
    if (line != NULL)
        rpc->idle = line->next;
    pthread_mutex_unlock(&rpc->lock);
    *out = line;
    if (line != NULL)
        return SOREX_OK;
    line = calloc(1, sizeof *line);
    if (line == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a connection");
    line->rpc = rpc;
    buf_init(&line->answer, ANSWER_BYTES_MAX);
    enum sorex_status status = json_parser_new(&line->parser, err);
    line->curl = curl_easy_init();
    if (status == SOREX_OK && (line->curl == NULL || !set_options(line)))
        status = sorex_error_set(err, SOREX_NOMEM, "libcurl gives no connection");
    if (status != SOREX_OK) {
        line_free(line);
        return status;
    }
    *out = line;
    return SOREX_OK;
}

void rpc_line_give(struct rpc *rpc, struct rpc_line *line)
{
    buf_deinit(&line->answer);
    pthread_mutex_lock(&rpc->lock);
    line->next = rpc->idle;
    rpc->idle = line;
    pthread_mutex_unlock(&rpc->lock);
}

/* Reads the cookie file. *out_changed: it says something else than the last time. */
static enum sorex_status read_cookie(struct rpc *rpc, bool *out_changed, struct sorex_error *err)
{
    struct buf content = {0};
    enum sorex_status status = file_read(rpc->cookie_file, COOKIE_BYTES_MAX, &content, err);
    if (status != SOREX_OK) {
        buf_deinit(&content);
        (void)sorex_error_prefix(err, "%s: cookie file (is the node running?)", rpc->label);
        if (err != NULL)
            err->status = SOREX_AGAIN;
        return SOREX_AGAIN;
    }
    while (content.len != 0 && (content.data[content.len - 1] == '\n' || content.data[content.len - 1] == '\r'))
        content.len--;
    char *text = strndup((const char *)content.data, content.len);
    buf_deinit(&content);
    if (text == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for the cookie");
    pthread_mutex_lock(&rpc->lock);
    *out_changed = rpc->password == NULL || strcmp(rpc->password, text) != 0;
    free(rpc->password);
    rpc->password = text;
    pthread_mutex_unlock(&rpc->lock);
    return SOREX_OK;
}

static enum sorex_status set_password(struct rpc_line *line, struct sorex_error *err)
{
    struct rpc *rpc = line->rpc;
    bool changed;
    pthread_mutex_lock(&rpc->lock);
    bool wanted = rpc->cookie_file != NULL && rpc->password == NULL;
    pthread_mutex_unlock(&rpc->lock);
    if (wanted)
        TRY(read_cookie(rpc, &changed, err));
    pthread_mutex_lock(&rpc->lock);
    CURLcode code = curl_easy_setopt(line->curl, CURLOPT_USERPWD, rpc->password);
    pthread_mutex_unlock(&rpc->lock);
    return code == CURLE_OK ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "libcurl: %s", curl_easy_strerror(code));
}

/* Runs the transfer that was set up. */
static enum sorex_status perform(struct rpc_line *line, long *out_http, struct sorex_error *err)
{
    buf_reset(&line->answer);
    line->text[0] = '\0';
    line->too_large = false;
    line->interrupts = atomic_load(&line->rpc->interrupts);
    CURLcode code = curl_easy_perform(line->curl);
    if (code == CURLE_OK) {
        curl_easy_getinfo(line->curl, CURLINFO_RESPONSE_CODE, out_http);
        return SOREX_OK;
    }
    if (code == CURLE_ABORTED_BY_CALLBACK)
        return sorex_error_set(err, SOREX_STOPPED, "interrupted");
    if (line->too_large)
        return rpc_error(line->rpc, err, SOREX_CORRUPT, "the answer is larger than %zu bytes",
                         (size_t)ANSWER_BYTES_MAX);
    if (code == CURLE_OUT_OF_MEMORY || code == CURLE_WRITE_ERROR)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for an answer");
    return rpc_error(line->rpc, err, SOREX_AGAIN, "%s", line->text[0] != '\0' ? line->text : curl_easy_strerror(code));
}

static enum sorex_status post_once(struct rpc_line *line, long *out_http, struct sorex_error *err)
{
    CURL *curl = line->curl;
    TRY(set_password(line, err));
    bool set = curl_easy_setopt(curl, CURLOPT_URL, line->rpc->url) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_POST, 1L) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_HTTPHEADER, line->headers) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_POSTFIELDSIZE, (long)line->request.len) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_POSTFIELDS, line->request.data) == CURLE_OK;
    if (!set)
        return sorex_error_set(err, SOREX_NOMEM, "libcurl takes no request");
    return perform(line, out_http, err);
}

/* Sends line->request, with a fresh cookie when the old one is refused, and parses the answer if it is JSON. */
static enum sorex_status post(struct rpc_line *line, struct sorex_error *err)
{
    struct rpc *rpc = line->rpc;
    long http = 0;
    bool changed = false;
    TRY(post_once(line, &http, err));
    if (http == 401 && rpc->cookie_file != NULL) {
        TRY(read_cookie(rpc, &changed, err));
        TRY(post_once(line, &http, err));
    }
    if (http == 401 || http == 403)
        return rpc_error(rpc, err, SOREX_AGAIN, "HTTP %ld: the node refuses us: check %s", http,
                         rpc->cookie_file != NULL ? "cookie_file" : "user and password");
    struct sorex_error reason = {0};
    if (json_parse(line->parser, buf_view(&line->answer), &line->doc, &reason) == SOREX_OK)
        return SOREX_OK;
    if (http == 200)
        return rpc_error(rpc, err, SOREX_CORRUPT, "the answer is not JSON: %.200s", reason.text);
    return rpc_error(rpc, err, SOREX_AGAIN, "HTTP %ld%s", http, http == 404 ? " (is this the RPC port?)" : "");
}

static void write_request(struct json_writer *w, const struct rpc_request *request, uint32_t index, const char *version)
{
    json_object_begin(w);
    json_name(w, "jsonrpc");
    json_string_z(w, version);
    json_name(w, "id");
    json_uint(w, index);
    json_name(w, "method");
    json_string_z(w, request->method);
    json_name(w, "params");
    json_array_begin(w);
    if (request->text != NULL)
        json_string_z(w, request->text);
    if (request->has_number)
        json_uint(w, request->number + index);
    json_array_end(w);
    json_object_end(w);
}

/* 0: the answer has no error, or not one that we can read. */
static int64_t error_code(const struct rpc_line *line, const struct json_node *answer)
{
    const struct json_node *error = json_member(&line->doc, answer, "error");
    const struct json_node *number = error == NULL ? NULL : json_member(&line->doc, error, "code");
    int64_t code = 0;
    if (number != NULL)
        (void)json_i64(number, &code);
    return code;
}

/* The result in an answer object, or its error as a status. */
static enum sorex_status read_result(struct rpc_line *line, const struct json_node *answer, const char *method,
                                     const struct json_node **out, struct sorex_error *err)
{
    struct rpc *rpc = line->rpc;
    const struct json_node *error = json_member(&line->doc, answer, "error");
    *out = json_member(&line->doc, answer, "result");
    if (error == NULL || error->kind == JSON_NULL) {
        if (*out != NULL)
            return SOREX_OK;
        return rpc_error(rpc, err, SOREX_CORRUPT, "%s: the answer has neither result nor error", method);
    }
    int64_t code = error_code(line, answer);
    const struct json_node *message = json_member(&line->doc, error, "message");
    struct bytes text = message != NULL && message->kind == JSON_STRING ? message->text : bytes_str("no message");
    int text_len = text.len < 300 ? (int)text.len : 300;
    if (code == CODE_WARMUP)
        return rpc_error(rpc, err, SOREX_AGAIN, "the node is starting: %.*s", text_len, (const char *)text.data);
    bool gone = code == CODE_MISC || code == CODE_BLOCK_NOT_FOUND || code == CODE_OUT_OF_RANGE;
    enum sorex_status status = gone ? SOREX_GONE : code == CODE_NO_METHOD ? SOREX_INVALID : SOREX_AGAIN;
    return rpc_error(rpc, err, status, "%s: error %lld: %.*s", method, (long long)code, text_len,
                     (const char *)text.data);
}

enum sorex_status rpc_call(struct rpc_line *line, const struct rpc_request *request, const struct json_doc **out_doc,
                           const struct json_node **out_result, struct sorex_error *err)
{
    struct json_writer w;
    buf_reset(&line->request);
    json_writer_init(&w, &line->request, false, err);
    write_request(&w, request, 0, "1.0");
    TRY(json_writer_finish(&w));
    TRY(post(line, err));
    *out_doc = &line->doc;
    return read_result(line, &line->doc.nodes[0], request->method, out_result, err);
}

enum sorex_status rpc_batch(struct rpc_line *line, const struct rpc_request *first, uint32_t count, rpc_result_fn *each,
                            void *user_data, struct sorex_error *err)
{
    struct json_writer w;
    buf_reset(&line->request);
    json_writer_init(&w, &line->request, false, err);
    json_array_begin(&w);
    for (uint32_t i = 0; i < count; i++)
        write_request(&w, first, i, "2.0");
    json_array_end(&w);
    TRY(json_writer_finish(&w));
    TRY(post(line, err));
    const struct json_node *root = &line->doc.nodes[0];
    const struct json_node *result;
    if (root->kind != JSON_ARRAY)
        return error_code(line, root) == CODE_WARMUP ? read_result(line, root, first->method, &result, err)
                                                     : rpc_error(line->rpc, err, SOREX_BUSY, "%s: this node takes no batches",
                                                                 first->method);
    uint32_t index = 0;
    for (const struct json_node *answer = json_first(&line->doc, root); answer != NULL;
         answer = json_next(&line->doc, answer)) {
        const struct json_node *id = json_member(&line->doc, answer, "id");
        uint64_t number;
        if (id == NULL || !json_u64(id, &number) || number != index || index >= count)
            return rpc_error(line->rpc, err, SOREX_CORRUPT, "%s: the answers of a batch are not in order",
                             first->method);
        enum sorex_status status = read_result(line, answer, first->method, &result, err);
        if (status != SOREX_OK)
            return index == 0 ? status : SOREX_OK;
        TRY(each(user_data, index++, result, err));
    }
    if (index == 0)
        return rpc_error(line->rpc, err, SOREX_CORRUPT, "%s: the answer to a batch is empty", first->method);
    return SOREX_OK;
}

enum sorex_status rpc_get(struct rpc_line *line, const char *path, long *out_http, struct bytes *out_body,
                          struct sorex_error *err)
{
    CURL *curl = line->curl;
    char *url = join(line->rpc->root, "", path);
    bool set = url != NULL && curl_easy_setopt(curl, CURLOPT_URL, url) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_HTTPGET, 1L) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_HTTPHEADER, NULL) == CURLE_OK &&
               curl_easy_setopt(curl, CURLOPT_USERPWD, NULL) == CURLE_OK;
    free(url);
    if (!set)
        return sorex_error_set(err, SOREX_NOMEM, "libcurl takes no request");
    TRY(perform(line, out_http, err));
    *out_body = buf_view(&line->answer);
    return SOREX_OK;
}
