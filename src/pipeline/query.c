#include "pipeline/query.h"

#include "base/check.h"
#include "pipeline/images.h"
#include "pipeline/memory_state.h"

struct reader_state {
    struct store_reader *reader;
    struct store_space space;
};

static enum sorex_status reader_get(void *user_data, struct bytes key, struct bytes *out_value, bool *out_found,
                                    struct sorex_error *err)
{
    struct reader_state *state = user_data;
    return store_reader_get(state->reader, state->space, key, out_value, out_found, err);
}

/* A height that is not there yet is refused: its answer would change. */
static enum sorex_status reader_open(struct store *store, uint32_t height, struct store_reader **out, struct sorex_error *err)
{
    TRY(store_reader_open(store, height, out, err));
    uint32_t opened = store_reader_height(*out);
    if (height == SOREX_HEIGHT_NONE || opened == height)
        return SOREX_OK;
    store_reader_close(*out);
    *out = NULL;
    if (opened == SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_GONE, "height %u: nothing is durable yet", height);
    return sorex_error_set(err, SOREX_GONE, "height %u is above the newest durable one, %u", height, opened);
}

enum sorex_status query_view(struct store *store, struct program *indexer, struct bytes name, struct bytes input,
                             uint32_t height, struct buf *out, uint32_t *out_height, struct sorex_error *err)
{
    struct reader_state state = {.space = program_space(indexer, STORE_KEYS)};
    TRY(reader_open(store, height, &state.reader, err));
    *out_height = store_reader_height(state.reader);
    struct state_reader reader = {.get = reader_get, .user_data = &state};
    enum sorex_status status =
        indexer_view(indexer->indexer, name, *out_height, input, &reader, out, NULL, NULL, err);
    store_reader_close(state.reader);
    return status;
}

enum sorex_status query_preview(struct store *store, struct program *indexer, struct bytes block, struct bytes name,
                                struct bytes input, uint32_t height, struct buf *out, uint32_t *out_height,
                                struct sorex_error *err)
{
    struct reader_state state = {.space = program_space(indexer, STORE_KEYS)};
    TRY(reader_open(store, height, &state.reader, err));
    *out_height = store_reader_height(state.reader) + 1;
    struct state_reader below = {.get = reader_get, .user_data = &state};
    struct memory_state overlay;
    memory_state_init(&overlay, &below);
    struct state_writer writer = memory_state_writer(&overlay);
    struct state_reader above = memory_state_reader(&overlay);
    struct indexer_result result;
    enum sorex_status status = indexer_run(indexer->indexer, *out_height, block, &below, &writer, &result, err);
    if (status == SOREX_OK)
        status = indexer_view(indexer->indexer, name, *out_height, input, &above, out, NULL, NULL, err);
    memory_state_deinit(&overlay);
    store_reader_close(state.reader);
    return status;
}

static enum sorex_status scan_open(struct store *store, const char *program, uint32_t height, struct store_program *out_program,
                                   struct store_reader **out, uint32_t *out_height, struct sorex_error *err)
{
    TRY(store_program_find(store, program, out_program, err));
    TRY(reader_open(store, height, out, err));
    *out_height = store_reader_height(*out);
    return SOREX_OK;
}

enum sorex_status query_dump(struct store *store, const char *program, uint32_t height, struct bytes prefix,
                             dump_line_fn *line, void *user_data, uint32_t *out_height, struct sorex_error *err)
{
    struct store_program found;
    struct store_reader *reader;
    TRY(scan_open(store, program, height, &found, &reader, out_height, err));
    struct dump dump;
    dump_init(&dump, line, user_data);
    struct store_space space = {.program = found.id, .kind = STORE_KEYS};
    enum sorex_status status = store_reader_scan(reader, space, prefix, dump_pair, &dump, err);
    if (status == SOREX_OK)
        status = dump_finish(&dump, err);
    dump_deinit(&dump);
    store_reader_close(reader);
    return status;
}

enum sorex_status query_hash(struct store *store, const char *program, uint32_t height, struct bytes prefix,
                             struct query_hashes *out, struct sorex_error *err)
{
    struct sha256 hash;
    *out = (struct query_hashes){0};
    TRY(sha256_init(&hash, err));
    enum sorex_status status = query_dump(store, program, height, prefix, dump_hash_line, &hash, &out->height, err);
    if (status == SOREX_OK)
        sha256_finish(&hash, out->state);
    sha256_deinit(&hash);
    if (status != SOREX_OK || prefix.len != 0)
        return status;
    struct store_program found;
    TRY(store_program_find(store, program, &found, err));
    status = store_commitment(store, out->height, found.id, out->commitment, err);
    out->has_commitment = status == SOREX_OK;
    return status == SOREX_GONE ? SOREX_OK : status;
}

struct rows {
    query_row_fn *row;
    void *user_data;
};

static enum sorex_status row_pair(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct rows *rows = user_data;
    struct bytes table, row_key;
    if (!image_key_split(key, &table, &row_key))
        return sorex_error_set(err, SOREX_CORRUPT, "a stored image's key does not decode");
    return rows->row(rows->user_data, table, row_key, value, err);
}

enum sorex_status query_rows(struct store *store, const char *program, uint32_t height, query_row_fn *row, void *user_data,
                             uint32_t *out_height, struct sorex_error *err)
{
    struct store_program found;
    struct store_reader *reader;
    if (strcmp(program, FILTERS_PROGRAM) == 0)
        return sorex_error_set(err, SOREX_GONE, "program %s is the pipeline's list of filters: it makes no rows", program);
    TRY(scan_open(store, program, height, &found, &reader, out_height, err));
    struct store_space space = {.program = found.id, .kind = STORE_IMAGES};
    struct rows rows = {.row = row, .user_data = user_data};
    enum sorex_status status = store_reader_scan(reader, space, bytes_of(NULL, 0), row_pair, &rows, err);
    store_reader_close(reader);
    return status;
}
