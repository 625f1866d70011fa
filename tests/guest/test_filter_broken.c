/* Contract 3 with guests that break it: each time the event that did it is an error that says why, the process is
 * healthy, and the events before and behind it come out right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>
#include <pthread.h>

#include "filter_module.h"
#include "map.h"

static struct sorex_error err;

/* The bad event is longer than 1,000 bytes, the good ones are not: bodies tell them apart by $n. */
#define BAD "(i32.gt_u (local.get $n) (i32.const 1000))"
#define IF_BAD(body) "(if " BAD " (then " body ")) "
#define PASS "(memory.copy (i32.const 32768) (local.get $p) (local.get $n)) "
#define PASS2 PASS "(i64.or (i64.const 0x800000000000) (i64.extend_i32_u (local.get $n)))"
#define PASS1 PASS "(global.set $len (local.get $n)) (i32.const 32768)"
#define RETURN2(body) IF_BAD("(return " body ")") PASS2
#define RETURN1(body) IF_BAD("(return " body ")") PASS1

static enum sorex_status give(struct filter_instance *instance, const struct event *event, enum filter_outcome *outcome)
{
    const struct event *out = NULL;
    return filter_instance_transform(instance, event, outcome, &out, &err);
}

/* good, bad, good, good: want is in the bad one's error; NULL: it is none. discarded: instances that went. */
static void sequence(struct filter *filter, const char *want, unsigned discarded)
{
    struct filter_instance *instance = NULL;
    enum filter_outcome outcome;
    struct filter_counts counts;
    const struct event *good = module_event(1, 10), *bad = module_event(2, 2000);
    if (filter_instance_open(filter, &instance, &err) != SOREX_OK)
        fail_msg("%s: %s", want, err.text);
    for (int i = 0; i < 4; i++) {
        err = (struct sorex_error){0};
        enum sorex_status status = give(instance, i == 1 ? bad : good, &outcome);
        bool fails = i == 1 && want != NULL;
        if (status != (fails ? SOREX_GUEST : SOREX_OK) || (fails && strcmp(err.text, want) != 0))
            fail_msg("event %d: wanted %s, got %s: %s", i, want, sorex_status_name(status), err.text);
        if (i != 1)
            assert_int_equal(outcome, FILTER_PASSED);
    }
    filter_counts_get(filter, &counts);
    if (counts.instances_discarded != discarded)
        fail_msg("%s: %llu instances discarded", want, (unsigned long long)counts.instances_discarded);
    filter_instance_close(instance);
}

static void breaks_with(const struct module_parts *parts, const struct filter_options *options, const char *want,
                        unsigned discarded)
{
    char text[512];
    struct filter *filter = NULL;
    if (module_open(parts, options, &filter, &err) != SOREX_OK)
        fail_msg("%s: %s", want, err.text);
    (void)snprintf(text, sizeof text, "program test: %s", want);
    sequence(filter, want != NULL ? text : NULL, discarded);
    filter_free(filter);
    module_events_free();
}

static void breaks(const struct module_parts *parts, const char *want)
{
    struct filter_options options = {.name = "test", .timeout_ms = strstr(want, "timed out") != NULL ? 500 : 20000};
    breaks_with(parts, &options, want, 1);
}

