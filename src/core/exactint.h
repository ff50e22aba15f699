/* exactint.h: the integers behind exact sums (doc/exact-v1.md section 1): quantising, limbs, and the one correctly rounded conversion. */
#ifndef PFC_EXACTINT_H
#define PFC_EXACTINT_H

#include "core/px.h"

enum { PFC_EXPO_MIN = -900 };
enum { PFC_MARK_POSITIVE = 1, PFC_MARK_NEGATIVE = 2, PFC_MARK_NAN = 3 }; /* marks combine by bitwise or */

/* The mark of a value: 0 if finite. */
static inline unsigned char pfc_mark_of(double x)
{
    if (px_finite(x)) return 0;
    return px_nan(x) ? PFC_MARK_NAN : x > 0 ? PFC_MARK_POSITIVE : PFC_MARK_NEGATIVE;
}

static inline double pfc_mark_value(unsigned char mark) { return mark == PFC_MARK_NAN ? PX_NAN : mark == PFC_MARK_POSITIVE ? PX_INF : -PX_INF; }

/* V(x, e) = rne(x * 2^(62-e)); 0 for non-finite x. */
static inline int64_t pfc_quantise(double x, int32_t e)
{
    if (!px_finite(x)) return 0;
    double t = x * px_pow2(62 - e);
    if (t >= 0x1p52 || t <= -0x1p52) return (int64_t)t; /* already an integer */
    double c = t < 0 ? -0x1p52 : 0x1p52;
    return (int64_t)((t + c) - c);
}

/* ---- scalar sums, 1.3: value (a*2^38 + b) * 2^(e-74) ---- */

typedef struct pfc_scalar_sum {
    int64_t a, b;
    unsigned char mark;
} pfc_scalar_sum;

static inline void pfc_scalar_add(pfc_scalar_sum *s, double t, int32_t e)
{
    if (!px_finite(t)) {
        s->mark |= pfc_mark_of(t);
        return;
    }
    double u = t * px_pow2(36 - e);
    double h = px_rint(u);
    s->a += px_toint(h);
    s->b += px_toint((u - h) * 0x1p38);
}

/* The scalar sum of all terms, on the grid of the largest finite one. */
double pfc_scalar_sum_of(const double *t, int64_t n);

/* ---- product sums, 1.2: four limbs of base 2^40, T = l[0] + l[1]*2^40 + l[2]*2^80 + l[3]*2^120, each signed; K up to 2^24 terms and 2^20 ranks.
 * Limbs are normalised (0 <= l[0..2] < 2^40) before they go on the wire. ---- */

enum { PFC_LIMBS = 4, PFC_LIMB_BITS = 40 };

/* RN(sum of limbs). */
double pfc_limbs_round(const int64_t limb[PFC_LIMBS]);
/* Carry so that the lower three limbs are in [0, 2^40). */
void pfc_limbs_normalise(int64_t limb[PFC_LIMBS]);
/* limb += sum of six signed levels, level l of weight 2^(21(5-l)), `stride` apart. */
void pfc_limbs_add_levels(int64_t limb[PFC_LIMBS], const int64_t *level, int64_t stride);
/* limb += T, 256*T = sum of four signed words of weight 2^(32(3-i)), `stride` apart; the last one is a multiple of 256. */
void pfc_limbs_add_words(int64_t limb[PFC_LIMBS], const int64_t *word, int64_t stride);
/* RN(a*2^38 + b) * 2^(e-74), or the mark's value. */
double pfc_scalar_value(const pfc_scalar_sum *s, int32_t e);

#endif
