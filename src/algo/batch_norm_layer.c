/* batch_norm_layer.c: the layer object: configuration, groups, state, choosing a layer by name; and moving tensors in and out of the backend. */
#include "algo/batch_norm.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- choosing ---- */

pfc_batch_norm_config pfc_batch_norm_defaults(void)
{
    pfc_batch_norm_config cfg = {
        .kind = PFC_BN_PLAIN, .num_splits = 1, .num_sync_devices = 1, .eps = 1e-5, .momentum = 0.1, .affine = 1, .track_running_stats = 1
    };
    return cfg;
}

pfc_status pfc_norm_select(const char *name, int64_t num_splits, int64_t num_sync_devices, pfc_batch_norm_config *cfg)
{
    static const char *const names[] = { "batchnorm", "sub_batchnorm", "sync_batchnorm" };
    for (int kind = PFC_BN_PLAIN; kind <= PFC_BN_SYNC; kind++) {
        if (strcmp(name, names[kind]) != 0) continue;
        cfg->kind = (pfc_bn_kind)kind;
        cfg->num_splits = num_splits;
        cfg->num_sync_devices = num_sync_devices;
        return PFC_OK;
    }
    return PFC_ERR_UNSUPPORTED;
}

pfc_status pfc_norm_multigrid(int64_t global_batch, int64_t num_gpus, int64_t bn_base_size, pfc_batch_norm_config *cfg)
{
    if (global_batch < 1 || num_gpus < 1 || bn_base_size < 1) return PFC_ERR_ARG;
    double f = (double)global_batch / (double)num_gpus / (double)bn_base_size;
    cfg->kind = f < 1.0 ? PFC_BN_SYNC : f > 1.0 ? PFC_BN_SUB : PFC_BN_PLAIN;
    cfg->num_sync_devices = f < 1.0 ? (int64_t)(1.0 / f) : 1;
    cfg->num_splits = f > 1.0 ? (int64_t)f : 1;
    return PFC_OK;
}

/* ---- making ---- */

static pfc_status check_config(pfc_ctx *ctx, const pfc_batch_norm_config *cfg)
{
    int64_t ranks = ctx->comm.ranks, local = cfg->local_size ? cfg->local_size : ranks;
    if (cfg->channels < 1) return pfc_fail(ctx, PFC_ERR_ARG, "channels: found %lld, expected 1 or more", (long long)cfg->channels);
    int64_t splits = cfg->kind == PFC_BN_SUB ? cfg->num_splits : 1;
    if (splits < 1 || splits > PFC_MAX_TERMS) /* aggregating adds them on the integers of exact mode, in both modes */
        return pfc_fail(ctx, PFC_ERR_ARG, "num_splits: found %lld, expected 1 to %d", (long long)splits, PFC_MAX_TERMS);
    if (cfg->channels > INT64_MAX / 64 / splits)
        return pfc_fail(ctx, PFC_ERR_ARG, "channels: found %lld with %lld splits, expected fewer than this machine can count", (long long)cfg->channels,
                        (long long)splits);
    if (isnan(cfg->eps)) return pfc_fail(ctx, PFC_ERR_ARG, "eps: found NaN, expected a number");
    if (isinf(cfg->momentum)) return pfc_fail(ctx, PFC_ERR_ARG, "momentum: found an infinity, expected a number, or NaN for the cumulative average");
    if (cfg->kind != PFC_BN_SYNC) return PFC_OK;
    if (local < 1 || ranks % local != 0)
        return pfc_fail(ctx, PFC_ERR_SHAPE, "local_size: found %lld, expected a divisor of the number of ranks, %lld", (long long)local, (long long)ranks);
    if (cfg->num_sync_devices > 0 && local % cfg->num_sync_devices != 0)
        return pfc_fail(ctx, PFC_ERR_SHAPE, "num_sync_devices: found %lld, expected a divisor of local_size, %lld, or 0 for all of it",
                        (long long)cfg->num_sync_devices, (long long)local);
    return PFC_OK;
}

static double *filled(int64_t n, double value)
{
    double *v = malloc((size_t)(n + 1) * sizeof *v);
    for (int64_t i = 0; v && i < n; i++) v[i] = value;
    return v;
}

