/* `sorex status` as people read it. */
#include <stdio.h>

#include "base/check.h"
#include "json/double.h"
#include "pipeline/progress.h"
#include "serve/report.h"

static struct bytes member_raw(const struct json_doc *doc, const struct json_node *node, const char *name)
{
    const struct json_node *member = node != NULL ? json_member(doc, node, name) : NULL;
    if (member == NULL || member->kind == JSON_NULL)
        return bytes_str("-");
    return member->kind == JSON_STRING ? member->text : member->raw;
}

static uint64_t member_uint(const struct json_doc *doc, const struct json_node *node, const char *name)
{
    const struct json_node *member = node != NULL ? json_member(doc, node, name) : NULL;
    uint64_t value;
    return member != NULL && json_u64(member, &value) ? value : 0;
}

/* "3.4 MiB". */
static void size_text(uint64_t bytes, char *out, size_t size)
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes;
    size_t unit = 0;
    for (; value >= 1024 && unit + 1 < sizeof units / sizeof units[0]; unit++)
        value /= 1024;
    (void)snprintf(out, size, "%.*f %s", unit == 0 ? 0 : 1, value, units[unit]);
}

/* "retrying (attempt 3, again in 1.2 s)", "left alone after 9 failures in a row (tried again in 12.3 s)", "tried again now, after 9
 * failures in a row" */
static enum sorex_status status_retrying(const struct json_doc *doc, const struct json_node *sink, struct buf *out,
                                         struct sorex_error *err)
{
    unsigned long long failures = member_uint(doc, sink, "attempts"), retry_ms = member_uint(doc, sink, "retry_in_ms");
    struct bytes breaker = member_raw(doc, sink, "breaker");
    if (bytes_is(breaker, "open"))
        return buf_printf(out, err, "left alone after %llu failures in a row (tried again in %llu.%llu s)", failures,
                          retry_ms / 1000, retry_ms % 1000 / 100);
    if (bytes_is(breaker, "half-open"))
        return buf_printf(out, err, "tried again now, after %llu failures in a row", failures);
    return buf_printf(out, err, "retrying (attempt %llu, again in %llu.%llu s)", failures, retry_ms / 1000,
                      retry_ms % 1000 / 100);
}

/* "sink      pg (postgres): retrying (attempt 3, again in 1.2 s), height 812, 40 records behind: PostgreSQL: ..." */
static enum sorex_status status_sink(const struct json_doc *doc, const struct json_node *sink, struct buf *out,
                                     struct sorex_error *err)
{
    struct bytes name = member_raw(doc, sink, "name"), type = member_raw(doc, sink, "type"),
                 state = member_raw(doc, sink, "state"), height = member_raw(doc, sink, "height"),
                 why = member_raw(doc, sink, "why");
    uint64_t behind = member_uint(doc, sink, "behind");
    TRY(buf_printf(out, err, "sink      %.*s", BYTES_FMT(name)));
    if (!bytes_is(type, "-")) /* known while it runs */
        TRY(buf_printf(out, err, " (%.*s)", BYTES_FMT(type)));
    TRY(buf_append_str(out, ": ", err));
    if (bytes_is(state, "retrying"))
        TRY(status_retrying(doc, sink, out, err));
    else
        TRY(buf_append(out, state, err));
    if (!bytes_is(height, "-"))
        TRY(buf_printf(out, err, ", height %.*s", BYTES_FMT(height)));
    if (behind != 0)
        TRY(buf_printf(out, err, ", %llu records behind", (unsigned long long)behind));
    else if (bytes_is(state, "idle") || bytes_is(state, "stopped"))
        TRY(buf_append_str(out, ", has everything", err));
    bool told = why.len != 0 && !bytes_is(why, "-");
    return buf_printf(out, err, "%s%.*s\n", told ? ": " : "", told ? (int)why.len : 0, (const char *)why.data);
}

/* "filter    mask: 812 changes in, 40 changed, 3 dropped, 0 failed; hits 7"; what: "changes", or "events" */
static enum sorex_status status_filter(const struct json_doc *doc, const struct json_node *filter, const char *what, struct buf *out,
                                       struct sorex_error *err)
{
    struct bytes name = member_raw(doc, filter, "name");
    const struct json_node *metrics = json_member(doc, filter, "metrics");
    TRY(buf_printf(out, err, "filter    %.*s: %llu %s in, %llu changed, %llu dropped, %llu failed", BYTES_FMT(name),
                   (unsigned long long)member_uint(doc, filter, "events"), what, (unsigned long long)member_uint(doc, filter, "changed"),
                   (unsigned long long)member_uint(doc, filter, "filtered"), (unsigned long long)member_uint(doc, filter, "failed")));
    const char *before = ";";
    for (const struct json_node *metric = metrics != NULL ? json_first(doc, metrics) : NULL; metric != NULL;
         metric = json_next(doc, metric)) {
        TRY(buf_printf(out, err, "%s %.*s %.*s", before, BYTES_FMT(metric->key), BYTES_FMT(metric->raw)));
        before = ",";
    }
    return buf_append_u8(out, '\n', err);
}

