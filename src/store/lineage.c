/* Every entry that writes a key has an undo record with the version that it buried. So versions hang together like a
 * list: from a version's height one gets to its predecessor. To find the version at an old height in fewer steps than
 * there are versions, each names a few of its ancestors, as a Fenwick tree does.
 *
 * Number the versions of a key 1, 2, 3 .. and let p(m) be m with its lowest set bit cleared. Version n names n-1,
 * p(n-1), p(p(n-1)) .. down to, not including, 0: one for every set bit of n-1, at most log2(n).
 *
 * Writing: the list of n+1 is n followed by the list of n without its first t elements, where t is the number of
 * trailing zeros of n. For n = x 1 0^t in binary, n-1 is x 0 1^t; clearing the lowest bit t times gives x 0 0^t = p(n),
 * and those t steps are the elements that are left out (n-1 itself is the first of them when t > 0, and is p(n) when t
 * = 0). What stays is p(n), p(p(n)) ..: with n in front, the list of n+1. So no number but n is needed, and heights are
 * only copied.
 *
 * Finding version T from n > T: let m be the lowest of the list, and n itself, that is above T. If that is n, then n-1
 * <= T, so T is n-1. Else p(m) <= T < m, where p(m) may be 0. The undo record of m's height holds version m-1, which is
 * T or above it, and shares all bits of p(m); below the bit that m has and p(m) lacks, T is free. So with each step the
 * range in which T lies is at most half as long: at most log2(n) steps more. Heights stand for numbers, since they
 * ascend with them.
 *
 * Cutting: a height at or below the horizon is at or below every height that can be asked for, so it is never "above".
 * The heights of a list descend; so what may be cut is its end, and leaving out elements of a cut list leaves out none
 * too few. The first one is kept always, and so every version but the first has a lineage. For the same reason a
 * version whose predecessor is at or below the horizon may start counting again, as number 2. */
#include "store/lineage.h"

#include "base/check.h"

#define NUMBER_MAX UINT32_MAX

/* Takes the next ancestor off; *height is the one before it, then its own. */
static bool ancestor_read(struct reader *reader, uint32_t *height, bool *out_more)
{
    uint64_t word = 0;
    if (!reader_varint(reader, &word) || word >> 1 == 0 || word >> 1 > *height)
        return false;
    *height -= (uint32_t)(word >> 1);
    *out_more = (word & 1) != 0;
    return true;
}

bool lineage_read(struct reader *reader, uint32_t height, struct bytes *out)
{
    const uint8_t *start = reader->at;
    uint64_t number = 0;
    if (!reader_varint(reader, &number) || number < 2 || number > NUMBER_MAX)
        return false;
    bool more = true;
    for (uint64_t left = number - 1; more; left &= left - 1) { /* an ancestor for each bit, at most */
        if (left == 0 || !ancestor_read(reader, &height, &more))
            return false;
    }
    *out = bytes_of(start, (size_t)(reader->at - start));
    return out->len <= LINEAGE_BYTES_MAX; /* longer only when a number is not written in the shortest way */
}

size_t lineage_next(uint8_t out[LINEAGE_BYTES_MAX], struct bytes before, uint32_t before_height, uint32_t height,
                    uint32_t horizon)
{
    struct reader reader = reader_of(before);
    uint64_t number = 1;
    CHECK(before_height < height);
    if (before.len != 0 && before_height > horizon)
        CHECK(reader_varint(&reader, &number));
    else
        reader.at = reader.end;
    int skip = __builtin_ctzll(number);
    size_t len = varint_put(out, number + 1);
    uint32_t last = before_height, ancestor = before_height;
    uint64_t distance = height - before_height;
    while (reader_left(&reader) != 0) {
        bool more = false;
        CHECK(ancestor_read(&reader, &ancestor, &more)); /* lineage_read has */
        if (skip-- > 0)
            continue;
        if (ancestor <= horizon)
            break;
        len += varint_put(out + len, distance << 1 | 1);
        distance = last - ancestor;
        last = ancestor;
    }
    return len + varint_put(out + len, distance << 1);
}

uint32_t lineage_above(struct bytes lineage, uint32_t height, uint32_t wanted)
{
    struct reader reader = reader_of(lineage);
    uint64_t number = 0;
    uint32_t ancestor = height, lowest = height;
    bool more = reader_varint(&reader, &number);
    while (more && ancestor_read(&reader, &ancestor, &more) && ancestor > wanted)
        lowest = ancestor;
    return lowest;
}
