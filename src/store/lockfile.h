/* The writer's lock: DIR/sorex.lock, held with flock(2), so that it ends with the process however that ends. */
#ifndef SOREX_STORE_LOCKFILE_H
#define SOREX_STORE_LOCKFILE_H

#include <stdbool.h>

#include "sorex/status.h"

struct lockfile {
    int fd; /* -1 = not held */
};

/* Errors: SOREX_BUSY (text names the file, the holder's process id and what to do), SOREX_IO. */
enum sorex_status lockfile_take(struct lockfile *lock, const char *dir, struct sorex_error *err);
void lockfile_release(struct lockfile *lock);
/* Whether the process that wrote itself into the file last is alive: it may hold the lock. For deciding whether to look again, since
 * the number may be another process's by now. */
bool lockfile_owner_alive(const char *dir);

#endif
