#include "pipeline/past.h"

#include "base/check.h"
#include "base/file.h"
#include "pipeline/chain_blocks.h"

static enum sorex_status is_on(void *user_data, const struct chained_place *place, bool *out, struct sorex_error *err)
{
    return chain_blocks_has(user_data, place, out, err);
}

static enum sorex_status entry_at(void *user_data, uint32_t height, struct entry *out, struct sorex_error *err)
{
    return chain_blocks_fetch(user_data, height, out, err);
}

enum sorex_status past_open(const struct pipeline_settings *settings, struct store *store, struct chained *of,
                            uint32_t height, struct database **out, struct sorex_error *err)
{
    struct chain_blocks blocks = {.store = store};
    const struct chained_chain chain = {.is_on = is_on, .entry = entry_at, .user_data = &blocks};
    struct chained_options options = {.name = settings->reducer.name,
                                      .dir = settings->top.data,
                                      .settings = &settings->reducer.derive,
                                      .first_height = chained_first_height(of)};
    struct buf wasm = {0};
    enum sorex_status status = settings->source_type->open(settings->source, &blocks.source, err);
    if (status != SOREX_OK)
        return sorex_error_prefix(err, "source %s", settings->source_type->name);
    status = file_read(settings->reducer.wasm, SOREX_MODULE_BYTES_MAX, &wasm, err);
    options.wasm = buf_view(&wasm);
    if (status == SOREX_OK)
        status = chained_at(&options, of, height, &chain, chained_program(of), out, err);
    buf_deinit(&wasm);
    chain_blocks_deinit(&blocks);
    blocks.source->type->close(blocks.source);
    return status == SOREX_OK ? SOREX_OK : sorex_error_prefix(err, "reducer %s", settings->reducer.name);
}
