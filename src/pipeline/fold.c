#include "pipeline/fold.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/file.h"
#include "derive/message.h"
#include "derive/receipt.h"
#include "store/store.h"

#define FIRST 1u /* heights are numbers of messages */

struct fold {
    const struct pipeline_settings *settings;
    struct store *store;
    struct chained *chained;
    struct json_parser *parser;
    struct buf canonical;
    /* A message that halts, behind that position: those since the last saved state are applied again before it is
     * told. status SOREX_OK: none. */
    struct position halting;
    struct sorex_error halted;
};

/* ---- places: docs/formats/derivation.md, "Of a stream" ---- */

_Static_assert(HASH_BYTES == 32, "a place has three numbers and the beginning of a hash");

static uint64_t partition_mark(const char *partition)
{
    uint8_t hash[SHA256_BYTES];
    sha256_once(bytes_str(partition), hash);
    return u64le_get(hash);
}

static void place_of(const struct position *position, const char *partition, uint8_t out[HASH_BYTES])
{
    u64le_put(out, position->offset);
    u64le_put(out + 8, position->number);
    u64le_put(out + 16, position->check);
    u64le_put(out + 24, partition_mark(partition));
}

enum sorex_status fold_position(const struct fold *fold, const char *partition, struct position *out,
                                struct sorex_error *err)
{
    struct chained_place place = chained_place(fold->chained);
    *out = (struct position){0};
    if (place.height == SOREX_HEIGHT_NONE)
        return SOREX_OK;
    if (u64le_get(place.hash + 24) != partition_mark(partition))
        return sorex_error_set(
            err, SOREX_MISMATCH,
            "reducer %s: its database is not that of %s, but of messages from elsewhere: give it the "
            "source that it had, or derive it anew (`sorex upgrade PIPELINE --program %s`)",
            fold->settings->reducer.name, partition, fold->settings->reducer.name);
    out->offset = u64le_get(place.hash);
    out->number = u64le_get(place.hash + 8);
    out->check = u64le_get(place.hash + 16);
    return SOREX_OK;
}

/* ---- messages ---- */

/* Into fold->canonical. */
static enum sorex_status message_make(struct fold *fold, const struct event_record *record, struct sorex_error *err)
{
    int64_t before_ms = chained_receipt(fold->chained)->time_ms;
    buf_reset(&fold->canonical);
    if (!fold->settings->event_source_type->timed)
        return message_parse(fold->parser, record->text, &fold->canonical, err);
    struct message message = {.time_ms = before_ms, .payload = record->text};
    if (record->time_ms > (uint64_t)before_ms)
        message.time_ms = record->time_ms <= INT64_MAX ? (int64_t)record->time_ms : INT64_MAX;
    return message_encode(&message, &fold->canonical, err);
}

static bool of_message(enum sorex_status status)
{
    return status == SOREX_INVALID || status == SOREX_GUEST || status == SOREX_LIMIT;
}

/* Nothing comes behind that record. */
static enum sorex_status halt(struct fold *fold, const char *partition, const struct event_record *record,
                              const struct sorex_error *why, struct sorex_error *err)
{
    TRY(chained_commit(fold->chained, err));
    return sorex_error_set(err, why->status, "%s, record %" PRIu64 ": %s", partition, record->number, why->text);
}

enum sorex_status fold_apply(struct fold *fold, const char *partition, const struct event_record *record,
                             bool *out_back, struct sorex_error *err)
{
    struct sorex_error why = {0};
    uint8_t place[HASH_BYTES];
    uint64_t count = chained_receipt(fold->chained)->count;
    *out_back = false;
    if (fold->halted.status != SOREX_OK && position_equal(&record->next, &fold->halting))
        return halt(fold, partition, record, &fold->halted, err);
    place_of(&record->next, partition, place);
    enum sorex_status status = message_make(fold, record, &why);
    if (status != SOREX_OK)
        return of_message(status) ? halt(fold, partition, record, &why, err)
                                  : sorex_error_set(err, status, "%s", why.text);
    status = chained_add(fold->chained, buf_view(&fold->canonical), place, &why);
    uint64_t now = chained_receipt(fold->chained)->count;
    if (status == SOREX_OK)
        return SOREX_OK;
    if (now > count || !of_message(status)) /* it was applied, and could not be saved */
        return sorex_error_set(err, status, "%s", why.text);
    if (now == count) /* no other one was lost with it */
        return halt(fold, partition, record, &why, err);
    fold->halting = record->next;
    fold->halted = why;
    *out_back = true;
    return SOREX_OK;
}

enum sorex_status fold_save(struct fold *fold, struct sorex_error *err) { return chained_commit(fold->chained, err); }

void fold_figures(const struct fold *fold, struct deriver_status *out)
{
    deriver_figures(fold->chained, out);
    out->height = SOREX_HEIGHT_NONE;
}

/* ---- open, close ---- */

static enum sorex_status data_open(const struct pipeline_settings *settings, struct store **out,
                                   struct sorex_error *err)
{
    const struct store_options options = {.dir = settings->top.data, .create = true, .history = STORE_HISTORY_FULL};
    TRY(file_mkdirs(settings->top.data, err));
    return store_open(&options, out, err);
}

static enum sorex_status database_begin(struct fold *fold, struct sorex_error *err)
{
    const struct reducer_settings *reducer = &fold->settings->reducer;
    struct derive_settings derive = reducer->derive;
    struct buf wasm = {0};
    derive.cache_bytes = 0; /* of snapshots: nothing is undone, so none would be gone back to */
    enum sorex_status status = file_read(reducer->wasm, SOREX_MODULE_BYTES_MAX, &wasm, err);
    const struct chained_options options = {.name = reducer->name,
                                            .store = fold->store,
                                            .dir = fold->settings->top.data,
                                            .wasm = buf_view(&wasm),
                                            .settings = &derive,
                                            .first_height = FIRST};
    if (status == SOREX_OK)
        status = chained_open(&options, &fold->chained, err);
    buf_deinit(&wasm);
    return status;
}

static enum sorex_status fold_open(struct fold *fold, struct sorex_error *err)
{
    TRY(json_parser_new(&fold->parser, err));
    TRY(data_open(fold->settings, &fold->store, err));
    if (database_begin(fold, err) != SOREX_OK)
        return sorex_error_prefix(err, "reducer %s", fold->settings->reducer.name);
    return SOREX_OK;
}

enum sorex_status fold_new(const struct pipeline_settings *settings, struct fold **out, struct sorex_error *err)
{
    struct fold *fold = calloc(1, sizeof *fold);
    if (fold == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a reducer");
    fold->settings = settings;
    buf_init(&fold->canonical, MESSAGE_BYTES_MAX);
    enum sorex_status status = fold_open(fold, err);
    if (status != SOREX_OK) {
        fold_free(fold);
        return status;
    }
    *out = fold;
    return SOREX_OK;
}

void fold_free(struct fold *fold)
{
    if (fold == NULL)
        return;
    chained_close(fold->chained);
    if (fold->store != NULL)
        store_close(fold->store);
    json_parser_free(fold->parser);
    buf_deinit(&fold->canonical);
    free(fold);
}

enum sorex_status fold_drop(const struct pipeline_settings *settings, struct sorex_error *err)
{
    struct store *store;
    TRY(data_open(settings, &store, err));
    enum sorex_status status = chained_drop(store, settings->top.data, settings->reducer.name, err);
    store_close(store);
    return status;
}
