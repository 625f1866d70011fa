/* The guests of made-up histories: real modules, in WebAssembly text, under both contracts. model.c says in C what they
 * do.
 *
 * Compiling takes milliseconds, so they are loaded once for all histories. */
#ifndef SOREX_SIM_GUESTS_H
#define SOREX_SIM_GUESTS_H

#include "pipeline/program.h"

/* A block of branch 6 makes the indexer trap, one of branch 7 makes every transform fail after its changes. */
#define GUESTS_BRANCH_TRAP 6
#define GUESTS_BRANCH_FAIL 7

/* Transforms differ in what the pipeline promises them. */
enum guests_kind {
    GUESTS_ENGINE, /* before: engine; leaves `before` out as often as not */
    GUESTS_GUEST,  /* before: guest; always gives it; has no rollback export */
    GUESTS_KEPT,   /* before: engine, memory: kept; its values count the blocks since the start */
    GUESTS_KINDS
};

struct guests {
    struct program_settings settings[1 + GUESTS_KINDS];
    struct program indexer;
    struct program transforms[GUESTS_KINDS];
};

const char *guests_name(enum guests_kind kind);

/* Pair with guests_unload, also after a failure. */
enum sorex_status guests_load(struct guests *guests, struct sorex_error *err);
void guests_unload(struct guests *guests);
/* Finds or adds a program in a store. */
enum sorex_status guests_register(struct program *program, struct store *store, struct sorex_error *err);

#endif
