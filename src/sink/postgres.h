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

extern const char *const postgres_mode_words[]; /* of enum postgres_mode; ends with NULL */

/* What says how rows get into tables, wherever they are. base: where a struct postgres_settings begins. */
#define POSTGRES_ROW_OPTIONS(base)                                                                                  \
    {.name = "mode",                                                                                                \
     .type = OPTION_ENUM,                                                                                           \
     .offset = (base) + offsetof(struct postgres_settings, mode),                                                   \
     .fallback = "tables",                                                                                          \
     .choices = postgres_mode_words,                                                                                \
     .text =                                                                                                        \
         "tables: rows as they are now, one table for each name in the changes; log: every change as a row of one " \
         "table"},                                                                                                  \
        {.name = "log_table",                                                                                       \
         .type = OPTION_STRING,                                                                                     \
         .offset = (base) + offsetof(struct postgres_settings, log_table),                                          \
         .fallback = "sorex_changes",                                                                               \
         .text = "the table of mode log"},                                                                          \
        {.name = "create_tables",                                                                                   \
         .type = OPTION_BOOL,                                                                                       \
         .offset = (base) + offsetof(struct postgres_settings, create_tables),                                      \
         .fallback = "true",                                                                                        \
         .text = "make tables and columns that are missing, and widen those it made; false: a missing one is an "   \
                 "error"},                                                                                          \
        {.name = "tables",                                                                                          \
         .type = OPTION_NODE,                                                                                       \
         .offset = (base) + offsetof(struct postgres_settings, tables),                                             \
         .text = "TABLE: {key: COLUMN or [COLUMN, ...], columns: {COLUMN: TYPE}}, where values should not decide"}

extern const struct sink_type sink_postgres;

#endif
