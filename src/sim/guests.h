/* The guests of made-up histories: real modules, in WebAssembly text, under both contracts. model.c says in C what they
 * do.
 *
 * Compiling takes milliseconds, so they are loaded once for all histories. */
#ifndef SOREX_SIM_GUESTS_H
#define SOREX_SIM_GUESTS_H

#include "pipeline/program.h"

/* Of every transform there are two modules, which differ in the values that they give rows: for upgrades. */
#define GUESTS_VERSIONS 2

/* A block of branch 6 makes the indexer trap, one of branch 7 makes every transform fail after its changes. */
#define GUESTS_BRANCH_TRAP 6
#define GUESTS_BRANCH_FAIL 7

/* Transforms differ in what the pipeline promises them. */
enum guests_kind {
    GUESTS_ENGINE, /* before: engine; leaves `before` out as often as not */
    GUESTS_GUEST,  /* before: guest; always gives it; has no rollback export */
    GUESTS_KEPT,   /* before: engine, memory: kept; its values count the blocks that this module has seen */
    GUESTS_INVERSE, /* before: guest, inverse: guest; a row a block; told of an undo it takes the row back and amends its keys */
    GUESTS_KINDS
};

/* What a block of GUESTS_INVERSE says by its hash, as guests see it: the row that it creates; of the amendment after its undo the
 * key that is set and the key that is deleted. */
#define GUESTS_INVERSE_ROW 1
#define GUESTS_INVERSE_SET 4
#define GUESTS_INVERSE_DELETE 5

/* Whether the engine keeps images of its rows. */
static inline bool guests_images(enum guests_kind kind) { return kind == GUESTS_ENGINE || kind == GUESTS_KEPT; }

struct guests {
    struct program_settings settings[1 + GUESTS_KINDS];
    struct program indexer;
    struct program transforms[GUESTS_KINDS][GUESTS_VERSIONS];
};

const char *guests_name(enum guests_kind kind);

/* Pair with guests_unload, also after a failure. */
enum sorex_status guests_load(struct guests *guests, struct sorex_error *err);
void guests_unload(struct guests *guests);
/* Finds or adds a program in a store; adopt: also another version than the one that is there. */
enum sorex_status guests_register(struct program *program, struct store *store, bool adopt, struct sorex_error *err);

#endif
