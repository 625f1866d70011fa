/* Contract 3: loading, versions, one event, life of instances, what a guest may call; the guests in C. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>

#include "base/log.h"
#include "filter_module.h"
#include "map.h"

static struct sorex_error err;

static struct filter *guest_filter(const char *name, const struct filter_options *options)
{
    struct filter *filter = NULL;
    struct bytes wasm = guest_load(name);
    struct filter_options patient = *options;
    patient.timeout_ms = 20000; /* a busy machine makes no timeout */
    if (filter_new(wasm, &patient, &filter, &err) != SOREX_OK)
        fail_msg("%s: %s", name, err.text);
    free((void *)(uintptr_t)wasm.data);
    return filter;
}

static struct filter_instance *instance_of(struct filter *filter)
{
    struct filter_instance *instance = NULL;
    if (filter_instance_open(filter, &instance, &err) != SOREX_OK)
        fail_msg("%s", err.text);
    return instance;
}

static const struct event *give(struct filter_instance *instance, const struct event *event, enum filter_outcome want)
{
    enum filter_outcome outcome;
    const struct event *out = NULL;
    if (filter_instance_transform(instance, event, &outcome, &out, &err) != SOREX_OK)
        fail_msg("%s", err.text);
    assert_int_equal(outcome, want);
    assert_true(want == FILTER_PASSED     ? out == event
                : want == FILTER_FILTERED ? out == NULL
                                          : out != NULL && out != event);
    return out;
}

/* -- guests in C, both versions */

#define AFTER                                                                                                     \
    "\"op\":\"insert\",\"source\":{\"source_name\":\"pg\",\"offset\":\"1\",\"timestamp\":1},\"ts\":2,\"schema\":" \
    "\"s\",\"table\":"
#define END                                                                                                       \
    ",\"primary_key\":null,\"snapshot\":null,\"transaction\":null,\"envelope_version\":1,\"before_is_key_only\":" \
    "false}"

static void text_is(const struct event *event, const char *want)
{
    if (!bytes_is(event->text, want))
        fail_msg("%.*s\nis not %s", BYTES_FMT(event->text), want);
}

static void test_mask(void **state)
{
    (void)state;
    static const char *const names[] = {"filter_mask", "filter_mask_v1"};
    for (size_t i = 0; i < 2; i++) {
        struct filter *filter = guest_filter(names[i], &(struct filter_options){.name = "mask"});
        assert_int_equal(filter_version(filter), 2 - i);
        struct filter_instance *instance = instance_of(filter);
        const struct event *plain = module_event_of("{\"before\":null,\"after\":{\"id\":1}," AFTER "\"t\"" END);
        const struct event *secret =
            module_event_of("{\"before\":null,\"after\":{\"email\":\"a@b.c\",\"id\":1}," AFTER "\"t\"" END);
        for (int round = 0; round < 3; round++) {
            give(instance, plain, FILTER_PASSED);
            text_is(give(instance, secret, FILTER_CHANGED),
                    "{\"before\":null,\"after\":{\"email\":\"***\",\"id\":1}," AFTER "\"t\"" END);
        }
        const struct event *both =
            module_event_of("{\"before\":{\"email\":\"x\"},\"after\":{\"email\":{\"a\":[1,\"]\"]}},\"op\":\"update\","
                            "\"source\":{\"source_name\":\"pg\",\"offset\":\"1\",\"timestamp\":1},\"ts\":2,"
                            "\"table\":\"t\",\"envelope_version\":1}");
        const struct event *out = give(instance, both, FILTER_CHANGED);
        assert_true(bytes_is(out->before, "{\"email\":\"***\"}") && bytes_is(out->after, "{\"email\":\"***\"}"));
        give(instance, module_event_of("{\"before\":null,\"after\":{\"email\":null}," AFTER "\"t\"" END),
             FILTER_PASSED);
        filter_instance_close(instance);
        filter_free(filter);
    }
}

