/* Status codes and errors: what every fallible function of sorex returns.
 *
 * A status says what the caller can do; the text, the native code and the position go to the caller's
 * struct sorex_error. Each layer puts its context in front of the text ("height 840243: program balances: ..."). */
#ifndef SOREX_STATUS_H
#define SOREX_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define SOREX_API __attribute__((visibility("default")))
#define SOREX_PRINTF(fmt_index, first) __attribute__((format(printf, fmt_index, first)))
#else
#define SOREX_API
#define SOREX_PRINTF(fmt_index, first)
#endif

/* X(name, text, what the caller can do) */
#define SOREX_STATUS_LIST(X)                                                                       \
    X(OK, "ok", "nothing to do")                                                                   \
    X(INVALID, "invalid", "the argument, file or option is wrong: correct it")                     \
    X(AGAIN, "again", "not now: the same call may succeed later")                                  \
    X(GONE, "gone", "no such thing here, or not any more (beyond the horizon, above the tip)")     \
    X(CORRUPT, "corrupt", "stored or received bytes do not decode: restore or refetch them")       \
    X(LIMIT, "limit", "a configured or documented limit was exceeded")                             \
    X(NOMEM, "nomem", "out of memory")                                                             \
    X(GUEST, "guest", "the guest trapped, failed or broke its contract")                           \
    X(IO, "io", "the operating system, a server or a library failed")                              \
    X(MISMATCH, "mismatch", "it belongs to another module, network, format or store")              \
    X(BUSY, "busy", "somebody else holds it")                                                      \
    X(STOPPED, "stopped", "interrupted on request; nothing was lost")                              \
    X(FATAL, "fatal", "the engine cannot go on safely: end the process")

enum sorex_status {
#define SOREX_STATUS_ENUM(name, text, action) SOREX_##name,
    SOREX_STATUS_LIST(SOREX_STATUS_ENUM)
#undef SOREX_STATUS_ENUM
};

#define SOREX_ERROR_TEXT_MAX 1024

struct sorex_error {
    enum sorex_status status;
    int native;                      /* errno, SQLSTATE class, HTTP status or similar; 0 when there is none */
    char text[SOREX_ERROR_TEXT_MAX]; /* NUL-terminated UTF-8, no trailing newline, cut when too long */
};

/* The short lower-case name of a status ("corrupt"). Never NULL. */
SOREX_API const char *sorex_status_name(enum sorex_status status);

/* Sets err (which may be NULL) and returns status, so that `return sorex_error_set(err, SOREX_INVALID, "...")` reads well. */
SOREX_API enum sorex_status sorex_error_set(struct sorex_error *err, enum sorex_status status, const char *format, ...)
    SOREX_PRINTF(3, 4);

/* As sorex_error_set with the text of errno value `native` appended: "open FILE: No such file or directory". */
SOREX_API enum sorex_status sorex_error_set_errno(struct sorex_error *err, enum sorex_status status, int native,
                                                  const char *format, ...) SOREX_PRINTF(4, 5);

/* Puts "PREFIX: " in front of the text and returns err's status (SOREX_FATAL when err is NULL). */
SOREX_API enum sorex_status sorex_error_prefix(struct sorex_error *err, const char *format, ...) SOREX_PRINTF(2, 3);

#ifdef __cplusplus
}
#endif
#endif
