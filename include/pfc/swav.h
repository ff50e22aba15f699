/* swav.h: SwAV: prototypes, multi-crop loss, queue of earlier embeddings, learning-rate schedule.
 *
 * Caron et al., "Unsupervised Learning of Visual Features by Contrasting Cluster Assignments", NeurIPS 2020 (arXiv:2006.09882). Source mirrored:
 * swav main_swav.py, train, commit 77f7185 (v1). Formulas: semantics.md section 5, 1.1, 1.7, 1.8.
 *
 * Letters: P ranks, bs samples of this rank, V crops of every sample, A crops that are assigned, K prototypes, D width, L rows of this rank's queue. */
#ifndef PFC_SWAV_H
#define PFC_SWAV_H

#include <pfc/sinkhorn.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The source takes the logarithm of the softmax (v1: p = 0 gives -inf, and NaN gradients) or log-softmax (the other versions). */
typedef enum pfc_log_softmax { PFC_LOG_SOFTMAX_SOURCE, PFC_LOG_SOFTMAX_STABLE } pfc_log_softmax;

/* [global in] Every field must be equal on all ranks. Defaults: pfc_swav_defaults. */
typedef struct pfc_swav_config {
    int64_t num_prototypes;          /* K */
    int64_t embedding_size;          /* D */
    int64_t crops;                   /* V; 1 gives NaN, as the source's division by V-1 does */
    int64_t num_assign;              /* A */
    const int64_t *crops_for_assign; /* (A) crops in [0,V), in this order; copied */
    double temperature;              /* of the softmax over prototypes */
    pfc_sinkhorn_config sinkhorn;
    pfc_log_softmax log_softmax;
    int64_t queue_length;          /* rows of all ranks together, before rounding (pfc_swav_queue_rows); 0: no queue */
    int64_t epoch_queue_starts;    /* first epoch with a queue */
    double momentum, weight_decay; /* SGD on the prototypes (1.7) */
    int larc;                      /* 1: layer-wise rates around SGD; then weight_decay is LARC's */
    double larc_trust, larc_eps;
    int larc_clip;
    int64_t seed; /* of the initial prototypes */
} pfc_swav_config;

/* Upstream defaults (5.1): temperature 0.1, Sinkhorn's defaults, no queue, it starts at epoch 15, momentum 0.9, weight decay 1e-6, LARC with trust 0.001,
 * eps 1e-8, no clip. K, D, crops and crops_for_assign must be set. */
pfc_swav_config pfc_swav_defaults(void);

typedef struct pfc_swav pfc_swav;

/* Collective. The layer keeps a pointer to ctx. Prototypes start as normal numbers of (seed, element), momentum zero, no queue. Errors: PFC_ERR_ARG
 * (the text names the field), PFC_ERR_NOMEM. */
pfc_status pfc_swav_create(pfc_ctx *ctx, const pfc_swav_config *cfg, pfc_swav **out);
void pfc_swav_destroy(pfc_swav **layer); /* Local, NULL-safe; before the context */

/* Replace or read the replicated state, (K,D) f32 or f64, equal on all ranks; NULL data skips one. Local. In exact mode the state after a step is float64;
 * the next step rounds it to float32 first, as a port stores it. Errors: PFC_ERR_SHAPE, PFC_ERR_NOMEM. */
pfc_status pfc_swav_set_prototypes(pfc_swav *layer, pfc_view prototypes, pfc_view momentum);
pfc_status pfc_swav_get_prototypes(pfc_swav *layer, pfc_view prototypes, pfc_view momentum);

/* L = rows of one rank's queue (5.4): length less its remainder by bs*P, over P. 0: the queue is off. Local. */
int64_t pfc_swav_queue_rows(int64_t queue_length, int64_t bs, int ranks);
/* The start of an epoch (5.4): the queue's flag goes off; the queue is made, all zeros, if it is due and there is none. Collective.
 * Errors: PFC_ERR_NOMEM. */
pfc_status pfc_swav_begin_epoch(pfc_swav *layer, int64_t epoch, int64_t bs);
/* Replace or read this rank's queue, (A*L, D) f32 or f64, newest row of each first, and its flag. NULL data in set: no queue, in get: not
 * wanted. Local. Errors: PFC_ERR_SHAPE, PFC_ERR_NOMEM. */
pfc_status pfc_swav_set_queue(pfc_swav *layer, pfc_view queue, int use_the_queue);
pfc_status pfc_swav_get_queue(pfc_swav *layer, pfc_view queue, int *use_the_queue);
int64_t pfc_swav_queue_length(const pfc_swav *layer); /* L of the queue in use, 0: none. Local. */

/* What one step gives back; NULL-data views are not wanted. */
typedef struct pfc_swav_result {
    double loss;              /* [local out] of this rank's samples, not averaged over the ranks */
    pfc_view assignment;      /* [local out] (A*bs, K) pfc_ctx_real */
    pfc_view embedding_grad;  /* [local out] (V*bs, D) pfc_ctx_real: gradient of this rank's loss */
    pfc_view prototypes_grad; /* [global out] (K,D) pfc_ctx_real: averaged over the ranks (1.8); zeros if frozen */
} pfc_swav_result;

/* One iteration (5.2): projection of the prototypes, scores, assignment with queue, loss, gradients. Collective.
 *  embedding [local in] (V*bs, D) f32 or f64 (rounded to f32), row v*bs + n is crop v of sample n; not normalised
 *  frozen    [global in] 1: the prototypes get no gradient
 * Taps: scores, dscores (V*bs, K). Errors: PFC_ERR_SHAPE (rows not a multiple of V, unequal over the ranks, bs > L, sums of more than 2^24 terms in exact
 * mode), PFC_ERR_DATA (the ranks' queues have different lengths, one may have none; or they give different answers to "in use"), PFC_ERR_NOMEM,
 * PFC_ERR_RUNTIME: then the state is undefined. */
pfc_status pfc_swav_step(pfc_swav *layer, pfc_view embedding, int frozen, pfc_swav_result *result);

/* The optimiser's step on the prototypes (1.7) with the gradient of the last step. A frozen step left none: nothing moves, no decay, no momentum.
 * Local, the same on all ranks. Errors: PFC_ERR_ARG (no step before it), PFC_ERR_NOMEM. */
pfc_status pfc_swav_update(pfc_swav *layer, double lr);

/* ---- learning rate (5.7) ---- */

typedef struct pfc_lr_config {
    double base_lr, final_lr, start_warmup;
    int64_t warmup_epochs, epochs, steps_per_epoch; /* 0 <= warmup_epochs <= epochs, steps_per_epoch >= 1; the product fits int64 */
} pfc_lr_config;

/* lr (epochs*steps_per_epoch): linear warm-up from start_warmup to base_lr, both included, then half a cosine towards final_lr. Local.
 * Errors: PFC_ERR_ARG (numbers that are no schedule). */
pfc_status pfc_lr_schedule(const pfc_lr_config *cfg, double *lr);

#ifdef __cplusplus
}
#endif
#endif
