#include "derive/bisect.h"

#include "base/check.h"
#include "derive/difference.h"
#include "derive/verify.h"

#define ROWS_MAX 20u

struct bisection {
    const struct bisect_party *parties;
    const struct witness *own;
    struct buf *out;
    struct bisect_result *result;
    struct receipt receipts[2]; /* of the interval in hand */
};

static bool same(const uint8_t a[SHA256_BYTES], const uint8_t b[SHA256_BYTES])
{
    return memcmp(a, b, SHA256_BYTES) == 0;
}

/* ---- points ---- */

/* Where a receipt knows key and trace: at its points and at its end. */
static bool known_at(const struct receipt *receipt, uint64_t count, struct receipt_point *out)
{
    const struct receipt_point *point = receipt_point_at(receipt, count);
    if (point != NULL)
        *out = *point;
    if (point != NULL || count != receipt->count)
        return point != NULL;
    memcpy(out->key, receipt->key, SHA256_BYTES);
    memcpy(out->trace, receipt->trace, SHA256_BYTES);
    return true;
}

/* The last place where both agree, and the first where they do not (UINT64_MAX: there is none). keys: their keys too,
 * else traces only. */
static void interval(const struct receipt receipts[2], bool keys, uint64_t *out_before, uint64_t *out_after,
                     bool *out_messages)
{
    uint64_t step = receipts[0].step > receipts[1].step ? receipts[0].step : receipts[1].step;
    uint64_t end = receipts[0].count < receipts[1].count ? receipts[0].count : receipts[1].count;
    *out_before = receipts[0].from;
    *out_after = UINT64_MAX;
    for (uint64_t at = receipts[0].from; at < end;) {
        struct receipt_point a, b;
        at = end - at > step ? at + step : end;
        if (!known_at(&receipts[0], at, &a) || !known_at(&receipts[1], at, &b))
            continue;
        *out_messages = keys && !same(a.key, b.key);
        if (*out_messages || !same(a.trace, b.trace)) {
            *out_after = at;
            return;
        }
        *out_before = at;
    }
}

/* ---- witnesses ---- */

/* Who can show what a party did up to `after`: its directory, or oneself if one gets the same there. NULL: nobody. */
static enum sorex_status stand_in(const struct bisection *bisection, int party, uint64_t before, uint64_t after,
                                  const struct witness **out, struct receipt *out_receipt, struct sorex_error *err)
{
    struct receipt_point theirs;
    *out = bisection->parties[party].witness;
    if (*out != NULL)
        return witness_receipt(*out, before, after, out_receipt, err);
    if (bisection->own == NULL || !known_at(&bisection->receipts[party], after, &theirs))
        return SOREX_OK;
    TRY(witness_receipt(bisection->own, before, after, out_receipt, err));
    if (same(theirs.trace, out_receipt->trace))
        *out = bisection->own;
    return SOREX_OK;
}

static enum sorex_status say_missing(struct bisection *bisection, int party, uint64_t before, uint64_t after,
                                     struct sorex_error *err)
{
    const char *name = bisection->parties[party].name;
    return buf_printf(bisection->out, err,
                      "%s: what it did in between can be shown by its directory only%s. Whoever has it makes a receipt "
                      "of these messages:\n  sorex derive --data DIR --receipt FILE --from %llu --to %llu\n",
                      name, bisection->own != NULL ? ", because deriving it here gives something else" : "",
                      (unsigned long long)before, (unsigned long long)after);
}

/* ---- one message ---- */

static enum sorex_status line_collect(void *user_data, struct bytes text, struct sorex_error *err)
{
    struct buf *out = user_data;
    TRY(buf_append(out, text, err));
    return buf_append_u8(out, '\n', err);
}

/* What a message does: the lines of its trace, and the database after it. */
static enum sorex_status show(const struct witness *witness, uint64_t count, struct buf *out_lines,
                              struct database **out_database, struct logged *out_logged, struct messages **out_messages,
                              struct sorex_error *err)
{
    struct receipt receipt;
    enum messages_state state;
    TRY(witness_at(witness, count - 1, out_database, &receipt, err));
    TRY(witness_messages(witness, count - 1, out_messages, err));
    TRY(messages_next(*out_messages, INT32_MAX, &state, out_logged, err));
    if (state != MESSAGES_ONE)
        return sorex_error_set(err, SOREX_GONE, "the log ends before message %llu", (unsigned long long)count);
    return derivation_step(witness_derivation(witness), *out_database, &receipt, out_logged, line_collect, out_lines,
                           NULL, err);
}

