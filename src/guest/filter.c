/* Contract 3: loading, instances, one event. Everything that runs guest code goes through guest_run, so that everything
 * is timed; everything that makes an instance through sandbox_make. */
#include "guest/filter.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/limits.h"
#include "base/log.h"
#include "guest/buffers.h"
#include "guest/call.h"
#include "guest/filter_private.h"
#include "json/writer.h"

#define ABI_VERSION 2
#define PAGE_BYTES ((uint64_t)65536)
/* Filters touch a few pages; see wasm_settings. */
#define RESIDENT_BYTES ((uint64_t)64 << 10)

/* -- running guest code */

/* What a guest did wrong becomes SOREX_GUEST; the host's trouble stays what it is. */
static enum sorex_status guest_fault(struct filter_instance *instance, enum sorex_status status, struct sorex_error *err)
{
    if (status != SOREX_GUEST && status != SOREX_LIMIT && status != SOREX_STOPPED)
        return status;
    instance->by_machine |= status != SOREX_GUEST; /* the stack, or interrupted */
    (void)sorex_error_prefix(err, "%s", instance->where);
    if (err != NULL)
        err->status = SOREX_GUEST;
    return SOREX_GUEST;
}

static enum sorex_status timeout_error(struct filter_instance *instance, struct sorex_error *err)
{
    instance->by_machine = true;
    return sorex_error_set(err, SOREX_GUEST, "%s: timed out, the limit is %llu ms", instance->where,
                           (unsigned long long)instance->filter->timeout_ms);
}

static void watch_prepare(struct filter_instance *instance)
{
    instance->watch = (struct watchdog_call){
        .sandbox = instance->sandbox, .what = instance->filter->what, .stop_ms = instance->filter->timeout_ms};
}

/* The only maker of instances here: fresh, its start section run under the timeout. */
static enum sorex_status sandbox_make(struct filter_instance *instance, struct sorex_error *err)
{
    struct filter *filter = instance->filter;
    struct wasm_limits limits = {.memory_bytes_max = filter->memory_bytes_max,
                                 .table_elements_max = filter->table_elements_max,
                                 .start_watch = &instance->watch};
    struct wasm_sandbox *sandbox = NULL;
    instance->where = "the start section";
    watch_prepare(instance);
    enum sorex_status status = wasm_sandbox_open(filter->program, &limits, instance, &sandbox, err);
    if (instance->watch.timed_out) {
        if (status == SOREX_OK)
            wasm_sandbox_close(sandbox);
        return timeout_error(instance, err);
    }
    if (status != SOREX_OK)
        return guest_fault(instance, status, err);
    instance->sandbox = sandbox;
    instance->used = instance->broken = false;
    atomic_fetch_add_explicit(&filter->instances_made, 1, memory_order_relaxed);
    return SOREX_OK;
}

static void sandbox_drop(struct filter_instance *instance)
{
    wasm_sandbox_close(instance->sandbox);
    instance->sandbox = NULL;
}

static void sandbox_discard(struct filter_instance *instance)
{
    if (instance->sandbox != NULL)
        atomic_fetch_add_explicit(&instance->filter->instances_discarded, 1, memory_order_relaxed);
    sandbox_drop(instance);
}

typedef enum sorex_status guest_fn(struct filter_instance *instance, void *argument, struct sorex_error *err);

/* Runs fn, which calls into the guest, under the timeout. A timeout is one even when fn came to its end meanwhile: the
 * sandbox has been told to stop. */
static enum sorex_status guest_run(struct filter_instance *instance, guest_fn *fn, void *argument,
                                   struct sorex_error *err)
{
    watch_prepare(instance);
    watchdog_begin(&instance->watch);
    enum sorex_status status = fn(instance, argument, err);
    watchdog_end(&instance->watch);
    return instance->watch.timed_out ? timeout_error(instance, err) : status;
}

static enum sorex_status call(struct filter_instance *instance, const struct wasm_export *func,
                              union wasm_value *values, struct sorex_error *err)
{
    instance->where = func->name;
    enum sorex_status status = wasm_sandbox_call(instance->sandbox, func, values, err);
    return status == SOREX_OK ? SOREX_OK : guest_fault(instance, status, err);
}

