/* Logs of messages: read from JSON lines or frames, written as frames. docs/formats/derivation.md.
 *
 * Thread: one at a time, but for messages_interrupt. */
#ifndef SOREX_DERIVE_MESSAGES_H
#define SOREX_DERIVE_MESSAGES_H

#include "base/position.h"
#include "derive/logged.h"

struct messages;

struct messages_options {
    bool follow;   /* the end of the file is not its end: it grows */
    bool torn_end; /* of frames: what is no whole, right frame is the end, which messages_torn tells */
};

/* path: borrowed until close; "-" is standard input. options may be NULL. Which form it has shows the first byte.
 * Errors: SOREX_INVALID, SOREX_IO, SOREX_NOMEM. */
enum sorex_status messages_open(const char *path, const struct messages_options *options, struct messages **out,
                                struct sorex_error *err);
void messages_close(struct messages *messages); /* NULL is fine */

/* Of a file: goes on behind `end`, which is the end of its messages up to that offset. Errors: SOREX_IO. */
enum sorex_status messages_seek(struct messages *messages, uint64_t offset, const struct log_end *end,
                                struct sorex_error *err);

/* The beginning of a file of lines, and the messages that it was. */
struct messages_mark {
    struct position position; /* behind a line's end */
    uint8_t content[SHA256_BYTES];
    struct log_end end;
};
/* Of what was given so far. False: none can be made, of frames, of what is no file, and within a line. */
bool messages_mark(const struct messages *messages, struct messages_mark *out);
/* Before the first message: goes on behind the mark. *out false: the log begins with something else, and is at its
 * beginning. Whatever else the file and its past are: equal bytes are equal messages. Errors: SOREX_IO, SOREX_NOMEM. */
enum sorex_status messages_resume(struct messages *messages, const struct messages_mark *mark, bool *out,
                                  struct sorex_error *err);

enum messages_state {
    MESSAGES_ONE,  /* out has it, until the next call */
    MESSAGES_NONE, /* nothing came within the time */
    MESSAGES_END,  /* nor will there be any */
};
/* The next message. wait_ms: how long to wait for it, where the log can grow (a file that is followed, a pipe).
 *
 * Errors: with the log's name and the line or the number of the message (from 1):
 *         SOREX_INVALID  no message, or one out of order; SOREX_LIMIT too long; SOREX_CORRUPT of frames: cut off,
 *         changed, left out, moved; SOREX_MISMATCH the file was cut or replaced; SOREX_STOPPED interrupted;
 *         SOREX_IO, SOREX_NOMEM. */
enum sorex_status messages_next(struct messages *messages, uint64_t wait_ms, enum messages_state *out_state,
                                struct logged *out, struct sorex_error *err);
/* Reads on until `count` messages were given in all. Errors: SOREX_GONE there are fewer. */
enum sorex_status messages_skip(struct messages *messages, uint64_t count, struct sorex_error *err);
/* The end of what was given so far. */
const struct log_end *messages_end(const struct messages *messages);
/* Offset in the file behind what was given so far. */
uint64_t messages_offset(const struct messages *messages);
/* After MESSAGES_END with torn_end: something stands behind it. */
bool messages_torn(const struct messages *messages);
/* Thread: any; also in a signal handler. */
void messages_interrupt(struct messages *messages);

/* -- writing ------------------------------------------------------------------------------------------------------ */

/* A file of frames that grows. Zero-initialise; pair with messages_writer_close. */
struct messages_writer {
    int fd;
    bool open;
    struct buf buf;
    const char *path; /* borrowed */
};
/* Begins an empty file, or goes on behind `offset`, cutting off what stands there. Errors: SOREX_IO. */
enum sorex_status messages_writer_open(struct messages_writer *writer, const char *path, uint64_t offset,
                                       struct sorex_error *err);
/* Takes the next message; it may stay in memory until the next sync. Errors: SOREX_IO, SOREX_NOMEM. */
enum sorex_status messages_writer_add(struct messages_writer *writer, const struct logged *logged,
                                      struct sorex_error *err);
/* Everything is durable. */
enum sorex_status messages_writer_sync(struct messages_writer *writer, struct sorex_error *err);
void messages_writer_close(struct messages_writer *writer);

#define MESSAGES_MAGIC "SOREXLG1"
#define MESSAGES_MAGIC_BYTES 8u
#define MESSAGES_FRAME_HEAD_BYTES 12u /* before the canonical form */
/* Appends a frame. */
enum sorex_status messages_frame(const struct logged *logged, struct buf *out, struct sorex_error *err);

#endif
