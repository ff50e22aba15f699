/* exact_swav.c: the loss of SwAV, its gradient and small operations on whole matrices in exact mode (doc/exact-v1.md 5.8 to 5.11). */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/exact.h"
#include "backend/cpu/exact_swav.h"

#include <stdlib.h>
#include <string.h>

static double *row(pfc_view v, int64_t i) { return (double *)v.data + i * v.ld; }

pfc_status pfc_exact_copy_rows(pfc_backend *be, pfc_view from, pfc_view to)
{
    (void)be;
    size_t bytes = (size_t)from.cols * sizeof(double);
    if (from.ld == from.cols && to.ld == to.cols)
        memmove(to.data, from.data, (size_t)from.rows * bytes);
    else
        for (int64_t i = 0; i < from.rows; i++) memcpy(row(to, i), row(from, i), bytes);
    return PFC_OK;
}

pfc_status pfc_exact_zero(pfc_backend *be, pfc_view to)
{
    (void)be;
    for (int64_t i = 0; i < to.rows; i++) memset(row(to, i), 0, (size_t)to.cols * sizeof(double));
    return PFC_OK;
}

pfc_status pfc_exact_divide(pfc_backend *be, pfc_view a, double d)
{
    for (int64_t i = 0; i < a.rows; i++) exact_of(be)->k->divide_row(row(a, i), d, a.cols, row(a, i));
    return PFC_OK;
}

pfc_status pfc_exact_scale(pfc_backend *be, pfc_view out, double factor)
{
    for (int64_t i = 0; i < out.rows; i++) exact_of(be)->k->multiply_row(row(out, i), factor, out.cols);
    return PFC_OK;
}

pfc_status pfc_exact_decay_scale(pfc_backend *be, pfc_view g, pfc_view w, double decay, double factor)
{
    for (int64_t i = 0; i < g.rows; i++) exact_of(be)->k->decay_scale(row(g, i), row(w, i), decay, factor, g.cols);
    return PFC_OK;
}

pfc_status pfc_exact_swav_row_loss(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, double *out)
{
    const pfc_exact_kernels *k = exact_of(be)->k;
    double *term = malloc((size_t)a.cols * sizeof *term);
    if (!term) return pfc_cpu_nomem(be, (size_t)a.cols * sizeof *term);
    for (int64_t i = 0; i < a.rows; i++) {
        k->loss_terms(row(a, i), row(q, i), t, *row(max, i), *row(sum, i), px_log(*row(sum, i)), source, a.cols, term);
        out[i] = pfc_scalar_sum_of(term, a.cols);
    }
    free(term);
    return pfc_exact_fail(be, 0, pfc_exact_environment(&exact_of(be)->lane[0]));
}

pfc_status pfc_exact_swav_dlogits(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, int first, pfc_view out)
{
    const pfc_exact_kernels *k = exact_of(be)->k;
    for (int64_t i = 0; i < a.rows; i++) {
        double *o = row(out, i);
        for (int64_t j = 0; first && j < a.cols; j++) o[j] = 0.0;
        int zero = k->add_dlogits(row(a, i), row(q, i), t, *row(max, i), *row(sum, i), pfc_scalar_sum_of(row(q, i), a.cols), a.cols, o);
        for (int64_t j = 0; source && zero && j < a.cols; j++) o[j] = PX_NAN;
    }
    return pfc_exact_fail(be, 0, pfc_exact_environment(&exact_of(be)->lane[0]));
}
