/* Nodes lie in one array, found through an open-addressed table of their indices. A parent that is not there yet is a
 * node without a place; when its block arrives, the subtree that waited under it is connected, with an explicit stack
 * threaded through the nodes. Node 0 is the parent of genesis blocks, the all-zero hash. */
#include "source/tree.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/codec.h"
#include "base/limits.h"

#define NONE UINT32_MAX
#define ROOT 0
#define SLOTS_MIN 1024

struct node {
    uint8_t hash[HASH_BYTES];
    struct work total; /* of the block alone until connected, then with its ancestors */
    struct tree_place place;
    uint32_t parent;
    uint32_t child;   /* first of its list of children */
    uint32_t sibling; /* next in the parent's list */
    uint32_t next;    /* on the stack of connect() */
    uint32_t height;  /* once connected */
    uint32_t order;   /* among the blocks, of arrival */
    bool present;     /* the block itself is there */
    bool connected;
};

struct tree {
    struct node *nodes;
    uint32_t count, cap;
    uint32_t *slots;     /* index + 1, or 0 */
    uint32_t slot_count; /* a power of two, at most half full */
    uint32_t blocks, connected;
    uint32_t best;   /* node, or ROOT */
    uint32_t *chain; /* nodes by height */
    uint32_t chain_len, chain_cap;
};

/* Block hashes end in zeros; their first bytes are as good as random. */
static uint32_t *find_slot(const struct tree *tree, const uint8_t hash[HASH_BYTES])
{
    uint32_t mask = tree->slot_count - 1;
    uint32_t at = u32le_get(hash) & mask;
    while (tree->slots[at] != 0 && memcmp(tree->nodes[tree->slots[at] - 1].hash, hash, HASH_BYTES) != 0)
        at = (at + 1) & mask;
    return &tree->slots[at];
}

