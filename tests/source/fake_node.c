/* One thread accepts, one thread a connection answers its requests one after the other. */
#include "fake_node.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/limits.h"
#include "json/json.h"
#include "json/writer.h"

#define CONNECTIONS_MAX 256
#define HEAD_BYTES_MAX 8192
#define GATHER_MS 2000

struct connection {
    struct fake_node *fake;
    pthread_t thread;
    int fd;
};

struct fake_node {
    struct source *chain;
    char url[64];
    int listener;
    pthread_t acceptor;
    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t changed;
    struct connection connections[CONNECTIONS_MAX];
    uint32_t connection_count;
    bool closing, rest, batches;
    char password[128];
    enum fake_fault fault;
    uint32_t fault_skip, fault_count;
    uint32_t gather, in_hand;
    struct fake_counts counts;
};

struct request {
    char head[HEAD_BYTES_MAX];
    struct buf body;
};

struct answer {
    int http;
    const char *type;
    struct buf body;
};

static bool send_all(int fd, const void *data, size_t len)
{
    const char *at = data;
    while (len > 0) {
        ssize_t n = send(fd, at, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        at += n;
        len -= (size_t)n;
    }
    return true;
}

static bool read_request(int fd, struct request *request)
{
    size_t len = 0;
    char *end = NULL;
    while (end == NULL) {
        ssize_t n = len + 1 < HEAD_BYTES_MAX ? recv(fd, request->head + len, 1, 0) : 0;
        if (n <= 0)
            return false;
        request->head[++len] = '\0';
        end = len >= 4 && memcmp(request->head + len - 4, "\r\n\r\n", 4) == 0 ? request->head + len : NULL;
    }
    const char *header = strcasestr(request->head, "\r\nContent-Length:");
    size_t body_len = header == NULL ? 0 : strtoul(header + 17, NULL, 10);
    buf_reset(&request->body);
    CHECK(buf_reserve(&request->body, body_len + 1, NULL) == SOREX_OK);
    while (request->body.len < body_len) {
        ssize_t n = recv(fd, request->body.data + request->body.len, body_len - request->body.len, 0);
        if (n <= 0)
            return false;
        request->body.len += (size_t)n;
    }
    return true;
}

/* RFC 4648. */
static void base64(const char *text, char *out)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i += 3) {
        uint32_t group = 0;
        for (size_t j = 0; j < 3; j++)
            group = group << 8 | (i + j < len ? (uint8_t)text[i + j] : 0u);
        for (size_t j = 0; j < 4; j++)
            *out++ = i + j <= len ? digits[group >> (18 - 6 * j) & 63] : '=';
    }
    *out = '\0';
}

static bool allowed(struct fake_node *fake, const struct request *request)
{
    char expected[256] = "Authorization: Basic ";
    pthread_mutex_lock(&fake->lock);
    bool any = fake->password[0] == '\0';
    base64(fake->password, expected + strlen(expected));
    bool good = any || strstr(request->head, expected) != NULL;
    fake->counts.refused += !good;
    pthread_mutex_unlock(&fake->lock);
    return good;
}

static void error_member(struct json_writer *w, int code, const char *message)
{
    json_name(w, "result");
    json_null(w);
    json_name(w, "error");
    json_object_begin(w);
    json_name(w, "code");
    json_int(w, code);
    json_name(w, "message");
    json_string_z(w, message);
    json_object_end(w);
}

static void result_member(struct json_writer *w) { json_name(w, "result"); }

static void answer_tip(struct fake_node *fake, struct json_writer *w)
{
    uint32_t height = 0;
    uint8_t hash[HASH_BYTES] = {0};
    if (fake->chain->type->tip(fake->chain, &height, hash, NULL) != SOREX_OK) {
        error_member(w, -28, "Loading block index...");
        return;
    }
    result_member(w);
    json_object_begin(w);
    json_name(w, "chain");
    json_string_z(w, "regtest");
    json_name(w, "blocks");
    json_uint(w, height);
    json_name(w, "bestblockhash");
    json_hash_display(w, hash);
    json_object_end(w);
}

static void answer_hash(struct fake_node *fake, struct json_writer *w, const struct json_node *parameter)
{
    uint64_t height = 0;
    uint8_t hash[HASH_BYTES];
    CHECK(parameter != NULL && json_u64(parameter, &height));
    if (fake->chain->type->hash_at(fake->chain, (uint32_t)height, hash, NULL) != SOREX_OK) {
        error_member(w, -8, "Block height out of range");
        return;
    }
    result_member(w);
    json_hash_display(w, hash);
}

