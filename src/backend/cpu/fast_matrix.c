/* fast_matrix.c: whole matrices in fast mode: normalising rows and back, row softmax. */
#include "backend/cpu/fast.h"

pfc_status pfc_fast_normalise(pfc_backend *be, pfc_view a, pfc_view norm, pfc_view out)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (a.rows * a.cols > FAST_PARALLEL)
    for (int64_t i = 0; i < a.rows; i++) k->divide_row(pfc_fast_at(a, i), pfc_fast_divisor(*pfc_fast_at(norm, i)), a.cols, pfc_fast_at(out, i));
    return PFC_OK;
}

pfc_status pfc_fast_normalise_backward(pfc_backend *be, pfc_view g, pfc_view unit, pfc_view norm, pfc_view out)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (g.rows * g.cols > FAST_PARALLEL)
    for (int64_t i = 0; i < g.rows; i++) {
        float raw = *pfc_fast_at(norm, i), d = pfc_fast_divisor(raw);
        if (raw < (float)PFC_NORM_MIN) {
            k->divide_row(pfc_fast_at(g, i), d, g.cols, pfc_fast_at(out, i));
            continue;
        }
        float q = (float)-k->dot(pfc_fast_at(g, i), pfc_fast_at(unit, i), g.cols);
        k->project_divide_row(pfc_fast_at(g, i), pfc_fast_at(unit, i), q, d, g.cols, pfc_fast_at(out, i));
    }
    return PFC_OK;
}

pfc_status pfc_fast_softmax_rows(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
    float divisor = (float)t;
#pragma omp parallel for schedule(static) num_threads(be->threads) if (a.rows * a.cols > FAST_PARALLEL)
    for (int64_t i = 0; i < a.rows; i++) {
        float m = k->scaled_max(pfc_fast_at(a, i), divisor, a.cols);
        *pfc_fast_at(max, i) = m;
        *pfc_fast_at(sum, i) = (float)k->scaled_exp_sum(pfc_fast_at(a, i), divisor, m, a.cols);
    }
    return PFC_OK;
}
