/* The versioned store: state, history, undo, outbox, entries and meta over RocksDB (only this folder includes it).
 * Bytes of every record: docs/formats/store.md.
 *
 * One writer thread stages an entry and commits it; committed entries gather in an in-memory group until it is written
 * as one sorted, synced batch. Readers on other threads see what is durable only. */
#ifndef SOREX_STORE_STORE_H
#define SOREX_STORE_STORE_H

#include "base/bytes.h"
#include "base/entry.h"
#include "base/limits.h"

struct store;

/* ---- opening
 * ------------------------------------------------------------------------------------------------------------ */

#define STORE_HISTORY_FULL UINT32_MAX
#define STORE_ID_BYTES 16

struct disk;

struct store_options {
    const char *dir; /* made when absent and create is set */
    struct disk *disk; /* in memory (store/disk.h) instead of in dir, which then is a name only; borrowed; no lock */
    bool create;
    bool read_only;      /* opens without the writer's lock; sees what was durable when it was opened */
    const char *network; /* name of the source's network ("bitcoin:mainnet", or a genesis hash); NULL = do not check */
    uint32_t history;    /* entries that stay undoable, or STORE_HISTORY_FULL */
    uint64_t group_bytes_max; /* a group is written when it holds this much; 0 = 64 MiB */
    uint64_t group_ms_max;    /* ... or is this old; 0 = 1000 */
    uint64_t cache_bytes;     /* block cache and hot-key cache together; 0 = 256 MiB */
    bool fail_fast_sync;      /* tests: do not fsync (never in the program) */
};

/* Errors: SOREX_BUSY     another process has it open for writing (text names the lock file and what to do);
 *         SOREX_MISMATCH another format version or network (text spells out the choices);
 *         SOREX_CORRUPT, SOREX_IO, SOREX_GONE (no store there and create not set). */
enum sorex_status store_open(const struct store_options *options, struct store **out, struct sorex_error *err);
/* Writes the group first; errors are logged. Readers must be closed before. */
void store_close(struct store *store);

bool store_read_only(const struct store *store);

/* Random when the store was made; names it in cursors. */
const uint8_t *store_id(const struct store *store);

/* The network that the store belongs to, as store_options.network; *out is empty when none was named yet. */
enum sorex_status store_network(const struct store *store, struct buf *out, struct sorex_error *err);
/* Names it, once: for a network that only the source tells. Errors: SOREX_MISMATCH when the store belongs to another.
 * Thread: the writer's. */
enum sorex_status store_network_set(struct store *store, const char *network, struct sorex_error *err);

/* ---- programs
 * ------------------------------------------------------------------------------------------------------------ */

/* A program owns three key spaces. */
enum store_kind { STORE_KEYS, STORE_IMAGES, STORE_PAGES };
struct store_space {
    uint16_t program;
    uint8_t kind; /* enum store_kind */
};

struct store_program {
    uint16_t id;
    char name[64];
    uint8_t identity[HASH_BYTES]; /* SHA-256 over everything that changes results: module hash, contract, modes, limits,
                                     start */
    uint8_t module_hash[HASH_BYTES];
    uint32_t from_height; /* this identity is in force from here on */
};

/* Finds the program by name or adds it.
 * Errors: SOREX_MISMATCH when it is stored with another identity and adopt is false (text spells out the choices:
 *         `sorex upgrade PIPELINE --program NAME`, a new data directory). With adopt the new identity holds from the next entry
 * on. The identity zero stands for a program that was left out: it is given with adopt, and refused afterwards by name. */
enum sorex_status store_program(struct store *store, const char *name, const uint8_t identity[HASH_BYTES],
                                const uint8_t module_hash[HASH_BYTES], bool adopt, struct store_program *out,
                                struct sorex_error *err);
/* By name, without adding. SOREX_GONE when there is none. */
enum sorex_status store_program_find(const struct store *store, const char *name, struct store_program *out,
                                     struct sorex_error *err);
/* Calls back for every program in order of id. */
enum sorex_status store_programs(const struct store *store,
                                 void (*each)(void *user_data, const struct store_program *program), void *user_data,
                                 struct sorex_error *err);

/* ---- the writer: one entry
 * -------------------------------------------------------------------------------------------------- */

/* Starts staging an entry. height must be the tip's + 1, or anything in an empty store; its parent must be the tip's
 * hash. */
enum sorex_status store_begin(struct store *store, const struct entry *entry, struct sorex_error *err);

/* As of the last committed entry (staged writes are not seen). *out_value is borrowed until the next call on the store.
 */
