/* Preloaded into the program by test_*.py: system calls on files below one directory that fail, come short or tell the
 * wrong time. Asked for by environment variables:
 *
 *   FAULT_DIR     watched directory (absolute); nothing elsewhere is touched
 *   FAULT_CALLS   letters: w write, s sync, r read, o open for writing, n rename, t truncate and allocate, l link and
 *                 mkdir; k the headers of a message to Kafka, whatever the directory is
 *   FAULT_NTH     the nth such call fails (from 1); 0 = none, calls are only counted
 *   FAULT_LASTING 1: and every one after it, as on a full disk
 *   FAULT_ERRNO   with this number; 0 = the process is killed there, as by kill -9
 *   FAULT_SHORT   1: every read and write below the directory moves at most half of what was asked for (and at least a
 *                 byte)
 *   FAULT_REPORT  a file that gets one line: calls seen, and the one that failed
 *   FAULT_CLOCK   seconds by which the time of day jumps, there and back, at every 16th question
 *
 * The report is written at once when a call fails and again at exit, so that an aborted process leaves one too. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define FDS 65536
#define CLOCK_EVERY 16

static atomic_bool watched[FDS];
static atomic_long seen;
static atomic_long ticks;
static char failed_call[PATH_MAX + 64];

static struct {
    char dir[PATH_MAX];
    char report[PATH_MAX];
    char calls[16];
    long nth;
    int number;
    bool lasting;
    bool shortened;
    long clock_jump;
} plan;

static long number_of(const char *name)
{
    const char *text = getenv(name);
    return text != NULL ? strtol(text, NULL, 10) : 0;
}

static void text_of(const char *name, char *out, size_t size)
{
    const char *text = getenv(name);
    (void)snprintf(out, size, "%s", text != NULL ? text : "");
}

/* By system call: what is watched must not count itself. */
static void report_write(void)
{
    char line[sizeof failed_call + 64];
    int len = snprintf(line, sizeof line, "%ld %s\n", atomic_load(&seen), failed_call);
    if (plan.report[0] == '\0' || len <= 0)
        return;
    long fd = syscall(SYS_openat, AT_FDCWD, plan.report, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0)
        return;
    (void)syscall(SYS_write, (int)fd, line, (size_t)len);
    (void)syscall(SYS_close, (int)fd);
}

__attribute__((constructor)) static void shim_start(void)
{
    text_of("FAULT_DIR", plan.dir, sizeof plan.dir);
    text_of("FAULT_REPORT", plan.report, sizeof plan.report);
    text_of("FAULT_CALLS", plan.calls, sizeof plan.calls);
    plan.nth = number_of("FAULT_NTH");
    plan.number = (int)number_of("FAULT_ERRNO");
    plan.lasting = number_of("FAULT_LASTING") != 0;
    plan.shortened = number_of("FAULT_SHORT") != 0;
    plan.clock_jump = number_of("FAULT_CLOCK");
}

__attribute__((destructor)) static void shim_end(void) { report_write(); }

static bool path_watched(const char *path)
{
    size_t len = strlen(plan.dir);
    return len > 0 && path != NULL && strncmp(path, plan.dir, len) == 0;
}

static bool fd_watched(int fd)
{
    return fd >= 0 && fd < FDS && atomic_load_explicit(&watched[fd], memory_order_relaxed);
}

/* Counts a call; true when it is to fail, with errno set. */
static bool fails(char letter, const char *call, int fd, const char *path)
{
    if (strchr(plan.calls, letter) == NULL || letter == '\0')
        return false;
    long mine = atomic_fetch_add(&seen, 1) + 1;
    if (plan.nth == 0 || mine < plan.nth || (mine > plan.nth && !plan.lasting))
        return false;
    if (mine == plan.nth) {
        char link[64];
        char target[PATH_MAX] = "";
        (void)snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        if (path == NULL && readlink(link, target, sizeof target - 1) > 0)
            path = target;
        (void)snprintf(failed_call, sizeof failed_call, "%s %s", call, path != NULL ? path : "?");
        report_write();
    }
    if (plan.number == 0)
        (void)kill(getpid(), SIGKILL);
    errno = plan.number;
    return true;
}

