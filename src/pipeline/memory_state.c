#include "pipeline/memory_state.h"

#include <stdlib.h>

#include "base/check.h"

struct memory_state_pair {
    struct bytes key;   /* data NULL: free slot */
    struct bytes value;
    bool deleted;
    uint64_t hash;
};

void memory_state_init(struct memory_state *state, const struct state_reader *base)
{
    *state = (struct memory_state){.base = base};
    arena_init(&state->arena, (size_t)16 << 30);
}

void memory_state_deinit(struct memory_state *state)
{
    free(state->pairs);
    arena_deinit(&state->arena);
    *state = (struct memory_state){0};
}

static uint64_t key_hash(struct bytes key)
{
    uint64_t h = 0xcbf29ce484222325u; /* FNV-1a, then mixed */
    for (size_t i = 0; i < key.len; i++)
        h = (h ^ key.data[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static struct memory_state_pair *slot_find(struct memory_state_pair *pairs, size_t capacity, struct bytes key, uint64_t hash)
{
    size_t i = (size_t)hash & (capacity - 1);
    while (pairs[i].key.data != NULL && !(pairs[i].hash == hash && bytes_equal(pairs[i].key, key)))
        i = (i + 1) & (capacity - 1);
    return &pairs[i];
}

static enum sorex_status table_grow(struct memory_state *state, struct sorex_error *err)
{
    size_t capacity = state->capacity == 0 ? 1024 : state->capacity * 2;
    struct memory_state_pair *pairs = calloc(capacity, sizeof *pairs);
    if (pairs == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for %zu keys", capacity);
    for (size_t i = 0; i < state->capacity; i++)
        if (state->pairs[i].key.data != NULL)
            *slot_find(pairs, capacity, state->pairs[i].key, state->pairs[i].hash) = state->pairs[i];
    free(state->pairs);
    state->pairs = pairs;
    state->capacity = capacity;
    return SOREX_OK;
}

enum sorex_status memory_state_get(void *user_data, struct bytes key, struct bytes *out_value, bool *out_found,
                                   struct sorex_error *err)
{
    struct memory_state *state = user_data;
    *out_value = bytes_of(NULL, 0);
    *out_found = false;
    if (state->capacity != 0) {
        const struct memory_state_pair *pair = slot_find(state->pairs, state->capacity, key, key_hash(key));
        if (pair->key.data != NULL) {
            *out_found = !pair->deleted;
            if (*out_found)
                *out_value = pair->value;
            return SOREX_OK;
        }
    }
    return state->base != NULL ? state->base->get(state->base->user_data, key, out_value, out_found, err) : SOREX_OK;
}

static enum sorex_status pair_set(struct memory_state *state, struct bytes key, struct bytes value, bool deleted,
                                  struct sorex_error *err)
{
    if (state->used * 4 >= state->capacity * 3)
        TRY(table_grow(state, err));
    uint64_t hash = key_hash(key);
    struct memory_state_pair *pair = slot_find(state->pairs, state->capacity, key, hash);
    struct bytes copy = arena_copy(&state->arena, value);
    struct bytes own_key = pair->key.data != NULL ? pair->key : arena_copy(&state->arena, key);
    if (copy.data == NULL || own_key.data == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for state in memory");
    if (pair->key.data == NULL)
        state->used++;
    *pair = (struct memory_state_pair){.key = own_key, .value = copy, .deleted = deleted, .hash = hash};
    return SOREX_OK;
}

enum sorex_status memory_state_put(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err)
{
    return pair_set(user_data, key, value, false, err);
}

enum sorex_status memory_state_del(void *user_data, struct bytes key, struct sorex_error *err)
{
    return pair_set(user_data, key, bytes_of(NULL, 0), true, err);
}

static int pair_order(const void *a, const void *b)
{
    const struct memory_state_pair *const *left = a, *const *right = b;
    return bytes_compare((*left)->key, (*right)->key);
}

enum sorex_status memory_state_writes(const struct memory_state *state, memory_state_write_fn *each, void *user_data,
                                      struct sorex_error *err)
{
    if (state->used == 0)
        return SOREX_OK;
    const struct memory_state_pair **order = malloc(state->used * sizeof(*order));
    if (order == NULL)
        return sorex_error_set(err, SOREX_NOMEM, "out of memory for sorting %zu keys", state->used);
    size_t n = 0;
    for (size_t i = 0; i < state->capacity; i++)
        if (state->pairs[i].key.data != NULL)
            order[n++] = &state->pairs[i];
    qsort(order, n, sizeof(*order), pair_order);
    enum sorex_status status = SOREX_OK;
    for (size_t i = 0; i < n && status == SOREX_OK; i++)
        status = each(user_data, order[i]->key, order[i]->deleted ? NULL : &order[i]->value, err);
    free(order);
    return status;
}

struct present {
    memory_state_fn *each;
    void *user_data;
};

static enum sorex_status present_only(void *user_data, struct bytes key, const struct bytes *value, struct sorex_error *err)
{
    const struct present *present = user_data;
    return value != NULL ? present->each(present->user_data, key, *value, err) : SOREX_OK;
}

enum sorex_status memory_state_scan(const struct memory_state *state, memory_state_fn *each, void *user_data,
                                    struct sorex_error *err)
{
    struct present present = {.each = each, .user_data = user_data};
    return memory_state_writes(state, present_only, &present, err);
}
