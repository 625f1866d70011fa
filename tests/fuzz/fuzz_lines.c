/* libFuzzer: the source `lines` over any bytes, which come in pieces: of a file, of one that is followed, of a stream,
 * in batches of any limits, with part of a stream taken again. The records are those of a plain splitter; every
 * position goes on where it says; with a byte changed before it, it is refused. Bytes 0 to 3: the seed of all that;
 * byte 4: the kind; then the content. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "base/codec.h"
#include "source/events.h"

#define CONTENT_BYTES_MAX 60000 /* less than a pipe holds: nobody waits */
#define HEAD 5

enum kind { KIND_FILE, KIND_FOLLOWED, KIND_STREAM };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    uint64_t seed;
    enum kind kind;
    struct bytes content;
    size_t written;
    int fd; /* what is written to */
    struct event_source *source;
    const char *partition;
    /* the plain splitter */
    size_t at;
    uint64_t number;
};

static uint64_t next_random(struct run *run)
{
    run->seed = run->seed * 6364136223846793005ULL + 1442695040888963407ULL;
    return run->seed >> 33;
}

/* Whether a last line without end counts. */
static bool last_counts(const struct run *run) { return run->kind != KIND_FOLLOWED; }

static bool model_next(struct run *run, struct bytes *out)
{
    while (run->at < run->content.len) {
        const uint8_t *begin = run->content.data + run->at;
        const uint8_t *end = memchr(begin, '\n', run->content.len - run->at);
        if (end == NULL && !last_counts(run))
            return false;
        size_t len = end != NULL ? (size_t)(end - begin) : run->content.len - run->at;
        run->at += len + (end != NULL);
        run->number++;
        *out = bytes_of(begin, len);
        for (size_t i = 0; i < len; i++)
            if (strchr(" \t\r", begin[i]) == NULL || begin[i] == '\0')
                return true;
    }
    return false;
}

static void piece_write(struct run *run)
{
    size_t left = run->content.len - run->written, piece = 1 + next_random(run) % 5000;
    piece = piece < left ? piece : left;
    CHECK(write(run->fd, run->content.data + run->written, piece) == (ssize_t)piece);
    run->written += piece;
    if (run->written == run->content.len && run->kind == KIND_STREAM) {
        (void)close(run->fd);
        run->fd = -1;
    }
}

static void source_open(struct run *run)
{
    const struct event_source_type *type = event_source_type_find("lines");
    const struct event_source_context context = {.pipeline = "fuzz"};
    _Alignas(max_align_t) uint8_t settings[256] = {0};
    struct sorex_error err = {0};
    struct event_batch batch;
    char path[64] = "-";
    int ends[2];
    if (run->kind == KIND_STREAM) {
        CHECK(pipe2(ends, O_CLOEXEC) == 0 && dup2(ends[0], STDIN_FILENO) == STDIN_FILENO && close(ends[0]) == 0);
        run->fd = ends[1];
    } else {
        run->fd = memfd_create("lines", MFD_CLOEXEC);
        CHECK(run->fd >= 0);
        (void)snprintf(path, sizeof path, "/proc/self/fd/%d", run->fd);
    }
    CHECK(option_set(option_find(type->options, "path"), bytes_str(path), "path", NULL, settings, &err) == SOREX_OK);
    CHECK(option_set(option_find(type->options, "follow"), bytes_str(run->kind == KIND_FOLLOWED ? "true" : "false"),
                     "follow", NULL, settings, &err) == SOREX_OK);
    CHECK(type->open(settings, &context, &run->source, &err) == SOREX_OK);
    options_free(type->options, settings);
    CHECK(type->poll(run->source, &(struct event_limits){.records = 1}, &batch, &err) == SOREX_OK && batch.assigned);
    run->partition = batch.partitions[0].name;
}

static void source_close(struct run *run)
{
    run->source->type->close(run->source);
    if (run->fd >= 0)
        (void)close(run->fd);
    run->fd = -1;
}

