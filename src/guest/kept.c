/* Keys, within the program's own key space for pages:
 *
 *   "m"            u64le memory bytes, 32 bytes tag, 32 bytes SHA-256 of the module
 *   "s"            bitmap of the pages that have a key, bit (i & 7) of byte i >> 3
 *   "g"            the mutable globals, as the caller encodes them
 *   "p" u32be i    4096 bytes, page i
 *
 * A page gets a key when it is first not all zero, and keeps it. What has no key is zero: data segments are stored too
 * (once), so that the result does not depend on what a start section wrote into the fresh instance.
 *
 * The tag is a hash chain: SHA-256(tag before || u32le number of pages || changed pages, each behind its u32le index ||
 * globals). It names the content, so the host's own copy of the memory (the image) is used as long as the store says
 * the same tag; after an undo, a failed commit or a restart it does not, and the pages are read again.
 *
 * What another module left there is not restored: its layout means nothing to this one. Its pages stay until they are
 * written again; the new bitmap does not name them. */
#include "guest/kept.h"

#include <stdlib.h>

#include "base/check.h"

#define SIZE_RECORD_BYTES (8 + 2 * SHA256_BYTES)

static const uint8_t zero_page[KEPT_PAGE_BYTES];

void kept_init(struct kept *kept, const uint8_t module_hash[SHA256_BYTES])
{
    *kept = (struct kept){.valid = false};
    memcpy(kept->module_hash, module_hash, SHA256_BYTES);
}

void kept_deinit(struct kept *kept)
{
    free(kept->image);
    buf_deinit(&kept->stored);
    buf_deinit(&kept->globals);
    *kept = (struct kept){.valid = false};
}

static bool is_stored(const struct kept *kept, size_t page)
{
    return page / 8 < kept->stored.len && (kept->stored.data[page / 8] >> (page % 8) & 1) != 0;
}

static enum sorex_status mark_stored(struct kept *kept, size_t page, struct sorex_error *err)
{
    while (kept->stored.len <= page / 8)
        TRY(buf_append_u8(&kept->stored, 0, err));
    kept->stored.data[page / 8] = (uint8_t)(kept->stored.data[page / 8] | 1U << (page % 8));
    return SOREX_OK;
}

/* The image never shrinks within one branch; new pages are zero. */
static enum sorex_status image_resize(struct kept *kept, size_t len, struct sorex_error *err)
{
    if (len > kept->image_cap) {
        uint8_t *image = realloc(kept->image, len);
        if (image == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory for a kept memory of %zu bytes", len);
        kept->image = image;
        kept->image_cap = len;
    }
    if (len > kept->image_len)
        memset(kept->image + kept->image_len, 0, len - kept->image_len);
    kept->image_len = len;
    return SOREX_OK;
}

static struct bytes page_key(uint8_t key[5], size_t page)
{
    key[0] = 'p';
    u32be_put(key + 1, (uint32_t)page);
    return bytes_of(key, 5);
}

static enum sorex_status record_get(const struct state_reader *pages, struct bytes key, struct bytes *out,
                                    struct sorex_error *err)
{
    bool found = false;
    TRY(pages->get(pages->user_data, key, out, &found, err));
    if (!found)
        return sorex_error_set(err, SOREX_CORRUPT, "kept memory: record %c is missing", key.data[0]);
    return SOREX_OK;
}

static enum sorex_status pages_read(struct kept *kept, const struct state_reader *pages, struct sorex_error *err)
{
    for (size_t page = 0; page < kept->stored.len * 8; page++) {
        if (!is_stored(kept, page))
            continue;
        uint8_t key[5];
        struct bytes content;
        TRY(record_get(pages, page_key(key, page), &content, err));
        if (content.len != KEPT_PAGE_BYTES || page >= kept->image_len / KEPT_PAGE_BYTES)
            return sorex_error_set(err, SOREX_CORRUPT, "kept memory: page %zu does not decode", page);
        memcpy(kept->image + page * KEPT_PAGE_BYTES, content.data, KEPT_PAGE_BYTES);
    }
    return SOREX_OK;
}

static void kept_forget(struct kept *kept)
{
    kept->valid = false;
    kept->empty = true;
    kept->image_len = 0;
    memset(kept->tag, 0, sizeof kept->tag);
    buf_reset(&kept->stored);
    buf_reset(&kept->globals);
}

enum sorex_status kept_load(struct kept *kept, const struct state_reader *pages, struct sorex_error *err)
{
    struct bytes record = {0};
    bool found = false;
    TRY(pages->get(pages->user_data, bytes_str("m"), &record, &found, err));
    if (found && (record.len != SIZE_RECORD_BYTES || u64le_get(record.data) % KEPT_PAGE_BYTES != 0 ||
                  u64le_get(record.data) > (uint64_t)1 << 32))
        return sorex_error_set(err, SOREX_CORRUPT, "kept memory: the size record of %zu bytes does not decode",
                               record.len);
    if (!found || memcmp(kept->module_hash, record.data + 8 + SHA256_BYTES, SHA256_BYTES) != 0) {
        kept_forget(kept);
        kept->valid = true;
        return SOREX_OK;
    }
    if (kept->valid && !kept->empty && memcmp(kept->tag, record.data + 8, SHA256_BYTES) == 0)
        return SOREX_OK;