/* The block of a hash, wherever it is in the chain. */
static bool find_block(struct fake_node *fake, struct bytes text, struct buf *out)
{
    uint32_t tip = 0;
    uint8_t wanted[HASH_BYTES];
    uint8_t hash[HASH_BYTES];
    CHECK(hash_parse_display(text, wanted, NULL) == SOREX_OK);
    if (fake->chain->type->tip(fake->chain, &tip, hash, NULL) != SOREX_OK)
        return false;
    for (uint32_t height = 0; height <= tip; height++) {
        if (fake->chain->type->hash_at(fake->chain, height, hash, NULL) == SOREX_OK &&
            memcmp(hash, wanted, HASH_BYTES) == 0)
            return fake->chain->type->fetch(fake->chain, height, hash, out, NULL) == SOREX_OK;
    }
    return false;
}

static void answer_block(struct fake_node *fake, struct json_writer *w, const struct json_node *parameter)
{
    struct buf block = {0};
    CHECK(parameter != NULL && parameter->kind == JSON_STRING);
    if (find_block(fake, parameter->text, &block)) {
        result_member(w);
        json_hex(w, buf_view(&block));
    } else {
        error_member(w, -5, "Block not found");
    }
    buf_deinit(&block);
}

static void answer_call(struct fake_node *fake, struct json_writer *w, const struct json_doc *doc,
                        const struct json_node *call)
{
    struct bytes method = json_member(doc, call, "method")->text;
    const struct json_node *parameter = json_first(doc, json_member(doc, call, "params"));
    json_object_begin(w);
    if (bytes_is(method, "getblockchaininfo"))
        answer_tip(fake, w);
    else if (bytes_is(method, "getblockhash"))
        answer_hash(fake, w, parameter);
    else if (bytes_is(method, "getblock"))
        answer_block(fake, w, parameter);
    else
        error_member(w, -32601, "Method not found");
    json_name(w, "id");
    json_raw(w, json_member(doc, call, "id")->raw);
    json_object_end(w);
}

static void answer_post(struct fake_node *fake, const struct request *request, struct answer *answer)
{
    struct json_parser *parser;
    struct json_doc doc;
    struct json_writer w;
    CHECK(json_parser_new(&parser, NULL) == SOREX_OK);
    CHECK(json_parse(parser, buf_view(&request->body), &doc, NULL) == SOREX_OK);
    bool batch = doc.nodes[0].kind == JSON_ARRAY;
    pthread_mutex_lock(&fake->lock);
    fake->counts.batches += batch;
    bool batches = fake->batches;
    pthread_mutex_unlock(&fake->lock);
    json_writer_init(&w, &answer->body, false, NULL);
    if (!batch) {
        answer_call(fake, &w, &doc, &doc.nodes[0]);
    } else if (!batches) {
        answer->http = 500;
        json_object_begin(&w);
        error_member(&w, -32700, "Top-level object parse error");
        json_object_end(&w);
    } else {
        json_array_begin(&w);
        for (const struct json_node *call = json_first(&doc, &doc.nodes[0]); call != NULL; call = json_next(&doc, call))
            answer_call(fake, &w, &doc, call);
        json_array_end(&w);
    }
    CHECK(json_writer_finish(&w) == SOREX_OK);
    json_parser_free(parser);
}

static void answer_get(struct fake_node *fake, const struct request *request, struct answer *answer)
{
    static const char block_path[] = "GET /rest/block/";
    pthread_mutex_lock(&fake->lock);
    fake->counts.gets++;
    bool rest = fake->rest;
    pthread_mutex_unlock(&fake->lock);
    answer->http = 404;
    if (!rest)
        return;
    if (strncmp(request->head, "GET /rest/chaininfo.json ", 25) == 0) {
        answer->http = 200;
        CHECK(buf_append_str(&answer->body, "{\"chain\":\"regtest\"}\n", NULL) == SOREX_OK);
    } else if (strncmp(request->head, block_path, strlen(block_path)) == 0) {
        answer->type = "application/octet-stream";
        answer->http = find_block(fake, bytes_of(request->head + strlen(block_path), 64), &answer->body) ? 200 : 404;
    }
}

