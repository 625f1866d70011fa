/* libFuzzer: a whole indexer made of random import calls. The input becomes a valid module: its beginning is code, six
 * bytes a call (import, pointer, destination), its rest is the guest's memory from address 0 on. It runs twice on the
 * same block and state: the same outcome, text and writes. */
#include <stdio.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/log.h"
#include "guest/indexer.h"

#define IMPORTS 6
#define CALLS_MAX 64

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- the module ---- */

struct import {
    const char *name;
    uint8_t type; /* of types below */
    uint8_t parameters;
    bool result;
};

static const struct import imports[IMPORTS] = {
    {"__host_len", 0, 0, true}, {"__load_input", 1, 1, false}, {"__get_len", 2, 1, true},
    {"__get", 3, 2, false},     {"__flush", 1, 1, false},      {"__log", 1, 1, false},
};

static void put(struct buf *out, const void *data, size_t len)
{
    CHECK(buf_append(out, bytes_of(data, len), NULL) == SOREX_OK);
}

static void put_u8(struct buf *out, uint8_t value) { put(out, &value, 1); }
static void put_leb(struct buf *out, uint64_t value) { CHECK(buf_append_varint(out, value, NULL) == SOREX_OK); }

/* i32.const in five bytes, whatever the value. */
static void put_const(struct buf *out, uint32_t value)
{
    put_u8(out, 0x41);
    for (int i = 0; i < 4; i++, value >>= 7)
        put_u8(out, (uint8_t)(value & 0x7f) | 0x80);
    put_u8(out, (value & 8) != 0 ? (uint8_t)(value | 0x70) : (uint8_t)value);
}

static void put_section(struct buf *out, uint8_t id, struct buf *content)
{
    put_u8(out, id);
    put_leb(out, content->len);
    put(out, content->data, content->len);
    buf_reset(content);
}

static void put_name(struct buf *out, const char *name)
{
    put_leb(out, strlen(name));
    put(out, name, strlen(name));
}

/* Small numbers are addresses in the first page; the largest ones reach around the end of the memory and of the address
 * space. */
static uint32_t pointer_of(const uint8_t *at)
{
    uint16_t value = u16le_get(at);
    return value < 0xf000 ? (uint32_t)value : value < 0xf800 ? 0x10000u - (value & 0xffu) : 0u - (value & 0xffu);
}

static void put_code(struct buf *out, const uint8_t *code, size_t calls)
{
    struct buf body = {0};
    put_u8(&body, 0); /* locals */
    for (size_t i = 0; i < calls; i++, code += 6) {
        const struct import *import = &imports[code[0] % IMPORTS];
        if (import->parameters > 0)
            put_const(&body, pointer_of(code + 2));
        if (import->parameters > 1)
            put_const(&body, pointer_of(code + 4));
        put_u8(&body, 0x10);
        put_leb(&body, code[0] % IMPORTS);
        if (import->result)
            put_u8(&body, 0x1a);
    }
    put_u8(&body, 0x0b);
    put_leb(out, 1);
    put_leb(out, body.len);
    put(out, body.data, body.len);
    buf_deinit(&body);
}

static void module_make(struct buf *out, const uint8_t *code, size_t calls, struct bytes memory)
{
    static const uint8_t head[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    static const uint8_t types[] = {5,    0x60, 0,    1,    0x7f, 0x60, 1,    0x7f, 0,    0x60, 1,
                                    0x7f, 1,    0x7f, 0x60, 2,    0x7f, 0x7f, 0,    0x60, 0,    0};
    static const uint8_t functions[] = {1, 4}, memories[] = {1, 0, 1};
    struct buf section = {0};
    put(out, head, sizeof head);
    put(&section, types, sizeof types);
    put_section(out, 1, &section);
    put_leb(&section, IMPORTS);
    for (size_t i = 0; i < IMPORTS; i++) {
        put_name(&section, "env");
        put_name(&section, imports[i].name);
        put_u8(&section, 0);
        put_u8(&section, imports[i].type);
    }
    put_section(out, 2, &section);
    put(&section, functions, sizeof functions);
    put_section(out, 3, &section);
    put(&section, memories, sizeof memories);
    put_section(out, 5, &section);
    put_leb(&section, 2);
    put_name(&section, "memory");
    put(&section, "\x02\x00", 2);
    put_name(&section, "_start");
    put(&section, "\x00\x06", 2);
    put_section(out, 7, &section);
    put_code(&section, code, calls);
    put_section(out, 10, &section);
    put(&section, "\x01\x00\x41\x00\x0b", 5);
    put_leb(&section, memory.len);
    put(&section, memory.data, memory.len);
    put_section(out, 11, &section);
    buf_deinit(&section);
}

/* ---- the host ---- */

static enum sorex_status state_get(void *user_data, struct bytes key, struct bytes *out_value, bool *out_found,
                                   struct sorex_error *err)
{
    (void)user_data;
    (void)err;
    *out_found = key.len % 2 == 0; /* every other key is there, with a value as long as it is */
    *out_value = *out_found ? key : (struct bytes){0};
    return SOREX_OK;
}

static enum sorex_status writes_put(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    struct buf *writes = user_data;
    TRY(buf_append_u32le(writes, (uint32_t)key.len, err));
    TRY(buf_append(writes, key, err));
    TRY(buf_append_u32le(writes, (uint32_t)value.len, err));
    return buf_append(writes, value, err);
}

static enum sorex_status run(struct indexer *indexer, struct buf *writes, struct sorex_error *err)
{
    struct state_reader reader = {.get = state_get};
    struct state_writer writer = {.put = writes_put, .user_data = writes};
    struct indexer_result result = {0};
    *err = (struct sorex_error){0};
    return indexer_run(indexer, 5, bytes_str("block"), &reader, &writer, &result, err);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    size_t calls = data[0] % CALLS_MAX;
    if (calls > (size - 1) / 6)
        calls = (size - 1) / 6;
    size_t memory = size - 1 - calls * 6;
    struct buf wasm = {0}, first = {0}, second = {0};
    struct sorex_error err, again;
    struct indexer *indexer = NULL;
    module_make(&wasm, data + 1, calls, bytes_of(data + 1 + calls * 6, memory > 65536 ? 65536 : memory));
    struct indexer_options options = {.name = "fuzz", .limits = {.memory_bytes_max = 1 << 20}};
    log_level_set(LOG_ERROR);
    enum sorex_status status = indexer_new(buf_view(&wasm), &options, &indexer, &err);
    if (status != SOREX_OK)
        (void)fprintf(stderr, "%s\n", err.text);
    CHECK(status == SOREX_OK); /* the module is valid */
    status = run(indexer, &first, &err);
    CHECK(status == SOREX_OK || status == SOREX_GUEST || status == SOREX_LIMIT);
    CHECK(status == SOREX_OK || first.len == 0);
    CHECK(run(indexer, &second, &again) == status && strcmp(err.text, again.text) == 0);
    CHECK(bytes_equal(buf_view(&first), buf_view(&second)));
    indexer_free(indexer);
    buf_deinit(&wasm);
    buf_deinit(&first);
    buf_deinit(&second);
    return 0;
}