/* A result that breaks the contract: the instance goes. */
#define BROKEN(instance, err, ...) ((instance)->broken = true, sorex_error_set(err, SOREX_GUEST, __VA_ARGS__))

/* alloc, and text copied to what it gave. */
static enum sorex_status text_give(struct filter_instance *instance, struct bytes text, uint32_t *out_pointer,
                                   struct sorex_error *err)
{
    union wasm_value values = {.u32 = (uint32_t)text.len};
    TRY(call(instance, instance->filter->alloc, &values, err));
    int32_t pointer = values.i32;
    if (pointer < 0 || (pointer == 0 && instance->filter->version == 2))
        return BROKEN(instance, err, "alloc(%zu) returned %d", text.len, pointer);
    struct guest_memory memory = guest_memory_of(instance->sandbox);
    uint8_t *target = buffer_target(memory, (uint32_t)pointer, text.len);
    if (target == NULL)
        return BROKEN(instance, err, "alloc(%zu) returned %d: outside of the memory of %zu bytes", text.len, pointer,
                      memory.len);
    memcpy(target, text.data, text.len);
    *out_pointer = (uint32_t)pointer;
    return SOREX_OK;
}

/* -- one event */

/* One event on its way through the guest. */
struct exchange {
    struct bytes input;
    uint32_t input_pointer;
    enum filter_outcome outcome;
};

/* A trap in it does not undo the event, but the instance goes. */
static enum sorex_status dealloc(struct filter_instance *instance, uint32_t pointer, uint32_t len,
                                 struct sorex_error *err)
{
    union wasm_value values[2] = {{.u32 = pointer}, {.u32 = len}};
    if (instance->broken)
        return SOREX_OK;
    enum sorex_status status = call(instance, instance->filter->dealloc, values, err);
    if (status != SOREX_GUEST || wasm_sandbox_end(instance->sandbox) == WASM_END_INTERRUPTED)
        return status;
    instance->broken = true;
    log_line(LOG_DEBUG, instance->filter->what, "%s; the event stands, the instance is made again",
             err != NULL ? err->text : "dealloc trapped");
    return SOREX_OK;
}

/* The output: the input again, or copied to instance->output. */
static enum sorex_status output_take(struct filter_instance *instance, struct exchange *exchange, uint32_t pointer,
                                     uint32_t len, struct sorex_error *err)
{
    struct bytes output;
    struct guest_memory memory = guest_memory_of(instance->sandbox);
    if (!buffer_at(memory, pointer, len, &output))
        return BROKEN(instance, err, "the output of %u bytes at %u is outside of the memory of %zu bytes", len, pointer,
                      memory.len);
    if (bytes_equal(output, exchange->input)) {
        exchange->outcome = FILTER_PASSED;
        return SOREX_OK;
    }
    exchange->outcome = FILTER_CHANGED;
    buf_reset(&instance->output);
    return buf_append(&instance->output, output, err);
}

/* transform -> -1 filtered, below failed, else a pointer, and output_len says how long. */
static enum sorex_status transform_v1(struct filter_instance *instance, struct exchange *exchange,
                                      struct sorex_error *err)
{
    union wasm_value values[2] = {{.u32 = exchange->input_pointer}, {.u32 = (uint32_t)exchange->input.len}};
    TRY(call(instance, instance->filter->transform, values, err));
    int32_t pointer = values[0].i32;
    exchange->outcome = FILTER_FILTERED;
    if (pointer == -1)
        return SOREX_OK;
    if (pointer < -1)
        return sorex_error_set(err, SOREX_GUEST, "transform returned %d",
                               pointer); /* its own word: nothing is broken */
    TRY(call(instance, instance->filter->output_len, values, err));
    if (values[0].i32 < 0)
        return BROKEN(instance, err, "output_len returned %d", values[0].i32);
    return values[0].i32 == 0 ? SOREX_OK : output_take(instance, exchange, (uint32_t)pointer, values[0].u32, err);
}

/* transform -> 0 filtered, else pointer and length; the input is given back before the output is read, then the output.
 */