enum sorex_status store_get(struct store *store, struct store_space space, struct bytes key, struct bytes *out_value,
                            bool *out_found, struct sorex_error *err);
/* As store_get, but staged writes are seen first. */
enum sorex_status store_get_staged(struct store *store, struct store_space space, struct bytes key,
                                   struct bytes *out_value, bool *out_found, struct sorex_error *err);

/* Stages; the last write to a key wins. The bytes are copied. */
enum sorex_status store_put(struct store *store, struct store_space space, struct bytes key, struct bytes value,
                            struct sorex_error *err);
enum sorex_status store_delete(struct store *store, struct store_space space, struct bytes key,
                               struct sorex_error *err);
/* Stages one change of a program, in order: `emitted` as the guest wrote it (goes into the commitment), `stored` as
 * sinks get it and as it is inverted (with `before` filled in). The same view may be given twice. An empty `stored`
 * (filtered out) reaches the commitment only, an empty `emitted` (one change delivered as two) the outbox only. */
enum sorex_status store_emit(struct store *store, uint16_t program, struct bytes emitted, struct bytes stored,
                             struct sorex_error *err);

/* Makes the staged entry the tip: computes the commitments of all programs and moves it to the group. With `durable`
 * (near the tip) the group is written and synced before it returns; otherwise when the group is full or old enough, and
 * then, when it is large, by a thread of the store's own beside the next entries. Errors: SOREX_IO: a group could not
 * be written (this one or the one before it); the store accepts no more commits and must be closed (what was durable is
 * intact). Other errors leave the entry staged: store_abort. */
enum sorex_status store_commit(struct store *store, bool durable, struct sorex_error *err);
/* Drops what is staged. Does nothing when nothing is. */
void store_abort(struct store *store);
/* Writes the group now. */
enum sorex_status store_flush(struct store *store, struct sorex_error *err);

/* Undoes the tip: restores every key that it touched, appends *undo of sequence n* to the outbox when the entry had
 * changes, removes the entry. Atomic and durable. *out_entry (may be NULL) gets its header. Errors: SOREX_GONE: at or
 * below the horizon, or nothing there (text says what the ways out are). The first entry of a store is its horizon
 * until more is pruned, so it cannot be undone. */
enum sorex_status store_undo(struct store *store, struct entry *out_entry, struct sorex_error *err);

/* Undoes every entry above `height`, tip first, many to one synced write; each write leaves the store at the end of an
 * entry. `each` (may be NULL) is called for every undone entry once it is durable. Cheaper than store_undo in a loop.
 * Errors: as store_undo, and SOREX_GONE for a height below the horizon: nothing was undone. After others, what was undone
 * before stays undone. */
typedef void store_undone_fn(void *user_data, const struct entry *entry);
enum sorex_status store_undo_to(struct store *store, uint32_t height, store_undone_fn *each, void *user_data,
                                struct sorex_error *err);

/* For `inverse: guest`: after store_undo, writes staged with store_put/store_delete become further writes of the (new)
 * tip entry, and changes staged with store_emit are appended to the outbox as a record of its own. Pair with
 * store_abort on failure. */
enum sorex_status store_amend_begin(struct store *store, struct sorex_error *err);
enum sorex_status store_amend_commit(struct store *store, struct sorex_error *err);

/* ---- heights
 * --------------------------------------------------------------------------------------------------------------- */

struct store_heights {
    uint32_t first;   /* lowest entry ever committed; SOREX_HEIGHT_NONE in an empty store */
    uint32_t tip;     /* last committed entry (writer's view), or SOREX_HEIGHT_NONE */
    uint32_t durable; /* last durable entry, or SOREX_HEIGHT_NONE */
    uint32_t horizon; /* lowest height that can be restored, or SOREX_HEIGHT_NONE */
};
/* Thread: any. */
void store_heights(const struct store *store, struct store_heights *out);

/* Header of a retained entry (hash, parent, time). Thread: any; the writer also sees its unwritten group.
 * Errors: SOREX_GONE. */
enum sorex_status store_entry(struct store *store, uint32_t height, struct entry *out, struct sorex_error *err);
/* Commitment of a program at a height (32 bytes). SOREX_GONE when the entry is not retained. Thread: any, durable
 * entries only. */
enum sorex_status store_commitment(struct store *store, uint32_t height, uint16_t program, uint8_t out[HASH_BYTES],
                                   struct sorex_error *err);

/* ---- readers
 * ------------------------------------------------------------------------------------------------------------------ */

struct store_reader;

