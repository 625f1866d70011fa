/* blkNNNNN.dat is a run of records, in the order in which blocks arrived:
 *
 *   magic 4 bytes (says which network), length u32 little-endian, raw block of that length
 *
 * Since Bitcoin Core 28 every byte is XORed with an 8-byte key from xor.dat, by its offset modulo 8. Core allocates a
 * file in steps of 16 MiB: bytes not yet written are zero as they lie in the file (not XORed). The last record may be
 * torn, by a crash or because Core is just writing it.
 *
 * A record counts when its magic and length are plausible and its header proves the work it claims; so a flipped bit in
 * a header is seen here. What is no record is skipped when a later one counts, as Core does when it reindexes (a crash
 * of Core leaves such places behind), and reported; when none follows, it is taken as "not yet written". */
#include "source/blockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/sha256.h"
#include "source/work.h"

#define RECORD_BYTES 8                                     /* magic and length */
#define HEAD_BYTES (RECORD_BYTES + BLOCKFILE_HEADER_BYTES) /* what is read of every record */
#define BLOCK_BYTES_MIN (BLOCKFILE_HEADER_BYTES + 1)
#define WINDOW_BYTES 4096 /* early blocks: several in one read; late ones: no more than a page each */
#define HEADER_BITS 72

static const struct {
    const char *name;
    uint8_t magic[4];
} networks[] = {
    {"main", {0xf9, 0xbe, 0xb4, 0xd9}},     {"testnet3", {0x0b, 0x11, 0x09, 0x07}},
    {"testnet4", {0x1c, 0x16, 0x3f, 0x28}}, {"regtest", {0xfa, 0xbf, 0xb5, 0xda}},
    {"signet", {0x0a, 0x03, 0xcf, 0x40}},
};

const char *blockfile_network_name(const uint8_t magic[4])
{
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        if (memcmp(networks[i].magic, magic, 4) == 0)
            return networks[i].name;
    }
    return NULL;
}

bool blockfile_network_magic(const char *name, uint8_t out[4])
{
    for (size_t i = 0; i < sizeof networks / sizeof *networks; i++) {
        if (strcmp(networks[i].name, name) == 0) {
            memcpy(out, networks[i].magic, 4);
            return true;
        }
    }
    return false;
}

enum sorex_status blockfile_key_read(const char *path, uint8_t out[BLOCKFILE_KEY_BYTES], struct sorex_error *err)
{
    struct buf content = {0};
    memset(out, 0, BLOCKFILE_KEY_BYTES);
    if (access(path, F_OK) != 0 && errno == ENOENT)
        return SOREX_OK;
    enum sorex_status status = file_read(path, 64, &content, err);
    if (status == SOREX_OK && content.len != BLOCKFILE_KEY_BYTES)
        status = sorex_error_set(err, SOREX_CORRUPT, "%s has %zu bytes instead of %d", path, content.len,
                                 BLOCKFILE_KEY_BYTES);
    if (status == SOREX_OK)
        memcpy(out, content.data, BLOCKFILE_KEY_BYTES);
    buf_deinit(&content);
    return status;
}

/* A file and the part of it that was read last, as it lies there (XORed). */
struct window {
    const char *path;
    int fd;
    uint64_t size; /* of the file */
    uint64_t at;
    size_t len;
    uint8_t data[WINDOW_BYTES];
};

static enum sorex_status window_open(struct window *window, const char *path, struct sorex_error *err)
{
    struct stat info;
    window->path = path;
    window->at = 0;
    window->len = 0;
    window->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (window->fd < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "open %s", path);
    if (fstat(window->fd, &info) != 0) {
        int native = errno;
        close(window->fd);
        return sorex_error_set_errno(err, SOREX_IO, native, "stat %s", path);
    }
    window->size = (uint64_t)info.st_size;
    return SOREX_OK;
}

static enum sorex_status read_fully(int fd, const char *path, uint8_t *out, size_t len, uint64_t offset,
                                    size_t *out_len, struct sorex_error *err)
{
    *out_len = 0;
    while (*out_len < len) {
        ssize_t n = pread(fd, out + *out_len, len - *out_len, (off_t)(offset + *out_len));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sorex_error_set_errno(err, SOREX_IO, errno, "read %s at byte %llu", path,
                                         (unsigned long long)offset);
        if (n == 0)
            break;
        *out_len += (size_t)n;
    }
    return SOREX_OK;
}

/* A view of up to WINDOW_BYTES at offset, at least `wanted` of them unless the file ends. Valid until the next call. */
static enum sorex_status window_view(struct window *window, uint64_t offset, size_t wanted, struct bytes *out,
                                     struct sorex_error *err)
{
    CHECK(wanted <= WINDOW_BYTES);
    bool inside = offset >= window->at && offset + wanted <= window->at + window->len;
    if (!inside) {
        TRY(read_fully(window->fd, window->path, window->data, WINDOW_BYTES, offset, &window->len, err));
        window->at = offset;
    }
    size_t skip = (size_t)(offset - window->at);
    *out = bytes_of(window->data + skip, window->len - skip);
    return SOREX_OK;
}

static void copy_plain(const struct blockfile_format *format, uint64_t offset, const uint8_t *from, uint8_t *to,
                       size_t len)
{
    for (size_t i = 0; i < len; i++)
        to[i] = from[i] ^ format->key[(offset + i) % BLOCKFILE_KEY_BYTES];
}

static bool all_zero(const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (data[i] != 0)
            return false;
    }
    return true;
}

enum head { HEAD_GOOD, HEAD_END, HEAD_BAD };

