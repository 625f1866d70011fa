/* One backend: replies, equality across processes, snapshots, forks, and what happens when it breaks. */
#include "pg/pg.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static struct postgres *postgres;
static struct snapshot *base;

static int setup(void **state)
{
    (void)state;
    postgres = pg_open();
    base = pg_base(postgres);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    snapshot_drop(base);
    postgres_close(postgres);
    return 0;
}

/* initdb, a start and three statements gave these bytes of memory and files, on whatever machine and by whatever
 * compiler this was built. Changes with PGlite, with the arguments of postgres, with what prepare.c does, with the
 * format; and with no other thing. */
static void test_base_is_the_same_everywhere(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    uint8_t hash[SHA256_BYTES];
    char hex[HASH_HEX_SIZE];
    assert_ok(image_hash(base, hash, &err));
    hash_hex(hash, hex);
    assert_string_equal(hex, "56d795e493dad68b7d330b105f5a538421eeff6a405d0f639c98b20efe663af0");
}

/* tests/pg/replies.txt: "# statement", then its reply. */
static void replies_walk(struct instance *instance, bool compare)
{
    struct sorex_error err = {0};
    struct buf file = {0};
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/tests/pg/replies.txt", getenv("SOREX_SOURCE_DIR"));
    assert_ok(file_read(path, 1 << 20, &file, &err));
    assert_ok(buf_append_str(&file, "# ", &err)); /* ends the last reply */
    assert_ok(buf_append_u8(&file, 0, &err));
    char *at = (char *)file.data;
    int count = 0;
    for (; at[0] == '#' && at[2] != '\0'; count++) {
        char *line = strchr(at, '\n'), *next = line + 1;
        while (strncmp(next, "# ", 2) != 0)
            next = strchr(next, '\n') + 1;
        *line = '\0';
        const char *got = pg_run(instance, at + 2);
        size_t len = (size_t)(next - line - 1);
        if (compare && (strlen(got) != len || memcmp(got, line + 1, len) != 0))
            fail_msg("%s\ngot:\n%s\nwanted:\n%.*s", at + 2, got, (int)len, line + 1);
        at = next;
    }
    assert_true(count > 50);
    buf_deinit(&file);
}

static void test_replies(void **state)
{
    (void)state;
    struct instance *instance = pg_fork(base);
    replies_walk(instance, true);
    instance_close(instance);
}

/* Random numbers and the clock are part of the state, so statements that ask for them are part of this. */
static void hash_after_work(char out[HASH_HEX_SIZE])
{
    struct instance *instance = pg_fork(base);
    replies_walk(instance, false);
    (void)pg_run(instance, "create table u as select gen_random_uuid() u, random() r, clock_timestamp() c "
                           "from generate_series(1, 100)");
    pg_hash(instance, out);
    instance_close(instance);
}

static void test_processes_agree(void **state)
{
    (void)state;
    char here[HASH_HEX_SIZE], there[HASH_HEX_SIZE] = "";
    int ends[2], status = 0;
    hash_after_work(here);
    assert_int_equal(pipe(ends), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        (void)dup2(ends[1], STDOUT_FILENO);
        (void)close(ends[0]);
        (void)execl("/proc/self/exe", "test_pg_instance", "hash", (char *)NULL);
        _exit(127);
    }
    (void)close(ends[1]);
    FILE *stream = fdopen(ends[0], "r");
    assert_non_null(stream);
    assert_non_null(fgets(there, sizeof there, stream));
    (void)fclose(stream);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_string_equal(here, there);
}

static const char *const table = "create table k(id int primary key, v text);"
                                 "insert into k select g, 'v' || g from generate_series(1, 5000) g";

/* In the middle of a transaction, with a prepared statement and a cursor. */
static void middle_make(struct instance *instance)
{
    (void)pg_run(instance, table);
    (void)pg_run(instance, "prepare s as insert into k values ($1, $2)");
    (void)pg_run(instance, "begin");
    (void)pg_run(instance, "insert into k values (100001, 'in the open transaction')");
    (void)pg_run(instance, "declare c cursor for select id from k order by id desc");
    (void)pg_run(instance, "fetch 1 from c");
}

/* What follows; its replies. */
static void middle_go_on(struct instance *instance, struct buf *out)
{
    static const char *const statements[] = {"execute s(200001, 'prepared')",
                                             "fetch 2 from c",
                                             "savepoint p",
                                             "select 1/0",
                                             "rollback to p",
                                             "insert into k values (300001, 'x') returning random(), clock_timestamp()",
                                             "commit",
                                             "select count(*), max(id) from k",
                                             "vacuum k"};
    struct sorex_error err = {0};
    for (size_t i = 0; i < sizeof statements / sizeof *statements; i++)
        assert_ok(pg_try(instance, statements[i], out, &err));
}