static void test_pointers(void **state)
{
    (void)state;
    /* The bad event has 2,283 bytes, at 4096. */
    breaks(&(struct module_parts){.alloc = IF_BAD("(return (i32.const -5))") "(i32.const 4096)"},
           "alloc(2283) returned -5");
    breaks(&(struct module_parts){.alloc = IF_BAD("(return (i32.const 0))") "(i32.const 4096)"},
           "alloc(2283) returned 0");
    breaks(&(struct module_parts){.alloc = IF_BAD("(return (i32.const 64000))") "(i32.const 4096)"},
           "alloc(2283) returned 64000: outside of the memory of 65536 bytes");
    breaks(&(struct module_parts){.alloc = IF_BAD("(return (i32.const 2147483647))") "(i32.const 4096)"},
           "alloc(2283) returned 2147483647: outside of the memory of 65536 bytes");
    static const char *const packed[][2] = {
        {"(i64.const 1)", "transform returned 0x1: neither 0 nor pointer << 32 | length"},
        {"(i64.const 0x100000000)", "transform returned 0x100000000: neither 0 nor pointer << 32 | length"},
        {"(i64.const -1)", "transform returned 0xffffffffffffffff: neither 0 nor pointer << 32 | length"},
        {"(i64.const 0x8000000000000001)",
         "transform returned 0x8000000000000001: neither 0 nor pointer << 32 | length"},
        {"(i64.const 0x0000000180000000)", "transform returned 0x180000000: neither 0 nor pointer << 32 | length"},
        {"(i64.const 0x8000000080000000)",
         "transform returned 0x8000000080000000: neither 0 nor pointer << 32 | length"},
        {"(i64.const 0x0001000000000001)", "the output of 1 bytes at 65536 is outside of the memory of 65536 bytes"},
        {"(i64.const 0x0000ffff00000002)", "the output of 2 bytes at 65535 is outside of the memory of 65536 bytes"},
        {"(i64.const 0x7fffffff7fffffff)",
         "the output of 2147483647 bytes at 2147483647 is outside of the memory of 65536 bytes"},
        /* In the input, at its ends and around it. */
        {"(i64.or (i64.const 0x100000000000) (i64.extend_i32_u (local.get $n)))",
         "the output of 2283 bytes at 4096 lies in the input, which is given back before it is read"},
        {"(i64.const 0x0000100000000001)",
         "the output of 1 bytes at 4096 lies in the input, which is given back before it is read"},
        {"(i64.const 0x000018ea00000001)",
         "the output of 1 bytes at 6378 lies in the input, which is given back before it is read"},
        {"(i64.const 0x00000fff00000002)",
         "the output of 2 bytes at 4095 lies in the input, which is given back before it is read"},
        {"(i64.const 0x0000080000002000)",
         "the output of 8192 bytes at 2048 lies in the input, which is given back before it is read"},
        /* Right behind it, and right in front of it. */
        {"(i64.const 0x000018eb00000001)", "the output is no event: bad JSON at byte 0: a value is missing"},
        {"(i64.const 0x00000fff00000001)", "the output is no event: bad JSON at byte 0: a value is missing"},
    };
    for (size_t i = 0; i < sizeof packed / sizeof packed[0]; i++) {
        char body[512];
        (void)snprintf(body, sizeof body, "(if " BAD " (then (return %s))) " PASS2, packed[i][0]);
        breaks(&(struct module_parts){.transform = body}, packed[i][1]);
    }
}

static void test_version_1(void **state)
{
    (void)state;
    breaks_with(&(struct module_parts){.version = 1}, NULL, NULL, 0);
    breaks_with(&(struct module_parts){.version = 1, .transform = RETURN1("(i32.const -1)")}, NULL, NULL,
                0); /* filtered */
    breaks_with(&(struct module_parts){.version = 1, .transform = RETURN1("(i32.const -2)")}, NULL,
                "transform returned -2", 0);
    breaks_with(&(struct module_parts){.version = 1, .transform = RETURN1("(i32.const -2147483648)")}, NULL,
                "transform returned -2147483648", 0);
    breaks(
        &(struct module_parts){
            .version = 1,
            .output_len =
                "(if (i32.gt_u (global.get $len) (i32.const 1000)) (then (return (i32.const -3)))) (global.get $len)"},
        "output_len returned -3");
    /* 0 bytes: filtered. */
    breaks_with(
        &(struct module_parts){
            .version = 1,
            .output_len =
                "(if (i32.gt_u (global.get $len) (i32.const 1000)) (then (return (i32.const 0)))) (global.get $len)"},
        NULL, NULL, 0);
    breaks(
        &(struct module_parts){.version = 1,
                               .transform = IF_BAD("(global.set $len (i32.const 9)) (return (i32.const 65528))") PASS1},
        "the output of 9 bytes at 65528 is outside of the memory of 65536 bytes");
    breaks(&(struct module_parts){.version = 1, .alloc = IF_BAD("(return (i32.const -1))") "(i32.const 4096)"},
           "alloc(2283) returned -1");
    /* 0 is a pointer here, and the output may lie in the input. */
    breaks_with(&(struct module_parts){.version = 1,
                                       .alloc = "(i32.const 0)",
                                       .transform = "(global.set $len (local.get $n)) (local.get $p)"},
                NULL, NULL, 0);
}

