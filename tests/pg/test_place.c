/* Where PostgreSQL's files are found. */
#include "pg/place.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "pg.h"

static const char variable[] = "SOREX_POSTGRES_DIR";

static void same_folder(const char *a, const char *b)
{
    struct stat one, two;
    assert_int_equal(stat(a, &one), 0);
    assert_int_equal(stat(b, &two), 0);
    assert_true(one.st_ino == two.st_ino && one.st_dev == two.st_dev);
}

/* This program is BUILD/tests/pg/test_pg_place, and runs in BUILD. */
static void test_build_tree(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    char dir[PATH_MAX];
    (void)unsetenv(variable);
    assert_ok(place_find(dir, &err));
    same_folder(dir, PG_DIR);
}

static void test_override(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    char dir[PATH_MAX];
    assert_int_equal(setenv(variable, "./" PG_DIR, 1), 0);
    assert_ok(place_find(dir, &err));
    assert_string_equal(dir, "./" PG_DIR);
    assert_int_equal(setenv(variable, "/nonexistent", 1), 0);
    assert_int_equal(place_find(dir, &err), SOREX_GONE);
    assert_non_null(strstr(err.text, "cluster.image in /nonexistent"));
    struct database_program *program;
    assert_int_equal(place_program_take(NULL, false, &program, &err), SOREX_GONE);
    (void)unsetenv(variable);
}

/* A copy of this program in PREFIX/bin finds PREFIX/share/sorex/postgres; without that folder it says what it looked
 * for. The copy is started with the argument "find". */
static int run_copy(const char *program, char *out, size_t size)
{
    char command[PATH_MAX + 16];
    assert_true(snprintf(command, sizeof command, "'%s' find", program) < (int)sizeof command);
    FILE *pipe = popen(command, "r");
    assert_non_null(pipe);
    size_t len = fread(out, 1, size - 1, pipe);
    out[len] = '\0';
    return pclose(pipe);
}

static void test_installed(void **state)
{
    (void)state;
    char prefix[] = "test_place.XXXXXX";
    char self[PATH_MAX], path[PATH_MAX], command[3 * PATH_MAX], out[2 * PATH_MAX];
    assert_non_null(mkdtemp(prefix));
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(len > 0);
    self[len] = '\0';
    /* Three levels down, so that the search does not come up into the build directory. */
    (void)snprintf(command, sizeof command,
                   "mkdir -p '%s/a/b/c/bin' '%s/a/b/c/" SOREX_DATADIR "/sorex' && cp '%s' '%s/a/b/c/bin/copy'", prefix,
                   prefix, self, prefix);
    assert_int_equal(system(command), 0);
    (void)snprintf(path, sizeof path, "%s/a/b/c/bin/copy", prefix);
    assert_int_not_equal(run_copy(path, out, sizeof out), 0);
    assert_non_null(strstr(out, "a/b/c/bin/copy"));
    (void)snprintf(command, sizeof command, "ln -s \"$PWD/" PG_DIR "\" '%s/a/b/c/" SOREX_DATADIR "/sorex/postgres'",
                   prefix);
    assert_int_equal(system(command), 0);
    assert_int_equal(run_copy(path, out, sizeof out), 0);
    assert_non_null(strstr(out, "a/b/c/" SOREX_DATADIR "/sorex/postgres"));
    (void)snprintf(command, sizeof command, "rm -r '%s'", prefix);
    assert_int_equal(system(command), 0);
}

static void test_program_once(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct database_program *one, *two;
    struct database *database;
    assert_ok(place_program_take(NULL, false, &one, &err));
    assert_ok(place_program_take(NULL, false, &two, &err));
    assert_ptr_equal(one, two);
    place_program_give(one);
    assert_ok(database_open(two, NULL, &database, &err));
    database_close(database);
    place_program_give(two);
    place_program_give(NULL);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "find") == 0) {
        struct sorex_error err = {0};
        char dir[PATH_MAX];
        enum sorex_status status = place_find(dir, &err);
        (void)puts(status == SOREX_OK ? dir : err.text);
        return status == SOREX_OK ? 0 : 1;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build_tree),
        cmocka_unit_test(test_override),
        cmocka_unit_test(test_installed),
        cmocka_unit_test(test_program_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
