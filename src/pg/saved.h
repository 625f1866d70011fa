/* A database that is kept in a store: the pages of memory and the extents of files that changed go there in one atomic,
 * synced write, session and open transaction included. After a crash the database is as the last saved_commit left it.
 * docs/formats/database-pages.md has the bytes.
 *
 * Thread: one at a time, the database's. */
#ifndef SOREX_PG_SAVED_H
#define SOREX_PG_SAVED_H

#include "pg/database.h"
#include "store/store.h"

struct saved;

/* Opens the database of that name (1 to 64 bytes), or makes a new one that is in the store with the first commit.
 *
 * store      borrowed; may be read-only: then nothing can be committed, and a database that is not there is SOREX_GONE.
 * options    of a new database; of one that is there, its limits.
 * Ownership: *out by saved_close, which closes the database.
 * Errors:    SOREX_MISMATCH of another PostgreSQL; SOREX_CORRUPT the text names the record; SOREX_LIMIT the options
 * have less than it needs; SOREX_IO; SOREX_NOMEM. */
enum sorex_status saved_open(struct store *store, struct database_program *program, const char *name,
                             const struct database_options *options, struct saved **out, struct sorex_error *err);
void saved_close(struct saved *saved); /* NULL is fine */

/* Borrowed. */
struct database *saved_database(struct saved *saved);
/* How many commits there were; 0: it is new. */
uint64_t saved_version(const struct saved *saved);
/* What the last commit was given; empty when it is new. Borrowed until the next commit. */
struct bytes saved_note(const struct saved *saved);

/* The note of a database in a store, without the database and without PostgreSQL: appended to out. Errors: SOREX_GONE
 * there is none; as saved_open. */
enum sorex_status saved_note_read(struct store *store, const char *name, struct buf *out, struct sorex_error *err);

/* Writes what changed since the last commit, with the caller's note (what the state stands for; at most 64 KiB).
 * *out_snapshot (may be NULL) is the state that was written, for forks and for going back; by snapshot_drop. It is the
 * database's last good state, too.
 * Errors: the database can go on, or back with saved_restore. SOREX_INVALID the store is read-only, the note too long,
 *         the database broken; SOREX_NOMEM: the store is as before. SOREX_IO: it is not known whether it was written,
 *         and nothing more will be: close the database and its store. */
enum sorex_status saved_commit(struct saved *saved, struct bytes note, struct snapshot **out_snapshot,
                               struct sorex_error *err);
/* Back to the last commit (of a new database: to its beginning), also when the database is broken. */
enum sorex_status saved_restore(struct saved *saved, struct sorex_error *err);
/* Removes the database of that name from the store. Not while it is open. Errors: SOREX_GONE. */
enum sorex_status saved_drop(struct store *store, const char *name, struct sorex_error *err);

#endif