static void test_config(void **state)
{
    (void)state;
    static const char *const names[] = {"filter_mask", "filter_mask_v1"};
    for (size_t i = 0; i < 2; i++) {
        struct filter *filter =
            guest_filter(names[i], &(struct filter_options){.config = bytes_str("{\"columns\":[\"name\",\"ssn\"]}")});
        struct filter_instance *instance = instance_of(filter);
        for (int round = 0; round < 50; round++) { /* the configuration is not overwritten by events of growing size */
            struct buf json = {0};
            assert_int_equal(
                buf_printf(&json, NULL,
                           "{\"before\":null,\"after\":{\"email\":\"e\",\"name\":\"n%*d\",\"ssn\":7}," AFTER "\"t\"" END
                           "%c",
                           round * 30 + 1, round, 0),
                SOREX_OK);
            const struct event *out = give(instance, module_event_of((const char *)json.data), FILTER_CHANGED);
            assert_true(bytes_is(out->after, "{\"email\":\"e\",\"name\":\"***\",\"ssn\":\"***\"}"));
            buf_deinit(&json);
        }
        filter_instance_close(instance);
        filter_free(filter);
    }
    struct filter *filter =
        guest_filter("filter_mask", &(struct filter_options){.name = "m", .config = bytes_str("{\"columns\":7}")});
    struct filter_instance *instance = NULL;
    assert_int_equal(filter_instance_open(filter, &instance, &err), SOREX_GUEST);
    assert_string_equal(err.text, "program m: init returned 1");
    filter_free(filter);
    struct bytes wasm = guest_load("filter_mask");
    assert_int_equal(filter_new(wasm, &(struct filter_options){.name = "m", .config = bytes_str("{")}, &filter, &err),
                     SOREX_INVALID);
    assert_non_null(strstr(err.text, "program m: config: bad JSON"));
    free((void *)(uintptr_t)wasm.data);
}

static void test_drop_and_rewrite(void **state)
{
    (void)state;
    static const char *const drops[] = {"filter_drop", "filter_drop_v1"},
                             *const rewrites[] = {"filter_rewrite", "filter_rewrite_v1"},
                             *const passes[] = {"filter_pass", "filter_pass_v1"};
    for (size_t i = 0; i < 2; i++) {
        const struct event *users = module_event(1, 10),
                           *others = module_event_of("{\"before\":null,\"after\":1," AFTER "\"logs\"" END);
        struct filter *all = guest_filter(drops[i], &(struct filter_options){0});
        struct filter *one =
            guest_filter(drops[i], &(struct filter_options){.config = bytes_str("{\"table\":\"logs\"}")});
        struct filter *rewrite =
            guest_filter(rewrites[i], &(struct filter_options){.config = bytes_str("{\"schema\":\"x\\\"y\"}")});
        struct filter *pass = guest_filter(passes[i], &(struct filter_options){0});
        struct filter_instance *instance = instance_of(all);
        give(instance, users, FILTER_FILTERED);
        give(instance, others, FILTER_FILTERED);
        filter_instance_close(instance);
        instance = instance_of(one);
        give(instance, users, FILTER_PASSED);
        give(instance, others, FILTER_FILTERED);
        filter_instance_close(instance);
        instance = instance_of(rewrite);
        const struct event *out = give(instance, users, FILTER_CHANGED);
        assert_true(bytes_is(out->schema, "x\"y") && bytes_equal(out->after, users->after));
        filter_instance_close(instance);
        instance = instance_of(pass);
        for (size_t size = 0; size < 20000; size += 1999) {
            give(instance, module_event(1, size), FILTER_PASSED);
            give(instance, module_event(1, 20000 - size), FILTER_PASSED);
        }
        filter_instance_close(instance);
        struct filter *truncates =
            guest_filter(i == 0 ? "filter_truncates" : "filter_truncates_v1", &(struct filter_options){0});
        instance = instance_of(truncates);
        give(instance, users, FILTER_PASSED);
        give(instance,
             module_event_of("{\"op\":\"truncate\",\"source\":{\"source_name\":\"pg\",\"offset\":\"1\",\"timestamp\":1}"
                             ",\"ts\":2,\"table\":\"t\","
                             "\"envelope_version\":1}"),
             FILTER_FILTERED);
        filter_instance_close(instance);
        filter_free(truncates);
        filter_free(all);
        filter_free(one);
        filter_free(rewrite);
        filter_free(pass);
    }
}

