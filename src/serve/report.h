/* Answers as people read them, or as JSON. */
#ifndef SOREX_SERVE_REPORT_H
#define SOREX_SERVE_REPORT_H

#include "json/json.h"
#include "json/writer.h"
#include "pipeline/query.h"

/* status: the JSON object of pipeline_status as a short text. */
enum sorex_status report_status(struct bytes json, struct buf *out, struct sorex_error *err);

/* "state SHA256\ncommitment SHA256\n", or one JSON object. */
enum sorex_status report_hashes(const struct query_hashes *hashes, bool json, struct buf *out, struct sorex_error *err);
enum sorex_status report_rollback(uint32_t height, uint64_t undone, bool json, struct buf *out, struct sorex_error *err);

/* The `limit` largest rows of a table by a numeric member, or the first ones. */
struct report_kept {
    double rank;
    struct bytes table, key, image;
    struct bytes by; /* text of the member that orders */
};
struct report_rows {
    struct bytes table;       /* empty: every table */
    struct bytes by;          /* member to order by, largest first; empty: order of keys */
    uint64_t limit;
    bool json;
    uint64_t total;           /* rows seen */
    struct report_kept *kept;
    size_t count;
    struct json_parser *parser;
};
enum sorex_status report_rows_init(struct report_rows *rows, struct sorex_error *err);
void report_rows_deinit(struct report_rows *rows);
/* A query_row_fn. */
enum sorex_status report_row(void *rows, struct bytes table, struct bytes key, struct bytes image, struct sorex_error *err);
enum sorex_status report_rows_write(const struct report_rows *rows, uint32_t height, struct buf *out, struct sorex_error *err);

#endif
