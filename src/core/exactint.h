/* exactint.h (internal): the integers behind exact sums (doc/exact-v1.md section 1): quantising, limbs, and the one correctly rounded conversion. One
 * source for hosts and devices.
 *
 * e is always the grid exponent of a set of numbers: they are below 2^e. The constants that appear with it, here and in the backends, are those of the
 * specification: 62 - e makes the integers of product sums (|V| <= 2^62), so that a sum of products has the unit 2^(e1 + e2 - 124); 36 - e and 38 more bits
 * make the two integers of scalar sums, whose unit is 2^(e - 74). */
#ifndef PFC_EXACTINT_H
#define PFC_EXACTINT_H

#include "core/px.h"

enum { PFC_EXPO_MIN = -900 };

/* Exponent of the sum of squares of numbers with exponent e: max(2e, -900). */
PX_FN int32_t pfc_square_expo(int32_t e) { return 2 * e < PFC_EXPO_MIN ? (int32_t)PFC_EXPO_MIN : 2 * e; }

enum { PFC_MARK_POSITIVE = 1, PFC_MARK_NEGATIVE = 2, PFC_MARK_NAN = 3 }; /* marks combine by bitwise or */

/* The mark of a value: 0 if finite. */
PX_FN unsigned char pfc_mark_of(double x)
{
    if (px_finite(x)) return 0;
    return px_nan(x) ? PFC_MARK_NAN : x > 0 ? PFC_MARK_POSITIVE : PFC_MARK_NEGATIVE;
}

PX_FN double pfc_mark_value(unsigned char mark) { return mark == PFC_MARK_NAN ? PX_NAN : mark == PFC_MARK_POSITIVE ? PX_INF : -PX_INF; }

/* V(x, e) = rne(x * 2^(62-e)); 0 for non-finite x. */
PX_FN int64_t pfc_quantise(double x, int32_t e)
{
    if (!px_finite(x)) return 0;
    double t = x * px_pow2(62 - e);
    if (t >= 0x1p52 || t <= -0x1p52) return (int64_t)t; /* already an integer */
    double c = t < 0 ? -0x1p52 : 0x1p52;
    return (int64_t)((t + c) - c);
}

/* Grid exponent of a mass of Sinkhorn, bounded by -980 and not by -900 as elsewhere: masses may be tiny (exact-v1 5). 0 and subnormal ones are below it. */
enum { PFC_MASS_EXPO_MIN = -980 };
PX_FN int32_t pfc_mass_expo(double m)
{
    int32_t e = (int32_t)((px_bits(m) >> 52) & 0x7ff) - 1022;
    return e > PFC_MASS_EXPO_MIN ? e : (int32_t)PFC_MASS_EXPO_MIN;
}

/* ---- scalar sums, 1.3: value (a*2^38 + b) * 2^(e-74) ---- */

typedef struct pfc_scalar_sum {
    int64_t a, b;
    unsigned char mark;
} pfc_scalar_sum;

/* The two integers of a term, scale = 2^(36-e), in the low bits of two doubles: those of PX_MAGIC are to be taken off each. */
PX_FN void pfc_deposit_bits(double t, double scale, uint64_t *a, uint64_t *b)
{
    double high = PX_EXACT_FMA(t, scale, PX_MAGIC), h = PX_SUB(high, PX_MAGIC);
    *a += px_bits(high);
    *b += px_bits(PX_EXACT_FMA(PX_EXACT_FMA(t, scale, -h), 0x1p38, PX_MAGIC));
}

/* a, b += a finite term. */
PX_FN void pfc_deposit(double t, double scale, int64_t *a, int64_t *b)
{
    uint64_t high = 0, low = 0;
    pfc_deposit_bits(t, scale, &high, &low);
    *a += (int64_t)(high - px_bits(PX_MAGIC));
    *b += (int64_t)(low - px_bits(PX_MAGIC));
}

/* a, b += n terms whose bits are in high and low. */
PX_FN void pfc_deposit_sum(uint64_t high, uint64_t low, int64_t n, int64_t *a, int64_t *b)
{
    *a += (int64_t)(high - (uint64_t)n * px_bits(PX_MAGIC));
    *b += (int64_t)(low - (uint64_t)n * px_bits(PX_MAGIC));
}

PX_FN void pfc_scalar_add(pfc_scalar_sum *s, double t, int32_t e)
{
    if (!px_finite(t)) {
        s->mark |= pfc_mark_of(t);
        return;
    }
    pfc_deposit(t, px_pow2(36 - e), &s->a, &s->b);
}

/* ---- product sums, 1.2: four limbs of base 2^40, T = l[0] + l[1]*2^40 + l[2]*2^80 + l[3]*2^120, each signed; K up to 2^24 terms and 2^20 ranks.
 * Limbs are normalised (0 <= l[0..2] < 2^40) before they go on the wire. ---- */

enum { PFC_LIMBS = 4, PFC_LIMB_BITS = 40 };

typedef unsigned __int128 pfc_u128;
typedef __int128 pfc_i128;

