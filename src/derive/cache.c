#include "derive/cache.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/limits.h"
#include "base/log.h"

#define ENDING ".snapshot"
#define UNFINISHED ENDING ".tmp" /* as file_replace names it */
#define ENTRIES_MAX 4096u
/* A snapshot's cost before one was made. */
#define PACE_COST_MS 200u
/* Deriving between two snapshots takes at least so many times as long as one. */
#define PACE_SHARE 10u

struct entry_file {
    uint8_t key[SHA256_BYTES];
    struct archive_head head;
    uint64_t bytes;
};

struct cache {
    char *dir;
    uint64_t bytes_max, bytes;
    struct entry_file *entries; /* by count */
    size_t count, cap;
};

static void path_of(const struct cache *cache, const uint8_t key[SHA256_BYTES], char out[PATH_MAX])
{
    char hex[HASH_HEX_SIZE];
    hash_hex(key, hex);
    (void)snprintf(out, PATH_MAX, "%s/%s" ENDING, cache->dir, hex);
}

/* ---- the list ---- */

static enum sorex_status insert(struct cache *cache, const struct entry_file *entry, struct sorex_error *err)
{
    if (cache->count == cache->cap) {
        size_t cap = cache->cap != 0 ? cache->cap * 2 : 64;
        struct entry_file *entries = realloc(cache->entries, cap * sizeof *entries);
        if (entries == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory for a list of snapshots");
        cache->entries = entries;
        cache->cap = cap;
    }
    size_t at = cache->count++;
    for (; at > 0 && cache->entries[at - 1].head.count > entry->head.count; at--)
        cache->entries[at] = cache->entries[at - 1];
    cache->entries[at] = *entry;
    cache->bytes += entry->bytes;
    return SOREX_OK;
}

static void forget(struct cache *cache, size_t at)
{
    cache->bytes -= cache->entries[at].bytes;
    cache->count--;
    memmove(&cache->entries[at], &cache->entries[at + 1], (cache->count - at) * sizeof cache->entries[0]);
}

static size_t find(const struct cache *cache, const uint8_t key[SHA256_BYTES])
{
    size_t at = 0;
    while (at < cache->count && memcmp(cache->entries[at].key, key, SHA256_BYTES) != 0)
        at++;
    return at;
}

/* "KEY.snapshot" with the head of one; others are no business of ours. */
static bool entry_read(int dir, const char *name, struct entry_file *out)
{
    struct buf key = {0};
    size_t len = strlen(name);
    bool good = len == HASH_HEX_SIZE - 1 + strlen(ENDING) && strcmp(name + HASH_HEX_SIZE - 1, ENDING) == 0 &&
                hex_decode(bytes_of(name, HASH_HEX_SIZE - 1), &key, NULL) == SOREX_OK && key.len == SHA256_BYTES;
    if (good)
        memcpy(out->key, key.data, SHA256_BYTES);
    buf_deinit(&key);
    int fd = good ? openat(dir, name, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return false;
    static _Thread_local uint8_t head[ARCHIVE_HEAD_BYTES];
    struct stat st;
    ssize_t n = read(fd, head, sizeof head);
    good = n > 0 && fstat(fd, &st) == 0 && archive_head_read(bytes_of(head, (size_t)n), &out->head);
    out->bytes = good ? (uint64_t)st.st_size : 0;
    (void)close(fd);
    return good;
}

static bool ends_with(const char *name, const char *ending)
{
    size_t len = strlen(name), end = strlen(ending);
    return len >= end && strcmp(name + len - end, ending) == 0;
}

static enum sorex_status list(struct cache *cache, bool tidy, struct sorex_error *err)
{
    DIR *dir = opendir(cache->dir);
    if (dir == NULL)
        return errno == ENOENT ? SOREX_OK : sorex_error_set_errno(err, SOREX_IO, errno, "%s", cache->dir);
    enum sorex_status status = SOREX_OK;
    const struct dirent *file;
    struct entry_file entry;
    while (status == SOREX_OK && cache->count < ENTRIES_MAX && (file = readdir(dir)) != NULL) {
        if (tidy && ends_with(file->d_name, UNFINISHED))
            (void)unlinkat(dirfd(dir), file->d_name, 0);
        else if (entry_read(dirfd(dir), file->d_name, &entry))
            status = insert(cache, &entry, err);
    }
    (void)closedir(dir);
    return status;
}

enum sorex_status cache_open(const char *dir, uint64_t bytes_max, bool tidy, struct cache **out,
                             struct sorex_error *err)
{
    struct cache *cache = calloc(1, sizeof *cache);
    if (cache != NULL)
        cache->dir = strdup(dir);
    if (cache == NULL || cache->dir == NULL) {
        free(cache);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a cache of snapshots");
    }
    cache->bytes_max = bytes_max;
    enum sorex_status status = list(cache, tidy, err);
    if (status != SOREX_OK) {
        cache_close(cache);
        return status;
    }
    *out = cache;
    return SOREX_OK;
}

void cache_close(struct cache *cache)
{
    if (cache == NULL)
        return;
    free(cache->entries);
    free(cache->dir);
    free(cache);
}

bool cache_has(const struct cache *cache, const uint8_t key[SHA256_BYTES]) { return find(cache, key) < cache->count; }

size_t cache_count(const struct cache *cache) { return cache->count; }

void cache_at(const struct cache *cache, size_t i, struct cached *out)
{
    out->head = cache->entries[i].head;
    memcpy(out->key, cache->entries[i].key, SHA256_BYTES);
}

uint64_t cache_bytes(const struct cache *cache) { return cache->bytes; }

/* ---- keeping ---- */

static void drop(struct cache *cache, size_t at)
{
    char path[PATH_MAX];
    path_of(cache, cache->entries[at].key, path);
    (void)unlink(path);
    forget(cache, at);
}

void cache_clear(struct cache *cache)
{
    while (cache->count > 0)
        drop(cache, cache->count - 1);
}

/* How much it is worth: the gap that it would leave, compared with its distance from the tip. */
static double worth(const struct cache *cache, size_t at, uint64_t tip)
{
    const struct entry_file *entries = cache->entries;
    uint64_t before = at > 0 ? entries[at - 1].head.count : 0;
    uint64_t count = entries[at].head.count;
    uint64_t after = at + 1 < cache->count ? entries[at + 1].head.count : count + 1;
    uint64_t distance = tip > count ? tip - count : 0;
    return (double)(after - before) / ((double)distance + 1);
}

static void shrink(struct cache *cache, const uint8_t newest[SHA256_BYTES], uint64_t tip)
{
    while (cache->bytes > cache->bytes_max && cache->count > 1) {
        size_t least = cache->count;
        for (size_t i = 0; i < cache->count; i++)
            if (memcmp(cache->entries[i].key, newest, SHA256_BYTES) != 0 &&
                (least == cache->count || worth(cache, i, tip) < worth(cache, least, tip)))
                least = i;
        drop(cache, least);
    }
}

enum sorex_status cache_put(struct cache *cache, const struct archive *archive, uint64_t tip, struct sorex_error *err)
{
    char path[PATH_MAX];
    struct buf file = {0};
    struct entry_file entry = {.head = {.count = archive->receipt.count}};
    memcpy(entry.key, archive->receipt.key, SHA256_BYTES);
    if (archive->place != NULL)
        memcpy(entry.head.place, archive->place, SHA256_BYTES);
    path_of(cache, entry.key, path);
    enum sorex_status status = file_mkdirs(cache->dir, err);
    if (status == SOREX_OK)
        status = archive_write(archive, &file, err);
    if (status == SOREX_OK)
        status = file_replace(path, buf_view(&file), err);
    entry.bytes = file.len;
    buf_deinit(&file);
    TRY(status);
    size_t had = find(cache, entry.key);
    if (had < cache->count)
        forget(cache, had);
    TRY(insert(cache, &entry, err));
    shrink(cache, entry.key, tip);
    return SOREX_OK;
}

enum sorex_status cache_get(struct cache *cache, const uint8_t key[SHA256_BYTES], struct buf *file, struct archive *out,
                            struct sorex_error *err)
{
    char path[PATH_MAX];
    struct sorex_error why = {0};
    size_t at = find(cache, key);
    if (at == cache->count)
        return sorex_error_set(err, SOREX_GONE, "there is no such snapshot");
    path_of(cache, key, path);
    enum sorex_status status = file_read(path, SOREX_BUF_BYTES_MAX, file, &why);
    if (status == SOREX_OK)
        status = archive_read(buf_view(file), out, &why);
    if (status == SOREX_OK && memcmp(out->receipt.key, key, SHA256_BYTES) != 0)
        status = sorex_error_set(&why, SOREX_CORRUPT, "the snapshot is that of another state");
    if (status == SOREX_OK)
        return SOREX_OK;
    if (status == SOREX_NOMEM)
        return sorex_error_set(err, status, "%s", why.text);
    log_line(LOG_WARN, "derive", "%s: %s; it is removed and derived again", path, why.text);
    drop(cache, at);
    return sorex_error_set(err, SOREX_GONE, "%s: %s", path, why.text);
}

/* ---- databases ---- */

enum sorex_status cache_put_database(struct cache *cache, struct derivation *derivation, struct database *database,
                                     const struct receipt *receipt, const uint8_t *place, struct sorex_error *err)
{
    struct buf image = {0};
    enum sorex_status status = database_export(database, &image, err);
    if (status == SOREX_OK) {
        struct archive archive = {.identity = derivation_identity(derivation),
                                  .place = place,
                                  .image = buf_view(&image),
                                  .receipt = *receipt};
        status = cache_put(cache, &archive, receipt->count, err);
    }
    buf_deinit(&image);
    return status;
}

enum sorex_status cache_get_database(struct cache *cache, struct derivation *derivation,
                                     const uint8_t key[SHA256_BYTES], struct database **out,
                                     struct receipt *out_receipt, struct sorex_error *err)
{
    struct buf file = {0};
    struct archive archive;
    enum sorex_status status = cache_get(cache, key, &file, &archive, err);
    if (status == SOREX_OK && !bytes_equal(archive.identity, derivation_identity(derivation)))
        status = sorex_error_set(err, SOREX_MISMATCH, "the snapshot is of another derivation");
    if (status == SOREX_OK)
        status = database_open_image(derivation_program(derivation), derivation_database_options(derivation),
                                     archive.image, out, err);
    if (status == SOREX_OK)
        *out_receipt = archive.receipt;
    buf_deinit(&file);
    TRY(status);
    status = derivation_continue(derivation, *out, err);
    if (status != SOREX_OK)
        database_close(*out);
    return status;
}

/* ---- pace ---- */

bool cache_pace_due(const struct cache_pace *pace, const struct derive_settings *settings, uint64_t count)
{
    uint64_t each = settings->snapshot_messages;
    uint64_t cost = pace->cost_ms != 0 ? pace->cost_ms : PACE_COST_MS;
    if (settings->cache_bytes == 0 || count == pace->count)
        return false;
    return each != 0 ? count % each == 0 : clock_ms() - pace->at_ms >= cost * PACE_SHARE;
}

void cache_pace_kept(struct cache_pace *pace, uint64_t began_ms, uint64_t count)
{
    uint64_t now_ms = clock_ms();
    *pace = (struct cache_pace){.at_ms = now_ms, .cost_ms = now_ms - began_ms + 1, .count = count};
}
