/* partial_fc_step.c: around a step: labels, sampling, memory; partial_fc.c has the algorithm itself. */
#include "algo/partial_fc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

pfc_status pfc_partial_fc_start(pfc_partial_fc *layer, pfc_view labels)
{
    pfc_ctx *ctx = layer->ctx;
    int64_t b = labels.rows, sizes[2] = { b, -b };
    if (layer->started) return pfc_fail(ctx, PFC_ERR_ARG, "pfc_partial_fc_start: a step is already started");
    PFC_TRY(pfc_comm_max(&ctx->comm, sizes, 2, PFC_I64));
    if (sizes[0] != -sizes[1])
        return pfc_fail(ctx, PFC_ERR_SHAPE, "labels: every rank needs the same number of rows; found %lld to %lld", -(long long)sizes[1], (long long)sizes[0]);
    if (b < 1) return pfc_fail(ctx, PFC_ERR_SHAPE, "labels: an empty batch");
    PFC_TRY(pfc_check_terms(ctx, PFC_ERR_SHAPE, "labels: rows of all ranks", b, ctx->comm.ranks));
    free(layer->labels);
    layer->labels = malloc((size_t)b * ((size_t)ctx->comm.ranks + 1) * sizeof *layer->labels);
    pfc_status st = PFC_OK;
    if (!labels.data || labels.dtype != PFC_I64 || labels.cols != 1)
        st = pfc_fail(ctx, PFC_ERR_ARG, "labels: expected one column of int64");
    else if (!layer->labels)
        st = pfc_fail(ctx, PFC_ERR_NOMEM, "labels: out of memory");
    PFC_TRY(pfc_agree(ctx, st));
    int64_t *send = layer->labels + b * ctx->comm.ranks; /* stays alive until finish */
    for (int64_t i = 0; i < b; i++) send[i] = ((const int64_t *)labels.data)[i * labels.ld];
    st = pfc_comm_allgather_start(&ctx->comm, send, b, PFC_I64, layer->labels, &layer->request); /* 1 */
    layer->batch = b;
    layer->started = st == PFC_OK;
    return st;
}

/* Rows that count, and the rules for labels that nobody owns (semantics 2.12). The same on every rank: all see all labels. */
static pfc_status check_labels(pfc_step *s)
{
    const pfc_partial_fc_config *cfg = &s->layer->cfg;
    int64_t valid = 0;
    for (int64_t i = 0; i < s->N; i++) {
        int64_t y = s->layer->labels[i];
        bool owned = y >= 0 && y < cfg->num_classes;
        if (!owned && cfg->unowned_label == PFC_UNOWNED_ERROR)
            return pfc_fail(s->ctx, PFC_ERR_DATA, "labels: row %lld: found %lld, expected 0 to %lld", (long long)i, (long long)y,
                            (long long)cfg->num_classes - 1);
        if (!owned && cfg->unowned_label == PFC_UNOWNED_SOURCE && cfg->loss == PFC_LOSS_LSE)
            return pfc_fail(s->ctx, PFC_ERR_DATA, "labels: row %lld: found %lld, but loss=lse has no value for a label that nobody owns", (long long)i,
                            (long long)y);
        s->valid_host[i] = owned || cfg->unowned_label == PFC_UNOWNED_SOURCE;
        valid += s->valid_host[i];
    }
    s->rows.n = (double)valid;
    return PFC_OK;
}

static pfc_status upload_copy(pfc_step *s, const void *host, size_t bytes, void *out)
{
    void *p = NULL;
    PFC_TRY(s->ops->alloc(s->be, bytes, &p));
    *(void **)out = p;
    return s->ops->upload(s->be, p, host, bytes);
}

/* Z in the layer's store, which grows when it has to. */
static pfc_status cosine_store(pfc_step *s)
{
    pfc_view *store = &s->layer->store;
    int64_t n = s->layer->cfg.recompute ? s->be->lanes * s->lane_rows : s->sampled.count;
    if (!store->data || store->rows < n || store->cols != s->N) {
        pfc_ws_free(s->ctx, store);
        PFC_TRY(pfc_ws_view(s->ctx, s->ops->real, n, s->N, store));
    }
    s->Z = pfc_view_rows(*store, 0, n);
    return PFC_OK;
}

