/* Contract 4, guests that reach for what is not theirs: each time the outcome is the one that the contract names, the
 * bookkeeping is right, and the next message is applied as if nothing had been. */
#include "guest/reducer_base.h"

#include <stdio.h>
#include <stdlib.h>

#include "guest/map.h"

static struct run run;

static int setup(void **state)
{
    (void)state;
    run = run_open("script", &(struct reducer_options){.name = "test", .sql_fuel = 300000000, .fuel = 100000000});
    run_ok(&run, "insert into t values (0, 'kept')\ncreate function public.evil() returns text language sql as "
                 "'select current_user::text'");
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    run_close(&run);
    return 0;
}

/* Nothing of it shows, and the next message works in a session as new. */
static void assert_sound(void)
{
    char text[64];
    run_ok(&run,
           "select current_user || ' ' || current_setting('search_path') || ' ' || current_setting('TimeZone') || "
           "' ' || current_setting('work_mem')");
    assert_query(&run, "select value from out order by message desc, line desc limit 1", "reducer public UTC 4MB");
    (void)snprintf(text, sizeof text, "%llu|0|%llu", (unsigned long long)run.index, (unsigned long long)run.index - 1);
    assert_query(&run, "select count(*), min(index), max(index) from sorex.messages", text);
    assert_query(&run, "select note from t where id = 0", "kept");
    assert_query(&run,
                 "select current_user, count(*) from pg_tables where tableowner <> 'reducer' and schemaname in "
                 "('public', 'sorex') group by 1",
                 "postgres|3");
    assert_query(&run, "select count(*) from pg_roles where rolname = 'reducer' and not rolsuper and not rolcreaterole",
                 "1");
}

/* A statement that PostgreSQL or the host refuses, and what becomes of a message that goes on regardless. */
static void refuses(const char *sqlstate, const char *sql)
{
    char script[1024], reason[16];
    (void)snprintf(script, sizeof script, "insert into t values (1, 'lost')\n?%s %s", sqlstate, sql);
    (void)snprintf(reason, sizeof reason, "%s: *", sqlstate);
    run_rejected(&run, script, 0, reason);
    (void)snprintf(script, sizeof script, "savepoint a\n?%s %s\nrollback to a\nselect 1", sqlstate, sql);
    run_ok(&run, script);
}

static void test_transactions(void **state)
{
    (void)state;
    static const char *const statements[] = {"begin",
                                             "start transaction",
                                             "commit",
                                             "COMMIT",
                                             "end",
                                             "abort",
                                             "rollback",
                                             "rollback work",
                                             "rollback and chain",
                                             "commit and chain",
                                             " ;; /* a /* b */ */ -- c\r commit",
                                             "prepare transaction 'x'",
                                             "commit prepared 'x'",
                                             "rollback prepared 'x'",
                                             "prepare x as select 1",
                                             "deallocate all",
                                             "discard all",
                                             "discard plans"};
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        refuses("0A000", statements[i]);
    refuses("42601", "select 1; commit");
    refuses("2D000", "do $$ begin commit; end $$");
    refuses("2D000", "do $$ begin rollback; end $$");
    refuses("0A000", "do $$ begin execute 'commit'; end $$");
    run_ok(&run, "create procedure p() language plpgsql as $$ begin commit; end $$");
    refuses("2D000", "call p()");
    refuses("25001", "vacuum");
    assert_sound();
}

static void test_roles(void **state)
{
    (void)state;
    static const char *const statements[] = {
        "set role postgres",
        "set role none",
        "reset role",
        "set local role postgres",
        "set session authorization postgres",
        "set session authorization default",
        "reset session authorization",
        "select set_config('role', 'postgres', true)",
        "select set_config('session_authorization', 'postgres', false)",
        "do $$ begin execute 'set role postgres'; end $$",
        "create function f() returns void language sql set role = postgres as ''",
        "create role other superuser",
        "alter role reducer superuser",
        "alter role postgres nosuperuser",
        "grant postgres to reducer",
        "grant pg_read_server_files to reducer",
        "set session_replication_role = replica",
        "set log_statement = 'all'",
        "create schema mine",
        "load 'plpgsql'",
        "create temporary table x (a int)",
        "update pg_authid set rolsuper = true",
        "insert into pg_proc select * from pg_proc limit 0",
        "checkpoint",
    };
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        refuses("42501", statements[i]);
    refuses("25001", "alter system set work_mem = '1GB'");
    refuses("25001", "create database other");
    refuses("25001", "create tablespace x location '/tmp'");
    assert_sound();
}

