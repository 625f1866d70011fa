/* A directory of a test's own under the working directory, removed at its end; and entries for tests. */
#ifndef TESTS_STORE_SCRATCH_H
#define TESTS_STORE_SCRATCH_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/entry.h"
#include "store/store.h"

#define SCRATCH_PATH_MAX 256

/* Makes a new directory and puts its path in out. */
void scratch_make(char out[SCRATCH_PATH_MAX]);
/* Removes it with everything in it. */
void scratch_remove(const char *path);

/* The entry of a height on a branch; its parent is the entry one below on parent_branch. */
struct entry entry_make(uint32_t height, uint32_t branch, uint32_t parent_branch);

/* Fails the test with the error's text when the status is not SOREX_OK. */
#define OK(call)                                 \
    do {                                         \
        if ((call) != SOREX_OK)                  \
            fail_msg("%s: %s", #call, err.text); \
    } while (0)

#endif
