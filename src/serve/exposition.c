#include "serve/exposition.h"

#include <stdio.h>

#include "base/check.h"
#include "json/json.h"
#include "serve/process.h"
#include "sorex/version.h"

/* What a member of the status becomes. */
enum shape {
    NUMBER, /* its value, divided by `per` */
    WORD,   /* 1, with the word as a label */
    MEMBERS /* an object: a sample for each member, with its name as a label */
};

/* A list of the status whose items have samples of their own, told apart by their names. */
struct list {
    const char *member; /* NULL: the status itself */
    const char *label;
    bool counted; /* names may be there twice: they are numbered, too */
};

static const struct list lists[] = {{NULL, NULL, false}, {"partitions", "partition", false}, {"filters", "filter", true}, {"sinks", "sink", false}};

enum { PIPELINE, PARTITION, FILTER, SINK };

struct metric {
    const char *name;
    bool counter; /* otherwise a gauge */
    const char *help;
    int list;           /* PIPELINE .. SINK */
    const char *parent; /* NULL, or the object in it that has the member */
    const char *member;
    enum shape shape;
    uint64_t per;      /* 0: as it is; MS, NS: seconds */
    const char *label; /* of WORD and MEMBERS */
};

#define MS 1000u
#define NS 1000000000u

static const struct metric metrics[] = {
    {.name = "sorex_pipeline_state", .help = "What the pipeline does.", .member = "state", .shape = WORD, .label = "state"},
    /* of a chain */
    {.name = "sorex_tip_height", .help = "Height of the newest entry.", .parent = "heights", .member = "tip"},
    {.name = "sorex_durable_height", .help = "Height of the newest entry that survives a crash of the machine.", .parent = "heights", .member = "durable"},
    {.name = "sorex_horizon_height", .help = "Lowest height that can be gone back to.", .parent = "heights", .member = "horizon"},
    {.name = "sorex_source_height", .help = "Height of the source's tip.", .parent = "heights", .member = "source"},
    {.name = "sorex_lag_entries", .help = "Entries that the source has and the pipeline has not.", .parent = "heights", .member = "lag"},
    {.name = "sorex_entries_applied_total", .counter = true, .help = "Entries applied since the start.", .member = "entries"},
    {.name = "sorex_entries_undone_total", .counter = true, .help = "Entries undone since the start.", .member = "undone"},
    {.name = "sorex_changes_total", .counter = true, .help = "Row changes of the entries applied since the start.", .member = "changes"},
    {.name = "sorex_fuel_total", .counter = true, .help = "Fuel used by metered programs since the start.", .member = "fuel"},
    {.name = "sorex_guest_seconds_total", .counter = true, .help = "Time in guests.", .member = "guest_ns", .per = NS},
    {.name = "sorex_commit_seconds_total", .counter = true, .help = "Time for commits.", .member = "commit_ns", .per = NS},
    {.name = "sorex_source_wait_seconds_total", .counter = true, .help = "Time that the source was waited for.", .member = "wait_ns", .per = NS},
    {.name = "sorex_outbox_records_total", .counter = true, .help = "Records ever written to the outbox.", .parent = "outbox", .member = "head"},
    {.name = "sorex_outbox_waiting_bytes", .help = "Bytes in the outbox that some sink has not got yet.", .parent = "outbox", .member = "waiting_bytes"},
    {.name = "sorex_store_disk_bytes", .help = "Size of the store.", .member = "disk_bytes"},
    {.name = "sorex_postgres_connections", .help = "Sessions at PostgreSQL's port.", .parent = "postgres", .member = "connections"},
    {.name = "sorex_postgres_connections_max", .help = "How many there may be.", .parent = "postgres", .member = "connections_max"},
    {.name = "sorex_postgres_busy", .help = "Sessions with a statement under way.", .parent = "postgres", .member = "busy"},
    {.name = "sorex_postgres_opened_total", .counter = true, .help = "Sessions since the start.", .parent = "postgres", .member = "opened"},
    {.name = "sorex_postgres_refused_total", .counter = true, .help = "Sessions that were asked for and not given.", .parent = "postgres", .member = "refused"},
    {.name = "sorex_postgres_cancelled_total", .counter = true, .help = "Statements cancelled by request or timeout.", .parent = "postgres", .member = "cancelled"},
    /* of a stream */
    {.name = "sorex_events_in_total", .counter = true, .help = "Events read and delivered, dropped or failed since the start.", .parent = "events", .member = "in"},
    {.name = "sorex_events_out_total", .counter = true, .help = "Events delivered since the start.", .parent = "events", .member = "out"},
    {.name = "sorex_events_dropped_total", .counter = true, .help = "Events that a filter dropped since the start.", .parent = "events", .member = "filtered"},
    {.name = "sorex_events_failed_total", .counter = true, .help = "Events that failed since the start.", .parent = "events", .member = "failed"},
    {.name = "sorex_events_in_bytes_total", .counter = true, .help = "Bytes of the events read.", .parent = "events", .member = "bytes_in"},
    {.name = "sorex_events_out_bytes_total", .counter = true, .help = "Bytes of the events delivered.", .parent = "events", .member = "bytes_out"},
    {.name = "sorex_batches_total", .counter = true, .help = "Batches delivered since the start: transactions of the target.", .parent = "events", .member = "batches"},
    {.name = "sorex_partition_offset", .help = "Offset up to which the partition is read, filtered and handed to the sink.", .list = PARTITION, .member = "offset"},
    {.name = "sorex_partition_behind", .help = "How far the partition goes beyond that: messages, or bytes of a file.", .list = PARTITION, .member = "behind"},
    /* of both */
    {.name = "sorex_filter_events_total", .counter = true, .help = "Events given to the filter since the start.", .list = FILTER, .member = "events"},
    {.name = "sorex_filter_changed_total", .counter = true, .help = "Events that it changed.", .list = FILTER, .member = "changed"},
    {.name = "sorex_filter_dropped_total", .counter = true, .help = "Events that it dropped.", .list = FILTER, .member = "filtered"},
    {.name = "sorex_filter_failed_total", .counter = true, .help = "Events that it failed on.", .list = FILTER, .member = "failed"},
    {.name = "sorex_filter_instances_made_total", .counter = true, .help = "Instances of the filter made since the start.", .list = FILTER, .member = "instances_made"},
    {.name = "sorex_filter_instances_discarded_total", .counter = true, .help = "Instances given up after a trap, a timeout or a broken result.", .list = FILTER, .member = "instances_discarded"},
    {.name = "sorex_filter_metric", .help = "What the filter's module records.", .list = FILTER, .member = "metrics", .shape = MEMBERS, .label = "name"},
    {.name = "sorex_reducer_state", .help = "What the reducer does.", .parent = "reducer", .member = "state", .shape = WORD, .label = "state"},
    {.name = "sorex_reducer_height", .help = "Height of the newest block in the reducer's database.", .parent = "reducer", .member = "height"},
    {.name = "sorex_reducer_messages", .help = "Messages that its database stands for.", .parent = "reducer", .member = "messages"},
    {.name = "sorex_reducer_rejected", .help = "Messages among them that were rejected.", .parent = "reducer", .member = "rejected"},
    {.name = "sorex_reducer_undone_total", .counter = true, .help = "How often it went back since the start.", .parent = "reducer", .member = "undone"},
    {.name = "sorex_sink_state", .help = "What the sink does.", .list = SINK, .member = "state", .shape = WORD, .label = "state"},
    {.name = "sorex_sink_sequence", .help = "Outbox record up to which the sink has everything.", .list = SINK, .member = "sequence"},
    {.name = "sorex_sink_behind_records", .help = "Outbox records that it has not got yet.", .list = SINK, .member = "behind"},
    {.name = "sorex_sink_height", .help = "Height of the newest entry that it has.", .list = SINK, .member = "height"},
    {.name = "sorex_sink_changes_total", .counter = true, .help = "Changes applied since the start.", .list = SINK, .member = "changes"},
    {.name = "sorex_sink_attempts", .help = "Attempts at the batch in hand.", .list = SINK, .member = "attempts"},
    {.name = "sorex_sink_breaker_state", .help = "The sink's circuit breaker: closed, open or half-open.", .list = SINK, .member = "breaker", .shape = WORD, .label = "state"},
    {.name = "sorex_sink_retry_in_seconds", .help = "Time until the next attempt.", .list = SINK, .member = "retry_in_ms", .per = MS},
};

