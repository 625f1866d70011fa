/* Source `lines`: files that are whole, grow, are cut or replaced; streams that are kept until they are delivered. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/file.h"
#include "base/limits.h"
#include "integration/process.h"
#include "source/events.h"

#define PATIENCE_MS 30000

/* The type's own settings, filled as the option table says. */
union settings {
    max_align_t align;
    uint8_t bytes[256];
};

struct opened {
    struct event_source *source;
    union settings settings;
    const char *name; /* of its partition */
};

static char scratch[PATH_MAX];
static char path[PATH_MAX + 16];

static const struct event_limits many = {.records = 1000000, .bytes = (size_t)64 << 20};
static const struct event_limits patient = {.records = 1000000, .bytes = (size_t)64 << 20, .wait_ms = PATIENCE_MS};

static enum sorex_status open_path(struct opened *out, const char *file, const char *follow, bool until_end,
                                   struct sorex_error *err)
{
    const struct event_source_type *type = event_source_type_find("lines");
    const struct event_source_context context = {.pipeline = "test", .until_end = until_end};
    *out = (struct opened){0};
    assert_non_null(type);
    assert_true(type->settings_size <= sizeof out->settings);
    assert_int_equal(options_read(type->options, NULL, "", NULL, &out->settings, err),
                     SOREX_INVALID); /* path is missing */
    assert_int_equal(
        option_set(option_find(type->options, "path"), bytes_str(file), "path", "/elsewhere", &out->settings, err),
        SOREX_OK);
    assert_int_equal(
        option_set(option_find(type->options, "follow"), bytes_str(follow), "follow", NULL, &out->settings, err),
        SOREX_OK);
    enum sorex_status status = type->open(&out->settings, &context, &out->source, err);
    options_free(type->options, &out->settings);
    return status;
}

static void must(enum sorex_status status, const struct sorex_error *err)
{
    if (status != SOREX_OK)
        fail_msg("%s: %s", sorex_status_name(status), err->text);
}

static void seek(struct opened *opened, const struct position *position)
{
    struct sorex_error err = {0};
    must(opened->source->type->seek(opened->source, opened->name, position, &err), &err);
}

/* Opened, asked where to go on, not told yet. */
static void open_unplaced(struct opened *out, const char *file, const char *follow, bool until_end)
{
    struct sorex_error err = {0};
    struct event_batch batch;
    must(open_path(out, file, follow, until_end, &err), &err);
    for (int again = 0; again < 2; again++) {
        must(out->source->type->poll(out->source, &many, &batch, &err), &err);
        assert_true(batch.assigned);
        assert_int_equal(batch.count, 0);
        assert_int_equal(batch.partition_count, 1);
        assert_false(batch.partitions[0].placed);
    }
    out->name = batch.partitions[0].name;
}

static void open_at(struct opened *out, const char *file, const char *follow, const struct position *position)
{
    open_unplaced(out, file, follow, false);
    seek(out, position);
}

static void shut(struct opened *opened) { opened->source->type->close(opened->source); }

static void poll_limits(struct opened *opened, const struct event_limits *limits, struct event_batch *out)
{
    struct sorex_error err = {0};
    must(opened->source->type->poll(opened->source, limits, out, &err), &err);
    assert_false(out->assigned);
    assert_true(out->partitions[0].placed);
}

static void refused(enum sorex_status status, enum sorex_status expected, const struct sorex_error *err,
                    const char *text)
{
    assert_int_equal(status, expected);
    if (strstr(err->text, text) == NULL)
        fail_msg("\"%s\" does not say \"%s\"", err->text, text);
}

static void seek_refused(struct opened *opened, const struct position *position, enum sorex_status status,
                         const char *text)
{
    struct sorex_error err = {0};
    refused(opened->source->type->seek(opened->source, opened->name, position, &err), status, &err, text);
}

static void poll_refused(struct opened *opened, const struct event_limits *limits, enum sorex_status status,
                         const char *text)
{
    struct sorex_error err = {0};
    struct event_batch batch;
    refused(opened->source->type->poll(opened->source, limits, &batch, &err), status, &err, text);
}

