/* Programs: what loads and what does not, exports, the cache on disk. */
#include "wasm/module.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"

static enum sorex_status nothing(void *user_data, struct wasm_sandbox *sandbox, union wasm_value *values,
                                 struct sorex_error *err)
{
    (void)user_data;
    (void)sandbox;
    (void)values;
    (void)err;
    return SOREX_OK;
}

static const struct wasm_import imports[] = {{"env", "get", "(i32, i32) -> i32", nothing},
                                             {"env", "put", "(i64, f32, f64) ->", nothing}};

static void refused(struct bytes wasm, const struct wasm_program_options *options, const char *text)
{
    struct sorex_error err = {0};
    struct wasm_program *program = NULL;
    assert_int_equal(wasm_program_open(wasm, options, &program, &err), SOREX_INVALID);
    assert_null(program);
    if (strstr(err.text, text) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", text, err.text);
}

static void refused_text(const char *module, const struct wasm_program_options *options, const char *text)
{
    struct buf binary = binary_of(module);
    refused(buf_view(&binary), options, text);
    buf_deinit(&binary);
}

static void test_refused(void **state)
{
    (void)state;
    const struct wasm_program_options options = {.name = "p", .imports = imports, .imports_count = 2};
    struct wasm_program_options stubs = options;
    stubs.unknown_functions_trap = true;
    refused(bytes_str(""), &options, "program p: not a WebAssembly module");
    refused(bytes_str("(module)"), &options, "program p: not a WebAssembly module");
    refused(bytes_of("\0asm\1\0\0\0\1\377", 10), &options, "program p: compile: ");
    refused_text("(module (import \"env\" \"nope\" (func)))", &options,
                 "program p: import env.nope: the host has no such function");
    refused_text("(module (import \"env\" \"get\" (func (param i64) (result i32))))", &stubs,
                 "program p: import env.get: the module wants (i64) -> i32, the host has (i32, i32) -> i32");
    refused_text("(module (import \"env\" \"memory\" (memory 1)))", &stubs,
                 "program p: import env.memory: only functions can be imported");
    refused_text("(module (import \"env\" \"g\" (global i32)))", &stubs, "only functions");
    refused_text("(module (memory 1) (memory 1))", &options, "memor");
    refused_text("(module (memory i64 1))", &options, "memory64");
    refused_text("(module (memory 1 1 shared))", &options, "threads");
    refused_text("(module (type (struct (field i32))))", &options, "gc");
    refused_text("(module (tag))", &options, "exceptions");
    struct wasm_program_options small = options;
    small.settings.memory_bytes_max = 65536;
    refused_text("(module (memory 2))", &small, "memory");
    small.settings.memory_bytes_max = 1;
    refused_text("(module)", &small, "memory limit 1: ");
}

static void test_exports(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct wasm_program *program = program_of(
        "(module (import \"env\" \"get\" (func $g (param i32 i32) (result i32)))"
        " (import \"env\" \"get\" (func (param i32 i32) (result i32))) (import \"env\" \"put\" (func (param i64 f32 "
        "f64)))"
        " (memory (export \"mem\") 1) (global (export \"g\") (mut i64) (i64.const 1)) (table (export \"t\") 1 funcref)"
        " (func (export \"two\") (param f64) (result i32 v128) (i32.const 1) (v128.const i64x2 0 0)) (func (export "
        "\"_start\"))"
        " (func (export \"na\\00me\")))",
        &(struct wasm_program_options){.name = "p", .imports = imports, .imports_count = 2});
    size_t count = 0;
    const struct wasm_export *exports = wasm_program_exports(program, &count);
    assert_int_equal(count, 5);
    static const struct {
        const char *name;
        enum wasm_kind kind;
        const char *type;
    } wanted[] = {{"mem", WASM_KIND_MEMORY, ""},
                  {"g", WASM_KIND_GLOBAL, "mut i64"},
                  {"t", WASM_KIND_TABLE, ""},
                  {"two", WASM_KIND_FUNC, "(f64) -> (i32, v128)"},
                  {"_start", WASM_KIND_FUNC, "() ->"}};
    for (size_t i = 0; i < count; i++) {
        assert_string_equal(exports[i].name, wanted[i].name);
        assert_int_equal(exports[i].kind, wanted[i].kind);
        assert_string_equal(exports[i].type, wanted[i].type);
    }
    assert_true(wasm_program_imports(program, "env", "put"));
    assert_false(wasm_program_imports(program, "env", "nope"));
    const struct wasm_export *func = NULL;
    assert_ok(wasm_program_func(program, "_start", "() ->", &func, &err));
    assert_ptr_equal(func, &exports[4]);
    assert_int_equal(wasm_program_func(program, "main", NULL, &func, &err), SOREX_GONE);
    assert_int_equal(wasm_program_func(program, "g", NULL, &func, &err), SOREX_INVALID);
    assert_int_equal(wasm_program_func(program, "two", "() ->", &func, &err), SOREX_INVALID);
    assert_string_equal(err.text, "program p: export two is (f64) -> (i32, v128), wanted is () ->");
    struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
    assert_int_equal(wasm_sandbox_memory(sandbox).len, 65536); /* the only one, whatever its name */
    wasm_sandbox_close(sandbox);
    wasm_program_close(program);
}

/* -- cache */

struct cache {
    char dir[64];
    char sub[80];
    char file[400];
};

static int cache_setup(void **state)
{
    struct cache *cache = calloc(1, sizeof *cache);
    (void)strcpy(cache->dir, "/tmp/sorex_wasm_XXXXXX");
    if (mkdtemp(cache->dir) == NULL)
        return -1;
    (void)snprintf(cache->sub, sizeof cache->sub, "%s/a/b", cache->dir);
    *state = cache;
    return 0;
}

/* The only file in the cache; the empty string when there is none. */
static const char *cache_file(struct cache *cache)
{
    cache->file[0] = '\0';
    DIR *dir = opendir(cache->sub);
    for (struct dirent *entry; dir != NULL && (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.') {
            assert_int_equal(cache->file[0], '\0');
            (void)snprintf(cache->file, sizeof cache->file, "%s/%s", cache->sub, entry->d_name);
        }
    if (dir != NULL)
        (void)closedir(dir);
    return cache->file;
}

static int cache_teardown(void **state)
{
    struct cache *cache = *state;
    (void)chmod(cache->sub, 0700);
    if (cache_file(cache)[0] != '\0')
        (void)unlink(cache->file);
    (void)rmdir(cache->sub);
    *strrchr(cache->sub, '/') = '\0';
    (void)rmdir(cache->sub);
    int result = rmdir(cache->dir);
    free(cache);
    return result;
}

static const char answer[] =
    "(module (memory (export \"memory\") 1) (func (export \"answer\") (param i32) (result i32) (i32.const 42)))";

/* Opens, runs, and says whether the code came from the cache. */
static bool answers(struct cache *cache, bool metered)
{
    struct sorex_error err = {0};
    struct wasm_program *program =
        program_of(answer, &(struct wasm_program_options){.cache_dir = cache->sub, .settings = {.metered = metered}});
    struct wasm_sandbox *sandbox = sandbox_of(program, NULL);
    int32_t value = 0;
    assert_ok(call(sandbox, "answer", &value, &err));
    assert_int_equal(value, 42);
    wasm_sandbox_close(sandbox);
    bool cached = wasm_program_cached(program);
    wasm_program_close(program);
    return cached;
}

static void test_cache(void **state)
{
    struct cache *cache = *state;
    assert_false(answers(cache, false));
    assert_true(answers(cache, false));
    struct stat info;
    assert_int_equal(stat(cache_file(cache), &info), 0);
    assert_int_equal(info.st_mode & 0777, 0600);
    assert_int_equal(stat(cache->sub, &info), 0);
    assert_int_equal(info.st_mode & 022, 0);
    char first[400];
    (void)strcpy(first, cache->file);
    assert_int_equal(unlink(first), 0);
    assert_false(answers(cache, true)); /* other settings, another key */
    assert_string_not_equal(cache_file(cache), first);
    /* Right in name, wrong in content. */
    assert_int_equal(rename(cache->file, first), 0);
    assert_false(answers(cache, false));
    assert_true(answers(cache, false));
}

static void test_cache_damaged(void **state)
{
    struct cache *cache = *state;
    struct sorex_error err = {0};
    assert_false(answers(cache, false));
    struct buf file = {0};
    assert_ok(file_read(cache_file(cache), SIZE_MAX, &file, &err));
    const size_t places[] = {0, 8, 40, 71, 72, file.len / 2, file.len - 1};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
        file.data[places[i]] ^= 0x20;
        assert_ok(file_replace(cache->file, buf_view(&file), &err));
        file.data[places[i]] ^= 0x20;
        assert_false(answers(cache, false));
        assert_true(answers(cache, false)); /* it was replaced */
    }
    const size_t lengths[] = {0, 71, 72, 100, file.len - 1};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        assert_int_equal(truncate(cache->file, (off_t)lengths[i]), 0);
        assert_false(answers(cache, false));
    }
    buf_deinit(&file);
}

static void test_cache_not_trusted(void **state)
{
    struct cache *cache = *state;
    assert_false(answers(cache, false));
    assert_true(answers(cache, false));
    assert_int_equal(chmod(cache_file(cache), 0666), 0);
    assert_false(answers(cache, false));
    assert_int_equal(chmod(cache->sub, 0777), 0);
    assert_false(answers(cache, false));
    assert_false(answers(cache, false));
    assert_int_equal(chmod(cache->sub, 0700), 0);
    assert_true(answers(cache, false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_exports),
        cmocka_unit_test_setup_teardown(test_cache, cache_setup, cache_teardown),
        cmocka_unit_test_setup_teardown(test_cache_damaged, cache_setup, cache_teardown),
        cmocka_unit_test_setup_teardown(test_cache_not_trusted, cache_setup, cache_teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
