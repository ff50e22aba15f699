/* swav.c: one iteration of SwAV: swapped prediction of cluster assignments between crops.
 *
 * Caron et al., NeurIPS 2020, arXiv:2006.09882, section 3 and appendix A.1. Source: swav main_swav.py train, commit 77f7185; semantics.md 5.2, 5.3.
 * Doubles of exact mode: doc/exact-v1.md section 5.
 *
 * Letters: P ranks, bs samples of this rank, V crops, K prototypes, D width, L rows of the queue; h embeddings, z = h/|h|, C prototypes, t temperature.
 * Row v*bs + n is crop v of sample n. A of the crops are assigned: a = A[i], i < A.
 *
 *    step                                                    held by a rank          moved between ranks
 *    1  C_k = C_k / |C_k|                                    (K,D), all the same
 *    2  z_r = h_r / |h_r| ; S = z C^T                        (V bs, D) (V bs, K)
 *    3  for every i: the queue is in use if it was, or       (L,D) per i             MAX of the answer, 16 B
 *       if its last row is not zero
 *    4  scores of the queue before those of crop a           (L + bs, K) or (bs, K)
 *    5  z of crop a in front of the queue, its last bs       (L,D)
 *       rows out
 *    6  q^i = last bs rows of sinkhorn(scores)               (bs, K)                 as in sinkhorn.c
 *    7  loss = mean over i, v != A[i], n of                  one number
 *              -sum_k q^i_nk log p^v_nk, p^v = softmax(S^v/t)
 *    8  dS^v = sum over i with A[i] != v of (w^i_n p^v - q^i) / (A (V-1) bs t), w^i_n = sum_k q^i_nk
 *    9  dz = dS C ; dh back through the length of h          (V bs, D)
 *   10  dC = mean over ranks of dS^T z                       (K,D)                   SUM, 8 (exact 32) K D B ; exact MAX 4 K B
 *
 * The projection of step 1 has no gradient; q is constant; the queue has none. */
#include "algo/swav.h"

#include "algo/host_rows.h"
#include "algo/matrix.h"
#include "algo/sinkhorn.h"
#include "core/exactint.h"

#include <stdlib.h>

typedef struct step {
    pfc_swav *layer;
    pfc_ctx *ctx;
    const pfc_ops *ops;
    pfc_backend *be;
    int64_t bs, V, A, K, D;
    int source; /* log of the softmax */
    pfc_swav_result *result;
    pfc_host_rows h, q; /* (V bs, D) (A bs, K) */
    pfc_matrix H, Z, C; /* h, z and C with their lengths */
    pfc_view z, S, dS, max, sum;
    double *row_loss; /* (A V bs) host */
    int64_t terms;    /* of them */
} step;

static pfc_view crop(const step *s, pfc_view rows, int64_t v) { return pfc_view_rows(rows, v * s->bs, s->bs); }

/* ---- memory ---- */

static pfc_status allocate(step *s)
{
    pfc_ctx *ctx = s->ctx;
    pfc_dtype real = s->ops->real;
    int64_t rows = s->V * s->bs;
    PFC_TRY(pfc_ws_view(ctx, real, rows, s->D, &s->z));
    PFC_TRY(pfc_ws_view(ctx, real, rows, s->K, &s->S));
    PFC_TRY(pfc_ws_view(ctx, real, rows, s->K, &s->dS));
    PFC_TRY(pfc_ws_view(ctx, real, rows, 1, &s->max));
    PFC_TRY(pfc_ws_view(ctx, real, rows, 1, &s->sum));
    s->row_loss = malloc((size_t)(s->A * rows) * sizeof *s->row_loss + 1);
    if (!s->row_loss) return pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    if (s->result->assignment.data) return pfc_host_room(ctx, s->result->assignment, &s->q);
    s->q.owned = true;
    return pfc_ws_view(ctx, real, s->A * s->bs, s->K, &s->q.v);
}

static void release(step *s)
{
    pfc_matrix_free(s->ctx, &s->H);
    pfc_matrix_free(s->ctx, &s->Z);
    pfc_matrix_free(s->ctx, &s->C);
    pfc_host_release(s->ctx, &s->h);
    pfc_host_release(s->ctx, &s->q);
    pfc_ws_free(s->ctx, &s->z);
    pfc_ws_free(s->ctx, &s->S);
    pfc_ws_free(s->ctx, &s->dS);
    pfc_ws_free(s->ctx, &s->max);
    pfc_ws_free(s->ctx, &s->sum);
    free(s->row_loss);
}

