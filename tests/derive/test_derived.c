/* Derived databases in directories: whatever way leads to a state, it is the one that a fold from the beginning gives.
 */
#include "derive/story.h"

#include "pg/place.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

static struct state states[MESSAGES + 1]; /* of the story, with images */
static struct derive_settings settings;
static struct database_program *program; /* held, so that it is loaded once */

static int setup(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    folder_make();
    fold_setup();
    assert_ok(place_program_take(NULL, true, &program, &err));
    settings = default_settings();
    settings.maintenance = 7;
    texts_write(in_scratch("story.jsonl"), story, MESSAGES);
    fold(in_scratch("story.jsonl"), &settings, true, states, 0, MESSAGES);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    place_program_give(program);
    buf_deinit(&wasm);
    folder_remove();
    return 0;
}

static void assert_derives(struct derived *derived, const char *log, uint64_t began)
{
    struct sorex_error err = {0};
    struct derived_progress progress;
    assert_ok(run_log(derived, log, &progress, &err));
    assert_int_equal(progress.began, began);
    assert_int_equal(progress.applied, progress.count - began);
}

/* Images are compared where it costs little, every seventh state: digests, keys and traces everywhere. */
static void assert_at(struct derived *derived, uint64_t at, const struct state *wanted)
{
    struct state now, want = *wanted;
    bool image = wanted->receipt.count % 7 == 3;
    derived_state(derived, at, image, &now);
    if (!image)
        memset(want.image, 0, SHA256_BYTES);
    assert_states(&now, &want);
}

static void assert_tip(struct derived *derived, size_t count) { assert_at(derived, DERIVED_NEWEST, &states[count]); }

/* ---- the same, in many ways ---- */

static void test_whole(void **state)
{
    (void)state;
    struct derived *derived = directory(in_scratch("whole"), &settings);
    assert_derives(derived, in_scratch("story.jsonl"), 0);
    assert_tip(derived, MESSAGES);
    assert_true(derived_receipt(derived)->rejected >= 3);
    assert_derives(derived, in_scratch("story.jsonl"), MESSAGES); /* nothing is left to do */
    derived_close(derived);
    derived = directory(in_scratch("whole"), &settings);
    assert_derives(derived, NULL, MESSAGES);
    assert_tip(derived, MESSAGES);
    derived_close(derived);
}

/* After every single message, the directory closed and opened now and then. */
static void test_one_by_one(void **state)
{
    (void)state;
    struct derived *derived = NULL;
    for (size_t i = 1; i <= MESSAGES; i++) {
        if (derived == NULL)
            derived = directory(in_scratch("single"), &settings);
        texts_write(in_scratch("grown.jsonl"), story, i);
        assert_derives(derived, in_scratch("grown.jsonl"), i - 1);
        assert_tip(derived, i);
        if (i % 5 == 0 || i == MESSAGES) {
            derived_close(derived);
            derived = NULL;
        }
    }
}

static void cut(const char *path, size_t by)
{
    struct buf text = read_file(path);
    text.len -= by;
    write_file(path, buf_view(&text));
    buf_deinit(&text);
}

static void extend(const char *path, const char *text)
{
    struct sorex_error err = {0};
    struct buf whole = read_file(path);
    assert_ok(buf_append_str(&whole, text, &err));
    write_file(path, buf_view(&whole));
    buf_deinit(&whole);
}

