/* moco_state.c: the moco object: configuration, parameters of the key encoder, the ring of keys. */
#include "algo/host_rows.h"
#include "algo/moco.h"

#include <math.h>
#include <pfc/rng.h>
#include <stdlib.h>

static const double MAX_FACTOR = 1e100; /* of tau and 1/tau: gradient coefficients stay far from overflow */

pfc_moco_config pfc_moco_defaults(void)
{
    pfc_moco_config c = { .embedding_size = 128, .queue_size = 65536, .momentum = 0.999, .temperature = 0.2 };
    return c;
}

static pfc_status check_config(pfc_ctx *ctx, const pfc_moco_config *c)
{
    if (c->num_params < 0) return pfc_fail(ctx, PFC_ERR_ARG, "num_params: found %lld, expected 0 or more", (long long)c->num_params);
    if (c->embedding_size < 1) return pfc_fail(ctx, PFC_ERR_ARG, "embedding_size: found %lld, expected 1 or more", (long long)c->embedding_size);
    if (c->queue_size < 1) return pfc_fail(ctx, PFC_ERR_ARG, "queue_size: found %lld, expected 1 or more", (long long)c->queue_size);
    PFC_TRY(pfc_check_terms(ctx, PFC_ERR_ARG, "embedding_size", c->embedding_size, 1));
    PFC_TRY(pfc_check_terms(ctx, PFC_ERR_ARG, "queue_size", c->queue_size, 1));
    if (!isfinite(c->momentum)) return pfc_fail(ctx, PFC_ERR_ARG, "momentum: found %g, expected a number", c->momentum);
    if (!(fabs(c->temperature) >= 1 / MAX_FACTOR && fabs(c->temperature) <= MAX_FACTOR))
        return pfc_fail(ctx, PFC_ERR_ARG, "temperature: found %g, expected a number of magnitude 1e-100 to 1e100", c->temperature);
    return PFC_OK;
}

/* Collective. */
static pfc_status same_on_all_ranks(pfc_ctx *ctx, const pfc_moco_config *c)
{
    int64_t n[] = { c->num_params, -c->num_params, c->embedding_size, -c->embedding_size, c->queue_size, -c->queue_size, c->queue_wrap, -c->queue_wrap };
    double x[] = { c->momentum, -c->momentum, c->temperature, -c->temperature };
    static const char *const names[] = { "num_params", "embedding_size", "queue_size", "queue_wrap", "momentum", "temperature" };
    PFC_TRY(pfc_comm_max(&ctx->comm, n, 8, PFC_I64));
    PFC_TRY(pfc_comm_max(&ctx->comm, x, 4, PFC_F64));
    for (int i = 0; i < 6; i++)
        if (i < 4 ? n[2 * i] != -n[2 * i + 1] : x[2 * i - 8] != -x[2 * i - 7]) return pfc_fail(ctx, PFC_ERR_ARG, "%s: not the same on all ranks", names[i]);
    return PFC_OK;
}

pfc_status pfc_moco_create(pfc_ctx *ctx, const pfc_moco_config *cfg, pfc_moco **out)
{
    *out = NULL;
    PFC_TRY(pfc_agree(ctx, check_config(ctx, cfg)));
    PFC_TRY(pfc_agree(ctx, same_on_all_ranks(ctx, cfg)));
    pfc_moco *m = calloc(1, sizeof *m);
    pfc_status st = m ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    if (m) {
        m->ctx = ctx;
        m->cfg = *cfg;
        st = pfc_ws_view(ctx, ctx->be->ops->real, 1, cfg->num_params, &m->params);
        if (st == PFC_OK) st = pfc_ws_view(ctx, ctx->be->ops->real, cfg->queue_size, cfg->embedding_size, &m->queue);
        if (st == PFC_OK) st = pfc_ws_view(ctx, ctx->be->ops->real, cfg->queue_size, 1, &m->norm);
        if (st == PFC_OK) st = pfc_ws_view(ctx, PFC_I32, cfg->queue_size, 1, &m->expo);
    }
    st = pfc_agree(ctx, st);
    if (st == PFC_OK)
        *out = m;
    else
        pfc_moco_destroy(&m);
    return st;
}

void pfc_moco_destroy(pfc_moco **moco)
{
    if (!moco || !*moco) return;
    pfc_moco *m = *moco;
    pfc_ws_free(m->ctx, &m->params);
    pfc_ws_free(m->ctx, &m->queue);
    pfc_ws_free(m->ctx, &m->norm);
    pfc_ws_free(m->ctx, &m->expo);
    free(m);
    *moco = NULL;
}

/* ---- state from and to the caller ---- */

static pfc_status check_view(pfc_ctx *ctx, const char *name, pfc_view v, pfc_view like)
{
    if (v.rows == like.rows && v.cols == like.cols && (v.dtype == PFC_F32 || v.dtype == PFC_F64)) return PFC_OK;
    return pfc_fail(ctx, PFC_ERR_SHAPE, "%s: found (%lld,%lld), expected (%lld,%lld) float", name, (long long)v.rows, (long long)v.cols, (long long)like.rows,
                    (long long)like.cols);
}

