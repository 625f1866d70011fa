/* Values between C and PostgreSQL: the binary formats of the built-in types, the text that PostgreSQL prints for them,
 * and what a C program knows values as.
 *
 * Text is as with DateStyle ISO, IntervalStyle postgres, TimeZone UTC, bytea_output hex and extra_float_digits 1, which
 * are the server's defaults but for the zone. Source: the *_recv, *_send and *_out functions of PostgreSQL;
 * documentation, "Data Types". Binary formats are big-endian and have been the same since PostgreSQL 8.4; NaN and
 * infinity of numeric, infinity of interval were added in 14 and 17. Thread: any. */
#ifndef SOREX_PG_VALUE_H
#define SOREX_PG_VALUE_H

#include "pg/protocol.h"

/* X(name, object id, object id of its array type): object ids of built-in types never change. */
#define VALUE_TYPE_LIST(X)     \
    X(BOOL, 16, 1000)          \
    X(BYTEA, 17, 1001)         \
    X(CHAR, 18, 1002)          \
    X(NAME, 19, 1003)          \
    X(INT8, 20, 1016)          \
    X(INT2, 21, 1005)          \
    X(INT4, 23, 1007)          \
    X(TEXT, 25, 1009)          \
    X(OID, 26, 1028)           \
    X(XID, 28, 1011)           \
    X(JSON, 114, 199)          \
    X(XML, 142, 143)           \
    X(FLOAT4, 700, 1021)       \
    X(FLOAT8, 701, 1022)       \
    X(UNKNOWN, 705, 0)         \
    X(BPCHAR, 1042, 1014)      \
    X(VARCHAR, 1043, 1015)     \
    X(DATE, 1082, 1182)        \
    X(TIME, 1083, 1183)        \
    X(TIMESTAMP, 1114, 1115)   \
    X(TIMESTAMPTZ, 1184, 1185) \
    X(INTERVAL, 1186, 1187)    \
    X(TIMETZ, 1266, 1270)      \
    X(NUMERIC, 1700, 1231)     \
    X(UUID, 2950, 2951)        \
    X(VOID, 2278, 0)           \
    X(JSONB, 3802, 3807)

enum value_type {
#define VALUE_TYPE_ENUM(name, oid, array) VALUE_##name = (oid),
    VALUE_TYPE_LIST(VALUE_TYPE_ENUM)
#undef VALUE_TYPE_ENUM
};

/* ---- binary -> text ---- */

/* Whether it is one of the list, or an array of one. */
bool value_known(uint32_t type);
/* Whether psql sets it to the right: numbers, object ids. */
bool value_is_number(uint32_t type);

/* Appends the text of a value in binary format; nothing on failure.
 * Errors: SOREX_GONE     the type is not known here;
 *         SOREX_CORRUPT  the bytes are no value of that type; SOREX_LIMIT, SOREX_NOMEM. */
enum sorex_status value_text(uint32_t type, struct bytes binary, struct buf *out, struct sorex_error *err);

/* ---- what a C program knows ---- */

enum value_kind { VALUE_IS_NULL, VALUE_IS_INTEGER, VALUE_IS_REAL, VALUE_IS_TEXT, VALUE_IS_BLOB };

struct value {
    enum value_kind kind;
    int64_t integer;    /* INTEGER: integers, object ids, booleans as 0 and 1 */
    double real;        /* REAL */
    struct bytes bytes; /* TEXT: everything else, as value_text says it; BLOB: bytea */
};

/* Reads a value in binary format. Text that has to be made is appended to `texts`.
 * Ownership: out->bytes points into the value's bytes, or into texts until that changes.
 * Errors:    as value_text. */
enum sorex_status value_read(uint32_t type, const struct protocol_value *value, struct buf *texts, struct value *out,
                             struct sorex_error *err);

/* A C value as a parameter of that type (0: not known). Its bytes are appended to `bytes`, *out says where and in which
 * format: integer  binary for integers, object ids, booleans (0 or 1) and floats; its digits for others real     binary
 * for floats; the shortest text that reads back for others text     text: what it means is the type's input function's
 * business blob     binary: bytea as it is; of another type, its binary format Ownership: out->bytes has no data yet,
 * as the buffer may move: its length is set, and it begins at *out_at. Errors:    SOREX_INVALID an integer outside of
 * the type's range. */
enum sorex_status value_parameter(const struct value *value, uint32_t type, struct buf *bytes, size_t *out_at,
                                  struct protocol_parameter *out, struct sorex_error *err);

/* Text of a double or a float as PostgreSQL prints it. */
#define VALUE_FLOAT_TEXT_SIZE 64u
void value_float8_text(double value, char out[VALUE_FLOAT_TEXT_SIZE]);
void value_float4_text(float value, char out[VALUE_FLOAT_TEXT_SIZE]);

#endif
