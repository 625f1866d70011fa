/* The skeleton is written section by section. Imports get one entry more for a memory and a table of the module's own,
 * whose sections are left out: there is one of each, so its index stays 0. Exports get an entry for each mutable global
 * and for the start function. Data count, data and start sections are left out. All else stays as it is. */
#include "wasm/skeleton.h"

#include <stdio.h>

#include "base/check.h"
#include "wasm/instruction.h"
#include "wasm/rewrite.h"
#include "wasm/section.h"

enum { KIND_FUNC, KIND_TABLE, KIND_MEMORY, KIND_GLOBAL };

struct skeleton {
    struct bytes wasm;
    struct sorex_error *err;
    struct buf imports, exports; /* entries to be added */
    uint32_t imports_count, exports_count;
    uint32_t imported_globals;
};

static enum sorex_status broken(const struct skeleton *sk, const struct reader *r, uint8_t id)
{
    return sorex_error_set(sk->err, SOREX_INVALID, "module does not decode at offset %zu (%s)",
                           (size_t)(r->at - sk->wasm.data), section_name(id));
}

static bool limits_skip(struct reader *r)
{
    uint8_t flags;
    uint32_t number;
    return reader_u8(r, &flags) && flags <= 1 && leb_u32(r, &number) && (flags == 0 || leb_u32(r, &number));
}

/* -- what is to be added */

static enum sorex_status name_append(struct buf *out, const char *name, struct sorex_error *err)
{
    TRY(buf_append_varint(out, strlen(name), err));
    return buf_append_str(out, name, err);
}

static enum sorex_status import_add(struct skeleton *sk, const char *name, uint8_t kind, struct bytes type)
{
    sk->imports_count++;
    TRY(name_append(&sk->imports, SKELETON_MODULE, sk->err));
    TRY(name_append(&sk->imports, name, sk->err));
    TRY(buf_append_u8(&sk->imports, kind, sk->err));
    return buf_append(&sk->imports, type, sk->err);
}

static enum sorex_status export_add(struct skeleton *sk, const char *name, uint8_t kind, uint32_t index)
{
    sk->exports_count++;
    TRY(name_append(&sk->exports, name, sk->err));
    TRY(buf_append_u8(&sk->exports, kind, sk->err));
    return buf_append_varint(&sk->exports, index, sk->err);
}

/* -- reading: everything in front of the sections that are written anew decides what is added to them */

static enum sorex_status imports_read(struct skeleton *sk, struct reader *r)
{
    uint32_t count, index;
    if (!section_count(r, &count))
        return broken(sk, r, SECTION_IMPORT);
    for (uint32_t i = 0; i < count; i++) {
        struct bytes name;
        uint8_t kind, type, flags;
        bool ok = section_bytes(r, &name) && section_bytes(r, &name) && reader_u8(r, &kind);
        if (ok && kind == KIND_FUNC)
            ok = leb_u32(r, &index);
        else if (ok && kind == KIND_TABLE)
            ok = section_value_type(r, &type) && limits_skip(r);
        else if (ok && kind == KIND_MEMORY)
            ok = limits_skip(r);
        else
            ok = ok && kind == KIND_GLOBAL && section_value_type(r, &type) && reader_u8(r, &flags);
        if (!ok)
            return broken(sk, r, SECTION_IMPORT);
        sk->imported_globals += kind == KIND_GLOBAL;
    }
    return SOREX_OK;
}

static enum sorex_status own_read(struct skeleton *sk, struct reader *r, uint8_t id)
{
    uint32_t count;
    uint8_t type;
    bool table = id == SECTION_TABLE;
    if (!section_count(r, &count))
        return broken(sk, r, id);
    if (count == 0)
        return SOREX_OK;
    const uint8_t *start = r->at;
    if ((table && (!reader_u8(r, &type) || type != 0x70)) || !limits_skip(r) || reader_left(r) != 0)
        return sorex_error_set(sk->err, SOREX_INVALID, "module has more than one plain %s", section_name(id));
    return import_add(sk, table ? "table" : "memory", table ? KIND_TABLE : KIND_MEMORY,
                      bytes_of(start, (size_t)(r->at - start)));
}

static enum sorex_status globals_read(struct skeleton *sk, struct reader *r)
{
    uint32_t count;
    if (!section_count(r, &count))
        return broken(sk, r, SECTION_GLOBAL);
    for (uint32_t i = 0; i < count; i++) {
        uint8_t type, flags;
        bool unknown;
        char name[sizeof WASM_REWRITE_PREFIX + 10];
        if (!section_value_type(r, &type) || !reader_u8(r, &flags) || !section_expression(r, &unknown))
            return broken(sk, r, SECTION_GLOBAL);
        if (flags == 0)
            continue;
        uint32_t index = sk->imported_globals + i;
        if (type < 0x7c || type > 0x7f)
            return sorex_error_set(sk->err, SOREX_INVALID, "global %u is mutable and no number", (unsigned)index);
        (void)snprintf(name, sizeof name, WASM_REWRITE_PREFIX "%u", (unsigned)index);
        TRY(export_add(sk, name, KIND_GLOBAL, index));
    }
    return SOREX_OK;
}

