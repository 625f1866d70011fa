/* Assertions that stay on in release: what only a bug can make false. What comes from outside is a status instead. */
#ifndef SOREX_BASE_CHECK_H
#define SOREX_BASE_CHECK_H

/* Prints the condition and its place to standard error and aborts. */
_Noreturn void check_failed(const char *condition, const char *file, int line);

#define CHECK(condition) ((condition) ? (void)0 : check_failed(#condition, __FILE__, __LINE__))

/* Runs a call that returns a status and returns from the caller when it is not SOREX_OK. */
#define TRY(call)                                                                                  \
    do {                                                                                           \
        enum sorex_status try_status_ = (call);                                                    \
        if (try_status_ != SOREX_OK)                                                               \
            return try_status_;                                                                    \
    } while (0)

#endif
