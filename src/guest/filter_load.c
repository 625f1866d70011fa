/* Judging a module of contract 3 before it is compiled, in a fixed order, so that the first thing wrong with it is
 * always the same one: imports in the module's order, then exports in the order of the tables below, then types in the
 * same order, then sizes. */
#include "base/check.h"
#include "guest/filter_private.h"

#define PAGE_BYTES ((uint64_t)65536)
#define TABLE_ELEMENT_BYTES 8

struct export_rule {
    const char *name;
    const char *type;  /* NULL: a memory */
    unsigned versions; /* bits: 1 = required by version 1, 2 = by version 2 */
};

static const struct export_rule rules[] = {
    {"memory", NULL, 3},
    {"alloc", "(i32) -> i32", 3},
    {"dealloc", "(i32, i32) ->", 2},
    {"transform", "(i32, i32) -> i32", 1},
    {"transform", "(i32, i32) -> i64", 2},
    {"output_len", "() -> i32", 1},
    {"rustcdc_abi_version", "() -> i32", 2},
    {"init", "(i32, i32) -> i32", 0},
    {"shutdown", "() -> i32", 0},
};
#define RULES_COUNT (sizeof rules / sizeof rules[0])

static const char *const kind_names[] = {"a function", "a table", "a memory", "a global", "a tag"};

static const struct wasm_export_info *export_find(const struct wasm_report *report, const char *name)
{
    for (size_t i = 0; i < report->exports_count; i++)
        if (bytes_is(report->exports[i].name, name))
            return &report->exports[i];
    return NULL;
}

bool filter_has_import(struct bytes module, struct bytes name)
{
    for (size_t i = 0; i < sizeof filter_imports / sizeof filter_imports[0]; i++)
        if (bytes_is(module, filter_imports[i].module) && bytes_is(name, filter_imports[i].name))
            return true;
    return false;
}

static enum sorex_status import_check(const struct wasm_import_info *info, struct sorex_error *err)
{
    if (!filter_has_import(info->module, info->name))
        return sorex_error_set(
            err, SOREX_INVALID,
            "import %.*s.%.*s is forbidden: an event transform may import env.log, env.get_metric and "
            "env.record_metric only",
            BYTES_FMT(info->module), BYTES_FMT(info->name));
    const struct wasm_import *import = filter_imports;
    while (!bytes_is(info->name, import->name))
        import++;
    if (info->kind != WASM_KIND_FUNC || strcmp(info->type, import->type) != 0)
        return sorex_error_set(err, SOREX_INVALID, "import env.%s is %s %s, it has to be a function %s", import->name,
                               kind_names[info->kind], info->type, import->type);
    return SOREX_OK;
}

/* Version 2 has told itself by its probe, version 1 by its length. With neither, what transform returns says which one
 * was meant. */
static unsigned version_guess(const struct wasm_report *report)
{
    if (export_find(report, "rustcdc_abi_version") != NULL)
        return 2;
    if (export_find(report, "output_len") != NULL)
        return 1;
    const struct wasm_export_info *transform = export_find(report, "transform");
    return transform != NULL && transform->kind == WASM_KIND_FUNC && strcmp(transform->type, "(i32, i32) -> i32") == 0
               ? 1
               : 2;
}

static bool applies(const struct export_rule *rule, unsigned version)
{
    return rule->versions == 0 || (rule->versions & version) != 0;
}

