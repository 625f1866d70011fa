/* One indexer on one store in a folder of its own: the road of an entry without source and sinks. Failures end the
 * program. */
#ifndef BENCH_INDEX_LAB_H
#define BENCH_INDEX_LAB_H

#include "bench/folder.h"
#include "guest/indexer.h"
#include "store/store.h"

/* Where the time of an entry went. */
struct lab_profile {
    uint64_t begin_ns, run_ns, get_ns, put_ns, commit_ns, flush_ns; /* get and put are within run */
};

struct lab {
    struct indexer *indexer; /* borrowed */
    struct store *store;
    struct store_space space;
    struct entry next; /* height and parent of the next entry */
    char dir[FOLDER_PATH_SIZE];
    struct lab_profile *profile; /* NULL: the clock is left alone */
};

/* Reads a file below the source tree (base = SOREX_SOURCE_DIR) or of the guests (SOREX_GUESTS). */
void lab_read(const char *base_variable, const char *name, struct buf *out);
struct indexer *lab_indexer(const char *wasm_name, uint64_t resident_bytes);

/* resident etc. are the indexer's; the store is new and empty. */
void lab_open(struct lab *lab, struct indexer *indexer, uint32_t first_height);
/* history: as in store_options; lab_open keeps all. */
void lab_open_history(struct lab *lab, struct indexer *indexer, uint32_t first_height, uint32_t history);
void lab_close(struct lab *lab); /* removes the folder */

/* begin, run, commit. */
void lab_add(struct lab *lab, struct bytes block);
void lab_flush(struct lab *lab);

#endif
