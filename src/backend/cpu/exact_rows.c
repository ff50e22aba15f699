/* exact_rows.c: norms, rounding of the state, and the update of exact mode. */
#include "backend/cpu/exact.h"

#include <math.h>

/* 3.1; a row with a NaN has norm NaN, one with an infinity infinity (NaN if both). */
static double marked_norm(const double *x, int64_t n)
{
    unsigned char mark = 0;
    for (int64_t i = 0; i < n; i++) mark |= px_finite(x[i]) ? 0 : px_nan(x[i]) ? PFC_MARK_NAN : PFC_MARK_POSITIVE;
    return pfc_mark_value(mark);
}

pfc_status pfc_exact_row_norms(pfc_backend *be, pfc_rowset a, pfc_view norm, int32_t *expo)
{
    const pfc_exact_kernels *k = exact_of(be)->k;
    double *out = norm.data;
    for (int64_t i = 0; i < a.count; i++) {
        const double *x = exact_row(a, i);
        int nonfinite = 0;
        expo[i] = px_expo(k->max_abs(x, a.base.cols, &nonfinite));
        if (nonfinite) {
            out[i] = marked_norm(x, a.base.cols);
            continue;
        }
        int32_t e = pfc_square_expo(expo[i]);
        pfc_scalar_sum s = { 0, 0, 0 };
        k->sum_squares(x, a.base.cols, px_pow2(36 - e), &s.a, &s.b);
        out[i] = sqrt(pfc_scalar_value(&s, e));
    }
    return PFC_OK;
}

pfc_status pfc_exact_round_state(pfc_backend *be, pfc_view state)
{
    for (int64_t r = 0; r < state.rows; r++) exact_of(be)->k->round_row(exact_at(state, r), state.cols);
    return PFC_OK;
}

pfc_status pfc_exact_sgd_rows(pfc_backend *be, pfc_view dw, pfc_rowset weight, pfc_view momentum, const pfc_sgd *sgd)
{
    const pfc_exact_kernels *k = exact_of(be)->k;
    for (int64_t i = 0; i < weight.count; i++) {
        double *buf = exact_at(momentum, pfc_row_index(weight, i));
        const double *g = dw.data ? exact_at(dw, i) : NULL;
        k->sgd_row(exact_row(weight, i), buf, g, sgd->lr, sgd->momentum, sgd->weight_decay, sgd->nesterov, weight.base.cols);
    }
    return PFC_OK;
}
