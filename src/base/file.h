/* Whole files: read, and replaced atomically with their directory synced. */
#ifndef SOREX_BASE_FILE_H
#define SOREX_BASE_FILE_H

#include "base/bytes.h"

/* Appends the file's content to out. Errors: SOREX_IO with errno and path, SOREX_LIMIT above max bytes. */
enum sorex_status file_read(const char *path, size_t max, struct buf *out, struct sorex_error *err);
/* Writes PATH.tmp, fsyncs, renames over path, fsyncs the directory: after a crash it is the old file or the new one. */
enum sorex_status file_replace(const char *path, struct bytes content, struct sorex_error *err);
/* Renames over what is there and fsyncs the directory. */
enum sorex_status file_rename(const char *from, const char *to, struct sorex_error *err);
/* mkdir -p. */
enum sorex_status file_mkdirs(const char *path, struct sorex_error *err);

#endif
