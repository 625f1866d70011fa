/* The server's side of one PostgreSQL connection, as a state machine: bytes from the client in, bytes for it out; no
 * socket, no thread. It answers what comes before a session (encryption is declined, versions are agreed on), begins
 * one that the caller provides, and hands it all that comes then: the session is PostgreSQL itself, which checks
 * messages as it does for its own clients.
 *
 * Source: PostgreSQL documentation, "Frontend/Backend Protocol": "Message Flow", "Message Formats".
 *
 * A client asks for the state at a height by the database's name ("name@840000") or by an option
 * ("options=-c sorex.height=840000").
 * Thread: one at a time; cancel of the backend is called from whatever connection brings the request. */
#ifndef SOREX_SERVE_WIRE_H
#define SOREX_SERVE_WIRE_H

#include "pg/protocol.h"

/* What a client may say before it is known: as in PostgreSQL. */
#define WIRE_STARTUP_BYTES_MAX 10000u
/* Settings of a startup message that are handed on. */
#define WIRE_SETTINGS_MAX 32u
/* The option that asks for a height. */
#define WIRE_HEIGHT_SETTING "sorex.height"

/* What a client asked for; views are valid during open. */
struct wire_startup {
    struct bytes user, database;                         /* the database's name without @HEIGHT */
    uint32_t height;                                     /* SOREX_HEIGHT_NONE: the newest */
    struct bytes options;                                /* as given, sorex.height included: startup_option_next */
    struct protocol_setting settings[WIRE_SETTINGS_MAX]; /* all other parameters */
    size_t settings_count;
};

struct wire_backend {
    void *user_data;
    /* Begins a session and appends what a client is told then: ParameterStatus, BackendKeyData, ReadyForQuery.
     * Errors: SOREX_GONE no such database or height; SOREX_BUSY, SOREX_LIMIT there are too many; others. The client
     * gets the text and is disconnected. */
    enum sorex_status (*open)(void *user_data, const struct wire_startup *startup, void **out_session, struct buf *out,
                              struct sorex_error *err);
    /* Takes bytes as they come, which begin and end anywhere; appends what is answered, or may send that and what out
     * has by itself, and empty it. *out_ended: the session is over, and the client was told why.
     * Errors: the session is over; the client gets the text. */
    enum sorex_status (*converse)(void *session, struct bytes bytes, struct buf *out, bool *out_ended,
                                  struct sorex_error *err);
    void (*close)(void *session);
    /* A CancelRequest: the secret decides whether anything happens. Thread: any. */
    void (*cancel)(void *user_data, uint32_t process, struct bytes secret);
};

enum wire_state { WIRE_STARTING, WIRE_OPEN, WIRE_CLOSED };

struct wire {
    const struct wire_backend *backend; /* borrowed */
    enum wire_state state;
    void *session; /* when OPEN */
    struct buf in; /* the beginning of a first message */
    bool asked_ssl, asked_gss;
};

void wire_init(struct wire *wire, const struct wire_backend *backend);
/* Closes the session if there is one. */
void wire_deinit(struct wire *wire);

/* Takes bytes as they came and appends the answers. When the state is CLOSED afterwards, the connection is to be closed
 * once the answers are sent; further bytes are ignored.
 * Errors: SOREX_NOMEM, SOREX_LIMIT not even an error could be appended; the state is CLOSED. */
enum sorex_status wire_feed(struct wire *wire, struct bytes bytes, struct buf *out, struct sorex_error *err);
/* Ends the connection with an error for the client; the state is CLOSED. Errors: as of wire_feed. */
enum sorex_status wire_refuse(struct wire *wire, const struct sorex_error *why, struct buf *out,
                              struct sorex_error *err);

#endif