static void test_traps_and_loops(void **state)
{
    (void)state;
    static const char recurse[] =
        "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))";
    /* In alloc, transform, output_len. */
    breaks(&(struct module_parts){.alloc = IF_BAD("unreachable") "(i32.const 4096)"},
           "alloc: trap: unreachable executed in function 0");
    breaks(&(struct module_parts){.alloc = IF_BAD("(loop (br 0))") "(i32.const 4096)"},
           "alloc: timed out, the limit is 500 ms");
    breaks(&(struct module_parts){.transform = IF_BAD("unreachable") PASS2},
           "transform: trap: unreachable executed in function 1");
    breaks(&(struct module_parts){.transform = IF_BAD("(loop (br 0))") PASS2},
           "transform: timed out, the limit is 500 ms");
    breaks(&(struct module_parts){.transform = IF_BAD("(drop (i32.load (i32.const 65533)))") PASS2},
           "transform: trap: out of bounds memory access in function 1");
    breaks(&(struct module_parts){.transform = IF_BAD("(drop (i32.div_u (i32.const 1) (i32.const 0)))") PASS2},
           "transform: trap: integer divide by zero in function 1");
    breaks(&(struct module_parts){.transform = IF_BAD("(drop (call $deep (i32.const 1)))") PASS2, .extra = recurse},
           "transform: stack overflow: the limit is 1048576 bytes in deep");
    breaks(&(struct module_parts){.version = 1, .transform = IF_BAD("(loop (br 0))") PASS1},
           "transform: timed out, the limit is 500 ms");
    breaks(
        &(struct module_parts){
            .version = 1,
            .output_len = "(if (i32.gt_u (global.get $len) (i32.const 1000)) (then (loop (br 0)))) (global.get $len)"},
        "output_len: timed out, the limit is 500 ms");
    /* With fresh memory nothing is left to discard but the instance of that event. */
    breaks_with(&(struct module_parts){.transform = IF_BAD("unreachable") PASS2},
                &(struct filter_options){.name = "test", .memory = FILTER_MEMORY_FRESH, .timeout_ms = 20000},
                "transform: trap: unreachable executed in function 1", 1);
}

static void test_dealloc(void **state)
{
    (void)state;
    /* A trap in it: the event stands, the instance goes. Of the input, then of the output. */
    breaks_with(
        &(struct module_parts){.dealloc = IF_BAD("(if (i32.eq (local.get $p) (i32.const 4096)) (then unreachable))")},
        NULL, NULL, 1);
    breaks_with(
        &(struct module_parts){.dealloc = IF_BAD("(if (i32.eq (local.get $p) (i32.const 32768)) (then unreachable))")},
        NULL, NULL, 1);
    breaks_with(&(struct module_parts){.transform = RETURN2("(i64.const 0)"), .dealloc = IF_BAD("unreachable")}, NULL,
                NULL, 1);
    /* A timeout in it is one. */
    breaks(&(struct module_parts){.dealloc = IF_BAD("(loop (br 0))")}, "dealloc: timed out, the limit is 500 ms");
    /* What is given back is wiped, so the input is given back before the output is read and the output after that; and
     * both once. */
    breaks_with(
        &(struct module_parts){.alloc =
                                   "(global.set $count (i32.add (global.get $count) (i32.const 1))) (i32.const 4096)",
                               .dealloc = "(memory.fill (local.get $p) (i32.const 120) (local.get $n))"
                                          "(if (i32.eq (local.get $p) (i32.const 4096))"
                                          " (then (if (i32.ne (global.get $count) (i32.const 1)) (then unreachable)) "
                                          "(global.set $count (i32.const 2)))"
                                          " (else (if (i32.ne (global.get $count) (i32.const 2)) (then unreachable)) "
                                          "(global.set $count (i32.const 0))))"},
        NULL, NULL, 0);
}

