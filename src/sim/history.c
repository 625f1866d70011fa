#include "sim/history.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "pipeline/query.h"
#include "source/memory.h"
#include "store/fault.h"

#define SOURCE_BLOCKS_MAX 60
#define EVENT_MS 1000
#define SETTLE_EVENTS 2000
#define CLOCK_START_MS 1000000
#define PREFIX_EVENTS 40

void history_trace(struct history *h, struct bytes bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        h->trace = (h->trace ^ bytes.data[i]) * 0x100000001b3u;
}

static void trace_number(struct history *h, uint64_t number)
{
    uint8_t bytes[8];
    for (int i = 0; i < 8; i++)
        bytes[i] = (uint8_t)(number >> (8 * i));
    history_trace(h, bytes_of(bytes, sizeof bytes));
}

/* ---- starting and ending ---- */

static enum sorex_status own_hash(void *user_data, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                  struct sorex_error *err)
{
    struct history *h = user_data;
    struct entry entry;
    TRY(store_entry(h->store, height, &entry, err));
    memcpy(out_hash, entry.hash, HASH_BYTES);
    return SOREX_OK;
}

static enum sorex_status chain_open(struct history *h, struct source *source, struct sorex_error *err)
{
    struct chain_options options = {.synchronous = true,
                                    .read_ahead = 4,
                                    .network = h->genesis_known ? h->genesis : NULL,
                                    .own_hash = own_hash,
                                    .user_data = h};
    struct store_heights heights;
    struct entry tip = {0};
    chain_free(h->chain);
    h->chain = NULL;
    store_heights(h->store, &heights);
    if (heights.tip != SOREX_HEIGHT_NONE)
        TRY(store_entry(h->store, heights.tip, &tip, err));
    return chain_new(source, &options, heights.tip, tip.hash, &h->chain, err);
}

static uint64_t guest_inverse_bits(const struct history *h)
{
    uint64_t bits = 0;
    for (uint32_t i = 0; i < h->model.transform_count; i++)
        if (h->model.kinds[i] == GUESTS_INVERSE)
            bits |= (uint64_t)1 << h->transforms[i].stored.id;
    return bits;
}

static enum sorex_status sink_start(struct history *h, struct history_sink *sink, struct sorex_error *err)
{
    static const uint8_t zero[HASH_BYTES];
    uint64_t sequence;
    uint8_t hash[HASH_BYTES];
    struct feed_options options = {.changes_max = 3,
                                   .bytes_max = 1 << 20,
                                   .finality = sink->finality,
                                   .guest_inverse = guest_inverse_bits(h)};
    enum sorex_status status = store_cursor_get(h->store, sink->name, &sequence, hash, err);
    if (status == SOREX_GONE)
        status = store_cursor_set(h->store, sink->name, 0, zero, err);
    TRY(status);
    sink->placed = false;
    return feed_new(h->store, &options, &sink->feed, err);
}

/* Opens the store and everything on it, as a process that starts does; adopt: as `sorex upgrade` does. */
static enum sorex_status open_all(struct history *h, bool adopt, struct sorex_error *err)
{
    struct store_options options = {
        .dir = "sim", .disk = h->disk, .create = true, .history = h->model.history, .group_ms_max = UINT64_MAX / 2};
    TRY(store_open(&options, &h->store, err));
    TRY(guests_register(&h->indexer, h->store, false, err));
    for (uint32_t i = 0; i < h->model.transform_count; i++)
        TRY(guests_register(&h->transforms[i], h->store, adopt, err));
    TRY(step_init(&h->step, h->store, &h->indexer, h->transforms, h->model.transform_count, err));
    for (uint32_t i = 0; i < h->model.sink_count; i++)
        TRY(sink_start(h, &h->sinks[i], err));
    return chain_open(h, h->source, err);
}

static void stop(struct history *h, bool crash)
{
    chain_free(h->chain);
    h->chain = NULL;
    for (uint32_t i = 0; i < MODEL_SINKS; i++) {
        feed_free(h->sinks[i].feed);
        h->sinks[i].feed = NULL;
    }
    if (h->step.store != NULL)
        step_deinit(&h->step);
    if (h->store != NULL && crash)
        store_crash(h->store);
    else if (h->store != NULL)
        store_close(h->store);
    h->store = NULL;
}

static enum sorex_status start(struct history *h, struct sorex_error *err) { return open_all(h, false, err); }

static void die(struct history *h)
{
    h->figures.crashes++;
    store_fault_arm(FAULT_NONE, 0);
    stop(h, true);
    disk_crash(h->disk);
    model_crash(&h->model);
}

