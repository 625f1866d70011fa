#include "pipeline/delivered.h"

#include "base/check.h"
#include "base/codec.h"
#include "pipeline/images.h"

/* First byte of a record's value. */
enum record_kind { RECORD_NONE, RECORD_HERE, RECORD_MOVED };

static bool same_place(const struct delivered_row *a, const struct delivered_row *b)
{
    return bytes_equal(a->table, b->table) && bytes_equal(a->key, b->key);
}

bool row_equal(const struct delivered_row *a, const struct delivered_row *b)
{
    if (!row_present(a) || !row_present(b))
        return !row_present(a) && !row_present(b);
    return same_place(a, b) && bytes_equal(a->image, b->image);
}

bool row_stays(const struct delivered_row *before, const struct delivered_row *after)
{
    return row_present(before) && row_present(after) && same_place(before, after);
}

/* ---- records ---- */

static enum sorex_status program_key(struct buf *out, uint16_t program, struct bytes table, struct bytes key,
                                     struct sorex_error *err)
{
    uint8_t id[2];
    u16le_put(id, program);
    buf_reset(out);
    TRY(buf_append(out, bytes_of(id, sizeof id), err));
    return image_key(table, key, out, err);
}

static enum sorex_status get(struct delivered *d, struct store_space space, struct bytes *out, bool *out_found,
                             struct sorex_error *err)
{
    return d->ledger->get(d->ledger->user_data, space, true, buf_view(&d->key), out, out_found, err);
}

static enum sorex_status write(struct delivered *d, struct store_space space, const struct bytes *value,
                               struct sorex_error *err)
{
    return d->ledger->write(d->ledger->user_data, space, buf_view(&d->key), value, err);
}

/* out: slices of value, or of own for a row that is at its own place. */
static bool record_read(struct bytes value, const struct delivered_row *own, struct delivered_row *out)
{
    struct reader reader = reader_of(value);
    uint8_t kind;
    *out = (struct delivered_row){.table = own->table, .key = own->key};
    if (!reader_u8(&reader, &kind) || kind > RECORD_MOVED)
        return false;
    if (kind == RECORD_NONE)
        return reader_left(&reader) == 0;
    if (kind == RECORD_MOVED && (!reader_bytes(&reader, &out->table) || !reader_bytes(&reader, &out->key)))
        return false;
    out->image = bytes_of(reader.at, reader_left(&reader));
    return out->image.len != 0;
}

static enum sorex_status record_make(struct buf *out, const struct delivered_row *own, const struct delivered_row *row,
                                     struct sorex_error *err)
{
    buf_reset(out);
    if (!row_present(row))
        return buf_append_u8(out, RECORD_NONE, err);
    bool moved = !same_place(own, row);
    TRY(buf_append_u8(out, moved ? RECORD_MOVED : RECORD_HERE, err));
    if (moved) {
        TRY(buf_append_varint(out, row->table.len, err));
        TRY(buf_append(out, row->table, err));
        TRY(buf_append_varint(out, row->key.len, err));
        TRY(buf_append(out, row->key, err));
    }
    return buf_append(out, row->image, err);
}

enum sorex_status delivered_get(struct delivered *d, const struct delivered_change *change, struct arena *arena,
                                struct delivered_was *out, struct sorex_error *err)
{
    struct bytes value;
    const struct delivered_row *own = &change->own;
    *out = (struct delivered_was){.row = {.table = own->table, .key = own->key, .image = change->own_before}};
    TRY(program_key(&d->key, change->program, own->table, own->key, err));
    TRY(get(d, d->rows, &value, &out->recorded, err));
    if (!out->recorded)
        return SOREX_OK;
    struct bytes copy = arena_copy(arena, value);
    if (copy.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a row as delivered");
    if (!record_read(copy, own, &out->row))
        return sorex_error_set(err, SOREX_CORRUPT, "the stored record of a row as delivered does not decode");
    return SOREX_OK;
}

/* ---- places ---- */

static enum sorex_status place_taken(const struct delivered_row *place, struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_INVALID, "its place %.*s/%.*s is taken by another row", BYTES_FMT(place->table),
                           BYTES_FMT(place->key));
}

