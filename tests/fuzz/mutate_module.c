/* What libFuzzer's own mutations cannot do with a WebAssembly module: change the inside of a section or of a function
 * and keep the lengths around it right; take sections out, twice, or in another order. Linked with libFuzzer only. */
#include <stdlib.h>

#include "base/check.h"
#include "wasm/instruction.h"
#include "wasm/section.h"

#define SECTIONS_MAX 32
#define BODIES_MAX 64

size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t max_size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed);

struct section {
    uint8_t id;
    struct bytes body;
};

static size_t module_read(struct bytes wasm, struct section sections[SECTIONS_MAX])
{
    struct reader r = reader_of(wasm);
    size_t count = 0;
    if (!section_header_take(&r))
        return 0;
    while (count < SECTIONS_MAX && section_take(&r, &sections[count].id, &sections[count].body))
        count++;
    return count;
}

static void put(struct buf *out, struct bytes bytes) { CHECK(buf_append(out, bytes, NULL) == SOREX_OK); }
static void put_number(struct buf *out, uint64_t number) { CHECK(buf_append_varint(out, number, NULL) == SOREX_OK); }

static void section_put(struct buf *out, uint8_t id, struct bytes body)
{
    put(out, bytes_of(&id, 1));
    put_number(out, body.len);
    put(out, body);
}

/* A copy of bytes, mutated, with room to grow. */
static void put_mutated(struct buf *out, struct bytes bytes, unsigned seed)
{
    size_t room = 1 + seed % 64;
    CHECK(buf_reserve(out, bytes.len + room, NULL) == SOREX_OK);
    uint8_t *to = out->data + out->len;
    if (bytes.len > 0)
        memcpy(to, bytes.data, bytes.len);
    out->len += LLVMFuzzerMutate(to, bytes.len, bytes.len + room);
}

/* The code section with one function's body mutated; false when it has none. */
static bool code_mutate(struct buf *out, struct bytes code, unsigned seed)
{
    struct reader r = reader_of(code);
    struct bytes bodies[BODIES_MAX];
    uint32_t said;
    size_t count = 0;
    if (!leb_u32(&r, &said))
        return false;
    while (count < BODIES_MAX && count < said && section_bytes(&r, &bodies[count]))
        count++;
    if (count == 0)
        return false;
    put_number(out, said);
    for (size_t i = 0; i < count; i++) {
        struct buf body = {0};
        if (i == seed % count)
            put_mutated(&body, bodies[i], seed / 64);
        else
            put(&body, bodies[i]);
        put_number(out, body.len);
        put(out, buf_view(&body));
        buf_deinit(&body);
    }
    put(out, bytes_of(r.at, reader_left(&r)));
    return true;
}

static void section_mutate(struct buf *out, const struct section *section, unsigned seed)
{
    struct buf body = {0};
    if (section->id != SECTION_CODE || !code_mutate(&body, section->body, seed / 2))
        put_mutated(&body, section->body, seed / 2);
    section_put(out, section->id, buf_view(&body));
    buf_deinit(&body);
}

static void module_write(struct buf *out, struct section *sections, size_t count, unsigned seed)
{
    size_t chosen = seed % count;
    unsigned kind = seed / 64 % 16;
    for (size_t i = 0; i < count; i++) {
        size_t from = i;
        if (kind == 0 && i == chosen)
            continue; /* taken out */
        if (kind == 1 && (i == chosen || i == chosen + 1) && chosen + 1 < count)
            from = 2 * chosen + 1 - i; /* exchanged with the next one */
        if (kind == 2 && i == chosen)
            section_put(out, sections[i].id, sections[i].body); /* twice */
        if (kind > 2 && i == chosen)
            section_mutate(out, &sections[i], seed / 1024);
        else
            section_put(out, sections[from].id, sections[from].body);
    }
}

size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t max_size, unsigned seed)
{
    struct section sections[SECTIONS_MAX];
    size_t count = module_read(bytes_of(data, size), sections);
    if (count == 0 || seed % 16 == 0)
        return LLVMFuzzerMutate(data, size, max_size);
    struct buf out = {0};
    put(&out, bytes_of(data, SECTION_HEADER_BYTES));
    module_write(&out, sections, count, seed / 16);
    bool fits = out.len <= max_size;
    if (fits)
        memcpy(data, out.data, out.len);
    size_t len = out.len;
    buf_deinit(&out);
    return fits ? len : LLVMFuzzerMutate(data, size, max_size);
}
