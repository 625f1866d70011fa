/* Shared by embedded.c, embedded_fork.c and database.c, the sink type that writes it. */
#ifndef SOREX_SINK_EMBEDDED_PRIVATE_H
#define SOREX_SINK_EMBEDDED_PRIVATE_H

#include <pthread.h>

#include "pg/saved.h"
#include "sink/embedded.h"
#include "sink/note.h"

struct embedded {
    struct store *store;
    struct saved *saved;
    struct config_node *root; /* of a note that was read; or NULL */
    pthread_mutex_t work;     /* whoever uses the database; taken before `lock` */
    pthread_mutex_t lock;     /* the members below */
    struct snapshot *newest;  /* of the last commit; NULL: not taken yet since it was opened */
    struct note note;         /* ... and what it is the state of */
};

/* Opens, or begins, the database of a sink. note: of a new one. */
enum sorex_status embedded_new(struct store *store, struct database_program *program, const struct note *note,
                               const struct database_options *options, struct embedded **out, struct sorex_error *err);
/* Keeps the database as it is now, `work` being held: the state after the outbox record of that sequence. */
enum sorex_status embedded_commit(struct embedded *embedded, uint64_t sequence, struct sorex_error *err);

#endif
