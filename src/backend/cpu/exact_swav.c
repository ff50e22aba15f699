/* exact_swav.c: the loss of SwAV, its gradient and small operations on whole matrices in exact mode (doc/exact-v1.md 5.8 to 5.11). */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/exact.h"

#include <stdlib.h>

pfc_status pfc_exact_divide(pfc_backend *be, pfc_view a, double d)
{
    for (int64_t i = 0; i < a.rows; i++) exact_of(be)->k->divide_row(exact_at(a, i), d, a.cols, exact_at(a, i));
    return PFC_OK;
}

pfc_status pfc_exact_scale(pfc_backend *be, pfc_view out, double factor)
{
    for (int64_t i = 0; i < out.rows; i++) exact_of(be)->k->multiply_row(exact_at(out, i), factor, out.cols);
    return PFC_OK;
}

pfc_status pfc_exact_decay_scale(pfc_backend *be, pfc_view g, pfc_view w, double decay, double factor)
{
    for (int64_t i = 0; i < g.rows; i++) exact_of(be)->k->decay_scale(exact_at(g, i), exact_at(w, i), decay, factor, g.cols);
    return PFC_OK;
}

pfc_status pfc_exact_swav_row_loss(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, double *out)
{
    const pfc_exact_kernels *k = exact_of(be)->k;
    double *term = malloc((size_t)a.cols * sizeof *term);
    if (!term) return pfc_cpu_nomem(be, (size_t)a.cols * sizeof *term);
    for (int64_t i = 0; i < a.rows; i++) {
        k->loss_terms(exact_at(a, i), exact_at(q, i), t, *exact_at(max, i), *exact_at(sum, i), px_log(*exact_at(sum, i)), source, a.cols, term);
        out[i] = pfc_scalar_sum_of(term, a.cols);
    }
    free(term);
    return pfc_exact_finish(be, 0);
}

pfc_status pfc_exact_swav_dlogits(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, int first, pfc_view out)
{
    const pfc_exact_kernels *k = exact_of(be)->k;
    for (int64_t i = 0; i < a.rows; i++) {
        double *o = exact_at(out, i);
        for (int64_t j = 0; first && j < a.cols; j++) o[j] = 0.0;
        int zero =
            k->add_dlogits(exact_at(a, i), exact_at(q, i), t, *exact_at(max, i), *exact_at(sum, i), pfc_scalar_sum_of(exact_at(q, i), a.cols), a.cols, o);
        for (int64_t j = 0; source && zero && j < a.cols; j++) o[j] = PX_NAN;
    }
    return pfc_exact_finish(be, 0);
}