static enum sorex_status transform_v2(struct filter_instance *instance, struct exchange *exchange,
                                      struct sorex_error *err)
{
    uint32_t input = exchange->input_pointer, input_len = (uint32_t)exchange->input.len;
    union wasm_value values[2] = {{.u32 = input}, {.u32 = input_len}};
    TRY(call(instance, instance->filter->transform, values, err));
    uint64_t packed = values[0].u64;
    uint32_t pointer = (uint32_t)(packed >> 32), len = (uint32_t)packed;
    if (packed != 0 && (pointer == 0 || pointer > INT32_MAX || len == 0 || len > INT32_MAX))
        return BROKEN(instance, err, "transform returned 0x%llx: neither 0 nor pointer << 32 | length",
                      (unsigned long long)packed);
    if (packed != 0 && pointer < (uint64_t)input + input_len && input < (uint64_t)pointer + len)
        return BROKEN(instance, err,
                      "the output of %u bytes at %u lies in the input, which is given back before it is read", len,
                      pointer);
    TRY(dealloc(instance, input, input_len, err));
    exchange->outcome = FILTER_FILTERED;
    if (packed == 0)
        return SOREX_OK;
    TRY(output_take(instance, exchange, pointer, len, err));
    return dealloc(instance, pointer, len, err);
}

static enum sorex_status exchange_run(struct filter_instance *instance, void *argument, struct sorex_error *err)
{
    struct exchange *exchange = argument;
    TRY(text_give(instance, exchange->input, &exchange->input_pointer, err));
    return instance->filter->version == 1 ? transform_v1(instance, exchange, err)
                                          : transform_v2(instance, exchange, err);
}

/* An output that differs from the input: an event, valid, with the host's fields as they were. */
static enum sorex_status output_judge(struct filter_instance *instance, const struct event *input,
                                      struct sorex_error *err)
{
    struct event *event = &instance->event;
    arena_reset(&instance->arena);
    enum sorex_status status = event_parse_changed(instance->parser, input, buf_view(&instance->output), &instance->arena, event, err);
    if (status == SOREX_OK)
        status = event_validate(event, err);
    if (status == SOREX_INVALID || status == SOREX_LIMIT) {
        instance->broken = true;
        (void)sorex_error_prefix(err, "the output is no event");
        if (err != NULL)
            err->status = SOREX_GUEST;
        return SOREX_GUEST;
    }
    TRY(status);
    const char *field = event_host_field_changed(input, event);
    if (field != NULL)
        return BROKEN(instance, err, "the output changes %s, which only the host may set", field);
    return event_text_make(event, &instance->arena, err);
}

/* -- instances */

static enum sorex_status init_run(struct filter_instance *instance, void *unused, struct sorex_error *err)
{
    (void)unused;
    struct filter *filter = instance->filter;
    union wasm_value values[2] = {{0}};
    TRY(text_give(instance, buf_view(&filter->init_input), &values[0].u32, err));
    values[1].u32 = (uint32_t)filter->init_input.len;
    TRY(call(instance, filter->init, values, err));
    return values[0].i32 == 0 ? SOREX_OK : sorex_error_set(err, SOREX_GUEST, "init returned %d", values[0].i32);
}

/* An instance with its init behind it, made when there is none. */
static enum sorex_status instance_ready(struct filter_instance *instance, struct sorex_error *err)
{
    if (instance->used && instance->filter->memory == FILTER_MEMORY_FRESH)
        sandbox_drop(instance);
    if (instance->sandbox != NULL)
        return SOREX_OK;
    TRY(sandbox_make(instance, err));
    if (instance->filter->init == NULL)
        return SOREX_OK;
    enum sorex_status status = guest_run(instance, init_run, NULL, err);
    if (status != SOREX_OK)
        sandbox_discard(instance);
    return status;
}

