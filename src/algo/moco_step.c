/* moco_step.c: around a step: shapes, memory, what a tap shows; moco.c has the algorithm itself. */
#include "algo/moco.h"
#include "algo/moco_shuffle.h"

#include <stdlib.h>

static pfc_status check_views(const pfc_moco_pass *s, pfc_view query, pfc_view keys)
{
    pfc_view g = s->result->query_grad;
    bool real = (query.dtype == PFC_F32 || query.dtype == PFC_F64) && (keys.dtype == PFC_F32 || keys.dtype == PFC_F64);
    if (query.cols != s->D || !real)
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "query: found (%lld,%lld), expected (b,%lld) float", (long long)query.rows, (long long)query.cols,
                        (long long)s->D);
    if (keys.rows != query.rows || keys.cols != s->D)
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "keys: found (%lld,%lld), expected the shape of query, (%lld,%lld)", (long long)keys.rows, (long long)keys.cols,
                        (long long)query.rows, (long long)s->D);
    if (g.data && (g.rows != query.rows || g.cols != s->D || g.dtype != s->ops->real))
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "query_grad: wrong shape or type");
    return pfc_check_terms(s->ctx, PFC_ERR_SHAPE, "query: rows of this rank", s->b, 1);
}

static pfc_status check_queue(const pfc_moco_pass *s)
{
    const pfc_moco *m = s->moco;
    if (m->cfg.queue_wrap) return PFC_OK;
    if (s->K % s->N)
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "queue: found %lld keys, expected a multiple of the batch, %lld (queue_wrap=0)", (long long)s->K,
                        (long long)s->N);
    if (m->ptr + s->N > s->K)
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "queue_ptr: found %lld, expected at most %lld: %lld keys have to fit (queue_wrap=0)", (long long)m->ptr,
                        (long long)(s->K - s->N), (long long)s->N);
    return PFC_OK;
}

/* No row has a target, all of them count. */
static pfc_status rows_info(pfc_moco_pass *s)
{
    int64_t *target = malloc((size_t)s->b * sizeof *target + 8);
    unsigned char *valid = malloc((size_t)s->b + 8);
    pfc_status st = target && valid ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = s->ops->alloc(s->be, (size_t)s->b * sizeof *target, &s->target);
    if (st == PFC_OK) st = s->ops->alloc(s->be, (size_t)s->b, &s->valid);
    for (int64_t n = 0; st == PFC_OK && n < s->b; n++) {
        target[n] = -1;
        valid[n] = 1;
    }
    if (st == PFC_OK) st = s->ops->upload(s->be, s->target, target, (size_t)s->b * sizeof *target);
    if (st == PFC_OK) st = s->ops->upload(s->be, s->valid, valid, (size_t)s->b);
    free(target);
    free(valid);
    s->rows = (pfc_rows_info){ s->target, s->valid, s->positive, s->max, s->sum, (double)s->b };
    return st;
}

static pfc_status allocate(pfc_moco_pass *s)
{
    pfc_ctx *ctx = s->ctx;
    pfc_dtype real = s->ops->real;
    pfc_view *wide[] = { &s->x, &s->q, &s->k }, *narrow[] = { &s->xnorm, &s->qnorm, &s->positive, &s->max, &s->sum };
    s->lane_rows = s->ops->block_classes < s->K ? s->ops->block_classes : s->K;
    for (size_t i = 0; i < sizeof wide / sizeof *wide; i++) PFC_TRY(pfc_ws_view(ctx, real, s->b, s->D, wide[i]));
    for (size_t i = 0; i < sizeof narrow / sizeof *narrow; i++) PFC_TRY(pfc_ws_view(ctx, real, s->b, 1, narrow[i]));
    PFC_TRY(pfc_ws_view(ctx, PFC_I32, s->b, 1, &s->xexpo));
    PFC_TRY(pfc_ws_view(ctx, PFC_I32, s->b, 1, &s->qexpo));
    PFC_TRY(pfc_ws_view(ctx, real, s->K, s->b, &s->Z));
    PFC_TRY(pfc_ws_view(ctx, real, s->be->lanes * s->lane_rows, s->b, &s->H));
    PFC_TRY(s->ops->acc_create(s->be, PFC_ACC_SCALAR, s->b, 1, &s->sum_acc));
    PFC_TRY(s->ops->acc_create(s->be, PFC_ACC_PRODUCT, s->b, s->D, &s->feature_acc));
    return rows_info(s);
}

