/* sinkhorn.h: assigning samples to prototypes by Sinkhorn-Knopp iterations over all ranks.
 *
 * Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS 2020 (arXiv:2006.09882), section 3.1.
 * Sources mirrored: swav main_swav.py, distributed_sinkhorn, commits 77f7185 (v1) and 9a2dc80 (v2); vissl losses/swav_loss.py (09270ed);
 * the log domain form of semantics.md A.6. Formulas: semantics.md 5.5.
 *
 * Letters: P ranks, n samples of this rank, N = n*P samples of all ranks, K prototypes. The paper's Q is (K,N); here it lies as (N,K), a sample a row. */
#ifndef PFC_SINKHORN_H
#define PFC_SINKHORN_H

#include <pfc/ctx.h>

#ifdef __cplusplus
extern "C" {
#endif

/* v1, vissl: infinities of exp and of the row factors are replaced by the largest finite value of this rank. v2: nothing is replaced; at 0 iterations it
 * gives N*Q/sum(Q) where the others give the softmax. vissl: a row sum of zero adds 1e-12 to all of Q. log: never overflows. */
typedef enum pfc_sinkhorn_version { PFC_SINKHORN_V1, PFC_SINKHORN_V2, PFC_SINKHORN_VISSL, PFC_SINKHORN_LOG } pfc_sinkhorn_version;

/* [global in] Every field must be equal on all ranks. */
typedef struct pfc_sinkhorn_config {
    double epsilon;     /* entropy of the assignment, > 0 */
    int64_t iterations; /* 0 or more */
    int stabilise;      /* 1: the largest score of all ranks is subtracted before exp; log does without and ignores it */
    pfc_sinkhorn_version version;
} pfc_sinkhorn_config;

/* epsilon 0.05, 3 iterations, stabilised, v1 (case-format.md). */
pfc_sinkhorn_config pfc_sinkhorn_defaults(void);

/* The assignment of this rank's samples. Collective.
 *  scores      [local in]  (n,K) f32 or f64 (fast mode rounds it to f32), larger is more similar
 *  assignment  [local out] (n,K) pfc_ctx_real; after one iteration or more every row sums to 1. May not overlap scores.
 * Rows may be padded (ld). Taps: row_sum_0, row_sum_1, ... (K,1), the all-reduced row sums of each iteration (log: their logarithms).
 * Errors: PFC_ERR_ARG (a field of cfg), PFC_ERR_SHAPE (unequal n or K over the ranks, nothing at all, more than 2^24 samples or prototypes in exact mode),
 * PFC_ERR_NOMEM, PFC_ERR_RUNTIME. */
pfc_status pfc_sinkhorn(pfc_ctx *ctx, const pfc_sinkhorn_config *cfg, pfc_view scores, pfc_view assignment);

#ifdef __cplusplus
}
#endif
#endif
