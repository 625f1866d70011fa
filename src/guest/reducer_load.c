/* Judging a module of contract 4 before it is compiled, in a fixed order, so that the first thing wrong with it is
 * always the same one: imports in the module's order, then exports and their types, the start section, sizes. */
#include "base/arena.h"
#include "base/check.h"
#include "guest/reducer_private.h"
#include "wasm/inspect.h"

#define PAGE_BYTES ((uint64_t)65536)

struct export_rule {
    const char *name;
    const char *type; /* NULL: a memory */
    bool optional;
};

static const struct export_rule rules[] = {
    {"memory", NULL, false}, {"reduce", "() -> i32", false}, {"schema", "() -> i32", true}};

static const char *const kind_names[] = {"a function", "a table", "a memory", "a global", "a tag"};

bool reducer_has_import(struct bytes module, struct bytes name)
{
    for (size_t i = 0; i < reducer_imports_count; i++)
        if (bytes_is(module, reducer_imports[i].module) && bytes_is(name, reducer_imports[i].name))
            return true;
    return false;
}

static enum sorex_status import_check(const struct wasm_import_info *info, struct sorex_error *err)
{
    if (!reducer_has_import(info->module, info->name))
        return sorex_error_set(err, SOREX_INVALID,
                               "import %.*s.%.*s is forbidden: a reducer may import sorex.prepare "
                               "and its siblings only",
                               BYTES_FMT(info->module), BYTES_FMT(info->name));
    const struct wasm_import *import = reducer_imports;
    while (!bytes_is(info->name, import->name))
        import++;
    if (info->kind != WASM_KIND_FUNC || strcmp(info->type, import->type) != 0)
        return sorex_error_set(err, SOREX_INVALID, "import sorex.%s is %s %s, it has to be a function %s", import->name,
                               kind_names[info->kind], info->type, import->type);
    return SOREX_OK;
}

static const struct wasm_export_info *export_find(const struct wasm_report *report, const char *name)
{
    for (size_t i = 0; i < report->exports_count; i++)
        if (bytes_is(report->exports[i].name, name))
            return &report->exports[i];
    return NULL;
}

static enum sorex_status export_check(const struct wasm_report *report, const struct export_rule *rule,
                                      struct sorex_error *err)
{
    const struct wasm_export_info *export = export_find(report, rule->name);
    enum wasm_kind wanted = rule->type == NULL ? WASM_KIND_MEMORY : WASM_KIND_FUNC;
    if (export == NULL)
        return rule->optional ? SOREX_OK
                              : sorex_error_set(err, SOREX_INVALID, "missing required export %s", rule->name);
    if (export->kind != wanted)
        return sorex_error_set(err, SOREX_INVALID, "export %s is %s, it has to be %s", rule->name,
                               kind_names[export->kind], kind_names[wanted]);
    if (rule->type != NULL && strcmp(export->type, rule->type) != 0)
        return sorex_error_set(err, SOREX_INVALID, "export %s is %s, it has to be %s", rule->name, export->type,
                               rule->type);
    return SOREX_OK;
}

static enum sorex_status report_check(const struct wasm_report *report, uint64_t memory_bytes_max,
                                      struct sorex_error *err)
{
    for (size_t i = 0; i < report->imports_count; i++)
        TRY(import_check(&report->imports[i], err));
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        TRY(export_check(report, &rules[i], err));
    if (report->start)
        return sorex_error_set(err, SOREX_INVALID,
                               "a reducer has no start section: schema and reduce are its beginnings");
    for (size_t i = 0; i < report->memories_count; i++)
        if (report->memories[i].min > memory_bytes_max / PAGE_BYTES)
            return sorex_error_set(err, SOREX_INVALID, "it starts with %llu pages of memory, the limit is %llu",
                                   (unsigned long long)report->memories[i].min,
                                   (unsigned long long)(memory_bytes_max / PAGE_BYTES));
    return SOREX_OK;
}

enum sorex_status reducer_module_check(struct bytes wasm, uint64_t memory_bytes_max, struct sorex_error *err)
{
    struct wasm_report report;
    struct arena arena;
    arena_init(&arena, 0);
    enum sorex_status status = wasm_inspect(wasm, &arena, &report, err);
    if (status == SOREX_OK)
        status = report_check(&report, memory_bytes_max, err);
    arena_deinit(&arena);
    return status;
}
