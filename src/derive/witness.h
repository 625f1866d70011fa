/* Somebody who can show a derivation: from a log and a reducer, from the beginning, or from a directory, which has
 * states on the way. Both show the same, unless somebody has made a mistake or lies.
 *
 * Thread: one at a time. */
#ifndef SOREX_DERIVE_WITNESS_H
#define SOREX_DERIVE_WITNESS_H

#include "derive/derived.h"

struct witness {
    struct derived *derived;       /* borrowed; NULL: the two below */
    struct derivation *derivation; /* borrowed */
    const char *log;               /* path */
};

struct derivation *witness_derivation(const struct witness *witness);
/* As derived_at, derived_receipt_of, derived_messages. */
enum sorex_status witness_at(const struct witness *witness, uint64_t count, struct database **out,
                             struct receipt *out_receipt, struct sorex_error *err);
enum sorex_status witness_receipt(const struct witness *witness, uint64_t from, uint64_t count, struct receipt *out,
                                  struct sorex_error *err);
enum sorex_status witness_messages(const struct witness *witness, uint64_t count, struct messages **out,
                                   struct sorex_error *err);

#endif
