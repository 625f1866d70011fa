/* Code of machines: a module's skeleton compiled, its imports and exports listed and compared once. */
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/limits.h"
#include "wasm/inspect_outline.h"
#include "wasm/machine_private.h"
#include "wasm/skeleton.h"

static int item_compare(const void *a, const void *b)
{
    return strcmp(((const struct code_item *)a)->name, ((const struct code_item *)b)->name);
}

const struct code_item *code_export(const struct machine_code *code, const char *name)
{
    struct code_item key = {.name = name};
    return bsearch(&key, code->exports, code->exports_count, sizeof key, item_compare);
}

const struct machine_import *code_host_find(const struct machine_code_options *options, const struct code_item *item)
{
    for (size_t i = 0; i < options->imports_count; i++)
        if (strcmp(options->imports[i].name, item->name) == 0 && strcmp(options->imports[i].module, item->module) == 0)
            return &options->imports[i];
    return NULL;
}

/* -- lists */

static enum sorex_status out_of_memory(struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_NOMEM, "module: out of memory");
}

static bool item_fill(struct machine_code *code, struct code_item *out, struct bytes module, struct bytes name,
                      enum wasm_kind kind, const char *type)
{
    *out = (struct code_item){.module = (const char *)arena_copy(&code->arena, module).data,
                              .name = (const char *)arena_copy(&code->arena, name).data,
                              .kind = kind,
                              .type = type};
    return out->module != NULL && out->name != NULL;
}

static enum sorex_status lists_fill(struct machine_code *code, const struct wasm_report *report,
                                    struct sorex_error *err)
{
    code->imports = arena_alloc(&code->arena, (report->imports_count + 1) * sizeof *code->imports);
    code->exports = arena_alloc(&code->arena, (report->exports_count + 1) * sizeof *code->exports);
    if (code->imports == NULL || code->exports == NULL)
        return out_of_memory(err);
    for (size_t i = 0; i < report->imports_count; i++) {
        const struct wasm_import_info *info = &report->imports[i];
        if (!item_fill(code, &code->imports[code->imports_count++], info->module, info->name, info->kind, info->type))
            return out_of_memory(err);
    }
    for (size_t i = 0; i < report->exports_count; i++) {
        const struct wasm_export_info *info = &report->exports[i];
        if (!item_fill(code, &code->exports[code->exports_count++], bytes_str(""), info->name, info->kind, info->type))
            return out_of_memory(err);
    }
    qsort(code->exports, code->exports_count, sizeof *code->exports, item_compare); /* no two names are equal */
    if (report->memories_count > 0) {
        code->memory_pages_min = report->memories[0].min;
        code->memory_pages_max = report->memories[0].max > 65536 ? 65536 : report->memories[0].max;
    }
    if (report->tables_count > 0)
        code->table_min = report->tables[0].min;
    return SOREX_OK;
}

/* Section "dylink.0", subsection 1: memory size, alignment as a power of two, table size, alignment.
 * Source: WebAssembly tool conventions, "Dynamic Linking". */
static void needs_read(struct machine_code *code, const struct wasm_report *report)
{
    for (size_t i = 0; i < report->customs_count; i++) {
        if (!bytes_is(report->customs[i].name, "dylink.0"))
            continue;
        struct reader r = reader_of(report->customs[i].content);
        uint8_t kind;
        struct bytes body;
        while (reader_u8(&r, &kind) && reader_bytes(&r, &body)) {
            struct reader inside = reader_of(body);
            uint64_t size, align, slots;
            if (kind != 1 || !reader_varint(&inside, &size) || !reader_varint(&inside, &align) ||
                !reader_varint(&inside, &slots) || size > INT32_MAX || align > 16 || slots > MACHINE_TABLE_MAX)
                continue;
            code->needs = (struct machine_library_needs){(uint32_t)size, (uint32_t)1 << align, (uint32_t)slots};
            code->is_library = true;
        }
    }
}

/* -- comparing */

/* Names all that is missing, not the first. */
static enum sorex_status imports_check(const struct machine_code *code, struct sorex_error *err)
{
    struct buf missing = {0};
    enum sorex_status status = SOREX_OK;
    for (size_t i = 0; i < code->imports_count && status == SOREX_OK; i++) {
        const struct code_item *item = &code->imports[i];
        if (item->kind == WASM_KIND_MEMORY || item->kind == WASM_KIND_TABLE || board_has(item->name))
            continue;
        const struct machine_import *import =
            item->kind == WASM_KIND_FUNC ? code_host_find(&code->options, item) : NULL;
        if (import == NULL)
            status = buf_printf(&missing, err, "%s %s.%s", missing.len == 0 ? "" : ",", item->module, item->name);
        else if (strcmp(import->type, item->type) != 0)
            status = buf_printf(&missing, err, "%s %s.%s %s (the host has %s)", missing.len == 0 ? "" : ",",
                                item->module, item->name, item->type, import->type);
    }
    if (status == SOREX_OK && missing.len > 0)
        status =
            sorex_error_set(err, SOREX_INVALID, "the host lacks these imports:%.*s", BYTES_FMT(buf_view(&missing)));
    buf_deinit(&missing);
    return status;
}

