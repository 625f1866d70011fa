/* Records of whole databases (src/pg): a family of their own, independent of entries and their groups. What is written
 * here is durable at once and known to no undo.
 *
 * Keys are the caller's; one prefix for each database. Thread: any, beside the writer; a batch by one at a time. */
#ifndef SOREX_STORE_PAGES_H
#define SOREX_STORE_PAGES_H

#include "store/store.h"

/* Every record whose key begins with the prefix, in key order, as of one moment; key and value are borrowed for the
 * call. Stops at an error of fn and returns it. Errors: SOREX_NOMEM, SOREX_CORRUPT, SOREX_IO. */
enum sorex_status pages_scan(struct store *store, struct bytes prefix, store_pair_fn *fn, void *user_data,
                             struct sorex_error *err);

struct pages_batch;

/* NULL: no memory. Ownership: pages_batch_free; not after the store was closed. */
struct pages_batch *pages_batch_new(struct store *store);
void pages_batch_free(struct pages_batch *batch); /* NULL is fine */
void pages_batch_put(struct pages_batch *batch, struct bytes key, struct bytes value);
void pages_batch_delete(struct pages_batch *batch, struct bytes key);
/* Writes all of it or nothing, synced. Once.
 * Errors: SOREX_INVALID  the store is read-only.
 *         SOREX_IO       it is unknown whether it was written: close the store. */
enum sorex_status pages_batch_write(struct pages_batch *batch, struct sorex_error *err);

#endif
