/* What the verbs of derivations share: files that they read, and how far they are. */
#ifndef SOREX_CLI_DERIVE_REPORT_H
#define SOREX_CLI_DERIVE_REPORT_H

#include "derive/derived.h"

/* The receipt in a file; by receipt_file_deinit, also after an error. */
enum sorex_status receipt_load(const char *path, struct receipt_file *out, struct sorex_error *err);
/* The module in a file; appended. */
enum sorex_status reducer_read(const char *path, struct buf *out, struct sorex_error *err);
/* A number of messages. text NULL: what it is then. */
enum sorex_status count_parse(const char *flag, const char *text, uint64_t otherwise, uint64_t *out,
                              struct sorex_error *err);

/* The line at the bottom of a terminal: "12,000 of 50,000 messages, 4,000 a second". Rewritten a few times a second. */
void derive_line(const char *what, uint64_t count, uint64_t total, uint64_t applied, bool waiting);

/* SIGINT and SIGTERM end what a verb does, at the next message; and the waiting for a log (may be NULL). */
void derive_signals(struct messages *log);
bool derive_stopped(void);

#endif
