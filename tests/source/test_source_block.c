/* Raw blocks: real ones, every way of cutting and bending them, and proof of work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/codec.h"
#include "base/file.h"
#include "base/limits.h"
#include "base/sha256.h"
#include "source/source.h"
#include "source/work.h"

static struct buf real; /* block 767430: 1.6 MB with witnesses */

static void read_block(const char *name, struct buf *out)
{
    char path[4096];
    struct sorex_error err = {0};
    (void)snprintf(path, sizeof path, "%s/tests/data/blocks/%s", getenv("SOREX_SOURCE_DIR"), name);
    if (file_read(path, SOREX_ENTRY_BYTES_MAX, out, &err) != SOREX_OK)
        fail_msg("%s", err.text);
}

static int read_real(void **state)
{
    (void)state;
    read_block("767430.bin", &real);
    return 0;
}

static int free_real(void **state)
{
    (void)state;
    buf_deinit(&real);
    return 0;
}

static void header(void **state)
{
    struct entry entry;
    char hash[HASH_HEX_SIZE];
    (void)state;
    assert_int_equal(block_header_parse(buf_view(&real), &entry, NULL), SOREX_OK);
    hash_display(entry.hash, hash);
    assert_string_equal(hash, "000000000000000000029730547464f056f8b6e2e0a02eaf69c24389983a04f5");
    hash_display(entry.parent, hash);
    assert_string_equal(hash, "00000000000000000002b35aef66eb15cd2b232a800f75a2f25cedca4cfe52c4");
    assert_int_equal(entry.time_ms, 1671049920000);
    assert_ptr_equal(entry.payload.data, real.data);
    assert_int_equal(block_header_parse(bytes_of(real.data, 79), &entry, NULL), SOREX_CORRUPT);
    assert_int_equal(block_header_parse(bytes_of(real.data, 80), &entry, NULL), SOREX_OK);
}

static void real_blocks_are_good(void **state)
{
    struct buf other = {0};
    struct sorex_error err = {0};
    (void)state;
    assert_int_equal(block_check(buf_view(&real), &err), SOREX_OK);
    read_block("840243.bin", &other);
    assert_int_equal(block_check(buf_view(&other), &err), SOREX_OK);
    buf_deinit(&other);
}

static void every_cut_is_noticed(void **state)
{
    (void)state;
    for (size_t len = 0; len < real.len; len += 1 + len / 40)
        assert_int_equal(block_check(bytes_of(real.data, len), NULL), SOREX_CORRUPT);
    for (size_t cut = 1; cut < 300; cut += 7)
        assert_int_equal(block_check(bytes_of(real.data, real.len - cut), NULL), SOREX_CORRUPT);
}

static void bytes_behind_the_end_are_noticed(void **state)
{
    struct buf longer = {0};
    struct sorex_error err = {0};
    (void)state;
    assert_int_equal(buf_append(&longer, buf_view(&real), NULL), SOREX_OK);
    assert_int_equal(buf_append_u8(&longer, 0, NULL), SOREX_OK);
    assert_int_equal(block_check(buf_view(&longer), &err), SOREX_CORRUPT);
    assert_non_null(strstr(err.text, "1 bytes follow"));
    buf_deinit(&longer);
}

/* A block of three transactions: version 1, one input without a script, one output without one. */
#define SMALL_TX 60
static size_t small_block(uint8_t *out, unsigned transactions, const unsigned *kinds)
{
    memset(out, 0, 81 + transactions * SMALL_TX);
    out[80] = (uint8_t)transactions;
    for (unsigned i = 0; i < transactions; i++) {
        uint8_t *tx = out + 81 + i * SMALL_TX;
        u32le_put(tx, 1);
        tx[4] = 1;
        tx[5] = (uint8_t)(kinds[i] + 1);
        tx[46] = 1;
    }
    return 81 + transactions * SMALL_TX;
}

static void merkle_pair(const uint8_t a[HASH_BYTES], const uint8_t b[HASH_BYTES], uint8_t out[HASH_BYTES])
{
    uint8_t both[2 * HASH_BYTES];
    memcpy(both, a, HASH_BYTES);
    memcpy(both + HASH_BYTES, b, HASH_BYTES);
    sha256_double(bytes_of(both, sizeof both), out);
}

/* Root of three ids, worked out by hand: the third is paired with itself. */
static void root_of_three(const uint8_t *block, uint8_t out[HASH_BYTES])
{
    uint8_t ids[3][HASH_BYTES];
    uint8_t left[HASH_BYTES];
    uint8_t right[HASH_BYTES];
    for (int i = 0; i < 3; i++)
        sha256_double(bytes_of(block + 81 + i * SMALL_TX, SMALL_TX), ids[i]);
    merkle_pair(ids[0], ids[1], left);
    merkle_pair(ids[2], ids[2], right);
    merkle_pair(left, right, out);
}

