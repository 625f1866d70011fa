/* A message, from its clock to its record:
 *
 *   clock and generator are set; from here on statements run as the guest's role, confined to it
 *   BEGIN; SET LOCAL seed
 *   reduce() in a fresh instance
 *   applied:   the record, as the host's role, in the same transaction
 *              COMMIT, and the session is cleaned
 *   rejected:  ROLLBACK, and the session is cleaned
 *              the record, as the host's role, in a transaction of its own
 *
 * What the transaction's end still runs (deferred triggers, cursors that are held) so runs as the guest. When the
 * backend broke, or the transaction is not what it has to be, the state before the message is made again: the last base
 * is restored, and the messages since are repeated. Then the record follows. */
#include <stdio.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/limits.h"
#include "guest/call.h"
#include "guest/reducer_private.h"
#include "json/utf8.h"

#define HOST_ROLE 10u
#define CLEAN_SQL "; close all; reset all; unlisten *; discard sequences"

/* -- the session's part */

/* One simple query, whose answer is read into the results. */
static enum sorex_status query(struct reducer_call *call, const char *sql, struct sorex_error *err)
{
    struct reducer *reducer = call->reducer;
    buf_reset(&reducer->messages);
    buf_reset(&reducer->replies);
    TRY(protocol_query(&reducer->messages, bytes_str(sql), err));
    TRY(call_exchange(call, &reducer->replies, err));
    TRY(results_collect(&reducer->results, buf_view(&reducer->replies), err));
    call->transaction = reducer->results.transaction;
    const struct result_notice *error = reducer->results.error;
    if (error == NULL)
        return SOREX_OK;
    return call_error(call, error->fields[PROTOCOL_FIELD_SQLSTATE], error->fields[PROTOCOL_FIELD_MESSAGE],
                      error->fields[PROTOCOL_FIELD_DETAIL], err);
}

/* The clock says time at the transaction's beginning: a look at it takes a microsecond. */
static void chance_set(struct database *database, int64_t time_ms, const uint8_t key[SHA256_BYTES])
{
    database_time_set(database, (uint64_t)time_ms * 1000 - 1);
    database_seed_set(database, u64le_get(key + 8));
}

static enum sorex_status begin(struct reducer_call *call, int64_t time_ms, const uint8_t key[SHA256_BYTES],
                               struct sorex_error *err)
{
    char seed[VALUE_FLOAT_TEXT_SIZE], sql[128];
    chance_set(call->database, time_ms, key);
    TRY(database_role_set(call->database, call->reducer->role, true, err));
    value_float8_text((double)(u64le_get(key) >> 11) / 9007199254740992.0, seed);
    (void)snprintf(sql, sizeof sql, "begin; set local seed to %s", seed);
    TRY(query(call, sql, err));
    call->sqlstate[0] = '\0';
    if (call->reducer->results.error != NULL || call->transaction != 'T')
        return call_stop(call, STOP_HOST, SOREX_CORRUPT, err, "no transaction began");
    return SOREX_OK;
}

/* Ends the transaction; *out_ended false: COMMIT failed, and was a ROLLBACK. */
static enum sorex_status end(struct reducer_call *call, bool commit, bool *out_ended, struct sorex_error *err)
{
    TRY(query(call, commit ? "commit" CLEAN_SQL : "rollback" CLEAN_SQL, err));
    const struct results *results = &call->reducer->results;
    *out_ended = results->error == NULL;
    bool began = results->first != NULL && results->first->error == NULL;
    if (call->transaction != 'I' || (!*out_ended && began))
        return call_stop(call, STOP_STATE, SOREX_GUEST, err, "the session could not be cleaned");
    return SOREX_OK;
}

/* -- the guest's part */

static enum sorex_status guest_run(struct reducer_call *call, const struct wasm_export *func, int32_t *out_result,
                                   enum wasm_end *out_end, uint64_t *out_fuel, struct sorex_error *err)
{
    struct reducer *reducer = call->reducer;
    struct wasm_limits limits = {.memory_bytes_max = reducer->memory_bytes_max, .fuel = reducer->fuel};
    struct wasm_sandbox *sandbox = NULL;
    union wasm_value result = {0};
    *out_end = WASM_END_HOST;
    TRY(wasm_sandbox_open(reducer->program, &limits, call, &sandbox, err));
    enum sorex_status status = wasm_sandbox_call(sandbox, func, &result, err);
    *out_end = wasm_sandbox_end(sandbox);
    *out_result = result.i32;
    *out_fuel = wasm_sandbox_fuel_used(sandbox);
    wasm_sandbox_close(sandbox);
    return status;
}

