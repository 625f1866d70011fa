/* libFuzzer: a flush that is accepted is walked to its end, inside the message, with as many pairs as were counted. */
#include "base/check.h"
#include "base/limits.h"
#include "guest/flush.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t pairs = 0, walked = 0;
    if (flush_check(bytes_of(data, size), &pairs, NULL) != SOREX_OK)
        return 0;
    struct reader reader = reader_of(bytes_of(data, size));
    struct bytes key, value;
    for (; flush_next(&reader, &key, &value); walked++) {
        CHECK(key.len <= SOREX_KEY_BYTES_MAX);
        CHECK(key.len == 0 || (key.data >= data && key.data + key.len <= data + size));
        CHECK(value.len == 0 || (value.data >= data && value.data + value.len <= data + size));
    }
    CHECK(walked == pairs);
    return 0;
}
