#include "bench/index/floor.h"

#include <stdlib.h>
#include <wasmtime.h>

#include "base/codec.h"
#include "bench/harness.h"

#define SLOTS (1u << 20) /* several times the keys of any block */

struct floor_pair {
    uint8_t *key;
    uint8_t *value;
    uint32_t key_len, value_len;
    uint64_t hash;
};

struct floor {
    wasm_engine_t *engine;
    wasmtime_linker_t *linker;
    wasmtime_module_t *module;
    wasmtime_instance_pre_t *pre;
    struct floor_pair *pairs;
    struct buf input;
    wasmtime_memory_t memory;
    bool has_memory;
};

static void must(wasmtime_error_t *error, wasm_trap_t *trap)
{
    wasm_byte_vec_t text;
    if (error == NULL && trap == NULL)
        return;
    if (error != NULL)
        wasmtime_error_message(error, &text);
    else
        wasm_trap_message(trap, &text);
    bench_die("floor: %.*s", (int)text.size, text.data);
}

static uint64_t hash_of(const uint8_t *p, uint32_t n)
{
    uint64_t h = UINT64_C(1469598103934665603);
    for (; n >= 8; n -= 8, p += 8) {
        h = (h ^ u64le_get(p)) * UINT64_C(0x9e3779b97f4a7c15);
        h ^= h >> 29;
    }
    while (n-- > 0)
        h = (h ^ *p++) * UINT64_C(1099511628211);
    return h ^ h >> 32;
}

static struct floor_pair *pair_find(struct floor *floor, const uint8_t *key, uint32_t len, uint64_t hash)
{
    size_t at = hash & (SLOTS - 1);
    for (; floor->pairs[at].key != NULL; at = (at + 1) & (SLOTS - 1))
        if (floor->pairs[at].hash == hash && floor->pairs[at].key_len == len &&
            memcmp(floor->pairs[at].key, key, len) == 0)
            break;
    return &floor->pairs[at];
}

static uint8_t *copy_of(const uint8_t *data, uint32_t len)
{
    uint8_t *copy = malloc((size_t)len + 1);
    if (copy == NULL)
        bench_die("floor: out of memory");
    memcpy(copy, data, len);
    return copy;
}

static uint8_t *memory_of(struct floor *floor, wasmtime_caller_t *caller)
{
    if (!floor->has_memory) {
        wasmtime_extern_t item;
        if (!wasmtime_caller_export_get(caller, "memory", 6, &item))
            bench_die("floor: the guest exports no memory");
        floor->memory = item.of.memory;
        floor->has_memory = true;
    }
    return wasmtime_memory_data(wasmtime_caller_context(caller), &floor->memory);
}

#define HOST(name) \
    static wasm_trap_t *name(void *env, wasmtime_caller_t *caller, wasmtime_val_raw_t *args, size_t arg_count)

HOST(host_len)
{
    struct floor *floor = env;
    (void)caller;
    (void)arg_count;
    args[0].i32 = (int32_t)floor->input.len;
    return NULL;
}

HOST(load_input)
{
    struct floor *floor = env;
    (void)arg_count;
    memcpy(memory_of(floor, caller) + (uint32_t)args[0].i32, floor->input.data, floor->input.len);
    return NULL;
}

static struct floor_pair *pair_at(struct floor *floor, uint8_t *memory, int32_t pointer)
{
    const uint8_t *key = memory + (uint32_t)pointer;
    uint32_t len = u32le_get(key - 4);
    return pair_find(floor, key, len, hash_of(key, len));
}

HOST(get_len)
{
    struct floor *floor = env;
    (void)arg_count;
    struct floor_pair *pair = pair_at(floor, memory_of(floor, caller), args[0].i32);
    args[0].i32 = pair->key != NULL ? (int32_t)pair->value_len : 0;
    return NULL;
}

HOST(get)
{
    struct floor *floor = env;
    (void)arg_count;
    uint8_t *memory = memory_of(floor, caller);
    struct floor_pair *pair = pair_at(floor, memory, args[0].i32);
    if (pair->key != NULL)
        memcpy(memory + (uint32_t)args[1].i32, pair->value, pair->value_len);
    return NULL;
}

static void pair_put(struct floor *floor, struct bytes key, struct bytes value)
{
    uint64_t hash = hash_of(key.data, (uint32_t)key.len);
    struct floor_pair *pair = pair_find(floor, key.data, (uint32_t)key.len, hash);
    if (pair->key == NULL) {
        pair->key = copy_of(key.data, (uint32_t)key.len);
        pair->key_len = (uint32_t)key.len;
        pair->hash = hash;
    }
    free(pair->value);
    pair->value = copy_of(value.data, (uint32_t)value.len);
    pair->value_len = (uint32_t)value.len;
}

HOST(flush)
{
    struct floor *floor = env;
    (void)arg_count;
    const uint8_t *message = memory_of(floor, caller) + (uint32_t)args[0].i32;
    struct reader r = reader_of(bytes_of(message, u32le_get(message - 4)));
    struct bytes key, value;
    uint8_t tag;
    while (reader_u8(&r, &tag) && reader_bytes(&r, &key) && reader_u8(&r, &tag) && reader_bytes(&r, &value))
        pair_put(floor, key, value);
    return NULL;
}

