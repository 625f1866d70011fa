/* The HTTP server, asked by raw bytes: pages, refusals, requests that are none, many at once, its end. */
#include <arpa/inet.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/log.h"
#include "serve/metrics.h"

#define PATIENCE_S 30
#define STATUS "{\"pipeline\":\"p\",\"state\":\"running\"}"

struct given {
    bool fails;
    _Atomic int asked;
    pthread_mutex_t lock; /* held by a test: answers wait */
};

static struct given given;
static struct metrics *metrics;

static enum sorex_status give_status(void *user_data, struct buf *out, struct sorex_error *err)
{
    struct given *from = user_data;
    atomic_fetch_add(&from->asked, 1);
    (void)pthread_mutex_lock(&from->lock);
    (void)pthread_mutex_unlock(&from->lock);
    if (from->fails)
        return sorex_error_set(err, SOREX_IO, "no status today");
    return buf_append_str(out, STATUS, err);
}

static int setup(void **state)
{
    (void)state;
    given = (struct given){0};
    (void)pthread_mutex_init(&given.lock, NULL);
    return metrics_start("0", give_status, &given, &metrics, NULL) == SOREX_OK ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    metrics_stop(metrics);
    metrics = NULL;
    (void)pthread_mutex_destroy(&given.lock);
    return 0;
}

static int connect_to(uint16_t port)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = PATIENCE_S};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience), 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&at, sizeof at), 0);
    return fd;
}

/* Until the server closes the connection, or the patience ends. */
static void read_to_end(int fd, char *out, size_t size)
{
    size_t used = 0;
    ssize_t n = 1;
    while (n > 0 && used + 1 < size) {
        n = recv(fd, out + used, size - 1 - used, 0);
        used += n > 0 ? (size_t)n : 0;
    }
    out[used] = '\0';
}

static void ask_bytes(const char *request, size_t len, char *out, size_t size)
{
    int fd = connect_to(metrics_port(metrics));
    while (len > 0) {
        ssize_t n = send(fd, request, len, MSG_NOSIGNAL);
        if (n <= 0)
            break; /* refused before its end */
        request += n;
        len -= (size_t)n;
    }
    (void)shutdown(fd, SHUT_WR);
    read_to_end(fd, out, size);
    (void)close(fd);
}

static void ask(const char *request, char *out, size_t size) { ask_bytes(request, strlen(request), out, size); }

static void assert_begins(const char *text, const char *begin)
{
    if (strncmp(text, begin, strlen(begin)) != 0)
        fail_msg("\"%.80s\" does not begin with \"%s\"", text, begin);
}

static void assert_has(const char *text, const char *part)
{
    if (strstr(text, part) == NULL)
        fail_msg("\"%.400s\" does not have \"%s\"", text, part);
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"

static void pages(void **state)
{
    char text[65536];
    (void)state;
    ask(GET("/status"), text, sizeof text);
    assert_begins(text, "HTTP/1.1 200 ");
    assert_has(text, "Content-Type: application/json\r\n");
    assert_has(text, "\r\n\r\n" STATUS "\n");
    ask(GET("/metrics"), text, sizeof text);
    assert_begins(text, "HTTP/1.1 200 ");
    assert_has(text, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n");
    assert_has(text, "\nsorex_pipeline_state{pipeline=\"p\",state=\"running\"} 1\n");
    assert_has(text, "\nprocess_max_fds ");
    ask("HEAD /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", text, sizeof text);
    assert_begins(text, "HTTP/1.1 200 ");
    assert_string_equal(strstr(text, "\r\n\r\n"), "\r\n\r\n");
    ask("GET /metrics?x=1 HTTP/1.0\r\n\r\n", text, sizeof text);
    assert_has(text, " 200 ");
    assert_int_equal(atomic_load(&given.asked), 4);
}

static void nothing_else_is_there(void **state)
{
    static const char *const paths[] = {GET("/"), GET("/metrics/"), GET("//metrics"), GET("/../status"), GET("/statu")};
    char text[4096];
    (void)state;
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        ask(paths[i], text, sizeof text);
        assert_begins(text, "HTTP/1.1 404 ");
        assert_has(text, "there are /metrics and /status\n");
    }
    static const char *const methods[] = {
        "POST /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /status HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "DELETE /status HTTP/1.1\r\nHost: x\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        "BREW / HTTP/1.1\r\nHost: x\r\n\r\n"};
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        ask(methods[i], text, sizeof text);
        assert_begins(text, "HTTP/1.1 405 ");
        assert_has(text, "Allow: GET, HEAD\r\n");
    }
    assert_int_equal(atomic_load(&given.asked), 0);
}

static void a_status_that_fails(void **state)
{
    char text[4096];
    (void)state;
    given.fails = true;
    ask(GET("/metrics"), text, sizeof text);
    assert_begins(text, "HTTP/1.1 503 ");
    assert_has(text, "\r\n\r\nno status today\n");
}

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return *seed >> 33;
}

/* Whatever comes, the next request is answered. */
static void requests_that_are_none(void **state)
{
    static const char whole[] = "GET /metrics HTTP/1.1\r\nHost: x\r\nAccept: */*\r\nConnection: close\r\n\r\n";
    char text[65536], bytes[sizeof whole];
    char *large = malloc(1 << 20);
    (void)state;
    assert_non_null(large);
    memset(large, 'a', 1 << 20);
    memcpy(large, "GET /", 5);
    ask_bytes(large, 1 << 20, text, sizeof text);
    assert_true(text[0] == '\0' || strstr(text, " 4") != NULL); /* refused, or cut off while it was sent */
    memcpy(large, "GET /metrics HTTP/1.1\r\nX: ", 26);
    ask_bytes(large, 1 << 20, text, sizeof text);
    assert_true(text[0] == '\0' || strstr(text, " 4") != NULL);
    free(large);
    for (uint64_t round = 1; round <= 300; round++) {
        uint64_t seed = round;
        memcpy(bytes, whole, sizeof whole);
        for (uint64_t changes = 1 + next_random(&seed) % 4; changes > 0; changes--)
            bytes[next_random(&seed) % (sizeof whole - 1)] = (char)next_random(&seed);
        ask_bytes(bytes, next_random(&seed) % sizeof whole, text, sizeof text);
        assert_true(text[0] == '\0' || strncmp(text, "HTTP/1.", 7) == 0);
    }
    ask(GET("/metrics"), text, sizeof text);
    assert_begins(text, "HTTP/1.1 200 ");
}

