/* Snapshots of states, one file each, by key: docs/formats/derivation.md. What is damaged counts as not there.
 *
 * Thread: one at a time. Several processes may use one folder. */
#ifndef SOREX_DERIVE_CACHE_H
#define SOREX_DERIVE_CACHE_H

#include "derive/archive.h"
#include "derive/derivation.h"
#include "derive/settings.h"

struct cache;

/* Lists what is there; the folder need not exist. bytes_max: of all files. tidy: removes what a process left that was
 * killed while it wrote: for the one that writes.
 * Errors: SOREX_IO, SOREX_NOMEM. */
enum sorex_status cache_open(const char *dir, uint64_t bytes_max, bool tidy, struct cache **out,
                             struct sorex_error *err);
void cache_close(struct cache *cache); /* NULL is fine */

bool cache_has(const struct cache *cache, const uint8_t key[SHA256_BYTES]);
/* Removes all. */
void cache_clear(struct cache *cache);
size_t cache_count(const struct cache *cache);
/* One of them, from 0; the further down, the more messages. */
struct cached {
    uint8_t key[SHA256_BYTES];
    struct archive_head head;
};
void cache_at(const struct cache *cache, size_t i, struct cached *out);
uint64_t cache_bytes(const struct cache *cache);

/* Keeps a state, and removes others where there are more than bytes_max: those that leave the smallest gap compared
 * with their distance from the tip. tip: messages of the newest state. */
enum sorex_status cache_put(struct cache *cache, const struct archive *archive, uint64_t tip, struct sorex_error *err);
/* Reads a state into file, which out's views point into.
 * Errors: SOREX_GONE there is none, or it was damaged and is removed (the text says so). */
enum sorex_status cache_get(struct cache *cache, const uint8_t key[SHA256_BYTES], struct buf *file, struct archive *out,
                            struct sorex_error *err);
/* The same with a database: keeps its state as it is; opens one on a state that was kept.
 * place: as archive.place. Ownership: *out by database_close.
 * Errors: of opening: SOREX_GONE as above; SOREX_MISMATCH it is the state of another derivation. */
enum sorex_status cache_put_database(struct cache *cache, struct derivation *derivation, struct database *database,
                                     const struct receipt *receipt, const uint8_t *place, struct sorex_error *err);
enum sorex_status cache_get_database(struct cache *cache, struct derivation *derivation,
                                     const uint8_t key[SHA256_BYTES], struct database **out,
                                     struct receipt *out_receipt, struct sorex_error *err);

/* -- when to keep the next state: by numbers of messages, or so that it takes a tenth of the time ----------------- */

struct cache_pace {
    uint64_t at_ms, cost_ms; /* when the last one was kept (or the run began), and how long that took */
    uint64_t count;          /* its messages */
};
bool cache_pace_due(const struct cache_pace *pace, const struct derive_settings *settings, uint64_t count);
/* A state of `count` messages was kept. */
void cache_pace_kept(struct cache_pace *pace, uint64_t began_ms, uint64_t count);

#endif
