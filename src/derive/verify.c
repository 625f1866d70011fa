#include "derive/verify.h"

#include "base/check.h"
#include "derive/chained_private.h"

/* ---- identities ---- */

static struct bytes line_of(struct bytes text, size_t at)
{
    size_t end = at;
    while (end < text.len && text.data[end] != '\n')
        end++;
    return bytes_of(text.data + at, end - at);
}

enum sorex_status identity_compare(struct bytes theirs, struct bytes ours, struct sorex_error *err)
{
    size_t at = 0, line = 0;
    if (bytes_equal(theirs, ours))
        return SOREX_OK;
    while (at < theirs.len && at < ours.len && theirs.data[at] == ours.data[at])
        line = theirs.data[at++] == '\n' ? at : line;
    return sorex_error_set(err, SOREX_MISMATCH, "derived with \"%.*s\", not with \"%.*s\"",
                           BYTES_FMT(line_of(theirs, line)), BYTES_FMT(line_of(ours, line)));
}

/* ---- a receipt ---- */

struct verifier {
    struct derivation *derivation;
    struct messages *messages; /* of a log; NULL: of a chain */
    struct chain_walk walk;
    const struct receipt_file *file;
    const struct receipt *wanted;
    struct database *database;
    struct receipt is;
    uint64_t equal; /* up to here everything is as it says */
    uint32_t digests;
};

static enum sorex_status differs(const struct verifier *verifier, const char *what, struct sorex_error *err)
{
    return sorex_error_set(err, SOREX_MISMATCH,
                           "not as the receipt says: %s, after message %llu; up to message %llu all is equal", what,
                           (unsigned long long)verifier->is.count, (unsigned long long)verifier->equal);
}

static enum sorex_status stopped(const struct verifier *verifier, struct sorex_error *err)
{
    uint64_t equal = verifier->equal < verifier->is.count ? verifier->equal : verifier->is.count;
    return sorex_error_set(err, SOREX_STOPPED, "stopped after message %llu; up to message %llu all is equal",
                           (unsigned long long)verifier->is.count, (unsigned long long)equal);
}

static bool same(const uint8_t a[SHA256_BYTES], const uint8_t b[SHA256_BYTES])
{
    return memcmp(a, b, SHA256_BYTES) == 0;
}

static enum sorex_status compare(struct verifier *verifier, const uint8_t key[SHA256_BYTES],
                                 const uint8_t trace[SHA256_BYTES], struct sorex_error *err)
{
    if (!same(verifier->is.key, key))
        return differs(verifier, "the messages are others (the key)", err);
    if (!same(verifier->is.trace, trace))
        return differs(verifier, "the messages did something else (the trace)", err);
    verifier->equal = verifier->is.count;
    return SOREX_OK;
}

static enum sorex_status compare_digest(struct verifier *verifier, const uint8_t digest[SHA256_BYTES],
                                        struct sorex_error *err)
{
    uint8_t is[SHA256_BYTES];
    TRY(database_digest(verifier->database, is, err));
    return same(is, digest) ? SOREX_OK : differs(verifier, "the database has other rows (the digest)", err);
}

/* What the receipt says of the state that was reached. */
static enum sorex_status compare_point(struct verifier *verifier, struct sorex_error *err)
{
    const struct receipt *wanted = verifier->wanted;
    const struct receipt_point *point = receipt_point_at(wanted, verifier->is.count);
    if (point != NULL)
        TRY(compare(verifier, point->key, point->trace, err));
    if (verifier->digests < wanted->digests_count && wanted->digests[verifier->digests].count == verifier->is.count)
        return compare_digest(verifier, wanted->digests[verifier->digests++].digest, err);
    return SOREX_OK;
}

static enum sorex_status compare_query(struct verifier *verifier, struct sorex_error *err)
{
    struct buf result = {0}, sql = {0};
    enum sorex_status status = buf_append(&sql, buf_view(&verifier->file->query), err);
    if (status == SOREX_OK)
        status = buf_append_u8(&sql, '\0', err);
    if (status == SOREX_OK)
        status = derivation_query(verifier->database, (const char *)sql.data, &result, err);
    if (status == SOREX_OK && !bytes_equal(buf_view(&result), buf_view(&verifier->file->result)))
        status = differs(verifier, "the query gives something else", err);
    buf_deinit(&result);
    buf_deinit(&sql);
    return status;
}

