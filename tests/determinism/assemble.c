/* assemble TEXT BINARY: text format to binary, by Wasmtime's own reader, which knows every instruction that the engine
 * does. */
#include <stdio.h>

#include "base/file.h"
#include "wasm/wasm.h"

int main(int argc, char **argv)
{
    struct buf text = {0}, binary = {0};
    struct sorex_error err = {0};
    if (argc != 3) {
        fprintf(stderr, "usage: assemble TEXT BINARY\n");
        return 2;
    }
    enum sorex_status status = file_read(argv[1], (size_t)1 << 24, &text, &err);
    if (status == SOREX_OK)
        status = wasm_from_text(buf_view(&text), &binary, &err);
    if (status == SOREX_OK)
        status = file_replace(argv[2], buf_view(&binary), &err);
    buf_deinit(&text);
    buf_deinit(&binary);
    if (status != SOREX_OK)
        fprintf(stderr, "%s: %s\n", argv[1], err.text);
    return status == SOREX_OK ? 0 : 1;
}
