/* Source "blockfiles": Bitcoin Core's blk*.dat, as the node wrote them or is writing them now.
 *
 * The first look reads the header of every block (see blockfile.c) and links them (see tree.c); later looks go on where
 * the last one ended. Only the newest files can grow, so only those are looked at again, and the directory is listed
 * again when it changed. Which of two valid branches Core itself follows is not in these files: the one with the most
 * work is taken, the first one in the files among equals; a block that Core rejected is known only by having no
 * descendants. */
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/codec.h"
#include "base/log.h"
#include "base/sha256.h"
#include "source/blockfile.h"
#include "source/tree.h"
#include "source/types.h"

#define GROWING_FILES 3 /* Core keeps one or two files open; one more for luck */
#define WAIT_STEP_MS 50
#define PATH_BYTES 4096

struct blockfiles_settings {
    char *path;
    int network;
};

enum { NETWORK_ANY };
static const char *const network_choices[] = {"any", "main", "testnet3", "testnet4", "regtest", "signet", NULL};

static const struct option blockfiles_options[] = {
    {"path", OPTION_PATH, offsetof(struct blockfiles_settings, path), NULL, true, 0, 0, NULL,
     "directory with blk*.dat files (and xor.dat if Bitcoin Core wrote one), or one such file"},
    {"network", OPTION_ENUM, offsetof(struct blockfiles_settings, network), "any", false, 0, 0, network_choices,
     "refuse files of another network"},
    {NULL, OPTION_BOOL, 0, NULL, false, 0, 0, NULL, NULL},
};

struct file {
    char *path;
    uint32_t number; /* of its name */
    struct blockfile_scan scan;
};

struct blockfiles {
    struct source source;
    char *path;
    int network;
    bool directory;
    pthread_mutex_t lock; /* of everything below; paths and the format do not change once set */
    struct blockfile_format format;
    bool format_known;
    struct file *files; /* never reordered: places name them by index */
    uint32_t file_count;
    struct timespec listed; /* the directory's time when it was last listed */
    struct tree *tree;
    struct file *scanning;
    uint32_t bits; /* of the last header, and its work: they rarely change */
    struct work bits_work;
    char damage[512]; /* the first place that was skipped, or "" */
};

static struct blockfiles *of(struct source *source) { return (struct blockfiles *)source; }

static bool file_number(const char *name, uint32_t *out)
{
    char tail[8] = "";
    int end = 0;
    return sscanf(name, "blk%9u.%7s%n", out, tail, &end) == 2 && strcmp(tail, "dat") == 0 && name[end] == '\0';
}

static int file_compare(const void *a, const void *b)
{
    uint32_t left = ((const struct file *)a)->number;
    uint32_t right = ((const struct file *)b)->number;
    return left < right ? -1 : left > right;
}

static bool file_known(const struct blockfiles *self, uint32_t number)
{
    for (uint32_t i = self->file_count; i-- > 0;) {
        if (self->files[i].number == number)
            return true;
    }
    return false;
}

static enum sorex_status add_file(struct blockfiles *self, const char *path, uint32_t number, struct sorex_error *err)
{
    char *copy = strdup(path);
    struct file *files = realloc(self->files, (self->file_count + 1) * sizeof *files);
    if (files != NULL)
        self->files = files;
    if (files == NULL || copy == NULL) {
        free(copy);
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for the list of block files");
    }
    self->files[self->file_count++] = (struct file){.path = copy, .number = number};
    return SOREX_OK;
}

static enum sorex_status read_directory(struct blockfiles *self, struct sorex_error *err)
{
    DIR *dir = opendir(self->path);
    if (dir == NULL)
        return sorex_error_set_errno(err, SOREX_INVALID, errno, "open block directory %s", self->path);
    uint32_t before = self->file_count;
    enum sorex_status status = SOREX_OK;
    for (struct dirent *item; status == SOREX_OK && (item = readdir(dir)) != NULL;) {
        char path[PATH_BYTES];
        uint32_t number;
        if (!file_number(item->d_name, &number) || (before != 0 && file_known(self, number)))
            continue;
        if (snprintf(path, sizeof path, "%s/%s", self->path, item->d_name) < (int)sizeof path)
            status = add_file(self, path, number, err);
    }
    closedir(dir);
    if (self->file_count > before)
        qsort(self->files + before, self->file_count - before, sizeof *self->files, file_compare);
    return status;
}

/* Finds files that are new since the last time. */
static enum sorex_status list_files(struct blockfiles *self, struct sorex_error *err)
{
    struct stat info;
    if (!self->directory)
        return self->file_count == 0 ? add_file(self, self->path, 0, err) : SOREX_OK;
    if (stat(self->path, &info) != 0)
        return sorex_error_set_errno(err, SOREX_INVALID, errno, "block directory %s", self->path);
    struct timespec now;
    bool same = info.st_mtim.tv_sec == self->listed.tv_sec && info.st_mtim.tv_nsec == self->listed.tv_nsec;
    clock_gettime(CLOCK_REALTIME_COARSE, &now);
    /* A directory that changed within the clock's tick may change again without showing it. */
    bool fresh = now.tv_sec - info.st_mtim.tv_sec <= 1;
    if (same && !fresh)
        return SOREX_OK;
    TRY(read_directory(self, err));
    self->listed = info.st_mtim;
    return SOREX_OK;
}

