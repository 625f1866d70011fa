#include "base/signals.h"

#include <pthread.h>

void signals_block(sigset_t *out_before)
{
    static const int raised[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGTRAP, SIGABRT};
    sigset_t set;
    (void)sigfillset(&set);
    for (size_t i = 0; i < sizeof raised / sizeof raised[0]; i++)
        (void)sigdelset(&set, raised[i]);
    (void)pthread_sigmask(SIG_SETMASK, &set, out_before);
}

void signals_restore(const sigset_t *before) { (void)pthread_sigmask(SIG_SETMASK, before, NULL); }
