#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/limits.h"
#include "guest/flush.h"

#define MESSAGE(text) bytes_of(text, sizeof(text) - 1)

static void check_ok(struct bytes message, uint64_t pairs)
{
    struct sorex_error err = {0};
    uint64_t counted = UINT64_MAX;
    assert_int_equal(flush_check(message, &counted, &err), SOREX_OK);
    assert_int_equal(counted, pairs);
}

static void check_bad(struct bytes message)
{
    struct sorex_error err = {0};
    uint64_t counted = 0;
    assert_int_equal(flush_check(message, &counted, &err), SOREX_GUEST);
    assert_non_null(strstr(err.text, "flush: "));
}

static void test_example_of_the_contract(void **state)
{
    (void)state;
    struct bytes message = MESSAGE("\x0a\x01k\x0a\x01v");
    check_ok(message, 1);
    struct reader reader = reader_of(message);
    struct bytes key, value;
    assert_true(flush_next(&reader, &key, &value));
    assert_true(bytes_is(key, "k"));
    assert_true(bytes_is(value, "v"));
    assert_false(flush_next(&reader, &key, &value));
}

static void test_legal_messages(void **state)
{
    (void)state;
    check_ok(MESSAGE(""), 0);
    check_ok(MESSAGE("\x0a\x01k"), 0);                            /* odd: dropped */
    check_ok(MESSAGE("\x0a\x01k\x0a\x01v\x0a\x01x"), 1);          /* odd: the last one */
    check_ok(MESSAGE("\x0a\x00\x0a\x00"), 1);                     /* empty key, empty value */
    check_ok(MESSAGE("\x0a\x01k\x0a\x01v\x0a\x01k\x0a\x01w"), 2); /* the same key twice */
    check_ok(MESSAGE("\x0a\x81\x00k\x0a\x01v"), 1);               /* a length longer than it must be */
    check_ok(MESSAGE("\x8a\x00\x01k\x0a\x01v"), 1);               /* a tag longer than it must be */
    check_ok(MESSAGE("\x10\x96\x01\x0a\x01k\x12\x02zz\x0a\x01v"),
             1); /* unknown varint, unknown bytes between key and value */
    check_ok(MESSAGE("\x19"
                     "12345678"
                     "\x1d"
                     "1234"),
             0);                                                         /* unknown fixed 64 and 32 */
    check_ok(MESSAGE("\x08\x05\x0a\x01k\x0a\x01v"), 1);                  /* number 1 of another type is unknown too */
    check_ok(MESSAGE("\x23\x0a\x01x\x2b\x2c\x24\x0a\x01k\x0a\x01v"), 1); /* groups, and elements inside them are none */
}

static void test_broken_messages(void **state)
{
    (void)state;
    check_bad(MESSAGE("\x0a"));
    check_bad(MESSAGE("\x0a\x02k"));
    check_bad(MESSAGE("\x0a\x01k\x0a"));
    check_bad(MESSAGE("\x0a\x01k\x0a\x05v"));
    check_bad(MESSAGE("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"));         /* a length of 2^64 - 1 */
    check_bad(MESSAGE("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01")); /* a varint of 12 bytes */
    check_bad(MESSAGE("\x0a\x80"));
    check_bad(MESSAGE("\x02\x01k")); /* field number 0 */
    check_bad(MESSAGE("\x0e"));      /* wire type 6 */
    check_bad(MESSAGE("\x0f"));
    check_bad(MESSAGE("\xfa\xff\xff\xff\xff\x01\x01k")); /* a field number above 2^29 - 1 */
    check_bad(MESSAGE("\x19"
                      "1234567"));
    check_bad(MESSAGE("\x1d"
                      "123"));
    check_bad(MESSAGE("\x23"));     /* a group left open */
    check_bad(MESSAGE("\x24"));     /* an end without a begin */
    check_bad(MESSAGE("\x23\x2c")); /* another group's end */
    uint8_t deep[33];
    memset(deep, 0x23, sizeof deep);
    check_bad(bytes_of(deep, sizeof deep));
}

static void test_a_key_over_the_limit(void **state)
{
    (void)state;
    struct buf message = {0};
    for (unsigned more = 0; more < 2; more++) {
        uint8_t *key = calloc(1, SOREX_KEY_BYTES_MAX + more);
        assert_non_null(key);
        buf_reset(&message);
        (void)buf_append_u8(&message, 0x0a, NULL);
        (void)buf_append_varint(&message, SOREX_KEY_BYTES_MAX + more, NULL);
        (void)buf_append(&message, bytes_of(key, SOREX_KEY_BYTES_MAX + more), NULL);
        (void)buf_append(&message, MESSAGE("\x0a\x01v"), NULL);
        if (more == 0)
            check_ok(buf_view(&message), 1);
        else
            check_bad(buf_view(&message));
        free(key);
    }
    buf_deinit(&message);
}

/* Every message that flush_check accepts can be walked, and has as many pairs as it said: over mutations of a seed. */
static void test_mutations(void **state)
{
    (void)state;
    static const uint8_t seed[] = "\x0a\x01k\x0a\x01v\x10\x96\x01\x0a\x03key\x23\x0a\x01x\x24\x0a\x05value\x1d"
                                  "1234\x0a\x00\x0a\x00";
    uint64_t random = 88172645463325252U;
    unsigned accepted = 0;
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t *message = malloc(sizeof seed - 1); /* of its own, so that a read past the end shows */
        assert_non_null(message);
        memcpy(message, seed, sizeof seed - 1);
        random ^= random << 13, random ^= random >> 7, random ^= random << 17;
        size_t len = random % sizeof seed;
        for (unsigned i = 0; i < (random >> 8) % 4; i++)
            message[(random >> (16 + 8 * i)) % (sizeof seed - 1)] = (uint8_t)(random >> (24 + 7 * i));
        uint8_t *exact = realloc(message, len + 1);
        assert_non_null(exact);
        uint64_t pairs = 0, walked = 0;
        if (flush_check(bytes_of(exact, len), &pairs, NULL) == SOREX_OK) {
            struct reader reader = reader_of(bytes_of(exact, len));
            struct bytes key, value;
            while (flush_next(&reader, &key, &value)) {
                assert_true(key.data >= exact && value.data + value.len <= exact + len);
                walked++;
            }
            assert_int_equal(walked, pairs);
            accepted++;
        }
        free(exact);
    }
    assert_in_range(accepted, 100, 19900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_example_of_the_contract),
        cmocka_unit_test(test_legal_messages),
        cmocka_unit_test(test_broken_messages),
        cmocka_unit_test(test_a_key_over_the_limit),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
