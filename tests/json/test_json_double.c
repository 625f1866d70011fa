#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <locale.h>
#include <math.h>

#include "json/double.h"

/* Any locale with a decimal comma will do; without one on this machine the tables hold all the same. */
static int locale_with_comma(void **state)
{
    (void)state;
    static const char *const names[] = {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "fr_FR.utf8"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (setlocale(LC_ALL, names[i]) != NULL)
            break;
    return 0;
}

static void writes_the_shortest_text(void **state)
{
    (void)state;
    static const struct {
        double value;
        const char *text;
    } cases[] = {{0, "0"},        {0.1, "0.1"},       {1.0 / 3, "0.3333333333333333"},
                 {-2.5, "-2.5"},  {123456, "123456"}, {1e22, "1e+22"},
                 {1e-7, "1e-07"}, {5e-324, "5e-324"}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[DOUBLE_TEXT_SIZE];
        double again = NAN;
        double_write(cases[i].value, text);
        assert_string_equal(text, cases[i].text);
        assert_true(double_read(bytes_str(text), &again));
        assert_memory_equal(&again, &cases[i].value, sizeof again);
    }
}

static void reads_numbers_and_nothing_else(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        double value;
    } good[] = {{"0", 0},
                {"12.5", 12.5},
                {"-1e3", -1000},
                {"1e400", HUGE_VAL},
                {"-1e400", -HUGE_VAL},
                {"1e-400", 0},
                {"0.0001e-330", 0},
                {"1e99999999999999999999", HUGE_VAL},
                {"1e-99999999999999999999", 0},
                {"21000000.00000001", 21000000.00000001}};
    static const char *const bad[] = {"", "-", "+1", " 1", "1 ", "1,5", "inf", "nan", "-inf", ".5", "0x10", "one"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        double value = NAN;
        assert_true(double_read(bytes_str(good[i].text), &value));
        assert_true(value <= good[i].value && value >= good[i].value);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        double value;
        assert_false(double_read(bytes_str(bad[i]), &value));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_the_shortest_text),
        cmocka_unit_test(reads_numbers_and_nothing_else),
    };
    return cmocka_run_group_tests(tests, locale_with_comma, NULL);
}
