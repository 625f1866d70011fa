/* A store with an outbox that tests fill: entries with changes, undone again. The model of what a target must hold is
 * kept beside it. */
#ifndef SOREX_TESTS_SINK_OUTBOX_H
#define SOREX_TESTS_SINK_OUTBOX_H

#include "base/sha256.h"
#include "store/store.h"

#define OUTBOX_KEYS 64
#define OUTBOX_DEPTH 64

struct outbox {
    char dir[64];
    struct store *store;
    uint16_t program;
    uint64_t nonce;  /* makes entries of other branches differ */
    uint32_t height; /* of the tip; 0 = none */
    uint64_t seed;
    /* Values of the model's rows per height, "" = no row; rows[height % OUTBOX_DEPTH]. */
    char rows[OUTBOX_DEPTH][OUTBOX_KEYS][32];
    struct buf text; /* of changes in the making */
};

void outbox_open(struct outbox *outbox);
void outbox_close(struct outbox *outbox);
/* Closes the store, unless that was done (NULL), and opens it again. */
void outbox_reopen(struct outbox *outbox);

/* The next entry, durable, with these changes (JSON texts). */
void outbox_entry(struct outbox *outbox, const char *const *changes, size_t count);
void outbox_undo(struct outbox *outbox);
/* One change as JSON, malloc'ed; before and after may be NULL. height: of the entry that it will be part of. */
char *outbox_change(const char *operation, const char *table, const char *key, const char *before, const char *after,
                    uint32_t height);
/* An entry of one change. */
void outbox_single(struct outbox *outbox, const char *operation, const char *table, const char *key, const char *before,
                   const char *after);

/* Random entries over the table "t": `count` changes of rows {"v": "..."}; the model follows. */
void outbox_random_entry(struct outbox *outbox, size_t count);
/* Undoes the tip, and the model. */
void outbox_random_undo(struct outbox *outbox);
/* Value of row k at the tip, "" when there is none. */
const char *outbox_row(const struct outbox *outbox, size_t key);
uint64_t outbox_random(struct outbox *outbox, uint64_t below);
uint64_t outbox_head(const struct outbox *outbox);

#endif
