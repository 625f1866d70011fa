/* The pipeline file: read, completed from flags and environment, checked. Reference: docs/reference.md (made from the tables here).
 *
 * Precedence: flags (--set PATH=VALUE, --NAME VALUE) > environment (SOREX_PATH, dots as underscores, upper case) > file > defaults. */
#ifndef SOREX_PIPELINE_SETTINGS_H
#define SOREX_PIPELINE_SETTINGS_H

#include "base/arena.h"
#include "config/node.h"
#include "config/option.h"
#include "derive/settings.h"
#include "guest/host.h"
#include "guest/transform.h"
#include "pipeline/on_error.h"
#include "change/envelope.h"
#include "sink/breaker.h"
#include "sink/sink.h"
#include "source/events.h"
#include "source/source.h"

#define PIPELINE_TRANSFORMS_MAX 16
#define PIPELINE_SINKS_MAX 16
#define PIPELINE_FILTERS_MAX 16

/* The filters' name in the store; no other program may have it. */
#define FILTERS_PROGRAM "filters"

enum program_before { BEFORE_ENGINE, BEFORE_GUEST };
enum program_inverse { INVERSE_HOST, INVERSE_GUEST };

struct program_settings {
    char *name;
    char *wasm;
    int memory;   /* enum guest_memory_mode; transforms only */
    int before;   /* enum program_before; transforms only */
    int inverse;  /* enum program_inverse; transforms only */
    struct guest_limits limits;
};

enum filter_memory_mode { FILTER_FRESH, FILTER_KEPT };

struct filter_settings {
    char *name;
    char *wasm;
    const struct config_node *config; /* given to init; NULL: none */
    int memory;                       /* enum filter_memory_mode */
    uint64_t memory_max;
    uint32_t timeout_ms;
    int on_error;                     /* enum on_error */
};

struct reducer_settings {
    char *name;
    char *wasm;
    uint32_t finality;            /* at least the pipeline's */
    struct derive_settings derive;
};

struct sink_settings {
    char *type_name;
    char *name;
    uint32_t finality;  /* at least the pipeline's */
    struct breaker_options breaker;
    int envelope_word;  /* index in sink_envelope_words */
    const struct envelope *envelope; /* the form of what is written; NULL: the default */
    const struct sink_type *type;
    void *options;      /* the type's own settings */
};

/* What every source of events has. */
struct event_source_settings {
    char *type_name;
    int envelope; /* index in envelopes[] */
    int on_error; /* enum on_error: for what is no event */
};

/* Top-level scalars, of pipeline_options and stream_options. */
struct pipeline_scalars {
    char *name;
    char *data;
    char *metrics;
    char *postgres;
    bool postgres_remote;
    uint32_t postgres_connections;
    uint32_t postgres_statement_timeout;
    char *history;
    uint32_t finality;
    uint32_t start_height;
    int log_level;
    uint64_t outbox_max;
    uint32_t group_ms;
    uint64_t group_max;
    uint64_t cache;
    uint32_t read_ahead;
    uint32_t fetch_threads;
    uint32_t poll_ms;
    uint32_t instances, batch_events; /* these three: of stream pipelines only */
    uint64_t batch_bytes;
    const struct config_node *source, *indexer, *reducer, *transform, *transforms, *filters, *sink, *sinks;
};

struct pipeline_settings {
    struct pipeline_scalars top;
    uint32_t history;              /* entries, or STORE_HISTORY_FULL */
    const struct source_type *source_type;
    const struct event_source_type *event_source_type; /* one of the two: a chain's, or a stream's */
    struct event_source_settings events;
    void *source;                  /* the type's own settings */
    bool has_indexer;
    struct program_settings indexer;
    bool has_reducer;
    struct reducer_settings reducer;
    size_t transform_count;
    struct program_settings transforms[PIPELINE_TRANSFORMS_MAX];
    size_t filter_count;
    struct filter_settings filters[PIPELINE_FILTERS_MAX];
    size_t sink_count;
    struct sink_settings sinks[PIPELINE_SINKS_MAX];
    char *base_dir;                /* the pipeline file's folder */
    struct config_node *root;
    struct arena arena;            /* nodes that flags and environment made */
};

/* One value from the command line. */
struct pipeline_override {
    const char *path;  /* "data", "source.url", "sinks.pg.url", "indexer.fuel", "transforms.balances.fuel" */
    const char *value;
    bool used;
};

extern const struct option pipeline_options[];
extern const struct option stream_options[]; /* top level of a stream pipeline */
extern const struct option indexer_options_table[];
extern const struct option reducer_options_table[]; /* and derive_options, in reducer_settings.derive */
extern const struct option transform_options_table[];
extern const struct option filter_options_table[];
extern const struct option stream_filter_options_table[]; /* other defaults */
extern const struct option source_common_options[];
extern const struct option event_source_common_options[];
#define SOURCE_OPTIONS_FIXED 1 /* type */
extern const struct option sink_common_options[];
extern const char *const sink_envelope_words[]; /* "default", then envelope_names */
#define SINK_OPTIONS_FIXED 2 /* type and name say which sink it is: flags and environment cannot change them */

/* Reads and checks the file; wasm files are not opened, nothing is connected to.
 * Errors: SOREX_INVALID with file, line and, for an unknown key, the nearest name; SOREX_IO.
 * Ownership: pair with pipeline_settings_deinit, also after a failure. */
enum sorex_status pipeline_settings_read(const char *path, struct pipeline_override *overrides, size_t override_count,
                                         struct pipeline_settings *out, struct sorex_error *err);
/* Errors: SOREX_INVALID: the pipeline is a stream, which has no store. */
enum sorex_status pipeline_settings_chain(const struct pipeline_settings *settings, struct sorex_error *err);
void pipeline_settings_deinit(struct pipeline_settings *settings);

/* Appends the reference of the pipeline file as Markdown: every table, sources and sinks included. */
enum sorex_status pipeline_reference(struct buf *out, struct sorex_error *err);

#endif
