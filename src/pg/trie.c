/* A radix tree over six bits a level. The tree is as high as its largest index wants; a node whose last child goes away
 * goes too. Functions that recurse do it once a level, at most six times. */
#include "pg/trie.h"

#include <stdlib.h>

#include "base/check.h"

#define FAN_BITS 6u
#define FAN (1u << FAN_BITS)
#define LEVELS_MAX 6u

struct trie_node {
    atomic_uint refs;
    uint32_t children_count;
    void *children[FAN]; /* nodes, at the lowest level leaves */
};

static void leaf_drop(const struct leaf_type *type, struct leaf *leaf)
{
    if (leaf != NULL && atomic_fetch_sub_explicit(&leaf->refs, 1, memory_order_acq_rel) == 1)
        type->free(leaf);
}

static void node_drop(const struct leaf_type *type, struct trie_node *node, uint32_t level)
{
    if (node == NULL || atomic_fetch_sub_explicit(&node->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < FAN; i++) {
        if (level == 1)
            leaf_drop(type, node->children[i]);
        else
            node_drop(type, node->children[i], level - 1);
    }
    free(node);
}

static struct trie_node *node_make(void)
{
    struct trie_node *node = calloc(1, sizeof *node);
    if (node != NULL)
        atomic_init(&node->refs, 1);
    return node;
}

/* The node, made this trie's alone: its children get a reference more. */
static struct trie_node *node_own(const struct leaf_type *type, struct trie_node *node, uint32_t level)
{
    if (atomic_load_explicit(&node->refs, memory_order_acquire) == 1)
        return node;
    struct trie_node *copy = node_make();
    if (copy == NULL)
        return NULL;
    copy->children_count = node->children_count;
    for (uint32_t i = 0; i < FAN; i++) {
        copy->children[i] = node->children[i];
        if (node->children[i] == NULL)
            continue;
        atomic_uint *refs =
            level == 1 ? &((struct leaf *)node->children[i])->refs : &((struct trie_node *)node->children[i])->refs;
        atomic_fetch_add_explicit(refs, 1, memory_order_relaxed);
    }
    node_drop(type, node, level);
    return copy;
}

static uint32_t place(uint32_t index, uint32_t level) { return index >> (FAN_BITS * (level - 1)) & (FAN - 1); }

static bool within(const struct trie *trie, uint32_t index)
{
    return trie->levels > 0 && (trie->levels >= LEVELS_MAX || index >> (FAN_BITS * trie->levels) == 0);
}

const struct leaf *trie_get(const struct trie *trie, uint32_t index)
{
    if (!within(trie, index))
        return NULL;
    const struct trie_node *node = trie->root;
    for (uint32_t level = trie->levels; level > 1 && node != NULL; level--)
        node = node->children[place(index, level)];
    return node != NULL ? node->children[place(index, 1)] : NULL;
}

struct leaf *trie_own(struct trie *trie, uint32_t index, bool *out_nomem)
{
    *out_nomem = false;
    if (trie_get(trie, index) == NULL)
        return NULL;
    void **at = (void **)&trie->root;
    for (uint32_t level = trie->levels; level > 0; level--) {
        struct trie_node *node = node_own(trie->type, *at, level);
        if (node == NULL) {
            *out_nomem = true;
            return NULL;
        }
        *at = node;
        at = &node->children[place(index, level)];
    }
    struct leaf *leaf = *at;
    if (atomic_load_explicit(&leaf->refs, memory_order_acquire) == 1)
        return leaf;
    struct leaf *copy = trie->type->copy(leaf);
    *out_nomem = copy == NULL;
    if (copy != NULL) {
        leaf_drop(trie->type, leaf);
        *at = copy;
    }
    return copy;
}

/* Makes the tree high enough for the index. */
static bool raise_to(struct trie *trie, uint32_t index)
{
    while (!within(trie, index)) {
        struct trie_node *node = node_make();
        if (node == NULL)
            return false;
        node->children[0] = trie->root;
        node->children_count = trie->root != NULL;
        trie->root = node;
        trie->levels++;
    }
    return true;
}

/* Puts the leaf below *at. An empty node is left for node_prune. */
static bool put_below(const struct trie *trie, struct trie_node **at, uint32_t level, uint32_t index, struct leaf *leaf)
{
    struct trie_node *node = *at == NULL ? node_make() : node_own(trie->type, *at, level);
    if (node == NULL)
        return false;
    *at = node;
    void **child = &node->children[place(index, level)];
    bool before = *child != NULL;
    if (level == 1) {
        leaf_drop(trie->type, *child);
        *child = leaf;
    } else if (!put_below(trie, (struct trie_node **)child, level - 1, index, leaf)) {
        node->children_count += (uint32_t)(*child != NULL) - (uint32_t)before;
        return false;
    } else if (((struct trie_node *)*child)->children_count == 0) {
        node_drop(trie->type, *child, level - 1);
        *child = NULL;
    }
    node->children_count += (uint32_t)(*child != NULL) - (uint32_t)before;
    return true;
}

bool trie_put(struct trie *trie, uint32_t index, struct leaf *leaf)
{
    if (leaf == NULL && trie_get(trie, index) == NULL)
        return true;
    if (!raise_to(trie, index) || !put_below(trie, &trie->root, trie->levels, index, leaf))
        return false;
    if (trie->root->children_count == 0)
        trie_clear(trie);
    return true;
}

/* Cuts below a node that is not this trie's alone yet; first is the index of its first leaf. */
static bool cut_below(const struct trie *trie, struct trie_node **at, uint32_t level, uint64_t first, uint64_t from)
{
    struct trie_node *node = node_own(trie->type, *at, level);
    if (node == NULL)
        return false;
    *at = node;
    uint64_t step = (uint64_t)1 << (FAN_BITS * (level - 1));
    for (uint32_t i = 0; i < FAN; i++) {
        uint64_t start = first + i * step;
        void **child = &node->children[i];
        if (*child == NULL || start + step <= from)
            continue;
        if (start < from) {
            if (!cut_below(trie, (struct trie_node **)child, level - 1, start, from))
                return false;
            if (((struct trie_node *)*child)->children_count != 0)
                continue;
        }
        if (level == 1)
            leaf_drop(trie->type, *child);
        else
            node_drop(trie->type, *child, level - 1);
        *child = NULL;
        node->children_count--;
    }
    return true;
}

bool trie_cut(struct trie *trie, uint32_t index)
{
    if (index == 0)
        trie_clear(trie);
    if (trie->root == NULL)
        return true;
    if (!cut_below(trie, &trie->root, trie->levels, 0, index))
        return false;
    if (trie->root->children_count == 0)
        trie_clear(trie);
    return true;
}

void trie_copy(struct trie *out, const struct trie *trie)
{
    if (trie->root != NULL)
        atomic_fetch_add_explicit(&trie->root->refs, 1, memory_order_relaxed);
    *out = *trie;
}

void trie_clear(struct trie *trie)
{
    node_drop(trie->type, trie->root, trie->levels);
    trie->root = NULL;
    trie->levels = 0;
}

static enum sorex_status visit_below(const struct trie_node *node, uint32_t level, uint32_t first, trie_fn *fn,
                                     void *user_data, struct sorex_error *err)
{
    for (uint32_t i = 0; i < FAN; i++) {
        uint32_t index = first + (i << (FAN_BITS * (level - 1)));
        if (node->children[i] == NULL)
            continue;
        TRY(level == 1 ? fn(user_data, index, node->children[i], err)
                       : visit_below(node->children[i], level - 1, index, fn, user_data, err));
    }
    return SOREX_OK;
}

enum sorex_status trie_visit(const struct trie *trie, trie_fn *fn, void *user_data, struct sorex_error *err)
{
    return trie->root == NULL ? SOREX_OK : visit_below(trie->root, trie->levels, 0, fn, user_data, err);
}

/* A subtree of one of two tries that are compared; node NULL: nothing there. */
struct side {
    const void *node; /* at level 0 a leaf */
    uint32_t level;
};

/* A trie that is lower than the other is all below the other's first children. */
static struct side side_child(struct side side, uint32_t level, uint32_t i)
{
    if (side.level < level)
        return i == 0 ? side : (struct side){NULL, 0};
    return (struct side){side.node != NULL ? ((const struct trie_node *)side.node)->children[i] : NULL, level - 1};
}

static enum sorex_status diff_below(struct side before, struct side after, uint32_t level, uint32_t first,
                                    trie_diff_fn *fn, void *user_data, struct sorex_error *err)
{
    if (before.node == after.node)
        return SOREX_OK;
    if (level == 0)
        return fn(user_data, first, before.node, after.node, err);
    for (uint32_t i = 0; i < FAN; i++)
        TRY(diff_below(side_child(before, level, i), side_child(after, level, i), level - 1,
                       first + (i << (FAN_BITS * (level - 1))), fn, user_data, err));
    return SOREX_OK;
}

enum sorex_status trie_diff(const struct trie *before, const struct trie *after, trie_diff_fn *fn, void *user_data,
                            struct sorex_error *err)
{
    uint32_t level = before->levels > after->levels ? before->levels : after->levels;
    return diff_below((struct side){before->root, before->levels}, (struct side){after->root, after->levels}, level, 0,
                      fn, user_data, err);
}
