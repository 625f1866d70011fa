/* The parts of a snapshot that are neither pages nor files as bytes, for images and kept databases:
 * docs/formats/database-image.md. Equal snapshots give equal bytes. Decoding checks what it reads.
 *
 * Thread: any. Errors of encoding: SOREX_NOMEM, SOREX_LIMIT; of decoding: also SOREX_CORRUPT. */
#ifndef SOREX_PG_SNAPSHOT_CODEC_H
#define SOREX_PG_SNAPSHOT_CODEC_H

#include "base/codec.h"
#include "pg/instance.h"

/* An empty one, to be decoded into. NULL: no memory. Ownership: snapshot_drop. */
struct snapshot *snapshot_make(struct postgres *postgres);
/* Shares everything with it, and may be changed until it is used. Errors: SOREX_NOMEM. Ownership: *out by
 * snapshot_drop.
 */
enum sorex_status snapshot_copy(const struct snapshot *snapshot, struct snapshot **out, struct sorex_error *err);

/* The size of memory, the globals. Decoding makes the memory, all zero. */
enum sorex_status snapshot_globals_encode(const struct snapshot *snapshot, struct buf *out, struct sorex_error *err);
enum sorex_status snapshot_globals_decode(struct snapshot *snapshot, struct reader *r, struct sorex_error *err);

/* What was added to the table, with the libraries' bytes. */
enum sorex_status snapshot_table_encode(const struct snapshot *snapshot, struct buf *out, struct sorex_error *err);
enum sorex_status snapshot_table_decode(struct snapshot *snapshot, struct reader *r, struct sorex_error *err);
/* False also where they may be equal: of different programs. */
bool snapshot_table_equal(const struct snapshot *a, const struct snapshot *b);

/* Clocks, random numbers, open files. */
enum sorex_status snapshot_process_encode(const struct snapshot *snapshot, struct buf *out, struct sorex_error *err);
enum sorex_status snapshot_process_decode(struct snapshot *snapshot, struct reader *r, struct sorex_error *err);

/* Once all is decoded: whether what refers to files refers to some. */
enum sorex_status snapshot_check(const struct snapshot *snapshot, struct sorex_error *err);

#endif
