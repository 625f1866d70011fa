/* Exit codes. Documented in docs/cli.md and in `sorex --help`. */
#ifndef SOREX_CLI_EXIT_CODE_H
#define SOREX_CLI_EXIT_CODE_H

#include "sorex/status.h"

/* X(code, name, text) */
#define EXIT_CODE_LIST(X)                                                                          \
    X(0, OK, "done, or stopped on request")                                                        \
    X(1, INTERNAL, "out of memory or another failure of the program itself")                       \
    X(2, USAGE, "wrong flags, pipeline file or input")                                             \
    X(3, GUEST, "a guest failed or exceeded a limit; nothing of its entry is visible")             \
    X(4, STORE, "the data belongs to another module, network or format, or is damaged")            \
    X(5, BUSY, "another process has the data directory open for writing")                          \
    X(6, GONE, "beyond the horizon, above the tip, or no such thing (program, view, sink, store)") \
    X(7, IO, "the operating system, a node or a sink failed")                                      \
    X(8, STOPPED, "stopped before --until was reached; the next run continues")                    \
    X(9, DIFFERS, "what had to be equal is not: a simulated history, a receipt, two derivations")                              \
    X(70, FATAL, "the engine could not go on safely")

enum exit_code {
#define EXIT_CODE_ENUM(code, name, text) EXIT_##name##_CODE = code,
    EXIT_CODE_LIST(EXIT_CODE_ENUM)
#undef EXIT_CODE_ENUM
};

static inline int exit_code_of(enum sorex_status status)
{
    switch (status) {
    case SOREX_OK:
        return EXIT_OK_CODE;
    case SOREX_INVALID:
        return EXIT_USAGE_CODE;
    case SOREX_GUEST:
    case SOREX_LIMIT:
        return EXIT_GUEST_CODE;
    case SOREX_MISMATCH:
    case SOREX_CORRUPT:
        return EXIT_STORE_CODE;
    case SOREX_BUSY:
        return EXIT_BUSY_CODE;
    case SOREX_GONE:
        return EXIT_GONE_CODE;
    case SOREX_AGAIN:
    case SOREX_IO:
        return EXIT_IO_CODE;
    case SOREX_STOPPED:
        return EXIT_STOPPED_CODE;
    case SOREX_FATAL:
        return EXIT_FATAL_CODE;
    case SOREX_NOMEM:
        break;
    }
    return EXIT_INTERNAL_CODE;
}

#endif
