/* Contract 4: a guest that folds messages into a PostgreSQL.
 *
 *     static void schema(void)
 *     {
 *         sx_run(sx_prepare("create table notes (id bigint primary key, note text not null)"));
 *     }
 *     SOREX_SCHEMA(schema)
 *
 *     static void reduce(void)
 *     {
 *         int32_t s = sx_prepare("insert into notes values ($1, $2)");
 *         sx_bind_i64(s, 1, sx_message_index());
 *         sx_bind_text(s, 2, sx_message());
 *         sx_run(s);
 *     }
 *     SOREX_REDUCE(reduce)
 *
 * Functions without "try" in their names trap when PostgreSQL says no: the message is rejected with its error. Parameters
 * count from 1, columns from 0. docs/abi/reducer.md has the contract. */
#ifndef SOREX_SDK_REDUCER_H
#define SOREX_SDK_REDUCER_H

#include "sorex/bytes.h"

#define SX_IMPORT(name) __attribute__((import_module("sorex"), import_name(name)))

/* ---- the contract ---- */

SX_IMPORT("message_len") int32_t sorex_message_len(void);
SX_IMPORT("message_read") int32_t sorex_message_read(void *dst, int32_t offset, int32_t len);
SX_IMPORT("message_index") int64_t sorex_message_index(void);
SX_IMPORT("message_time") int64_t sorex_message_time(void);
SX_IMPORT("message_author") int32_t sorex_message_author(void *dst, int32_t cap);
SX_IMPORT("message_hash") int32_t sorex_message_hash(void *dst);
SX_IMPORT("prepare") int32_t sorex_prepare(const void *sql, int32_t len);
SX_IMPORT("bind_null") int32_t sorex_bind_null(int32_t statement, int32_t parameter);
SX_IMPORT("bind_i64") int32_t sorex_bind_i64(int32_t statement, int32_t parameter, int64_t value);
SX_IMPORT("bind_f64") int32_t sorex_bind_f64(int32_t statement, int32_t parameter, double value);
SX_IMPORT("bind_text") int32_t sorex_bind_text(int32_t statement, int32_t parameter, const void *text, int32_t len);
SX_IMPORT("bind_blob") int32_t sorex_bind_blob(int32_t statement, int32_t parameter, const void *blob, int32_t len);
SX_IMPORT("step") int32_t sorex_step(int32_t statement);
SX_IMPORT("column_count") int32_t sorex_column_count(int32_t statement);
SX_IMPORT("column_type") int32_t sorex_column_type(int32_t statement, int32_t column);
SX_IMPORT("column_i64") int64_t sorex_column_i64(int32_t statement, int32_t column);
SX_IMPORT("column_f64") double sorex_column_f64(int32_t statement, int32_t column);
SX_IMPORT("column_len") int32_t sorex_column_len(int32_t statement, int32_t column);
SX_IMPORT("column_read") int32_t sorex_column_read(int32_t statement, int32_t column, void *dst, int32_t cap);
SX_IMPORT("changes") int64_t sorex_changes(void);
SX_IMPORT("reset") int32_t sorex_reset(int32_t statement);
SX_IMPORT("error_len") int32_t sorex_error_len(void);
SX_IMPORT("error_read") int32_t sorex_error_read(void *dst, int32_t cap);
SX_IMPORT("sqlstate") int32_t sorex_sqlstate(void *dst);
SX_IMPORT("log") void sorex_log(int32_t level, const void *text, int32_t len);
SX_IMPORT("reject") _Noreturn void sorex_reject(int32_t code, const void *reason, int32_t len);

/* What step returns; below 0: an error. */
enum sx_step { SX_DONE = 0, SX_ROW = 1 };
/* What column_type returns. */
enum sx_type { SX_NULL, SX_INTEGER, SX_REAL, SX_TEXT, SX_BLOB };
enum sx_level { SX_TRACE, SX_DEBUG, SX_INFO, SX_WARNING, SX_ERROR };

/* ---- exports ---- */

/* fn: a function void fn(void). */
#define SOREX_SCHEMA(fn)                                 \
    SOREX_EXPORT("schema") int32_t sorex_schema_(void); \
    int32_t sorex_schema_(void)                         \
    {                                                   \
        fn();                                           \
        return 0;                                       \
    }
#define SOREX_REDUCE(fn)                                 \
    SOREX_EXPORT("reduce") int32_t sorex_reduce_(void); \
    int32_t sorex_reduce_(void)                         \
    {                                                   \
        fn();                                           \
        return 0;                                       \
    }

/* ---- the message ---- */

static inline struct sx_bytes sx_message(void)
{
    int32_t len = sorex_message_len();
    uint8_t *text = sx_alloc((size_t)len + 1);
    (void)sorex_message_read(text, 0, len);
    return sx_bytes_of(text, (uint32_t)len);
}

