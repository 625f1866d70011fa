/* Sections in the order of the module, each read as far as the report needs it. Counts are checked against the bytes that are
 * left before anything is allocated. Nothing here validates: the compiler does. */
#include "wasm/inspect.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/sha256.h"
#include "wasm/inspect_outline.h"
#include "wasm/instruction.h"
#include "wasm/section.h"

struct func_type {
    const char *text;
    bool multi; /* usable as a block's type only with multi-value */
};

struct inspection {
    struct bytes wasm;
    struct arena *arena;
    struct wasm_report *report;
    bool with_code;
    struct sorex_error *err;
    /* index spaces, imported ones first */
    struct func_type *types;
    uint32_t *funcs; /* type index of each function */
    size_t funcs_count;
    const char **globals;
    size_t globals_count;
    const char **memories;
    size_t memories_count;
    const char **tables;
    size_t tables_count;
};

static enum sorex_status out_of_memory(struct inspection *in)
{
    return sorex_error_set(in->err, SOREX_NOMEM, "module: out of memory");
}

static enum sorex_status broken(struct inspection *in, const struct reader *r, const char *where)
{
    return sorex_error_set(in->err, SOREX_INVALID, "module does not decode at offset %zu (%s)",
                           (size_t)(r->at - in->wasm.data), where);
}

/* An array that holds `more` further elements behind `count` old ones; a copy, as sections of one kind are few. */
static void *array_grow(struct inspection *in, const void *old, size_t count, size_t more, size_t size)
{
    void *grown = arena_alloc(in->arena, (count + more + 1) * size);
    if (grown != NULL && count > 0)
        memcpy(grown, old, count * size);
    return grown;
}

static const char *text_make(struct inspection *in, const char *format, ...) SOREX_PRINTF(2, 3);
static const char *text_make(struct inspection *in, const char *format, ...)
{
    char text[96];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return (const char *)arena_copy(in->arena, bytes_str(text)).data;
}

/* -- types */

struct line {
    char text[512];
    size_t len;
};

static void line_add(struct line *line, const char *part)
{
    size_t len = strlen(part);
    if (line->len + len + 4 >= sizeof line->text) { /* no type that the host offers is that long */
        if (line->len + 4 < sizeof line->text && strcmp(line->text + line->len - 3, "...") != 0) {
            memcpy(line->text + line->len, "...", 4);
            line->len += 3;
        }
        return;
    }
    memcpy(line->text + line->len, part, len + 1);
    line->len += len;
}

static bool value_types_add(struct inspection *in, struct reader *r, struct line *line, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t type;
        if (!section_value_type(r, &type))
            return false;
        in->report->features.simd |= type == 0x7b;
        in->report->features.reference_types |= type < 0x7b;
        in->report->features.gc |= type < 0x6f;
        line_add(line, i == 0 ? "" : ", ");
        line_add(line, section_value_type_name(type));
    }
    return true;
}

static enum sorex_status func_type_read(struct inspection *in, struct reader *r, struct func_type *out)
{
    uint8_t form;
    uint32_t params, results;
    struct line line = {.len = 0};
    line_add(&line, "(");
    if (!reader_u8(r, &form))
        return broken(in, r, "type");
    if (form != 0x60) {
        in->report->features.gc = true;
        return SOREX_AGAIN; /* the rest of the section stays unread */
    }
    if (!section_count(r, &params) || !value_types_add(in, r, &line, params))
        return broken(in, r, "type");
    line_add(&line, ") ->");
    if (!section_count(r, &results))
        return broken(in, r, "type");
    line_add(&line, results == 0 ? "" : results == 1 ? " " : " (");
    if (!value_types_add(in, r, &line, results))
        return broken(in, r, "type");
    line_add(&line, results > 1 ? ")" : "");
    in->report->features.multi_value |= results > 1;
    out->multi = params > 0 || results > 1;
    out->text = (const char *)arena_copy(in->arena, bytes_str(line.text)).data;
    return out->text == NULL ? out_of_memory(in) : SOREX_OK;
}

