/* Logs of messages: lines and frames, what they must not hold, growing ones, and hashes that are the same for both. */
#include "derive/derive.h"

#include <fcntl.h>
#include <pthread.h>
#include <unistd.h>

#include "base/codec.h"

#define PATIENCE_MS 30000

static int setup(void **state)
{
    (void)state;
    folder_make();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    folder_remove();
    return 0;
}

/* ---- one line ---- */

/* Parses the line; returns its canonical bytes. */
static enum sorex_status parse(const char *line, struct buf *out, struct sorex_error *err)
{
    struct json_parser *parser = NULL;
    assert_int_equal(json_parser_new(&parser, err), SOREX_OK);
    enum sorex_status status = message_parse(parser, bytes_str(line), out, err);
    json_parser_free(parser);
    return status;
}

static void assert_line(const char *line, int64_t time_ms, const char *author, struct bytes payload)
{
    struct sorex_error err = {0};
    struct buf canonical = {0};
    struct message message;
    assert_ok(parse(line, &canonical, &err));
    assert_ok(message_decode(buf_view(&canonical), &message, &err));
    assert_int_equal(message.time_ms, time_ms);
    assert_true(bytes_is(message.author, author));
    assert_true(bytes_equal(message.payload, payload));
    buf_deinit(&canonical);
}

static void assert_bad(const char *line, const char *words)
{
    struct sorex_error err = {0};
    struct buf canonical = {0};
    assert_fails(parse(line, &canonical, &err), SOREX_INVALID, words);
    buf_deinit(&canonical);
}

static void test_payloads(void **state)
{
    (void)state;
    assert_line("{\"time\":5,\"author\":\"ann\",\"payload\":\"hi\"}", 5, "ann", bytes_str("hi"));
    assert_line("{\"payload\":{\"b\":1, \"a\":[1.50,null]},\"time\":5}", 5, "",
                bytes_str("{\"a\":[1.50,null],\"b\":1}"));
    assert_line("{\"time\":5,\"payload\":\"{\\\"a\\\":1}\"}", 5, "", bytes_str("{\"a\":1}"));
    assert_line("{\"time\":5,\"payload\":null}", 5, "", bytes_str("null"));
    assert_line("{\"time\":5,\"payload\":\"\"}", 5, "", bytes_str(""));
    assert_line("{\"time\":5,\"payload_hex\":\"00fF7a\"}", 5, "", bytes_of("\0\xffz", 3));
    assert_line("{\"time\":5,\"payload_base64\":\"AP96\"}", 5, "", bytes_of("\0\xffz", 3));
    assert_line("{\"time\":5,\"payload_base64\":\"AP8=\"}", 5, "", bytes_of("\0\xff", 2));
    assert_line("{\"time\":5,\"payload_base64\":\"AA==\"}", 5, "", bytes_of("\0", 1));
    assert_line("{\"time\":5,\"payload_base64\":\"\"}", 5, "", bytes_str(""));
}

static void test_times(void **state)
{
    (void)state;
    const struct {
        const char *text;
        int64_t time_ms;
    } good[] = {{"\"1970-01-01T00:00:00Z\"", 0},
                {"\"2023-11-14T22:13:20.5Z\"", 1700000000500},
                {"\"2023-11-14T22:13:20.123Z\"", 1700000000123},
                {"\"2023-11-15T00:13:20+02:00\"", 1700000000000},
                {"\"2023-11-14 17:13:20-05:00\"", 1700000000000},
                {"\"2024-02-29T00:00:00Z\"", 1709164800000},
                {"\"2000-02-29t00:00:00z\"", 951782400000},
                {"\"2261-12-31T23:59:59.999Z\"", 9214646399999},
                {"9214646399999", 9214646399999}};
    const char *const bad[] = {"\"\"",
                               "\"2023-11-14\"",
                               "\"2023-02-29T00:00:00Z\"",
                               "\"1900-02-29T00:00:00Z\"",
                               "\"2023-13-01T00:00:00Z\"",
                               "\"2023-00-01T00:00:00Z\"",
                               "\"2023-01-00T00:00:00Z\"",
                               "\"2023-01-01T24:00:00Z\"",
                               "\"2023-01-01T00:60:00Z\"",
                               "\"2023-01-01T00:00:60Z\"",
                               "\"2023-01-01T00:00:00\"",
                               "\"2023-01-01T00:00:00.Z\"",
                               "\"2023-01-01T00:00:00.1234Z\"",
                               "\"2023-01-01T00:00:00+24:00\"",
                               "\"2023-01-01T00:00:00Z \"",
                               "\"12\"",
                               "1.5",
                               "1e3",
                               "true",
                               "null",
                               "99999999999999999999"};
    char line[128];
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        (void)snprintf(line, sizeof line, "{\"time\":%s,\"payload\":\"\"}", good[i].text);
        assert_line(line, good[i].time_ms, "", bytes_str(""));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(line, sizeof line, "{\"time\":%s,\"payload\":\"\"}", bad[i]);
        assert_bad(line, "time");
    }
    assert_bad("{\"time\":-1,\"payload\":\"\"}", "years 1970 to 2261");
    assert_bad("{\"time\":9214646400000,\"payload\":\"\"}", "years 1970 to 2261");
}

