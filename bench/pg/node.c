#include "bench/pg/node.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "bench/harness.h"

#define PACKAGE SOREX_SOURCE_DIR "/build/deps/pglite-node/node_modules/@electric-sql/pglite"

bool node_open(struct node *node)
{
    int to[2], from[2];
    *node = (struct node){0};
    if (access(PACKAGE "/package.json", R_OK) != 0)
        return false;
    if (pipe2(to, O_CLOEXEC) != 0 || pipe2(from, O_CLOEXEC) != 0)
        bench_die("pipe failed");
    node->pid = fork();
    if (node->pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)dup2(to[0], STDIN_FILENO);
        (void)dup2(from[1], STDOUT_FILENO);
        (void)execlp("node", "node", SOREX_SOURCE_DIR "/bench/pg/pglite.mjs", PACKAGE, (char *)NULL);
        _exit(127);
    }
    (void)close(to[0]);
    (void)close(from[1]);
    node->to = fdopen(to[1], "w");
    node->from = fdopen(from[0], "r");
    (void)signal(SIGPIPE, SIG_IGN);
    double open_ms;
    bool there = node->pid > 0 && node->to != NULL && node->from != NULL && fputs("open 1\n", node->to) >= 0 &&
                 fflush(node->to) == 0 && fscanf(node->from, "%lf", &open_ms) == 1;
    if (!there)
        node_close(node);
    return there;
}

/* What a process has used of processors, in ticks; 0: it is gone. */
static unsigned long ticks(pid_t pid)
{
    char path[64];
    unsigned long user = 0, system = 0;
    (void)snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return 0;
    if (fscanf(file, "%*d (%*[^)]) %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) != 2)
        user = system = 0;
    (void)fclose(file);
    return user + system;
}

/* Node compiles and sweeps in threads of its own, after the answer too: the next one measured is not to share with it.
 */
static void quiet_wait(const struct node *node)
{
    static const struct timespec slice = {.tv_nsec = 200000000};
    unsigned long now = ticks(node->pid), before;
    int rounds = 0;
    do {
        before = now;
        (void)nanosleep(&slice, NULL);
        now = ticks(node->pid);
    } while (now != before && ++rounds < 25);
}

double node_ask(struct node *node, const char *work, int count)
{
    double result;
    if (fprintf(node->to, "%s %d\n", work, count) < 0 || fflush(node->to) != 0 ||
        fscanf(node->from, "%lf", &result) != 1)
        bench_die("PGlite in Node: %s failed", work);
    quiet_wait(node);
    return result;
}

void node_close(struct node *node)
{
    if (node->to != NULL)
        (void)fclose(node->to);
    if (node->from != NULL)
        (void)fclose(node->from);
    if (node->pid > 0)
        (void)waitpid(node->pid, NULL, 0);
    *node = (struct node){0};
}
