#include "bench/run_process.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/harness.h"

#define WORDS_MAX 16

/* In the child. */
static _Noreturn void program_become(const char *program, const char *const words[], const char *input, bool alone)
{
    const char *argv[WORDS_MAX + 2] = {program};
    int null = open("/dev/null", O_RDWR);
    for (size_t i = 0; words[i] != NULL && i < WORDS_MAX; i++)
        argv[i + 1] = words[i];
    (void)dup2(input != NULL ? open(input, O_RDONLY) : null, STDIN_FILENO);
    (void)dup2(null, STDOUT_FILENO);
    if (getenv("SOREX_BENCH_VERBOSE") == NULL)
        (void)dup2(null, STDERR_FILENO);
    if (alone) {
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(0, &one);
        (void)sched_setaffinity(0, sizeof one, &one);
    }
    (void)execv(program, (char *const *)(uintptr_t)argv);
    _exit(127);
}

struct run_cost run_program(const char *const words[], const char *input, bool alone)
{
    const char *program = getenv("SOREX_BIN");
    struct rusage usage;
    int status;
    if (program == NULL)
        bench_die("SOREX_BIN is not set: run the benchmarks with `make bench`");
    uint64_t start = clock_ns();
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork failed");
    if (pid == 0)
        program_become(program, words, input, alone);
    if (wait4(pid, &status, 0, &usage) != pid)
        bench_die("wait4 failed");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        bench_die("%s %s failed; SOREX_BENCH_VERBOSE=1 shows why", program, words[0]);
    return (struct run_cost){(double)(clock_ns() - start) / 1e9, (double)usage.ru_maxrss / 1024};
}

struct run_cost run_pipeline(const char *pipeline_file, unsigned until)
{
    char height[16];
    (void)snprintf(height, sizeof height, "%u", until);
    return run_program((const char *const[]){"run", pipeline_file, "--until", height, NULL}, NULL, false);
}