static void file_write(const char *file, int flags, struct bytes bytes)
{
    int fd = open(file, O_WRONLY | O_CLOEXEC | flags, 0600);
    assert_true(fd >= 0);
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.data, bytes.len);
        assert_true(n > 0);
        bytes = bytes_of(bytes.data + n, bytes.len - (size_t)n);
    }
    assert_int_equal(close(fd), 0);
}

static void file_make(const char *text) { file_write(path, O_CREAT | O_TRUNC, bytes_str(text)); }
static void file_append(const char *text) { file_write(path, O_APPEND, bytes_str(text)); }

/* "1:a 3:b " : number and text of each record. */
static void assert_records(const struct event_batch *batch, const char *expected)
{
    char text[4096] = "";
    size_t used = 0;
    for (size_t i = 0; i < batch->count && used < sizeof text; i++)
        used += (size_t)snprintf(text + used, sizeof text - used, "%llu:%.*s ",
                                 (unsigned long long)batch->records[i].number, BYTES_FMT(batch->records[i].text));
    assert_string_equal(text, expected);
}

/* ---- files ---- */

static void lines_of_a_file(void **state)
{
    struct opened opened;
    struct event_batch batch;
    (void)state;
    file_make("{\"a\":1}\n\n \t\r\n{\"b\":2}\r\nnull\nlast");
    open_at(&opened, path, "false", NULL);
    assert_string_equal(opened.name, "events.jsonl");
    poll_limits(&opened, &many, &batch);
    assert_records(&batch, "1:{\"a\":1} 4:{\"b\":2}\r 5:null 6:last ");
    assert_true(batch.ended && batch.caught_up);
    assert_int_equal(batch.partitions[0].end, 31);
    assert_int_equal(batch.records[0].next.offset, 8);
    assert_int_equal(batch.records[0].next.number, 1);
    assert_int_equal(batch.records[1].next.offset, 22);
    assert_int_equal(batch.records[3].next.offset, 31);
    assert_int_equal(batch.records[3].next.number, 6);
    assert_null(batch.records[0].key.data);
    poll_limits(&opened, &many, &batch);
    assert_true(batch.count == 0 && batch.ended);
    shut(&opened);
}

static void an_empty_file_ends_at_once(void **state)
{
    struct opened opened;
    struct event_batch batch;
    (void)state;
    file_make("");
    open_at(&opened, path, "false", NULL);
    poll_limits(&opened, &patient, &batch);
    assert_true(batch.count == 0 && batch.ended && batch.caught_up);
    shut(&opened);
}

static void batches_keep_their_limits(void **state)
{
    struct opened opened;
    struct event_batch batch;
    (void)state;
    file_make("aa\nbb\ncc\n\ndddddd\nee\n");
    open_at(&opened, path, "false", NULL);
    poll_limits(&opened, &(struct event_limits){.records = 2, .bytes = 100}, &batch);
    assert_records(&batch, "1:aa 2:bb ");
    assert_false(batch.ended || batch.caught_up);
    poll_limits(&opened, &(struct event_limits){.records = 9, .bytes = 3}, &batch);
    assert_records(&batch, "3:cc "); /* two of them are more than 3 bytes */
    poll_limits(&opened, &(struct event_limits){.records = 9, .bytes = 3}, &batch);
    assert_records(&batch, "5:dddddd "); /* one record always fits */
    poll_limits(&opened, &(struct event_limits){.records = 9, .bytes = 3}, &batch);
    assert_records(&batch, "6:ee ");
    assert_true(batch.ended);
    shut(&opened);
}

static void what_cannot_be_opened(void **state)
{
    struct opened opened;
    struct sorex_error err = {0};
    char missing[PATH_MAX + 32];
    (void)state;
    (void)snprintf(missing, sizeof missing, "%s/missing", scratch);
    refused(open_path(&opened, missing, "false", false, &err), SOREX_IO, &err, "No such file");
    refused(open_path(&opened, scratch, "false", false, &err), SOREX_INVALID, &err, "is a directory");
    refused(open_path(&opened, "-", "true", false, &err), SOREX_INVALID, &err, "`follow` is for files");
}

