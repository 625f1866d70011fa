/* Receipts, verifying, bisecting. */
#include "derive/story.h"

#include "derive/archive.h"
#include "derive/bisect.h"
#include "derive/verify.h"

static struct derive_settings settings;
static struct derived *honest; /* of the story */

static struct derived *derive(const char *dir, const char *const *texts, size_t count)
{
    struct sorex_error err = {0};
    struct derived_progress progress;
    struct derived *derived = directory(dir, &settings);
    texts_write(in_scratch("derive.jsonl"), texts, count);
    assert_ok(run_log(derived, in_scratch("derive.jsonl"), &progress, &err));
    return derived;
}

static int setup(void **state)
{
    (void)state;
    folder_make();
    fold_setup();
    settings = default_settings();
    texts_write(in_scratch("story.jsonl"), story, MESSAGES);
    honest = derive(in_scratch("honest"), story, MESSAGES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    derived_close(honest);
    buf_deinit(&wasm);
    folder_remove();
    return 0;
}

/* ---- receipts ---- */

/* One of a million messages, point by point as a loop over all of them has it. */
static void test_points(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    static struct receipt receipt, again;
    static struct receipt_file file;
    static struct receipt_point all[300000];
    struct log_end end;
    struct logged logged;
    struct buf canonical = {0}, bytes = {0}, text = {0};
    const uint8_t key[SHA256_BYTES] = {1};
    const size_t count = 300000;
    struct message message = {.payload = bytes_str("{}")};
    assert_ok(message_encode(&message, &canonical, &err));
    log_end_init(&end);
    receipt_init(&receipt, key);
    for (size_t i = 0; i < count; i++) {
        assert_ok(log_end_add(&end, buf_view(&canonical), &logged, &err));
        receipt_add(&receipt, &logged, logged.hash, i % 3 == 0);
        memcpy(all[i].key, receipt.key, SHA256_BYTES);
        memcpy(all[i].trace, receipt.trace, SHA256_BYTES);
        assert_true(receipt.points_count <= RECEIPT_POINTS_MAX && receipt.points_count == (i + 1) / receipt.step);
        if (receipt_wants_digest(i + 1))
            receipt_digest_add(&receipt, logged.hash);
    }
    assert_int_equal(receipt.step, 2048);
    assert_int_equal(receipt.rejected, count / 3);
    assert_int_equal(receipt.digests_count, 17); /* 1,024, 1,536, 2,048, ..., 262,144 */
    for (uint32_t i = 0; i < receipt.points_count; i++)
        assert_memory_equal(&receipt.points[i], &all[(i + 1) * receipt.step - 1], sizeof all[0]);
    assert_null(receipt_point_at(&receipt, 0));
    assert_null(receipt_point_at(&receipt, 2047));
    assert_ptr_equal(receipt_point_at(&receipt, 4096), &receipt.points[1]);
    assert_null(receipt_point_at(&receipt, 300032));
    assert_ok(receipt_encode(&receipt, &bytes, &err));
    assert_true(bytes.len <= 24576);
    assert_ok(receipt_decode(buf_view(&bytes), &again, &err));
    assert_ok(receipt_encode(&again, &text, &err));
    assert_true(bytes_equal(buf_view(&text), buf_view(&bytes)));
    buf_reset(&text);
    file.receipt = receipt;
    assert_ok(receipt_file_write(&file, &text, &err));
    assert_true(text.len < 50000); /* whatever the number of messages */
    buf_deinit(&canonical);
    buf_deinit(&bytes);
    buf_deinit(&text);
}

/* Every way to cut it, and every byte changed, is noticed or is another receipt; none is read out of bounds. */
static void test_receipt_bytes(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    static struct receipt out;
    struct buf bytes = {0}, again = {0};
    assert_ok(receipt_encode(derived_receipt(honest), &bytes, &err));
    for (size_t i = 0; i < bytes.len; i++)
        assert_int_equal(receipt_decode(bytes_of(bytes.data, i), &out, &err), SOREX_CORRUPT);
    for (size_t i = 0; i < bytes.len; i++) {
        bytes.data[i] ^= 0x81;
        if (receipt_decode(buf_view(&bytes), &out, &err) == SOREX_OK) {
            buf_reset(&again);
            assert_ok(receipt_encode(&out, &again, &err));
            assert_true(bytes_equal(buf_view(&again), buf_view(&bytes)));
        }
        bytes.data[i] ^= 0x81;
    }
    buf_deinit(&bytes);
    buf_deinit(&again);
}

#define ZEROS "0000000000000000000000000000000000000000000000000000000000000000"

static void prove(struct derived *derived, uint64_t from, uint64_t to, const char *query, struct receipt_file *out)
{
    struct sorex_error err = {0};
    *out = (struct receipt_file){0};
    assert_ok(derived_prove(derived, from, to, query, out, &err));
}

static void test_receipt_file(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    static struct receipt_file file, read;
    struct buf text = {0}, again = {0};
    prove(honest, 0, DERIVED_NEWEST, "select id, hp from unit order by id limit 2;", &file);
    assert_ok(receipt_file_write(&file, &text, &err));
    assert_ok(receipt_file_read(buf_view(&text), &read, &err));
    assert_ok(receipt_file_write(&read, &again, &err));
    assert_true(bytes_equal(buf_view(&text), buf_view(&again)));
    assert_true(memcmp(read.result.data, "id,hp\n", 6) == 0);
    receipt_file_deinit(&read);
    static const char *const changes[][2] = {{"\"format\":\"sorex receipt 1\"", "\"format\":\"sorex receipt 2\""},
                                             {"\"count\":24", "\"count\":23"},
                                             {"\"count\":24", "\"count\":-1"},
                                             {"\"step\":1", "\"step\":3"},
                                             {"\"digests\":[]", "\"digests\":[[0,\"" ZEROS "\"]]"},
                                             {"\"log\":\"", "\"log\":\"00"},
                                             {"\"points\":[[", "\"points\":[[1,"},
                                             {"\"trace\":\"", "\"track\":\""},
                                             {"}", ""}};
    for (size_t i = 0; i < sizeof changes / sizeof changes[0]; i++) {
        assert_ok(buf_append_u8(&text, 0, &err));
        char *at = strstr((char *)text.data, changes[i][0]);
        text.len--;
        assert_non_null(at);
        buf_reset(&again);
        assert_ok(buf_append(&again, bytes_of(text.data, (size_t)((uint8_t *)at - text.data)), &err));
        assert_ok(buf_append_str(&again, changes[i][1], &err));
        assert_ok(buf_append_str(&again, at + strlen(changes[i][0]), &err));
        again.len--; /* the NUL is none of it: appended as text */
        read = (struct receipt_file){0};
        assert_fails(receipt_file_read(buf_view(&again), &read, &err), SOREX_INVALID, "no receipt");
        receipt_file_deinit(&read);
    }
    receipt_file_deinit(&file);
    buf_deinit(&text);
    buf_deinit(&again);
}

/* ---- verifying ---- */

static struct derivation *own_derivation(void)
{
    struct sorex_error err = {0};
    struct derivation *derivation = NULL;
    struct derivation_options options = derive_settings_derivation(&settings);
    assert_ok(derivation_new(buf_view(&wasm), &options, &derivation, &err));
    return derivation;
}

static void test_verify(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    static struct receipt_file file;
    struct derivation *derivation = own_derivation();
    struct witness own = {.derivation = derivation, .log = in_scratch("story.jsonl")};
    struct witness dir = {.derived = honest};
    char *log = strdup(own.log);
    own.log = log;
    prove(honest, 0, DERIVED_NEWEST, "select sum(hp) from unit", &file);
    assert_ok(verify_receipt(&own, &file, NULL, NULL, &err));
    assert_ok(verify_receipt(&dir, &file, NULL, NULL, &err));
    struct receipt *receipt = &file.receipt;
    struct {
        uint8_t *byte;
        const char *words;
    } lies[] = {{&receipt->points[16].trace[5], "did something else (the trace), after message 17; up to message 16"},
                {&receipt->points[3].key[5], "the messages are others (the key), after message 4; up to message 3"},
                {&receipt->trace[0], "(the trace), after message 24"},
                {&receipt->log[31], "the log is another one"},
                {&file.digest[31], "other rows (the digest)"},
                {&file.result.data[5], "the query gives something else"},
                {&file.identity.data[30], "derived with"}};
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        *lies[i].byte ^= 1;
        assert_fails(verify_receipt(&own, &file, NULL, NULL, &err), SOREX_MISMATCH, lies[i].words);
        *lies[i].byte ^= 1;
    }
    receipt->rejected++;
    assert_fails(verify_receipt(&own, &file, NULL, NULL, &err), SOREX_MISMATCH, "other messages were rejected");
    receipt->rejected--;
    texts_write(in_scratch("short.jsonl"), story, 9);
    own.log = in_scratch("short.jsonl");
    assert_fails(verify_receipt(&own, &file, NULL, NULL, &err), SOREX_MISMATCH, "the log ends here, after message 9");
    own.log = log;
    receipt_file_deinit(&file);

    prove(honest, 7, 19, NULL, &file); /* a part of it */
    assert_int_equal(file.receipt.points_count, 12);
    assert_ok(verify_receipt(&own, &file, NULL, NULL, &err));
    file.receipt.points[4].trace[0] ^= 1;
    assert_fails(verify_receipt(&own, &file, NULL, NULL, &err), SOREX_MISMATCH, "after message 12; up to message 11");
    receipt_file_deinit(&file);
    free(log);
    derivation_free(derivation);
}

