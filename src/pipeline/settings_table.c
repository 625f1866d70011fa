/* The option tables of the pipeline file, and the reference that is made from them. */
#include "pipeline/settings.h"

#include <stdio.h>

#include "base/check.h"
#include "change/envelope.h"
#include "pipeline/pool.h"

static const char *const log_level_words[] = {"trace", "debug", "info", "warn", "error", "off", NULL};
static const char *const memory_words[] = {"fresh", "kept", NULL};
static const char *const before_words[] = {"engine", "guest", NULL};
static const char *const inverse_words[] = {"host", "guest", NULL};

#define TOP(field) offsetof(struct pipeline_scalars, field)
#define PROGRAM(field) offsetof(struct program_settings, field)

const struct option pipeline_options[] = {
    {.name = "name", .type = OPTION_STRING, .offset = TOP(name), .text = "name of the pipeline, part of every sink's cursor (default: the file's name)"},
    {.name = "data", .type = OPTION_PATH, .offset = TOP(data), .required = true, .text = "data directory: store, socket, compiled modules"},
    {.name = "history", .type = OPTION_STRING, .offset = TOP(history), .fallback = "full", .text = "entries that stay undoable and viewable: full, or a number"},
    {.name = "finality", .type = OPTION_U32, .offset = TOP(finality), .fallback = "0", .max = 1000000, .text = "confirmations that sinks wait for"},
    {.name = "start_height", .type = OPTION_U32, .offset = TOP(start_height), .fallback = "0", .max = UINT32_MAX - 1, .text = "first height of a new store"},
    {.name = "metrics", .type = OPTION_STRING, .offset = TOP(metrics), .text = "address that serves /metrics (Prometheus) and /status over HTTP: HOST:PORT, or PORT of 127.0.0.1"},
    {.name = "postgres", .type = OPTION_STRING, .offset = TOP(postgres), .text = "address where psql and drivers connect to the embedded database, each to a fork: HOST:PORT, PORT of 127.0.0.1, or the path of a Unix socket"},
    {.name = "postgres_remote", .type = OPTION_BOOL, .offset = TOP(postgres_remote), .fallback = "false", .text = "that address may be one that other machines reach, although nobody is asked for a password"},
    {.name = "postgres_connections", .type = OPTION_U32, .offset = TOP(postgres_connections), .fallback = "100", .min = 1, .max = 10000, .text = "sessions there at the same time"},
    {.name = "postgres_statement_timeout", .type = OPTION_MS, .offset = TOP(postgres_statement_timeout), .fallback = "0", .text = "statements there that take longer are cancelled; 0: never"},
    {.name = "log_level", .type = OPTION_ENUM, .offset = TOP(log_level), .fallback = "info", .choices = log_level_words, .text = "least level that is logged"},
    {.name = "outbox_max", .type = OPTION_BYTES, .offset = TOP(outbox_max), .fallback = "1 GiB", .min = 65536, .text = "changes that may wait for sinks before indexing waits too"},
    {.name = "group_ms", .type = OPTION_MS, .offset = TOP(group_ms), .fallback = "1s", .min = 1, .max = 60000, .text = "far behind the tip: time between durable writes"},
    {.name = "group_max", .type = OPTION_BYTES, .offset = TOP(group_max), .fallback = "64 MiB", .min = 65536, .max = (uint64_t)4 << 30, .text = "far behind the tip: bytes between durable writes"},
    {.name = "cache", .type = OPTION_BYTES, .offset = TOP(cache), .fallback = "256 MiB", .min = (uint64_t)1 << 20, .text = "memory for cached state"},
    {.name = "read_ahead", .type = OPTION_U32, .offset = TOP(read_ahead), .fallback = "64", .min = 1, .max = 10000, .text = "blocks fetched ahead of execution"},
    {.name = "fetch_threads", .type = OPTION_U32, .offset = TOP(fetch_threads), .fallback = "4", .min = 1, .max = 64, .text = "blocks fetched at the same time"},
    {.name = "poll_ms", .type = OPTION_MS, .offset = TOP(poll_ms), .fallback = "500ms", .min = 10, .max = 3600000, .text = "at the tip: time between looks at the source"},
    {.name = "source", .type = OPTION_NODE, .offset = TOP(source), .required = true, .text = "where entries come from: {type: ..., ...}"},
    {.name = "indexer", .type = OPTION_NODE, .offset = TOP(indexer), .text = "the indexer guest: {wasm: ..., ...}"},
    {.name = "reducer", .type = OPTION_NODE, .offset = TOP(reducer), .text = "the reducer guest, which folds blocks into a database of its own: {wasm: ..., ...}"},
    {.name = "transform", .type = OPTION_NODE, .offset = TOP(transform), .text = "one transform guest: {wasm: ..., ...}"},
    {.name = "transforms", .type = OPTION_NODE, .offset = TOP(transforms), .text = "several transform guests, run in this order"},
    {.name = "filters", .type = OPTION_NODE, .offset = TOP(filters), .text = "event transforms between the transforms and the sinks, in this order"},
    {.name = "sink", .type = OPTION_NODE, .offset = TOP(sink), .text = "one place where changes go: {type: ..., ...}"},
    {.name = "sinks", .type = OPTION_NODE, .offset = TOP(sinks), .text = "several places where changes go; without `sink` and `sinks`, rows go into the embedded database (type database); []: nowhere"},
    {.name = NULL},
};