static enum sorex_status say_message(struct bisection *bisection, const struct logged *logged, struct sorex_error *err)
{
    struct json_parser *parser = NULL;
    struct json_writer w;
    TRY(json_parser_new(&parser, err));
    TRY(buf_printf(bisection->out, err, "message %llu: ", (unsigned long long)logged->index + 1));
    json_writer_init(&w, bisection->out, false, err);
    enum sorex_status status = message_write(parser, &logged->message, &w);
    json_parser_free(parser);
    TRY(status);
    return buf_append_str(bisection->out, "\n", err);
}

static bool line_next(struct bytes *text, struct bytes *out)
{
    const uint8_t *end = text->len > 0 ? memchr(text->data, '\n', text->len) : NULL;
    if (end == NULL)
        return false;
    *out = bytes_of(text->data, (size_t)(end - text->data));
    *text = bytes_of(end + 1, text->len - out->len - 1);
    return true;
}

/* The first line that differs. */
static enum sorex_status say_lines(struct bisection *bisection, struct bytes a, struct bytes b, struct sorex_error *err)
{
    struct bytes left, right, before = {0};
    for (;;) {
        bool has_left = line_next(&a, &left), has_right = line_next(&b, &right);
        if (!has_left && !has_right)
            return buf_append_str(bisection->out, "derived again here, both do the same in it\n", err);
        if (has_left && has_right && bytes_equal(left, right)) {
            before = left;
            continue;
        }
        if (before.data != NULL)
            TRY(buf_printf(bisection->out, err, "  both: %.*s\n", BYTES_FMT(before)));
        TRY(buf_printf(bisection->out, err, "  %s: %.*s\n", bisection->parties[0].name,
                       BYTES_FMT(has_left ? left : bytes_str("(nothing more)"))));
        return buf_printf(bisection->out, err, "  %s: %.*s\n", bisection->parties[1].name,
                          BYTES_FMT(has_right ? right : bytes_str("(nothing more)")));
    }
}

static enum sorex_status say_rows(struct bisection *bisection, struct database *const databases[2], uint64_t count,
                                  struct sorex_error *err)
{
    uint64_t rows = 0;
    struct buf text = {0};
    enum sorex_status status = difference_write(databases[0], databases[1], ROWS_MAX, &text, &rows, err);
    if (status == SOREX_OK && rows > 0)
        status = buf_printf(bisection->out, err, "rows that differ after message %llu (-: %s, +: %s)\n",
                            (unsigned long long)count, bisection->parties[0].name, bisection->parties[1].name);
    if (status == SOREX_OK)
        status = buf_append(bisection->out, buf_view(&text), err);
    buf_deinit(&text);
    return status;
}

static enum sorex_status say_one(struct bisection *bisection, const struct witness *const witnesses[2], uint64_t count,
                                 struct sorex_error *err)
{
    struct buf lines[2] = {{0}, {0}};
    struct database *databases[2] = {NULL, NULL};
    struct messages *messages[2] = {NULL, NULL};
    struct logged logged[2];
    enum sorex_status status = SOREX_OK;
    for (int i = 0; i < 2 && status == SOREX_OK; i++)
        status = show(witnesses[i], count, &lines[i], &databases[i], &logged[i], &messages[i], err);
    if (status == SOREX_OK)
        status = say_message(bisection, &logged[0], err);
    if (status == SOREX_OK && !same(logged[0].hash, logged[1].hash))
        status = say_message(bisection, &logged[1], err);
    if (status == SOREX_OK)
        status = say_lines(bisection, buf_view(&lines[0]), buf_view(&lines[1]), err);
    if (status == SOREX_OK)
        status = say_rows(bisection, databases, count, err);
    for (int i = 0; i < 2; i++) {
        messages_close(messages[i]);
        database_close(databases[i]);
        buf_deinit(&lines[i]);
    }
    return status;
}

