/* Programs: a module compiled for an engine, its imports checked and linked once, so that a sandbox is only an instantiation. */
#include <stdlib.h>

#include "base/limits.h"
#include "wasm/private.h"

static char *name_copy(const wasm_name_t *name)
{
    char *copy = malloc(name->size + 1);
    if (copy != NULL) {
        memcpy(copy, name->data, name->size);
        copy[name->size] = '\0';
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
        return sorex_error_set(err, SOREX_INVALID, "not a WebAssembly module (it does not begin with \\0asm version 1)");
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
                                     const wasm_importtype_t *import, struct import_link *link, struct sorex_error *err)
{
    const wasm_name_t *module = wasm_importtype_module(import);
    const wasm_name_t *name = wasm_importtype_name(import);
    link->module = name_copy(module);
    link->name = name_copy(name);
    if (link->module == NULL || link->name == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "import: out of memory");
    const wasm_functype_t *type = wasm_externtype_as_functype_const(wasm_importtype_type(import));
    if (type == NULL)
        return sorex_error_set(err, SOREX_INVALID, "import %s.%s: only functions can be imported", link->module,
                               link->name);
    link->import = import_find(options, link);
    if (link->import == NULL && !options->unknown_functions_trap)
        return sorex_error_set(err, SOREX_INVALID, "import %s.%s: the host has no such function", link->module,
                               link->name);
    char text[TYPE_TEXT_MAX];
    bool whole = type_func_text(type, text);
    if (link->import != NULL && (!whole || strcmp(text, link->import->type) != 0))
        return sorex_error_set(err, SOREX_INVALID, "import %s.%s: the module wants %s, the host has %s", link->module,
                               link->name, text, link->import->type);
    wasmtime_error_t *error = wasmtime_linker_define_func_unchecked(
        linker, module->data, module->size, name->data, name->size, type, sandbox_import, link, NULL);
    return error == NULL ? SOREX_OK : trap_error_take(error, SOREX_INVALID, err, "import");
}

static enum sorex_status imports_link(struct wasm_program *program, const struct wasm_program_options *options,
                                      struct sorex_error *err)
{
    enum sorex_status status = SOREX_OK;
    wasm_importtype_vec_t imports;
    wasmtime_module_imports(program->module, &imports);
    wasmtime_linker_t *linker = wasmtime_linker_new(program->engine->engine);
    wasmtime_linker_allow_shadowing(linker, true); /* a module may import one function twice */
    program->links = calloc(imports.size + 1, sizeof *program->links);
    if (program->links == NULL)
        status = sorex_error_set(err, SOREX_NOMEM, "imports: out of memory");
    for (size_t i = 0; i < imports.size && status == SOREX_OK; i++) {
        program->links_count = i + 1;
        status = import_link(options, linker, imports.data[i], &program->links[i], err);
    }
    if (status == SOREX_OK) {
        wasmtime_error_t *error = wasmtime_linker_instantiate_pre(linker, program->module, &program->pre);
        if (error != NULL)
            status = trap_error_take(error, SOREX_INVALID, err, "link");
    }
    wasmtime_linker_delete(linker);
    wasm_importtype_vec_delete(&imports);
    return status;
}

/* -- exports */

static enum wasm_kind kind_of(wasm_externkind_t kind)
{
    switch (kind) {
    case WASM_EXTERN_FUNC:
        return WASM_KIND_FUNC;
    case WASM_EXTERN_GLOBAL:
        return WASM_KIND_GLOBAL;
    case WASM_EXTERN_TABLE:
        return WASM_KIND_TABLE;
    case WASM_EXTERN_MEMORY:
        return WASM_KIND_MEMORY;
    default:
        return WASM_KIND_TAG;
    }
}

static bool export_fill(struct wasm_export *out, const wasm_exporttype_t *export, uint32_t index)
{
    const wasm_externtype_t *type = wasm_exporttype_type(export);
    char text[TYPE_TEXT_MAX] = "";
    *out = (struct wasm_export){.kind = kind_of(wasm_externtype_kind(type)), .index = index, .slots = 1};
    if (out->kind == WASM_KIND_FUNC) {
        const wasm_functype_t *func = wasm_externtype_as_functype_const(type);
        size_t params = wasm_functype_params(func)->size;
        size_t results = wasm_functype_results(func)->size;
        out->slots = (uint32_t)(params > results ? params : results > 0 ? results : 1);
        if (!type_func_text(func, text))
            (void)strcpy(text, "(...)");
    } else if (out->kind == WASM_KIND_GLOBAL) {
        type_global_text(wasm_externtype_as_globaltype_const(type), text);
    }
    char *name = name_copy(wasm_exporttype_name(export));
    out->name = name;
    out->type = strdup(text);
    return name != NULL && out->type != NULL;
}

/* The memory of the contracts: "memory", or the only one under another name. */
static void memory_choose(struct wasm_program *program, const struct wasm_export *export, const wasm_exporttype_t *type)
{
    if (export->kind != WASM_KIND_MEMORY || (program->memory != NULL && strcmp(export->name, "memory") != 0))
        return;
    const wasm_memorytype_t *memory = wasm_externtype_as_memorytype_const(wasm_exporttype_type(type));
    program->memory = export;
    program->memory_bytes_min = wasmtime_memorytype_minimum(memory) * WASM_PAGE_BYTES;
}

static enum sorex_status exports_list(struct wasm_program *program, struct sorex_error *err)
{
    enum sorex_status status = SOREX_OK;
    wasm_exporttype_vec_t types;
    wasmtime_module_exports(program->module, &types);
    program->exports = calloc(types.size + 1, sizeof *program->exports);
    if (program->exports == NULL)
        status = sorex_error_set(err, SOREX_NOMEM, "exports: out of memory");
    for (size_t i = 0; i < types.size && status == SOREX_OK; i++) {
        const wasm_name_t *name = wasm_exporttype_name(types.data[i]);
        if (memchr(name->data, '\0', name->size) != NULL)
            continue;
        struct wasm_export *export = &program->exports[program->exports_count++];
        if (export_fill(export, types.data[i], (uint32_t)i))
            memory_choose(program, export, types.data[i]);
        else
            status = sorex_error_set(err, SOREX_NOMEM, "exports: out of memory");
    }
    wasm_exporttype_vec_delete(&types);
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
        status = imports_link(program, options, err);
    if (status == SOREX_OK)
        status = exports_list(program, err);
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

const char *wasm_program_name(const struct wasm_program *program)
{
    return program->name;
}

bool wasm_program_cached(const struct wasm_program *program)
{
    return program->cached;
}

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
    if (type != NULL && strcmp(export->type, type) != 0)
        return sorex_error_set(err, SOREX_INVALID, "program %s: export %s is %s, wanted is %s", program->name, name,
                               export->type, type);
    *out = export;
    return SOREX_OK;
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
