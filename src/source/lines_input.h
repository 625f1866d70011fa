/* The bytes that source `lines` cuts into lines: of a file, which can be read again at any place, or of a stream
 * (standard input, a named pipe), of which what was not delivered yet is kept.
 *
 *     base             at                 whole
 *      | was given out  | whole lines      | the beginning of one |  what comes next is read behind it
 */
#ifndef SOREX_SOURCE_LINES_INPUT_H
#define SOREX_SOURCE_LINES_INPUT_H

#include "base/bytes.h"
#include "base/position.h"
#include "source/lines_check.h"

struct lines_input {
    const char *path; /* borrowed; "-" is standard input */
    const char *name; /* for messages */
    bool regular;     /* a file; otherwise a stream */
    bool follow;      /* the end of the file is not its end */
    int fd;
    int wake;   /* eventfd: interrupted, for good */
    int notify; /* inotify; -1: none, the file is looked at now and then */
    struct buf buf;
    uint64_t base;            /* offset of its first byte */
    size_t at, whole;         /* in buf */
    uint64_t number;          /* lines before `at` */
    bool inside;              /* a line that is counted already: it had no end, and now it goes on */
    struct lines_check check; /* at `at` */
    uint64_t delivered;       /* offset; of a stream, what lies before it need not be kept */
    uint64_t limit;           /* offset at which a file that is followed counts as ended; UINT64_MAX: never */
    uint64_t end;             /* offset behind what is there; 0: not known */
    bool drained;             /* everything that was there is read */
    bool ended;               /* and nothing more will come */
};

/* until_end: see event_source_context. Errors: SOREX_INVALID, SOREX_IO. Pair with lines_input_close, also after a
 * failure. */
enum sorex_status lines_input_open(struct lines_input *input, const char *path, bool follow, bool until_end,
                                   struct sorex_error *err);
void lines_input_close(struct lines_input *input);

/* Reads what is there now, until `want` bytes (32 MiB at most) and a whole line lie behind `at`, or more than a line
 * may have. Does not wait. Errors: SOREX_MISMATCH: the file was cut or replaced; SOREX_IO, SOREX_NOMEM. */
enum sorex_status lines_input_fill(struct lines_input *input, size_t want, struct sorex_error *err);
/* Waits until there may be more, or ms passed. Errors: SOREX_STOPPED: interrupted, now or earlier; SOREX_IO. */
enum sorex_status lines_input_wait(struct lines_input *input, uint64_t ms, struct sorex_error *err);
/* Takes the next line: bytes behind `at`, its end included. */
static inline void lines_input_take(struct lines_input *input, size_t bytes)
{
    lines_check_update(&input->check, bytes_of(input->buf.data + input->at, bytes));
    input->at += bytes;
    input->whole = input->whole > input->at ? input->whole : input->at;
    input->number += !input->inside;
    input->inside = false;
}
/* Goes to a position. A stream is read up to there, which may wait.
 * Errors: SOREX_MISMATCH: it is not the file or stream of that position; SOREX_GONE: a stream was read further, and
 * what lies behind the position is not kept any more; SOREX_STOPPED; SOREX_IO. */
enum sorex_status lines_input_seek(struct lines_input *input, const struct position *position, struct sorex_error *err);
/* Thread: any; also in a signal handler. */
void lines_input_interrupt(struct lines_input *input);

/* Of `at`. */
static inline struct position lines_input_position(const struct lines_input *input)
{
    return (struct position){input->base + input->at, input->number, lines_check_value(&input->check)};
}

#endif
