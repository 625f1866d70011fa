/* libFuzzer: a block file of any content. Records lie in the file, behind each other, and can be read; a second scan of
 * the same file finds nothing new. The first byte: is the file obfuscated? */
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "source/blockfile.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

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

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    char path[64];
    int fd = memfd_create("blk", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, data + 1, size - 1) == (ssize_t)(size - 1));
    (void)snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    struct scanned scanned = {.path = path, .format.magic = {0xf9, 0xbe, 0xb4, 0xd9}, .size = size - 1};
    if ((data[0] & 1) != 0)
        memset(scanned.format.key, data[0], sizeof scanned.format.key);
    struct blockfile_scan scan = {0};
    if (blockfile_scan(path, &scanned.format, &scan, on_record, on_damage, &scanned, NULL) == SOREX_OK) {
        uint32_t records = scanned.records;
        CHECK(scan.size == size - 1 && scan.offset <= scan.size);
        CHECK(blockfile_scan(path, &scanned.format, &scan, on_record, on_damage, &scanned, NULL) == SOREX_OK);
        CHECK(scanned.records == records);
    }
    CHECK(close(fd) == 0);
    return 0;
}
