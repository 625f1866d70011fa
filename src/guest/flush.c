/* Protobuf's wire format, as far as this message needs it: a field is a varint tag (number << 3 | wire type) and a
 * value.
 *
 *   wire type  value
 *   0          varint
 *   1          8 bytes
 *   2          varint length, bytes       <- number 1 of this type is an element of the list
 *   3, 4       begin and end of a group, fields between them
 *   5          4 bytes
 *
 * Every other field is skipped, also number 1 of another type, as generated decoders do. Numbers are 1 to 2^29 - 1.
 * Groups nest GROUP_DEPTH_MAX deep. Nothing is allocated and every step consumes at least one byte, so the time is
 * linear in the length. */
#include "guest/flush.h"

#include "base/check.h"
#include "base/limits.h"

#define GROUP_DEPTH_MAX 32
#define FIELD_NUMBER_MAX 0x1fffffffU

enum wire { WIRE_VARINT, WIRE_FIXED64, WIRE_BYTES, WIRE_GROUP_BEGIN, WIRE_GROUP_END, WIRE_FIXED32 };

struct groups {
    uint32_t numbers[GROUP_DEPTH_MAX];
    unsigned depth;
};

static bool tag_take(struct reader *reader, uint32_t *out_number, enum wire *out_wire)
{
    uint64_t tag;
    if (!reader_varint(reader, &tag) || tag >> 3 == 0 || tag >> 3 > FIELD_NUMBER_MAX || (tag & 7) > WIRE_FIXED32)
        return false;
    *out_number = (uint32_t)(tag >> 3);
    *out_wire = (enum wire)(tag & 7);
    return true;
}

static bool group_take(struct groups *groups, uint32_t number, bool begin)
{
    if (begin) {
        if (groups->depth == GROUP_DEPTH_MAX)
            return false;
        groups->numbers[groups->depth++] = number;
        return true;
    }
    if (groups->depth == 0 || groups->numbers[groups->depth - 1] != number)
        return false;
    groups->depth--;
    return true;
}

static bool value_skip(struct reader *reader, struct groups *groups, uint32_t number, enum wire wire)
{
    uint64_t varint;
    struct bytes skipped;
    switch (wire) {
    case WIRE_VARINT:
        return reader_varint(reader, &varint);
    case WIRE_FIXED64:
        return reader_take(reader, 8, &skipped);
    case WIRE_BYTES:
        return reader_bytes(reader, &skipped);
    case WIRE_GROUP_BEGIN:
    case WIRE_GROUP_END:
        return group_take(groups, number, wire == WIRE_GROUP_BEGIN);
    case WIRE_FIXED32:
        return reader_take(reader, 4, &skipped);
    }
    return false;
}

/* The next element of the list. False at the end and at damage: reader->at != reader->end tells them apart, or, for a
 * group left open at the end, groups->depth. */
static bool element_next(struct reader *reader, struct groups *groups, struct bytes *out)
{
    while (reader_left(reader) > 0) {
        struct reader field = *reader;
        uint32_t number;
        enum wire wire;
        if (!tag_take(&field, &number, &wire))
            return false;
        bool element = number == 1 && wire == WIRE_BYTES && groups->depth == 0;
        if (element ? !reader_bytes(&field, out) : !value_skip(&field, groups, number, wire))
            return false;
        *reader = field;
        if (element)
            return true;
    }
    return false;
}

enum sorex_status flush_check(struct bytes message, uint64_t *out_pairs, struct sorex_error *err)
{
    struct reader reader = reader_of(message);
    struct groups groups = {.depth = 0};
    struct bytes element;
    uint64_t elements = 0;
    while (element_next(&reader, &groups, &element)) {
        if (elements % 2 == 0 && element.len > SOREX_KEY_BYTES_MAX)
            return sorex_error_set(err, SOREX_GUEST, "flush: pair %llu: a key of %zu bytes is over the limit of %zu",
                                   (unsigned long long)(elements / 2), element.len, SOREX_KEY_BYTES_MAX);
        elements++;
    }
    if (reader_left(&reader) > 0 || groups.depth > 0)
        return sorex_error_set(err, SOREX_GUEST, "flush: the message of %zu bytes does not decode at offset %zu",
                               message.len, message.len - reader_left(&reader));
    *out_pairs = elements / 2;
    return SOREX_OK;
}

bool flush_next(struct reader *reader, struct bytes *out_key, struct bytes *out_value)
{
    struct groups groups = {.depth = 0};
    bool pair = element_next(reader, &groups, out_key) && element_next(reader, &groups, out_value);
    CHECK(pair || reader_left(reader) == 0);
    return pair;
}