/* The same `mask` in other languages; their memory is their own allocator's, so many events show that nothing leaks. */
static void mask_in(const char *name, unsigned version)
{
    char path[1024];
    const char *folder = getenv("SOREX_GUESTS");
    (void)snprintf(path, sizeof path, "%s/%s.wasm", folder != NULL ? folder : "guests", name);
    if (access(path, R_OK) != 0) {
        print_message("skipped: %s was not built, its compiler is not there (make test-deps)\n", name);
        return;
    }
    struct filter *filter = guest_filter(name, &(struct filter_options){.name = name, .memory_bytes_max = 4 << 20});
    assert_int_equal(filter_version(filter), version);
    struct filter_instance *instance = instance_of(filter);
    const struct event *events[3];
    for (unsigned i = 0; i < 3; i++) {
        struct buf json = {0};
        assert_int_equal(
            buf_printf(
                &json, NULL,
                "{\"before\":{\"email\":null,\"id\":1.50},\"after\":{\"email\":\"a@b.c\",\"id\":123456789012345678901,"
                "\"pad\":\"%0*d\\n\\\"\xc3\xa9\"},\"op\":\"update\",\"source\":{\"source_name\":\"pg\",\"offset\":"
                "\"1\","
                "\"timestamp\":1},\"ts\":2,\"table\":\"t\",\"envelope_version\":1}%c",
                (int)(i * 10000 + 1), 0, 0),
            SOREX_OK);
        events[i] = module_event_of((const char *)json.data);
        buf_deinit(&json);
    }
    for (unsigned round = 0; round < 600; round++) {
        const struct event *in = events[round % 3], *out = give(instance, in, FILTER_CHANGED);
        assert_true(bytes_equal(out->before, in->before) && out->after.len == in->after.len - 2);
        static const char masked[] = "{\"email\":\"***\",\"id\":123456789012345678901,";
        assert_memory_equal(out->after.data, masked, sizeof masked - 1);
    }
    give(instance, module_event_of("{\"before\":null,\"after\":{\"id\":1}," AFTER "\"t\"" END), FILTER_PASSED);
    give(instance, module_event_of("{\"before\":null,\"after\":{\"id\":1}," AFTER "\"dropped\"" END), FILTER_FILTERED);
    filter_instance_close(instance);
    filter_free(filter);
}

static void test_other_languages(void **state)
{
    (void)state;
    mask_in("filter_zig_mask", 2);
    mask_in("filter_zig_mask_v1", 1);
    mask_in("filter_as_mask", 2);
    mask_in("filter_as_mask_v1", 1);
}

/* -- loading */

/* Loops get the timeout that there is when none is asked for: 50 ms. */
static void load_fails(const struct module_parts *parts, const char *want)
{
    struct filter *filter = NULL;
    struct filter_options options = {.name = "test", .timeout_ms = strstr(want, "timed out") != NULL ? 0 : 20000};
    enum sorex_status status = module_open(parts, &options, &filter, &err);
    if (status == SOREX_OK || strcmp(err.text, want) != 0)
        fail_msg("%s: got %s", want, status == SOREX_OK ? "ok" : err.text);
}

static void text_fails(const char *text, const char *want)
{
    struct filter *filter = NULL;
    enum sorex_status status = module_open_text(text, NULL, &filter, &err);
    if (status == SOREX_OK || strcmp(err.text, want) != 0)
        fail_msg("%s: got %s", want, status == SOREX_OK ? "ok" : err.text);
    assert_int_equal(status, SOREX_INVALID);
}

#define MEMORY "(memory (export \"memory\") 1)"
#define ALLOC "(func (export \"alloc\") (param i32) (result i32) unreachable)"
#define DEALLOC "(func (export \"dealloc\") (param i32 i32))"
#define TRANSFORM1 "(func (export \"transform\") (param i32 i32) (result i32) unreachable)"
#define TRANSFORM2 "(func (export \"transform\") (param i32 i32) (result i64) unreachable)"
#define OUTPUT_LEN "(func (export \"output_len\") (result i32) unreachable)"
#define PROBE "(func (export \"rustcdc_abi_version\") (result i32) (i32.const 2))"

