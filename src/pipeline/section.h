/* One mapping of the pipeline file ("", "source", "sinks.pg", ...) with flags and environment laid over it: values that
 * they give replace or add scalars in a copy of the mapping, so that one parser checks every value whatever its origin.
 */
#ifndef SOREX_PIPELINE_SECTION_H
#define SOREX_PIPELINE_SECTION_H

#include "pipeline/settings.h"

/* A scalar that some section can have: what may be written for it on the command line and in the environment. */
struct section_name {
    const char *path;     /* "sinks.pg.url" */
    const char *variable; /* "SOREX_SINKS_PG_URL" */
    struct section_name *next;
};

/* What is laid over the sections of one file. */
struct overlay {
    struct arena *arena; /* borrowed; of all that is made here */
    const char *base_dir;
    struct pipeline_override *overrides;
    size_t override_count;
    struct section_name *names; /* of all sections read so far */
};

/* A copy of the mapping (NULL: an empty one) with what flags and environment say for the rows of options.
 * Errors: SOREX_NOMEM. Ownership: the overlay's arena. */
enum sorex_status section_copy(struct overlay *overlay, const struct config_node *node, const char *path,
                               const struct option *options, struct config_node **out, struct sorex_error *err);

/* Takes the keys out of a copy that are (wanted: not) in the table. */
void section_drop(struct config_node *copy, const struct option *table, bool wanted);

/* options_read of such a copy. Errors: SOREX_INVALID with file and line, SOREX_NOMEM. */
enum sorex_status section_read(struct overlay *overlay, const struct config_node *node, const char *path,
                               const struct option *options, void *settings, struct sorex_error *err);

/* After all sections were read: SOREX_INVALID for a flag that no section has, with the nearest name. */
enum sorex_status overlay_flags_check(const struct overlay *overlay, struct sorex_error *err);

/* Names SOREX_ variables that no section has in the log, with the nearest one. They are no error: the environment may
 * be that of several pipelines. */
void overlay_environment_check(const struct overlay *overlay);

#endif