/* A port keeps its state in float32. */
static pfc_status round_state(step *s)
{
    pfc_swav *l = s->layer;
    PFC_TRY(pfc_swav_initial_prototypes(l));
    if (!l->stepped) return PFC_OK;
    PFC_TRY(s->ops->round_state(s->be, l->prototypes));
    PFC_TRY(s->ops->round_state(s->be, l->momentum));
    return l->queue.data ? s->ops->round_state(s->be, l->queue) : PFC_OK;
}

/* ---- 1, 2: projection, scores ---- */

static pfc_status forward(step *s)
{
    pfc_view C = s->layer->prototypes;
    PFC_TRY(pfc_matrix_make(s->ctx, C, &s->C));
    PFC_TRY(s->ops->normalise(s->be, C, s->C.norm, C)); /* 1 */
    pfc_matrix_free(s->ctx, &s->C);
    PFC_TRY(pfc_matrix_make(s->ctx, C, &s->C));

    PFC_TRY(pfc_matrix_make(s->ctx, s->h.v, &s->H)); /* 2 */
    PFC_TRY(s->ops->normalise(s->be, s->h.v, s->H.norm, s->z));
    PFC_TRY(pfc_matrix_make(s->ctx, s->z, &s->Z));
    return pfc_product_nt(s->ctx, &s->Z, &s->C, s->S);
}

/* ---- 3 to 6: assignment ---- */

static pfc_view queue_of(const step *s, int64_t i) { return pfc_view_rows(s->layer->queue, i * s->layer->L, s->layer->L); }

/* 3: NaN is not zero. */
static pfc_status queue_filled(step *s, int64_t i, bool *filled)
{
    pfc_matrix last;
    double norm = 0.0;
    PFC_TRY(pfc_matrix_make(s->ctx, pfc_view_rows(queue_of(s, i), s->layer->L - 1, 1), &last));
    pfc_status st = pfc_download_f64(s->ctx, last.norm, &norm);
    pfc_matrix_free(s->ctx, &last);
    *filled = !(norm == 0.0);
    return st;
}

static pfc_status queue_in_use(step *s, int64_t i)
{
    pfc_swav *l = s->layer;
    bool filled = false;
    if (l->queue.data) PFC_TRY(pfc_agree(s->ctx, queue_filled(s, i, &filled))); /* check: all ranks have one, or none has */
    bool use = l->queue.data && (l->use_the_queue || filled);
    int64_t answers[2] = { use, !use };
    PFC_TRY(pfc_comm_max(&s->ctx->comm, answers, 2, PFC_I64));
    if (answers[0] && answers[1])
        return pfc_fail(s->ctx, PFC_ERR_DATA, "queue: found position %lld in use on some ranks only (last row not zero, or the flag), expected on all or none",
                        (long long)i);
    if (use) l->use_the_queue = true;
    return PFC_OK;
}

/* 4: scores of the queue, then of the crop. */
static pfc_status gather_scores(step *s, int64_t i, int64_t queued, pfc_view scores)
{
    if (queued) {
        pfc_matrix Q;
        PFC_TRY(pfc_matrix_make(s->ctx, queue_of(s, i), &Q));
        pfc_status st = pfc_product_nt(s->ctx, &Q, &s->C, pfc_view_rows(scores, 0, queued));
        pfc_matrix_free(s->ctx, &Q);
        PFC_TRY(st);
    }
    return s->ops->copy_rows(s->be, crop(s, s->S, s->layer->assign[i]), pfc_view_rows(scores, queued, s->bs));
}

/* 5: newest rows first. */
static pfc_status fill_queue(step *s, int64_t i)
{
    pfc_view q = queue_of(s, i);
    int64_t kept = s->layer->L - s->bs;
    PFC_TRY(s->ops->copy_rows(s->be, pfc_view_rows(q, 0, kept), pfc_view_rows(q, s->bs, kept)));
    return s->ops->copy_rows(s->be, crop(s, s->z, s->layer->assign[i]), pfc_view_rows(q, 0, s->bs));
}

