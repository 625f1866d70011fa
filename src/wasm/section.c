/* A module is "\0asm", version 1 in four bytes, then sections: an id byte, a length, a body.
 * Source: WebAssembly Core Specification 2.0, 5.5. */
#include "wasm/section.h"

#include "wasm/instruction.h"

const char *section_name(uint32_t id)
{
    static const char *const names[] = {"custom", "type",  "import",  "function", "table", "memory",     "global",
                                        "export", "start", "element", "code",     "data",  "data count", "tag"};
    return id < sizeof names / sizeof *names ? names[id] : "unknown";
}

bool section_header_take(struct reader *r)
{
    struct bytes header;
    return reader_take(r, SECTION_HEADER_BYTES, &header) &&
           memcmp(header.data, "\0asm\1\0\0\0", SECTION_HEADER_BYTES) == 0;
}

bool section_take(struct reader *r, uint8_t *out_id, struct bytes *out_body)
{
    const uint8_t *start = r->at;
    if (reader_u8(r, out_id) && section_bytes(r, out_body))
        return true;
    r->at = start;
    return false;
}

bool section_bytes(struct reader *r, struct bytes *out)
{
    uint32_t len;
    return leb_u32(r, &len) && reader_take(r, len, out);
}

bool section_count(struct reader *r, uint32_t *out) { return leb_u32(r, out) && *out <= reader_left(r); }

bool section_value_type(struct reader *r, uint8_t *out)
{
    int64_t heap_type;
    return reader_u8(r, out) && ((*out != 0x63 && *out != 0x64) || leb_s64(r, &heap_type));
}

const char *section_value_type_name(uint8_t type)
{
    switch (type) {
    case 0x7f:
        return "i32";
    case 0x7e:
        return "i64";
    case 0x7d:
        return "f32";
    case 0x7c:
        return "f64";
    case 0x7b:
        return "v128";
    case 0x70:
        return "funcref";
    case 0x6f:
        return "externref";
    default:
        return "ref";
    }
}

bool section_expression(struct reader *r, bool *out_unknown)
{
    struct instruction instruction;
    for (;;) {
        enum instruction_read read = instruction_take(r, &instruction);
        *out_unknown = read == INSTRUCTION_UNKNOWN;
        if (read != INSTRUCTION_OK)
            return false;
        if (instruction_is_end(&instruction))
            return true; /* initialisers have no blocks */
    }
}
