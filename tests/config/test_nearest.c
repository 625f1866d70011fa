#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "config/nearest.h"

static const char *const verbs[] = {"run",     "try",   "inspect",  "check",   "status", "view",
                                    "preview", "state", "rollback", "upgrade", NULL};

static const char *nearest_verb(const char *word) { return nearest_name(bytes_str(word), verbs); }

static void typing_errors_are_found(void **state)
{
    (void)state;
    assert_string_equal(nearest_verb("inspekt"), "inspect"); /* replaced */
    assert_string_equal(nearest_verb("nispect"), "inspect"); /* swapped: one edit */
    assert_string_equal(nearest_verb("upgade"), "upgrade");  /* left out */
    assert_string_equal(nearest_verb("rolllback"), "rollback");
    assert_string_equal(nearest_verb("rnu"), "run");
    assert_string_equal(nearest_verb("state"), "state"); /* itself */
}

static void the_nearer_and_then_the_first_wins(void **state)
{
    (void)state;
    static const char *const names[] = {"abcd", "abce", NULL};
    assert_string_equal(nearest_name(bytes_str("abcf"), names), "abcd");
    assert_string_equal(nearest_name(bytes_str("abcee"), names), "abce");
    assert_string_equal(nearest_verb("statu"), "status"); /* one edit; "state" is one as well but later */
}

static void strangers_have_no_neighbour(void **state)
{
    (void)state;
    assert_null(nearest_verb("postgres"));
    assert_null(nearest_verb(""));
    assert_null(nearest_verb("x"));
    assert_null(nearest_verb("configuration-of-the-pipeline-that-nobody-would-ever-type-as-a-single-word-here"));
    static const char *const none[] = {NULL};
    assert_null(nearest_name(bytes_str("run"), none));
}

static void a_swap_is_one_edit(void **state)
{
    (void)state;
    /* Two edits would be above 3 / 3 + 1 = 2 only for three and more: compare candidates instead. */
    static const char *const names[] = {"axxd", "bacd", NULL};
    assert_string_equal(nearest_name(bytes_str("abcd"), names), "bacd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(typing_errors_are_found),
        cmocka_unit_test(the_nearer_and_then_the_first_wins),
        cmocka_unit_test(strangers_have_no_neighbour),
        cmocka_unit_test(a_swap_is_one_edit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