static void test_bad_lines(void **state)
{
    (void)state;
    assert_bad("[]", "JSON object");
    assert_bad("{\"time\":5}", "no \"payload\"");
    assert_bad("{\"payload\":5}", "no \"time\"");
    assert_bad("{\"time\":5,\"payload\":1,\"payload_hex\":\"\"}", "more than one payload");
    assert_bad("{\"time\":5,\"payload\":1,\"type\":1}", "no member \"type\"");
    assert_bad("{\"time\":5,\"author\":7,\"payload\":1}", "author");
    assert_bad("{\"time\":5,\"payload_hex\":\"0\"}", "hexadecimal");
    assert_bad("{\"time\":5,\"payload_hex\":7}", "text");
    assert_bad("{\"time\":5,\"payload_base64\":\"A\"}", "base64");
    assert_bad("{\"time\":5,\"payload_base64\":\"A===\"}", "base64");
    assert_bad("{\"time\":5,\"payload_base64\":\"AB==\"}", "left over");
    assert_bad("{\"time\":5,\"payload_base64\":\"A=AA\"}", "base64");
    assert_bad("{\"time\":5,\"payload_base64\":\"A-_A\"}", "base64");
    assert_bad("{\"time\":5,\"time\":6,\"payload\":1}", "time");
    assert_bad("{\"time\":5,\"payload\":1", "");
    assert_bad("{\"time\":5,\"payload\":1} x", "");
}

static void test_limits(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct buf out = {0};
    char *text = calloc(1, MESSAGE_PAYLOAD_BYTES_MAX + 1);
    assert_non_null(text);
    memset(text, 'a', MESSAGE_PAYLOAD_BYTES_MAX);
    struct message message = {.time_ms = 1,
                              .author = bytes_of(text, MESSAGE_AUTHOR_BYTES_MAX),
                              .payload = bytes_of(text, MESSAGE_PAYLOAD_BYTES_MAX)};
    assert_ok(message_encode(&message, &out, &err));
    message.author.len++;
    assert_fails(message_encode(&message, &out, &err), SOREX_LIMIT, "author");
    message.author.len = 0;
    message.payload.len++;
    assert_fails(message_encode(&message, &out, &err), SOREX_LIMIT, "payload");
    message.payload.len = 0;
    message.author = bytes_of("\xff", 1);
    assert_fails(message_encode(&message, &out, &err), SOREX_INVALID, "UTF-8");
    message.author = bytes_of("a\0b", 3);
    assert_fails(message_encode(&message, &out, &err), SOREX_INVALID, "zero byte");
    assert_fails(message_decode(bytes_of("\0\0\0\0\0\0\0\0\5\0\0\0abcd", 16), &message, &err), SOREX_INVALID,
                 "cut short");
    buf_deinit(&out);
    free(text);
}