/* No store, no heights: a source of events, filters, one sink. */
const struct option stream_options[] = {
    {.name = "name", .type = OPTION_STRING, .offset = TOP(name), .text = "name of the pipeline, part of its positions in the target (default: the file's name)"},
    {.name = "data", .type = OPTION_PATH, .offset = TOP(data), .required = true, .text = "data directory: socket, compiled modules; positions of a sink that can hold none"},
    {.name = "metrics", .type = OPTION_STRING, .offset = TOP(metrics), .text = "address that serves /metrics (Prometheus) and /status over HTTP: HOST:PORT, or PORT of 127.0.0.1"},
    {.name = "log_level", .type = OPTION_ENUM, .offset = TOP(log_level), .fallback = "info", .choices = log_level_words, .text = "least level that is logged"},
    {.name = "instances", .type = OPTION_U32, .offset = TOP(instances), .fallback = "0", .max = POOL_WORKERS_MAX, .text = "of each filter, working beside each other, order kept; 0: one for each processor"},
    {.name = "batch_events", .type = OPTION_U32, .offset = TOP(batch_events), .fallback = "0", .max = 1000000, .text = "events that are delivered at once, at most: one transaction of the target; 0: as many as suit the sink, 10,000 or, for Kafka, 100,000"},
    {.name = "batch_bytes", .type = OPTION_BYTES, .offset = TOP(batch_bytes), .fallback = "0", .max = (uint64_t)1 << 30, .text = "the same in bytes that come in; 0: 8 MiB or, for Kafka, 64 MiB"},
    {.name = "source", .type = OPTION_NODE, .offset = TOP(source), .required = true, .text = "where events come from: {type: lines or kafka, ...}"},
    {.name = "filters", .type = OPTION_NODE, .offset = TOP(filters), .text = "event transforms, in this order"},
    {.name = "sink", .type = OPTION_NODE, .offset = TOP(sink), .text = "where they go: {type: ..., ...}"},
    {.name = "reducer", .type = OPTION_NODE, .offset = TOP(reducer), .text = "in place of filters and a sink: folds the events as they are into a database (docs/derive.md): {wasm: ..., ...}"},
    {.name = NULL},
};

#define PROGRAM_OPTIONS(default_name)                                                                                                   \
    {.name = "name", .type = OPTION_STRING, .offset = PROGRAM(name), .fallback = default_name, .text = "program name, its place in the store"}, \
    {.name = "wasm", .type = OPTION_PATH, .offset = PROGRAM(wasm), .required = true, .text = "the module's file"},                      \
    {.name = "fuel", .type = OPTION_U64, .offset = PROGRAM(limits.fuel), .fallback = "0", .text = "fuel per call; 0: not metered (metering costs about a quarter)"}, \
    {.name = "memory_max", .type = OPTION_BYTES, .offset = PROGRAM(limits.memory_bytes_max), .fallback = "0", .text = "linear memory limit; 0: 4 GiB less one page"}, \
    {.name = "stack_max", .type = OPTION_BYTES, .offset = PROGRAM(limits.stack_bytes_max), .fallback = "0", .text = "wasm stack limit; 0: 1 MiB"}, \
    {.name = "resident", .type = OPTION_BYTES, .offset = PROGRAM(limits.resident_bytes), .fallback = "0", .text = "memory kept resident between entries; 0: chosen by the engine"}, \
    {.name = "watchdog", .type = OPTION_U64, .offset = PROGRAM(limits.watchdog_ms), .fallback = "0", .text = "milliseconds after which a running guest is reported; 0: 30,000"}, \
    {.name = "view_result_max", .type = OPTION_BYTES, .offset = PROGRAM(limits.view_result_bytes_max), .fallback = "0", .text = "largest result of a view; 0: 64 MiB"}