static void free_vectors(pfc_batch_norm *bn)
{
    double *all[] = { bn->weight, bn->bias, bn->running_mean, bn->running_var, bn->split_mean, bn->split_var, bn->last.mean, bn->last.var, bn->last.inv };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
    free(bn->last.shown);
}

static bool make_vectors(pfc_batch_norm *bn)
{
    int64_t c = bn->cfg.channels, units = c * bn->cfg.num_splits;
    bn->weight = filled(c, 1.0);
    bn->bias = filled(c, 0.0);
    bn->running_mean = filled(c, 0.0);
    bn->running_var = filled(c, 1.0);
    bn->split_mean = filled(units, 0.0);
    bn->split_var = filled(units, 1.0);
    bn->last.mean = filled(units, 0.0);
    bn->last.var = filled(units, 1.0);
    bn->last.inv = filled(units, 1.0);
    bn->last.shown = calloc((size_t)(units + 1), sizeof(float));
    return bn->last.shown && bn->weight && bn->bias && bn->running_mean && bn->running_var && bn->split_mean && bn->split_var && bn->last.mean &&
           bn->last.var && bn->last.inv;
}

pfc_status pfc_batch_norm_create(pfc_ctx *ctx, const pfc_batch_norm_config *cfg, pfc_batch_norm **out)
{
    *out = NULL;
    pfc_status st = check_config(ctx, cfg);
    pfc_batch_norm *bn = st == PFC_OK ? calloc(1, sizeof *bn) : NULL;
    if (bn) {
        bn->ctx = ctx;
        bn->cfg = *cfg;
        bn->group = pfc_comm_none();
        if (cfg->local_size == 0) bn->cfg.local_size = ctx->comm.ranks;
        if (cfg->kind != PFC_BN_SUB) bn->cfg.num_splits = 1;
        if (cfg->num_sync_devices <= 0) bn->cfg.num_sync_devices = bn->cfg.local_size;
    }
    if (st == PFC_OK && (!bn || !make_vectors(bn))) st = pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    st = pfc_agree(ctx, st);
    if (st == PFC_OK && cfg->kind == PFC_BN_SYNC && bn->cfg.local_size > 1) { /* d ranks in a row; d divides G and G divides P */
        st = pfc_comm_split(&ctx->comm, ctx->comm.rank / (int)bn->cfg.num_sync_devices, &bn->group);
        bn->grouped = true;
        st = pfc_agree(ctx, st);
    }
    if (st != PFC_OK) {
        pfc_batch_norm_destroy(&bn);
        return st;
    }
    *out = bn;
    return PFC_OK;
}

void pfc_batch_norm_destroy(pfc_batch_norm **bn)
{
    if (!bn || !*bn) return;
    pfc_comm_close(&(*bn)->group);
    free_vectors(*bn);
    free(*bn);
    *bn = NULL;
}

/* ---- state ---- */

static pfc_status check_vector(pfc_ctx *ctx, const char *name, pfc_view v, int64_t n)
{
    if (!v.data) return PFC_OK;
    bool real = v.dtype == PFC_F32 || v.dtype == PFC_F64;
    if (real && v.rows == n && v.cols == 1 && v.ld == 1) return PFC_OK;
    return pfc_fail(ctx, PFC_ERR_SHAPE, "%s: found (%lld,%lld), expected (%lld,1) contiguous real numbers", name, (long long)v.rows, (long long)v.cols,
                    (long long)n);
}

static double get(pfc_view v, int64_t i) { return v.dtype == PFC_F64 ? ((const double *)v.data)[i] : (double)((const float *)v.data)[i]; }

static void copy_in(pfc_view v, double *to)
{
    for (int64_t i = 0; v.data && i < v.rows; i++) to[i] = get(v, i);
}

static void copy_out(const double *from, pfc_view v)
{
    for (int64_t i = 0; v.data && i < v.rows; i++) {
        if (v.dtype == PFC_F64)
            ((double *)v.data)[i] = from[i];
        else
            ((float *)v.data)[i] = (float)from[i];
    }
}