/* What lies at offset: a record that counts, nothing (the end or allocated space), or something else. */
static enum sorex_status look(struct window *window, const struct blockfile_format *format, uint64_t offset,
                              enum head *out, uint8_t head[HEAD_BYTES], struct sorex_error *err)
{
    struct bytes raw;
    TRY(window_view(window, offset, HEAD_BYTES, &raw, err));
    *out = HEAD_BAD;
    if (raw.len == 0 || all_zero(raw.data, raw.len < RECORD_BYTES ? raw.len : RECORD_BYTES))
        *out = HEAD_END;
    if (raw.len < HEAD_BYTES)
        return SOREX_OK;
    copy_plain(format, offset, raw.data, head, HEAD_BYTES);
    if (*out == HEAD_END || memcmp(head, format->magic, 4) != 0)
        return SOREX_OK;
    uint32_t len = u32le_get(head + 4);
    if (len < BLOCK_BYTES_MIN || len > SOREX_ENTRY_BYTES_MAX || offset + RECORD_BYTES + len > window->size)
        return SOREX_OK;
    uint8_t hash[HASH_BYTES];
    sha256_double(bytes_of(head + RECORD_BYTES, BLOCKFILE_HEADER_BYTES), hash);
    if (work_proven(hash, u32le_get(head + RECORD_BYTES + HEADER_BITS)))
        *out = HEAD_GOOD;
    return SOREX_OK;
}

/* The next record that counts after `from`; *out_found false when there is none. */
static enum sorex_status resync(struct window *window, const struct blockfile_format *format, uint64_t from,
                                uint64_t *out, bool *out_found, struct sorex_error *err)
{
    *out_found = false;
    for (uint64_t offset = from; offset + HEAD_BYTES <= window->size; offset++) {
        struct bytes raw;
        TRY(window_view(window, offset, HEAD_BYTES, &raw, err));
        size_t i = 0;
        while (i + 4 <= raw.len && (raw.data[i] ^ format->key[(offset + i) % BLOCKFILE_KEY_BYTES]) != format->magic[0])
            i++;
        offset += i;
        if (i + 4 > raw.len) {
            offset--;
            if (raw.len < HEAD_BYTES)
                break;
            continue;
        }
        enum head kind;
        uint8_t head[HEAD_BYTES];
        TRY(look(window, format, offset, &kind, head, err));
        if (kind == HEAD_GOOD) {
            *out = offset;
            *out_found = true;
            return SOREX_OK;
        }
    }
    return SOREX_OK;
}

static enum sorex_status scan_records(struct window *window, const struct blockfile_format *format,
                                      struct blockfile_scan *scan, blockfile_record_fn *record,
                                      blockfile_damage_fn *damage, void *user_data, struct sorex_error *err)
{
    uint8_t head[HEAD_BYTES];
    for (;;) {
        enum head kind;
        TRY(look(window, format, scan->offset, &kind, head, err));
        scan->torn = kind == HEAD_BAD;
        if (kind == HEAD_END)
            return SOREX_OK;
        if (kind == HEAD_BAD) {
            uint64_t next = 0;
            bool found = false;
            if (scan->searched != window->size)
                TRY(resync(window, format, scan->offset + 1, &next, &found, err));
            scan->searched = window->size;
            if (!found)
                return SOREX_OK;
            scan->searched = 0;
            damage(user_data, scan->offset, next - scan->offset);
            scan->offset = next;
            continue;
        }
        uint32_t len = u32le_get(head + 4);
        TRY(record(user_data, head + RECORD_BYTES, scan->offset + RECORD_BYTES, len, err));
        scan->offset += RECORD_BYTES + len;
    }
}

enum sorex_status blockfile_scan(const char *path, const struct blockfile_format *format, struct blockfile_scan *scan,
                                 blockfile_record_fn *record, blockfile_damage_fn *damage, void *user_data,
                                 struct sorex_error *err)
{
    struct window window;
    TRY(window_open(&window, path, err));
    scan->size = window.size;
    enum sorex_status status = scan_records(&window, format, scan, record, damage, user_data, err);
    close(window.fd);
    return status;
}

enum sorex_status blockfile_magic_read(const char *path, const uint8_t key[BLOCKFILE_KEY_BYTES], uint8_t out[4],
                                       struct sorex_error *err)
{
    struct window window;
    struct bytes raw;
    struct blockfile_format format = {0};
    memcpy(format.key, key, BLOCKFILE_KEY_BYTES);
    TRY(window_open(&window, path, err));
    enum sorex_status status = window_view(&window, 0, RECORD_BYTES, &raw, err);
    if (status == SOREX_OK && (raw.len < RECORD_BYTES || all_zero(raw.data, RECORD_BYTES)))
        status = sorex_error_set(err, SOREX_GONE, "%s is empty", path);
    if (status == SOREX_OK)
        copy_plain(&format, 0, raw.data, out, 4);
    close(window.fd);
    return status;
}

enum sorex_status blockfile_read(const char *path, const struct blockfile_format *format, uint64_t offset, uint32_t len,
                                 struct buf *out, struct sorex_error *err)
{
    TRY(buf_reserve(out, len, err));
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "open %s", path);
    size_t got;
    uint8_t *to = out->data + out->len;
    enum sorex_status status = read_fully(fd, path, to, len, offset, &got, err);
    close(fd);
    if (status != SOREX_OK)
        return status;
    if (got < len)
        return sorex_error_set(err, SOREX_CORRUPT, "%s ends inside the block at byte %llu", path,
                               (unsigned long long)offset);
    if (!all_zero(format->key, BLOCKFILE_KEY_BYTES))
        copy_plain(format, offset, to, to, len);
    out->len += len;
    return SOREX_OK;
}
