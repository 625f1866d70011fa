/* include/sorex/filter.h, as a program of somebody else's uses it; one filter, many threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "sorex/filter.h"

#include "base/file.h"
#include "base/limits.h"
#include "map.h"

#define THREADS 4
#define EVENTS 300

static struct sorex_error err;

static void load(const char *guest, const struct sorex_filter_options *options, struct sorex_filter **out)
{
    char path[512];
    struct buf wasm = {0};
    const char *dir = getenv("SOREX_GUESTS");
    assert_non_null(dir);
    (void)snprintf(path, sizeof path, "%s/filter_%s.wasm", dir, guest);
    traps_restore();
    assert_int_equal(file_read(path, SOREX_MODULE_BYTES_MAX, &wasm, &err), SOREX_OK);
    if (sorex_filter_load(wasm.data, wasm.len, options, out, &err) != SOREX_OK)
        fail_msg("%s", err.text);
    buf_deinit(&wasm);
}

/* An event in canonical form. */
static size_t event_text(char out[512], unsigned id, const char *email)
{
    return (size_t)snprintf(out, 512,
                            "{\"before\":null,\"after\":{\"email\":\"%s\",\"id\":%u},\"op\":\"insert\",\"source\":{"
                            "\"source_name\":\"pg\",\"offset\":\"%u\","
                            "\"timestamp\":1},\"ts\":2,\"schema\":null,\"table\":\"users\",\"primary_key\":null,"
                            "\"snapshot\":null,\"transaction\":null,"
                            "\"envelope_version\":1,\"before_is_key_only\":false}",
                            email, id, id);
}

struct worker {
    struct sorex_filter *filter;
    unsigned number, wrong, failed;
};

static void *work(void *user_data)
{
    struct worker *w = user_data;
    struct sorex_filter_instance *instance = NULL;
    struct sorex_error why;
    char in[512], want[512];
    if (sorex_filter_open(w->filter, &instance, &why) != SOREX_OK) {
        w->failed++;
        return NULL;
    }
    for (unsigned i = 0; i < EVENTS; i++) {
        enum sorex_filter_outcome outcome;
        const char *out;
        size_t out_len, in_len = event_text(in, w->number * EVENTS + i, "ada@example.org");
        size_t want_len = event_text(want, w->number * EVENTS + i, "***");
        if (sorex_filter_transform(instance, in, in_len, &outcome, &out, &out_len, &why) != SOREX_OK)
            w->failed++;
        else if (outcome != SOREX_FILTER_CHANGED || out_len != want_len || memcmp(out, want, want_len) != 0)
            w->wrong++;
    }
    sorex_filter_close(instance);
    return NULL;
}

static void test_threads(void **unused)
{
    (void)unused;
    struct sorex_filter *filter;
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    load("mask", NULL, &filter);
    assert_int_equal(sorex_filter_version(filter), 2);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.filter = filter, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].failed, 0);
        assert_int_equal(workers[i].wrong, 0);
    }
    sorex_filter_free(filter);
}

static void test_outcomes(void **unused)
{
    (void)unused;
    struct sorex_filter *filter;
    struct sorex_filter_instance *instance;
    enum sorex_filter_outcome outcome;
    const char *out;
    char in[512];
    size_t out_len, in_len = event_text(in, 1, "a");
    struct sorex_filter_options options = {.name = "sessions", .config_json = "{\"table\":\"users\"}"};
    load("drop", &options, &filter);
    assert_int_equal(sorex_filter_open(filter, &instance, &err), SOREX_OK);
    assert_int_equal(sorex_filter_transform(instance, in, in_len, &outcome, &out, &out_len, &err), SOREX_OK);
    assert_int_equal(outcome, SOREX_FILTER_FILTERED);
    assert_null(out);
    assert_int_equal(out_len, 0);
    static const char other[] =
        " {\"op\":\"insert\",\"after\":{\"b\":1, \"a\":2},\"table\":\"t\",\"ts\":2,\"envelope_version\":1,"
        "\"source\":{\"source_name\":\"s\",\"offset\":\"o\",\"timestamp\":1}}";
    assert_int_equal(sorex_filter_transform(instance, other, strlen(other), &outcome, &out, &out_len, &err), SOREX_OK);
    assert_int_equal(outcome, SOREX_FILTER_PASSED);
    static const char canonical[] = "{\"before\":null,\"after\":{\"a\":2,\"b\":1},\"op\":\"insert\"";
    assert_memory_equal(out, canonical, sizeof canonical - 1);
    assert_int_equal(sorex_filter_transform(instance, "{}", 2, &outcome, &out, &out_len, &err), SOREX_INVALID);
    assert_non_null(strstr(err.text, "is missing"));
    assert_int_equal(sorex_filter_transform(instance, in, in_len, &outcome, &out, &out_len, &err),
                     SOREX_OK); /* takes the next one */
    sorex_filter_close(instance);
    sorex_filter_free(filter);
}

static void test_refused(void **unused)
{
    (void)unused;
    struct sorex_filter *filter = NULL;
    struct sorex_filter_options options = {.name = "mask", .config_json = "{\"columns\":7}"};
    struct sorex_filter_instance *instance = NULL;
    assert_int_equal(sorex_filter_load("nothing", 7, NULL, &filter, &err), SOREX_INVALID);
    assert_null(filter);
    load("mask", &options, &filter);
    assert_int_equal(sorex_filter_open(filter, &instance, &err), SOREX_GUEST);
    assert_string_equal(err.text, "program mask: init returned 1");
    assert_null(instance);
    sorex_filter_free(filter);
    sorex_filter_free(NULL);
    sorex_filter_close(NULL);
}

static void metric(const char *name, size_t name_len, int64_t value, void *user_data)
{
    char *text = user_data;
    (void)snprintf(text + strlen(text), 256 - strlen(text), "%.*s=%lld ", (int)name_len, name, (long long)value);
}

static void test_metrics(void **unused)
{
    (void)unused;
    struct sorex_filter *filter;
    struct sorex_filter_instance *instance;
    enum sorex_filter_outcome outcome;
    const char *out;
    char in[512], text[256];
    size_t out_len;
    for (int fresh = 0; fresh < 2; fresh++) {
        struct sorex_filter_options options = {.fresh = fresh};
        load("count", &options, &filter);
        assert_int_equal(sorex_filter_open(filter, &instance, &err), SOREX_OK);
        for (unsigned i = 0; i < 3; i++)
            assert_int_equal(
                sorex_filter_transform(instance, in, event_text(in, i, "a"), &outcome, &out, &out_len, &err), SOREX_OK);
        text[0] = '\0';
        sorex_filter_metrics(filter, metric, text);
        assert_string_equal(text, fresh ? "events=3 seen_by_instance=1 " : "events=3 seen_by_instance=3 ");
        sorex_filter_close(instance);
        sorex_filter_free(filter);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_threads), cmocka_unit_test(test_outcomes),
                                       cmocka_unit_test(test_refused), cmocka_unit_test(test_metrics)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
