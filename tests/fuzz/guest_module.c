/* Operations: code, mode, a, b (u16le each). `pointer` and `size` below say what becomes of an operand.
 *
 *   0..5  __host_len, __load_input(a), __get_len(a), __get(a, b), __flush(a), __log(a)
 *   6     abort(a, b, mode, 1)          7   an import that the host does not know
 *   8     [b] = memory.grow(a % 70)     9   memory.fill(a, mode, size b)
 *   10    [a] = b and mode              11  [a] = __get_len(b)
 *   12    __flush of one pair, of key size a and value size b, behind a length and tags that are right
 *   13    a trap: unreachable, division, out of bounds, endless recursion, by mode
 *   14    the next operation only if the byte at a is not 0
 *   15    the next operation up to 64 times, by mode
 *   16    memory.copy(a, b, mode)       17  [a] = __host_len
 */
#include "fuzz/guest_module.h"

#include "base/check.h"
#include "base/codec.h"

#define OPERATION_BYTES 6
#define OPERATIONS 18
#define START_MAX 48
#define VIEW_MAX 16
#define INIT_MAX 8
#define MESSAGE_AT 0x8000u /* where operation 12 builds its message */

enum { HOST_LEN, LOAD_INPUT, GET_LEN, GET, FLUSH, LOG, ABORT, UNKNOWN, IMPORTS };
enum { FUNC_INIT = IMPORTS, FUNC_START, FUNC_VIEW, FUNC_RECURSE };
enum { TO_I32, I32_TO, I32_TO_I32, TWO_TO, NONE_TO, FOUR_TO };

static const struct import {
    const char *name;
    uint8_t type, parameters;
    bool result;
} imports[IMPORTS] = {
    {"__host_len", TO_I32, 0, true}, {"__load_input", I32_TO, 1, false}, {"__get_len", I32_TO_I32, 1, true},
    {"__get", TWO_TO, 2, false},     {"__flush", I32_TO, 1, false},      {"__log", I32_TO, 1, false},
    {"abort", FOUR_TO, 4, false},    {"__nobody", NONE_TO, 0, false},
};

/* ---- bytes ---- */

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

static void put_name(struct buf *out, const char *name)
{
    put_leb(out, strlen(name));
    put(out, name, strlen(name));
}

static void put_section(struct buf *out, uint8_t id, struct buf *content)
{
    put_u8(out, id);
    put_leb(out, content->len);
    put(out, content->data, content->len);
    buf_reset(content);
}

/* ---- operands ---- */

/* Small numbers are addresses in the first page; the largest ones reach around its end, 1 MiB and the end of the
 * address space. */
static uint32_t pointer(uint16_t value)
{
    if (value < 0xf000)
        return value;
    if (value < 0xf800)
        return 0x10000u - (value & 0xffu);
    return value < 0xfc00 ? 0x100000u + (value & 0xffu) : 0u - (value & 0xffu);
}

/* Mostly short; around a page; around the longest key. */
static uint32_t size_of(uint16_t value)
{
    uint32_t rest = value >> 3;
    switch (value & 7) {
    case 0:
        return rest;
    case 1:
        return 0x100000u - 2 + (rest & 3);
    case 2:
        return 0x10000u - (rest & 15);
    default:
        return rest & 0x7f;
    }
}

/* ---- code ---- */

static void put_call(struct buf *out, uint32_t func)
{
    put_u8(out, 0x10);
    put_leb(out, func);
}

/* The value and the address are on the stack. */
static void put_store(struct buf *out) { put(out, "\x36\x00\x00", 3); }

static void put_store8(struct buf *out, uint32_t at, uint8_t value)
{
    put_const(out, at);
    put_const(out, value);
    put(out, "\x3a\x00\x00", 3);
}

static void put_import(struct buf *out, uint8_t import, uint32_t a, uint32_t b, uint32_t mode)
{
    const uint32_t arguments[] = {a, b, mode, 1};
    for (uint8_t i = 0; i < imports[import].parameters; i++)
        put_const(out, arguments[i]);
    put_call(out, import);
    if (imports[import].result)
        put_u8(out, 0x1a); /* drop */
}

