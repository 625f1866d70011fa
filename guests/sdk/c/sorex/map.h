/* A hash map from bytes to a number that remembers the order of insertion: walk `entries` from 0 to count - 1, so that
 * what a guest does never depends on the hash. Keys are borrowed, not copied. Open addressing, linear probing, at most
 * half full. */
#ifndef SOREX_SDK_MAP_H
#define SOREX_SDK_MAP_H

#include "sorex/bytes.h"

struct sx_map_entry {
    struct sx_bytes key;
    uint32_t hash;
    int64_t value;
};

struct sx_map {
    struct sx_map_entry *entries;
    uint32_t *slots; /* 0 = free, else index of the entry + 1 */
    uint32_t count, mask;
};

static inline uint32_t sx_hash(struct sx_bytes key)
{
    uint64_t h = 0x9e3779b97f4a7c15u ^ key.len;
    const uint8_t *p = key.data;
    uint32_t n = key.len;
    for (; n >= 8; n -= 8, p += 8) {
        h = (h ^ sx_u64_get(p)) * 0xbf58476d1ce4e5b9u;
        h ^= h >> 29;
    }
    for (; n > 0; n--, p++)
        h = (h ^ *p) * 0x100000001b3u;
    h *= 0x94d049bb133111ebu;
    return (uint32_t)(h ^ h >> 32);
}

static inline void sx_map_resize(struct sx_map *map, uint32_t slots)
{
    struct sx_map_entry *entries = sx_alloc(sizeof *entries * (slots / 2));
    if (map->count > 0)
        memcpy(entries, map->entries, sizeof *entries * map->count);
    map->entries = entries;
    map->slots = sx_alloc(sizeof *map->slots * slots);
    map->mask = slots - 1;
    for (uint32_t i = 0; i < map->count; i++) {
        uint32_t at = entries[i].hash & map->mask;
        while (map->slots[at] != 0)
            at = (at + 1) & map->mask;
        map->slots[at] = i + 1;
    }
}

/* Room for about `expected` keys before it has to grow. */
static inline void sx_map_init(struct sx_map *map, uint32_t expected)
{
    uint32_t slots = 16;
    while (slots / 2 < expected && slots < 1u << 28)
        slots *= 2;
    *map = (struct sx_map){0};
    sx_map_resize(map, slots);
}

/* NULL when absent. Valid until the next sx_map_at. */
static inline struct sx_map_entry *sx_map_find(const struct sx_map *map, struct sx_bytes key)
{
    uint32_t hash = sx_hash(key);
    for (uint32_t at = hash & map->mask; map->slots[at] != 0; at = (at + 1) & map->mask) {
        struct sx_map_entry *entry = &map->entries[map->slots[at] - 1];
        if (entry->hash == hash && sx_bytes_equal(entry->key, key))
            return entry;
    }
    return NULL;
}

/* Finds the key or adds it with value 0. */
static inline struct sx_map_entry *sx_map_at(struct sx_map *map, struct sx_bytes key)
{
    struct sx_map_entry *found = sx_map_find(map, key);
    if (found != NULL)
        return found;
    if (map->count == (map->mask + 1) / 2)
        sx_map_resize(map, (map->mask + 1) * 2);
    uint32_t hash = sx_hash(key), at = hash & map->mask;
    while (map->slots[at] != 0)
        at = (at + 1) & map->mask;
    map->slots[at] = ++map->count;
    struct sx_map_entry *entry = &map->entries[map->count - 1];
    *entry = (struct sx_map_entry){key, hash, 0};
    return entry;
}

#endif
