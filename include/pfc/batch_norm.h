/* batch_norm.h: batch normalisation: plain, of sub-batches, and synchronous over groups of ranks; and GroupGather.
 *
 * Sources mirrored: BatchNorm of PyTorch; SubBatchNorm3d, NaiveSyncBatchNorm3d and get_norm of SlowFast and TimeSformer (batchnorm_helper.py) with
 * GroupGather (distributed.py). Ioffe and Szegedy, ICML 2015 (arXiv:1502.03167); sub-batches and groups: Wu et al., "A Multigrid Method for
 * Efficiently Training Video Models", CVPR 2020 (arXiv:1912.00998). Formulas: semantics.md section 7 and appendix A.9.
 *
 * Letters: P ranks; n samples of this rank (they may differ from rank to rank); C channels; L elements of a channel in one sample (T*H*W); S splits;
 * G local_size, ranks of a machine; d ranks of a group. Ranks [i*G, (i+1)*G) are a machine; its sub-groups are d ranks in a row.
 *
 * Exact mode takes up to 2^24 elements of a channel: n L of one rank (all splits), and over the ranks that share statistics; more is PFC_ERR_SHAPE
 * (doc/exact-v1.md 1.5). Fast mode has no such limit.
 *
 * Tensors of shape (n, C, L) are passed as views of n*C rows and L columns: row i*C + c is channel c of sample i. Vectors of C are (C,1). */
#ifndef PFC_BATCH_NORM_H
#define PFC_BATCH_NORM_H

#include <pfc/ctx.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- GroupGather (7.5) ---- */

/* out (M,1) = sum of `in` (M,1) over the ranks of a group. num_groups 1: all local_size ranks of the machine, whatever num_sync_devices is; more: the
 * sub-group of num_sync_devices ranks this rank is in. The gradient of the sum of the group's losses goes back through the same call.
 *  in   [local in]  f32 or f64 (rounded to f32)
 *  out  [local out] pfc_ctx_real, the same on all ranks of the group
 * local_size 0: all ranks. Collective. Errors: PFC_ERR_SHAPE (unequal M; ranks not a multiple of local_size, or local_size not one of
 * num_sync_devices with more than one group), PFC_ERR_ARG (no data among them), PFC_ERR_NOMEM, PFC_ERR_RUNTIME. */
pfc_status pfc_group_gather(pfc_ctx *ctx, int64_t num_sync_devices, int64_t num_groups, int64_t local_size, pfc_view in, pfc_view out);

/* ---- the layer ---- */

typedef enum pfc_bn_kind { PFC_BN_PLAIN, PFC_BN_SUB, PFC_BN_SYNC } pfc_bn_kind;
typedef enum pfc_bn_running { PFC_BN_RUNNING_SOURCE, PFC_BN_RUNNING_BIASED, PFC_BN_RUNNING_UNBIASED } pfc_bn_running;
typedef enum pfc_bn_weighting { PFC_BN_EQUAL, PFC_BN_COUNT } pfc_bn_weighting;
typedef enum pfc_bn_variance { PFC_BN_E2, PFC_BN_TWO_PASS } pfc_bn_variance;

/* [global in] Every field must be equal on all ranks. Defaults: pfc_batch_norm_defaults. */
typedef struct pfc_batch_norm_config {
    pfc_bn_kind kind;
    int64_t channels;         /* C */
    int64_t num_splits;       /* S (sub), up to 2^24: split s is the samples i with i mod S = s (7.3) */
    int64_t num_sync_devices; /* d (sync): must divide G; 0 or less: G */
    int64_t local_size;       /* G: must divide P; 0: P. G = 1: sync does what plain does, as the source (7.6) */
    double eps;
    double momentum;            /* NaN: cumulative average, 1/(batches so far) */
    int affine;                 /* 0: weight 1 and bias 0, not to be set */
    int track_running_stats;    /* 0: no running statistics; evaluation takes those of the batch, as PyTorch does */
    pfc_bn_running running_var; /* source: unbiased for plain and sub, biased for sync (BN-1) */
    pfc_bn_weighting weighting; /* sync: every rank's mean counts the same (source), or as many times as it has elements (A.9) */
    pfc_bn_variance variance;   /* sync: mean of squares minus squared mean (source), or of squared deviations. The value is the same, without cancellation,
                                   in both modes of this library; the word says what a float32 port's bound allows for (doc/numerics.md) */
} pfc_batch_norm_config;

/* Plain, S = d = 1, G = P, eps 1e-5, momentum 0.1, affine, tracked, everything as the source. C is 0 and must be set. */
pfc_batch_norm_config pfc_batch_norm_defaults(void);

/* get_norm (7.1): "batchnorm", "sub_batchnorm" (num_splits), "sync_batchnorm" (num_sync_devices) into kind, num_splits and num_sync_devices of cfg.
 * PFC_ERR_UNSUPPORTED: another name; cfg is as it was. Local. */
