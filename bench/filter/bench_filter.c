/* Event transforms: what one event costs, whole and in parts, at four sizes, in CPU time. rustcdc's figures, measured
 * elsewhere with such guests, go from parsed event to parsed event, and so do the rows that are compared with them;
 * "from text" adds the reading and validating of the input. What comes out is text as well as an event in all of them.
 *
 * The native rival runs the very source of the guest `mask` compiled by the same compiler for the host, and reads its
 * output as the host reads the guest's. */
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/limits.h"
#include "bench/harness.h"
#include "guest/filter.h"
#include "wasm/wasm.h"
#include "wasm/watchdog.h"

#define SOREX_FILTER(function) static enum sx_verdict (*const native_mask)(struct sx_bytes, struct sx_buf *) = function;
#define SOREX_FILTER_INIT(function) static int32_t (*const native_configure)(struct sx_bytes) = function;
#include "guests/filter/mask.c"

#define STAGES_MAX 3

struct world {
    struct json_parser *parser;
    struct arena arena;
    char text[16384];
    size_t len;
    struct event event; /* of text */
    struct filter_instance *stages[STAGES_MAX];
    size_t stages_count;
    struct sx_buf native;
    unsigned repeats;
};

static struct sorex_error err;

static void must(enum sorex_status status)
{
    if (status != SOREX_OK)
        bench_die("%s", err.text);
}

/* An insert of about so many bytes: an id, an email and as many further columns as it takes. */
static void event_make(struct world *world, size_t size)
{
    static const char head[] = "{\"before\":null,\"after\":{",
                      tail[] = "},\"op\":\"insert\",\"source\":{\"source_name\":\"pg\",\"offset\":\"0/"
                               "16B3748\",\"timestamp\":1700000000000},\"ts\":1700000000001,"
                               "\"schema\":\"public\",\"table\":\"users\",\"primary_key\":[\"id\"],\"snapshot\":null,"
                               "\"transaction\":null,\"envelope_version\":1,"
                               "\"before_is_key_only\":false}";
    static const char smallest[] =
        "{\"before\":null,\"after\":{\"email\":\"a\"},\"op\":\"read\",\"source\":{\"source_name\":\"p\",\"offset\":"
        "\"1\","
        "\"timestamp\":1},\"ts\":1,\"schema\":null,\"table\":\"t\",\"primary_key\":null,\"snapshot\":null,"
        "\"transaction\":null,\"envelope_version\":1,\"before_is_key_only\":false}";
    size_t len =
        (size_t)snprintf(world->text, sizeof world->text, "%s\"email\":\"someone@example.com\",\"id\":42", head);
    for (unsigned i = 0; len + sizeof tail + 26 < size; i++)
        len += (size_t)snprintf(world->text + len, sizeof world->text - len, ",\"p%03u\":\"value of it %05u\"", i,
                                i * 7919 % 100000);
    world->len = len + (size_t)snprintf(world->text + len, sizeof world->text - len, "%s", tail);
    if (size == 0) /* the smallest event that there is */
        world->len = (size_t)snprintf(world->text, sizeof world->text, "%s", smallest);
    world->repeats = (unsigned)(20000000 / (world->len + 500));
    arena_reset(&world->arena);
    must(event_parse(world->parser, bytes_of(world->text, world->len), &world->arena, &world->event, &err));
    if (world->event.text.data == NULL)
        bench_die("the event is not canonical");
}

static void stages_close(struct world *world)
{
    while (world->stages_count > 0) {
        filter_instance_close(world->stages[--world->stages_count]);
    }
}

static struct filter *filter_open(const char *name)
{
    const char *folder = getenv("SOREX_GUESTS");
    char path[1024];
    struct buf wasm = {0};
    struct filter *filter = NULL;
    (void)snprintf(path, sizeof path, "%s/%s.wasm", folder != NULL ? folder : "guests", name);
    must(file_read(path, SOREX_MODULE_BYTES_MAX, &wasm, &err));
    /* A busy machine must not turn a long wait for the processor into a timeout. */
    must(filter_new(buf_view(&wasm), &(struct filter_options){.name = name, .timeout_ms = 10000}, &filter, &err));
    buf_deinit(&wasm);
    return filter;
}

static void stage_add(struct world *world, struct filter *filter)
{
    must(filter_instance_open(filter, &world->stages[world->stages_count++], &err));
}

/* -- what is measured, in microseconds an event */