static void a_line_that_is_too_long(void **state)
{
    struct opened opened;
    struct event_batch batch;
    struct buf text = {0};
    (void)state;
    for (int ended = 0; ended < 2; ended++) {
        buf_reset(&text);
        assert_int_equal(buf_append_str(&text, "first\n", NULL), SOREX_OK);
        assert_int_equal(buf_reserve(&text, SOREX_CHANGE_BYTES_MAX + 1, NULL), SOREX_OK);
        memset(text.data + text.len, 'x', SOREX_CHANGE_BYTES_MAX + 1);
        text.len += SOREX_CHANGE_BYTES_MAX; /* the longest that there can be */
        assert_int_equal(buf_append_str(&text, "\n", NULL), SOREX_OK);
        file_write(path, O_CREAT | O_TRUNC, buf_view(&text));
        open_at(&opened, path, "false", NULL);
        poll_limits(&opened, &many, &batch);
        assert_int_equal(batch.count, 2);
        assert_int_equal(batch.records[1].text.len, SOREX_CHANGE_BYTES_MAX);
        shut(&opened);
        text.data[text.len - 1] = 'x';
        assert_int_equal(buf_append_str(&text, ended != 0 ? "\nnext\n" : "", NULL), SOREX_OK);
        file_write(path, O_CREAT | O_TRUNC, buf_view(&text));
        open_at(&opened, path, "false", NULL);
        poll_limits(&opened, &many, &batch);
        assert_records(&batch, "1:first ");
        for (int again = 0; again < 2; again++)
            poll_refused(&opened, &many, SOREX_LIMIT, "line 2: longer than 16777216 bytes");
        shut(&opened);
    }
    buf_deinit(&text);
}

/* ---- a file that grows ---- */

static void followed(void **state)
{
    struct opened opened;
    struct event_batch batch;
    (void)state;
    file_make("one\ntw");
    open_at(&opened, path, "true", NULL);
    poll_limits(&opened, &many, &batch);
    assert_records(&batch, "1:one ");
    assert_true(batch.caught_up && !batch.ended);
    assert_int_equal(batch.partitions[0].end, 6);
    poll_limits(&opened, &many, &batch);
    assert_true(batch.count == 0 && batch.caught_up && !batch.ended);
    file_append("o\nthree\n\nfo");
    poll_limits(&opened, &patient, &batch);
    assert_records(&batch, "2:two 3:three ");
    file_append("ur\n");
    poll_limits(&opened, &patient, &batch);
    assert_records(&batch, "5:four ");
    assert_int_equal(batch.records[0].next.offset, 20);
    shut(&opened);
}

struct writer {
    uint64_t seed;
    struct bytes content;
    size_t done;
};

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return *seed >> 33;
}

static struct bytes writer_piece(struct writer *writer, size_t most)
{
    size_t left = writer->content.len - writer->done, piece = 1 + next_random(&writer->seed) % most;
    piece = piece < left ? piece : left;
    struct bytes bytes = bytes_of(writer->content.data + writer->done, piece);
    writer->done += piece;
    return bytes;
}

static void *append_thread(void *user_data)
{
    struct writer *writer = user_data;
    while (writer->done < writer->content.len)
        file_write(path, O_APPEND, writer_piece(writer, 3000));
    return NULL;
}

/* Lines of any length, blank ones among them, some longer than what is read at once. */
static void content_make(uint64_t seed, size_t bytes, size_t longest, struct buf *out)
{
    buf_reset(out);
    while (out->len < bytes) {
        uint64_t kind = next_random(&seed) % 100;
        size_t len = kind < 10   ? 0
                     : kind < 90 ? next_random(&seed) % 300
                     : kind < 99 ? next_random(&seed) % 9000
                                 : longest;
        assert_int_equal(buf_reserve(out, len + 1, NULL), SOREX_OK);
        for (size_t i = 0; i < len; i++)
            out->data[out->len++] = kind < 12 ? ' ' : (uint8_t)('a' + next_random(&seed) % 26);
        out->data[out->len++] = '\n';
    }
}

