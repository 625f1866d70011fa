/* The socket in the data directory (docs/formats/data-directory.md): while `run` is alive, other verbs ask it.
 *
 * DATA/control.sock, Unix stream. The client sends one frame, the server answers with frames and closes. A frame is
 * u8 type, u32le length, payload: 'Q' request (JSON), 'D' text for standard output, 'E' error (u8 status, text), 'Z' the end. */
#ifndef SOREX_SERVE_CONTROL_H
#define SOREX_SERVE_CONTROL_H

#include "serve/service.h"

struct control;

/* Listens and answers each connection on a thread of its own (at most 32 at once). service is borrowed. A socket that a dead
 * process left is replaced; the caller holds the store's lock, so nobody else listens. */
enum sorex_status control_start(struct service *service, const char *data_dir, struct control **out, struct sorex_error *err);
void control_stop(struct control *control);

/* Sends one request. *out_connected is false, and the status SOREX_OK, when nobody listens there.
 * Errors: the verb's own, as the server met it; SOREX_AGAIN when the connection broke, so that whether it was done is not known. */
enum sorex_status control_ask(const char *data_dir, struct bytes request, service_output_fn *output, void *user_data,
                              bool *out_connected, struct sorex_error *err);

#endif