#define METRIC_COUNT (sizeof metrics / sizeof metrics[0])

/* ---- lines ---- */

struct exposition {
    const struct json_doc *doc;
    struct bytes pipeline; /* its name */
    struct buf *out;
    struct sorex_error *err;
};

static enum sorex_status label_write(struct buf *out, const char *before, const char *name, struct bytes value, struct sorex_error *err)
{
    TRY(buf_printf(out, err, "%s%s=\"", before, name));
    for (size_t i = 0; i < value.len; i++) {
        char c = (char)value.data[i];
        if (c == '\n')
            TRY(buf_append_str(out, "\\n", err));
        else if (c == '"' || c == '\\')
            TRY(buf_printf(out, err, "\\%c", c));
        else
            TRY(buf_append_u8(out, value.data[i], err));
    }
    return buf_append_u8(out, '"', err);
}

static enum sorex_status header_write(struct buf *out, const char *name, bool counter, const char *help, struct sorex_error *err)
{
    return buf_printf(out, err, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, counter ? "counter" : "gauge");
}

/* A whole number divided by a power of ten, as a decimal fraction. */
static enum sorex_status fraction_write(struct buf *out, uint64_t value, uint64_t per, struct sorex_error *err)
{
    char digits[32];
    int width = snprintf(digits, sizeof digits, "%llu", (unsigned long long)per) - 1;
    return buf_printf(out, err, "%llu.%0*llu", (unsigned long long)(value / per), width, (unsigned long long)(value % per));
}

