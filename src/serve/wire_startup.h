/* The first message of a connection, read. */
#ifndef SOREX_SERVE_WIRE_STARTUP_H
#define SOREX_SERVE_WIRE_STARTUP_H

#include "serve/wire.h"

struct startup_message {
    uint32_t version;
    uint32_t unknown_count; /* of protocol options ("_pq_...") */
    struct bytes parameters;
    struct wire_startup startup;
};

/* packet: whole, its length and version included. Views point into it.
 * Returns NULL, or the SQLSTATE of what is wrong, with err's text. */
const char *startup_read(struct bytes packet, struct startup_message *out, struct sorex_error *err);
/* Appends the names of protocol options that are not known, each with a NUL. */
enum sorex_status startup_unknown_append(const struct startup_message *message, struct buf *out,
                                         struct sorex_error *err);

#endif
