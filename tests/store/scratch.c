#include "store/scratch.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/codec.h"
#include "base/sha256.h"

void scratch_make(char out[SCRATCH_PATH_MAX])
{
    snprintf(out, SCRATCH_PATH_MAX, "store-test-XXXXXX");
    assert_non_null(mkdtemp(out));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

void scratch_remove(const char *path) { assert_int_equal(nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS), 0); }

static void branch_hash(uint32_t height, uint32_t branch, uint8_t out[HASH_BYTES])
{
    uint8_t bytes[8];
    u32le_put(bytes, height);
    u32le_put(bytes + 4, branch);
    sha256_once(bytes_of(bytes, sizeof bytes), out);
}

struct entry entry_make(uint32_t height, uint32_t branch, uint32_t parent_branch)
{
    struct entry entry = {.height = height, .time_ms = (uint64_t)height * 1000 + branch};
    branch_hash(height, branch, entry.hash);
    if (height != 0)
        branch_hash(height - 1, parent_branch, entry.parent);
    return entry;
}
