/* PostgreSQL's wire protocol, versions 3.0 and 3.2, as a client speaks it: messages to the server are appended to a
 * buffer, messages from it are read out of bytes that may still be incomplete.
 *
 * A message is a type (one byte), a length (4 bytes, big-endian, counting itself) and a body; the first message of a
 * connection has no type. Source: PostgreSQL documentation, "Frontend/Backend Protocol", sections "Message Formats" and
 * "Error and Notice Message Fields".
 *
 * What is read is views into the input: nothing is copied, and nothing is taken that is not whole, of the announced
 * length to the byte, and terminated where it has to be.
 * Thread: any; no state of its own. */
#ifndef SOREX_PG_PROTOCOL_H
#define SOREX_PG_PROTOCOL_H

#include "base/codec.h"

#define PROTOCOL_VERSION_3_0 0x00030000u
#define PROTOCOL_VERSION_3_2 0x00030002u
#define PROTOCOL_CANCEL 80877102u
#define PROTOCOL_SSL 80877103u
#define PROTOCOL_GSSENC 80877104u

/* Length field of a message: PostgreSQL's own limit on what it allocates, less one. */
#define PROTOCOL_MESSAGE_BYTES_MAX ((size_t)0x3ffffffe)
/* Parameters of one Bind: the count has 16 bits. */
#define PROTOCOL_PARAMETERS_MAX 65535u

enum protocol_format { PROTOCOL_TEXT = 0, PROTOCOL_BINARY = 1 };

/* ---- from the server ---- */

enum protocol_type {
    PROTOCOL_AUTHENTICATION = 'R',
    PROTOCOL_KEY = 'K',
    PROTOCOL_NEGOTIATE = 'v',
    PROTOCOL_PARAMETER = 'S',
    PROTOCOL_READY = 'Z',
    PROTOCOL_COLUMNS = 'T',
    PROTOCOL_ROW = 'D',
    PROTOCOL_COMPLETE = 'C',
    PROTOCOL_EMPTY_QUERY = 'I',
    PROTOCOL_ERROR = 'E',
    PROTOCOL_NOTICE = 'N',
    PROTOCOL_NOTIFICATION = 'A',
    PROTOCOL_PARSED = '1',
    PROTOCOL_BOUND = '2',
    PROTOCOL_CLOSED = '3',
    PROTOCOL_SUSPENDED = 's',
    PROTOCOL_NO_DATA = 'n',
    PROTOCOL_PARAMETER_TYPES = 't',
    PROTOCOL_COPY_IN = 'G',
    PROTOCOL_COPY_OUT = 'H',
    PROTOCOL_COPY_BOTH = 'W',
    PROTOCOL_COPY_DATA = 'd',
    PROTOCOL_COPY_DONE = 'c',
};

/* RowDescription. Take the columns one by one with protocol_column_next, count times. */
struct protocol_columns {
    uint16_t count;
    struct reader rest;
};
struct protocol_column {
    struct bytes name;
    uint32_t table;     /* 0: not a column of a table */
    int16_t attribute;  /* its number in the table, or 0 */
    uint32_t type;      /* object id */
    int16_t type_bytes; /* negative: variable width */
    int32_t modifier;   /* -1: none */
    enum protocol_format format;
};

/* DataRow. Take the values with protocol_value_next, count times. */
struct protocol_row {
    uint16_t count;
    struct reader rest;
};
struct protocol_value {
    struct bytes bytes;
    bool null;
};

/* The fields of ErrorResponse and NoticeResponse: X(name, code). */
#define PROTOCOL_FIELD_LIST(X) \
    X(SEVERITY, 'S')           \
    X(SEVERITY_ENGLISH, 'V')   \
    X(SQLSTATE, 'C')           \
    X(MESSAGE, 'M')            \
    X(DETAIL, 'D')             \
    X(HINT, 'H')               \
    X(POSITION, 'P')           \
    X(INTERNAL_POSITION, 'p')  \
    X(INTERNAL_QUERY, 'q')     \
    X(CONTEXT, 'W')            \
    X(SCHEMA, 's')             \
    X(TABLE, 't')              \
    X(COLUMN, 'c')             \
    X(DATATYPE, 'd')           \
    X(CONSTRAINT, 'n')         \
    X(FILE, 'F')               \
    X(LINE, 'L')               \
    X(ROUTINE, 'R')

enum protocol_field {
#define PROTOCOL_FIELD_ENUM(name, code) PROTOCOL_FIELD_##name,
    PROTOCOL_FIELD_LIST(PROTOCOL_FIELD_ENUM)
#undef PROTOCOL_FIELD_ENUM
        PROTOCOL_FIELDS
};

/* Severity, SQLSTATE (5 characters) and message are always there; of the others, absent ones have data NULL. */
struct protocol_notice {
    struct bytes fields[PROTOCOL_FIELDS];
};