/* ---- bisecting ---- */

static void bisect(struct derived *a, struct derived *b, struct bisect_result *out, struct buf *report)
{
    struct sorex_error err = {0};
    static struct receipt_file files[2];
    struct witness witnesses[2] = {{.derived = a}, {.derived = b}};
    struct bisect_party parties[2];
    for (int i = 0; i < 2; i++) {
        struct bytes identity = derivation_identity(derived_derivation(witnesses[i].derived));
        files[i] = (struct receipt_file){.receipt = *derived_receipt(witnesses[i].derived)};
        assert_ok(buf_append(&files[i].identity, identity, &err));
        parties[i] = (struct bisect_party){.name = i == 0 ? "a" : "b", .file = &files[i], .witness = &witnesses[i]};
    }
    buf_reset(report);
    assert_ok(bisect_run(parties, NULL, report, out, &err));
    assert_ok(buf_append_u8(report, '\0', &err));
    receipt_file_deinit(&files[0]);
    receipt_file_deinit(&files[1]);
}

static void assert_says(const struct buf *report, const char *words)
{
    if (strstr((const char *)report->data, words) == NULL)
        fail_msg("no \"%s\" in:\n%s", words, (const char *)report->data);
}

static void test_bisect_equal(void **state)
{
    (void)state;
    struct bisect_result result;
    struct buf report = {0};
    bisect(honest, honest, &result, &report);
    assert_true(result.equal);
    assert_says(&report, "they agree, up to message 24");
    buf_deinit(&report);
}

