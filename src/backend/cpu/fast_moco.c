/* fast_moco.c: moco in fast mode: the momentum encoder and the positive logits. */
#include "backend/cpu/fast.h"
#include "core/px.h"

enum { PIECE = 1 << 15 }; /* elements of a thread's turn */

pfc_status pfc_fast_momentum_update(pfc_backend *be, pfc_view k, pfc_view q, double mu)
{
    const pfc_fast_kernels *kernels = pfc_fast_kernels_of(be);
    for (int64_t r = 0; r < k.rows; r++) {
#pragma omp parallel for schedule(static) num_threads(be->threads) if (k.cols > PIECE)
        for (int64_t i = 0; i < k.cols; i += PIECE) {
            int64_t n = k.cols - i < PIECE ? k.cols - i : PIECE;
            kernels->momentum(pfc_fast_at(k, r) + i, pfc_fast_at(q, r) + i, (float)mu, (float)(1.0 - mu), n);
        }
    }
    return PFC_OK;
}

pfc_status pfc_fast_positive_logits(pfc_backend *be, pfc_view q, pfc_view k, double s, pfc_view l)
{
    for (int64_t i = 0; i < q.rows; i++) *pfc_fast_at(l, i) = (float)(s * pfc_fast_kernels_of(be)->dot(pfc_fast_at(q, i), pfc_fast_at(k, i), q.cols));
    return PFC_OK;
}

pfc_status pfc_fast_positive_max(pfc_backend *be, pfc_view l, pfc_view max)
{
    (void)be;
    for (int64_t i = 0; i < l.rows; i++) {
        float *m = pfc_fast_at(max, i);
        *m = pfc_fast_larger(*m, *pfc_fast_at(l, i));
    }
    return PFC_OK;
}

/* exp(l - max) of a row in double. */
static double positive(pfc_view l, pfc_view max, int64_t i) { return px_exp((double)*pfc_fast_at(l, i) - (double)*pfc_fast_at(max, i)); }

pfc_status pfc_fast_positive_sum(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum)
{
    (void)be;
    for (int64_t i = 0; i < l.rows; i++) *pfc_fast_at(sum, i) = (float)((double)*pfc_fast_at(sum, i) + positive(l, max, i));
    return PFC_OK;
}

pfc_status pfc_fast_positive_grad(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum, double count, double s, pfc_view k, pfc_view g)
{
    for (int64_t i = 0; i < l.rows; i++) {
        double p = positive(l, max, i) / (double)*pfc_fast_at(sum, i);
        pfc_fast_kernels_of(be)->add_scaled((float)((p - 1.0) / count * s), pfc_fast_at(k, i), k.cols, pfc_fast_at(g, i));
    }
    return PFC_OK;
}
