/* Figures over HTTP, for whoever watches: GET /metrics (Prometheus, exposition.h) and GET /status (the status object as
 * it is). Nothing else is there, nothing can be changed. The only place that knows libmicrohttpd. */
#ifndef SOREX_SERVE_METRICS_H
#define SOREX_SERVE_METRICS_H

#include "base/bytes.h"

struct metrics;

/* Appends the status as a JSON object. Thread: the server's own. */
typedef enum sorex_status metrics_status_fn(void *user_data, struct buf *out, struct sorex_error *err);

/* Listens, and answers on a thread of its own.
 *
 * address    "HOST:PORT", "[IPV6]:PORT" or "PORT". Without a host: 127.0.0.1. Port 0: a free one. The log says where it
 * listens. status     called for each request, until metrics_stop returns. Errors:    SOREX_INVALID: no such address;
 * SOREX_IO: it is taken; SOREX_NOMEM. */
enum sorex_status metrics_start(const char *address, metrics_status_fn *status, void *user_data, struct metrics **out,
                                struct sorex_error *err);
/* Whether there can be such an address; nothing is looked up. Errors: SOREX_INVALID. */
enum sorex_status metrics_address_check(const char *address, struct sorex_error *err);
/* The port that it listens on. */
uint16_t metrics_port(const struct metrics *metrics);
/* Ends what is being answered. NULL is fine. */
void metrics_stop(struct metrics *metrics);

#endif