/* Whether the program's own row of that place was delivered there. */
static enum sorex_status native_at(struct delivered *d, uint16_t program, const struct delivered_row *place, bool *out,
                                   struct sorex_error *err)
{
    struct bytes value;
    struct delivered_row row;
    TRY(program_key(&d->key, program, place->table, place->key, err));
    TRY(get(d, d->rows, &value, out, err));
    if (*out) {
        if (!record_read(value, place, &row))
            return sorex_error_set(err, SOREX_CORRUPT, "the stored record of a row as delivered does not decode");
        *out = row_stays(&row, &(struct delivered_row){place->table, place->key, row.image});
        return SOREX_OK;
    }
    buf_reset(&d->key);
    TRY(image_key(place->table, place->key, &d->key, err));
    return get(d, (struct store_space){.program = program, .kind = STORE_IMAGES}, &value, out, err);
}

/* A row that comes to a place must find it empty: otherwise the inverse would take away what was there before. */
static enum sorex_status place_check(struct delivered *d, const struct delivered_row *own,
                                     const struct delivered_row *place, struct sorex_error *err)
{
    struct bytes value;
    bool taken;
    buf_reset(&d->key);
    TRY(image_key(place->table, place->key, &d->key, err));
    TRY(get(d, d->places, &value, &taken, err));
    bool moved = !same_place(own, place);
    for (size_t i = 0; i < d->program_count && moved && !taken; i++)
        TRY(native_at(d, d->programs[i], place, &taken, err));
    return taken ? place_taken(place, err) : SOREX_OK;
}

static bool keeps_images(const struct delivered *d, uint16_t program)
{
    for (size_t i = 0; i < d->program_count; i++)
        if (d->programs[i] == program)
            return true;
    return false;
}

static enum sorex_status places_move(struct delivered *d, const struct delivered_change *change,
                                     const struct delivered_row *was, const struct delivered_row *now,
                                     struct sorex_error *err)
{
    if (row_stays(was, now))
        return SOREX_OK;
    bool moved = row_present(now) && !same_place(now, &change->own);
    if (moved && !keeps_images(d, change->program))
        return sorex_error_set(
            err, SOREX_INVALID,
            "a row of a program with `before: guest` cannot be moved (here to %.*s/%.*s): nothing shows which "
            "places are free",
            BYTES_FMT(now->table), BYTES_FMT(now->key));
    if (row_present(now))
        TRY(place_check(d, &change->own, now, err));
    if (row_present(was) && !same_place(was, &change->own)) {
        buf_reset(&d->key);
        TRY(image_key(was->table, was->key, &d->key, err));
        TRY(write(d, d->places, NULL, err));
    }
    if (!moved)
        return SOREX_OK;
    TRY(program_key(&d->value, change->program, change->own.table, change->own.key, err));
    buf_reset(&d->key);
    TRY(image_key(now->table, now->key, &d->key, err));
    struct bytes value = buf_view(&d->value);
    return write(d, d->places, &value, err);
}

enum sorex_status delivered_put(struct delivered *d, const struct delivered_change *change,
                                const struct delivered_was *was, const struct delivered_row *now,
                                struct sorex_error *err)
{
    TRY(places_move(d, change, &was->row, now, err));
    bool differs = !row_equal(&change->own, now);
    if (!differs && !was->recorded)
        return SOREX_OK;
    if (differs && was->recorded && row_equal(&was->row, now))
        return SOREX_OK;
    TRY(program_key(&d->key, change->program, change->own.table, change->own.key, err));
    if (!differs)
        return write(d, d->rows, NULL, err);
    TRY(record_make(&d->value, &change->own, now, err));
    struct bytes value = buf_view(&d->value);
    return write(d, d->rows, &value, err);
}

void delivered_deinit(struct delivered *d)
{
    buf_deinit(&d->key);
    buf_deinit(&d->value);
}
