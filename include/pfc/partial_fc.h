/* partial_fc.h: class-sharded softmax layer with sampled negatives.
 *
 * An et al., "Partial FC: Training 10 Million Identities on a Single Machine", ICCVW 2021 (arXiv:2010.05222); "Killing Two Birds with One
 * Stone", CVPR 2022 (arXiv:2203.15565). Sources mirrored: fast-reid projects/FastFace partial_fc.py (c9bc3ce), insightface
 * arcface_torch partial_fc_v2.py and losses.py (7fadd42). Formulas: semantics.md sections 2, 3.5 and appendix A.1-A.5.
 *
 * Letters: P ranks, r this rank, b rows per rank, N = b*P, D width of a feature, C classes, C_r classes of rank r (pfc_shard_of). */
#ifndef PFC_PARTIAL_FC_H
#define PFC_PARTIAL_FC_H

#include <pfc/ctx.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pfc_head_kind { PFC_HEAD_LINEAR, PFC_HEAD_COS, PFC_HEAD_ARC, PFC_HEAD_CIRCLE } pfc_head_kind;
typedef enum pfc_sample_rule { PFC_SAMPLE_SHARD, PFC_SAMPLE_GLOBAL } pfc_sample_rule;
typedef enum pfc_loss_kind { PFC_LOSS_CLAMP, PFC_LOSS_LSE } pfc_loss_kind;
typedef enum pfc_arc_gradient { PFC_ARC_EXACT, PFC_ARC_STRAIGHT_THROUGH } pfc_arc_gradient;
typedef enum pfc_arc_fallback { PFC_FALLBACK_NONE, PFC_FALLBACK_LINEAR, PFC_FALLBACK_EASY } pfc_arc_fallback;
typedef enum pfc_momentum_rule { PFC_MOMENTUM_LAZY, PFC_MOMENTUM_DENSE } pfc_momentum_rule;
typedef enum pfc_unowned { PFC_UNOWNED_SOURCE, PFC_UNOWNED_ERROR, PFC_UNOWNED_IGNORE } pfc_unowned;

/* [global in] Every field must be equal on all ranks. Defaults: pfc_partial_fc_defaults. */
typedef struct pfc_partial_fc_config {
    int64_t num_classes;    /* C */
    int64_t embedding_size; /* D */
    pfc_head_kind head;
    double scale, margin; /* s, m; radians for arc */
    double sample_rate;   /* 1 <= rate < 2: full softmax; below 1: sampling; 2 and more: PFC_ERR_ARG (2.3) */
    int64_t num_sample;   /* classes per rank (shard) or in all (global), clipped; switches sampling on; -1: not given */
    pfc_sample_rule sample_rule;
    int64_t seed, first_step;
    double lr, momentum, weight_decay;
    int nesterov;
    double xgrad_scale; /* the finished feature gradient is multiplied by it; NaN: the number of ranks, as the source does (2.7) */
    pfc_loss_kind loss;
    pfc_arc_gradient arc_gradient;
    pfc_arc_fallback arc_fallback;
    int cos_clamp;
    double interclass_threshold; /* 0: off */
    pfc_momentum_rule momentum_rule;
    pfc_unowned unowned_label;
    int recompute; /* 1: the cosines are not kept for the second pass over the classes but formed again: the same bits, more time, and no memory of N times
                    * the sampled classes of the rank; 0: kept */
} pfc_partial_fc_config;

/* Everything as case-format.md has it; head cos, scale 64, margin 0.4 as FastFace. C and D are 0 and must be set. */
pfc_partial_fc_config pfc_partial_fc_defaults(void);

typedef struct pfc_partial_fc pfc_partial_fc;

/* Collective. The layer keeps a pointer to ctx. Errors: PFC_ERR_ARG (the text names the field), PFC_ERR_NOMEM. Weights N(0, 0.01^2) from (cfg->seed,
 * global element), the same for every number of ranks; momentum zero. */