static uint32_t put_stores(struct buf *out, uint32_t at, const struct buf *bytes)
{
    for (size_t i = 0; i < bytes->len; i++)
        put_store8(out, at + (uint32_t)i, bytes->data[i]);
    return at + (uint32_t)bytes->len;
}

static void put_element(struct buf *bytes, uint32_t len)
{
    put_u8(bytes, 0x0a);
    put_leb(bytes, len);
}

/* Key and value are what lies there, but for the key's first bytes. */
static void put_pair(struct buf *out, uint32_t key, uint32_t value, uint8_t seed)
{
    struct buf key_head = {0}, value_head = {0}, prefix = {0};
    put_element(&key_head, key);
    put_element(&value_head, value);
    CHECK(buf_append_u32le(&prefix, (uint32_t)(key_head.len + value_head.len) + key + value, NULL) == SOREX_OK);
    uint32_t at = put_stores(out, put_stores(out, MESSAGE_AT, &prefix), &key_head);
    if (key > 0)
        put_store8(out, at, seed);
    (void)put_stores(out, at + key, &value_head);
    put_const(out, MESSAGE_AT + 4);
    put_call(out, FLUSH);
    buf_deinit(&key_head);
    buf_deinit(&value_head);
    buf_deinit(&prefix);
}

static void put_trap(struct buf *out, uint8_t kind)
{
    static const char divide[] = "\x41\x01\x41\x00\x6d\x1a"; /* 1 / 0, drop */
    static const char load[] = "\x41\x7f\x28\x00\x00\x1a";   /* i32.load at -1, drop */
    switch (kind % 4) {
    case 0:
        put_u8(out, 0x00);
        break;
    case 1:
        put(out, divide, sizeof divide - 1);
        break;
    case 2:
        put(out, load, sizeof load - 1);
        break;
    default:
        put_call(out, FUNC_RECURSE);
    }
}

/* Operations that are not about the next one. */
static void put_plain(struct buf *out, uint8_t code, uint8_t mode, uint16_t a, uint16_t b)
{
    switch (code) {
    case 8:
        put_const(out, pointer(b));
        put_const(out, a % 70);
        put(out, "\x40\x00", 2);
        put_store(out);
        break;
    case 9:
        put_const(out, pointer(a));
        put_const(out, mode);
        put_const(out, size_of(b));
        put(out, "\xfc\x0b\x00", 3);
        break;
    case 10:
        put_const(out, pointer(a));
        put_const(out, b | (uint32_t)mode << 16);
        put_store(out);
        break;
    case 11:
        put_const(out, pointer(a));
        put_const(out, pointer(b));
        put_call(out, GET_LEN);
        put_store(out);
        break;
    case 12:
        put_pair(out, size_of(a), size_of(b), mode);
        break;
    case 13:
        put_trap(out, mode);
        break;
    case 16:
        put_const(out, pointer(a));
        put_const(out, pointer(b));
        put_const(out, mode);
        put(out, "\xfc\x0a\x00\x00", 4);
        break;
    case 17:
        put_const(out, pointer(a));
        put_call(out, HOST_LEN);
        put_store(out);
        break;
    default:
        put_import(out, code, pointer(a), pointer(b), mode);
    }
}

/* What is open around the next operation: at most one of each, so that loops end. */
enum frame { FRAME_IF = 14, FRAME_LOOP = 15 };

static void frame_begin(struct buf *out, enum frame frame, uint8_t mode, uint16_t a)
{
    if (frame == FRAME_IF) {
        put(out, "\x02\x40", 2); /* block */
        put_const(out, pointer(a));
        put(out, "\x2d\x00\x00\x45\x0d\x00", 6); /* i32.load8_u, i32.eqz, br_if 0 */
    } else {
        put_const(out, 1 + mode % 64);
        put(out, "\x21\x00\x03\x40", 4); /* local.set 0, loop */
    }
}

static void frame_end(struct buf *out, enum frame frame)
{
    if (frame == FRAME_LOOP)
        put(out, "\x20\x00\x41\x01\x6b\x22\x00\x0d\x00", 9); /* local 0 less 1, br_if 0 */
    put_u8(out, 0x0b);
}