static enum sorex_status crash(struct history *h, struct sorex_error *err)
{
    die(h);
    return start(h, err);
}

/* Arms what a script calls write `number / 2`, before it or (odd) after it; 0 is none. */
static void fault_arm(struct history *h, uint32_t number)
{
    h->model.fault_in = number / 2;
    h->model.fault_after = number % 2 != 0;
    store_fault_arm(number / 2 == 0 ? FAULT_NONE : number % 2 != 0 ? FAULT_FAIL_AFTER : FAULT_FAIL, number / 2);
}

/* The process is killed, and when it starts again its nth write fails and it is killed again. */
static enum sorex_status kill_twice(struct history *h, uint32_t nth, struct sorex_error *err)
{
    die(h);
    store_fault_arm(nth == 0 ? FAULT_NONE : FAULT_FAIL, nth);
    enum sorex_status status = start(h, err);
    store_fault_arm(FAULT_NONE, 0);
    return status == SOREX_IO ? crash(h, err) : status;
}

static void transform_use(struct history *h, uint32_t number)
{
    h->transforms[number] = h->guests->transforms[h->model.kinds[number]][h->model.versions[number]];
}

/* What differs between histories, from the seed. */
static void configure(struct history *h, uint64_t seed, uint32_t forget_undo)
{
    static const enum guests_kind sets[][MODEL_TRANSFORMS] = {{GUESTS_ENGINE, 0},
                                                              {GUESTS_GUEST, 0},
                                                              {GUESTS_KEPT, 0},
                                                              {GUESTS_ENGINE, GUESTS_KEPT},
                                                              {GUESTS_GUEST, GUESTS_ENGINE},
                                                              {GUESTS_INVERSE, 0},
                                                              {GUESTS_INVERSE, GUESTS_KEPT}};
    static const uint32_t counts[] = {1, 1, 1, 2, 2, 1, 2};
    static const char *const names[MODEL_SINKS] = {"first", "second"};
    uint64_t random = seed ^ 0x5eed;
    uint32_t set = script_draw(&random, 7);
    uint32_t chance = script_draw(&random, 3);
    uint32_t history = chance == 0 ? STORE_HISTORY_FULL : script_draw(&random, chance == 1 ? 8 : 30);
    model_start(&h->model, sets[set], counts[set], history, 1 + script_draw(&random, MODEL_SINKS));
    h->model.forget_undo = forget_undo;
    h->indexer = h->guests->indexer;
    bool inverse = h->model.kinds[0] == GUESTS_INVERSE; /* is outside the guarantees with finality */
    for (uint32_t i = 0; i < h->model.transform_count; i++)
        transform_use(h, i);
    for (uint32_t i = 0; i < MODEL_SINKS; i++) {
        h->sinks[i].name = names[i];
        h->sinks[i].finality = i == 0 || inverse ? 0 : script_draw(&random, 4);
    }
    h->model.undo_entries = script_draw(&random, 2) == 0 ? 1 + script_draw(&random, 4) : UINT32_MAX;
    store_fault_undo_entries(h->model.undo_entries);
    store_fault_prune_budget(script_draw(&random, 3) == 0 ? script_draw(&random, 4) : UINT32_MAX);
}