static void test_imports(void **state)
{
    (void)state;
    static const char only[] =
        " is forbidden: an event transform may import env.log, env.get_metric and env.record_metric only";
    static const char *const imports[][2] = {
        {"(import \"env\" \"abort\" (func (param i32 i32 i32 i32)))", "env.abort"},
        {"(import \"wasi_snapshot_preview1\" \"fd_write\" (func (param i32 i32 i32 i32) (result i32)))",
         "wasi_snapshot_preview1.fd_write"},
        {"(import \"env\" \"log\" (func (param i32 i32 i32))) (import \"host\" \"log\" (func (param i32 i32 i32)))",
         "host.log"},
        {"(import \"env\" \"memory\" (memory 1))", "env.memory"},
        {"(import \"env\" \"table\" (table 1 funcref))", "env.table"},
        {"(import \"env\" \"stack\" (global i32))", "env.stack"},
    };
    for (size_t i = 0; i < sizeof imports / sizeof imports[0]; i++) {
        char text[1024], want[256];
        (void)snprintf(text, sizeof text, "(module %s)",
                       imports[i][0]); /* before it is said that there are no exports */
        (void)snprintf(want, sizeof want, "program test: import %s%s", imports[i][1], only);
        text_fails(text, want);
    }
    text_fails("(module (import \"env\" \"log\" (func (param i32 i32))))",
               "program test: import env.log is a function (i32, i32) ->, it has to be a function (i32, i32, i32) ->");
    text_fails("(module (import \"env\" \"get_metric\" (func (param i32) (result i32))))",
               "program test: import env.get_metric is a function (i32) -> i32, it has to be a function (i32) -> i64");
    text_fails(
        "(module (import \"env\" \"record_metric\" (func (param i32 i32))))",
        "program test: import env.record_metric is a function (i32, i32) ->, it has to be a function (i32, i64) ->");
    text_fails("(module (import \"env\" \"log\" (global i32)))",
               "program test: import env.log is a global i32, it has to be a function (i32, i32, i32) ->");
    assert_true(filter_has_import(bytes_str("env"), bytes_str("log")) &&
                !filter_has_import(bytes_str("env"), bytes_str("abort")) &&
                !filter_has_import(bytes_str("host"), bytes_str("log")));
}

