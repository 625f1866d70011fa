/* The file sink of a stream: positions of several partitions and dead letters, cut back together; refusals; a SIGKILL
 * at every system call. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include <fcntl.h>
#include <ftw.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "sink/file.h"
#include "sink/killed.h"

#define BATCHES 4

static struct sorex_error err;
static char directory[64], path[128], cursor_path[160], dead_path[160];

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
    (void)snprintf(path, sizeof path, "%s/out.jsonl", directory);
    (void)snprintf(cursor_path, sizeof cursor_path, "%s.cursor", path);
    (void)snprintf(dead_path, sizeof dead_path, "%s/dead/letters.jsonl", directory);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return nftw(directory, entry_remove, 16, FTW_DEPTH | FTW_PHYS);
}

static enum sorex_status sink_try(bool stream, char *dead, struct sink **out)
{
    struct file_settings settings = {.path = path, .append = true, .fsync = false, .dead_letters = dead};
    struct sink_context context = {.name = "file", .pipeline = "test", .base_dir = ".", .stream = stream};
    return sink_file.open(&settings, &context, out, &err);
}

static struct sink *sink_make(char *dead)
{
    struct sink *sink = NULL;
    assert_int_equal(sink_try(true, dead, &sink), SOREX_OK);
    return sink;
}

static enum sorex_status position(struct sink *sink, const char *partition, struct position *out)
{
    return sink_file.position(sink, partition, NULL, out, &err);
}

/* Number n of partition p: one line, and every second one a dead letter, too. */
static enum sorex_status batch_apply(struct sink *sink, const char *partition, uint64_t n)
{
    char text[64], event[64];
    (void)snprintf(text, sizeof text, "{\"p\":\"%s\",\"n\":%" PRIu64 "}", partition, n);
    (void)snprintf(event, sizeof event, "bad \"%" PRIu64 "\"", n);
    struct sink_change change = {.change.raw = bytes_str(text), .sequence = n, .height = UINT32_MAX};
    struct sink_position moved = {.partition = partition,
                                  .first = n == 1,
                                  .from = {.offset = (n - 1) * 10, .number = n - 1, .check = (n - 1) << 60},
                                  .to = {.offset = n * 10, .number = n, .check = n << 60}};
    struct sink_dead dead = {.partition = partition, .number = n, .event = bytes_str(event), .error = "no event"};
    struct sink_batch batch = {.changes = &change,
                               .count = 1,
                               .positions = &moved,
                               .position_count = 1,
                               .dead = &dead,
                               .dead_count = n % 2 == 0};
    return sink_file.apply(sink, &batch, &err);
}

static void expect_content(const char *name, const char *wanted)
{
    struct buf text = {0};
    assert_int_equal(file_read(name, 1 << 20, &text, &err), SOREX_OK);
    assert_int_equal(buf_append_u8(&text, 0, &err), SOREX_OK);
    assert_string_equal(text.data, wanted);
    buf_deinit(&text);
}

