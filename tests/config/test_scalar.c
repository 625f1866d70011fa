#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/scalar.h"

#define UNTOUCHED 77

static void numbers(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } cases[] = {
        {"0", true, 0},
        {"7", true, 7},
        {"18446744073709551615", true, UINT64_MAX},
        {"18446744073709551616", false, 0},
        {"99999999999999999999999", false, 0},
        {"", false, 0},
        {"010", false, 0},
        {"00", false, 0},
        {"+1", false, 0},
        {"-1", false, 0},
        {"1.0", false, 0},
        {"1e3", false, 0},
        {"0x10", false, 0},
        {"1_000", false, 0},
        {" 1", false, 0},
        {"1 ", false, 0},
        {"\xd9\xa1", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t value = UNTOUCHED;
        assert_int_equal(scalar_u64(bytes_str(cases[i].text), &value), cases[i].ok);
        assert_int_equal(value, cases[i].ok ? cases[i].value : UNTOUCHED);
    }
}

static void sizes(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } cases[] = {
        {"512", true, 512},
        {"0", true, 0},
        {"1B", true, 1},
        {"1kB", true, 1000},
        {"1 KiB", true, 1024},
        {"64 MiB", true, (uint64_t)64 << 20},
        {"64mib", true, (uint64_t)64 << 20},
        {"1GB", true, 1000000000},
        {"2 GiB", true, (uint64_t)2 << 30},
        {"3TB", true, 3000000000000},
        {"16777215 TiB", true, (uint64_t)16777215 << 40},
        {"16777216 TiB", false, 0},
        {"64M", false, 0},
        {"64  MiB", false, 0},
        {"64 ", false, 0},
        {"64 MiBs", false, 0},
        {"MiB", false, 0},
        {"1.5 GiB", false, 0},
        {"-1 KiB", false, 0},
        {"1 ms", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t value = UNTOUCHED;
        assert_int_equal(scalar_size(bytes_str(cases[i].text), &value), cases[i].ok);
        assert_int_equal(value, cases[i].ok ? cases[i].value : UNTOUCHED);
    }
}

static void times(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool ok;
        uint64_t value;
    } cases[] = {
        {"250", true, 250},      {"500ms", true, 500},   {"2s", true, 2000},     {"1m", true, 60000},
        {"5 min", true, 300000}, {"1 h", true, 3600000}, {"1d", true, 86400000}, {"2S", true, 2000},
        {"s", false, 0},         {"1.5s", false, 0},     {"1w", false, 0},       {"1us", false, 0},
        {"1s 500ms", false, 0},  {"", false, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t value = UNTOUCHED;
        assert_int_equal(scalar_ms(bytes_str(cases[i].text), &value), cases[i].ok);
        assert_int_equal(value, cases[i].ok ? cases[i].value : UNTOUCHED);
    }
}

static void truths(void **state)
{
    (void)state;
    static const char *const yes[] = {"true", "True", "TRUE", "yes", "on", "1"};
    static const char *const no[] = {"false", "False", "no", "OFF", "0"};
    static const char *const neither[] = {"", "t", "truee", "tru", "2", "y", "null"};
    bool value = false;
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        value = false;
        assert_true(scalar_bool(bytes_str(yes[i]), &value));
        assert_true(value);
    }
    for (size_t i = 0; i < sizeof no / sizeof no[0]; i++) {
        value = true;
        assert_true(scalar_bool(bytes_str(no[i]), &value));
        assert_false(value);
    }
    for (size_t i = 0; i < sizeof neither / sizeof neither[0]; i++)
        assert_false(scalar_bool(bytes_str(neither[i]), &value));
}

static void words(void **state)
{
    (void)state;
    static const char *const choices[] = {"fresh", "kept", NULL};
    int value = UNTOUCHED;
    assert_true(scalar_word(bytes_str("kept"), choices, &value));
    assert_int_equal(value, 1);
    assert_false(scalar_word(bytes_str("Kept"), choices, &value));
    assert_false(scalar_word(bytes_str(""), choices, &value));
    assert_false(scalar_word(bytes_of("kept\0", 5), choices, &value));
    assert_int_equal(value, 1);
}

static void written_and_read_again(void **state)
{
    (void)state;
    static const uint64_t values[] = {
        0, 1, 999, 1000, 1024, 1536, (uint64_t)1536 << 20, (uint64_t)64 << 20, UINT64_MAX, 60000, 86400000, 90000};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        char text[SCALAR_TEXT_SIZE];
        uint64_t value = UNTOUCHED;
        scalar_size_text(values[i], text);
        assert_true(scalar_size(bytes_str(text), &value));
        assert_int_equal(value, values[i]);
        scalar_ms_text(values[i], text);
        assert_true(scalar_ms(bytes_str(text), &value));
        assert_int_equal(value, values[i]);
    }
    char text[SCALAR_TEXT_SIZE];
    scalar_size_text((uint64_t)1536 << 20, text);
    assert_string_equal(text, "1536 MiB");
    scalar_ms_text(90000, text);
    assert_string_equal(text, "90s");
    scalar_ms_text(0, text);
    assert_string_equal(text, "0ms");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(numbers), cmocka_unit_test(sizes), cmocka_unit_test(times),
        cmocka_unit_test(truths),  cmocka_unit_test(words), cmocka_unit_test(written_and_read_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
