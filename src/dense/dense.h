/* dense.h: the textbook equations, serial, in double: the tests' second opinion.
 *
 * Whole matrices, plain loops, libm; no MPI call, no backend, no threads, no integers. Nothing here is shared with exact mode but the
 * keys of the random numbers and the shard rule. Written to be read next to semantics.md. */
#ifndef PFC_DENSE_H
#define PFC_DENSE_H

#include <pfc/partial_fc.h>
#include <stdbool.h>

/* PartialFC on P imagined ranks (sections 2, 3.5, A.1-A.5). Letters: N rows, D width, C classes. All matrices are row-major.
 * The arrays below belong to the object and hold the results of the last step. */
typedef struct pfc_dense_partial_fc {
    pfc_partial_fc_config cfg;
    int ranks; /* P: only the shards of sampling and the default of xgrad_scale depend on it */
    int64_t n, d, c;
    int64_t steps; /* done so far */

    double *weight, *momentum; /* (C,D) state; zero at first, the caller fills them */

    double *keys;              /* (C) sample keys */
    int64_t *sampled;          /* (C) 0 or 1 */
    double *xhat, *what;       /* (N,D) (C,D) normalised vectors; head linear: copies */
    double *xnorm, *wnorm;     /* (N) (C) lengths */
    double *cosine;            /* (N,C) z, before any clamp; NaN where the class is not sampled, as in the next two */
    double *logits, *slope;    /* (N,C) l and dl/dz */
    double *row_max, *row_sum; /* (N) M_i and S_i */
    double *prob_target;       /* (N) a_i */
    double *dlogits;           /* (N,C) G = (p - onehot)/n */
    double loss;
    double *x_grad;      /* (N,D) times xgrad_scale */
    double *weight_grad; /* (C,D) before weight decay, zero rows where not sampled */

    struct pfc_dense_candidate *candidates; /* (C) room to sort the keys */
} pfc_dense_partial_fc;

/* NULL: out of memory. Local, as everything here. */
pfc_dense_partial_fc *pfc_dense_partial_fc_new(const pfc_partial_fc_config *cfg, int ranks, int64_t rows);
void pfc_dense_partial_fc_free(pfc_dense_partial_fc *p); /* NULL-safe */

/* One training step. x (N,D), labels (N), keys (C) or NULL for own keys. Before every step but the first the state is rounded to
 * float32. False: a label nobody owns where the configuration refuses it; nothing was changed. */
bool pfc_dense_partial_fc_step(pfc_dense_partial_fc *p, const double *x, const int64_t *labels, const double *keys);

/* Steps of it, in the order they run, for tests that look at one of them. */
void pfc_dense_partial_fc_sample(pfc_dense_partial_fc *p, const int64_t *labels, const double *keys);
/* Logit and slope of one element. */
void pfc_dense_partial_fc_head(const pfc_partial_fc_config *cfg, double z, bool target, double *logit, double *slope);

#endif
