/* Snapshots as bytes: docs/formats/database-image.md. Equal instances have equal images.
 * Thread: any. */
#ifndef SOREX_PG_IMAGE_H
#define SOREX_PG_IMAGE_H

#include "base/sha256.h"
#include "pg/instance.h"

/* Appends the image. level: of zstd, 1 to 19. Errors: SOREX_NOMEM, SOREX_IO. */
enum sorex_status image_write(const struct snapshot *snapshot, int level, struct buf *out, struct sorex_error *err);
/* SHA-256 of the image's content: the same for equal instances, on every machine. */
enum sorex_status image_hash(const struct snapshot *snapshot, uint8_t out[SHA256_BYTES], struct sorex_error *err);
/* Ownership: *out by snapshot_drop. Errors: SOREX_CORRUPT; SOREX_MISMATCH of another PostgreSQL; SOREX_NOMEM. */
enum sorex_status image_read(struct postgres *postgres, struct bytes image, struct snapshot **out,
                             struct sorex_error *err);

#endif
