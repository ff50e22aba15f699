/* engine_int128.c: exact integer products by plain multiplication, one term at a time. The reference that every other engine must equal. */
#include "backend/cpu/exact.h"

/* V of element (i, k). */
static int64_t value(const exact_slices *s, int64_t i, int64_t k)
{
    int64_t v = 0;
    for (int j = 0; j < 3; j++) {
        const double *p = s->p + (s->reversed ? 2 - j : j) * s->plane;
        v = v * ((int64_t)1 << 21) + (int64_t)(s->by_k ? p[k * s->ld + i] : p[i * s->ld + k]);
    }
    return v;
}

/* limb += a * b, term k of a sum; the top limb is signed. Each term brings a limb less than 2^40: 2^22 of them before it carries. */
static void add_product(int64_t limb[PFC_LIMBS], int64_t k, int64_t a, int64_t b)
{
    const int64_t mask = ((int64_t)1 << PFC_LIMB_BITS) - 1, few = ((int64_t)1 << 22) - 1;
    pfc_i128 p = (pfc_i128)a * b;
    for (int i = 0; i + 1 < PFC_LIMBS; i++, p >>= PFC_LIMB_BITS) limb[i] += (int64_t)(p & mask);
    limb[PFC_LIMBS - 1] += (int64_t)p;
    if ((k & few) == few) pfc_limbs_normalise(limb);
}

static double rounded_dot(const exact_slices *a, int64_t i, const exact_slices *b, int64_t j, int64_t K)
{
    int64_t limb[PFC_LIMBS] = { 0, 0, 0, 0 };
    for (int64_t k = 0; k < K; k++) add_product(limb, k, value(a, i, k), value(b, j, k));
    return pfc_limbs_round(limb);
}

static pfc_status forward(exact_lane *lane, pfc_rowset w, const int32_t *expo, const pfc_operand *x, double *t)
{
    exact_slices s;
    PFC_TRY(pfc_slice_rows(lane, SCRATCH_W, w, expo, false, &s));
    for (int64_t i = 0; i < w.count; i++)
        for (int64_t j = 0; j < x->n; j++) t[i * x->n + j] = rounded_dot(&s, i, &x->rows, j, x->d);
    return PFC_OK;
}

static pfc_status weight(exact_lane *lane, pfc_rowset g, const int32_t *expo, const pfc_operand *x, double *t)
{
    exact_slices s;
    PFC_TRY(pfc_slice_rows(lane, SCRATCH_H, g, expo, false, &s));
    for (int64_t i = 0; i < g.count; i++)
        for (int64_t j = 0; j < x->d; j++) t[i * x->d + j] = rounded_dot(&s, i, &x->cols, j, x->n);
    return PFC_OK;
}

static pfc_status feature(exact_lane *lane, pfc_rowset h, const int32_t *grid, pfc_rowset w, const int32_t *expo, exact_product_acc *acc)
{
    int64_t n = h.base.cols, d = w.base.cols;
    exact_slices hs, ws;
    acc->limb = pfc_exact_zeros(acc->limb, PFC_LIMBS * n * d);
    if (!acc->limb) return PFC_ERR_NOMEM;
    PFC_TRY(pfc_slice_columns(lane, SCRATCH_H, h, grid, &hs));
    PFC_TRY(pfc_slice_rows(lane, SCRATCH_W, w, expo, true, &ws));
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j++) {
            int64_t *limb = acc->limb + (i * d + j) * PFC_LIMBS;
            for (int64_t k = 0; k < h.count; k++) add_product(limb, k, value(&hs, i, k), value(&ws, j, k));
            pfc_limbs_normalise(limb);
        }
    return PFC_OK;
}

const pfc_engine pfc_engine_int128 = {
    .name = "int128",
    .prepare = pfc_slice_operand,
    .forward = forward,
    .weight = weight,
    .feature = feature,
};
