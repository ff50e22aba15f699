/* exact_matrix.c: whole matrices in exact mode: normalising rows and back, row softmax, grids of columns (doc/exact-v1.md section 4). */
#include "backend/cpu/exact.h"

pfc_status pfc_exact_normalise(pfc_backend *be, pfc_view a, pfc_view norm, pfc_view out)
{
    pfc_exact *ex = exact_of(be);
#pragma omp parallel for num_threads(be->threads) if (a.rows * a.cols > EXACT_PARALLEL)
    for (int64_t i = 0; i < a.rows; i++) ex->k->divide_row(exact_at(a, i), exact_divisor(*exact_at(norm, i)), a.cols, exact_at(out, i));
    return pfc_exact_finish(be, 0);
}

double pfc_exact_dot(const pfc_exact_kernels *k, const double *a, const double *b, int64_t n)
{
    int nonfinite = 0;
    pfc_scalar_sum s = { 0, 0, 0 };
    int32_t e = px_expo(k->dot_max(a, b, n, &nonfinite));
    k->dot_sum(a, b, px_pow2(36 - e), n, &s.a, &s.b);
    for (int64_t i = 0; nonfinite && i < n; i++) s.mark |= pfc_mark_of(a[i] * b[i]);
    return pfc_scalar_value(&s, e);
}

pfc_status pfc_exact_normalise_backward(pfc_backend *be, pfc_view g, pfc_view unit, pfc_view norm, pfc_view out)
{
    pfc_exact *ex = exact_of(be);
#pragma omp parallel for num_threads(be->threads) if (g.rows * g.cols > EXACT_PARALLEL)
    for (int64_t i = 0; i < g.rows; i++) {
        double raw = *exact_at(norm, i);
        int project = !(raw < PFC_NORM_MIN);
        double q = project ? pfc_exact_dot(ex->k, exact_at(g, i), exact_at(unit, i), g.cols) : 0.0;
        ex->k->project_row(exact_at(g, i), exact_at(unit, i), q, exact_divisor(raw), project, g.cols, exact_at(out, i));
    }
    return pfc_exact_finish(be, 0);
}

pfc_status pfc_exact_softmax_rows(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum)
{
    pfc_exact *ex = exact_of(be);
#pragma omp parallel for num_threads(be->threads) if (a.rows * a.cols > EXACT_PARALLEL)
    for (int64_t i = 0; i < a.rows; i++) {
        pfc_scalar_sum s = { 0, 0, 0 };
        const double *x = exact_at(a, i);
        double m = ex->k->scaled_max(x, t, a.cols);
        if (ex->k->scaled_exp_sum(x, t, m, a.cols, &s.a, &s.b))
            for (int64_t j = 0; j < a.cols; j++) s.mark |= pfc_mark_of(px_exp(x[j] / t - m));
        *exact_at(max, i) = m;
        *exact_at(sum, i) = pfc_scalar_value(&s, 0);
    }
    return pfc_exact_finish(be, 0);
}

pfc_status pfc_exact_column_expo(pfc_backend *be, int lane, pfc_view a, const int32_t *expo, pfc_acc *acc)
{
    double *max = exact_product_lane(acc, lane)->max;
    for (int64_t i = 0; i < a.rows; i++) exact_of(be)->k->expo_row(exact_at(a, i), NULL, 1.0, px_pow2(expo[i]), a.cols, max, NULL);
    return PFC_OK;
}
