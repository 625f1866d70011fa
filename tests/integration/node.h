/* A real Bitcoin node for tests: btcd on regtest, alone, in a directory of its own, on a free loopback port. The
 * program is the one that $BTCD names, build/deps/bin/btcd, or btcd on the PATH. Add ../integration/node.c and
 * ../integration/process.c to the SOURCES of a test, and `source` to its ROOMS.
 *
 *     struct node *node;
 *     enum sorex_status status = node_new(&node, &err);
 *     if (status == SOREX_GONE)
 *         skip();                                   // no btcd: say so
 *     node_generate(node, 100, &err);
 *     ... "url: " node_url(node), "user: " NODE_USER, "password: " NODE_PASSWORD ...
 *     node_free(node);
 *
 * Errors: SOREX_IO with what btcd said, or what its RPC returned. Thread: one at a time. */
#ifndef SOREX_TESTS_INTEGRATION_NODE_H
#define SOREX_TESTS_INTEGRATION_NODE_H

#include <stdint.h>
#include <sys/types.h>

#include "base/hex.h"
#include "sorex/status.h"

#define NODE_USER "tester"
#define NODE_PASSWORD "secret"

struct node;

/* Starts a node that has the genesis block only. Errors: also SOREX_GONE: there is no btcd. */
enum sorex_status node_new(struct node **out, struct sorex_error *err);
/* Ends it and removes its directory. */
void node_free(struct node *node);

/* "http://127.0.0.1:PORT"; the same over restarts. */
const char *node_url(const struct node *node);
/* 0 while it is stopped. */
pid_t node_pid(const struct node *node);

/* SIGTERM, SIGKILL; waits for its end. btcd forgets a regtest chain when it starts, so the best chain is saved before
 * and given back block by block by node_start (other branches are gone): for a moment the node is behind. */
void node_stop(struct node *node);
void node_kill(struct node *node);
/* Waits until it answers. */
enum sorex_status node_start(struct node *node, struct sorex_error *err);

/* Mines on the best tip. */
enum sorex_status node_generate(struct node *node, uint32_t count, struct sorex_error *err);
enum sorex_status node_tip(struct node *node, uint32_t *out_height, uint8_t out_hash[HASH_BYTES],
                           struct sorex_error *err);
enum sorex_status node_hash_at(struct node *node, uint32_t height, uint8_t out_hash[HASH_BYTES],
                               struct sorex_error *err);
/* The block and what builds on it leave the best chain; and may come back. btcd brings back any one of the branches
 * that build on the block: for a certain outcome there must be one only. */
enum sorex_status node_invalidate(struct node *node, const uint8_t hash[HASH_BYTES], struct sorex_error *err);
enum sorex_status node_reconsider(struct node *node, const uint8_t hash[HASH_BYTES], struct sorex_error *err);
/* Replaces the last `depth` blocks by `count` others; *out_left is the lowest one that was left. count > depth, or
 * reconsidering it does nothing. */
enum sorex_status node_reorganise(struct node *node, uint32_t depth, uint32_t count, uint8_t out_left[HASH_BYTES],
                                  struct sorex_error *err);

#endif