const struct option indexer_options_table[] = {PROGRAM_OPTIONS("indexer"), {.name = NULL}};

#define REDUCER(field) offsetof(struct reducer_settings, field)

const struct option reducer_options_table[] = {
    {.name = "name", .type = OPTION_STRING, .offset = REDUCER(name), .fallback = "reducer", .text = "name of the reducer and of its database: letters, digits, `_`, `-`, `.`"},
    {.name = "wasm", .type = OPTION_PATH, .offset = REDUCER(wasm), .required = true, .text = "the module's file"},
    {.name = "finality", .type = OPTION_U32, .offset = REDUCER(finality), .fallback = "0", .max = 1000000, .text = "confirmations that it waits for"},
    {.name = NULL},
};

const struct option transform_options_table[] = {
    PROGRAM_OPTIONS("transform"),
    {.name = "memory", .type = OPTION_ENUM, .offset = PROGRAM(memory), .fallback = "fresh", .choices = memory_words, .text = "fresh for every entry, or kept (in the store) between entries"},
    {.name = "before", .type = OPTION_ENUM, .offset = PROGRAM(before), .fallback = "engine", .choices = before_words, .text = "who supplies a change's before image"},
    {.name = "inverse", .type = OPTION_ENUM, .offset = PROGRAM(inverse), .fallback = "host", .choices = inverse_words, .text = "who makes inverse changes; guest: outside the guarantees"},
    {.name = NULL},
};

#define FILTER(field) offsetof(struct filter_settings, field)

#define FILTER_OPTIONS(memory_default, memory_text, timeout_default, timeout_text, on_error_text)                                        \
    {.name = "name", .type = OPTION_STRING, .offset = FILTER(name), .fallback = "filter", .text = "name of the filter, for messages and metrics"}, \
    {.name = "wasm", .type = OPTION_PATH, .offset = FILTER(wasm), .required = true, .text = "the module's file"},                       \
    {.name = "config", .type = OPTION_NODE, .offset = FILTER(config), .text = "a mapping that the module's init gets as JSON"},         \
    {.name = "memory", .type = OPTION_ENUM, .offset = FILTER(memory), .fallback = memory_default, .choices = memory_words, .text = memory_text}, \
    {.name = "memory_max", .type = OPTION_BYTES, .offset = FILTER(memory_max), .fallback = "16 MiB", .min = 65536, .max = (uint64_t)4 << 30, .text = "linear memory limit, and that of a change's size"}, \
    {.name = "timeout", .type = OPTION_MS, .offset = FILTER(timeout_ms), .fallback = timeout_default, .min = 1, .max = 3600000, .text = timeout_text}, \
    {.name = "on_error", .type = OPTION_ENUM, .offset = FILTER(on_error), .fallback = "halt", .choices = on_error_words, .text = on_error_text}

const struct option filter_options_table[] = {
    FILTER_OPTIONS("fresh", "fresh for every change; kept: until the process ends, so that a restart may change what is delivered",
                   "5s", "for one change; a timeout always halts, so it is no measure of speed",
                   "when a filter fails: halt before the block, skip the change, or pass it unchanged"),
    {.name = NULL},
};

const struct option stream_filter_options_table[] = {
    FILTER_OPTIONS("kept", "kept from event to event, as the contract has it, or fresh for each", "50ms", "for one event",
                   "when it fails: halt before the event, skip the event (it becomes a dead letter), or pass the filter over"),
    {.name = NULL},
};

#define SINK(field) offsetof(struct sink_settings, field)

const char *const sink_envelope_words[] = {"default", "event", "debezium", "debezium-schema", "change", "cloudevents", NULL};

const struct option sink_common_options[] = {
    {.name = "type", .type = OPTION_STRING, .offset = SINK(type_name), .required = true, .text = "the kind of sink"},
    {.name = "name", .type = OPTION_STRING, .offset = SINK(name), .text = "name of the sink (default: its type)"},
    {.name = "finality", .type = OPTION_U32, .offset = SINK(finality), .fallback = "0", .max = 1000000, .text = "confirmations that this sink waits for"},
    {.name = "envelope", .type = OPTION_ENUM, .offset = SINK(envelope_word), .fallback = "default", .choices = sink_envelope_words, .text = "the form of what is written (docs/formats/envelopes.md); default: that of the stream's source; the change of a chain; rows take no other"},
    {.name = "breaker_failures", .type = OPTION_U32, .offset = SINK(breaker.failures), .fallback = "8", .text = "failures in a row after which a sink that cannot be reached is left alone for a while; 0: it is tried on and on"},
    {.name = "breaker_open", .type = OPTION_MS, .offset = SINK(breaker.open_ms), .fallback = "10s", .min = 1, .max = 3600000, .text = "how long it is left alone the first time; twice as long each time after it, up to 30s (or this, if that is longer)"},
    {.name = NULL},
};