/* Carry so that the lower three limbs are in [0, 2^40). */
PX_FN void pfc_limbs_normalise(int64_t limb[PFC_LIMBS])
{
    for (int i = 0; i + 1 < PFC_LIMBS; i++) {
        int64_t carry = limb[i] >> PFC_LIMB_BITS; /* arithmetic: floor */
        limb[i] -= carry * ((int64_t)1 << PFC_LIMB_BITS);
        limb[i + 1] += carry;
    }
}

/* limb += v * 2^position, position < 120. */
PX_FN void pfc_limbs_add_at(int64_t limb[PFC_LIMBS], int64_t v, int position)
{
    int at = position / PFC_LIMB_BITS;
    pfc_i128 x = (pfc_i128)v * ((int64_t)1 << position % PFC_LIMB_BITS);
    limb[at] += (int64_t)(x & (((int64_t)1 << PFC_LIMB_BITS) - 1));
    limb[at + 1] += (int64_t)(x >> PFC_LIMB_BITS);
}

/* limb += sum of six signed levels, level l of weight 2^(21(5-l)), `stride` apart. */
PX_FN void pfc_limbs_add_levels(int64_t limb[PFC_LIMBS], const int64_t *level, int64_t stride)
{
    for (int l = 0; l < 6; l++) pfc_limbs_add_at(limb, level[l * stride], 21 * (5 - l));
}

/* limb += T, 256*T = sum of four signed words of weight 2^(32(3-i)), `stride` apart; the last one is a multiple of 256. */
PX_FN void pfc_limbs_add_words(int64_t limb[PFC_LIMBS], const int64_t *word, int64_t stride)
{
    for (int i = 0; i < 3; i++) pfc_limbs_add_at(limb, word[i * stride], 32 * (3 - i) - 8);
    pfc_limbs_add_at(limb, word[3 * stride] / 256, 0);
}

/* RN of top*2^shift where `top` already holds a sticky bit, top >= 2^60 or exact. The conversion rounds once; the scaling is exact. */
PX_FN double pfc_scaled_top(uint64_t top, int shift) { return px_scale((double)top, shift); }

/* RN(high*2^120 + low), both non-negative, low < 2^120. */
PX_FN double pfc_round_magnitude(uint64_t high, pfc_u128 low)
{
    if (high == 0 && low == 0) return 0.0;
    if (high != 0) {
        int zeros = PX_CLZ(high);
        /* 192-bit value high:low(120); keep the top 64 bits and a sticky bit */
        pfc_u128 top = ((pfc_u128)high << 64) | (uint64_t)(low >> 56);
        int sticky = (low & (((pfc_u128)1 << 56) - 1)) != 0;
        top <<= zeros;
        uint64_t head = (uint64_t)(top >> 64);
        if ((uint64_t)top != 0 || sticky) head |= 1;
        return pfc_scaled_top(head, 120 - zeros);
    }
    uint64_t upper = (uint64_t)(low >> 64);
    int zeros = upper ? PX_CLZ(upper) : 64 + PX_CLZ((uint64_t)low);
    pfc_u128 top = low << zeros;
    uint64_t head = (uint64_t)(top >> 64);
    if ((uint64_t)top != 0) head |= 1;
    return pfc_scaled_top(head, 64 - zeros);
}

/* RN(sum of limbs). */
PX_FN double pfc_limbs_round(const int64_t limb[PFC_LIMBS])
{
    int64_t l[PFC_LIMBS] = { limb[0], limb[1], limb[2], limb[3] };
    pfc_limbs_normalise(l);
    int negative = l[3] < 0;
    if (negative) {
        for (int i = 0; i < PFC_LIMBS; i++) l[i] = -l[i];
        pfc_limbs_normalise(l);
    }
    pfc_u128 low = (pfc_u128)(uint64_t)l[0] | (pfc_u128)(uint64_t)l[1] << 40 | (pfc_u128)(uint64_t)l[2] << 80;
    double r = pfc_round_magnitude((uint64_t)l[3], low);
    return negative ? -r : r;
}

/* RN(a*2^38 + b) * 2^(e-74), or the mark's value. */
PX_FN double pfc_scalar_value(const pfc_scalar_sum *s, int32_t e)
{
    if (s->mark) return pfc_mark_value(s->mark);
    pfc_i128 t = (pfc_i128)s->a * ((int64_t)1 << 38) + s->b;
    int negative = t < 0;
    double r = pfc_round_magnitude(0, (pfc_u128)(negative ? -t : t));
    return px_scale(negative ? -r : r, e - 74);
}

/* The scalar sum of all terms, on the grid of the largest finite one. */
PX_FN double pfc_scalar_sum_of(const double *t, int64_t n)
{
    int32_t e = PFC_EXPO_MIN;
    pfc_scalar_sum s = { 0, 0, 0 };
    for (int64_t i = 0; i < n; i++)
        if (px_finite(t[i]) && px_expo(t[i]) > e) e = px_expo(t[i]);
    for (int64_t i = 0; i < n; i++) pfc_scalar_add(&s, t[i], e);
    return pfc_scalar_value(&s, e);
}

#endif
