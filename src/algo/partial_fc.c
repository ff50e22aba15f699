/* partial_fc.c: one training step of PartialFC: a softmax layer whose class centres are sharded over the ranks.
 *
 * An et al., "Partial FC", ICCVW 2021 (arXiv:2010.05222) and CVPR 2022 (arXiv:2203.15565). Mirrors PartialFC.forward_backward of fast-reid
 * (projects/FastFace, c9bc3ce) and PartialFC_V2 of insightface (7fadd42). Equations: semantics.md 2.4-2.8; values: doc/exact-v1.md section 3.
 *
 * P ranks, r this rank, b rows per rank, N = b*P rows in all, D width, C classes, C_r of them here, n_r of these sampled. Row n, class c, y_n its label;
 * x^ = x/|x|, w^ = w/|w|; [A] is 1 where A holds, else 0.
 *
 *   step                                                                          holds afterwards            moved per rank
 *   1  gather labels            y (N)                                             y (N)                       8 N bytes
 *   2  sample classes           positives, then largest keys                      index (n_r), target (N)     16 KiB x 7 (rule global)
 *   3  gather features          X (N,D), on its way during 2                      X (N,D)                     4 N D
 *   4  norms, cosines           z_nc = <x^_n, w^_c>                               Z (N,n_r)                   -
 *   5  margin, running maximum  l_nc, by the head                                 max (N)                     -
 *   6  softmax denominator      M = allreduce MAX, S = allreduce SUM exp(l-M)     M, S (N)                    8 N + 16 N
 *   7  loss                     -mean log p_n,y, allreduce SUM of p_n,y           loss                        8 N, loss=lse 8 N more
 *   8  scale of the gradient    exact mode only: one exponent per row             expo (2N)                   8 N
 *   9  gradients, block by block: g_nc = (p_nc - [c = y_n])/N, h = g dl/dz; u_n += h w^_c, t_n += h z; a_c = sum_n h x^_n, dw_c = a_c back through
 *      |w_c|; SGD moves w_c. Where the backend has weight_update and the caller does not ask for dw, a row moves as soon as its gradient is known
 *   10 feature gradient         reduce-scatter SUM u, t; dx = u back through |x|  dx (b,D)                    32 N D + 16 N
 *   11 dense rule               rows that were not sampled decay as well
 *
 * Bytes are those of exact mode. In fast mode M has 4 a number, and what is being summed (S, u, t) has 8.
 *
 * The class loop runs in blocks that fit in cache; Z is all that is kept of a block between its two or four visits. With config.recompute not even Z: a
 * lane has room for one block's cosines and forms them again at every visit. In memory Z and a block's h lie class by class, as (classes, N). */
#include "algo/partial_fc.h"

#include "algo/blocks.h"
#include "algo/host_rows.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- blocks of classes ---- */

typedef struct block {
    int64_t c0, count; /* sampled positions [c0, c0 + count) */
    pfc_rowset w;
    pfc_view wnorm, z;
    int32_t *wexpo;
} block;

static block block_at(const pfc_step *s, int lane, int64_t c0, int64_t count)
{
    block k = { c0, count, { s->layer->weight, s->index ? s->index + c0 : NULL, c0, count }, { 0 }, { 0 }, NULL };
    k.wnorm = pfc_view_rows(s->wnorm, c0, count);
    k.wexpo = (int32_t *)s->wexpo.data + c0;
    k.z = pfc_view_rows(s->Z, s->layer->cfg.recompute ? lane * s->lane_rows : c0, count);
    return k;
}

static pfc_status cosines(pfc_step *s, int lane, const block *k)
{
    return s->ops->cosines(s->be, lane, s->operand, k->w, k->wnorm, k->wexpo, s->layer->head.normalised, k->z);
}

/* The cosines of a block that was visited before: stored, or formed again from the same numbers. */
static pfc_status cosines_again(pfc_step *s, int lane, const block *k) { return s->layer->cfg.recompute ? cosines(s, lane, k) : PFC_OK; }