/* Memory of a step: X, Z, statistics, accumulators, and one block of H and dW per lane. */
static pfc_status allocate(pfc_step *s)
{
    pfc_ctx *ctx = s->ctx;
    pfc_dtype real = s->ops->real;
    int64_t n = s->sampled.count, lanes = s->be->lanes;
    s->lane_rows = s->ops->block_classes < n ? s->ops->block_classes : n;
    PFC_TRY(upload_copy(s, s->sampled.target, (size_t)s->N * sizeof(int64_t), &s->target));
    PFC_TRY(upload_copy(s, s->valid_host, (size_t)s->N, &s->valid));
    if (s->sampled.index) PFC_TRY(upload_copy(s, s->sampled.index, (size_t)n * sizeof(int64_t), &s->index));
    PFC_TRY(pfc_ws_view(ctx, real, s->N, s->D, &s->X));
    PFC_TRY(pfc_ws_view(ctx, real, s->N, 1, &s->xnorm));
    PFC_TRY(pfc_ws_view(ctx, PFC_I32, s->N, 1, &s->xexpo));
    PFC_TRY(pfc_ws_view(ctx, real, n, 1, &s->wnorm));
    PFC_TRY(pfc_ws_view(ctx, PFC_I32, n, 1, &s->wexpo));
    PFC_TRY(cosine_store(s));
    PFC_TRY(pfc_ws_view(ctx, real, s->N, 1, &s->target_logit));
    PFC_TRY(pfc_ws_view(ctx, real, s->N, 1, &s->max));
    PFC_TRY(pfc_ws_view(ctx, real, s->N, 1, &s->sum));
    PFC_TRY(pfc_ws_view(ctx, real, lanes * s->lane_rows, s->N, &s->H));
    if (!pfc_partial_fc_fused(s)) PFC_TRY(pfc_ws_view(ctx, real, lanes * s->lane_rows, s->D, &s->dW));
    PFC_TRY(pfc_ws_view(ctx, real, lanes * s->lane_rows, 1, &s->wdot));
    PFC_TRY(s->ops->acc_create(s->be, PFC_ACC_SCALAR, s->N, 1, &s->sum_acc));
    PFC_TRY(s->ops->acc_create(s->be, PFC_ACC_SCALAR, s->N, 1, &s->dot_acc));
    PFC_TRY(s->ops->acc_create(s->be, PFC_ACC_PRODUCT, s->N, s->D, &s->feature_acc));
    s->rows.target = s->target;
    s->rows.valid = s->valid;
    s->rows.target_logit = s->target_logit;
    s->rows.max = s->max;
    s->rows.sum = s->sum;
    return PFC_OK;
}

static void release(pfc_step *s)
{
    pfc_view *views[] = { &s->X, &s->xnorm, &s->xexpo, &s->wnorm, &s->wexpo, &s->target_logit, &s->max, &s->sum, &s->H, &s->dW, &s->wdot };
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) pfc_ws_free(s->ctx, views[i]);
    if (s->operand) s->ops->operand_destroy(s->be, s->operand);
    if (s->sum_acc) s->ops->acc_destroy(s->be, s->sum_acc);
    if (s->dot_acc) s->ops->acc_destroy(s->be, s->dot_acc);
    if (s->feature_acc) s->ops->acc_destroy(s->be, s->feature_acc);
    if (s->target) s->ops->free(s->be, s->target);
    if (s->valid) s->ops->free(s->be, s->valid);
    if (s->index) s->ops->free(s->be, s->index);
    pfc_comm_wait(&s->ctx->comm, &s->gather);
    pfc_partial_fc_sample_free(&s->sampled);
    free(s->mine);
    free(s->prob);
    free(s->valid_host);
}

