/* swav_layer.c: the SwAV layer object: configuration, state, queue life cycle (semantics.md 5.4), optimiser (1.7). */
#include "algo/host_rows.h"
#include "algo/sinkhorn.h"
#include "algo/swav.h"
#include "core/exactint.h"

#include <math.h>
#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

pfc_swav_config pfc_swav_defaults(void)
{
    return (pfc_swav_config){ .temperature = 0.1,
                              .sinkhorn = pfc_sinkhorn_defaults(),
                              .epoch_queue_starts = 15,
                              .momentum = 0.9,
                              .weight_decay = 1e-6,
                              .larc = 1,
                              .larc_trust = 0.001,
                              .larc_eps = 1e-8 };
}

static pfc_status check_config(pfc_ctx *ctx, const pfc_swav_config *c)
{
    PFC_TRY(pfc_sinkhorn_check(ctx, &c->sinkhorn));
    if (c->num_prototypes < 1) return pfc_fail(ctx, PFC_ERR_ARG, "num_prototypes: found %lld, expected 1 or more", (long long)c->num_prototypes);
    if (c->embedding_size < 1) return pfc_fail(ctx, PFC_ERR_ARG, "embedding_size: found %lld, expected 1 or more", (long long)c->embedding_size);
    PFC_TRY(pfc_check_terms(ctx, PFC_ERR_ARG, "num_prototypes", c->num_prototypes, 1));
    PFC_TRY(pfc_check_terms(ctx, PFC_ERR_ARG, "embedding_size", c->embedding_size, 1));
    if (c->crops < 1) return pfc_fail(ctx, PFC_ERR_ARG, "crops: found %lld, expected 1 or more", (long long)c->crops);
    if (c->num_assign < 1 || !c->crops_for_assign)
        return pfc_fail(ctx, PFC_ERR_ARG, "crops_for_assign: found %lld crops, expected 1 or more", (long long)c->num_assign);
    for (int64_t i = 0; i < c->num_assign; i++)
        if (c->crops_for_assign[i] < 0 || c->crops_for_assign[i] >= c->crops)
            return pfc_fail(ctx, PFC_ERR_ARG, "crops_for_assign: found %lld at (%lld), expected 0 to %lld", (long long)c->crops_for_assign[i], (long long)i,
                            (long long)c->crops - 1);
    if (!(c->temperature > 0.0) || isinf(c->temperature)) return pfc_fail(ctx, PFC_ERR_ARG, "temperature: found %g, expected a number above 0", c->temperature);
    const int64_t longest = INT64_MAX / 64 / c->num_assign / c->embedding_size; /* no size in bytes overflows */
    if (c->queue_length < 0 || c->queue_length > longest)
        return pfc_fail(ctx, PFC_ERR_ARG, "queue_length: found %lld, expected 0 to %lld", (long long)c->queue_length, (long long)longest);
    return PFC_OK;
}

static pfc_status allocate(pfc_swav *l, const pfc_swav_config *cfg)
{
    pfc_dtype real = l->ctx->be->ops->real;
    size_t bytes = (size_t)cfg->num_assign * sizeof *l->assign;
    l->assign = malloc(bytes);
    if (!l->assign) return pfc_fail(l->ctx, PFC_ERR_NOMEM, "out of memory");
    memcpy(l->assign, cfg->crops_for_assign, bytes);
    l->cfg.crops_for_assign = l->assign;
    PFC_TRY(pfc_ws_view(l->ctx, real, cfg->num_prototypes, cfg->embedding_size, &l->prototypes));
    PFC_TRY(pfc_ws_view(l->ctx, real, cfg->num_prototypes, cfg->embedding_size, &l->momentum));
    PFC_TRY(pfc_ws_view(l->ctx, real, cfg->num_prototypes, cfg->embedding_size, &l->grad));
    return l->ctx->be->ops->zero(l->ctx->be, l->momentum);
}