static size_t part_of(int fd, size_t len) { return plan.shortened && len > 1 && fd_watched(fd) ? len / 2 : len; }

#define REAL(type, name)                                                                \
    static _Atomic(type) real;                                                          \
    type next = atomic_load(&real);                                                     \
    if (next == NULL) {                                                                 \
        *(void **)&next = dlsym(RTLD_NEXT, name); /* POSIX allows it, ISO C does not */ \
        atomic_store(&real, next);                                                      \
    }

/* ---- reads and writes */

typedef ssize_t (*write_fn)(int, const void *, size_t);
typedef ssize_t (*pwrite_fn)(int, const void *, size_t, off_t);
typedef ssize_t (*writev_fn)(int, const struct iovec *, int);
typedef ssize_t (*read_fn)(int, void *, size_t);
typedef ssize_t (*pread_fn)(int, void *, size_t, off_t);

ssize_t write(int fd, const void *data, size_t len)
{
    REAL(write_fn, "write")
    return fd_watched(fd) && fails('w', "write", fd, NULL) ? -1 : next(fd, data, part_of(fd, len));
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    REAL(writev_fn, "writev")
    return fd_watched(fd) && fails('w', "writev", fd, NULL) ? -1 : next(fd, parts, count);
}

static ssize_t pwrite_as(pwrite_fn next, int fd, const void *data, size_t len, off_t at)
{
    return fd_watched(fd) && fails('w', "pwrite", fd, NULL) ? -1 : next(fd, data, part_of(fd, len), at);
}

ssize_t pwrite(int fd, const void *data, size_t len, off_t at)
{
    REAL(pwrite_fn, "pwrite")
    return pwrite_as(next, fd, data, len, at);
}

ssize_t pwrite64(int fd, const void *data, size_t len, off_t at)
{
    REAL(pwrite_fn, "pwrite64")
    return pwrite_as(next, fd, data, len, at);
}

ssize_t read(int fd, void *data, size_t len)
{
    REAL(read_fn, "read")
    return fd_watched(fd) && fails('r', "read", fd, NULL) ? -1 : next(fd, data, part_of(fd, len));
}

static ssize_t pread_as(pread_fn next, int fd, void *data, size_t len, off_t at)
{
    return fd_watched(fd) && fails('r', "pread", fd, NULL) ? -1 : next(fd, data, part_of(fd, len), at);
}

ssize_t pread(int fd, void *data, size_t len, off_t at)
{
    REAL(pread_fn, "pread")
    return pread_as(next, fd, data, len, at);
}

ssize_t pread64(int fd, void *data, size_t len, off_t at)
{
    REAL(pread_fn, "pread64")
    return pread_as(next, fd, data, len, at);
}

/* ---- syncs, sizes */

typedef int (*fd_fn)(int);
typedef int (*size_fn)(int, off_t);
typedef int (*allocate_fn)(int, int, off_t, off_t);

int fsync(int fd)
{
    REAL(fd_fn, "fsync")
    return fd_watched(fd) && fails('s', "fsync", fd, NULL) ? -1 : next(fd);
}

int fdatasync(int fd)
{
    REAL(fd_fn, "fdatasync")
    return fd_watched(fd) && fails('s', "fdatasync", fd, NULL) ? -1 : next(fd);
}

int ftruncate(int fd, off_t size)
{
    REAL(size_fn, "ftruncate")
    return fd_watched(fd) && fails('t', "ftruncate", fd, NULL) ? -1 : next(fd, size);
}

int ftruncate64(int fd, off_t size)
{
    REAL(size_fn, "ftruncate64")
    return fd_watched(fd) && fails('t', "ftruncate", fd, NULL) ? -1 : next(fd, size);
}