static void test_bookkeeping(void **state)
{
    (void)state;
    static const char *const statements[] = {
        "drop table sorex.messages",
        "drop schema sorex cascade",
        "delete from sorex.messages",
        "truncate sorex.messages",
        "update sorex.meta set value = ''",
        "insert into sorex.messages select 100, now(), '', '', 0, '', ''",
        "select * from sorex.statements",
        "alter table sorex.messages add column x int default public.evil()::int",
        "create trigger x before insert on sorex.messages execute function f()",
        "create rule x as on insert to sorex.messages do also select public.evil()",
        "create index on sorex.messages (public.evil())",
        "create table x (a bigint references sorex.messages)",
        "create policy x on sorex.messages",
        "lock table sorex.messages in exclusive mode",
        "select * from sorex.messages for update",
        "create table heir () inherits (sorex.messages)",
        "alter table sorex.messages disable trigger all",
        "drop owned by postgres",
        "reassign owned by postgres to reducer",
    };
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        refuses("42501", statements[i]);
    run_ok(&run, "grant all on sorex.messages to public"); /* a warning: he has nothing to give */
    refuses("42501", "delete from sorex.messages");
    /* What the host's own statement for the record is made of. */
    run_ok(&run, "create table public.messages (index bigint)\ncreate domain public.text as pg_catalog.text check "
                 "(value <> 'applied')");
    run_ok(&run, "set search_path = public, pg_catalog\nset datestyle = 'SQL, DMY'\nset timezone = 'Asia/Tokyo'\nset "
                 "intervalstyle = sql_standard\nset standard_conforming_strings = off\nset bytea_output = 'escape'");
    assert_query(&run,
                 "select time = timestamptz '2023-11-14 22:13:20+00' + index * interval '1 second', "
                 "get_byte(hash, 0) = index % 256 from sorex.messages order by index desc limit 1",
                 "t|t");
    run_ok(&run, "drop table public.messages\ndrop domain public.text");
    assert_sound();
}

static void test_the_world(void **state)
{
    (void)state;
    refuses("0A000", "copy t to program 'touch /tmp/x'");
    refuses("0A000", "copy t from program 'cat /etc/passwd'");
    refuses("0A000", "copy t to '/tmp/x'");
    refuses("0A000", "copy t from '/etc/passwd'");
    refuses("0A000", "copy t from stdin");
    refuses("0A000", "copy t to stdout");
    refuses("0A000", "create extension dblink");
    static const char *const statements[] = {
        "select pg_read_file('/etc/passwd')",
        "select pg_read_binary_file('/pglite/data/PG_VERSION')",
        "select pg_ls_dir('/')",
        "select pg_stat_file('/')",
        "select lo_import('/etc/passwd')",
        "select lo_export(1, '/tmp/x')",
        "select lo_create(0)",
        "select lo_from_bytea(0, '')",
        "select pg_sleep(1)",
        "select pg_sleep_for('1 hour')",
        "select pg_sleep_until('infinity')",
        "select pg_advisory_lock(1)",
        "select pg_try_advisory_lock(1)",
        "select pg_reload_conf()",
        "select pg_rotate_logfile()",
        "select pg_terminate_backend(pg_backend_pid())",
        "select pg_cancel_backend(pg_backend_pid())",
        "select pg_promote()",
        "select pg_switch_wal()",
        "select pg_create_restore_point('x')",
        "do $$ begin execute 'copy t to program ''ls'''; end $$",
        "create function f() returns void language c as 'x', 'y'",
        "create function f() returns void language internal as 'pg_sleep'",
        "create server s foreign data wrapper dblink_fdw",
        "create publication p for all tables",
    };
    for (size_t i = 0; i < sizeof statements / sizeof statements[0]; i++)
        refuses(strstr(statements[i], "create server") == statements[i] ? "42704" : "42501", statements[i]);
    refuses("42883", "select dblink('x', 'y')");
    refuses("42601", "selec 1");
    refuses("22012", "select 1 / 0");
    assert_sound();
}