static void text_write(const char *name, const char *text, int flags)
{
    int fd = open(name, O_WRONLY | O_CREAT | flags, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static void lines_dead_letters_and_positions(void **state)
{
    (void)state;
    struct position at;
    struct sink *sink = sink_make(dead_path);
    assert_int_equal(position(sink, "t/0", &at), SOREX_GONE);
    assert_int_equal(position(sink, "t/1", &at), SOREX_GONE);
    assert_int_equal(batch_apply(sink, "t/0", 1), SOREX_OK);
    assert_int_equal(batch_apply(sink, "t/1", 1), SOREX_OK);
    assert_int_equal(batch_apply(sink, "t/0", 2), SOREX_OK);
    sink_file.close(sink);
    expect_content(path, "{\"p\":\"t/0\",\"n\":1}\n{\"p\":\"t/1\",\"n\":1}\n{\"p\":\"t/0\",\"n\":2}\n");
    expect_content(dead_path,
                   "{\"partition\":\"t/0\",\"number\":2,\"error\":\"no event\",\"event\":\"bad \\\"2\\\"\"}\n");
    expect_content(cursor_path, "{\"format\":2,\"pipeline\":\"test\",\"positions\":["
                                "{\"partition\":\"t/0\",\"offset\":20,\"number\":2,\"hash\":\"2000000000000000\"},"
                                "{\"partition\":\"t/1\",\"offset\":10,\"number\":1,\"hash\":\"1000000000000000\"}],"
                                "\"offset\":54,\"dead\":{\"file\":\"dead/letters.jsonl\",\"offset\":70},"
                                "\"check\":\"6c38deca319ad0fa\"}\n");
    sink = sink_make(dead_path);
    assert_int_equal(position(sink, "t/1", &at), SOREX_OK);
    assert_true(at.offset == 10 && at.number == 1 && at.check == (uint64_t)1 << 60);
    assert_int_equal(position(sink, "t/0", &at), SOREX_OK);
    assert_true(at.offset == 20 && at.number == 2 && at.check == (uint64_t)2 << 60);
    sink_file.close(sink);
}

/* What no JSON string can hold goes as hex; a tombstone is null, in both files. */
static void bytes_and_tombstones(void **state)
{
    (void)state;
    struct position at;
    struct sink *sink = sink_make(dead_path);
    assert_int_equal(position(sink, "-", &at), SOREX_GONE);
    struct sink_change change = {.sequence = 1};
    struct sink_position moved = {.partition = "-", .first = true, .to = {.offset = 3}};
    struct sink_dead dead[] = {
        {.partition = "-", .number = 1, .event = bytes_of("\xff\x01", 2), .key = bytes_str("k"), .error = "bytes"},
        {.partition = "-", .number = 2, .key = bytes_of("\xc3\x28", 2), .error = "a tombstone"},
        {.partition = "-", .number = 3, .event = bytes_str(""), .error = "empty"}};
    struct sink_batch batch = {
        .changes = &change, .count = 1, .positions = &moved, .position_count = 1, .dead = dead, .dead_count = 3};
    assert_int_equal(sink_file.apply(sink, &batch, &err), SOREX_OK);
    sink_file.close(sink);
    expect_content(path, "null\n");
    expect_content(dead_path,
                   "{\"partition\":\"-\",\"number\":1,\"error\":\"bytes\",\"event_hex\":\"ff01\",\"key\":\"k\"}\n"
                   "{\"partition\":\"-\",\"number\":2,\"error\":\"a tombstone\",\"event\":null,\"key_hex\":\"c328\"}\n"
                   "{\"partition\":\"-\",\"number\":3,\"error\":\"empty\",\"event\":\"\"}\n");
}

static void torn_tails_are_cut_off_both(void **state)
{
    (void)state;
    struct position at;
    struct sink *sink = sink_make(dead_path);
    assert_int_equal(position(sink, "a", &at), SOREX_GONE);
    assert_int_equal(batch_apply(sink, "a", 1), SOREX_OK);
    assert_int_equal(batch_apply(sink, "a", 2), SOREX_OK);
    sink_file.close(sink);
    text_write(path, "{\"p\":\"a\",\"n\":3}\n{\"p\"", O_APPEND);
    text_write(dead_path, "{\"partition\"", O_APPEND);
    sink = sink_make(dead_path);
    assert_int_equal(position(sink, "a", &at), SOREX_OK);
    assert_int_equal(at.number, 2);
    assert_int_equal(batch_apply(sink, "a", 3), SOREX_OK);
    assert_int_equal(batch_apply(sink, "a", 4), SOREX_OK);
    sink_file.close(sink);
    expect_content(path,
                   "{\"p\":\"a\",\"n\":1}\n{\"p\":\"a\",\"n\":2}\n{\"p\":\"a\",\"n\":3}\n{\"p\":\"a\",\"n\":4}\n");
    expect_content(dead_path,
                   "{\"partition\":\"a\",\"number\":2,\"error\":\"no event\",\"event\":\"bad \\\"2\\\"\"}\n"
                   "{\"partition\":\"a\",\"number\":4,\"error\":\"no event\",\"event\":\"bad \\\"4\\\"\"}\n");
    assert_int_equal(truncate(dead_path, 5), 0);
    sink = sink_make(dead_path);
    assert_int_equal(position(sink, "a", &at), SOREX_CORRUPT);
    assert_non_null(strstr(err.text, "letters.jsonl has 5 bytes"));
    sink_file.close(sink);
}

/* A batch that does not begin where the file stands changes nothing. */
static void positions_are_compared(void **state)
{
    (void)state;
    struct position at;
    struct sink *sink = sink_make(NULL);
    assert_int_equal(batch_apply(sink, "a", 1), SOREX_AGAIN); /* nobody asked yet */
    assert_int_equal(position(sink, "a", &at), SOREX_GONE);
    assert_int_equal(batch_apply(sink, "a", 2), SOREX_AGAIN); /* as if it stood at 1 */
    assert_int_equal(batch_apply(sink, "a", 1), SOREX_OK);
    assert_int_equal(batch_apply(sink, "a", 1), SOREX_AGAIN); /* as if it were new */
    assert_int_equal(batch_apply(sink, "a", 3), SOREX_AGAIN);
    assert_int_equal(position(sink, "a", &at), SOREX_OK);
    assert_int_equal(at.number, 1);
    assert_int_equal(batch_apply(sink, "a", 2), SOREX_OK);
    sink_file.close(sink);
    expect_content(path, "{\"p\":\"a\",\"n\":1}\n{\"p\":\"a\",\"n\":2}\n");
}

/* The files of dead letters may be named, renamed and left out; none of them is ever cut by what is known of another
 * one. */
static void dead_letters_go_elsewhere(void **state)
{
    (void)state;
    struct position at;
    char other[160];
    (void)snprintf(other, sizeof other, "%s/other.jsonl", directory);
    text_write(other, "mine\n", 0);
    struct sink *sink = sink_make(dead_path);
    assert_int_equal(position(sink, "a", &at), SOREX_GONE);
    assert_int_equal(batch_apply(sink, "a", 1), SOREX_OK);
    assert_int_equal(batch_apply(sink, "a", 2), SOREX_OK);
    sink_file.close(sink);
    sink = sink_make(other);
    assert_int_equal(position(sink, "a", &at), SOREX_OK);
    assert_int_equal(batch_apply(sink, "a", 3), SOREX_OK);
    assert_int_equal(batch_apply(sink, "a", 4), SOREX_OK);
    sink_file.close(sink);
    sink = sink_make(NULL);
    assert_int_equal(position(sink, "a", &at), SOREX_OK);
    assert_int_equal(batch_apply(sink, "a", 5), SOREX_OK);
    assert_int_equal(batch_apply(sink, "a", 6), SOREX_OK);
    sink_file.close(sink);
    sink = sink_make(other);
    assert_int_equal(position(sink, "a", &at), SOREX_OK);
    assert_int_equal(at.number, 6);
    sink_file.close(sink);
    expect_content(dead_path,
                   "{\"partition\":\"a\",\"number\":2,\"error\":\"no event\",\"event\":\"bad \\\"2\\\"\"}\n");
    expect_content(other,
                   "mine\n{\"partition\":\"a\",\"number\":4,\"error\":\"no event\",\"event\":\"bad \\\"4\\\"\"}\n");
    sink = NULL;
    assert_int_equal(sink_try(true, path, &sink), SOREX_INVALID);
    assert_int_equal(sink_try(true, cursor_path, &sink), SOREX_INVALID);
}

/* Whoever looked after the letters moves the file away: no reason to stop. */
static void dead_letters_are_taken_away(void **state)
{
    (void)state;
    struct position at;
    struct sink *sink = sink_make(dead_path);
    assert_int_equal(position(sink, "a", &at), SOREX_GONE);
    assert_int_equal(batch_apply(sink, "a", 1), SOREX_OK);
    assert_int_equal(batch_apply(sink, "a", 2), SOREX_OK);
    sink_file.close(sink);
    assert_int_equal(unlink(dead_path), 0);
    for (uint64_t n = 3; n <= 6; n++) {
        sink = sink_make(dead_path);
        assert_int_equal(position(sink, "a", &at), SOREX_OK);
        assert_int_equal(at.number, n - 1);
        assert_int_equal(batch_apply(sink, "a", n), SOREX_OK);
        sink_file.close(sink);
    }
    expect_content(dead_path,
                   "{\"partition\":\"a\",\"number\":4,\"error\":\"no event\",\"event\":\"bad \\\"4\\\"\"}\n"
                   "{\"partition\":\"a\",\"number\":6,\"error\":\"no event\",\"event\":\"bad \\\"6\\\"\"}\n");
}

static void chains_and_streams_refuse_each_other(void **state)
{
    (void)state;
    struct position at;
    struct sink_cursor cursor;
    struct sink *sink = sink_make(NULL);
    assert_int_equal(position(sink, "a", &at), SOREX_GONE);
    sink_file.close(sink);
    assert_int_equal(sink_try(false, NULL, &sink), SOREX_OK);
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_MISMATCH);
    assert_non_null(strstr(err.text, "a pipeline that follows a stream, this one follows a chain"));
    sink_file.close(sink);
    assert_int_equal(unlink(cursor_path), 0);
    assert_int_equal(sink_try(false, NULL, &sink), SOREX_OK);
    assert_int_equal(sink_file.cursor(sink, &cursor, &err), SOREX_GONE);
    sink_file.close(sink);
    sink = sink_make(NULL);
    assert_int_equal(position(sink, "a", &at), SOREX_MISMATCH);
    assert_non_null(strstr(err.text, "a pipeline that follows a chain, this one follows a stream"));
    sink_file.close(sink);
    assert_int_equal(sink_try(false, dead_path, &sink), SOREX_INVALID);
    assert_non_null(strstr(err.text, "dead_letters"));
}

static void damaged_cursors_are_refused(void **state)
{
    (void)state;
    struct position at;
    struct buf text = {0};
    struct sink *sink = sink_make(dead_path);
    assert_int_equal(position(sink, "a", &at), SOREX_GONE);
    assert_int_equal(batch_apply(sink, "a", 1), SOREX_OK);
    sink_file.close(sink);
    assert_int_equal(file_read(cursor_path, 1 << 20, &text, &err), SOREX_OK);
    for (size_t i = 0; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            continue;
        text.data[i] ^= 1;
        int fd = open(cursor_path, O_WRONLY | O_TRUNC);
        assert_int_equal(write(fd, text.data, text.len), (ssize_t)text.len);
        assert_int_equal(close(fd), 0);
        text.data[i] ^= 1;
        sink = sink_make(dead_path);
        enum sorex_status status = position(sink, "a", &at);
        if (status != SOREX_CORRUPT && status != SOREX_MISMATCH)
            fail_msg("a changed digit at %zu: status %d", i, (int)status);
        sink_file.close(sink);
    }
    buf_deinit(&text);
}

static void names_must_be_text(void **state)
{
    (void)state;
    struct position at;
    struct sink *sink = sink_make(NULL);
    assert_int_equal(position(sink, "a\xff", &at), SOREX_INVALID);
    assert_int_equal(position(sink, "quoted \",\"check\":\"0", &at), SOREX_GONE);
    assert_int_equal(batch_apply(sink, "quoted \",\"check\":\"0", 1), SOREX_OK);
    sink_file.close(sink);
    sink = sink_make(NULL);
    assert_int_equal(position(sink, "quoted \",\"check\":\"0", &at), SOREX_OK);
    assert_int_equal(at.number, 1);
    sink_file.close(sink);
}

/* Goes on from wherever the files stand up to BATCHES of each partition. */
static int work(void *user_data)
{
    (void)user_data;
    static const char *const partitions[] = {"a", "b"};
    struct sink *sink = sink_make(dead_path);
    for (uint64_t n = 1; n <= BATCHES; n++)
        for (size_t p = 0; p < 2; p++) {
            struct position at = {0};
            enum sorex_status status = position(sink, partitions[p], &at);
            if (status != SOREX_OK && status != SOREX_GONE)
                return 1;
            if (at.number < n && batch_apply(sink, partitions[p], n) != SOREX_OK)
                return 1;
        }
    sink_file.close(sink);
    return 0;
}

static void killed_at_every_system_call(void **state)
{
    (void)state;
    unsigned kills = 0;
    for (unsigned n = 1;; n++) {
        (void)unlink(path);
        (void)unlink(cursor_path);
        (void)unlink(dead_path);
        enum killed first = killed_at(n, work, NULL);
        if (first == KILLED_UNTRACEABLE) {
            print_message("skipped: ptrace is not allowed here\n");
            skip();
        }
        if (first == KILLED_NOT)
            break;
        /* And once more in the middle of the recovery, at a place that varies. */
        (void)killed_at(1 + n % 17, work, NULL);
        assert_int_equal(work(NULL), 0);
        expect_content(path,
                       "{\"p\":\"a\",\"n\":1}\n{\"p\":\"b\",\"n\":1}\n{\"p\":\"a\",\"n\":2}\n{\"p\":\"b\",\"n\":2}\n"
                       "{\"p\":\"a\",\"n\":3}\n{\"p\":\"b\",\"n\":3}\n{\"p\":\"a\",\"n\":4}\n{\"p\":\"b\",\"n\":4}\n");
        expect_content(dead_path,
                       "{\"partition\":\"a\",\"number\":2,\"error\":\"no event\",\"event\":\"bad \\\"2\\\"\"}\n"
                       "{\"partition\":\"b\",\"number\":2,\"error\":\"no event\",\"event\":\"bad \\\"2\\\"\"}\n"
                       "{\"partition\":\"a\",\"number\":4,\"error\":\"no event\",\"event\":\"bad \\\"4\\\"\"}\n"
                       "{\"partition\":\"b\",\"number\":4,\"error\":\"no event\",\"event\":\"bad \\\"4\\\"\"}\n");
        kills++;
    }
    assert_true(kills > (unsigned)BATCHES * 2 * 8);
}

int main(void)
{
#define FILED(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        FILED(lines_dead_letters_and_positions),
        FILED(bytes_and_tombstones),
        FILED(torn_tails_are_cut_off_both),
        FILED(positions_are_compared),
        FILED(dead_letters_go_elsewhere),
        FILED(dead_letters_are_taken_away),
        FILED(chains_and_streams_refuse_each_other),
        FILED(damaged_cursors_are_refused),
        FILED(names_must_be_text),
        FILED(killed_at_every_system_call),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