/* The model: the lines that come behind what was checked. */
struct model {
    struct bytes content;
    size_t at;
    uint64_t number;
};

static bool model_next(struct model *model, struct bytes *out)
{
    while (model->at < model->content.len) {
        const uint8_t *begin = model->content.data + model->at;
        const uint8_t *end = memchr(begin, '\n', model->content.len - model->at);
        size_t len = end != NULL ? (size_t)(end - begin) : model->content.len - model->at;
        model->at += len + (end != NULL);
        model->number++;
        *out = bytes_of(begin, len);
        for (size_t i = 0; i < len; i++)
            if (begin[i] != ' ')
                return true;
    }
    return false;
}

static void assert_model(struct model *model, const struct event_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct event_record *record = &batch->records[i];
        struct bytes line;
        assert_true(model_next(model, &line));
        assert_true(bytes_equal(line, record->text));
        assert_int_equal(record->number, model->number);
        assert_int_equal(record->next.number, model->number);
        assert_int_equal(record->next.offset, model->at);
        assert_int_equal(record->partition, 0);
    }
}

static void assert_model_ended(struct model *model)
{
    struct bytes line;
    assert_false(model_next(model, &line));
}

static void grows_while_it_is_read(void **state)
{
    struct buf content = {0};
    pthread_t thread;
    (void)state;
    content_make(11, 3000000, 400000, &content);
    struct writer writer = {.seed = 12, .content = buf_view(&content)};
    struct model model = {.content = buf_view(&content)};
    struct opened opened;
    file_make("");
    open_at(&opened, path, "true", NULL);
    assert_int_equal(pthread_create(&thread, NULL, append_thread, &writer), 0);
    for (uint64_t offset = 0; model.at < content.len && offset != content.len;) {
        struct event_batch batch;
        poll_limits(&opened, &(struct event_limits){.records = 1000, .bytes = 100000, .wait_ms = PATIENCE_MS}, &batch);
        assert_false(batch.ended);
        assert_model(&model, &batch);
        offset = batch.caught_up ? batch.partitions[0].end : 0; /* blank lines at the end */
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_model_ended(&model);
    shut(&opened);
    buf_deinit(&content);
}

static void up_to_what_is_there_at_the_start(void **state)
{
    struct opened opened;
    struct event_batch batch;
    (void)state;
    file_make("one\ntwo\nthr");
    open_unplaced(&opened, path, "true", true);
    file_append("ee\nfour\n");
    seek(&opened, NULL);
    poll_limits(&opened, &patient, &batch);
    assert_records(&batch, "1:one 2:two "); /* the third was not whole then */
    assert_true(batch.ended);
    shut(&opened);
}

static void position_behind(const char *text, struct position *out)
{
    struct opened opened;
    struct event_batch batch;
    file_make(text);
    open_at(&opened, path, "false", NULL);
    poll_limits(&opened, &many, &batch);
    *out = batch.records[batch.count - 1].next;
    shut(&opened);
}

static void cut_while_it_is_followed(void **state)
{
    struct opened opened;
    struct event_batch batch;
    (void)state;
    file_make("one\ntwo\n");
    open_at(&opened, path, "true", NULL);
    poll_limits(&opened, &many, &batch);
    file_make("1\n");
    poll_refused(&opened, &patient, SOREX_MISMATCH, "has 2 bytes, but was read up to byte 8");
    shut(&opened);
}

/* It is as long as before, and longer, when it is looked at again. */
static void rewritten_while_it_is_followed(void **state)
{
    struct opened opened;
    struct event_batch batch;
    (void)state;
    file_make("one\ntwo\n");
    open_at(&opened, path, "true", NULL);
    for (int i = 0; i < 2; i++)
        poll_limits(&opened, &many, &batch);
    file_make("two\none\nthree\n");
    poll_refused(&opened, &patient, SOREX_MISMATCH, "before byte 8 (line 3) stands something else");
    shut(&opened);
}

static void replaced_while_it_is_followed(void **state)
{
    struct opened opened;
    struct event_batch batch;
    char old[PATH_MAX + 32];
    (void)state;
    (void)snprintf(old, sizeof old, "%s.1", path);
    file_make("one\ntwo\n");
    open_at(&opened, path, "true", NULL);
    poll_limits(&opened, &many, &batch);
    assert_int_equal(rename(path, old), 0);
    poll_limits(&opened, &many, &batch); /* the name is free: a moment in a rotation */
    assert_int_equal(batch.count, 0);
    file_write(old, O_APPEND, bytes_str("three\n"));
    file_make("four\n");
    poll_limits(&opened, &patient, &batch);
    assert_records(&batch, "3:three "); /* the old one is read to its end */
    poll_refused(&opened, &patient, SOREX_MISMATCH,
                 "another file has taken its place; the old one was read to its end, byte 14");
    shut(&opened);
    assert_int_equal(unlink(old), 0);
}

/* ---- positions in files ---- */

static void every_position_goes_on_there(void **state)
{
    struct buf content = {0};
    struct opened opened, other;
    struct event_batch batch, after;
    (void)state;
    content_make(21, 60000, 5000, &content);
    content.len--; /* the last line has no end */
    file_write(path, O_CREAT | O_TRUNC, buf_view(&content));
    open_at(&opened, path, "false", NULL);
    poll_limits(&opened, &many, &batch);
    assert_true(batch.count > 100);
    open_unplaced(&other, path, "false", false);
    for (size_t i = 0; i < batch.count; i++) {
        const struct position *position = &batch.records[i].next;
        struct model model = {
            .content = buf_view(&content), .at = (size_t)position->offset, .number = position->number};
        seek(&other, position);
        poll_limits(&other, &many, &after);
        assert_int_equal(after.count, batch.count - i - 1);
        assert_model(&model, &after);
        assert_model_ended(&model);
    }
    shut(&other);
    shut(&opened);
    buf_deinit(&content);
}

static void another_file_is_refused(void **state)
{
    struct position position;
    struct opened opened;
    struct event_batch batch;
    (void)state;
    position_behind("one\ntwo\n", &position);
    file_make("one\ntwo\nthree\n"); /* the same, grown */
    open_at(&opened, path, "false", &position);
    poll_limits(&opened, &many, &batch);
    assert_records(&batch, "3:three ");
    shut(&opened);
    file_make("one\ntwx\nthree\n");
    open_unplaced(&opened, path, "false", false);
    seek_refused(&opened, &position, SOREX_MISMATCH,
                 "before byte 8 (line 3) stands something else than what was read there; put back");
    position.check = 0; /* whoever wrote it did not know */
    seek(&opened, &position);
    shut(&opened);
    file_make("one\n");
    open_unplaced(&opened, path, "false", false);
    seek_refused(&opened, &position, SOREX_MISMATCH, "has 4 bytes, but was read up to byte 8");
    shut(&opened);
}

/* A pipe whose reading end is this process's standard input. */
static int stdin_make(void)
{
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(dup2(ends[0], STDIN_FILENO) == STDIN_FILENO);
    (void)close(ends[0]);
    return ends[1];
}

static void fd_write(int fd, const char *text) { assert_int_equal(write(fd, text, strlen(text)), strlen(text)); }

/* A last line without an end was taken for whole; then it got one, or went on. */
static void the_last_line_grew(void **state)
{
    static const struct {
        const char *more, *records;
    } cases[] = {{"\nthree\n", "3:three "}, {"o\nthree\n", "2:o 3:three "}, {"\n\nthree\n", "4:three "}};
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct position position;
        struct opened opened;
        struct event_batch batch;
        position_behind("one\ntw", &position);
        file_append(cases[i].more);
        open_at(&opened, path, "false", &position);
        poll_limits(&opened, &many, &batch);
        assert_records(&batch, cases[i].records);
        shut(&opened);
        int fd = stdin_make();
        fd_write(fd, "one\ntw");
        fd_write(fd, cases[i].more);
        (void)close(fd);
        open_at(&opened, "-", "false", &position);
        poll_limits(&opened, &patient, &batch);
        assert_records(&batch, cases[i].records);
        shut(&opened);
    }
}

