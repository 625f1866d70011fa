/* sorex inspect: what a module is, what it needs, and what would be refused. */
#include <stdio.h>

#include "base/check.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/limits.h"
#include "cli/exit_code.h"
#include "cli/verbs.h"
#include "guest/filter.h"
#include "guest/indexer.h"
#include "guest/reducer.h"
#include "guest/transform.h"
#include "wasm/inspect.h"

static const char *const kind_names[] = {"func", "table", "memory", "global", "tag"};

static bool report_exports(const struct wasm_report *report, const char *name)
{
    for (size_t i = 0; i < report->exports_count; i++)
        if (bytes_is(report->exports[i].name, name))
            return true;
    return false;
}

/* The contract that the exports point at; NULL when none does. */
static const char *contract_detect(const struct wasm_report *report)
{
    if (report_exports(report, "process_block"))
        return "transform";
    if (report_exports(report, "transform") || report_exports(report, "rustcdc_abi_version"))
        return "filter";
    if (report_exports(report, "reduce"))
        return "reducer";
    return report_exports(report, "_start") ? "indexer" : NULL;
}

/* Loads it as `run` would; *out_version: of a filter's contract, else 0; err has the reason when it is refused. */
static enum sorex_status contract_load(const char *contract, struct bytes wasm, unsigned *out_version, struct sorex_error *err)
{
    *out_version = 0;
    if (contract == NULL)
        return sorex_error_set(err, SOREX_INVALID, "it exports none of _start (indexer), process_block (transform), transform (filter), reduce (reducer)");
    if (strcmp(contract, "indexer") == 0) {
        struct indexer *indexer;
        struct indexer_options options = {.name = "inspect"};
        TRY(indexer_new(wasm, &options, &indexer, err));
        indexer_free(indexer);
        return SOREX_OK;
    }
    if (strcmp(contract, "transform") == 0) {
        struct transform *transform;
        struct transform_options options = {.name = "inspect"};
        TRY(transform_new(wasm, &options, &transform, err));
        transform_free(transform);
        return SOREX_OK;
    }
    if (strcmp(contract, "filter") == 0) {
        struct filter *filter;
        struct filter_options options = {.name = "inspect"};
        TRY(filter_new(wasm, &options, &filter, err));
        *out_version = filter_version(filter);
        filter_free(filter);
        return SOREX_OK;
    }
    if (strcmp(contract, "reducer") == 0) {
        struct reducer *reducer;
        struct reducer_options options = {.name = "inspect"};
        TRY(reducer_load(wasm, &options, &reducer, err));
        reducer_free(reducer);
        return SOREX_OK;
    }
    return sorex_error_set(err, SOREX_INVALID, "contract %s is not run by this version", contract);
}

struct feature {
    const char *name;
    bool used;
};

#define FEATURE_COUNT 13
static void features_list(const struct wasm_features *f, struct feature out[FEATURE_COUNT])
{
    const struct feature list[FEATURE_COUNT] = {
        {"sign_extension", f->sign_extension}, {"saturating_float", f->saturating_float},
        {"bulk_memory", f->bulk_memory},       {"reference_types", f->reference_types},
        {"simd", f->simd},                     {"relaxed_simd", f->relaxed_simd},
        {"multi_value", f->multi_value},       {"tail_call", f->tail_call},
        {"threads", f->threads},               {"exceptions", f->exceptions},
        {"multi_memory", f->multi_memory},     {"memory64", f->memory64},
        {"gc", f->gc}};
    memcpy(out, list, sizeof list);
}

static void name_print(struct bytes name)
{
    for (size_t i = 0; i < name.len; i++)
        (void)putchar(name.data[i] < 0x20 || name.data[i] == 0x7f ? '?' : name.data[i]);
}

/* An import that contract 1 or 2 does not have is linked all the same: a call of it traps. Contracts 3 and 4 refuse it. */
static bool import_known(const char *contract, const struct wasm_import_info *import)
{
    if (contract == NULL)
        return true; /* unknown is what the contract is */
    if (strcmp(contract, "filter") == 0)
        return filter_has_import(import->module, import->name);
    if (strcmp(contract, "reducer") == 0)
        return reducer_has_import(import->module, import->name);
    return strcmp(contract, "indexer") == 0 ? indexer_has_import(import->module, import->name)
                                            : transform_has_import(import->module, import->name);
}

static const char *unknown_text(const char *contract)
{
    bool strict = strcmp(contract, "filter") == 0 || strcmp(contract, "reducer") == 0;
    return strict ? "  (forbidden)" : "  (unknown: a call of it traps)";
}

