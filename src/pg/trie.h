/* A sparse array of reference-counted leaves. Copies share everything until one of them writes: a copy costs one
 * reference, the first write below a shared node copies the path to it.
 *
 * A leaf begins with struct leaf; the table of functions says how it is copied and freed.
 * Thread: one trie by one at a time; tries that share leaves by any. */
#ifndef SOREX_PG_TRIE_H
#define SOREX_PG_TRIE_H

#include <stdatomic.h>

#include "base/bytes.h"

struct leaf {
    atomic_uint refs;
};

struct leaf_type {
    /* A copy with one reference; NULL: no memory. */
    struct leaf *(*copy)(const struct leaf *leaf);
    void (*free)(struct leaf *leaf); /* at its last reference */
};

struct trie_node;

/* Zero-initialise, with type set. */
struct trie {
    const struct leaf_type *type;
    struct trie_node *root;
    uint32_t levels; /* of nodes; 0: empty */
};

/* NULL: none there. Borrowed; not to be written. */
const struct leaf *trie_get(const struct trie *trie, uint32_t index);
/* The leaf, made this trie's alone, so that it may be written. NULL: none there, or (*out_nomem) no memory. */
struct leaf *trie_own(struct trie *trie, uint32_t index, bool *out_nomem);
/* Takes over a reference; leaf NULL takes the place's leaf away. False: no memory, nothing changed. */
bool trie_put(struct trie *trie, uint32_t index, struct leaf *leaf);
/* Drops all leaves at and above index. False: no memory. */
bool trie_cut(struct trie *trie, uint32_t index);

/* out is overwritten. */
void trie_copy(struct trie *out, const struct trie *trie);
void trie_clear(struct trie *trie);

/* Calls fn for each leaf, by index. */
typedef enum sorex_status trie_fn(void *user_data, uint32_t index, const struct leaf *leaf, struct sorex_error *err);
enum sorex_status trie_visit(const struct trie *trie, trie_fn *fn, void *user_data, struct sorex_error *err);
/* Calls fn for each index whose leaf is another one, by index; NULL: none there. Does not look below what is shared. */
typedef enum sorex_status trie_diff_fn(void *user_data, uint32_t index, const struct leaf *before,
                                       const struct leaf *after, struct sorex_error *err);
enum sorex_status trie_diff(const struct trie *before, const struct trie *after, trie_diff_fn *fn, void *user_data,
                            struct sorex_error *err);

#endif
