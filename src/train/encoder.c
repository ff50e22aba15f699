/* encoder.c: the encoder as an object: settings, memory, first weights, parameters in and out. */
#include "train/encoder.h"

#include "algo/host_rows.h"
#include "core/px.h"

#include <math.h>
#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

pfc_encoder_config pfc_encoder_defaults(void)
{
    pfc_encoder_config c = { .last_norm = 1, .norm = pfc_batch_norm_defaults(), .momentum = 0.9 };
    c.norm.kind = PFC_BN_SYNC;
    c.norm.num_sync_devices = 0;
    c.norm.running_var = PFC_BN_RUNNING_UNBIASED;
    return c;
}

/* ---- creation ---- */

static pfc_status check_config(pfc_ctx *ctx, const pfc_encoder_config *c)
{
    if (c->layers < 1 || c->layers > PFC_ENCODER_LAYERS)
        return pfc_fail(ctx, PFC_ERR_ARG, "layers: found %lld, expected 1 to %d", (long long)c->layers, (int)PFC_ENCODER_LAYERS);
    for (int64_t l = 0; l <= c->layers; l++) {
        if (c->widths[l] < 1 || c->widths[l] > INT64_MAX / 1024 / (l ? c->widths[l - 1] : 1)) /* no size in bytes overflows */
            return pfc_fail(ctx, PFC_ERR_ARG, "widths: found %lld, expected 1 or more, and less than this machine can count", (long long)c->widths[l]);
        PFC_TRY(pfc_check_terms(ctx, PFC_ERR_ARG, "widths", c->widths[l], 1));
    }
    if (!isfinite(c->momentum)) return pfc_fail(ctx, PFC_ERR_ARG, "momentum: found %g, expected a finite number", c->momentum);
    if (!isfinite(c->weight_decay)) return pfc_fail(ctx, PFC_ERR_ARG, "weight_decay: found %g, expected a finite number", c->weight_decay);
    if (c->nesterov && c->momentum == 0.0) return pfc_fail(ctx, PFC_ERR_ARG, "nesterov: needs a momentum that is not 0");
    return PFC_OK;
}

/* Sizes, and where everything is in the row of parameters. */
static void lay_out(pfc_encoder *e)
{
    const pfc_encoder_config *c = &e->cfg;
    for (int64_t i = 0; i < c->layers; i++) {
        pfc_encoder_layer *l = &e->layer[i];
        bool affine = c->norm.affine && (c->last_norm || i + 1 < c->layers);
        l->in = c->widths[i];
        l->out = c->widths[i + 1];
        l->weight_at = e->params;
        e->params += l->in * l->out;
        l->norm_at = affine ? e->params : -1;
        if (affine) e->params += 2 * l->out;
    }
}

/* Whether batch norm's groups are all the ranks. */
static bool one_group(const pfc_encoder *e)
{
    const pfc_batch_norm_config *c = &e->cfg.norm;
    int64_t ranks = e->ctx->comm.ranks, machine = c->local_size ? c->local_size : ranks;
    return ranks == 1 || (c->kind == PFC_BN_SYNC && machine == ranks && (c->num_sync_devices <= 0 || c->num_sync_devices == ranks));
}

/* Collective. */
static pfc_status make_norms(pfc_encoder *e)
{
    for (int64_t i = 0; i < e->cfg.layers; i++) {
        pfc_batch_norm_config c = e->cfg.norm;
        c.channels = e->layer[i].out;
        if (i + 1 < e->cfg.layers || e->cfg.last_norm) PFC_TRY(pfc_batch_norm_create(e->ctx, &c, &e->layer[i].norm));
    }
    return PFC_OK;
}

static pfc_status make_rows(pfc_encoder *e)
{
    pfc_dtype real = pfc_ctx_real(e->ctx);
    int64_t most = 0;
    for (int64_t i = 0; i < e->cfg.layers; i++) {
        int64_t n = pfc_encoder_statistics(e, &e->layer[i]);
        if (n < e->layer[i].out) n = e->layer[i].out;
        if (n > most) most = n;
    }
    e->vectors = malloc((size_t)(2 * most * (e->ctx->comm.ranks + 1) + e->ctx->comm.ranks) * sizeof *e->vectors);
    e->two = malloc((size_t)(2 * most) * sizeof *e->two);
    if (!e->vectors || !e->two) return pfc_fail(e->ctx, PFC_ERR_NOMEM, "out of memory");
    PFC_TRY(pfc_ws_view(e->ctx, real, 1, e->params, &e->param));
    PFC_TRY(pfc_ws_view(e->ctx, real, 1, e->params, &e->momentum));
    PFC_TRY(pfc_ws_view(e->ctx, real, 1, e->params, &e->grad));
    return e->ctx->be->ops->zero(e->ctx->be, e->momentum);
}

