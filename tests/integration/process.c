#include "integration/process.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

#define POLL_MS 5

static bool executable(const char *directory, size_t len, const char *name, char out[PATH_MAX])
{
    return snprintf(out, PATH_MAX, "%.*s/%s", (int)len, directory, name) < PATH_MAX && access(out, X_OK) == 0;
}

bool process_find(const char *name, const char *variable, char out[PATH_MAX])
{
    const char *given = getenv(variable);
    if (given != NULL && *given != '\0')
        return snprintf(out, PATH_MAX, "%s", given) < PATH_MAX && access(out, X_OK) == 0;
    char built[PATH_MAX];
    const char *source = getenv("SOREX_SOURCE_DIR");
    if (source != NULL && snprintf(built, sizeof built, "%s/build/deps/bin", source) < PATH_MAX &&
        executable(built, strlen(built), name, out))
        return true;
    for (const char *path = getenv("PATH"); path != NULL && *path != '\0';) {
        size_t len = strcspn(path, ":");
        if (len > 0 && executable(path, len, name, out))
            return true;
        path += len + (path[len] == ':');
    }
    return false;
}

static void run_child(char *const argv[], int log, pid_t parent)
{
    sigset_t none;
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent)
        _exit(126);
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
    int in = open("/dev/null", O_RDONLY);
    if (in < 0 || dup2(in, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
        _exit(126);
    (void)execv(argv[0], argv);
    _exit(127);
}

enum sorex_status process_start(char *const argv[], const char *log, pid_t *out, struct sorex_error *err)
{
    int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (fd < 0)
        return sorex_error_set_errno(err, SOREX_IO, errno, "open %s", log);
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid == 0)
        run_child(argv, fd, parent);
    int native = errno;
    (void)close(fd);
    if (pid < 0)
        return sorex_error_set_errno(err, SOREX_IO, native, "start %s", argv[0]);
    *out = pid;
    return SOREX_OK;
}

bool process_alive(pid_t *pid)
{
    if (*pid == 0)
        return false;
    if (waitpid(*pid, NULL, WNOHANG) == 0)
        return true;
    *pid = 0;
    return false;
}

static bool ended(void *user_data) { return !process_alive(user_data); }

void process_end(pid_t *pid, int signal, uint32_t timeout_ms)
{
    if (!process_alive(pid))
        return;
    (void)kill(*pid, signal);
    if (wait_for(ended, pid, timeout_ms))
        return;
    (void)kill(*pid, SIGKILL);
    (void)waitpid(*pid, NULL, 0);
    *pid = 0;
}

uint16_t port_free(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    uint16_t port = 0;
    if (fd >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        getsockname(fd, (struct sockaddr *)&address, &len) == 0)
        port = ntohs(address.sin_port);
    if (fd >= 0)
        (void)close(fd);
    return port;
}

enum sorex_status scratch_make(char out[PATH_MAX], struct sorex_error *err)
{
    const char *base = getenv("TMPDIR");
    if (base == NULL || *base == '\0')
        base = "/tmp";
    if (snprintf(out, PATH_MAX, "%s/sorex-test-XXXXXX", base) >= PATH_MAX || mkdtemp(out) == NULL)
        return sorex_error_set_errno(err, SOREX_IO, errno, "make a directory in %s", base);
    return SOREX_OK;
}

static int remove_one(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    (void)remove(path);
    return 0;
}

void scratch_remove(const char *path)
{
    if (path[0] != '\0')
        (void)nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

bool wait_for(wait_condition_fn *condition, void *user_data, uint32_t timeout_ms)
{
    uint64_t deadline = clock_ms() + timeout_ms;
    while (!condition(user_data)) {
        if (clock_ms() >= deadline)
            return false;
        (void)nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
    }
    return true;
}
