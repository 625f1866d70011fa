/* An embedded database that a pipeline's store keeps: that of a sink, or what a reducer derived. Sinks come first. */
#ifndef SOREX_PIPELINE_KEPT_DATABASE_H
#define SOREX_PIPELINE_KEPT_DATABASE_H

#include "derive/chained.h"
#include "pipeline/pipeline.h"
#include "sink/embedded.h"

/* One of them, or none; who made it says who closes. Zero-initialise. */
struct kept_database {
    struct embedded *embedded;
    struct chained *chained;
    const struct pipeline_settings *settings; /* for states in the past of a chained one; NULL: not known */
    struct store *store;
};

/* As it is durable in a store. name: of the sink or reducer; NULL: the only sink's, else the reducer's.
 * settings: of the pipeline, borrowed as long as out; NULL: not known, and then a reducer is called "reducer".
 * Errors: SOREX_GONE there is none; as embedded_open, chained_open_copy. Pair with kept_database_close. */
enum sorex_status kept_database_open(struct store *store, struct database_program *program, const char *name,
                                     const struct pipeline_settings *settings, struct kept_database *out,
                                     struct sorex_error *err);
void kept_database_close(struct kept_database *kept);
/* Of a pipeline in this process; borrowed. False: it has none of this name (NULL: none at all). */
bool kept_database_of(struct pipeline *pipeline, const char *name, struct kept_database *out);
bool kept_database_is(const struct kept_database *kept);

/* As embedded_fork, chained_fork. Thread: any. */
enum sorex_status kept_database_fork(const struct kept_database *kept, uint32_t height, struct database **out,
                                     uint32_t *out_height, struct sorex_error *err);

#endif
