/* The file sink: what is in the files, torn tails, refusals, and a SIGKILL at every system call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "sink/file.h"
#include "sink/killed.h"

#define BATCHES 4
#define LINES 3

static struct sorex_error err;
static char directory[64];
static char path[128];
static char cursor_path[160];

static int entry_remove(const char *name, const struct stat *info, int kind, struct FTW *place)
{
    (void)info;
    (void)kind;
    (void)place;
    return remove(name);
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(directory, sizeof directory, "/tmp/sorex-file-XXXXXX");
    assert_non_null(mkdtemp(directory));
    (void)snprintf(path, sizeof path, "%s/new/out.jsonl", directory);
    (void)snprintf(cursor_path, sizeof cursor_path, "%s.cursor", path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return nftw(directory, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static struct sink *sink_make(bool append, bool sync)
{
    struct file_settings settings = {.path = path, .append = append, .fsync = sync};
    struct sink_context context = {.name = "file", .pipeline = "test", .base_dir = "."};
    struct sink *sink = NULL;
    assert_int_equal(sink_file.open(&settings, &context, &sink, &err), SOREX_OK);
    return sink;
}

static size_t line_text(uint64_t sequence, size_t line, char out[64])
{
    return (size_t)snprintf(out, 64, "{\"sequence\":%u,\"line\":%zu}", (unsigned)sequence, line);
}

/* Batch n has LINES changes of sequence n. */
static enum sorex_status batch_apply(struct sink *sink, uint64_t sequence)
{
    static char texts[LINES][64];
    struct sink_change changes[LINES];
    memset(changes, 0, sizeof changes);
    for (size_t i = 0; i < LINES; i++)
        changes[i].change.raw = bytes_of(texts[i], line_text(sequence, i, texts[i]));
    struct sink_batch batch = {.changes = changes, .count = LINES, .cursor = {.store_id = {42}, .sequence = sequence}};
    batch.cursor.hash[0] = (uint8_t)sequence;
    return sink_file.apply(sink, &batch, &err);
}

static void content(const char *name, struct buf *out)
{
    buf_reset(out);
    assert_int_equal(file_read(name, 1 << 20, out, &err), SOREX_OK);
}

static void expect_lines(uint64_t sequence, const char *front)
{
    struct buf wanted = {0};
    struct buf found = {0};
    assert_int_equal(buf_append_str(&wanted, front, &err), SOREX_OK);
    for (uint64_t s = 1; s <= sequence; s++)
        for (size_t i = 0; i < LINES; i++) {
            char text[64];
            assert_int_equal(buf_append(&wanted, bytes_of(text, line_text(s, i, text)), &err), SOREX_OK);
            assert_int_equal(buf_append_u8(&wanted, '\n', &err), SOREX_OK);
        }
    content(path, &found);
    assert_int_equal(found.len, wanted.len);
    if (wanted.len > 0)
        assert_memory_equal(found.data, wanted.data, wanted.len);
    buf_deinit(&wanted);
    buf_deinit(&found);
}

static void text_write(const char *name, const char *text, int flags)
{
    int fd = open(name, O_WRONLY | O_CREAT | flags, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static void lines_and_cursor(void **state)
{
    (void)state;
    struct sink *sink = sink_make(true, true);
    struct sink_cursor cursor;
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_GONE);
    assert_int_equal(batch_apply(sink, 1), SOREX_OK);
    assert_int_equal(batch_apply(sink, 2), SOREX_OK);
    sink_file.close(sink);
    expect_lines(2, "");
    struct buf text = {0};
    content(cursor_path, &text);
    assert_int_equal(buf_append_u8(&text, 0, &err), SOREX_OK);
    assert_string_equal(
        text.data, "{\"format\":1,\"pipeline\":\"test\",\"store\":\"2a000000000000000000000000000000\",\"sequence\":2,"
                   "\"entry\":\"0000000000000000000000000000000000000000000000000000000000000002\",\"offset\":144,"
                   "\"check\":\"b1552b83d4dc364d\"}\n");
    buf_deinit(&text);
    sink = sink_make(true, true);
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_OK);
    assert_int_equal(cursor.sequence, 2);
    assert_int_equal(cursor.store_id[0], 42);
    assert_int_equal(cursor.hash[0], 2);
    sink_file.close(sink);
}

