#include "pg/saved_record.h"

#include <stdio.h>

#include "base/check.h"
#include "pg/snapshot_codec.h"

#define FORMAT 1u
#define CHECKSUM_BYTES ((size_t)8)

/* -- keys */

enum sorex_status record_name_set(struct record_name *out, const char *name, struct sorex_error *err)
{
    size_t len = strlen(name);
    if (len == 0 || len > RECORD_NAME_BYTES_MAX)
        return sorex_error_set(err, SOREX_INVALID, "a database's name has 1 to %d bytes", RECORD_NAME_BYTES_MAX);
    *out = (struct record_name){.bytes = {(uint8_t)len}};
    memcpy(out->bytes + 1, name, len);
    return SOREX_OK;
}

struct bytes record_name_prefix(const struct record_name *name)
{
    return bytes_of(name->bytes, 1 + (size_t)name->bytes[0]);
}

static size_t numbers_of(enum record_kind kind)
{
    return kind == RECORD_EXTENT ? 2 : kind == RECORD_PAGE || kind == RECORD_INODE ? 1 : 0;
}

static struct bytes key_encode(const struct record_name *name, const struct record_key *key,
                               uint8_t out[RECORD_KEY_BYTES_MAX])
{
    struct bytes prefix = record_name_prefix(name);
    size_t at = prefix.len;
    memcpy(out, prefix.data, prefix.len);
    out[at++] = (uint8_t)key->kind;
    u32be_put(out + at, key->number);
    u32be_put(out + at + 4, key->index);
    return bytes_of(out, at + 4 * numbers_of(key->kind));
}

enum sorex_status record_key_decode(const struct record_name *name, struct bytes bytes, struct record_key *out,
                                    struct sorex_error *err)
{
    size_t at = record_name_prefix(name).len;
    *out = (struct record_key){.kind = RECORD_HEAD};
    if (at >= bytes.len || bytes.data[at] > RECORD_EXTENT)
        return sorex_error_set(err, SOREX_CORRUPT, "a record of a kind that is not known");
    out->kind = (enum record_kind)bytes.data[at++];
    if (bytes.len - at != 4 * numbers_of(out->kind))
        return sorex_error_set(err, SOREX_CORRUPT, "a key of %zu bytes", bytes.len);
    out->number = numbers_of(out->kind) > 0 ? u32be_get(bytes.data + at) : 0;
    out->index = numbers_of(out->kind) > 1 ? u32be_get(bytes.data + at + 4) : 0;
    return SOREX_OK;
}

enum sorex_status record_error(const struct record_key *key, struct sorex_error *err)
{
    static const char *const names[] = {"head", "table", "page", "inode", "extent"};
    char numbers[32] = "";
    if (key->kind == RECORD_EXTENT)
        (void)snprintf(numbers, sizeof numbers, " %u.%u", (unsigned)key->number, (unsigned)key->index);
    else if (numbers_of(key->kind) > 0)
        (void)snprintf(numbers, sizeof numbers, " %u", (unsigned)key->number);
    return sorex_error_prefix(err, "%s%s", names[key->kind], numbers);
}

/* -- values */

static void checksum(struct sha256 *hash, struct bytes key, struct bytes content, uint8_t out[CHECKSUM_BYTES])
{
    uint8_t full[SHA256_BYTES];
    sha256_start(hash);
    sha256_update(hash, key);
    sha256_update(hash, content);
    sha256_finish(hash, full);
    memcpy(out, full, CHECKSUM_BYTES);
}

enum sorex_status record_decode(struct sha256 *hash, struct bytes key, struct bytes value, struct bytes *out_content,
                                struct sorex_error *err)
{
    uint8_t wanted[CHECKSUM_BYTES];
    if (value.len < CHECKSUM_BYTES)
        return sorex_error_set(err, SOREX_CORRUPT, "it has %zu bytes", value.len);
    *out_content = bytes_of(value.data + CHECKSUM_BYTES, value.len - CHECKSUM_BYTES);
    checksum(hash, key, *out_content, wanted);
    return memcmp(wanted, value.data, CHECKSUM_BYTES) == 0
               ? SOREX_OK
               : sorex_error_set(err, SOREX_CORRUPT, "its checksum is wrong");
}

