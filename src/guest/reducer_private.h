/* What the files of contract 4 share. Included by nothing but reducer*.c. */
#ifndef SOREX_GUEST_REDUCER_PRIVATE_H
#define SOREX_GUEST_REDUCER_PRIVATE_H

#include "base/hex.h"
#include "guest/reducer.h"

/* What derived states depend on beside modules and settings: these limits, the protocol of a message, the bytes of a
 * trace. It grows with every change of them. */
#define REDUCER_SEMANTICS 1u

/* Texts that stay prepared from message to message: the first ones that come. */
#define REDUCER_PREPARED_MAX 256u
#define REDUCER_PREPARED_BYTES_MAX ((size_t)64 << 10) /* of each of them */
#define REDUCER_SQL_BYTES_MAX ((size_t)1 << 20)
#define REDUCER_HANDLES_MAX 1024u /* in one message */
#define REDUCER_STATEMENTS_MAX                                                            \
    100000u /* executed in one message: the guest's fuel does not cover PostgreSQL's work \
             */
#define REDUCER_HELD_BYTES_MAX ((size_t)64 << 20) /* parameters and rows of all handles together */
#define REDUCER_ROWS_AT_ONCE 1000u                /* that one exchange fetches */
#define REDUCER_REASON_BYTES_MAX ((size_t)1024)
#define REDUCER_LOG_LINES_MAX 1000u /* of one message */
/* How far a state that is put back may lie in the past. */
#define REDUCER_REPLAY_MESSAGES_MAX 1000u
#define REDUCER_REPLAY_BYTES_MAX ((size_t)16 << 20)

/* Results of imports below 0. */
enum reducer_code {
    REDUCER_SQL = -1,     /* PostgreSQL's error, or one that counts as such: error_read, sqlstate */
    REDUCER_POINTER = -2, /* outside of the memory, or a negative length */
    REDUCER_HANDLE = -3,  /* no such statement */
    REDUCER_INDEX = -4,   /* no such parameter or column */
    REDUCER_NO_ROW = -5,  /* the statement has no row in hand */
    REDUCER_NONE = -6,    /* schema() has no message */
    REDUCER_LIMIT = -7    /* too many statements, too many bytes */
};

/* A text that PostgreSQL has prepared. */
struct reducer_prepared {
    uint64_t hash;    /* of the text */
    struct bytes sql; /* owned */
    uint32_t number;  /* of its name: sorex_NUMBER, or for temporary ones sorex_t_NUMBER */
    bool temporary;   /* of one message */
    bool recorded;    /* sorex.statements has it */
    bool stale;       /* it is to be prepared anew in the next message */
    bool resumes;     /* ROLLBACK TO: goes on after an error */
    size_t parameters_count, columns_count;
    uint32_t *parameters, *columns; /* types */
    enum protocol_format *formats;  /* of the columns */
};

struct reducer_parameter {
    struct value value; /* its bytes are in `bytes` */
    struct buf bytes;
};

enum reducer_progress { HANDLE_IDLE, HANDLE_ROWS, HANDLE_DONE };

/* A statement of one message, with its parameters and rows. */
struct reducer_handle {
    struct reducer_prepared *prepared;
    enum reducer_progress progress;
    bool portal;      /* there is one of its name */
    bool suspended;   /* which has more rows */
    uint64_t fetched; /* rows, by all exchanges */
    bool bound;       /* something is */
    int32_t unbound;  /* the code of a bind that failed: step gives it back. 0: none */
    struct reducer_parameter *parameters;
    size_t parameters_cap;
    struct buf reply;  /* what PostgreSQL answered */
    struct bytes rest; /* of it, behind the row in hand */
    bool row;          /* there is a row in hand */
    struct protocol_value *values;
    size_t values_cap;
    struct buf text; /* of a column */
};

/* Why a message cannot go on, beside what the guest itself did. */
enum reducer_stop {
    STOP_NONE,
    STOP_REJECT, /* the guest asked for it */
    STOP_FAULT,  /* the guest broke a limit of the host: rejected */
    STOP_STATE,  /* the database is broken, or its transaction is not what it has to be: rejected, the state put back */
    STOP_HOST    /* the host's trouble, or what depends on the machine: the derivation stops */
};

/* One message, or schema(). What imports see. */
struct reducer_call {
    struct reducer *reducer;
    struct database *database;
    const struct reducer_message *message; /* NULL: schema() */
    bool replay;                           /* nobody looks */
    reducer_trace_fn *trace;               /* may be NULL */
    void *trace_user_data;
    char transaction; /* as the last exchange left it */
    bool refused;     /* a statement that the host did not let through: counts as a failed transaction */
    char sqlstate[6]; /* of the last error; "" */
    struct buf text;  /* of the last error */
    int64_t changes;
    uint64_t statements;
    uint32_t log_lines;
    size_t held;
    size_t handles_count;
    enum reducer_stop stop;
    enum sorex_status stop_status;
    struct buf stop_text;
    int32_t code; /* of STOP_REJECT */
};

struct reducer {
    char *name;
    struct wasm_program *program;
    const struct wasm_export *schema; /* NULL: none */
    const struct wasm_export *reduce;
    uint8_t hash[SHA256_BYTES];
    uint64_t memory_bytes_max, fuel, sql_fuel;
    bool halt;
    /* The session, as it was left. */
    uint64_t mark; /* of the database; 0: none */
    uint32_t role; /* of the guest */
    struct reducer_prepared *prepared[REDUCER_PREPARED_MAX];
    size_t prepared_count;
    uint32_t prepared_next; /* number of the next one */
    struct reducer_prepared *temporary[REDUCER_HANDLES_MAX];
    size_t temporary_count;
    /* Where to go back to, and what came since. */
    struct snapshot *base;
    struct buf since;
    size_t since_count;
    /* Of the call in hand. */
    struct reducer_handle *handles[REDUCER_HANDLES_MAX]; /* kept for the next call */
    struct sha256 trace;
    struct buf messages, replies, bytes, line;
    struct protocol_parameter *encoded; /* parameters on their way, and where their bytes begin */
    size_t *places;
    size_t encoded_cap;
    struct results results;
    struct buf reason; /* of the last result */
};

