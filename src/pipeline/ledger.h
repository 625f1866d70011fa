/* Where a step reads and writes: the store's staged entry, or, to execute one again, memory over its history. */
#ifndef SOREX_PIPELINE_LEDGER_H
#define SOREX_PIPELINE_LEDGER_H

#include "store/store.h"

struct ledger {
    /* As of the entry before; or with the writes of this one. *out_value is borrowed until the next call. */
    enum sorex_status (*get)(void *user_data, struct store_space space, bool staged, struct bytes key,
                             struct bytes *out_value, bool *out_found, struct sorex_error *err);
    /* value NULL: the key is deleted. */
    enum sorex_status (*write)(void *user_data, struct store_space space, struct bytes key, const struct bytes *value,
                               struct sorex_error *err);
    /* As store_emit. */
    enum sorex_status (*emit)(void *user_data, uint16_t program, struct bytes emitted, struct bytes stored,
                              struct sorex_error *err);
    void *user_data;
};

#endif
