#include "pipeline/replay.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/log.h"
#include "pipeline/memory_state.h"
#include "pipeline/step.h"
#include "store/commitment.h"
#include "store/lockfile.h"

#define REPLAY_KINDS 3
#define REPLAY_PROGRAMS_MAX (1 + PIPELINE_TRANSFORMS_MAX + 1) /* and the filters */

/* One space of one program: this entry's writes over the store's history. */
struct replay_space {
    struct replay *replay;
    struct store_space space;
    struct state_reader below;
    struct memory_state writes;
};

/* One program: its spaces and what it emitted, each change behind its u32le length. */
struct replay_program {
    const struct store_program *stored;
    const uint8_t *identity; /* of what is executed */
    struct replay_space spaces[REPLAY_KINDS];
    struct buf emitted;
    uint32_t emitted_count;
};

struct replay {
    const struct pipeline_settings *settings;
    struct lockfile lock;
    struct store *store;
    struct source *source;
    struct store_reader *reader; /* state before the entry; NULL: there is none */
    struct program indexer;
    struct program transforms[PIPELINE_TRANSFORMS_MAX];
    struct filters filters; /* the last of the programs, when there are any */
    bool has_filters;
    struct replay_program programs[REPLAY_PROGRAMS_MAX];
    size_t program_count; /* of the entry in hand */
    size_t guest_count;   /* without the filters */
    struct step step;
    struct sha256 hash;
    struct buf block, preimage;
    struct replay_report *report;
};

static enum sorex_status history_get(void *user_data, struct bytes key, struct bytes *out_value, bool *out_found,
                                     struct sorex_error *err)
{
    const struct replay_space *space = user_data;
    *out_value = (struct bytes){0};
    *out_found = false;
    if (space->replay->reader == NULL)
        return SOREX_OK;
    return store_reader_get(space->replay->reader, space->space, key, out_value, out_found, err);
}

static struct replay_program *program_of(struct replay *replay, uint16_t id)
{
    size_t i = 0;
    while (i < replay->program_count && replay->programs[i].stored->id != id)
        i++;
    CHECK(i < replay->program_count); /* a step asks for its own programs only */
    return &replay->programs[i];
}

static struct replay_space *space_of(struct replay *replay, struct store_space space)
{
    CHECK(space.kind < REPLAY_KINDS);
    return &program_of(replay, space.program)->spaces[space.kind];
}

/* An indexer reads before it writes, so that what is staged and what is committed need no telling apart. */
static enum sorex_status ledger_get(void *user_data, struct store_space space, bool staged, struct bytes key,
                                    struct bytes *out_value, bool *out_found, struct sorex_error *err)
{
    (void)staged;
    return memory_state_get(&space_of(user_data, space)->writes, key, out_value, out_found, err);
}

static enum sorex_status ledger_write(void *user_data, struct store_space space, struct bytes key,
                                      const struct bytes *value, struct sorex_error *err)
{
    struct memory_state *writes = &space_of(user_data, space)->writes;
    return value != NULL ? memory_state_put(writes, key, *value, err) : memory_state_del(writes, key, err);
}

static enum sorex_status ledger_emit(void *user_data, uint16_t program, struct bytes emitted, struct bytes stored,
                                     struct sorex_error *err)
{
    (void)stored;
    if (emitted.len == 0) /* a part of a change that was delivered as two */
        return SOREX_OK;
    struct replay_program *p = program_of(user_data, program);
    TRY(buf_append_u32le(&p->emitted, (uint32_t)emitted.len, err));
    TRY(buf_append(&p->emitted, emitted, err));
    p->emitted_count++;
    return SOREX_OK;
}

/* ---- one entry ---- */

static void overlay_start(struct replay *replay)
{
    for (size_t i = 0; i < replay->program_count; i++) {
        struct replay_program *p = &replay->programs[i];
        for (size_t kind = 0; kind < REPLAY_KINDS; kind++)
            memory_state_init(&p->spaces[kind].writes, &p->spaces[kind].below);
        buf_reset(&p->emitted);
        p->emitted_count = 0;
    }
}