static pfc_status check_views(pfc_step *s, pfc_view features, pfc_view keys)
{
    const pfc_partial_fc_result *r = s->result;
    int64_t c = s->layer->shard.count;
    if (features.rows != s->b || features.cols != s->D || (features.dtype != PFC_F32 && features.dtype != PFC_F64))
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "features: found (%lld,%lld), expected (%lld,%lld) float", (long long)features.rows, (long long)features.cols,
                        (long long)s->b, (long long)s->D);
    if (keys.data && (keys.rows != c || keys.dtype != PFC_F64)) return pfc_fail(s->ctx, PFC_ERR_SHAPE, "sample_keys: expected %lld float64", (long long)c);
    if (r->x_grad.data && (r->x_grad.rows != s->b || r->x_grad.cols != s->D || r->x_grad.dtype != s->ops->real))
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "x_grad: wrong shape or type");
    if (r->weight_grad.data && (r->weight_grad.rows != c || r->weight_grad.cols != s->D || r->weight_grad.dtype != s->ops->real))
        return pfc_fail(s->ctx, PFC_ERR_SHAPE, "weight_grad: wrong shape or type");
    if (r->sampled.data && (r->sampled.rows != c || r->sampled.dtype != PFC_I64)) return pfc_fail(s->ctx, PFC_ERR_SHAPE, "sampled: wrong shape or type");
    for (int64_t i = 0; keys.data && i < c; i++) {
        double u = ((const double *)keys.data)[i * keys.ld];
        if (!(u >= 0.0 && u < 1.0))
            return pfc_fail(s->ctx, PFC_ERR_DATA, "sample_keys: class %lld: found %g, expected [0,1)", (long long)(s->layer->shard.start + i), u);
    }
    return PFC_OK;
}

static pfc_status host_arrays(pfc_step *s)
{
    s->prob = calloc((size_t)s->N, 4 * sizeof *s->prob);
    s->valid_host = malloc((size_t)s->N);
    if (!s->prob || !s->valid_host) return pfc_fail(s->ctx, PFC_ERR_NOMEM, "out of memory");
    s->sum_host = s->prob + s->N;
    s->shifted = s->prob + 2 * s->N;
    return PFC_OK;
}

/* The state as a port stores it: the result of the step before is rounded to float32, what was given or made is float32 already. Where all classes take
 * part, partial_fc.c rounds block by block. */
static pfc_status round_state(pfc_step *s)
{
    PFC_TRY(pfc_partial_fc_initial_state(s->layer));
    if (!s->sampled.index) return PFC_OK;
    PFC_TRY(s->ops->round_state(s->be, s->layer->weight));
    return s->ops->round_state(s->be, s->layer->momentum);
}

static pfc_status prepare(pfc_step *s, pfc_view features, pfc_view keys)
{
    pfc_status st = check_views(s, features, keys);
    if (st == PFC_OK) st = host_arrays(s);
    if (st == PFC_OK) st = check_labels(s);
    PFC_TRY(pfc_agree(s->ctx, st));
    PFC_TRY(pfc_partial_fc_gather_start(s, features));
    st = pfc_partial_fc_sample(s->layer, s->layer->labels, s->N, keys, &s->sampled); /* 2 */
    if (st == PFC_OK) st = allocate(s);
    if (st == PFC_OK) st = round_state(s);
    return pfc_agree(s->ctx, st);
}

pfc_status pfc_partial_fc_finish(pfc_partial_fc *layer, pfc_view features, pfc_view sample_keys, pfc_partial_fc_result *result)
{
    pfc_ctx *ctx = layer->ctx;
    if (!layer->started) return pfc_fail(ctx, PFC_ERR_ARG, "pfc_partial_fc_finish: no step was started");
    layer->started = false;
    PFC_TRY(pfc_comm_wait(&ctx->comm, &layer->request));
    pfc_sgd sgd = { layer->cfg.lr, layer->cfg.momentum, layer->cfg.weight_decay, layer->cfg.nesterov };
    pfc_step s = { .layer = layer,
                   .ctx = ctx,
                   .ops = ctx->be->ops,
                   .be = ctx->be,
                   .b = layer->batch,
                   .N = layer->batch * ctx->comm.ranks,
                   .D = layer->cfg.embedding_size,
                   .result = result,
                   .sgd = &sgd };
    pfc_status st = prepare(&s, features, sample_keys);
    if (st == PFC_OK) st = pfc_partial_fc_run_step(&s);
    st = pfc_agree(ctx, st);
    if (st == PFC_OK) layer->steps_done++;
    release(&s);
    return st;
}

pfc_status pfc_partial_fc_step(pfc_partial_fc *layer, pfc_view features, pfc_view labels, pfc_view sample_keys, pfc_partial_fc_result *result)
{
    PFC_TRY(pfc_partial_fc_start(layer, labels));
    return pfc_partial_fc_finish(layer, features, sample_keys, result);
}