/* The format's own words, spelled out: docs/formats/derivation.md. */
static void test_hashes(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct buf canonical = {0}, by_hand = {0};
    struct log_end end;
    struct logged logged;
    uint8_t hash[SHA256_BYTES], chain[2 * SHA256_BYTES], log[SHA256_BYTES];
    assert_ok(parse("{\"time\":258,\"author\":\"ann\",\"payload\":\"hi\"}", &canonical, &err));
    assert_true(bytes_equal(buf_view(&canonical), bytes_of("\2\1\0\0\0\0\0\0\3\0\0\0annhi", 17)));
    assert_ok(buf_append_str(&by_hand, "sorex message 1\n", &err));
    assert_ok(buf_append(&by_hand, buf_view(&canonical), &err));
    sha256_once(buf_view(&by_hand), hash);
    log_end_init(&end);
    sha256_once(bytes_str("sorex log 1\n"), log);
    assert_memory_equal(end.log, log, sizeof log);
    assert_ok(log_end_add(&end, buf_view(&canonical), &logged, &err));
    assert_memory_equal(logged.hash, hash, sizeof hash);
    memcpy(chain, log, SHA256_BYTES);
    memcpy(chain + SHA256_BYTES, hash, SHA256_BYTES);
    sha256_once(bytes_of(chain, sizeof chain), log);
    assert_memory_equal(end.log, log, sizeof log);
    assert_int_equal(end.count, 1);
    buf_deinit(&canonical);
    buf_deinit(&by_hand);
}

/* ---- logs ---- */

/* Reads to the end. */
static enum sorex_status read_log(const char *path, bool torn_end, struct log_end *out, struct sorex_error *err)
{
    struct messages *messages = NULL;
    struct messages_options options = {.torn_end = torn_end};
    struct logged logged;
    enum messages_state state = MESSAGES_ONE;
    enum sorex_status status = messages_open(path, &options, &messages, err);
    assert_int_equal(status, SOREX_OK);
    while (status == SOREX_OK && state == MESSAGES_ONE)
        status = messages_next(messages, 0, &state, &logged, err);
    *out = *messages_end(messages);
    messages_close(messages);
    return status;
}

/* The log at `from` as frames. */
static struct buf frames_of(const char *from)
{
    struct sorex_error err = {0};
    struct messages *messages = NULL;
    struct messages_writer writer = {0};
    struct logged logged;
    enum messages_state state;
    const char *path = in_scratch("frames.tmp");
    assert_ok(messages_open(from, NULL, &messages, &err));
    assert_ok(messages_writer_open(&writer, path, 0, &err));
    for (;;) {
        assert_ok(messages_next(messages, 0, &state, &logged, &err));
        if (state != MESSAGES_ONE)
            break;
        assert_ok(messages_writer_add(&writer, &logged, &err));
    }
    assert_ok(messages_writer_sync(&writer, &err));
    messages_writer_close(&writer);
    messages_close(messages);
    return read_file(path);
}

#define MESSAGES 50

/* MESSAGES lines; every fifth has bytes that are no text. */
static const char *lines_make(const char *name)
{
    struct sorex_error err = {0};
    struct buf text = {0};
    const char *path = in_scratch(name);
    for (int i = 0; i < MESSAGES; i++)
        assert_ok(i % 5 == 4 ? buf_printf(&text, &err, "{\"time\":%d,\"payload_hex\":\"ff%02x\"}\n", i / 3, i)
                             : buf_printf(&text, &err, "{\"time\":%d,\"author\":\"a%d\",\"payload\":{\"n\":%d}}\n%s",
                                          i / 3, i % 4, i, i % 7 == 0 ? " \t\r\n" : ""));
    write_file(path, buf_view(&text));
    buf_deinit(&text);
    return path;
}

static void test_lines_and_frames(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct log_end of_lines, of_frames;
    const char *lines = lines_make("a.jsonl"), *path = in_scratch("a.log");
    struct buf frames = frames_of(lines);
    write_file(path, buf_view(&frames));
    assert_ok(read_log(lines, false, &of_lines, &err));
    assert_ok(read_log(path, false, &of_frames, &err));
    assert_int_equal(of_lines.count, MESSAGES);
    assert_int_equal(of_frames.count, MESSAGES);
    assert_memory_equal(of_lines.log, of_frames.log, SHA256_BYTES);
    buf_deinit(&frames);
}