/* What it does, and what it waits for. */
static enum sorex_status status_state(const struct json_doc *doc, struct buf *out, struct sorex_error *err)
{
    const struct json_node *root = &doc->nodes[0];
    struct bytes name = member_raw(doc, root, "pipeline"), state = member_raw(doc, root, "state"),
                 why = member_raw(doc, root, "waiting_for");
    if (!bytes_is(name, "-"))
        TRY(buf_printf(out, err, "pipeline  %.*s\n", BYTES_FMT(name)));
    if (bytes_is(state, "waiting"))
        return buf_printf(out, err, "state     waiting for: %.*s\n", BYTES_FMT(why));
    return buf_printf(out, err, "state     %.*s%s%.*s\n", BYTES_FMT(state), why.len != 0 ? "; waiting for: " : "",
                      BYTES_FMT(why));
}

static enum sorex_status status_speed(const struct json_doc *doc, struct buf *out, struct sorex_error *err)
{
    const struct json_node *root = &doc->nodes[0];
    struct bytes rate = member_raw(doc, root, "entries_per_second"), eta = member_raw(doc, root, "eta_seconds");
    double value;
    char text[PROGRESS_DURATION_SIZE];
    if (bytes_is(rate, "-") || !double_read(rate, &value) || value <= 0)
        return SOREX_OK;
    TRY(buf_printf(out, err, "speed     %.0f entries/s", value));
    if (!bytes_is(eta, "-") && !bytes_is(eta, "0")) {
        progress_duration(member_uint(doc, root, "eta_seconds"), text);
        TRY(buf_printf(out, err, ", at the source's tip in about %s", text));
    }
    return buf_append_u8(out, '\n', err);
}

/* What both kinds of pipelines end with. */
static enum sorex_status status_ends(const struct json_doc *doc, const char *what, struct buf *out, struct sorex_error *err)
{
    const struct json_node *root = &doc->nodes[0];
    const struct json_node *sinks = json_member(doc, root, "sinks"), *filters = json_member(doc, root, "filters");
    for (const struct json_node *filter = filters != NULL ? json_first(doc, filters) : NULL; filter != NULL;
         filter = json_next(doc, filter))
        TRY(status_filter(doc, filter, what, out, err));
    for (const struct json_node *sink = sinks != NULL ? json_first(doc, sinks) : NULL; sink != NULL; sink = json_next(doc, sink))
        TRY(status_sink(doc, sink, out, err));
    return SOREX_OK;
}

/* "postgres  127.0.0.1:5433: 3 of 100 connections, 1 busy; 12 opened, 0 refused, 2 statements cancelled" */
static enum sorex_status status_postgres(const struct json_doc *doc, struct buf *out, struct sorex_error *err)
{
    const struct json_node *postgres = json_member(doc, &doc->nodes[0], "postgres");
    if (postgres == NULL)
        return SOREX_OK;
    struct bytes address = member_raw(doc, postgres, "address");
    return buf_printf(
        out, err, "postgres  %.*s: %llu of %llu connections, %llu busy; %llu opened, %llu refused, %llu statements cancelled\n",
        BYTES_FMT(address), (unsigned long long)member_uint(doc, postgres, "connections"),
        (unsigned long long)member_uint(doc, postgres, "connections_max"), (unsigned long long)member_uint(doc, postgres, "busy"),
        (unsigned long long)member_uint(doc, postgres, "opened"), (unsigned long long)member_uint(doc, postgres, "refused"),
        (unsigned long long)member_uint(doc, postgres, "cancelled"));
}

/* "reducer   days: retrying, height 812, 813 messages, 2 of them rejected, undone 3 times: node 127.0.0.1:8332: ..." */
static enum sorex_status status_reducer(const struct json_doc *doc, struct buf *out, struct sorex_error *err)
{
    const struct json_node *reducer = json_member(doc, &doc->nodes[0], "reducer");
    if (reducer == NULL)
        return SOREX_OK;
    struct bytes name = member_raw(doc, reducer, "name"), state = member_raw(doc, reducer, "state"),
                 height = member_raw(doc, reducer, "height"), why = member_raw(doc, reducer, "why");
    unsigned long long undone = member_uint(doc, reducer, "undone");
    TRY(buf_printf(out, err, "reducer   %.*s: %.*s, ", BYTES_FMT(name), BYTES_FMT(state)));
    if (!bytes_is(height, "-"))
        TRY(buf_printf(out, err, "height %.*s, ", BYTES_FMT(height)));
    TRY(buf_printf(out, err, "%llu messages, %llu of them rejected", (unsigned long long)member_uint(doc, reducer, "messages"),
                   (unsigned long long)member_uint(doc, reducer, "rejected")));
    if (undone != 0)
        TRY(buf_printf(out, err, ", undone %llu times", undone));
    return buf_printf(out, err, "%s%.*s\n", why.len != 0 ? ": " : "", BYTES_FMT(why));
}