const struct option source_common_options[] = {
    {.name = "type", .type = OPTION_STRING, .offset = 0, .required = true, .text = "the kind of source"},
    {.name = NULL},
};

#define EVENTS(field) offsetof(struct event_source_settings, field)

const struct option event_source_common_options[] = {
    {.name = "type", .type = OPTION_STRING, .offset = EVENTS(type_name), .required = true, .text = "the kind of source"},
    {.name = "envelope", .type = OPTION_ENUM, .offset = EVENTS(envelope), .fallback = "event", .choices = envelope_names, .text = "the form of the events (docs/formats/envelopes.md)"},
    {.name = "on_error", .type = OPTION_ENUM, .offset = EVENTS(on_error), .fallback = "halt", .choices = on_error_words, .text = "for what is no event: halt before it, skip it (it becomes a dead letter), or pass it on as it came"},
    {.name = NULL},
};

static enum sorex_status reference_part(struct buf *out, const char *title, const char *summary, const struct option *options,
                                        struct sorex_error *err)
{
    TRY(buf_printf(out, err, "\n## %s\n\n%s.\n\n", title, summary));
    return options[0].name == NULL ? buf_append_str(out, "No options.\n", err) : options_markdown(options, out, err);
}

enum sorex_status pipeline_reference(struct buf *out, struct sorex_error *err)
{
    TRY(buf_append_str(out,
                       "# The pipeline file\n\nYAML (JSON is YAML). Made from the option tables by `sorex reference`; do not edit.\n"
                       "Every scalar can be given as `--set PATH=VALUE` or as `SOREX_PATH` in the environment, dots as underscores "
                       "(`sinks.pg.url`: `SOREX_SINKS_PG_URL`). Flags win over the environment, the environment over the file, the "
                       "file over the defaults.\n",
                       err));
    TRY(reference_part(out, "Top level", "One pipeline", pipeline_options, err));
    TRY(reference_part(out, "indexer", "A guest of contract 1 (docs/abi/indexer.md)", indexer_options_table, err));
    TRY(reference_part(out, "reducer", "A guest of contract 4 (docs/abi/reducer.md) whose messages are the blocks, or the events of a stream (docs/derive.md)", reducer_options_table, err));
    TRY(buf_append_str(out, "\nAnd what every derivation has:\n\n", err));
    TRY(options_markdown(derive_options, out, err));
    TRY(reference_part(out, "transforms[]", "A guest of contract 2 (docs/abi/transform.md)", transform_options_table, err));
    TRY(reference_part(out, "filters[]", "A guest of contract 3 (docs/abi/filter.md) on the transforms' changes (docs/filters.md)", filter_options_table, err));
    TRY(reference_part(out, "Top level of a stream pipeline", "One whose source is of events (docs/streams.md)", stream_options, err));
    TRY(reference_part(out, "filters[] of a stream pipeline", "A guest of contract 3 (docs/abi/filter.md)", stream_filter_options_table, err));
    char title[64];
    TRY(reference_part(out, "source of events: all types", "What every source of events has", event_source_common_options, err));
    for (size_t i = 0; event_source_types[i] != NULL; i++) {
        (void)snprintf(title, sizeof title, "source of events: type %s", event_source_types[i]->name);
        TRY(reference_part(out, title, event_source_types[i]->summary, event_source_types[i]->options, err));
    }
    for (size_t i = 0; source_types[i] != NULL; i++) {
        (void)snprintf(title, sizeof title, "source: type %s", source_types[i]->name);
        TRY(reference_part(out, title, source_types[i]->summary, source_types[i]->options, err));
    }
    TRY(reference_part(out, "sinks[]: all types", "What every sink has", sink_common_options, err));
    for (size_t i = 0; sink_types[i] != NULL; i++) {
        (void)snprintf(title, sizeof title, "sinks[]: type %s", sink_types[i]->name);
        TRY(reference_part(out, title, sink_types[i]->summary, sink_types[i]->options, err));
    }
    return SOREX_OK;
}