static enum sorex_status exports_check(const struct wasm_report *report, unsigned version, struct sorex_error *err)
{
    for (size_t i = 0; i < RULES_COUNT; i++)
        if ((rules[i].versions & version) != 0 && export_find(report, rules[i].name) == NULL)
            return sorex_error_set(err, SOREX_INVALID, "missing required export %s (version %u of the contract)",
                                   rules[i].name, version);
    for (size_t i = 0; i < RULES_COUNT; i++) {
        const struct wasm_export_info *export = export_find(report, rules[i].name);
        if (export == NULL || !applies(&rules[i], version))
            continue;
        enum wasm_kind wanted = rules[i].type == NULL ? WASM_KIND_MEMORY : WASM_KIND_FUNC;
        if (export->kind != wanted)
            return sorex_error_set(err, SOREX_INVALID, "export %s is %s, it has to be %s", rules[i].name,
                                   kind_names[export->kind], kind_names[wanted]);
        if (rules[i].type != NULL && strcmp(export->type, rules[i].type) != 0)
            return sorex_error_set(err, SOREX_INVALID, "export %s is %s, it has to be %s (version %u of the contract)",
                                   rules[i].name, export->type, rules[i].type, version);
    }
    return SOREX_OK;
}

static enum sorex_status sizes_check(struct filter *filter, const struct wasm_report *report, struct sorex_error *err)
{
    uint64_t pages = 0, elements = 0;
    for (size_t i = 0; i < report->memories_count; i++)
        pages += report->memories[i].min < UINT32_MAX ? report->memories[i].min : UINT32_MAX;
    for (size_t i = 0; i < report->tables_count; i++)
        elements += report->tables[i].min < UINT32_MAX ? report->tables[i].min : UINT32_MAX;
    if (pages * PAGE_BYTES > filter->memory_bytes_max)
        return sorex_error_set(err, SOREX_INVALID, "it starts with %llu bytes of memory, the limit is %llu",
                               (unsigned long long)(pages * PAGE_BYTES), (unsigned long long)filter->memory_bytes_max);
    if (elements * TABLE_ELEMENT_BYTES > filter->memory_bytes_max)
        return sorex_error_set(err, SOREX_INVALID, "it starts with %llu bytes of tables, the limit is %llu",
                               (unsigned long long)(elements * TABLE_ELEMENT_BYTES),
                               (unsigned long long)filter->memory_bytes_max);
    /* Each may grow by its share of what is left. A table above its share from the start keeps what it has. */
    filter->table_elements_max = filter->memory_bytes_max / TABLE_ELEMENT_BYTES;
    if (report->tables_count > 1) {
        uint64_t share = filter->table_elements_max / report->tables_count;
        for (size_t i = 0; i < report->tables_count; i++)
            share = report->tables[i].min > share ? report->tables[i].min : share;
        filter->table_elements_max = share;
    }
    if (filter->table_elements_max == 0)
        filter->table_elements_max = 1;
    return SOREX_OK;
}

enum sorex_status filter_module_check(struct filter *filter, struct bytes wasm, struct sorex_error *err)
{
    struct wasm_report report;
    struct arena arena;
    arena_init(&arena, 0);
    enum sorex_status status = wasm_inspect(wasm, &arena, &report, err);
    for (size_t i = 0; status == SOREX_OK && i < report.imports_count; i++)
        status = import_check(&report.imports[i], err);
    if (status == SOREX_OK) {
        filter->version = version_guess(&report);
        status = exports_check(&report, filter->version, err);
    }
    if (status == SOREX_OK)
        status = sizes_check(filter, &report, err);
    arena_deinit(&arena);
    return status;
}

static enum sorex_status func_find(struct filter *filter, const char *name, const struct wasm_export **out,
                                   struct sorex_error *err)
{
    if (wasm_program_export(filter->program, name) == NULL)
        return SOREX_OK;
    return wasm_program_func(filter->program, name, NULL, out, err);
}

enum sorex_status filter_exports_find(struct filter *filter, struct sorex_error *err)
{
    TRY(func_find(filter, "alloc", &filter->alloc, err));
    TRY(func_find(filter, "transform", &filter->transform, err));
    if (filter->version == 1)
        TRY(func_find(filter, "output_len", &filter->output_len, err));
    else
        TRY(func_find(filter, "dealloc", &filter->dealloc, err));
    TRY(func_find(filter, "init", &filter->init, err));
    return func_find(filter, "shutdown", &filter->shutdown, err);
}
