/* Signals while a thread is started: it inherits what is blocked.
 *
 * What comes from outside (SIGTERM, SIGINT, ...) is for the thread that waits for it. What a thread raises itself must
 * not be blocked in a thread that runs guests: a trap is such a signal, and one that is blocked kills the process. */
#ifndef SOREX_BASE_SIGNALS_H
#define SOREX_BASE_SIGNALS_H

#include <signal.h>

/* Blocks what comes from outside; *out_before is for signals_restore. */
void signals_block(sigset_t *out_before);
void signals_restore(const sigset_t *before);

#endif
