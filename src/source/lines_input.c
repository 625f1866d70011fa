#include "source/lines_input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/limits.h"

#define READ_BYTES ((size_t)256 << 10)
#define FILL_BYTES_MAX \
    ((size_t)32 << 20) /* read ahead, whatever is asked for; so a batch has no more, but for a line */
/* Of a stream, that was given out and is not delivered: more than the two batches that can be under way. The buffer
 * takes up to twice as much. */
#define KEPT_BYTES_MAX ((size_t)128 << 20)
#define LOOK_MS 200 /* where the kernel does not tell (network file systems), and for renamed files */

#define CHOICES                                                                                                        \
    "; put back what was there; or, to read this from its beginning, give it or the pipeline another name, which has " \
    "no position yet"

/* ---- opening ---- */

static enum sorex_status input_kind(struct lines_input *input, bool until_end, struct sorex_error *err)
{
    struct stat st;
    if (fstat(input->fd, &st) != 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "%s", input->name);
    if (S_ISDIR(st.st_mode))
        return sorex_error_set(err, SOREX_INVALID, "%s is a directory; `path` names one file", input->name);
    /* A shell may have read a part of its standard input: a place in it says nothing about the file. */
    input->regular = S_ISREG(st.st_mode) && strcmp(input->path, "-") != 0;
    if (input->follow && !input->regular)
        return sorex_error_set(err, SOREX_INVALID,
                               "%s: `follow` is for files; standard input and pipes are read until they are closed",
                               input->name);
    input->limit = input->follow && until_end ? (uint64_t)st.st_size : UINT64_MAX;
    return SOREX_OK;
}

static void notify_open(struct lines_input *input)
{
    input->notify = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (input->notify >= 0)
        (void)inotify_add_watch(input->notify, input->path, IN_MODIFY | IN_ATTRIB | IN_MOVE_SELF | IN_DELETE_SELF);
}

enum sorex_status lines_input_open(struct lines_input *input, const char *path, bool follow, bool until_end,
                                   struct sorex_error *err)
{
    bool standard = strcmp(path, "-") == 0;
    *input = (struct lines_input){
        .path = path, .name = standard ? "standard input" : path, .follow = follow, .fd = -1, .wake = -1, .notify = -1};
    lines_check_start(&input->check, 0);
    /* Not blocking: opening a named pipe would wait for its writer. */
    input->fd =
        standard ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 0) : open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (input->fd < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "open %s", input->name);
    TRY(input_kind(input, until_end, err));
    input->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (input->wake < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "eventfd");
    if (follow)
        notify_open(input);
    return SOREX_OK;
}

void lines_input_close(struct lines_input *input)
{
    const int fds[] = {input->fd, input->wake, input->notify};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]);
    buf_deinit(&input->buf);
}

/* ---- a file that changes ---- */

static enum sorex_status mismatch(const struct lines_input *input, uint64_t offset, uint64_t number,
                                  struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_MISMATCH,
                           "%s: before byte %llu (line %llu) stands something else than what was read there" CHOICES,
                           input->name, (unsigned long long)offset, (unsigned long long)number + 1);
}

static enum sorex_status too_short(const struct lines_input *input, uint64_t size, uint64_t offset,
                                   struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_MISMATCH,
                           "%s: has %llu bytes, but was read up to byte %llu: it was cut, or is another one" CHOICES,
                           input->name, (unsigned long long)size, (unsigned long long)offset);
}

/* Errors: SOREX_MISMATCH: the file does not go as far. */
static enum sorex_status file_reaches(const struct lines_input *input, uint64_t offset, struct stat *out,
                                      struct sorex_error *err)
{
    if (fstat(input->fd, out) != 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "%s", input->name);
    return (uint64_t)out->st_size >= offset ? SOREX_OK : too_short(input, (uint64_t)out->st_size, offset, err);
}

