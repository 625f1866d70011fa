/* The message of __flush: protobuf `KeyValueFlush { repeated bytes list = 1; }`, key, value, key, value. */
#ifndef SOREX_GUEST_FLUSH_H
#define SOREX_GUEST_FLUSH_H

#include "base/codec.h"

/* Checks the whole message and counts its pairs; an odd last element makes none.
 * Errors: SOREX_GUEST the message does not decode, or a key is longer than SOREX_KEY_BYTES_MAX; text says where. */
enum sorex_status flush_check(struct bytes message, uint64_t *out_pairs, struct sorex_error *err);

/* Walks a message that flush_check accepted: false at the end. Views point into the message. Start with
 * reader_of(message). */
bool flush_next(struct reader *reader, struct bytes *out_key, struct bytes *out_value);

#endif
