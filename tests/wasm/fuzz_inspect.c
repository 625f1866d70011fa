/* libFuzzer: any bytes are reported on or refused with a text; the outline of a module, which programs are linked by,
 * agrees with the whole report. What Wasmtime finds valid is understood to its end. */
#include "fuzz/module_engine.h"
#include "wasm/inspect_outline.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct bytes part, struct bytes whole)
{
    CHECK(part.len == 0 || (part.data >= whole.data && part.data + part.len <= whole.data + whole.len));
}

static void report_check(const struct wasm_report *report, struct bytes wasm)
{
    for (size_t i = 0; i < report->exports_count; i++) {
        inside(report->exports[i].name, wasm);
        CHECK(report->exports[i].type != NULL);
    }
    for (size_t i = 0; i < report->imports_count; i++) {
        inside(report->imports[i].module, wasm);
        inside(report->imports[i].name, wasm);
        CHECK(report->imports[i].type != NULL);
    }
    for (size_t i = 0; i < report->customs_count; i++) {
        inside(report->customs[i].name, wasm);
        inside(report->customs[i].content, wasm);
    }
    CHECK(report->bytes == wasm.len && report->data_bytes <= wasm.len && report->code_bytes <= wasm.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sorex_error err = {.status = SOREX_OK};
    struct bytes wasm = bytes_of(data, size);
    struct arena arena;
    struct wasm_report report, outline;
    arena_init(&arena, (size_t)64 << 20);
    enum sorex_status status = wasm_inspect(wasm, &arena, &report, &err);
    CHECK(status == SOREX_OK || (err.status == status && err.text[0] != '\0'));
    if (status == SOREX_OK) {
        report_check(&report, wasm);
        CHECK(inspect_outline(wasm, false, &arena, &outline, &err) == SOREX_OK);
        CHECK(outline.imports_count == report.imports_count && outline.exports_count == report.exports_count);
        CHECK(outline.memories_count == report.memories_count && outline.tables_count == report.tables_count);
    }
    bool understood = status == SOREX_OK && !report.features.unknown;
    CHECK(understood || !module_valid(wasm) || !module_compiles(wasm));
    arena_deinit(&arena);
    return 0;
}
