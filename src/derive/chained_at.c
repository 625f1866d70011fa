#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "derive/chained_private.h"
#include "derive/verify.h"
#include "pg/image.h"

#define IMAGE_LEVEL 1 /* it is read at once */

struct past {
    const struct chained_options *options;
    struct chain_walk walk;
    struct derivation *derivation;
    struct cache *cache;
    struct database *database;
    struct receipt receipt;
};

/* One that is there, and is read. Otherwise database stays NULL. */
static enum sorex_status snapshot_find(struct past *past, uint64_t count, struct sorex_error *err)
{
    for (size_t i = cache_count(past->cache); i-- > 0 && past->database == NULL;) {
        struct cached cached;
        struct chained_place place;
        bool on;
        cache_at(past->cache, i, &cached);
        if (cached.head.count == 0 || cached.head.count > count)
            continue;
        place.height = (uint32_t)(past->options->first_height + cached.head.count - 1);
        memcpy(place.hash, cached.head.place, HASH_BYTES);
        TRY(past->walk.chain->is_on(past->walk.chain->user_data, &place, &on, err));
        if (!on)
            continue;
        enum sorex_status status =
            cache_get_database(past->cache, past->derivation, cached.key, &past->database, &past->receipt, err);
        if (status != SOREX_OK && status != SOREX_GONE && status != SOREX_MISMATCH)
            return status;
        memcpy(past->walk.hash, place.hash, HASH_BYTES);
    }
    return SOREX_OK;
}

static enum sorex_status database_begin(struct past *past, uint64_t count, struct sorex_error *err)
{
    TRY(snapshot_find(past, count, err));
    if (past->database != NULL)
        return SOREX_OK;
    TRY(database_open(derivation_program(past->derivation), derivation_database_options(past->derivation),
                      &past->database, err));
    return derivation_begin(past->derivation, past->database, &past->receipt, err);
}

enum sorex_status chain_walk_step(struct chain_walk *walk, struct derivation *derivation, struct database *database,
                                  struct receipt *receipt, struct sorex_error *err)
{
    struct entry entry;
    uint32_t height = (uint32_t)(walk->first_height + receipt->count);
    TRY(walk->chain->entry(walk->chain->user_data, height, &entry, err));
    if (receipt->count != 0 && memcmp(entry.parent, walk->hash, HASH_BYTES) != 0)
        return sorex_error_set(err, SOREX_AGAIN, "height %u: the chain is changing", height);
    memcpy(walk->hash, entry.hash, HASH_BYTES);
    TRY(chained_entry_message(&entry, &walk->canonical, err));
    if (chained_step(derivation, database, receipt, buf_view(&walk->canonical), log_end_add_entry, err) != SOREX_OK)
        return sorex_error_prefix(err, "height %u", height);
    return SOREX_OK;
}

static enum sorex_status replay(struct past *past, uint64_t count, struct sorex_error *err)
{
    while (past->receipt.count < count)
        TRY(chain_walk_step(&past->walk, past->derivation, past->database, &past->receipt, err));
    return SOREX_OK;
}

/* Into the caller's program: the derivation's goes with it. */
static enum sorex_status hand_over(const struct past *past, struct database_program *program, struct database **out,
                                   struct sorex_error *err)
{
    struct snapshot *snapshot = NULL;
    struct buf image = {0};
    TRY(database_save(past->database, &snapshot, err));
    enum sorex_status status = image_write(snapshot, IMAGE_LEVEL, &image, err);
    snapshot_drop(snapshot);
    if (status == SOREX_OK)
        status = database_open_image(program, NULL, buf_view(&image), out, err);
    buf_deinit(&image);
    return status;
}

static enum sorex_status past_open(struct past *past, const struct chained *of, struct sorex_error *err)
{
    const struct chained_options *options = past->options;
    char cache[PATH_MAX];
    struct derivation_options derivation = derive_settings_derivation(options->settings);
    TRY(chained_snapshots_open(options->dir, options->name, options->settings->cache_bytes, false, &past->cache, err));
    (void)snprintf(cache, sizeof cache, "%s/cache", options->dir);
    derivation.cache_dir = cache;
    TRY(derivation_new(options->wasm, &derivation, &past->derivation, err));
    return identity_compare(chained_identity(of), derivation_identity(past->derivation), err);
}

static void past_close(struct past *past)
{
    database_close(past->database);
    derivation_free(past->derivation);
    cache_close(past->cache);
    buf_deinit(&past->walk.canonical);
    free(past);
}

static enum sorex_status height_check(struct chained *of, uint32_t height, struct sorex_error *err)
{
    uint32_t newest = chained_newest_height(of);
    if (newest == SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_GONE, "height %u: nothing was derived yet", height);
    if (height < chained_first_height(of) || height > newest)
        return sorex_error_set(err, SOREX_GONE, "height %u: the derived database has the heights %u to %u", height,
                               chained_first_height(of), newest);
    return SOREX_OK;
}

enum sorex_status chained_at(const struct chained_options *options, struct chained *of, uint32_t height,
                             const struct chained_chain *chain, struct database_program *program, struct database **out,
                             struct sorex_error *err)
{
    TRY(height_check(of, height, err));
    uint64_t count = (uint64_t)height - chained_first_height(of) + 1;
    struct past *past = calloc(1, sizeof *past);
    if (past == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for a derived database");
    past->options = options;
    past->walk.chain = chain;
    past->walk.first_height = options->first_height;
    buf_init(&past->walk.canonical, MESSAGE_BYTES_MAX);
    enum sorex_status status = past_open(past, of, err);
    if (status == SOREX_OK)
        status = database_begin(past, count, err);
    if (status == SOREX_OK)
        status = replay(past, count, err);
    if (status == SOREX_OK)
        status = hand_over(past, program, out, err);
    past_close(past);
    return status;
}
