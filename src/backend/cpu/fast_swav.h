/* fast_swav.h (internal): entries of the fast cpu tables for sinkhorn and swav (fast_sinkhorn.c, fast_swav.c; backend.h has their meaning). */
#ifndef PFC_CPU_FAST_SWAV_H
#define PFC_CPU_FAST_SWAV_H

#include "backend/cpu/fast.h"

pfc_status pfc_fast_sinkhorn_create(pfc_backend *be, const pfc_sinkhorn_config *cfg, double total, pfc_view scores, pfc_view q, double extremes[2],
                                    pfc_sinkhorn_plan **out);
void pfc_fast_sinkhorn_destroy(pfc_backend *be, pfc_sinkhorn_plan *plan);
pfc_status pfc_fast_sinkhorn_exp(pfc_backend *be, pfc_sinkhorn_plan *plan, const double extremes[2]);
pfc_status pfc_fast_sinkhorn_own_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, double *sums);
pfc_status pfc_fast_sinkhorn_divide(pfc_backend *be, pfc_sinkhorn_plan *plan, double t);
pfc_status pfc_fast_sinkhorn_add(pfc_backend *be, pfc_sinkhorn_plan *plan, double x);
pfc_status pfc_fast_sinkhorn_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, const double *sums);
pfc_status pfc_fast_sinkhorn_finish(pfc_backend *be, pfc_sinkhorn_plan *plan);
pfc_status pfc_fast_sinkhorn_log_max(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max);
pfc_status pfc_fast_sinkhorn_log_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, pfc_acc *acc);
pfc_status pfc_fast_sinkhorn_log_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, const pfc_acc *acc, double *log_sums);
pfc_status pfc_fast_copy_rows(pfc_backend *be, pfc_view from, pfc_view to);
pfc_status pfc_fast_zero(pfc_backend *be, pfc_view to);
pfc_status pfc_fast_divide(pfc_backend *be, pfc_view a, double d);
pfc_status pfc_fast_scale(pfc_backend *be, pfc_view out, double factor);
pfc_status pfc_fast_swav_row_loss(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, double *row);
pfc_status pfc_fast_swav_dlogits(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, int first, pfc_view out);
pfc_status pfc_fast_decay_scale(pfc_backend *be, pfc_view g, pfc_view w, double decay, double factor);

/* A Sinkhorn run. Where every exp(a - shift) is a normal float32, and nothing is infinite, Q_jk is e_jk r_k b_j: e stays, only the factors change.
 * Otherwise ("wide") Q is a matrix of doubles, worked on as published, so that what overflows and vanishes in float64 does so here. */
struct pfc_sinkhorn_plan {
    pfc_sinkhorn_config cfg;
    double total;      /* N */
    pfc_view scores;   /* (n,K) */
    pfc_view q;        /* (n,K): e; log: score/epsilon */
    float *r, *g;      /* (K) [16]: factors; log: f and, (n), g */
    float *part;       /* (lanes, K) [16]: running sums, or maxima, of a lane */
    int lanes;         /* parts of the samples */
    int64_t ld;        /* of part */
    bool summed;       /* part holds the row sums of Q as it is, without r and unit */
    double shift;      /* m: e = exp(score/epsilon - m) */
    double unit;       /* what e is multiplied by before the first scaling, for Q; then 1 */
    int64_t iteration; /* scalings done */
    double *wide;      /* (n,K) or NULL */
};

/* The same operations on plan->wide (fast_sinkhorn_wide.c). */
pfc_status pfc_fast_wide_exp(pfc_backend *be, pfc_sinkhorn_plan *plan, double shift);
pfc_status pfc_fast_wide_sums(pfc_backend *be, const pfc_sinkhorn_plan *plan, double *sums); /* (K+1) */
void pfc_fast_wide_each(pfc_backend *be, pfc_sinkhorn_plan *plan, double divisor, double add);
pfc_status pfc_fast_wide_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, const double *sums);
void pfc_fast_wide_finish(pfc_backend *be, pfc_sinkhorn_plan *plan);

#endif
