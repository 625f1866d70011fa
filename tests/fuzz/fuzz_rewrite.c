/* libFuzzer: any bytes are rewritten or refused, without reading outside them, and the same way twice. (What becomes of a module that is
 * not valid is not promised.) */
#include "base/check.h"
#include "wasm/rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf out = {0}, again = {0};
    struct bytes wasm = bytes_of(data, size);
    enum sorex_status status = wasm_rewrite(wasm, &out, NULL);
    CHECK(wasm_rewrite(wasm, &again, NULL) == status);
    CHECK(status != SOREX_OK || bytes_equal(buf_view(&out), buf_view(&again)));
    buf_deinit(&out);
    buf_deinit(&again);
    return 0;
}
