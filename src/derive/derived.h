/* A directory with a derived database: its reducer, its messages, its newest state, snapshots of others.
 * docs/formats/derivation.md, "The data directory".
 *
 * Thread: one at a time. One process writes; others read beside it. */
#ifndef SOREX_DERIVE_DERIVED_H
#define SOREX_DERIVE_DERIVED_H

#include <signal.h>

#include "derive/archive.h"
#include "derive/derivation.h"
#include "derive/messages.h"
#include "derive/settings.h"

struct derived;

/* Whether a directory is one. */
bool derived_is(const char *dir);
/* The settings of a directory; the defaults where there is none (*out_found false). Nothing to free. */
enum sorex_status derived_settings(const char *dir, struct derive_settings *out, bool *out_found,
                                   struct sorex_error *err);

struct derived_options {
    const char *dir;
    bool read_only;                         /* beside whoever derives there; sees what is durable now */
    struct bytes wasm;                      /* of the reducer; empty: the directory's own */
    const struct derive_settings *settings; /* NULL: the directory's */
};
/* Opens a directory, or (not read_only, with wasm) makes one.
 *
 * Errors: SOREX_GONE there is none; SOREX_MISMATCH it belongs to another engine, reducer or settings (the text says
 *         which); SOREX_BUSY somebody else writes it; as derivation_new, store_open, saved_open. */
enum sorex_status derived_open(const struct derived_options *options, struct derived **out, struct sorex_error *err);
void derived_close(struct derived *derived); /* NULL is fine */

struct derivation *derived_derivation(const struct derived *derived);
/* Path of its log. */
const char *derived_log(const struct derived *derived);
/* Of the newest state. Borrowed until derived_run. */
const struct receipt *derived_receipt(const struct derived *derived);

/* -- deriving ----------------------------------------------------------------------------------------------------- */

struct derived_progress {
    uint64_t count;    /* messages of the state */
    uint64_t rejected; /* of them */
    uint64_t total;    /* messages that are known */
    uint64_t applied;  /* by this run */
    uint64_t began;    /* messages of the state where this run began */
    bool waiting;      /* for the log to grow */
};
/* Called after every message and while waiting. False: stop. */
typedef bool derived_progress_fn(void *user_data, const struct derived_progress *progress);

struct derived_run_options {
    struct messages *log;          /* becomes the directory's; NULL: derive on what it has */
    bool follow;                   /* go on when the log's end is reached, until it ends or progress says so */
    derived_progress_fn *progress; /* may be NULL */
    void *user_data;
};
/* Makes the database that of the log. What it has in common with one that was derived before is not derived again.
 *
 * out        what it came to; also after an error.
 * Errors:    the log's, with everything before applied; what stops a derivation (derivation_step), with everything
 *            before the message applied; SOREX_CORRUPT the directory's own log is damaged and none was given; of the
 *            store, the files. */
enum sorex_status derived_run(struct derived *derived, const struct derived_run_options *options,
                              struct derived_progress *out, struct sorex_error *err);

/* -- states ------------------------------------------------------------------------------------------------------- */

#define DERIVED_NEWEST UINT64_MAX

/* A database of the caller's own, on the state after `count` messages. out_receipt may be NULL.
 *
 * Ownership: *out by database_close.
 * Errors:    SOREX_GONE fewer messages were derived. */
enum sorex_status derived_at(struct derived *derived, uint64_t count, struct database **out,
                             struct receipt *out_receipt, struct sorex_error *err);
/* What messages from + 1 to count did: derived again, in memory. */
enum sorex_status derived_receipt_of(struct derived *derived, uint64_t from, uint64_t count, struct receipt *out,
                                     struct sorex_error *err);
/* The directory's log behind its first `count` messages. Ownership: *out by messages_close. */
enum sorex_status derived_messages(const struct derived *derived, uint64_t count, struct messages **out,
                                   struct sorex_error *err);

/* The receipt of these messages, with the digest of the database after them and what a query gives there.
 * count: DERIVED_NEWEST will do. query: NULL: none. out: zero-initialised, by receipt_file_deinit, also after an error.
 * Errors: SOREX_INVALID the query; as derived_receipt_of. */
enum sorex_status derived_prove(struct derived *derived, uint64_t from, uint64_t count, const char *query,
                                struct receipt_file *out, struct sorex_error *err);

/* Appends the newest state, with its reducer: an archive. */
enum sorex_status derived_export(struct derived *derived, struct buf *out, struct sorex_error *err);
/* Appends any state, with its reducer. */
enum sorex_status archive_make(struct derivation *derivation, const struct derive_settings *settings,
                               struct database *database, const struct receipt *receipt, struct buf *out,
                               struct sorex_error *err);
/* An archive's derivation and database.
 *
 * trusted    NULL, or the receipt that the archive must fit: identity, key, trace, and the digest of its database.
 * Ownership: *out_derivation and *out_database are the caller's.
 * Errors:    SOREX_INVALID it has no reducer; SOREX_MISMATCH of another engine, or not what is trusted; SOREX_CORRUPT.
 */
enum sorex_status derivation_import(const struct archive *archive, const struct receipt_file *trusted,
                                    const char *cache_dir, struct derive_settings *out_settings,
                                    struct derivation **out_derivation, struct database **out_database,
                                    struct sorex_error *err);
/* Makes a directory of an archive. It has no messages: to derive on, its whole log has to be given.
 * Errors: as above; SOREX_INVALID the directory is there already. */
enum sorex_status derived_import(const char *dir, struct bytes archive, const struct receipt_file *trusted,
                                 struct sorex_error *err);

#endif
