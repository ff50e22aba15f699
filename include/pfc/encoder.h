/* encoder.h: a small network in front of a head: linear layers with batch normalisation, data-parallel over the ranks.
 *
 *     a_0 = x;  z_l = a_(l-1) W_l^T;  y_l = batch norm of z_l;  a_l = max(y_l, 0), but after the last layer
 *
 * Linear layers have no bias: that of the batch norm takes its place. W_l is (out,in) as PyTorch's Linear. The last layer's output goes out without ReLU,
 * and with last_norm 0 without batch norm. Every rank has all parameters and its own rows of the batch; gradients are summed over the ranks, so that after
 * an update the parameters are the same bits on all ranks. Batch norm: semantics.md section 7 (batch_norm.h); update: that of partial_fc (partial_fc.h).
 *
 *     pfc_encoder_forward(e, x, 1, y);                   y (b,out): what the head takes as its features
 *     ... a head gives grad_y (b,out) ...
 *     pfc_encoder_backward(e, grad_y, 1.0, none);        gradients of the parameters
 *     pfc_encoder_update(e, lr);
 *
 * divisor: partial_fc with xgrad_scale 1, and arcface_head, give the gradient of the mean over all rows: 1. moco and swav have a loss of each rank: P.
 *
 * In exact mode what goes from one layer to the next, and the parameters and their momentum after every update, are rounded to float32, as a port stores them.
 * With batch norm synchronous over all ranks (the default) and equally many rows on each, nothing depends on the number of ranks in exact mode, only on the
 * rows of all ranks one after the other. In fast mode the same number of ranks gives the same bits.
 *
 * Letters: P ranks; b rows of this rank (they may differ from rank to rank); in, out: width of the first layer's input, of the last layer's output; n
 * parameters. The parameters in one row, as PyTorch's parameters(): for every layer weight (out,in) row after row, then, where it has an affine batch norm,
 * that one's weight (out) and bias (out). Matrices are contiguous, in host memory. All calls are collective unless a comment says Local. */
#ifndef PFC_ENCODER_H
#define PFC_ENCODER_H

#include <pfc/batch_norm.h>
#include <pfc/checkpoint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum { PFC_ENCODER_LAYERS = 8, PFC_ENCODER_ITEMS = 9 * PFC_ENCODER_LAYERS }; /* at most */

/* [global in] Every field must be equal on all ranks. Defaults: pfc_encoder_defaults. */
typedef struct pfc_encoder_config {
    int64_t layers;                         /* linear layers, 1 to PFC_ENCODER_LAYERS */
    int64_t widths[PFC_ENCODER_LAYERS + 1]; /* of the input, of every layer's output; exact mode: up to 2^24 */
    int last_norm;                          /* 1: batch norm after the last layer, too */
    pfc_batch_norm_config norm;             /* of all layers; channels is not looked at */
    double momentum, weight_decay;          /* SGD; the decay takes all parameters, those of batch norm too */
    int nesterov;
    int64_t seed;
} pfc_encoder_config;

/* No layers yet: layers and widths must be set. last_norm 1; batch norm's defaults, but sync over all ranks; momentum 0.9, weight_decay 0, seed 0. */
pfc_encoder_config pfc_encoder_defaults(void);

typedef struct pfc_encoder pfc_encoder;

/* Weights uniform in (-1/sqrt(in), 1/sqrt(in)), in of the layer, rounded to float32, as PyTorch's Linear: a function of (seed, layer, element),
 * PFC_STREAM_ENCODER; batch norm weight 1 and bias 0; momentum 0. The encoder keeps a pointer to ctx. Errors: PFC_ERR_ARG (the text names the field), those of
 * pfc_batch_norm_create, PFC_ERR_NOMEM. */
pfc_status pfc_encoder_create(pfc_ctx *ctx, const pfc_encoder_config *cfg, pfc_encoder **out);
void pfc_encoder_destroy(pfc_encoder **encoder); /* NULL-safe; before the context. Collective */

int64_t pfc_encoder_params(const pfc_encoder *encoder); /* n. Local */

