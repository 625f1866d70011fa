/* Snapshots of states, one file each, by key: docs/formats/derivation.md. What is damaged counts as not there.
 *
 * Thread: one at a time. Several processes may use one folder. */
#ifndef SOREX_DERIVE_CACHE_H
#define SOREX_DERIVE_CACHE_H

#include "derive/archive.h"

struct cache;

/* Lists what is there; the folder need not exist. bytes_max: of all files. tidy: removes what a process left that was
 * killed while it wrote: for the one that writes.
 * Errors: SOREX_IO, SOREX_NOMEM. */
enum sorex_status cache_open(const char *dir, uint64_t bytes_max, bool tidy, struct cache **out,
                             struct sorex_error *err);
void cache_close(struct cache *cache); /* NULL is fine */

bool cache_has(const struct cache *cache, const uint8_t key[SHA256_BYTES]);
size_t cache_count(const struct cache *cache);
uint64_t cache_bytes(const struct cache *cache);

/* Keeps a state, and removes others where there are more than bytes_max: those that leave the smallest gap compared
 * with their distance from the tip. tip: messages of the newest state. */
enum sorex_status cache_put(struct cache *cache, const struct archive *archive, uint64_t tip, struct sorex_error *err);
/* Reads a state into file, which out's views point into.
 * Errors: SOREX_GONE there is none, or it was damaged and is removed (the text says so). */
enum sorex_status cache_get(struct cache *cache, const uint8_t key[SHA256_BYTES], struct buf *file, struct archive *out,
                            struct sorex_error *err);

#endif
