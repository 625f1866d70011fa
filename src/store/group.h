/* The group in the making and the cache of hot keys: one hash table of keys, each with its chain of versions.
 *
 * A node stands for one state key. Its chain is newest first: versions that entries of this group wrote, then, when
 * `based`, the base: the durable version before the group (or `version_absent`). A node that no entry of the group
 * wrote is cache only. Versions and nodes live in the generation's arena; there is no allocation per key. A put finds
 * its node at once and parks the version in `pending`: staging costs one lookup, and abort only clears what is parked.
 *
 * The store has two groups: `current` takes everything. A large one becomes `old` and is written by another thread,
 * while the next entries go to a new `current`; a small one is written in place and goes on as a cache. `old` is looked
 * at after `current`; a key found there is copied, so what is hot stays when the next rotation drops it.
 *
 * Thread: the writer's. While `old` is being written, the writing thread alone changes `prev`, `based`, its list and
 * its arena; the writer only looks up nodes and reads their newest version. */
#ifndef SOREX_STORE_GROUP_H
#define SOREX_STORE_GROUP_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/codec.h"
#include "base/entry.h"
#include "store/record.h"

struct version {
    struct version *prev;
    const uint8_t *lineage; /* known once the group is being written, and of bases */
    uint32_t height;
    uint32_t value_len;
    uint8_t kind; /* enum version_kind */
    uint8_t lineage_len;
    uint8_t value[];
};

extern struct version version_absent;

static inline bool version_deleted(const struct version *version) { return version->kind == VERSION_DELETED; }
static inline struct bytes version_value(const struct version *version)
{
    return bytes_of(version->value, version->value_len);
}
/* Views. */
static inline struct version_record version_record(const struct version *version)
{
    return (struct version_record){.height = version->height,
                                   .kind = (enum version_kind)version->kind,
                                   .lineage = bytes_of(version->lineage, version->lineage_len),
                                   .value = version_value(version)};
}

struct node {
    uint64_t hash;
    struct version *newest;  /* of committed entries; NULL while nothing is known */
    struct version *pending; /* staged */
    uint32_t key_len;
    bool based;    /* the chain ends in the durable version */
    bool dirty;    /* written by the group */
    uint8_t key[]; /* state key */
};

static inline struct bytes node_key(const struct node *node) { return bytes_of(node->key, node->key_len); }

struct slot {
    uint64_t hash;
    struct node *node;
};

struct generation {
    struct arena arena;
    struct slot *slots;
    size_t slot_count; /* a power of two */
    size_t node_count;
};

void generation_init(struct generation *generation);
void generation_deinit(struct generation *generation);
/* Forgets everything. */
void generation_reset(struct generation *generation);
struct node *generation_find(const struct generation *generation, struct bytes key, uint64_t hash);
/* Finds or makes the node. NULL: out of memory. */
struct node *generation_node(struct generation *generation, struct bytes key, uint64_t hash);

uint64_t key_hash(struct bytes key);
/* A copy of what the record says; prev NULL. NULL: out of memory. */
struct version *version_new(struct arena *arena, const struct version_record *record);
/* Gives the version the lineage that follows from the one before it. False: out of memory. */
bool version_follow(struct arena *arena, struct version *version, const struct version *before, uint32_t horizon);

/* Nodes in ascending order of their keys. */
struct node_list {
    struct node **items;
    size_t count;
    size_t cap;
};

enum sorex_status node_list_reserve(struct node_list *list, size_t more, struct sorex_error *err);
enum sorex_status node_list_sort(struct node_list *list, struct sorex_error *err);

/* What one committed entry did. */
struct touch {
    struct node *node;
    struct version *version;
};

struct group_entry {
    struct entry entry;    /* no payload */
    struct touch *touched; /* ascending keys */
    size_t touched_count;
    struct bytes commitments; /* as in the entry record */
    size_t commitment_count;
    uint64_t outbox_head; /* after this entry */
    struct bytes changes; /* as in the outbox record */
    uint32_t change_count;
};

struct group {
    struct generation generation;
    struct node_list dirty; /* nodes that its entries wrote */
    struct group_entry *entries;
    size_t entry_count, entry_cap;
    uint64_t bytes;      /* keys, values and changes of the entries */
    uint64_t started_ms; /* clock at the first entry */
};

void group_init(struct group *group);
void group_deinit(struct group *group);
enum sorex_status group_entries_reserve(struct group *group, struct sorex_error *err);
/* The group is durable: what it wrote becomes the bases, and it has no entries any more. */
void group_settle(struct group *group);
/* Forgets everything, entries too. */
void group_reset(struct group *group);

#endif
