/* moco.c: the loss of momentum contrast, InfoNCE against a queue of keys, its gradient, and the queue.
 *
 * He et al., CVPR 2020 (arXiv:1911.05722), equation 1 and algorithm 1. Mirrors VISSL losses/moco_loss.py MoCoLoss.forward (09270ed); equations:
 * semantics.md 6.4, A.8; values: doc/exact-v1.md section 6. moco_hook.c makes the keys.
 *
 * P ranks, r this rank, b rows on it, N rows in all, D width, tau temperature; queue U (K,D), the same on every rank, u_j its rows, ptr the row written
 * next.
 *
 *   step                                                                           holds afterwards            moved per rank
 *   1  queries             q_n = x_n / max(|x_n|, 1e-12)                           q (b,D)                     -
 *   2  positive            l_n0 = <q_n, k_n> / tau                                 l_0 (b)                     -
 *   3  negatives           l_nj = <q_n, u_j> / tau, j = 1..K                       Z = U q^T (K,b)             -
 *   4  softmax             M_n = max_j l_nj, S_n = sum_j exp(l_nj - M_n), j >= 0   M, S (b)                    -
 *      correct             rows with l_n0 > max_j l_nj, j >= 1                     a count                     -
 *   5  loss                mean of log S_n - (l_n0 - M_n) over own rows            loss                        -
 *   6  gradient            g_n = (1/(b tau)) ((p_n0 - 1) k_n + sum_j p_nj u_j)     g (b,D)                     -
 *   7  queries' gradient   back through the normalisation                          dx (b,D)                    -
 *   8  gather the keys     k of all ranks, rank-major                              k (N,D)                     8 N D exact, 4 N D fast
 *   9  enqueue             rows ptr, ptr + 1, ... of the ring <- k; ptr += N       U (K,D)                     -
 *
 * The negatives are a linear softmax layer whose classes are the queue's keys and in which no row has a target: steps 3, 4 and 6 run over blocks of keys with
 * the operations of partial_fc, scale 1/tau, so the queue is read twice and nothing as large as it is made. Z is all that is kept of a block. */
#include "algo/moco.h"

#include "algo/blocks.h"
#include "algo/host_rows.h"

#include <stdlib.h>

/* ---- blocks of keys ---- */

typedef struct block {
    int64_t first;
    pfc_rowset keys;
    pfc_view norm, z;
    const int32_t *expo;
} block;

typedef pfc_status (*block_fn)(pfc_moco_pass *s, int lane, const block *k);

static block block_at(const pfc_moco_pass *s, int64_t first, int64_t count)
{
    const pfc_moco *m = s->moco;
    block k = { first, { m->queue, NULL, first, count }, pfc_view_rows(m->norm, first, count), pfc_view_rows(s->Z, first, count), NULL };
    k.expo = (const int32_t *)m->expo.data + first;
    return k;
}

typedef struct job {
    pfc_moco_pass *s;
    block_fn fn;
} job;

static pfc_status run_block(void *arg, int lane, int64_t first, int64_t count)
{
    const job *j = arg;
    block k = block_at(j->s, first, count);
    return j->fn(j->s, lane, &k);
}

/* fn over all blocks. */
static pfc_status for_blocks(pfc_moco_pass *s, block_fn fn)
{
    job j = { s, fn };
    return pfc_for_blocks(s->ctx, s->K, s->ops->block_classes, run_block, &j);
}

/* 3, 4: z_jn = <u_j, q_n>; max_n of z_jn / tau. */
static pfc_status forward_block(pfc_moco_pass *s, int lane, const block *k)
{
    PFC_TRY(s->ops->cosines(s->be, lane, s->operand, k->keys, k->norm, k->expo, s->head.normalised, k->z));
    return s->ops->row_max(s->be, lane, &s->head, k->z, k->first, &s->rows, s->sum_acc);
}

/* 4: S_n += exp(l_nj - M_n). */
static pfc_status denominator_block(pfc_moco_pass *s, int lane, const block *k)
{
    return s->ops->row_sum(s->be, lane, &s->head, k->z, k->first, &s->rows, s->sum_acc);
}

/* 6: the size of a row's terms, for the grid of exact mode. */
static pfc_status scale_block(pfc_moco_pass *s, int lane, const block *k)
{
    return s->ops->grad_expo(s->be, lane, &s->head, k->z, k->first, &s->rows, k->norm, k->expo, s->feature_acc, NULL);
}

/* 6: h_jn = p_nj / (b tau); g_n += sum_j h_jn u_j. */
static pfc_status backward_block(pfc_moco_pass *s, int lane, const block *k)
{
    pfc_view h = pfc_view_rows(s->H, lane * s->lane_rows, k->keys.count), none = { 0 };
    PFC_TRY(s->ops->logit_grad(s->be, lane, &s->head, k->z, k->first, &s->rows, h, NULL, none));
    return s->ops->feature_grad(s->be, lane, h, k->keys, k->norm, k->expo, s->head.normalised, s->feature_acc);
}

/* ---- the steps ---- */