/* Session state does not go from message to message. */
static void test_sessions(void **state)
{
    (void)state;
    run_ok(&run, "set search_path = pg_catalog\nset timezone = 'Asia/Tokyo'\nset work_mem = '64MB'\nset my.own = 'x'");
    assert_sound();
    run_ok(&run, "declare c cursor with hold for select generate_series(1, 3)\nlisten x\ncreate sequence s\nselect "
                 "nextval('s')");
    run_ok(&run,
           "select count(*) from pg_cursors where is_holdable\nselect count(*) from pg_listening_channels()\nselect "
           "coalesce(current_setting('my.own', true), '')");
    assert_query(&run,
                 "select string_agg(value, ',' order by line) from out where message = (select max(message) from out)",
                 "0,0,");
    refuses("55000", "select currval('s')");
    refuses("34000", "fetch c");
    run_ok(&run, "notify x, 'a'\nselect pg_notify('x', 'b')");
    run_ok(&run, "set default_transaction_read_only = on");
    run_rejected(&run, "set transaction read only", 0, "25006: cannot execute COPY FROM in a read-only transaction");
    run_rejected(&run, "set local transaction_read_only = on", 0, "25006: *");
    run_ok(&run, "set transaction isolation level serializable\nselect 1");
    refuses("58P01", "set client_encoding = 'LATIN1'");
    run_ok(&run, "set client_encoding = 'SQL_ASCII'\nselect 'a'");
    assert_sound();
}

/* What the transaction's end runs, runs as the guest; where it fails, the message is rejected. */
static void test_the_end_of_a_transaction(void **state)
{
    (void)state;
    run_ok(&run,
           "create table d (a int primary key deferrable initially deferred, who text)\ncreate function w() returns "
           "trigger language plpgsql as $$ begin insert into out values (-1, -1, current_user); return null; end "
           "$$\ncreate constraint trigger c after insert on d deferrable initially deferred for each row execute "
           "function w()");
    run_ok(&run, "insert into d values (1)");
    assert_query(&run, "select value from out where message = -1", "reducer");
    run_rejected(&run, "insert into d values (2)\ninsert into d values (1)", 0,
                 "23505: duplicate key value violates unique constraint \"d_pkey\"; Key (a)=(1) already exists.");
    assert_query(&run, "select count(*) from d", "1");
    run_ok(&run, "create or replace function w() returns trigger language plpgsql as $$ begin execute 'drop table "
                 "sorex.messages'; return null; end $$");
    run_rejected(&run, "insert into d values (3)", 0, "42501: *");
    run_ok(&run, "create or replace function w() returns trigger language plpgsql as $$ begin loop end loop; end $$");
    run_rejected(&run, "insert into d values (3)", 0, "a statement ran out of fuel");
    assert_sound();
}

/* What breaks the backend is put back. */
static void test_limits(void **state)
{
    (void)state;
    run_rejected(&run, "!loop", 0, "out of fuel: the limit is 100000000 units*");
    run_rejected(&run, "insert into t values (5, '')\n!grow", 0, "trap: *");
    run_rejected(&run, "!return-5", 0, "it returned -5");
    run_rejected(&run, "!reject 0 none", 0, "reject: 0 is no code*");
    run_rejected(&run, "!repeat 100001 select 1", 0, "more than 100000 statements");
    run_ok(&run, "!many 300\n!many 300"); /* more than stay prepared */
    run_rejected(&run, "!many 1500", 0, "trap: *");
    run_rejected(&run, "insert into t values (6, 'lost')\nselect sum(i) from generate_series(1, 1000000000) i", 0,
                 "a statement ran out of fuel");
    assert_sound();
    run_rejected(&run, "insert into t values (6, 'lost')\nselect repeat('x', 1000000) from generate_series(1, 100)", 0,
                 "a statement gave more than 6*");
    assert_sound();
    run_ok(&run, "create function rec(i int) returns int language plpgsql as $$ begin return rec(i + 1); end $$");
    refuses("54001", "select rec(1)");
    refuses("22P02", "select repeat('[', 200000)::jsonb");
    refuses("42601", "do $$ begin execute 'select ' || repeat('not ', 100000) || 'true'; end $$");
    refuses("42601", "do $$ begin execute 'select ' || repeat('(', 100000); end $$");
    run_ok(&run, "!rows select generate_series(1, 2500)\n!same\n!fill 1000000");
    assert_query(&run, "select value from out where message = (select max(message) from out) and line = 1",
                 "2500 2500 ");
    assert_sound();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_transactions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_roles, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bookkeeping, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_world, setup, teardown),
        cmocka_unit_test_setup_teardown(test_sessions, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_end_of_a_transaction, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits, setup, teardown),
    };
    traps_keep();
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    runs_program_close();
    return failed;
}