static enum sorex_status read_key(struct blockfiles *self, struct sorex_error *err)
{
    char path[PATH_BYTES];
    const char *slash = strrchr(self->path, '/');
    int dir_len = self->directory ? (int)strlen(self->path) : slash == NULL ? 1 : (int)(slash - self->path);
    const char *dir = self->directory || slash != NULL ? self->path : ".";
    if (snprintf(path, sizeof path, "%.*s/xor.dat", dir_len, dir) >= (int)sizeof path)
        return sorex_error_set(err, SOREX_INVALID, "path %s is too long", self->path);
    return blockfile_key_read(path, self->format.key, err);
}

/* Learns key and magic from the first record. */
static enum sorex_status learn_format(struct blockfiles *self, struct sorex_error *err)
{
    if (self->format_known)
        return SOREX_OK;
    if (self->file_count == 0)
        return sorex_error_set(err, SOREX_GONE, "no blk*.dat in %s yet", self->path);
    const char *first = self->files[0].path;
    TRY(read_key(self, err));
    TRY(blockfile_magic_read(first, self->format.key, self->format.magic, err));
    const char *network = blockfile_network_name(self->format.magic);
    if (network == NULL)
        return sorex_error_set(err, SOREX_CORRUPT,
                               "%s does not begin with the magic of a known Bitcoin network (is its xor.dat missing?)",
                               first);
    if (self->network != NETWORK_ANY && strcmp(network, network_choices[self->network]) != 0)
        return sorex_error_set(err, SOREX_MISMATCH, "%s is of network %s, but the settings say %s", first, network,
                               network_choices[self->network]);
    self->format_known = true;
    return SOREX_OK;
}

static enum sorex_status on_record(void *user_data, const uint8_t header[BLOCKFILE_HEADER_BYTES], uint64_t offset,
                                   uint32_t len, struct sorex_error *err)
{
    struct blockfiles *self = user_data;
    uint8_t hash[HASH_BYTES];
    struct tree_place place = {offset, (uint32_t)(self->scanning - self->files), len};
    uint32_t bits = u32le_get(header + 72);
    if (bits != self->bits) {
        self->bits = bits;
        self->bits_work = work_of_bits(bits);
    }
    sha256_double(bytes_of(header, BLOCKFILE_HEADER_BYTES), hash);
    return tree_add(self->tree, hash, header + 4, self->bits_work, place, err);
}

static void on_damage(void *user_data, uint64_t offset, uint64_t len)
{
    struct blockfiles *self = user_data;
    char text[sizeof self->damage];
    snprintf(text, sizeof text, "%s: %llu bytes at offset %llu are no block", self->scanning->path,
             (unsigned long long)len, (unsigned long long)offset);
    log_line(LOG_WARN, "source blockfiles", "%s; skipped", text);
    if (self->damage[0] == '\0')
        memcpy(self->damage, text, sizeof text);
}

static enum sorex_status scan_file(struct blockfiles *self, uint32_t index, struct sorex_error *err)
{
    self->scanning = &self->files[index];
    return blockfile_scan(self->scanning->path, &self->format, &self->scanning->scan, on_record, on_damage, self, err);
}

/* Takes in what was written since the last time. The lock is held. */
static enum sorex_status look(struct blockfiles *self, struct sorex_error *err)
{
    uint32_t before = self->file_count;
    uint32_t blocks = tree_count(self->tree);
    TRY(list_files(self, err));
    TRY(learn_format(self, err));
    uint32_t first = before > GROWING_FILES ? before - GROWING_FILES : 0;
    for (uint32_t i = first; i < self->file_count; i++)
        TRY(scan_file(self, i, err));
    return tree_count(self->tree) == blocks ? SOREX_OK : tree_settle(self->tree, err);
}

/* Says what is wrong with what was read, if it keeps us from the chain. */
static enum sorex_status complain(struct blockfiles *self, struct sorex_error *err)
{
    uint8_t missing[HASH_BYTES];
    char text[HASH_HEX_SIZE];
    uint32_t count = tree_count(self->tree);
    uint32_t connected = tree_connected(self->tree);
    if (count == 0)
        return sorex_error_set(err, SOREX_GONE, "no block in %s yet", self->path);
    if (connected == count || !tree_missing(self->tree, missing))
        return SOREX_OK;
    hash_display(missing, text);
    if (self->damage[0] != '\0')
        return sorex_error_set(err, SOREX_CORRUPT,
                               "%s, and block %s, on which others build, is missing: repair the files", self->damage,
                               text);
    if (connected == 0)
        return sorex_error_set(
            err, SOREX_GONE,
            "none of the %u blocks in %s follows from a genesis block; block %s is missing (pruned node?)", count,
            self->path, text);
    return SOREX_OK;
}

