#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum sorex_status file_read(const char *path, size_t max, struct buf *out, struct sorex_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "open %s", path);
    enum sorex_status status = SOREX_OK;
    size_t start = out->len;
    for (;;) {
        status = buf_reserve(out, (size_t)1 << 16, err);
        if (status != SOREX_OK)
            break;
        ssize_t n = read(fd, out->data + out->len, out->cap - out->len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            status = sorex_error_set_errno(err, SOREX_IO, errno, "read %s", path);
            break;
        }
        if (n == 0)
            break;
        out->len += (size_t)n;
        if (out->len - start > max) {
            status = sorex_error_set(err, SOREX_LIMIT, "%s is larger than %zu bytes", path, max);
            break;
        }
    }
    (void)close(fd);
    if (status != SOREX_OK)
        out->len = start;
    return status;
}

static enum sorex_status directory_sync(const char *path, struct sorex_error *err)
{
    char directory[PATH_MAX];
    const char *slash = strrchr(path, '/');
    size_t len = slash == NULL ? 0 : (size_t)(slash - path);
    if (len >= sizeof directory)
        return sorex_error_set(err, SOREX_INVALID, "path too long: %s", path);
    memcpy(directory, path, len);
    (void)strcpy(directory + len, slash == NULL ? "." : len == 0 ? "/" : "");
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        int code = errno;
        if (fd >= 0)
            (void)close(fd);
        return sorex_error_set_errno(err, SOREX_IO, code, "sync directory %s", directory);
    }
    (void)close(fd);
    return SOREX_OK;
}

enum sorex_status file_replace(const char *path, struct bytes content, struct sorex_error *err)
{
    char temporary[PATH_MAX];
    if (snprintf(temporary, sizeof temporary, "%s.tmp", path) >= (int)sizeof temporary)
        return sorex_error_set(err, SOREX_INVALID, "path too long: %s", path);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "create %s", temporary);
    size_t done = 0;
    while (done < content.len) {
        ssize_t n = write(fd, content.data + done, content.len - done);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0) {
            int code = errno;
            (void)close(fd);
            return sorex_error_set_errno(err, SOREX_IO, code, "write %s", temporary);
        }
        done += (size_t)n;
    }
    int failed = fsync(fd) != 0 ? errno : 0;
    if (close(fd) != 0 && failed == 0)
        failed = errno;
    if (failed == 0 && rename(temporary, path) != 0)
        failed = errno;
    if (failed != 0)
        return sorex_error_set_errno(err, SOREX_IO, failed, "replace %s", path);
    return directory_sync(path, err);
}

enum sorex_status file_rename(const char *from, const char *to, struct sorex_error *err)
{
    if (rename(from, to) != 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "rename %s to %s", from, to);
    return directory_sync(to, err);
}

enum sorex_status file_mkdirs(const char *path, struct sorex_error *err)
{
    char partial[PATH_MAX];
    size_t len = strlen(path);
    if (len == 0 || len >= sizeof partial)
        return sorex_error_set(err, SOREX_INVALID, "bad directory path \"%s\"", path);
    memcpy(partial, path, len + 1);
    for (size_t i = 1; i <= len; i++) {
        if (partial[i] != '/' && partial[i] != '\0')
            continue;
        partial[i] = '\0';
        if (mkdir(partial, 0755) != 0 && errno != EEXIST)
            return sorex_error_set_errno(err, SOREX_IO, errno, "create directory %s", partial);
        partial[i] = i == len ? '\0' : '/';
    }
    struct stat info;
    if (stat(path, &info) != 0 || !S_ISDIR(info.st_mode))
        return sorex_error_set(err, SOREX_IO, "%s is not a directory", path);
    return SOREX_OK;
}
