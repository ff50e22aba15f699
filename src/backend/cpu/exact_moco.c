/* exact_moco.c: moco in exact mode: the momentum encoder and the positive logits (doc/exact-v1.md section 6). */
#include "backend/cpu/exact_moco.h"
#include "backend/cpu/exact.h"

enum { PIECE = 1 << 14 }; /* elements of a thread's turn */

static double *at(pfc_view v, int64_t row) { return (double *)v.data + row * v.ld; }

pfc_status pfc_exact_momentum_update(pfc_backend *be, pfc_view k, pfc_view q, double mu)
{
    pfc_exact *ex = exact_of(be);
    for (int64_t r = 0; r < k.rows; r++) {
#pragma omp parallel for schedule(static) num_threads(be->threads) if (k.cols > PIECE)
        for (int64_t i = 0; i < k.cols; i += PIECE) {
            int64_t n = k.cols - i < PIECE ? k.cols - i : PIECE;
            ex->k->momentum(at(k, r) + i, at(q, r) + i, mu, 1.0 - mu, n);
        }
    }
    return pfc_exact_fail(be, 0, pfc_exact_environment(&ex->lane[0]));
}

pfc_status pfc_exact_positive_logits(pfc_backend *be, pfc_view q, pfc_view k, double s, pfc_view l)
{
    pfc_exact *ex = exact_of(be);
    for (int64_t i = 0; i < q.rows; i++) *at(l, i) = s * pfc_exact_dot(ex->k, at(q, i), at(k, i), q.cols);
    return pfc_exact_fail(be, 0, pfc_exact_environment(&ex->lane[0]));
}

pfc_status pfc_exact_positive_max(pfc_backend *be, pfc_view l, pfc_view max)
{
    for (int64_t i = 0; i < l.rows; i++) exact_of(be)->k->max_row(at(l, i), 1, at(max, i));
    for (int64_t i = 0; i < l.rows; i++) *at(max, i) += 0.0; /* no -0 */
    return PFC_OK;
}

pfc_status pfc_exact_positive_sum(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum)
{
    (void)be;
    for (int64_t i = 0; i < l.rows; i++) *at(sum, i) += px_exp(*at(l, i) - *at(max, i));
    return PFC_OK;
}

pfc_status pfc_exact_positive_grad(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum, double count, double s, pfc_view k, pfc_view g)
{
    pfc_exact *ex = exact_of(be);
    for (int64_t i = 0; i < l.rows; i++) {
        double p = px_exp(*at(l, i) - *at(max, i)) / *at(sum, i);
        ex->k->add_scaled(((p - 1.0) / count) * s, at(k, i), k.cols, at(g, i));
    }
    return pfc_exact_fail(be, 0, pfc_exact_environment(&ex->lane[0]));
}
