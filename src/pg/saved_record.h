/* The records of kept databases: keys, checksums, heads. docs/formats/database-pages.md. */
#ifndef SOREX_PG_SAVED_RECORD_H
#define SOREX_PG_SAVED_RECORD_H

#include "base/sha256.h"
#include "pg/instance.h"
#include "store/pages.h"

#define RECORD_NAME_BYTES_MAX 64
#define RECORD_KEY_BYTES_MAX (1 + RECORD_NAME_BYTES_MAX + 1 + 4 + 4)

/* With its length in front: what all keys of a database begin with. */
struct record_name {
    uint8_t bytes[1 + RECORD_NAME_BYTES_MAX];
};
/* Errors: SOREX_INVALID. */
enum sorex_status record_name_set(struct record_name *out, const char *name, struct sorex_error *err);
struct bytes record_name_prefix(const struct record_name *name);

enum record_kind { RECORD_HEAD, RECORD_TABLE, RECORD_PAGE, RECORD_INODE, RECORD_EXTENT };

struct record_key {
    enum record_kind kind;
    uint32_t number; /* of the page or the inode */
    uint32_t index;  /* of the extent */
};

/* out is set, as far as it goes, also after SOREX_CORRUPT. */
enum sorex_status record_key_decode(const struct record_name *name, struct bytes bytes, struct record_key *out,
                                    struct sorex_error *err);
/* Takes the checksum off. Errors: SOREX_CORRUPT. */
enum sorex_status record_decode(struct sha256 *hash, struct bytes key, struct bytes value, struct bytes *out_content,
                                struct sorex_error *err);
/* Says in front of the error which record it is about. Returns err's status. */
enum sorex_status record_error(const struct record_key *key, struct sorex_error *err);

/* Gathers what is to be written. */
struct record_writer {
    struct pages_batch *batch;
    struct record_name name;
    struct sha256 hash;
    struct buf value;
};
/* Errors: SOREX_NOMEM. Pair with record_writer_deinit. */
enum sorex_status record_writer_init(struct record_writer *writer, struct store *store, const struct record_name *name,
                                     struct sorex_error *err);
void record_writer_deinit(struct record_writer *writer);
/* content NULL: there is no such record any more. Errors: SOREX_NOMEM. */
enum sorex_status record_write(struct record_writer *writer, const struct record_key *key, const uint8_t *content,
                               size_t len, struct sorex_error *err);

/* What a head says besides the state. */
struct saved_head {
    uint64_t version;
    uint32_t pages, inodes; /* records */
    uint64_t extents;
};
enum sorex_status saved_head_encode(const struct saved_head *head, const struct snapshot *snapshot, struct bytes note,
                                    struct buf *out, struct sorex_error *err);
/* Into a snapshot that was made for it; *out_note is borrowed from content.
 * Errors: SOREX_CORRUPT; SOREX_MISMATCH another PostgreSQL, another version of the format. */
enum sorex_status saved_head_decode(struct bytes content, struct saved_head *out, struct snapshot *snapshot,
                                    struct bytes *out_note, struct sorex_error *err);

#endif
