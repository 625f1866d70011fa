/* The guests utxo and balances over a state in memory: give it blocks, ask it anything. Every function fails the test
 * on an error that it does not return. */
#ifndef TEST_GUESTS_WORLD_H
#define TEST_GUESTS_WORLD_H

#include "base/bytes.h"
#include "base/entry.h"
#include "guest/indexer.h"
#include "guest/transform.h"
#include "pipeline/memory_state.h"

struct world {
    struct indexer *utxo;
    struct transform *balances;
    struct memory_state state;
    struct memory_state rows; /* table `balances`: key -> row as JSON, folded from the changes */
    struct json_parser *parser;
    struct arena arena;
    uint32_t height;          /* of the next block */
    uint8_t hash[HASH_BYTES]; /* of the last block */
    uint64_t changes;         /* emitted, all in all */
    struct buf last_changes;  /* of the last block, one a line */
    struct sorex_error err;   /* of world_try */
};

void world_init(struct world *world);
void world_deinit(struct world *world);

/* Indexes a block at world->height and, when that went well, transforms it. What the indexer said. */
enum sorex_status world_try(struct world *world, struct bytes block);
/* As world_try; must succeed. */
void world_add(struct world *world, struct bytes block);

/* A view's result, appended to out. */
void world_view(struct world *world, const char *name, struct bytes input, struct buf *out);
uint64_t world_balance(struct world *world, struct bytes script);

struct world_totals {
    uint64_t supply, unspent, unknown;
};
struct world_totals world_totals(struct world *world);

/* Sums over the state itself: outputs under 'u', balances under 'b'. Spent and empty ones are not counted. */
struct world_sums {
    uint64_t outputs, output_value, balances, balance_value;
};
struct world_sums world_sums(struct world *world);

/* Sum of the column `balance` over the rows, and their number. */
struct world_sums world_rows(struct world *world);

#endif