static void test_restore_in_transaction(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct buf first = {0}, again = {0};
    char saved[HASH_HEX_SIZE], end[HASH_HEX_SIZE], hash[HASH_HEX_SIZE];
    struct instance *instance = pg_fork(base);
    middle_make(instance);
    struct snapshot *snapshot = pg_save(instance);
    pg_hash(instance, saved);
    middle_go_on(instance, &first);
    assert_non_null(memmem(first.data, first.len, "5003 | 300001", 13));
    pg_hash(instance, end);
    assert_string_not_equal(saved, end);
    for (int round = 0; round < 4; round++) {
        linear_scan_plain(round % 2 == 1); /* both ways to find out what was written */
        assert_ok(instance_restore(instance, snapshot, &err));
        pg_hash(instance, hash);
        assert_string_equal(hash, saved);
        buf_reset(&again);
        middle_go_on(instance, &again);
        assert_true(bytes_equal(buf_view(&first), buf_view(&again)));
        pg_hash(instance, hash);
        assert_string_equal(hash, end);
    }
    linear_scan_plain(false);
    instance_close(instance);
    instance = pg_fork(snapshot); /* in a new instance, without the old one */
    pg_hash(instance, hash);
    assert_string_equal(hash, saved);
    buf_reset(&again);
    middle_go_on(instance, &again);
    assert_true(bytes_equal(buf_view(&first), buf_view(&again)));
    pg_hash(instance, hash);
    assert_string_equal(hash, end);
    instance_close(instance);
    snapshot_drop(snapshot);
    buf_deinit(&first);
    buf_deinit(&again);
}

/* Many snapshots of one run, some far apart, restored out of order. */
static void test_snapshots_in_a_row(void **state)
{
    (void)state;
    enum { COUNT = 8 };
    struct sorex_error err = {0};
    struct snapshot *snapshots[COUNT];
    char hashes[COUNT][HASH_HEX_SIZE], hash[HASH_HEX_SIZE], sql[128];
    struct instance *instance = pg_fork(base);
    (void)pg_run(instance, table);
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(sql, sizeof sql, "update k set v = v || '%d' where id %% %d = 0", i, i % 3 == 0 ? 2 : 500);
        (void)pg_run(instance, sql);
        snapshots[i] = pg_save(instance);
        pg_hash(instance, hashes[i]);
    }
    static const int order[] = {3, 7, 0, 6, 1, 1, 5, 2, 4, 7, 0};
    for (size_t i = 0; i < sizeof order / sizeof *order; i++) {
        assert_ok(instance_restore(instance, snapshots[order[i]], &err));
        (void)pg_run(instance, "delete from k where id < 100");
        assert_ok(instance_restore(instance, snapshots[order[i]], &err));
        pg_hash(instance, hash);
        assert_string_equal(hash, hashes[order[i]]);
    }
    for (int i = 0; i < COUNT; i++)
        snapshot_drop(snapshots[i]);
    assert_string_equal(pg_run(instance, "select count(*) from k"), "5000 | \n-> SELECT 1\n");
    instance_close(instance);
}

static void test_forks_are_apart(void **state)
{
    (void)state;
    enum { COUNT = 10 };
    struct instance *origin = pg_fork(base), *forks[COUNT];
    char before[HASH_HEX_SIZE], after[HASH_HEX_SIZE], sql[128], wanted[128];
    (void)pg_run(origin, table);
    struct snapshot *snapshot = pg_save(origin);
    pg_hash(origin, before);
    for (int i = 0; i < COUNT; i++) {
        forks[i] = pg_fork(snapshot);
        (void)snprintf(sql, sizeof sql, "insert into k values (%d, 'fork'); delete from k where id <= %d", 10000 + i,
                       i);
        (void)pg_run(forks[i], sql);
    }
    for (int i = 0; i < COUNT; i++) {
        (void)snprintf(wanted, sizeof wanted, "%d | %d | \n-> SELECT 1\n", 5001 - i, 10000 + i);
        assert_string_equal(pg_run(forks[i], "select count(*), max(id) from k"), wanted);
    }
    assert_string_equal(pg_run(origin, "select count(*), max(id) from k"), "5000 | 5000 | \n-> SELECT 1\n");
    for (int i = 0; i < COUNT; i++)
        instance_close(forks[i]);
    struct sorex_error err = {0};
    assert_ok(instance_restore(origin, snapshot, &err));
    pg_hash(origin, after);
    assert_string_equal(before, after);
    snapshot_drop(snapshot);
    instance_close(origin);
}