/* ---- streams ---- */

static void standard_input(void **state)
{
    struct opened opened;
    struct event_batch batch;
    int fd = stdin_make();
    (void)state;
    open_at(&opened, "-", "false", NULL);
    assert_string_equal(opened.name, "-");
    fd_write(fd, "one\ntw");
    poll_limits(&opened, &patient, &batch);
    assert_records(&batch, "1:one ");
    assert_false(batch.ended);
    assert_int_equal(batch.partitions[0].end, 0);
    poll_limits(&opened, &many, &batch);
    assert_true(batch.count == 0 && batch.caught_up && !batch.ended);
    fd_write(fd, "o\nend");
    (void)close(fd);
    poll_limits(&opened, &patient, &batch);
    assert_records(&batch, "2:two 3:end ");
    assert_true(batch.ended);
    assert_int_equal(batch.partitions[0].end, 11);
    shut(&opened);
}

static void a_file_as_standard_input(void **state)
{
    struct opened opened;
    struct event_batch batch;
    (void)state;
    file_make("one\ntwo\n");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    assert_true(dup2(fd, STDIN_FILENO) == STDIN_FILENO);
    (void)close(fd);
    open_at(&opened, "-", "false", NULL);
    poll_limits(&opened, &patient, &batch);
    assert_records(&batch, "1:one 2:two ");
    assert_true(batch.ended);
    shut(&opened);
}

