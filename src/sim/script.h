/* A history as a list of steps. Every number of a step means something whatever happened before, so steps can be left
 * out. */
#ifndef SOREX_SIM_SCRIPT_H
#define SOREX_SIM_SCRIPT_H

#include "base/bytes.h"

enum step_kind {
    STEP_GROW,     /* the source gets `a` blocks of branch `b` */
    STEP_FORK,     /* ... drops `a` blocks, gets `b` of branch `c`; an old branch comes back */
    STEP_LIE,      /* spoils its blocks: `a` is an enum memory_damage */
    STEP_TRUTH,    /* stops lying and failing */
    STEP_AWAY,     /* does not answer: calls of kind `a`, after `b`, `c` of them */
    STEP_NETWORK,  /* is another network for a while */
    STEP_FOLLOW,   /* the pipeline takes `a` events; bit n of `b`: the nth commit is durable */
    STEP_CRASH_AT, /* ... and ends at write `c / 2`, before it or (odd) after it */
    STEP_ROLLBACK, /* undoes `a` entries because somebody asked; ends at write `c / 2` as above, 0: does not */
    STEP_FLUSH,
    STEP_KILL,    /* ends, starts again; ends at write `a` of that, 0: does not, and starts once more */
    STEP_RESTART, /* stops in order, starts again */
    STEP_DELIVER, /* sink `a` gets `b` batches; `c` is an enum script_trouble of the last one */
    STEP_PREVIEW, /* somebody asks for a preview */
    STEP_UPGRADE, /* stops, starts with transform `a`'s other module */
    STEP_APPLY,   /* with real blocks: the next `a` */
    STEP_UNDO,    /* with real blocks: `a` back */
    STEP_KINDS
};

enum script_trouble {
    TROUBLE_NONE,
    TROUBLE_REFUSED,      /* the sink fails and has done nothing */
    TROUBLE_UNKNOWN,      /* it fails after it has applied the batch */
    TROUBLE_CRASH_BEFORE, /* we end before the batch, */
    TROUBLE_CRASH_AFTER,  /* after it, */
    TROUBLE_CRASH_CURSOR, /* at the write of the cursor in our own store */
    TROUBLE_KINDS
};

struct script_step {
    enum step_kind kind;
    uint32_t a, b, c;
};

#define SCRIPT_STEPS_MAX 1000

struct script {
    uint64_t seed;
    size_t count;
    struct script_step steps[SCRIPT_STEPS_MAX];
};

/* splitmix64 */
uint64_t script_random(uint64_t *state);
uint32_t script_draw(uint64_t *state, uint32_t below);

/* The script of a seed: a function of seed and count, nothing else. real: steps for real blocks. */
void script_make(struct script *script, uint64_t seed, size_t count, bool real);
/* Appends a step as text. */
enum sorex_status script_say(const struct script_step *step, struct buf *out, struct sorex_error *err);

/* Whether a script still fails in the way that is looked for. */
typedef bool script_fails_fn(void *user_data, const struct script *script);
/* Leaves out steps and lowers numbers as long as it still fails; at most tries_max trials. */
void script_shrink(struct script *script, script_fails_fn *fails, void *user_data, uint32_t tries_max);

#endif