static enum sorex_status seek(struct run *run, const struct position *position)
{
    struct sorex_error err = {0};
    enum sorex_status status = run->source->type->seek(run->source, run->partition, position, &err);
    CHECK(status == SOREX_OK || (err.status == status && err.text[0] != '\0'));
    return status;
}

static void records_check(struct run *run, const struct event_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        struct bytes line;
        CHECK(model_next(run, &line) && bytes_equal(line, batch->records[i].text));
        CHECK(batch->records[i].next.offset == run->at && batch->records[i].next.number == run->number);
    }
}

/* Reads from the beginning to the end. Gives one of the positions on the way, chosen at random; false: there was none.
 */
static bool read_through(struct run *run, struct position *out)
{
    bool found = false, over = false;
    struct position delivered = {0};
    while (!over) {
        struct event_limits limits = {.records = 1 + next_random(run) % 50, .bytes = 1 + next_random(run) % 3000};
        struct event_batch batch;
        struct sorex_error err = {0};
        if (run->written < run->content.len)
            piece_write(run);
        /* Nothing grows once it has said that this was its end. */
        while (run->kind == KIND_FILE && run->written < run->content.len)
            piece_write(run);
        CHECK(run->source->type->poll(run->source, &limits, &batch, &err) == SOREX_OK && !batch.assigned);
        records_check(run, &batch);
        if (batch.count > 0 && (!found || next_random(run) % 4 == 0)) {
            *out = batch.records[next_random(run) % batch.count].next;
            found = true;
        }
        over = run->written == run->content.len &&
               (run->kind == KIND_FOLLOWED ? batch.caught_up && batch.count == 0 : batch.ended);
        CHECK(!batch.ended || run->written == run->content.len);
        if (batch.count > 0 && next_random(run) % 3 == 0) {
            delivered = batch.records[next_random(run) % batch.count].next;
            run->source->type->delivered(run->source, run->partition, &delivered);
        } else if (next_random(run) % 4 == 0) {
            CHECK(seek(run, &delivered) == SOREX_OK);
            run->at = (size_t)delivered.offset;
            run->number = delivered.number;
            over = false;
        }
    }
    struct bytes line;
    CHECK(!model_next(run, &line));
    return found;
}

/* The whole content at once, from a position. */
static void read_from(struct run *run, const struct position *position, bool changed)
{
    struct event_batch batch;
    struct sorex_error err = {0};
    run->written = 0;
    source_open(run);
    while (run->written < run->content.len)
        piece_write(run);
    CHECK(seek(run, position) == (changed ? SOREX_MISMATCH : SOREX_OK));
    if (!changed) {
        const struct event_limits limits = {.records = CONTENT_BYTES_MAX, .bytes = (size_t)1 << 20};
        run->at = (size_t)position->offset;
        run->number = position->number;
        CHECK(run->source->type->poll(run->source, &limits, &batch, &err) == SOREX_OK);
        records_check(run, &batch);
        struct bytes line;
        CHECK(!model_next(run, &line));
    }
    source_close(run);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct position position = {0};
    if (size < HEAD || size > HEAD + CONTENT_BYTES_MAX)
        return 0;
    uint8_t *content = malloc(size);
    CHECK(content != NULL);
    memcpy(content, data + HEAD, size - HEAD);
    struct run run = {
        .seed = u32le_get(data), .kind = data[4] % 3, .content = bytes_of(content, size - HEAD), .fd = -1};
    source_open(&run);
    if (run.kind == KIND_STREAM && run.content.len == 0) {
        (void)close(run.fd);
        run.fd = -1;
    }
    CHECK(seek(&run, NULL) == SOREX_OK);
    bool found = read_through(&run, &position);
    source_close(&run);
    if (found) {
        uint64_t back = position.offset < 4096 ? position.offset : 4096;
        read_from(&run, &position, false);
        content[position.offset - 1 - next_random(&run) % back] ^= (uint8_t)(1 + next_random(&run) % 255);
        read_from(&run, &position, true);
    }
    free(content);
    return 0;
}