static inline struct sx_bytes sx_message_author(void)
{
    int32_t len = sorex_message_author(NULL, 0);
    uint8_t *text = sx_alloc((size_t)len + 1);
    (void)sorex_message_author(text, len);
    return sx_bytes_of(text, (uint32_t)len);
}

static inline int64_t sx_message_index(void) { return sorex_message_index(); }
/* Milliseconds since 1970. */
static inline int64_t sx_message_time(void) { return sorex_message_time(); }

/* ---- the end ---- */

/* The message is rejected with this code, which is more than 0. */
static inline _Noreturn void sx_reject(int32_t code, const char *reason)
{
    struct sx_bytes text = sx_str(reason);
    sorex_reject(code, text.data, (int32_t)text.len);
}

/* For results that have to be 0 or more. */
static inline int32_t sx_must(int32_t result)
{
    if (result < 0)
        __builtin_trap();
    return result;
}

static inline void sx_log(enum sx_level level, struct sx_bytes line)
{
    sorex_log((int32_t)level, line.data, (int32_t)line.len);
}

/* ---- statements ---- */

static inline int32_t sx_prepare_bytes(struct sx_bytes sql) { return sx_must(sorex_prepare(sql.data, (int32_t)sql.len)); }
static inline int32_t sx_prepare(const char *sql) { return sx_prepare_bytes(sx_str(sql)); }

static inline void sx_bind_null(int32_t s, int32_t i) { (void)sx_must(sorex_bind_null(s, i)); }
static inline void sx_bind_i64(int32_t s, int32_t i, int64_t value) { (void)sx_must(sorex_bind_i64(s, i, value)); }
static inline void sx_bind_f64(int32_t s, int32_t i, double value) { (void)sx_must(sorex_bind_f64(s, i, value)); }
static inline void sx_bind_text(int32_t s, int32_t i, struct sx_bytes text)
{
    (void)sx_must(sorex_bind_text(s, i, text.data, (int32_t)text.len));
}
static inline void sx_bind_blob(int32_t s, int32_t i, struct sx_bytes blob)
{
    (void)sx_must(sorex_bind_blob(s, i, blob.data, (int32_t)blob.len));
}
/* data NULL stands for NULL. */
static inline void sx_bind_text_or_null(int32_t s, int32_t i, struct sx_bytes text)
{
    if (text.data == NULL)
        sx_bind_null(s, i);
    else
        sx_bind_text(s, i, text);
}

/* SX_ROW, SX_DONE, or below 0: an error. The transaction has failed then, until a ROLLBACK TO a savepoint. */
static inline int32_t sx_try_step(int32_t s) { return sorex_step(s); }
/* Whether there is a row. */
static inline bool sx_step(int32_t s) { return sx_must(sorex_step(s)) == SX_ROW; }
static inline void sx_reset(int32_t s) { (void)sx_must(sorex_reset(s)); }
/* A statement whose rows are of no interest. */
static inline void sx_run(int32_t s)
{
    (void)sx_step(s);
    sx_reset(s);
}
/* Rows that the last statement wrote, or gave. */
static inline int64_t sx_changes(void) { return sorex_changes(); }

/* ---- columns of the row in hand ---- */

static inline bool sx_column_is_null(int32_t s, int32_t i) { return sx_must(sorex_column_type(s, i)) == SX_NULL; }
/* NULL is 0. */
static inline int64_t sx_column_i64(int32_t s, int32_t i) { return sorex_column_i64(s, i); }
static inline double sx_column_f64(int32_t s, int32_t i) { return sorex_column_f64(s, i); }
/* A copy: text of any type, or the bytes of a bytea. NULL has data NULL. */
static inline struct sx_bytes sx_column_text(int32_t s, int32_t i)
{
    if (sx_column_is_null(s, i))
        return sx_bytes_of(NULL, 0);
    int32_t len = sx_must(sorex_column_len(s, i));
    uint8_t *text = sx_alloc((size_t)len + 1);
    (void)sx_must(sorex_column_read(s, i, text, len));
    return sx_bytes_of(text, (uint32_t)len);
}

/* ---- errors ---- */

static inline struct sx_bytes sx_error(void)
{
    int32_t len = sorex_error_len();
    uint8_t *text = sx_alloc((size_t)len + 1);
    (void)sorex_error_read(text, len);
    return sx_bytes_of(text, (uint32_t)len);
}
/* Whether the last error has these five characters. */
static inline bool sx_sqlstate_is(const char *state)
{
    char last[5];
    (void)sorex_sqlstate(last);
    return __builtin_memcmp(last, state, 5) == 0;
}

#endif
