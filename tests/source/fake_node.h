/* A Bitcoin node over HTTP for tests, with what btcd lacks: batches, keep-alive, cookie, REST, warm-up; and with every
 * way of failing. Its chain is a memory source's. */
#ifndef SOREX_TESTS_SOURCE_FAKE_NODE_H
#define SOREX_TESTS_SOURCE_FAKE_NODE_H

#include "source/memory.h"

enum fake_fault {
    FAKE_NONE,
    FAKE_WARMUP,       /* HTTP 500 with JSON-RPC error -28 */
    FAKE_500,          /* HTTP 500 with a page */
    FAKE_503,          /* HTTP 503 "Work queue depth exceeded" */
    FAKE_GARBAGE,      /* HTTP 200 with something that is not JSON */
    FAKE_WRONG_JSON,   /* HTTP 200 with JSON that is no answer */
    FAKE_WRONG_RESULT, /* a result of another kind */
    FAKE_TRUNCATED,    /* the body ends before its Content-Length */
    FAKE_CLOSED,       /* the connection is closed without an answer */
    FAKE_SILENT,       /* no answer until the client goes away */
    FAKE_PRUNED,       /* error -1, "Block not available (pruned data)" */
    FAKE_NO_METHOD,    /* HTTP 404 with error -32601 */
};

struct fake_counts {
    uint32_t connections, posts, batches, gets, refused;
    uint32_t at_once; /* most requests that were in hand at a time */
};

struct fake_node;

/* chain: borrowed; serves it at once on a loopback port of its own. */
struct fake_node *fake_node_new(struct source *chain);
void fake_node_free(struct fake_node *fake);
const char *fake_node_url(const struct fake_node *fake);

/* "user:password" that requests must carry; NULL: any (the default). REST needs none. Copied. */
void fake_node_password(struct fake_node *fake, const char *password);
/* REST is off and batches are taken by default. */
void fake_node_offer(struct fake_node *fake, bool rest, bool batches);
/* The next `count` requests, after `skip` good ones, fail this way. */
void fake_node_fail(struct fake_node *fake, enum fake_fault fault, uint32_t skip, uint32_t count);
/* Requests wait until `count` of them are in hand, at most two seconds; 0: no waiting. */
void fake_node_gather(struct fake_node *fake, uint32_t count);
struct fake_counts fake_node_counts(struct fake_node *fake);

#endif
