/* Changes to PostgreSQL, exactly once: rows and cursor in one transaction. docs/sinks.md says what becomes of a change.
 */
#ifndef SOREX_SINK_POSTGRES_H
#define SOREX_SINK_POSTGRES_H

#include "config/node.h"
#include "sink/sink.h"

enum postgres_mode { POSTGRES_TABLES, POSTGRES_LOG };

struct postgres_settings {
    char *url;
    char *schema;
    int mode; /* enum postgres_mode */
    char *log_table;
    bool create_tables;
    const struct config_node *tables;
    char *dead_letters; /* table; NULL: dead letters are left out */
};

extern const struct sink_type sink_postgres;

#endif
