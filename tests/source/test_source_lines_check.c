/* The check in the position of source `lines`, against docs/formats/lines-position.md written out plainly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "source/lines_check.h"

#define FILE_BYTES 20000

static uint8_t file[FILE_BYTES];

static uint64_t next_random(uint64_t *state)
{
    *state = *state * 6364136223846793005ULL + 1442695040888963407ULL;
    return *state >> 33;
}

__extension__ typedef unsigned __int128 u128;

static uint64_t fold(uint64_t a, uint64_t b)
{
    u128 product = (u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static uint64_t u64le(const uint8_t *p)
{
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--)
        value = value << 8 | p[i];
    return value;
}

static uint64_t plain_hash(const uint8_t *bytes, size_t count)
{
    uint64_t state = 0x589965CC75374CC3;
    uint8_t rest[16] = {0};
    for (; count >= 16; bytes += 16, count -= 16)
        state = fold(u64le(bytes) ^ 0xA0761D6478BD642F, u64le(bytes + 8) ^ state);
    memcpy(rest, bytes, count);
    return fold(u64le(rest) ^ 0xE7037ED1A0B428DB, u64le(rest + 8) ^ state ^ count);
}

static uint64_t plain_check(size_t offset)
{
    const uint64_t k2 = 0x8EBC6AF09C88C6E3;
    size_t block = offset / 4096 * 4096;
    uint64_t here = plain_hash(file + block, offset - block);
    uint64_t before = block == 0 ? 0xA0761D6478BD642F : plain_hash(file + block - 4096, 4096);
    uint64_t value = fold(before ^ k2, here ^ 0xE7037ED1A0B428DB) >> 1;
    return value != 0 ? value : 1;
}

static void fill(void)
{
    uint64_t seed = 1;
    for (size_t i = 0; i < FILE_BYTES; i++)
        file[i] = (uint8_t)next_random(&seed);
}

static void carried_along_in_any_steps(void **state)
{
    (void)state;
    fill();
    for (uint64_t round = 1; round <= 200; round++) {
        struct lines_check check;
        uint64_t seed = round;
        uint64_t step_max = 1 + next_random(&seed) % (round % 2 == 0 ? 40 : 9000);
        lines_check_start(&check, 0);
        while (check.offset < FILE_BYTES) {
            uint64_t step = next_random(&seed) % (step_max + 1), left = FILE_BYTES - check.offset;
            lines_check_update(&check, bytes_of(file + check.offset, (size_t)(step < left ? step : left)));
            assert_int_equal(lines_check_value(&check), plain_check((size_t)check.offset));
        }
    }
}

static void made_anew_at_any_offset(void **state)
{
    (void)state;
    fill();
    for (size_t offset = 0; offset <= FILE_BYTES; offset += 1 + offset % 7) {
        struct lines_check check;
        uint64_t from = lines_check_from(offset);
        assert_true(from <= offset && offset - from < (uint64_t)2 * LINES_CHECK_BLOCK);
        assert_true(from == 0 || offset - from >= LINES_CHECK_BLOCK);
        lines_check_start(&check, from);
        lines_check_update(&check, bytes_of(file + from, (size_t)(offset - from)));
        assert_int_equal(lines_check_value(&check), plain_check(offset));
    }
}

/* Every bit of the last 4 KiB counts, and so does where they stand in the block. */
static void sees_every_bit(void **state)
{
    (void)state;
    fill();
    const size_t offset = 2 * LINES_CHECK_BLOCK + 77;
    uint64_t right = plain_check(offset);
    for (size_t bit = (offset - LINES_CHECK_BLOCK) * 8; bit < offset * 8; bit++) {
        struct lines_check check;
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
        lines_check_start(&check, lines_check_from(offset));
        lines_check_update(&check, bytes_of(file + check.offset, (size_t)(offset - check.offset)));
        assert_int_not_equal(lines_check_value(&check), right);
        file[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
}

/* Positions lie in targets: these must never change. */
static void stays_what_it_is(void **state)
{
    struct lines_check check;
    (void)state;
    lines_check_start(&check, 0);
    uint64_t empty = lines_check_value(&check);
    lines_check_update(&check, bytes_str("{\"a\":1}\n"));
    uint64_t short_one = lines_check_value(&check);
    for (int i = 0; i < 1000; i++)
        lines_check_update(&check, bytes_str("{\"a\":1}\n"));
    assert_int_equal(empty, 0x2AA244C78FAE69C0);
    assert_int_equal(short_one, 0x17C4F9AB5F970F86);
    assert_int_equal(lines_check_value(&check), 0x4EBDD795BF46461B);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(carried_along_in_any_steps),
        cmocka_unit_test(made_anew_at_any_offset),
        cmocka_unit_test(sees_every_bit),
        cmocka_unit_test(stays_what_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
