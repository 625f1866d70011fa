/* Random operations on the store and on a small model, compared after every step.
 *
 * SOREX_STORE_SEED=N runs that seed only; SOREX_STORE_RUNS=N runs more of them. */
#include "store/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/fault.h"

#define STEPS 120

struct run {
    char dir[SCRATCH_PATH_MAX];
    struct store_options options;
    struct store *store;
    struct model *model, *durable;
    struct store_reader *held;
    struct model_state held_state;
    bool durable_always;
    bool trimmed_late;
};

static uint64_t setting(const char *name, uint64_t normal)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : normal;
}

static void run_open(struct run *run)
{
    struct sorex_error err;
    static const uint8_t identity[HASH_BYTES] = {1}, module[HASH_BYTES] = {2};
    OK(store_open(&run->options, &run->store, &err));
    struct store_program program;
    OK(store_program(run->store, "one", identity, module, false, &program, &err));
    assert_int_equal(program.id, 0);
    OK(store_program(run->store, "two", identity, module, false, &program, &err));
    assert_int_equal(program.id, 1);
}

static void run_start(struct run *run, uint64_t seed, uint32_t history)
{
    memset(run, 0, sizeof *run);
    scratch_make(run->dir);
    run->options = (struct store_options){.dir = run->dir,
                                          .create = true,
                                          .history = history,
                                          .group_ms_max = UINT64_MAX,
                                          .cache_bytes = 1 << 20,
                                          .fail_fast_sync = true};
    run->model = calloc(1, sizeof *run->model);
    run->durable = calloc(1, sizeof *run->durable);
    assert_non_null(run->model);
    assert_non_null(run->durable);
    model_init(run->model, seed, history, (uint32_t)(seed % 3 == 0 ? 0 : 100 * (seed % 7)));
    *run->durable = *run->model;
    run_open(run);
}

static void held_drop(struct run *run)
{
    if (run->held == NULL)
        return;
    model_check_reader(&run->held_state, run->held);
    store_reader_close(run->held);
    run->held = NULL;
}

static void run_end(struct run *run)
{
    held_drop(run);
    store_close(run->store);
    free(run->model);
    free(run->durable);
    scratch_remove(run->dir);
}

/* A reader that stays open over the next steps. */
static void held_take(struct run *run)
{
    struct sorex_error err;
    if (run->held != NULL || run->durable->count == 0)
        return;
    uint32_t kept = model_tip(run->durable) - run->durable->horizon + 1;
    uint32_t height = run->durable->horizon + model_random(run->model, kept);
    OK(store_reader_open(run->store, height, &run->held, &err));
    run->held_state = run->durable->heights[height - run->durable->first].state;
}

static void reopen(struct run *run)
{
    held_drop(run);
    store_close(run->store);
    model_flush(run->model);
    run_open(run);
}

static void run_step(struct run *run)
{
    model_step(run->model, run->store, run->durable_always);
    if (run->model->group_always) {
        model_check_writer(run->model, run->store);
        model_flush_store(run->model, run->store);
    }
    uint32_t choice = model_random(run->model, 12);
    if (choice == 0)
        reopen(run);
    if (!run->model->unwritten)
        *run->durable = *run->model;
    if (choice == 1)
        held_take(run);
    if (choice == 2)
        held_drop(run);
    model_check(run->model, run->durable, run->store, run->trimmed_late);
}

static void seeds(void (*one)(uint64_t seed), uint64_t runs)
{
    uint64_t only = setting("SOREX_STORE_SEED", 0);
    uint64_t from = only != 0 ? only : 1;
    runs = only != 0 ? 1 : setting("SOREX_STORE_RUNS", runs);
    for (uint64_t seed = from; seed < from + runs; seed++) {
        printf("seed %llu\n", (unsigned long long)seed);
        fflush(stdout);
        one(seed);
    }
}

static const uint32_t histories[] = {STORE_HISTORY_FULL, 3, 0, 12, 1};

/* From here on every commit is handed to the store's own thread. */
static void groups_behind(struct run *run)
{
    run->options.group_bytes_max = 1;
    run->model->group_always = true;
    reopen(run);
    *run->durable = *run->model;
}

static void model_run(uint64_t seed)
{
    struct run run;
    run_start(&run, seed, histories[seed % 5]);
    if (seed % 2 == 0)
        groups_behind(&run);
    run.durable_always = seed % 7 == 0;
    for (int i = 0; i < STEPS; i++)
        run_step(&run);
    run_end(&run);
}

static void random_operations(void **state)
{
    (void)state;
    seeds(model_run, 15);
}

/* `history` differs between runs, and pruning is starved so that it trails the horizon. */
static void history_run(uint64_t seed)
{
    static const uint32_t changing[] = {STORE_HISTORY_FULL, 40, 3, 20, 0, 8};
    struct run run;
    run_start(&run, seed, 60);
    store_fault_prune_budget((uint32_t)(seed % 3));
    run.trimmed_late = true;
    for (int i = 0; i < STEPS; i++) {
        run_step(&run);
        if (i % 15 != 14)
            continue;
        run.options.history = changing[model_random(run.model, 6)];
        reopen(&run);
        run.model->history = run.options.history;
        *run.durable = *run.model;
    }
    store_fault_prune_budget(UINT32_MAX);
    run_end(&run);
}

static void history_changes(void **state)
{
    (void)state;
    seeds(history_run, 6);
}

/* ---- crashes ---- */

