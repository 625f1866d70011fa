#include "bench/rpc/node.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/harness.h"

#define START_MS 30000

/* Starts a program of the dependencies with its output thrown away. */
static pid_t start(const char *name, const char *const *arguments)
{
    char path[4096];
    const char *deps = getenv("SOREX_DEPS");
    const char *argv[16] = {name};
    if (deps == NULL)
        bench_die("SOREX_DEPS is not set: run the benchmarks with `make bench`");
    (void)snprintf(path, sizeof path, "%s/%s", deps, name);
    if (access(path, X_OK) != 0)
        bench_die("%s is missing", path);
    for (size_t i = 0; arguments[i] != NULL && i < 14; i++)
        argv[i + 1] = arguments[i];
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork failed");
    if (pid == 0) {
        int null = open("/dev/null", O_RDWR);
        (void)dup2(null, STDOUT_FILENO);
        (void)dup2(null, STDERR_FILENO);
        (void)execv(path, (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    return pid;
}

static struct sockaddr_in address_of(unsigned port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

/* A port that was free a moment ago. */
static unsigned free_port(void)
{
    struct sockaddr_in address = address_of(0);
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (const struct sockaddr *)&address, len) != 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) != 0)
        bench_die("no port is free");
    (void)close(fd);
    return ntohs(address.sin_port);
}

static bool listens(unsigned port)
{
    struct sockaddr_in address = address_of(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool connected = fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (fd >= 0)
        (void)close(fd);
    return connected;
}

bool node_installed(void)
{
    static const char *const names[] = {"btcd", "addblock"};
    const char *deps = getenv("SOREX_DEPS");
    char path[4096];
    for (size_t i = 0; deps != NULL && i < 2; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", deps, names[i]);
        if (access(path, X_OK) != 0)
            return false;
    }
    return deps != NULL;
}

void node_start(struct node *node, const char *dir, const char *block_file)
{
    char data[256], log[256], listen_at[64];
    int status;
    (void)snprintf(data, sizeof data, "--datadir=%s/node", dir);
    (void)snprintf(log, sizeof log, "--logdir=%s/log", dir);
    pid_t pid = start("addblock", (const char *const[]){data, "-i", block_file, NULL});
    if (waitpid(pid, &status, 0) != pid || status != 0)
        bench_die("addblock could not import %s", block_file);

    node->port = free_port();
    (void)snprintf(listen_at, sizeof listen_at, "--rpclisten=127.0.0.1:%u", node->port);
    node->pid =
        start("btcd", (const char *const[]){data, log, listen_at, "--configfile=/dev/null", "--rpcuser=" NODE_USER,
                                            "--rpcpass=" NODE_PASSWORD, "--notls", "--nolisten",
                                            "--connect=127.0.0.1:1", "--rpcmaxclients=100", NULL});
    uint64_t deadline = clock_ms() + START_MS;
    while (!listens(node->port)) {
        if (clock_ms() > deadline || waitpid(node->pid, &status, WNOHANG) != 0)
            bench_die("btcd did not start");
        (void)poll(NULL, 0, 20);
    }
}

void node_stop(struct node *node)
{
    (void)kill(node->pid, SIGTERM);
    (void)waitpid(node->pid, NULL, 0);
}
