/* libFuzzer: a node that answers a call and a batch with any bytes as the body. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/check.h"
#include "source/rpc.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct {
    pthread_mutex_t lock;
    struct bytes body;
    int listener;
} node = {.lock = PTHREAD_MUTEX_INITIALIZER};

static bool write_all(int fd, struct bytes bytes)
{
    for (size_t at = 0; at < bytes.len;) {
        ssize_t sent = send(fd, bytes.data + at, bytes.len - at, MSG_NOSIGNAL);
        if (sent <= 0)
            return false;
        at += (size_t)sent;
    }
    return true;
}

/* One request: its head, then as many bytes as it says. False when the client is gone. */
static bool request_read(int fd)
{
    char head[4096];
    size_t len = 0;
    char *end = NULL;
    while (end == NULL && len + 1 < sizeof head) {
        ssize_t got = recv(fd, head + len, sizeof head - 1 - len, 0);
        if (got <= 0)
            return false;
        len += (size_t)got;
        head[len] = '\0';
        end = strstr(head, "\r\n\r\n");
    }
    const char *length = strstr(head, "Content-Length: ");
    unsigned body = 0;
    if (end == NULL || length == NULL || sscanf(length, "Content-Length: %u", &body) != 1)
        return false;
    size_t have = len - (size_t)(end + 4 - head);
    while (have < body) {
        ssize_t got = recv(fd, head, sizeof head, 0);
        if (got <= 0)
            return false;
        have += (size_t)got;
    }
    return true;
}

static void *node_thread(void *user_data)
{
    (void)user_data;
    for (;;) {
        int fd = accept(node.listener, NULL, NULL);
        CHECK(fd >= 0);
        while (request_read(fd)) {
            char head[128];
            pthread_mutex_lock(&node.lock);
            int len = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", node.body.len);
            bool sent = write_all(fd, bytes_of(head, (size_t)len)) && write_all(fd, node.body);
            pthread_mutex_unlock(&node.lock);
            if (!sent)
                break;
        }
        (void)close(fd);
    }
    return NULL;
}

static struct rpc *node_make(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    pthread_t thread;
    char url[64];
    struct rpc *rpc;
    node.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(node.listener >= 0 && bind(node.listener, (struct sockaddr *)&address, sizeof address) == 0);
    CHECK(listen(node.listener, 8) == 0 && getsockname(node.listener, (struct sockaddr *)&address, &len) == 0);
    CHECK(pthread_create(&thread, NULL, node_thread, NULL) == 0 && pthread_detach(thread) == 0);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", ntohs(address.sin_port));
    struct rpc_options options = {.url = url, .timeout_ms = 20000};
    CHECK(rpc_new(&options, &rpc, NULL) == SOREX_OK);
    return rpc;
}

static enum sorex_status on_result(void *user_data, uint32_t index, const struct json_node *result,
                                   struct sorex_error *err)
{
    (void)err;
    CHECK(index == *(uint32_t *)user_data && result != NULL);
    ++*(uint32_t *)user_data;
    return SOREX_OK;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct rpc *rpc;
    if (rpc == NULL)
        rpc = node_make();
    pthread_mutex_lock(&node.lock);
    node.body = bytes_of(data, size);
    pthread_mutex_unlock(&node.lock);
    struct rpc_line *line;
    const struct json_doc *doc;
    const struct json_node *result;
    struct sorex_error err = {0};
    struct rpc_request request = {.method = "getblockhash", .has_number = true, .number = 3};
    CHECK(rpc_line_take(rpc, &line, NULL) == SOREX_OK);
    if (rpc_call(line, &request, &doc, &result, &err) == SOREX_OK)
        CHECK(result != NULL && doc->count > 0);
    else
        CHECK(err.text[0] != '\0');
    uint32_t results = 0;
    if (rpc_batch(line, &request, 3, on_result, &results, &err) != SOREX_OK)
        CHECK(err.text[0] != '\0');
    CHECK(results <= 3);
    rpc_line_give(rpc, line);
    return 0;
}