/* -- what breaks */

static char *nested_json(size_t depth)
{
    char *sql = malloc(2 * depth + 64);
    assert_non_null(sql);
    size_t len = (size_t)snprintf(sql, 32, "select '");
    memset(sql + len, '[', depth);
    memset(sql + len + depth, ']', depth);
    (void)snprintf(sql + len + 2 * depth, 32, "'::json is null");
    return sql;
}

static void check_breaks(const char *sql, enum sorex_status wanted, const char *text, const char *last_words)
{
    struct sorex_error err = {0};
    struct buf out = {0};
    char before[HASH_HEX_SIZE], after[HASH_HEX_SIZE];
    struct instance *instance = pg_fork(base);
    (void)pg_run(instance, table);
    struct snapshot *snapshot = pg_save(instance), *none = NULL;
    pg_hash(instance, before);
    assert_int_equal(pg_try(instance, sql, &out, &err), wanted);
    assert_non_null(strstr(err.text, text));
    assert_ok(buf_append_u8(&out, 0, &err));
    assert_non_null(strstr((const char *)out.data, last_words));
    assert_true(instance_broken(instance));
    assert_int_equal(pg_try(instance, "select 1", NULL, &err), SOREX_INVALID);
    assert_int_equal(instance_save(instance, &none, &err), SOREX_INVALID);
    assert_ok(instance_restore(instance, snapshot, &err));
    pg_hash(instance, after);
    assert_string_equal(before, after);
    assert_string_equal(pg_run(instance, "select count(*) from k"), "5000 | \n-> SELECT 1\n");
    snapshot_drop(snapshot);
    instance_close(instance);
    buf_deinit(&out);
}

static void test_trap(void **state)
{
    (void)state;
    char *sql = nested_json(2000000);
    check_breaks(sql, SOREX_LIMIT, "stack overflow", "");
    free(sql);
}

static void test_fatal(void **state)
{
    (void)state;
    check_breaks("set exit_on_error = on; select 1/0", SOREX_GUEST, "exit code", "22012");
}

/* PostgreSQL's own check comes before the machine's. */
static void test_recursion(void **state)
{
    (void)state;
    struct instance *instance = pg_fork(base);
    (void)pg_run(instance, "create function r(n int) returns int language plpgsql as $$ begin return r(n + 1); end $$");
    assert_non_null(strstr(pg_run(instance, "select r(1)"), "E: 54001 "));
    (void)pg_run(instance, "create function s(n int) returns int language sql as $$ select s(n + 1) $$");
    assert_non_null(strstr(pg_run(instance, "select s(1)"), "E: 54001 "));
    assert_string_equal(pg_run(instance, "select 1"), "1 | \n-> SELECT 1\n");
    instance_close(instance);
}

/* A library as tools make them, with a function of its own in the table; no extension, which PostgreSQL notices once it
 * is linked. */
static const char library_text[] =
    "(module (@custom \"dylink.0\" (before first) \"\\01\\04\\40\\04\\01\\00\")"
    " (import \"env\" \"memory\" (memory 1)) (import \"env\" \"__indirect_function_table\" (table 1 funcref))"
    " (import \"env\" \"__memory_base\" (global $m i32)) (import \"env\" \"__table_base\" (global $t i32))"
    " (import \"GOT.func\" \"own\" (global $got (mut i32))) (import \"env\" \"malloc\" (func $malloc (param i32) "
    "(result i32)))"
    " (func $own (export \"own\") (result i32) (global.get $got))"
    " (func (export \"__wasm_call_ctors\") (i32.store (global.get $m) (call_indirect (result i32) (global.get $t))))"
    " (elem (global.get $t) func $own) (data (global.get $m) \"library\"))";

static void library_put(struct instance *instance)
{
    struct sorex_error err = {0};
    struct buf wasm = {0};
    assert_ok(wasm_from_text(bytes_str(library_text), &wasm, &err));
    assert_ok(tree_put(instance_process(instance)->tree, "/tmp/extra.so", buf_view(&wasm), 0755, &err));
    buf_deinit(&wasm);
}

