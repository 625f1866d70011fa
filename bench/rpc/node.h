/* A real Bitcoin node (btcd, from build/deps/bin) that has the early blocks, on a local port, without peers. */
#ifndef BENCH_RPC_NODE_H
#define BENCH_RPC_NODE_H

#include <stdbool.h>
#include <sys/types.h>

#define NODE_USER "u"
#define NODE_PASSWORD "p"

struct node {
    pid_t pid;
    unsigned port;
};

/* Whether btcd and addblock are among the dependencies. */
bool node_installed(void);
/* Imports the block file into dir (addblock), starts btcd on it and waits until it listens. Failures end the program. */
void node_start(struct node *node, const char *dir, const char *block_file);
void node_stop(struct node *node);

#endif
