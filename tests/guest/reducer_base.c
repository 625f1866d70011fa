#include "guest/reducer_base.h"

#include "guest/map.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/file.h"
#include "base/hex.h"
#include "base/limits.h"
#include "pg/image.h"

static struct database_program *program;
static struct sorex_error err;

struct database_program *runs_program(void)
{
    struct database_program_options options = {.dir = "postgres", .cache_dir = "postgres-cache", .metered = true};
    if (program == NULL)
        assert_ok(database_program_open(&options, &program, &err));
    return program;
}

void runs_program_close(void)
{
    database_program_close(program);
    program = NULL;
}

struct reducer *run_reducer(const char *guest, const struct reducer_options *options)
{
    static const struct reducer_options none = {.name = "test"};
    char path[4096];
    struct buf wasm = {0};
    struct reducer *reducer = NULL;
    (void)snprintf(path, sizeof path, "%s/tiny_reducer_%s.wasm", getenv("SOREX_GUESTS"), guest);
    assert_ok(file_read(path, SOREX_MODULE_BYTES_MAX, &wasm, &err));
    assert_ok(reducer_load(buf_view(&wasm), options != NULL ? options : &none, &reducer, &err));
    buf_deinit(&wasm);
    return reducer;
}

struct run run_open(const char *guest, const struct reducer_options *options)
{
    traps_restore();
    struct run run = {.reducer = run_reducer(guest, options)};
    assert_ok(database_open(runs_program(), NULL, &run.database, &err));
    assert_ok(reducer_schema(run.reducer, run.database, &err));
    return run;
}

void run_close(struct run *run)
{
    reducer_free(run->reducer);
    database_close(run->database);
    *run = (struct run){0};
}

struct reducer_message run_message(uint64_t index, const char *script)
{
    struct reducer_message message = {.index = index,
                                      .time_ms = 1700000000000 + (int64_t)index * 1000,
                                      .author = bytes_str("tester"),
                                      .payload = bytes_str(script)};
    for (size_t i = 0; i < SHA256_BYTES; i++) {
        message.hash[i] = (uint8_t)(index + i);
        message.key[i] = (uint8_t)((index + 1) * 37 + i * 11);
    }
    return message;
}

enum sorex_status run_try(struct run *run, const char *script, struct sorex_error *out)
{
    struct reducer_message message = run_message(run->index++, script);
    return reducer_apply(run->reducer, run->database, &message, NULL, NULL, &run->result, out);
}

void run_ok(struct run *run, const char *script)
{
    assert_ok(run_try(run, script, &err));
    if (run->result.status != REDUCER_APPLIED)
        fail_msg("%s: rejected with %d: %.*s", script, run->result.code, BYTES_FMT(run->result.reason));
}

static bool reason_is(struct bytes reason, const char *want)
{
    size_t len = strlen(want);
    if (len > 0 && want[len - 1] == '*' && reason.len >= len - 1)
        reason.len = --len;
    return bytes_equal(reason, bytes_of(want, len));
}

void run_rejected(struct run *run, const char *script, int code, const char *reason)
{
    assert_ok(run_try(run, script, &err));
    if (run->result.status != REDUCER_REJECTED || run->result.code != code || !reason_is(run->result.reason, reason))
        fail_msg("%s: wanted %d: %s, got %s with %d: %.*s", script, code, reason,
                 run->result.status == REDUCER_APPLIED ? "applied" : "rejected", run->result.code,
                 BYTES_FMT(run->result.reason));
}

const char *run_query(struct run *run, const char *sql)
{
    static char text[65536];
    size_t used = 0;
    struct snapshot *snapshot = NULL;
    struct database *fork = NULL;
    struct results results;
    results_init(&results, 0);
    assert_ok(database_save(run->database, &snapshot, &err));
    assert_ok(database_fork(run->database, snapshot, &fork, &err));
    assert_ok(database_exec(fork, sql, &results, &err));
    if (results.error != NULL) {
        (void)result_error(results.error, &err);
        fail_msg("%s: %s", sql, err.text);
    }
    text[0] = '\0';
    for (const struct result *result = results.first; result != NULL; result = result->next)
        for (size_t i = 0; i < result->rows_count * result->columns_count; i++) {
            const struct protocol_value *value = &result->rows[i / result->columns_count][i % result->columns_count];
            used += (size_t)snprintf(text + used, sizeof text - used, "%s%.*s",
                                     i == 0                           ? ""
                                     : i % result->columns_count == 0 ? ";"
                                                                      : "|",
                                     value->null ? 4 : (int)value->bytes.len,
                                     value->null ? "NULL" : (const char *)value->bytes.data);
        }
    results_deinit(&results);
    database_close(fork);
    snapshot_drop(snapshot);
    return text;
}

void assert_query(struct run *run, const char *sql, const char *want)
{
    const char *got = run_query(run, sql);
    if (strcmp(got, want) != 0)
        fail_msg("%s: %s, wanted %s", sql, got, want);
}

const char *run_image(struct run *run)
{
    static char hex[2][HASH_HEX_SIZE];
    static unsigned turn;
    uint8_t hash[SHA256_BYTES];
    struct snapshot *snapshot = NULL;
    assert_ok(database_save(run->database, &snapshot, &err));
    assert_ok(image_hash(snapshot, hash, &err));
    snapshot_drop(snapshot);
    turn ^= 1;
    hash_hex(hash, hex[turn]);
    return hex[turn];
}