/* What cannot be taken back in place: a larger memory, a library that was linked. */
static void test_restore_after_growth(void **state)
{
    (void)state;
    static const char *const statements[][2] = {{"select length(repeat('x', 130000000))", "-> SELECT 1"},
                                                {"load '/tmp/extra.so'", "missing magic block"}};
    struct sorex_error err = {0};
    char before[HASH_HEX_SIZE], after[HASH_HEX_SIZE], end[HASH_HEX_SIZE];
    for (size_t i = 0; i < 2; i++) {
        struct instance *instance = pg_fork(base);
        (void)pg_run(instance, table);
        library_put(instance);
        struct snapshot *snapshot = pg_save(instance);
        pg_hash(instance, before);
        assert_non_null(strstr(pg_run(instance, statements[i][0]), statements[i][1]));
        struct snapshot *later = pg_save(instance);
        assert_true(later->machine.additions_count > snapshot->machine.additions_count ||
                    linear_image_size(later->machine.memory) > linear_image_size(snapshot->machine.memory));
        pg_hash(instance, end);
        assert_ok(instance_restore(instance, snapshot, &err));
        pg_hash(instance, after);
        assert_string_equal(before, after);
        assert_ok(instance_restore(instance, later, &err)); /* and forward again */
        pg_hash(instance, after);
        assert_string_equal(end, after);
        assert_ok(instance_restore(instance, snapshot, &err));
        assert_non_null(strstr(pg_run(instance, statements[i][0]), statements[i][1]));
        pg_hash(instance, after);
        assert_string_equal(end, after);
        snapshot_drop(snapshot);
        snapshot_drop(later);
        instance_close(instance);
    }
}

/* A library that wants what PostgreSQL does not have is refused with an error of SQL. */
static void test_library_refused(void **state)
{
    (void)state;
    struct instance *instance = pg_fork(base);
    assert_non_null(strstr(pg_run(instance, "select convert_to('x', 'BIG5')"), "E: 58P01 could not load library"));
    assert_non_null(strstr(pg_run(instance, "load '/pglite/share/postgresql/postgres.bki'"), "could not load library"));
    assert_string_equal(pg_run(instance, "select 1"), "1 | \n-> SELECT 1\n");
    instance_close(instance);
}

/* -- images */

static void test_image(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct buf image = {0}, first = {0}, again = {0};
    uint8_t hash[SHA256_BYTES], other[SHA256_BYTES];
    struct instance *instance = pg_fork(base);
    library_put(instance);
    assert_non_null(strstr(pg_run(instance, "load '/tmp/extra.so'"), "missing magic block"));
    middle_make(instance);
    struct snapshot *snapshot = pg_save(instance), *read = NULL;
    assert_ok(image_write(snapshot, 1, &image, &err));
    assert_ok(image_hash(snapshot, hash, &err));
    assert_ok(image_read(postgres, buf_view(&image), &read, &err));
    assert_ok(image_hash(read, other, &err));
    assert_memory_equal(hash, other, SHA256_BYTES);
    struct instance *copy = pg_fork(read);
    middle_go_on(instance, &first);
    middle_go_on(copy, &again);
    assert_true(bytes_equal(buf_view(&first), buf_view(&again)));
    instance_close(instance);
    instance_close(copy);
    snapshot_drop(snapshot);
    snapshot_drop(read);
    /* Damage: each of these bytes, and each length. */
    for (size_t at = 0; at < image.len; at += at < 48 ? 1 : image.len / 20) {
        image.data[at] ^= 0x40;
        enum sorex_status status = image_read(postgres, buf_view(&image), &read, &err);
        assert_int_equal(status, SOREX_CORRUPT);
        image.data[at] ^= 0x40;
    }
    static const size_t cuts[] = {0, 7, 47, 48, 1000};
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++)
        assert_int_equal(image_read(postgres, bytes_of(image.data, cuts[i]), &read, &err), SOREX_CORRUPT);
    buf_deinit(&image);
    buf_deinit(&first);
    buf_deinit(&again);
}

int main(int argc, char **argv)
{
    if (argc == 2 && strcmp(argv[1], "hash") == 0) {
        char hash[HASH_HEX_SIZE];
        (void)setup(NULL);
        hash_after_work(hash);
        (void)fputs(hash, stdout);
        (void)teardown(NULL);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_base_is_the_same_everywhere),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_processes_agree),
        cmocka_unit_test(test_restore_in_transaction),
        cmocka_unit_test(test_snapshots_in_a_row),
        cmocka_unit_test(test_forks_are_apart),
        cmocka_unit_test(test_trap),
        cmocka_unit_test(test_fatal),
        cmocka_unit_test(test_recursion),
        cmocka_unit_test(test_restore_after_growth),
        cmocka_unit_test(test_library_refused),
        cmocka_unit_test(test_image),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
