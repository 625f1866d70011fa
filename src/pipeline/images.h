/* `before: engine`: the last image of every table/key that a transform emitted, kept in the store's STORE_IMAGES space of the
 * program, so that undo, history and restarts restore it like any key. Format: docs/formats/data-directory.md, "Images". */
#ifndef SOREX_PIPELINE_IMAGES_H
#define SOREX_PIPELINE_IMAGES_H

#include "change/change.h"
#include "guest/host.h"

struct images {
    struct state_reader state;      /* the program's STORE_IMAGES space, this entry's writes included */
    struct state_writer writes;
    struct json_parser *parsers[2]; /* borrowed; for comparing two images */
    struct buf key;
};

/* Key of a table/key pair: varint(length of table), table, key. Appends. */
enum sorex_status image_key(struct bytes table, struct bytes key, struct buf *out, struct sorex_error *err);
/* The other way. False when it does not decode. */
bool image_key_split(struct bytes image_key, struct bytes *out_table, struct bytes *out_key);

/* Checks the change against the kept image and moves the image on, in the staged entry.
 *
 * out_before  the image before the change (raw JSON), appended; left empty for a create.
 * Errors:     SOREX_INVALID: create of a key that exists, update or delete of one that does not, a `before` that differs. */
enum sorex_status images_apply(struct images *images, const struct change *change, struct buf *out_before,
                               struct sorex_error *err);
void images_deinit(struct images *images);

#endif
