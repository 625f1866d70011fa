/* A row change: parse, validate, invert. Format: docs/formats/change.md (debshrew's CDC message). */
#ifndef SOREX_CHANGE_CHANGE_H
#define SOREX_CHANGE_CHANGE_H

#include "base/arena.h"
#include "base/bytes.h"
#include "base/hex.h"
#include "json/json.h"

enum change_operation { CHANGE_CREATE, CHANGE_UPDATE, CHANGE_DELETE };

const char *change_operation_name(enum change_operation operation); /* "create", "update", "delete" */

/* Views into the text that was parsed (raw JSON slices) or into the arena (decoded strings). */
struct change {
    struct bytes raw;           /* the whole object, as the guest wrote it */
    enum change_operation operation;
    struct bytes source;        /* header.source, decoded; empty when absent */
    struct bytes timestamp;     /* header.timestamp, number text; empty when absent */
    bool has_height;
    uint32_t block_height;      /* header.block_height */
    struct bytes block_hash;    /* header.block_hash, decoded; empty when absent */
    struct bytes table;         /* payload.table, decoded */
    struct bytes key;           /* payload.key, decoded */
    struct bytes before;        /* payload.before, raw JSON; data NULL when absent */
    struct bytes after;         /* payload.after, raw JSON; data NULL when absent */
};

/* Parses one change object.
 *
 * json       borrowed; out's raw slices point into it. Strings are copied to arena.
 * Errors:    SOREX_INVALID: no JSON, no object, a missing or ill-typed field (named); SOREX_LIMIT: larger than
 *            SOREX_CHANGE_BYTES_MAX; SOREX_NOMEM. */
enum sorex_status change_parse(struct json_parser *parser, struct bytes json, struct arena *arena, struct change *out,
                               struct sorex_error *err);

/* As change_parse, and keeps what was parsed of the images: their members (json_shallow_copy). nodes is NULL where there is no
 * image, or one of so many small members that it is better parsed again. The documents live as long as json and arena. */
enum sorex_status change_parse_images(struct json_parser *parser, struct bytes json, struct arena *arena, struct change *out,
                                      struct json_doc *out_before, struct json_doc *out_after, struct sorex_error *err);

/* Checks operation against images (create: after, no before; delete: before, no after; update: after), table and key not empty,
 * block_height, when there, against height, block_hash, when there, against hash (display order; an optional 0x).
 * Whether a missing `before` is acceptable is the caller's policy: require_before says so. */
enum sorex_status change_validate(const struct change *change, uint32_t height, const uint8_t hash[HASH_BYTES],
                                  bool require_before, struct sorex_error *err);

/* Appends the change again with `before` set to the given image (raw JSON; data NULL removes it). Everything else, field order
 * included, is kept as it was; a new `before` is placed in front of `after`, or last. */
enum sorex_status change_with_before(struct json_parser *parser, struct bytes json, struct bytes before, struct buf *out,
                                     struct sorex_error *err);

/* Appends the inverse: create -> delete (before = old after), update -> update with before and after swapped,
 * delete -> create (after = old before). The header is kept (it names the undone block). Field order is kept; an image that moves
 * takes the place of the other one. Inverting twice gives the same bytes again when before stands in front of after.
 * Errors: SOREX_INVALID when the image that the inverse needs is missing. */
enum sorex_status change_invert(struct json_parser *parser, struct bytes json, struct buf *out, struct sorex_error *err);

/* Two images are the same value: member order and white space do not count, number text does. */
enum sorex_status change_image_equal(struct json_parser *a_parser, struct bytes a, struct json_parser *b_parser, struct bytes b,
                                     bool *out_equal, struct sorex_error *err);

#endif
