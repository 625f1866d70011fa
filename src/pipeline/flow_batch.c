/*     records  |---- slice 0 ----|---- slice 1 ----| ...        one job of the pool each
 *     changes  |-----------.     |-------.         | ...        room for one a record; the gaps are closed at the end
 *     dead     the same
 *
 * A worker writes only into its slice, whose arena has all that the changes point to. */
#include "pipeline/flow_batch.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"

#define SLICE_RECORDS_MIN 64 /* less is not worth another thread's waking */

struct slice {
    struct flow_batch *batch;
    const struct event_batch *input;
    size_t from, to;      /* records */
    size_t done;          /* records that are done: to, or the one that failed */
    size_t changes, dead; /* made, at index `from` of the batch's */
    struct arena arena;
    struct buf text; /* of the event in hand */
    struct flow_counts counts;
    enum sorex_status status;
    struct sorex_error err;
};

struct flow_batch {
    struct flow_batch_options options;
    struct slice *slices;
    size_t slice_count;
    struct sink_change *changes; /* records_max of them */
    struct sink_dead *dead;      /* the same */
    char (*names)[EVENT_PARTITION_SIZE];
    struct sink_position *positions;
    size_t positions_max;
    size_t done; /* records that are delivered, filtered or left out */
    struct sink_batch result;
    struct flow_counts counts;
};

/* ---- beginning and end ---- */

static enum sorex_status no_memory(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_NOMEM, "out of memory: a batch of events");
}

enum sorex_status flow_batch_new(const struct flow_batch_options *options, struct flow_batch **out, struct sorex_error *err)
{
    struct flow_batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL)
        return no_memory(err);
    batch->options = *options;
    batch->slice_count = pool_depth(options->pool);
    batch->slices = calloc(batch->slice_count, sizeof *batch->slices);
    batch->changes = malloc(options->records_max * sizeof *batch->changes);
    batch->dead = malloc(options->records_max * sizeof *batch->dead);
    if (batch->slices == NULL || batch->changes == NULL || batch->dead == NULL) {
        flow_batch_free(batch);
        return no_memory(err);
    }
    for (size_t i = 0; i < batch->slice_count; i++) {
        batch->slices[i].batch = batch;
        arena_init(&batch->slices[i].arena, 0);
    }
    *out = batch;
    return SOREX_OK;
}

void flow_batch_free(struct flow_batch *batch)
{
    if (batch == NULL)
        return;
    for (size_t i = 0; batch->slices != NULL && i < batch->slice_count; i++) {
        arena_deinit(&batch->slices[i].arena);
        buf_deinit(&batch->slices[i].text);
    }
    free(batch->slices);
    free(batch->changes);
    free(batch->dead);
    free(batch->names);
    free(batch->positions);
    free(batch);
}

/* ---- a slice, on a worker's thread ---- */

static enum sorex_status keep(struct slice *slice, struct bytes bytes, struct bytes *out, struct sorex_error *err)
{
    *out = (struct bytes){0};
    if (bytes.data == NULL)
        return SOREX_OK;
    *out = arena_copy(&slice->arena, bytes);
    return out->data != NULL ? SOREX_OK : no_memory(err);
}

static enum sorex_status dead_letter(struct slice *slice, const struct event_record *record, const char *why,
                                     struct sorex_error *err)
{
    struct bytes error;
    if (!slice->batch->options.dead_letters)
        return SOREX_OK;
    struct sink_dead *dead = &slice->batch->dead[slice->from + slice->dead];
    *dead = (struct sink_dead){.partition = slice->batch->names[record->partition], .number = record->number};
    TRY(keep(slice, bytes_str(why), &error, err));
    dead->error = (const char *)error.data;
    TRY(keep(slice, record->text, &dead->event, err));
    TRY(keep(slice, record->key, &dead->key, err));
    slice->dead++;
    return SOREX_OK;
}

static enum change_operation operation_of(const struct event *event)
{
    bool gone = event->op == EVENT_DELETE || event->op == EVENT_TRUNCATE;
    return gone ? CHANGE_DELETE : event->op == EVENT_UPDATE ? CHANGE_UPDATE : CHANGE_CREATE;
}

/* Table and key of an event in any envelope. A row whose key cannot be made has none. */
static enum sorex_status keys_make(struct slice *slice, struct json_parser *parser, const struct event *event,
                                   struct change *change, struct sorex_error *err)
{
    change->operation = operation_of(event);
    TRY(keep(slice, event->table, &change->table, err));
    if (event->primary_key.count == 0)
        return SOREX_OK;
    struct sorex_error ignored = {0};
    buf_reset(&slice->text);
    enum sorex_status status = change_event_key(parser, event, &slice->text, &ignored);
    if (status == SOREX_NOMEM)
        return no_memory(err);
    return status == SOREX_OK ? keep(slice, buf_view(&slice->text), &change->key, err) : SOREX_OK;
}

