#include "store/lockfile.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/check.h"

#define LOCKFILE_NAME "sorex.lock"

#define PID_SIZE 32

/* The digits in the file; empty when there are none. */
static void pid_read(int fd, char out[PID_SIZE])
{
    ssize_t len = pread(fd, out, PID_SIZE - 1, 0);
    size_t digits = 0;
    while (len > 0 && digits < (size_t)len && out[digits] >= '0' && out[digits] <= '9')
        digits++;
    out[digits] = '\0';
}

static enum sorex_status path_make(char out[PATH_MAX], const char *dir, struct sorex_error *err)
{
    int len = snprintf(out, PATH_MAX, "%s/%s", dir, LOCKFILE_NAME);
    if (len >= 0 && len < PATH_MAX)
        return SOREX_OK;
    return sorex_error_set(err, SOREX_INVALID, "path of the store is too long");
}

static enum sorex_status held_by_another(int fd, const char *path, struct sorex_error *err)
{
    char pid[PID_SIZE];
    pid_read(fd, pid);
    return sorex_error_set(err, SOREX_BUSY,
                           "another process%s%s has this store open for writing (%s); ask it through its socket "
                           "(`sorex status`, `sorex view`), stop it, or use another data directory",
                           pid[0] != '\0' ? ", pid " : "", pid, path);
}

/* The process id, for held_by_another. A write may come short. */
static bool pid_write(int fd)
{
    char pid[PID_SIZE];
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
    char path[PATH_MAX];
    TRY(path_make(path, dir, err));
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

bool lockfile_owner_alive(const char *dir)
{
    char path[PATH_MAX], pid[PID_SIZE];
    if (path_make(path, dir, NULL) != SOREX_OK)
        return false;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    pid_read(fd, pid);
    close(fd);
    long number = strtol(pid, NULL, 10);
    return number > 0 && number != (long)getpid() && (kill((pid_t)number, 0) == 0 || errno == EPERM);
}