pfc_status pfc_swav_create(pfc_ctx *ctx, const pfc_swav_config *cfg, pfc_swav **out)
{
    *out = NULL;
    PFC_TRY(pfc_agree(ctx, check_config(ctx, cfg)));
    pfc_swav *l = calloc(1, sizeof *l);
    if (l) *l = (pfc_swav){ .ctx = ctx, .cfg = *cfg };
    pfc_status st = pfc_agree(ctx, l ? allocate(l, cfg) : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory"));
    if (st == PFC_OK)
        *out = l;
    else
        pfc_swav_destroy(&l);
    return st;
}

void pfc_swav_destroy(pfc_swav **layer)
{
    if (!layer || !*layer) return;
    pfc_swav *l = *layer;
    pfc_ws_free(l->ctx, &l->prototypes);
    pfc_ws_free(l->ctx, &l->momentum);
    pfc_ws_free(l->ctx, &l->grad);
    pfc_ws_free(l->ctx, &l->queue);
    free(l->assign);
    free(l);
    *layer = NULL;
}

/* ---- state ---- */

static pfc_status check_state(pfc_swav *l, const char *name, pfc_view v, int64_t rows)
{
    if (!v.data || (v.rows == rows && v.cols == l->cfg.embedding_size && (v.dtype == PFC_F32 || v.dtype == PFC_F64))) return PFC_OK;
    return pfc_fail(l->ctx, PFC_ERR_SHAPE, "%s: found (%lld,%lld), expected (%lld,%lld) float", name, (long long)v.rows, (long long)v.cols, (long long)rows,
                    (long long)l->cfg.embedding_size);
}

pfc_status pfc_swav_set_prototypes(pfc_swav *l, pfc_view prototypes, pfc_view momentum)
{
    PFC_TRY(check_state(l, "prototypes", prototypes, l->cfg.num_prototypes));
    PFC_TRY(check_state(l, "momentum", momentum, l->cfg.num_prototypes));
    if (prototypes.data) PFC_TRY(pfc_host_in(l->ctx, prototypes, false, l->prototypes));
    if (prototypes.data) l->has_prototypes = true;
    return momentum.data ? pfc_host_in(l->ctx, momentum, false, l->momentum) : PFC_OK;
}

pfc_status pfc_swav_get_prototypes(pfc_swav *l, pfc_view prototypes, pfc_view momentum)
{
    PFC_TRY(check_state(l, "prototypes", prototypes, l->cfg.num_prototypes));
    PFC_TRY(check_state(l, "momentum", momentum, l->cfg.num_prototypes));
    PFC_TRY(pfc_swav_initial_prototypes(l));
    if (prototypes.data) PFC_TRY(pfc_host_out(l->ctx, l->prototypes, prototypes));
    return momentum.data ? pfc_host_out(l->ctx, l->momentum, momentum) : PFC_OK;
}

/* Normal numbers: after the projection a direction is as likely as any other. */
pfc_status pfc_swav_initial_prototypes(pfc_swav *l)
{
    if (l->has_prototypes) return PFC_OK;
    int64_t count = l->prototypes.rows * l->prototypes.cols;
    float *x = malloc((size_t)count * sizeof *x);
    if (!x) return pfc_fail(l->ctx, PFC_ERR_NOMEM, "out of memory");
    for (int64_t i = 0; i < count; i++) x[i] = (float)pfc_normal(l->cfg.seed, i, 0, PFC_STREAM_WEIGHT);
    pfc_status st = pfc_swav_set_prototypes(l, pfc_view_make(x, PFC_F32, l->prototypes.rows, l->prototypes.cols), (pfc_view){ 0 });
    free(x);
    return st;
}

/* ---- queue ---- */

int64_t pfc_swav_queue_rows(int64_t queue_length, int64_t bs, int ranks)
{
    return bs > 0 && ranks > 0 ? (queue_length - queue_length % (bs * ranks)) / ranks : 0;
}

static pfc_status make_queue(pfc_swav *l, int64_t rows)
{
    pfc_ws_free(l->ctx, &l->queue);
    l->L = 0;
    PFC_TRY(pfc_ws_view(l->ctx, l->ctx->be->ops->real, l->cfg.num_assign * rows, l->cfg.embedding_size, &l->queue));
    l->L = rows;
    return l->ctx->be->ops->zero(l->ctx->be, l->queue);
}

pfc_status pfc_swav_begin_epoch(pfc_swav *l, int64_t epoch, int64_t bs)
{
    int64_t rows = pfc_swav_queue_rows(l->cfg.queue_length, bs, l->ctx->comm.ranks);
    l->use_the_queue = false;
    bool due = rows > 0 && epoch >= l->cfg.epoch_queue_starts && !l->queue.data;
    return pfc_agree(l->ctx, due ? make_queue(l, rows) : PFC_OK);
}

pfc_status pfc_swav_set_queue(pfc_swav *l, pfc_view queue, int use_the_queue)
{
    int64_t rows = queue.data ? queue.rows / l->cfg.num_assign : 0;
    if (queue.data && (rows < 1 || queue.rows % l->cfg.num_assign))
        return pfc_fail(l->ctx, PFC_ERR_SHAPE, "queue: found %lld rows, expected a multiple of the %lld assigned crops", (long long)queue.rows,
                        (long long)l->cfg.num_assign);
    PFC_TRY(check_state(l, "queue", queue, rows * l->cfg.num_assign));
    l->use_the_queue = use_the_queue != 0;
    if (!queue.data) {
        pfc_ws_free(l->ctx, &l->queue);
        l->L = 0;
        return PFC_OK;
    }
    PFC_TRY(make_queue(l, rows));
    return pfc_host_in(l->ctx, queue, false, l->queue);
}

pfc_status pfc_swav_get_queue(pfc_swav *l, pfc_view queue, int *use_the_queue)
{
    if (use_the_queue) *use_the_queue = l->use_the_queue;
    PFC_TRY(check_state(l, "queue", queue, l->cfg.num_assign * l->L));
    return queue.data && l->queue.data ? pfc_host_out(l->ctx, l->queue, queue) : PFC_OK;
}

int64_t pfc_swav_queue_length(const pfc_swav *l) { return l->L; }

/* ---- optimiser (1.7) ---- */

/* Length of a whole matrix: root of the scalar sum of its rows' squared lengths. */
static pfc_status whole_norm(pfc_ctx *ctx, pfc_view v, double *norm)
{
    const pfc_ops *ops = ctx->be->ops;
    pfc_rowset rows = { v, NULL, 0, v.rows };
    pfc_view norms = { 0 }, expo = { 0 };
    double *host = malloc((size_t)v.rows * sizeof *host + 1);
    pfc_status st = host ? pfc_ws_view(ctx, ops->real, v.rows, 1, &norms) : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = pfc_ws_view(ctx, PFC_I32, v.rows, 1, &expo);
    if (st == PFC_OK) st = ops->row_norms(ctx->be, rows, norms, expo.data);
    if (st == PFC_OK) st = pfc_download_f64(ctx, norms, host);
    for (int64_t i = 0; st == PFC_OK && i < v.rows; i++) host[i] = host[i] * host[i];
    if (st == PFC_OK) *norm = sqrt(pfc_scalar_sum_of(host, v.rows));
    pfc_ws_free(ctx, &norms);
    pfc_ws_free(ctx, &expo);
    free(host);
    return st;
}

/* The gradient with its decay times the layer's own rate; both left out where a length is 0. */
static pfc_status larc(pfc_swav *l, double lr)
{
    double pn = 0.0, gn = 0.0;
    PFC_TRY(whole_norm(l->ctx, l->prototypes, &pn));
    PFC_TRY(whole_norm(l->ctx, l->grad, &gn));
    if (pn == 0.0 || gn == 0.0) return PFC_OK;
    double rate = (l->cfg.larc_trust * pn) / ((gn + pn * l->cfg.weight_decay) + l->cfg.larc_eps);
    if (l->cfg.larc_clip) rate = rate / lr < 1.0 ? rate / lr : 1.0;
    return l->ctx->be->ops->decay_scale(l->ctx->be, l->grad, l->prototypes, l->cfg.weight_decay, rate);
}

pfc_status pfc_swav_update(pfc_swav *l, double lr)
{
    pfc_rowset rows = { l->prototypes, NULL, 0, l->cfg.num_prototypes };
    const pfc_sgd sgd = { lr, l->cfg.momentum, l->cfg.larc ? 0.0 : l->cfg.weight_decay, 0 };
    if (!l->any_step) return pfc_fail(l->ctx, PFC_ERR_ARG, "pfc_swav_update: no step before it");
    if (!l->has_grad) return PFC_OK;
    if (l->cfg.larc) PFC_TRY(larc(l, lr));
    l->has_grad = false; /* used up */
    return l->ctx->be->ops->sgd_rows(l->ctx->be, l->grad, rows, l->momentum, &sgd);
}
