/* fast_swav.c: the loss of SwAV, its gradient and small operations on whole matrices in fast mode. */
#include "backend/cpu/fast.h"
#include "core/px.h"

pfc_status pfc_fast_divide(pfc_backend *be, pfc_view a, double d)
{
    for (int64_t i = 0; i < a.rows; i++) pfc_fast_kernels_of(be)->divide_row(pfc_fast_at(a, i), (float)d, a.cols, pfc_fast_at(a, i));
    return PFC_OK;
}

pfc_status pfc_fast_scale(pfc_backend *be, pfc_view out, double factor)
{
    for (int64_t i = 0; i < out.rows; i++) pfc_fast_kernels_of(be)->multiply_row(pfc_fast_at(out, i), (float)factor, out.cols);
    return PFC_OK;
}

pfc_status pfc_fast_decay_scale(pfc_backend *be, pfc_view g, pfc_view w, double decay, double factor)
{
    for (int64_t i = 0; i < g.rows; i++) pfc_fast_kernels_of(be)->decay_scale(pfc_fast_at(g, i), pfc_fast_at(w, i), (float)decay, (float)factor, g.cols);
    return PFC_OK;
}

pfc_status pfc_fast_swav_row_loss(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, double *row)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (a.rows * a.cols > FAST_PARALLEL)
    for (int64_t i = 0; i < a.rows; i++) {
        float log_sum = (float)px_log((double)*pfc_fast_at(sum, i));
        row[i] = k->swav_loss_row(pfc_fast_at(a, i), pfc_fast_at(q, i), (float)t, *pfc_fast_at(max, i), log_sum, source, a.cols);
    }
    return PFC_OK;
}

pfc_status pfc_fast_swav_dlogits(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, int first, pfc_view out)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (a.rows * a.cols > FAST_PARALLEL)
    for (int64_t i = 0; i < a.rows; i++) {
        float *o = pfc_fast_at(out, i), mass = (float)k->row_mass(pfc_fast_at(q, i), a.cols);
        int zero =
            k->swav_dlogit_row(pfc_fast_at(a, i), pfc_fast_at(q, i), (float)t, *pfc_fast_at(max, i), 1.0f / *pfc_fast_at(sum, i), mass, first, a.cols, o);
        for (int64_t j = 0; source && zero && j < a.cols; j++) o[j] = __builtin_nanf("");
    }
    return PFC_OK;
}
