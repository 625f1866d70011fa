#include "store/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#define LOCKFILE_NAME "sorex.lock"

static enum sorex_status held_by_another(int fd, const char *path, struct sorex_error *err)
{
    char pid[32] = "";
    ssize_t len = pread(fd, pid, sizeof pid - 1, 0);
    size_t digits = 0;
    while (len > 0 && digits < (size_t)len && pid[digits] >= '0' && pid[digits] <= '9')
        digits++;
    pid[digits] = '\0';
    return sorex_error_set(err, SOREX_BUSY,
                           "another process%s%s has this store open for writing (%s); ask it through its socket "
                           "(`sorex status`, `sorex view`), stop it, or use another data directory",
                           digits != 0 ? ", pid " : "", pid, path);
}

/* The process id, for held_by_another. A write may come short. */
static bool pid_write(int fd)
{
    char pid[32];
    int digits = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (digits < 0 || ftruncate(fd, 0) != 0)
        return false;
    for (size_t done = 0; done < (size_t)digits;) {
        ssize_t n = pwrite(fd, pid + done, (size_t)digits - done, (off_t)done);
        if (n < 0 && errno != EINTR)
            return false;
        done += n > 0 ? (size_t)n : 0;
    }
    return true;
}

enum sorex_status lockfile_take(struct lockfile *lock, const char *dir, struct sorex_error *err)
{
    lock->fd = -1;
    char path[4096];
    int len = snprintf(path, sizeof path, "%s/%s", dir, LOCKFILE_NAME);
    if (len < 0 || (size_t)len >= sizeof path)
        return sorex_error_set(err, SOREX_INVALID, "path of the store is too long");
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
    if (fd < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "open %s", path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        int native = errno;
        enum sorex_status status = native == EWOULDBLOCK
                                       ? held_by_another(fd, path, err)
                                       : sorex_error_set_errno(err, SOREX_IO, native, "lock %s", path);
        close(fd);
        return status;
    }
    if (!pid_write(fd)) {
        enum sorex_status status = sorex_error_set_errno(err, SOREX_IO, errno, "write %s", path);
        close(fd);
        return status;
    }
    lock->fd = fd;
    return SOREX_OK;
}

void lockfile_release(struct lockfile *lock)
{
    if (lock->fd >= 0)
        close(lock->fd); /* the file stays: removing it would race with the next holder */
    lock->fd = -1;
}