static enum sorex_status reason_set(struct reducer_call *call, struct reducer_result *out, const char *sqlstate,
                                    struct bytes text, struct sorex_error *err)
{
    char clean[REDUCER_REASON_BYTES_MAX];
    struct buf *reason = &call->reducer->reason;
    size_t len = guest_text_clean(text, clean, sizeof clean);
    out->status = REDUCER_REJECTED;
    (void)snprintf(out->sqlstate, sizeof out->sqlstate, "%s", sqlstate);
    buf_reset(reason);
    if (sqlstate[0] != '\0')
        TRY(buf_printf(reason, err, "%s: ", sqlstate));
    TRY(buf_append(reason, bytes_of(clean, len), err));
    out->reason = buf_view(reason);
    return SOREX_OK;
}

static bool failed(const struct reducer_call *call) { return call->refused || call->transaction == 'E'; }

/* Makes the outcome of what the guest did. *out_fault: it is not the guest's own decision.
 * Errors: what stops a derivation. */
static enum sorex_status judge(struct reducer_call *call, enum sorex_status status, enum wasm_end ended, int32_t code,
                               struct reducer_result *out, bool *out_fault, struct sorex_error *err)
{
    char text[64];
    *out_fault = true;
    bool trapped = status != SOREX_OK && call->stop == STOP_NONE;
    if (call->stop == STOP_HOST)
        return sorex_error_set(err, call->stop_status, "%.*s", BYTES_FMT(buf_view(&call->stop_text)));
    if (trapped && ended != WASM_END_TRAP && ended != WASM_END_FUEL)
        return ended == WASM_END_STACK ? sorex_error_set(err, SOREX_GUEST, "stack overflow") : status;
    if (call->stop == STOP_REJECT) {
        *out_fault = false;
        out->code = call->code;
        return reason_set(call, out, "", buf_view(&call->stop_text), err);
    }
    if (call->stop != STOP_NONE)
        return reason_set(call, out, "", buf_view(&call->stop_text), err);
    if (status == SOREX_OK && code > 0) {
        *out_fault = false;
        out->code = code;
        return reason_set(call, out, "", bytes_of(NULL, 0), err);
    }
    if (failed(call) && ended != WASM_END_FUEL)
        return reason_set(call, out, call->sqlstate, buf_view(&call->text), err);
    if (trapped)
        return reason_set(call, out, "", bytes_str(err->text), err);
    if (code < 0) {
        (void)snprintf(text, sizeof text, "it returned %d", (int)code);
        return reason_set(call, out, "", bytes_str(text), err);
    }
    *out_fault = false;
    return SOREX_OK;
}

/* -- a message */

static void call_begin(struct reducer_call *call, struct reducer *reducer, struct database *database)
{
    *call = (struct reducer_call){.reducer = reducer, .database = database};
    sha256_start(&reducer->trace);
}

static void call_end(struct reducer_call *call)
{
    for (size_t i = 0; i < call->handles_count; i++) {
        (void)statement_reset(call, (int32_t)i + 1);
        call->reducer->handles[i]->prepared = NULL;
    }
    buf_deinit(&call->text);
    buf_deinit(&call->stop_text);
}

/* PostgreSQL's last error is why. */
static enum sorex_status reject_by_error(struct reducer_call *call, struct reducer_result *out, struct sorex_error *err)
{
    return reason_set(call, out, call->sqlstate, buf_view(&call->text), err);
}

/* The transaction in hand becomes what the outcome says, or the outcome becomes a rejection. */
static enum sorex_status settle(struct reducer_call *call, struct reducer_result *out, bool *out_fault,
                                struct sorex_error *err)
{
    bool done = false;
    if (out->status == REDUCER_APPLIED) {
        TRY(session_record(call, call->message == NULL ? NULL : out, false, &done, err));
        if (!done || call->transaction != 'T')
            *out_fault = true;
        if (*out_fault)
            TRY(reject_by_error(call, out, err));
    }
    if (out->status == REDUCER_APPLIED) {
        TRY(end(call, true, &done, err));
        if (done)
            return SOREX_OK;
        *out_fault = true;
        TRY(reject_by_error(call, out, err));
    }
    return end(call, false, &done, err);
}