static void release(pfc_moco_pass *s)
{
    pfc_view *views[] = { &s->x, &s->xnorm, &s->xexpo, &s->q, &s->qnorm, &s->qexpo, &s->k, &s->Z, &s->positive, &s->max, &s->sum, &s->H };
    if (s->operand) s->ops->operand_destroy(s->be, s->operand);
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) pfc_ws_free(s->ctx, views[i]);
    if (s->sum_acc) s->ops->acc_destroy(s->be, s->sum_acc);
    if (s->feature_acc) s->ops->acc_destroy(s->be, s->feature_acc);
    if (s->target) s->ops->free(s->be, s->target);
    if (s->valid) s->ops->free(s->be, s->valid);
}

static void put(pfc_view v, int64_t row, int64_t col, double x)
{
    if (v.dtype == PFC_F64)
        ((double *)v.data)[row * v.ld + col] = x;
    else
        ((float *)v.data)[row * v.ld + col] = (float)x;
}

/* The logits (b, 1+K), positive first, for goldens and for reading along. Nothing here is needed by the step itself. */
static pfc_status make_logits(pfc_moco_pass *s, double *positive, double *block, pfc_view out)
{
    const pfc_ops *ops = s->ops;
    bool wide = ops->real == PFC_F64;
    int64_t size = ops->block_classes;
    PFC_TRY(pfc_download_f64(s->ctx, s->positive, positive));
    for (int64_t n = 0; n < s->b; n++) put(out, n, 0, positive[n]);
    for (int64_t first = 0; s->b && first < s->K; first += size) {
        int64_t count = s->K - first < size ? s->K - first : size;
        pfc_view l = pfc_view_rows(s->H, 0, count);
        PFC_TRY(ops->logits(s->be, 0, &s->head, pfc_view_rows(s->Z, first, count), first, &s->rows, l));
        PFC_TRY(ops->download(s->be, block, l.data, (size_t)(count * s->b) * pfc_dtype_size(ops->real)));
        for (int64_t i = 0; i < count * s->b; i++) put(out, i % s->b, 1 + first + i / s->b, wide ? block[i] : (double)((const float *)(const void *)block)[i]);
    }
    return PFC_OK;
}

static pfc_status tap_logits(pfc_moco_pass *s)
{
    if (!s->ctx->tap) return PFC_OK;
    int64_t size = s->ops->block_classes;
    double *work = malloc((size_t)(s->b * (1 + size) + 1) * sizeof *work);
    pfc_view out = pfc_view_make(malloc((size_t)(s->b * (1 + s->K)) * sizeof(double) + 8), s->ops->real, s->b, 1 + s->K);
    pfc_status st = work && out.data ? PFC_OK : pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = make_logits(s, work, work + s->b, out);
    st = pfc_agree(s->ctx, st);
    if (st == PFC_OK) s->ctx->tap(s->ctx->tap_user, "logits", out, PFC_BATCH_ROWS);
    free(work);
    free(out.data);
    return st;
}

pfc_status pfc_moco_step(pfc_moco *moco, pfc_view query, pfc_view keys, pfc_moco_result *result)
{
    pfc_ctx *ctx = moco->ctx;
    int64_t *start = NULL;
    pfc_moco_pass s = { .moco = moco, .ctx = ctx, .ops = ctx->be->ops, .be = ctx->be, .result = result };
    s.b = query.rows;
    s.D = moco->cfg.embedding_size;
    s.K = moco->cfg.queue_size;
    s.head = (pfc_head){ .kind = PFC_HEAD_LINEAR, .scale = 1.0 / moco->cfg.temperature, .cos_m = 1.0 };
    pfc_status st = pfc_agree(ctx, check_views(&s, query, keys));
    if (st == PFC_OK) st = pfc_moco_rows_of_ranks(ctx, s.b, &start);
    if (st == PFC_OK) s.N = start[ctx->comm.ranks];
    if (st == PFC_OK) st = check_queue(&s); /* the same on all ranks */
    if (st == PFC_OK) st = pfc_agree(ctx, allocate(&s));
    if (st == PFC_OK) {
        result->loss = 0.0;
        result->correct = 0;
        st = pfc_agree(ctx, pfc_moco_pass_loss(&s, query, keys));
    }
    if (st == PFC_OK) st = tap_logits(&s);
    if (st == PFC_OK) st = pfc_moco_pass_queue(&s, start);
    release(&s);
    free(start);
    return st;
}