static enum sorex_status value_write(struct exposition *exposition, const struct metric *metric, const struct json_node *value)
{
    struct buf *out = exposition->out;
    uint64_t number;
    TRY(buf_append_str(out, "} ", exposition->err));
    if (metric->shape == WORD)
        TRY(buf_append_u8(out, '1', exposition->err));
    else if (metric->per != 0 && json_u64(value, &number))
        TRY(fraction_write(out, number, metric->per, exposition->err));
    else
        TRY(buf_append(out, value->raw, exposition->err));
    return buf_append_u8(out, '\n', exposition->err);
}

/* index: of the item in its list, from 1. */
static enum sorex_status sample_write(struct exposition *exposition, const struct metric *metric, const struct json_node *item,
                                      unsigned index, const struct json_node *value)
{
    const struct list *list = &lists[metric->list];
    struct buf *out = exposition->out;
    struct sorex_error *err = exposition->err;
    const struct json_node *name = json_member(exposition->doc, item, "name");
    TRY(buf_append_str(out, metric->name, err));
    TRY(label_write(out, "{", "pipeline", exposition->pipeline, err));
    if (list->label != NULL)
        TRY(label_write(out, ",", list->label, name != NULL ? name->text : bytes_of(NULL, 0), err));
    if (list->counted)
        TRY(buf_printf(out, err, ",stage=\"%u\"", index));
    if (metric->label != NULL)
        TRY(label_write(out, ",", metric->label, metric->shape == WORD ? value->text : value->key, err));
    return value_write(exposition, metric, value);
}

/* ---- from the status ---- */

static bool fits(const struct metric *metric, const struct json_node *value)
{
    static const enum json_kind kinds[] = {[NUMBER] = JSON_NUMBER, [WORD] = JSON_STRING, [MEMBERS] = JSON_OBJECT};
    return value != NULL && value->kind == kinds[metric->shape] && (metric->shape != MEMBERS || value->children > 0);
}

/* The samples of one item; *headed: the metric's head is written. */
static enum sorex_status item_write(struct exposition *exposition, const struct metric *metric, const struct json_node *item,
                                    unsigned index, bool *headed)
{
    const struct json_doc *doc = exposition->doc;
    const struct json_node *parent = metric->parent != NULL ? json_member(doc, item, metric->parent) : item;
    const struct json_node *value = parent != NULL ? json_member(doc, parent, metric->member) : NULL;
    if (!fits(metric, value))
        return SOREX_OK;
    if (!*headed)
        TRY(header_write(exposition->out, metric->name, metric->counter, metric->help, exposition->err));
    *headed = true;
    if (metric->shape != MEMBERS)
        return sample_write(exposition, metric, item, index, value);
    for (const struct json_node *member = json_first(doc, value); member != NULL; member = json_next(doc, member))
        if (member->kind == JSON_NUMBER)
            TRY(sample_write(exposition, metric, item, index, member));
    return SOREX_OK;
}

