/* Lineage: how a version of a key names the ones before it, so that any of them is found in a few steps.
 *
 * Encoded (docs/formats/store.md): nothing for a key's first version; else varint number, then heights, each as varint
 * (distance down from the one before * 2 + more), the first from the version's own height. */
#ifndef SOREX_STORE_LINEAGE_H
#define SOREX_STORE_LINEAGE_H

#include "base/bytes.h"
#include "base/codec.h"

/* A number has at most 32 bits, since each version has a height of its own; so has a distance, and one bit more. */
#define LINEAGE_BYTES_MAX (5 + 32 * 5)

/* Takes the lineage of a version at `height` off the reader; *out is a view. False when it does not decode. */
bool lineage_read(struct reader *reader, uint32_t height, struct bytes *out);

/* Makes the lineage of the version at `height` that follows the one at `before_height`, whose lineage is `before`.
 * Heights at or below `horizon` are never asked for again. Returns its length. */
size_t lineage_next(uint8_t out[LINEAGE_BYTES_MAX], struct bytes before, uint32_t before_height, uint32_t height,
                    uint32_t horizon);

/* The lowest height above `wanted` among the version's own and those that its lineage names. height > wanted. */
uint32_t lineage_above(struct bytes lineage, uint32_t height, uint32_t wanted);

#endif
