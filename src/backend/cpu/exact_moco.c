/* exact_moco.c: moco in exact mode: the momentum encoder and the positive logits (doc/exact-v1.md section 6). */
#include "backend/cpu/exact.h"

enum { PIECE = 1 << 14 }; /* elements of a thread's turn */

pfc_status pfc_exact_momentum_update(pfc_backend *be, pfc_view k, pfc_view q, double mu)
{
    pfc_exact *ex = exact_of(be);
    for (int64_t r = 0; r < k.rows; r++) {
#pragma omp parallel for schedule(static) num_threads(be->threads) if (k.cols > PIECE)
        for (int64_t i = 0; i < k.cols; i += PIECE) {
            int64_t n = k.cols - i < PIECE ? k.cols - i : PIECE;
            ex->k->momentum(exact_at(k, r) + i, exact_at(q, r) + i, mu, 1.0 - mu, n);
        }
    }
    return pfc_exact_finish(be, 0);
}

pfc_status pfc_exact_positive_logits(pfc_backend *be, pfc_view q, pfc_view k, double s, pfc_view l)
{
    pfc_exact *ex = exact_of(be);
    for (int64_t i = 0; i < q.rows; i++) *exact_at(l, i) = s * pfc_exact_dot(ex->k, exact_at(q, i), exact_at(k, i), q.cols);
    return pfc_exact_finish(be, 0);
}

pfc_status pfc_exact_positive_max(pfc_backend *be, pfc_view l, pfc_view max)
{
    for (int64_t i = 0; i < l.rows; i++) exact_of(be)->k->max_row(exact_at(l, i), 1, exact_at(max, i));
    for (int64_t i = 0; i < l.rows; i++) *exact_at(max, i) += 0.0; /* no -0 */
    return PFC_OK;
}

pfc_status pfc_exact_positive_sum(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum)
{
    (void)be;
    for (int64_t i = 0; i < l.rows; i++) *exact_at(sum, i) += px_exp(*exact_at(l, i) - *exact_at(max, i));
    return PFC_OK;
}

pfc_status pfc_exact_positive_grad(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum, double count, double s, pfc_view k, pfc_view g)
{
    pfc_exact *ex = exact_of(be);
    for (int64_t i = 0; i < l.rows; i++) {
        double p = px_exp(*exact_at(l, i) - *exact_at(max, i)) / *exact_at(sum, i);
        ex->k->add_scaled(((p - 1.0) / count) * s, exact_at(k, i), k.cols, exact_at(g, i));
    }
    return pfc_exact_finish(be, 0);
}