static void put_operations(struct buf *out, struct bytes operations)
{
    enum frame frames[2];
    size_t open = 0;
    for (size_t at = 0; at + OPERATION_BYTES <= operations.len; at += OPERATION_BYTES) {
        const uint8_t *operation = operations.data + at;
        uint8_t code = operation[0] % OPERATIONS, mode = operation[1];
        uint16_t a = u16le_get(operation + 2), b = u16le_get(operation + 4);
        if (code == FRAME_IF || code == FRAME_LOOP) {
            if (open == 2 || (open == 1 && frames[0] == (enum frame)code))
                continue;
            frames[open++] = (enum frame)code;
            frame_begin(out, (enum frame)code, mode, a);
            continue;
        }
        put_plain(out, code, mode, a, b);
        while (open > 0)
            frame_end(out, frames[--open]);
    }
    while (open > 0)
        frame_end(out, frames[--open]);
}

/* A body with one local; returns the constant when it has a result. */
static void put_body(struct buf *out, struct bytes operations, bool result, uint32_t value)
{
    struct buf body = {0};
    put(&body, "\x01\x01\x7f", 3);
    put_operations(&body, operations);
    if (result)
        put_const(&body, value);
    put_u8(&body, 0x0b);
    put_leb(out, body.len);
    put(out, body.data, body.len);
    buf_deinit(&body);
}

/* ---- module ---- */

static struct bytes take(struct bytes *input, size_t len)
{
    struct bytes taken = bytes_of(input->data, len < input->len ? len : input->len);
    *input = bytes_of(input->data + taken.len, input->len - taken.len);
    return taken;
}

static void put_head(struct buf *out, bool init, uint8_t pages)
{
    static const uint8_t head[] = {0, 'a', 's', 'm', 1, 0, 0, 0};
    static const uint8_t types[] = {6, 0x60, 0,    1, 0x7f, 0x60, 1, 0x7f, 0, 0x60, 1,    0x7f, 1,    0x7f, 0x60,
                                    2, 0x7f, 0x7f, 0, 0x60, 0,    0, 0x60, 4, 0x7f, 0x7f, 0x7f, 0x7f, 0};
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
    put(&section, (const uint8_t[]){4, NONE_TO, NONE_TO, TO_I32, NONE_TO}, 5);
    put_section(out, 3, &section);
    put(&section, (const uint8_t[]){1, 0, pages}, 3);
    put_section(out, 5, &section);
    put_leb(&section, 3);
    put_name(&section, "memory");
    put(&section, "\x02\x00", 2);
    put_name(&section, "_start");
    put(&section, (const uint8_t[]){0, FUNC_START}, 2);
    put_name(&section, GUEST_MODULE_VIEW);
    put(&section, (const uint8_t[]){0, FUNC_VIEW}, 2);
    put_section(out, 7, &section);
    if (init) {
        put_u8(&section, FUNC_INIT);
        put_section(out, 8, &section);
    }
    buf_deinit(&section);
}

void guest_module_make(struct bytes input, struct buf *out)
{
    static const uint8_t pages[] = {1, 2, 20, 40};
    struct buf section = {0};
    CHECK(input.len >= GUEST_MODULE_HEAD);
    struct bytes head = take(&input, GUEST_MODULE_HEAD);
    put_head(out, (head.data[0] & 1) != 0, pages[head.data[0] >> 1 & 3]);
    struct bytes start = take(&input, head.data[1] % START_MAX * (size_t)OPERATION_BYTES);
    struct bytes view = take(&input, head.data[2] % VIEW_MAX * (size_t)OPERATION_BYTES);
    struct bytes init = take(&input, head.data[3] % INIT_MAX * (size_t)OPERATION_BYTES);
    struct bytes memory = take(&input, 65536);
    put_leb(&section, 4);
    put_body(&section, init, false, 0);
    put_body(&section, start, false, 0);
    put_body(&section, view, true, pointer(u16le_get(head.data + 4)));
    static const uint8_t recurse[] = {4, 0, 0x10, FUNC_RECURSE, 0x0b};
    put(&section, recurse, sizeof recurse);
    put_section(out, 10, &section);
    put(&section, "\x01\x00\x41\x00\x0b", 5);
    put_leb(&section, memory.len);
    put(&section, memory.data, memory.len);
    put_section(out, 11, &section);
    buf_deinit(&section);
}