static enum sorex_status types_read(struct inspection *in, struct reader *r)
{
    uint32_t count;
    if (!section_count(r, &count))
        return broken(in, r, "type");
    in->types = array_grow(in, NULL, 0, count, sizeof *in->types);
    if (in->types == NULL)
        return out_of_memory(in);
    in->report->types = 0;
    for (uint32_t i = 0; i < count; i++) {
        enum sorex_status status = func_type_read(in, r, &in->types[i]);
        if (status == SOREX_AGAIN) {
            in->report->features.unknown = true;
            return SOREX_OK;
        }
        TRY(status);
        in->report->types++;
    }
    return SOREX_OK;
}

static const char *func_text(const struct inspection *in, uint64_t func)
{
    if (func >= in->funcs_count || in->funcs[func] >= in->report->types)
        return "?";
    return in->types[in->funcs[func]].text;
}

/* -- tables, memories, globals */

static bool limits_read(struct inspection *in, struct reader *r, struct wasm_limits_info *out, bool memory)
{
    uint8_t flags;
    out->max = UINT64_MAX;
    if (!reader_u8(r, &flags) || !reader_varint(r, &out->min) || ((flags & 1) != 0 && !reader_varint(r, &out->max)))
        return false;
    in->report->features.threads |= (flags & 2) != 0;
    in->report->features.memory64 |= memory && (flags & 4) != 0;
    in->report->features.unknown |= flags > 7;
    uint64_t page_bits;
    return (flags & 8) == 0 || reader_varint(r, &page_bits); /* custom page sizes */
}

static const char *limits_text(struct inspection *in, const char *what, const struct wasm_limits_info *limits)
{
    if (limits->max == UINT64_MAX)
        return text_make(in, "%s%llu..", what, (unsigned long long)limits->min);
    return text_make(in, "%s%llu..%llu", what, (unsigned long long)limits->min, (unsigned long long)limits->max);
}

/* Appends one to the list and to the texts of its index space; *count is the length of both. */
static enum sorex_status limits_add(struct inspection *in, const struct wasm_limits_info **list, const char ***texts,
                                    size_t *count, const char *what, struct wasm_limits_info limits)
{
    struct wasm_limits_info *grown = array_grow(in, *list, *count, 1, sizeof *grown);
    const char **names = array_grow(in, *texts, *count, 1, sizeof *names);
    const char *text = limits_text(in, what, &limits);
    if (grown == NULL || names == NULL || text == NULL)
        return out_of_memory(in);
    grown[*count] = limits;
    names[*count] = text;
    *list = grown;
    *texts = names;
    (*count)++;
    return SOREX_OK;
}

static enum sorex_status memory_read(struct inspection *in, struct reader *r, bool imported)
{
    struct wasm_limits_info limits = {.imported = imported};
    if (!limits_read(in, r, &limits, true))
        return broken(in, r, "memory");
    return limits_add(in, &in->report->memories, &in->memories, &in->memories_count, "pages ", limits);
}

static enum sorex_status table_read(struct inspection *in, struct reader *r, bool imported)
{
    struct wasm_limits_info limits = {.imported = imported};
    uint8_t type;
    bool initialised = reader_left(r) > 0 && *r->at == 0x40; /* 0x40 0x00 type limits expression */
    struct bytes ignored;
    if ((initialised && !reader_take(r, 2, &ignored)) || !section_value_type(r, &type) ||
        !limits_read(in, r, &limits, false))
        return broken(in, r, "table");
    if (initialised) {
        bool unknown = false;
        in->report->features.gc = true;
        if (!section_expression(r, &unknown))
            return broken(in, r, "table");
    }
    in->report->features.reference_types |= type != 0x70;
    return limits_add(in, &in->report->tables, &in->tables, &in->tables_count,
                      type == 0x70 ? "funcref " : type == 0x6f ? "externref " : "ref ", limits);
}

static enum sorex_status global_type_read(struct inspection *in, struct reader *r, bool *out_mutable)
{
    uint8_t type, flags;
    if (!section_value_type(r, &type) || !reader_u8(r, &flags))
        return broken(in, r, "global");
    const char *text = text_make(in, "%s%s", (flags & 1) != 0 ? "mut " : "", section_value_type_name(type));
    if (text == NULL)
        return out_of_memory(in);
    in->globals[in->globals_count++] = text;
    in->report->features.simd |= type == 0x7b;
    *out_mutable = (flags & 1) != 0;
    return SOREX_OK;
}

