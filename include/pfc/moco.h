/* moco.h: momentum contrast: momentum encoder, batch shuffle, key queue, InfoNCE.
 *
 * He, Fan, Wu, Xie, Girshick, "Momentum Contrast for Unsupervised Visual Representation Learning", CVPR 2020 (arXiv:1911.05722). Sources mirrored:
 * VISSL hooks/moco_hooks.py and losses/moco_loss.py (09270ed), the original's moco/builder.py. Formulas: semantics.md section 6 and appendix A.8.
 *
 * Letters: P ranks, r this rank, b_r images on rank r (they may differ), N = sum of them, rows rank-major: rank r holds the global rows
 * [b_0 + ... + b_(r-1), ...); D width of a key, K keys in the queue, n parameters of the encoder. All views are host memory. */
#ifndef PFC_MOCO_H
#define PFC_MOCO_H

#include <pfc/ctx.h>

#ifdef __cplusplus
extern "C" {
#endif

/* ---- the batch shuffle (6.3) ----
 *
 * Row j of the shuffled batch is row permutation[j] of the batch; inverse[permutation[j]] = j. Every rank gets as many rows as it had. Rows are moved bit
 * for bit, whatever they hold: any type, NaN payloads, -0. Only rows that change rank travel; nothing is gathered. */
typedef struct pfc_moco_shuffle pfc_moco_shuffle;

/* Collective. The shuffle keeps a pointer to ctx.
 *  rows         [local in] b_r, 0 or more
 *  permutation  [global in] N row numbers, the same on all ranks; NULL: drawn from (seed, step)
 *  step         0 to 2^32 - 1
 * Drawn: the row numbers sorted by (key, row), key = pfc_uniform(seed, row, step, PFC_STREAM_SHUFFLE_KEY); every rank draws the same, no message.
 * Errors: PFC_ERR_ARG (negative rows, step out of range), PFC_ERR_SHAPE (N = 0, N >= 2^30), PFC_ERR_DATA (not a permutation, the text names the element;
 * not the same on all ranks), PFC_ERR_NOMEM. */
pfc_status pfc_moco_shuffle_create(pfc_ctx *ctx, int64_t rows, const int64_t *permutation, int64_t seed, int64_t step, pfc_moco_shuffle **out);
void pfc_moco_shuffle_destroy(pfc_moco_shuffle **shuffle); /* NULL-safe. Local */

/* N, and N numbers each, valid until destroy. Local. */
int64_t pfc_moco_shuffle_total(const pfc_moco_shuffle *shuffle);
const int64_t *pfc_moco_shuffle_permutation(const pfc_moco_shuffle *shuffle);
const int64_t *pfc_moco_shuffle_inverse(const pfc_moco_shuffle *shuffle);

/* out (b_r, m) <- this rank's rows of the shuffled batch x (b_r, m). Any element type, the same for both and on all ranks; rows may be padded; out must not
 * overlap x. Collective. Errors: PFC_ERR_SHAPE. */
pfc_status pfc_moco_shuffle_rows(const pfc_moco_shuffle *shuffle, pfc_view x, pfc_view out);
/* The way back, by the inverse permutation: unshuffle(shuffle(x)) is x. Likewise. */
pfc_status pfc_moco_unshuffle_rows(const pfc_moco_shuffle *shuffle, pfc_view x, pfc_view out);

/* ---- the momentum encoder, the loss and the queue ---- */

/* [global in] Every field must be equal on all ranks. Defaults: pfc_moco_defaults. */
typedef struct pfc_moco_config {
    int64_t num_params;     /* n; 0: no encoder, only losses */
    int64_t embedding_size; /* D */
    int64_t queue_size;     /* K */
    double momentum;        /* mu: theta_k <- mu theta_k + (1 - mu) theta_q */
    double temperature;     /* tau, 1e-100 <= |tau| <= 1e100 */
    int queue_wrap;         /* 0: K must be a multiple of N and the keys must fit at queue_ptr, as the source asserts; 1: the ring wraps (A.8) */
    int64_t seed;           /* of the initial queue and of drawn permutations */
} pfc_moco_config;

/* momentum 0.999, temperature 0.2, D 128, K 65536 as VISSL has them; queue_wrap 0, seed 0, n 0. */
pfc_moco_config pfc_moco_defaults(void);

typedef struct pfc_moco pfc_moco;

/* Collective. The object keeps a pointer to ctx. The queue, the same on all ranks (A.8; VISSL lets every rank draw its own): N(0,1) from (seed, element)
 * rounded to float32, rows normalised; queue_ptr 0; no key encoder yet. Errors: PFC_ERR_ARG (the text names the field; also where it is not the same on
 * all ranks), PFC_ERR_NOMEM. */
pfc_status pfc_moco_create(pfc_ctx *ctx, const pfc_moco_config *cfg, pfc_moco **out);
void pfc_moco_destroy(pfc_moco **moco); /* NULL-safe; before the context. Local */

/* Replace or read the state. Local; every rank must set the same. Real views f32 or f64. params_k: (1,n), set: the key encoder exists from now on, so the
 * next hook averages. queue: (K,D), one key per row; queue_ptr: 0 to K-1, the row that is written next. Views without data are skipped, as is a NULL or
 * negative queue_ptr. Reading in exact mode gives the float64 state of the last step; the next one rounds it to float32 first, as a port
 * stores it. Errors: PFC_ERR_SHAPE, PFC_ERR_ARG (queue_ptr; no key encoder to read yet), PFC_ERR_NOMEM. */
pfc_status pfc_moco_set_params(pfc_moco *moco, pfc_view params_k);
pfc_status pfc_moco_get_params(pfc_moco *moco, pfc_view params_k);
pfc_status pfc_moco_set_queue(pfc_moco *moco, pfc_view queue, int64_t queue_ptr);
pfc_status pfc_moco_get_queue(pfc_moco *moco, pfc_view queue, int64_t *queue_ptr);

/* The caller's key encoder: raw keys (b_r, D) of the images (b_r, m) under params_k (1,n). params_k and keys are contiguous and of type pfc_ctx_real.
 * Called once by every rank, so it may communicate. Returns 0, or another number: the hook fails with PFC_ERR_RUNTIME on all ranks. */
typedef int (*pfc_moco_encoder)(void *user, pfc_view params_k, pfc_view images, pfc_view keys);

/* The hook of a training step, after the query encoder's forward (6.3): the images are shuffled, the key encoder's parameters follow (first call without
 * any: a copy), the images are encoded, the keys normalised and put back in order. Collective.
 *  params_q      [global in] (1,n) f32 or f64 (rounded to f32): the query encoder's parameters now
 *  images        [local in] (b_r, m) any type; rows of the same size on all ranks if they are shuffled
 *  shuffle_batch 1: shuffle by a permutation drawn from (seed, step); 0: do not. With one rank nothing is shuffled, as in the source
 *  keys          [local out] (b_r, D) pfc_ctx_real: normalised, row i belongs to image i
 * Errors: PFC_ERR_SHAPE, PFC_ERR_ARG: the state is as it was. PFC_ERR_NOMEM, PFC_ERR_RUNTIME, also from the encoder: params_k may have moved. */
pfc_status pfc_moco_hook(pfc_moco *moco, pfc_view params_q, pfc_view images, pfc_moco_encoder encoder, void *user, int shuffle_batch, int64_t step,
                         pfc_view keys);

typedef struct pfc_moco_result {
    double loss;         /* [local out] mean over this rank's rows; 0 without rows */
    pfc_view query_grad; /* [local out] (b_r, D) pfc_ctx_real: gradient of this rank's own loss; NULL data if not wanted */
    int64_t correct;     /* [local out] this rank's rows whose positive logit is larger than every negative one (top-1): not if it equals one, not with NaN
                            among the row's logits */
} pfc_moco_result;

/* InfoNCE against the queue, then the keys of all ranks go into the queue (6.4). Collective.
 *  query [local in] (b_r, D) f32 or f64 (rounded to f32), not normalised
 *  keys  [local in] (b_r, D) f32 or f64, normalised, natural order, as the hook returns them
 * Errors: PFC_ERR_SHAPE (shapes; N = 0; N does not fit the queue with queue_wrap 0; more than 2^24 rows in exact mode), PFC_ERR_NOMEM: the state is as
 * it was. */
pfc_status pfc_moco_step(pfc_moco *moco, pfc_view query, pfc_view keys, pfc_moco_result *result);

#ifdef __cplusplus
}
#endif
#endif