static void report_print(const struct wasm_report *r, const char *path, const char *contract, unsigned version,
                         const struct sorex_error *refused)
{
    char hash[HASH_HEX_SIZE];
    struct feature features[FEATURE_COUNT];
    hash_hex(r->sha256, hash);
    printf("module    %s, %llu bytes, sha256 %s\n", path, (unsigned long long)r->bytes, hash);
    printf("contract  %s\n", contract != NULL ? contract : "none that sorex knows");
    if (refused != NULL)
        printf("refused   %s\n", refused->text);
    else
        printf("accepted  loads as %s%s\n", contract, version == 0 ? "" : version == 1 ? ", version 1" : ", version 2");
    for (size_t i = 0; i < r->memories_count; i++) {
        printf("memory    %llu pages at the start, ", (unsigned long long)r->memories[i].min);
        if (r->memories[i].max == UINT64_MAX)
            printf("no maximum\n");
        else
            printf("at most %llu\n", (unsigned long long)r->memories[i].max);
    }
    printf("code      %u functions, %llu bytes%s%s\n", r->functions, (unsigned long long)r->code_bytes,
           r->start ? ", start section" : "", r->names ? ", named (traps say where)" : ", without names");
    printf("globals   %u, %u mutable\n", r->globals, r->globals_mutable);
    printf("data      %u segments, %llu bytes\n", r->data_segments, (unsigned long long)r->data_bytes);
    features_list(&r->features, features);
    bool any = r->features.unknown;
    for (size_t i = 0; i < FEATURE_COUNT; i++)
        any = any || features[i].used;
    printf("features %s", any ? "" : " none");
    for (size_t i = 0; i < FEATURE_COUNT; i++)
        if (features[i].used)
            printf(" %s", features[i].name);
    printf("%s\n", r->features.unknown ? " (and some that this version does not know)" : "");
    for (size_t i = 0; i < r->imports_count; i++) {
        printf("import    ");
        name_print(r->imports[i].module);
        (void)putchar('.');
        name_print(r->imports[i].name);
        printf("  %s %s%s\n", kind_names[r->imports[i].kind], r->imports[i].type,
               import_known(contract, &r->imports[i]) ? "" : unknown_text(contract));
    }
    for (size_t i = 0; i < r->exports_count; i++) {
        printf("export    ");
        name_print(r->exports[i].name);
        printf("  %s %s\n", kind_names[r->exports[i].kind], r->exports[i].type);
    }
}

static void json_report(struct json_writer *w, const struct wasm_report *r, const char *contract, unsigned version,
                        const struct sorex_error *refused)
{
    struct feature features[FEATURE_COUNT];
    json_object_begin(w);
    json_name(w, "contract");
    if (contract != NULL)
        json_string_z(w, contract);
    else
        json_null(w);
    if (version != 0) {
        json_name(w, "version");
        json_uint(w, version);
    }
    json_name(w, "refused");
    if (refused != NULL)
        json_string_z(w, refused->text);
    else
        json_null(w);
    json_name(w, "bytes");
    json_uint(w, r->bytes);
    json_name(w, "sha256");
    json_hex(w, bytes_of(r->sha256, HASH_BYTES));
    json_name(w, "memories");
    json_array_begin(w);
    for (size_t i = 0; i < r->memories_count; i++) {
        json_object_begin(w);
        json_name(w, "min_pages");
        json_uint(w, r->memories[i].min);
        if (r->memories[i].max != UINT64_MAX) {
            json_name(w, "max_pages");
            json_uint(w, r->memories[i].max);
        }
        json_object_end(w);
    }
    json_array_end(w);
    json_name(w, "features");
    json_array_begin(w);
    features_list(&r->features, features);
    for (size_t i = 0; i < FEATURE_COUNT; i++)
        if (features[i].used)
            json_string_z(w, features[i].name);
    json_array_end(w);
    json_name(w, "imports");
    json_array_begin(w);
    for (size_t i = 0; i < r->imports_count; i++) {
        json_object_begin(w);
        json_name(w, "module");
        json_string(w, r->imports[i].module);
        json_name(w, "name");
        json_string(w, r->imports[i].name);
        json_name(w, "kind");
        json_string_z(w, kind_names[r->imports[i].kind]);
        json_name(w, "type");
        json_string_z(w, r->imports[i].type);
        json_name(w, "known");
        json_bool(w, import_known(contract, &r->imports[i]));
        json_object_end(w);
    }
    json_array_end(w);
    json_name(w, "exports");
    json_array_begin(w);
    for (size_t i = 0; i < r->exports_count; i++) {
        json_object_begin(w);
        json_name(w, "name");
        json_string(w, r->exports[i].name);
        json_name(w, "kind");
        json_string_z(w, kind_names[r->exports[i].kind]);
        json_name(w, "type");
        json_string_z(w, r->exports[i].type);
        json_object_end(w);
    }
    json_array_end(w);
    json_object_end(w);
}

static enum sorex_status inspect(const struct arguments *arguments, struct buf *wasm, struct arena *arena, struct sorex_error *err)
{
    struct wasm_report report;
    struct sorex_error refused = {0};
    const char *path = arguments->words[0];
    TRY(file_read(path, SOREX_MODULE_BYTES_MAX, wasm, err));
    if (wasm_inspect(buf_view(wasm), arena, &report, err) != SOREX_OK)
        return sorex_error_prefix(err, "%s", path);
    const char *contract = contract_detect(&report);
    unsigned version;
    bool accepted = contract_load(contract, buf_view(wasm), &version, &refused) == SOREX_OK;
    if (!arguments->json) {
        report_print(&report, path, contract, version, accepted ? NULL : &refused);
        return SOREX_OK;
    }
    struct json_out out;
    json_out_begin(&out, true, err);
    json_report(&out.w, &report, contract, version, accepted ? NULL : &refused);
    return json_out_end(&out, stdout);
}

static int run(struct arguments *arguments)
{
    struct sorex_error err = {0};
    struct buf wasm = {0};
    struct arena arena;
    arena_init(&arena, 0);
    enum sorex_status status = inspect(arguments, &wasm, &arena, &err);
    arena_deinit(&arena);
    buf_deinit(&wasm);
    return status == SOREX_OK ? EXIT_OK_CODE : cli_fail(&err);
}

const struct verb verb_inspect = {
    .name = "inspect",
    .summary = "what a module is, what it needs, and what would be refused",
    .usage = "MODULE.wasm [--json]",
    .flags = "json",
    .words_min = 1,
    .words_max = 1,
    .about = "Contract, imports and exports with their types, memory, features used; loads the module as `run` would and says why it\n"
             "would be refused, if it would.",
    .example = "sorex inspect guests/utxo.wasm",
    .run = run,
};
