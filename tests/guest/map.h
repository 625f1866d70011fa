/* State in memory for guests: counts what is asked, and fails where a test says so. Also what the tests share to load
 * guests. */
#ifndef SOREX_TESTS_GUEST_MAP_H
#define SOREX_TESTS_GUEST_MAP_H

#include "guest/host.h"

struct map_entry {
    uint8_t *key;
    size_t key_len;
    uint8_t *value;
    size_t value_len;
};

struct map {
    struct map_entry *entries;
    size_t count;
    unsigned gets, puts, dels;
    unsigned fail_get_at, fail_put_at; /* 1-based; 0 = never */
};

struct state_reader map_reader(struct map *map);
struct state_writer map_writer(struct map *map);
void map_free(struct map *map);
struct map map_copy(const struct map *map);
void map_set(struct map *map, const char *key, struct bytes value);
/* data is NULL when absent. */
struct bytes map_value(const struct map *map, const char *key);
bool map_equal(const struct map *a, const struct map *b);

/* cmocka catches the signals that a guest's traps are made of. traps_keep, before the first test, notes Wasmtime's
 * handlers; traps_restore, in every test that runs guests (guest_load does it), puts them back. */
void traps_keep(void);
void traps_restore(void);

/* $SOREX_GUESTS/NAME.wasm; free data. */
struct bytes guest_load(const char *name);

/* Remembers log lines: "LEVEL COMPONENT: TEXT\n" one after the other. */
extern char log_seen[65536];
void log_watch(void);

#endif
