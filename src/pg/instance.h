/* One running PostgreSQL backend: a machine, a process and its files. Bytes of PostgreSQL's protocol go in and out.
 *
 * An instance rests between exchanges; then it can be saved, restored and forked as a whole, inside of transactions and
 * with prepared statements too: there is no native stack. Equal instances that are given equal bytes give equal bytes
 * and stay equal, whatever machine they run on.
 *
 * After an error of an exchange (a FATAL, a trap, no memory) the instance is broken: restore it or close it.
 *
 * Thread: one at a time; snapshots by any. */
#ifndef SOREX_PG_INSTANCE_H
#define SOREX_PG_INSTANCE_H

#include "pg/postgres.h"
#include "pg/process.h"

struct instance;

struct snapshot {
    atomic_uint refs;
    struct postgres *postgres;
    struct machine_image machine;
    struct tree tree;
    struct process_state state;
};

struct instance_options {
    uint64_t time_us;          /* where the clock begins */
    uint64_t seed;             /* of all random numbers */
    uint64_t memory_bytes_max; /* 0 = 2 GiB */
};

/* Starts a backend on a cluster's files. wasm: the bytes that postgres was opened with. Takes over what tree holds,
 * also on failure. Errors: SOREX_GUEST it did not come up, the text says how it ended. */
enum sorex_status instance_start(struct postgres *postgres, struct bytes wasm, struct tree *tree,
                                 const struct instance_options *options, struct instance **out,
                                 struct sorex_error *err);
/* A new instance that is as the snapshot says. memory_bytes_max: as in struct instance_options; SOREX_LIMIT when the
 * snapshot has more. Errors: as instance_restore. */
enum sorex_status instance_fork(const struct snapshot *snapshot, uint64_t memory_bytes_max, struct instance **out,
                                struct sorex_error *err);
void instance_close(struct instance *instance); /* NULL is fine */

/* Gives the backend these messages and appends what it answers to out. A COPY from the client must have its data and
 * its end behind the query, as an end of input in the middle is fatal. Errors: SOREX_GUEST the backend ended or trapped
 * (out may hold its last words); SOREX_LIMIT stack, fuel, out's maximum; SOREX_NOMEM. The instance is broken then. */
enum sorex_status instance_exchange(struct instance *instance, struct bytes in, struct buf *out,
                                    struct sorex_error *err);
bool instance_broken(const struct instance *instance);
/* Metered programs: what the next exchange may use. */
void instance_fuel_set(struct instance *instance, uint64_t fuel);

/* The callbacks that every instance adds to its table, by their number; NULL behind the last. For images. */
const struct machine_import *instance_callback(size_t index);

/* Lets the backend write everything into its files, as a shutdown does; the instance is broken afterwards and its files
 * are a cluster that opens without recovery. */
enum sorex_status instance_shut(struct instance *instance, struct sorex_error *err);
struct process *instance_process(struct instance *instance);
struct postgres *instance_postgres(const struct instance *instance);

/* Ownership: *out by snapshot_drop. Errors: SOREX_INVALID it is broken; SOREX_NOMEM, SOREX_IO. */
enum sorex_status instance_save(struct instance *instance, struct snapshot **out, struct sorex_error *err);
/* In O(pages written since), or with a new machine where the memory or table has grown beyond the snapshot.
 * Errors: SOREX_NOMEM, SOREX_IO: the instance is broken. */
enum sorex_status instance_restore(struct instance *instance, const struct snapshot *snapshot, struct sorex_error *err);

void snapshot_keep(struct snapshot *snapshot);
void snapshot_drop(struct snapshot *snapshot); /* NULL is fine */

#endif