/* Lines -> frames -> lines: every hash is kept, whatever bytes a payload has. */
static void test_written_lines(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct json_parser *parser = NULL;
    assert_ok(json_parser_new(&parser, &err));
    const struct bytes payloads[] = {bytes_str("{\"a\":1}"),  bytes_str("{ \"a\":1}"), bytes_str("{\"b\":1,\"a\":1}"),
                                     bytes_str("\"text\""),   bytes_str("text"),       bytes_str(""),
                                     bytes_str("12"),         bytes_str("null"),       bytes_str("nul"),
                                     bytes_of("\0\1\n", 3),   bytes_of("\xff", 1),     bytes_str("\xc3\xa4\"\\"),
                                     bytes_str("[[1],[2.0]]")};
    for (size_t i = 0; i < sizeof payloads / sizeof payloads[0]; i++) {
        struct buf line = {0}, canonical = {0}, again = {0};
        struct json_writer w;
        struct message message = {.time_ms = (int64_t)i, .author = bytes_str("\xc3\xa4"), .payload = payloads[i]};
        assert_ok(message_encode(&message, &canonical, &err));
        json_writer_init(&w, &line, false, &err);
        assert_ok(message_write(parser, &message, &w));
        assert_ok(json_writer_finish(&w));
        assert_ok(message_parse(parser, buf_view(&line), &again, &err));
        assert_true(bytes_equal(buf_view(&canonical), buf_view(&again)));
        buf_deinit(&line);
        buf_deinit(&canonical);
        buf_deinit(&again);
    }
    json_parser_free(parser);
}

/* Every byte of a log of frames, changed, and every place where it may be cut. */
static void test_damaged_frames(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct log_end end;
    const char *path = in_scratch("d.log");
    struct buf frames = frames_of(lines_make("d.jsonl"));
    for (size_t i = 0; i < frames.len; i++) {
        frames.data[i] ^= (uint8_t)(1u << (i % 8));
        write_file(path, buf_view(&frames));
        enum sorex_status status = read_log(path, false, &end, &err);
        if (status != SOREX_CORRUPT && !(i == 0 && status == SOREX_INVALID))
            fail_msg("byte %zu: %s: %s", i, sorex_status_name(status), err.text);
        if (i >= MESSAGES_MAGIC_BYTES) { /* as our own log, it ends before what is wrong */
            assert_ok(read_log(path, true, &end, &err));
            assert_true(end.count < MESSAGES);
        }
        frames.data[i] ^= (uint8_t)(1u << (i % 8));
    }
    size_t whole = 0;
    for (size_t i = 1; i < frames.len; i++) {
        write_file(path, bytes_of(frames.data, i));
        if (read_log(path, false, &end, &err) == SOREX_OK)
            whole++;
        else
            assert_int_equal(err.status, SOREX_CORRUPT);
        assert_ok(read_log(path, true, &end, &err));
    }
    assert_int_equal(whole, MESSAGES); /* behind the magic, and behind every message but the last */
    buf_deinit(&frames);
}

/* Frames that are whole, but not where they were. */
static void test_moved_frames(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct log_end end;
    const char *path = in_scratch("m.log");
    struct buf frames = frames_of(lines_make("m.jsonl")), moved = {0};
    struct bytes at[MESSAGES];
    size_t offset = MESSAGES_MAGIC_BYTES;
    for (size_t i = 0; i < MESSAGES; i++) {
        at[i] = bytes_of(frames.data + offset, 12 + u32le_get(frames.data + offset));
        offset += at[i].len;
    }
    const int orders[][4] = {{0, 1, 3, 2}, {0, 2, 3, 4}, {0, 1, 1, 2}, {1, 2, 3, 4}};
    const char *const words[] = {"message 3: the check", "message 2: the check", "message 3: the check",
                                 "message 1: the check"};
    for (size_t k = 0; k < 4; k++) {
        buf_reset(&moved);
        assert_ok(buf_append_str(&moved, MESSAGES_MAGIC, &err));
        for (size_t i = 0; i < 4; i++)
            assert_ok(buf_append(&moved, at[orders[k][i]], &err));
        write_file(path, buf_view(&moved));
        assert_fails(read_log(path, false, &end, &err), SOREX_CORRUPT, words[k]);
    }
    buf_deinit(&moved);
    buf_deinit(&frames);
}

