/* partial_fc_layer.c: the layer object: configuration, creation, state in global class order. */
#include "algo/blocks.h"
#include "algo/host_rows.h"
#include "algo/partial_fc.h"

#include <math.h>
#include <pfc/rng.h>
#include <stdlib.h>

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

/* Weights that are being made: each lane has room for `piece` rows of numbers and of floats, which go to the table's place from there. */
typedef struct maker {
    pfc_partial_fc *layer;
    int64_t piece;
    double *number;
    float *value;
} maker;

/* N(0, 0.01^2), a pure function of the seed and the global element, so the same for every number of ranks. */
static pfc_status make_rows(void *arg, int lane, int64_t c, int64_t count)
{
    const maker *m = arg;
    pfc_partial_fc *layer = m->layer;
    int64_t D = layer->cfg.embedding_size, room = m->piece * D;
    double *number = m->number + lane * room;
    float *value = m->value + lane * room;
    pfc_normal_range(layer->ctx->rng, layer->cfg.seed, (layer->shard.start + c) * D, count * D, 0, PFC_STREAM_WEIGHT, number);
    for (int64_t i = 0; i < count * D; i++) value[i] = (float)(0.01 * number[i]);
    return pfc_host_in(layer->ctx, pfc_view_make(value, PFC_F32, count, D), false, pfc_view_rows(layer->weight, c, count));
}

static pfc_status initial_weight(pfc_partial_fc *layer)
{
    int64_t D = layer->cfg.embedding_size, piece = (1 << 15) / D + 1;
    size_t numbers = (size_t)(layer->ctx->be->lanes * piece * D);
    maker m = { layer, piece, malloc(numbers * sizeof *m.number), malloc(numbers * sizeof *m.value) };
    pfc_status st = m.number && m.value ? PFC_OK : pfc_fail(layer->ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = pfc_for_blocks(layer->ctx, layer->shard.count, piece, make_rows, &m);
    free(m.number);
    free(m.value);
    return st;
}

pfc_status pfc_partial_fc_initial_state(pfc_partial_fc *layer)
{
    pfc_backend *be = layer->ctx->be;
    pfc_status st = layer->has_momentum ? PFC_OK : be->ops->zero(be, layer->momentum);
    if (st == PFC_OK && !layer->has_weight) st = initial_weight(layer);
    if (st == PFC_OK) layer->has_weight = layer->has_momentum = true;
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
    pfc_comm_wait(&l->ctx->comm, &l->request);
    pfc_ws_free(l->ctx, &l->weight);
    pfc_ws_free(l->ctx, &l->momentum);
    pfc_ws_free(l->ctx, &l->store);
    pfc_partial_fc_sampler_free(&l->sampler);
    free(l->labels);
    free(l);
    *layer = NULL;
}

/* to = true: from the caller's view into the state; else the other way. */
static pfc_status copy_state(pfc_partial_fc *layer, pfc_view caller, pfc_view state, bool to)
{
    int64_t D = layer->cfg.embedding_size;
    if (!caller.data) return PFC_OK;
    if (caller.rows != layer->shard.count || caller.cols != D || (caller.dtype != PFC_F32 && caller.dtype != PFC_F64))
        return pfc_fail(layer->ctx, PFC_ERR_SHAPE, "state: found (%lld,%lld), expected (%lld,%lld) float", (long long)caller.rows, (long long)caller.cols,
                        (long long)layer->shard.count, (long long)D);
    return to ? pfc_host_in(layer->ctx, caller, false, state) : pfc_host_out(layer->ctx, state, caller);
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

void pfc_partial_fc_set_lr(pfc_partial_fc *layer, double lr) { layer->cfg.lr = lr; }
int64_t pfc_partial_fc_steps(const pfc_partial_fc *layer) { return layer->steps_done; }
void pfc_partial_fc_set_steps(pfc_partial_fc *layer, int64_t steps) { layer->steps_done = steps; }
