/* Programs: a module compiled for an engine, its imports checked and linked once, so that a sandbox is only an
 * instantiation. */
#include <stdlib.h>

#include "base/check.h"
#include "base/limits.h"
#include "wasm/inspect_outline.h"
#include "wasm/private.h"

static char *name_copy(struct bytes name)
{
    char *copy = malloc(name.len + 1);
    if (copy != NULL) {
        memcpy(copy, name.data, name.len);
        copy[name.len] = '\0';
    }
    return copy;
}

/* -- compile */

static enum sorex_status module_open(struct wasm_program *program, struct bytes wasm, const char *cache_dir,
                                     struct sorex_error *err)
{
    if (wasm.len > SOREX_MODULE_BYTES_MAX)
        return sorex_error_set(err, SOREX_INVALID, "module has %zu bytes, up to %zu are taken", wasm.len,
                               SOREX_MODULE_BYTES_MAX);
    /* wasmtime_module_new would take the text format as well; a program is a binary. */
    if (wasm.len < 8 || memcmp(wasm.data, "\0asm\1\0\0\0", 8) != 0)
        return sorex_error_set(err, SOREX_INVALID,
                               "not a WebAssembly module (it does not begin with \\0asm version 1)");
    if (cache_dir != NULL && cache_load(cache_dir, program->engine, wasm, &program->module)) {
        program->cached = true;
        return SOREX_OK;
    }
    wasmtime_error_t *error = wasmtime_module_new(program->engine->engine, wasm.data, wasm.len, &program->module);
    if (error != NULL)
        return trap_error_take(error, SOREX_INVALID, err, "compile");
    if (cache_dir != NULL)
        cache_save(cache_dir, program->engine, wasm, program->module);
    return SOREX_OK;
}

/* -- imports */

static const struct wasm_import *import_find(const struct wasm_program_options *options, const struct import_link *link)
{
    for (size_t i = 0; i < options->imports_count; i++)
        if (strcmp(options->imports[i].module, link->module) == 0 && strcmp(options->imports[i].name, link->name) == 0)
            return &options->imports[i];
    return NULL;
}

/* Links one import of the module; link lives as long as the program. */
static enum sorex_status import_link(const struct wasm_program_options *options, wasmtime_linker_t *linker,
                                     const struct wasm_import_info *info, struct import_link *link,
                                     struct sorex_error *err)
{
    link->module = name_copy(info->module);
    link->name = name_copy(info->name);
    if (link->module == NULL || link->name == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "import: out of memory");
    if (info->kind != WASM_KIND_FUNC)
        return sorex_error_set(err, SOREX_INVALID, "import %s.%s: only functions can be imported", link->module,
                               link->name);
    link->import = import_find(options, link);
    if (link->import == NULL && !options->unknown_functions_trap)
        return sorex_error_set(err, SOREX_INVALID, "import %s.%s: the host has no such function", link->module,
                               link->name);
    if (link->import != NULL && strcmp(info->type, link->import->type) != 0)
        return sorex_error_set(err, SOREX_INVALID, "import %s.%s: the module wants %s, the host has %s", link->module,
                               link->name, info->type, link->import->type);
    wasm_functype_t *type = type_func_make(info->type);
    if (type == NULL)
        return sorex_error_set(err, SOREX_INVALID, "import %s.%s: no host function can have the type %s", link->module,
                               link->name, info->type);
    wasmtime_error_t *error = wasmtime_linker_define_func_unchecked(linker, (const char *)info->module.data,
                                                                    info->module.len, (const char *)info->name.data,
                                                                    info->name.len, type, sandbox_import, link, NULL);
    wasm_functype_delete(type);
    return error == NULL ? SOREX_OK : trap_error_take(error, SOREX_INVALID, err, "import");
}

static enum sorex_status imports_link(struct wasm_program *program, const struct wasm_program_options *options,
                                      const struct wasm_report *report, struct sorex_error *err)
{
    program->links = calloc(report->imports_count + 1, sizeof *program->links);
    if (program->links == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "imports: out of memory");
    enum sorex_status status = SOREX_OK;
    wasmtime_linker_t *linker = wasmtime_linker_new(program->engine->engine);
    wasmtime_linker_allow_shadowing(linker, true); /* a module may import one function twice */
    for (size_t i = 0; i < report->imports_count && status == SOREX_OK; i++) {
        program->links_count = i + 1;
        status = import_link(options, linker, &report->imports[i], &program->links[i], err);
    }
    if (status == SOREX_OK) {
        wasmtime_error_t *error = wasmtime_linker_instantiate_pre(linker, program->module, &program->pre);
        if (error != NULL)
            status = trap_error_take(error, SOREX_INVALID, err, "link");
    }
    wasmtime_linker_delete(linker);
    return status;
}

/* -- exports */

static bool export_fill(struct wasm_export *out, const struct wasm_export_info *info, uint32_t index)
{
    *out = (struct wasm_export){.kind = info->kind, .index = index, .slots = 1};
    bool typed = info->kind == WASM_KIND_FUNC || info->kind == WASM_KIND_GLOBAL;
    if (info->kind == WASM_KIND_FUNC)
        out->slots = type_func_slots(info->type);
    out->name = name_copy(info->name);
    out->type = strdup(typed ? info->type : "");
    return out->name != NULL && out->type != NULL;
}

