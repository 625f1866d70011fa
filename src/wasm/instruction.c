/* The instruction list: WebAssembly 1.0, sign extension, saturating conversions, bulk memory, reference types, SIMD,
 * relaxed SIMD, tail calls and (to report them, not to run them) threads. An instruction is an opcode byte, or a prefix
 * byte and an LEB128 number, followed by immediates; only the shape of those matters here. Exceptions, typed function
 * references and garbage collection are not in it: engines of this program refuse them as well. Source: WebAssembly
 * Core Specification 2.0, 5.4; proposals relaxed-simd, tail-call, threads. */
#include "wasm/instruction.h"

enum shape {
    NONE,
    BLOCK,   /* signed LEB: a value type or a type index */
    INDEX,   /* u32 */
    INDEX2,  /* u32 u32 */
    TABLE,   /* vector of u32, then u32: br_table */
    TYPES,   /* vector of value types: select t */
    MEMORY,  /* alignment, offset; with bit 6 of the alignment a memory index between them */
    LANE,    /* one byte */
    MEMLANE, /* MEMORY, then LANE */
    SIGNED,  /* signed LEB */
    BYTES4,
    BYTES8,
    BYTES16,
    UNKNOWN,
};

bool leb_u32(struct reader *r, uint32_t *out)
{
    const uint8_t *start = r->at;
    uint64_t value;
    if (!reader_varint(r, &value) || r->at - start > 5 || value > UINT32_MAX) {
        r->at = start;
        return false;
    }
    *out = (uint32_t)value;
    return true;
}

bool leb_s64(struct reader *r, int64_t *out)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 70; shift += 7) {
        uint8_t byte;
        if (!reader_u8(r, &byte))
            return false;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            if (shift + 7 < 64 && (byte & 0x40) != 0)
                value |= UINT64_MAX << (shift + 7);
            *out = (int64_t)value;
            return true;
        }
    }
    return false;
}

static enum shape shape_plain(uint32_t code)
{
    if (code >= 0x45 && code <= 0xc4)
        return NONE; /* comparisons, arithmetic, conversions, sign extension */
    if (code >= 0x28 && code <= 0x3e)
        return MEMORY;
    if (code >= 0x20 && code <= 0x26)
        return INDEX; /* locals, globals, table.get, table.set */
    switch (code) {
    case 0x00: /* unreachable */
    case 0x01: /* nop */
    case 0x05: /* else */
    case 0x0b: /* end */
    case 0x0f: /* return */
    case 0x1a: /* drop */
    case 0x1b: /* select */
    case 0xd1: /* ref.is_null */
        return NONE;
    case 0x02: /* block */
    case 0x03: /* loop */
    case 0x04: /* if */
        return BLOCK;
    case 0x0c: /* br */
    case 0x0d: /* br_if */
    case 0x10: /* call */
    case 0x12: /* return_call */
    case 0x3f: /* memory.size */
    case 0x40: /* memory.grow */
    case 0xd2: /* ref.func */
        return INDEX;
    case 0x0e:
        return TABLE;
    case 0x11: /* call_indirect */
    case 0x13: /* return_call_indirect */
        return INDEX2;
    case 0x1c:
        return TYPES;
    case 0x41: /* i32.const */
    case 0x42: /* i64.const */
    case 0xd0: /* ref.null: a heap type */
        return SIGNED;
    case 0x43:
        return BYTES4;
    case 0x44:
        return BYTES8;
    default:
        return UNKNOWN;
    }
}

static enum shape shape_bulk(uint32_t code)
{
    if (code <= 7)
        return NONE; /* saturating conversions */
    switch (code) {
    case 8:  /* memory.init */
    case 10: /* memory.copy */
    case 12: /* table.init */
    case 14: /* table.copy */
        return INDEX2;
    case 9:  /* data.drop */
    case 11: /* memory.fill */
    case 13: /* elem.drop */
    case 15: /* table.grow */
    case 16: /* table.size */
    case 17: /* table.fill */
        return INDEX;
    default:
        return UNKNOWN;
    }
}

static enum shape shape_simd(uint32_t code)
{
    if (code <= 11 || code == 92 || code == 93)
        return MEMORY; /* loads and stores */
    if (code == 12 || code == 13)
        return BYTES16; /* v128.const, i8x16.shuffle */
    if (code >= 21 && code <= 34)
        return LANE; /* extract_lane, replace_lane */
    if (code >= 84 && code <= 91)
        return MEMLANE;                    /* load_lane, store_lane */
    return code <= 0x113 ? NONE : UNKNOWN; /* 0x100 and above: relaxed */
}

static enum shape shape_atomic(uint32_t code)
{
    if (code == 3)
        return LANE; /* atomic.fence: a zero byte */
    return code <= 2 || (code >= 0x10 && code <= 0x4e) ? MEMORY : UNKNOWN;
}

static bool skip(struct reader *r, size_t len)
{
    struct bytes ignored;
    return reader_take(r, len, &ignored);
}

static bool memory_take(struct reader *r)
{
    uint32_t align, index;
    uint64_t offset;
    return leb_u32(r, &align) && ((align & 0x40) == 0 || leb_u32(r, &index)) && reader_varint(r, &offset);
}

static bool vector_take(struct reader *r, bool one_more)
{
    uint32_t count, index;
    if (!leb_u32(r, &count) || count > reader_left(r))
        return false;
    for (uint32_t i = 0; i < count; i++)
        if (!leb_u32(r, &index))
            return false;
    return !one_more || leb_u32(r, &index);
}

static bool immediates_take(struct reader *r, enum shape shape, struct instruction *out)
{
    int64_t number;
    uint32_t second;
    switch (shape) {
    case NONE:
        return true;
    case BLOCK:
        return leb_s64(r, &out->block_type);
    case INDEX:
        return leb_u32(r, &out->index);
    case INDEX2:
        return leb_u32(r, &out->index) && leb_u32(r, &second);
    case TABLE:
        return vector_take(r, true);
    case TYPES:
        return vector_take(r, false);
    case MEMORY:
        return memory_take(r);
    case LANE:
        return skip(r, 1);
    case MEMLANE:
        return memory_take(r) && skip(r, 1);
    case SIGNED:
        return leb_s64(r, &number);
    case BYTES4:
        return skip(r, 4);
    case BYTES8:
        return skip(r, 8);
    case BYTES16:
        return skip(r, 16);
    case UNKNOWN:
        break;
    }
    return false;
}

enum instruction_read instruction_take(struct reader *r, struct instruction *out)
{
    uint8_t first;
    *out = (struct instruction){.block_type = -64};
    if (!reader_u8(r, &first))
        return INSTRUCTION_CUT;
    enum shape shape;
    out->code = first;
    if (first < 0xfc || first == 0xff) {
        shape = shape_plain(first);
    } else {
        out->prefix = first;
        if (!leb_u32(r, &out->code))
            return INSTRUCTION_CUT;
        shape = first == 0xfc ? shape_bulk(out->code) : first == 0xfd ? shape_simd(out->code) : shape_atomic(out->code);
    }
    if (shape == UNKNOWN)
        return INSTRUCTION_UNKNOWN;
    return immediates_take(r, shape, out) ? INSTRUCTION_OK : INSTRUCTION_CUT;
}

bool instruction_is_end(const struct instruction *instruction)
{
    return instruction->prefix == 0 && instruction->code == 0x0b;
}
