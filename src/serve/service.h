/* The verbs that ask a store something, once: `run` answers them through its socket, a verb without a running pipeline answers itself.
 *
 * A request is one JSON object {"verb": ..., arguments ...}; the answer is text for standard output. Requests and their members:
 *     status   json
 *     view     name, input (hex), height?, json?, text?
 *     preview  block (hex), name, input (hex), height?, json?, text?
 *     dump     program, height?, prefix? (hex), json?
 *     hash     program, height?, prefix? (hex), json?
 *     rows     program, height?, table?, by?, limit?, json?
 *     rollback height, json? */
#ifndef SOREX_SERVE_SERVICE_H
#define SOREX_SERVE_SERVICE_H

#include <pthread.h>

#include "pipeline/flow.h"
#include "pipeline/pipeline.h"
#include "serve/postgres.h"

struct service {
    struct store *store;             /* borrowed */
    const char *data_dir;            /* borrowed */
    struct pipeline *pipeline;       /* borrowed; NULL: no run is alive, this process opened the store */
    struct postgres_port *postgres; /* borrowed; NULL: no port is open */
    struct flow *flow;               /* borrowed; a stream runs here, and there is no store: it answers `status` only */
    const char *reducer;             /* when nothing runs, its name in the pipeline file; borrowed; NULL: none, or not known */
    bool stream;                     /* that pipeline is a stream: its store has the reducer's database only */
    struct program_settings settings;
    struct program indexer;          /* the store's, loaded when first needed: not the pipeline's, because it can be stopped */
    bool indexer_loaded;
    pthread_mutex_t lock;            /* guards the loading */
    pthread_mutex_t preview;         /* one at a time: a whole block's writes are kept in memory */
};

void service_init(struct service *service, struct store *store, const char *data_dir, struct pipeline *pipeline);
void service_deinit(struct service *service);

/* Appends what `status` says, as one JSON object. Thread: any. */
enum sorex_status service_status(struct service *service, struct buf *out, struct sorex_error *err);

/* Takes a part of the answer. An error from it ends the request (the asker went away). */
typedef enum sorex_status service_output_fn(void *user_data, struct bytes text, struct sorex_error *err);

/* Answers one request. Thread: any, several at once. Errors: SOREX_INVALID for a request that makes no sense; what the verb met. */
enum sorex_status service_handle(struct service *service, struct bytes request, service_output_fn *output, void *user_data,
                                 struct sorex_error *err);

#endif