static pfc_status assign_crop(step *s, int64_t i)
{
    bool use = s->layer->queue.data && s->layer->use_the_queue;
    int64_t queued = use ? s->layer->L : 0;
    pfc_view scores = { 0 }, q = { 0 };
    pfc_status st = pfc_ws_view(s->ctx, s->ops->real, queued + s->bs, s->K, &scores);
    if (st == PFC_OK) st = pfc_ws_view(s->ctx, s->ops->real, queued + s->bs, s->K, &q);
    if (st == PFC_OK) st = gather_scores(s, i, queued, scores);
    if (st == PFC_OK && s->layer->queue.data) st = fill_queue(s, i);
    st = pfc_agree(s->ctx, st);
    if (st == PFC_OK) st = pfc_sinkhorn_run(s->ctx, &s->layer->cfg.sinkhorn, scores, q, false); /* 6 */
    if (st == PFC_OK) st = s->ops->copy_rows(s->be, pfc_view_rows(q, queued, s->bs), crop(s, s->q.v, i));
    pfc_ws_free(s->ctx, &scores);
    pfc_ws_free(s->ctx, &q);
    return pfc_agree(s->ctx, st);
}

/* ---- 7, 8: loss and gradient of the scores ---- */

static pfc_status crop_loss(step *s, int64_t v)
{
    double t = s->layer->cfg.temperature, factor = 1.0 / ((double)(s->A * (s->V - 1) * s->bs) * t);
    pfc_view S = crop(s, s->S, v), dS = crop(s, s->dS, v), max = crop(s, s->max, v), sum = crop(s, s->sum, v);
    int first = 1;
    PFC_TRY(s->ops->softmax_rows(s->be, S, t, max, sum));
    for (int64_t i = 0; i < s->A; i++) {
        if (s->layer->assign[i] == v) continue;
        PFC_TRY(s->ops->swav_row_loss(s->be, S, t, max, sum, crop(s, s->q.v, i), s->source, s->row_loss + s->terms));
        PFC_TRY(s->ops->swav_dlogits(s->be, S, t, max, sum, crop(s, s->q.v, i), s->source, first, dS));
        s->terms += s->bs;
        first = 0;
    }
    if (first) PFC_TRY(s->ops->zero(s->be, dS));
    return s->ops->scale(s->be, dS, factor);
}

static pfc_status loss(step *s)
{
    s->terms = 0;
    for (int64_t v = 0; v < s->V; v++) PFC_TRY(crop_loss(s, v));
    double total = pfc_scalar_sum_of(s->row_loss, s->terms);
    s->result->loss = ((-total / (double)s->bs) / (double)(s->V - 1)) / (double)s->A; /* V = 1: NaN, as the source's 0/0 */
    return PFC_OK;
}

/* ---- 9, 10: gradients ---- */

static pfc_status embedding_gradient(step *s)
{
    pfc_host_rows out = { 0 };
    if (!s->result->embedding_grad.data) return PFC_OK;
    pfc_status st = pfc_host_room(s->ctx, s->result->embedding_grad, &out);
    if (st == PFC_OK) st = pfc_product_nn(s->ctx, s->dS, &s->C, out.v);
    if (st == PFC_OK) st = s->ops->normalise_backward(s->be, out.v, s->z, s->H.norm, out.v);
    if (st == PFC_OK) st = pfc_host_give(s->ctx, &out, s->result->embedding_grad);
    pfc_host_release(s->ctx, &out);
    return st;
}

/* Collective. */
static pfc_status prototypes_gradient(step *s, int frozen)
{
    pfc_swav *l = s->layer;
    l->has_grad = !frozen;
    if (frozen) return s->ops->zero(s->be, l->grad);
    PFC_TRY(pfc_product_tn(s->ctx, s->dS, &s->Z, true, l->grad));
    return s->ops->divide(s->be, l->grad, (double)s->ctx->comm.ranks);
}

/* ---- the step ---- */

/* Rows and queues of the same length everywhere: steps 3 and 6 take it for granted. Collective. */
static pfc_status check_lengths(const step *s, int64_t rows)
{
    int64_t L = s->layer->L, limits[4] = { rows, -rows, L, -L };
    PFC_TRY(pfc_comm_max(&s->ctx->comm, limits, 4, PFC_I64));
    if (limits[0] != -limits[1])
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "embedding: every rank needs the same number of rows; found %lld to %lld", -(long long)limits[1],
                        (long long)limits[0]);
    if (limits[2] != -limits[3])
        return pfc_fail(s->ctx, PFC_ERR_DATA, "queue: every rank needs the same number of rows; found %lld to %lld", -(long long)limits[3],
                        (long long)limits[2]);
    return PFC_OK;
}

