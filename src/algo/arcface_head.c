/* arcface_head.c: ArcFace with sub-centers: cosines, the best sub-center of each class, angular margin, softmax, gradients; classes sharded over ranks.
 *
 * Deng et al., "ArcFace", CVPR 2019 (arXiv:1801.07698), equation 3; "Sub-center ArcFace", ECCV 2020. Mirrors ArcFaceClsHead of mmpretrain (ee7f2e8).
 * Equations: semantics.md section 8 and A.1; values: doc/exact-v1.md section 8.
 *
 * P ranks, r this rank, b rows per rank, N = b*P rows in all, D width, C classes with k sub-centers each, C_r classes here. Row i, class c, sub-center j;
 * w_cj its weight, b_cj its bias; t soft or hard targets, cw class weights, lw loss_weight.
 *
 *   step                                                                            holds afterwards          moved per rank
 *   1  gather labels and features   y (N), X (N,D)                                  y, X                      8 N + 4 N D bytes
 *   2  directions                   x^ = x/|x|, block by block w^ = w/|w|           X^                        -
 *   3  cosines                      cos_ic = max_j (<x^_i, w^_cj> + b_cj)           cos, j* (N,C_r)           -
 *   4  margin, running maximum      l = s cos, at the target s phi                  l (N,C_r), max (N)        -
 *   5  softmax denominator          M = allreduce MAX, S = allreduce SUM exp(l-M)   M, S (N)                  8 N + 16 N
 *   6  targets and loss             q = cw t, T_i = sum_c q_ic, loss = lw/N sum_i sum_c q_ic (log S_i - (l_ic - M_i))
 *                                                                                   T (N), loss               32 N + 8 N
 *   7  scale of the gradient        exact mode only: one exponent per row           expo (N)                  4 N
 *   8  gradients, block by block    g = lw/N (T p - q), h = g dl/dcos at (c,j*); u_i += h w^; db = sum_i h; a = sum_i h x^, dw = a back through |w|
 *   9  feature gradient             reduce-scatter SUM u, dx = u back through |x|   dx (b,D)                  32 N D
 *
 * Bytes are those of exact mode. In fast mode M has 4 a number, what is being summed (S, T, the loss, u) has 8, and no exponents are sent.
 *
 * Evaluation ends with the logits of 4, without labels, margin and maxima. The loss is the mean over the rows of all ranks, so no factor P comes in. */
#include "algo/arcface_head.h"

#include "algo/blocks.h"
#include "algo/host_rows.h"

#include "core/exactint.h"

/* ---- blocks of classes ---- */

typedef struct block {
    int64_t c0, count, row, rows;                /* classes [c0, c0 + count): rows [row, row + rows) of the weight */
    pfc_rowset given, unit;                      /* the rows as they are, and their directions */
    pfc_view wnorm, unorm, cosine, L, winner, Z; /* wnorm: lengths of the given rows; unorm: of the unit rows */
    int32_t *uexpo;
} block;

typedef pfc_status (*block_fn)(pfc_arcface_run *s, int lane, const block *k);

static block block_at(const pfc_arcface_run *s, int lane, int64_t c0, int64_t count)
{
    int64_t rows = count * s->k, at = lane * s->lane_rows;
    block k = { c0, count, c0 * s->k, rows, { s->W, NULL, c0 * s->k, rows }, { s->U, NULL, at, rows }, { 0 }, { 0 }, { 0 }, { 0 }, { 0 }, { 0 }, NULL };
    if (!s->head->cfg.weight_norm) k.unit = k.given;
    k.wnorm = pfc_view_rows(s->wnorm, k.row, rows);
    k.unorm = pfc_view_rows(s->unorm, at, rows);
    k.uexpo = (int32_t *)s->uexpo.data + at;
    k.cosine = pfc_view_rows(s->cosine, c0, count);
    k.L = pfc_view_rows(s->L, c0, count);
    k.winner = pfc_view_rows(s->winner, c0, count);
    k.Z = pfc_view_rows(s->Z, at, rows);
    return k;
}

typedef struct job {
    pfc_arcface_run *s;
    block_fn fn;
} job;