static void test_memory(void **state)
{
    (void)state;
    struct filter_options small = {.name = "test", .memory_bytes_max = 1 << 20, .timeout_ms = 20000};
    /* Growth past the limit is -1, in memory and tables, and goes on after that. */
    breaks_with(
        &(struct module_parts){
            .transform = IF_BAD(
                "(if (i32.ne (memory.grow (i32.const 16)) (i32.const -1)) (then unreachable))"
                "(if (i32.ne (memory.grow (i32.const 15)) (i32.const 1)) (then unreachable))"
                "(if (i32.ne (memory.grow (i32.const 1)) (i32.const -1)) (then unreachable))"
                "(if (i32.ne (table.grow (ref.null func) (i32.const 131072)) (i32.const -1)) (then unreachable))"
                "(if (i32.ne (table.grow (ref.null func) (i32.const 131071)) (i32.const 1)) (then unreachable))"
                "(if (i32.ne (table.grow (ref.null func) (i32.const 1)) (i32.const -1)) (then unreachable))") PASS2,
            .extra = "(table 1 funcref)"},
        &small, NULL, 0);
    breaks_with(
        &(struct module_parts){
            .transform = IF_BAD(
                "(loop (br_if 0 (i32.ne (memory.grow (i32.const 1)) (i32.const -1)))) (return (i64.const -1))") PASS2},
        &small, "transform returned 0xffffffffffffffff: neither 0 nor pointer << 32 | length", 1);
    /* Memory grown by one event is there for the next. */
    breaks_with(
        &(struct module_parts){
            .transform = IF_BAD(
                "(drop (memory.grow (i32.const 8))) (i32.store (i32.const 500000) (i32.const 1))"
                "(memory.copy (i32.const 400000) (local.get $p) (local.get $n))"
                "(return (i64.or (i64.shl (i64.const 400000) (i64.const 32)) (i64.extend_i32_u (local.get $n))))")
                PASS2},
        &small, NULL, 0);
}

static void test_event_above_the_limit(void **state)
{
    (void)state;
    struct filter *filter = NULL;
    struct filter_instance *instance = NULL;
    enum filter_outcome outcome;
    struct filter_counts counts;
    struct filter_options small = {.name = "test", .memory_bytes_max = 100000, .timeout_ms = 20000};
    assert_int_equal(
        module_open(&(struct module_parts){.alloc = IF_BAD("unreachable") "(i32.const 4096)"}, &small, &filter, &err),
        SOREX_OK);
    assert_int_equal(filter_instance_open(filter, &instance, &err), SOREX_OK);
    const struct event *large = module_event(1, 100000);
    assert_int_equal(give(instance, large, &outcome), SOREX_GUEST);
    char want[128];
    (void)snprintf(want, sizeof want, "program test: the event has %zu bytes, the memory limit is 100000",
                   large->text.len);
    assert_string_equal(err.text, want);
    filter_counts_get(filter, &counts);
    assert_int_equal(counts.instances_discarded, 0); /* the guest never saw it */
    assert_int_equal(give(instance, module_event(1, 10), &outcome), SOREX_OK);
    filter_instance_close(instance);
    filter_free(filter);
    module_events_free();
}

/* An output of 100 MB, none of it an event. */
static void test_large_output(void **state)
{
    (void)state;
    breaks_with(
        &(struct module_parts){
            .memory = "2000",
            .transform =
                IF_BAD("(memory.fill (i32.const 8000000) (i32.const 120) (i32.const 100000000))"
                       "(return (i64.or (i64.shl (i64.const 8000000) (i64.const 32)) (i64.const 100000000)))") PASS2},
        &(struct filter_options){.name = "test", .memory_bytes_max = 256 << 20, .timeout_ms = 60000},
        "the output is no event: bad JSON at byte 0: neither a value nor a delimiter", 1);
    /* With less memory than that it cannot even be claimed. */
    breaks(&(struct module_parts){.transform = RETURN2(
                                      "(i64.or (i64.shl (i64.const 32768) (i64.const 32)) (i64.const 100000000))")},
           "the output of 100000000 bytes at 32768 is outside of the memory of 65536 bytes");
}

/* The bad event's output is this text. */
static void answers(const char *text, const char *want)
{
    struct buf data = {0}, body = {0};
    assert_int_equal(buf_append_str(&data, "(data (i32.const 16) \"", NULL), SOREX_OK);
    for (const char *c = text; *c != 0; c++)
        assert_int_equal(buf_printf(&data, NULL, "\\%02x", (unsigned char)*c), SOREX_OK);
    assert_int_equal(buf_printf(&data, NULL, "\")%c", 0), SOREX_OK);
    assert_int_equal(
        buf_printf(&body, NULL, "(if " BAD " (then (return (i64.const 0x10%08zx)))) " PASS2 "%c", strlen(text), 0),
        SOREX_OK);
    struct module_parts parts = {.transform = (const char *)body.data, .extra = (const char *)data.data};
    if (want != NULL)
        breaks(&parts, want);
    else
        breaks_with(&parts, NULL, NULL, 0);
    buf_deinit(&data);
    buf_deinit(&body);
}

