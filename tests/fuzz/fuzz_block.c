/* libFuzzer: any bytes are a block or are refused; a block that passes the check has a header. */
#include "base/check.h"
#include "source/source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct entry header;
    struct bytes block = bytes_of(data, size);
    bool has_header = block_header_parse(block, &header, NULL) == SOREX_OK;
    CHECK(has_header == (size >= 80));
    CHECK(block_check(block, NULL) != SOREX_OK || has_header);
    return 0;
}
