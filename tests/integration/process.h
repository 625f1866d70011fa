/* Programs that a test starts and ends: each by its process id, each gone when the test's process is. Also free ports,
 * scratch directories and waiting on a condition. Add ../integration/process.c to the SOURCES of a test. */
#ifndef SOREX_TESTS_INTEGRATION_PROCESS_H
#define SOREX_TESTS_INTEGRATION_PROCESS_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "sorex/status.h"

/* Looks for a program: the file that environment variable `variable` names, $SOREX_SOURCE_DIR/build/deps/bin, PATH. */
bool process_find(const char *name, const char *variable, char out[PATH_MAX]);

/* Starts argv[0] (a path) with standard output and error appended to the file `log`. It gets SIGKILL when this process
 * ends. Errors: SOREX_IO. */
enum sorex_status process_start(char *const argv[], const char *log, pid_t *out, struct sorex_error *err);
/* True as long as it runs; reaps it when it has ended. *pid becomes 0 then. */
bool process_alive(pid_t *pid);
/* Sends `signal`, waits, sends SIGKILL after timeout_ms. Does nothing when *pid is 0, which it is afterwards. */
void process_end(pid_t *pid, int signal, uint32_t timeout_ms);

/* A TCP port of 127.0.0.1 that was free a moment ago; 0 when there is none. */
uint16_t port_free(void);

/* A new directory under $TMPDIR or /tmp, and its removal with all that is in it. */
enum sorex_status scratch_make(char out[PATH_MAX], struct sorex_error *err);
void scratch_remove(const char *path);

/* Calls `condition` every few milliseconds until it says true; false after timeout_ms. */
typedef bool wait_condition_fn(void *user_data);
bool wait_for(wait_condition_fn *condition, void *user_data, uint32_t timeout_ms);

#endif