pfc_status pfc_partial_fc_cosines(pfc_step *s, int64_t c0, int64_t count, pfc_view *z)
{
    block k = block_at(s, 0, c0, count);
    *z = k.z;
    return cosines_again(s, 0, &k);
}

typedef pfc_status (*block_fn)(pfc_step *s, int lane, const block *k);

typedef struct job {
    pfc_step *s;
    block_fn fn;
} job;

/* The classes from c0 on are next: the backend may fetch their rows meanwhile. */
static void announce(const pfc_step *s, int lane, int64_t c0, int64_t count)
{
    int64_t left = s->sampled.count - c0;
    if (s->ops->rows_ahead) s->ops->rows_ahead(s->be, lane, block_at(s, lane, c0, left < count ? left : count).w);
}

static pfc_status run_block(void *arg, int lane, int64_t c0, int64_t count)
{
    const job *j = arg;
    block k = block_at(j->s, lane, c0, count);
    announce(j->s, lane, c0 + count, count);
    return j->fn(j->s, lane, &k);
}

/* fn over all blocks. Collective, because failure is agreed. */
static pfc_status for_blocks(pfc_step *s, block_fn fn)
{
    job j = { s, fn };
    return pfc_agree(s->ctx, pfc_for_blocks(s->ctx, s->sampled.count, s->ops->block_classes, run_block, &j));
}

/* ---- what happens to a block ---- */

/* The block's rows of weights or momentum as a port stores them, rounded when a block is first met: one pass over memory less. A sampled step rounds the
 * rows of all classes before it begins. */
static pfc_status round_rows(pfc_step *s, pfc_view state, const block *k)
{
    return s->sampled.index ? PFC_OK : s->ops->round_state(s->be, pfc_view_rows(state, k->c0, k->count));
}

/* 4, 5: z_nc = <x^_n, w^_c>; l_nc; max_n. */
static pfc_status forward_block(pfc_step *s, int lane, const block *k)
{
    PFC_TRY(round_rows(s, s->layer->weight, k));
    PFC_TRY(s->ops->row_norms(s->be, k->w, k->wnorm, k->wexpo));
    PFC_TRY(cosines(s, lane, k));
    return s->ops->row_max(s->be, lane, &s->layer->head, k->z, k->c0, &s->rows, s->sum_acc);
}

/* 6: S_n += exp(l_nc - M_n). */
static pfc_status denominator_block(pfc_step *s, int lane, const block *k)
{
    PFC_TRY(cosines_again(s, lane, k));
    return s->ops->row_sum(s->be, lane, &s->layer->head, k->z, k->c0, &s->rows, s->sum_acc);
}

/* 8: the powers of two of the largest terms h_nc w^_c and h_nc z_nc of every row, so that all ranks put their integers on one grid. */
static pfc_status scale_block(pfc_step *s, int lane, const block *k)
{
    PFC_TRY(cosines_again(s, lane, k));
    return s->ops->grad_expo(s->be, lane, &s->layer->head, k->z, k->c0, &s->rows, k->wnorm, k->wexpo, s->feature_acc, s->dot_acc);
}

/* The gradient rows of a block for the caller, at their place among this rank's classes. */
static pfc_status export_weight_grad(pfc_step *s, const block *k, pfc_view dw)
{
    pfc_view out = s->result->weight_grad;
    if (!out.data) return PFC_OK;
    if (!s->sampled.index) return pfc_host_out(s->ctx, dw, pfc_view_rows(out, k->c0, k->count));
    for (int64_t i = 0; i < k->count; i++) PFC_TRY(pfc_host_out(s->ctx, pfc_view_rows(dw, i, 1), pfc_view_rows(out, s->sampled.index[k->c0 + i], 1)));
    return PFC_OK;
}

