/* PGlite in Node, the same statements: a process that answers a line with a rate (pglite.mjs). */
#ifndef BENCH_PG_NODE_H
#define BENCH_PG_NODE_H

#include <stdbool.h>
#include <stdio.h>
#include <sys/types.h>

struct node {
    pid_t pid;
    FILE *to, *from;
};

/* False: there is no Node, or PGlite's package is not in build/deps/pglite-node (`make test-deps`). */
bool node_open(struct node *node);
/* What the script's work of that name measured. Failures end the program. */
double node_ask(struct node *node, const char *work, int count);
void node_close(struct node *node);

#endif
