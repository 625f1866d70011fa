/* What chained.c (the state that goes on) and chained_at.c (states in the past) share. */
#ifndef SOREX_DERIVE_CHAINED_PRIVATE_H
#define SOREX_DERIVE_CHAINED_PRIVATE_H

#include "derive/cache.h"
#include "derive/chained.h"
#include "derive/logged.h"

/* The canonical bytes of an entry's message, in place of what out had. */
enum sorex_status chained_entry_message(const struct entry *entry, struct buf *out, struct sorex_error *err);
/* One message more. Errors: of log_add, derivation_step. */
enum sorex_status chained_step(struct derivation *derivation, struct database *database, struct receipt *receipt,
                               struct bytes canonical, log_end_add_fn *log_add, struct sorex_error *err);
/* Along a chain, entry by entry. Zero at first, then chain and first_height; canonical by buf_init and buf_deinit. */
struct chain_walk {
    const struct chained_chain *chain;
    uint32_t first_height;
    uint8_t hash[HASH_BYTES]; /* of the entry that the state is after */
    struct buf canonical;
};
/* The entry behind the receipt's messages is applied. Errors: SOREX_AGAIN it is no child of the one before; of the
 * chain; as chained_step. */
enum sorex_status chain_walk_step(struct chain_walk *walk, struct derivation *derivation, struct database *database,
                                  struct receipt *receipt, struct sorex_error *err);
/* As cache_open: those of a reducer. */
enum sorex_status chained_snapshots_open(const char *dir, const char *name, uint64_t bytes_max, bool tidy,
                                         struct cache **out, struct sorex_error *err);

#endif