static enum fake_fault take_fault(struct fake_node *fake)
{
    enum fake_fault fault = FAKE_NONE;
    pthread_mutex_lock(&fake->lock);
    if (fake->fault_count != 0 && fake->fault_skip != 0) {
        fake->fault_skip--;
    } else if (fake->fault_count != 0) {
        fake->fault_count--;
        fault = fake->fault;
    }
    pthread_mutex_unlock(&fake->lock);
    return fault;
}

static void json_error(struct answer *answer, int http, int code, const char *message)
{
    struct json_writer w;
    answer->http = http;
    json_writer_init(&w, &answer->body, false, NULL);
    json_object_begin(&w);
    error_member(&w, code, message);
    json_name(&w, "id");
    json_uint(&w, 0);
    json_object_end(&w);
    CHECK(json_writer_finish(&w) == SOREX_OK);
}

static void page(struct answer *answer, int http, const char *text)
{
    answer->http = http;
    answer->type = "text/html";
    CHECK(buf_append_str(&answer->body, text, NULL) == SOREX_OK);
}

/* What goes over the line in place of an answer. False: close the connection now. */
static bool spoil(enum fake_fault fault, int fd, struct answer *answer)
{
    static const char truncated[] = "HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n{\"result\":";
    switch (fault) {
    case FAKE_WARMUP:
        json_error(answer, 500, -28, "Verifying blocks...");
        return true;
    case FAKE_500:
        page(answer, 500, "<html>Internal Server Error</html>");
        return true;
    case FAKE_503:
        page(answer, 503, "Work queue depth exceeded");
        return true;
    case FAKE_GARBAGE:
        page(answer, 200, "<html>Welcome to nginx!</html>");
        return true;
    case FAKE_WRONG_JSON:
        page(answer, 200, "{\"hello\":[1,2,3]}");
        return true;
    case FAKE_WRONG_RESULT:
        page(answer, 200, "{\"result\":{\"blocks\":-5,\"bestblockhash\":true},\"error\":null,\"id\":0}");
        return true;
    case FAKE_PRUNED:
        json_error(answer, 500, -1, "Block not available (pruned data)");
        return true;
    case FAKE_NO_METHOD:
        json_error(answer, 404, -32601, "Method not found");
        return true;
    case FAKE_TRUNCATED:
        (void)send_all(fd, truncated, strlen(truncated));
        return false;
    case FAKE_SILENT: {
        struct pollfd gone = {.fd = fd, .events = POLLRDHUP};
        (void)poll(&gone, 1, 60000);
        return false;
    }
    case FAKE_NONE:
    case FAKE_CLOSED:
        break;
    }
    return false;
}

static bool answer_request(struct fake_node *fake, int fd, const struct request *request)
{
    struct answer answer = {.http = 200, .type = "application/json"};
    char head[256];
    bool get = strncmp(request->head, "GET ", 4) == 0;
    enum fake_fault fault = take_fault(fake);
    bool keep = true;
    if (fault != FAKE_NONE)
        keep = spoil(fault, fd, &answer);
    else if (get)
        answer_get(fake, request, &answer);
    else if (allowed(fake, request))
        answer_post(fake, request, &answer);
    else
        answer.http = 401;
    if (keep) {
        int len = snprintf(head, sizeof head, "HTTP/1.1 %d Whatever\r\nContent-Type: %s\r\nContent-Length: %zu\r\n\r\n",
                           answer.http, answer.type, answer.body.len);
        keep = send_all(fd, head, (size_t)len) && send_all(fd, answer.body.data, answer.body.len);
    }
    buf_deinit(&answer.body);
    return keep;
}

/* Counts a request in, and waits for company when the test wants to see several at once. */
static void enter(struct fake_node *fake, const struct request *request)
{
    struct timespec deadline;
    (void)clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += GATHER_MS / 1000;
    pthread_mutex_lock(&fake->lock);
    fake->counts.posts += strncmp(request->head, "POST ", 5) == 0;
    fake->in_hand++;
    if (fake->in_hand > fake->counts.at_once)
        fake->counts.at_once = fake->in_hand;
    pthread_cond_broadcast(&fake->changed);
    while (!fake->closing && fake->counts.at_once < fake->gather &&
           pthread_cond_timedwait(&fake->changed, &fake->lock, &deadline) != ETIMEDOUT) {
    }
    pthread_mutex_unlock(&fake->lock);
}

