/* What the tests of contract 4 share: a database whose messages are scripts for guests/tiny/reducer_script.c. */
#ifndef SOREX_TESTS_GUEST_REDUCER_BASE_H
#define SOREX_TESTS_GUEST_REDUCER_BASE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "guest/reducer.h"

#define assert_ok(call)                                                                 \
    do {                                                                                \
        enum sorex_status assert_status_ = (call);                                      \
        if (assert_status_ != SOREX_OK)                                                 \
            fail_msg("%s: %s: %s", #call, sorex_status_name(assert_status_), err.text); \
    } while (0)

/* One run: a reducer, a database, what comes next. */
struct run {
    struct reducer *reducer;
    struct database *database;
    uint64_t index;
    struct reducer_result result;
};

/* The metered program of the tests; they run in the build directory. */
struct database_program *runs_program(void);
void runs_program_close(void);

/* Guest of guests/tiny ("script"), or of bytes. options may be NULL. */
struct run run_open(const char *guest, const struct reducer_options *options);
struct reducer *run_reducer(const char *guest, const struct reducer_options *options);
void run_close(struct run *run);
/* The next message: at 1,700,000,000,000 ms plus 1,000 for each, by author "tester", its hash and key made of its
 * number. */
enum sorex_status run_try(struct run *run, const char *script, struct sorex_error *err);
struct reducer_message run_message(uint64_t index, const char *script);
/* It is applied. */
void run_ok(struct run *run, const char *script);
/* It is rejected with this code and reason; a reason that ends in * is a beginning. */
void run_rejected(struct run *run, const char *script, int code, const char *reason);
/* The values of a query on a fork, "a|b;c|d". */
const char *run_query(struct run *run, const char *sql);
void assert_query(struct run *run, const char *sql, const char *want);
/* SHA-256 of the image, hex. */
const char *run_image(struct run *run);

#endif