static pfc_status run_block(void *arg, int lane, int64_t c0, int64_t count)
{
    const job *j = arg;
    block k = block_at(j->s, lane, c0, count);
    return j->fn(j->s, lane, &k);
}

/* fn over all blocks. Collective, because failure is agreed. */
static pfc_status for_blocks(pfc_arcface_run *s, block_fn fn)
{
    job j = { s, fn };
    return pfc_agree(s->ctx, pfc_for_blocks(s->ctx, s->classes, s->block_classes, run_block, &j));
}

/* ---- what happens to a block ---- */

/* 2: w^ = w / max(|w|, 1e-12) into the lane's memory, with what products need of it. */
static pfc_status directions(pfc_arcface_run *s, const block *k)
{
    if (s->head->cfg.weight_norm) {
        pfc_view given = pfc_view_rows(s->W, k->row, k->rows), unit = pfc_view_rows(s->U, k->unit.first, k->rows);
        PFC_TRY(s->ops->row_norms(s->be, k->given, k->wnorm, k->uexpo));
        PFC_TRY(s->ops->normalise(s->be, given, k->wnorm, unit));
    }
    return s->ops->row_norms(s->be, k->unit, k->unorm, k->uexpo);
}

/* 2, 3, 4: cos_ic = max_j (<x^_i, w^_cj> + b_cj); l = s phi(cos). */
static pfc_status cosine_block(pfc_arcface_run *s, int lane, const block *k)
{
    pfc_view bias = pfc_view_rows(s->bias, k->row, k->rows);
    PFC_TRY(directions(s, k));
    PFC_TRY(s->ops->cosines(s->be, lane, s->operand, k->unit, k->unorm, k->uexpo, 0, k->Z));
    PFC_TRY(s->ops->subcenter_max(s->be, lane, k->Z, bias, s->k, k->cosine, k->winner));
    return s->ops->angular_logits(s->be, lane, &s->angular, k->cosine, k->c0, &s->rows, k->L);
}

/* The logits are softmax inputs as they are: the head whose logit is its argument. */
static const pfc_head identity = { .kind = PFC_HEAD_LINEAR, .scale = 1.0 };

/* 4: max_i. */
static pfc_status max_block(pfc_arcface_run *s, int lane, const block *k) { return s->ops->row_max(s->be, lane, &identity, k->L, k->c0, &s->rows, s->sum_acc); }

/* 5: S_i += exp(l_ic - M_i). */
static pfc_status denominator_block(pfc_arcface_run *s, int lane, const block *k)
{
    return s->ops->row_sum(s->be, lane, &identity, k->L, k->c0, &s->rows, s->sum_acc);
}

/* 6: the largest terms of T and of the row loss, so that all ranks put their integers on one grid. */
static pfc_status aims_scale_block(pfc_arcface_run *s, int lane, const block *k)
{
    return s->ops->aims_expo(s->be, lane, k->L, k->c0, &s->rows, &s->aims, s->total_acc, s->loss_acc);
}

/* 6: T_i += q_ic; L_i += q_ic (log S_i - (l_ic - M_i)). */
static pfc_status aims_block(pfc_arcface_run *s, int lane, const block *k)
{
    return s->ops->aims_sum(s->be, lane, k->L, k->c0, &s->rows, &s->aims, s->total_acc, s->loss_acc);
}

/* 8: H (rows, N): h = lw/N (T p - q) dl/dcos in the row of the winning sub-center, 0 in the others. */
static pfc_status cosine_grad(pfc_arcface_run *s, int lane, const block *k, pfc_view db)
{
    return s->ops->subcenter_grad(s->be, lane, &s->angular, k->cosine, k->L, k->winner, s->k, k->c0, &s->rows, &s->aims, k->Z, db);
}

/* 7: the power of two of the largest term h_icj w^_cj of every row. */
static pfc_status scale_block(pfc_arcface_run *s, int lane, const block *k)
{
    pfc_view none = { 0 };
    PFC_TRY(directions(s, k));
    PFC_TRY(cosine_grad(s, lane, k, none));
    return s->ops->column_expo(s->be, lane, k->Z, k->uexpo, s->feature_acc);
}

