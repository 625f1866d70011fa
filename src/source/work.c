/* `bits` is a 256-bit number in three digits of base 256: the top byte is their exponent, bit 23 a sign that no valid
 * target has. Source: Bitcoin protocol, "Target nBits". */
#include "source/work.h"

#include <string.h>

#define TARGET_BYTES 32

/* Little-endian target; false when it is zero, negative or does not fit. */
static bool target_of_bits(uint32_t bits, uint8_t out[TARGET_BYTES])
{
    uint32_t digits = bits & 0x7fffff;
    int lowest = (int)(bits >> 24) - 3; /* place of the lowest of the three digits */
    bool any = false;
    memset(out, 0, TARGET_BYTES);
    if ((bits & 0x800000) != 0)
        return false;
    for (int i = 0; i < 3; i++) {
        uint8_t digit = (uint8_t)(digits >> (8 * i));
        int place = lowest + i;
        if (digit == 0 || place < 0)
            continue;
        if (place >= TARGET_BYTES)
            return false;
        out[place] = digit;
        any = true;
    }
    return any;
}

/* The 256-bit remainder of the long division, most significant limb first. */
struct remainder {
    uint64_t limb[4];
};

static bool fits(const struct remainder *r, const struct remainder *divisor)
{
    int i = 0;
    while (i < 3 && r->limb[i] == divisor->limb[i])
        i++;
    return r->limb[i] >= divisor->limb[i];
}

static void subtract(struct remainder *r, const struct remainder *divisor)
{
    bool borrow = false;
    for (int i = 3; i >= 0; i--) {
        uint64_t a = r->limb[i];
        uint64_t b = divisor->limb[i];
        r->limb[i] = a - b - borrow;
        borrow = a < b || (borrow && a == b);
    }
}

/* Bits 127 to 0 of floor(~target / (target + 1)), which is floor(2^256 / (target + 1)) - 1; all ones when it is larger.
 */
static struct work divide(const struct remainder *dividend, const struct remainder *divisor)
{
    struct remainder r = {0};
    struct work quotient = {0};
    for (int bit = 255; bit >= 0; bit--) {
        bool carry = r.limb[0] >> 63 != 0;
        for (int i = 0; i < 3; i++)
            r.limb[i] = r.limb[i] << 1 | r.limb[i + 1] >> 63;
        r.limb[3] = r.limb[3] << 1 | ((dividend->limb[3 - bit / 64] >> (bit % 64)) & 1);
        if (!carry && !fits(&r, divisor))
            continue;
        subtract(&r, divisor);
        if (bit >= 128)
            return (struct work){UINT64_MAX, UINT64_MAX};
        if (bit >= 64)
            quotient.high |= (uint64_t)1 << (bit - 64);
        else
            quotient.low |= (uint64_t)1 << bit;
    }
    return quotient;
}

struct work work_of_bits(uint32_t bits)
{
    uint8_t target[TARGET_BYTES];
    struct remainder inverse = {0};
    struct remainder divisor = {0};
    if (!target_of_bits(bits, target))
        return (struct work){0, 0};
    for (int i = 0; i < TARGET_BYTES; i++) {
        int limb = 3 - i / 8;
        inverse.limb[limb] |= (uint64_t)(uint8_t)~target[i] << (8 * (i % 8));
        divisor.limb[limb] |= (uint64_t)target[i] << (8 * (i % 8));
    }
    for (int i = 3; i >= 0 && ++divisor.limb[i] == 0; i--) {
    }
    return work_add(divide(&inverse, &divisor), (struct work){0, 1});
}

struct work work_add(struct work a, struct work b)
{
    struct work sum = {a.high + b.high, a.low + b.low};
    bool carry = sum.low < a.low;
    if (sum.high < a.high || (carry && sum.high == UINT64_MAX))
        return (struct work){UINT64_MAX, UINT64_MAX};
    sum.high += carry;
    return sum;
}

int work_compare(struct work a, struct work b)
{
    if (a.high != b.high)
        return a.high < b.high ? -1 : 1;
    return a.low < b.low ? -1 : a.low > b.low;
}

bool work_proven(const uint8_t hash[HASH_BYTES], uint32_t bits)
{
    uint8_t target[TARGET_BYTES];
    if (!target_of_bits(bits, target))
        return false;
    int i = TARGET_BYTES - 1;
    while (i > 0 && hash[i] == target[i])
        i--;
    return hash[i] <= target[i];
}
