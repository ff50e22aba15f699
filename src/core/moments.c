/* moments.c: mean and variance as rational numbers of 256-bit integers, rounded once. */
#include "core/moments.h"

typedef unsigned __int128 u128;
typedef __int128 i128;

typedef struct u256 {
    uint64_t w[4]; /* least significant first */
} u256;

static u256 times(u128 a, u128 b)
{
    uint64_t x[2] = { (uint64_t)a, (uint64_t)(a >> 64) }, y[2] = { (uint64_t)b, (uint64_t)(b >> 64) };
    u256 p = { { 0 } };
    for (int i = 0; i < 2; i++) {
        u128 carry = 0;
        for (int j = 0; j < 2; j++) {
            carry += (u128)x[i] * y[j] + p.w[i + j];
            p.w[i + j] = (uint64_t)carry;
            carry >>= 64;
        }
        p.w[i + 2] = (uint64_t)carry;
    }
    return p;
}

/* a - b; *negative: b was larger. */
static u256 minus(u256 a, u256 b, int *negative)
{
    u256 d;
    i128 borrow = 0;
    for (int i = 0; i < 4; i++) {
        i128 t = (i128)a.w[i] - b.w[i] + borrow;
        d.w[i] = (uint64_t)t;
        borrow = t < 0 ? -1 : 0;
    }
    *negative = borrow != 0;
    return d;
}

static u256 shifted_left(u256 a, int bits)
{
    u256 r = { { 0 } };
    int words = bits / 64, rest = bits % 64;
    for (int i = 3; i >= words; i--) {
        r.w[i] = a.w[i - words] << rest;
        if (rest && i > words) r.w[i] |= a.w[i - words - 1] >> (64 - rest);
    }
    return r;
}

/* Zero bits before the first one; 256 for zero. */
static int leading_zeros(u256 a)
{
    for (int i = 3; i >= 0; i--)
        if (a.w[i]) return 64 * (3 - i) + __builtin_clzll(a.w[i]);
    return 256;
}

/* a <- floor(a / d); returns the remainder. */
static uint64_t divide(u256 *a, uint64_t d)
{
    u128 rest = 0;
    for (int i = 3; i >= 0; i--) {
        rest = rest << 64 | a->w[i];
        a->w[i] = (uint64_t)(rest / d);
        rest %= d;
    }
    return (uint64_t)rest;
}

/* scale(RN(a / d^power), e): the quotient's first 64 bits and a sticky bit for all that follows, converted once. */
static double rounded_ratio(u256 a, uint64_t d, int power, int32_t e)
{
    int first = leading_zeros(a);
    if (first == 256) return 0.0;
    int sticky = 0;
    a = shifted_left(a, first); /* at least 256 - 2*64 bits of quotient */
    for (int i = 0; i < power; i++) sticky |= divide(&a, d) != 0;
    int second = leading_zeros(a);
    a = shifted_left(a, second);
    sticky |= (a.w[0] | a.w[1] | a.w[2]) != 0;
    return px_scale((double)(a.w[3] | (uint64_t)sticky), 192 - first - second + e);
}

void pfc_moments(const pfc_scalar_sum *first, const pfc_scalar_sum *second, int64_t count, int32_t e, double *mean, double *var)
{
    uint64_t m = (uint64_t)count;
    if (first->mark) {
        *mean = pfc_mark_value(first->mark);
        *var = PX_NAN;
        return;
    }
    i128 sum = (i128)first->a * ((int64_t)1 << 38) + first->b;
    u128 magnitude = (u128)(sum < 0 ? -sum : sum), squares = (u128)((i128)second->a * ((int64_t)1 << 38) + second->b);
    double r = rounded_ratio(times(magnitude, 1), m, 1, e - 74);
    *mean = sum < 0 ? -r : r;
    int negative;
    u256 spread = minus(shifted_left(times(squares, m), 74), times(magnitude, magnitude), &negative);
    *var = negative ? 0.0 : rounded_ratio(spread, m, 2, 2 * e - 148);
}
