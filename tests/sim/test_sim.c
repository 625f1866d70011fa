/* The simulator: many histories agree with the model, the same seed is the same history, and what is wrong is found.
 * ARGS: number of histories. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "sim/sim.h"

static uint32_t runs = 250;

static struct sim_result sim_of(const struct sim_options *options)
{
    struct sorex_error err = {0};
    struct sim_result result;
    if (sim_run(options, &result, &err) != SOREX_OK)
        fail_msg("the simulator: %s", err.text);
    return result;
}

static void histories_agree(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct buf text = {0};
    struct sim_options options = {.seed = 1, .runs = runs};
    struct sim_result result = sim_of(&options);
    assert_int_equal(sim_report(&options, &result, false, &text, &err), SOREX_OK);
    print_message("%.*s", (int)text.len, (const char *)text.data);
    assert_false(result.failed);
    assert_int_equal(result.histories, runs);
    /* Nothing of what it is for was left out. */
    assert_true(result.undone > runs / 2 && result.crashes > runs / 2 && result.batches > runs);
    assert_true(result.refused > 0 && result.hard_stops > 0);
    assert_true(result.deep_undos > 0 && result.torn_undos > 0);
    assert_true(result.amendments > 0 && result.upgrades > 0);
    buf_deinit(&text);
    sim_result_deinit(&result);
}

static void same_seed_same_history(void **state)
{
    (void)state;
    struct sim_options options = {.seed = 77, .runs = 40, .steps = 60};
    struct sim_result first = sim_of(&options), second = sim_of(&options);
    options.seed = 78;
    struct sim_result other = sim_of(&options);
    assert_int_equal(first.trace, second.trace);
    assert_int_equal(first.entries, second.entries);
    assert_int_not_equal(first.trace, other.trace);
    sim_result_deinit(&first);
    sim_result_deinit(&second);
    sim_result_deinit(&other);
}

/* A model that forgets to restore rows at the second undo: found, with a script of a few steps; the seed fails again.
 */
static void wrong_model_is_found(void **state)
{
    (void)state;
    struct sim_options options = {.seed = 1, .runs = 200, .forget_undo = 2};
    struct sim_result first = sim_of(&options);
    assert_true(first.failed);
    assert_in_range(first.script_steps, 2, 8);
    print_message("%.*s\n%.*s", (int)first.why.len, (const char *)first.why.data, (int)first.script.len,
                  (const char *)first.script.data);
    options.seed = first.failed_seed;
    options.runs = 1;
    struct sim_result again = sim_of(&options);
    assert_true(again.failed);
    assert_int_equal(again.script.len, first.script.len);
    assert_memory_equal(again.script.data, first.script.data, first.script.len);
    sim_result_deinit(&first);
    sim_result_deinit(&again);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_same_history),
        cmocka_unit_test(wrong_model_is_found),
        cmocka_unit_test(histories_agree),
    };
    if (argc > 1)
        runs = (uint32_t)strtoul(argv[1], NULL, 10);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
