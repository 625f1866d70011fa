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

/* Where the bytes of an exchange come from and go to when they are a client's. Both functions may block; an error of
 * theirs ends the exchange. Thread: the exchange's. */
struct instance_stream {
    void *user_data;
    /* The backend wants to go on in the middle of a message or of a COPY: 1 to room bytes. *out_len 0: there will be
     * none, which ends the backend. */
    enum sorex_status (*read)(void *user_data, uint8_t *to, size_t room, size_t *out_len, struct sorex_error *err);
    enum sorex_status (*write)(void *user_data, struct bytes bytes, struct sorex_error *err);
};
/* An exchange whose input may begin and end anywhere and whose output is not gathered. *out_ended: the backend ended in
 * order, by Terminate or by a FATAL that the client was told; the instance is broken then too.
 * Errors: as instance_exchange; of the stream. */
enum sorex_status instance_converse(struct instance *instance, struct bytes in, const struct instance_stream *stream,
                                    bool *out_ended, struct sorex_error *err);
/* Appends what a client is told when its session begins, as PostgreSQL has it for itself (AuthenticationOk,
 * ParameterStatus, BackendKeyData, ReadyForQuery); from then on changes of these parameters are reported.
 * Errors: as instance_exchange. */
enum sorex_status instance_greet(struct instance *instance, struct buf *out, struct sorex_error *err);

enum instance_interrupt {
    INSTANCE_CANCEL,    /* the statement fails with 57014, as CancelRequest asks */
    INSTANCE_TERMINATE, /* the backend ends with 57P01, as pg_terminate_backend does */
};
/* Interrupts the instance_converse under way, when PostgreSQL looks next: in all loops that may be long. Without one
 * nothing happens. Thread: any. */
void instance_interrupt(struct instance *instance, enum instance_interrupt kind);
/* Metered programs: what the next exchange may use. */
void instance_fuel_set(struct instance *instance, uint64_t fuel);

/* Which limit ended the last exchange, where that was SOREX_LIMIT. Fuel and output end it at the same place on every
 * machine; where the stack does depends on the machine code. */
enum instance_limit { INSTANCE_LIMIT_STACK, INSTANCE_LIMIT_FUEL, INSTANCE_LIMIT_OUTPUT };
enum instance_limit instance_limit_hit(const struct instance *instance);

/* The role that statements run as from now on, by its object id. confined: SQL cannot change it; SET ROLE, SET SESSION
 * AUTHORIZATION and their RESET fail with 42501. A transaction that fails goes back to the role that it began with.
 * Errors: as instance_exchange. */
enum sorex_status instance_role_set(struct instance *instance, uint32_t role, bool confined, struct sorex_error *err);

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

struct snapshot *snapshot_keep(const struct snapshot *snapshot); /* returns it */
void snapshot_drop(struct snapshot *snapshot);                   /* NULL is fine */

#endif
