/* libFuzzer: a block file of any content. Records lie in the file, behind each other, and can be read; a second scan of
 * the same file finds nothing new. The first byte: bit 0: the file is obfuscated; bit 1: the rest is not the file but
 * says what it is made of, pieces of a kind, a length and as many bytes (the kinds are below), so that headers prove
 * their work. When all pieces are whole records, all are found. */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/sha256.h"
#include "source/blockfile.h"
#include "source/work.h"

#define BITS_AT 72
#define NONCE_AT 76
#define EASY_BITS 0x207fffffu /* every other nonce will do */

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const uint8_t magic[4] = {0xf9, 0xbe, 0xb4, 0xd9};

/* ---- what the file is made of ---- */

enum piece { PIECE_RECORD, PIECE_RAW, PIECE_ZEROS, PIECE_TORN, PIECES };

static void put(struct buf *out, struct bytes bytes) { CHECK(buf_append(out, bytes, NULL) == SOREX_OK); }

/* A record whose block is a header and this rest, of at least one byte. */
static void put_record(struct buf *out, struct bytes rest, uint32_t missing)
{
    uint8_t header[BLOCKFILE_HEADER_BYTES] = {0}, hash[HASH_BYTES];
    memcpy(header, rest.data, rest.len < BITS_AT ? rest.len : BITS_AT);
    u32le_put(header + BITS_AT, EASY_BITS);
    for (uint32_t nonce = 0;; nonce++) {
        u32le_put(header + NONCE_AT, nonce);
        sha256_double(bytes_of(header, sizeof header), hash);
        if (work_proven(hash, EASY_BITS))
            break;
    }
    put(out, bytes_of(magic, sizeof magic));
    CHECK(buf_append_u32le(out, (uint32_t)(sizeof header + rest.len) + missing, NULL) == SOREX_OK);
    put(out, bytes_of(header, sizeof header));
    put(out, rest);
}

/* *out_records: how many there are, when there is nothing else. */
static bool pieces_put(struct buf *out, struct reader *input, uint32_t *out_records)
{
    static const uint8_t zeros[256];
    bool whole = true;
    uint8_t kind, len;
    struct bytes bytes;
    *out_records = 0;
    while (reader_u8(input, &kind) && reader_u8(input, &len) && reader_take(input, len, &bytes)) {
        kind %= PIECES;
        if (kind == PIECE_RAW)
            put(out, bytes);
        else if (kind == PIECE_ZEROS)
            put(out, bytes_of(zeros, len));
        else if (len > 0)
            put_record(out, bytes, kind == PIECE_TORN ? len : 0);
        whole = whole && (kind == PIECE_RECORD || len == 0);
        *out_records += kind == PIECE_RECORD && len > 0;
    }
    return whole;
}

/* ---- scanning ---- */

struct scanned {
    const char *path;
    struct blockfile_format format;
    uint64_t end, size;
    uint32_t records;
};

static enum sorex_status on_record(void *user_data, const uint8_t header[BLOCKFILE_HEADER_BYTES], uint64_t offset,
                                   uint32_t len, struct sorex_error *err)
{
    struct scanned *scanned = user_data;
    struct buf block = {0};
    CHECK(offset >= scanned->end && len >= BLOCKFILE_HEADER_BYTES && offset + len <= scanned->size);
    CHECK(blockfile_read(scanned->path, &scanned->format, offset, len, &block, err) == SOREX_OK);
    CHECK(block.len == len && memcmp(block.data, header, BLOCKFILE_HEADER_BYTES) == 0);
    buf_deinit(&block);
    scanned->end = offset + len;
    scanned->records++;
    return SOREX_OK;
}

static void on_damage(void *user_data, uint64_t offset, uint64_t len)
{
    const struct scanned *scanned = user_data;
    CHECK(len > 0 && offset + len <= scanned->size);
}

static uint32_t scan_twice(struct scanned *scanned)
{
    struct blockfile_scan scan = {0};
    CHECK(blockfile_scan(scanned->path, &scanned->format, &scan, on_record, on_damage, scanned, NULL) == SOREX_OK);
    uint32_t records = scanned->records;
    CHECK(scan.size == scanned->size && scan.offset <= scan.size && scan.offset >= scanned->end);
    CHECK(blockfile_scan(scanned->path, &scanned->format, &scan, on_record, on_damage, scanned, NULL) == SOREX_OK);
    CHECK(scanned->records == records);
    return records;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    char path[64];
    struct buf content = {0};
    struct reader input = reader_of(bytes_of(data + 1, size - 1));
    uint32_t planted = 0;
    bool made = (data[0] & 2) != 0;
    bool whole = made && pieces_put(&content, &input, &planted);
    if (!made)
        put(&content, bytes_of(data + 1, size - 1));
    struct scanned scanned = {.path = path, .size = content.len};
    memcpy(scanned.format.magic, magic, sizeof magic);
    if ((data[0] & 1) != 0)
        memset(scanned.format.key, data[0], sizeof scanned.format.key);
    for (size_t i = 0; made && i < content.len; i++)
        content.data[i] ^= scanned.format.key[i % BLOCKFILE_KEY_BYTES];
    int fd = memfd_create("blk", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, content.data, content.len) == (ssize_t)content.len);
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    uint32_t records = scan_twice(&scanned);
    CHECK(!whole || records == planted);
    CHECK(close(fd) == 0);
    buf_deinit(&content);
    return 0;
}