/* Reads again what stands before offset, and hashes it. Errors: SOREX_MISMATCH: there is no such offset. */
static enum sorex_status file_check(const struct lines_input *input, uint64_t offset, struct lines_check *out,
                                    struct sorex_error *err)
{
    uint8_t block[LINES_CHECK_BLOCK];
    struct stat st;
    TRY(file_reaches(input, offset, &st, err));
    lines_check_start(out, lines_check_from(offset));
    while (out->offset < offset) {
        size_t want = offset - out->offset < sizeof block ? (size_t)(offset - out->offset) : sizeof block;
        ssize_t n = pread(input->fd, block, want, (off_t)out->offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return sorex_error_set_errno(err, SOREX_IO, errno, "read %s", input->name);
        if (n == 0)
            return too_short(input, out->offset, offset, err);
        lines_check_update(out, bytes_of(block, (size_t)n));
    }
    return SOREX_OK;
}

/* What was read to its end has grown: by more lines, or was it cut and written anew? */
static enum sorex_status file_grown(const struct lines_input *input, struct sorex_error *err)
{
    struct lines_check now;
    uint64_t offset = input->base + input->at;
    TRY(file_check(input, offset, &now, err));
    return lines_check_value(&now) == lines_check_value(&input->check) ? SOREX_OK
                                                                       : mismatch(input, offset, input->number, err);
}

/* At the end of a file that is followed. One that has no name any more, or none yet, is waited for: a rename takes a
 * moment. */
static enum sorex_status file_same(struct lines_input *input, struct sorex_error *err)
{
    struct stat opened, named;
    uint64_t offset = input->base + input->buf.len;
    TRY(file_reaches(input, offset, &opened, err));
    if (stat(input->path, &named) != 0 || (named.st_dev == opened.st_dev && named.st_ino == opened.st_ino))
        return SOREX_OK;
    return sorex_error_set(err, SOREX_MISMATCH,
                           "%s: another file has taken its place; the old one was read to its end, byte %llu" CHOICES,
                           input->name, (unsigned long long)offset);
}

/* ---- reading ---- */

/* How much of the buffer's beginning nobody will ask for again. */
static size_t droppable(const struct lines_input *input)
{
    if (input->regular)
        return input->at;
    uint64_t keep = lines_check_from(input->delivered);
    if (keep < input->base)
        keep = input->base;
    size_t drop = keep - input->base < input->at ? (size_t)(keep - input->base) : input->at;
    return input->at - drop > KEPT_BYTES_MAX ? input->at - KEPT_BYTES_MAX : drop;
}

/* Moves what is needed to the front when that is at most twice as much as what goes, so that a byte moves twice at
 * most. */
static enum sorex_status room_make(struct lines_input *input, struct sorex_error *err)
{
    struct buf *buf = &input->buf;
    size_t drop = droppable(input);
    if (buf->cap - buf->len < READ_BYTES && drop > 0 && drop >= (buf->len - drop) / 2) {
        memmove(buf->data, buf->data + drop, buf->len - drop);
        buf->len -= drop;
        input->base += drop;
        input->at -= drop;
        input->whole -= drop;
    }
    return buf_reserve(buf, READ_BYTES, err);
}

/* *out_n 0: nothing is there now; sets drained, and ended. */
static enum sorex_status file_read_on(struct lines_input *input, size_t *out_n, struct sorex_error *err)
{
    uint64_t offset = input->base + input->buf.len;
    uint64_t left = input->limit > offset ? input->limit - offset : 0;
    size_t want = left < READ_BYTES ? (size_t)left : READ_BYTES;
    ssize_t n;
    do
        n = pread(input->fd, input->buf.data + input->buf.len, want, (off_t)offset);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "read %s", input->name);
    if (n > 0 && input->drained)
        TRY(file_grown(input, err));
    input->drained = n == 0;
    input->ended = n == 0 && (!input->follow || offset >= input->limit);
    *out_n = (size_t)n;
    /* What was read goes out before anything is said about what comes next. */
    return n == 0 && !input->ended && input->whole == input->at ? file_same(input, err) : SOREX_OK;
}

static enum sorex_status stream_read_on(struct lines_input *input, size_t *out_n, struct sorex_error *err)
{
    struct pollfd pollfd = {.fd = input->fd, .events = POLLIN};
    *out_n = 0;
    input->drained = true;
    /* A named pipe that no writer has opened yet reads as ended. */
    if (input->ended || poll(&pollfd, 1, 0) <= 0)
        return SOREX_OK;
    ssize_t n = read(input->fd, input->buf.data + input->buf.len, READ_BYTES);
    if (n < 0 && (errno == EINTR || errno == EAGAIN))
        return SOREX_OK;
    if (n < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "read %s", input->name);
    input->drained = input->ended = n == 0;
    *out_n = (size_t)n;
    return SOREX_OK;
}

/* Remembers where the last line ends in the buffer, of which what lies behind `from` is new. */
static void whole_find(struct lines_input *input, size_t from)
{
    const uint8_t *last = input->buf.len > from ? memrchr(input->buf.data + from, '\n', input->buf.len - from) : NULL;
    if (last != NULL)
        input->whole = (size_t)(last + 1 - input->buf.data);
    if (input->whole < input->at)
        input->whole = input->at;
}