static void test_bisect_messages(void **state)
{
    (void)state;
    const char *other[MESSAGES];
    struct bisect_result result;
    struct buf report = {0};
    memcpy(other, story, sizeof other);
    other[17] = "alter table unit add column nick text";
    struct derived *derived = derive(in_scratch("messages"), other, MESSAGES);
    bisect(honest, derived, &result, &report);
    assert_false(result.equal);
    assert_true(result.messages);
    assert_int_equal(result.before, 17);
    assert_int_equal(result.after, 18);
    assert_says(&report, "the messages are others");
    assert_says(&report, "add column name text\"}");
    assert_says(&report, "add column nick text\"}");
    derived_close(derived);
    buf_deinit(&report);
}

/* A directory with the honest state after `count` messages, but for a row. */
static void tampered_make(const char *dir, uint64_t count, const struct derive_settings *how)
{
    struct sorex_error err = {0};
    struct results results;
    struct database *database = NULL;
    static struct receipt receipt;
    struct buf archive = {0};
    results_init(&results, 0);
    assert_ok(derived_at(honest, count, &database, &receipt, &err));
    assert_ok(
        database_exec(database, "update unit set hp = hp + 1 where id = (select max(id) from unit)", &results, &err));
    assert_null(results.error);
    assert_ok(archive_make(derived_derivation(honest), how, database, &receipt, &archive, &err));
    database_close(database);
    results_deinit(&results);
    assert_ok(derived_import(dir, buf_view(&archive), NULL, &err));
    buf_deinit(&archive);
}