static enum sorex_status status_chain(const struct json_doc *doc, struct buf *out, struct sorex_error *err)
{
    const struct json_node *root = &doc->nodes[0];
    const struct json_node *heights = json_member(doc, root, "heights"), *outbox = json_member(doc, root, "outbox");
    char waiting[32], disk[32];
    struct bytes tip = member_raw(doc, heights, "tip"), durable = member_raw(doc, heights, "durable"),
                 horizon = member_raw(doc, heights, "horizon"), source = member_raw(doc, heights, "source"),
                 lag = member_raw(doc, heights, "lag");
    TRY(buf_printf(out, err, "heights   tip %.*s, durable %.*s, horizon %.*s, source %.*s (lag %.*s)\n", BYTES_FMT(tip),
                   BYTES_FMT(durable), BYTES_FMT(horizon), BYTES_FMT(source), BYTES_FMT(lag)));
    TRY(status_speed(doc, out, err));
    uint64_t fuel = member_uint(doc, root, "fuel");
    if (fuel != 0) /* of metered programs */
        TRY(buf_printf(out, err, "fuel      %llu units since the start\n", (unsigned long long)fuel));
    size_text(member_uint(doc, outbox, "waiting_bytes"), waiting, sizeof waiting);
    size_text(member_uint(doc, root, "disk_bytes"), disk, sizeof disk);
    TRY(buf_printf(out, err, "outbox    %llu records written, %s wait for sinks\n",
                   (unsigned long long)member_uint(doc, outbox, "head"), waiting));
    TRY(buf_printf(out, err, "disk      %s\n", disk));
    TRY(status_reducer(doc, out, err));
    TRY(status_ends(doc, "changes", out, err));
    return status_postgres(doc, out, err);
}

/* "source    orders/3: at 812, 40 behind" */
static enum sorex_status status_partition(const struct json_doc *doc, const struct json_node *partition, struct buf *out,
                                          struct sorex_error *err)
{
    struct bytes name = member_raw(doc, partition, "name"), offset = member_raw(doc, partition, "offset"),
                 behind = member_raw(doc, partition, "behind");
    uint64_t number = member_uint(doc, partition, "number");
    TRY(buf_printf(out, err, "source    %.*s: ", BYTES_FMT(name)));
    if (bytes_is(offset, "-"))
        return buf_append_str(out, "nothing delivered yet\n", err);
    TRY(buf_printf(out, err, "at %.*s", BYTES_FMT(offset)));
    if (number != 0)
        TRY(buf_printf(out, err, ", line %llu", (unsigned long long)number));
    if (!bytes_is(behind, "-"))
        TRY(buf_printf(out, err, ", %.*s behind", BYTES_FMT(behind)));
    return buf_append_u8(out, '\n', err);
}

static enum sorex_status status_events(const struct json_doc *doc, const struct json_node *events, struct buf *out,
                                       struct sorex_error *err)
{
    struct bytes rate = member_raw(doc, &doc->nodes[0], "events_per_second");
    double value = 0;
    TRY(buf_printf(out, err, "events    %llu in, %llu out, %llu filtered, %llu failed",
                   (unsigned long long)member_uint(doc, events, "in"), (unsigned long long)member_uint(doc, events, "out"),
                   (unsigned long long)member_uint(doc, events, "filtered"),
                   (unsigned long long)member_uint(doc, events, "failed")));
    if (!bytes_is(rate, "-") && double_read(rate, &value) && value > 0)
        TRY(buf_printf(out, err, "; %.0f a second", value));
    return buf_append_u8(out, '\n', err);
}

static enum sorex_status status_stream(const struct json_doc *doc, struct buf *out, struct sorex_error *err)
{
    const struct json_node *root = &doc->nodes[0];
    const struct json_node *events = json_member(doc, root, "events"), *partitions = json_member(doc, root, "partitions");
    if (events != NULL) /* it runs */
        TRY(status_events(doc, events, out, err));
    for (const struct json_node *partition = partitions != NULL ? json_first(doc, partitions) : NULL; partition != NULL;
         partition = json_next(doc, partition))
        TRY(status_partition(doc, partition, out, err));
    TRY(status_reducer(doc, out, err));
    return status_ends(doc, "events", out, err);
}

static enum sorex_status status_text(const struct json_doc *doc, struct buf *out, struct sorex_error *err)
{
    TRY(status_state(doc, out, err));
    return bytes_is(member_raw(doc, &doc->nodes[0], "kind"), "stream") ? status_stream(doc, out, err) : status_chain(doc, out, err);
}

enum sorex_status report_status(struct bytes json, struct buf *out, struct sorex_error *err)
{
    struct json_parser *parser;
    struct json_doc doc;
    TRY(json_parser_new(&parser, err));
    enum sorex_status status = json_parse(parser, json, &doc, err);
    if (status == SOREX_OK)
        status = status_text(&doc, out, err);
    json_parser_free(parser);
    return status;
}
