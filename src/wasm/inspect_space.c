/* The index spaces of a module: types, functions, tables, memories, globals, imported ones first, with a text for each.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "wasm/inspect_outline.h"
#include "wasm/section.h"

enum sorex_status inspect_out_of_memory(struct inspection *in)
{
    return sorex_error_set(in->err, SOREX_NOMEM, "module: out of memory");
}

enum sorex_status inspect_broken(struct inspection *in, const struct reader *r, const char *where)
{
    return sorex_error_set(in->err, SOREX_INVALID, "module does not decode at offset %zu (%s)",
                           (size_t)(r->at - in->wasm.data), where);
}

void *inspect_array_grow(struct inspection *in, const void *old, size_t count, size_t more, size_t size)
{
    void *grown = arena_alloc(in->arena, (count + more + 1) * size);
    if (grown != NULL && count > 0)
        memcpy(grown, old, count * size);
    return grown;
}

void *inspect_array_add(struct inspection *in, const void *old, size_t count, size_t size)
{
    if (count > 0 && (count & (count - 1)) != 0)
        return (void *)(uintptr_t)old;
    return inspect_array_grow(in, old, count, count, size);
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
        return inspect_broken(in, r, "type");
    if (form != 0x60) {
        in->report->features.gc = true;
        return SOREX_AGAIN; /* the rest of the section stays unread */
    }
    if (!section_count(r, &params) || !value_types_add(in, r, &line, params))
        return inspect_broken(in, r, "type");
    line_add(&line, ") ->");
    if (!section_count(r, &results))
        return inspect_broken(in, r, "type");
    line_add(&line, results == 0 ? "" : results == 1 ? " " : " (");
    if (!value_types_add(in, r, &line, results))
        return inspect_broken(in, r, "type");
    line_add(&line, results > 1 ? ")" : "");
    in->report->features.multi_value |= results > 1;
    out->multi = params > 0 || results > 1;
    out->text = (const char *)arena_copy(in->arena, bytes_str(line.text)).data;
    return out->text == NULL ? inspect_out_of_memory(in) : SOREX_OK;
}

enum sorex_status inspect_types_read(struct inspection *in, struct reader *r)
{
    uint32_t count;
    if (!section_count(r, &count))
        return inspect_broken(in, r, "type");
    in->types = inspect_array_grow(in, NULL, 0, count, sizeof *in->types);
    if (in->types == NULL)
        return inspect_out_of_memory(in);
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

const char *inspect_func_text(const struct inspection *in, uint64_t func)
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
    struct wasm_limits_info *grown = inspect_array_add(in, *list, *count, sizeof *grown);
    const char **names = inspect_array_add(in, (const void *)*texts, *count, sizeof *names);
    const char *text = limits_text(in, what, &limits);
    if (grown == NULL || names == NULL || text == NULL)
        return inspect_out_of_memory(in);
    grown[*count] = limits;
    names[*count] = text;
    *list = grown;
    *texts = names;
    (*count)++;
    return SOREX_OK;
}

enum sorex_status inspect_memory_read(struct inspection *in, struct reader *r, bool imported)
{
    struct wasm_limits_info limits = {.imported = imported};
    if (!limits_read(in, r, &limits, true))
        return inspect_broken(in, r, "memory");
    return limits_add(in, &in->report->memories, &in->memories, &in->memories_count, "pages ", limits);
}

enum sorex_status inspect_table_read(struct inspection *in, struct reader *r, bool imported)
{
    struct wasm_limits_info limits = {.imported = imported};
    uint8_t type;
    bool initialised = reader_left(r) > 0 && *r->at == 0x40; /* 0x40 0x00 type limits expression */
    struct bytes ignored;
    if ((initialised && !reader_take(r, 2, &ignored)) || !section_value_type(r, &type) ||
        !limits_read(in, r, &limits, false))
        return inspect_broken(in, r, "table");
    if (initialised) {
        bool unknown = false;
        in->report->features.gc = true;
        if (!section_expression(r, &unknown))
            return inspect_broken(in, r, "table");
    }
    in->report->features.reference_types |= type != 0x70;
    return limits_add(in, &in->report->tables, &in->tables, &in->tables_count,
                      type == 0x70   ? "funcref "
                      : type == 0x6f ? "externref "
                                     : "ref ",
                      limits);
}

enum sorex_status inspect_global_type_read(struct inspection *in, struct reader *r, bool *out_mutable)
{
    uint8_t type, flags;
    if (!section_value_type(r, &type) || !reader_u8(r, &flags))
        return inspect_broken(in, r, "global");
    const char *text = text_make(in, "%s%s", (flags & 1) != 0 ? "mut " : "", section_value_type_name(type));
    if (text == NULL)
        return inspect_out_of_memory(in);
    in->globals[in->globals_count++] = text;
    in->report->features.simd |= type == 0x7b;
    *out_mutable = (flags & 1) != 0;
    return SOREX_OK;
}

enum sorex_status inspect_globals_read(struct inspection *in, struct reader *r)
{
    uint32_t count;
    if (!section_count(r, &count))
        return inspect_broken(in, r, "global");
    in->globals = inspect_array_grow(in, in->globals, in->globals_count, count, sizeof *in->globals);
    if (in->globals == NULL)
        return inspect_out_of_memory(in);
    for (uint32_t i = 0; i < count; i++) {
        bool mutable = false;
        bool unknown = false;
        TRY(inspect_global_type_read(in, r, &mutable));
        in->report->globals++;
        in->report->globals_mutable += mutable;
        if (!section_expression(r, &unknown)) {
            in->report->features.unknown |= unknown;
            return unknown ? SOREX_OK : inspect_broken(in, r, "global");
        }
    }
    return SOREX_OK;
}