/* After the last message: no trace knows of it, but the rows do. */
static void test_bisect_changed(void **state)
{
    (void)state;
    struct bisect_result result;
    struct buf report = {0};
    tampered_make(in_scratch("changed"), DERIVED_NEWEST, &settings);
    struct derived *derived = directory(in_scratch("changed"), &settings);
    bisect(honest, derived, &result, &report);
    assert_false(result.equal);
    assert_says(&report, "they agree, up to message 24\nthey did the same and have other rows");
    assert_says(&report, "rows that differ after message 24 (-: a, +: b)\npublic.unit\n  - (");
    derived_close(derived);
    buf_deinit(&report);
}

/* Somebody who has changed a row between two messages, and derived on from there. */
static void test_bisect_tampered(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct buf report = {0};
    struct derived_progress progress;
    struct bisect_result result;
    struct derive_settings dense = settings;
    dense.snapshot_messages = 7; /* the one after message 14 is of the state that was changed */
    tampered_make(in_scratch("tampered"), 10, &dense);
    struct derived *derived = directory(in_scratch("tampered"), &dense);
    assert_ok(run_log(derived, in_scratch("story.jsonl"), &progress, &err));
    assert_int_equal(progress.began, 10);
    bisect(honest, derived, &result, &report);
    assert_int_equal(result.before, 14); /* the first message that looks at the row */
    assert_int_equal(result.after, 15);
    assert_false(result.messages);
    assert_says(&report, "select count(*), sum(hp) from unit");
    assert_says(&report, "  a: ");
    assert_says(&report, "  b: ");
    assert_says(&report, "rows that differ after message 15 (-: a, +: b)\npublic.unit\n  - (40,");
    derived_close(derived);
    buf_deinit(&report);
}

/* Points eight messages apart, and two apart: a round more; and a digest on the way. */
static void test_long(void **state)
{
    (void)state;
    enum { LONG = 1030, SHORT = 421, OTHER = 413 };
    struct sorex_error err = {0};
    struct bisect_result result;
    struct buf report = {0};
    static char inserts[LONG][64];
    static const char *texts[LONG];
    static struct receipt_file file;
    for (int i = 0; i < LONG; i++) {
        (void)snprintf(inserts[i], sizeof inserts[i], "insert into note values (%d, 'x')", i);
        texts[i] = inserts[i];
    }
    struct derived *whole = derive(in_scratch("long"), texts, LONG);
    texts[OTHER - 1] = "insert into note values (412, 'y')";
    struct derived *other = derive(in_scratch("short"), texts, SHORT);
    assert_int_equal(derived_receipt(whole)->step, 8);
    assert_int_equal(derived_receipt(other)->step, 2);
    bisect(whole, other, &result, &report);
    assert_true(result.messages);
    assert_int_equal(result.before, OTHER - 1);
    assert_int_equal(result.after, OTHER);
    assert_says(&report, "they agree after message 408, and no more after message 416 (the messages are others)\n");
    assert_says(&report, "they agree after message 412, and no more after message 413");
    assert_says(&report, "public.note\n  - (412,x)\n  + (412,y)\n");
    prove(whole, 0, DERIVED_NEWEST, NULL, &file);
    assert_int_equal(file.receipt.digests_count, 1);
    file.receipt.digests[0].digest[9] ^= 1;
    const struct witness witness = {.derived = whole};
    assert_fails(verify_receipt(&witness, &file, NULL, NULL, &err), SOREX_MISMATCH,
                 "the database has other rows (the digest), after message 1024; up to message 1024 all is equal");
    receipt_file_deinit(&file);
    derived_close(other);
    derived_close(whole);
    buf_deinit(&report);
}

