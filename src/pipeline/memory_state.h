/* A program's keys in memory, over an optional reader beneath: `try`, previews and the rollback call write here and nowhere else. */
#ifndef SOREX_PIPELINE_MEMORY_STATE_H
#define SOREX_PIPELINE_MEMORY_STATE_H

#include "base/arena.h"
#include "guest/host.h"

struct memory_state_pair;

struct memory_state {
    struct arena arena;              /* keys and values; superseded values stay until deinit */
    struct memory_state_pair *pairs; /* open addressing */
    size_t capacity, used;
    const struct state_reader *base; /* asked for keys that are not here; NULL: none */
};

void memory_state_init(struct memory_state *state, const struct state_reader *base);
void memory_state_deinit(struct memory_state *state);

enum sorex_status memory_state_get(void *state, struct bytes key, struct bytes *out_value, bool *out_found,
                                   struct sorex_error *err);
enum sorex_status memory_state_put(void *state, struct bytes key, struct bytes value, struct sorex_error *err);
enum sorex_status memory_state_del(void *state, struct bytes key, struct sorex_error *err);

static inline struct state_reader memory_state_reader(struct memory_state *state)
{
    return (struct state_reader){.get = memory_state_get, .user_data = state};
}
static inline struct state_writer memory_state_writer(struct memory_state *state)
{
    return (struct state_writer){.put = memory_state_put, .del = memory_state_del, .user_data = state};
}

/* Calls back for every key present here (not beneath), in key order. */
typedef enum sorex_status memory_state_fn(void *user_data, struct bytes key, struct bytes value, struct sorex_error *err);
enum sorex_status memory_state_scan(const struct memory_state *state, memory_state_fn *each, void *user_data,
                                    struct sorex_error *err);

/* Calls back for every write made here, deletions included (value NULL), in key order. */
typedef enum sorex_status memory_state_write_fn(void *user_data, struct bytes key, const struct bytes *value,
                                                struct sorex_error *err);
enum sorex_status memory_state_writes(const struct memory_state *state, memory_state_write_fn *each, void *user_data,
                                      struct sorex_error *err);

#endif