static enum sorex_status headers_keep(struct slice *slice, const struct event_record *record, struct sink_change *out,
                                      struct sorex_error *err)
{
    if (record->header_count == 0)
        return SOREX_OK;
    struct header *headers = arena_alloc(&slice->arena, record->header_count * sizeof *headers);
    if (headers == NULL)
        return no_memory(err);
    for (size_t i = 0; i < record->header_count; i++) {
        struct bytes name; /* with its NUL */
        TRY(keep(slice, bytes_str(record->headers[i].name), &name, err));
        headers[i].name = (const char *)name.data;
        TRY(keep(slice, record->headers[i].value, &headers[i].value, err));
    }
    out->source_headers = headers;
    out->source_header_count = record->header_count;
    return SOREX_OK;
}

static enum sorex_status change_make(struct slice *slice, struct stages_worker *worker, const struct event_record *record,
                                     const struct event *event, struct sorex_error *err)
{
    const struct flow_batch_options *options = &slice->batch->options;
    struct sink_change *out = &slice->batch->changes[slice->from + slice->changes];
    struct bytes raw;
    *out = (struct sink_change){.height = SOREX_HEIGHT_NONE, .sequence = record->number, .time_ms = record->time_ms,
                                .program = options->program};
    TRY(keep(slice, buf_view(&slice->text), &raw, err));
    if (options->sink->reads_images)
        TRY(change_parse_images(stages_worker_parser(worker), raw, &slice->arena, &out->change, &out->before, &out->after, err));
    else if (options->sink->uses_keys && event != NULL)
        TRY(keys_make(slice, stages_worker_parser(worker), event, &out->change, err));
    out->change.raw = raw;
    if (options->sink->uses_keys) {
        TRY(keep(slice, record->key, &out->source_key, err));
        TRY(headers_keep(slice, record, out, err));
    }
    slice->changes++;
    slice->counts.bytes_out += raw.len;
    return SOREX_OK;
}

/* A target of rows has no place for what is no row. */
static bool has_place(const struct slice *slice, const struct stages_result *result)
{
    return result->outcome == STAGES_DELIVERED && (result->event != NULL || !slice->batch->options.sink->reads_images);
}

static enum sorex_status record_run(struct slice *slice, struct stages_worker *worker, const struct event_record *record,
                                    struct sorex_error *err)
{
    struct stages_result result;
    buf_reset(&slice->text);
    TRY(stages_run(worker, record->text, &slice->text, &result, err));
    slice->counts.in++;
    slice->counts.bytes_in += record->text.len;
    if (result.why != NULL) {
        slice->counts.failed++;
        TRY(dead_letter(slice, record, result.why, err));
    }
    if (has_place(slice, &result)) {
        slice->counts.out += result.why == NULL;
        return change_make(slice, worker, record, result.event, err);
    }
    slice->counts.filtered += result.why == NULL;
    return SOREX_OK;
}

static bool of_event(enum sorex_status status)
{
    return status == SOREX_INVALID || status == SOREX_GUEST || status == SOREX_LIMIT;
}

static enum sorex_status slice_run(struct slice *slice, struct stages_worker *worker)
{
    for (slice->done = slice->from; slice->done < slice->to; slice->done++) {
        const struct event_record *record = &slice->input->records[slice->done];
        enum sorex_status status = record_run(slice, worker, record, &slice->err);
        if (of_event(status))
            return sorex_error_prefix(&slice->err, "%s, record %" PRIu64, slice->batch->names[record->partition], record->number);
        TRY(status);
    }
    return SOREX_OK;
}

void flow_batch_work(void *worker, void *job)
{
    struct slice *slice = job;
    uint64_t began = clock_ns();
    slice->status = slice_run(slice, worker);
    slice->counts.work_ns = clock_ns() - began;
}

/* ---- the batch ---- */

