#include "bench/folder.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/harness.h"

void folder_make(char out[FOLDER_PATH_SIZE])
{
    /* Not /tmp: that may be memory, and writing to a disk is part of what is measured. */
    (void)snprintf(out, FOLDER_PATH_SIZE, "/var/tmp/sorex-bench-XXXXXX");
    if (mkdtemp(out) == NULL)
        bench_die("%s: a folder could not be made", out);
}

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)stat;
    (void)type;
    (void)ftw;
    return remove(path);
}

void folder_remove(const char *dir) { (void)nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS); }

static uint64_t disk_bytes; /* nftw takes no user data */

static int add_size(const char *path, const struct stat *stat, int type, struct FTW *ftw)
{
    (void)path;
    (void)ftw;
    if (type == FTW_F)
        disk_bytes += (uint64_t)stat->st_blocks * 512;
    return 0;
}

uint64_t folder_bytes(const char *dir)
{
    disk_bytes = 0;
    if (nftw(dir, add_size, 16, FTW_PHYS) != 0)
        bench_die("%s: its size could not be read", dir);
    return disk_bytes;
}
