/* Contract 4: reducers. A guest folds messages into an embedded PostgreSQL, one transaction each.
 * docs/abi/reducer.md has the contract.
 *
 * A reducer keeps a snapshot of the database that it saw last, to go back to: it is freed before the database's
 * program. What it knows of a session it learns again when the database is not as it left it (database_mark), which
 * costs some milliseconds; results do not depend on that.
 *
 * Thread: a reducer by one at a time, with the database that it is given. */
#ifndef SOREX_GUEST_REDUCER_H
#define SOREX_GUEST_REDUCER_H

#include "base/sha256.h"
#include "pg/database.h"
#include "wasm/wasm.h"

/* What a message may have. The time is what the virtual clock holds: up to the end of 2261. */
#define REDUCER_TIME_MS_MAX INT64_C(9214646399999)
#define REDUCER_AUTHOR_BYTES_MAX ((size_t)4096)

struct reducer;

/* Zero everywhere is the default. They are part of what the state is a function of: see reducer_identity. */
struct reducer_options {
    const char *name;          /* for errors and logs; NULL: "reducer" */
    uint64_t memory_bytes_max; /* of the guest; 0: 64 MiB */
    uint64_t fuel;             /* of the guest, for one message; 0: 1,000,000,000 */
    uint64_t sql_fuel;         /* of PostgreSQL, for one statement, where the database is metered; 0: 10,000,000,000 */
    bool halt;                 /* on_error: halt */
    const char *cache_dir;     /* of compiled code; NULL: nowhere */
};

struct reducer_message {
    uint64_t index;      /* from 0 */
    int64_t time_ms;     /* since 1970 */
    struct bytes author; /* UTF-8, may be empty */
    struct bytes payload;
    uint8_t hash[SHA256_BYTES]; /* over canonical (time, author, payload): derive/log.h */
    uint8_t key[SHA256_BYTES];  /* key_n after this message: seeds the random numbers */
};

enum reducer_status { REDUCER_APPLIED, REDUCER_REJECTED };

/* What a message did. Views are the reducer's until its next call. */
struct reducer_result {
    enum reducer_status status;
    int32_t code;        /* of the guest: its own, > 0; else 0 */
    char sqlstate[6];    /* where an SQL error was the cause; "" */
    struct bytes reason; /* text of a rejection, deterministic */
    uint64_t fuel;       /* that the guest used */
    uint64_t statements;
    uint8_t trace[SHA256_BYTES]; /* SHA-256 over status, every statement, its parameters, its results */
};

/* Takes a part of a trace: for bisecting, which prints the first statement or result that differs. text: one line,
 * readable. */
typedef enum sorex_status reducer_trace_fn(void *user_data, struct bytes text, struct sorex_error *err);

/* Checks and compiles a module. Errors: SOREX_INVALID with the import or export; SOREX_NOMEM, SOREX_IO. */
enum sorex_status reducer_load(struct bytes wasm, const struct reducer_options *options, struct reducer **out,
                               struct sorex_error *err);
void reducer_free(struct reducer *reducer); /* NULL is fine */
/* SHA-256 of the module. */
const uint8_t *reducer_hash(const struct reducer *reducer);
/* Whether the contract has this import. */
bool reducer_has_import(struct bytes module, struct bytes name);
/* Appends what key_0 covers of the reducer, as lines NAME=VALUE: semantics number, module hash, settings. */
enum sorex_status reducer_identity(const struct reducer *reducer, struct buf *out, struct sorex_error *err);

/* Makes roles, sorex's tables and what the guest's schema() makes, in a new database; or does nothing but check, in
 * one that has them. */
enum sorex_status reducer_schema(struct reducer *reducer, struct database *database, struct sorex_error *err);

/* Runs one message in a fresh instance inside of its own transaction, and records it in sorex.messages.
 *
 * message    its time is from 0 to REDUCER_TIME_MS_MAX; its author UTF-8 without zero bytes, up to
 *            REDUCER_AUTHOR_BYTES_MAX; borrowed for the call.
 * trace      NULL, or takes the readable trace.
 * Errors:    SOREX_INVALID, SOREX_LIMIT a message that is none, or whose number is there already; SOREX_MISMATCH a
 *            database without sorex's tables, or of another reducer;
 *            those that stop a derivation: SOREX_GUEST with on_error halt, or a stack overflow; SOREX_NOMEM,
 *            SOREX_FATAL and other failures of the host. The database is to be restored by the caller then. */
enum sorex_status reducer_apply(struct reducer *reducer, struct database *database,
                                const struct reducer_message *message, reducer_trace_fn *trace, void *user_data,
                                struct reducer_result *out, struct sorex_error *err);

#endif