/* Everything but the record of a rejection. A state that has to be put back shows in call->stop. */
static enum sorex_status attempt(struct reducer_call *call, const struct wasm_export *func, int64_t time_ms,
                                 const uint8_t key[SHA256_BYTES], struct reducer_result *out, bool *out_fault,
                                 struct sorex_error *err)
{
    struct sorex_error own = {0};
    enum wasm_end ended;
    int32_t code = 0;
    *out = (struct reducer_result){.status = REDUCER_APPLIED, .reason = bytes_str("")};
    TRY(begin(call, time_ms, key, err));
    enum sorex_status status = guest_run(call, func, &code, &ended, &out->fuel, &own);
    out->statements = call->statements;
    *err = own;
    TRY(judge(call, status, ended, code, out, out_fault, err));
    if (call->stop != STOP_STATE && !(*out_fault && call->reducer->halt)) {
        status = settle(call, out, out_fault, err);
        if (status != SOREX_OK && call->stop != STOP_STATE)
            return status;
    }
    if (call->stop == STOP_STATE) {
        *out_fault = true;
        TRY(reason_set(call, out, "", buf_view(&call->stop_text), err));
    }
    if (*out_fault && call->reducer->halt)
        return sorex_error_set(err, SOREX_GUEST, "%.*s", BYTES_FMT(out->reason));
    return SOREX_OK;
}

static enum sorex_status rejection_record(struct reducer_call *call, const struct reducer_result *result,
                                          struct sorex_error *err)
{
    bool recorded = false;
    TRY(session_record(call, result, true, &recorded, err));
    if (!recorded)
        return sorex_error_set(err, SOREX_INVALID, "it could not be recorded: %s: %.*s", call->sqlstate,
                               BYTES_FMT(buf_view(&call->text)));
    session_recorded(call->reducer);
    return SOREX_OK;
}

/* A message on a state that needs no putting back, or the first try of one. */
static enum sorex_status message_run(struct reducer_call *call, struct reducer_result *out, struct sorex_error *err)
{
    const struct reducer_message *message = call->message;
    bool fault = false;
    TRY(attempt(call, call->reducer->reduce, message->time_ms, message->key, out, &fault, err));
    if (call->stop == STOP_STATE)
        return SOREX_OK;
    if (out->status == REDUCER_REJECTED)
        return rejection_record(call, out, err);
    session_recorded(call->reducer);
    return database_role_set(call->database, HOST_ROLE, false, err);
}

/* Makes the state before the message in hand again. */
static enum sorex_status state_remake(struct reducer *reducer, struct database *database, struct sorex_error *err)
{
    struct reducer_message message;
    size_t at = 0;
    TRY(session_restore(reducer, database, err));
    while (session_kept(reducer, &at, &message)) {
        struct reducer_call call;
        struct reducer_result result;
        call_begin(&call, reducer, database);
        call.message = &message;
        call.replay = true;
        enum sorex_status status = message_run(&call, &result, err);
        if (status == SOREX_OK && call.stop == STOP_STATE)
            status = sorex_error_set(err, SOREX_FATAL, "message %llu was done, and cannot be repeated",
                                     (unsigned long long)message.index);
        call_end(&call);
        TRY(status);
    }
    return SOREX_OK;
}

/* The record of a message whose state was put back. */
static enum sorex_status remade_record(struct reducer *reducer, struct database *database,
                                       const struct reducer_message *message, const struct reducer_result *result,
                                       struct sorex_error *err)
{
    struct reducer_call call;
    call_begin(&call, reducer, database);
    call.message = message;
    chance_set(database, message->time_ms, message->key);
    enum sorex_status status = rejection_record(&call, result, err);
    call_end(&call);
    return status;
}

static enum sorex_status message_apply(struct reducer_call *call, struct reducer_result *out, struct sorex_error *err)
{
    struct reducer *reducer = call->reducer;
    TRY(message_run(call, out, err));
    TRY(trace_outcome(call, out, err));
    if (call->stop != STOP_STATE) {
        TRY(session_keep(reducer, call->message, err));
        reducer->mark = database_mark(call->database);
        return SOREX_OK;
    }
    /* The reason and the trace are the first try's: what repeats messages must not touch them. */
    struct buf reason = reducer->reason;
    reducer->reason = (struct buf){0};
    call_end(call);
    call->handles_count = 0;
    enum sorex_status status = state_remake(reducer, call->database, err);
    buf_deinit(&reducer->reason);
    reducer->reason = reason;
    out->reason = buf_view(&reducer->reason);
    if (status == SOREX_OK)
        status = remade_record(reducer, call->database, call->message, out, err);
    session_forget(reducer); /* the next one begins with a base of its own */
    return status;
}