static enum sorex_status globals_read(struct inspection *in, struct reader *r)
{
    uint32_t count;
    if (!section_count(r, &count))
        return broken(in, r, "global");
    in->globals = array_grow(in, in->globals, in->globals_count, count, sizeof *in->globals);
    if (in->globals == NULL)
        return out_of_memory(in);
    for (uint32_t i = 0; i < count; i++) {
        bool mutable = false;
        bool unknown = false;
        TRY(global_type_read(in, r, &mutable));
        in->report->globals++;
        in->report->globals_mutable += mutable;
        if (!section_expression(r, &unknown)) {
            in->report->features.unknown |= unknown;
            return unknown ? SOREX_OK : broken(in, r, "global");
        }
    }
    return SOREX_OK;
}

/* -- imports and exports */

static enum sorex_status import_read(struct inspection *in, struct reader *r, struct wasm_import_info *out)
{
    uint8_t kind;
    uint32_t index;
    bool mutable;
    if (!section_bytes(r, &out->module) || !section_bytes(r, &out->name) || !reader_u8(r, &kind))
        return broken(in, r, "import");
    switch (kind) {
    case 0:
        out->kind = WASM_KIND_FUNC;
        if (!leb_u32(r, &index))
            return broken(in, r, "import");
        in->funcs[in->funcs_count++] = index;
        out->type = func_text(in, in->funcs_count - 1);
        return SOREX_OK;
    case 1:
        out->kind = WASM_KIND_TABLE;
        TRY(table_read(in, r, true));
        out->type = in->tables[in->tables_count - 1];
        return SOREX_OK;
    case 2:
        out->kind = WASM_KIND_MEMORY;
        TRY(memory_read(in, r, true));
        out->type = in->memories[in->memories_count - 1];
        return SOREX_OK;
    case 3:
        out->kind = WASM_KIND_GLOBAL;
        TRY(global_type_read(in, r, &mutable));
        out->type = in->globals[in->globals_count - 1];
        return SOREX_OK;
    case 4:
        out->kind = WASM_KIND_TAG;
        out->type = "";
        in->report->features.exceptions = true;
        return reader_u8(r, &kind) && leb_u32(r, &index) ? SOREX_OK : broken(in, r, "import");
    default:
        return broken(in, r, "import");
    }
}

static enum sorex_status imports_read(struct inspection *in, struct reader *r)
{
    uint32_t count;
    if (!section_count(r, &count))
        return broken(in, r, "import");
    struct wasm_import_info *imports = array_grow(in, NULL, 0, count, sizeof *imports);
    in->funcs = array_grow(in, NULL, 0, count, sizeof *in->funcs);
    in->globals = array_grow(in, NULL, 0, count, sizeof *in->globals);
    if (imports == NULL || in->funcs == NULL || in->globals == NULL)
        return out_of_memory(in);
    in->funcs_count = 0;
    in->globals_count = 0;
    for (uint32_t i = 0; i < count; i++)
        TRY(import_read(in, r, &imports[i]));
    in->report->imports = imports;
    in->report->imports_count = count;
    return SOREX_OK;
}

static enum sorex_status export_read(struct inspection *in, struct reader *r, struct wasm_export_info *out)
{
    static const enum wasm_kind kinds[] = {WASM_KIND_FUNC, WASM_KIND_TABLE, WASM_KIND_MEMORY, WASM_KIND_GLOBAL,
                                           WASM_KIND_TAG};
    uint8_t kind;
    if (!section_bytes(r, &out->name) || !reader_u8(r, &kind) || kind > 4 || !leb_u32(r, &out->index))
        return broken(in, r, "export");
    out->kind = kinds[kind];
    out->type = "?";
    if (kind == 0)
        out->type = func_text(in, out->index);
    else if (kind == 1 && out->index < in->tables_count)
        out->type = in->tables[out->index];
    else if (kind == 2 && out->index < in->memories_count)
        out->type = in->memories[out->index];
    else if (kind == 3 && out->index < in->globals_count)
        out->type = in->globals[out->index];
    return SOREX_OK;
}

