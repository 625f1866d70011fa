/* Questions about durable state: views, previews, dumps, hashes, rows. All read through a store_reader, on any thread. */
#ifndef SOREX_PIPELINE_QUERY_H
#define SOREX_PIPELINE_QUERY_H

#include "pipeline/dump.h"
#include "pipeline/program.h"

/* Runs a view at a height (SOREX_HEIGHT_NONE: the durable tip). Appends the result. *out_height: the height it was read at. */
enum sorex_status query_view(struct store *store, struct program *indexer, struct bytes name, struct bytes input,
                             uint32_t height, struct buf *out, uint32_t *out_height, struct sorex_error *err);

/* Runs _start with block at height + 1 over a throw-away overlay, then the view there. The store is untouched. */
enum sorex_status query_preview(struct store *store, struct program *indexer, struct bytes block, struct bytes name,
                                struct bytes input, uint32_t height, struct buf *out, uint32_t *out_height,
                                struct sorex_error *err);

/* Every live key of the program with the prefix, as dump lines. */
enum sorex_status query_dump(struct store *store, const char *program, uint32_t height, struct bytes prefix,
                             dump_line_fn *line, void *user_data, uint32_t *out_height, struct sorex_error *err);

struct query_hashes {
    uint32_t height;
    uint8_t state[SHA256_BYTES];      /* SHA-256 of the dump */
    bool has_commitment;              /* false with a prefix */
    uint8_t commitment[SHA256_BYTES];
};
enum sorex_status query_hash(struct store *store, const char *program, uint32_t height, struct bytes prefix,
                             struct query_hashes *out, struct sorex_error *err);

/* Current rows of a transform with `before: engine`: table, key and image (JSON), in order of table and key. */
typedef enum sorex_status query_row_fn(void *user_data, struct bytes table, struct bytes key, struct bytes image,
                                       struct sorex_error *err);
enum sorex_status query_rows(struct store *store, const char *program, uint32_t height, query_row_fn *row, void *user_data,
                             uint32_t *out_height, struct sorex_error *err);

#endif
