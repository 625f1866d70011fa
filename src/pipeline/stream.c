/* The owner's thread cuts the input into batches of whole lines, hands them to the pool, and writes what comes back. A batch carries
 * its bytes in, its bytes out, its dead letters and the error that halted it, so that workers share nothing.
 *
 *     input -> [lines][lines] -> pool -> [out, dead] -> output, dead-letter file
 *
 * While batches are on their way the input is only looked at; it is waited for when everything that was read is out. */
#include "pipeline/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/limits.h"
#include "json/writer.h"
#include "pipeline/pool.h"

#define BATCH_BYTES ((size_t)256 << 10)

_Static_assert(STREAM_INSTANCES_MAX <= POOL_WORKERS_MAX, "a worker for each");

struct batch {
    struct batch *next; /* free ones */
    struct buf in;      /* whole lines */
    uint64_t line;      /* number of the first one, from 1 */
    uint64_t lines;
    struct buf out, dead;
    struct stream_summary did;
    enum sorex_status status; /* other than SOREX_OK: it ended early, at a line that err names */
    struct sorex_error err;
};

struct stream {
    const struct stream_options *options;
    struct stages_worker **workers;
    size_t worker_count;
    struct pool *pool;
    struct batch *batches;
    size_t batch_count;
    struct batch *free;
    struct buf rest; /* the beginning of a line whose end was not read yet */
    uint64_t next_line;
    bool ended; /* the input */
    struct stream_summary *summary;
};

/* ---- one batch, on a worker's thread ---- */

/* {"line":7,"error":"...","event":"the line as text"} */
static enum sorex_status dead_letter(struct batch *batch, uint64_t number, struct bytes line, const char *why,
                                     struct sorex_error *err)
{
    struct json_writer w;
    json_writer_init(&w, &batch->dead, false, err);
    json_object_begin(&w);
    json_name(&w, "line");
    json_uint(&w, number);
    json_name(&w, "error");
    json_string_z(&w, why);
    json_name(&w, "event");
    json_string(&w, line);
    json_object_end(&w);
    TRY(json_writer_finish(&w));
    return buf_append_u8(&batch->dead, '\n', err);
}

static enum sorex_status line_run(struct stages_worker *worker, struct batch *batch, uint64_t number, struct bytes line,
                                  struct sorex_error *err)
{
    struct stages_result result;
    if (stages_run(worker, line, &batch->out, &result, err) != SOREX_OK)
        return sorex_error_prefix(err, "line %llu", (unsigned long long)number);
    if (result.why != NULL) {
        batch->did.failed++;
        TRY(dead_letter(batch, number, line, result.why, err));
    }
    if (result.outcome == STAGES_FILTERED)
        batch->did.filtered++;
    if (result.outcome != STAGES_DELIVERED)
        return SOREX_OK;
    if (result.why == NULL)
        batch->did.out++;
    return buf_append_u8(&batch->out, '\n', err);
}

static bool blank(struct bytes line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r')
            return false;
    return true;
}

static enum sorex_status batch_run(struct stages_worker *worker, struct batch *batch)
{
    struct bytes left = buf_view(&batch->in);
    for (uint64_t number = batch->line; left.len > 0; number++) {
        const uint8_t *end = memchr(left.data, '\n', left.len);
        struct bytes line = {left.data, end != NULL ? (size_t)(end - left.data) : left.len};
        left = bytes_of(line.data + line.len, left.len - line.len);
        if (left.len > 0)
            left = bytes_of(left.data + 1, left.len - 1);
        if (blank(line))
            continue;
        batch->did.in++;
        TRY(line_run(worker, batch, number, line, &batch->err));
    }
    return SOREX_OK;
}

static void batch_work(void *worker, void *job)
{
    struct batch *batch = job;
    uint64_t began = clock_ns();
    batch->status = batch_run(worker, batch);
    batch->did.work_ns = clock_ns() - began;
}

/* ---- output ---- */

static enum sorex_status write_all(int fd, struct bytes bytes, const char *what, struct sorex_error *err)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.data, bytes.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sorex_error_set_errno(err, SOREX_IO, errno, "%s", what);
        bytes = bytes_of(bytes.data + n, bytes.len - (size_t)n);
    }
    return SOREX_OK;
}

/* The oldest batch: waits until it is done, writes it. */
static enum sorex_status batch_finish(struct stream *stream, struct sorex_error *err)
{
    struct batch *batch = pool_take(stream->pool);
    struct stream_summary *sum = stream->summary;
    sum->in += batch->did.in;
    sum->out += batch->did.out;
    sum->filtered += batch->did.filtered;
    sum->failed += batch->did.failed;
    sum->work_ns += batch->did.work_ns;
    sum->bytes_in += batch->in.len;
    sum->bytes_out += batch->out.len;
    batch->next = stream->free;
    stream->free = batch;
    if (stream->options->dead >= 0)
        TRY(write_all(stream->options->dead, buf_view(&batch->dead), "dead-letter file", err));
    TRY(write_all(stream->options->output, buf_view(&batch->out), "output", err));
    if (batch->status != SOREX_OK && err != NULL)
        *err = batch->err;
    return batch->status;
}

/* ---- input ---- */

static bool stopped(const struct stream *stream)
{
    return stream->options->stop != NULL && *stream->options->stop;
}

/* Whether a read would not wait; with `wait`, waits for that or for a signal. Signals get through here only. */
static bool input_ready(const struct stream *stream, bool wait)
{
    struct pollfd pollfd = {.fd = stream->options->input, .events = POLLIN};
    const struct timespec at_once = {0};
    return ppoll(&pollfd, 1, wait ? NULL : &at_once, stream->options->wait_mask) > 0;
}

