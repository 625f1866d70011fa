#include "sim/model.h"

#include "base/check.h"
#include "base/codec.h"
#include "base/sha256.h"
#include "json/writer.h"

void model_start(struct model *model, const enum guests_kind *kinds, uint32_t kind_count, uint32_t history,
                 uint32_t sink_count)
{
    struct arena arena = model->arena;
    if (arena.max == 0)
        arena_init(&arena, 0);
    arena_reset(&arena);
    (void)memset(model, 0, offsetof(struct model, heights));
    (void)memset(&model->count, 0, sizeof *model - offsetof(struct model, count));
    model->arena = arena;
    model->transform_count = kind_count;
    for (uint32_t i = 0; i < kind_count; i++)
        model->kinds[i] = kinds[i];
    model->history = history;
    model->sink_count = sink_count;
    model->undo_entries = UINT32_MAX;
    model->outbox_first = 1;
    model->outbox[0] = (struct model_record){0};
}

void model_deinit(struct model *model)
{
    if (model->arena.max != 0)
        arena_deinit(&model->arena);
}

/* ---- texts ---- */

enum sorex_status model_image(uint32_t value, struct buf *out, struct sorex_error *err)
{
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "v");
    json_uint(&w, value);
    json_object_end(&w);
    return json_writer_finish(&w);
}

struct change_made {
    const char *operation;
    uint32_t row;
    bool has_before, has_after;
    uint32_t before, after;
};

static void image_member(struct json_writer *w, const char *name, uint32_t value)
{
    json_name(w, name);
    json_object_begin(w);
    json_name(w, "v");
    json_uint(w, value);
    json_object_end(w);
}

static enum sorex_status change_text(const struct entry *entry, const struct change_made *change, bool with_before,
                                     struct buf *out, struct sorex_error *err)
{
    const char table[] = {'t', (char)('0' + change->row % 2), '\0'}, key[] = {'r', (char)('0' + change->row), '\0'};
    struct json_writer w;
    json_writer_init(&w, out, false, err);
    json_object_begin(&w);
    json_name(&w, "header");
    json_object_begin(&w);
    json_name(&w, "source");
    json_string_z(&w, "sim");
    json_name(&w, "block_height");
    json_uint(&w, entry->height);
    json_name(&w, "block_hash");
    json_hash_display(&w, entry->hash);
    json_object_end(&w);
    json_name(&w, "payload");
    json_object_begin(&w);
    json_name(&w, "operation");
    json_string_z(&w, change->operation);
    json_name(&w, "table");
    json_string_z(&w, table);
    json_name(&w, "key");
    json_string_z(&w, key);
    if (change->has_before && with_before)
        image_member(&w, "before", change->before);
    if (change->has_after)
        image_member(&w, "after", change->after);
    json_object_end(&w);
    json_object_end(&w);
    return json_writer_finish(&w);
}

/* ---- what the guests do ---- */

void model_key_name(uint32_t key, uint8_t out[3], size_t *out_len)
{
    (void)memset(out, (int)('a' + key), 3);
    *out_len = key % 3 + 1;
}

static void indexer_do(const struct entry *entry, const struct model_state *before, struct model_state *after,
                       bool touched[MODEL_KEYS])
{
    const uint8_t *block = entry->payload.data;
    for (uint32_t i = 0; i < 6; i++) {
        uint32_t key = block[36 + i] % MODEL_KEYS, chance = block[4 + i];
        const struct model_key *old = &before->keys[key];
        bool empty = chance % 5 == 0;
        after->keys[key] = (struct model_key){
            .present = true, .empty = empty, .value = empty ? 0 : (old->empty ? 0 : old->value) * 31 + chance + 1};
        touched[key] = true;
    }
    after->branch = block[76];
}