int fallocate(int fd, int mode, off_t at, off_t len)
{
    REAL(allocate_fn, "fallocate")
    return fd_watched(fd) && fails('t', "fallocate", fd, NULL) ? -1 : next(fd, mode, at, len);
}

int fallocate64(int fd, int mode, off_t at, off_t len)
{
    REAL(allocate_fn, "fallocate64")
    return fd_watched(fd) && fails('t', "fallocate", fd, NULL) ? -1 : next(fd, mode, at, len);
}

int close(int fd)
{
    REAL(fd_fn, "close")
    if (fd >= 0 && fd < FDS)
        atomic_store(&watched[fd], false);
    return next(fd);
}

/* ---- names */

typedef int (*open_fn)(const char *, int, ...);
typedef int (*openat_fn)(int, const char *, int, ...);
typedef int (*rename_fn)(const char *, const char *);
typedef int (*mkdir_fn)(const char *, mode_t);

static bool open_fails(const char *path, int flags)
{
    bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_CREAT) != 0;
    return path_watched(path) && writes && fails('o', "open", -1, path);
}

static int opened(int fd, const char *path)
{
    if (fd >= 0 && fd < FDS)
        atomic_store(&watched[fd], path_watched(path));
    return fd;
}

static mode_t mode_of(int flags, va_list list)
{
    return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(list, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    REAL(open_fn, "open")
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_fails(path, flags) ? -1 : opened(next(path, flags, mode), path);
}

int open64(const char *path, int flags, ...)
{
    REAL(open_fn, "open64")
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_fails(path, flags) ? -1 : opened(next(path, flags, mode), path);
}

int openat(int dir, const char *path, int flags, ...)
{
    REAL(openat_fn, "openat")
    va_list list;
    va_start(list, flags);
    mode_t mode = mode_of(flags, list);
    va_end(list);
    return open_fails(path, flags) ? -1 : opened(next(dir, path, flags, mode), path);
}

int rename(const char *from, const char *to)
{
    REAL(rename_fn, "rename")
    return path_watched(to) && fails('n', "rename", -1, to) ? -1 : next(from, to);
}

int link(const char *from, const char *to)
{
    REAL(rename_fn, "link")
    return path_watched(to) && fails('l', "link", -1, to) ? -1 : next(from, to);
}

int mkdir(const char *path, mode_t mode)
{
    REAL(mkdir_fn, "mkdir")
    return path_watched(path) && fails('l', "mkdir", -1, path) ? -1 : next(path, mode);
}

/* ---- librdkafka: each message that the Kafka sink sends has headers */

typedef void *headers_type(size_t count);
typedef headers_type *headers_fn;
headers_type rd_kafka_headers_new;

void *rd_kafka_headers_new(size_t count)
{
    REAL(headers_fn, "rd_kafka_headers_new")
    return fails('k', "rd_kafka_headers_new", -1, "a message") ? NULL : next(count);
}

/* ---- the time of day; monotonic clocks stay as they are, as on a real machine */

typedef int (*clock_fn)(clockid_t, struct timespec *);
typedef int (*day_fn)(struct timeval *, void *);
typedef time_t (*time_fn)(time_t *);

static long jump(void)
{
    if (plan.clock_jump == 0)
        return 0;
    long turn = atomic_fetch_add(&ticks, 1) / CLOCK_EVERY % 3;
    return turn == 0 ? 0 : turn == 1 ? plan.clock_jump : -plan.clock_jump;
}

int clock_gettime(clockid_t clock, struct timespec *out)
{
    REAL(clock_fn, "clock_gettime")
    int answer = next(clock, out);
    if (answer == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        out->tv_sec += jump();
    return answer;
}

int gettimeofday(struct timeval *restrict out, void *restrict zone)
{
    REAL(day_fn, "gettimeofday")
    int answer = next(out, zone);
    if (answer == 0)
        out->tv_sec += jump();
    return answer;
}

time_t time(time_t *out)
{
    REAL(time_fn, "time")
    time_t now = next(NULL) + jump();
    if (out != NULL)
        *out = now;
    return now;
}
