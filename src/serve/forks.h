/* The databases behind PostgreSQL's port: forks of the embedded databases of a pipeline that runs in this process, or
 * of a store that this process only reads, beside whoever writes it.
 *
 * A database is called by the pipeline's name or "postgres" (that of the only sink that has one, or of the chosen
 * one), or by its sink's or reducer's name. */
#ifndef SOREX_SERVE_FORKS_H
#define SOREX_SERVE_FORKS_H

#include "serve/postgres.h"

struct forks;
struct pipeline;
struct pipeline_settings;

struct forks_options {
    const char *name; /* the pipeline's; NULL: not known */
    const char *sink; /* the database that the pipeline's name and "postgres" mean; NULL: the only one */
    const struct pipeline_settings *settings; /* of the pipeline; borrowed; NULL: not known, or it runs here */
    struct pipeline *pipeline;                /* borrowed; or NULL, and then: */
    const char *dir;                          /* the data directory */
};

/* Of a store: opens what is durable now, and again whenever something newer is, for the next fork.
 * Errors: SOREX_GONE nothing was ever written there, or there is no such sink; as store_open, kept_database_open. */
enum sorex_status forks_open(const struct forks_options *options, struct forks **out, struct sorex_error *err);
/* When all forks are closed. NULL is fine. */
void forks_close(struct forks *forks);
struct postgres_states forks_states(struct forks *forks);

#endif
