/* JSON-RPC 1.0 and 2.0 over HTTP to a Bitcoin node: the only file with libcurl in it. Many calls at a time, each on a
 * line of its own; lines keep their connection. */
#ifndef SOREX_SOURCE_RPC_H
#define SOREX_SOURCE_RPC_H

#include "base/bytes.h"
#include "json/json.h"

struct rpc;
struct rpc_line; /* one call at a time: connection, buffers, parser */

struct rpc_options {
    const char *url;
    const char *user, *password; /* NULL: none */
    const char *cookie_file;     /* NULL: none; goes before user and password */
    uint32_t timeout_ms;         /* of one request as a whole */
};

/* Outcome of all calls: SOREX_AGAIN unreachable, refused, warming up, or an error of the node's; SOREX_GONE no such
 * block or height; SOREX_CORRUPT the answer is not what it should be; SOREX_INVALID the node has no such method;
 * SOREX_STOPPED interrupted. Every text begins with the node's host and port. */

/* Strings are copied. Errors: SOREX_INVALID a URL that is none. */
enum sorex_status rpc_new(const struct rpc_options *options, struct rpc **out, struct sorex_error *err);
/* No call is under way, every line was given back. */
void rpc_free(struct rpc *rpc);
/* Ends the calls that are under way with SOREX_STOPPED within a second. Thread: any. */
void rpc_interrupt(struct rpc *rpc);
/* "node HOST:PORT". */
const char *rpc_label(const struct rpc *rpc);

enum sorex_status rpc_line_take(struct rpc *rpc, struct rpc_line **out, struct sorex_error *err);
void rpc_line_give(struct rpc *rpc, struct rpc_line *line);

struct rpc_request {
    const char *method;
    const char *text; /* first parameter, when not NULL */
    bool has_number;  /* a number comes next */
    uint32_t number;
};

/* result: borrowed, valid until the line is used again. */
enum sorex_status rpc_call(struct rpc_line *line, const struct rpc_request *request, const struct json_doc **out_doc,
                           const struct json_node **out_result, struct sorex_error *err);

/* The same method with number, number + 1, ... `count` of them in one request. Calls `each` for the results in order,
 * up to the first one that is an error. Errors: also SOREX_BUSY: this node takes no batches. */
typedef enum sorex_status rpc_result_fn(void *user_data, uint32_t index, const struct json_node *result,
                                        struct sorex_error *err);
enum sorex_status rpc_batch(struct rpc_line *line, const struct rpc_request *first, uint32_t count, rpc_result_fn *each,
                            void *user_data, struct sorex_error *err);

/* GET of a path on the same host, without a password. SOREX_OK whatever the HTTP status; body borrowed as a result is.
 */
enum sorex_status rpc_get(struct rpc_line *line, const char *path, long *out_http, struct bytes *out_body,
                          struct sorex_error *err);

/* Sets err to "node HOST:PORT: text". */
enum sorex_status rpc_error(const struct rpc *rpc, struct sorex_error *err, enum sorex_status status,
                            const char *format, ...) SOREX_PRINTF(4, 5);

#endif
