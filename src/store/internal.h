/* What the files of this room share.
 *
 * Two kinds of fields. The *writer's* belong to the one thread that stages and commits; no lock. The *shared* ones are
 * guarded by `lock`, which is held for copies of a few words only, never over the database. Everything else that other
 * threads need they read from the database itself, through a view: `head` is part of every batch, so a view knows its
 * own heights. */
#ifndef SOREX_STORE_INTERNAL_H
#define SOREX_STORE_INTERNAL_H

#include <pthread.h>

#include "base/sha256.h"
#include "store/db.h"
#include "store/group.h"
#include "store/lockfile.h"
#include "store/record.h"
#include "store/staging.h"
#include "store/store.h"
#include "store/undolog.h"

struct program {
    struct store_program *identities; /* oldest first, at least one */
    size_t identity_count;
    uint8_t commitment[HASH_BYTES]; /* at the tip; the writer's */
};

struct cursor {
    char *name;
    uint64_t sequence;
    uint8_t hash[HASH_BYTES];
    uint64_t offset; /* outbox bytes up to and including sequence */
};

/* An undo record of the outbox and what it takes back. */
struct undone {
    uint64_t sequence, undone;
};

/* The group that is being written behind the next entries (flush.c): always `old`. */
struct background {
    pthread_t thread;
    bool started;
    bool end;                                                         /* lock */
    enum { BACKGROUND_IDLE, BACKGROUND_WORK, BACKGROUND_DONE } state; /* lock */
    pthread_cond_t changed;
    /* the thread's while state is BACKGROUND_WORK, else the writer's */
    struct head head;
    enum sorex_status status;
    struct sorex_error err;
};

struct store {
    struct db *db;
    struct lockfile lockfile;
    bool read_only;
    bool sync;
    uint32_t history;
    uint64_t group_bytes_max, group_ms_max, generation_bytes_max;
    uint8_t id[STORE_ID_BYTES];

    /* the writer's */
    struct head head; /* with the group */
    struct entry tip; /* header of head.tip */
    struct group current, old;
    bool old_settled; /* old is written: its versions have their lineage */
    struct staging staging;
    struct buf key;        /* the state key in hand */
    struct buf preimage;   /* of a commitment */
    struct db_value value; /* what the last read from the database pinned */
    struct sha256 hash;
    bool broken; /* a group could not be written */

    /* whoever writes to the database: the background thread while it works, else the writer */
    struct db_batch *batch;
    struct buf scratch; /* one record in the making */
    struct undo_writer undo;
    struct undone *undone; /* ascending, of the kept outbox */
    size_t undone_count, undone_cap;
    struct background background;

    /* shared, guarded by lock */
    pthread_mutex_t *lock; /* of lock_storage: a pointer, so that a const store can be locked */
    pthread_mutex_t lock_storage;
    pthread_cond_t outbox_changed;
    uint64_t outbox_wakes; /* counts store_outbox_wake */
    bool writer_known;
    pthread_t writer; /* who called store_begin last: store_entry shows it the unwritten group */
    bool closing;
    struct head durable;
    struct head seen;         /* head, for other threads */
    struct program *programs; /* index = id; grown by the writer */
    size_t program_count;
    struct cursor *cursors;
    size_t cursor_count;
    struct store_figures figures;
};

#define META_FORMAT "format"
#define META_ID "id"
#define META_NETWORK "network"
#define META_HEAD "head"
#define META_PROGRAM "program/"
#define META_CURSOR "cursor/"
#define META_UNDONE "undone/"

/* store.c */
enum sorex_status store_writable(const struct store *store, struct sorex_error *err);
/* Makes head the durable and the visible one and wakes who waits for the outbox. */
void store_publish(struct store *store, const struct head *head, bool durable);
enum sorex_status store_corrupt(struct sorex_error *err, const char *what, uint64_t number);
void batch_head(struct store *store, const struct head *head);
/* The version becomes the node's state record; an absent one removes it. */
enum sorex_status batch_state(struct store *store, const struct node *node, const struct version *version,
                              struct sorex_error *err);

/* writer.c */
/* Makes the state key of (space, key) in out. */
enum sorex_status state_key(struct buf *out, struct store_space space, struct bytes key, struct bytes *out_key,
                            struct sorex_error *err);
bool head_is_empty(const struct head *head);
/* Writable, and no write has failed. */
enum sorex_status store_usable(const struct store *store, struct sorex_error *err);

/* flush.c */
/* Writes the group, or hands it over, when it is full or old enough. */
enum sorex_status group_advance(struct store *store, struct sorex_error *err);
void background_end(struct store *store);

/* entries.c */
/* Reads an entry record; *out points into *value, which the caller releases. Errors: SOREX_CORRUPT, also when it is
 * missing. */
enum sorex_status entry_read(struct store *store, const struct db_view *view, uint32_t height, struct db_value *value,
                             struct entry_record *out, struct sorex_error *err);
/* The head that a view shows; empty when nothing was ever committed. */
enum sorex_status head_read(struct store *store, const struct db_view *view, struct head *out, struct sorex_error *err);

/* prune.c */
/* Adds to the batch what may go, at most about `budget` keys of it, and moves head->pruned, head->outbox_first.
 * head->horizon is the new one already; group_first: the lowest height of the group, whose records are not in the
 * database. */
enum sorex_status prune_history(struct store *store, struct head *head, uint32_t group_first, uint64_t budget,
                                struct sorex_error *err);
enum sorex_status prune_outbox(struct store *store, const struct group *group, struct head *head, uint64_t budget,
                               struct sorex_error *err);
/* After the batch was written: forgets undone pairs that were trimmed. */
void prune_settle(struct store *store, const struct head *head);

/* program.c */
enum sorex_status programs_load(struct store *store, struct sorex_error *err);
void programs_free(struct store *store);
/* Sets every program's tip commitment from an entry record, zero where it has none. NULL = all zero. */
void programs_commitments(struct store *store, const struct entry_record *record);

/* cursor.c */
enum sorex_status cursors_load(struct store *store, struct sorex_error *err);
void cursors_free(struct store *store);
/* Lowest cursor; UINT64_MAX when there is none. */
uint64_t cursor_lowest(struct store *store);

/* outbox.c */
enum sorex_status undone_load(struct store *store, struct sorex_error *err);
/* Adds a record and its meta to the batch and moves head. */
enum sorex_status outbox_append(struct store *store, struct head *head, const struct outbox_record *record,
                                struct sorex_error *err);
enum sorex_status undone_reserve(struct store *store, size_t more, struct sorex_error *err);

#endif
