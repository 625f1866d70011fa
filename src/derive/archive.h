/* A state as bytes: the database's image and what it stands for. docs/formats/derivation.md, "Snapshots". */
#ifndef SOREX_DERIVE_ARCHIVE_H
#define SOREX_DERIVE_ARCHIVE_H

#include "derive/receipt.h"

struct archive {
    struct bytes identity;
    const uint8_t *place;  /* SHA256_BYTES: what a chain calls the entry that it is the state after; NULL: of a log */
    struct bytes settings; /* as derivation.json has them; may be empty */
    struct bytes module;   /* the reducer's; may be empty */
    struct bytes image;
    struct receipt receipt;
};

enum sorex_status archive_write(const struct archive *archive, struct buf *out, struct sorex_error *err);
/* Views are slices of bytes. Errors: SOREX_CORRUPT. */
enum sorex_status archive_read(struct bytes bytes, struct archive *out, struct sorex_error *err);

/* What stands at the beginning of an archive, for a list of them. */
#define ARCHIVE_HEAD_BYTES ((size_t)16384)
struct archive_head {
    uint64_t count;              /* messages of the state */
    uint8_t place[SHA256_BYTES]; /* zero: of a log */
};
/* From its first ARCHIVE_HEAD_BYTES (or all, where there are fewer), unchecked. False: it is none. */
bool archive_head_read(struct bytes head, struct archive_head *out);

#endif
