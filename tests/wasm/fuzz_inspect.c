/* libFuzzer target: any bytes are reported on or refused with a text, and rewritten or refused. */
#include <stdlib.h>

#include "wasm/inspect.h"
#include "wasm/rewrite.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sorex_error err = {.status = SOREX_OK};
    struct arena arena;
    struct wasm_report report;
    arena_init(&arena, (size_t)64 << 20);
    enum sorex_status status = wasm_inspect(bytes_of(data, size), &arena, &report, &err);
    if (status != SOREX_OK && err.text[0] == '\0')
        abort();
    for (size_t i = 0; status == SOREX_OK && i < report.exports_count; i++)
        if (report.exports[i].type == NULL)
            abort();
    arena_deinit(&arena);

    struct buf out = {0};
    status = wasm_rewrite(bytes_of(data, size), &out, &err);
    if (status != SOREX_OK && (out.len != 0 || err.text[0] == '\0'))
        abort();
    buf_deinit(&out);
    return 0;
}