static enum sorex_status view_of(uint32_t height, const struct model_state *state, struct buf *out,
                                 struct sorex_error *err)
{
    TRY(buf_append_u32le(out, height, err));
    for (uint32_t i = 0; i < MODEL_KEYS; i++) {
        const struct model_key *key = &state->keys[i];
        bool full = key->present && !key->empty;
        TRY(buf_append_u8(out, full ? 4 : 0, err));
        if (full)
            TRY(buf_append_u32le(out, key->value, err));
    }
    return buf_append_u8(out, state->branch, err);
}

enum sorex_status model_view(const struct model *model, uint32_t height, struct buf *out, struct sorex_error *err)
{
    return view_of(height, &model->heights[height].state, out, err);
}

enum sorex_status model_preview(const struct model *model, uint32_t height, struct bytes block, struct buf *out,
                                struct sorex_error *err)
{
    struct entry entry = {.height = height + 1, .payload = block};
    struct model_state after = model->heights[height].state;
    bool touched[MODEL_KEYS];
    indexer_do(&entry, &model->heights[height].state, &after, touched);
    return view_of(height + 1, &after, out, err);
}

/* An entry in the making. */
struct making {
    struct model *model;
    struct model_height height;
    bool touched_keys[MODEL_KEYS];
    bool touched_rows[MODEL_TRANSFORMS][MODEL_ROWS];
    struct buf emitted[MODEL_TRANSFORMS]; /* for the commitment: length and text of each change */
    uint32_t emitted_count[MODEL_TRANSFORMS];
    struct buf stored; /* for the outbox */
    struct buf text;
};

static enum sorex_status change_keep(struct making *making, uint32_t transform, const struct change_made *change,
                                     bool before_given, struct sorex_error *err)
{
    struct buf *text = &making->text;
    buf_reset(text);
    TRY(change_text(&making->height.entry, change, before_given, text, err));
    TRY(buf_append_u32le(&making->emitted[transform], (uint32_t)text->len, err));
    TRY(buf_append(&making->emitted[transform], buf_view(text), err));
    making->emitted_count[transform]++;
    buf_reset(text);
    TRY(change_text(&making->height.entry, change, true, text, err));
    TRY(buf_append_u8(&making->stored, (uint8_t)(transform + 1), err));
    TRY(buf_append_u8(&making->stored, 0, err));
    TRY(buf_append_varint(&making->stored, text->len, err));
    return buf_append(&making->stored, buf_view(text), err);
}

static enum sorex_status row_do(struct making *making, uint32_t transform, uint32_t j, uint32_t sum,
                                const uint8_t hash[HASH_BYTES], struct sorex_error *err)
{
    uint32_t index = hash[1 + j] % MODEL_ROWS, value = (sum + j * 77) & 0xfffff;
    struct model_row *row = &making->height.state.transforms[transform].rows[index];
    bool before_given = making->model->kinds[transform] == GUESTS_GUEST || (hash[24 + j] & 1) != 0;
    struct change_made change = {.row = index, .has_before = row->present, .before = row->value, .after = value};
    bool gone = row->present && hash[16 + j] % 3 == 0;
    change.operation = !row->present ? "create" : gone ? "delete" : "update";
    change.has_after = !gone;
    making->touched_rows[transform][index] = true;
    *row = gone ? (struct model_row){0} : (struct model_row){.present = true, .value = value};
    return change_keep(making, transform, &change, before_given, err);
}

/* As guests see it. */
static void hash_turn(const uint8_t hash[HASH_BYTES], uint8_t out[HASH_BYTES])
{
    for (size_t i = 0; i < HASH_BYTES; i++)
        out[i] = hash[HASH_BYTES - 1 - i];
}

static uint32_t inverse_row(const struct entry *entry, uint32_t what)
{
    return entry->hash[HASH_BYTES - 1 - what] % MODEL_ROWS;
}

static enum sorex_status inverse_do(struct making *making, uint32_t transform, struct sorex_error *err)
{
    const struct entry *entry = &making->height.entry;
    uint8_t hash[HASH_BYTES];
    hash_turn(entry->hash, hash);
    uint32_t row = inverse_row(entry, GUESTS_INVERSE_ROW);
    uint32_t value = (hash[2] | (uint32_t)hash[3] << 8) + making->model->versions[transform];
    struct change_made change = {.operation = "create", .row = row, .has_after = true, .after = value};
    making->height.state.transforms[transform].rows[row] = (struct model_row){.present = true, .value = value};
    making->touched_rows[transform][row] = true;
    return change_keep(making, transform, &change, false, err);
}