static void a_line_break_between_tokens_becomes_a_space(void **state)
{
    (void)state;
    struct sink *sink = sink_make(true, false);
    struct sink_cursor cursor;
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_GONE);
    struct sink_change change = {.change.raw = bytes_str("{\n  \"a\":\r\n1}")};
    struct sink_batch batch = {.changes = &change, .count = 1, .cursor = {.sequence = 1}};
    assert_int_equal(sink_file.apply(sink, &batch, &err), SOREX_OK);
    sink_file.close(sink);
    struct buf text = {0};
    content(path, &text);
    assert_true(bytes_is(buf_view(&text), "{   \"a\":  1}\n"));
    buf_deinit(&text);
}

static void a_torn_tail_is_cut_off(void **state)
{
    (void)state;
    struct sink_cursor cursor;
    static const char *const tails[] = {"{", "{\"sequence\":2,\"li", "{\"sequence\":2,\"line\":0}\n{\"seq", "\n\n\n"};
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        struct sink *sink = sink_make(true, true);
        enum sorex_status status = sink_file.cursor(sink, &cursor, &err);
        assert_int_equal(status, i == 0 ? SOREX_GONE : SOREX_OK);
        if (i == 0)
            assert_int_equal(batch_apply(sink, 1), SOREX_OK);
        sink_file.close(sink);
        expect_lines(1, "");
        text_write(path, tails[i], O_APPEND);
    }
    struct sink *sink = sink_make(true, true);
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_OK);
    assert_int_equal(batch_apply(sink, 2), SOREX_OK);
    sink_file.close(sink);
    expect_lines(2, "");
}

static void a_shorter_file_is_refused(void **state)
{
    (void)state;
    struct sink *sink = sink_make(true, true);
    struct sink_cursor cursor;
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_GONE);
    assert_int_equal(batch_apply(sink, 1), SOREX_OK);
    sink_file.close(sink);
    assert_int_equal(truncate(path, 10), 0);
    sink = sink_make(true, true);
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_CORRUPT);
    assert_non_null(strstr(err.text, "10 bytes, its cursor says 72"));
    sink_file.close(sink);
    assert_int_equal(unlink(path), 0);
    sink = sink_make(true, true);
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_CORRUPT);
    sink_file.close(sink);
}

static void append_and_not(void **state)
{
    (void)state;
    struct sink_cursor cursor;
    assert_int_equal(mkdir(directory, 0755), -1);
    char folder[96];
    (void)snprintf(folder, sizeof folder, "%s/new", directory);
    assert_int_equal(mkdir(folder, 0755), 0);
    text_write(path, "mine\n", 0);
    struct sink *sink = sink_make(true, true);
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_GONE);
    assert_int_equal(batch_apply(sink, 1), SOREX_OK);
    sink_file.close(sink);
    expect_lines(1, "mine\n");
    /* With a cursor, append: false empties nothing. */
    sink = sink_make(false, true);
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_OK);
    sink_file.close(sink);
    expect_lines(1, "mine\n");
    assert_int_equal(unlink(cursor_path), 0);
    sink = sink_make(false, true);
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_GONE);
    assert_int_equal(batch_apply(sink, 1), SOREX_OK);
    sink_file.close(sink);
    expect_lines(1, "");
    assert_int_equal(unlink(cursor_path), 0);
    text_write(path, "half", O_TRUNC);
    sink = sink_make(true, true);
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_INVALID);
    assert_non_null(strstr(err.text, "append: false"));
    sink_file.close(sink);
}

