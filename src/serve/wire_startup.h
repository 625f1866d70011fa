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

/* Takes the next setting out of the options of a startup message, as PostgreSQL reads them: -c NAME=VALUE, -cNAME=VALUE
 * or --NAME=VALUE; a backslash takes a space or a backslash into a word, a dash in a name is an underscore. *out_found:
 * there was one. Views point into text, which is overwritten.
 * Errors: SOREX_INVALID another switch. */
enum sorex_status startup_option_next(struct bytes *options, struct buf *text, struct protocol_setting *out,
                                      bool *out_found, struct sorex_error *err);

#endif
