/* `sorex sim --pipeline`: transforms that survive reorganisations and transforms that do not. */
#include <stdio.h>

#include "store/scratch.h" /* cmocka with it */

#include "sim/sim.h"
#include "wasm/wasm.h"

/* Creates a row at height 3; at height 5 updates it, with a `before` that is true or not. Told of an undo it makes no
 * inverse. */
#define GUEST_TEXT                                                                                                   \
    "(module"                                                                                                        \
    " (import \"env\" \"__height\" (func $height (result i32)))"                                                     \
    " (import \"env\" \"__push_cdc_message\" (func $push (param i32) (result i32)))"                                 \
    " (memory (export \"memory\") 1)"                                                                                \
    " (data (i32.const 0x100) \"%c\\00\\00\\00{\\22header\\22:{},\\22payload\\22:{\\22operation\\22:\\22create\\22," \
    "\\22table\\22:\\22t\\22,\\22key\\22:\\22k\\22,\\22after\\22:{\\22v\\22:1}}}\")"                                 \
    " (data (i32.const 0x200) \"%c\\00\\00\\00{\\22header\\22:{},\\22payload\\22:{\\22operation\\22:\\22update\\22," \
    "\\22table\\22:\\22t\\22,\\22key\\22:\\22k\\22,\\22before\\22:{\\22v\\22:%d},\\22after\\22:{\\22v\\22:2}}}\")"   \
    " (func (export \"process_block\") (result i32)"                                                                 \
    "  (if (i32.eq (call $height) (i32.const 3)) (then (return (call $push (i32.const 0x100)))))"                    \
    "  (if (i32.eq (call $height) (i32.const 5)) (then (return (call $push (i32.const 0x200)))))"                    \
    "  (i32.const 0))"                                                                                               \
    " (func (export \"rollback\") (result i32) (i32.const 0)))"

struct world {
    char dir[SCRATCH_PATH_MAX], wasm[SCRATCH_PATH_MAX + 32], pipeline[SCRATCH_PATH_MAX + 32];
    struct sim_result result;
};

static void file_write(const char *path, struct bytes bytes)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes.data, 1, bytes.len, file), bytes.len);
    assert_int_equal(fclose(file), 0);
}

static void guest_write(const struct world *w, int before)
{
    struct sorex_error err = {0};
    struct buf text = {0}, wasm = {0};
    OK(buf_printf(&text, &err, GUEST_TEXT, 'T', 'e', before));
    OK(wasm_from_text(buf_view(&text), &wasm, &err));
    file_write(w->wasm, buf_view(&wasm));
    buf_deinit(&text);
    buf_deinit(&wasm);
}

/* Plays the guest with these settings of the transform. */
static void play(struct world *w, int before, const char *settings)
{
    struct sorex_error err = {0};
    struct buf text = {0};
    scratch_make(w->dir);
    (void)snprintf(w->wasm, sizeof w->wasm, "%s/guest.wasm", w->dir);
    (void)snprintf(w->pipeline, sizeof w->pipeline, "%s/pipeline.yaml", w->dir);
    guest_write(w, before);
    OK(buf_printf(&text, &err,
                  "name: p\ndata: %s/data\nsource: {type: memory, blocks: 40}\n"
                  "transforms:\n  - {name: rows, wasm: guest.wasm, %s}\n",
                  w->dir, settings));
    file_write(w->pipeline, buf_view(&text));
    struct sim_options options = {.seed = 1, .runs = 3, .steps = 30, .pipeline = w->pipeline};
    OK(sim_run(&options, &w->result, &err));
    buf_deinit(&text);
}

static void end(struct world *w)
{
    sim_result_deinit(&w->result);
    scratch_remove(w->dir);
}

static void why_has(const struct world *w, const char *part)
{
    char text[2048];
    (void)snprintf(text, sizeof text, "%.*s", (int)w->result.why.len, (const char *)w->result.why.data);
    assert_true(w->result.failed);
    if (strstr(text, part) == NULL)
        fail_msg("\"%s\" has no \"%s\"", text, part);
}

static void inverses_of_the_host_hold(void **state)
{
    (void)state;
    static const char *const settings[] = {"before: engine", "before: guest"};
    for (size_t i = 0; i < 2; i++) {
        struct world w = {0};
        play(&w, 1, settings[i]);
        assert_false(w.result.failed);
        assert_true(w.result.undone > 20 && w.result.batches > 3);
        end(&w);
    }
}

static void untrue_before_is_found(void **state)
{
    (void)state;
    struct world w = {0};
    play(&w, 7, "before: guest");
    why_has(&w, "`before` is not the row");
    assert_in_range(w.result.script_steps, 1, 1);
    end(&w);
}

/* inverse: guest, and the guest makes none: the row stays behind. */
static void missing_inverse_is_found(void **state)
{
    (void)state;
    struct world w = {0};
    play(&w, 1, "before: engine, inverse: guest");
    why_has(&w, "the sink has");
    assert_in_range(w.result.script_steps, 1, 3);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(inverses_of_the_host_hold),
        cmocka_unit_test(untrue_before_is_found),
        cmocka_unit_test(missing_inverse_is_found),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