static enum sorex_status message_check(const struct reducer_message *message, struct sorex_error *err)
{
    if (message->time_ms < 0 || message->time_ms > REDUCER_TIME_MS_MAX)
        return sorex_error_set(err, SOREX_INVALID, "its time is %lld ms, it has to be from 0 to %lld",
                               (long long)message->time_ms, (long long)REDUCER_TIME_MS_MAX);
    if (message->index > INT64_MAX)
        return sorex_error_set(err, SOREX_INVALID, "its number is too large");
    if (message->payload.len > SOREX_ENTRY_BYTES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "it has %zu bytes, the limit is %zu", message->payload.len,
                               SOREX_ENTRY_BYTES_MAX);
    if (message->author.len > REDUCER_AUTHOR_BYTES_MAX)
        return sorex_error_set(err, SOREX_LIMIT, "its author has %zu bytes, the limit is %zu", message->author.len,
                               REDUCER_AUTHOR_BYTES_MAX);
    if (!utf8_valid(message->author) ||
        (message->author.len > 0 && memchr(message->author.data, 0, message->author.len) != NULL))
        return sorex_error_set(err, SOREX_INVALID, "its author is no UTF-8, or has a zero byte");
    return SOREX_OK;
}

static enum sorex_status apply(struct reducer_call *call, struct reducer_result *out, struct sorex_error *err)
{
    TRY(message_check(call->message, err));
    TRY(session_take(call->reducer, call->database, err));
    enum sorex_status status = message_apply(call, out, err);
    if (status != SOREX_OK)
        session_forget(call->reducer);
    return status;
}

enum sorex_status reducer_apply(struct reducer *reducer, struct database *database,
                                const struct reducer_message *message, reducer_trace_fn *trace, void *user_data,
                                struct reducer_result *out, struct sorex_error *err)
{
    struct reducer_call call;
    struct sorex_error own = {0};
    call_begin(&call, reducer, database);
    call.message = message;
    call.trace = trace;
    call.trace_user_data = user_data;
    enum sorex_status status = apply(&call, out, &own);
    call_end(&call);
    if (status == SOREX_OK)
        return SOREX_OK;
    return sorex_error_set(err, status, "program %s: message %llu: %s", reducer->name,
                           (unsigned long long)message->index, own.text);
}

/* -- schema */

static enum sorex_status schema_attempt(struct reducer_call *call, struct sorex_error *err)
{
    uint8_t key[SHA256_BYTES];
    struct buf identity = {0};
    struct reducer_result result;
    bool fault = false;
    enum sorex_status status = reducer_identity(call->reducer, &identity, err);
    sha256_once(buf_view(&identity), key);
    buf_deinit(&identity);
    TRY(status);
    TRY(attempt(call, call->reducer->schema, 0, key, &result, &fault, err));
    if (result.status != REDUCER_APPLIED)
        return result.code == 0
                   ? sorex_error_set(err, SOREX_GUEST, "%.*s", BYTES_FMT(result.reason))
                   : sorex_error_set(err, SOREX_GUEST, "code %d: %.*s", (int)result.code, BYTES_FMT(result.reason));
    session_recorded(call->reducer);
    return database_role_set(call->database, HOST_ROLE, false, err);
}

static enum sorex_status schema_run(struct reducer *reducer, struct database *database, struct sorex_error *err)
{
    struct reducer_call call;
    static const uint8_t nothing[SHA256_BYTES];
    chance_set(database, 0, nothing);
    TRY(session_make(reducer, database, err));
    if (reducer->schema == NULL)
        return SOREX_OK;
    call_begin(&call, reducer, database);
    enum sorex_status status = schema_attempt(&call, err);
    call_end(&call);
    return status;
}

enum sorex_status reducer_schema(struct reducer *reducer, struct database *database, struct sorex_error *err)
{
    struct sorex_error own = {0};
    bool there = false;
    enum sorex_status status = session_there(reducer, database, &there, &own);
    if (status == SOREX_OK && !there)
        status = schema_run(reducer, database, &own);
    session_forget(reducer);
    if (status == SOREX_OK)
        return SOREX_OK;
    return sorex_error_set(err, status, "program %s: schema: %s", reducer->name, own.text);
}
