/* A pipeline: settings -> store, programs, source, sinks; the loop that feeds entries to the step; what other threads may ask it. */
#ifndef SOREX_PIPELINE_PIPELINE_H
#define SOREX_PIPELINE_PIPELINE_H

#include "json/writer.h"
#include "pipeline/settings.h"
#include "pipeline/step.h"
#include "sink/runner.h"

struct pipeline;

struct pipeline_options {
    const char *upgrade;  /* name of the program whose changed module is adopted; NULL: none */
    bool no_network;      /* do not open source and sinks (upgrade, rollback without run) */
};

/* Opens the store for writing, compiles the programs, registers them, opens source and sinks. settings is borrowed.
 * Errors: SOREX_BUSY, SOREX_MISMATCH, SOREX_INVALID, SOREX_IO, each naming what it is about. */
enum sorex_status pipeline_new(const struct pipeline_settings *settings, const struct pipeline_options *options,
                               struct pipeline **out, struct sorex_error *err);
void pipeline_free(struct pipeline *pipeline);

#define PIPELINE_UNTIL_TIP (SOREX_HEIGHT_NONE - 1)

struct pipeline_summary {
    uint32_t from, tip;          /* tip at start and now; SOREX_HEIGHT_NONE: empty */
    uint64_t entries, undone;    /* applied and taken back */
    uint64_t pairs, changes;     /* flushed, emitted */
    uint64_t fuel;               /* of metered programs */
    uint64_t guest_ns, commit_ns, wait_ns, run_ns;
};

/* Follows the source until pipeline_stop, or up to and including height `until` (SOREX_HEIGHT_NONE: no end;
 * PIPELINE_UNTIL_TIP: until the source has no more), then drains the sinks.
 * Errors: of the entry that failed, of the store, SOREX_GONE beyond the horizon; SOREX_STOPPED when stopped before `until`.
 *         A permanent failure of a sink ends a run with `until` (its status), not one without. */
enum sorex_status pipeline_run(struct pipeline *pipeline, uint32_t until, struct pipeline_summary *out,
                               struct sorex_error *err);

/* Asks the loop to end after the entry in hand. Thread: any. */
void pipeline_stop(struct pipeline *pipeline);
/* Whether somebody did. Thread: any. */
bool pipeline_stopping(struct pipeline *pipeline);

/* Undoes down to `height`, which remains. While run is alive the loop does it between two entries.
 * Errors: SOREX_GONE below the horizon or above the tip. Thread: any. */
enum sorex_status pipeline_rollback(struct pipeline *pipeline, uint32_t height, uint64_t *out_undone, struct sorex_error *err);

/* Writes the members name, state, waiting_for, heights, sinks, sizes into an open object. Thread: any. */
enum sorex_status pipeline_status(struct pipeline *pipeline, struct json_writer *w, struct sorex_error *err);

/* Borrowed, for readers on other threads. */
const struct pipeline_settings *pipeline_settings(const struct pipeline *pipeline);
struct store *pipeline_store(struct pipeline *pipeline);
struct program *pipeline_indexer(struct pipeline *pipeline); /* NULL: none */
/* The embedded database of a sink, by the sink's name; NULL: the first there is. NULL when there is none, or source and
 * sinks were not opened. */
struct embedded *pipeline_database(struct pipeline *pipeline, const char *sink);
/* The database of the reducer of that name; NULL: whatever its name. NULL when there is none, or as above. */
struct chained *pipeline_derived(struct pipeline *pipeline, const char *reducer);

#endif