static enum sorex_status transform_do(struct making *making, uint32_t transform, struct sorex_error *err)
{
    struct model_rows *rows = &making->height.state.transforms[transform];
    const struct entry *entry = &making->height.entry;
    uint32_t version = making->model->versions[transform];
    uint8_t hash[HASH_BYTES];
    if (making->model->kinds[transform] == GUESTS_INVERSE)
        return inverse_do(making, transform, err);
    hash_turn(entry->hash, hash);
    rows->blocks = rows->version == version ? rows->blocks + 1 : 1; /* what is kept does not go over to another module */
    rows->version = version;
    uint32_t sum = 0, blocks = making->model->kinds[transform] == GUESTS_KEPT ? rows->blocks : 1;
    buf_reset(&making->text);
    TRY(view_of(entry->height, &making->height.state, &making->text, err));
    for (size_t i = 0; i < making->text.len; i++)
        sum = sum * 33 + making->text.data[i];
    sum += 1000003 * 17 * blocks + version;
    for (uint32_t j = 0; j < (hash[0] & 3u); j++)
        TRY(row_do(making, transform, j, sum, hash, err));
    return SOREX_OK;
}

/* ---- commitments, docs/formats/commitment.md by the letter ---- */

static enum sorex_status write_append(struct buf *out, uint8_t kind, struct bytes key, bool present, struct bytes value,
                                      uint32_t *count, struct sorex_error *err)
{
    TRY(buf_append_u8(out, kind, err));
    TRY(buf_append_u32le(out, (uint32_t)key.len, err));
    TRY(buf_append(out, key, err));
    TRY(buf_append_u8(out, present, err));
    TRY(buf_append_u32le(out, (uint32_t)value.len, err));
    ++*count;
    return buf_append(out, value, err);
}

static enum sorex_status indexer_writes(const struct making *making, struct buf *out, uint32_t *count,
                                        struct sorex_error *err)
{
    const struct model_state *state = &making->height.state;
    TRY(write_append(out, STORE_KEYS, bytes_str("B"), true, bytes_of(&state->branch, 1), count, err));
    for (uint32_t i = 0; i < MODEL_KEYS; i++) {
        uint8_t name[3], value[4];
        size_t len;
        if (!making->touched_keys[i])
            continue;
        model_key_name(i, name, &len);
        u32le_put(value, state->keys[i].value);
        TRY(write_append(out, STORE_KEYS, bytes_of(name, len), true, bytes_of(value, state->keys[i].empty ? 0 : 4),
                         count, err));
    }
    return SOREX_OK;
}

static enum sorex_status image_write(const struct model_row *row, uint32_t index, struct buf *out, uint32_t *count,
                                     struct sorex_error *err)
{
    struct buf image = {0};
    uint8_t key[] = {2, 't', (uint8_t)('0' + index % 2), 'r', (uint8_t)('0' + index)};
    enum sorex_status status = row->present ? model_image(row->value, &image, err) : SOREX_OK;
    if (status == SOREX_OK)
        status = write_append(out, STORE_IMAGES, bytes_of(key, sizeof key), row->present, buf_view(&image), count, err);
    buf_deinit(&image);
    return status;
}