static void test_exports(void **state)
{
    (void)state;
    static const char *const cases[][2] = {
        {"(module)", "missing required export memory (version 2 of the contract)"},
        {"(module " MEMORY ")", "missing required export alloc (version 2 of the contract)"},
        {"(module " MEMORY ALLOC ")", "missing required export dealloc (version 2 of the contract)"},
        {"(module " MEMORY ALLOC DEALLOC ")", "missing required export transform (version 2 of the contract)"},
        {"(module " MEMORY ALLOC DEALLOC TRANSFORM2 ")",
         "missing required export rustcdc_abi_version (version 2 of the contract)"},
        {"(module " ALLOC DEALLOC TRANSFORM2 PROBE ")", "missing required export memory (version 2 of the contract)"},
        {"(module " MEMORY ALLOC TRANSFORM2 PROBE ")", "missing required export dealloc (version 2 of the contract)"},
        {"(module " MEMORY ALLOC TRANSFORM1 ")", "missing required export output_len (version 1 of the contract)"},
        {"(module " TRANSFORM1 ")", "missing required export memory (version 1 of the contract)"},
        {"(module " MEMORY OUTPUT_LEN TRANSFORM1 ")", "missing required export alloc (version 1 of the contract)"},
        {"(module " MEMORY ALLOC OUTPUT_LEN ")", "missing required export transform (version 1 of the contract)"},
        /* Types, once all are there; the first in the contract's order. */
        {"(module (func (export \"memory\"))" ALLOC TRANSFORM1 OUTPUT_LEN ")",
         "export memory is a function, it has to be a memory"},
        {"(module " MEMORY "(global (export \"alloc\") i32 (i32.const 0))" TRANSFORM1 OUTPUT_LEN ")",
         "export alloc is a global, it has to be a function"},
        {"(module " MEMORY "(func (export \"alloc\") (param i64) (result i32) unreachable)" TRANSFORM1 OUTPUT_LEN ")",
         "export alloc is (i64) -> i32, it has to be (i32) -> i32 (version 1 of the contract)"},
        {"(module " MEMORY ALLOC "(func (export \"dealloc\") (param i32))" TRANSFORM2 PROBE ")",
         "export dealloc is (i32) ->, it has to be (i32, i32) -> (version 2 of the contract)"},
        {"(module " MEMORY ALLOC DEALLOC TRANSFORM1 PROBE ")",
         "export transform is (i32, i32) -> i32, it has to be (i32, i32) -> i64 (version 2 of the contract)"},
        {"(module " MEMORY ALLOC TRANSFORM2 OUTPUT_LEN ")",
         "export transform is (i32, i32) -> i64, it has to be (i32, i32) -> i32 (version 1 of the contract)"},
        {"(module " MEMORY ALLOC TRANSFORM1 "(func (export \"output_len\") (result i64) unreachable))",
         "export output_len is () -> i64, it has to be () -> i32 (version 1 of the contract)"},
        {"(module " MEMORY ALLOC DEALLOC TRANSFORM2 "(func (export \"rustcdc_abi_version\")))",
         "export rustcdc_abi_version is () ->, it has to be () -> i32 (version 2 of the contract)"},
        {"(module " MEMORY ALLOC TRANSFORM1 OUTPUT_LEN "(func (export \"init\") (result i32) unreachable))",
         "export init is () -> i32, it has to be (i32, i32) -> i32 (version 1 of the contract)"},
        {"(module " MEMORY ALLOC DEALLOC TRANSFORM2 PROBE "(memory (export \"shutdown\") 1))", NULL},
        {"(module " MEMORY ALLOC DEALLOC TRANSFORM2 PROBE "(func (export \"shutdown\")))",
         "export shutdown is () ->, it has to be () -> i32 (version 2 of the contract)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char want[256];
        if (cases[i][1] == NULL)
            continue;
        (void)snprintf(want, sizeof want, "program test: %s", cases[i][1]);
        text_fails(cases[i][0], want);
    }
    /* Extra exports do no harm; both versions' make version 2. */
    struct filter *filter = NULL;
    assert_int_equal(module_open_text("(module " MEMORY ALLOC DEALLOC TRANSFORM2 PROBE OUTPUT_LEN
                                      "(func (export \"_initialize\")))",
                                      NULL, &filter, &err),
                     SOREX_OK);
    assert_int_equal(filter_version(filter), 2);
    filter_free(filter);
}

static void test_limits_at_load(void **state)
{
    (void)state;
    struct filter *filter = NULL;
    struct filter_options small = {.name = "test", .memory_bytes_max = 2 << 20};
    assert_int_equal(module_open(&(struct module_parts){.memory = "33"}, &small, &filter, &err), SOREX_INVALID);
    assert_string_equal(err.text, "program test: it starts with 2162688 bytes of memory, the limit is 2097152");
    assert_int_equal(module_open(&(struct module_parts){.extra = "(table 300000 funcref)"}, &small, &filter, &err),
                     SOREX_INVALID);
    assert_string_equal(err.text, "program test: it starts with 2400000 bytes of tables, the limit is 2097152");
    assert_int_equal(
        module_open(&(struct module_parts){.memory = "32", .extra = "(table 1000 funcref)"}, &small, &filter, &err),
        SOREX_OK);
    filter_free(filter);
    load_fails(&(struct module_parts){.memory = "257"},
               "program test: it starts with 16842752 bytes of memory, the limit is 16777216");
    /* No module at all, and one that does not validate. */
    assert_int_equal(filter_new(bytes_str("hello"), &small, &filter, &err), SOREX_INVALID);
    assert_non_null(strstr(err.text, "program test: "));
    assert_int_equal(module_open(&(struct module_parts){.extra = "(memory 1)"}, NULL, &filter, &err), SOREX_INVALID);
}

static void test_probe(void **state)
{
    (void)state;
    load_fails(&(struct module_parts){.probe = "(i32.const 3)"},
               "program test: rustcdc_abi_version returned 3: this host knows version 2");
    load_fails(&(struct module_parts){.probe = "unreachable"},
               "program test: rustcdc_abi_version: trap: unreachable executed in function 3");
    load_fails(&(struct module_parts){.probe = "(loop (br 0)) (i32.const 2)"},
               "program test: rustcdc_abi_version: timed out, the limit is 50 ms");
    load_fails(&(struct module_parts){.probe = "(memory.grow (i32.const 256))"}, /* -1: the limit covers the probe */
               "program test: rustcdc_abi_version returned -1: this host knows version 2");
    load_fails(&(struct module_parts){.extra = "(func $go (loop (br 0))) (start $go)"},
               "program test: the start section: timed out, the limit is 50 ms");
    load_fails(&(struct module_parts){.extra = "(func $go unreachable) (start $go)"},
               "program test: the start section: trap: unreachable executed in go");
    /* The instance of the probe is not the one that events see. */
    struct filter *filter = NULL;
    assert_int_equal(
        module_open(
            &(struct module_parts){.probe = "(i32.store8 (i32.const 0) (i32.const 1)) (i32.const 2)",
                                   .alloc = "(if (i32.load8_u (i32.const 0)) (then unreachable)) (i32.const 4096)"},
            NULL, &filter, &err),
        SOREX_OK);
    struct filter_instance *instance = instance_of(filter);
    give(instance, module_event(1, 1), FILTER_PASSED);
    filter_instance_close(instance);
    filter_free(filter);
}

/* -- life of instances */

static void metric_note(struct bytes name, int64_t value, void *text)
{
    char *end = (char *)text + strlen(text);
    (void)snprintf(end, 256 - strlen(text), "%.*s=%lld ", BYTES_FMT(name), (long long)value);
}

static void metrics_are(struct filter *filter, const char *want)
{
    char text[256] = "";
    filter_metrics(filter, metric_note, text);
    assert_string_equal(text, want);
}

static void test_memory_kept_and_fresh(void **state)
{
    (void)state;
    log_watch();
    for (int fresh = 0; fresh < 2; fresh++) {
        struct filter_counts counts;
        struct filter *filter = guest_filter(
            "filter_count",
            &(struct filter_options){.name = "c", .memory = fresh ? FILTER_MEMORY_FRESH : FILTER_MEMORY_KEPT});
        struct filter_instance *a = instance_of(filter), *b = instance_of(filter);
        for (int i = 0; i < 3; i++)
            give(a, module_event(1, 1), FILTER_PASSED);
        give(b, module_event(1, 1), FILTER_PASSED);
        give(a, module_event(1, 1), FILTER_PASSED);
        metrics_are(filter, fresh ? "events=5 seen_by_instance=1 " : "events=5 seen_by_instance=4 ");
        filter_counts_get(filter, &counts);
        assert_int_equal(counts.instances_made, fresh ? 6 : 3); /* the probe's is one */
        assert_int_equal(counts.instances_discarded, 0);
        filter_instance_close(a);
        filter_instance_close(b);
        filter_free(filter);
    }
    assert_non_null(strstr(log_seen, "info program c: first event"));
}

static void test_init_and_shutdown(void **state)
{
    (void)state;
    struct filter *filter = NULL;
    log_watch();
    static const char init[] =
        "(func (export \"init\") (param $p i32) (param $n i32) (result i32)"
        " (call $log (i32.const 2) (local.get $p) (local.get $n)) (i32.const 0))"
        "(func (export \"shutdown\") (result i32) (call $log (i32.const 3) (i32.const 16) (i32.const 3)) (i32.const 9))"
        "(data (i32.const 16) \"end\")";
    struct module_parts parts = {.imports = "(import \"env\" \"log\" (func $log (param i32 i32 i32)))", .extra = init};
    assert_int_equal(
        module_open(&parts,
                    &(struct filter_options){
                        .name = "test", .memory_bytes_max = 8 << 20, .timeout_ms = 7000, .config = bytes_str("[1, 2]")},
                    &filter, &err),
        SOREX_OK);
    struct filter_instance *instance = instance_of(filter);
    assert_non_null(
        strstr(log_seen, "info program test: {\"memory_limit_mb\":8,\"timeout_ms\":7000,\"config\":[1, 2]}\n"));
    give(instance, module_event(1, 1), FILTER_PASSED);
    assert_null(strstr(log_seen, "warn"));
    filter_instance_close(instance);
    assert_non_null(strstr(log_seen, "warn program test: end\n"));
    assert_non_null(strstr(log_seen, "warn program test: shutdown returned 9\n"));
    filter_free(filter);
    log_watch();
    assert_int_equal(module_open(&parts, NULL, &filter, &err), SOREX_OK);
    instance = instance_of(filter);
    assert_non_null(strstr(log_seen, "info program test: {\"memory_limit_mb\":16,\"timeout_ms\":20000}\n"));
    filter_instance_close(instance);
    filter_free(filter);
}

static void open_fails(const char *init, const char *want)
{
    struct filter_options options = {.name = "test", .timeout_ms = strstr(want, "timed out") != NULL ? 1 : 20000};
    struct filter *filter = NULL;
    struct filter_instance *instance = NULL;
    char extra[512];
    (void)snprintf(extra, sizeof extra, "(func (export \"init\") (param i32 i32) (result i32) %s)", init);
    assert_int_equal(module_open(&(struct module_parts){.version = 1, .extra = extra}, &options, &filter, &err),
                     SOREX_OK);
    assert_int_equal(filter_instance_open(filter, &instance, &err), SOREX_GUEST);
    if (strstr(err.text, want) == NULL) /* a millisecond may be over before init begins */
        fail_msg("%s", err.text);
    filter_free(filter);
}

static void test_init_that_fails(void **state)
{
    (void)state;
    open_fails("(i32.const 5)", "program test: init returned 5");
    open_fails("unreachable", "program test: init: trap: unreachable executed in function 3");
    open_fails("(loop (br 0)) (i32.const 0)", ": timed out, the limit is 1 ms");
}

/* -- imports at run time */

static void test_imports_never_fail(void **state)
{
    (void)state;
    struct filter *filter = NULL;
    struct filter_counts counts;
    log_watch();
    struct module_parts parts = {
        .imports = "(import \"env\" \"log\" (func $log (param i32 i32 i32))) (import \"env\" \"get_metric\" (func $get "
                   "(param i32) (result i64)))"
                   "(import \"env\" \"record_metric\" (func $set (param i32 i64)))",
        .alloc = "(i32.store8 (i32.const 65535) (i32.const 65)) (call $log (i32.const 5) (i32.const 16) (i32.const "
                 "1))"                                                       /* levels
                                                                                0
                                                                                to
                                                                                4
                                                                              */
                 "(call $log (i32.const -1) (i32.const 16) (i32.const 1))"   /* 2 */
                 "(call $log (i32.const 1) (i32.const 65535) (i32.const 2))" /* 3: leaves the memory */
                 "(call $log (i32.const 1) (i32.const -1) (i32.const 2))"    /* 4 */
                 "(call $log (i32.const 1) (i32.const 16) (i32.const -2))"   /* 5 */
                 "(call $set (i32.const -4) (i64.const 1))"                  /* 6 */
                 "(call $set (i32.const 65536) (i64.const 1))"               /* 7 */
                 "(call $set (i32.const 65535) (i64.const 1))"               /* 8: no NUL before the end */
                 "(call $set (i32.const 40) (i64.const 1))"                  /* 9: empty */
                 "(call $set (i32.const 1000) (i64.const 1))"                /* 10: 129 bytes */
                 "(call $set (i32.const 48) (i64.const 1))"                  /* 11: no UTF-8 */
                 "(call $set (i32.const 56) (i64.const 1))"                  /* 12: control character */
                 "(drop (call $get (i32.const -4)))"                         /* 13 */
                 "(if (i64.ne (call $get (i32.const 16)) (i64.const 0)) (then unreachable))"
                 "(call $set (i32.const 16) (i64.const -7)) (call $set (i32.const 1001) (i64.const "
                 "9223372036854775807))"
                 "(if (i64.ne (call $get (i32.const 16)) (i64.const -7)) (then unreachable))"
                 "(call $log (i32.const 4) (i32.const 64) (i32.const 5)) (call $log (i32.const 3) (i32.const "
                 "65536) "
                 "(i32.const 0))"
                 "(i32.const 4096)",
        .extra =
            "(data (i32.const 16) \"m1\\00\") (data (i32.const 48) \"\\ff\\00\") (data (i32.const 56) "
            "\"a\\0a\\00\")"
            "(data (i32.const 64) \"a\\0ab\\ffc\")"
            "(data (i32.const 1000) "
            "\"nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
            "nnnnnnnnnnnnnnnnnnnnnnnnnnnnn\\00\")",
    };
    assert_int_equal(module_open(&parts, NULL, &filter, &err), SOREX_OK);
    struct filter_instance *instance = instance_of(filter);
    give(instance, module_event(1, 1), FILTER_PASSED);
    filter_counts_get(filter, &counts);
    assert_int_equal(counts.imports_dropped, 13);
    assert_non_null(strstr(log_seen, "error program test: a?b?c\n"));
    assert_non_null(strstr(log_seen, "warn program test: \n"));
    metrics_are(filter, "m1=-7 "
                        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn"
                        "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn=9223372036854775807 ");
    filter_instance_close(instance);
    filter_free(filter);
}

static void test_many_metrics(void **state)
{
    (void)state;
    struct filter *filter = NULL;
    struct filter_counts counts;
    /* 300 names of two letters. */
    struct module_parts parts = {
        .imports = "(import \"env\" \"record_metric\" (func $set (param i32 i64)))",
        .alloc = "(local $i i32) (loop $more"
                 " (i32.store8 (i32.const 16) (i32.add (i32.const 97) (i32.rem_u (local.get $i) (i32.const 20))))"
                 " (i32.store8 (i32.const 17) (i32.add (i32.const 65) (i32.div_u (local.get $i) (i32.const 20))))"
                 " (call $set (i32.const 16) (i64.extend_i32_u (local.get $i)))"
                 " (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 300)))) "
                 "(i32.const 4096)"};
    assert_int_equal(module_open(&parts, NULL, &filter, &err), SOREX_OK);
    struct filter_instance *instance = instance_of(filter);
    give(instance, module_event(1, 1), FILTER_PASSED);
    filter_counts_get(filter, &counts);
    assert_int_equal(counts.imports_dropped, 300 - 256);
    filter_instance_close(instance);
    filter_free(filter);
}

static void test_log_is_limited(void **state)
{
    (void)state;
    struct filter *filter = NULL;
    struct filter_counts counts;
    log_watch();
    /* One event, so one moment: 100 lines of it are written. */
    struct module_parts parts = {
        .imports = "(import \"env\" \"log\" (func $log (param i32 i32 i32)))",
        .alloc = "(local $i i32) (loop $more (call $log (i32.const 2) (i32.const 16) (i32.const 2))"
                 " (br_if $more (i32.lt_u (local.tee $i (i32.add (local.get $i) (i32.const 1))) (i32.const 1000))))"
                 " (i32.const 4096)",
        .extra = "(data (i32.const 16) \"hi\")"};
    assert_int_equal(module_open(&parts, NULL, &filter, &err), SOREX_OK);
    struct filter_instance *instance = instance_of(filter);
    give(instance, module_event(1, 1), FILTER_PASSED);
    filter_counts_get(filter, &counts);
    assert_int_equal(counts.log_lines_suppressed, 900);
    unsigned lines = 0;
    for (const char *at = log_seen; (at = strstr(at, "program test: hi")) != NULL; at++)
        lines++;
    assert_int_equal(lines, 100);
    filter_instance_close(instance);
    filter_free(filter);
}

/* -- threads: instances of one filter side by side */

struct worker {
    struct filter *filter;
    const struct event *events[2];
    unsigned failed;
};

static void *work(void *argument)
{
    struct worker *worker = argument;
    struct filter_instance *instance = NULL;
    struct sorex_error own;
    if (filter_instance_open(worker->filter, &instance, &own) != SOREX_OK) {
        worker->failed++;
        return NULL;
    }
    for (unsigned i = 0; i < 2000; i++) {
        enum filter_outcome outcome;
        const struct event *out;
        bool good = filter_instance_transform(instance, worker->events[i % 2], &outcome, &out, &own) == SOREX_OK;
        worker->failed += !good || outcome != FILTER_PASSED;
    }
    filter_instance_close(instance);
    return NULL;
}

static void test_threads(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    log_watch();
    struct filter *filter = guest_filter("filter_count", &(struct filter_options){.timeout_ms = 0});
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.filter = filter, .events = {module_event(1, 5), module_event(2, 500)}};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].failed, 0);
    }
    struct filter_counts counts;
    filter_counts_get(filter, &counts);
    assert_int_equal(counts.instances_made, THREADS + 1);
    filter_free(filter);
}

static void test_cache(void **state)
{
    (void)state;
    const struct filter_options options = {.name = "c", .cache_dir = "filter-cache"};
    for (int i = 0; i < 2; i++) {
        struct filter *filter = guest_filter("filter_pass", &options);
        struct filter_instance *instance = instance_of(filter);
        give(instance, module_event(1, 1), FILTER_PASSED);
        filter_instance_close(instance);
        filter_free(filter);
    }
}

static int events_free(void **state)
{
    (void)state;
    module_events_free();
    return 0;
}

#define TEST(name) cmocka_unit_test_teardown(name, events_free)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_mask),
        TEST(test_config),
        TEST(test_drop_and_rewrite),
        TEST(test_other_languages),
        TEST(test_imports),
        TEST(test_exports),
        TEST(test_limits_at_load),
        TEST(test_probe),
        TEST(test_memory_kept_and_fresh),
        TEST(test_init_and_shutdown),
        TEST(test_init_that_fails),
        TEST(test_imports_never_fail),
        TEST(test_many_metrics),
        TEST(test_log_is_limited),
        TEST(test_threads),
        TEST(test_cache),
    };
    traps_keep();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