/* A log that begins as it did the last time is not read as messages again: nobody sees that. */
static void test_again(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct derived_progress progress;
    const char *log = in_scratch("again.jsonl");
    struct derived *derived = directory(in_scratch("again"), &settings);
    texts_write(log, story, 8);
    assert_derives(derived, log, 0);
    cut(derived_log(derived), 100); /* its own log, meanwhile */
    texts_write(log, story, 9);
    assert_derives(derived, log, 8);
    assert_tip(derived, 9);
    /* A last line that has no end, and then goes on. */
    texts_write(log, story, 10);
    cut(log, 1);
    assert_derives(derived, log, 9);
    extend(log, "{\"time\":1800000000000,\"payload\":\"select 1\"}\n");
    assert_fails(run_log(derived, log, &progress, &err), SOREX_INVALID, "again.jsonl: line 10");
    assert_tip(derived, 10);
    texts_write(log, story, 11);
    assert_derives(derived, log, 10);
    /* A bad line is told by its number, whatever was skipped. */
    extend(log, "{}\n");
    assert_fails(run_log(derived, log, &progress, &err), SOREX_INVALID, "again.jsonl: line 12");
    assert_fails(run_log(derived, log, &progress, &err), SOREX_INVALID, "again.jsonl: line 12");
    texts_write(log, story, 12);
    assert_derives(derived, log, 11);
    texts_write(log, story, 5); /* shorter */
    assert_derives(derived, log, 0);
    assert_tip(derived, 5);
    texts_write(log, story, 13);
    assert_derives(derived, log, 12); /* kept when it was left */
    assert_tip(derived, 13);
    derived_close(derived);
}

static void test_at(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct derive_settings dense = settings;
    struct database *database = NULL;
    struct derived *reader = NULL;
    struct derived_options options = {.dir = in_scratch("at"), .read_only = true};
    assert_fails(derived_open(&options, &reader, &err), SOREX_GONE, "nothing was derived");
    dense.snapshot_messages = 8;
    struct derived *derived = directory(options.dir, &dense);
    assert_derives(derived, in_scratch("story.jsonl"), 0);
    static const size_t places[] = {0, 3, 16, 19, MESSAGES}; /* before any snapshot, at one, behind one */
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
        assert_at(derived, places[i], &states[places[i]]);
    assert_fails(derived_at(derived, MESSAGES + 1, &database, NULL, &err), SOREX_GONE, "24 messages were derived");
    assert_tip(derived, MESSAGES);                    /* it was not touched */
    assert_ok(derived_open(&options, &reader, &err)); /* beside it */
    assert_tip(reader, MESSAGES);
    assert_at(reader, 11, &states[11]);
    derived_close(reader);
    derived_close(derived);
}

/* ---- branches ---- */

static void test_forks(void **state)
{
    (void)state;
    const char *other[MESSAGES];
    static struct state others[MESSAGES + 1];
    struct derive_settings dense = settings;
    dense.snapshot_messages = 12;
    memcpy(other, story, sizeof other);
    other[13] = "insert into note values (77, 'another way')";
    texts_write(in_scratch("other.jsonl"), other, MESSAGES);
    fold(in_scratch("other.jsonl"), &settings, true, others, MESSAGES, MESSAGES);
    struct derived *derived = directory(in_scratch("forks"), &dense);
    assert_derives(derived, in_scratch("story.jsonl"), 0);
    assert_derives(derived, in_scratch("other.jsonl"), 12); /* the snapshot before the 14th message */
    assert_at(derived, DERIVED_NEWEST, &others[MESSAGES]);
    assert_derives(derived, in_scratch("story.jsonl"), MESSAGES); /* both ends are kept */
    assert_tip(derived, MESSAGES);
    texts_write(in_scratch("short.jsonl"), story, 14);
    assert_derives(derived, in_scratch("short.jsonl"), 12);
    assert_tip(derived, 14);
    write_file(in_scratch("empty.jsonl"), bytes_str(""));
    assert_derives(derived, in_scratch("empty.jsonl"), 0);
    assert_tip(derived, 0);
    assert_derives(derived, in_scratch("other.jsonl"), MESSAGES);
    derived_close(derived);
}

/* ---- damage ---- */

static void flip(const char *path, off_t at)
{
    uint8_t byte;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    (void)close(fd);
}

static size_t damage_all(const char *dir)
{
    char path[PATH_MAX];
    size_t count = 0;
    DIR *list = opendir(dir);
    assert_non_null(list);
    for (const struct dirent *file; (file = readdir(list)) != NULL;)
        if (file->d_name[0] != '.') {
            (void)snprintf(path, sizeof path, "%s/%s", dir, file->d_name);
            flip(path, 5000 + (off_t)count * 1000);
            count++;
        }
    (void)closedir(list);
    return count;
}