static pfc_status check_embedding(const step *s, pfc_view e)
{
    PFC_TRY(check_lengths(s, e.rows));
    if (!e.data || (e.dtype != PFC_F32 && e.dtype != PFC_F64) || e.cols != s->D)
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "embedding: found %lld columns, expected %lld of float", (long long)e.cols, (long long)s->D);
    if (e.rows < s->V || e.rows % s->V)
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "embedding: found %lld rows, expected a multiple of the %lld crops", (long long)e.rows, (long long)s->V);
    if (s->layer->queue.data && s->bs > s->layer->L)
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "embedding: found %lld samples, expected at most the %lld rows of the queue", (long long)s->bs,
                        (long long)s->layer->L);
    return PFC_OK;
}

static pfc_status check_room(const step *s, const char *name, pfc_view v, int64_t rows, int64_t cols)
{
    if (!v.data || (v.rows == rows && v.cols == cols && v.dtype == s->ops->real)) return PFC_OK;
    return pfc_fail(s->ctx, PFC_ERR_SHAPE, "%s: found (%lld,%lld), expected (%lld,%lld) of pfc_ctx_real", name, (long long)v.rows, (long long)v.cols,
                    (long long)rows, (long long)cols);
}

/* Sums over all rows (10), the terms of the loss (7), the queues and samples of all ranks (6). */
static pfc_status check_sums(const step *s, int64_t rows)
{
    PFC_TRY(pfc_check_terms(s->ctx, PFC_ERR_SHAPE, "embedding: rows of all ranks", rows, s->ctx->comm.ranks));
    PFC_TRY(pfc_check_terms(s->ctx, PFC_ERR_SHAPE, "embedding: rows of all assigned crops", rows, s->A));
    return pfc_sinkhorn_check_size(s->ctx, s->layer->L + s->bs, s->K);
}

static pfc_status check(const step *s, pfc_view embedding)
{
    PFC_TRY(check_embedding(s, embedding));
    PFC_TRY(check_sums(s, embedding.rows));
    PFC_TRY(check_room(s, "assignment", s->result->assignment, s->A * s->bs, s->K));
    PFC_TRY(check_room(s, "embedding_grad", s->result->embedding_grad, s->V * s->bs, s->D));
    return check_room(s, "prototypes_grad", s->result->prototypes_grad, s->K, s->D);
}

static pfc_status run_step(step *s, pfc_view embedding, int frozen)
{
    pfc_status st = pfc_host_take(s->ctx, embedding, true, &s->h);
    if (st == PFC_OK) st = allocate(s);
    if (st == PFC_OK) st = round_state(s);
    if (st == PFC_OK) st = forward(s); /* 1, 2 */
    PFC_TRY(pfc_agree(s->ctx, st));
    PFC_TRY(pfc_tap_matrix(s->ctx, "scores", s->S, PFC_BATCH_ROWS));
    for (int64_t i = 0; i < s->A; i++) {
        PFC_TRY(queue_in_use(s, i)); /* 3 */
        PFC_TRY(assign_crop(s, i));  /* 4, 5, 6 */
    }
    PFC_TRY(pfc_agree(s->ctx, loss(s))); /* 7, 8 */
    PFC_TRY(pfc_tap_matrix(s->ctx, "dscores", s->dS, PFC_BATCH_ROWS));
    PFC_TRY(pfc_agree(s->ctx, embedding_gradient(s))); /* 9 */
    PFC_TRY(prototypes_gradient(s, frozen));           /* 10 */
    s->layer->stepped = s->layer->any_step = true;
    if (s->result->assignment.data) st = pfc_host_give(s->ctx, &s->q, s->result->assignment);
    if (st == PFC_OK && s->result->prototypes_grad.data) st = pfc_host_out(s->ctx, s->layer->grad, s->result->prototypes_grad);
    return st;
}

pfc_status pfc_swav_step(pfc_swav *l, pfc_view embedding, int frozen, pfc_swav_result *result)
{
    pfc_log_softmax rule = l->cfg.log_softmax;
    step s = { .layer = l,
               .ctx = l->ctx,
               .ops = l->ctx->be->ops,
               .be = l->ctx->be,
               .result = result,
               .V = l->cfg.crops,
               .A = l->cfg.num_assign,
               .K = l->cfg.num_prototypes,
               .D = l->cfg.embedding_size };
    s.bs = embedding.rows / s.V;
    s.source = rule == PFC_LOG_SOFTMAX_SOURCE && l->cfg.sinkhorn.version == PFC_SINKHORN_V1;
    pfc_status st = pfc_agree(l->ctx, check(&s, embedding));
    if (st == PFC_OK) st = pfc_agree(l->ctx, run_step(&s, embedding, frozen));
    release(&s);
    return st;
}