/* 1 */
static pfc_status unit_queries(pfc_moco_pass *s)
{
    pfc_rowset x = { s->x, NULL, 0, s->b }, q = { s->q, NULL, 0, s->b };
    PFC_TRY(s->ops->row_norms(s->be, x, s->xnorm, s->xexpo.data));
    PFC_TRY(s->ops->normalise(s->be, s->x, s->xnorm, s->q));
    PFC_TRY(s->ops->row_norms(s->be, q, s->qnorm, s->qexpo.data));
    return s->ops->operand_create(s->be, s->q, s->qnorm, s->qexpo.data, &s->operand);
}

/* 4; max still holds that of the negatives. */
static pfc_status count_correct(pfc_moco_pass *s)
{
    double *positive = malloc((size_t)s->b * 2 * sizeof *positive + 8), *max = positive + s->b;
    pfc_status st = positive ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = pfc_download_f64(s->ctx, s->positive, positive);
    if (st == PFC_OK) st = pfc_download_f64(s->ctx, s->max, max);
    for (int64_t n = 0; st == PFC_OK && n < s->b; n++) s->result->correct += positive[n] > max[n];
    free(positive);
    return st;
}

/* 4 */
static pfc_status softmax_statistics(pfc_moco_pass *s)
{
    PFC_TRY(s->ops->row_max_fold(s->be, s->sum_acc, s->max));
    PFC_TRY(count_correct(s));
    PFC_TRY(s->ops->positive_max(s->be, s->positive, s->max));
    for (int64_t n = 0; s->sum_acc->expo && n < s->b; n++) s->sum_acc->expo[n] = 0; /* exp(l - M) <= 1 */
    if (s->ops->row_sum) PFC_TRY(for_blocks(s, denominator_block));
    PFC_TRY(s->ops->acc_fold(s->be, s->sum_acc, &s->rows));
    PFC_TRY(s->ops->acc_value(s->be, s->sum_acc, 0, s->b, s->sum));
    return s->ops->positive_sum(s->be, s->positive, s->max, s->sum);
}

/* 5 */
static pfc_status loss(pfc_moco_pass *s)
{
    double *host = malloc((size_t)s->b * 3 * sizeof *host), *max = host + s->b, *shifted = max + s->b;
    unsigned char *all = malloc((size_t)s->b);
    pfc_status st = host && all ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = pfc_download_f64(s->ctx, s->sum, host);
    if (st == PFC_OK) st = pfc_download_f64(s->ctx, s->max, max);
    if (st == PFC_OK) st = pfc_download_f64(s->ctx, s->positive, shifted);
    for (int64_t n = 0; st == PFC_OK && n < s->b; n++) {
        shifted[n] -= max[n];
        all[n] = 1;
    }
    if (st == PFC_OK)
        s->result->loss = s->ops->mean_loss(PFC_LOSS_LSE, host, host, shifted, all, s->b, s->rows.n); /* the rule does not look at probabilities */
    free(host);
    free(all);
    return st;
}

/* 6, 7; the raw queries are not needed any more, their place takes the gradient. */
static pfc_status gradient(pfc_moco_pass *s)
{
    if (s->ops->grad_expo) {
        PFC_TRY(for_blocks(s, scale_block));
        PFC_TRY(s->ops->acc_expo_fold(s->be, s->feature_acc));
    }
    PFC_TRY(for_blocks(s, backward_block));
    PFC_TRY(s->ops->acc_fold(s->be, s->feature_acc, NULL));
    PFC_TRY(s->ops->acc_value(s->be, s->feature_acc, 0, s->b, s->x));
    PFC_TRY(s->ops->positive_grad(s->be, s->positive, s->max, s->sum, s->rows.n, s->head.scale, s->k, s->x));
    PFC_TRY(s->ops->normalise_backward(s->be, s->x, s->q, s->xnorm, s->x));
    return pfc_host_out(s->ctx, s->x, s->result->query_grad);
}

pfc_status pfc_moco_pass_loss(pfc_moco_pass *s, pfc_view query, pfc_view keys)
{
    PFC_TRY(pfc_moco_queue_ready(s->moco));
    PFC_TRY(pfc_host_in(s->ctx, query, true, s->x));
    PFC_TRY(pfc_host_in(s->ctx, keys, false, s->k));
    if (s->b == 0) return PFC_OK;
    PFC_TRY(unit_queries(s));                                                        /* 1 */
    PFC_TRY(s->ops->positive_logits(s->be, s->q, s->k, s->head.scale, s->positive)); /* 2 */
    PFC_TRY(for_blocks(s, forward_block));                                           /* 3 */
    PFC_TRY(softmax_statistics(s));                                                  /* 4 */
    PFC_TRY(loss(s));                                                                /* 5 */
    return s->result->query_grad.data ? gradient(s) : PFC_OK;                        /* 6, 7 */
}

/* 8, 9 */
pfc_status pfc_moco_pass_queue(pfc_moco_pass *s, const int64_t *start)
{
    size_t row = (size_t)s->D * pfc_dtype_size(s->ops->real), mine = (size_t)s->b * row;
    char *keys = malloc(mine + (size_t)s->N * row);
    pfc_status st = keys ? s->ops->download(s->be, keys, s->k.data, mine) : pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
    st = pfc_agree(s->ctx, st);
    if (st == PFC_OK) st = pfc_comm_allgather_rows(&s->ctx->comm, keys, start, row, keys + mine);
    if (st == PFC_OK) st = pfc_moco_enqueue(s->moco, keys + mine, s->N);
    free(keys);
    return pfc_agree(s->ctx, st);
}