static void test_damaged_snapshots(void **state)
{
    (void)state;
    struct derive_settings dense = settings;
    dense.snapshot_messages = 6;
    struct derived *derived = directory(in_scratch("damaged"), &dense);
    assert_derives(derived, in_scratch("story.jsonl"), 0);
    derived_close(derived);
    assert_int_equal(damage_all(in_scratch("damaged/snapshots")), 4);
    write_file(in_scratch("damaged/snapshots/ab.snapshot.tmp"), bytes_str("killed while it was written"));
    derived = directory(in_scratch("damaged"), &dense);
    texts_write(in_scratch("part.jsonl"), story, 20);
    assert_int_not_equal(access(in_scratch("damaged/snapshots/ab.snapshot.tmp"), F_OK), 0);
    assert_derives(derived, in_scratch("part.jsonl"), 0); /* the three before are useless, and removed */
    assert_tip(derived, 20);
    derived_close(derived);
}

static void test_damaged_log(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct derived_progress progress;
    flip(in_scratch("whole/messages.log"), 700);
    struct derived *derived = directory(in_scratch("whole"), &settings); /* of the first test */
    assert_fails(run_log(derived, NULL, &progress, &err), SOREX_CORRUPT, "give the log again");
    assert_derives(derived, in_scratch("story.jsonl"), MESSAGES); /* repaired, and nothing derived again */
    assert_derives(derived, NULL, MESSAGES);
    assert_tip(derived, MESSAGES);
    derived_close(derived);
}

/* A bad line ends it there; all before it counts. */
static void test_bad_log(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct derived_progress progress;
    struct buf text = read_file(in_scratch("story.jsonl"));
    size_t third = 0;
    for (int lines = 0; lines < 3; third++)
        lines += text.data[third] == '\n';
    text.data[third] = '?';
    write_file(in_scratch("bad.jsonl"), buf_view(&text));
    struct derived *derived = directory(in_scratch("bad"), &settings);
    assert_fails(run_log(derived, in_scratch("bad.jsonl"), &progress, &err), SOREX_INVALID, "bad.jsonl: line 4");
    assert_tip(derived, 3);
    assert_derives(derived, in_scratch("story.jsonl"), 3);
    /* Nobody knows what the bad log would be: what is there stays. */
    assert_fails(run_log(derived, in_scratch("bad.jsonl"), &progress, &err), SOREX_INVALID, "bad.jsonl: line 4");
    assert_int_equal(progress.began, MESSAGES);
    assert_int_equal(progress.count, MESSAGES);
    assert_tip(derived, MESSAGES);
    derived_close(derived);
    buf_deinit(&text);
}

/* ---- stops ---- */

static void test_halt(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct derived_progress progress;
    struct derive_settings halting = settings;
    static struct state strict[4];
    halting.on_error = 1;
    fold(in_scratch("story.jsonl"), &halting, true, strict, 3, 3);
    struct derived *derived = directory(in_scratch("halt"), &halting);
    for (int i = 0; i < 2; i++) {
        assert_fails(run_log(derived, in_scratch("story.jsonl"), &progress, &err), SOREX_GUEST, "message 4");
        assert_int_equal(progress.began, i == 0 ? 0 : 3);
        assert_at(derived, DERIVED_NEWEST, &strict[3]);
    }
    derived_close(derived);
}

static bool stop_at(void *user_data, const struct derived_progress *progress)
{
    return progress->count < *(const uint64_t *)user_data;
}

static void test_stopped(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct derived *derived = directory(in_scratch("stopped"), &settings);
    for (uint64_t at = 3; at < MESSAGES; at += 4) {
        struct derived_progress progress;
        struct messages *messages = NULL;
        assert_ok(messages_open(in_scratch("story.jsonl"), NULL, &messages, &err));
        struct derived_run_options options = {.log = messages, .progress = stop_at, .user_data = &at};
        assert_ok(derived_run(derived, &options, &progress, &err));
        messages_close(messages);
        assert_tip(derived, (size_t)at);
    }
    derived_close(derived);
}

