/* Where two parties part: the first message, then the first statement or result, then the rows.
 *
 * Traces commit to everything that messages did, and once they differ they differ for good. So the points of two
 * receipts name an interval, receipts of that interval a smaller one, and so on: the number of traces that are looked
 * at grows with the logarithm of the number of messages. */
#ifndef SOREX_DERIVE_BISECT_H
#define SOREX_DERIVE_BISECT_H

#include "derive/witness.h"

/* One of the two. Its directory can be asked for further receipts and states; where there is only a receipt, a witness
 * with the log and the reducer stands in for it, as far as it derives the same. */
struct bisect_party {
    const char *name; /* for the report */
    const struct receipt_file *file;
    const struct witness *witness; /* its directory; NULL: none */
};

struct bisect_result {
    bool equal;             /* nothing differs, as far as both reach */
    uint64_t before, after; /* they agree after message `before`, and no more after message `after`; 0: not known */
    bool messages;          /* it is the messages that differ; else what they did */
};

/* own: a witness of one's own, from log and reducer; NULL: none. Appends a report for people.
 * Errors: SOREX_INVALID the receipts begin at different messages; as derivation_step. */
enum sorex_status bisect_run(const struct bisect_party parties[2], const struct witness *own, struct buf *out,
                             struct bisect_result *out_result, struct sorex_error *err);

#endif
