/* Contract 4, messages that do what they are for. */
#include "guest/reducer_base.h"
#include "guest/map.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static void test_messages(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    run_ok(&run, "insert into t values (1, 'one')\ninsert into t values (2, null)\n!changes\nselect count(*) from t");
    run_ok(&run, "update t set note = 'two'\n!changes");
    assert_query(&run, "select * from t order by id", "1|two;2|two");
    assert_query(&run, "select message, line, value from out order by message, line", "0|3|1;0|4|2;1|2|2");
    assert_query(&run, "select index, time, author, status, code, reason, encode(hash, 'hex') from sorex.messages",
                 "0|2023-11-14 22:13:20+00|tester|applied|0||000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c"
                 "1d1e1f;1|2023-11-14 22:13:21+00|tester|applied|0||0102030405060708090a0b0c0d0e0f10111213141516171819"
                 "1a1b1c1d1e1f20");
    assert_true(run.result.fuel > 0 && run.result.statements == 2);
    run_close(&run);
}

static void test_rejections(void **state)
{
    (void)state;
    struct run run = run_open("script", NULL);
    run_rejected(&run, "insert into t values (1, 'one')\n!reject 7 no such unit", 7, " no such unit");
    run_rejected(&run, "insert into t values (1, 'one')\n!return 3", 3, "");
    run_rejected(&run, "insert into t values (1, 'one')\n!trap", 0, "trap: unreachable executed in reduce");
    assert_query(&run, "select count(*) from t", "0");
    assert_query(&run, "select index, status, code, reason from sorex.messages order by index",
                 "0|rejected|7| no such unit;1|rejected|3|;2|rejected|0|trap: unreachable executed in reduce");
    run_close(&run);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_messages),
        cmocka_unit_test(test_rejections),
    };
    traps_keep();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runs_program_close();
    return failed;
}
