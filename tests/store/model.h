/* The store, small and obviously right: a whole map per height, an outbox that is a list, and rules in one line each.
 *
 * Every operation is done to the model, and to a store as well when there is one; what it does depends on the model and
 * its random numbers only, so that a run can be repeated without the store to learn what a crashed process had done. */
#ifndef TESTS_STORE_MODEL_H
#define TESTS_STORE_MODEL_H

#include "store/scratch.h"

#define MODEL_PROGRAMS 2
#define MODEL_SPACES 4
#define MODEL_KEYS 14
#define MODEL_VALUE_MAX 24
#define MODEL_HEIGHTS 400
#define MODEL_OUTBOX 2000
#define MODEL_CHANGES_MAX 256
#define MODEL_SEQUENCES 40

struct model_value {
    uint8_t present, len;
    uint8_t bytes[MODEL_VALUE_MAX];
};

struct model_state {
    struct model_value values[MODEL_SPACES][MODEL_KEYS];
};

struct model_height {
    struct entry entry;
    struct model_state state;
    uint8_t commitments[MODEL_PROGRAMS][HASH_BYTES];
    uint64_t sequences[MODEL_SEQUENCES];
    uint32_t sequence_count;
    uint64_t outbox_head;
};

struct model_record {
    enum outbox_kind kind;
    uint64_t undone;
    struct entry entry;
    uint32_t change_count;
    uint8_t changes[MODEL_CHANGES_MAX];
    uint32_t changes_len;
};

struct model {
    uint32_t history;
    uint32_t first; /* heights are first .. first + count - 1 */
    uint32_t count;
    uint32_t horizon;
    uint64_t cursor; /* UINT64_MAX = none */
    uint64_t outbox_first, outbox_head;
    uint32_t branch; /* distinguishes entries of one height */
    uint64_t random;
    bool group_always; /* every commit is a group of its own, written behind the next one */
    bool unwritten;    /* something is in the group */
    void (*moment)(const struct model *model, void *user_data); /* called whenever everything is durable */
    void *user_data;
    struct model_height heights[MODEL_HEIGHTS];
    struct model_record outbox[MODEL_OUTBOX + 1];
};

struct store_space model_space(uint32_t index);
struct bytes model_key(uint32_t index);
uint32_t model_random(struct model *model, uint32_t below);

void model_init(struct model *model, uint64_t seed, uint32_t history, uint32_t first);
uint32_t model_tip(const struct model *model);

/* What a written group does to the horizon and the outbox. */
void model_flush(struct model *model);

/* One random operation. durable_always: no groups. */
void model_step(struct model *model, struct store *store, bool durable_always);
void model_flush_store(struct model *model, struct store *store);

/* model_check.c: compares everything that can be asked of the store. durable: the model as of the last written group.
 * trimmed_late: the outbox may be longer than the rule says. */
void model_check(const struct model *model, const struct model *durable, struct store *store, bool trimmed_late);
/* What the writer sees, written or not. */
void model_check_writer(const struct model *model, struct store *store);
void model_check_reader(const struct model_state *state, struct store_reader *reader);

#endif
