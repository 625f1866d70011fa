/* libFuzzer: any bytes are rewritten or refused, without reading outside them, and the same way twice. What Wasmtime
 * finds valid decodes, knows no instruction that we do not, and is valid when it was rewritten; what becomes of a
 * module that is not valid is not promised. */
#include "fuzz/module_engine.h"
#include "wasm/rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out = {0}, again = {0};
    struct bytes wasm = bytes_of(data, size);
    struct sorex_error err = {0};
    enum sorex_status status = wasm_rewrite(wasm, &out, &err);
    CHECK(wasm_rewrite(wasm, &again, NULL) == status);
    CHECK(status == SOREX_OK ? bytes_equal(buf_view(&out), buf_view(&again)) : out.len == 0 && err.text[0] != '\0');
    if (module_valid(wasm)) {
        CHECK(status != SOREX_OK || module_valid(buf_view(&out)));
        bool understood =
            strstr(err.text, "does not decode") == NULL && strstr(err.text, "unknown instruction") == NULL;
        CHECK(understood || !module_compiles(wasm));
    }
    buf_deinit(&out);
    buf_deinit(&again);
    return 0;
}
