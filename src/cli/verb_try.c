/* sorex try: an indexer on raw blocks, from an empty state in memory, without link checks. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/sha256.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "guest/indexer.h"
#include "json/writer.h"
#include "pipeline/dump.h"
#include "pipeline/memory_state.h"

/* What one block did. */
struct try_block {
    uint32_t height;
    uint64_t distinct;
    uint8_t map_sha256[SHA256_BYTES];
    struct indexer_result result;
};

struct try_run {
    struct indexer *indexer;
    struct memory_state state; /* all blocks so far */
    struct memory_state block; /* the block in hand: its distinct keys */
    uint32_t height;
    bool json;
};

static enum sorex_status both_put(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct try_run *run = user_data;
    TRY(memory_state_put(&run->block, key, bytes_of(NULL, 0), err));
    return memory_state_put(&run->state, key, value, err);
}

static enum sorex_status both_del(void *user_data, struct bytes key, struct sorex_error *err)
{
    struct try_run *run = user_data;
    return memory_state_del(&run->state, key, err);
}

static enum sorex_status map_hash(const struct memory_state *state, uint8_t out[SHA256_BYTES], struct sorex_error *err)
{
    struct sha256 hash;
    struct dump dump;
    TRY(sha256_init(&hash, err));
    dump_init(&dump, dump_hash_line, &hash);
    enum sorex_status status = memory_state_scan(state, dump_pair, &dump, err);
    if (status == SOREX_OK)
        status = dump_finish(&dump, err);
    dump_deinit(&dump);
    sha256_finish(&hash, out);
    sha256_deinit(&hash);
    return status;
}

static enum sorex_status block_print(const struct try_run *run, const struct try_block *block, struct sorex_error *err)
{
    char hex[HASH_HEX_SIZE];
    hash_hex(block->map_sha256, hex);
    unsigned long long us = (unsigned long long)(block->result.cost.ns / 1000);
    if (!run->json) {
        printf("height %u: pairs %llu, distinct %llu, map_sha256 %s, fuel %llu, us %llu\n", block->height,
               (unsigned long long)block->result.pairs, (unsigned long long)block->distinct, hex,
               (unsigned long long)block->result.cost.fuel, us);
        return SOREX_OK;
    }
    struct json_out out;
    json_out_begin(&out, false, err);
    json_object_begin(&out.w);
    json_name(&out.w, "height");
    json_uint(&out.w, block->height);
    json_name(&out.w, "pairs");
    json_uint(&out.w, block->result.pairs);
    json_name(&out.w, "distinct");
    json_uint(&out.w, block->distinct);
    json_name(&out.w, "map_sha256");
    json_string_z(&out.w, hex);
    json_name(&out.w, "fuel");
    json_uint(&out.w, block->result.cost.fuel);
    json_name(&out.w, "us");
    json_uint(&out.w, us);
    json_object_end(&out.w);
    return json_out_end(&out, stdout);
}

/* FILE@HEIGHT, split at the last @. */
static enum sorex_status block_read(const char *argument, struct buf *out, uint32_t *out_height, struct sorex_error *err)
{
    char path[4096];
    const char *at = strrchr(argument, '@');
    if (at == NULL || at == argument || (size_t)(at - argument) >= sizeof path)
        return sorex_error_set(err, SOREX_INVALID, "--block wants FILE@HEIGHT, not \"%s\"", argument);
    TRY(height_parse("block", at + 1, out_height, err));
    if (*out_height == SOREX_HEIGHT_NONE)
        return sorex_error_set(err, SOREX_INVALID, "--block wants FILE@HEIGHT, not \"%s\"", argument);
    memcpy(path, argument, (size_t)(at - argument));
    path[at - argument] = '\0';
    return file_read(path, SOREX_ENTRY_BYTES_MAX, out, err);
}

static enum sorex_status block_run(struct try_run *run, const char *argument, struct sorex_error *err)
{
    struct buf raw = {0};
    struct try_block block = {0};
    struct state_reader reader = memory_state_reader(&run->state);
    struct state_writer writer = {.put = both_put, .del = both_del, .user_data = run};
    memory_state_init(&run->block, NULL);
    enum sorex_status status = block_read(argument, &raw, &block.height, err);
    if (status == SOREX_OK)
        status = indexer_run(run->indexer, block.height, buf_view(&raw), &reader, &writer, &block.result, err);
    block.distinct = run->block.used;
    if (status == SOREX_OK)
        status = map_hash(&run->state, block.map_sha256, err);
    if (status == SOREX_OK)
        status = block_print(run, &block, err);
    run->height = block.height;
    memory_state_deinit(&run->block);
    buf_deinit(&raw);
    return status;
}