static void test_other_settings(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct derived *derived = NULL;
    struct derive_settings other = settings;
    other.maintenance = 8;
    struct derived_options options = {.dir = in_scratch("whole"), .wasm = buf_view(&wasm), .settings = &other};
    assert_fails(derived_open(&options, &derived, &err), SOREX_MISMATCH,
                 "derived with \"maintenance=7\", not with \"maintenance=8\"");
    options.settings = NULL; /* its own */
    assert_ok(derived_open(&options, &derived, &err));
    derived_close(derived);
}

/* ---- a log that grows ---- */

#define PATIENCE_S 60

struct growth {
    const char *path;
    struct bytes text;
    uint64_t seen; /* messages that were derived */
    pthread_mutex_t lock;
    pthread_cond_t changed;
};

static bool follow_progress(void *user_data, const struct derived_progress *progress)
{
    struct growth *growth = user_data;
    (void)pthread_mutex_lock(&growth->lock);
    growth->seen = progress->count;
    (void)pthread_cond_signal(&growth->changed);
    (void)pthread_mutex_unlock(&growth->lock);
    return progress->count < MESSAGES || !progress->waiting;
}

/* Every message once the one before it was derived. */
static void *grow(void *user_data)
{
    struct growth *growth = user_data;
    size_t at = 0;
    for (uint64_t i = 0; i < MESSAGES; i++) {
        (void)pthread_mutex_lock(&growth->lock);
        struct timespec until;
        (void)clock_gettime(CLOCK_REALTIME, &until);
        until.tv_sec += PATIENCE_S;
        while (growth->seen < i && pthread_cond_timedwait(&growth->changed, &growth->lock, &until) == 0) {
        }
        (void)pthread_mutex_unlock(&growth->lock);
        size_t end = at;
        while (growth->text.data[end++] != '\n') {
        }
        int fd = open(growth->path, O_WRONLY | O_APPEND | O_CLOEXEC);
        (void)!write(fd, growth->text.data + at, end - at);
        (void)close(fd);
        at = end;
    }
    return NULL;
}

static void test_follow(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct messages *messages = NULL;
    struct derived_progress progress;
    pthread_t thread;
    struct buf text = read_file(in_scratch("story.jsonl"));
    struct growth growth = {.path = in_scratch("growing.jsonl"), .text = buf_view(&text)};
    (void)pthread_mutex_init(&growth.lock, NULL);
    (void)pthread_cond_init(&growth.changed, NULL);
    write_file(growth.path, bytes_str(""));
    struct derived *derived = directory(in_scratch("follow"), &settings);
    assert_ok(messages_open(growth.path, &(struct messages_options){.follow = true}, &messages, &err));
    assert_int_equal(pthread_create(&thread, NULL, grow, &growth), 0);
    struct derived_run_options options = {
        .log = messages, .follow = true, .progress = follow_progress, .user_data = &growth};
    assert_ok(derived_run(derived, &options, &progress, &err));
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(progress.applied, MESSAGES);
    assert_tip(derived, MESSAGES);
    messages_close(messages);
    derived_close(derived);
    derived = directory(in_scratch("follow"), &settings); /* all of it was saved */
    assert_derives(derived, NULL, MESSAGES);
    derived_close(derived);
    buf_deinit(&text);
}

/* ---- export, import ---- */

