/* Work in a child process that is killed at a boundary of its nth system call. */
#ifndef SOREX_TESTS_SINK_KILLED_H
#define SOREX_TESTS_SINK_KILLED_H

#include <stdbool.h>

enum killed { KILLED, KILLED_NOT, KILLED_UNTRACEABLE };

/* Runs work(user_data), which returns an exit code that must be 0, and kills it when it stops for the nth time (each
 * system call stops twice). KILLED_NOT: it came to its end before; KILLED_UNTRACEABLE: ptrace is not allowed here. */
enum killed killed_at(unsigned n, int (*work)(void *user_data), void *user_data);

#endif