    kept_forget(kept);
    memcpy(kept->tag, record.data + 8, SHA256_BYTES);
    TRY(image_resize(kept, (size_t)u64le_get(record.data), err));
    TRY(record_get(pages, bytes_str("g"), &record, err));
    TRY(buf_append(&kept->globals, record, err));
    TRY(record_get(pages, bytes_str("s"), &record, err));
    TRY(buf_append(&kept->stored, record, err));
    TRY(pages_read(kept, pages, err));
    kept->empty = false;
    kept->valid = true;
    return SOREX_OK;
}

void kept_restore(const struct kept *kept, struct guest_memory memory)
{
    CHECK(kept->valid);
    if (kept->empty)
        return;
    CHECK(memory.len >= kept->image_len);
    for (size_t at = 0; at < memory.len; at += KEPT_PAGE_BYTES) {
        const uint8_t *page = at < kept->image_len ? kept->image + at : zero_page;
        if (memcmp(memory.data + at, page, KEPT_PAGE_BYTES) != 0)
            memcpy(memory.data + at, page, KEPT_PAGE_BYTES);
    }
}

static enum sorex_status pages_write(struct kept *kept, struct guest_memory memory, const struct state_writer *pages,
                                     struct sha256 *hash, size_t *out_changed, struct sorex_error *err)
{
    for (size_t page = 0; page < memory.len / KEPT_PAGE_BYTES; page++) {
        const uint8_t *now = memory.data + page * KEPT_PAGE_BYTES;
        uint8_t *before = kept->image + page * KEPT_PAGE_BYTES;
        if (memcmp(before, now, KEPT_PAGE_BYTES) == 0)
            continue;
        memcpy(before, now, KEPT_PAGE_BYTES);
        struct bytes content = bytes_of(before, KEPT_PAGE_BYTES);
        uint8_t key[5];
        TRY(pages->put(pages->user_data, page_key(key, page), content, err));
        TRY(mark_stored(kept, page, err));
        sha256_update_u32le(hash, (uint32_t)page);
        sha256_update(hash, content);
        (*out_changed)++;
    }
    return SOREX_OK;
}

static enum sorex_status size_write(struct kept *kept, const struct state_writer *pages, struct sha256 *hash,
                                    struct sorex_error *err)
{
    uint8_t record[SIZE_RECORD_BYTES];
    sha256_update(hash, buf_view(&kept->globals));
    sha256_finish(hash, kept->tag);
    u64le_put(record, kept->image_len);
    memcpy(record + 8, kept->tag, SHA256_BYTES);
    memcpy(record + 8 + SHA256_BYTES, kept->module_hash, SHA256_BYTES);
    return pages->put(pages->user_data, bytes_str("m"), bytes_of(record, sizeof record), err);
}

static enum sorex_status save(struct kept *kept, struct guest_memory memory, struct bytes globals,
                              const struct state_writer *pages, struct sha256 *hash, struct sorex_error *err)
{
    bool first = kept->empty;
    bool resized = memory.len != kept->image_len;
    size_t stored_len = kept->stored.len;
    size_t changed = 0;
    TRY(image_resize(kept, memory.len, err));
    sha256_update(hash, bytes_of(kept->tag, SHA256_BYTES));
    sha256_update_u32le(hash, (uint32_t)(memory.len / KEPT_PAGE_BYTES));

    /* The bitmap is small beside the pages: compared as a whole, so that marking a page stays simple. */
    struct buf stored_before = {0};
    enum sorex_status status = buf_append(&stored_before, buf_view(&kept->stored), err);
    if (status == SOREX_OK)
        status = pages_write(kept, memory, pages, hash, &changed, err);
    bool marked =
        first || stored_len != kept->stored.len || !bytes_equal(buf_view(&stored_before), buf_view(&kept->stored));
    buf_deinit(&stored_before);
    TRY(status);

    bool moved = first || !bytes_equal(buf_view(&kept->globals), globals);
    if (marked)
        TRY(pages->put(pages->user_data, bytes_str("s"), buf_view(&kept->stored), err));
    if (moved) {
        buf_reset(&kept->globals);
        TRY(buf_append(&kept->globals, globals, err));
        TRY(pages->put(pages->user_data, bytes_str("g"), globals, err));
    }
    if (moved || marked || resized || changed > 0)
        TRY(size_write(kept, pages, hash, err));
    kept->empty = false;
    return SOREX_OK;
}

enum sorex_status kept_save(struct kept *kept, struct guest_memory memory, struct bytes globals,
                            const struct state_writer *pages, struct sorex_error *err)
{
    CHECK(kept->valid && memory.len >= kept->image_len && memory.len % KEPT_PAGE_BYTES == 0);
    struct sha256 hash;
    TRY(sha256_init(&hash, err));
    sha256_start(&hash);
    kept->valid = false;
    enum sorex_status status = save(kept, memory, globals, pages, &hash, err);
    kept->valid = status == SOREX_OK;
    sha256_deinit(&hash);
    return status;
}