pfc_status pfc_norm_select(const char *name, int64_t num_splits, int64_t num_sync_devices, pfc_batch_norm_config *cfg);
/* The choice of multigrid training (7.1), f = (global_batch / num_gpus) / bn_base_size: f < 1 sync over trunc(1/f) ranks, f > 1 sub with trunc(f)
 * splits, f = 1 plain. PFC_ERR_ARG: a size below 1. Local. */
pfc_status pfc_norm_multigrid(int64_t global_batch, int64_t num_gpus, int64_t bn_base_size, pfc_batch_norm_config *cfg);

typedef struct pfc_batch_norm pfc_batch_norm;

/* Weight 1, bias 0, means 0, variances 1, no batches. Collective; the layer keeps a pointer to ctx and, for sync, a communicator of its group.
 * Errors: PFC_ERR_ARG (the text names the field), PFC_ERR_SHAPE (groups that do not fit the ranks), PFC_ERR_NOMEM. */
pfc_status pfc_batch_norm_create(pfc_ctx *ctx, const pfc_batch_norm_config *cfg, pfc_batch_norm **out);
void pfc_batch_norm_destroy(pfc_batch_norm **bn); /* NULL-safe; before the context. Collective for sync */

/* State; views are f32 or f64, contiguous, or NULL-data to skip one. Set: kept as they are; before every forward the running statistics are rounded
 * to float32, as a port stores them, but for those that aggregate just made. Errors: PFC_ERR_SHAPE; PFC_ERR_ARG (weight or bias of a layer that is not
 * affine, split statistics of one without splits). Local. */
typedef struct pfc_batch_norm_state {
    pfc_view weight, bias;              /* (C,1) */
    pfc_view running_mean, running_var; /* (C,1); sub: the statistics of evaluation */
    pfc_view split_mean, split_var;     /* (S*C,1), sub: element s*C + c */
    int64_t num_batches_tracked;        /* set: below 0 leaves it */
} pfc_batch_norm_state;
pfc_status pfc_batch_norm_set_state(pfc_batch_norm *bn, const pfc_batch_norm_state *state);
pfc_status pfc_batch_norm_get_state(const pfc_batch_norm *bn, pfc_batch_norm_state *state);

/* aggregate_stats (7.3): running statistics from those of the splits, by the law of total variance with equal weights. Nothing for other kinds and
 * for layers that do not track. Local. Errors: PFC_ERR_NOMEM. */
pfc_status pfc_batch_norm_aggregate(pfc_batch_norm *bn);

/* y = weight (x - mean)/sqrt(var + eps) + bias. training 1: statistics of the batch, running statistics and the counter move on; 0: running ones.
 *  x  [local in]  (n*C, L) f32 or f64 (rounded to f32); y [local out] (n*C, L) pfc_ctx_real; not the same memory
 * Collective; taps `mean` and `var`, (S,C) of this rank, as used. Errors, agreed: PFC_ERR_SHAPE (rows not a multiple of C or samples of S; L not the same
 * on all ranks; one value per channel, or none, where statistics of a batch are taken, except over a group; a rank without rows in a group with equal
 * weighting; statistics of more elements than exact mode takes), PFC_ERR_NOMEM, PFC_ERR_RUNTIME; after one the running statistics and the counter have not
 * moved, and there is no forward for a backward. */
pfc_status pfc_batch_norm_forward(pfc_batch_norm *bn, pfc_view x, int training, pfc_view y);

/* Gradients of the last forward with the same x, of the sum of the losses of the ranks that share statistics (7.2, 7.3, 7.6). Views may be NULL-data,
 * each on some ranks only if need be.
 *  grad_y [local in] as x; x_grad [local out] (n*C, L), not the memory of x or grad_y; weight_grad, bias_grad [local out] (C,1), of this rank's rows;
 *  shared_weight_grad, shared_bias_grad (C,1), of the rows of all ranks that share statistics: sums of their own, the same bits on these ranks and in exact
 *  mode on any number of them; without a group as weight_grad, bias_grad; all pfc_ctx_real
 * Collective; taps `sum_g`, `sum_gx` (S,C): sums of grad_y and of grad_y*(x - mean)/sqrt(var + eps) over what shares the statistics.
 * Errors: PFC_ERR_ARG (no forward before it), PFC_ERR_SHAPE, PFC_ERR_NOMEM, PFC_ERR_RUNTIME. */
typedef struct pfc_batch_norm_result {
    pfc_view x_grad, weight_grad, bias_grad;
    pfc_view shared_weight_grad, shared_bias_grad;
} pfc_batch_norm_result;
pfc_status pfc_batch_norm_backward(pfc_batch_norm *bn, pfc_view x, pfc_view grad_y, pfc_batch_norm_result *result);

#ifdef __cplusplus
}
#endif
#endif