static void test_line_errors(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct log_end end;
    const char *path = in_scratch("e.jsonl");
    write_file(path, bytes_str("{\"time\":2,\"payload\":1}\n\n{\"time\":1,\"payload\":1}\n"));
    assert_fails(read_log(path, false, &end, &err), SOREX_INVALID, "e.jsonl: line 3: its time, 1, is before");
    assert_int_equal(end.count, 1);
    write_file(path, bytes_str("{\"time\":2,\"payload\":1}\n{\"time\":3,\"payl"));
    assert_fails(read_log(path, false, &end, &err), SOREX_INVALID, "line 2");
    write_file(path, bytes_str("{\"time\":2,\"payload\":1}\n{\"time\":3,\"payload\":\"\xff\"}\n"));
    assert_fails(read_log(path, false, &end, &err), SOREX_INVALID, "line 2");
    write_file(path, bytes_str("{\"time\":2,\"payload\":1}\n{\"time\":3,\"payload\":2}")); /* no line's end */
    assert_ok(read_log(path, false, &end, &err));
    assert_int_equal(end.count, 2);
    write_file(path, bytes_str(""));
    assert_ok(read_log(path, false, &end, &err));
    assert_int_equal(end.count, 0);
    write_file(path, bytes_str("SORRY"));
    assert_fails(read_log(path, false, &end, &err), SOREX_CORRUPT, "neither");
}

/* A message of 50 MB is refused by name, in both forms. */
static void test_large(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct log_end end;
    struct buf text = {0};
    size_t large = (size_t)50 << 20;
    const char *path = in_scratch("large");
    assert_ok(buf_append_str(&text, "{\"time\":1,\"payload\":1}\n{\"time\":2,\"payload\":\"", &err));
    size_t head = text.len;
    assert_ok(buf_reserve(&text, large, &err));
    memset(text.data + head, 'x', large);
    text.len += large;
    assert_ok(buf_append_str(&text, "\"}\n", &err));
    write_file(path, buf_view(&text));
    assert_fails(read_log(path, false, &end, &err), SOREX_LIMIT, "line 2: longer than");
    buf_reset(&text);
    assert_ok(buf_append_str(&text, MESSAGES_MAGIC, &err));
    assert_ok(buf_append_u32le(&text, (uint32_t)large, &err));
    text.len += large;
    write_file(path, buf_view(&text));
    assert_fails(read_log(path, false, &end, &err), SOREX_CORRUPT, "message 1: longer than");
    buf_deinit(&text);
}

/* The largest message goes through frames. */
static void test_largest(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct log_end end, read;
    struct messages_writer writer = {0};
    struct buf payload = {0}, canonical = {0};
    struct logged logged;
    const char *path = in_scratch("largest.log");
    assert_ok(buf_reserve(&payload, MESSAGE_PAYLOAD_BYTES_MAX, &err));
    memset(payload.data, 0, MESSAGE_PAYLOAD_BYTES_MAX);
    struct message message = {.payload = bytes_of(payload.data, MESSAGE_PAYLOAD_BYTES_MAX)};
    log_end_init(&end);
    assert_ok(message_encode(&message, &canonical, &err));
    assert_ok(messages_writer_open(&writer, path, 0, &err));
    for (int i = 0; i < 3; i++) {
        assert_ok(log_end_add(&end, buf_view(&canonical), &logged, &err));
        assert_ok(messages_writer_add(&writer, &logged, &err));
    }
    assert_ok(messages_writer_sync(&writer, &err));
    messages_writer_close(&writer);
    assert_ok(read_log(path, false, &read, &err));
    assert_memory_equal(&read, &end, sizeof end);
    buf_deinit(&payload);
    buf_deinit(&canonical);
}

/* ---- growing logs ---- */

struct grower {
    const char *path;
    struct bytes content;
    size_t had;
};

static void append(const char *path, struct bytes bytes)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes.data, bytes.len), (ssize_t)bytes.len);
    (void)close(fd);
}

/* One byte after the other, so that every message is cut at every place. */
static void *grow(void *user_data)
{
    const struct grower *grower = user_data;
    for (size_t i = grower->had; i < grower->content.len; i++)
        append(grower->path, bytes_of(grower->content.data + i, 1));
    return NULL;
}