/* More than are served at once, again and again: each makes room when it goes. */
static void silent_connections_that_go(void **state)
{
    enum { MANY = 40 };
    char text[65536];
    (void)state;
    for (int round = 0; round < 10; round++) {
        int fds[MANY];
        for (int i = 0; i < MANY; i++)
            fds[i] = connect_to(metrics_port(metrics));
        for (int i = 0; i < MANY; i++)
            (void)close(fds[i]);
        ask(GET("/status"), text, sizeof text);
        assert_begins(text, "HTTP/1.1 200 ");
    }
}

/* Others have to wait for them, but not for ever. */
static void silent_connections_that_stay(void **state)
{
    enum { MANY = 16 };
    char text[65536];
    int fds[MANY];
    (void)state;
    for (int i = 0; i < MANY; i++) {
        fds[i] = connect_to(metrics_port(metrics));
        if (i % 2 == 0)
            assert_int_equal(send(fds[i], "GET /met", 8, 0), 8);
    }
    ask(GET("/status"), text, sizeof text);
    assert_begins(text, "HTTP/1.1 200 ");
    for (int i = 0; i < MANY; i++)
        (void)close(fds[i]);
}

static void *scrape_thread(void *user_data)
{
    int *answers = user_data;
    for (int i = 0; i < 50; i++) {
        char text[65536];
        ask(GET("/metrics"), text, sizeof text);
        *answers += strstr(text, "\nprocess_max_fds ") != NULL;
    }
    return NULL;
}

static void several_at_once(void **state)
{
    pthread_t threads[4];
    int answers[4] = {0};
    (void)state;
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, scrape_thread, &answers[i]), 0);
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(answers[i], 50);
    }
}

static void *stop_thread(void *user_data)
{
    metrics_stop(user_data);
    return NULL;
}

/* What is being answered when it ends is answered or cut off; the status is not asked for afterwards. */
static void ends_while_it_answers(void **state)
{
    char text[65536];
    pthread_t thread;
    (void)state;
    (void)pthread_mutex_lock(&given.lock);
    int fd = connect_to(metrics_port(metrics)), silent = connect_to(metrics_port(metrics));
    assert_int_equal(send(fd, GET("/status"), strlen(GET("/status")), 0), strlen(GET("/status")));
    while (atomic_load(&given.asked) == 0)
        continue;
    assert_int_equal(pthread_create(&thread, NULL, stop_thread, metrics), 0);
    metrics = NULL;
    (void)pthread_mutex_unlock(&given.lock);
    assert_int_equal(pthread_join(thread, NULL), 0);
    read_to_end(fd, text, sizeof text);
    assert_true(text[0] == '\0' || strncmp(text, "HTTP/1.1 200 ", 13) == 0);
    read_to_end(silent, text, sizeof text);
    assert_string_equal(text, "");
    (void)close(fd);
    (void)close(silent);
    assert_int_equal(atomic_load(&given.asked), 1);
}

static void refused(const char *address, enum sorex_status status, const char *text)
{
    struct metrics *other = NULL;
    struct sorex_error err = {0};
    assert_int_equal(metrics_start(address, give_status, &given, &other, &err), status);
    assert_has(err.text, text);
    assert_null(other);
}

static void addresses(void **state)
{
    static const char *const wrong[] = {"",       ":",     "host:", "127.0.0.1:port", "127.0.0.1:-1", "127.0.0.1:80 ",
                                        "::1:80", "[]:80", "9100x"};
    char taken[32];
    struct sorex_error err = {0};
    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        refused(wrong[i], SOREX_INVALID, "metrics: ");
    refused("no.such.host.invalid:80", SOREX_INVALID, "metrics: no.such.host.invalid:80: ");
    refused("127.0.0.1:99999", SOREX_INVALID, "metrics: ");
    (void)snprintf(taken, sizeof taken, "127.0.0.1:%u", metrics_port(metrics));
    refused(taken, SOREX_IO, "Address already in use");
    static const char *const right[] = {"0", ":0", "127.0.0.1:0", "localhost:0", "0.0.0.0:0"};
    for (size_t i = 0; i < sizeof right / sizeof right[0]; i++) {
        struct metrics *other = NULL;
        if (metrics_start(right[i], give_status, &given, &other, &err) != SOREX_OK)
            fail_msg("%s", err.text);
        assert_int_not_equal(metrics_port(other), 0);
        metrics_stop(other);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(pages, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_else_is_there, setup, teardown),
        cmocka_unit_test_setup_teardown(a_status_that_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(requests_that_are_none, setup, teardown),
        cmocka_unit_test_setup_teardown(silent_connections_that_go, setup, teardown),
        cmocka_unit_test_setup_teardown(silent_connections_that_stay, setup, teardown),
        cmocka_unit_test_setup_teardown(several_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(ends_while_it_answers, setup, teardown),
        cmocka_unit_test_setup_teardown(addresses, setup, teardown),
    };
    log_level_set(LOG_OFF);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
