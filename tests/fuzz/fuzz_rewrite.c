/* libFuzzer: any bytes are rewritten or refused; what was rewritten can be inspected when the original can, with no
 * fewer exports. */
#include "base/check.h"
#include "wasm/inspect.h"
#include "wasm/rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct buf out = {0};
    struct wasm_report before, after;
    arena_init(&arena, 0);
    bool valid = wasm_inspect(bytes_of(data, size), &arena, &before, NULL) == SOREX_OK;
    if (wasm_rewrite(bytes_of(data, size), &out, NULL) == SOREX_OK && valid) {
        struct sorex_error err = {0};
        CHECK(wasm_inspect(buf_view(&out), &arena, &after, &err) == SOREX_OK);
        CHECK(after.exports_count >= before.exports_count && after.functions == before.functions);
    }
    buf_deinit(&out);
    arena_deinit(&arena);
    return 0;
}
