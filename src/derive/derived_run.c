/* Deriving: from the best state that is known, on to the log's end, saved on the way. */
#include "derive/derived_private.h"

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"

struct run {
    struct derived *derived;
    const struct derived_run_options *options;
    struct derived_progress *progress;
    struct log_place end; /* of messages.log */
    bool stopped;
};

/* ---- snapshots ---- */

static enum sorex_status snapshot_put(struct derived *derived, struct sorex_error *err)
{
    uint64_t began = clock_ms();
    enum sorex_status status = cache_put_database(derived->cache, derived->derivation, saved_database(derived->saved),
                                                  &derived->receipt, NULL, err);
    cache_pace_kept(&derived->pace, began, derived->receipt.count);
    return status;
}

/* ---- the state to begin with ---- */

enum sorex_status derived_become(struct derived *derived, struct database *database, const struct receipt *receipt,
                                 struct sorex_error *err)
{
    struct snapshot *snapshot = NULL;
    TRY(database_save(database, &snapshot, err));
    enum sorex_status status = database_restore(saved_database(derived->saved), snapshot, err);
    snapshot_drop(snapshot);
    TRY(status);
    derived->receipt = *receipt;
    derived->begun = true;
    return derived_commit(derived, err);
}

static enum sorex_status become_cached(struct derived *derived, const uint8_t key[SHA256_BYTES],
                                       struct sorex_error *err)
{
    struct database *database = NULL;
    struct receipt receipt;
    TRY(cache_get_database(derived->cache, derived->derivation, key, &database, &receipt, err));
    enum sorex_status status = derived_become(derived, database, &receipt, err);
    database_close(database);
    return status;
}

/* What is left behind for another branch is kept: whoever goes back to it need not derive it again. */
static enum sorex_status leave(struct derived *derived, struct sorex_error *err)
{
    if (derived->settings.cache_bytes == 0 || !derived->begun || derived->receipt.count == 0 ||
        cache_has(derived->cache, derived->receipt.key))
        return SOREX_OK;
    return snapshot_put(derived, err);
}

static enum sorex_status go_to(struct derived *derived, struct known *known, struct sorex_error *err)
{
    struct log_place end;
    if (!known->tip)
        TRY(leave(derived, err));
    while (!known->tip) {
        struct sorex_error why = {0};
        enum sorex_status status =
            known->cached ? become_cached(derived, known->point.key, &why) : derived_begin(derived, err);
        if (!known->cached || status == SOREX_OK)
            return status;
        if (status != SOREX_GONE)
            return sorex_error_set(err, status, "%s", why.text);
        TRY(derived_scan(derived, UINT64_MAX, known, &end, err)); /* it was damaged: the next best one */
    }
    return SOREX_OK;
}

/* ---- messages ---- */

static bool go_on(struct run *run, bool waiting)
{
    const struct derived *derived = run->derived;
    struct derived_progress *progress = run->progress;
    progress->count = derived->receipt.count;
    progress->rejected = derived->receipt.rejected;
    progress->total = run->end.end.count;
    progress->waiting = waiting;
    if (run->options->progress != NULL && !run->options->progress(run->options->user_data, progress))
        run->stopped = true;
    return !run->stopped;
}

static enum sorex_status checkpoint(struct derived *derived, struct sorex_error *err)
{
    if (derived->dirty) {
        if (derived->writer.open)
            TRY(messages_writer_sync(&derived->writer, err));
        TRY(derived_commit(derived, err));
    }
    derived->committed = derived->receipt;
    derived->committed_ms = clock_ms();
    return SOREX_OK;
}

/* After a message that stopped the derivation: everything before it again, and saved. */
static enum sorex_status recover(struct derived *derived, struct sorex_error *err)
{
    uint64_t count = derived->receipt.count;
    struct messages *own = NULL;
    if (derived->writer.open)
        TRY(messages_writer_sync(&derived->writer, err));
    TRY(saved_restore(derived->saved, err));
    derived->receipt = derived->committed;
    TRY(derived_messages(derived, derived->receipt.count, &own, err));
    enum sorex_status status =
        derivation_replay(derived->derivation, saved_database(derived->saved), &derived->receipt, own, count, err);
    messages_close(own);
    return status == SOREX_OK ? derived_commit(derived, err) : status;
}