static enum sorex_status event_give(struct filter_instance *instance, const struct event *event,
                                    enum filter_outcome *out_outcome, struct sorex_error *err)
{
    const struct filter *filter = instance->filter;
    struct exchange exchange = {.input = event->text};
    if (event->text.len > filter->memory_bytes_max || event->text.len > INT32_MAX)
        return sorex_error_set(err, SOREX_GUEST, "the event has %zu bytes, the memory limit is %llu", event->text.len,
                               (unsigned long long)filter->memory_bytes_max);
    TRY(instance_ready(instance, err));
    instance->used = true;
    enum sorex_status status = guest_run(instance, exchange_run, &exchange, err);
    enum wasm_end end = wasm_sandbox_end(instance->sandbox);
    if (status == SOREX_OK && exchange.outcome == FILTER_CHANGED)
        status = output_judge(instance, event, err);
    if (instance->broken || end != WASM_END_OK || instance->watch.stopped)
        sandbox_discard(instance);
    *out_outcome = exchange.outcome;
    return status;
}

enum sorex_status filter_instance_transform(struct filter_instance *instance, const struct event *event,
                                            enum filter_outcome *out_outcome, const struct event **out_event,
                                            struct sorex_error *err)
{
    CHECK(event->text.data != NULL);
    instance->by_machine = false;
    enum sorex_status status = event_give(instance, event, out_outcome, err);
    if (status != SOREX_OK) {
        (void)sorex_error_prefix(err, "program %s", instance->filter->name);
        return status;
    }
    *out_event = *out_outcome == FILTER_PASSED ? event : *out_outcome == FILTER_CHANGED ? &instance->event : NULL;
    return SOREX_OK;
}

bool filter_instance_repeatable(const struct filter_instance *instance) { return !instance->by_machine; }

enum sorex_status filter_instance_open(struct filter *filter, struct filter_instance **out, struct sorex_error *err)
{
    struct filter_instance *instance = calloc(1, sizeof *instance);
    if (instance == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for an instance");
    instance->filter = filter;
    arena_init(&instance->arena, 0);
    enum sorex_status status = json_parser_new(&instance->parser, err);
    if (status == SOREX_OK)
        status = instance_ready(instance, err);
    if (status != SOREX_OK) {
        filter_instance_close(instance);
        (void)sorex_error_prefix(err, "program %s", filter->name);
        return status;
    }
    *out = instance;
    return SOREX_OK;
}

static enum sorex_status shutdown_run(struct filter_instance *instance, void *unused, struct sorex_error *err)
{
    (void)unused;
    union wasm_value value = {0};
    TRY(call(instance, instance->filter->shutdown, &value, err));
    return value.i32 == 0 ? SOREX_OK : sorex_error_set(err, SOREX_GUEST, "shutdown returned %d", value.i32);
}

void filter_instance_close(struct filter_instance *instance)
{
    struct sorex_error err;
    if (instance == NULL)
        return;
    if (instance->sandbox != NULL && instance->filter->shutdown != NULL &&
        guest_run(instance, shutdown_run, NULL, &err) != SOREX_OK)
        log_line(LOG_WARN, instance->filter->what, "%s", err.text);
    sandbox_drop(instance);
    json_parser_free(instance->parser);
    arena_deinit(&instance->arena);
    buf_deinit(&instance->output);
    free(instance);
}

/* -- filters */

/* {"memory_limit_mb":16,"timeout_ms":50,"config":...} */
static enum sorex_status init_input_make(struct filter *filter, struct bytes config, struct sorex_error *err)
{
    struct json_writer w;
    if (config.data != NULL) {
        struct json_parser *parser;
        struct json_doc doc;
        TRY(json_parser_new(&parser, err));
        enum sorex_status status = json_parse(parser, config, &doc, err);
        json_parser_free(parser);
        if (status != SOREX_OK)
            return sorex_error_prefix(err, "config");
    }
    json_writer_init(&w, &filter->init_input, false, err);
    json_object_begin(&w);
    json_name(&w, "memory_limit_mb");
    json_uint(&w, filter->memory_bytes_max >> 20);
    json_name(&w, "timeout_ms");
    json_uint(&w, filter->timeout_ms);
    if (config.data != NULL) {
        json_name(&w, "config");
        json_raw(&w, config);
    }
    json_object_end(&w);
    return json_writer_finish(&w);
}

static enum sorex_status probe_run(struct filter_instance *instance, void *probe, struct sorex_error *err)
{
    union wasm_value value = {0};
    TRY(call(instance, probe, &value, err));
    if (value.i32 == ABI_VERSION)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_GUEST, "rustcdc_abi_version returned %d: this host knows version %d", value.i32,
                           ABI_VERSION);
}

