/* One history: a source, the chain that follows it, the step on real guests, the store on a disk in memory, and sinks;
 * played from a script in virtual time, and compared with the model after every step. */
#ifndef SOREX_SIM_HISTORY_H
#define SOREX_SIM_HISTORY_H

#include "chain/chain.h"
#include "pipeline/step.h"
#include "sim/model.h"
#include "sim/script.h"
#include "sim/twin.h"
#include "sink/feed.h"
#include "store/disk.h"

struct history_sink {
    const char *name;
    struct twin twin;
    struct feed *feed;
    uint32_t finality;
    bool placed; /* the feed stands where the twin does */
};

struct history_figures {
    uint64_t steps, entries, undone, refused, crashes, hard_stops, batches, checks;
    uint64_t deep_undos; /* of ten entries and more */
    uint64_t torn_undos; /* crashed with a part undone */
    uint64_t amendments, upgrades;
};

/* A commitment seen before: one branch and the same modules have one, whenever and however it is reached. */
struct history_seen {
    uint64_t path;
    uint8_t hash[HASH_BYTES];
    uint8_t commitments[MODEL_PROGRAMS][HASH_BYTES];
};

#define HISTORY_SEEN 2048

struct history {
    struct guests *guests; /* borrowed */
    struct model model;
    struct disk *disk;
    struct store *store;
    struct program transforms[MODEL_TRANSFORMS]; /* copies of the guests' */
    struct program indexer;
    struct step step;
    struct source *source;
    struct chain *chain;
    struct history_sink sinks[MODEL_SINKS];
    bool genesis_known;
    uint8_t genesis[HASH_BYTES];
    uint32_t source_count, entries_max; /* heights that there are, and that we ever had */
    uint32_t wrong_idles; /* in a row: what the chain said of the source was not so */
    uint32_t spoilt;      /* height of the block that is replaced by a wrong one, or SOREX_HEIGHT_NONE */
    struct history_seen seen[HISTORY_SEEN];
    uint32_t seen_count;
    struct buf got, wanted;
    struct history_figures figures;
    uint64_t trace; /* FNV-1a over everything that happened */
};

/* Plays a script.
 * Errors: SOREX_MISMATCH: something is not as the model says; text has the step and what it is. Others: the simulator
 * itself could not go on. history: zeroed before the first play; may be used for many; pair with history_deinit. */
enum sorex_status history_play(struct history *history, struct guests *guests, const struct script *script,
                               uint32_t forget_undo, struct sorex_error *err);
void history_deinit(struct history *history);

/* check.c: compares everything that is retained. */
enum sorex_status history_check(struct history *history, struct sorex_error *err);
/* Adds to the trace. */
void history_trace(struct history *history, struct bytes bytes);

#define WRONG(err, ...) sorex_error_set(err, SOREX_MISMATCH, __VA_ARGS__)

#endif