/* One message: applied, saved when it is time. */
static enum sorex_status apply(struct run *run, const struct logged *logged, struct sorex_error *err)
{
    struct derived *derived = run->derived;
    const struct derive_settings *settings = &derived->settings;
    enum sorex_status status = derivation_step(derived->derivation, saved_database(derived->saved), &derived->receipt,
                                               logged, NULL, NULL, NULL, err);
    if (status != SOREX_OK) {
        struct sorex_error again = {0};
        if (recover(derived, &again) != SOREX_OK) {
            log_line(LOG_ERROR, "derive", "the state before it could not be restored: %s", again.text);
            derived->begun = derived->dirty = false; /* it may be anywhere: neither saved nor gone on from */
        }
        return status;
    }
    derived->dirty = true;
    run->progress->applied++;
    bool snapshot = cache_pace_due(&derived->pace, settings, derived->receipt.count);
    if (snapshot || derived->receipt.count - derived->committed.count >= settings->checkpoint_messages ||
        clock_ms() - derived->committed_ms >= settings->checkpoint_ms)
        TRY(checkpoint(derived, err));
    return snapshot ? snapshot_put(derived, err) : SOREX_OK;
}

/* What messages.log has behind the state. */
static enum sorex_status derive_own(struct run *run, const struct log_place *from, struct sorex_error *err)
{
    struct derived *derived = run->derived;
    struct messages *own = NULL;
    struct logged logged;
    enum messages_state state = MESSAGES_ONE;
    TRY(messages_open(derived->messages, &(struct messages_options){.torn_end = true}, &own, err));
    enum sorex_status status = messages_seek(own, from->offset, &from->end, err);
    while (status == SOREX_OK && go_on(run, false)) {
        status = messages_next(own, 0, &state, &logged, err);
        if (status != SOREX_OK || state != MESSAGES_ONE)
            break;
        status = apply(run, &logged, err);
    }
    messages_close(own);
    return status == SOREX_OK ? checkpoint(derived, err) : status;
}

/* What the given log gets from now on. */
static enum sorex_status derive_following(struct run *run, struct sorex_error *err)
{
    struct derived *derived = run->derived;
    struct logged logged;
    enum messages_state state = MESSAGES_ONE;
    TRY(messages_writer_open(&derived->writer, derived->messages, run->end.offset, err));
    while (state != MESSAGES_END && go_on(run, state == MESSAGES_NONE)) {
        uint64_t wait = derived->dirty ? 0 : derived->settings.checkpoint_ms;
        TRY(messages_next(run->options->log, wait, &state, &logged, err));
        if (state != MESSAGES_ONE) { /* idle: what there is should be durable, and seen by others */
            TRY(checkpoint(derived, err));
            continue;
        }
        TRY(messages_writer_add(&derived->writer, &logged, err));
        run->end.offset += MESSAGES_FRAME_HEAD_BYTES + logged.canonical.len;
        run->end.end = *messages_end(run->options->log);
        TRY(apply(run, &logged, err));
    }
    return checkpoint(derived, err);
}

/* Everything before what is wrong is kept; the first error is told. */
static enum sorex_status follow(struct run *run, struct sorex_error *err)
{
    struct derived *derived = run->derived;
    enum sorex_status status = derive_following(run, err);
    if (status != SOREX_OK && derived->dirty && !database_broken(saved_database(derived->saved))) {
        struct sorex_error again = {0};
        if (checkpoint(derived, &again) != SOREX_OK)
            log_line(LOG_ERROR, "derive", "the state could not be saved: %s", again.text);
    }
    messages_writer_close(&derived->writer);
    return status;
}

enum sorex_status derived_run(struct derived *derived, const struct derived_run_options *options,
                              struct derived_progress *out, struct sorex_error *err)
{
    struct run run = {.derived = derived, .options = options, .progress = out};
    struct known known;
    struct sorex_error log_error = {0};
    *out = (struct derived_progress){0};
    CHECK(!derived->read_only);
    if (options->log != NULL)
        TRY(derived_ingest(derived, options->log, options->follow, &known, &run.end, &log_error, err));
    else
        TRY(derived_scan(derived, UINT64_MAX, &known, &run.end, err));
    if (options->log == NULL && derived->receipt.count > run.end.end.count)
        return sorex_error_set(
            err, SOREX_CORRUPT, "%s has %llu whole messages, and %llu were derived: give the log again",
            derived->messages, (unsigned long long)run.end.end.count, (unsigned long long)derived->receipt.count);
    TRY(go_to(derived, &known, err));
    out->began = derived->receipt.count;
    derived->committed_ms = derived->pace.at_ms = clock_ms();
    TRY(checkpoint(derived, err));
    TRY(derive_own(&run, &known.place, err));
    if (log_error.status != SOREX_OK)
        return sorex_error_set(err, log_error.status, "%s", log_error.text);
    if (options->follow && !run.stopped)
        TRY(follow(&run, err));
    (void)go_on(&run, false);
    return SOREX_OK;
}