struct protocol_message {
    enum protocol_type type;
    struct bytes body;
    union {
        struct protocol_columns columns; /* COLUMNS */
        struct protocol_row row;         /* ROW */
        struct protocol_notice notice;   /* ERROR, NOTICE */
        struct bytes text;               /* COMPLETE: the command's tag; COPY_DATA: the data */
        char transaction;                /* READY: 'I' none, 'T' open, 'E' failed */
        struct {
            struct bytes name, value;
        } parameter; /* PARAMETER */
        struct {
            uint16_t count;
            struct reader rest; /* protocol_type_next, count times */
        } types;                /* PARAMETER_TYPES */
        struct {
            enum protocol_format format; /* of the whole */
            uint16_t count;              /* columns; all have that format in text, any in binary */
        } copy;                          /* COPY_IN, COPY_OUT, COPY_BOTH */
        struct {
            uint32_t process;
            struct bytes channel, payload;
        } notification; /* NOTIFICATION */
        struct {
            uint32_t kind; /* 0: done, 3: password, 5: MD5, 10 to 12: SASL, ... */
            struct bytes data;
        } authentication; /* AUTHENTICATION */
        struct {
            uint32_t process;
            struct bytes secret; /* 4 bytes; in 3.2 up to 256 */
        } key;                   /* KEY */
        struct {
            uint32_t version; /* the newest minor version, in some servers with the major one above it */
            uint32_t count;   /* options that the server did not know */
        } negotiate;          /* NEGOTIATE */
    };
};

/* Takes the message that *in begins with, if all of it is there, and moves *in behind it; *out_whole says whether.
 *
 * Ownership: *out points into the bytes of *in.
 * Errors:    SOREX_CORRUPT  it is no message of a server, or does not add up; *in is where it was.
 *            SOREX_LIMIT    it is longer than PROTOCOL_MESSAGE_BYTES_MAX. */
enum sorex_status protocol_take(struct bytes *in, struct protocol_message *out, bool *out_whole,
                                struct sorex_error *err);

/* The parts of a message that protocol_take gave. A bug to call them more than count times. */
struct protocol_column protocol_column_next(struct protocol_columns *columns);
struct protocol_value protocol_value_next(struct protocol_row *row);
uint32_t protocol_type_next(struct reader *types);

/* ---- to the server ---- */

/* All of them append one message, or nothing at all.
 * Errors: SOREX_INVALID a text with a NUL in it, where the message says where it ends by one; SOREX_LIMIT too long or
 * too many; SOREX_NOMEM. */

struct protocol_setting {
    struct bytes name, value;
};
enum sorex_status protocol_startup(struct buf *out, uint32_t version, const struct protocol_setting *settings,
                                   size_t settings_count, struct sorex_error *err);
enum sorex_status protocol_cancel(struct buf *out, uint32_t process, struct bytes secret, struct sorex_error *err);
enum sorex_status protocol_query(struct buf *out, struct bytes sql, struct sorex_error *err);
/* types: object ids, 0 where the server is to find out; may be fewer than there are parameters. */
enum sorex_status protocol_parse(struct buf *out, struct bytes statement, struct bytes sql, const uint32_t *types,
                                 size_t types_count, struct sorex_error *err);

struct protocol_parameter {
    struct bytes bytes;
    bool null;
    enum protocol_format format;
};
struct protocol_bind {
    struct bytes portal, statement;
    const struct protocol_parameter *parameters;
    size_t parameters_count;
    enum protocol_format results;        /* of every column, */
    const enum protocol_format *formats; /* but where these are given: one for each column */
    size_t formats_count;
};
enum sorex_status protocol_bind(struct buf *out, const struct protocol_bind *bind, struct sorex_error *err);

enum protocol_object { PROTOCOL_STATEMENT = 'S', PROTOCOL_PORTAL = 'P' };
enum sorex_status protocol_describe(struct buf *out, enum protocol_object object, struct bytes name,
                                    struct sorex_error *err);
enum sorex_status protocol_close(struct buf *out, enum protocol_object object, struct bytes name,
                                 struct sorex_error *err);
/* rows_max: 0 = all. */
enum sorex_status protocol_execute(struct buf *out, struct bytes portal, uint32_t rows_max, struct sorex_error *err);
enum sorex_status protocol_sync(struct buf *out, struct sorex_error *err);
enum sorex_status protocol_flush(struct buf *out, struct sorex_error *err);
enum sorex_status protocol_terminate(struct buf *out, struct sorex_error *err);
enum sorex_status protocol_copy_data(struct buf *out, struct bytes data, struct sorex_error *err);
enum sorex_status protocol_copy_done(struct buf *out, struct sorex_error *err);
enum sorex_status protocol_copy_fail(struct buf *out, struct bytes reason, struct sorex_error *err);

#endif