pfc_status pfc_moco_set_params(pfc_moco *m, pfc_view params)
{
    if (!params.data) return PFC_OK;
    PFC_TRY(check_view(m->ctx, "params_k", params, m->params));
    PFC_TRY(pfc_host_in(m->ctx, params, false, m->params));
    m->has_params = true;
    return PFC_OK;
}

pfc_status pfc_moco_get_params(pfc_moco *m, pfc_view params)
{
    if (!params.data) return PFC_OK;
    PFC_TRY(check_view(m->ctx, "params_k", params, m->params));
    if (!m->has_params) return pfc_fail(m->ctx, PFC_ERR_ARG, "params_k: there is no key encoder before the first hook");
    return pfc_host_out(m->ctx, m->params, params);
}

pfc_status pfc_moco_set_queue(pfc_moco *m, pfc_view queue, int64_t queue_ptr)
{
    if (queue_ptr >= m->cfg.queue_size)
        return pfc_fail(m->ctx, PFC_ERR_ARG, "queue_ptr: found %lld, expected 0 to %lld", (long long)queue_ptr, (long long)m->cfg.queue_size - 1);
    if (queue.data) {
        PFC_TRY(check_view(m->ctx, "queue", queue, m->queue));
        PFC_TRY(pfc_host_in(m->ctx, queue, false, m->queue));
        m->has_queue = true;
        m->fresh = 0;
        m->fresh_count = m->cfg.queue_size;
    }
    if (queue_ptr >= 0) m->ptr = queue_ptr;
    return PFC_OK;
}

/* Element i = j*D + d of the initial queue is float32(normal(seed, i)), then the rows are normalised. */
static pfc_status initial_queue(pfc_moco *m)
{
    pfc_ctx *ctx = m->ctx;
    int64_t d = m->cfg.embedding_size;
    double pair[2] = { 0.0, 0.0 };
    pfc_rowset rows = { m->queue, NULL, 0, m->queue.rows };
    if (m->has_queue) return PFC_OK;
    pfc_view row = pfc_view_make(malloc((size_t)d * sizeof(double)), PFC_F64, 1, d);
    if (!row.data) return pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    pfc_status st = PFC_OK;
    for (int64_t j = 0; st == PFC_OK && j < m->queue.rows; j++) {
        for (int64_t i = j * d; i < (j + 1) * d; i++) {
            if (i == j * d || i % 2 == 0) pfc_normal_pair(m->cfg.seed, i / 2, 0, PFC_STREAM_QUEUE, pair);
            ((double *)row.data)[i - j * d] = pair[i % 2];
        }
        st = pfc_host_in(ctx, row, true, pfc_view_rows(m->queue, j, 1));
    }
    free(row.data);
    if (st == PFC_OK) st = ctx->be->ops->row_norms(ctx->be, rows, m->norm, m->expo.data);
    if (st == PFC_OK) st = ctx->be->ops->normalise(ctx->be, m->queue, m->norm, m->queue);
    m->has_queue = st == PFC_OK;
    m->fresh = 0;
    m->fresh_count = m->cfg.queue_size;
    return st;
}

pfc_status pfc_moco_get_queue(pfc_moco *m, pfc_view queue, int64_t *queue_ptr)
{
    if (queue_ptr) *queue_ptr = m->ptr;
    if (!queue.data) return PFC_OK;
    PFC_TRY(check_view(m->ctx, "queue", queue, m->queue));
    PFC_TRY(initial_queue(m));
    return pfc_host_out(m->ctx, m->queue, queue);
}

/* ---- the ring ---- */

pfc_status pfc_moco_queue_ready(pfc_moco *m)
{
    const pfc_ops *ops = m->ctx->be->ops;
    PFC_TRY(initial_queue(m));
    while (m->fresh_count > 0) { /* at most two stretches */
        int64_t left = m->cfg.queue_size - m->fresh, n = m->fresh_count < left ? m->fresh_count : left;
        pfc_rowset rows = { m->queue, NULL, m->fresh, n };
        PFC_TRY(ops->round_state(m->ctx->be, pfc_view_rows(m->queue, m->fresh, n)));
        PFC_TRY(ops->row_norms(m->ctx->be, rows, pfc_view_rows(m->norm, m->fresh, n), (int32_t *)m->expo.data + m->fresh));
        m->fresh = (m->fresh + n) % m->cfg.queue_size;
        m->fresh_count -= n;
    }
    return PFC_OK;
}

pfc_status pfc_moco_enqueue(pfc_moco *m, const void *keys, int64_t n)
{
    const pfc_ops *ops = m->ctx->be->ops;
    int64_t size = m->cfg.queue_size, kept = n < size ? n : size, first = (m->ptr + (n - kept)) % size;
    size_t row = (size_t)m->cfg.embedding_size * pfc_dtype_size(ops->real);
    const char *from = (const char *)keys + (size_t)(n - kept) * row;
    m->fresh = first;
    m->fresh_count = kept;
    m->ptr = (m->ptr + n) % size;
    for (int64_t done = 0; done < kept;) {
        int64_t at = (first + done) % size, count = kept - done < size - at ? kept - done : size - at;
        PFC_TRY(ops->upload(m->ctx->be, pfc_view_rows(m->queue, at, 1).data, from + (size_t)done * row, (size_t)count * row));
        done += count;
    }
    return PFC_OK;
}
