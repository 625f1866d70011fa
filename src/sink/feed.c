#include <stdlib.h>

#include "base/check.h"
#include "sink/feed_private.h"

enum sorex_status feed_new(struct store *store, const struct feed_options *options, struct feed **out,
                           struct sorex_error *err)
{
    struct feed *feed = calloc(1, sizeof *feed);
    if (feed == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    feed->store = store;
    feed->options = *options;
    feed->end_height = SOREX_HEIGHT_NONE;
    feed->making = &feed->makings[0];
    arena_init(&feed->makings[0].arena, 0);
    arena_init(&feed->makings[1].arena, 0);
    enum sorex_status status = json_parser_new(&feed->parser, err);
    if (status != SOREX_OK) {
        feed_free(feed);
        return status;
    }
    *out = feed;
    return SOREX_OK;
}

void feed_free(struct feed *feed)
{
    if (feed == NULL)
        return;
    json_parser_free(feed->parser);
    for (size_t i = 0; i < 2; i++) {
        arena_deinit(&feed->makings[i].arena);
        free(feed->makings[i].changes);
    }
    buf_deinit(&feed->record);
    buf_deinit(&feed->inverse);
    buf_deinit(&feed->converted);
    free(feed->held);
    free(feed->programs);
    free(feed);
}

void feed_seek(struct feed *feed, uint64_t sequence)
{
    feed->scanned = sequence;
    feed->held_first = feed->held_count = 0;
    feed->end_height = SOREX_HEIGHT_NONE;
}

/* Makes room for one more element; keeps the array as it was on failure. */
static enum sorex_status grow(void **array, size_t *cap, size_t count, size_t size, struct sorex_error *err)
{
    if (count < *cap)
        return SOREX_OK;
    size_t wanted = *cap == 0 ? 64 : *cap * 2;
    void *grown = realloc(*array, wanted * size);
    if (grown == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    *array = grown;
    *cap = wanted;
    return SOREX_OK;
}

static void program_add(void *user_data, const struct store_program *program)
{
    struct feed *feed = user_data;
    struct program_name *grown = realloc(feed->programs, (feed->program_count + 1) * sizeof *grown);
    if (grown == NULL) {
        feed->programs_short = true;
        return;
    }
    feed->programs = grown;
    struct program_name *name = &grown[feed->program_count++];
    name->id = program->id;
    (void)memcpy(name->name, program->name, sizeof name->name);
}

static const char *program_find(const struct feed *feed, uint16_t id)
{
    for (size_t i = 0; i < feed->program_count; i++)
        if (feed->programs[i].id == id)
            return feed->programs[i].name;
    return NULL;
}

/* A name lives as long as the batch: in the arena, because the table may be read again for a program that came later.
 */
static enum sorex_status program_name(struct feed *feed, uint16_t id, const char **out, struct sorex_error *err)
{
    const char *name = program_find(feed, id);
    if (name == NULL) {
        feed->program_count = 0;
        feed->programs_short = false;
        TRY(store_programs(feed->store, program_add, feed, err));
        if (feed->programs_short)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory");
        name = program_find(feed, id);
    }
    if (name == NULL)
        return sorex_error_set(err, SOREX_CORRUPT, "program %u is not in the store", id);
    struct bytes copy = arena_copy(&feed->making->arena, bytes_str(name));
    if (copy.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    *out = (const char *)copy.data;
    return SOREX_OK;
}

/* The text in the feed's envelope. Images are of the change, which it is not any more. */
static enum sorex_status convert(struct feed *feed, uint64_t time_ms, struct change *change, struct sorex_error *err)
{
    struct event event;
    struct arena *arena = &feed->making->arena;
    buf_reset(&feed->converted);
    TRY(change_event_read(feed->parser, change->raw, time_ms != 0 ? time_ms : 1, arena, &event, err));
    TRY(event_validate(&event, err));
    TRY(envelope_write(feed->options.envelope, feed->parser, &event, arena, &feed->converted, err));
    change->raw = arena_copy(arena, buf_view(&feed->converted));
    if (change->raw.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    change->before = change->after = (struct bytes){0};
    return SOREX_OK;
}

static enum sorex_status change_add(struct feed *feed, struct origin *origin, uint16_t program, struct bytes json,
                                    struct sorex_error *err)
{
    if (origin->name == NULL || origin->program != program) {
        TRY(program_name(feed, program, &origin->name, err));
        origin->program = program;
    }
    void *changes = feed->making->changes;
    TRY(grow(&changes, &feed->making->cap, feed->count, sizeof *feed->making->changes, err));
    feed->making->changes = changes;
    struct sink_change *item = &feed->making->changes[feed->count];
    item->before = item->after = (struct json_doc){0};
    if (feed->options.images)
        TRY(change_parse_images(feed->parser, json, &feed->making->arena, &item->change, &item->before, &item->after,
                                err));
    else
        TRY(change_parse(feed->parser, json, &feed->making->arena, &item->change, err));
    if (feed->options.envelope != NULL)
        TRY(convert(feed, origin->time_ms, &item->change, err));
    item->sequence = origin->sequence;
    item->height = origin->height;
    item->undo = origin->undo;
    item->ordinal = origin->ordinal++;
    item->time_ms = origin->time_ms;
    item->hash = origin->hash;
    item->program = origin->name;
    item->source_key = (struct bytes){0};
    item->source_headers = NULL;
    item->source_header_count = 0;
    feed->count++;
    feed->bytes += item->change.raw.len;
    return SOREX_OK;
}

static enum sorex_status inverse_add(struct feed *feed, struct origin *origin, uint16_t program, struct bytes json,
                                     struct sorex_error *err)
{
    buf_reset(&feed->inverse);
    TRY(change_invert(feed->parser, json, &feed->inverse, err));
    struct bytes copy = arena_copy(&feed->making->arena, buf_view(&feed->inverse));
    if (copy.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    return change_add(feed, origin, program, copy, err);
}

enum sorex_status feed_record_keep(struct feed *feed, struct outbox_record *record, struct sorex_error *err)
{
    record->changes = arena_copy(&feed->making->arena, record->changes);
    if (record->changes.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    return SOREX_OK;
}

enum sorex_status feed_hash_keep(struct feed *feed, const uint8_t hash[HASH_BYTES], const uint8_t **out,
                                 struct sorex_error *err)
{
    struct bytes copy = arena_copy(&feed->making->arena, bytes_of(hash, HASH_BYTES));
    if (copy.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    *out = copy.data;
    return SOREX_OK;
}

/* The changes of an apply record, as they are. */
static enum sorex_status apply_add(struct feed *feed, struct outbox_record *record, struct sorex_error *err)
{
    struct origin origin = {.sequence = record->sequence, .height = record->height, .time_ms = record->time_ms};
    TRY(feed_hash_keep(feed, record->hash, &origin.hash, err));
    TRY(feed_record_keep(feed, record, err));
    struct bytes rest = record->changes;
    struct bytes json;
    uint16_t program;
    bool ok = true;
    while (outbox_change_next(&rest, &program, &json, &ok))
        if (change_add(feed, &origin, program, json, err) != SOREX_OK)
            return sorex_error_prefix(err, "outbox sequence %llu, change %u", (unsigned long long)record->sequence,
                                      origin.ordinal);
    if (!ok)
        return sorex_error_set(err, SOREX_CORRUPT, "outbox sequence %llu does not decode",
                               (unsigned long long)record->sequence);
    return SOREX_OK;
}

struct emitted {
    uint16_t program;
    struct bytes json;
};

enum sorex_status feed_inverses_add(struct feed *feed, const struct outbox_record *original, struct origin *origin,
                                    struct sorex_error *err)
{
    struct emitted *list = arena_alloc(&feed->making->arena, ((size_t)original->change_count + 1) * sizeof *list);
    if (list == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory");
    struct bytes rest = original->changes;
    size_t count = 0;
    bool ok = true;
    while (count < original->change_count && outbox_change_next(&rest, &list[count].program, &list[count].json, &ok))
        count++;
    if (!ok || count != original->change_count || rest.len != 0)
        return sorex_error_set(err, SOREX_CORRUPT, "outbox sequence %llu does not decode",
                               (unsigned long long)original->sequence);
    for (size_t i = count; i > 0; i--) {
        if (list[i - 1].program < 64 && (feed->options.guest_inverse >> list[i - 1].program & 1) != 0)
            continue;
        if (inverse_add(feed, origin, list[i - 1].program, list[i - 1].json, err) != SOREX_OK)
            return sorex_error_prefix(err, "undo of outbox sequence %llu, change %zu",
                                      (unsigned long long)original->sequence, i - 1);
    }
    return SOREX_OK;
}

/* The inverse of the record that this one takes back. */
static enum sorex_status undo_add(struct feed *feed, const struct outbox_record *record, struct sorex_error *err)
{
    struct origin origin = {
        .sequence = record->sequence, .height = record->height, .time_ms = record->time_ms, .undo = true};
    uint64_t undone = record->undone;
    TRY(feed_hash_keep(feed, record->hash, &origin.hash, err));
    struct outbox_record original;
    if (store_outbox_read(feed->store, undone, &feed->record, &original, err) != SOREX_OK)
        return sorex_error_prefix(err, "undo of outbox sequence %llu", (unsigned long long)undone);
    if (original.kind != OUTBOX_APPLY)
        return sorex_error_set(err, SOREX_CORRUPT, "outbox sequence %llu undoes %llu, which is no apply record",
                               (unsigned long long)origin.sequence, (unsigned long long)undone);
    TRY(feed_record_keep(feed, &original, err));
    return feed_inverses_add(feed, &original, &origin, err);
}

static void end_set(struct feed *feed, uint64_t sequence, uint32_t height, const uint8_t hash[HASH_BYTES])
{
    feed->end = sequence;
    feed->end_height = height;
    (void)memcpy(feed->end_hash, hash, HASH_BYTES);
}

static enum sorex_status hold(struct feed *feed, const struct outbox_record *record, struct sorex_error *err)
{
    if (feed->held_first > 64 && feed->held_first * 2 > feed->held_count) {
        feed->held_count -= feed->held_first;
        memmove(feed->held, feed->held + feed->held_first, feed->held_count * sizeof *feed->held);
        feed->held_first = 0;
    }
    void *held = feed->held;
    TRY(grow(&held, &feed->held_cap, feed->held_count, sizeof *feed->held, err));
    feed->held = held;
    struct held *last = &feed->held[feed->held_count++];
    last->sequence = record->sequence;
    last->height = record->height;
    (void)memcpy(last->hash, record->hash, HASH_BYTES);
    return SOREX_OK;
}

/* Takes back a held record; true when that was the last one, which makes this a clean place. */
static enum sorex_status cancel(struct feed *feed, const struct outbox_record *record, struct sorex_error *err)
{
    const struct held *last = &feed->held[feed->held_count - 1];
    if (last->sequence != record->undone)
        return sorex_error_set(err, SOREX_CORRUPT, "outbox sequence %llu undoes %llu, but the newest one is %llu",
                               (unsigned long long)record->sequence, (unsigned long long)record->undone,
                               (unsigned long long)last->sequence);
    feed->held_count--;
    if (feed->held_first == feed->held_count)
        end_set(feed, record->sequence, record->height, record->hash);
    return SOREX_OK;
}

/* Looks at the next record: holds it, cancels with it, or delivers it. */
static enum sorex_status scan(struct feed *feed, struct sorex_error *err)
{
    struct outbox_record record;
    TRY(store_outbox_read(feed->store, feed->scanned + 1, &feed->record, &record, err));
    bool holding = feed->held_first < feed->held_count;
    if (record.kind == OUTBOX_UNDO && holding) {
        TRY(cancel(feed, &record, err));
    } else if (record.kind == OUTBOX_UNDO) {
        TRY(undo_add(feed, &record, err));
        end_set(feed, record.sequence, record.height, record.hash);
    } else if (holding || feed->options.finality > 0) {
        TRY(hold(feed, &record, err));
    } else {
        TRY(apply_add(feed, &record, err));
        end_set(feed, record.sequence, record.height, record.hash);
    }
    feed->scanned++;
    return SOREX_OK;
}

static enum sorex_status release(struct feed *feed, struct sorex_error *err)
{
    struct held oldest = feed->held[feed->held_first];
    struct outbox_record record;
    TRY(store_outbox_read(feed->store, oldest.sequence, &feed->record, &record, err));
    TRY(apply_add(feed, &record, err));
    end_set(feed, oldest.sequence, oldest.height, oldest.hash);
    feed->held_first++;
    return SOREX_OK;
}

static bool releasable(const struct feed *feed, bool all_seen, uint32_t tip)
{
    if (feed->held_first == feed->held_count)
        return false;
    uint64_t wanted = (uint64_t)feed->held[feed->held_first].height + feed->options.finality;
    if (wanted <= feed->held[feed->held_count - 1].height)
        return true;
    return all_seen && tip != SOREX_HEIGHT_NONE && wanted <= tip;
}

static enum sorex_status gather(struct feed *feed, uint64_t head, uint32_t tip, struct sorex_error *err)
{
    while (feed->count < feed->options.changes_max && feed->bytes < feed->options.bytes_max) {
        if (releasable(feed, feed->scanned >= head, tip))
            TRY(release(feed, err));
        else if (feed->scanned < head)
            TRY(scan(feed, err));
        else
            break;
    }
    return SOREX_OK;
}

void feed_begin(struct feed *feed)
{
    feed->making = feed->making == &feed->makings[0] ? &feed->makings[1] : &feed->makings[0];
    arena_reset(&feed->making->arena);
    feed->count = 0;
    feed->bytes = 0;
    feed->end = 0;
}

void feed_batch(const struct feed *feed, struct sink_batch *out)
{
    *out =
        (struct sink_batch){.changes = feed->making->changes, .count = feed->count, .cursor = {.sequence = feed->end}};
    (void)memcpy(out->cursor.store_id, store_id(feed->store), SINK_STORE_ID_BYTES);
    (void)memcpy(out->cursor.hash, feed->end_hash, HASH_BYTES);
}

void feed_next(struct feed *feed, uint64_t head, uint32_t tip, struct feed_answer *out)
{
    feed_begin(feed);
    *out = (struct feed_answer){0};
    out->status = gather(feed, head, tip, &out->err);
    out->moved = out->status == SOREX_OK && feed->end > 0;
    out->scanned = feed->scanned;
    out->height = feed->end_height;
    feed_batch(feed, &out->batch);
}