struct stream_writer {
    struct writer writer;
    int fd;
};

static void *stream_thread(void *user_data)
{
    struct stream_writer *stream = user_data;
    while (stream->writer.done < stream->writer.content.len) {
        struct bytes piece = writer_piece(&stream->writer, 70000);
        while (piece.len > 0) {
            ssize_t n = write(stream->fd, piece.data, piece.len);
            if (n <= 0)
                return NULL;
            piece = bytes_of(piece.data + n, piece.len - (size_t)n);
        }
    }
    (void)close(stream->fd);
    return NULL;
}

/* Reads a stream whose delivery fails now and then: what was not delivered comes again, the rest is forgotten. */
static void stream_round(struct bytes content, uint64_t seed, const struct position *from)
{
    struct stream_writer stream = {.writer = {.seed = seed, .content = content}, .fd = stdin_make()};
    struct model model = {.content = content, .at = (size_t)from->offset, .number = from->number};
    struct position delivered = *from;
    struct opened opened;
    struct event_batch batch = {0};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stream_thread, &stream), 0);
    open_at(&opened, "-", "false", from->offset != 0 ? from : NULL);
    while (!batch.ended) {
        struct event_limits limits = {1 + next_random(&seed) % 3000, 1 + next_random(&seed) % 500000, PATIENCE_MS};
        poll_limits(&opened, &limits, &batch);
        assert_model(&model, &batch);
        uint64_t fate = next_random(&seed) % 10;
        if (batch.count > 0 && fate < 6) {
            delivered = batch.records[next_random(&seed) % batch.count].next;
            opened.source->type->delivered(opened.source, opened.name, &delivered);
        } else if (fate < 8) {
            seek(&opened, &delivered);
            model.at = (size_t)delivered.offset;
            model.number = delivered.number;
            batch.ended = false;
        }
    }
    assert_model_ended(&model);
    assert_int_equal(pthread_join(thread, NULL), 0);
    shut(&opened);
}

static void a_stream_is_read_again_from_what_was_delivered(void **state)
{
    struct buf content = {0};
    (void)state;
    for (uint64_t round = 1; round <= 12; round++) {
        uint64_t seed = round;
        struct position position = {0};
        struct opened opened;
        struct event_batch batch;
        print_message("seed %llu\n", (unsigned long long)seed);
        content_make(seed, 2000000, 400000, &content);
        stream_round(buf_view(&content), seed, &position);
        /* The same again, from somewhere in it, as a second run does. */
        file_write(path, O_CREAT | O_TRUNC, buf_view(&content));
        open_at(&opened, path, "false", NULL);
        poll_limits(&opened, &many, &batch);
        position = batch.records[next_random(&seed) % batch.count].next;
        shut(&opened);
        stream_round(buf_view(&content), seed, &position);
    }
    buf_deinit(&content);
}

