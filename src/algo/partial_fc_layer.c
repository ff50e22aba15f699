/* partial_fc_layer.c: the layer object: configuration, creation, state in global class order. */
#include "algo/partial_fc.h"

#include <math.h>
#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

static const double MAX_FACTOR = 1e100; /* of scale and margin: gradient coefficients stay far from overflow */

pfc_partial_fc_config pfc_partial_fc_defaults(void)
{
    pfc_partial_fc_config c = { .head = PFC_HEAD_COS, .scale = 64.0, .margin = 0.4, .sample_rate = 1.0, .num_sample = -1, .momentum = 0.9, .xgrad_scale = NAN };
    return c;
}

static pfc_status check_config(pfc_ctx *ctx, const pfc_partial_fc_config *c)
{
    if (c->num_classes < 1) return pfc_fail(ctx, PFC_ERR_ARG, "num_classes: found %lld, expected 1 or more", (long long)c->num_classes);
    if (c->embedding_size < 1) return pfc_fail(ctx, PFC_ERR_ARG, "embedding_size: found %lld, expected 1 or more", (long long)c->embedding_size);
    PFC_TRY(pfc_check_terms(ctx, PFC_ERR_ARG, "num_classes", c->num_classes, 1));
    PFC_TRY(pfc_check_terms(ctx, PFC_ERR_ARG, "embedding_size", c->embedding_size, 1));
    if (!(fabs(c->scale) <= MAX_FACTOR)) return pfc_fail(ctx, PFC_ERR_ARG, "scale: found %g, expected a number up to %g", c->scale, MAX_FACTOR);
    if (!(fabs(c->margin) <= MAX_FACTOR)) return pfc_fail(ctx, PFC_ERR_ARG, "margin: found %g, expected a number up to %g", c->margin, MAX_FACTOR);
    if (isnan(c->sample_rate) || (c->num_sample < 0 && c->sample_rate >= 2.0))
        return pfc_fail(ctx, PFC_ERR_ARG, "sample_rate: found %g, expected a number below 2", c->sample_rate);
    if (c->interclass_threshold > 0.0 && c->head != PFC_HEAD_COS && c->head != PFC_HEAD_ARC)
        return pfc_fail(ctx, PFC_ERR_ARG, "interclass_threshold: only the heads cos and arc have it");
    if (c->nesterov && c->momentum == 0.0) return pfc_fail(ctx, PFC_ERR_ARG, "nesterov: needs a momentum that is not 0");
    return PFC_OK;
}

/* One element of a host matrix, float or double. */
static double element(pfc_view v, int64_t row, int64_t col)
{
    int64_t i = row * v.ld + col;
    return v.dtype == PFC_F64 ? ((const double *)v.data)[i] : (double)((const float *)v.data)[i];
}

static void put_element(pfc_view v, int64_t row, int64_t col, double x)
{
    int64_t i = row * v.ld + col;
    if (v.dtype == PFC_F64)
        ((double *)v.data)[i] = x;
    else
        ((float *)v.data)[i] = (float)x;
}

/* A host row of the layer's storage, to pass rows through to and from the backend's place. */
static pfc_status host_row(pfc_partial_fc *layer, pfc_view *row)
{
    *row = pfc_view_make(malloc((size_t)layer->cfg.embedding_size * 8), layer->ctx->be->ops->real, 1, layer->cfg.embedding_size);
    return row->data ? PFC_OK : pfc_fail(layer->ctx, PFC_ERR_NOMEM, "out of memory");
}

static void *state_row(pfc_view state, int64_t r) { return (char *)state.data + (size_t)(r * state.ld) * pfc_dtype_size(state.dtype); }

/* N(0, 0.01^2), a pure function of the seed and the global element, so the same for every number of ranks. */
static void initial_row(const pfc_partial_fc *layer, int64_t c, pfc_view row)
{
    int64_t D = layer->cfg.embedding_size, first = (layer->shard.start + c) * D;
    double pair[2] = { 0.0, 0.0 };
    for (int64_t i = first; i < first + D; i++) {
        if (i == first || i % 2 == 0) pfc_normal_pair(layer->cfg.seed, i / 2, 0, PFC_STREAM_WEIGHT, pair);
        put_element(row, 0, i - first, (double)(float)(0.01 * pair[i % 2]));
    }
}