/* 9: h_nc = (p_nc - [c = y_n])/N dl/dz; u_n += h w^_c, t_n += h z; dw_c from a_c = sum_n h x^_n; momentum and weights. */
static pfc_status backward_block(pfc_step *s, int lane, const block *k)
{
    const pfc_head *head = &s->layer->head;
    int64_t at = lane * s->lane_rows;
    pfc_view h = pfc_view_rows(s->H, at, k->count), wdot = pfc_view_rows(s->wdot, at, k->count);
    PFC_TRY(cosines_again(s, lane, k));
    PFC_TRY(s->ops->logit_grad(s->be, lane, head, k->z, k->c0, &s->rows, h, s->dot_acc, wdot));
    PFC_TRY(s->ops->feature_grad(s->be, lane, h, k->w, k->wnorm, k->wexpo, head->normalised, s->feature_acc));
    PFC_TRY(round_rows(s, s->layer->momentum, k));
    if (pfc_partial_fc_fused(s)) return s->ops->weight_update(s->be, lane, s->operand, h, k->w, k->wnorm, wdot, head->normalised, s->layer->momentum, s->sgd);
    pfc_view dw = pfc_view_rows(s->dW, at, k->count);
    PFC_TRY(s->ops->weight_grad(s->be, lane, s->operand, h, k->w, k->wnorm, wdot, head->normalised, dw));
    PFC_TRY(export_weight_grad(s, k, dw));
    return s->ops->sgd_rows(s->be, dw, k->w, s->layer->momentum, s->sgd);
}

/* ---- the steps ---- */

/* A dropped row takes no part, not even with a NaN: it counts as a row of zeros. */
static void clear_dropped(const pfc_step *s, float *x)
{
    for (int64_t i = 0; i < s->N; i++) {
        bool finite = true;
        for (int64_t j = 0; !s->valid_host[i] && j < s->D; j++) finite = finite && isfinite(x[i * s->D + j]);
        if (!finite) memset(x + i * s->D, 0, (size_t)s->D * sizeof *x);
    }
}