/* *out_n: bytes that were read; 0: nothing is there now. */
static enum sorex_status read_on(struct lines_input *input, size_t *out_n, struct sorex_error *err)
{
    TRY(room_make(input, err));
    TRY(input->regular ? file_read_on(input, out_n, err) : stream_read_on(input, out_n, err));
    size_t had = input->buf.len;
    input->buf.len += *out_n;
    whole_find(input, had);
    return SOREX_OK;
}

static void end_look(struct lines_input *input)
{
    struct stat st;
    if (!input->regular)
        input->end = input->ended ? input->base + input->buf.len : 0;
    else if (fstat(input->fd, &st) == 0)
        input->end = (uint64_t)st.st_size;
}

enum sorex_status lines_input_fill(struct lines_input *input, size_t want, struct sorex_error *err)
{
    size_t n = 1;
    if (want > FILL_BYTES_MAX)
        want = FILL_BYTES_MAX;
    while (n > 0) {
        size_t unread = input->buf.len - input->at;
        if (unread >= want && (input->whole > input->at || unread > SOREX_CHANGE_BYTES_MAX))
            break;
        TRY(read_on(input, &n, err));
    }
    end_look(input);
    return SOREX_OK;
}

/* ---- waiting ---- */

enum sorex_status lines_input_wait(struct lines_input *input, uint64_t ms, struct sorex_error *err)
{
    struct pollfd fds[2] = {{.fd = input->wake, .events = POLLIN},
                            {.fd = input->regular ? input->notify : input->fd, .events = POLLIN}};
    uint64_t most = input->regular ? LOOK_MS : INT32_MAX;
    uint8_t events[4096];
    if (poll(fds, 2, (int)(ms < most ? ms : most)) < 0 && errno != EINTR)
        return sorex_error_set_errno(err, SOREX_IO, errno, "wait for %s", input->name);
    if ((fds[0].revents & POLLIN) != 0)
        return sorex_error_set(err, SOREX_STOPPED, "%s: interrupted", input->name);
    if (input->notify >= 0)
        while (read(input->notify, events, sizeof events) > 0) {
        }
    return SOREX_OK;
}

void lines_input_interrupt(struct lines_input *input)
{
    uint64_t one = 1;
    while (write(input->wake, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

/* ---- seeking ---- */

static enum sorex_status file_seek(struct lines_input *input, const struct position *position, struct sorex_error *err)
{
    uint8_t before = '\n';
    TRY(file_check(input, position->offset, &input->check, err));
    if (position->offset > 0 && pread(input->fd, &before, 1, (off_t)position->offset - 1) < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "read %s", input->name);
    input->inside = before != '\n';
    buf_reset(&input->buf);
    input->base = position->offset;
    input->at = input->whole = 0;
    input->drained = input->ended = false;
    return SOREX_OK;
}

/* Reads on until the position is in the buffer, forgetting what is not needed for its check. */
static enum sorex_status stream_reach(struct lines_input *input, uint64_t offset, struct sorex_error *err)
{
    for (size_t n; input->base + input->buf.len < offset;) {
        input->at = input->whole = input->buf.len;
        TRY(lines_input_wait(input, 0, err));
        TRY(read_on(input, &n, err));
        if (input->ended)
            return too_short(input, input->base + input->buf.len, offset, err);
        if (n == 0)
            TRY(lines_input_wait(input, UINT64_MAX, err));
    }
    return SOREX_OK;
}

static enum sorex_status stream_seek(struct lines_input *input, const struct position *position,
                                     struct sorex_error *err)
{
    uint64_t from = lines_check_from(position->offset);
    if (from < input->base)
        return sorex_error_set(err, SOREX_GONE,
                               "%s: was read on, and cannot be read again from byte %llu; start again with the same "
                               "input from its beginning",
                               input->name, (unsigned long long)position->offset);
    if (input->delivered < position->offset)
        input->delivered = position->offset;
    TRY(stream_reach(input, position->offset, err));
    input->at = (size_t)(position->offset - input->base);
    lines_check_start(&input->check, from);
    if (position->offset > from)
        lines_check_update(&input->check,
                           bytes_of(input->buf.data + (from - input->base), (size_t)(position->offset - from)));
    input->inside = input->at > 0 && input->buf.data[input->at - 1] != '\n';
    input->whole = input->at;
    whole_find(input, input->at);
    return SOREX_OK;
}

enum sorex_status lines_input_seek(struct lines_input *input, const struct position *position, struct sorex_error *err)
{
    TRY(input->regular ? file_seek(input, position, err) : stream_seek(input, position, err));
    input->number = position->number;
    if (position->check != 0 && position->check != lines_check_value(&input->check))
        return mismatch(input, position->offset, position->number, err);
    return SOREX_OK;
}