static void follow(struct bytes content)
{
    struct sorex_error err = {0};
    struct messages *messages = NULL;
    struct logged logged;
    struct log_end whole;
    enum messages_state state;
    pthread_t thread;
    struct grower grower = {.path = in_scratch("grows"), .content = content, .had = 3};
    write_file(grower.path, content);
    assert_ok(read_log(grower.path, false, &whole, &err));
    write_file(grower.path, bytes_of(content.data, grower.had));
    assert_ok(messages_open(grower.path, &(struct messages_options){.follow = true}, &messages, &err));
    assert_ok(messages_next(messages, 0, &state, &logged, &err));
    assert_int_equal(state, MESSAGES_NONE);
    assert_int_equal(pthread_create(&thread, NULL, grow, &grower), 0);
    for (int i = 0; i < MESSAGES; i++) {
        assert_ok(messages_next(messages, PATIENCE_MS, &state, &logged, &err));
        assert_int_equal(state, MESSAGES_ONE);
        assert_int_equal(logged.index, i);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_memory_equal(messages_end(messages), &whole, sizeof whole);
    messages_interrupt(messages);
    assert_fails(messages_next(messages, PATIENCE_MS, &state, &logged, &err), SOREX_STOPPED, "interrupted");
    messages_close(messages);
}

static void test_follow(void **state)
{
    (void)state;
    struct buf lines = read_file(lines_make("f.jsonl"));
    follow(buf_view(&lines));
    struct buf frames = frames_of(in_scratch("f.jsonl"));
    follow(buf_view(&frames));
    buf_deinit(&lines);
    buf_deinit(&frames);
}

static void test_replaced_while_followed(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct messages *messages = NULL;
    struct logged logged;
    enum messages_state next;
    const char *path = in_scratch("r.jsonl");
    write_file(path, bytes_str("{\"time\":1,\"payload\":1}\n"));
    assert_ok(messages_open(path, &(struct messages_options){.follow = true}, &messages, &err));
    assert_ok(messages_next(messages, 0, &next, &logged, &err));
    assert_ok(messages_next(messages, 0, &next, &logged, &err));
    assert_int_equal(next, MESSAGES_NONE);
    write_file(path, bytes_str("{\"time\":7,\"payload\":1}\n"));
    assert_fails(messages_next(messages, PATIENCE_MS, &next, &logged, &err), SOREX_MISMATCH, "r.jsonl");
    messages_close(messages);
}

/* Going on in the middle gives what reading from the beginning gives. */
static void test_seek(void **state)
{
    (void)state;
    struct sorex_error err = {0};
    struct messages *all = NULL, *rest = NULL;
    struct logged one, other;
    enum messages_state next;
    const char *path = in_scratch("s.log");
    struct buf frames = frames_of(lines_make("s.jsonl"));
    write_file(path, buf_view(&frames));
    assert_ok(messages_open(path, NULL, &all, &err));
    for (int i = 0; i < MESSAGES; i++) {
        assert_ok(messages_open(path, NULL, &rest, &err));
        assert_ok(messages_seek(rest, i == 0 ? MESSAGES_MAGIC_BYTES : messages_offset(all), messages_end(all), &err));
        assert_ok(messages_next(all, 0, &next, &one, &err));
        assert_ok(messages_next(rest, 0, &next, &other, &err));
        assert_int_equal(next, MESSAGES_ONE);
        assert_memory_equal(one.log, other.log, SHA256_BYTES);
        assert_int_equal(one.index, other.index);
        messages_close(rest);
    }
    messages_close(all);
    buf_deinit(&frames);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_payloads),      cmocka_unit_test(test_times),
        cmocka_unit_test(test_bad_lines),     cmocka_unit_test(test_limits),
        cmocka_unit_test(test_hashes),        cmocka_unit_test(test_lines_and_frames),
        cmocka_unit_test(test_written_lines), cmocka_unit_test(test_damaged_frames),
        cmocka_unit_test(test_moved_frames),  cmocka_unit_test(test_line_errors),
        cmocka_unit_test(test_large),         cmocka_unit_test(test_largest),
        cmocka_unit_test(test_follow),        cmocka_unit_test(test_replaced_while_followed),
        cmocka_unit_test(test_seek),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