/* The state's keys r0 .. r5, then, with before: engine, the images of table t0, then those of t1. */
static enum sorex_status transform_writes(const struct making *making, uint32_t transform, struct buf *out,
                                          uint32_t *count, struct sorex_error *err)
{
    const struct model_rows *rows = &making->height.state.transforms[transform];
    for (uint32_t i = 0; i < MODEL_ROWS; i++) {
        uint8_t key[2] = {'r', (uint8_t)('0' + i)}, value[4];
        if (!making->touched_rows[transform][i])
            continue;
        u32le_put(value, rows->rows[i].value);
        TRY(write_append(out, STORE_KEYS, bytes_of(key, 2), rows->rows[i].present,
                         bytes_of(value, rows->rows[i].present ? 4 : 0), count, err));
    }
    for (uint32_t n = 0; n < MODEL_ROWS && guests_images(making->model->kinds[transform]); n++) {
        uint32_t i = n < MODEL_ROWS / 2 ? 2 * n : 2 * (n - MODEL_ROWS / 2) + 1;
        if (making->touched_rows[transform][i])
            TRY(image_write(&rows->rows[i], i, out, count, err));
    }
    return SOREX_OK;
}

static enum sorex_status commit_one(struct making *making, uint32_t program, const uint8_t before[HASH_BYTES],
                                    struct sorex_error *err)
{
    struct buf *text = &making->text;
    const struct entry *entry = &making->height.entry;
    uint32_t count = 0;
    buf_reset(text);
    TRY(buf_append(text, bytes_of(before, HASH_BYTES), err));
    TRY(buf_append(text, bytes_of(entry->hash, HASH_BYTES), err));
    TRY(buf_append(text, bytes_of(entry->parent, HASH_BYTES), err));
    size_t count_at = text->len;
    TRY(buf_append_u32le(text, 0, err));
    TRY(program == 0 ? indexer_writes(making, text, &count, err)
                     : transform_writes(making, program - 1, text, &count, err));
    u32le_put(text->data + count_at, count);
    TRY(buf_append_u32le(text, program == 0 ? 0 : making->emitted_count[program - 1], err));
    if (program != 0)
        TRY(buf_append(text, buf_view(&making->emitted[program - 1]), err));
    sha256_once(buf_view(text), making->height.commitments[program]);
    return SOREX_OK;
}

/* ---- writes and crashes ---- */

/* A write of the store: whether what it brings is on disk. */
static bool write_happens(struct model *model)
{
    if (model->crashed)
        return false;
    if (model->fault_in == 0 || --model->fault_in != 0)
        return true;
    model->crashed = true;
    return model->fault_after;
}

static bool may_trim(const struct model *model, uint64_t sequence)
{
    if (model->horizon == 0 || sequence > model->heights[model->horizon].outbox_head)
        return false;
    uint64_t lowest = UINT64_MAX;
    for (uint32_t i = 0; i < model->sink_count; i++)
        lowest = model->cursors[i] < lowest ? model->cursors[i] : lowest;
    if (model->sink_count == 0)
        return true;
    if (sequence > lowest)
        return false;
    for (uint64_t u = lowest + 1; u <= model->outbox_head; u++)
        if (model->outbox[u].kind == OUTBOX_UNDO && model->outbox[u].undone <= sequence)
            return false;
    return true;
}

static void made_durable(struct model *model)
{
    model->durable_count = model->count;
    model->durable_head = model->outbox_head;
    (void)memcpy(model->synced_cursors, model->cursors, sizeof model->cursors);
}

static void flush(struct model *model)
{
    if (model->durable_count == model->count || !write_happens(model))
        return;
    uint32_t tip = model->count - 1;
    if (model->history != STORE_HISTORY_FULL && tip - model->horizon > model->history)
        model->horizon = tip - model->history;
    while (model->outbox_first <= model->outbox_head && may_trim(model, model->outbox_first))
        model->outbox_first++;
    made_durable(model);
}

void model_crash(struct model *model)
{
    model->count = model->durable_count;
    model->outbox_head = model->durable_head;
    (void)memcpy(model->cursors, model->synced_cursors, sizeof model->cursors);
    model->crashed = false;
    model->fault_in = 0;
}

static enum model_outcome outcome(const struct model *model) { return model->crashed ? MODEL_CRASHED : MODEL_DONE; }

enum model_outcome model_flush(struct model *model)
{
    flush(model);
    return outcome(model);
}

