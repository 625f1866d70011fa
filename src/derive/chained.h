/* A derived database whose messages come from a pipeline's source. It is kept in the pipeline's own store, with its
 * place, in one write.
 *
 * Of a chain, messages are the entries, and the place is the entry that it is the state after. What happens to the
 * chain - it grows, forks, the process ends - is one case: the newest known state whose place is on the chain is where
 * deriving goes on. A message has the entry's time, no author, and the raw block; what it does depends on nothing else.
 *
 * Of a stream, messages are a log (chained_add), heights their numbers, and the place is what the caller says; nothing
 * is undone.
 * docs/formats/derivation.md, "In a pipeline".
 *
 * Thread: one at a time; chained_fork by any. */
#ifndef SOREX_DERIVE_CHAINED_H
#define SOREX_DERIVE_CHAINED_H

#include "base/entry.h"
#include "base/limits.h"
#include "derive/settings.h"
#include "store/store.h"

#define CHAINED_NAME_BYTES_MAX 50u

struct chained;
struct database;
struct database_program;
struct receipt;
struct receipt_file;

struct chained_options {
    const char *name;    /* of the reducer: letters, digits, '_', '-', '.' */
    struct store *store; /* borrowed */
    const char *dir;     /* of the store: snapshots are in derive/NAME, compiled code in cache */
    struct bytes wasm;   /* of the reducer */
    const struct derive_settings *settings;
    uint32_t first_height; /* of the first entry; of a stream 1 */
};
/* Errors: SOREX_MISMATCH it was derived by another engine, reducer or settings, or from another height on (the text
 *         says which, and what to do); as derivation_new, saved_open. */
enum sorex_status chained_open(const struct chained_options *options, struct chained **out, struct sorex_error *err);
/* Only to fork it, as it is durable in the store now, read-only too. program: borrowed; any will do.
 * Errors: SOREX_GONE there is none of this name; as saved_open. */
enum sorex_status chained_open_copy(struct store *store, struct database_program *program, const char *name,
                                    struct chained **out, struct sorex_error *err);
/* Only to ask it for chained_place and chained_receipt, as they are durable: PostgreSQL is not needed. Errors:
 * SOREX_GONE there is none of this name; SOREX_CORRUPT; SOREX_IO. */
enum sorex_status chained_open_note(struct store *store, const char *name, struct chained **out,
                                    struct sorex_error *err);
void chained_close(struct chained *chained); /* NULL is fine */
/* Removes database and snapshots; the next chained_open begins at the first entry. Not while it is open.
 * Errors: SOREX_GONE there is none. */
enum sorex_status chained_drop(struct store *store, const char *dir, const char *name, struct sorex_error *err);

struct chained_place {
    uint32_t height; /* SOREX_HEIGHT_NONE: before the first entry */
    uint8_t hash[HASH_BYTES];
};
struct chained_place chained_place(const struct chained *chained);
uint32_t chained_next_height(const struct chained *chained);
uint32_t chained_first_height(const struct chained *chained);
const struct receipt *chained_receipt(const struct chained *chained);
/* Of the derivation that made it. Borrowed. */
struct bytes chained_identity(const struct chained *chained);
/* Of its databases; borrowed. NULL: it was opened by chained_open_note. */
struct database_program *chained_program(const struct chained *chained);

/* Applies the next entry, its payload included, and saves the state when it is time.
 * Errors: SOREX_MISMATCH it is no child of the place's; what stops a derivation (derivation_step), and the state is the
 *         last saved one again; SOREX_IO of saving: nothing more will be saved, close it. */
enum sorex_status chained_apply(struct chained *chained, const struct entry *entry, struct sorex_error *err);
/* The next message of a stream: its canonical bytes, and the place behind it. Errors: SOREX_INVALID also when it is
 * earlier than the one before; SOREX_LIMIT also when there are too many; all as chained_apply. */
enum sorex_status chained_add(struct chained *chained, struct bytes canonical, const uint8_t place[HASH_BYTES],
                              struct sorex_error *err);
/* Saves the state with its place. */
enum sorex_status chained_commit(struct chained *chained, struct sorex_error *err);

/* Whether a place is on the chain. */
typedef enum sorex_status chained_is_fn(void *user_data, const struct chained_place *place, bool *out,
                                        struct sorex_error *err);
/* The place is not on the chain any more: takes the newest known state that is, or else that before the first entry,
 * and saves it. States that were saved not long ago are in memory. Errors: of is_on; as above. */
enum sorex_status chained_back(struct chained *chained, chained_is_fn *is_on, void *user_data, struct sorex_error *err);

/* A database of the caller's own, on the newest state that is saved. height: SOREX_HEIGHT_NONE or its height, which
 * *out_height (may be NULL) gets. Ownership: *out by database_close. Errors: SOREX_GONE another height. Thread: any. */
enum sorex_status chained_fork(struct chained *chained, uint32_t height, struct database **out, uint32_t *out_height,
                               struct sorex_error *err);

/* The receipt of a database that was opened by chained_open_copy. query: SQL, of which it has the result; NULL: none.
 * out: by receipt_file_deinit, also after an error. Errors: as chained_fork, derivation_query. */
enum sorex_status chained_prove(struct chained *chained, const char *query, struct receipt_file *out,
                                struct sorex_error *err);

/* Of the state that chained_fork gives. Thread: any. */
uint32_t chained_newest_height(struct chained *chained);

/* The chain, for a state in the past: as chained_back; and the entry of a height, with its payload, borrowed until the
 * next call. */
struct chained_chain {
    chained_is_fn *is_on;
    enum sorex_status (*entry)(void *user_data, uint32_t height, struct entry *out, struct sorex_error *err);
    void *user_data;
};
/* The database as it was at a height: from the newest snapshot below it that is on the chain, or from the beginning,
 * on, in memory; what is kept stays as it is.
 *
 * options    as of chained_open; store is not looked at.
 * of         what it was derived as; program: of *out, borrowed, any will do.
 * Ownership: *out by database_close.
 * Errors:    SOREX_GONE the height is not between its first one and its newest; SOREX_MISMATCH module or settings are
 *            not those that it was derived by; of chain; as chained_open.
 * Thread:    any. */
enum sorex_status chained_at(const struct chained_options *options, struct chained *of, uint32_t height,
                             const struct chained_chain *chain, struct database_program *program, struct database **out,
                             struct sorex_error *err);

#endif