static enum sorex_status metric_write(struct exposition *exposition, const struct metric *metric)
{
    const struct json_doc *doc = exposition->doc;
    const struct list *list = &lists[metric->list];
    bool headed = false;
    if (list->member == NULL)
        return item_write(exposition, metric, &doc->nodes[0], 1, &headed);
    const struct json_node *items = json_member(doc, &doc->nodes[0], list->member);
    unsigned index = 1;
    for (const struct json_node *item = items != NULL ? json_first(doc, items) : NULL; item != NULL; item = json_next(doc, item))
        TRY(item_write(exposition, metric, item, index++, &headed));
    return SOREX_OK;
}

static enum sorex_status status_write(const struct json_doc *doc, struct buf *out, struct sorex_error *err)
{
    const struct json_node *root = &doc->nodes[0];
    const struct json_node *name = json_member(doc, root, "pipeline");
    if (root->kind != JSON_OBJECT)
        return sorex_error_set(err, SOREX_INVALID, "the status is no object");
    struct exposition exposition = {.doc = doc, .pipeline = name != NULL ? name->text : bytes_of(NULL, 0), .out = out, .err = err};
    for (size_t i = 0; i < METRIC_COUNT; i++)
        TRY(metric_write(&exposition, &metrics[i]));
    return SOREX_OK;
}

/* ---- of the process ---- */

struct process_metric {
    const char *name;
    bool counter;
    const char *help;
    size_t offset; /* in struct process_figures */
    uint64_t per;
};

static const struct process_metric process_metrics[] = {
    {"process_cpu_seconds_total", true, "User and system time.", offsetof(struct process_figures, cpu_ms), MS},
    {"process_start_time_seconds", false, "When the process started, since 1970.", offsetof(struct process_figures, start_ms), MS},
    {"process_resident_memory_bytes", false, "Memory in use.", offsetof(struct process_figures, resident_bytes), 0},
    {"process_virtual_memory_bytes", false, "Address space in use: guests reserve much and use little.", offsetof(struct process_figures, virtual_bytes), 0},
    {"process_threads", false, "Threads.", offsetof(struct process_figures, threads), 0},
    {"process_open_fds", false, "Open file descriptors.", offsetof(struct process_figures, open_fds), 0},
    {"process_max_fds", false, "How many there may be.", offsetof(struct process_figures, max_fds), 0},
};

#define PROCESS_METRIC_COUNT (sizeof process_metrics / sizeof process_metrics[0])

static enum sorex_status process_write(struct buf *out, struct sorex_error *err)
{
    struct process_figures figures = {0};
    TRY(process_figures_get(&figures, err));
    for (size_t i = 0; i < PROCESS_METRIC_COUNT; i++) {
        const struct process_metric *metric = &process_metrics[i];
        uint64_t value;
        memcpy(&value, (const uint8_t *)&figures + metric->offset, sizeof value);
        TRY(header_write(out, metric->name, metric->counter, metric->help, err));
        TRY(buf_printf(out, err, "%s ", metric->name));
        TRY(metric->per != 0 ? fraction_write(out, value, metric->per, err) : buf_printf(out, err, "%llu", (unsigned long long)value));
        TRY(buf_append_u8(out, '\n', err));
    }
    return SOREX_OK;
}

enum sorex_status exposition_write(struct bytes status, struct buf *out, struct sorex_error *err)
{
    struct json_parser *parser;
    struct json_doc doc;
    TRY(json_parser_new(&parser, err));
    enum sorex_status result = json_parse(parser, status, &doc, err);
    if (result == SOREX_OK)
        result = header_write(out, "sorex_build_info", false, "The program's version.", err);
    if (result == SOREX_OK)
        result = buf_append_str(out, "sorex_build_info{version=\"" SOREX_VERSION "\"} 1\n", err);
    if (result == SOREX_OK)
        result = status_write(&doc, out, err);
    json_parser_free(parser);
    return result == SOREX_OK ? process_write(out, err) : result;
}