static void test_export(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct buf archive = {0};
    static struct receipt_file trusted;
    struct derived *derived = directory(in_scratch("whole"), &settings);
    assert_ok(derived_export(derived, &archive, &err));
    trusted.receipt = states[MESSAGES].receipt;
    trusted.has_digest = true;
    memcpy(trusted.digest, states[MESSAGES].digest, SHA256_BYTES);
    assert_ok(buf_append(&trusted.identity, derivation_identity(derived_derivation(derived)), &err));
    derived_close(derived);

    assert_ok(derived_import(in_scratch("into"), buf_view(&archive), &trusted, &err));
    assert_fails(derived_import(in_scratch("into"), buf_view(&archive), &trusted, &err), SOREX_INVALID, "already");
    derived = directory(in_scratch("into"), &settings);
    assert_tip(derived, MESSAGES);
    assert_derives(derived, in_scratch("story.jsonl"), MESSAGES);
    derived_close(derived);

    trusted.digest[3] ^= 1;
    assert_fails(derived_import(in_scratch("no"), buf_view(&archive), &trusted, &err), SOREX_MISMATCH, "digest");
    trusted.digest[3] ^= 1;
    trusted.receipt.trace[0] ^= 1;
    assert_fails(derived_import(in_scratch("no"), buf_view(&archive), &trusted, &err), SOREX_MISMATCH,
                 "something else");
    trusted.receipt.trace[0] ^= 1;
    trusted.receipt.key[0] ^= 1;
    assert_fails(derived_import(in_scratch("no"), buf_view(&archive), &trusted, &err), SOREX_MISMATCH,
                 "other messages");
    trusted.receipt.key[0] ^= 1;
    archive.data[archive.len / 2] ^= 1;
    assert_fails(derived_import(in_scratch("no"), buf_view(&archive), NULL, &err), SOREX_CORRUPT, "damaged");
    assert_false(derived_is(in_scratch("no")));
    buf_deinit(&archive);
    receipt_file_deinit(&trusted);
}

/* ---- any way at all ---- */

static uint64_t seed = 1;

static uint64_t dice(uint64_t sides)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % sides;
}

/* The story up to anywhere, or its other branch; closed and opened, stopped, snapshots lost or damaged. SOREX_ROUNDS
 * rounds. */
static void test_random_ways(void **state)
{
    (void)state;
    const char *rounds_text = getenv("SOREX_ROUNDS");
    uint64_t rounds = rounds_text != NULL ? strtoull(rounds_text, NULL, 10) : 4;
    const char *other[MESSAGES];
    static struct state others[MESSAGES + 1];
    struct sorex_error err = {0};
    struct derive_settings dense = settings;
    struct derived *derived = NULL;
    memcpy(other, story, sizeof other);
    other[6] = "update unit set hp = 1000 where luck > 0.9";
    texts_write(in_scratch("branch.jsonl"), other, MESSAGES);
    memcpy(others, states, sizeof states);
    fold(in_scratch("branch.jsonl"), &settings, true, others, 7, MESSAGES);
    dense.cache_bytes = (uint64_t)24 << 20; /* a few snapshots fit */
    for (uint64_t i = 0; i < rounds; i++) {
        dense.snapshot_messages = dice(3) == 0 ? 0 : 3 + dice(9);
        dense.checkpoint_messages = 1 + dice(12);
        if (derived == NULL)
            derived = directory(in_scratch("random"), &dense);
        bool branch = dice(2) == 0;
        size_t count = (size_t)dice(MESSAGES + 1);
        uint64_t stop = dice(3) == 0 ? dice(MESSAGES) : UINT64_MAX;
        struct messages *messages = NULL;
        struct derived_progress progress;
        texts_write(in_scratch("ways.jsonl"), branch ? other : story, count);
        assert_ok(messages_open(in_scratch("ways.jsonl"), NULL, &messages, &err));
        struct derived_run_options options = {.log = messages, .progress = stop_at, .user_data = &stop};
        assert_ok(derived_run(derived, &options, &progress, &err));
        messages_close(messages);
        assert_at(derived, DERIVED_NEWEST, branch ? &others[progress.count] : &states[progress.count]);
        if (dice(3) == 0) {
            derived_close(derived);
            derived = NULL;
            if (dice(4) == 0 && access(in_scratch("random/snapshots"), F_OK) == 0)
                (void)damage_all(in_scratch("random/snapshots"));
        }
    }
    derived_close(derived);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whole),          cmocka_unit_test(test_one_by_one),
        cmocka_unit_test(test_again),          cmocka_unit_test(test_at),
        cmocka_unit_test(test_forks),          cmocka_unit_test(test_damaged_snapshots),
        cmocka_unit_test(test_damaged_log),    cmocka_unit_test(test_bad_log),
        cmocka_unit_test(test_halt),           cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_other_settings), cmocka_unit_test(test_follow),
        cmocka_unit_test(test_export),         cmocka_unit_test(test_random_ways),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