enum sorex_status record_writer_init(struct record_writer *writer, struct store *store, const struct record_name *name,
                                     struct sorex_error *err)
{
    *writer = (struct record_writer){.name = *name};
    TRY(sha256_init(&writer->hash, err));
    writer->batch = pages_batch_new(store);
    if (writer->batch != NULL)
        return SOREX_OK;
    record_writer_deinit(writer);
    return sorex_error_set(err, SOREX_NOMEM, "database: out of memory");
}

void record_writer_deinit(struct record_writer *writer)
{
    pages_batch_free(writer->batch);
    sha256_deinit(&writer->hash);
    buf_deinit(&writer->value);
}

enum sorex_status record_write(struct record_writer *writer, const struct record_key *key, const uint8_t *content,
                               size_t len, struct sorex_error *err)
{
    uint8_t room[RECORD_KEY_BYTES_MAX], sum[CHECKSUM_BYTES];
    struct bytes bytes = key_encode(&writer->name, key, room);
    if (content == NULL) {
        pages_batch_delete(writer->batch, bytes);
        return SOREX_OK;
    }
    checksum(&writer->hash, bytes, bytes_of(content, len), sum);
    buf_reset(&writer->value);
    TRY(buf_append(&writer->value, bytes_of(sum, sizeof sum), err));
    TRY(buf_append(&writer->value, bytes_of(content, len), err));
    pages_batch_put(writer->batch, bytes, buf_view(&writer->value));
    return SOREX_OK;
}

/* -- heads */

enum sorex_status saved_head_encode(const struct saved_head *head, const struct snapshot *snapshot, struct bytes note,
                                    struct buf *out, struct sorex_error *err)
{
    TRY(buf_append_u32le(out, FORMAT, err));
    TRY(buf_append(out, bytes_of(postgres_module_hash(), SHA256_BYTES), err));
    TRY(buf_append_u64le(out, head->version, err));
    TRY(buf_append_u32le(out, head->pages, err));
    TRY(buf_append_u32le(out, head->inodes, err));
    TRY(buf_append_u64le(out, head->extents, err));
    TRY(snapshot_globals_encode(snapshot, out, err));
    TRY(snapshot_process_encode(snapshot, out, err));
    TRY(buf_append_u32le(out, (uint32_t)note.len, err));
    return buf_append(out, note, err);
}

enum sorex_status saved_head_decode(struct bytes content, struct saved_head *out, struct snapshot *snapshot,
                                    struct bytes *out_note, struct sorex_error *err)
{
    struct reader r = reader_of(content);
    struct bytes module;
    uint32_t format, note_len;
    if (!reader_u32le(&r, &format) || !reader_take(&r, SHA256_BYTES, &module))
        return sorex_error_set(err, SOREX_CORRUPT, "it does not decode");
    if (format != FORMAT)
        return sorex_error_set(err, SOREX_MISMATCH, "it has format %u, this sorex knows %u", (unsigned)format, FORMAT);
    if (memcmp(module.data, postgres_module_hash(), SHA256_BYTES) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "it was made by another PostgreSQL");
    if (!reader_u64le(&r, &out->version) || !reader_u32le(&r, &out->pages) || !reader_u32le(&r, &out->inodes) ||
        !reader_u64le(&r, &out->extents) || out->version == 0)
        return sorex_error_set(err, SOREX_CORRUPT, "it does not decode");
    TRY(snapshot_globals_decode(snapshot, &r, err));
    TRY(snapshot_process_decode(snapshot, &r, err));
    if (!reader_u32le(&r, &note_len) || reader_left(&r) != note_len || !reader_take(&r, note_len, out_note))
        return sorex_error_set(err, SOREX_CORRUPT, "it does not decode");
    return SOREX_OK;
}