pfc_status pfc_partial_fc_create(pfc_ctx *ctx, const pfc_partial_fc_config *cfg, pfc_partial_fc **out);
/* NULL-safe; before the context. Local, except that it waits for the gather of a step that was started and not finished. */
void pfc_partial_fc_destroy(pfc_partial_fc **layer);

/* Replace or read rows of the state, in global class order. Local: every rank passes its own C_r rows, or NULL-data views to skip one.
 * weight, momentum: (C_r, D), f32 or f64. Reading in exact mode gives the float64 state of the last step; the next step
 * rounds it to float32 first, as a port stores it. Errors: PFC_ERR_SHAPE (another shape or type), PFC_ERR_NOMEM. */
pfc_status pfc_partial_fc_set_state(pfc_partial_fc *layer, pfc_view weight, pfc_view momentum);
pfc_status pfc_partial_fc_get_state(pfc_partial_fc *layer, pfc_view weight, pfc_view momentum);

/* Learning rate of the next steps. Local: every rank sets the same. */
void pfc_partial_fc_set_lr(pfc_partial_fc *layer, double lr);
/* How many steps the layer has done: with weight and momentum all of its state, as the sampling keys of the next step come from first_step + steps. Setting
 * it (0 or more) is for a layer that goes on where another one was. Local: every rank sets the same. */
int64_t pfc_partial_fc_steps(const pfc_partial_fc *layer);
void pfc_partial_fc_set_steps(pfc_partial_fc *layer, int64_t steps);

/* What one step gives back. Every pointer is caller-owned and may be NULL-data if not wanted. */
typedef struct pfc_partial_fc_result {
    double loss;          /* [global out] the same on all ranks; mean over the rows of all ranks */
    pfc_view x_grad;      /* [local out] (b, D) pfc_ctx_real: gradient of this rank's features, times xgrad_scale */
    pfc_view weight_grad; /* [local out] (C_r, D) pfc_ctx_real: before weight decay, zero rows where not sampled */
    pfc_view sampled;     /* [local out] (C_r, 1) i64: 0 or 1 */
} pfc_partial_fc_result;

/* One training step: sampling, forward, loss, backward, SGD on the sampled rows. Collective.
 *  features    [local in] (b, D) f32 or f64 (rounded to f32), not normalised
 *  labels      [local in] (b, 1) i64, global class ids; never written (the source aliases them at P = 1: PFC-1)
 *  sample_keys [local in] (C_r, 1) f64 in [0,1), or NULL data: drawn from (seed, first_step + steps done, global class)
 * Rows may be padded (ld). Errors: PFC_ERR_ARG (labels not one column of int64), PFC_ERR_SHAPE (unequal b, b = 0, N > 2^24 in exact mode, other shapes
 * or types), PFC_ERR_DATA (unowned label under PFC_UNOWNED_ERROR or with loss lse under source; a key outside [0,1)), PFC_ERR_NOMEM: the state is as it was.
 * PFC_ERR_RUNTIME, and PFC_ERR_NOMEM from the middle of a step: state and results are undefined. */
pfc_status pfc_partial_fc_step(pfc_partial_fc *layer, pfc_view features, pfc_view labels, pfc_view sample_keys, pfc_partial_fc_result *result);

/* The same step in two halves: start posts the gather of the labels and returns; the caller may compute its features meanwhile; finish
 * does the rest. Both collective; labels must stay unchanged between them. Errors: as pfc_partial_fc_step, and PFC_ERR_ARG: a step is started already, or
 * none is. */
pfc_status pfc_partial_fc_start(pfc_partial_fc *layer, pfc_view labels);
pfc_status pfc_partial_fc_finish(pfc_partial_fc *layer, pfc_view features, pfc_view sample_keys, pfc_partial_fc_result *result);

#ifdef __cplusplus
}
#endif
#endif