static pfc_status check_state(const pfc_batch_norm *bn, const pfc_batch_norm_state *s)
{
    pfc_ctx *ctx = bn->ctx;
    int64_t c = bn->cfg.channels, units = c * bn->cfg.num_splits;
    PFC_TRY(check_vector(ctx, "weight", s->weight, c));
    PFC_TRY(check_vector(ctx, "bias", s->bias, c));
    PFC_TRY(check_vector(ctx, "running_mean", s->running_mean, c));
    PFC_TRY(check_vector(ctx, "running_var", s->running_var, c));
    PFC_TRY(check_vector(ctx, "split_mean", s->split_mean, units));
    PFC_TRY(check_vector(ctx, "split_var", s->split_var, units));
    if (bn->cfg.kind != PFC_BN_SUB && (s->split_mean.data || s->split_var.data))
        return pfc_fail(ctx, PFC_ERR_ARG, "split_mean, split_var: only a layer with splits (sub) has them");
    return PFC_OK;
}

pfc_status pfc_batch_norm_set_state(pfc_batch_norm *bn, const pfc_batch_norm_state *state)
{
    PFC_TRY(check_state(bn, state));
    if (!bn->cfg.affine && (state->weight.data || state->bias.data))
        return pfc_fail(bn->ctx, PFC_ERR_ARG, "weight, bias: the layer is not affine, they stay 1 and 0");
    copy_in(state->weight, bn->weight);
    copy_in(state->bias, bn->bias);
    copy_in(state->running_mean, bn->running_mean);
    copy_in(state->running_var, bn->running_var);
    copy_in(state->split_mean, bn->split_mean);
    copy_in(state->split_var, bn->split_var);
    if (state->running_mean.data || state->running_var.data) bn->aggregated = false;
    if (state->num_batches_tracked >= 0) bn->batches = state->num_batches_tracked;
    return PFC_OK;
}

pfc_status pfc_batch_norm_get_state(const pfc_batch_norm *bn, pfc_batch_norm_state *state)
{
    PFC_TRY(check_state(bn, state));
    copy_out(bn->weight, state->weight);
    copy_out(bn->bias, state->bias);
    copy_out(bn->running_mean, state->running_mean);
    copy_out(bn->running_var, state->running_var);
    copy_out(bn->split_mean, state->split_mean);
    copy_out(bn->split_var, state->split_var);
    state->num_batches_tracked = bn->batches;
    return PFC_OK;
}

pfc_status pfc_batch_norm_aggregate(pfc_batch_norm *bn)
{
    if (bn->cfg.kind != PFC_BN_SUB || !bn->cfg.track_running_stats) return PFC_OK;
    if (!pfc_bn_aggregate(bn->split_mean, bn->split_var, bn->cfg.num_splits, bn->cfg.channels, bn->running_mean, bn->running_var))
        return pfc_fail(bn->ctx, PFC_ERR_NOMEM, "out of memory");
    bn->aggregated = true;
    return PFC_OK;
}

/* ---- tensors in and out: a whole sample at a time ---- */

static pfc_view by_sample(const pfc_batch_norm *bn, pfc_view v)
{
    v.rows = bn->last.shape.n;
    v.cols = v.ld = bn->cfg.channels * bn->last.shape.inner;
    return v;
}

static pfc_view by_channel(const pfc_batch_norm *bn, pfc_view v)
{
    v.rows = bn->last.shape.n * bn->cfg.channels;
    v.cols = v.ld = bn->last.shape.inner;
    return v;
}

pfc_status pfc_bn_take(const pfc_batch_norm *bn, pfc_view caller, pfc_host_rows *out)
{
    pfc_status st = pfc_host_take(bn->ctx, by_sample(bn, caller), true, out);
    out->v = by_channel(bn, out->v);
    return st;
}

pfc_status pfc_bn_room(const pfc_batch_norm *bn, pfc_view caller, pfc_host_rows *out)
{
    pfc_status st = pfc_host_room(bn->ctx, by_sample(bn, caller), out);
    out->v = by_channel(bn, out->v);
    return st;
}

pfc_status pfc_bn_give(const pfc_batch_norm *bn, const pfc_host_rows *from, pfc_view caller)
{
    const pfc_host_rows samples = { by_sample(bn, from->v), from->owned };
    return pfc_host_give(bn->ctx, &samples, by_sample(bn, caller));
}