/* PyTorch's Linear: uniform in (-1, 1)/sqrt(in). Batch norm: 1 and 0. */
static pfc_status first_params(pfc_encoder *e)
{
    float *x = malloc((size_t)e->params * sizeof *x);
    if (!x) return pfc_fail(e->ctx, PFC_ERR_NOMEM, "out of memory");
    for (int64_t i = 0; i < e->cfg.layers; i++) {
        const pfc_encoder_layer *l = &e->layer[i];
        double bound = 1.0 / PX_SQRT((double)l->in);
        for (int64_t k = 0; k < l->in * l->out; k++)
            x[l->weight_at + k] = (float)((2.0 * pfc_uniform(e->cfg.seed, k, (uint32_t)i, PFC_STREAM_ENCODER) - 1.0) * bound);
        for (int64_t k = 0; l->norm_at >= 0 && k < 2 * l->out; k++) x[l->norm_at + k] = k < l->out ? 1.0f : 0.0f;
    }
    pfc_status st = pfc_encoder_set_params(e, pfc_view_make(x, PFC_F32, 1, e->params));
    free(x);
    return st;
}

pfc_status pfc_encoder_create(pfc_ctx *ctx, const pfc_encoder_config *cfg, pfc_encoder **out)
{
    *out = NULL;
    PFC_TRY(pfc_agree(ctx, check_config(ctx, cfg)));
    pfc_encoder *e = calloc(1, sizeof *e);
    PFC_TRY(pfc_agree(ctx, e ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory")));
    e->ctx = ctx;
    e->cfg = *cfg;
    e->rows = -1;
    lay_out(e);
    e->shared = one_group(e);
    pfc_status st = make_norms(e);
    if (st == PFC_OK) st = make_rows(e);
    if (st == PFC_OK) st = first_params(e);
    st = pfc_agree(ctx, st);
    if (st != PFC_OK) {
        pfc_encoder_destroy(&e);
        return st;
    }
    *out = e;
    return PFC_OK;
}

void pfc_encoder_destroy(pfc_encoder **encoder)
{
    if (!encoder || !*encoder) return;
    pfc_encoder *e = *encoder;
    for (int64_t i = 0; i < e->cfg.layers; i++) {
        pfc_batch_norm_destroy(&e->layer[i].norm);
        free(e->layer[i].x);
        free(e->layer[i].z);
    }
    pfc_ws_free(e->ctx, &e->param);
    pfc_ws_free(e->ctx, &e->momentum);
    pfc_ws_free(e->ctx, &e->grad);
    free(e->g);
    free(e->d);
    free(e->vectors);
    free(e->two);
    free(e->copy);
    free(e->names);
    free(e);
    *encoder = NULL;
}

/* ---- parameters ---- */

int64_t pfc_encoder_params(const pfc_encoder *e) { return e->params; }

static pfc_status check_row(const pfc_encoder *e, const char *name, pfc_view v)
{
    if (v.data && (v.dtype == PFC_F32 || v.dtype == PFC_F64) && v.rows == 1 && v.cols == e->params) return PFC_OK;
    return pfc_fail(e->ctx, PFC_ERR_SHAPE, "%s: found (%lld,%lld), expected (1,%lld) float", name, (long long)v.rows, (long long)v.cols, (long long)e->params);
}

pfc_status pfc_encoder_tell_norms(pfc_encoder *e)
{
    pfc_dtype real = pfc_ctx_real(e->ctx);
    for (int64_t i = 0; i < e->cfg.layers; i++) {
        const pfc_encoder_layer *l = &e->layer[i];
        if (l->norm_at < 0) continue;
        pfc_view two = pfc_view_make(e->two, real, 1, 2 * l->out);
        PFC_TRY(pfc_host_out(e->ctx, pfc_encoder_part(e->param, l->norm_at, 1, 2 * l->out), two));
        const pfc_batch_norm_state s = { .weight = pfc_encoder_part(two, 0, l->out, 1),
                                         .bias = pfc_encoder_part(two, l->out, l->out, 1),
                                         .num_batches_tracked = -1 };
        PFC_TRY(pfc_batch_norm_set_state(l->norm, &s));
    }
    return PFC_OK;
}

pfc_status pfc_encoder_set_params(pfc_encoder *e, pfc_view params)
{
    PFC_TRY(check_row(e, "params", params));
    e->rows = -1;
    PFC_TRY(pfc_host_in(e->ctx, params, true, e->param));
    return pfc_encoder_tell_norms(e);
}

pfc_status pfc_encoder_get_params(pfc_encoder *e, pfc_view params)
{
    PFC_TRY(check_row(e, "params", params));
    return pfc_host_out(e->ctx, e->param, params);
}

pfc_status pfc_encoder_get_grads(pfc_encoder *e, pfc_view grads)
{
    PFC_TRY(check_row(e, "grads", grads));
    if (!e->has_grad) return pfc_fail(e->ctx, PFC_ERR_ARG, "grads: found no backward before it");
    return pfc_host_out(e->ctx, e->grad, grads);
}