static enum sorex_status view_print(const struct try_run *run, struct bytes name, const struct buf *result, struct sorex_error *err)
{
    struct buf out = {0}, hex = {0};
    struct json_writer w;
    json_writer_init(&w, &out, false, err);
    enum sorex_status status = buf_append_str(&hex, "0x", err);
    if (status == SOREX_OK)
        status = buf_append_hex(&hex, buf_view(result), err);
    if (status == SOREX_OK && run->json) {
        json_object_begin(&w);
        json_name(&w, "view");
        json_string(&w, name);
        json_name(&w, "result");
        json_string(&w, buf_view(&hex));
        json_object_end(&w);
        status = json_writer_finish(&w);
    } else if (status == SOREX_OK) {
        status = buf_printf(&out, err, "view %.*s: ", BYTES_FMT(name));
        if (status == SOREX_OK)
            status = buf_append(&out, buf_view(&hex), err);
    }
    if (status == SOREX_OK) {
        (void)fwrite(out.data, 1, out.len, stdout);
        (void)fputc('\n', stdout);
    }
    buf_deinit(&out);
    buf_deinit(&hex);
    return status;
}

static enum sorex_status view_run(struct try_run *run, const char *argument, struct sorex_error *err)
{
    const char *colon = strchr(argument, ':');
    struct bytes name = colon != NULL ? bytes_of(argument, (size_t)(colon - argument)) : bytes_str(argument);
    struct buf input = {0}, result = {0};
    struct state_reader reader = memory_state_reader(&run->state);
    enum sorex_status status = colon != NULL ? hex_decode(bytes_str(colon + 1), &input, err) : SOREX_OK;
    if (status == SOREX_OK)
        status = indexer_view(run->indexer, name, run->height, buf_view(&input), &reader, &result, NULL, NULL, err);
    if (status == SOREX_OK)
        status = view_print(run, name, &result, err);
    buf_deinit(&input);
    buf_deinit(&result);
    return status;
}

static enum sorex_status limits_parse(const struct arguments *arguments, struct guest_limits *out, struct sorex_error *err)
{
    static const struct option table[] = {
        {.name = "fuel", .type = OPTION_U64, .offset = offsetof(struct guest_limits, fuel), .text = "fuel"},
        {.name = "memory-max", .type = OPTION_BYTES, .offset = offsetof(struct guest_limits, memory_bytes_max), .text = "memory"},
    };
    static const char *const places[] = {"command line: --fuel", "command line: --memory-max"};
    const char *values[] = {arguments->fuel, arguments->memory_max};
    for (size_t i = 0; i < 2; i++)
        if (values[i] != NULL)
            TRY(option_set(&table[i], bytes_str(values[i]), places[i], NULL, out, err));
    return SOREX_OK;
}

static enum sorex_status try_all(const struct arguments *arguments, struct try_run *run, struct sorex_error *err)
{
    struct buf wasm = {0};
    struct indexer_options options = {.name = arguments->words[0]};
    const char *slash = strrchr(options.name, '/');
    if (slash != NULL)
        options.name = slash + 1;
    enum sorex_status status = limits_parse(arguments, &options.limits, err);
    if (status == SOREX_OK)
        status = file_read(arguments->words[0], SOREX_MODULE_BYTES_MAX, &wasm, err);
    if (status == SOREX_OK)
        status = indexer_new(buf_view(&wasm), &options, &run->indexer, err);
    for (size_t i = 0; i < arguments->block_count && status == SOREX_OK; i++)
        status = block_run(run, arguments->blocks[i], err);
    for (size_t i = 0; i < arguments->view_count && status == SOREX_OK; i++)
        status = view_run(run, arguments->views[i], err);
    buf_deinit(&wasm);
    return status;
}

static int run(struct arguments *arguments)
{
    struct sorex_error err = {0};
    struct try_run try_run = {.json = arguments->json};
    if (arguments->block_count == 0 && arguments->view_count == 0) {
        (void)sorex_error_set(&err, SOREX_INVALID, "nothing to do: give --block FILE@HEIGHT; usage: sorex try %s", verb_try.usage);
        return cli_fail(&err);
    }
    memory_state_init(&try_run.state, NULL);
    enum sorex_status status = try_all(arguments, &try_run, &err);
    if (try_run.indexer != NULL)
        indexer_free(try_run.indexer);
    memory_state_deinit(&try_run.state);
    return status == SOREX_OK ? EXIT_OK_CODE : cli_fail(&err);
}

const struct verb verb_try = {
    .name = "try",
    .summary = "see what an indexer does with blocks, before it is deployed",
    .usage = "MODULE.wasm --block FILE@HEIGHT [--block ...] [--view NAME:HEX ...] [--fuel N] [--json]",
    .flags = "block view fuel memory-max json",
    .words_min = 1,
    .words_max = 1,
    .about = "Runs the indexer on the raw blocks in the order given, from an empty state in memory, without link checks. Prints per block:\n"
             "pairs flushed, distinct keys of the block, SHA-256 of the whole map after it (lines hex(key):hex(value), sorted as text),\n"
             "fuel (0 unless --fuel) and microseconds. Views run after the last block.",
    .example = "sorex try utxo.wasm --block 840243.bin@840243 --view supply:",
    .run = run,
};
