/* Sections in the order of the module, each read as far as the report needs it. Counts are checked against the bytes
 * that are left before anything is allocated. Nothing here validates: the compiler does. What has index spaces that
 * other sections refer to is in inspect_space.c. */
#include "wasm/inspect.h"

#include "base/check.h"
#include "base/sha256.h"
#include "wasm/inspect_outline.h"
#include "wasm/instruction.h"
#include "wasm/section.h"

/* -- imports and exports */

static enum sorex_status import_read(struct inspection *in, struct reader *r, struct wasm_import_info *out)
{
    uint8_t kind;
    uint32_t index;
    bool mutable;
    if (!section_bytes(r, &out->module) || !section_bytes(r, &out->name) || !reader_u8(r, &kind))
        return inspect_broken(in, r, "import");
    switch (kind) {
    case 0:
        out->kind = WASM_KIND_FUNC;
        if (!leb_u32(r, &index))
            return inspect_broken(in, r, "import");
        in->funcs[in->funcs_count++] = index;
        out->type = inspect_func_text(in, in->funcs_count - 1);
        return SOREX_OK;
    case 1:
        out->kind = WASM_KIND_TABLE;
        TRY(inspect_table_read(in, r, true));
        out->type = in->tables[in->tables_count - 1];
        return SOREX_OK;
    case 2:
        out->kind = WASM_KIND_MEMORY;
        TRY(inspect_memory_read(in, r, true));
        out->type = in->memories[in->memories_count - 1];
        return SOREX_OK;
    case 3:
        out->kind = WASM_KIND_GLOBAL;
        TRY(inspect_global_type_read(in, r, &mutable));
        out->type = in->globals[in->globals_count - 1];
        return SOREX_OK;
    case 4:
        out->kind = WASM_KIND_TAG;
        out->type = "";
        in->report->features.exceptions = true;
        return reader_u8(r, &kind) && leb_u32(r, &index) ? SOREX_OK : inspect_broken(in, r, "import");
    default:
        return inspect_broken(in, r, "import");
    }
}

static enum sorex_status imports_read(struct inspection *in, struct reader *r)
{
    uint32_t count;
    if (!section_count(r, &count))
        return inspect_broken(in, r, "import");
    struct wasm_import_info *imports = inspect_array_grow(in, NULL, 0, count, sizeof *imports);
    in->funcs = inspect_array_grow(in, NULL, 0, count, sizeof *in->funcs);
    in->globals = inspect_array_grow(in, NULL, 0, count, sizeof *in->globals);
    if (imports == NULL || in->funcs == NULL || in->globals == NULL)
        return inspect_out_of_memory(in);
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
        return inspect_broken(in, r, "export");
    out->kind = kinds[kind];
    out->type = "?";
    if (kind == 0)
        out->type = inspect_func_text(in, out->index);
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
        return inspect_broken(in, r, "export");
    struct wasm_export_info *exports = inspect_array_grow(in, NULL, 0, count, sizeof *exports);
    if (exports == NULL)
        return inspect_out_of_memory(in);
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
        return inspect_broken(in, r, "function");
    in->funcs = inspect_array_grow(in, in->funcs, in->funcs_count, count, sizeof *in->funcs);
    if (in->funcs == NULL)
        return inspect_out_of_memory(in);
    for (uint32_t i = 0; i < count; i++)
        if (!leb_u32(r, &in->funcs[in->funcs_count++]))
            return inspect_broken(in, r, "function");
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
        return inspect_broken(in, r, "code");
    for (uint32_t i = 0; i < count && in->with_code; i++) {
        if (!section_bytes(r, &body))
            return inspect_broken(in, r, "code");
        struct reader inside = reader_of(body);
        if (!body_read(in, &inside))
            return inspect_broken(in, &inside, "code");
    }
    return SOREX_OK;
}

static enum sorex_status data_read(struct inspection *in, struct reader *r)
{
    uint32_t count, flags, memory;
    struct bytes content;
    bool unknown = false;
    if (!section_count(r, &count))
        return inspect_broken(in, r, "data");
    in->report->data_segments = count;
    for (uint32_t i = 0; i < count; i++) {
        if (!leb_u32(r, &flags) || flags > 2 || (flags == 2 && !leb_u32(r, &memory)))
            return inspect_broken(in, r, "data");
        in->report->features.bulk_memory |= flags == 1;
        if (flags != 1 && !section_expression(r, &unknown)) {
            in->report->features.unknown |= unknown;
            return unknown ? SOREX_OK : inspect_broken(in, r, "data");
        }
        if (!section_bytes(r, &content))
            return inspect_broken(in, r, "data");
        in->report->data_bytes += content.len;
    }
    return SOREX_OK;
}

/* -- sections */

static enum sorex_status custom_read(struct inspection *in, struct reader *r)
{
    struct wasm_custom_info *customs =
        inspect_array_add(in, in->report->customs, in->report->customs_count, sizeof *customs);
    if (customs == NULL)
        return inspect_out_of_memory(in);
    struct wasm_custom_info *custom = &customs[in->report->customs_count];
    if (!section_bytes(r, &custom->name))
        return inspect_broken(in, r, "custom");
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
        return inspect_broken(in, r, where);
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
        return inspect_types_read(in, r);
    case SECTION_IMPORT:
        return imports_read(in, r);
    case SECTION_FUNCTION:
        return functions_read(in, r);
    case SECTION_TABLE:
        return each_read(in, r, "table", inspect_table_read);
    case SECTION_MEMORY:
        return each_read(in, r, "memory", inspect_memory_read);
    case SECTION_GLOBAL:
        return inspect_globals_read(in, r);
    case SECTION_EXPORT:
        return exports_read(in, r);
    case SECTION_START:
        in->report->start = true;
        return leb_u32(r, &in->report->start_func) ? SOREX_OK : inspect_broken(in, r, "start");
    case SECTION_ELEMENT:
        return section_count(r, &in->report->elem_segments) ? SOREX_OK : inspect_broken(in, r, "element");
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
            return inspect_broken(&in, &r, "section");
        /* A second section of one kind is invalid, and would find index spaces already filled. */
        if (id != SECTION_CUSTOM && id < 32 && (seen & 1u << id) != 0)
            return inspect_broken(&in, &r, "the same section twice");
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