/* The rows of a block for the caller. */
static pfc_status export_rows(pfc_arcface_run *s, const block *k, pfc_view from, pfc_view out)
{
    return out.data ? pfc_host_out(s->ctx, from, pfc_view_rows(out, k->row, k->rows)) : PFC_OK;
}

/* 8: u_i += sum h w^; dw from a = sum_i h x^, back through the length; db. */
static pfc_status backward_block(pfc_arcface_run *s, int lane, const block *k)
{
    int64_t at = lane * s->lane_rows;
    pfc_view none = { 0 }, dw = pfc_view_rows(s->dW, at, k->rows), db = pfc_view_rows(s->db, at, k->rows);
    if (!s->bias.data) db.data = NULL;
    PFC_TRY(directions(s, k));
    PFC_TRY(cosine_grad(s, lane, k, db));
    PFC_TRY(s->ops->feature_grad(s->be, lane, k->Z, k->unit, k->unorm, k->uexpo, 0, s->feature_acc));
    PFC_TRY(s->ops->weight_grad(s->be, lane, s->operand, k->Z, k->unit, none, none, 0, dw));
    if (s->head->cfg.weight_norm) PFC_TRY(s->ops->normalise_backward(s->be, dw, pfc_view_rows(s->U, at, k->rows), k->wnorm, dw));
    PFC_TRY(export_rows(s, k, dw, s->result->weight_grad));
    return db.data ? export_rows(s, k, db, s->result->bias_grad) : PFC_OK;
}

/* ---- the steps ---- */

/* 2: the features' directions, kept as the operand of all products. */
static pfc_status feature_directions(pfc_arcface_run *s)
{
    pfc_rowset all = { s->X, NULL, 0, s->N };
    pfc_view expo = { 0 };
    PFC_TRY(pfc_ws_view(s->ctx, PFC_I32, s->N, 1, &expo));
    pfc_status st = s->ops->row_norms(s->be, all, s->xnorm, expo.data);
    if (st == PFC_OK && s->head->cfg.feature_norm) st = s->ops->normalise(s->be, s->X, s->xnorm, s->X);
    pfc_ws_free(s->ctx, &expo);
    if (st == PFC_OK) st = pfc_matrix_make(s->ctx, s->X, &s->x);
    return st == PFC_OK ? s->ops->operand_create(s->be, s->X, s->x.norm, s->x.expo.data, &s->operand) : st;
}

/* 4, 5: M and S of every row over all classes of all ranks. */
static pfc_status softmax_statistics(pfc_arcface_run *s)
{
    PFC_TRY(for_blocks(s, max_block));
    PFC_TRY(pfc_agree(s->ctx, s->ops->row_max_fold(s->be, s->sum_acc, s->max)));
    PFC_TRY(pfc_max_over_ranks(s->ctx, s->max));
    for (int64_t n = 0; s->sum_acc->expo && n < s->N; n++) s->sum_acc->expo[n] = 0; /* exp(l - M) <= 1 */
    if (s->ops->row_sum) PFC_TRY(for_blocks(s, denominator_block));
    PFC_TRY(pfc_agree(s->ctx, s->ops->acc_fold(s->be, s->sum_acc, &s->rows)));
    PFC_TRY(pfc_comm_sum_acc(&s->ctx->comm, s->be, s->sum_acc));
    return pfc_agree(s->ctx, s->ops->acc_value(s->be, s->sum_acc, 0, s->N, s->sum));
}

/* The largest exponents over all ranks, after a pass that raised them. */
static pfc_status join_expo(pfc_arcface_run *s, pfc_acc *acc)
{
    PFC_TRY(pfc_agree(s->ctx, s->ops->acc_expo_fold(s->be, acc)));
    return pfc_comm_max(&s->ctx->comm, acc->expo, acc->rows, PFC_I32);
}

/* acc over lanes and ranks, as real (N,1) on every rank. */
static pfc_status join_sums(pfc_arcface_run *s, pfc_acc *acc, pfc_view out)
{
    PFC_TRY(pfc_agree(s->ctx, s->ops->acc_fold(s->be, acc, NULL)));
    PFC_TRY(pfc_comm_sum_acc(&s->ctx->comm, s->be, acc));
    return pfc_agree(s->ctx, s->ops->acc_value(s->be, acc, 0, s->N, out));
}

