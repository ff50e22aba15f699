/* fast_sinkhorn.h (internal): a Sinkhorn run of fast mode, in its two forms (fast_sinkhorn.c, fast_sinkhorn_wide.c). */
#ifndef PFC_CPU_FAST_SINKHORN_H
#define PFC_CPU_FAST_SINKHORN_H

#include "backend/cpu/fast.h"

/* Where every exp(a - shift) is a normal float32, and nothing is infinite, Q_jk is e_jk r_k b_j: e stays, only the factors change.
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