static enum sorex_status history_open(struct history *h, struct guests *guests, uint64_t seed, uint32_t forget_undo,
                                      struct sorex_error *err)
{
    h->guests = guests;
    h->seen_count = 0;
    h->genesis_known = false;
    h->source_count = h->entries_max = 0;
    h->trace = 0xcbf29ce484222325u;
    h->spoilt = SOREX_HEIGHT_NONE;
    h->wrong_idles = 0;
    h->figures = (struct history_figures){0};
    configure(h, seed, forget_undo);
    clock_virtual(CLOCK_START_MS);
    h->disk = disk_new();
    if (h->disk == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a disk");
    TRY(memory_open(&h->source, err));
    for (uint32_t i = 0; i < h->model.sink_count; i++)
        TRY(twin_init(&h->sinks[i].twin, err));
    for (uint32_t i = 0; i < h->model.sink_count; i++)
        h->sinks[i].twin.trusted = guests_name(GUESTS_INVERSE);
    return start(h, err);
}

static void history_close(struct history *h)
{
    store_fault_arm(FAULT_NONE, 0);
    stop(h, true);
    for (uint32_t i = 0; i < MODEL_SINKS; i++) {
        twin_deinit(&h->sinks[i].twin);
        h->sinks[i] = (struct history_sink){0};
    }
    if (h->source != NULL)
        h->source->type->close(h->source);
    h->source = NULL;
    disk_free(h->disk);
    h->disk = NULL;
    store_fault_prune_budget(UINT32_MAX);
    store_fault_undo_entries(UINT32_MAX);
    clock_virtual(0);
}

void history_deinit(struct history *h)
{
    model_deinit(&h->model);
    buf_deinit(&h->got);
    buf_deinit(&h->wanted);
}

/* ---- the source ---- */

static enum sorex_status source_grow(struct history *h, uint32_t count, uint32_t branch, struct sorex_error *err)
{
    if (h->source_count + count > SOURCE_BLOCKS_MAX)
        count = SOURCE_BLOCKS_MAX - h->source_count;
    if (h->source_count == 0)
        branch %= GUESTS_BRANCH_TRAP; /* the first block names the network: guests take it */
    h->source_count += count;
    h->wrong_idles = 0;
    return memory_extend(h->source, count, branch, err);
}

/* The first block stays: another one would be another network. */
static enum sorex_status source_fork(struct history *h, uint32_t drop, uint32_t count, uint32_t branch,
                                     struct sorex_error *err)
{
    if (h->source_count == 0)
        return SOREX_OK;
    uint32_t keep = drop < h->source_count ? h->source_count - drop : 1;
    if (keep + count > SOURCE_BLOCKS_MAX)
        count = SOURCE_BLOCKS_MAX - keep;
    h->source_count = keep + count;
    h->wrong_idles = 0;
    if (keep <= h->spoilt)
        h->spoilt = SOREX_HEIGHT_NONE;
    return memory_fork(h->source, keep - 1, count, branch, err);
}

static enum sorex_status source_lie(struct history *h, uint32_t damage, struct sorex_error *err)
{
    if (h->source_count < 2)
        return SOREX_OK;
    h->wrong_idles = 0;
    uint32_t next = h->model.count < h->source_count ? h->model.count : h->source_count - 1;
    if (damage == MEMORY_WRONG_PARENT) {
        next = h->source_count - 1;
        h->spoilt = next < h->spoilt ? next : h->spoilt;
    }
    return memory_spoil(h->source, next, (enum memory_damage)damage, err);
}

static enum sorex_status source_truth(struct history *h, struct sorex_error *err)
{
    h->wrong_idles = 0;
    for (int call = 0; call < MEMORY_CALLS; call++)
        memory_fail(h->source, (enum memory_call)call, 0, 0, SOREX_OK, "");
    if (h->source_count == 0)
        return SOREX_OK;
    TRY(memory_spoil(h->source, 0, MEMORY_SOUND, err));
    if (h->spoilt < h->source_count) { /* the block without a parent, and all that was put on it */
        h->source_count = h->spoilt;
        TRY(memory_fork(h->source, h->spoilt - 1, 0, 0, err));
    }
    h->spoilt = SOREX_HEIGHT_NONE;
    return SOREX_OK;
}

/* Asks the source past every scripted failure. False: there is no such height. */
static bool source_hash(struct history *h, uint32_t height, uint8_t out[HASH_BYTES])
{
    if (height >= h->source_count)
        return false;
    while (h->source->type->hash_at(h->source, height, out, NULL) != SOREX_OK)
        continue;
    return true;
}

/* Entries that our chain and the source's have in common, from the bottom. */
static uint32_t common_count(struct history *h)
{
    uint8_t hash[HASH_BYTES];
    uint32_t count = 0;
    while (count < h->model.count && source_hash(h, count, hash) &&
           memcmp(hash, h->model.heights[count].entry.hash, HASH_BYTES) == 0)
        count++;
    return count;
}

/* The operator gives us a source that has our chain again. */
static enum sorex_status source_ours(struct history *h, struct sorex_error *err)
{
    TRY(source_truth(h, err));
    TRY(memory_fork(h->source, SOREX_HEIGHT_NONE, 0, 0, err));
    for (uint32_t i = 0; i < h->model.count; i++)
        TRY(memory_push(h->source, h->model.heights[i].entry.payload, err));
    h->source_count = h->model.count;
    h->wrong_idles = 0;
    return chain_open(h, h->source, err);
}

/* ---- following ---- */

/* What the engine returned against what the model says it has to. */
static enum sorex_status outcome_check(struct history *h, enum model_outcome wanted, enum sorex_status got,
                                       const char *what, struct sorex_error *err)
{
    static const enum sorex_status statuses[] = {
        [MODEL_DONE] = SOREX_OK, [MODEL_GUEST] = SOREX_GUEST, [MODEL_GONE] = SOREX_GONE, [MODEL_CRASHED] = SOREX_IO};
    char text[SOREX_ERROR_TEXT_MAX] = "";
    trace_number(h, got);
    if (got == statuses[wanted])
        return SOREX_OK;
    if (got != SOREX_OK)
        (void)memcpy(text, err->text, sizeof text);
    return WRONG(err, "%s returned %s, the model says %s: %.600s", what, sorex_status_name(got),
                 sorex_status_name(statuses[wanted]), text);
}

static enum sorex_status entry_serve(struct history *h, const struct chain_event *event, bool durable,
                                     enum model_outcome *out, struct sorex_error *err)
{
    const struct model_height *tip = model_tip(&h->model);
    struct step_result result;
    uint8_t hash[HASH_BYTES];
    sha256_double(bytes_of(event->entry.payload.data, 80), hash);
    if (event->entry.height != h->model.count || memcmp(hash, event->entry.hash, HASH_BYTES) != 0 ||
        (tip != NULL && memcmp(event->entry.parent, tip->entry.hash, HASH_BYTES) != 0))
        return WRONG(err, "the chain gave an entry for height %u that does not follow from ours", event->entry.height);
    TRY(model_apply(&h->model, &event->entry, durable, out, err));
    enum sorex_status status = step_apply(&h->step, &event->entry, durable, &result, err);
    TRY(outcome_check(h, *out, status, "applying an entry", err));
    history_trace(h, bytes_of(event->entry.hash, HASH_BYTES));
    h->figures.entries += *out == MODEL_DONE;
    h->figures.refused += *out == MODEL_GUEST;
    h->entries_max = h->model.count > h->entries_max ? h->model.count : h->entries_max;
    if (h->model.count != 0 && !h->genesis_known) {
        h->genesis_known = true;
        memcpy(h->genesis, h->model.heights[0].entry.hash, HASH_BYTES);
    }
    return SOREX_OK;
}

static bool undo_calls_guests(const struct history *h)
{
    for (uint32_t i = 0; i < h->model.transform_count; i++)
        if (transform_has_rollback(h->transforms[i].transform))
            return true;
    return false;
}

/* One entry, or all down to `count`. */
static enum sorex_status undo_some(struct history *h, uint32_t count, enum model_outcome *out, struct sorex_error *err)
{
    struct entry undone;
    bool each = undo_calls_guests(h);
    uint32_t before = h->model.count, amended = h->model.amendments;
    *out = model_undo(&h->model, each ? before - 1 : count);
    enum sorex_status status =
        each ? step_undo(&h->step, &undone, err) : store_undo_to(h->store, count - 1, NULL, NULL, err);
    h->figures.undone += before - h->model.count;
    h->figures.amendments += h->model.amendments - amended;
    TRY(outcome_check(h, *out, status, "undoing", err));
    if (h->model.crashed) /* an undo stands although what the guests said of it could not be written */
        *out = MODEL_CRASHED;
    return SOREX_OK;
}

/* Below the horizon nothing is undone. */
static enum sorex_status undo_refused(struct history *h, uint32_t count, struct sorex_error *err)
{
    if (count == 0)
        return SOREX_OK;
    return outcome_check(h, MODEL_GONE, store_undo_to(h->store, count - 1, NULL, NULL, err),
                         "undoing to below the horizon", err);
}

/* As pipeline_undo_to: below the horizon, as it is when everything is written, nothing is touched. */
static enum sorex_status undo_to(struct history *h, uint32_t count, enum model_outcome *out, struct sorex_error *err)
{
    *out = model_flush(&h->model);
    TRY(outcome_check(h, *out, store_flush(h->store, err), "a flush", err));
    if (*out == MODEL_CRASHED)
        return SOREX_OK;
    uint32_t before = h->model.count;
    *out = count == 0 || count - 1 < h->model.horizon ? MODEL_GONE : MODEL_DONE;
    if (*out == MODEL_GONE)
        TRY(undo_refused(h, count, err));
    while (*out == MODEL_DONE && h->model.count > count)
        TRY(undo_some(h, count, out, err));
    h->figures.deep_undos += before - h->model.count >= 10;
    h->figures.torn_undos += *out == MODEL_CRASHED && h->model.count < before && h->model.count > count;
    return SOREX_OK;
}

static enum sorex_status undo_serve(struct history *h, const struct chain_event *event, enum model_outcome *out,
                                    struct sorex_error *err)
{
    struct store_heights heights;
    store_heights(h->store, &heights);
    uint32_t common = common_count(h), count = event->height == SOREX_HEIGHT_NONE ? 0 : event->height + 1;
    bool restorable = common != 0 && common - 1 >= heights.horizon;
    if (count >= h->model.count || (restorable && count != common))
        return WRONG(err, "the chain wants height %d back; the fork is above height %d, our tip is %d", (int)count - 1,
                     (int)common - 1, (int)h->model.count - 1);
    if (!restorable && count != 0 && count - 1 >= heights.horizon)
        return WRONG(err, "the chain wants height %u back, which is not the source's", count - 1);
    trace_number(h, count);
    return undo_to(h, count, out, err);
}

/* The chain looks at the tip every now and then; what it says may be old once, not twice. */
static enum sorex_status idle_check(struct history *h, const struct chain_event *event, bool *out_done,
                                    struct sorex_error *err)
{
    bool at_tip = strcmp(event->waiting, "at the tip") == 0;
    bool behind = strncmp(event->waiting, "source is behind", 16) == 0 && strstr(event->waiting, "too old") == NULL;
    uint32_t common = common_count(h);
    bool forgotten = h->model.durable_count != 0 && h->source_count <= h->model.horizon; /* nothing to compare with */
    bool right = at_tip ? common == h->model.count && common == h->source_count
                        : !behind || forgotten || common == h->source_count;
    if (!right && ++h->wrong_idles > 1)
        return WRONG(err, "the chain says \"%.100s\", but the source has %u blocks, we %u, %u in common",
                     event->waiting, h->source_count, h->model.count, common);
    if (right)
        h->wrong_idles = 0;
    *out_done = right && (at_tip || behind);
    return SOREX_OK;
}

/* The chain gave up. Right when the fork is below what can be restored; then nothing was touched. */
static enum sorex_status hard_stop(struct history *h, enum sorex_status status, struct sorex_error *err)
{
    struct store_heights heights;
    store_heights(h->store, &heights);
    uint32_t common = common_count(h);
    if (status != SOREX_GONE || (common != 0 && common - 1 >= heights.horizon))
        return WRONG(err, "the pipeline stopped (%s) although height %d, the fork, can be restored",
                     sorex_status_name(status), (int)common - 1);
    h->figures.hard_stops++;
    return source_ours(h, err);
}

/* One event of the chain. *out_done: there is nothing to do for now, or the pipeline stopped. */
static enum sorex_status event_serve(struct history *h, bool durable, bool *out_done, struct sorex_error *err)
{
    struct chain_event event;
    enum model_outcome outcome = MODEL_DONE;
    *out_done = false;
    enum sorex_status status = chain_next(h->chain, EVENT_MS, &event, err);
    trace_number(h, clock_ms());
    if (status != SOREX_OK) {
        *out_done = true;
        return hard_stop(h, status, err);
    }
    trace_number(h, event.kind);
    if (event.kind == CHAIN_IDLE)
        return idle_check(h, &event, out_done, err);
    if (event.kind == CHAIN_ENTRY)
        TRY(entry_serve(h, &event, durable, &outcome, err));
    else
        TRY(undo_serve(h, &event, &outcome, err));
    *out_done = outcome != MODEL_DONE;
    if (outcome == MODEL_CRASHED)
        return crash(h, err);
    if (outcome == MODEL_GONE)
        return hard_stop(h, SOREX_GONE, err);
    return outcome == MODEL_GUEST ? chain_open(h, h->source, err) : SOREX_OK;
}

static enum sorex_status follow(struct history *h, uint32_t events, uint32_t durable_bits, struct sorex_error *err)
{
    bool done = false;
    for (uint32_t i = 0; i < events && !done; i++)
        TRY(event_serve(h, (durable_bits >> (i % 8) & 1) != 0, &done, err));
    return SOREX_OK;
}

static enum sorex_status follow_and_crash(struct history *h, const struct script_step *s, struct sorex_error *err)
{
    uint64_t crashes = h->figures.crashes;
    fault_arm(h, s->c < 2 ? 2 : s->c);
    TRY(follow(h, s->a, s->b, err));
    fault_arm(h, 0);
    return h->figures.crashes == crashes ? crash(h, err) : SOREX_OK;
}

/* ---- other steps ---- */

static enum sorex_status rollback(struct history *h, const struct script_step *s, struct sorex_error *err)
{
    enum model_outcome outcome;
    if (h->model.count == 0)
        return SOREX_OK;
    fault_arm(h, s->c);
    TRY(undo_to(h, h->model.count > s->a ? h->model.count - s->a : 0, &outcome, err));
    fault_arm(h, 0);
    return outcome == MODEL_CRASHED ? crash(h, err) : chain_open(h, h->source, err);
}

/* Another network answers at our source's address: nothing of it may be taken, nothing of ours be undone. */
static enum sorex_status network(struct history *h, struct sorex_error *err)
{
    struct source *stranger;
    struct chain_event event;
    if (h->model.count == 0)
        return SOREX_OK;
    TRY(memory_open(&stranger, err));
    enum sorex_status status = memory_extend(stranger, h->model.count + 3, 5, err);
    if (status == SOREX_OK)
        status = chain_open(h, stranger, err);
    for (uint32_t i = 0; i < PREFIX_EVENTS && status == SOREX_OK; i++) {
        status = chain_next(h->chain, EVENT_MS, &event, err);
        if (status == SOREX_OK && event.kind != CHAIN_IDLE)
            status = SOREX_CORRUPT;
    }
    trace_number(h, status);
    chain_free(h->chain);
    h->chain = NULL;
    stranger->type->close(stranger);
    if (status != SOREX_MISMATCH && status != SOREX_GONE)
        return WRONG(err, "a source on another network was not refused");
    return chain_open(h, h->source, err);
}

static enum sorex_status preview(struct history *h, struct sorex_error *err)
{
    uint32_t height;
    if (h->model.durable_count == 0)
        return SOREX_OK;
    uint64_t writes = disk_writes(h->disk);
    const struct model_height *tip = &h->model.heights[h->model.durable_count - 1];
    buf_reset(&h->got);
    buf_reset(&h->wanted);
    TRY(query_preview(h->store, &h->indexer, tip->entry.payload, bytes_str("sum"), bytes_of(NULL, 0), SOREX_HEIGHT_NONE,
                      &h->got, &height, err));
    TRY(model_preview(&h->model, tip->entry.height, tip->entry.payload, &h->wanted, err));
    if (!bytes_equal(buf_view(&h->got), buf_view(&h->wanted)))
        return WRONG(err, "a preview says something else than the model");
    return disk_writes(h->disk) == writes ? SOREX_OK : WRONG(err, "a preview wrote to the store");
}

/* ---- sinks ---- */

static enum sorex_status cursor_set(struct history *h, uint32_t number, bool fails, struct sorex_error *err)
{
    struct history_sink *sink = &h->sinks[number];
    if (fails) {
        h->model.fault_in = 1;
        store_fault_arm(FAULT_FAIL, 1);
    }
    enum model_outcome outcome = model_cursor(&h->model, number, sink->twin.cursor.sequence);
    enum sorex_status status =
        store_cursor_set(h->store, sink->name, sink->twin.cursor.sequence, sink->twin.cursor.hash, err);
    TRY(outcome_check(h, outcome, status, "moving a cursor", err));
    return fails ? crash(h, err) : SOREX_OK;
}

/* As the runner: only the target knows how far it came. */
static enum sorex_status sink_place(struct history *h, uint32_t number, struct sorex_error *err)
{
    struct history_sink *sink = &h->sinks[number];
    uint64_t first, head;
    store_outbox_range(h->store, &first, &head);
    if (sink->twin.cursor.sequence > head || (head > 0 && sink->twin.cursor.sequence + 1 < first))
        return WRONG(err, "sink %s is at sequence %llu, the outbox holds %llu to %llu", sink->name,
                     (unsigned long long)sink->twin.cursor.sequence, (unsigned long long)first,
                     (unsigned long long)head);
    if (sink->twin.cursor.sequence > 0)
        TRY(cursor_set(h, number, false, err));
    feed_seek(sink->feed, sink->twin.cursor.sequence);
    sink->placed = true;
    return SOREX_OK;
}

static enum sorex_status batch_check(struct history *h, const struct history_sink *sink, const struct sink_batch *batch,
                                     struct sorex_error *err)
{
    if (batch->cursor.sequence <= sink->twin.cursor.sequence || batch->cursor.sequence > h->model.durable_head)
        return WRONG(err, "sink %s: a batch moves the cursor from %llu to %llu", sink->name,
                     (unsigned long long)sink->twin.cursor.sequence, (unsigned long long)batch->cursor.sequence);
    for (size_t i = 0; i < batch->count; i++)
        if (!batch->changes[i].undo && sink->finality > 0 &&
            batch->changes[i].height + sink->finality >= h->entries_max)
            return WRONG(err, "sink %s with finality %u gets height %u when the highest tip was %u", sink->name,
                         sink->finality, batch->changes[i].height, h->entries_max - 1);
    return SOREX_OK;
}

/* Delivers one batch. *out_end: there is none, or the sink or we ended. */
static enum sorex_status batch_deliver(struct history *h, uint32_t number, enum script_trouble trouble, bool *out_end,
                                       struct sorex_error *err)
{
    struct history_sink *sink = &h->sinks[number];
    struct feed_answer answer;
    *out_end = true;
    if (!sink->placed)
        TRY(sink_place(h, number, err));
    uint32_t tip = h->model.durable_count == 0 ? SOREX_HEIGHT_NONE : h->model.durable_count - 1;
    feed_next(sink->feed, h->model.durable_head, tip, &answer);
    if (answer.status != SOREX_OK) {
        *err = answer.err;
        return WRONG(err, "sink %s: the feed failed: %.800s", sink->name, answer.err.text);
    }
    if (!answer.moved)
        return trouble >= TROUBLE_CRASH_BEFORE ? crash(h, err) : SOREX_OK;
    TRY(batch_check(h, sink, &answer.batch, err));
    sink->placed = trouble == TROUBLE_NONE;
    if (trouble == TROUBLE_REFUSED)
        return SOREX_OK;
    if (trouble == TROUBLE_CRASH_BEFORE)
        return crash(h, err);
    TRY(twin_apply(&sink->twin, &answer.batch, err));
    h->figures.batches++;
    trace_number(h, sink->twin.cursor.sequence);
    if (trouble == TROUBLE_UNKNOWN)
        return SOREX_OK;
    if (trouble == TROUBLE_CRASH_AFTER)
        return crash(h, err);
    *out_end = trouble == TROUBLE_CRASH_CURSOR;
    return cursor_set(h, number, trouble == TROUBLE_CRASH_CURSOR, err);
}

static enum sorex_status deliver(struct history *h, const struct script_step *s, struct sorex_error *err)
{
    bool end = false;
    for (uint32_t i = 0; i < s->b && !end; i++) {
        bool last = i + 1 == s->b;
        TRY(batch_deliver(h, s->a % h->model.sink_count,
                          last ? (enum script_trouble)(s->c % TROUBLE_KINDS) : TROUBLE_NONE, &end, err));
    }
    return SOREX_OK;
}

/* ---- playing ---- */

static enum sorex_status flush(struct history *h, struct sorex_error *err)
{
    enum model_outcome outcome = model_flush(&h->model);
    return outcome_check(h, outcome, store_flush(h->store, err), "a flush", err);
}

static enum sorex_status restart(struct history *h, struct sorex_error *err)
{
    (void)model_flush(&h->model);
    stop(h, false);
    return start(h, err);
}

/* Another module is refused until it is adopted; then it holds from the next entry on. */
static enum sorex_status upgrade(struct history *h, uint32_t number, struct sorex_error *err)
{
    (void)model_flush(&h->model);
    stop(h, false);
    model_upgrade(&h->model, number);
    transform_use(h, number);
    enum sorex_status status = start(h, err);
    if (status != SOREX_MISMATCH)
        return WRONG(err, "a start with another module of transform %u returned %s", number, sorex_status_name(status));
    stop(h, false);
    h->figures.upgrades++;
    return open_all(h, true, err);
}

static enum sorex_status step_play(struct history *h, const struct script_step *s, struct sorex_error *err)
{
    switch (s->kind) {
    case STEP_GROW:
        return source_grow(h, s->a, s->b, err);
    case STEP_FORK:
        return source_fork(h, s->a, s->b, s->c, err);
    case STEP_LIE:
        return source_lie(h, s->a, err);
    case STEP_TRUTH:
        return source_truth(h, err);
    case STEP_AWAY:
        memory_fail(h->source, (enum memory_call)(s->a % MEMORY_CALLS), s->b, s->c, SOREX_AGAIN, "away");
        return SOREX_OK;
    case STEP_NETWORK:
        return network(h, err);
    case STEP_FOLLOW:
        return follow(h, s->a, s->b, err);
    case STEP_CRASH_AT:
        return follow_and_crash(h, s, err);
    case STEP_ROLLBACK:
        return rollback(h, s, err);
    case STEP_FLUSH:
        return flush(h, err);
    case STEP_KILL:
        return kill_twice(h, s->a, err);
    case STEP_RESTART:
        return restart(h, err);
    case STEP_DELIVER:
        return deliver(h, s, err);
    case STEP_PREVIEW:
        return preview(h, err);
    case STEP_UPGRADE:
        return upgrade(h, s->a % h->model.transform_count, err);
    case STEP_APPLY:
    case STEP_UNDO:
    case STEP_KINDS:
        break;
    }
    return SOREX_OK;
}

/* The first block that guests fail on goes, and everything above it; then the source is longer than we are. */
static enum sorex_status source_heal(struct history *h, struct sorex_error *err)
{
    struct buf block = {0};
    uint32_t sound = 0;
    TRY(source_truth(h, err));
    enum sorex_status status = SOREX_OK;
    for (; sound < h->source_count && status == SOREX_OK; sound++) {
        uint8_t hash[HASH_BYTES];
        (void)source_hash(h, sound, hash);
        buf_reset(&block);
        status = h->source->type->fetch(h->source, sound, hash, &block, err);
        if (status == SOREX_OK && block.data[76] >= GUESTS_BRANCH_TRAP)
            break;
    }
    buf_deinit(&block);
    TRY(status);
    uint32_t longer = (h->source_count > h->model.count ? h->source_count : h->model.count) + 2;
    h->source_count = longer;
    h->wrong_idles = 0;
    return memory_fork(h->source, sound == 0 ? SOREX_HEIGHT_NONE : sound - 1, longer - sound, 0, err);
}

/* With nothing more to come a sink has everything that is final. */
static enum sorex_status final_check(struct history *h, const struct history_sink *sink, struct sorex_error *err)
{
    uint32_t final = h->model.count > sink->finality ? h->model.count - sink->finality : 0;
    while (final > 0 && h->model.heights[final - 1].sequences == NULL)
        final--;
    uint64_t sequence = final == 0 ? 0 : h->model.heights[final - 1].sequences->number;
    if (sink->twin.cursor.sequence < sequence)
        return WRONG(err, "sink %s has nothing more to take at sequence %llu, but %llu is final", sink->name,
                     (unsigned long long)sink->twin.cursor.sequence, (unsigned long long)sequence);
    return SOREX_OK;
}

/* At the end the source is quiet and longer: we must come to have its chain, and the sinks our rows. */
static enum sorex_status settle(struct history *h, struct sorex_error *err)
{
    uint64_t first, head;
    uint64_t stops = h->figures.hard_stops;
    bool done = false;
    TRY(source_heal(h, err));
    for (uint32_t i = 0; i < SETTLE_EVENTS && !done; i++)
        TRY(event_serve(h, i % 3 == 0, &done, err));
    TRY(flush(h, err));
    if (h->figures.hard_stops == stops && common_count(h) != h->source_count)
        return WRONG(err, "the source is quiet, but we do not come to have its chain");
    store_outbox_range(h->store, &first, &head);
    for (uint32_t i = 0; i < h->model.sink_count; i++) {
        for (bool end = false; !end;)
            TRY(batch_deliver(h, i, TROUBLE_NONE, &end, err));
        TRY(final_check(h, &h->sinks[i], err));
        if (h->sinks[i].finality == 0 && h->sinks[i].twin.cursor.sequence != head)
            return WRONG(err, "sink %s has nothing more to take at sequence %llu of %llu", h->sinks[i].name,
                         (unsigned long long)h->sinks[i].twin.cursor.sequence, (unsigned long long)head);
    }
    return history_check(h, err);
}

/* Steps of the source alone: nothing of ours has run that could have changed anything. */
static bool step_is_far_away(enum step_kind kind)
{
    return kind == STEP_GROW || kind == STEP_FORK || kind == STEP_LIE || kind == STEP_TRUTH || kind == STEP_AWAY;
}

static enum sorex_status play(struct history *h, const struct script *script, struct sorex_error *err)
{
    for (size_t i = 0; i < script->count; i++) {
        enum sorex_status status = step_play(h, &script->steps[i], err);
        if (status == SOREX_OK && !step_is_far_away(script->steps[i].kind))
            status = history_check(h, err);
        if (status != SOREX_OK)
            return sorex_error_prefix(err, "step %zu", i + 1);
        h->figures.steps++;
    }
    enum sorex_status status = settle(h, err);
    return status == SOREX_OK ? status : sorex_error_prefix(err, "at the end, with a quiet source");
}

enum sorex_status history_play(struct history *h, struct guests *guests, const struct script *script,
                               uint32_t forget_undo, struct sorex_error *err)
{
    enum sorex_status status = history_open(h, guests, script->seed, forget_undo, err);
    if (status == SOREX_OK)
        status = play(h, script, err);
    history_close(h);
    if (status == SOREX_OK || status == SOREX_NOMEM)
        return status;
    if (err != NULL)
        err->status = SOREX_MISMATCH;
    return SOREX_MISMATCH;
}
