/* Where servers listen: addresses as text, made into sockets.
 *
 * "HOST:PORT", "[IPV6]:PORT" or "PORT", without a host at 127.0.0.1; port 0 is a free one. A text that begins with a
 * slash is the path of a Unix socket, for servers that allow it. */
#ifndef SOREX_SERVE_LISTEN_H
#define SOREX_SERVE_LISTEN_H

#include "base/bytes.h"

struct listen_rules {
    const char *what; /* the setting, for errors */
    uint16_t example; /* a port, for errors */
    bool paths;       /* Unix sockets; their file is the owner's only */
    const char *open; /* what asks for addresses that other machines reach; NULL: they need not be asked for */
};

struct listening {
    int fd;          /* not blocking */
    uint16_t port;   /* 0: a path */
    char place[128]; /* "127.0.0.1:9100", or the path */
};

/* Whether there can be such an address; no name is looked up. Errors: SOREX_INVALID. */
enum sorex_status listen_check(const struct listen_rules *rules, const char *address, struct sorex_error *err);
/* A path's file that is left of a server that is gone is replaced.
 * Ownership: listen_close, or whoever closes fd. Errors: SOREX_INVALID; SOREX_IO it is taken. */
enum sorex_status listen_open(const struct listen_rules *rules, const char *address, struct listening *out,
                              struct sorex_error *err);
/* Removes the path's file too. */
void listen_close(struct listening *listening);

#endif