static void another_stream_is_refused(void **state)
{
    struct position position;
    struct opened opened;
    (void)state;
    position_behind("one\ntwo\n", &position);
    int fd = stdin_make();
    fd_write(fd, "one\ntwx\nthree\n");
    open_unplaced(&opened, "-", "false", false);
    seek_refused(&opened, &position, SOREX_MISMATCH, "standard input: before byte 8 (line 3) stands something else");
    shut(&opened);
    (void)close(fd);
    fd = stdin_make();
    fd_write(fd, "one\n");
    (void)close(fd);
    open_unplaced(&opened, "-", "false", false);
    seek_refused(&opened, &position, SOREX_MISMATCH, "has 4 bytes, but was read up to byte 8");
    shut(&opened);
}

static void a_stream_cannot_go_back_before_what_was_delivered(void **state)
{
    struct buf content = {0};
    struct opened opened;
    struct event_batch batch = {0};
    pthread_t thread;
    (void)state;
    content_make(31, 3000000, 400000, &content);
    struct stream_writer stream = {.writer = {.seed = 32, .content = buf_view(&content)}, .fd = stdin_make()};
    assert_int_equal(pthread_create(&thread, NULL, stream_thread, &stream), 0);
    open_at(&opened, "-", "false", NULL);
    while (!batch.ended) {
        poll_limits(&opened, &(struct event_limits){.records = 1000, .bytes = 100000, .wait_ms = PATIENCE_MS}, &batch);
        if (batch.count > 0)
            opened.source->type->delivered(opened.source, opened.name, &batch.records[batch.count - 1].next);
    }
    seek_refused(&opened, NULL, SOREX_GONE, "cannot be read again from byte 0; start again with the same input");
    assert_int_equal(pthread_join(thread, NULL), 0);
    shut(&opened);
    buf_deinit(&content);
}

struct flood {
    size_t bytes;
    int fd;
};

static void *flood_thread(void *user_data)
{
    struct flood *flood = user_data;
    char lines[65536];
    memset(lines, 'x', sizeof lines);
    for (size_t at = 1023; at < sizeof lines; at += 1024)
        lines[at] = '\n';
    for (size_t done = 0; done < flood->bytes; done += sizeof lines)
        if (write(flood->fd, lines, sizeof lines) != (ssize_t)sizeof lines)
            return NULL;
    (void)close(flood->fd);
    return NULL;
}

/* Somebody who delivers nothing has it in memory up to a bound, and is told when he wants what is gone. */
static void a_stream_is_not_kept_without_end(void **state)
{
    struct flood flood = {.bytes = (size_t)320 << 20, .fd = stdin_make()};
    struct opened opened;
    struct event_batch batch = {0};
    struct position early = {0}, late = {0};
    pthread_t thread;
    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, flood_thread, &flood), 0);
    open_at(&opened, "-", "false", NULL);
    for (uint64_t bytes = 0; !batch.ended;) {
        struct event_limits limits = {.records = 1000000, .bytes = (size_t)4 << 20, .wait_ms = PATIENCE_MS};
        poll_limits(&opened, &limits, &batch);
        if (batch.count == 0)
            continue;
        bytes = batch.records[batch.count - 1].next.offset;
        if (bytes < (64 << 20))
            early = batch.records[0].next;
        if (bytes < (200 << 20))
            late = batch.records[0].next;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    seek(&opened, &late);
    poll_limits(&opened, &many, &batch);
    assert_int_equal(batch.records[0].number, late.number + 1);
    seek_refused(&opened, &early, SOREX_GONE, "cannot be read again from byte");
    shut(&opened);
}