/* The partitions' names live as long as the batch: the source's do not. */
static enum sorex_status names_copy(struct flow_batch *batch, const struct event_batch *input, struct sorex_error *err)
{
    if (input->partition_count > batch->positions_max) {
        free(batch->names);
        free(batch->positions);
        batch->names = calloc(input->partition_count, sizeof *batch->names);
        batch->positions = calloc(input->partition_count, sizeof *batch->positions);
        batch->positions_max = batch->names != NULL && batch->positions != NULL ? input->partition_count : 0;
        if (batch->positions_max == 0)
            return no_memory(err);
    }
    for (size_t i = 0; i < input->partition_count; i++) {
        size_t len = strlen(input->partitions[i].name);
        CHECK(len < EVENT_PARTITION_SIZE);
        (void)memcpy(batch->names[i], input->partitions[i].name, len + 1);
    }
    return SOREX_OK;
}

static void slice_begin(struct slice *slice, const struct event_batch *input, size_t from, size_t to)
{
    arena_reset(&slice->arena);
    slice->input = input;
    slice->from = slice->done = from;
    slice->to = to;
    slice->changes = slice->dead = 0;
    slice->counts = (struct flow_counts){0};
    slice->status = SOREX_OK;
    slice->err = (struct sorex_error){0};
}

/* Cuts the records into slices and has them done. Returns how many. */
static size_t slices_run(struct flow_batch *batch, const struct event_batch *input)
{
    size_t slices = (input->count + SLICE_RECORDS_MIN - 1) / SLICE_RECORDS_MIN;
    if (slices > batch->slice_count)
        slices = batch->slice_count;
    for (size_t i = 0; i < slices; i++) {
        slice_begin(&batch->slices[i], input, input->count * i / slices, input->count * (i + 1) / slices);
        pool_submit(batch->options.pool, &batch->slices[i]);
    }
    for (size_t i = 0; i < slices; i++)
        (void)pool_take(batch->options.pool);
    return slices;
}

static void counts_add(struct flow_counts *sum, const struct flow_counts *more)
{
    sum->in += more->in;
    sum->out += more->out;
    sum->filtered += more->filtered;
    sum->failed += more->failed;
    sum->bytes_in += more->bytes_in;
    sum->bytes_out += more->bytes_out;
    sum->work_ns += more->work_ns;
}

/* Closes the gap in front of a slice's changes and dead letters. */
static void slice_gather(struct flow_batch *batch, const struct slice *slice)
{
    struct sink_batch *result = &batch->result;
    if (result->count != slice->from && slice->changes > 0)
        memmove(&batch->changes[result->count], &batch->changes[slice->from], slice->changes * sizeof *batch->changes);
    if (result->dead_count != slice->from && slice->dead > 0)
        memmove(&batch->dead[result->dead_count], &batch->dead[slice->from], slice->dead * sizeof *batch->dead);
    result->count += slice->changes;
    result->dead_count += slice->dead;
    counts_add(&batch->counts, &slice->counts);
}

enum sorex_status flow_batch_run(struct flow_batch *batch, const struct event_batch *input, void *group, struct sorex_error *err)
{
    CHECK(input->count <= batch->options.records_max);
    batch->result = (struct sink_batch){.changes = batch->changes, .dead = batch->dead, .group = group};
    batch->counts = (struct flow_counts){0};
    batch->done = 0;
    TRY(names_copy(batch, input, err));
    size_t slices = slices_run(batch, input);
    for (size_t i = 0; i < slices; i++) {
        const struct slice *slice = &batch->slices[i];
        slice_gather(batch, slice);
        batch->done = slice->done;
        if (slice->status == SOREX_OK)
            continue;
        if (!of_event(slice->status))
            batch->done = 0;
        if (err != NULL)
            *err = slice->err;
        return slice->status;
    }
    return SOREX_OK;
}

void flow_batch_place(struct flow_batch *batch, const struct event_batch *input, struct flow_place *places)
{
    struct sink_position *positions = batch->positions;
    if (batch->done == 0) /* there may be none, when memory was short */
        return;
    for (size_t p = 0; p < input->partition_count; p++) {
        positions[p] = (struct sink_position){.first = places[p].first, .from = places[p].at};
        places[p].end = input->partitions[p].end;
    }
    for (size_t i = 0; i < batch->done; i++) {
        uint32_t p = input->records[i].partition;
        positions[p].partition = batch->names[p];
        positions[p].to = input->records[i].next;
    }
    batch->result.positions = positions;
    for (size_t p = 0; p < input->partition_count; p++) {
        if (positions[p].partition == NULL)
            continue;
        places[p].at = positions[p].to;
        places[p].first = false;
        positions[batch->result.position_count++] = positions[p];
    }
}

const struct sink_batch *flow_batch_result(const struct flow_batch *batch)
{
    return &batch->result;
}

const struct flow_counts *flow_batch_counts(const struct flow_batch *batch)
{
    return &batch->counts;
}
