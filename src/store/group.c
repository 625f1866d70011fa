#include "store/group.h"

#include <stddef.h>
#include <stdlib.h>

#include "store/lineage.h"

#define SLOTS_MIN 8192u
#define NODE_LIST_MIN 256u

struct version version_absent;

/* ---- hash: multiply and fold, 16 bytes a round, after wyhash. Only spreads keys over slots; never stored or shown.
 * ---- */

__extension__ typedef unsigned __int128 u128;

#define HASH_SEED 0x9e3779b97f4a7c15u
#define HASH_A 0xa0761d6478bd642fu
#define HASH_B 0xe7037ed1a0b428dbu

static inline uint64_t fold(uint64_t a, uint64_t b)
{
    u128 product = (u128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

uint64_t key_hash(struct bytes key)
{
    const uint8_t *p = key.data;
    size_t left = key.len;
    uint64_t h = HASH_SEED ^ key.len;
    for (; left >= 16; left -= 16, p += 16)
        h = fold(load64(p) ^ HASH_A, load64(p + 8) ^ h);
    uint8_t tail[16] = {0};
    memcpy(tail, p, left);
    return fold(fold(load64(tail) ^ HASH_A, load64(tail + 8) ^ h), HASH_B);
}

/* ---- versions ---- */

struct version *version_new(struct arena *arena, const struct version_record *record)
{
    struct bytes value = record->value, lineage = record->lineage;
    if (value.len > SOREX_BUF_BYTES_MAX)
        return NULL;
    struct version *version = arena_alloc(arena, offsetof(struct version, value) + value.len + lineage.len);
    if (version == NULL)
        return NULL;
    *version = (struct version){.lineage = version->value + value.len,
                                .height = record->height,
                                .value_len = (uint32_t)value.len,
                                .kind = (uint8_t)record->kind,
                                .lineage_len = (uint8_t)lineage.len};
    if (value.len != 0)
        memcpy(version->value, value.data, value.len);
    if (lineage.len != 0)
        memcpy(version->value + value.len, lineage.data, lineage.len);
    return version;
}

bool version_follow(struct arena *arena, struct version *version, const struct version *before, uint32_t horizon)
{
    uint8_t lineage[LINEAGE_BYTES_MAX];
    size_t len = 0;
    if (before->kind != VERSION_ABSENT && version->height > horizon)
        len = lineage_next(lineage, bytes_of(before->lineage, before->lineage_len), before->height, version->height,
                           horizon);
    version->lineage_len = (uint8_t)len;
    if (len == 0)
        return true;
    version->lineage = arena_copy(arena, bytes_of(lineage, len)).data;
    return version->lineage != NULL;
}

/* ---- generations ---- */

void generation_init(struct generation *generation)
{
    *generation = (struct generation){0};
    arena_init(&generation->arena, 0);
}

void generation_deinit(struct generation *generation)
{
    arena_deinit(&generation->arena);
    free(generation->slots);
    *generation = (struct generation){0};
}

void generation_reset(struct generation *generation)
{
    arena_reset(&generation->arena);
    if (generation->slot_count > SLOTS_MIN) {
        free(generation->slots);
        generation->slots = NULL;
        generation->slot_count = 0;
    } else if (generation->slots != NULL) {
        memset(generation->slots, 0, generation->slot_count * sizeof *generation->slots);
    }
    generation->node_count = 0;
}

static struct slot *slot_of(const struct generation *generation, struct bytes key, uint64_t hash)
{
    size_t mask = generation->slot_count - 1;
    for (size_t i = (size_t)hash & mask;; i = (i + 1) & mask) {
        struct slot *slot = &generation->slots[i];
        if (slot->node == NULL)
            return slot;
        if (slot->hash == hash && slot->node->key_len == key.len && memcmp(slot->node->key, key.data, key.len) == 0)
            return slot;
    }
}

struct node *generation_find(const struct generation *generation, struct bytes key, uint64_t hash)
{
    return generation->slot_count == 0 ? NULL : slot_of(generation, key, hash)->node;
}

static bool slots_grow(struct generation *generation)
{
    size_t count = generation->slot_count == 0 ? SLOTS_MIN : generation->slot_count * 2;
    struct slot *slots = calloc(count, sizeof *slots);
    if (slots == NULL)
        return false;
    for (size_t i = 0; i < generation->slot_count; i++) {
        if (generation->slots[i].node == NULL)
            continue;
        size_t at = (size_t)generation->slots[i].hash & (count - 1);
        while (slots[at].node != NULL)
            at = (at + 1) & (count - 1);
        slots[at] = generation->slots[i];
    }
    free(generation->slots);
    generation->slots = slots;
    generation->slot_count = count;
    return true;
}

struct node *generation_node(struct generation *generation, struct bytes key, uint64_t hash)
{
    if (generation->node_count * 2 >= generation->slot_count && !slots_grow(generation))
        return NULL;
    struct slot *slot = slot_of(generation, key, hash);
    if (slot->node != NULL)
        return slot->node;
    struct node *node = arena_alloc(&generation->arena, sizeof *node + key.len);
    if (node == NULL)
        return NULL;
    *node = (struct node){.hash = hash, .key_len = (uint32_t)key.len};
    memcpy(node->key, key.data, key.len);
    *slot = (struct slot){hash, node};
    generation->node_count++;
    return node;
}

/* ---- lists of nodes ---- */

enum sorex_status node_list_reserve(struct node_list *list, size_t more, struct sorex_error *err)
{
    if (list->cap - list->count >= more)
        return SOREX_OK;
    size_t cap = list->cap == 0 ? NODE_LIST_MIN : list->cap;
    while (cap - list->count < more)
        cap *= 2;
    struct node **items = realloc(list->items, cap * sizeof(struct node *));
    if (items == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: list of keys");
    list->items = items;
    list->cap = cap;
    return SOREX_OK;
}

/* ---- sorting: by digits of the first bytes of the keys, then what has them in common by comparison ---- */

struct sort_item {
    uint64_t prefix; /* the first eight bytes after the space's, as a number */
    uint64_t space;
    struct node *node;
};

#define DIGIT_BITS 8
#define DIGITS (1u << DIGIT_BITS)
#define SPACE_DIGITS 3                  /* above those of the prefix */
#define DIGIT_PLACES (8 + SPACE_DIGITS) /* least significant first */

static inline size_t digit_of(const struct sort_item *item, unsigned place)
{
    uint64_t number = place < 8 ? item->prefix : item->space;
    return (size_t)(number >> (DIGIT_BITS * (place < 8 ? place : place - 8))) & (DIGITS - 1);
}

/* Stable, by one digit. False when it is the same everywhere: nothing was done. */
static bool digit_sort(const struct sort_item *items, struct sort_item *out, size_t count, unsigned place)
{
    size_t starts[DIGITS] = {0}, at = 0;
    for (size_t i = 0; i < count; i++)
        starts[digit_of(&items[i], place)]++;
    if (starts[digit_of(&items[0], place)] == count)
        return false;
    for (size_t d = 0; d < DIGITS; d++) {
        size_t many = starts[d];
        starts[d] = at;
        at += many;
    }
    for (size_t i = 0; i < count; i++)
        out[starts[digit_of(&items[i], place)]++] = items[i];
    return true;
}

static int sort_compare(const void *left, const void *right)
{
    const struct sort_item *a = left, *b = right;
    if (a->space != b->space)
        return a->space < b->space ? -1 : 1;
    if (a->prefix != b->prefix)
        return a->prefix < b->prefix ? -1 : 1;
    return bytes_compare(node_key(a->node), node_key(b->node));
}

static struct sort_item sort_item_of(struct node *node)
{
    uint8_t head[8] = {0};
    size_t len = node->key_len - SPACE_BYTES;
    memcpy(head, node->key + SPACE_BYTES, len < 8 ? len : 8);
    uint32_t space = (uint32_t)node->key[0] << 16 | (uint32_t)node->key[1] << 8 | node->key[2];
    return (struct sort_item){u64be_get(head), space, node};
}

/* Below this, comparing costs less than counting digits. */
#define DIGITS_PAY_FROM 512u

/* spare: as many again. Returns where the sorted ones are. */
static struct sort_item *items_sort(struct sort_item *items, struct sort_item *spare, size_t count)
{
    for (unsigned place = 0; count >= DIGITS_PAY_FROM && place < DIGIT_PLACES; place++) {
        if (!digit_sort(items, spare, count, place))
            continue;
        struct sort_item *sorted = spare;
        spare = items;
        items = sorted;
    }
    for (size_t from = 0, to = 0; from < count; from = to) {
        for (to = from + 1; to < count && (count < DIGITS_PAY_FROM || (items[to].prefix == items[from].prefix &&
                                                                       items[to].space == items[from].space));)
            to++;
        if (to - from > 1)
            qsort(items + from, to - from, sizeof *items, sort_compare);
    }
    return items;
}

enum sorex_status node_list_sort(struct node_list *list, struct sorex_error *err)
{
    if (list->count < 2)
        return SOREX_OK;
    struct sort_item *items = malloc(2 * list->count * sizeof *items);
    if (items == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: sort %zu keys", list->count);
    for (size_t i = 0; i < list->count; i++)
        items[i] = sort_item_of(list->items[i]);
    const struct sort_item *sorted = items_sort(items, items + list->count, list->count);
    for (size_t i = 0; i < list->count; i++)
        list->items[i] = sorted[i].node;
    free(items);
    return SOREX_OK;
}

/* ---- the group ---- */

void group_init(struct group *group)
{
    *group = (struct group){0};
    generation_init(&group->generation);
}

void group_deinit(struct group *group)
{
    generation_deinit(&group->generation);
    free(group->dirty.items);
    free(group->entries);
    *group = (struct group){0};
}

enum sorex_status group_entries_reserve(struct group *group, struct sorex_error *err)
{
    if (group->entry_count < group->entry_cap)
        return SOREX_OK;
    size_t cap = group->entry_cap == 0 ? 64 : group->entry_cap * 2;
    struct group_entry *entries = realloc(group->entries, cap * sizeof *entries);
    if (entries == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory: group of %zu entries", cap);
    group->entries = entries;
    group->entry_cap = cap;
    return SOREX_OK;
}

void group_settle(struct group *group)
{
    for (size_t i = 0; i < group->dirty.count; i++) {
        struct node *node = group->dirty.items[i];
        node->newest->prev = NULL; /* never version_absent: an entry wrote it */
        node->dirty = false;
        node->based = true;
    }
    group->dirty.count = 0;
    group->entry_count = 0;
    group->bytes = 0;
}

void group_reset(struct group *group)
{
    generation_reset(&group->generation);
    group->dirty.count = 0;
    group->entry_count = 0;
    group->bytes = 0;
}