/* Version 2 says its number, on an instance that nothing else is done with. */
static enum sorex_status version_probe(struct filter *filter, struct sorex_error *err)
{
    const struct wasm_export *probe = wasm_program_export(filter->program, "rustcdc_abi_version");
    struct filter_instance instance = {.filter = filter};
    if (filter->version != 2)
        return SOREX_OK;
    TRY(sandbox_make(&instance, err));
    enum sorex_status status = guest_run(&instance, probe_run, (void *)(uintptr_t)probe, err);
    sandbox_drop(&instance);
    return status;
}

static enum sorex_status filter_compile(struct filter *filter, struct bytes wasm, const char *cache_dir,
                                        struct sorex_error *err)
{
    struct wasm_program_options program = {
        .name = filter->name,
        .settings = {.interruptible = true,
                     .memory_bytes_max = (filter->memory_bytes_max + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES,
                     .resident_bytes = RESIDENT_BYTES,
                     .sandboxes_max = FILTER_INSTANCES_MAX},
        .imports = filter_imports,
        .imports_count = sizeof filter_imports / sizeof filter_imports[0],
        .cache_dir = cache_dir,
    };
    TRY(wasm_program_open(wasm, &program, &filter->program, err));
    TRY(filter_exports_find(filter, err));
    enum sorex_status status = version_probe(filter, err);
    if (status != SOREX_OK)
        (void)sorex_error_prefix(err, "program %s", filter->name);
    return status;
}

enum sorex_status filter_new(struct bytes wasm, const struct filter_options *options, struct filter **out,
                             struct sorex_error *err)
{
    const char *name = options->name != NULL ? options->name : "filter";
    struct filter *filter = calloc(1, sizeof *filter);
    if (filter == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a program");
    enum sorex_status status = filter_host_init(&filter->host, err);
    if (status != SOREX_OK) {
        free(filter);
        return status;
    }
    size_t what_len = strlen(name) + sizeof "program ";
    filter->name = strdup(name);
    filter->what = malloc(what_len);
    filter->memory_bytes_max = options->memory_bytes_max != 0 ? options->memory_bytes_max : FILTER_MEMORY_BYTES_DEFAULT;
    filter->timeout_ms = options->timeout_ms != 0 ? options->timeout_ms : FILTER_TIMEOUT_MS_DEFAULT;
    filter->memory = options->memory;
    filter->metrics_write_only = options->metrics_write_only;
    if (filter->name == NULL || filter->what == NULL) {
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory for a program");
        goto out;
    }
    (void)snprintf(filter->what, what_len, "program %s", name);
    status = init_input_make(filter, options->config, err);
    if (status == SOREX_OK)
        status = filter_module_check(filter, wasm, err);
    if (status != SOREX_OK) {
        (void)sorex_error_prefix(err, "program %s", name);
        goto out;
    }
    status = filter_compile(filter, wasm, options->cache_dir, err);
out:
    if (status != SOREX_OK) {
        filter_free(filter);
        return status;
    }
    *out = filter;
    return SOREX_OK;
}

void filter_free(struct filter *filter)
{
    if (filter == NULL)
        return;
    wasm_program_close(filter->program);
    filter_host_deinit(&filter->host);
    buf_deinit(&filter->init_input);
    free(filter->name);
    free(filter->what);
    free(filter);
}

const char *filter_name(const struct filter *filter) { return filter->name; }

unsigned filter_version(const struct filter *filter) { return filter->version; }

void filter_counts_get(struct filter *filter, struct filter_counts *out)
{
    out->instances_made = atomic_load_explicit(&filter->instances_made, memory_order_relaxed);
    out->instances_discarded = atomic_load_explicit(&filter->instances_discarded, memory_order_relaxed);
    out->imports_dropped = atomic_load_explicit(&filter->host.imports_dropped, memory_order_relaxed);
    out->log_lines_suppressed = atomic_load_explicit(&filter->host.log_suppressed, memory_order_relaxed);
}
