/* "Did you mean": the candidate with the smallest edit distance.
 *
 * Distance: optimal string alignment, that is insertions, deletions, replacements and swaps of neighbours each cost
 * one. Three rows of the usual table are kept. Words longer than NEAREST_WORD_MAX are no typing errors and have no
 * neighbour. */
#include "config/nearest.h"

#include "base/check.h"

#define NEAREST_WORD_MAX 64

static unsigned least(unsigned a, unsigned b) { return a < b ? a : b; }

static unsigned edit_distance(struct bytes a, struct bytes b)
{
    CHECK(a.len <= NEAREST_WORD_MAX && b.len <= NEAREST_WORD_MAX);
    unsigned rows[3][NEAREST_WORD_MAX + 1];
    for (unsigned j = 0; j <= b.len; j++)
        rows[0][j] = j;
    for (unsigned i = 1; i <= a.len; i++) {
        unsigned *now = rows[i % 3], *above = rows[(i + 2) % 3], *before = rows[(i + 1) % 3];
        now[0] = i;
        for (unsigned j = 1; j <= b.len; j++) {
            bool same = a.data[i - 1] == b.data[j - 1];
            now[j] = least(above[j - 1] + (same ? 0 : 1), least(above[j], now[j - 1]) + 1);
            if (i > 1 && j > 1 && a.data[i - 1] == b.data[j - 2] && a.data[i - 2] == b.data[j - 1])
                now[j] = least(now[j], before[j - 2] + 1);
        }
    }
    return rows[a.len % 3][b.len];
}

bool nearest_offer(struct nearest *nearest, const char *candidate)
{
    struct bytes other = bytes_str(candidate);
    if (nearest->word.len > NEAREST_WORD_MAX || other.len > NEAREST_WORD_MAX)
        return false;
    unsigned distance = edit_distance(nearest->word, other);
    if (distance > nearest->word.len / 3 + 1 || distance >= other.len)
        return false;
    if (nearest->name != NULL && distance >= nearest->distance)
        return false;
    nearest->name = candidate;
    nearest->distance = distance;
    return true;
}

const char *nearest_name(struct bytes word, const char *const *candidates)
{
    struct nearest nearest = {.word = word};
    for (size_t i = 0; candidates[i] != NULL; i++)
        (void)nearest_offer(&nearest, candidates[i]);
    return nearest.name;
}