pfc_status pfc_partial_fc_initial_state(pfc_partial_fc *layer)
{
    pfc_backend *be = layer->ctx->be;
    size_t bytes = (size_t)layer->cfg.embedding_size * pfc_dtype_size(be->ops->real);
    if (layer->has_weight && layer->has_momentum) return PFC_OK;
    pfc_view row;
    PFC_TRY(host_row(layer, &row));
    pfc_status st = PFC_OK;
    for (int64_t c = 0; st == PFC_OK && c < layer->shard.count; c++) {
        memset(row.data, 0, bytes);
        if (!layer->has_momentum) st = be->ops->upload(be, state_row(layer->momentum, c), row.data, bytes);
        if (st != PFC_OK || layer->has_weight) continue;
        initial_row(layer, c, row);
        st = be->ops->upload(be, state_row(layer->weight, c), row.data, bytes);
    }
    free(row.data);
    layer->has_weight = layer->has_momentum = st == PFC_OK;
    return st;
}

pfc_status pfc_partial_fc_create(pfc_ctx *ctx, const pfc_partial_fc_config *cfg, pfc_partial_fc **out)
{
    *out = NULL;
    PFC_TRY(pfc_agree(ctx, check_config(ctx, cfg)));
    pfc_partial_fc *layer = calloc(1, sizeof *layer);
    pfc_status st = layer ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    if (layer) {
        layer->ctx = ctx;
        layer->cfg = *cfg;
        layer->head = pfc_head_make(cfg);
        layer->shard = pfc_shard_of(cfg->num_classes, ctx->comm.ranks, ctx->comm.rank);
        st = pfc_ws_view(ctx, ctx->be->ops->real, layer->shard.count, cfg->embedding_size, &layer->weight);
        if (st == PFC_OK) st = pfc_ws_view(ctx, ctx->be->ops->real, layer->shard.count, cfg->embedding_size, &layer->momentum);
    }
    st = pfc_agree(ctx, st);
    if (st != PFC_OK) {
        pfc_partial_fc_destroy(&layer);
        return st;
    }
    *out = layer;
    return PFC_OK;
}

void pfc_partial_fc_destroy(pfc_partial_fc **layer)
{
    if (!layer || !*layer) return;
    pfc_partial_fc *l = *layer;
    /* A step that was started but not finished: its gather must end before the memory goes. */
    if (l->started) pfc_comm_wait(&l->ctx->comm, &l->request);
    pfc_ws_free(l->ctx, &l->weight);
    pfc_ws_free(l->ctx, &l->momentum);
    pfc_ws_free(l->ctx, &l->store);
    free(l->labels);
    free(l);
    *layer = NULL;
}

/* to = true: from the caller's view into the state; else the other way. */
static pfc_status copy_state(pfc_partial_fc *layer, pfc_view caller, pfc_view state, bool to)
{
    pfc_backend *be = layer->ctx->be;
    int64_t D = layer->cfg.embedding_size;
    size_t bytes = (size_t)D * pfc_dtype_size(be->ops->real);
    if (!caller.data) return PFC_OK;
    if (caller.rows != layer->shard.count || caller.cols != D || (caller.dtype != PFC_F32 && caller.dtype != PFC_F64))
        return pfc_fail(layer->ctx, PFC_ERR_SHAPE, "state: found (%lld,%lld), expected (%lld,%lld) float", (long long)caller.rows, (long long)caller.cols,
                        (long long)layer->shard.count, (long long)D);
    pfc_view row;
    PFC_TRY(host_row(layer, &row));
    pfc_status st = PFC_OK;
    for (int64_t c = 0; st == PFC_OK && c < layer->shard.count; c++) {
        if (!to) st = be->ops->download(be, row.data, state_row(state, c), bytes);
        for (int64_t d = 0; d < D; d++) {
            if (to)
                put_element(row, 0, d, element(caller, c, d));
            else
                put_element(caller, c, d, element(row, 0, d));
        }
        if (to) st = be->ops->upload(be, state_row(state, c), row.data, bytes);
    }
    free(row.data);
    return st;
}

pfc_status pfc_partial_fc_set_state(pfc_partial_fc *layer, pfc_view weight, pfc_view momentum)
{
    PFC_TRY(copy_state(layer, weight, layer->weight, true));
    layer->has_weight |= weight.data != NULL;
    PFC_TRY(copy_state(layer, momentum, layer->momentum, true));
    layer->has_momentum |= momentum.data != NULL;
    return PFC_OK;
}

pfc_status pfc_partial_fc_get_state(pfc_partial_fc *layer, pfc_view weight, pfc_view momentum)
{
    PFC_TRY(pfc_partial_fc_initial_state(layer));
    PFC_TRY(copy_state(layer, weight, layer->weight, false));
    return copy_state(layer, momentum, layer->momentum, false);
}
