#include "sink/tail.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"

#define CHUNK_BYTES ((size_t)1 << 20)

enum sorex_status tail_failure(int code) { return code == ENOSPC || code == EDQUOT ? SOREX_AGAIN : SOREX_IO; }

enum sorex_status tail_init(struct tail *tail, const char *path, bool fsync, struct sorex_error *err)
{
    *tail = (struct tail){.fd = -1, .fsync = fsync, .path = strdup(path)};
    return tail->path != NULL ? SOREX_OK : sorex_error_set(err, SOREX_NOMEM, "out of memory");
}

void tail_deinit(struct tail *tail)
{
    if (tail->path == NULL)
        return;
    if (tail->fd >= 0)
        (void)close(tail->fd);
    buf_deinit(&tail->out);
    free(tail->path);
    tail->path = NULL;
}

static enum sorex_status directory_make(const char *path, struct sorex_error *err)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    if (slash == NULL || slash == path)
        return SOREX_OK;
    if (snprintf(directory, sizeof directory, "%.*s", (int)(slash - path), path) >= (int)sizeof directory)
        return sorex_error_set(err, SOREX_INVALID, "path too long: %s", path);
    return file_mkdirs(directory, err);
}

/* Locked: a second writer would cut off what the first one is writing. */
enum sorex_status tail_open(struct tail *tail, struct sorex_error *err)
{
    if (tail->fd >= 0)
        return SOREX_OK;
    TRY(directory_make(tail->path, err));
    int fd = open(tail->path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return sorex_error_set_errno(err, tail_failure(errno), errno, "open %s", tail->path);
    struct stat info;
    if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        (void)close(fd);
        return sorex_error_set(err, SOREX_INVALID, "%s is not a regular file", tail->path);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        (void)close(fd);
        return sorex_error_set(err, SOREX_AGAIN, "another process writes %s", tail->path);
    }
    tail->fd = fd;
    return SOREX_OK;
}

enum sorex_status tail_size(const struct tail *tail, uint64_t *out, struct sorex_error *err)
{
    struct stat info;
    if (fstat(tail->fd, &info) != 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "look at %s", tail->path);
    *out = (uint64_t)info.st_size;
    return SOREX_OK;
}

static enum sorex_status cut(struct tail *tail, uint64_t size, struct sorex_error *err)
{
    if (ftruncate(tail->fd, (off_t)size) != 0 || (tail->fsync && fsync(tail->fd) != 0))
        return sorex_error_set_errno(err, SOREX_IO, errno, "cut %s back to %" PRIu64 " bytes", tail->path, size);
    return SOREX_OK;
}

enum sorex_status tail_begin(struct tail *tail, bool append, struct sorex_error *err)
{
    uint64_t size;
    char last = '\n';
    TRY(tail_size(tail, &size, err));
    if (!append && size > 0) {
        TRY(cut(tail, 0, err));
        size = 0;
    }
    if (size > 0 && pread(tail->fd, &last, 1, (off_t)size - 1) != 1)
        return sorex_error_set_errno(err, SOREX_IO, errno, "read %s", tail->path);
    if (last != '\n')
        return sorex_error_set(
            err, SOREX_INVALID,
            "%s has no cursor and its last line does not end. Choices: end the line; empty the file (`append: false` "
            "does when the sink is new); or give the sink another path",
            tail->path);
    tail->length = tail->at = size;
    return SOREX_OK;
}

enum sorex_status tail_restore(struct tail *tail, uint64_t length, struct sorex_error *err)
{
    uint64_t size;
    TRY(tail_size(tail, &size, err));
    if (size < length)
        return sorex_error_set(
            err, SOREX_CORRUPT,
            "%s has %" PRIu64 " bytes, its cursor says %" PRIu64
            ". Choices: restore the file; or move the sink's files away and begin again from the start",
            tail->path, size, length);
    if (size > length)
        TRY(cut(tail, length, err));
    buf_reset(&tail->out);
    tail->length = tail->at = length;
    return SOREX_OK;
}

static enum sorex_status out_write(struct tail *tail, struct sorex_error *err)
{
    struct bytes rest = buf_view(&tail->out);
    while (rest.len > 0) {
        ssize_t n = pwrite(tail->fd, rest.data, rest.len, (off_t)tail->at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            int code = n == 0 ? ENOSPC : errno;
            return sorex_error_set_errno(err, tail_failure(code), code, "write %s", tail->path);
        }
        tail->at += (uint64_t)n;
        rest = bytes_of(rest.data + n, rest.len - (size_t)n);
    }
    buf_reset(&tail->out);
    return SOREX_OK;
}

enum sorex_status tail_line(struct tail *tail, struct sorex_error *err)
{
    return tail->out.len < CHUNK_BYTES ? SOREX_OK : out_write(tail, err);
}

enum sorex_status tail_flush(struct tail *tail, struct sorex_error *err)
{
    TRY(out_write(tail, err));
    if (tail->fsync && tail->at > tail->length && fdatasync(tail->fd) != 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "sync %s", tail->path);
    return SOREX_OK;
}

void tail_keep(struct tail *tail) { tail->length = tail->at; }

void tail_drop(struct tail *tail)
{
    buf_reset(&tail->out);
    tail->at = tail->length;
    /* Best effort, so that half a line does not stay for long. */
    int ignored = ftruncate(tail->fd, (off_t)tail->length);
    (void)ignored;
}
