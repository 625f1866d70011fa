/* The rewriter copies section by section. The export section gets one more entry for each mutable global (0x03 and its
 * index, under WASM_REWRITE_PREFIX and the index in decimal); a module without one gets the section where the order of
 * sections wants it, in front of start, element, data count, code and data. All other bytes stay as they are, so the
 * code keeps its offsets inside of its section and names still fit.
 *
 * Function bodies are read to make sure that memory and globals are all that changes while the guest runs. */
#include "wasm/rewrite.h"

#include <stdio.h>

#include "base/check.h"
#include "wasm/instruction.h"
#include "wasm/section.h"

struct rewrite {
    struct bytes wasm;
    struct sorex_error *err;
    struct buf entries; /* of the export section, to be added */
    uint32_t entries_count;
    uint32_t imported_funcs;
    uint32_t imported_globals;
};

static enum sorex_status broken(struct rewrite *rw, const struct reader *r, uint8_t id)
{
    return sorex_error_set(rw->err, SOREX_INVALID, "memory kept: module does not decode at offset %zu (%s)",
                           (size_t)(r->at - rw->wasm.data), section_name(id));
}

/* -- imports: their counts are where own indexes begin */

static bool limits_skip(struct reader *r)
{
    uint8_t flags;
    uint64_t number;
    return reader_u8(r, &flags) && reader_varint(r, &number) && ((flags & 1) == 0 || reader_varint(r, &number));
}

static enum sorex_status imports_read(struct rewrite *rw, struct reader *r)
{
    uint32_t count, index;
    if (!section_count(r, &count))
        return broken(rw, r, SECTION_IMPORT);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes module, name;
        uint8_t kind, type, flags = 0;
        bool ok = section_bytes(r, &module) && section_bytes(r, &name) && reader_u8(r, &kind);
        if (ok && kind == 0)
            ok = leb_u32(r, &index);
        else if (ok && kind == 1)
            ok = section_value_type(r, &type) && limits_skip(r);
        else if (ok && kind == 2)
            ok = limits_skip(r);
        else if (ok && kind == 3)
            ok = section_value_type(r, &type) && reader_u8(r, &flags);
        else
            ok = false;
        if (!ok)
            return broken(rw, r, SECTION_IMPORT);
        if (kind == 3 && flags != 0)
            return sorex_error_set(rw->err, SOREX_INVALID, "memory kept: the module imports a mutable global");
        rw->imported_funcs += kind == 0;
        rw->imported_globals += kind == 3;
    }
    return SOREX_OK;
}

/* -- globals */

static enum sorex_status entry_add(struct rewrite *rw, uint32_t index)
{
    char name[sizeof WASM_REWRITE_PREFIX + 10];
    int len = snprintf(name, sizeof name, WASM_REWRITE_PREFIX "%u", (unsigned)index);
    TRY(buf_append_varint(&rw->entries, (uint64_t)len, rw->err));
    TRY(buf_append_str(&rw->entries, name, rw->err));
    TRY(buf_append_u8(&rw->entries, 0x03, rw->err));
    rw->entries_count++;
    return buf_append_varint(&rw->entries, index, rw->err);
}

static enum sorex_status globals_read(struct rewrite *rw, struct reader *r)
{
    uint32_t count;
    if (!section_count(r, &count))
        return broken(rw, r, SECTION_GLOBAL);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t type, flags;
        bool unknown;
        if (!section_value_type(r, &type) || !reader_u8(r, &flags) || !section_expression(r, &unknown))
            return broken(rw, r, SECTION_GLOBAL);
        if (flags == 0)
            continue;
        if (type < 0x7c || type > 0x7f)
            return sorex_error_set(rw->err, SOREX_INVALID, "memory kept: global %u is mutable and of type %s",
                                   (unsigned)(rw->imported_globals + i), section_value_type_name(type));
        TRY(entry_add(rw, rw->imported_globals + i));
    }
    return SOREX_OK;
}

/* -- code */

/* The name of an instruction that changes what cannot be kept; NULL for all others. */
static const char *forbidden(const struct instruction *instruction)
{
    if (instruction->prefix == 0)
        return instruction->code == 0x26 ? "table.set" : NULL;
    if (instruction->prefix != 0xfc)
        return NULL;
    switch (instruction->code) {
    case 9:
        return "data.drop";
    case 12:
        return "table.init";
    case 13:
        return "elem.drop";
    case 14:
        return "table.copy";
    case 15:
        return "table.grow";
    case 17:
        return "table.fill";
    default:
        return NULL;
    }
}