static enum sorex_status blockfiles_open(const void *settings, struct source **out, struct sorex_error *err)
{
    const struct blockfiles_settings *given = settings;
    struct stat info;
    if (stat(given->path, &info) != 0)
        return sorex_error_set_errno(err, SOREX_INVALID, errno, "block files %s", given->path);
    struct blockfiles *self = calloc(1, sizeof *self);
    if (self == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a source");
    self->source.type = &source_blockfiles;
    self->network = given->network;
    self->directory = S_ISDIR(info.st_mode);
    self->path = strdup(given->path);
    CHECK(pthread_mutex_init(&self->lock, NULL) == 0);
    enum sorex_status status = tree_new(&self->tree, err);
    if (status == SOREX_OK && self->path == NULL)
        status = sorex_error_set(err, SOREX_NOMEM, "out of memory for a source");
    if (status != SOREX_OK) {
        source_blockfiles.close(&self->source);
        return status;
    }
    *out = &self->source;
    return SOREX_OK;
}

static void blockfiles_close(struct source *source)
{
    struct blockfiles *self = of(source);
    for (uint32_t i = 0; i < self->file_count; i++)
        free(self->files[i].path);
    free(self->files);
    tree_free(self->tree);
    pthread_mutex_destroy(&self->lock);
    free(self->path);
    free(self);
}

static enum sorex_status blockfiles_tip(struct source *source, uint32_t *out_height, uint8_t out_hash[HASH_BYTES],
                                        struct sorex_error *err)
{
    struct blockfiles *self = of(source);
    pthread_mutex_lock(&self->lock);
    enum sorex_status status = look(self, err);
    if (status == SOREX_OK)
        status = complain(self, err);
    if (status == SOREX_OK)
        CHECK(tree_tip(self->tree, out_height, out_hash));
    pthread_mutex_unlock(&self->lock);
    return status;
}

static enum sorex_status blockfiles_hash_at(struct source *source, uint32_t height, uint8_t out_hash[HASH_BYTES],
                                            struct sorex_error *err)
{
    struct blockfiles *self = of(source);
    pthread_mutex_lock(&self->lock);
    bool found = tree_hash_at(self->tree, height, out_hash);
    enum sorex_status status = found || tree_count(self->tree) != 0 ? SOREX_OK : look(self, err);
    if (!found && status == SOREX_OK)
        found = tree_hash_at(self->tree, height, out_hash);
    pthread_mutex_unlock(&self->lock);
    if (status == SOREX_OK && !found)
        return sorex_error_set(err, SOREX_GONE, "height %u is above the tip of %s", height, self->path);
    return status;
}

static enum sorex_status blockfiles_fetch(struct source *source, uint32_t height, const uint8_t hash[HASH_BYTES],
                                          struct buf *out, struct sorex_error *err)
{
    struct blockfiles *self = of(source);
    struct tree_place place;
    pthread_mutex_lock(&self->lock);
    bool found = tree_find(self->tree, hash, &place);
    const char *path = found ? self->files[place.file].path : NULL;
    pthread_mutex_unlock(&self->lock);
    if (found)
        return blockfile_read(path, &self->format, place.offset, place.len, out, err);
    char text[HASH_HEX_SIZE];
    hash_display(hash, text);
    return sorex_error_set(err, SOREX_GONE, "block %s (height %u) is not in %s", text, height, self->path);
}

static void blockfiles_place(struct source *source, uint32_t height, const uint8_t hash[HASH_BYTES], char *out,
                             size_t size)
{
    struct blockfiles *self = of(source);
    struct tree_place place;
    (void)height;
    pthread_mutex_lock(&self->lock);
    if (tree_find(self->tree, hash, &place))
        (void)snprintf(out, size, "%s, offset %llu", self->files[place.file].path, (unsigned long long)place.offset);
    pthread_mutex_unlock(&self->lock);
}

static void blockfiles_wait(struct source *source, uint32_t timeout_ms)
{
    struct blockfiles *self = of(source);
    uint64_t deadline = clock_ms() + timeout_ms;
    for (;;) {
        pthread_mutex_lock(&self->lock);
        uint32_t before = tree_count(self->tree);
        bool news = look(self, NULL) != SOREX_OK || tree_count(self->tree) != before;
        pthread_mutex_unlock(&self->lock);
        uint64_t now = clock_ms();
        if (news || now >= deadline)
            return;
        uint64_t step = deadline - now < WAIT_STEP_MS ? deadline - now : WAIT_STEP_MS;
        nanosleep(&(struct timespec){.tv_nsec = (long)step * 1000000}, NULL);
    }
}

const struct source_type source_blockfiles = {
    .name = "blockfiles",
    .summary = "Bitcoin Core's block files, read directly",
    .options = blockfiles_options,
    .settings_size = sizeof(struct blockfiles_settings),
    .open = blockfiles_open,
    .close = blockfiles_close,
    .tip = blockfiles_tip,
    .hash_at = blockfiles_hash_at,
    .fetch = blockfiles_fetch,
    .place = blockfiles_place,
    .wait = blockfiles_wait,
};
