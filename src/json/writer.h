/* The one JSON writer: commas, quoting and nesting are its business; no JSON is made with printf.
 * Strings: only `"`, `\` and control characters are escaped (\b \f \n \r \t, else \u00xx). Bytes that are not UTF-8 become U+FFFD. */
#ifndef SOREX_JSON_WRITER_H
#define SOREX_JSON_WRITER_H

#include "base/bytes.h"
#include "base/limits.h"

struct json_writer {
    struct buf *out;              /* borrowed; appended to */
    struct sorex_error *err;      /* borrowed; the first failure is kept there */
    enum sorex_status status;     /* sticky: after a failure every call does nothing */
    bool pretty;                  /* two-space indent, one member a line */
    unsigned depth;
    uint8_t levels[SOREX_JSON_DEPTH_MAX]; /* per open level: is array, has elements, name written */
};

void json_writer_init(struct json_writer *w, struct buf *out, bool pretty, struct sorex_error *err);
void json_object_begin(struct json_writer *w);
void json_object_end(struct json_writer *w);
void json_array_begin(struct json_writer *w);
void json_array_end(struct json_writer *w);
void json_name(struct json_writer *w, const char *name);
void json_name_bytes(struct json_writer *w, struct bytes name);
void json_string(struct json_writer *w, struct bytes text);
void json_string_z(struct json_writer *w, const char *text);
void json_uint(struct json_writer *w, uint64_t value);
void json_int(struct json_writer *w, int64_t value);
void json_double(struct json_writer *w, double value); /* shortest text that reads back; for reports only */
void json_bool(struct json_writer *w, bool value);
void json_null(struct json_writer *w);
/* A string of lower-case hex digits; a hash in display order (32 bytes, reversed). */
void json_hex(struct json_writer *w, struct bytes bytes);
void json_hash_display(struct json_writer *w, const uint8_t hash[32]);
/* Text that is JSON already, taken as it is. */
void json_raw(struct json_writer *w, struct bytes text);
/* The sticky status; checks that everything opened was closed. */
enum sorex_status json_writer_finish(struct json_writer *w);

#endif
