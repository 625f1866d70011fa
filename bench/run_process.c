#include "bench/run_process.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "bench/harness.h"

struct run_cost run_pipeline(const char *pipeline_file, unsigned until)
{
    const char *program = getenv("SOREX_BIN");
    char height[16];
    struct rusage usage;
    int status;
    if (program == NULL)
        bench_die("SOREX_BIN is not set: run the benchmarks with `make bench`");
    (void)snprintf(height, sizeof height, "%u", until);
    uint64_t start = clock_ns();
    pid_t pid = fork();
    if (pid < 0)
        bench_die("fork failed");
    if (pid == 0) {
        int null = open("/dev/null", O_WRONLY);
        (void)dup2(null, STDOUT_FILENO);
        if (getenv("SOREX_BENCH_VERBOSE") == NULL)
            (void)dup2(null, STDERR_FILENO);
        (void)execl(program, program, "run", pipeline_file, "--until", height, (char *)NULL);
        _exit(127);
    }
    if (wait4(pid, &status, 0, &usage) != pid)
        bench_die("wait4 failed");
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        bench_die("%s run %s failed; SOREX_BENCH_VERBOSE=1 shows why", program, pipeline_file);
    return (struct run_cost){(double)(clock_ns() - start) / 1e9, (double)usage.ru_maxrss / 1024};
}
