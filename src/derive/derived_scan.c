/* Walking over messages.log: what it has in common with a given log, and which known state lies furthest on it. */
#include "derive/derived_private.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/check.h"
#include "base/file.h"

#define COPY_BYTES ((size_t)1 << 20)

struct walk {
    struct derived *derived;
    struct known *best;
    uint64_t at_most;
    struct log_place place;
    uint8_t key[SHA256_BYTES];
};

/* A state with this key may be where deriving begins. */
static void consider(struct walk *walk)
{
    const struct derived *derived = walk->derived;
    bool tip = derived->begun && memcmp(derived->receipt.key, walk->key, SHA256_BYTES) == 0;
    bool cached = !tip && cache_has(derived->cache, walk->key);
    if ((!tip && !cached && walk->place.end.count != 0) || walk->place.end.count > walk->at_most)
        return;
    *walk->best = (struct known){.tip = tip, .cached = cached, .place = walk->place};
    memcpy(walk->best->point.key, walk->key, SHA256_BYTES);
}

static void walk_begin(struct walk *walk)
{
    sha256_once(derivation_identity(walk->derived->derivation), walk->key);
    walk->place.offset = MESSAGES_MAGIC_BYTES;
    log_end_init(&walk->place.end);
    consider(walk);
}

static void walk_on(struct walk *walk, const struct logged *logged, uint64_t offset, const struct log_end *end)
{
    chain_add(walk->key, logged->hash);
    walk->place.offset = offset;
    walk->place.end = *end;
    consider(walk);
}

static enum sorex_status own_open(const struct derived *derived, struct messages **out, struct sorex_error *err)
{
    return messages_open(derived->messages, &(struct messages_options){.torn_end = true}, out, err);
}

enum sorex_status derived_scan(struct derived *derived, uint64_t at_most, struct known *out, struct log_place *out_end,
                               struct sorex_error *err)
{
    struct walk walk = {.derived = derived, .best = out, .at_most = at_most};
    struct messages *own = NULL;
    struct logged logged;
    enum messages_state state = MESSAGES_ONE;
    walk_begin(&walk);
    TRY(own_open(derived, &own, err));
    enum sorex_status status = SOREX_OK;
    while (status == SOREX_OK && state == MESSAGES_ONE && walk.place.end.count < at_most) {
        status = messages_next(own, 0, &state, &logged, err);
        if (status == SOREX_OK && state == MESSAGES_ONE)
            walk_on(&walk, &logged, messages_offset(own), messages_end(own));
    }
    messages_close(own);
    *out_end = walk.place;
    return status;
}

/* ---- a given log ---- */