/* CPU time of this thread: nothing here waits for anything. */
static uint64_t cpu_ns(void)
{
    struct timespec time;
    (void)clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
    return (uint64_t)time.tv_sec * 1000000000 + (uint64_t)time.tv_nsec;
}

static double per_event(const struct world *world, uint64_t begin)
{
    return (double)(cpu_ns() - begin) / 1000 / world->repeats;
}

static void stages_run(struct world *world, const struct event *event)
{
    enum filter_outcome outcome = FILTER_PASSED;
    for (size_t i = 0; i < world->stages_count && event != NULL; i++)
        must(filter_instance_transform(world->stages[i], event, &outcome, &event, &err));
}

static double transform_only(void *user_data)
{
    struct world *world = user_data;
    uint64_t begin = cpu_ns();
    for (unsigned i = 0; i < world->repeats; i++)
        stages_run(world, &world->event);
    return per_event(world, begin);
}

static double text_to_text(void *user_data)
{
    struct world *world = user_data;
    struct event event;
    uint64_t begin = cpu_ns();
    for (unsigned i = 0; i < world->repeats; i++) {
        arena_reset(&world->arena);
        must(event_parse(world->parser, bytes_of(world->text, world->len), &world->arena, &event, &err));
        must(event_validate(&event, &err));
        must(event_text_make(&event, &world->arena, &err));
        stages_run(world, &event);
    }
    return per_event(world, begin);
}

static double parse(void *user_data)
{
    struct world *world = user_data;
    struct event event;
    uint64_t begin = cpu_ns();
    for (unsigned i = 0; i < world->repeats; i++) {
        arena_reset(&world->arena);
        must(event_parse(world->parser, bytes_of(world->text, world->len), &world->arena, &event, &err));
        must(event_validate(&event, &err));
    }
    return per_event(world, begin);
}

static double write(void *user_data)
{
    struct world *world = user_data;
    struct buf out = {0};
    struct event event = world->event;
    event.text = bytes_of(NULL, 0);
    uint64_t begin = cpu_ns();
    for (unsigned i = 0; i < world->repeats; i++) {
        buf_reset(&out);
        must(event_write(&event, &out, &err));
    }
    double result = per_event(world, begin);
    buf_deinit(&out);
    return result;
}

static double native(void *user_data)
{
    struct world *world = user_data;
    struct event event;
    uint64_t begin = cpu_ns();
    for (unsigned i = 0; i < world->repeats; i++) {
        if (native_mask(sx_bytes_of(world->text, (uint32_t)world->len), &world->native) != SX_CHANGED)
            bench_die("nothing was masked");
        arena_reset(&world->arena);
        must(event_parse_changed(world->parser, &world->event, bytes_of(world->native.data, world->native.len),
                                 &world->arena, &event, &err));
        must(event_validate(&event, &err));
    }
    return per_event(world, begin);
}

static double native_alone(void *user_data)
{
    struct world *world = user_data;
    uint64_t begin = cpu_ns();
    for (unsigned i = 0; i < world->repeats; i++)
        if (native_mask(sx_bytes_of(world->text, (uint32_t)world->len), &world->native) != SX_CHANGED)
            bench_die("nothing was masked");
    return per_event(world, begin);
}

static double watch(void *user_data)
{
    struct world *world = user_data;
    uint64_t begin = cpu_ns();
    for (unsigned i = 0; i < world->repeats; i++) {
        struct watchdog_call call = {.what = "bench", .stop_ms = 10000};
        watchdog_begin(&call);
        watchdog_end(&call);
    }
    return per_event(world, begin) * 1000;
}

/* How long after its timeout of 50 ms a guest that never returns is stopped, in milliseconds of the wall clock. */
static double overrun(void *user_data)
{
    struct world *world = user_data;
    enum filter_outcome outcome;
    const struct event *out;
    uint64_t begin = clock_ns();
    if (filter_instance_transform(world->stages[0], &world->event, &outcome, &out, &err) != SOREX_GUEST)
        bench_die("a loop came to an end");
    return (double)(clock_ns() - begin) / 1e6 - 50;
}

static struct filter *loop_open(void)
{
    static const char text[] =
        "(module (memory (export \"memory\") 1) (func (export \"alloc\") (param i32) (result i32) (i32.const 16))"
        " (func (export \"output_len\") (result i32) (i32.const 0))"
        " (func (export \"transform\") (param i32 i32) (result i32) (loop (br 0)) (i32.const 0)))";
    struct buf wasm = {0};
    struct filter *filter = NULL;
    must(wasm_from_text(bytes_str(text), &wasm, &err));
    must(filter_new(buf_view(&wasm), &(struct filter_options){.name = "loop", .timeout_ms = 50}, &filter, &err));
    buf_deinit(&wasm);
    return filter;
}

