#include "sim/script.h"

#include <stdio.h>

#include "base/check.h"
#include "source/memory.h"

uint64_t script_random(uint64_t *state)
{
    uint64_t x = *state += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

uint32_t script_draw(uint64_t *state, uint32_t below) { return (uint32_t)(script_random(state) % below); }

/* Branches 0 to 2 mostly, so that old ones come back; those that guests fail on seldom. */
static uint32_t branch_draw(uint64_t *random)
{
    uint32_t chance = script_draw(random, 40);
    return chance == 0 ? 6 : chance == 1 ? 7 : chance % 3;
}

/* Shallow mostly, as in life; deep often enough. */
static uint32_t depth_draw(uint64_t *random)
{
    uint32_t chance = script_draw(random, 10);
    return chance == 0 ? script_draw(random, 40) : chance < 3 ? script_draw(random, 12) : 1 + script_draw(random, 3);
}

/* Kinds by weight. */
static const uint8_t weights[STEP_KINDS] = {
    [STEP_GROW] = 18,   [STEP_FORK] = 24,   [STEP_LIE] = 4,      [STEP_TRUTH] = 3,    [STEP_AWAY] = 4,
    [STEP_NETWORK] = 1, [STEP_FOLLOW] = 34, [STEP_CRASH_AT] = 6, [STEP_ROLLBACK] = 5, [STEP_FLUSH] = 2,
    [STEP_KILL] = 2,    [STEP_RESTART] = 2, [STEP_DELIVER] = 20, [STEP_PREVIEW] = 2, [STEP_UPGRADE] = 2,
};

static enum step_kind kind_draw(uint64_t *random)
{
    uint32_t sum = 0, kind = 0;
    for (int i = 0; i < STEP_KINDS; i++)
        sum += weights[i];
    uint32_t at = script_draw(random, sum);
    while (at >= weights[kind])
        at -= weights[kind++];
    return (enum step_kind)kind;
}

static struct script_step step_draw(uint64_t *random)
{
    struct script_step step = {.kind = kind_draw(random)};
    switch (step.kind) {
    case STEP_GROW:
        step.a = 1 + script_draw(random, 6);
        step.b = branch_draw(random);
        break;
    case STEP_FORK:
        step.a = depth_draw(random);
        step.b = script_draw(random, 4) == 0 ? 0 : step.a + script_draw(random, 3);
        step.c = branch_draw(random);
        break;
    case STEP_LIE:
        step.a = MEMORY_WRONG_HASH + script_draw(random, MEMORY_MISSING);
        break;
    case STEP_AWAY:
        step.a = script_draw(random, MEMORY_CALLS);
        step.b = script_draw(random, 4);
        step.c = 1 + script_draw(random, 3);
        break;
    case STEP_FOLLOW:
    case STEP_CRASH_AT:
        step.a = 1 + script_draw(random, 16);
        step.b = script_draw(random, 3) == 0 ? 255 : script_draw(random, 256);
        step.c = 2 + script_draw(random, 8);
        break;
    case STEP_ROLLBACK:
        step.a = depth_draw(random);
        step.c = script_draw(random, 2) == 0 ? 0 : 2 + script_draw(random, 10);
        break;
    case STEP_KILL:
        step.a = script_draw(random, 4);
        break;
    case STEP_UPGRADE:
        step.a = script_draw(random, 2);
        break;
    case STEP_DELIVER:
        step.a = script_draw(random, 2);
        step.b = 1 + script_draw(random, 4);
        step.c = script_draw(random, 2) == 0 ? 0 : script_draw(random, TROUBLE_KINDS);
        break;
    case STEP_TRUTH:
    case STEP_NETWORK:
    case STEP_FLUSH:
    case STEP_RESTART:
    case STEP_PREVIEW:
    case STEP_APPLY:
    case STEP_UNDO:
    case STEP_KINDS:
        break;
    }
    return step;
}

static struct script_step real_draw(uint64_t *random)
{
    uint32_t chance = script_draw(random, 10);
    if (chance == 0)
        return (struct script_step){.kind = STEP_KILL};
    if (chance < 6)
        return (struct script_step){.kind = STEP_APPLY, .a = 1 + script_draw(random, 30)};
    uint32_t deep = script_draw(random, 6) == 0 ? 60 : 8;
    return (struct script_step){.kind = STEP_UNDO, .a = 1 + script_draw(random, deep)};
}

void script_make(struct script *script, uint64_t seed, size_t count, bool real)
{
    uint64_t random = seed;
    (void)script_random(&random);
    script->seed = seed;
    script->count = count < SCRIPT_STEPS_MAX ? count : SCRIPT_STEPS_MAX;
    for (size_t i = 0; i < script->count; i++)
        script->steps[i] = real ? real_draw(&random) : step_draw(&random);
}

/* ---- as text ---- */

static const char *const damage_names[] = {"nothing",           "the wrong block", "a wrong parent",
                                           "a bad Merkle root", "a torn block",    "no block"};
static const char *const call_names[] = {"tip", "hash_at", "fetch"};
static const char *const trouble_names[] = {
    "",
    "; the last one is refused",
    "; the last one fails after it was applied",
    "; crash before the last one",
    "; crash after the last one",
    "; crash at the cursor's write",
};

static enum sorex_status deliver_say(const struct script_step *s, struct buf *out, struct sorex_error *err)
{
    return buf_printf(out, err, "sink %u takes %u batches%s", s->a, s->b, trouble_names[s->c % TROUBLE_KINDS]);
}

static const char *crash_say(uint32_t write, char *out, size_t size)
{
    (void)snprintf(out, size, ", crash %s write %u", write % 2 == 0 ? "before" : "after", write / 2);
    return write / 2 == 0 ? "" : out;
}

enum sorex_status script_say(const struct script_step *s, struct buf *out, struct sorex_error *err)
{
    char text[64];
    switch (s->kind) {
    case STEP_GROW:
        return buf_printf(out, err, "the source grows by %u blocks of branch %u", s->a, s->b);
    case STEP_FORK:
        return buf_printf(out, err, "the source drops %u blocks and grows by %u of branch %u", s->a, s->b, s->c);
    case STEP_LIE:
        return buf_printf(out, err, "the source lies: %s", damage_names[s->a % 6]);
    case STEP_TRUTH:
        return buf_printf(out, err, "the source is honest again");
    case STEP_AWAY:
        return buf_printf(out, err, "the source is away: %s, after %u calls, %u times", call_names[s->a % 3], s->b,
                          s->c);
    case STEP_NETWORK:
        return buf_printf(out, err, "the source is another network for a while");
    case STEP_FOLLOW:
        return buf_printf(out, err, "follow %u events (durable commits: bits of %u)", s->a, s->b);
    case STEP_CRASH_AT:
        return buf_printf(out, err, "follow %u events (durable commits: bits of %u)%s", s->a, s->b,
                          crash_say(s->c, text, sizeof text));
    case STEP_ROLLBACK:
        return buf_printf(out, err, "roll back %u entries on request%s", s->a, crash_say(s->c, text, sizeof text));
    case STEP_FLUSH:
        return buf_printf(out, err, "flush");
    case STEP_KILL:
        return s->a == 0 ? buf_printf(out, err, "kill, start again")
                         : buf_printf(out, err, "kill, start again, crash before write %u of that", s->a);
    case STEP_RESTART:
        return buf_printf(out, err, "stop, start again");
    case STEP_DELIVER:
        return deliver_say(s, out, err);
    case STEP_PREVIEW:
        return buf_printf(out, err, "preview of a block");
    case STEP_UPGRADE:
        return buf_printf(out, err, "transform %u gets its other module", s->a);
    case STEP_APPLY:
        return buf_printf(out, err, "apply %u blocks", s->a);
    case STEP_UNDO:
        return buf_printf(out, err, "undo %u blocks", s->a);
    case STEP_KINDS:
        break;
    }
    return SOREX_OK;
}

/* ---- shrinking ---- */

struct shrinking {
    script_fails_fn *fails;
    void *user_data;
    uint32_t left;
    struct script trial;
};

static bool still_fails(struct shrinking *shrinking)
{
    if (shrinking->left == 0)
        return false;
    shrinking->left--;
    return shrinking->fails(shrinking->user_data, &shrinking->trial);
}

/* Leaves out pieces, halving their size. True when something went. */
static bool steps_drop(struct script *script, struct shrinking *shrinking)
{
    bool any = false;
    for (size_t size = script->count / 2 + 1; size > 0; size /= 2)
        for (size_t end = script->count; end > 0;) {
            size_t begin = end > size ? end - size : 0;
            shrinking->trial = *script;
            (void)memmove(&shrinking->trial.steps[begin], &script->steps[end],
                          (script->count - end) * sizeof script->steps[0]);
            shrinking->trial.count -= end - begin;
            if (still_fails(shrinking)) {
                *script = shrinking->trial;
                any = true;
            }
            end = begin;
        }
    return any;
}

static bool number_lower(struct script *script, struct shrinking *shrinking, uint32_t *number_of_trial, uint32_t now)
{
    const uint32_t lower[] = {0, 1, 2, now / 2, now - 1};
    for (size_t i = 0; i < sizeof lower / sizeof *lower; i++) {
        if (now == 0 || lower[i] >= now)
            continue;
        *number_of_trial = lower[i];
        if (still_fails(shrinking)) {
            *script = shrinking->trial;
            return true;
        }
    }
    *number_of_trial = now;
    return false;
}

static bool numbers_lower(struct script *script, struct shrinking *shrinking)
{
    bool any = false;
    for (size_t i = 0; i < script->count; i++) {
        shrinking->trial = *script;
        struct script_step *trial = &shrinking->trial.steps[i];
        any |= number_lower(script, shrinking, &trial->a, trial->a);
        any |= number_lower(script, shrinking, &trial->b, trial->b);
        any |= number_lower(script, shrinking, &trial->c, trial->c);
    }
    return any;
}

void script_shrink(struct script *script, script_fails_fn *fails, void *user_data, uint32_t tries_max)
{
    static struct shrinking shrinking; /* large, and one is enough: the simulator has one thread */
    shrinking.fails = fails;
    shrinking.user_data = user_data;
    shrinking.left = tries_max;
    bool again = true;
    while (again && shrinking.left > 0) {
        again = steps_drop(script, &shrinking);
        again |= numbers_lower(script, &shrinking);
    }
}