/* 3, first half: this rank's rows set out. Their gather runs while the classes are sampled. */
pfc_status pfc_partial_fc_gather_start(pfc_step *s, pfc_view features)
{
    size_t n = (size_t)(s->N * s->D), part = (size_t)(s->b * s->D);
    s->mine = malloc((part + n) * sizeof *s->mine + 8);
    PFC_TRY(pfc_agree(s->ctx, s->mine ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory")));
    for (int64_t i = 0; i < s->b; i++)
        for (int64_t j = 0; j < s->D; j++) {
            int64_t from = i * features.ld + j;
            s->mine[i * s->D + j] = features.dtype == PFC_F64 ? (float)((const double *)features.data)[from] : ((const float *)features.data)[from];
        }
    return pfc_comm_allgather_start(&s->ctx->comm, s->mine, s->b * s->D, PFC_F32, s->mine + part, &s->gather);
}

/* 3, second half: X (N,D) on every rank, in the backend's storage. */
static pfc_status gather_features(pfc_step *s)
{
    size_t n = (size_t)(s->N * s->D), size = pfc_dtype_size(s->ops->real);
    float *all = s->mine + s->b * s->D;
    PFC_TRY(pfc_comm_wait(&s->ctx->comm, &s->gather));
    clear_dropped(s, all);
    if (s->ops->real == PFC_F32) return s->ops->upload(s->be, s->X.data, all, n * size);
    double *host = malloc(n * size + 8);
    if (!host) return pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) host[i] = (double)all[i];
    pfc_status st = s->ops->upload(s->be, s->X.data, host, n * size);
    free(host);
    return st;
}

/* 6: M and S of every row over all classes of all ranks. */
static pfc_status softmax_statistics(pfc_step *s)
{
    PFC_TRY(pfc_agree(s->ctx, s->ops->row_max_fold(s->be, s->sum_acc, s->max)));
    PFC_TRY(pfc_max_over_ranks(s->ctx, s->max));
    for (int64_t n = 0; s->sum_acc->expo && n < s->N; n++) s->sum_acc->expo[n] = 0; /* exp(l - M) <= 1 */
    if (s->ops->row_sum) PFC_TRY(for_blocks(s, denominator_block));
    PFC_TRY(pfc_agree(s->ctx, s->ops->acc_fold(s->be, s->sum_acc, &s->rows)));
    PFC_TRY(pfc_comm_sum_acc(&s->ctx->comm, s->be, s->sum_acc));
    return pfc_agree(s->ctx, s->ops->acc_value(s->be, s->sum_acc, 0, s->N, s->sum));
}

/* 7: the rank that owns the target knows p (and l - M); the others add 0. */
static pfc_status loss(pfc_step *s)
{
    const pfc_partial_fc_config *cfg = &s->layer->cfg;
    bool lse = cfg->loss == PFC_LOSS_LSE;
    double *max = s->shifted + s->N;
    pfc_status st = s->ops->target_prob(s->be, &s->rows, s->N, s->prob);
    if (st == PFC_OK) st = pfc_download_f64(s->ctx, s->sum, s->sum_host);
    if (st == PFC_OK && lse) st = pfc_download_f64(s->ctx, s->target_logit, s->shifted);
    if (st == PFC_OK && lse) st = pfc_download_f64(s->ctx, s->max, max);
    PFC_TRY(pfc_agree(s->ctx, st));
    PFC_TRY(pfc_comm_sum(&s->ctx->comm, s->prob, s->N, PFC_F64));
    for (int64_t n = 0; lse && n < s->N; n++) s->shifted[n] = s->sampled.target[n] >= 0 ? s->shifted[n] - max[n] : 0.0;
    if (lse) PFC_TRY(pfc_comm_sum(&s->ctx->comm, s->shifted, s->N, PFC_F64));
    s->result->loss = s->ops->mean_loss(cfg->loss, s->prob, s->sum_host, lse ? s->shifted : NULL, s->valid_host, s->N, s->rows.n);
    return PFC_OK;
}

/* 8: the largest exponents of all ranks. */
static pfc_status gradient_scale(pfc_step *s)
{
    if (!s->ops->grad_expo) return PFC_OK;
    PFC_TRY(for_blocks(s, scale_block));
    pfc_status st = s->ops->acc_expo_fold(s->be, s->feature_acc);
    if (st == PFC_OK) st = s->ops->acc_expo_fold(s->be, s->dot_acc);
    PFC_TRY(pfc_agree(s->ctx, st));
    PFC_TRY(pfc_comm_max(&s->ctx->comm, s->feature_acc->expo, s->N, PFC_I32));
    return pfc_comm_max(&s->ctx->comm, s->dot_acc->expo, s->N, PFC_I32);
}

/* The feature gradient of this rank's rows for the caller; 0 where the row was dropped. */
static pfc_status export_x_grad(pfc_step *s, pfc_view x_grad, int64_t first)
{
    pfc_view out = s->result->x_grad;
    PFC_TRY(pfc_host_out(s->ctx, x_grad, out));
    for (int64_t i = 0; i < s->b; i++)
        if (!s->valid_host[first + i]) memset(pfc_view_rows(out, i, 1).data, 0, (size_t)s->D * pfc_dtype_size(out.dtype));
    return PFC_OK;
}

/* 10: u and t over ranks, rows of this rank; dx_n = (u_n - t_n x^_n)/|x_n| (linear, so after the sum as well as before), times xgrad_scale. */
static pfc_status feature_gradient(pfc_step *s)
{
    const pfc_ops *ops = s->ops;
    int64_t first = s->b * s->ctx->comm.rank;
    double scale = s->layer->cfg.xgrad_scale;
    pfc_view sum = { 0 }, dot = { 0 }, out = { 0 };
    pfc_status st = ops->acc_fold(s->be, s->feature_acc, NULL);
    if (st == PFC_OK) st = ops->acc_fold(s->be, s->dot_acc, NULL);
    PFC_TRY(pfc_agree(s->ctx, st));
    PFC_TRY(pfc_comm_reduce_scatter_acc(&s->ctx->comm, s->be, s->feature_acc));
    PFC_TRY(pfc_comm_reduce_scatter_acc(&s->ctx->comm, s->be, s->dot_acc));
    if (!s->result->x_grad.data) return PFC_OK;
    st = pfc_ws_view(s->ctx, ops->real, s->b, s->D, &sum);
    if (st == PFC_OK) st = pfc_ws_view(s->ctx, ops->real, s->b, s->D, &out);
    if (st == PFC_OK) st = pfc_ws_view(s->ctx, ops->real, s->b, 1, &dot);
    if (st == PFC_OK) st = ops->acc_value(s->be, s->feature_acc, 0, s->b, sum);
    if (st == PFC_OK) st = ops->acc_value(s->be, s->dot_acc, 0, s->b, dot);
    if (st == PFC_OK)
        st = ops->feature_grad_finish(s->be, sum, dot, pfc_view_rows(s->X, first, s->b), pfc_view_rows(s->xnorm, first, s->b), s->layer->head.normalised,
                                      isnan(scale) ? (double)s->ctx->comm.ranks : scale, out);
    if (st == PFC_OK) st = export_x_grad(s, out, first);
    pfc_ws_free(s->ctx, &sum);
    pfc_ws_free(s->ctx, &out);
    pfc_ws_free(s->ctx, &dot);
    return st;
}

/* 11: the dense rule moves the rows that were not sampled as well, with gradient zero. */
static pfc_status dense_rule(pfc_step *s)
{
    pfc_partial_fc *layer = s->layer;
    pfc_view none = { 0 };
    if (layer->cfg.momentum_rule != PFC_MOMENTUM_DENSE || !s->sampled.index) return PFC_OK;
    for (int64_t c = 0, next = 0; c <= layer->shard.count; c++) {
        bool here = c < layer->shard.count && !(next < s->sampled.count && s->sampled.index[next] == c);
        if (here) {
            pfc_rowset row = { layer->weight, NULL, c, 1 };
            PFC_TRY(s->ops->sgd_rows(s->be, none, row, layer->momentum, s->sgd));
        } else {
            next++;
        }
    }
    return PFC_OK;
}

static void export_sampled(pfc_step *s)
{
    pfc_view out = s->result->sampled;
    int64_t *flag = out.data;
    if (!flag) return;
    for (int64_t c = 0; c < s->layer->shard.count; c++) flag[c * out.ld] = s->sampled.index == NULL;
    for (int64_t i = 0; s->sampled.index && i < s->sampled.count; i++) flag[s->sampled.index[i] * out.ld] = 1;
}

/* Weight gradients of rows that were not sampled are zero. */
static void clear_weight_grad(pfc_step *s)
{
    pfc_view out = s->result->weight_grad;
    for (int64_t c = 0; out.data && c < s->layer->shard.count; c++)
        memset((char *)out.data + (size_t)(c * out.ld) * pfc_dtype_size(out.dtype), 0, (size_t)s->D * pfc_dtype_size(out.dtype));
}

pfc_status pfc_partial_fc_run_step(pfc_step *s)
{
    const pfc_ops *ops = s->ops;
    pfc_rowset x = { s->X, NULL, 0, s->N };
    pfc_status st = gather_features(s); /* 3 */
    if (st == PFC_OK) st = ops->row_norms(s->be, x, s->xnorm, s->xexpo.data);
    if (st == PFC_OK) st = ops->operand_create(s->be, s->X, s->xnorm, s->xexpo.data, &s->operand);
    PFC_TRY(pfc_agree(s->ctx, st));

    PFC_TRY(for_blocks(s, forward_block)); /* 4, 5 */
    PFC_TRY(softmax_statistics(s));        /* 6 */
    PFC_TRY(loss(s));                      /* 7 */
    PFC_TRY(pfc_partial_fc_taps(s));

    PFC_TRY(gradient_scale(s)); /* 8 */
    export_sampled(s);
    clear_weight_grad(s);
    PFC_TRY(for_blocks(s, backward_block)); /* 9 */
    st = feature_gradient(s);               /* 10 */
    if (st == PFC_OK) st = dense_rule(s);   /* 11 */
    return st;                              /* agreed by pfc_partial_fc_finish */
}