static void a_named_pipe(void **state)
{
    char fifo[PATH_MAX + 32];
    struct opened opened;
    struct event_batch batch;
    (void)state;
    (void)snprintf(fifo, sizeof fifo, "%s/fifo", scratch);
    assert_int_equal(mkfifo(fifo, 0600), 0);
    open_at(&opened, fifo, "false", NULL);
    assert_string_equal(opened.name, "fifo");
    poll_limits(&opened, &many, &batch);
    assert_true(batch.count == 0 && !batch.ended); /* nobody writes yet: not the end */
    int fd = open(fifo, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    fd_write(fd, "one\n");
    poll_limits(&opened, &patient, &batch);
    assert_records(&batch, "1:one ");
    assert_false(batch.ended);
    (void)close(fd);
    poll_limits(&opened, &patient, &batch);
    assert_true(batch.count == 0 && batch.ended);
    shut(&opened);
    struct sorex_error err = {0};
    refused(open_path(&opened, fifo, "true", false, &err), SOREX_INVALID, &err, "`follow` is for files");
}

/* ---- interruption ---- */

static void *interrupt_thread(void *user_data)
{
    struct opened *opened = user_data;
    opened->source->type->interrupt(opened->source);
    return NULL;
}

static void an_interrupted_wait_ends(void **state)
{
    struct position position;
    (void)state;
    position_behind("one\ntwo\n", &position);
    for (int kind = 0; kind < 3; kind++) {
        struct opened opened;
        struct event_batch batch;
        struct sorex_error err = {0};
        pthread_t thread;
        int fd = stdin_make();
        open_unplaced(&opened, kind == 0 ? path : "-", kind == 0 ? "true" : "false", false);
        if (kind < 2)
            seek(&opened, kind == 0 ? &position : NULL);
        assert_int_equal(pthread_create(&thread, NULL, interrupt_thread, &opened), 0);
        if (kind < 2) /* it would wait for as long as the test may last */
            refused(opened.source->type->poll(opened.source, &(struct event_limits){10, 10, INT32_MAX}, &batch, &err),
                    SOREX_STOPPED, &err, "interrupted");
        else
            seek_refused(&opened, &position, SOREX_STOPPED, "interrupted");
        assert_int_equal(pthread_join(thread, NULL), 0);
        poll_refused(&opened, &patient, SOREX_STOPPED, "interrupted");
        shut(&opened);
        (void)close(fd);
    }
}

/* ---- */

static int group_setup(void **state)
{
    (void)state;
    if (scratch_make(scratch, NULL) != SOREX_OK)
        return -1;
    (void)snprintf(path, sizeof path, "%s/events.jsonl", scratch);
    return 0;
}

static int group_teardown(void **state)
{
    (void)state;
    scratch_remove(scratch);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lines_of_a_file),
        cmocka_unit_test(an_empty_file_ends_at_once),
        cmocka_unit_test(batches_keep_their_limits),
        cmocka_unit_test(what_cannot_be_opened),
        cmocka_unit_test(a_line_that_is_too_long),
        cmocka_unit_test(followed),
        cmocka_unit_test(grows_while_it_is_read),
        cmocka_unit_test(up_to_what_is_there_at_the_start),
        cmocka_unit_test(cut_while_it_is_followed),
        cmocka_unit_test(rewritten_while_it_is_followed),
        cmocka_unit_test(replaced_while_it_is_followed),
        cmocka_unit_test(every_position_goes_on_there),
        cmocka_unit_test(another_file_is_refused),
        cmocka_unit_test(the_last_line_grew),
        cmocka_unit_test(standard_input),
        cmocka_unit_test(a_file_as_standard_input),
        cmocka_unit_test(a_stream_is_read_again_from_what_was_delivered),
        cmocka_unit_test(another_stream_is_refused),
        cmocka_unit_test(a_stream_cannot_go_back_before_what_was_delivered),
        cmocka_unit_test(a_stream_is_not_kept_without_end),
        cmocka_unit_test(a_named_pipe),
        cmocka_unit_test(an_interrupted_wait_ends),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