static void overlay_end(struct replay *replay)
{
    for (size_t i = 0; i < replay->program_count; i++)
        for (size_t kind = 0; kind < REPLAY_KINDS; kind++)
            memory_state_deinit(&replay->programs[i].spaces[kind].writes);
}

struct replay_writes {
    struct commitment *commitment;
    uint8_t kind;
};

static enum sorex_status write_commit(void *user_data, struct bytes key, const struct bytes *value,
                                      struct sorex_error *err)
{
    const struct replay_writes *writes = user_data;
    return commitment_write(writes->commitment, writes->kind, key, value, err);
}

static enum sorex_status commitment_make(struct replay *replay, const struct replay_program *p,
                                         const struct entry *entry, const uint8_t before[HASH_BYTES],
                                         uint8_t out[HASH_BYTES], struct sorex_error *err)
{
    struct commitment commitment = {.hash = &replay->hash, .scratch = &replay->preimage};
    size_t writes = 0;
    for (size_t kind = 0; kind < REPLAY_KINDS; kind++)
        writes += p->spaces[kind].writes.used;
    TRY(commitment_start(&commitment, before, entry, (uint32_t)writes, err));
    for (size_t kind = 0; kind < REPLAY_KINDS; kind++) {
        struct replay_writes each = {.commitment = &commitment, .kind = (uint8_t)kind};
        TRY(memory_state_writes(&p->spaces[kind].writes, write_commit, &each, err));
    }
    TRY(commitment_changes(&commitment, p->emitted_count, err));
    struct reader reader = reader_of(buf_view(&p->emitted));
    struct bytes change;
    for (uint32_t len = 0; reader_u32le(&reader, &len) && reader_take(&reader, len, &change);)
        TRY(commitment_change(&commitment, change, err));
    commitment_finish(&commitment, out);
    return SOREX_OK;
}

/* The commitment before the entry; zero before the program's first one. */
static enum sorex_status commitment_before(struct replay *replay, uint16_t program, uint32_t height,
                                           uint8_t out[HASH_BYTES], struct sorex_error *err)
{
    memset(out, 0, HASH_BYTES);
    if (replay->reader == NULL)
        return SOREX_OK;
    struct entry entry;
    TRY(store_entry(replay->store, height - 1, &entry, err));
    enum sorex_status status = store_commitment(replay->store, height - 1, program, out, err);
    return status == SOREX_GONE ? SOREX_OK : status;
}

static enum sorex_status compare(struct replay *replay, const struct replay_program *p, const struct entry *entry,
                                 struct sorex_error *err)
{
    uint8_t before[HASH_BYTES];
    struct replay_difference found = {.height = entry->height};
    TRY(store_commitment(replay->store, entry->height, p->stored->id, found.stored, err));
    TRY(commitment_before(replay, p->stored->id, entry->height, before, err));
    TRY(commitment_make(replay, p, entry, before, found.computed, err));
    replay->report->commitments++;
    if (replay->report->differs || memcmp(found.stored, found.computed, HASH_BYTES) == 0)
        return SOREX_OK;
    (void)snprintf(found.program, sizeof found.program, "%s", p->stored->name);
    found.other_identity = memcmp(p->identity, p->stored->identity, HASH_BYTES) != 0 || entry->height < p->stored->from_height;
    replay->report->differs = true;
    replay->report->difference = found;
    return SOREX_OK;
}

/* The block again; what the source gives for a hash must have that hash. */
static enum sorex_status block_fetch(struct replay *replay, struct entry *entry, struct sorex_error *err)
{
    struct entry header;
    buf_reset(&replay->block);
    TRY(replay->source->type->fetch(replay->source, entry->height, entry->hash, &replay->block, err));
    TRY(block_header_parse(buf_view(&replay->block), &header, err));
    TRY(block_check(buf_view(&replay->block), err));
    if (memcmp(header.hash, entry->hash, HASH_BYTES) != 0)
        return sorex_error_set(err, SOREX_CORRUPT, "the source gave another block than the one asked for");
    entry->payload = buf_view(&replay->block);
    return SOREX_OK;
}