static uint64_t count_lines(struct bytes bytes)
{
    uint64_t lines = 0;
    const uint8_t *at = bytes.data, *end = bytes.data + bytes.len;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at))) != NULL) {
        lines++;
        at++;
    }
    return lines;
}

/* Reads once; moves what follows the last line end from the batch to the rest. At the end of the input the rest is a line. */
static enum sorex_status batch_fill(struct stream *stream, struct batch *batch, struct sorex_error *err)
{
    size_t had = batch->in.len;
    TRY(buf_reserve(&batch->in, BATCH_BYTES, err));
    ssize_t n = read(stream->options->input, batch->in.data + had, BATCH_BYTES);
    if (n < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "input");
    batch->in.len += (size_t)n;
    stream->ended = n == 0;
    if (stream->ended)
        return SOREX_OK;
    const uint8_t *last = memrchr(batch->in.data + had, '\n', (size_t)n);
    size_t whole = last == NULL ? 0 : (size_t)(last + 1 - batch->in.data);
    struct bytes rest = bytes_of(batch->in.data + whole, batch->in.len - whole);
    batch->in.len = whole;
    return buf_append(&stream->rest, rest, err);
}

/* The next batch of whole lines; without any when a signal came, or the input ended. */
static enum sorex_status batch_read(struct stream *stream, struct batch *batch, struct sorex_error *err)
{
    buf_reset(&batch->in);
    while (batch->in.len == 0 && !stream->ended && !stopped(stream)) {
        if (stream->rest.len > SOREX_CHANGE_BYTES_MAX)
            return sorex_error_set(err, SOREX_LIMIT, "line %llu: longer than %zu bytes", (unsigned long long)stream->next_line,
                                   SOREX_CHANGE_BYTES_MAX);
        if (!input_ready(stream, true))
            continue;
        TRY(buf_append(&batch->in, buf_view(&stream->rest), err));
        buf_reset(&stream->rest);
        TRY(batch_fill(stream, batch, err));
    }
    batch->line = stream->next_line;
    stream->next_line += count_lines(buf_view(&batch->in));
    buf_reset(&batch->out);
    buf_reset(&batch->dead);
    batch->did = (struct stream_summary){0};
    return SOREX_OK;
}

static enum sorex_status stream_read(struct stream *stream, struct sorex_error *err)
{
    struct batch *batch = stream->free;
    TRY(batch_read(stream, batch, err));
    if (batch->in.len == 0)
        return SOREX_OK;
    stream->free = batch->next;
    pool_submit(stream->pool, batch);
    return SOREX_OK;
}

/* Input that fails ends the stream like input that ends, but for the status: what was read before goes out. */
static enum sorex_status stream_loop(struct stream *stream, struct sorex_error *err)
{
    enum sorex_status read_status = SOREX_OK;
    struct sorex_error read_err = {0};
    while (read_status == SOREX_OK && !stream->ended && !stopped(stream)) {
        size_t waiting = pool_waiting(stream->pool);
        if (waiting == pool_depth(stream->pool) || (waiting > 0 && !input_ready(stream, false)))
            TRY(batch_finish(stream, err));
        else
            read_status = stream_read(stream, &read_err);
    }
    while (pool_waiting(stream->pool) > 0)
        TRY(batch_finish(stream, err));
    if (read_status != SOREX_OK && err != NULL)
        *err = read_err;
    return read_status;
}

/* ---- beginning and end ---- */

static enum sorex_status stream_open(struct stream *stream, struct sorex_error *err)
{
    const struct stream_options *options = stream->options;
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t wanted = options->instances != 0 ? options->instances : processors > 0 ? (size_t)processors : 1;
    CHECK(options->instances <= STREAM_INSTANCES_MAX);
    if (wanted > STREAM_INSTANCES_MAX)
        wanted = STREAM_INSTANCES_MAX;
    if (wanted * stages_count(options->stages) > FILTER_INSTANCES_MAX)
        return sorex_error_set(err, SOREX_INVALID, "%zu instances of %zu filters; at most %d in all", wanted,
                               stages_count(options->stages), FILTER_INSTANCES_MAX);
    stream->workers = calloc(wanted, sizeof(struct stages_worker *));
    if (stream->workers == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: %zu instances", wanted);
    for (; stream->worker_count < wanted; stream->worker_count++)
        TRY(stages_worker_open(options->stages, &stream->workers[stream->worker_count], err));
    TRY(pool_new(batch_work, (void *const *)stream->workers, wanted, &stream->pool, err));
    stream->batch_count = pool_depth(stream->pool) + 1;
    stream->batches = calloc(stream->batch_count, sizeof *stream->batches);
    if (stream->batches == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: %zu batches", stream->batch_count);
    for (size_t i = 0; i < stream->batch_count; i++) {
        stream->batches[i].next = stream->free;
        stream->free = &stream->batches[i];
    }
    return SOREX_OK;
}

static void stream_close(struct stream *stream)
{
    pool_free(stream->pool);
    for (size_t i = 0; i < stream->worker_count; i++)
        stages_worker_close(stream->workers[i]);
    for (size_t i = 0; stream->batches != NULL && i < stream->batch_count; i++) {
        buf_deinit(&stream->batches[i].in);
        buf_deinit(&stream->batches[i].out);
        buf_deinit(&stream->batches[i].dead);
    }
    free(stream->batches);
    free(stream->workers);
    buf_deinit(&stream->rest);
}

enum sorex_status stream_run(const struct stream_options *options, struct stream_summary *out_summary, struct sorex_error *err)
{
    struct stream stream = {.options = options, .next_line = 1, .summary = out_summary};
    *out_summary = (struct stream_summary){0};
    enum sorex_status status = stream_open(&stream, err);
    if (status == SOREX_OK)
        status = stream_loop(&stream, err);
    stream_close(&stream);
    return status;
}
