/* A program of a pipeline: a module under one contract with its settings, its compiled form and its place in the store. */
#ifndef SOREX_PIPELINE_PROGRAM_H
#define SOREX_PIPELINE_PROGRAM_H

#include "guest/indexer.h"
#include "guest/transform.h"
#include "pipeline/settings.h"
#include "store/store.h"

/* sink runners take the programs with `inverse: guest` as the bits of one word */
#define PROGRAM_GUEST_INVERSE_MAX 64

enum program_contract { PROGRAM_INDEXER, PROGRAM_TRANSFORM };

struct program {
    enum program_contract contract;
    const struct program_settings *settings; /* borrowed */
    uint8_t module_hash[HASH_BYTES];
    uint8_t identity[HASH_BYTES];
    struct buf wasm;
    struct indexer *indexer;
    struct transform *transform;
    struct store_program stored;             /* after program_register */
};

struct program_context {
    const char *data_dir;      /* modules are cached and kept here; NULL: nowhere */
    uint32_t start_height;     /* part of the identity */
    guest_stop_fn *stop;
    void *stop_user_data;
    bool interruptible;         /* an indexer: stop ends it at any moment */
    const uint8_t *module_hash; /* of the only module that will do; NULL = any */
};

/* Reads and compiles the module. Errors name program and file. Pair with program_unload, also after a failure. */
enum sorex_status program_load(struct program *program, enum program_contract contract, const struct program_settings *settings,
                               const struct program_context *context, struct sorex_error *err);
void program_unload(struct program *program);

/* Finds or adds the program in the store and keeps a copy of the module in DATA/modules, so that views of a store need no
 * pipeline file. adopt: take over a changed module from the next entry on. Errors: SOREX_MISMATCH with the choices. */
enum sorex_status program_register(struct program *program, struct store *store, const char *data_dir, bool adopt,
                                   struct sorex_error *err);

/* Loads the indexer of a store from DATA/modules (context->data_dir) by its stored module hash. settings: the limits are the
 * caller's, the rest is scratch; borrowed as long as the program is loaded. */
enum sorex_status program_load_stored(struct program *program, const struct store_program *stored,
                                      struct program_settings *settings, const struct program_context *context,
                                      struct sorex_error *err);

static inline struct store_space program_space(const struct program *program, enum store_kind kind)
{
    return (struct store_space){.program = program->stored.id, .kind = (uint8_t)kind};
}

#endif