static void damaged_cursors_are_refused(void **state)
{
    (void)state;
    struct sink *sink = sink_make(true, true);
    struct sink_cursor cursor;
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_GONE);
    sink_file.close(sink);
    static const char short_ids[] = "{\"format\":1,\"pipeline\":\"test\",\"store\":\"2a\",\"sequence\":1,"
                                    "\"entry\":\"00\",\"offset\":0}";
    static const char *const texts[] = {"", "{}", "[]", "{\"format\":1}", short_ids};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        text_write(cursor_path, texts[i], O_TRUNC);
        sink = sink_make(true, true);
        assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_CORRUPT);
        sink_file.close(sink);
    }
    static const char changed[] =
        "{\"format\":1,\"pipeline\":\"test\",\"store\":\"2a000000000000000000000000000000\",\"sequence\":2,"
        "\"entry\":\"0000000000000000000000000000000000000000000000000000000000000002\","
        "\"offset\":134,\"check\":\"b1552b83d4dc364d\"}\n";
    text_write(cursor_path, changed, O_TRUNC); /* 144 was written */
    sink = sink_make(true, true);
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_CORRUPT);
    sink_file.close(sink);
    text_write(cursor_path, "{\"format\":2}", O_TRUNC);
    sink = sink_make(true, true);
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_MISMATCH);
    sink_file.close(sink);
}

static void a_second_writer_waits(void **state)
{
    (void)state;
    struct sink *first = sink_make(true, true);
    struct sink *second = sink_make(true, true);
    struct sink_cursor cursor;
    assert_int_equal(sink_file.cursor(first, &cursor, &err), SOREX_GONE);
    assert_int_equal(sink_file.cursor(second, &cursor, &err), SOREX_AGAIN);
    sink_file.close(first);
    assert_int_equal(sink_file.cursor(second, &cursor, &err), SOREX_GONE);
    sink_file.close(second);
}

/* No more room: nothing of the batch stays, and the next try succeeds when there is room again. */
static void a_failed_write_leaves_nothing(void **state)
{
    (void)state;
    struct sink *sink = sink_make(true, true);
    struct sink_cursor cursor;
    struct rlimit before;
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_GONE);
    assert_int_equal(batch_apply(sink, 1), SOREX_OK);
    (void)signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &before), 0);
    struct rlimit small = {.rlim_cur = 100, .rlim_max = before.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    enum sorex_status status = batch_apply(sink, 2);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_int_equal(status, SOREX_IO);
    expect_lines(1, "");
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_OK);
    assert_int_equal(cursor.sequence, 1);
    assert_int_equal(batch_apply(sink, 2), SOREX_OK);
    sink_file.close(sink);
    expect_lines(2, "");
}

/* Goes on from wherever the files stand up to BATCHES batches. */
static int work(void *user_data)
{
    bool sync = *(const bool *)user_data;
    struct sink *sink = sink_make(true, sync);
    struct sink_cursor cursor = {0};
    enum sorex_status status = sink_file.cursor(sink, &cursor, &err);
    if (status != SOREX_OK && status != SOREX_GONE)
        return 1;
    for (uint64_t s = (status == SOREX_GONE ? 0 : cursor.sequence) + 1; s <= BATCHES; s++)
        if (batch_apply(sink, s) != SOREX_OK)
            return 1;
    sink_file.close(sink);
    return 0;
}

static void every_system_call(bool sync)
{
    unsigned kills = 0;
    for (unsigned n = 1;; n++) {
        (void)unlink(path);
        (void)unlink(cursor_path);
        enum killed first = killed_at(n, work, &sync);
        if (first == KILLED_UNTRACEABLE) {
            print_message("skipped: ptrace is not allowed here\n");
            skip();
        }
        if (first == KILLED_NOT)
            break;
        /* And once more in the middle of the recovery, at a place that varies. */
        (void)killed_at(1 + n % 17, work, &sync);
        assert_int_equal(work(&sync), 0);
        expect_lines(BATCHES, "");
        kills++;
    }
    /* A batch is at least a write, a sync, and a cursor of five calls; each stops twice. */
    assert_true(kills > BATCHES * 10);
}

static void killed_at_every_system_call(void **state)
{
    (void)state;
    every_system_call(true);
}

static void killed_at_every_system_call_unsynced(void **state)
{
    (void)state;
    every_system_call(false);
}

int main(void)
{
#define FILED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FILED(lines_and_cursor),
        FILED(a_line_break_between_tokens_becomes_a_space),
        FILED(a_torn_tail_is_cut_off),
        FILED(a_shorter_file_is_refused),
        FILED(append_and_not),
        FILED(damaged_cursors_are_refused),
        FILED(a_second_writer_waits),
        FILED(a_failed_write_leaves_nothing),
        FILED(killed_at_every_system_call),
        FILED(killed_at_every_system_call_unsynced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