#define SOURCE "\"source\":{\"source_name\":\"pg\",\"offset\":\"0/2\",\"timestamp\":1700000000000}"
#define REST ",\"ts\":1,\"table\":\"t\",\"envelope_version\":1"
#define INSERT "{\"op\":\"insert\",\"after\":1,"

static void test_outputs(void **state)
{
    (void)state;
    answers(INSERT SOURCE REST "}", NULL);
    answers(" { \"op\" : \"delete\", \"before\": {\"b\":1,\"a\":2}, " SOURCE REST ", \"unknown\": [] }\n", NULL);
    answers("x", "the output is no event: bad JSON at byte 0: neither a value nor a delimiter");
    answers("{}", "the output is no event: envelope_version is missing");
    answers("[]", "the output is no event: an event is a JSON object");
    answers("\"\xff\"", "the output is no event: bad JSON at byte 1: no UTF-8");
    answers("{\"op\":\"insert\"," SOURCE REST "}", "the output is no event: after is missing (op is insert)");
    answers(INSERT SOURCE ",\"ts\":0,\"table\":\"t\",\"envelope_version\":1}", "the output is no event: ts is 0");
    answers(INSERT SOURCE REST "}{}", "the output is no event: bad JSON at byte 136: text behind the value");
    answers(INSERT "\"source\":{\"source_name\":\"pg\",\"offset\":\"0/3\",\"timestamp\":1700000000000}" REST "}",
            "the output changes source.offset, which only the host may set");
    answers(INSERT "\"source\":{\"source_name\":\"px\",\"offset\":\"0/2\",\"timestamp\":1700000000000}" REST "}",
            "the output changes source.source_name, which only the host may set");
    answers(INSERT "\"source\":{\"source_name\":\"pg\",\"offset\":\"0/2\",\"timestamp\":1}" REST "}",
            "the output changes source.timestamp, which only the host may set");
    answers(INSERT SOURCE REST ",\"transaction\":{\"tx_id\":1,\"event_index\":0}}",
            "the output changes transaction, which only the host may set");
    answers(INSERT SOURCE REST ",\"snapshot\":{\"snapshot_id\":\"s\",\"chunk_index\":0,\"is_last_chunk\":true}}",
            "the output changes snapshot, which only the host may set");
}

/* What comes out is canonical whatever the guest wrote. */
static void test_output_is_canonical(void **state)
{
    (void)state;
    struct filter *filter = NULL;
    struct filter_instance *instance = NULL;
    const struct event *out = NULL;
    enum filter_outcome outcome;
    struct module_parts parts = {
        .transform = "(i64.const 0x1000000088)",
        .extra =
            "(data (i32.const 16) \"{\\22table\\22: \\22t\\22,\\22op\\22:\\22truncate\\22,\\22ts\\22:1,\\22source\\22:"
            "{\\22offset\\22:\\220/2\\22,\\22source_name\\22:\\22pg\\22,\\22timestamp\\22:1700000000000},"
            "\\22envelope_version\\22:1}                    \")"};
    assert_int_equal(module_open(&parts, NULL, &filter, &err), SOREX_OK);
    assert_int_equal(filter_instance_open(filter, &instance, &err), SOREX_OK);
    if (filter_instance_transform(instance, module_event(2, 1), &outcome, &out, &err) != SOREX_OK)
        fail_msg("%s", err.text);
    assert_int_equal(outcome, FILTER_CHANGED);
    assert_true(bytes_is(
        out->text,
        "{\"before\":null,\"after\":null,\"op\":\"truncate\",\"source\":{\"source_name\":\"pg\",\"offset\":\"0/2\","
        "\"timestamp\":1700000000000},\"ts\":1,\"schema\":null,\"table\":\"t\",\"primary_key\":null,\"snapshot\":null,"
        "\"transaction\":null,\"envelope_version\":1,\"before_is_key_only\":false}"));
    filter_instance_close(instance);
    filter_free(filter);
    module_events_free();
}

/* An init that fails later, when the instance is made again: an error for that event too, and the one behind it is
 * right. */