static enum sorex_status exports_check(struct machine_code *code, struct sorex_error *err)
{
    code->slots = arena_alloc(&code->arena, (code->options.exports_count + 1) * sizeof *code->slots);
    if (code->slots == NULL)
        return out_of_memory(err);
    for (size_t i = 0; i < code->options.exports_count; i++) {
        const struct machine_export *wanted = &code->options.exports[i];
        const struct code_item *item = code_export(code, wanted->name);
        if (item == NULL || item->kind != WASM_KIND_FUNC || strcmp(item->type, wanted->type) != 0)
            return sorex_error_set(err, SOREX_INVALID, "export %s is %s, wanted is %s", wanted->name,
                                   item == NULL ? "not there" : item->type, wanted->type);
        code->slots[i] = type_func_slots(wanted->type);
    }
    return SOREX_OK;
}

/* -- compiling */

static enum sorex_status module_compile(struct machine_code *code, struct bytes wasm, struct sorex_error *err)
{
    const char *dir = code->options.cache_dir;
    if (dir != NULL && cache_load(dir, code->engine, wasm, &code->module)) {
        code->cached = true;
        return SOREX_OK;
    }
    wasmtime_error_t *error = wasmtime_module_new(code->engine->engine, wasm.data, wasm.len, &code->module);
    if (error != NULL)
        return trap_error_take(error, SOREX_INVALID, err, "compile");
    if (dir != NULL)
        cache_save(dir, code->engine, wasm, code->module);
    return SOREX_OK;
}

static enum sorex_status code_make(const struct machine_code_options *options, struct machine_code **out,
                                   struct sorex_error *err)
{
    struct machine_code *code = calloc(1, sizeof *code);
    if (code == NULL)
        return out_of_memory(err);
    arena_init(&code->arena, 0);
    code->options = *options;
    code->options.name = strdup(options->name);
    struct wasm_settings settings = {
        .machine = true, .metered = options->metered, .stack_bytes_max = MACHINE_STACK_BYTES};
    enum sorex_status status =
        code->options.name == NULL ? out_of_memory(err) : engine_take(&settings, &code->engine, err);
    if (status != SOREX_OK) {
        machine_code_close(code);
        return status;
    }
    *out = code;
    return SOREX_OK;
}

static enum sorex_status board_open(struct machine_code *code, struct sorex_error *err)
{
    struct machine_code_options options = {
        .name = "board", .metered = code->options.metered, .cache_dir = code->options.cache_dir};
    struct buf text = {0}, wasm = {0};
    enum sorex_status status = board_write(code, &text, err);
    if (status == SOREX_OK)
        status = wasm_from_text(buf_view(&text), &wasm, err);
    if (status == SOREX_OK)
        status = code_make(&options, &code->board, err);
    if (status == SOREX_OK)
        status = module_compile(code->board, buf_view(&wasm), err);
    buf_deinit(&text);
    buf_deinit(&wasm);
    return status;
}

static enum sorex_status code_fill(struct machine_code *code, struct bytes wasm, struct sorex_error *err)
{
    struct buf skeleton = {0};
    struct wasm_report report;
    if (wasm.len > SOREX_MODULE_BYTES_MAX)
        return sorex_error_set(err, SOREX_INVALID, "module has %zu bytes, up to %zu are taken", wasm.len,
                               SOREX_MODULE_BYTES_MAX);
    bool library = code->options.library;
    enum sorex_status status = library ? SOREX_OK : skeleton_make(wasm, &skeleton, err);
    struct bytes module = library ? wasm : buf_view(&skeleton);
    if (status == SOREX_OK)
        status = module_compile(code, module, err);
    if (status == SOREX_OK)
        status = inspect_outline(module, false, &code->arena, &report, err);
    if (status == SOREX_OK)
        status = lists_fill(code, &report, err);
    if (status == SOREX_OK) {
        needs_read(code, &report);
        if (library && !code->is_library)
            status = sorex_error_set(err, SOREX_INVALID, "no dynamic library: it has no dylink.0 section");
    }
    if (status == SOREX_OK && !library)
        status = imports_check(code, err);
    if (status == SOREX_OK && !library)
        status = exports_check(code, err);
    if (status == SOREX_OK && !library)
        status = board_open(code, err);
    buf_deinit(&skeleton);
    return status;
}

enum sorex_status machine_code_open(struct bytes wasm, const struct machine_code_options *options,
                                    struct machine_code **out, struct sorex_error *err)
{
    struct machine_code *code = NULL;
    enum sorex_status status = code_make(options, &code, err);
    if (status == SOREX_OK)
        status = code_fill(code, wasm, err);
    if (status != SOREX_OK) {
        machine_code_close(code);
        (void)sorex_error_prefix(err, "module %s", options->name);
        return status;
    }
    *out = code;
    return SOREX_OK;
}

void machine_code_close(struct machine_code *code)
{
    if (code == NULL)
        return;
    machine_code_close(code->board);
    if (code->module != NULL)
        wasmtime_module_delete(code->module);
    engine_drop(code->engine);
    arena_deinit(&code->arena);
    free((void *)(uintptr_t)code->options.name);
    free(code);
}

bool machine_code_cached(const struct machine_code *code) { return code->cached; }

const char *machine_code_name(const struct machine_code *code, struct bytes name)
{
    for (size_t i = 0; i < code->exports_count; i++)
        if (code->exports[i].kind == WASM_KIND_FUNC && bytes_is(name, code->exports[i].name))
            return code->exports[i].name;
    return NULL;
}

struct machine_library_needs machine_code_needs(const struct machine_code *code) { return code->needs; }