/* What the child tells, also when it is gone: how many steps it has begun. */
struct progress {
    uint32_t steps;
};

static void child_run(struct run *run, struct progress *progress, enum fault_kind kind, uint32_t nth)
{
    run_open(run);
    store_fault_arm(kind, nth);
    for (uint32_t i = 0; i < 60; i++) {
        progress->steps = i + 1;
        model_step(run->model, run->store, run->durable_always);
    }
    store_close(run->store);
    _exit(0);
}

static bool state_fits(const struct model_state *state, struct store *store)
{
    struct sorex_error err;
    struct store_reader *reader = NULL;
    bool fits = true;
    OK(store_reader_open(store, SOREX_HEIGHT_NONE, &reader, &err));
    for (uint32_t i = 0; i < MODEL_SPACES * MODEL_KEYS; i++) {
        const struct model_value *value = &state->values[i / MODEL_KEYS][i % MODEL_KEYS];
        struct bytes bytes;
        bool found = false;
        OK(store_reader_get(reader, model_space(i / MODEL_KEYS), model_key(i % MODEL_KEYS), &bytes, &found, &err));
        fits = fits && found == value->present && (!found || bytes_equal(bytes, bytes_of(value->bytes, value->len)));
    }
    store_reader_close(reader);
    return fits;
}

/* True when tip, state, outbox and cursor are the model's: then history and all the rest must be, too. */
static bool fits(const struct model *model, struct store *store)
{
    struct sorex_error err;
    struct store_heights heights;
    uint64_t first = 0, head = 0, cursor = UINT64_MAX;
    uint8_t hash[HASH_BYTES];
    store_heights(store, &heights);
    store_outbox_range(store, &first, &head);
    store_cursor_get(store, "sink", &cursor, hash, &err);
    if (model->count == 0 || heights.durable == SOREX_HEIGHT_NONE)
        return model->count == 0 && heights.durable == SOREX_HEIGHT_NONE;
    if (heights.durable != model_tip(model) || heights.horizon != model->horizon || head != model->outbox_head ||
        first != model->outbox_first || cursor != model->cursor)
        return false;
    struct entry entry;
    OK(store_entry(store, heights.durable, &entry, &err));
    return memcmp(entry.hash, model->heights[model->count - 1].entry.hash, HASH_BYTES) == 0 &&
           state_fits(&model->heights[model->count - 1].state, store);
}

/* Redoing the child's steps on the model. */
struct redo {
    struct run *run;
    struct model *last;  /* the latest durable moment */
    struct model *found; /* the latest one in the last steps that the store shows */
    bool last_step, is_found;
};

static void redo_moment(const struct model *model, void *user_data)
{
    struct redo *redo = user_data;
    *redo->last = *model;
    if (redo->last_step && fits(model, redo->run->store)) {
        *redo->found = *model;
        redo->is_found = true;
    }
}

/* Settles the model on what the store shows: as it was before the step in which the child died, or at one of the
 * durable moments within that step. A child that came to its end was closed, and so lost nothing. */
static void crash_settle(struct run *run, uint32_t steps, bool died)
{
    struct redo redo = {.run = run, .last = run->durable, .found = calloc(1, sizeof *redo.found)};
    assert_non_null(redo.found);
    *redo.last = *run->model;
    run->model->moment = redo_moment;
    run->model->user_data = &redo;
    for (uint32_t i = 0; i < steps; i++) {
        redo.last_step =
            i + (run->model->group_always ? 4 : 1) >= steps; /* the child may have gone on before it died */
        if (redo.last_step)
            redo_moment(redo.last, &redo);
        model_step(run->model, NULL, run->durable_always);
    }
    if (!died)
        model_flush(run->model);
    assert_true(redo.is_found);
    *run->model = *redo.found;
    run->model->moment = NULL;
    *run->durable = *run->model;
    free(redo.found);
}

static void crash_run(uint64_t seed)
{
    struct run run;
    run_start(&run, seed, histories[seed % 5]);
    if (seed % 2 == 0)
        groups_behind(&run);
    store_close(run.store);
    run.durable_always = seed % 3 == 0;
    struct progress *progress = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(progress != MAP_FAILED);
    for (uint32_t round = 0; round < 6 && run.model->outbox_head < MODEL_OUTBOX / 2 && run.model->count < 200;
         round++) {
        uint32_t nth = 1 + model_random(run.model, 25);
        enum fault_kind kind = model_random(run.model, 2) == 0 ? FAULT_EXIT_BEFORE : FAULT_EXIT_AFTER;
        progress->steps = 0;
        fflush(NULL);
        pid_t pid = fork();
        assert_true(pid >= 0);
        if (pid == 0)
            child_run(&run, progress, kind, nth);
        int result = 0;
        while (waitpid(pid, &result, 0) < 0)
            assert_int_equal(errno, EINTR);
        assert_true(WIFEXITED(result) && (WEXITSTATUS(result) == FAULT_EXIT_CODE || WEXITSTATUS(result) == 0));
        store_fault_arm(FAULT_NONE, 0);
        run_open(&run);
        crash_settle(&run, progress->steps, WEXITSTATUS(result) != 0);
        model_check(run.model, run.durable, run.store, false);
        store_close(run.store);
    }
    munmap(progress, 4096);
    run_open(&run);
    run_end(&run);
}

static void crashes(void **state)
{
    (void)state;
    seeds(crash_run, 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_operations),
        cmocka_unit_test(history_changes),
        cmocka_unit_test(crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
