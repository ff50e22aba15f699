/* exactint.c: wide integers to correctly rounded doubles. */
#include "core/exactint.h"

typedef unsigned __int128 u128;
typedef __int128 i128;

void pfc_limbs_normalise(int64_t limb[PFC_LIMBS])
{
    for (int i = 0; i + 1 < PFC_LIMBS; i++) {
        int64_t carry = limb[i] >> PFC_LIMB_BITS; /* arithmetic: floor */
        limb[i] -= carry * ((int64_t)1 << PFC_LIMB_BITS);
        limb[i + 1] += carry;
    }
}

/* limb += v * 2^position, position < 120. */
static void add_at(int64_t limb[PFC_LIMBS], int64_t v, int position)
{
    int at = position / PFC_LIMB_BITS;
    i128 x = (i128)v * ((int64_t)1 << position % PFC_LIMB_BITS);
    limb[at] += (int64_t)(x & (((int64_t)1 << PFC_LIMB_BITS) - 1));
    limb[at + 1] += (int64_t)(x >> PFC_LIMB_BITS);
}

void pfc_limbs_add_levels(int64_t limb[PFC_LIMBS], const int64_t *level, int64_t stride)
{
    for (int l = 0; l < 6; l++) add_at(limb, level[l * stride], 21 * (5 - l));
}

void pfc_limbs_add_words(int64_t limb[PFC_LIMBS], const int64_t *word, int64_t stride)
{
    for (int i = 0; i < 3; i++) add_at(limb, word[i * stride], 32 * (3 - i) - 8);
    add_at(limb, word[3 * stride] / 256, 0);
}

/* RN of top*2^shift where `top` already holds a sticky bit, top >= 2^60 or exact. The conversion rounds once; the scaling is exact. */
static double scaled(uint64_t top, int shift) { return px_scale((double)top, shift); }

/* RN(high*2^120 + low), both non-negative, low < 2^120. */
static double round_magnitude(uint64_t high, u128 low)
{
    if (high == 0 && low == 0) return 0.0;
    if (high != 0) {
        int zeros = __builtin_clzll(high);
        /* 192-bit value high:low(120); keep the top 64 bits and a sticky bit */
        u128 top = ((u128)high << 64) | (uint64_t)(low >> 56);
        int sticky = (low & (((u128)1 << 56) - 1)) != 0;
        top <<= zeros;
        uint64_t head = (uint64_t)(top >> 64);
        if ((uint64_t)top != 0 || sticky) head |= 1;
        return scaled(head, 120 - zeros);
    }
    uint64_t upper = (uint64_t)(low >> 64);
    int zeros = upper ? __builtin_clzll(upper) : 64 + __builtin_clzll((uint64_t)low);
    u128 top = low << zeros;
    uint64_t head = (uint64_t)(top >> 64);
    if ((uint64_t)top != 0) head |= 1;
    return scaled(head, 64 - zeros);
}

double pfc_limbs_round(const int64_t limb[PFC_LIMBS])
{
    int64_t l[PFC_LIMBS] = { limb[0], limb[1], limb[2], limb[3] };
    pfc_limbs_normalise(l);
    int negative = l[3] < 0;
    if (negative) {
        for (int i = 0; i < PFC_LIMBS; i++) l[i] = -l[i];
        pfc_limbs_normalise(l);
    }
    u128 low = (u128)(uint64_t)l[0] | (u128)(uint64_t)l[1] << 40 | (u128)(uint64_t)l[2] << 80;
    double r = round_magnitude((uint64_t)l[3], low);
    return negative ? -r : r;
}

double pfc_scalar_value(const pfc_scalar_sum *s, int32_t e)
{
    if (s->mark) return pfc_mark_value(s->mark);
    i128 t = (i128)s->a * ((int64_t)1 << 38) + s->b;
    int negative = t < 0;
    double r = round_magnitude(0, (u128)(negative ? -t : t));
    return px_scale(negative ? -r : r, e - 74);
}

double pfc_scalar_sum_of(const double *t, int64_t n)
{
    int32_t e = PFC_EXPO_MIN;
    pfc_scalar_sum s = { 0, 0, 0 };
    for (int64_t i = 0; i < n; i++)
        if (px_finite(t[i]) && px_expo(t[i]) > e) e = px_expo(t[i]);
    for (int64_t i = 0; i < n; i++) pfc_scalar_add(&s, t[i], e);
    return pfc_scalar_value(&s, e);
}
