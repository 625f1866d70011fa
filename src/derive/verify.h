/* Deriving again what a receipt says, and saying where it is not so. */
#ifndef SOREX_DERIVE_VERIFY_H
#define SOREX_DERIVE_VERIFY_H

#include "derive/chained.h"
#include "derive/witness.h"

/* False: stop. count: messages that were derived. */
typedef bool verify_progress_fn(void *user_data, uint64_t count);

/* Compares everything that a receipt has with what the witness derives: identity, log, keys, traces, rejections,
 * digests, the query's result. progress may be NULL.
 *
 * Errors: SOREX_MISMATCH the first thing that is not so, and between which messages; SOREX_STOPPED by progress; as
 *         derivation_step, messages_next. */
enum sorex_status verify_receipt(const struct witness *witness, const struct receipt_file *file,
                                 verify_progress_fn *progress, void *user_data, struct sorex_error *err);

/* The same of a receipt whose messages are the entries of a chain from first_height on, as a pipeline derives them. Of
 * the chain only `entry` is asked. Errors: also those of the chain. */
enum sorex_status verify_chain_receipt(struct derivation *derivation, const struct chained_chain *chain,
                                       uint32_t first_height, const struct receipt_file *file,
                                       verify_progress_fn *progress, void *user_data, struct sorex_error *err);

/* Says the first line in which two identities differ: SOREX_MISMATCH; SOREX_OK: they are equal. */
enum sorex_status identity_compare(struct bytes theirs, struct bytes ours, struct sorex_error *err);

#endif