enum model_outcome model_cursor(struct model *model, uint32_t sink, uint64_t sequence)
{
    if (write_happens(model))
        model->cursors[sink] = sequence;
    return outcome(model);
}

/* ---- entries ---- */

static struct model_record *record_add(struct model *model, enum outbox_kind kind, const struct entry *entry)
{
    CHECK(model->outbox_head < MODEL_RECORDS);
    struct model_record *record = &model->outbox[++model->outbox_head];
    *record = (struct model_record){.kind = kind, .entry = *entry};
    (void)memcpy(record->rows, record[-1].rows, sizeof record->rows);
    return record;
}

/* A transform's rows are at the sink as they are here. Those of `inverse: guest` follow its changes, one by one. */
static void rows_copy(const struct model *model, struct model_record *record, const struct model_height *height)
{
    for (uint32_t i = 0; i < model->transform_count; i++)
        if (model->kinds[i] != GUESTS_INVERSE)
            (void)memcpy(record->rows[i], height->state.transforms[i].rows, sizeof record->rows[i]);
}

static enum sorex_status sequence_add(struct model *model, struct model_height *height, struct sorex_error *err)
{
    struct model_sequence *sequence = arena_alloc(&model->arena, sizeof *sequence);
    if (sequence == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for the model");
    *sequence = (struct model_sequence){.number = model->outbox_head, .below = height->sequences};
    height->sequences = sequence;
    height->outbox_head = model->outbox_head;
    return SOREX_OK;
}

/* The entry takes its place at the top. */
static enum sorex_status entry_add(struct making *making, struct sorex_error *err)
{
    struct model *model = making->model;
    uint32_t changes = making->emitted_count[0] + making->emitted_count[1];
    CHECK(model->count < MODEL_HEIGHTS);
    if (changes != 0) {
        struct model_record *record = record_add(model, OUTBOX_APPLY, &making->height.entry);
        record->change_count = changes;
        record->changes = arena_copy(&model->arena, buf_view(&making->stored));
        rows_copy(model, record, &making->height);
        for (uint32_t i = 0; i < model->transform_count; i++) {
            uint32_t row = inverse_row(&record->entry, GUESTS_INVERSE_ROW);
            if (model->kinds[i] == GUESTS_INVERSE)
                record->rows[i][row] = making->height.state.transforms[i].rows[row];
        }
        if (record->changes.data == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory for the model");
        TRY(sequence_add(model, &making->height, err));
    }
    making->height.outbox_head = model->outbox_head;
    model->heights[model->count++] = making->height;
    return SOREX_OK;
}

static enum sorex_status entry_make(struct making *making, const struct entry *entry, struct sorex_error *err)
{
    static const uint8_t zero[HASH_BYTES];
    const struct model *model = making->model;
    const struct model_height *below = model_tip(model);
    making->height.entry = *entry;
    making->height.entry.payload = arena_copy(&making->model->arena, entry->payload);
    if (making->height.entry.payload.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for the model");
    if (below != NULL)
        making->height.state = below->state;
    making->height.path = below != NULL ? below->path : 0;
    for (uint32_t i = 0; i < model->transform_count; i++)
        making->height.path = making->height.path * 31 + model->versions[i];
    struct model_state before = making->height.state;
    indexer_do(entry, &before, &making->height.state, making->touched_keys);
    for (uint32_t i = 0; i < model->transform_count; i++)
        TRY(transform_do(making, i, err));
    for (uint32_t i = 0; i <= model->transform_count; i++)
        TRY(commit_one(making, i, below != NULL ? below->commitments[i] : zero, err));
    return entry_add(making, err);
}

enum sorex_status model_apply(struct model *model, const struct entry *entry, bool durable, enum model_outcome *out,
                              struct sorex_error *err)
{
    uint8_t branch = entry->payload.data[76];
    if (branch == GUESTS_BRANCH_TRAP || (branch == GUESTS_BRANCH_FAIL && model->transform_count != 0)) {
        *out = MODEL_GUEST;
        return SOREX_OK;
    }
    struct making making = {.model = model};
    enum sorex_status status = entry_make(&making, entry, err);
    for (uint32_t i = 0; i < MODEL_TRANSFORMS; i++)
        buf_deinit(&making.emitted[i]);
    buf_deinit(&making.stored);
    buf_deinit(&making.text);
    if (durable)
        flush(model);
    *out = outcome(model);
    return status;
}

/* The tip goes; what it gave out is taken back in the outbox. */
static void entry_remove(struct model *model)
{
    const struct model_height *undone = &model->heights[model->count - 1], *below = undone - 1;
    for (const struct model_sequence *at = undone->sequences; at != NULL; at = at->below) {
        struct model_record *record = record_add(model, OUTBOX_UNDO, &undone->entry);
        record->undone = at->number;
        rows_copy(model, record, below);
    }
    if (++model->undos == model->forget_undo) {
        struct model_height *wrong = &model->heights[model->count - 2];
        (void)memcpy(wrong->state.transforms, undone->state.transforms, sizeof wrong->state.transforms);
    }
    model->count--;
}

/* What GUESTS_INVERSE does when it is told of an undo: a record and writes of the entry that is the tip now. */
static enum sorex_status amend(struct model *model, uint32_t transform, const struct entry *undone, struct buf *text,
                               struct sorex_error *err)
{
    struct model_height *tip = &model->heights[model->count - 1];
    uint32_t row = inverse_row(undone, GUESTS_INVERSE_ROW);
    struct change_made change = {.operation = "delete", .row = row};
    struct model_row *rows = tip->state.transforms[transform].rows;
    struct buf json = {0};
    enum sorex_status status = change_text(undone, &change, false, &json, err);
    if (status == SOREX_OK)
        status = buf_append_u8(text, (uint8_t)(transform + 1), err);
    if (status == SOREX_OK)
        status = buf_append_u8(text, 0, err);
    if (status == SOREX_OK)
        status = buf_append_varint(text, json.len, err);
    if (status == SOREX_OK)
        status = buf_append(text, buf_view(&json), err);
    buf_deinit(&json);
    TRY(status);
    struct model_record *record = record_add(model, OUTBOX_APPLY, &tip->entry);
    record->change_count = 1;
    record->changes = arena_copy(&model->arena, buf_view(text));
    record->rows[transform][row] = (struct model_row){0};
    rows[inverse_row(undone, GUESTS_INVERSE_SET)] = (struct model_row){.present = true, .value = undone->height};
    rows[inverse_row(undone, GUESTS_INVERSE_DELETE)] = (struct model_row){0};
    model->amendments++;
    return sequence_add(model, tip, err);
}

static void guests_tell(struct model *model, const struct entry *undone)
{
    for (uint32_t i = model->transform_count; i-- > 0;) {
        struct buf text = {0};
        if (model->kinds[i] == GUESTS_INVERSE && write_happens(model)) {
            CHECK(amend(model, i, undone, &text, NULL) == SOREX_OK);
            made_durable(model);
        }
        buf_deinit(&text);
    }
}

enum model_outcome model_undo(struct model *model, uint32_t count)
{
    flush(model);
    if (model->crashed)
        return MODEL_CRASHED;
    if (model->count == 0 || count == 0 || count - 1 < model->horizon)
        return MODEL_GONE;
    while (model->count > count) {
        struct entry undone = model_tip(model)->entry;
        if (!write_happens(model))
            return MODEL_CRASHED;
        for (uint32_t i = 0; i < model->undo_entries && model->count > count; i++)
            entry_remove(model);
        made_durable(model);
        if (model->crashed)
            return MODEL_CRASHED;
        guests_tell(model, &undone);
        if (model->crashed)
            return MODEL_DONE;
    }
    return MODEL_DONE;
}

void model_upgrade(struct model *model, uint32_t transform)
{
    model->versions[transform] = (model->versions[transform] + 1) % GUESTS_VERSIONS;
    (void)memcpy(model->synced_cursors, model->cursors, sizeof model->cursors);
}
