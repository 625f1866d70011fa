/* The filters of a chain pipeline: guests of contract 3 (docs/abi/filter.md) that see every change of the transforms,
 * one behind the other, before it is stored for the sinks. What becomes of their verdicts is delivered.h's business.
 * How it all fits together: docs/filters.md.
 *
 * The store knows them as one program, FILTERS_PROGRAM, whose identity is that of the whole list, and whose keys say
 * which rows were delivered otherwise than their transform made them (docs/formats/data-directory.md).
 *
 * Threads: the step's, but for filters_status. */
#ifndef SOREX_PIPELINE_FILTERS_H
#define SOREX_PIPELINE_FILTERS_H

#include <stdatomic.h>

#include "guest/filter.h"
#include "json/writer.h"
#include "pipeline/settings.h"
#include "store/store.h"

struct filters_stage {
    const struct filter_settings *settings; /* borrowed */
    uint8_t module_hash[HASH_BYTES];
    struct filter *filter;
    struct filter_instance *instance;
    _Atomic uint64_t events, changed, filtered, failed;
};

struct filters {
    struct filters_stage stages[PIPELINE_FILTERS_MAX];
    size_t count;                    /* may be 0 in a store that once had filters: its rows are still looked after */
    uint8_t module_hash[HASH_BYTES]; /* SHA-256 of the modules' hashes, in order */
    uint8_t identity[HASH_BYTES];    /* docs/formats/data-directory.md */
    struct store_program stored;     /* after filters_register */
};

/* Reads and compiles the modules, makes an instance of each (init sees its config).
 *
 * settings   count of them, borrowed as long as the filters. data_dir: modules are cached there; NULL: nowhere.
 * Errors:    SOREX_INVALID, SOREX_GUEST, SOREX_IO ..., with filter and file. Pair with filters_unload, also after a
 *            failure. */
enum sorex_status filters_load(struct filters *filters, const struct filter_settings *settings, size_t count,
                               const char *data_dir, struct sorex_error *err);
void filters_unload(struct filters *filters);

/* Finds or adds them in the store. adopt: take over a changed list from the next entry on. Errors: SOREX_MISMATCH with
 * the choices. */
enum sorex_status filters_register(struct filters *filters, struct store *store, bool adopt, struct sorex_error *err);

enum filters_verdict {
    FILTERS_ROW,  /* this is the row now */
    FILTERS_NONE, /* there is no row now */
    FILTERS_STAY, /* a filter failed, with on_error: skip: what was delivered stays */
};

/* Where a change comes from, for messages. */
struct filters_origin {
    uint32_t height;
    struct bytes table, key;
};

/* Gives a change to the filters.
 *
 * event      of the change; valid, with its text.
 * out_event  what came out, event itself when nothing changed; FILTERS_ROW: it has `after`; FILTERS_NONE: a delete, or
 *            event when it was dropped. Valid until the next call, and as long as event.
 * out_key    of the row, when a filter gave the event another primary_key; else empty. Replaced.
 * Errors:    SOREX_INVALID a filter failed with on_error: halt, or failed in a way that another machine might not (a
 *            timeout, a stack overflow), whatever on_error says. Others are the host's. */
enum sorex_status filters_run(struct filters *filters, struct json_parser *parser, const struct event *event,
                              const struct filters_origin *origin, enum filters_verdict *out_verdict,
                              const struct event **out_event, struct buf *out_key, struct sorex_error *err);

/* Writes the array of the filters with what they counted since the process began. Thread: any. */
void filters_status(struct filters *filters, struct json_writer *w);

#endif