/* 6: T_i, L_i, and the loss lw/N sum_i L_i. */
static pfc_status loss(pfc_arcface_run *s)
{
    if (s->ops->aims_expo) {
        PFC_TRY(for_blocks(s, aims_scale_block));
        PFC_TRY(join_expo(s, s->total_acc));
        PFC_TRY(join_expo(s, s->loss_acc));
    }
    PFC_TRY(for_blocks(s, aims_block));
    PFC_TRY(join_sums(s, s->total_acc, s->aims.total));
    PFC_TRY(join_sums(s, s->loss_acc, s->target_logit)); /* its memory is free by now */
    PFC_TRY(pfc_agree(s->ctx, pfc_download_f64(s->ctx, s->target_logit, s->row_loss)));
    s->result->loss = s->aims.factor * pfc_scalar_sum_of(s->row_loss, s->N);
    return PFC_OK;
}

/* 9: sum over ranks, this rank's rows, back through the length (linear, so after the sum as well as before). */
static pfc_status feature_gradient(pfc_arcface_run *s)
{
    int64_t first = s->b * s->ctx->comm.rank;
    pfc_view out = s->result->x_grad, sum = { 0 };
    PFC_TRY(pfc_agree(s->ctx, s->ops->acc_fold(s->be, s->feature_acc, NULL)));
    PFC_TRY(pfc_comm_reduce_scatter_acc(&s->ctx->comm, s->be, s->feature_acc));
    if (!out.data) return PFC_OK;
    pfc_status st = pfc_ws_view(s->ctx, s->ops->real, s->b, s->D, &sum);
    if (st == PFC_OK) st = s->ops->acc_value(s->be, s->feature_acc, 0, s->b, sum);
    if (st == PFC_OK && s->head->cfg.feature_norm)
        st = s->ops->normalise_backward(s->be, sum, pfc_view_rows(s->X, first, s->b), pfc_view_rows(s->xnorm, first, s->b), sum);
    if (st == PFC_OK) st = pfc_host_out(s->ctx, sum, out);
    pfc_ws_free(s->ctx, &sum);
    return st;
}

/* The probabilities as an intermediate result. */
static pfc_status prob_block(pfc_arcface_run *s, int lane, const block *k) { return s->ops->softmax_prob(s->be, lane, k->L, &s->rows, k->L); }

/* They take the logits' place, which are then made again. */
static pfc_status logits_again(pfc_arcface_run *s, int lane, const block *k)
{
    return s->ops->angular_logits(s->be, lane, &s->angular, k->cosine, k->c0, &s->rows, k->L);
}

static pfc_status tap_prob(pfc_arcface_run *s)
{
    if (!s->ctx->tap) return PFC_OK;
    PFC_TRY(for_blocks(s, prob_block));
    PFC_TRY(pfc_arcface_tap(s->ctx, "prob", s->L));
    return for_blocks(s, logits_again);
}

pfc_status pfc_arcface_forward(pfc_arcface_run *s)
{
    PFC_TRY(pfc_agree(s->ctx, feature_directions(s))); /* 2 */
    PFC_TRY(for_blocks(s, cosine_block));              /* 2, 3, 4 */
    PFC_TRY(pfc_agree(s->ctx, pfc_arcface_download_classes(s->ctx, s->L, s->result->logits)));
    PFC_TRY(pfc_agree(s->ctx, pfc_arcface_download_classes(s->ctx, s->winner, s->result->subcenter)));
    return s->ctx->tap ? pfc_arcface_tap(s->ctx, "cosine", s->cosine) : PFC_OK;
}

pfc_status pfc_arcface_train(pfc_arcface_run *s)
{
    PFC_TRY(pfc_arcface_forward(s));
    PFC_TRY(softmax_statistics(s)); /* 4, 5 */
    PFC_TRY(loss(s));               /* 6 */
    PFC_TRY(tap_prob(s));
    if (s->ops->column_expo) { /* 7 */
        PFC_TRY(for_blocks(s, scale_block));
        PFC_TRY(join_expo(s, s->feature_acc));
    }
    PFC_TRY(for_blocks(s, backward_block)); /* 8 */
    return feature_gradient(s);             /* 9; agreed by the caller */
}
