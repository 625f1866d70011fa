/* A real PostgreSQL as the target of a test: a server, or an embedded database; one per group of tests, one schema per
 * test. */
#ifndef SOREX_TESTS_SINK_TARGET_H
#define SOREX_TESTS_SINK_TARGET_H

#include "base/arena.h"
#include "integration/postgres.h"
#include "pg/place.h"
#include "sink/postgres_libpq.h"
#include "sink/sink.h"

struct target {
    struct postgres_server *server; /* one of the two */
    struct database_program *program;
    struct database *database;
    struct postgres_session *admin; /* connection of the test's own, with search_path set to the schema */
    char schema[32];
    unsigned schemas;
    struct arena arena;
    struct json_parser *parser;
    struct config_node *tables; /* the last `tables` mapping that was parsed */
};

extern struct target target;

/* Group set-up and tear-down. Without binaries every test of the group is skipped, with a line that says so. */
int target_start(void **state);
/* The same with an embedded database, which is always there. */
int target_start_embedded(void **state);
int target_stop(void **state);
/* A schema of its own for the next test. */
int target_fresh(void **state);
/* Skips the test when there is no server. */
void target_needed(void);

struct target_options {
    int mode; /* enum postgres_mode */
    bool create, stream;
    const char *yaml;         /* the `tables` mapping, or NULL */
    const char *dead_letters; /* or NULL */
};
struct sink *target_sink_with(const struct target_options *options);
/* Of a chain, without dead letters. */
struct sink *target_sink(int mode, bool create, const char *yaml);
/* Connects the admin session again after the server went away. */
void target_reconnect(void);
void target_exec(const char *sql);
/* Rows as lines, columns joined by "|", NULL as "-"; static, valid until the next call. */
const char *target_query(const char *sql);
void target_expect(const char *sql, const char *wanted);

/* Applies changes (JSON texts) as one batch up to `sequence`. sink_error gets the error. */
enum sorex_status target_apply(struct sink *sink, uint64_t sequence, const char *const *changes, size_t count);
/* One change. before and after may be NULL. */
enum sorex_status target_change(struct sink *sink, uint64_t sequence, const char *operation, const char *table,
                                const char *key, const char *before, const char *after);
/* cursor(): the sequence, 0 for none yet. */
uint64_t target_cursor(struct sink *sink);
extern struct sorex_error sink_error;

#endif