/* ---- the search ---- */

static enum sorex_status narrow(struct bisection *bisection, bool keys, struct sorex_error *err)
{
    struct bisect_result *result = bisection->result;
    for (;;) {
        const struct witness *witnesses[2];
        struct receipt inner[2];
        TRY(buf_printf(bisection->out, err, "they agree after message %llu, and no more after message %llu (%s)\n",
                       (unsigned long long)result->before, (unsigned long long)result->after,
                       result->messages ? "the messages are others" : "the messages did something else"));
        for (int i = 0; i < 2; i++)
            TRY(stand_in(bisection, i, result->before, result->after, &witnesses[i], &inner[i], err));
        if (witnesses[0] == NULL || witnesses[1] == NULL)
            return say_missing(bisection, witnesses[0] != NULL, result->before, result->after, err);
        if (result->after - result->before == 1)
            return say_one(bisection, witnesses, result->after, err);
        uint64_t before, after;
        bool messages = false;
        interval(inner, keys, &before, &after, &messages);
        if (after == UINT64_MAX)
            return buf_append_str(bisection->out,
                                  "derived again here, both do the same: one of them did not derive "
                                  "what its receipt says\n",
                                  err);
        *result = (struct bisect_result){.before = before, .after = after, .messages = messages};
        memcpy(bisection->receipts, inner, sizeof inner);
    }
}

/* Nothing differs in what both did; what they have may differ all the same. */
static enum sorex_status compare_ends(struct bisection *bisection, struct sorex_error *err)
{
    const struct bisect_party *parties = bisection->parties;
    struct database *databases[2] = {NULL, NULL};
    struct receipt receipt;
    uint8_t digests[2][SHA256_BYTES];
    uint64_t count = bisection->receipts[0].count;
    if (parties[0].witness == NULL || parties[1].witness == NULL || count != bisection->receipts[1].count)
        return SOREX_OK;
    enum sorex_status status = SOREX_OK;
    for (int i = 0; i < 2 && status == SOREX_OK; i++) {
        status = witness_at(parties[i].witness, count, &databases[i], &receipt, err);
        if (status == SOREX_OK)
            status = database_digest(databases[i], digests[i], err);
    }
    if (status == SOREX_OK && !same(digests[0], digests[1])) {
        bisection->result->equal = false;
        status = buf_append_str(bisection->out,
                                "they did the same and have other rows: one of the databases was "
                                "changed, or is damaged\n",
                                err);
        if (status == SOREX_OK)
            status = say_rows(bisection, databases, count, err);
    }
    database_close(databases[0]);
    database_close(databases[1]);
    return status;
}

enum sorex_status bisect_run(const struct bisect_party parties[2], const struct witness *own, struct buf *out,
                             struct bisect_result *out_result, struct sorex_error *err)
{
    static _Thread_local struct bisection bisection;
    const struct receipt *a = &parties[0].file->receipt, *b = &parties[1].file->receipt;
    struct sorex_error identity = {0};
    bisection = (struct bisection){.parties = parties, .own = own, .out = out, .result = out_result};
    bisection.receipts[0] = *a;
    bisection.receipts[1] = *b;
    *out_result = (struct bisect_result){0};
    if (a->from != b->from)
        return sorex_error_set(err, SOREX_INVALID, "the receipts begin at different messages: after %llu and %llu",
                               (unsigned long long)a->from, (unsigned long long)b->from);
    /* With other identities all keys differ, and traces are what is left to compare. */
    bool keys = identity_compare(buf_view(&parties[0].file->identity), buf_view(&parties[1].file->identity),
                                 &identity) == SOREX_OK;
    if (!keys)
        TRY(buf_printf(out, err, "%s: %s\n", parties[0].name, identity.text));
    interval(bisection.receipts, keys, &out_result->before, &out_result->after, &out_result->messages);
    if (out_result->after != UINT64_MAX)
        return narrow(&bisection, keys, err);
    out_result->after = 0;
    out_result->equal = true;
    TRY(buf_printf(out, err, "they agree, up to message %llu\n", (unsigned long long)out_result->before));
    return compare_ends(&bisection, err);
}
