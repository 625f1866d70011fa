#include "pipeline/past.h"

#include <time.h>

#include "base/check.h"
#include "base/file.h"
#include "pipeline/chain_blocks.h"

#define ATTEMPTS 5u
#define RETRY_MS 200u

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

/* A source that does not answer is asked a few times: a derivation of hours should not end for it. Its SOREX_MISMATCH,
 * another network, says nothing of the receipt. */
static enum sorex_status entry_of_source(void *user_data, uint32_t height, struct entry *out, struct sorex_error *err)
{
    enum sorex_status status = chain_blocks_fetch(user_data, height, out, err);
    for (uint32_t attempt = 0; status == SOREX_AGAIN && attempt < ATTEMPTS; attempt++) {
        uint32_t ms = RETRY_MS << attempt;
        (void)nanosleep(&(struct timespec){.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L}, NULL);
        status = chain_blocks_fetch(user_data, height, out, err);
    }
    return status == SOREX_MISMATCH ? sorex_error_set(err, SOREX_INVALID, "%s", err->text) : status;
}

/* That it has all the blocks is asked before hours are spent. */
static enum sorex_status reach_check(struct source *source, uint32_t first_height, const struct receipt *receipt,
                                     struct sorex_error *err)
{
    uint32_t tip;
    uint8_t hash[HASH_BYTES];
    enum sorex_status status = source->type->tip(source, &tip, hash, err);
    if (status == SOREX_MISMATCH)
        return sorex_error_set(err, SOREX_INVALID, "%s", err->text);
    TRY(status);
    if (receipt->count <= (uint64_t)tip + 1 && first_height <= (uint64_t)tip + 1 - receipt->count)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_AGAIN,
                           "the receipt is of %llu blocks from height %u on, and the source's tip is %u now",
                           (unsigned long long)receipt->count, first_height, tip);
}

static enum sorex_status derivation_open(const struct pipeline_settings *settings, const char *cache,
                                         struct derivation **out, struct sorex_error *err)
{
    struct buf wasm = {0};
    struct derivation_options options = derive_settings_derivation(&settings->reducer.derive);
    options.cache_dir = cache;
    enum sorex_status status = file_read(settings->reducer.wasm, SOREX_MODULE_BYTES_MAX, &wasm, err);
    if (status == SOREX_OK)
        status = derivation_new(buf_view(&wasm), &options, out, err);
    buf_deinit(&wasm);
    return status == SOREX_OK ? SOREX_OK : sorex_error_prefix(err, "reducer %s", settings->reducer.name);
}

enum sorex_status past_verify(const struct pipeline_settings *settings, const char *cache,
                              const struct receipt_file *file, verify_progress_fn *progress, void *user_data,
                              struct sorex_error *err)
{
    struct chain_blocks blocks = {0};
    const struct chained_chain chain = {.entry = entry_of_source, .user_data = &blocks};
    struct derivation *derivation = NULL;
    if (!settings->has_reducer)
        return sorex_error_set(err, SOREX_INVALID, "%s has no reducer", settings->top.name);
    if (settings->source_type == NULL)
        return sorex_error_set(err, SOREX_INVALID,
                               "%s is a stream, which gives its messages once: write them to a file, and give --log "
                               "and --reducer",
                               settings->top.name);
    if (settings->source_type->open(settings->source, &blocks.source, err) != SOREX_OK)
        return sorex_error_prefix(err, "source %s", settings->source_type->name);
    enum sorex_status status = reach_check(blocks.source, settings->top.start_height, &file->receipt, err);
    if (status == SOREX_OK)
        status = derivation_open(settings, cache, &derivation, err);
    if (status == SOREX_OK)
        status = verify_chain_receipt(derivation, &chain, settings->top.start_height, file, progress, user_data, err);
    derivation_free(derivation);
    chain_blocks_deinit(&blocks);
    blocks.source->type->close(blocks.source);
    return status;
}
