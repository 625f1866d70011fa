/* Messages and a reducer (docs/abi/reducer.md) in, a database out that everybody derives alike: in your own program, in
 * memory.
 *
 *     struct sorex_derivation *game;
 *     struct sorex_state *state;
 *     struct sorex_database *db;
 *     struct sorex_message messages[] = {{.time_ms = 1700000000000, .author = "ann", .payload = "{\"start\":{}}"}};
 *     if (sorex_derivation_load(wasm, wasm_len, NULL, &game, &err) != SOREX_OK ||
 *         sorex_derive_state(game, messages, 1, &state, &err) != SOREX_OK ||
 *         sorex_state_database(state, &db, &err) != SOREX_OK)
 *         fail(err.text);
 *     sorex_database_query(db, "select * from units where hp > $1", &zero, 1, &result, &err);
 *     ...
 *     sorex_database_close(db);
 *     sorex_state_free(state);
 *     sorex_derivation_free(game);
 *
 * Equal messages, reducers and settings give equal states: keys, traces, digests and images, byte for byte, on every
 * machine. To keep states in a directory, derived on after a crash, use `sorex derive`.
 *
 * Threads: a derivation and its states belong to one thread at a time. For several cores load it several times. */
#ifndef SOREX_DERIVE_H
#define SOREX_DERIVE_H

#include "sorex/database.h"

#ifdef __cplusplus
extern "C" {
#endif

struct sorex_derivation; /* a reducer with its settings, loaded */
struct sorex_state;      /* the database after some messages */

/* Zero everywhere is the default. All is borrowed for the call. Those that are marked are part of what is derived. */
struct sorex_derivation_options {
    uint64_t memory_bytes_max; /* * of the reducer; 0: 64 MiB */
    uint64_t fuel;             /* * of the reducer, for one message; 0: 1,000,000,000 */
    uint64_t sql_fuel;         /* * of PostgreSQL, for one statement; 0: the reducers' default */
    uint64_t maintenance;      /* * VACUUM and CHECKPOINT after every so many messages; 0: 4096 */
    int halt;                  /* * not 0: a message that fails ends it, instead of being recorded as rejected */
    const char *cache_dir;     /* where compiled code is kept for the next process; NULL: nowhere, which costs 4 s */
};

/* author, payload: borrowed for the call. author_len or payload_len 0: up to a NUL, or nothing where it is NULL. */
struct sorex_message {
    int64_t time_ms; /* since 1970; not less than that of the message before */
    const char *author;
    size_t author_len; /* at most 4096 bytes of UTF-8 */
    const void *payload;
    size_t payload_len; /* at most 16 MiB */
};

/* Checks and compiles a reducer, and loads PostgreSQL.
 *
 * Ownership: *out_derivation is the caller's, to be given to sorex_derivation_free; unchanged on failure.
 * Errors:    SOREX_INVALID  the module: the text names the import or export; SOREX_GONE  PostgreSQL's files are not
 *            there; SOREX_NOMEM, SOREX_IO. */
SOREX_API enum sorex_status sorex_derivation_load(const void *wasm, size_t wasm_len,
                                                  const struct sorex_derivation_options *options,
                                                  struct sorex_derivation **out_derivation, struct sorex_error *err);
/* NULL is ignored. Every state of it must be gone before. */
SOREX_API void sorex_derivation_free(struct sorex_derivation *derivation);

/* ---- states ---- */

/* The state after these messages; count may be 0.
 *
 * Ownership: *out_state is the caller's, to be given to sorex_state_free; unchanged on failure.
 * Errors:    SOREX_INVALID, SOREX_LIMIT  a message is none, or out of order; SOREX_GUEST  schema() failed, or with
 *            `halt` a message did, or the stack ran over: the text has its number; SOREX_NOMEM, SOREX_FATAL. */
SOREX_API enum sorex_status sorex_derive_state(struct sorex_derivation *derivation,
                                               const struct sorex_message *messages, size_t count,
                                               struct sorex_state **out_state, struct sorex_error *err);
/* Further messages. Errors: as above; the state is that after the messages before the one that failed. */
SOREX_API enum sorex_status sorex_state_apply(struct sorex_state *state, const struct sorex_message *messages,
                                              size_t count, struct sorex_error *err);
/* Another state that begins as this one, in milliseconds: what would happen if. Ownership: as sorex_derive_state. */
SOREX_API enum sorex_status sorex_state_fork(struct sorex_state *state, struct sorex_state **out_state,
                                             struct sorex_error *err);
SOREX_API void sorex_state_free(struct sorex_state *state); /* NULL is ignored */

struct sorex_state_info {
    uint64_t messages, rejected;
    uint8_t log[SOREX_HASH_BYTES];   /* which messages, in which order */
    uint8_t key[SOREX_HASH_BYTES];   /* the same, with engine, reducer and settings: names the state */
    uint8_t trace[SOREX_HASH_BYTES]; /* what they did */
};
SOREX_API void sorex_state_info(const struct sorex_state *state, struct sorex_state_info *out_info);

/* A database of the caller's own with this state: for queries, prepared statements, anything. What is done to it does
 * not get back. Ownership: *out_database by sorex_database_close, before the derivation is freed. */
SOREX_API enum sorex_status sorex_state_database(struct sorex_state *state, struct sorex_database **out_database,
                                                 struct sorex_error *err);
/* One query on such a database. out_result, errors: as sorex_database_exec. */
SOREX_API enum sorex_status sorex_state_query(struct sorex_state *state, const char *sql,
                                              struct sorex_result **out_result, struct sorex_error *err);
/* As sorex_database_digest. */
SOREX_API enum sorex_status sorex_state_digest(struct sorex_state *state, uint8_t *out_digest, struct sorex_error *err);
/* The receipt that `sorex verify` takes, JSON. query: of which it has the result; NULL: none.
 * Ownership: *out_text (*out_len bytes) is the caller's, to be given to free(). Errors: SOREX_INVALID the query. */
SOREX_API enum sorex_status sorex_state_receipt(struct sorex_state *state, const char *query, char **out_text,
                                                size_t *out_len, struct sorex_error *err);

/* ---- export, import ---- */

/* State, reducer and settings as bytes (docs/formats/derivation.md), as `sorex derive --import` takes them.
 * Ownership: *out_bytes (*out_len) is the caller's, to be given to free(). */
SOREX_API enum sorex_status sorex_state_export(struct sorex_state *state, void **out_bytes, size_t *out_len,
                                               struct sorex_error *err);
/* A state and its derivation as they were exported.
 *
 * receipt    JSON of receipt_len bytes that the state must fit: engine, reducer, settings, messages, traces, and the
 *            digest, which is counted again. NULL: anything that is whole; then the bytes deserve as much trust as a
 *            program.
 * cache_dir  as in sorex_derivation_options.
 * Ownership: both are the caller's, unchanged on failure; the state is freed first.
 * Errors:    SOREX_CORRUPT; SOREX_MISMATCH  of another engine, or not what the receipt says; SOREX_NOMEM, SOREX_IO. */
SOREX_API enum sorex_status sorex_state_import(const void *bytes, size_t len, const char *receipt, size_t receipt_len,
                                               const char *cache_dir, struct sorex_derivation **out_derivation,
                                               struct sorex_state **out_state, struct sorex_error *err);

#ifdef __cplusplus
}
#endif
#endif