static void leave(struct fake_node *fake)
{
    pthread_mutex_lock(&fake->lock);
    fake->in_hand--;
    pthread_mutex_unlock(&fake->lock);
}

static void *serve(void *argument)
{
    struct connection *connection = argument;
    struct request request = {0};
    bool keep = true;
    while (keep && read_request(connection->fd, &request)) {
        enter(connection->fake, &request);
        keep = answer_request(connection->fake, connection->fd, &request);
        leave(connection->fake);
    }
    (void)shutdown(connection->fd, SHUT_RDWR);
    buf_deinit(&request.body);
    return NULL;
}

static void *accept_all(void *argument)
{
    struct fake_node *fake = argument;
    for (;;) {
        int fd = accept(fake->listener, NULL, NULL);
        if (fd < 0)
            return NULL;
        CHECK(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)) == 0);
        pthread_mutex_lock(&fake->lock);
        CHECK(fake->connection_count < CONNECTIONS_MAX);
        struct connection *connection = &fake->connections[fake->connection_count++];
        fake->counts.connections++;
        connection->fake = fake;
        connection->fd = fd;
        CHECK(pthread_create(&connection->thread, NULL, serve, connection) == 0);
        pthread_mutex_unlock(&fake->lock);
    }
}

struct fake_node *fake_node_new(struct source *chain)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    struct fake_node *fake = calloc(1, sizeof *fake);
    CHECK(fake != NULL);
    fake->chain = chain;
    fake->batches = true;
    CHECK(pthread_mutex_init(&fake->lock, NULL) == 0);
    CHECK(pthread_cond_init(&fake->changed, NULL) == 0);
    fake->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fake->listener >= 0 && bind(fake->listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(fake->listener, 64) == 0);
    CHECK(getsockname(fake->listener, (struct sockaddr *)&address, &len) == 0);
    (void)snprintf(fake->url, sizeof fake->url, "http://127.0.0.1:%u", ntohs(address.sin_port));
    CHECK(pthread_create(&fake->acceptor, NULL, accept_all, fake) == 0);
    return fake;
}

void fake_node_free(struct fake_node *fake)
{
    pthread_mutex_lock(&fake->lock);
    fake->closing = true;
    pthread_cond_broadcast(&fake->changed);
    pthread_mutex_unlock(&fake->lock);
    (void)shutdown(fake->listener, SHUT_RDWR);
    pthread_join(fake->acceptor, NULL);
    (void)close(fake->listener);
    for (uint32_t i = 0; i < fake->connection_count; i++) {
        (void)shutdown(fake->connections[i].fd, SHUT_RDWR);
        pthread_join(fake->connections[i].thread, NULL);
        (void)close(fake->connections[i].fd);
    }
    pthread_cond_destroy(&fake->changed);
    pthread_mutex_destroy(&fake->lock);
    free(fake);
}

const char *fake_node_url(const struct fake_node *fake) { return fake->url; }

void fake_node_password(struct fake_node *fake, const char *password)
{
    pthread_mutex_lock(&fake->lock);
    (void)snprintf(fake->password, sizeof fake->password, "%s", password == NULL ? "" : password);
    pthread_mutex_unlock(&fake->lock);
}

void fake_node_offer(struct fake_node *fake, bool rest, bool batches)
{
    pthread_mutex_lock(&fake->lock);
    fake->rest = rest;
    fake->batches = batches;
    pthread_mutex_unlock(&fake->lock);
}

void fake_node_fail(struct fake_node *fake, enum fake_fault fault, uint32_t skip, uint32_t count)
{
    pthread_mutex_lock(&fake->lock);
    fake->fault = fault;
    fake->fault_skip = skip;
    fake->fault_count = count;
    pthread_mutex_unlock(&fake->lock);
}

void fake_node_gather(struct fake_node *fake, uint32_t count)
{
    pthread_mutex_lock(&fake->lock);
    fake->gather = count;
    pthread_mutex_unlock(&fake->lock);
}

struct fake_counts fake_node_counts(struct fake_node *fake)
{
    pthread_mutex_lock(&fake->lock);
    struct fake_counts counts = fake->counts;
    pthread_mutex_unlock(&fake->lock);
    return counts;
}