/* Another file with the same beginning, to be renamed over the one that is there. */
static enum sorex_status copy_begin(const char *from, const char *to, uint64_t bytes, struct sorex_error *err)
{
    struct buf block = {0};
    int in = open(from, O_RDONLY | O_CLOEXEC);
    int out = open(to, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
    enum sorex_status status = buf_reserve(&block, COPY_BYTES, err);
    if (status == SOREX_OK && (in < 0 || out < 0))
        status = sorex_error_set_errno(err, SOREX_IO, errno, "copy %s", from);
    while (status == SOREX_OK && bytes > 0) {
        ssize_t n = read(in, block.data, bytes < COPY_BYTES ? (size_t)bytes : COPY_BYTES);
        if (n == 0)
            status = sorex_error_set(err, SOREX_IO, "%s was cut off while it was copied", from);
        else if (n < 0 || write(out, block.data, (size_t)n) != n)
            status = sorex_error_set_errno(err, SOREX_IO, errno, "copy %s to %s", from, to);
        else
            bytes -= (uint64_t)n;
    }
    if (in >= 0)
        (void)close(in);
    if (out >= 0)
        (void)close(out);
    buf_deinit(&block);
    return status;
}

/* The given log beside the directory's own. */
struct merge {
    struct walk walk;
    struct messages *given, *own;
    uint64_t wait_ms;              /* for the given one */
    struct messages_writer writer; /* open once they part */
    char path[PATH_MAX + 8];       /* that it writes */
    bool replaces;                 /* messages.log itself is left as it is, up to the end */
    struct logged logged;
};

static enum sorex_status part(struct merge *merge, bool own_goes_on, struct sorex_error *err)
{
    const struct derived *derived = merge->walk.derived;
    merge->replaces = own_goes_on;
    (void)snprintf(merge->path, sizeof merge->path, "%s%s", derived->messages, own_goes_on ? ".new" : "");
    if (own_goes_on)
        TRY(copy_begin(derived->messages, merge->path, merge->walk.place.offset, err));
    return messages_writer_open(&merge->writer, merge->path, merge->walk.place.offset, err);
}

/* Takes a message of the given log; own has the same one, or they part here. */
static enum sorex_status merge_one(struct merge *merge, struct sorex_error *err)
{
    struct logged own;
    enum messages_state state;
    if (!merge->writer.open) {
        TRY(messages_next(merge->own, 0, &state, &own, err));
        if (state == MESSAGES_ONE && memcmp(own.hash, merge->logged.hash, SHA256_BYTES) == 0) {
            walk_on(&merge->walk, &own, messages_offset(merge->own), messages_end(merge->own));
            return SOREX_OK;
        }
        TRY(part(merge, state == MESSAGES_ONE, err));
    }
    TRY(messages_writer_add(&merge->writer, &merge->logged, err));
    walk_on(&merge->walk, &merge->logged,
            merge->walk.place.offset + MESSAGES_FRAME_HEAD_BYTES + merge->logged.canonical.len,
            messages_end(merge->given));
    return SOREX_OK;
}

/* What the directory has, from this message on, stays. */
static enum sorex_status keep_own(struct merge *merge, struct logged *own, struct sorex_error *err)
{
    enum messages_state state = MESSAGES_ONE;
    while (state == MESSAGES_ONE) {
        walk_on(&merge->walk, own, messages_offset(merge->own), messages_end(merge->own));
        TRY(messages_next(merge->own, 0, &state, own, err));
    }
    return SOREX_OK;
}

static enum sorex_status merge_all(struct merge *merge, struct sorex_error *log_error, struct sorex_error *err)
{
    struct logged own;
    enum messages_state state = MESSAGES_ONE;
    while (log_error->status == SOREX_OK && state == MESSAGES_ONE) {
        (void)messages_next(merge->given, merge->wait_ms, &state, &merge->logged, log_error);
        if (log_error->status == SOREX_OK && state == MESSAGES_ONE)
            TRY(merge_one(merge, err));
    }
    if (!merge->writer.open) { /* the given one may be shorter, and what stands behind ours torn */
        TRY(messages_next(merge->own, 0, &state, &own, err));
        if (state == MESSAGES_ONE && log_error->status != SOREX_OK)
            return keep_own(merge, &own, err); /* nobody knows whether it is */
        TRY(part(merge, state == MESSAGES_ONE, err));
    }
    TRY(messages_writer_sync(&merge->writer, err));
    return merge->replaces ? file_rename(merge->path, merge->walk.derived->messages, err) : SOREX_OK;
}

/* Skips what both logs are known to have: the given one begins as it did the last time, and the state is the one that
 * this gave, so that nothing before it is a better place to begin at. */
static enum sorex_status skip_known(struct merge *merge, struct sorex_error *err)
{
    struct walk *walk = &merge->walk;
    const struct derived *derived = walk->derived;
    const struct log_place *place = &derived->given.place;
    bool same =
        derived->given.there && derived->begun && memcmp(derived->receipt.key, derived->given.key, SHA256_BYTES) == 0;
    if (!same)
        return SOREX_OK;
    enum sorex_status status = messages_seek(merge->own, place->offset, &place->end, err);
    if (status == SOREX_MISMATCH) /* it was cut: both are read */
        return SOREX_OK;
    TRY(status);
    TRY(messages_resume(merge->given, &derived->given.mark, &same, err));
    if (!same)
        return messages_seek(merge->own, 0, &walk->place.end, err); /* of none */
    walk->place = *place;
    memcpy(walk->key, derived->given.key, SHA256_BYTES);
    consider(walk);
    return SOREX_OK;
}

static void given_keep(const struct merge *merge)
{
    struct derived *derived = merge->walk.derived;
    derived->given.there = messages_mark(merge->given, &derived->given.mark);
    derived->given.place = merge->walk.place;
    memcpy(derived->given.key, merge->walk.key, SHA256_BYTES);
}

enum sorex_status derived_ingest(struct derived *derived, struct messages *log, bool follow, struct known *out,
                                 struct log_place *out_end, struct sorex_error *log_error, struct sorex_error *err)
{
    struct merge merge = {.walk = {.derived = derived, .best = out, .at_most = UINT64_MAX},
                          .given = log,
                          .wait_ms = follow ? 0 : INT32_MAX};
    walk_begin(&merge.walk);
    TRY(own_open(derived, &merge.own, err));
    enum sorex_status status = skip_known(&merge, err);
    if (status == SOREX_OK)
        status = merge_all(&merge, log_error, err);
    derived->given.there = false;
    if (status == SOREX_OK && log_error->status == SOREX_OK)
        given_keep(&merge);
    messages_writer_close(&merge.writer);
    messages_close(merge.own);
    *out_end = merge.walk.place;
    return status;
}
