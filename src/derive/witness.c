#include "derive/witness.h"

#include "base/check.h"

struct derivation *witness_derivation(const struct witness *witness)
{
    return witness->derived != NULL ? derived_derivation(witness->derived) : witness->derivation;
}

enum sorex_status witness_messages(const struct witness *witness, uint64_t count, struct messages **out,
                                   struct sorex_error *err)
{
    struct messages *messages = NULL;
    if (witness->derived != NULL)
        return derived_messages(witness->derived, count, out, err);
    TRY(messages_open(witness->log, NULL, &messages, err));
    enum sorex_status status = messages_skip(messages, count, err);
    if (status != SOREX_OK) {
        messages_close(messages);
        return status;
    }
    *out = messages;
    return SOREX_OK;
}

/* On from the receipt's place, which the messages stand at. */
static enum sorex_status fold(const struct witness *witness, struct database *database, struct receipt *receipt,
                              uint64_t count, struct sorex_error *err)
{
    struct messages *messages = NULL;
    TRY(witness_messages(witness, receipt->count, &messages, err));
    enum sorex_status status = derivation_replay(witness_derivation(witness), database, receipt, messages, count, err);
    messages_close(messages);
    return status;
}

enum sorex_status witness_at(const struct witness *witness, uint64_t count, struct database **out,
                             struct receipt *out_receipt, struct sorex_error *err)
{
    struct derivation *derivation = witness->derivation;
    if (witness->derived != NULL)
        return derived_at(witness->derived, count, out, out_receipt, err);
    TRY(database_open(derivation_program(derivation), derivation_database_options(derivation), out, err));
    enum sorex_status status = derivation_begin(derivation, *out, out_receipt, err);
    if (status == SOREX_OK)
        status = fold(witness, *out, out_receipt, count, err);
    if (status != SOREX_OK)
        database_close(*out);
    return status;
}

enum sorex_status witness_receipt(const struct witness *witness, uint64_t from, uint64_t count, struct receipt *out,
                                  struct sorex_error *err)
{
    struct database *database = NULL;
    struct receipt at;
    if (witness->derived != NULL)
        return derived_receipt_of(witness->derived, from, count, out, err);
    TRY(witness_at(witness, from, &database, &at, err));
    *out = at;
    if (from > 0)
        receipt_init_from(out, &at);
    enum sorex_status status = fold(witness, database, out, count, err);
    database_close(database);
    return status;
}