/* Parameters and gradients of the last backward, (1,n) f32 or f64, in the order above; [global in] (rounded to float32), [global out]. Setting leaves the
 * momentum and the running statistics alone; a forward that waits for its backward is gone. Local. Errors: PFC_ERR_SHAPE, PFC_ERR_ARG (no gradients yet),
 * PFC_ERR_NOMEM. */
pfc_status pfc_encoder_set_params(pfc_encoder *encoder, pfc_view params);
pfc_status pfc_encoder_get_params(pfc_encoder *encoder, pfc_view params);
pfc_status pfc_encoder_get_grads(pfc_encoder *encoder, pfc_view grads);

/* y = the network at x. The encoder keeps what a backward needs, memory for the largest b so far.
 *  x [local in] (b,in) f32 or f64 (rounded to f32); y [local out] (b,out) pfc_ctx_real
 *  training 1: statistics of the batch, running statistics move on. b = 0 where batch norm allows it.
 *  training 0: running statistics, rank 0's on all ranks, which keep them (as DDP's broadcast of buffers); sub: aggregated from the splits first. Any b, 0 too.
 * Errors: PFC_ERR_SHAPE (also: another b than batch norm takes; more than 2^24 rows of all ranks in exact mode), PFC_ERR_NOMEM, PFC_ERR_RUNTIME. */
pfc_status pfc_encoder_forward(pfc_encoder *encoder, pfc_view x, int training, pfc_view y);

/* Gradients of all parameters: the sum over the ranks of each one's gradient, divided by divisor. The last forward must have been a training one, with no
 * update since; its x need not be there any more. ReLU's derivative at 0 is 0.
 *  grad_y [local in] (b,out) f32 or f64 (rounded to f32), gradient of this rank's loss
 *  x_grad [local out] (b,in) pfc_ctx_real, not divided; NULL data: not wanted, on some ranks only if need be
 * Errors: PFC_ERR_ARG (no training forward before it; divisor is 0 or no number), PFC_ERR_SHAPE, PFC_ERR_NOMEM, PFC_ERR_RUNTIME. */
pfc_status pfc_encoder_backward(pfc_encoder *encoder, pfc_view grad_y, double divisor, pfc_view x_grad);

/* SGD: g = gradient + weight_decay w; m = momentum m + g; w -= lr m (nesterov: lr (g + momentum m)).
 * Errors: PFC_ERR_ARG (no gradients; every backward is good for one update), PFC_ERR_NOMEM, PFC_ERR_RUNTIME. */
pfc_status pfc_encoder_update(pfc_encoder *encoder, double lr);

/* ---- checkpoints ----
 *
 * The state as float32 tensors that every rank holds, copies in memory of the encoder: PREFIX.l is layer l from 0, with batch norm all but the first two, and
 * of these only what the layer has:
 *     PREFIX.l.weight, PREFIX.l.momentum                            (out,in)
 *     PREFIX.l.norm_weight, norm_weight_momentum, norm_bias, norm_bias_momentum   (out)
 *     PREFIX.l.running_mean, running_var                            (out); sub: (S,out), those of the splits. Rank 0's
 *     PREFIX.l.batches                                              (1) int64, batches tracked
 * To write: pfc_encoder_items, then pfc_checkpoint_write with them (or pfc_trainer_save with them as `more`). To read: pfc_encoder_items, pfc_checkpoint_read
 * (pfc_trainer_load), and only if that went well pfc_encoder_restore: a checkpoint that is refused has not changed the encoder. */

/* Copies the state, and appends its items to items[*count ...), of which there are max; *count moves on. The items are good until the next call and until
 * destroy. Local. Errors: PFC_ERR_ARG (no room: PFC_ENCODER_ITEMS are always enough; a prefix of more than 20 bytes), PFC_ERR_NOMEM. */
pfc_status pfc_encoder_items(pfc_encoder *encoder, const char *prefix, pfc_item *items, int max, int *count);
/* The state <- the copies. Errors: PFC_ERR_ARG (no items before it). Gradients and a forward that waits for its backward are gone. */
pfc_status pfc_encoder_restore(pfc_encoder *encoder);

#ifdef __cplusplus
}
#endif
#endif
