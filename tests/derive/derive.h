/* What the tests of this folder share: a scratch folder, files, messages by number. */
#ifndef SOREX_TESTS_DERIVE_H
#define SOREX_TESTS_DERIVE_H

#include <ftw.h>
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/check.h"
#include "base/file.h"
#include "base/hex.h"
#include "derive/messages.h"

#define assert_ok(call)                                                                 \
    do {                                                                                \
        enum sorex_status assert_status_ = (call);                                      \
        if (assert_status_ != SOREX_OK)                                                 \
            fail_msg("%s: %s: %s", #call, sorex_status_name(assert_status_), err.text); \
    } while (0)

#define assert_fails(call, wanted, words)                                                              \
    do {                                                                                               \
        enum sorex_status assert_status_ = (call);                                                     \
        if (assert_status_ != (wanted) || strstr(err.text, (words)) == NULL)                           \
            fail_msg("%s: wanted %s with \"%s\", got %s: %s", #call, sorex_status_name(wanted), words, \
                     sorex_status_name(assert_status_), err.text);                                     \
    } while (0)

static char scratch[PATH_MAX - 256];

static inline const char *in_scratch(const char *name)
{
    static char paths[8][PATH_MAX];
    static size_t next;
    char *path = paths[next++ % 8];
    (void)snprintf(path, PATH_MAX, "%s/%s", scratch, name);
    return path;
}

static inline void folder_make(void)
{
    const char *base = getenv("TMPDIR");
    (void)snprintf(scratch, sizeof scratch, "%s/sorex-derive-XXXXXX", base != NULL ? base : "/tmp");
    assert_non_null(mkdtemp(scratch));
}

static inline int folder_entry_remove(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static inline void folder_remove(void) { (void)nftw(scratch, folder_entry_remove, 16, FTW_DEPTH | FTW_PHYS); }

static inline void write_file(const char *path, struct bytes content)
{
    struct sorex_error err = {0};
    assert_ok(file_replace(path, content, &err));
}

static inline struct buf read_file(const char *path)
{
    struct sorex_error err = {0};
    struct buf content = {0};
    assert_ok(file_read(path, (size_t)1 << 30, &content, &err));
    return content;
}

#endif
