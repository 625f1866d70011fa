#include "source/lines_check.h"

#include "base/check.h"
#include "base/codec.h"

#define K0 0xA0761D6478BD642FULL
#define K1 0xE7037ED1A0B428DBULL
#define K2 0x8EBC6AF09C88C6E3ULL
#define K3 0x589965CC75374CC3ULL

#define WORD sizeof(((struct lines_check *)NULL)->rest)

__extension__ typedef unsigned __int128 u128;

static uint64_t fold(uint64_t a, uint64_t b)
{
    u128 product = (u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t word_add(uint64_t state, const uint8_t *word)
{
    return fold(u64le_get(word) ^ K0, u64le_get(word + 8) ^ state);
}

static uint64_t block_hash(const struct lines_check *check)
{
    size_t left = check->offset % WORD;
    uint8_t rest[WORD] = {0};
    memcpy(rest, check->rest, left);
    return fold(u64le_get(rest) ^ K1, u64le_get(rest + 8) ^ check->state ^ left);
}

uint64_t lines_check_from(uint64_t offset)
{
    uint64_t block = offset - offset % LINES_CHECK_BLOCK;
    return block == 0 ? 0 : block - LINES_CHECK_BLOCK;
}

void lines_check_start(struct lines_check *check, uint64_t offset)
{
    CHECK(offset % LINES_CHECK_BLOCK == 0);
    *check = (struct lines_check){.offset = offset, .before = K0, .state = K3};
}

/* bytes does not go beyond the block. */
static void block_update(struct lines_check *check, struct bytes bytes)
{
    size_t had = check->offset % WORD;
    check->offset += bytes.len;
    if (had != 0) {
        size_t more = bytes.len < WORD - had ? bytes.len : WORD - had;
        memcpy(check->rest + had, bytes.data, more);
        bytes = bytes_of(bytes.data + more, bytes.len - more);
        if (had + more < WORD)
            return;
        check->state = word_add(check->state, check->rest);
    }
    const uint8_t *at = bytes.data;
    uint64_t state = check->state;
    for (size_t words = bytes.len / WORD; words > 0; words--, at += WORD)
        state = word_add(state, at);
    check->state = state;
    memcpy(check->rest, at, bytes.len % WORD);
}

void lines_check_update(struct lines_check *check, struct bytes bytes)
{
    while (bytes.len > 0) {
        size_t room = LINES_CHECK_BLOCK - check->offset % LINES_CHECK_BLOCK;
        size_t now = bytes.len < room ? bytes.len : room;
        block_update(check, bytes_of(bytes.data, now));
        bytes = bytes_of(bytes.data + now, bytes.len - now);
        if (check->offset % LINES_CHECK_BLOCK == 0) {
            check->before = block_hash(check);
            check->state = K3;
        }
    }
}

uint64_t lines_check_value(const struct lines_check *check)
{
    uint64_t value = fold(check->before ^ K2, block_hash(check) ^ K1) >> 1;
    return value != 0 ? value : 1;
}
