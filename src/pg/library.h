/* dlopen and dlsym of a process: PostgreSQL's procedural languages and dictionaries are libraries among its files. */
#ifndef SOREX_PG_LIBRARY_H
#define SOREX_PG_LIBRARY_H

#include "pg/process.h"

/* For processes whose `postgres` is set. */
extern const struct process_host library_host;

#endif