static void test_an_instance_that_cannot_be_made_again(void **state)
{
    (void)state;
    struct filter *filter = NULL;
    struct filter_instance *instance = NULL;
    enum filter_outcome outcome;
    /* Metrics outlive instances: the second init sees the first one's. */
    struct module_parts parts = {
        .imports = "(import \"env\" \"get_metric\" (func $get (param i32) (result i64)))"
                   "(import \"env\" \"record_metric\" (func $set (param i32 i64)))",
        .transform = IF_BAD("unreachable") PASS2,
        .extra = "(data (i32.const 16) \"n\\00\") (func (export \"init\") (param i32 i32) (result i32)"
                 " (call $set (i32.const 16) (i64.add (call $get (i32.const 16)) (i64.const 1)))"
                 " (i32.eq (i32.wrap_i64 (call $get (i32.const 16))) (i32.const 2)))"};
    assert_int_equal(module_open(&parts, NULL, &filter, &err), SOREX_OK);
    assert_int_equal(filter_instance_open(filter, &instance, &err), SOREX_OK);
    assert_int_equal(give(instance, module_event(1, 10), &outcome), SOREX_OK);
    assert_int_equal(give(instance, module_event(1, 2000), &outcome), SOREX_GUEST);
    assert_int_equal(give(instance, module_event(1, 10), &outcome), SOREX_GUEST);
    assert_string_equal(err.text, "program test: init returned 1");
    assert_int_equal(give(instance, module_event(1, 10), &outcome), SOREX_OK); /* the third time it is 0 again */
    filter_instance_close(instance);
    filter_free(filter);
    module_events_free();
}

/* Guests made by dice: any result from any function, memory written anywhere, growth, traps, recursion. Whatever they
 * do with the bad event, it is answered or refused, and the events around it pass. */
static uint32_t dice(uint64_t *seed, uint32_t limit)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)((*seed >> 33) % limit);
}

static uint64_t number_of(uint64_t *seed)
{
    static const uint64_t numbers[] = {0,     1,     15,    16,    4095,  4096,       6378,       6379,
                                       32767, 32768, 65535, 65536, 65537, 0x7fffffff, 0x80000000, 0xffffffff};
    return numbers[dice(seed, sizeof numbers / sizeof numbers[0])];
}

/* Statements for the bad event; result: of the function, "i32", "i64" or "". */
static void body_of(char *out, size_t cap, uint64_t *seed, const char *result)
{
    char text[512] = "";
    for (unsigned i = dice(seed, 3); i > 0; i--) {
        char one[160];
        unsigned long long a = number_of(seed), b = number_of(seed), c = number_of(seed);
        switch (dice(seed, 7)) {
        case 0:
            (void)snprintf(one, sizeof one, "(i32.store (i32.const %llu) (i32.const %llu))", a, b);
            break;
        case 1:
            (void)snprintf(one, sizeof one, "(memory.fill (i32.const %llu) (i32.const %llu) (i32.const %llu))", a,
                           b & 255, c & 0xffff);
            break;
        case 2:
            (void)snprintf(one, sizeof one, "(drop (memory.grow (i32.const %llu)))", a & 0xff);
            break;
        case 3:
            (void)snprintf(one, sizeof one, "(call $log (i32.const %llu) (i32.const %llu) (i32.const %llu))", a % 7, b,
                           c);
            break;
        case 4:
            (void)snprintf(one, sizeof one, "(call $set (i32.const %llu) (call $get (i32.const %llu)))", a, b);
            break;
        case 5:
            (void)snprintf(one, sizeof one, "(global.set $len (i32.const %llu))", a);
            break;
        default:
            (void)snprintf(one, sizeof one, "%s", dice(seed, 4) == 0 ? "(drop (call $deep (i32.const 1)))" : "(nop)");
            break;
        }
        (void)strncat(text, one, sizeof text - strlen(text) - 1);
    }
    char end[128] = ""; /* goes on, traps or returns */
    unsigned how = dice(seed, 4);
    if (how == 1)
        (void)snprintf(end, sizeof end, "unreachable");
    else if (how > 1 && strcmp(result, "i32") == 0)
        (void)snprintf(end, sizeof end, "(return (i32.const %llu))", (unsigned long long)number_of(seed));
    else if (how > 1 && strcmp(result, "i64") == 0)
        (void)snprintf(end, sizeof end, "(return (i64.const 0x%llx))",
                       (unsigned long long)(number_of(seed) << 32 | number_of(seed)));
    (void)snprintf(out, cap, "(if %s (then %s %s))", BAD, text, end);
}