/* Entries from before the filters were added to the store go without. */
static enum sorex_status filters_of_entry(struct replay *replay, uint32_t height, struct sorex_error *err)
{
    uint8_t commitment[HASH_BYTES];
    if (!replay->has_filters)
        return SOREX_OK;
    enum sorex_status status = store_commitment(replay->store, height, replay->filters.stored.id, commitment, err);
    if (status != SOREX_OK && status != SOREX_GONE)
        return status;
    bool there = status == SOREX_OK;
    step_filters(&replay->step, there ? &replay->filters : NULL);
    replay->program_count = replay->guest_count + (there ? 1 : 0);
    return SOREX_OK;
}

static enum sorex_status entry_execute(struct replay *replay, const struct entry *entry, struct sorex_error *err)
{
    struct step_result result;
    TRY(filters_of_entry(replay, entry->height, err));
    overlay_start(replay);
    enum sorex_status status = step_execute(&replay->step, entry, &result, err);
    for (size_t i = 0; i < replay->program_count && status == SOREX_OK; i++)
        status = compare(replay, &replay->programs[i], entry, err);
    overlay_end(replay);
    replay->report->pairs += result.pairs;
    replay->report->changes += result.changes;
    replay->report->fuel += result.fuel;
    return status;
}

static enum sorex_status entry_replay(struct replay *replay, uint32_t height, uint32_t first, struct sorex_error *err)
{
    struct entry entry;
    TRY(store_entry(replay->store, height, &entry, err));
    if (block_fetch(replay, &entry, err) != SOREX_OK)
        return sorex_error_prefix(err, "height %u", height);
    if (height != first)
        TRY(store_reader_open(replay->store, height - 1, &replay->reader, err));
    enum sorex_status status = entry_execute(replay, &entry, err);
    if (replay->reader != NULL)
        store_reader_close(replay->reader);
    replay->reader = NULL;
    return status;
}

/* ---- all of them ---- */

static void spaces_add(struct replay *replay, const struct store_program *stored, const uint8_t identity[HASH_BYTES])
{
    if (memcmp(identity, stored->identity, HASH_BYTES) != 0)
        log_line(LOG_WARN, "replay",
                 "program %s: the module or its settings are not those that the store was written with",
                 stored->name);
    struct replay_program *p = &replay->programs[replay->program_count++];
    p->stored = stored;
    p->identity = identity;
    for (uint8_t kind = 0; kind < REPLAY_KINDS; kind++) {
        struct replay_space *space = &p->spaces[kind];
        *space = (struct replay_space){.replay = replay, .space = {.program = stored->id, .kind = kind}};
        space->below = (struct state_reader){.get = history_get, .user_data = space};
    }
}

static enum sorex_status program_add(struct replay *replay, struct program *program, enum program_contract contract,
                                     const struct program_settings *settings, struct sorex_error *err)
{
    struct program_context context = {.data_dir = replay->settings->top.data,
                                      .start_height = replay->settings->top.start_height};
    TRY(program_load(program, contract, settings, &context, err));
    TRY(store_program_find(replay->store, settings->name, &program->stored, err));
    spaces_add(replay, &program->stored, program->identity);
    replay->guest_count = replay->program_count;
    return SOREX_OK;
}

static enum sorex_status filters_add(struct replay *replay, struct sorex_error *err)
{
    const struct pipeline_settings *s = replay->settings;
    enum sorex_status status = store_program_find(replay->store, FILTERS_PROGRAM, &replay->filters.stored, err);
    if (status == SOREX_GONE && s->filter_count == 0)
        return SOREX_OK;
    if (status != SOREX_OK)
        return status;
    struct store_program stored = replay->filters.stored;
    replay->has_filters = true;
    TRY(filters_load(&replay->filters, s->filters, s->filter_count, s->top.data, err));
    replay->filters.stored = stored;
    spaces_add(replay, &replay->filters.stored, replay->filters.identity);
    return SOREX_OK;
}

/* A writer must not take tables away from under a long replay: its lock is held as long. Where there can be no lock, on a
 * read-only file system or without a store, there is no writer either. */
static enum sorex_status store_hold(struct replay *replay, struct sorex_error *err)
{
    enum sorex_status status = lockfile_take(&replay->lock, replay->settings->top.data, err);
    return status == SOREX_BUSY ? status : SOREX_OK;
}