/* A consistent view of durable state at a height (SOREX_HEIGHT_NONE = the durable tip; above the tip = the durable
 * tip). Errors: SOREX_GONE below the horizon (text names it). Thread: any; one thread at a time per reader. */
enum sorex_status store_reader_open(struct store *store, uint32_t height, struct store_reader **out,
                                    struct sorex_error *err);
void store_reader_close(struct store_reader *reader);
uint32_t store_reader_height(const struct store_reader *reader);
/* *out_value is borrowed until the next call on the reader. */
enum sorex_status store_reader_get(struct store_reader *reader, struct store_space space, struct bytes key,
                                   struct bytes *out_value, bool *out_found, struct sorex_error *err);
/* Every key with the prefix that exists at the height, in key order; the callback stops it by returning another status.
 */
typedef enum sorex_status store_pair_fn(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err);
enum sorex_status store_reader_scan(struct store_reader *reader, struct store_space space, struct bytes prefix,
                                    store_pair_fn *each, void *user_data, struct sorex_error *err);

/* ---- outbox
 * -----------------------------------------------------------------------------------------------------------------------
 */

enum outbox_kind { OUTBOX_APPLY = 1, OUTBOX_UNDO = 2 };

struct outbox_record {
    uint64_t sequence; /* from 1, dense */
    enum outbox_kind kind;
    uint64_t undone; /* OUTBOX_UNDO: the sequence that it takes back */
    uint32_t height;
    uint8_t hash[HASH_BYTES]; /* of the entry (undo: of the undone entry) */
    uint64_t time_ms;
    uint32_t change_count; /* OUTBOX_APPLY */
    struct bytes changes;  /* OUTBOX_APPLY: change_count times u16le program id, varint length, JSON text */
};

/* Reads the record at a sequence into record; its bytes go to out (which is reset).
 * Errors: SOREX_GONE (trimmed, or above the head: compare with store_outbox_head), SOREX_CORRUPT. Thread: any, durable
 * only. */
enum sorex_status store_outbox_read(struct store *store, uint64_t sequence, struct buf *out,
                                    struct outbox_record *record, struct sorex_error *err);
/* Takes the next change off record->changes. False at the end (or when it does not decode: then *out_ok is false). */
bool outbox_change_next(struct bytes *changes, uint16_t *out_program, struct bytes *out_json, bool *out_ok);

/* Last durable sequence (0 = none yet) and lowest one kept (head + 1 when none is). Kept whole while nothing was
 * pruned; later down to the horizon and the lowest cursor, so a sink sets its cursor (0 at first) before entries are
 * committed. Thread: any. */
void store_outbox_range(const struct store *store, uint64_t *out_first, uint64_t *out_head);
/* Blocks until the head is above `sequence`, or timeout_ms passed, or the store is being closed. Thread: any. */
void store_outbox_wait(struct store *store, uint64_t sequence, uint32_t timeout_ms);
void store_outbox_wake(struct store *store); /* ends every wait now */

/* A sink's lower bound for trimming (and the cursor itself for sinks that cannot hold one). Thread: any.
 * hash: of the entry of that sequence's record. Not synced: it may be older after a crash, never newer. */
enum sorex_status store_cursor_set(struct store *store, const char *sink, uint64_t sequence,
                                   const uint8_t hash[HASH_BYTES], struct sorex_error *err);
/* SOREX_GONE when there is none. */
enum sorex_status store_cursor_get(struct store *store, const char *sink, uint64_t *out_sequence,
                                   uint8_t out_hash[HASH_BYTES], struct sorex_error *err);
/* Drops the cursor of a sink that will not come back, so that the outbox is not kept for it any longer. Thread: any.
 * Errors: SOREX_GONE when there is none; SOREX_IO. */
enum sorex_status store_cursor_forget(struct store *store, const char *sink, struct sorex_error *err);
/* Calls back for every cursor that was ever set, with the store's lock held: the callback calls nothing of the store.
 * Thread: any. */
void store_cursors(const struct store *store, void (*each)(void *user_data, const char *sink, uint64_t sequence),
                   void *user_data);
/* Bytes of outbox records above the lowest cursor, roughly: what the bound on the outbox is checked against. Thread:
 * any. */
uint64_t store_outbox_bytes(const struct store *store);

/* ---- figures for status
 * ----------------------------------------------------------------------------------------------------------- */

struct store_figures {
    uint64_t group_entries, group_bytes; /* in the group in the making */
    uint64_t disk_bytes;                 /* live SST files, about */
    uint64_t groups_written;
    uint64_t write_ns; /* time spent writing groups */
};
void store_figures(const struct store *store, struct store_figures *out);

#endif
