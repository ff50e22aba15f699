/* sinkhorn_bounds.h: Sinkhorn with a first-order error bound beside every number (doc/numerics.md section 10). Serial, fixed order, px.h only. */
#ifndef PFC_CASE_SINKHORN_BOUNDS_H
#define PFC_CASE_SINKHORN_BOUNDS_H

#include "case/precision.h"

#include <pfc/sinkhorn.h>
#include <stdbool.h>

typedef struct pfc_sinkhorn_bound {
    const pfc_sinkhorn_config *cfg;
    const pfc_precision *precision;
    bool beyond; /* errors of any size: not first order, but the exact error of sums, in logarithms */
    int ranks;
    int64_t n, N, K;                /* n samples of a rank, N of all */
    const double *scores, *escores; /* (N,K); errors NULL: none */
    double *q, *eq;                 /* (N,K) results */
    double *sums, *esums;           /* (iterations,K) results, NULL: not wanted */
    /* work */
    double *a, *eps;    /* (N,K) score/epsilon; relative error of exp of it */
    double *lost;       /* (N,K) absolute error of an element of Q by underflow */
    double *rho, *beta; /* (K) (N) relative errors of the factors of prototypes and samples; log: of f and g */
    double common;      /* beyond: the relative error of the first sum, which the first row sums take out */
    double *own;        /* (K) of one sample */
    double *f, *g, *u;  /* (K) (N) (K) */
    double *gone;       /* (K) relative error of a row sum by underflow, where it is large */
    bool open, vague;   /* an infinity that may be there or not, a sum that may be 0 or not: nothing can be said */
} pfc_sinkhorn_bound;

/* From cfg, precision, beyond, ranks, n, K, scores, escores to the results. False: out of memory. */
bool pfc_sinkhorn_bound_run(pfc_sinkhorn_bound *b);

#endif