static enum sorex_status body_check(struct rewrite *rw, struct reader *r, uint32_t func)
{
    uint32_t groups, count;
    uint8_t type;
    if (!section_count(r, &groups))
        return broken(rw, r, SECTION_CODE);
    for (uint32_t i = 0; i < groups; i++)
        if (!leb_u32(r, &count) || !section_value_type(r, &type))
            return broken(rw, r, SECTION_CODE);
    while (reader_left(r) > 0) {
        struct instruction instruction;
        const uint8_t *at = r->at;
        switch (instruction_take(r, &instruction)) {
        case INSTRUCTION_OK:
            break;
        case INSTRUCTION_CUT:
            return broken(rw, r, SECTION_CODE);
        case INSTRUCTION_UNKNOWN:
            return sorex_error_set(rw->err, SOREX_INVALID,
                                   "memory kept: unknown instruction 0x%02x at offset %zu (function %u)", *at,
                                   (size_t)(at - rw->wasm.data), (unsigned)func);
        }
        const char *name = forbidden(&instruction);
        if (name != NULL)
            return sorex_error_set(rw->err, SOREX_INVALID,
                                   "memory kept: function %u uses %s, and tables and segments are not kept",
                                   (unsigned)func, name);
    }
    return SOREX_OK;
}

static enum sorex_status code_check(struct rewrite *rw, struct reader *r)
{
    uint32_t count;
    if (!section_count(r, &count))
        return broken(rw, r, SECTION_CODE);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes body;
        if (!section_bytes(r, &body))
            return broken(rw, r, SECTION_CODE);
        struct reader inside = reader_of(body);
        TRY(body_check(rw, &inside, rw->imported_funcs + i));
    }
    return SOREX_OK;
}

/* -- writing */

/* The section with `count` entries of the module's own in old, and ours. */
static enum sorex_status exports_write(struct rewrite *rw, uint32_t count, struct bytes old, struct buf *out)
{
    struct buf body = {0};
    enum sorex_status status = buf_append_varint(&body, (uint64_t)count + rw->entries_count, rw->err);
    if (status == SOREX_OK)
        status = buf_append(&body, old, rw->err);
    if (status == SOREX_OK)
        status = buf_append(&body, buf_view(&rw->entries), rw->err);
    if (status == SOREX_OK)
        status = buf_append_u8(out, SECTION_EXPORT, rw->err);
    if (status == SOREX_OK)
        status = buf_append_varint(out, body.len, rw->err);
    if (status == SOREX_OK)
        status = buf_append(out, buf_view(&body), rw->err);
    buf_deinit(&body);
    return status;
}

static enum sorex_status exports_extend(struct rewrite *rw, struct bytes body, struct buf *out)
{
    struct reader r = reader_of(body);
    uint32_t count, index;
    if (!section_count(&r, &count))
        return broken(rw, &r, SECTION_EXPORT);
    struct bytes old = bytes_of(r.at, reader_left(&r));
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name;
        uint8_t kind;
        if (!section_bytes(&r, &name) || !reader_u8(&r, &kind) || !leb_u32(&r, &index))
            return broken(rw, &r, SECTION_EXPORT);
        size_t prefix = sizeof WASM_REWRITE_PREFIX - 1;
        if (name.len >= prefix && memcmp(name.data, WASM_REWRITE_PREFIX, prefix) == 0)
            return sorex_error_set(rw->err, SOREX_INVALID, "memory kept: the module exports the reserved name %.*s",
                                   BYTES_FMT(name));
    }
    return exports_write(rw, count, old, out);
}

static bool after_exports(uint8_t id)
{
    return id == SECTION_START || id == SECTION_ELEMENT || id == SECTION_CODE || id == SECTION_DATA ||
           id == SECTION_DATA_COUNT;
}

static enum sorex_status section_check(struct rewrite *rw, uint8_t id, struct bytes body)
{
    struct reader r = reader_of(body);
    if (id == SECTION_IMPORT)
        return imports_read(rw, &r);
    if (id == SECTION_GLOBAL)
        return globals_read(rw, &r);
    if (id == SECTION_CODE)
        return code_check(rw, &r);
    return id <= SECTION_TAG ? SOREX_OK : broken(rw, &r, id);
}

static enum sorex_status sections_copy(struct rewrite *rw, struct buf *out)
{
    struct reader r = reader_of(rw->wasm);
    bool exported = false;
    if (!section_header_take(&r))
        return broken(rw, &r, SECTION_CUSTOM);
    TRY(buf_append(out, bytes_of(rw->wasm.data, SECTION_HEADER_BYTES), rw->err));
    while (reader_left(&r) > 0) {
        const uint8_t *start = r.at;
        uint8_t id;
        struct bytes body;
        if (!section_take(&r, &id, &body))
            return broken(rw, &r, SECTION_CUSTOM);
        TRY(section_check(rw, id, body));
        if (!exported && after_exports(id)) {
            TRY(exports_write(rw, 0, bytes_of(NULL, 0), out));
            exported = true;
        }
        if (id == SECTION_EXPORT) {
            if (exported)
                return broken(rw, &r, id);
            TRY(exports_extend(rw, body, out));
            exported = true;
        } else {
            TRY(buf_append(out, bytes_of(start, (size_t)(r.at - start)), rw->err));
        }
    }
    return exported ? SOREX_OK : exports_write(rw, 0, bytes_of(NULL, 0), out);
}

enum sorex_status wasm_rewrite(struct bytes wasm, struct buf *out, struct sorex_error *err)
{
    struct rewrite rw = {.wasm = wasm, .err = err};
    size_t before = out->len;
    enum sorex_status status = sections_copy(&rw, out);
    if (status != SOREX_OK)
        out->len = before;
    buf_deinit(&rw.entries);
    return status;
}