/* -- reducer_load.c */

/* Everything that can be said about a module without running it. */
enum sorex_status reducer_module_check(struct bytes wasm, uint64_t memory_bytes_max, struct sorex_error *err);

/* -- reducer_host.c */

extern const struct wasm_import reducer_imports[];
extern const size_t reducer_imports_count;

/* -- reducer_sql.c */

enum sql_kind {
    SQL_PLAIN,
    SQL_RESUMES, /* ROLLBACK TO */
    SQL_REFUSED  /* transactions are the host's; COPY has no other side; what is prepared is the host's */
};
/* What a statement is by its first words; *out_word is the first one. */
enum sql_kind sql_kind_of(struct bytes sql, struct bytes *out_word);
/* Appends a value of COPY's text format. */
enum sorex_status sql_copy_text(struct buf *out, struct bytes text, struct sorex_error *err);

/* -- reducer_statement.c: what statements do, for imports. All return SOREX_OK and a code, unless the guest has to be
 * unwound: then call->stop says why. */

enum sorex_status statement_prepare(struct reducer_call *call, struct bytes sql, int32_t *out, struct sorex_error *err);
struct reducer_handle *statement_find(const struct reducer_call *call, int32_t number); /* NULL: none */
enum sorex_status statement_bind(struct reducer_call *call, int32_t number, int32_t parameter,
                                 const struct value *value, int32_t *out, struct sorex_error *err);
enum sorex_status statement_step(struct reducer_call *call, int32_t number, int32_t *out, struct sorex_error *err);
int32_t statement_reset(struct reducer_call *call, int32_t number);
/* The value of a column of the row in hand. 0, or a code. */
enum sorex_status statement_column(struct reducer_call *call, int32_t number, int32_t column, struct value *out_value,
                                   int32_t *out, struct sorex_error *err);
void handle_free(struct reducer_handle *handle);       /* NULL is fine */
void prepared_free(struct reducer_prepared *prepared); /* NULL is fine */
/* description: of its parameters and columns. */
enum sorex_status prepared_make(const struct results *description, struct bytes sql, uint32_t number, bool temporary,
                                struct reducer_prepared **out, struct sorex_error *err);
enum { PREPARED_NAME_SIZE = 32 };
void prepared_name(const struct reducer_prepared *prepared, char out[PREPARED_NAME_SIZE]);

/* An exchange with the database in the middle of a call: what is in reducer->messages, answered into `out`.
 * Errors: call->stop is set. */
enum sorex_status call_exchange(struct reducer_call *call, struct buf *out, struct sorex_error *err);
/* Sets the stop and returns its status. */
enum sorex_status call_stop(struct reducer_call *call, enum reducer_stop stop, enum sorex_status status,
                            struct sorex_error *err, const char *format, ...) SOREX_PRINTF(5, 6);
/* Sets the last error. */
enum sorex_status call_error(struct reducer_call *call, struct bytes sqlstate, struct bytes text, struct bytes detail,
                             struct sorex_error *err);

/* -- reducer_trace.c */

enum sorex_status trace_statement(struct reducer_call *call, const struct reducer_handle *handle,
                                  const struct protocol_parameter *parameters, struct sorex_error *err);
enum sorex_status trace_row(struct reducer_call *call, const struct reducer_prepared *prepared,
                            const struct protocol_message *message, struct sorex_error *err);
enum sorex_status trace_end(struct reducer_call *call, struct bytes tag, struct sorex_error *err);
enum sorex_status trace_error(struct reducer_call *call, struct bytes sql, struct sorex_error *err);
enum sorex_status trace_outcome(struct reducer_call *call, struct reducer_result *result, struct sorex_error *err);

/* -- reducer_session.c: the database between messages */

/* Makes roles and tables. */
enum sorex_status session_make(struct reducer *reducer, struct database *database, struct sorex_error *err);
/* Whether it has them, and of this reducer. Changes nothing. Errors: SOREX_MISMATCH of another one. */
enum sorex_status session_there(struct reducer *reducer, struct database *database, bool *out, struct sorex_error *err);
/* Makes `base` the state of the database, and learns its session when it is not the one that was left.
 * Errors: SOREX_MISMATCH it has no tables of sorex, or of another reducer. */
enum sorex_status session_take(struct reducer *reducer, struct database *database, struct sorex_error *err);
/* Puts the database back to base, and knows what session that is. */
enum sorex_status session_restore(struct reducer *reducer, struct database *database, struct sorex_error *err);
/* Keeps a message that was done, for session_restore's caller. */
enum sorex_status session_keep(struct reducer *reducer, const struct reducer_message *message, struct sorex_error *err);
/* The messages that session_keep kept; begin with *at 0. False: that was the last one. */
bool session_kept(const struct reducer *reducer, size_t *at, struct reducer_message *out);
void session_forget(struct reducer *reducer);

/* Records the message and what was prepared, as the host; result NULL: only the latter. own: in a transaction of its
 * own, else in the one in hand. *out_recorded false: PostgreSQL refused, and the call has its error. */
enum sorex_status session_record(struct reducer_call *call, const struct reducer_result *result, bool own,
                                 bool *out_recorded, struct sorex_error *err);
/* What was recorded is committed. */
void session_recorded(struct reducer *reducer);

#endif