static enum sorex_status exports_read(struct inspection *in, struct reader *r)
{
    uint32_t count;
    if (!section_count(r, &count))
        return broken(in, r, "export");
    struct wasm_export_info *exports = array_grow(in, NULL, 0, count, sizeof *exports);
    if (exports == NULL)
        return out_of_memory(in);
    for (uint32_t i = 0; i < count; i++)
        TRY(export_read(in, r, &exports[i]));
    in->report->exports = exports;
    in->report->exports_count = count;
    return SOREX_OK;
}

/* -- functions and code */

static enum sorex_status functions_read(struct inspection *in, struct reader *r)
{
    uint32_t count;
    if (!section_count(r, &count))
        return broken(in, r, "function");
    in->funcs = array_grow(in, in->funcs, in->funcs_count, count, sizeof *in->funcs);
    if (in->funcs == NULL)
        return out_of_memory(in);
    for (uint32_t i = 0; i < count; i++)
        if (!leb_u32(r, &in->funcs[in->funcs_count++]))
            return broken(in, r, "function");
    in->report->functions = count;
    return SOREX_OK;
}

static void features_of(struct inspection *in, const struct instruction *instruction)
{
    struct wasm_features *features = &in->report->features;
    uint32_t code = instruction->code;
    if (instruction->prefix == 0xfd) {
        features->simd = true;
        features->relaxed_simd |= code >= 0x100;
    } else if (instruction->prefix == 0xfe) {
        features->threads = true;
    } else if (instruction->prefix == 0xfc) {
        features->saturating_float |= code <= 7;
        features->bulk_memory |= code >= 8 && code <= 14;
        features->reference_types |= code >= 15;
    } else {
        features->sign_extension |= code >= 0xc0 && code <= 0xc4;
        features->tail_call |= code == 0x12 || code == 0x13;
        features->reference_types |= code == 0x25 || code == 0x26 || code == 0x1c || (code >= 0xd0 && code <= 0xd2);
        if (instruction->block_type >= 0 && instruction->block_type < in->report->types)
            features->multi_value |= in->types[instruction->block_type].multi;
    }
}

/* Locals, then instructions up to the end of the body. */
static bool body_read(struct inspection *in, struct reader *r)
{
    uint32_t groups, count;
    uint8_t type;
    if (!section_count(r, &groups))
        return false;
    for (uint32_t i = 0; i < groups; i++)
        if (!leb_u32(r, &count) || !section_value_type(r, &type))
            return false;
    while (reader_left(r) > 0) {
        struct instruction instruction;
        enum instruction_read read = instruction_take(r, &instruction);
        if (read == INSTRUCTION_CUT)
            return false;
        if (read == INSTRUCTION_UNKNOWN) {
            in->report->features.unknown = true;
            return true;
        }
        features_of(in, &instruction);
    }
    return true;
}

static enum sorex_status code_read(struct inspection *in, struct reader *r)
{
    uint32_t count;
    struct bytes body;
    in->report->code_bytes = reader_left(r);
    if (!section_count(r, &count))
        return broken(in, r, "code");
    for (uint32_t i = 0; i < count && in->with_code; i++) {
        if (!section_bytes(r, &body))
            return broken(in, r, "code");
        struct reader inside = reader_of(body);
        if (!body_read(in, &inside))
            return broken(in, &inside, "code");
    }
    return SOREX_OK;
}

static enum sorex_status data_read(struct inspection *in, struct reader *r)
{
    uint32_t count, flags, memory;
    struct bytes content;
    bool unknown = false;
    if (!section_count(r, &count))
        return broken(in, r, "data");
    in->report->data_segments = count;
    for (uint32_t i = 0; i < count; i++) {
        if (!leb_u32(r, &flags) || flags > 2 || (flags == 2 && !leb_u32(r, &memory)))
            return broken(in, r, "data");
        in->report->features.bulk_memory |= flags == 1;
        if (flags != 1 && !section_expression(r, &unknown)) {
            in->report->features.unknown |= unknown;
            return unknown ? SOREX_OK : broken(in, r, "data");
        }
        if (!section_bytes(r, &content))
            return broken(in, r, "data");
        in->report->data_bytes += content.len;
    }
    return SOREX_OK;
}

