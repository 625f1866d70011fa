/* cmocka puts its own handlers for SIGSEGV, SIGILL, SIGFPE and SIGBUS around every test, with signal(3). Wasmtime turns
 * those signals into traps, and installs its handlers once per process, when the first engine is made: from the second
 * test on, a trapping guest would be a crashed test. So in test programs that run guests, signal(3) leaves these four
 * alone. */
#include <signal.h>
#include <stddef.h>

__attribute__((visibility("default"))) void (*signal(int number, void (*handler)(int)))(int)
{
    struct sigaction action = {.sa_handler = handler, .sa_flags = SA_RESTART};
    struct sigaction before;
    if (number == SIGSEGV || number == SIGILL || number == SIGFPE || number == SIGBUS)
        return SIG_DFL;
    return sigaction(number, &action, &before) == 0 ? before.sa_handler : SIG_ERR;
}
