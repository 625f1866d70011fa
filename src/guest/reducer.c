#include "guest/reducer.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/hex.h"
#include "guest/call.h"
#include "guest/reducer_private.h"

#define MEMORY_BYTES_DEFAULT ((uint64_t)64 << 20)
#define FUEL_DEFAULT ((uint64_t)1000000000)
#define SQL_FUEL_DEFAULT ((uint64_t)10000000000)

static enum sorex_status program_open(struct reducer *reducer, struct bytes wasm, const struct reducer_options *options,
                                      struct sorex_error *err)
{
    struct wasm_program_options program = {
        .name = "reducer", /* it may be in the text of a trap, which is recorded: not the one of the options */
        .settings = {.metered = true, .memory_bytes_max = reducer->memory_bytes_max},
        .imports = reducer_imports,
        .imports_count = reducer_imports_count,
        .cache_dir = options->cache_dir,
    };
    TRY(reducer_module_check(wasm, reducer->memory_bytes_max, err));
    TRY(wasm_program_open(wasm, &program, &reducer->program, err));
    TRY(guest_export(reducer->program, "reduce", "() -> i32", false, &reducer->reduce, err));
    return guest_export(reducer->program, "schema", "() -> i32", true, &reducer->schema, err);
}

enum sorex_status reducer_load(struct bytes wasm, const struct reducer_options *options, struct reducer **out,
                               struct sorex_error *err)
{
    struct reducer *reducer = calloc(1, sizeof *reducer);
    if (reducer == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "reducer: out of memory");
    reducer->name = strdup(options->name != NULL ? options->name : "reducer");
    reducer->memory_bytes_max = options->memory_bytes_max != 0 ? options->memory_bytes_max : MEMORY_BYTES_DEFAULT;
    reducer->fuel = options->fuel != 0 ? options->fuel : FUEL_DEFAULT;
    reducer->sql_fuel = options->sql_fuel != 0 ? options->sql_fuel : SQL_FUEL_DEFAULT;
    reducer->halt = options->halt;
    results_init(&reducer->results, REDUCER_HELD_BYTES_MAX);
    sha256_once(wasm, reducer->hash);
    enum sorex_status status = sha256_init(&reducer->trace, err);
    if (status == SOREX_OK && reducer->name == NULL)
        status = sorex_error_set(err, SOREX_NOMEM, "reducer: out of memory");
    if (status == SOREX_OK) {
        status = program_open(reducer, wasm, options, err);
        if (status != SOREX_OK)
            (void)sorex_error_prefix(err, "program %s", reducer->name);
    }
    if (status != SOREX_OK) {
        reducer_free(reducer);
        return status;
    }
    *out = reducer;
    return SOREX_OK;
}

void reducer_free(struct reducer *reducer)
{
    if (reducer == NULL)
        return;
    session_forget(reducer);
    for (size_t i = 0; i < REDUCER_HANDLES_MAX; i++)
        handle_free(reducer->handles[i]);
    wasm_program_close(reducer->program);
    if (reducer->trace.context != NULL)
        sha256_deinit(&reducer->trace);
    results_deinit(&reducer->results);
    buf_deinit(&reducer->since);
    buf_deinit(&reducer->messages);
    buf_deinit(&reducer->replies);
    buf_deinit(&reducer->bytes);
    buf_deinit(&reducer->line);
    buf_deinit(&reducer->reason);
    free(reducer->encoded);
    free(reducer->places);
    free(reducer->name);
    free(reducer);
}

const uint8_t *reducer_hash(const struct reducer *reducer) { return reducer->hash; }

enum sorex_status reducer_identity(const struct reducer *reducer, struct buf *out, struct sorex_error *err)
{
    char hash[HASH_HEX_SIZE];
    hash_hex(reducer->hash, hash);
    return buf_printf(out, err, "semantics=%u\nreducer=%s\nmemory_max=%llu\nfuel=%llu\nsql_fuel=%llu\non_error=%s\n",
                      REDUCER_SEMANTICS, hash, (unsigned long long)reducer->memory_bytes_max,
                      (unsigned long long)reducer->fuel, (unsigned long long)reducer->sql_fuel,
                      reducer->halt ? "halt" : "reject");
}