static enum sorex_status exports_list(struct wasm_program *program, const struct wasm_report *report,
                                      struct sorex_error *err)
{
    program->exports = calloc(report->exports_count + 1, sizeof *program->exports);
    if (program->exports == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "exports: out of memory");
    for (size_t i = 0; i < report->exports_count; i++) {
        const struct wasm_export_info *info = &report->exports[i];
        if (info->name.len > 0 && memchr(info->name.data, '\0', info->name.len) != NULL)
            continue;
        struct wasm_export *export = &program->exports[program->exports_count++];
        if (!export_fill(export, info, (uint32_t)i))
            return sorex_error_set(err, SOREX_NOMEM, "exports: out of memory");
        /* The memory of the contracts: "memory", or the only one under another name. */
        if (export->kind == WASM_KIND_MEMORY && (program->memory == NULL || strcmp(export->name, "memory") == 0))
            program->memory = export;
    }
    if (report->memories_count > 0)
        program->memory_bytes_min = report->memories[0].min * WASM_PAGE_BYTES;
    return SOREX_OK;
}

/* After compiling, which checked what the outline takes on trust. */
static enum sorex_status module_link(struct wasm_program *program, struct bytes wasm,
                                     const struct wasm_program_options *options, struct sorex_error *err)
{
    struct arena arena;
    struct wasm_report report;
    arena_init(&arena, 0);
    enum sorex_status status = inspect_outline(wasm, false, &arena, &report, err);
    if (status == SOREX_OK)
        status = imports_link(program, options, &report, err);
    if (status == SOREX_OK)
        status = exports_list(program, &report, err);
    arena_deinit(&arena);
    return status;
}

/* -- interface */

enum sorex_status wasm_program_open(struct bytes wasm, const struct wasm_program_options *options,
                                    struct wasm_program **out, struct sorex_error *err)
{
    const char *name = options->name != NULL ? options->name : "module";
    struct wasm_program *program = calloc(1, sizeof *program);
    if (program == NULL || (program->name = strdup(name)) == NULL) {
        free(program);
        return sorex_error_set(err, SOREX_NOMEM, "program %s: out of memory", name);
    }
    enum sorex_status status = engine_take(&options->settings, &program->engine, err);
    if (status == SOREX_OK)
        status = module_open(program, wasm, options->cache_dir, err);
    if (status == SOREX_OK)
        status = module_link(program, wasm, options, err);
    if (status != SOREX_OK) {
        wasm_program_close(program);
        (void)sorex_error_prefix(err, "program %s", name);
        return status;
    }
    *out = program;
    return SOREX_OK;
}

void wasm_program_close(struct wasm_program *program)
{
    if (program == NULL)
        return;
    if (program->pre != NULL)
        wasmtime_instance_pre_delete(program->pre);
    if (program->module != NULL)
        wasmtime_module_delete(program->module);
    for (size_t i = 0; i < program->links_count; i++) {
        free(program->links[i].module);
        free(program->links[i].name);
    }
    free(program->links);
    for (size_t i = 0; i < program->exports_count; i++) {
        free((void *)(uintptr_t)program->exports[i].name);
        free((void *)(uintptr_t)program->exports[i].type);
    }
    free(program->exports);
    engine_drop(program->engine);
    free(program->name);
    free(program);
}

const char *wasm_program_name(const struct wasm_program *program) { return program->name; }

bool wasm_program_cached(const struct wasm_program *program) { return program->cached; }

const struct wasm_export *wasm_program_exports(const struct wasm_program *program, size_t *out_count)
{
    *out_count = program->exports_count;
    return program->exports;
}

const struct wasm_export *wasm_program_export(const struct wasm_program *program, const char *name)
{
    for (size_t i = 0; i < program->exports_count; i++)
        if (strcmp(program->exports[i].name, name) == 0)
            return &program->exports[i];
    return NULL;
}

bool wasm_program_imports(const struct wasm_program *program, const char *module, const char *name)
{
    for (size_t i = 0; i < program->links_count; i++)
        if (strcmp(program->links[i].module, module) == 0 && strcmp(program->links[i].name, name) == 0)
            return true;
    return false;
}

enum sorex_status wasm_program_func(const struct wasm_program *program, const char *name, const char *type,
                                    const struct wasm_export **out, struct sorex_error *err)
{
    const struct wasm_export *export = wasm_program_export(program, name);
    if (export == NULL)
        return sorex_error_set(err, SOREX_GONE, "program %s: no export named %s", program->name, name);
    if (export->kind != WASM_KIND_FUNC)
        return sorex_error_set(err, SOREX_INVALID, "program %s: export %s is not a function", program->name, name);
    if ((type != NULL && strcmp(export->type, type) != 0) || export->slots == 0)
        return sorex_error_set(err, SOREX_INVALID, "program %s: export %s is %s, wanted is %s", program->name, name,
                               export->type, type != NULL ? type : "a shorter type");
    *out = export;
    return SOREX_OK;
}

enum sorex_status wasm_validate(struct bytes wasm, const struct wasm_settings *settings, struct sorex_error *err)
{
    struct wasm_engine *engine = NULL;
    TRY(engine_take(settings, &engine, err));
    wasmtime_error_t *error = wasmtime_module_validate(engine->engine, wasm.data, wasm.len);
    engine_drop(engine);
    return error == NULL ? SOREX_OK : trap_error_take(error, SOREX_INVALID, err, "validate");
}

enum sorex_status wasm_from_text(struct bytes text, struct buf *out, struct sorex_error *err)
{
    wasm_byte_vec_t binary;
    wasmtime_error_t *error = wasmtime_wat2wasm((const char *)text.data, text.len, &binary);
    if (error != NULL)
        return trap_error_take(error, SOREX_INVALID, err, "text format");
    enum sorex_status status = buf_append(out, bytes_of(binary.data, binary.size), err);
    wasm_byte_vec_delete(&binary);
    return status;
}
