/* `memory: kept`: the linear memory, the mutable globals and the memory's size of a guest as keys of the versioned
 * store, so that undo, restart and snapshots restore them like any other key. Only what a block changed is written.
 *
 * Thread: one at a time. */
#ifndef SOREX_GUEST_KEPT_H
#define SOREX_GUEST_KEPT_H

#include "base/sha256.h"
#include "guest/buffers.h"
#include "guest/host.h"

#define KEPT_PAGE_BYTES ((size_t)4096)

struct kept {
    bool valid; /* what follows was read from, or written to, the store under this tag */
    bool empty; /* the store held nothing of this module: it has never run, or another one has since */
    uint8_t module_hash[SHA256_BYTES];
    uint8_t tag[SHA256_BYTES];
    uint8_t *image; /* owned; the memory after the last successful call */
    size_t image_len;
    size_t image_cap;
    struct buf stored;  /* bit i: page i has a key */
    struct buf globals; /* as encoded by the caller */
};

/* module_hash: memory that another module has left counts as none. */
void kept_init(struct kept *kept, const uint8_t module_hash[SHA256_BYTES]);
void kept_deinit(struct kept *kept);

/* Makes kept what the store holds; reads one key when it already is.
 * Errors: SOREX_CORRUPT a record does not decode; SOREX_NOMEM; what the reader returned. */
enum sorex_status kept_load(struct kept *kept, const struct state_reader *pages, struct sorex_error *err);

/* Copies the image over a fresh instance's memory, of at least image_len bytes; pages that are equal already are not
 * touched. Nothing when empty. */
void kept_restore(const struct kept *kept, struct guest_memory memory);

/* Writes what differs from the loaded state, which becomes the loaded state. Writes nothing when nothing differs.
 * Errors: SOREX_NOMEM; what the writer returned. kept is invalid then, and the caller drops what was written. */
enum sorex_status kept_save(struct kept *kept, struct guest_memory memory, struct bytes globals,
                            const struct state_writer *pages, struct sorex_error *err);

#endif