/* -- sections */

static enum sorex_status custom_read(struct inspection *in, struct reader *r)
{
    struct wasm_custom_info *customs = array_grow(in, in->report->customs, in->report->customs_count, 1, sizeof *customs);
    if (customs == NULL)
        return out_of_memory(in);
    struct wasm_custom_info *custom = &customs[in->report->customs_count];
    if (!section_bytes(r, &custom->name))
        return broken(in, r, "custom");
    custom->content = bytes_of(r->at, reader_left(r));
    in->report->names |= bytes_is(custom->name, "name");
    in->report->customs = customs;
    in->report->customs_count++;
    return SOREX_OK;
}

static enum sorex_status each_read(struct inspection *in, struct reader *r, const char *where,
                                   enum sorex_status (*read)(struct inspection *, struct reader *, bool))
{
    uint32_t count;
    if (!section_count(r, &count))
        return broken(in, r, where);
    for (uint32_t i = 0; i < count; i++)
        TRY(read(in, r, false));
    return SOREX_OK;
}

static enum sorex_status section_read(struct inspection *in, uint8_t id, struct reader *r)
{
    switch (id) {
    case SECTION_CUSTOM:
        return custom_read(in, r);
    case SECTION_TYPE:
        return types_read(in, r);
    case SECTION_IMPORT:
        return imports_read(in, r);
    case SECTION_FUNCTION:
        return functions_read(in, r);
    case SECTION_TABLE:
        return each_read(in, r, "table", table_read);
    case SECTION_MEMORY:
        return each_read(in, r, "memory", memory_read);
    case SECTION_GLOBAL:
        return globals_read(in, r);
    case SECTION_EXPORT:
        return exports_read(in, r);
    case SECTION_START:
        in->report->start = true;
        return leb_u32(r, &in->report->start_func) ? SOREX_OK : broken(in, r, "start");
    case SECTION_ELEMENT:
        return section_count(r, &in->report->elem_segments) ? SOREX_OK : broken(in, r, "element");
    case SECTION_CODE:
        return code_read(in, r);
    case SECTION_DATA:
        return data_read(in, r);
    case SECTION_DATA_COUNT:
        in->report->features.bulk_memory = true;
        return SOREX_OK;
    case SECTION_TAG:
        in->report->features.exceptions = true;
        return SOREX_OK;
    default:
        in->report->features.unknown = true;
        return SOREX_OK;
    }
}

enum sorex_status inspect_outline(struct bytes wasm, bool with_code, struct arena *arena, struct wasm_report *out,
                                  struct sorex_error *err)
{
    *out = (struct wasm_report){.bytes = wasm.len};
    struct inspection in = {.wasm = wasm, .arena = arena, .report = out, .with_code = with_code, .err = err};
    struct reader r = reader_of(wasm);
    uint32_t seen = 0;
    if (!section_header_take(&r))
        return sorex_error_set(err, SOREX_INVALID,
                               "not a WebAssembly module (it does not begin with \\0asm version 1)");
    while (reader_left(&r) > 0) {
        uint8_t id;
        struct bytes body;
        if (!section_take(&r, &id, &body))
            return broken(&in, &r, "section");
        /* A second section of one kind is invalid, and would find index spaces already filled. */
        if (id != SECTION_CUSTOM && id < 32 && (seen & 1u << id) != 0)
            return broken(&in, &r, "the same section twice");
        seen |= id < 32 ? 1u << id : 0;
        struct reader inside = reader_of(body);
        TRY(section_read(&in, id, &inside));
    }
    out->memories_count = in.memories_count;
    out->tables_count = in.tables_count;
    out->features.multi_memory |= in.memories_count > 1;
    out->features.reference_types |= in.tables_count > 1;
    return SOREX_OK;
}

enum sorex_status wasm_inspect(struct bytes wasm, struct arena *arena, struct wasm_report *out, struct sorex_error *err)
{
    TRY(inspect_outline(wasm, true, arena, out, err));
    sha256_once(wasm, out->sha256);
    return SOREX_OK;
}
