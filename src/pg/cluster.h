/* A new cluster: the files of a distribution, and initdb run on them. For the image that comes with the program, and
 * for tests: databases begin from that image. Thread: any. */
#ifndef SOREX_PG_CLUSTER_H
#define SOREX_PG_CLUSTER_H

#include "pg/instance.h"

/* What build/deps/pglite holds; views, borrowed. */
struct distribution {
    struct bytes postgres; /* pglite.wasm */
    struct bytes initdb;   /* initdb.wasm */
    struct bytes data;     /* pglite.data: files, one behind the other */
    struct bytes files;    /* pglite.files: lines "START END PATH" */
};

/* Makes a tree with the files and a cluster in /pglite/data. Ownership: *out by tree_deinit.
 * Errors: SOREX_GUEST initdb failed; SOREX_CORRUPT the list does not fit the files. */
enum sorex_status cluster_make(struct postgres *postgres, const struct distribution *distribution,
                               const struct instance_options *options, const char *cache_dir, struct tree *out,
                               struct sorex_error *err);

#endif