/* -- rows */

struct rival {
    size_t size;
    const char *label;
    double pass, drop, mask, three; /* 0: not measured */
};

static const struct rival rivals[] = {{0, "220 B", 0, 0, 0, 0},
                                      {331, "331 B", 2.5, 2.0, 2.5, 6.0},
                                      {1100, "1.1 kB", 5.1, 4.6, 6.0, 0},
                                      {10000, "10 kB", 0, 0, 0, 0}};

static char labels[BENCH_ROWS_MAX][96];
static unsigned labels_count;

static const char *label(const char *size, const char *what)
{
    char *text = labels[labels_count++];
    (void)snprintf(text, sizeof labels[0], "%s: %s", size, what);
    return text;
}

/* From event to event, as the rival's figures go, and from text to text. */
static void measure(struct bench *bench, struct world *world, const struct rival *rival, const char *what, double value)
{
    struct bench_row row = {.target = 7, .what = label(rival->label, what), .unit = "us", .subject = transform_only};
    if (value > 0) {
        row.rival_name = "rustcdc, measured elsewhere";
        row.rival_value = value;
        row.goal = 0.33;
    }
    bench_measure(bench, &row, world);
    char text[64];
    (void)snprintf(text, sizeof text, "%s, from text", what);
    bench_measure(bench, &(struct bench_row){.what = label(rival->label, text), .unit = "us", .subject = text_to_text},
                  world);
}

int main(void)
{
    static struct world world;
    struct bench bench;
    static const char *const names[] = {"filter_pass", "filter_mask", "filter_rewrite", "filter_drop"};
    struct filter *filters[4];
    must(json_parser_new(&world.parser, &err));
    arena_init(&world.arena, 0);
    bench_start(&bench, "filter");
    for (size_t i = 0; i < 4; i++)
        filters[i] = filter_open(names[i]);
    for (size_t i = 0; i < sizeof rivals / sizeof rivals[0]; i++) {
        const struct rival *rival = &rivals[i];
        event_make(&world, rival->size);
        bench_measure(
            &bench,
            &(struct bench_row){.what = label(rival->label, "parse and validate"), .unit = "us", .subject = parse},
            &world);
        stage_add(&world, filters[3]);
        measure(&bench, &world, rival, "drop every event (copy in, calls)", rival->drop);
        stages_close(&world);
        stage_add(&world, filters[0]);
        measure(&bench, &world, rival, "pass (and copy in the guest, compare)", rival->pass);
        stages_close(&world);
        stage_add(&world, filters[1]);
        measure(&bench, &world, rival, "mask a column (and its work, output read)", rival->mask);
        bench_measure(&bench,
                      &(struct bench_row){.target = 7,
                                          .what = label(rival->label, "mask a column"),
                                          .unit = "us",
                                          .subject = transform_only,
                                          .rival = native,
                                          .rival_name = "the same source, native; output read",
                                          .goal = 5},
                      &world);
        bench_measure(&bench,
                      &(struct bench_row){.what = label(rival->label, "the guest's work, native"),
                                          .unit = "us",
                                          .subject = native_alone},
                      &world);
        stages_close(&world);
        for (size_t k = 0; k < 3; k++)
            stage_add(&world, filters[k]);
        measure(&bench, &world, rival, "3 stages: pass, mask, rewrite", rival->three);
        stages_close(&world);
        bench_measure(&bench,
                      &(struct bench_row){
                          .what = label(rival->label, "canonical form from fields"), .unit = "us", .subject = write},
                      &world);
    }
    bench_measure(&bench,
                  &(struct bench_row){.what = "timeout of one call: begin and end", .unit = "ns", .subject = watch},
                  &world);
    struct filter *loop = loop_open();
    stage_add(&world, loop);
    bench_measure(&bench,
                  &(struct bench_row){.what = "a loop: stopped so long after its timeout of 50 ms (wall clock)",
                                      .unit = "ms",
                                      .subject = overrun},
                  &world);
    stages_close(&world);
    filter_free(loop);
    for (size_t i = 0; i < 4; i++)
        filter_free(filters[i]);
    json_parser_free(world.parser);
    arena_deinit(&world.arena);
    (void)native_configure;
    return bench_finish(&bench);
}