HOST(ignore)
{
    (void)env;
    (void)caller;
    (void)args;
    (void)arg_count;
    return NULL;
}

static const struct {
    const char *name;
    size_t params, results;
    wasmtime_func_unchecked_callback_t call;
} imports[] = {{"__host_len", 0, 1, host_len}, {"__load_input", 1, 0, load_input}, {"__get_len", 1, 1, get_len},
               {"__get", 2, 0, get},           {"__flush", 1, 0, flush},           {"__log", 1, 0, ignore}};

static void link_imports(struct floor *floor)
{
    for (size_t i = 0; i < sizeof imports / sizeof imports[0]; i++) {
        wasm_valtype_t *types[2] = {NULL};
        wasm_valtype_vec_t params, results;
        for (size_t j = 0; j < imports[i].params; j++)
            types[j] = wasm_valtype_new(WASM_I32);
        wasm_valtype_vec_new(&params, imports[i].params, types);
        types[0] = imports[i].results > 0 ? wasm_valtype_new(WASM_I32) : NULL;
        wasm_valtype_vec_new(&results, imports[i].results, types);
        wasm_functype_t *type = wasm_functype_new(&params, &results);
        must(wasmtime_linker_define_func_unchecked(floor->linker, "env", 3, imports[i].name, strlen(imports[i].name),
                                                   type, imports[i].call, floor, NULL),
             NULL);
        wasm_functype_delete(type);
    }
}

struct floor *floor_new(struct bytes wasm, uint64_t resident_bytes)
{
    struct floor *floor = calloc(1, sizeof *floor);
    wasm_config_t *config = wasm_config_new();
    wasmtime_pooling_allocation_config_t *pool = wasmtime_pooling_allocation_config_new();
    if (floor == NULL)
        bench_die("floor: out of memory");
    wasmtime_config_cranelift_nan_canonicalization_set(config, true);
    wasmtime_pooling_allocation_config_max_memory_size_set(pool, (size_t)4 << 30);
    wasmtime_pooling_allocation_config_total_memories_set(pool, 4);
    wasmtime_pooling_allocation_config_total_core_instances_set(pool, 4);
    wasmtime_pooling_allocation_config_total_tables_set(pool, 4);
    wasmtime_pooling_allocation_config_linear_memory_keep_resident_set(pool, resident_bytes);
    wasmtime_pooling_allocation_strategy_set(config, pool);
    wasmtime_pooling_allocation_config_delete(pool);
    floor->engine = wasm_engine_new_with_config(config);
    must(wasmtime_module_new(floor->engine, wasm.data, wasm.len, &floor->module), NULL);
    floor->linker = wasmtime_linker_new(floor->engine);
    link_imports(floor);
    must(wasmtime_linker_define_unknown_imports_as_traps(floor->linker, floor->module), NULL);
    must(wasmtime_linker_instantiate_pre(floor->linker, floor->module, &floor->pre), NULL);
    floor->pairs = calloc(SLOTS, sizeof *floor->pairs);
    if (floor->pairs == NULL)
        bench_die("floor: out of memory");
    return floor;
}

void floor_reset(struct floor *floor)
{
    for (size_t i = 0; i < SLOTS; i++) {
        free(floor->pairs[i].key);
        free(floor->pairs[i].value);
    }
    memset(floor->pairs, 0, SLOTS * sizeof *floor->pairs);
}

void floor_free(struct floor *floor)
{
    floor_reset(floor);
    free(floor->pairs);
    buf_deinit(&floor->input);
    wasmtime_instance_pre_delete(floor->pre);
    wasmtime_linker_delete(floor->linker);
    wasmtime_module_delete(floor->module);
    wasm_engine_delete(floor->engine);
    free(floor);
}

void floor_run(struct floor *floor, uint32_t height, struct bytes block)
{
    wasmtime_instance_t instance;
    wasmtime_extern_t start;
    wasm_trap_t *trap = NULL;
    wasmtime_val_raw_t nothing[1] = {0};
    buf_reset(&floor->input);
    if (buf_append_u32le(&floor->input, height, NULL) != SOREX_OK || buf_append(&floor->input, block, NULL) != SOREX_OK)
        bench_die("floor: out of memory");
    floor->has_memory = false;
    wasmtime_store_t *store = wasmtime_store_new(floor->engine, NULL, NULL);
    wasmtime_context_t *context = wasmtime_store_context(store);
    must(wasmtime_instance_pre_instantiate(floor->pre, context, &instance, &trap), trap);
    if (!wasmtime_instance_export_get(context, &instance, "_start", 6, &start))
        bench_die("floor: the guest exports no _start");
    must(wasmtime_func_call_unchecked(context, &start.of.func, nothing, 1, &trap), trap);
    wasmtime_store_delete(store);
}