static void test_guests_made_by_dice(void **state)
{
    (void)state;
    unsigned refused = 0, answered = 0;
    log_watch();
    for (uint64_t round = 1; round <= 400; round++) {
        uint64_t seed = round;
        char alloc[1100], transform[1400], dealloc[1024], body[1024];
        unsigned version = 1 + dice(&seed, 2);
        body_of(body, sizeof body, &seed, "i32");
        (void)snprintf(alloc, sizeof alloc, "%s (i32.const 4096)", dice(&seed, 3) == 0 ? body : "");
        body_of(body, sizeof body, &seed, version == 1 ? "i32" : "i64");
        (void)snprintf(transform, sizeof transform, "%s %s", dice(&seed, 4) != 0 ? body : "",
                       version == 1 ? PASS1 : PASS2);
        body_of(body, sizeof body, &seed, "");
        (void)snprintf(dealloc, sizeof dealloc, "%s", dice(&seed, 3) == 0 ? body : "");
        struct module_parts parts = {
            .version = version,
            .imports = "(import \"env\" \"log\" (func $log (param i32 i32 i32)))"
                       "(import \"env\" \"get_metric\" (func $get (param i32) (result i64)))"
                       "(import \"env\" \"record_metric\" (func $set (param i32 i64)))",
            .alloc = alloc,
            .transform = transform,
            .dealloc = version == 2 ? dealloc : NULL,
            .extra = "(func $deep (param i32) (result i32) (i32.add (call $deep (local.get 0)) (i32.const 1)))"};
        struct filter *filter = NULL;
        struct filter_instance *instance = NULL;
        if (module_open(&parts, NULL, &filter, &err) != SOREX_OK ||
            filter_instance_open(filter, &instance, &err) != SOREX_OK)
            fail_msg("seed %llu: %s", (unsigned long long)round, err.text);
        const struct event *good = module_event(1, 10), *bad = module_event(2, 2000);
        for (int i = 0; i < 6; i++) {
            enum filter_outcome outcome;
            enum sorex_status status = give(instance, i % 2 == 0 ? good : bad, &outcome);
            if (i % 2 == 0 ? status != SOREX_OK || outcome != FILTER_PASSED
                           : status != SOREX_OK && status != SOREX_GUEST)
                fail_msg("seed %llu, event %d: %s: %s", (unsigned long long)round, i, sorex_status_name(status),
                         err.text);
            *(status == SOREX_OK ? &answered : &refused) += i % 2 == 1;
        }
        filter_instance_close(instance);
        filter_free(filter);
        module_events_free();
    }
    assert_true(refused > 200 && answered > 200);
}

/* Loops in some threads, events in others: the timeout is per call. */
struct worker {
    struct filter *filter;
    const struct event *event;
    enum sorex_status want;
    unsigned events, failed;
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
    for (unsigned i = 0; i < worker->events; i++) {
        enum filter_outcome outcome;
        const struct event *out;
        worker->failed += filter_instance_transform(instance, worker->event, &outcome, &out, &own) != worker->want;
    }
    filter_instance_close(instance);
    return NULL;
}

static void test_loops_beside_events(void **state)
{
    (void)state;
    enum { THREADS = 4 };
    pthread_t threads[THREADS];
    struct worker workers[THREADS];
    struct filter *filter = NULL;
    assert_int_equal(module_open(&(struct module_parts){.transform = IF_BAD("(loop (br 0))") PASS2},
                                 &(struct filter_options){.name = "test", .timeout_ms = 1000}, &filter, &err),
                     SOREX_OK);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = i % 2 == 0 ? (struct worker){filter, module_event(1, 2000), SOREX_GUEST, 2, 0}
                                : (struct worker){filter, module_event(1, 10), SOREX_OK, 1000, 0};
        assert_int_equal(pthread_create(&threads[i], NULL, work, &workers[i]), 0);
    }
    for (int i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].failed, 0);
    }
    struct filter_counts counts;
    filter_counts_get(filter, &counts);
    assert_int_equal(counts.instances_discarded, 4);
    filter_free(filter);
    module_events_free();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pointers),
        cmocka_unit_test(test_version_1),
        cmocka_unit_test(test_traps_and_loops),
        cmocka_unit_test(test_dealloc),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_event_above_the_limit),
        cmocka_unit_test(test_large_output),
        cmocka_unit_test(test_outputs),
        cmocka_unit_test(test_output_is_canonical),
        cmocka_unit_test(test_an_instance_that_cannot_be_made_again),
        cmocka_unit_test(test_guests_made_by_dice),
        cmocka_unit_test(test_loops_beside_events),
    };
    traps_keep();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