static enum sorex_status compare_end(struct verifier *verifier, struct sorex_error *err)
{
    const struct receipt *wanted = verifier->wanted;
    TRY(compare(verifier, wanted->key, wanted->trace, err));
    if (!same(verifier->is.log, wanted->log) || verifier->is.time_ms != wanted->time_ms)
        return differs(verifier, "the log is another one", err);
    if (verifier->is.rejected != wanted->rejected)
        return differs(verifier, "other messages were rejected", err);
    if (verifier->file->has_digest)
        TRY(compare_digest(verifier, verifier->file->digest, err));
    return verifier->file->query.len > 0 ? compare_query(verifier, err) : SOREX_OK;
}

/* The next message. */
static enum sorex_status step(struct verifier *verifier, struct sorex_error *err)
{
    if (verifier->messages == NULL)
        return chain_walk_step(&verifier->walk, verifier->derivation, verifier->database, &verifier->is, err);
    enum sorex_status status = derivation_replay(verifier->derivation, verifier->database, &verifier->is,
                                                 verifier->messages, verifier->is.count + 1, err);
    return status == SOREX_GONE ? differs(verifier, "the log ends here", err) : status;
}

static enum sorex_status replay(struct verifier *verifier, verify_progress_fn *progress, void *user_data,
                                struct sorex_error *err)
{
    while (verifier->is.count < verifier->wanted->count) {
        TRY(step(verifier, err));
        TRY(compare_point(verifier, err));
        if (progress != NULL && !progress(user_data, verifier->is.count))
            return stopped(verifier, err);
    }
    return compare_end(verifier, err);
}

enum sorex_status verify_receipt(const struct witness *witness, const struct receipt_file *file,
                                 verify_progress_fn *progress, void *user_data, struct sorex_error *err)
{
    struct verifier verifier = {.derivation = witness_derivation(witness), .file = file, .wanted = &file->receipt};
    struct witness beginning = *witness;
    TRY(identity_compare(buf_view(&file->identity), derivation_identity(verifier.derivation), err));
    /* What a directory has kept is no proof: only deriving is. Its log is as good as another. */
    if (witness->derived != NULL)
        beginning =
            (struct witness){.derivation = derived_derivation(witness->derived), .log = derived_log(witness->derived)};
    verifier.equal = file->receipt.from;
    enum sorex_status status = witness_at(&beginning, file->receipt.from, &verifier.database, &verifier.is, err);
    if (status == SOREX_GONE)
        return sorex_error_set(err, SOREX_MISMATCH, "not as the receipt says: the log ends before message %llu",
                               (unsigned long long)file->receipt.from + 1);
    TRY(status);
    status = witness_messages(&beginning, file->receipt.from, &verifier.messages, err);
    if (status == SOREX_OK)
        status = replay(&verifier, progress, user_data, err);
    messages_close(verifier.messages);
    database_close(verifier.database);
    return status;
}

enum sorex_status verify_chain_receipt(struct derivation *derivation, const struct chained_chain *chain,
                                       uint32_t first_height, const struct receipt_file *file,
                                       verify_progress_fn *progress, void *user_data, struct sorex_error *err)
{
    struct verifier verifier = {.derivation = derivation, .file = file, .wanted = &file->receipt};
    TRY(identity_compare(buf_view(&file->identity), derivation_identity(derivation), err));
    verifier.walk.chain = chain;
    verifier.walk.first_height = first_height;
    verifier.equal = file->receipt.from;
    buf_init(&verifier.walk.canonical, MESSAGE_BYTES_MAX);
    enum sorex_status status = database_open(derivation_program(derivation), derivation_database_options(derivation),
                                             &verifier.database, err);
    if (status == SOREX_OK)
        status = derivation_begin(derivation, verifier.database, &verifier.is, err);
    if (status == SOREX_OK)
        status = replay(&verifier, progress, user_data, err);
    buf_deinit(&verifier.walk.canonical);
    database_close(verifier.database);
    return status;
}