static enum sorex_status replay_open(struct replay *replay, struct sorex_error *err)
{
    const struct pipeline_settings *s = replay->settings;
    struct store_options options = {.dir = s->top.data, .read_only = true, .history = STORE_HISTORY_FULL};
    TRY(sha256_init(&replay->hash, err));
    TRY(store_hold(replay, err));
    TRY(store_open(&options, &replay->store, err));
    if (s->has_indexer)
        TRY(program_add(replay, &replay->indexer, PROGRAM_INDEXER, &s->indexer, err));
    for (size_t i = 0; i < s->transform_count; i++)
        TRY(program_add(replay, &replay->transforms[i], PROGRAM_TRANSFORM, &s->transforms[i], err));
    TRY(filters_add(replay, err));
    if (s->source_type->open(s->source, &replay->source, err) != SOREX_OK)
        return sorex_error_prefix(err, "source %s", s->source_type->name);
    uint32_t tip;
    uint8_t tip_hash[HASH_BYTES];
    TRY(replay->source->type->tip(replay->source, &tip, tip_hash, err)); /* block files are looked through now */
    struct ledger ledger = {.get = ledger_get, .write = ledger_write, .emit = ledger_emit, .user_data = replay};
    return step_init_ledger(&replay->step, &ledger, s->has_indexer ? &replay->indexer : NULL, replay->transforms,
                            s->transform_count, err);
}

static void replay_close(struct replay *replay)
{
    step_deinit(&replay->step);
    filters_unload(&replay->filters);
    for (size_t i = 0; i < REPLAY_PROGRAMS_MAX; i++)
        buf_deinit(&replay->programs[i].emitted);
    for (size_t i = 0; i < replay->settings->transform_count; i++)
        program_unload(&replay->transforms[i]);
    program_unload(&replay->indexer);
    if (replay->source != NULL)
        replay->source->type->close(replay->source);
    if (replay->store != NULL)
        store_close(replay->store);
    lockfile_release(&replay->lock);
    if (replay->hash.context != NULL)
        sha256_deinit(&replay->hash);
    buf_deinit(&replay->block);
    buf_deinit(&replay->preimage);
    free(replay);
}

static enum sorex_status range_check(const struct store_heights *heights, uint32_t *from, uint32_t *to,
                                     struct sorex_error *err)
{
    if (heights->durable == SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_GONE, "the store is empty");
    uint32_t lowest = heights->horizon == heights->first ? heights->first : heights->horizon + 1;
    if (*from == SOREX_HEIGHT_NONE)
        *from = lowest;
    if (*to == SOREX_HEIGHT_NONE)
        *to = heights->durable;
    if (*from > *to)
        return sorex_error_set(err, SOREX_INVALID, "--from %u is above --to %u", *from, *to);
    if (*from < lowest || *to > heights->durable)
        return sorex_error_set(err, SOREX_GONE,
                               "heights %u to %u: only %u to %u can be executed again from what is retained", *from,
                               *to, lowest, heights->durable);
    return SOREX_OK;
}

static enum sorex_status replay_range(struct replay *replay, uint32_t from, uint32_t to, struct sorex_error *err)
{
    struct store_heights heights;
    store_heights(replay->store, &heights);
    TRY(range_check(&heights, &from, &to, err));
    replay->report->from = from;
    for (uint32_t height = from; height <= to && !replay->report->differs; height++) {
        TRY(entry_replay(replay, height, heights.first, err));
        replay->report->to = height;
    }
    return SOREX_OK;
}

enum sorex_status replay(const struct pipeline_settings *settings, uint32_t from, uint32_t to,
                         struct replay_report *out, struct sorex_error *err)
{
    struct replay *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a replay");
    *out = (struct replay_report){0};
    self->settings = settings;
    self->lock.fd = -1;
    self->report = out;
    enum sorex_status status = replay_open(self, err);
    if (status == SOREX_OK)
        status = replay_range(self, from, to, err);
    replay_close(self);
    return status == SOREX_OK ? status : sorex_error_prefix(err, "replay");
}
