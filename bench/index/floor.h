/* The floor: an indexer guest in a bare Wasmtime loop (pooling, nothing metered), with a hash map for its state: no
 * store, no checks, no commitment. No engine that runs this guest on Wasmtime can be faster. */
#ifndef BENCH_INDEX_FLOOR_H
#define BENCH_INDEX_FLOOR_H

#include "base/bytes.h"

struct floor;

struct floor *floor_new(struct bytes wasm, uint64_t resident_bytes);
void floor_free(struct floor *floor);
/* Runs _start on the block in a fresh instance; the pairs go to the map. */
void floor_run(struct floor *floor, uint32_t height, struct bytes block);
/* Empties the map. */
void floor_reset(struct floor *floor);

#endif