/* Another reducer: keys say nothing (and seed other random numbers), traces do. */
static void test_bisect_reducers(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct buf mine = wasm, other = {0}, report = {0};
    struct bisect_result result;
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/derive_sql_other.wasm", getenv("SOREX_GUESTS"));
    assert_ok(file_read(path, (size_t)1 << 20, &other, &err));
    const char *plain[16] = {"create table unit (id int primary key, hp int not null)"};
    char inserts[16][64];
    for (int i = 1; i < 16; i++) {
        (void)snprintf(inserts[i], sizeof inserts[i], "insert into unit values (%d, %d)", i, i * i);
        plain[i] = inserts[i];
    }
    struct derived *usual = derive(in_scratch("usual"), plain, 16);
    wasm = other;
    struct derived *derived = derive(in_scratch("reducers"), plain, 16);
    wasm = mine;
    bisect(usual, derived, &result, &report);
    assert_says(&report, "a: derived with \"reducer=");
    assert_int_equal(result.before, 12);
    assert_int_equal(result.after, 13);
    assert_says(&report, "update unit set hp = hp + 1 where id = 7");
    assert_says(&report, "  - (7,49)\n  + (7,50)\n");
    derived_close(derived);
    derived_close(usual);
    buf_deinit(&other);
    buf_deinit(&report);
}

/* Two receipts only: whoever derives the same stands in for the honest one, and the other one is asked for more. */
static void test_bisect_receipts(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    static struct receipt_file files[2];
    struct derivation *derivation = own_derivation();
    struct witness own = {.derivation = derivation, .log = in_scratch("story.jsonl")};
    struct bisect_result result;
    struct buf report = {0};
    prove(honest, 0, DERIVED_NEWEST, NULL, &files[0]);
    prove(honest, 0, DERIVED_NEWEST, NULL, &files[1]);
    for (uint32_t i = 19; i < files[1].receipt.points_count; i++)
        files[1].receipt.points[i].trace[0] ^= 1;
    files[1].receipt.trace[0] ^= 1;
    const struct bisect_party parties[2] = {{.name = "a", .file = &files[0]}, {.name = "b", .file = &files[1]}};
    assert_ok(bisect_run(parties, &own, &report, &result, &err));
    assert_ok(buf_append_u8(&report, '\0', &err));
    assert_int_equal(result.before, 19);
    assert_int_equal(result.after, 20);
    assert_says(&report, "b: what it did in between");
    assert_says(&report, "because deriving it here gives something else");
    assert_says(&report, "--from 19 --to 20");
    files[0].receipt.from = 1;
    assert_fails(bisect_run(parties, &own, &report, &result, &err), SOREX_INVALID, "begin at different messages");
    receipt_file_deinit(&files[0]);
    receipt_file_deinit(&files[1]);
    derivation_free(derivation);
    buf_deinit(&report);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_points),
        cmocka_unit_test(test_receipt_bytes),
        cmocka_unit_test(test_receipt_file),
        cmocka_unit_test(test_verify),
        cmocka_unit_test(test_bisect_equal),
        cmocka_unit_test(test_bisect_messages),
        cmocka_unit_test(test_bisect_tampered),
        cmocka_unit_test(test_bisect_reducers),
        cmocka_unit_test(test_bisect_receipts),
        cmocka_unit_test(test_bisect_changed),
        cmocka_unit_test(test_long),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
