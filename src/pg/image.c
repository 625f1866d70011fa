#include "pg/image.h"

#include <stdlib.h>

#include <zstd.h>

#include "base/check.h"
#include "pg/snapshot_codec.h"

#define MAGIC "SOREXPG1"
#define HEADER_BYTES (8 + SHA256_BYTES + 8)
#define CONTENT_BYTES_MAX ((uint64_t)16 << 30)

/* -- writing: the content goes to a function, which hashes or collects it */

struct content {
    const struct snapshot *snapshot;
    tree_out_fn *fn;
    void *user_data;
    struct sorex_error *err;
};

static enum sorex_status put(const struct content *c, struct bytes bytes) { return c->fn(c->user_data, bytes, c->err); }

static enum sorex_status put_u32(const struct content *c, uint32_t value)
{
    uint8_t bytes[4];
    u32le_put(bytes, value);
    return put(c, bytes_of(bytes, 4));
}

typedef enum sorex_status part_fn(const struct snapshot *snapshot, struct buf *out, struct sorex_error *err);

static enum sorex_status part_put(const struct content *c, part_fn *encode)
{
    struct buf part = {0};
    enum sorex_status status = encode(c->snapshot, &part, c->err);
    if (status == SOREX_OK)
        status = put(c, buf_view(&part));
    buf_deinit(&part);
    return status;
}

static enum sorex_status page_put(void *user_data, uint32_t page, const uint8_t content[LINEAR_PAGE_BYTES],
                                  struct sorex_error *err)
{
    const struct content *c = user_data;
    (void)err;
    TRY(put_u32(c, page + 1));
    return put(c, bytes_of(content, LINEAR_PAGE_BYTES));
}

static enum sorex_status content_put(const struct snapshot *snapshot, tree_out_fn *fn, void *user_data,
                                     struct sorex_error *err)
{
    struct content c = {snapshot, fn, user_data, err};
    TRY(put(&c, bytes_of(postgres_module_hash(), SHA256_BYTES)));
    TRY(part_put(&c, snapshot_globals_encode));
    TRY(part_put(&c, snapshot_table_encode));
    TRY(linear_image_visit(snapshot->machine.memory, page_put, &c, err));
    TRY(put_u32(&c, 0));
    TRY(part_put(&c, snapshot_process_encode));
    return tree_encode(&snapshot->tree, fn, user_data, err);
}

static enum sorex_status hash_bytes(void *user_data, struct bytes bytes, struct sorex_error *err)
{
    (void)err;
    sha256_update(user_data, bytes);
    return SOREX_OK;
}

enum sorex_status image_hash(const struct snapshot *snapshot, uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    struct sha256 hash;
    TRY(sha256_init(&hash, err));
    sha256_start(&hash);
    enum sorex_status status = content_put(snapshot, hash_bytes, &hash, err);
    if (status == SOREX_OK)
        sha256_finish(&hash, out);
    sha256_deinit(&hash);
    return status;
}

static enum sorex_status collect_bytes(void *user_data, struct bytes bytes, struct sorex_error *err)
{
    return buf_append(user_data, bytes, err);
}

enum sorex_status image_write(const struct snapshot *snapshot, int level, struct buf *out, struct sorex_error *err)
{
    struct buf content = {0};
    uint8_t header[HEADER_BYTES] = MAGIC;
    size_t written = 0;
    enum sorex_status status = content_put(snapshot, collect_bytes, &content, err);
    if (status == SOREX_OK)
        status = buf_reserve(out, HEADER_BYTES + ZSTD_compressBound(content.len), err);
    if (status == SOREX_OK) {
        sha256_once(buf_view(&content), header + 8);
        u64le_put(header + 8 + SHA256_BYTES, content.len);
        memcpy(out->data + out->len, header, HEADER_BYTES);
        written = ZSTD_compress(out->data + out->len + HEADER_BYTES, out->cap - out->len - HEADER_BYTES, content.data,
                                content.len, level);
        if (ZSTD_isError(written))
            status = sorex_error_set(err, SOREX_NOMEM, "image: %s", ZSTD_getErrorName(written));
        else
            out->len += HEADER_BYTES + written;
    }
    buf_deinit(&content);
    return status;
}

/* -- reading */

static enum sorex_status broken(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_CORRUPT, "database image: it does not decode");
}

static enum sorex_status pages_take(struct linear_image *memory, struct reader *r, struct sorex_error *err)
{
    for (;;) {
        uint32_t page;
        struct bytes content;
        if (!reader_u32le(r, &page))
            return broken(err);
        if (page == 0)
            return SOREX_OK;
        if (!reader_take(r, LINEAR_PAGE_BYTES, &content))
            return broken(err);
        TRY(linear_image_put(memory, page - 1, content.data, err));
    }
}

static enum sorex_status content_take(struct snapshot *snapshot, struct reader *r, struct sorex_error *err)
{
    struct bytes module;
    if (!reader_take(r, SHA256_BYTES, &module))
        return broken(err);
    if (memcmp(module.data, postgres_module_hash(), SHA256_BYTES) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "database image: it was made by another PostgreSQL");
    TRY(snapshot_globals_decode(snapshot, r, err));
    TRY(snapshot_table_decode(snapshot, r, err));
    TRY(pages_take(snapshot->machine.memory, r, err));
    TRY(snapshot_process_decode(snapshot, r, err));
    TRY(tree_init(&snapshot->tree, 0, err));
    TRY(tree_decode(&snapshot->tree, r, err));
    TRY(snapshot_check(snapshot, err));
    return reader_left(r) == 0 ? SOREX_OK : broken(err);
}

static enum sorex_status content_unpack(struct bytes image, struct buf *out, struct sorex_error *err)
{
    uint8_t hash[SHA256_BYTES];
    if (image.len < HEADER_BYTES || memcmp(image.data, MAGIC, 8) != 0)
        return sorex_error_set(err, SOREX_CORRUPT, "database image: it does not begin with " MAGIC);
    uint64_t len = u64le_get(image.data + 8 + SHA256_BYTES);
    if (len > CONTENT_BYTES_MAX)
        return broken(err);
    buf_init(out, (size_t)CONTENT_BYTES_MAX);
    TRY(buf_reserve(out, (size_t)len, err));
    size_t got = ZSTD_decompress(out->data, (size_t)len, image.data + HEADER_BYTES, image.len - HEADER_BYTES);
    if (ZSTD_isError(got) || got != len)
        return broken(err);
    out->len = got;
    sha256_once(buf_view(out), hash);
    return memcmp(hash, image.data + 8, SHA256_BYTES) == 0
               ? SOREX_OK
               : sorex_error_set(err, SOREX_CORRUPT, "database image: its hash is wrong");
}

enum sorex_status image_read(struct postgres *postgres, struct bytes image, struct snapshot **out,
                             struct sorex_error *err)
{
    struct buf content = {0};
    struct snapshot *snapshot = snapshot_make(postgres);
    if (snapshot == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "database image: out of memory");
    enum sorex_status status = content_unpack(image, &content, err);
    if (status == SOREX_OK) {
        struct reader r = reader_of(buf_view(&content));
        status = content_take(snapshot, &r, err);
    }
    buf_deinit(&content);
    if (status != SOREX_OK) {
        snapshot_drop(snapshot);
        return status;
    }
    *out = snapshot;
    return SOREX_OK;
}