static enum sorex_status grow_slots(struct tree *tree, struct sorex_error *err)
{
    uint32_t wanted = tree->slot_count == 0 ? SLOTS_MIN : tree->slot_count * 2;
    uint32_t *slots = calloc(wanted, sizeof *slots);
    if (slots == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for an index of %u blocks", tree->count);
    free(tree->slots);
    tree->slots = slots;
    tree->slot_count = wanted;
    for (uint32_t i = 0; i < tree->count; i++)
        *find_slot(tree, tree->nodes[i].hash) = i + 1;
    return SOREX_OK;
}

static enum sorex_status grow_nodes(struct tree *tree, struct sorex_error *err)
{
    uint32_t cap = tree->cap == 0 ? SLOTS_MIN : tree->cap + tree->cap / 2;
    struct node *nodes = realloc(tree->nodes, cap * sizeof *nodes);
    if (nodes == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for an index of %u blocks", cap);
    tree->nodes = nodes;
    tree->cap = cap;
    return SOREX_OK;
}

/* The node of a hash, made without a block when there is none. */
static enum sorex_status node_of(struct tree *tree, const uint8_t hash[HASH_BYTES], uint32_t *out,
                                 struct sorex_error *err)
{
    uint32_t *slot = find_slot(tree, hash);
    if (*slot != 0) {
        *out = *slot - 1;
        return SOREX_OK;
    }
    if (tree->count >= UINT32_MAX / 4)
        return sorex_error_set(err, SOREX_LIMIT, "more than %u blocks", tree->count);
    if (tree->count == tree->cap)
        TRY(grow_nodes(tree, err));
    if (tree->count >= tree->slot_count / 2)
        TRY(grow_slots(tree, err));
    *out = tree->count++;
    tree->nodes[*out] = (struct node){.parent = NONE, .child = NONE, .sibling = NONE, .next = NONE};
    memcpy(tree->nodes[*out].hash, hash, HASH_BYTES);
    *find_slot(tree, hash) = *out + 1;
    return SOREX_OK;
}

enum sorex_status tree_new(struct tree **out, struct sorex_error *err)
{
    static const uint8_t zero[HASH_BYTES];
    uint32_t root;
    struct tree *tree = calloc(1, sizeof *tree);
    if (tree == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for the index of blocks");
    enum sorex_status status = grow_slots(tree, err);
    if (status == SOREX_OK)
        status = node_of(tree, zero, &root, err);
    if (status != SOREX_OK) {
        tree_free(tree);
        return status;
    }
    CHECK(root == ROOT);
    tree->nodes[ROOT].connected = true;
    tree->nodes[ROOT].height = UINT32_MAX; /* so that its children get height 0 */
    *out = tree;
    return SOREX_OK;
}

void tree_free(struct tree *tree)
{
    if (tree == NULL)
        return;
    free(tree->nodes);
    free(tree->slots);
    free(tree->chain);
    free(tree);
}

static void consider_best(struct tree *tree, uint32_t index)
{
    const struct node *node = &tree->nodes[index];
    const struct node *best = &tree->nodes[tree->best];
    int order = tree->best == ROOT ? 1 : work_compare(node->total, best->total);
    if (order > 0 || (order == 0 && node->order < best->order))
        tree->best = index;
}

/* Connects a present block whose parent is connected, and everything that waited under it. */
static void connect(struct tree *tree, uint32_t first)
{
    uint32_t stack = first;
    tree->nodes[first].next = NONE;
    while (stack != NONE) {
        uint32_t index = stack;
        struct node *node = &tree->nodes[index];
        const struct node *parent = &tree->nodes[node->parent];
        stack = node->next;
        node->height = parent->height + 1;
        node->total = work_add(parent->total, node->total);
        node->connected = true;
        tree->connected++;
        consider_best(tree, index);
        for (uint32_t child = node->child; child != NONE; child = tree->nodes[child].sibling) {
            tree->nodes[child].next = stack;
            stack = child;
        }
    }
}

enum sorex_status tree_add(struct tree *tree, const uint8_t hash[HASH_BYTES], const uint8_t parent[HASH_BYTES],
                           struct work work, struct tree_place place, struct sorex_error *err)
{
    uint32_t index;
    uint32_t above;
    TRY(node_of(tree, parent, &above, err));
    TRY(node_of(tree, hash, &index, err));
    struct node *node = &tree->nodes[index];
    if (node->present || index == ROOT)
        return SOREX_OK;
    node->present = true;
    node->place = place;
    node->total = work;
    node->order = tree->blocks++;
    node->parent = above;
    node->sibling = tree->nodes[above].child;
    tree->nodes[above].child = index;
    if (tree->nodes[above].connected)
        connect(tree, index);
    return SOREX_OK;
}

enum sorex_status tree_settle(struct tree *tree, struct sorex_error *err)
{
    if (tree->best == ROOT)
        return SOREX_OK;
    uint32_t len = tree->nodes[tree->best].height + 1;
    if (len > tree->chain_cap) {
        uint32_t cap = len + len / 2;
        uint32_t *chain = realloc(tree->chain, cap * sizeof *chain);
        if (chain == NULL)
            return sorex_error_set(err, SOREX_NOMEM, "out of memory for a chain of %u blocks", cap);
        tree->chain = chain;
        tree->chain_cap = cap;
    }
    uint32_t old_len = tree->chain_len;
    uint32_t index = tree->best;
    for (uint32_t height = len; height-- > 0; index = tree->nodes[index].parent) {
        if (height < old_len && tree->chain[height] == index)
            break;
        tree->chain[height] = index;
    }
    tree->chain_len = len;
    return SOREX_OK;
}

bool tree_tip(const struct tree *tree, uint32_t *out_height, uint8_t out_hash[HASH_BYTES])
{
    if (tree->chain_len == 0)
        return false;
    *out_height = tree->chain_len - 1;
    return tree_hash_at(tree, *out_height, out_hash);
}

bool tree_hash_at(const struct tree *tree, uint32_t height, uint8_t out_hash[HASH_BYTES])
{
    if (height >= tree->chain_len)
        return false;
    memcpy(out_hash, tree->nodes[tree->chain[height]].hash, HASH_BYTES);
    return true;
}

bool tree_find(const struct tree *tree, const uint8_t hash[HASH_BYTES], struct tree_place *out)
{
    uint32_t slot = *find_slot(tree, hash);
    if (slot == 0 || !tree->nodes[slot - 1].present)
        return false;
    *out = tree->nodes[slot - 1].place;
    return true;
}

uint32_t tree_count(const struct tree *tree) { return tree->blocks; }

uint32_t tree_connected(const struct tree *tree) { return tree->connected; }

bool tree_missing(const struct tree *tree, uint8_t out_hash[HASH_BYTES])
{
    for (uint32_t i = ROOT + 1; i < tree->count; i++) {
        if (!tree->nodes[i].present) {
            memcpy(out_hash, tree->nodes[i].hash, HASH_BYTES);
            return true;
        }
    }
    return false;
}