static enum sorex_status section_read(struct skeleton *sk, uint8_t id, struct bytes body)
{
    struct reader r = reader_of(body);
    uint32_t func;
    switch (id) {
    case SECTION_IMPORT:
        return imports_read(sk, &r);
    case SECTION_TABLE:
    case SECTION_MEMORY:
        return own_read(sk, &r, id);
    case SECTION_GLOBAL:
        return globals_read(sk, &r);
    case SECTION_START:
        return leb_u32(&r, &func) ? export_add(sk, SKELETON_START, KIND_FUNC, func) : broken(sk, &r, id);
    default:
        return id <= SECTION_TAG ? SOREX_OK : broken(sk, &r, id);
    }
}

/* -- writing */

static enum sorex_status entries_write(struct skeleton *sk, uint8_t id, struct bytes body, struct buf *out)
{
    const struct buf *more = id == SECTION_IMPORT ? &sk->imports : &sk->exports;
    uint32_t more_count = id == SECTION_IMPORT ? sk->imports_count : sk->exports_count;
    struct reader r = reader_of(body);
    struct buf count_text = {0};
    uint32_t count;
    if (!section_count(&r, &count))
        return broken(sk, &r, id);
    enum sorex_status status = buf_append_varint(&count_text, (uint64_t)count + more_count, sk->err);
    if (status == SOREX_OK)
        status = buf_append_u8(out, id, sk->err);
    if (status == SOREX_OK)
        status = buf_append_varint(out, count_text.len + reader_left(&r) + more->len, sk->err);
    if (status == SOREX_OK)
        status = buf_append(out, buf_view(&count_text), sk->err);
    if (status == SOREX_OK)
        status = buf_append(out, bytes_of(r.at, reader_left(&r)), sk->err);
    if (status == SOREX_OK)
        status = buf_append(out, buf_view(more), sk->err);
    buf_deinit(&count_text);
    return status;
}

static enum sorex_status section_write(struct skeleton *sk, uint8_t id, struct bytes body, struct bytes whole,
                                       struct buf *out)
{
    switch (id) {
    case SECTION_TABLE:
    case SECTION_MEMORY:
    case SECTION_START:
    case SECTION_DATA_COUNT:
    case SECTION_DATA:
        return SOREX_OK;
    case SECTION_IMPORT:
    case SECTION_EXPORT:
        return entries_write(sk, id, body, out);
    default:
        return buf_append(out, whole, sk->err);
    }
}

/* First all is read, then all is written: what is added to the imports comes from sections behind them. */
static enum sorex_status sections_walk(struct skeleton *sk, struct buf *out)
{
    struct reader r = reader_of(sk->wasm);
    bool imports = false, exports = false;
    if (!section_header_take(&r))
        return broken(sk, &r, SECTION_CUSTOM);
    if (out != NULL)
        TRY(buf_append(out, bytes_of(sk->wasm.data, SECTION_HEADER_BYTES), sk->err));
    while (reader_left(&r) > 0) {
        const uint8_t *start = r.at;
        uint8_t id;
        struct bytes body;
        if (!section_take(&r, &id, &body))
            return broken(sk, &r, SECTION_CUSTOM);
        imports = imports || id == SECTION_IMPORT;
        exports = exports || id == SECTION_EXPORT;
        TRY(out == NULL ? section_read(sk, id, body)
                        : section_write(sk, id, body, bytes_of(start, (size_t)(r.at - start)), out));
    }
    if (!imports || !exports)
        return sorex_error_set(sk->err, SOREX_INVALID, "module has no imports or no exports");
    return SOREX_OK;
}

enum sorex_status skeleton_make(struct bytes wasm, struct buf *out, struct sorex_error *err)
{
    struct skeleton sk = {.wasm = wasm, .err = err};
    enum sorex_status status = sections_walk(&sk, NULL);
    if (status == SOREX_OK)
        status = sections_walk(&sk, out);
    buf_deinit(&sk.imports);
    buf_deinit(&sk.exports);
    return status;
}

/* -- data */

/* i32.const OFFSET end */
static bool offset_take(struct reader *r, uint32_t *out)
{
    uint8_t code;
    int64_t value;
    if (!reader_u8(r, &code) || code != 0x41 || !leb_s64(r, &value) || !reader_u8(r, &code) || code != 0x0b)
        return false;
    *out = (uint32_t)value;
    return true;
}

static enum sorex_status segments_copy(struct bytes body, struct wasm_memory memory, struct sorex_error *err)
{
    struct reader r = reader_of(body);
    uint32_t count, flags, at;
    if (!section_count(&r, &count))
        return sorex_error_set(err, SOREX_INVALID, "data section does not decode");
    for (uint32_t i = 0; i < count; i++) {
        struct bytes content;
        if (!leb_u32(&r, &flags) || flags != 0 || !offset_take(&r, &at) || !section_bytes(&r, &content))
            return sorex_error_set(err, SOREX_INVALID, "data segment %u is not placed by a constant", (unsigned)i);
        if (at > memory.len || content.len > memory.len - at)
            return sorex_error_set(err, SOREX_INVALID, "data segment %u is outside of the memory", (unsigned)i);
        if (content.len > 0)
            memcpy(memory.data + at, content.data, content.len);
    }
    return SOREX_OK;
}

enum sorex_status skeleton_data_copy(struct bytes wasm, struct wasm_memory memory, struct sorex_error *err)
{
    struct reader r = reader_of(wasm);
    uint8_t id;
    struct bytes body;
    if (!section_header_take(&r))
        return sorex_error_set(err, SOREX_INVALID, "no WebAssembly module");
    while (section_take(&r, &id, &body))
        if (id == SECTION_DATA)
            return segments_copy(body, memory, err);
    return SOREX_OK;
}