static void odd_levels_and_repeated_transactions(void **state)
{
    uint8_t block[81 + 4 * SMALL_TX];
    uint8_t root[HASH_BYTES];
    struct sorex_error err = {0};
    (void)state;
    size_t len = small_block(block, 3, (const unsigned[]){0, 1, 2});
    root_of_three(block, root);
    memcpy(block + 36, root, HASH_BYTES);
    assert_int_equal(block_check(bytes_of(block, len), &err), SOREX_OK);

    /* The same root for four transactions, the last one twice. */
    len = small_block(block, 4, (const unsigned[]){0, 1, 2, 2});
    memcpy(block + 36, root, HASH_BYTES);
    assert_int_equal(block_check(bytes_of(block, len), &err), SOREX_CORRUPT);
    assert_non_null(strstr(err.text, "repeated"));

    len = small_block(block, 3, (const unsigned[]){0, 2, 1});
    memcpy(block + 36, root, HASH_BYTES);
    assert_int_equal(block_check(bytes_of(block, len), &err), SOREX_CORRUPT);
    assert_non_null(strstr(err.text, "Merkle root"));
}

/* Lengths that promise more than there is must be refused before anything is allocated or walked for them. */
static void promises_are_not_believed(void **state)
{
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    uint8_t block[81 + 2 * SMALL_TX];
    (void)state;
    static const size_t places[] = {80, 85, 81 + 41, 81 + 46, 81 + 55};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        size_t len = small_block(block, 2, (const unsigned[]){0, 1});
        memcpy(block + places[i], huge, sizeof huge);
        assert_int_equal(block_check(bytes_of(block, len), NULL), SOREX_CORRUPT);
    }
    memset(block, 0, sizeof block);
    assert_int_equal(block_check(bytes_of(block, 81), NULL), SOREX_CORRUPT); /* no transaction at all */
}

static void assert_work(uint32_t bits, uint64_t high, uint64_t low)
{
    struct work work = work_of_bits(bits);
    assert_int_equal(work.high, high);
    assert_int_equal(work.low, low);
}

static void work(void **state)
{
    (void)state;
    assert_work(0x1d00ffff, 0, 0x100010001); /* Bitcoin's first difficulty, as nodes print its chain work */
    assert_work(0x207fffff, 0, 2);
    assert_work(0x2100ffff, 0, 1);
    assert_work(0x170331db, 0x5021, 0xab2578ee9fc3005e);
    assert_work(0x03000001, UINT64_MAX, UINT64_MAX);
    assert_work(0x1d80ffff, 0, 0);
    assert_work(0, 0, 0);
    assert_work(0x220000ff, 0, 0x1);
    assert_work(0x23000001, 0, 0);
    struct work sum = work_add((struct work){1, UINT64_MAX}, (struct work){2, 1});
    assert_int_equal(sum.high, 4);
    assert_int_equal(sum.low, 0);
    sum = work_add((struct work){UINT64_MAX, 5}, (struct work){1, 0});
    assert_int_equal(sum.high, UINT64_MAX);
    assert_true(work_compare((struct work){1, 0}, (struct work){0, UINT64_MAX}) > 0);
    assert_true(work_compare((struct work){1, 1}, (struct work){1, 2}) < 0);
    assert_true(work_compare(sum, sum) == 0);
}

static void proof_of_work(void **state)
{
    struct entry entry;
    (void)state;
    uint32_t bits = u32le_get(real.data + 72);
    assert_int_equal(block_header_parse(buf_view(&real), &entry, NULL), SOREX_OK);
    assert_true(work_proven(entry.hash, bits));
    assert_false(work_proven(entry.hash, bits - (5u << 24)));
    assert_false(work_proven(entry.hash, 0));
    entry.hash[31] = 1;
    assert_false(work_proven(entry.hash, bits));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(header),
        cmocka_unit_test(real_blocks_are_good),
        cmocka_unit_test(every_cut_is_noticed),
        cmocka_unit_test(bytes_behind_the_end_are_noticed),
        cmocka_unit_test(odd_levels_and_repeated_transactions),
        cmocka_unit_test(promises_are_not_believed),
        cmocka_unit_test(work),
        cmocka_unit_test(proof_of_work),
    };
    return cmocka_run_group_tests(tests, read_real, free_real);
}
