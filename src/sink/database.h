/* Changes to an embedded PostgreSQL that is kept in the pipeline's store, exactly once: what the `postgres` type does
 * with a server, then one synced write of what changed. docs/sinks.md. */
#ifndef SOREX_SINK_DATABASE_H
#define SOREX_SINK_DATABASE_H

#include "sink/embedded.h"
#include "sink/postgres.h"
#include "sink/sink.h"

struct database_settings {
    struct postgres_settings rows; /* without url and dead_letters */
    uint64_t memory_max, file_max; /* bytes */
};

extern const struct sink_type sink_database;

/* What an opened sink of this type writes; borrowed, as long as it is open. NULL: another type. Thread: any. */
struct embedded *sink_embedded(struct sink *sink);

#endif
