/* A session with a native PostgreSQL server over its unix socket, through our own protocol: what the embedded database
 * is compared with. Also psql, run on the same server. */
#ifndef SOREX_TESTS_PG_NATIVE_H
#define SOREX_TESTS_PG_NATIVE_H

#include "integration/postgres.h"
#include "pg/result.h"

struct native {
    int fd;
};

/* Connects with DateStyle ISO, TimeZone UTC, UTF8. Errors: SOREX_IO. */
enum sorex_status native_open(const struct postgres_server *server, struct native *out, struct sorex_error *err);
void native_close(struct native *native);

/* A result_exchange_fn over struct native. */
enum sorex_status native_exchange(void *native, struct bytes messages, struct buf *out, struct sorex_error *err);

/* Runs psql with these further arguments and a script on standard input; appends what it writes to standard output and
 * standard error, as it comes. False: there is no psql, or it did not end with 0. */
bool native_psql(const struct postgres_server *server, const char *const *arguments, struct bytes script,
                 struct buf *out);

#endif
