/* moco_state.c: the moco object: configuration, parameters of the key encoder, the ring of keys. */
#include "algo/moco.h"

#include <math.h>
#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

enum { STAGE = 1 << 16 }; /* elements of a staging buffer */

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

/* ---- host memory and the table's place ---- */

static void *element(pfc_view v, int64_t row, int64_t col) { return (char *)v.data + (size_t)(row * v.ld + col) * pfc_dtype_size(v.dtype); }

/* n numbers from one type to the other; as_f32: through float32. */
static void convert(const void *from, pfc_dtype from_type, bool as_f32, int64_t n, void *to, pfc_dtype to_type)
{
    for (int64_t i = 0; i < n; i++) {
        double x = from_type == PFC_F64 ? ((const double *)from)[i] : (double)((const float *)from)[i];
        if (to_type == PFC_F32)
            ((float *)to)[i] = (float)x;
        else
            ((double *)to)[i] = as_f32 ? (double)(float)x : x;
    }
}

typedef enum direction { UP, DOWN } direction;

static pfc_status transfer(pfc_ctx *ctx, direction way, pfc_view host, bool as_f32, pfc_view place)
{
    const pfc_ops *ops = ctx->be->ops;
    bool plain = host.dtype == place.dtype && !(as_f32 && host.dtype == PFC_F64);
    size_t size = pfc_dtype_size(place.dtype);
    int64_t piece = plain ? host.cols : STAGE;
    void *stage = plain ? NULL : malloc(STAGE * sizeof(double));
    if (!plain && !stage) return pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    pfc_status st = PFC_OK;
    for (int64_t r = 0; r < host.rows; r++)
        for (int64_t j = 0; st == PFC_OK && j < host.cols; j += piece) {
            int64_t n = host.cols - j < piece ? host.cols - j : piece;
            void *here = plain ? element(host, r, j) : stage;
            if (!plain && way == UP) convert(element(host, r, j), host.dtype, as_f32, n, stage, place.dtype);
            st = way == UP ? ops->upload(ctx->be, element(place, r, j), here, (size_t)n * size)
                           : ops->download(ctx->be, here, element(place, r, j), (size_t)n * size);
            if (!plain && way == DOWN) convert(stage, place.dtype, false, n, element(host, r, j), host.dtype);
        }
    free(stage);
    return st;
}

pfc_status pfc_moco_upload(pfc_ctx *ctx, pfc_view host, bool as_f32, pfc_view to) { return transfer(ctx, UP, host, as_f32, to); }
pfc_status pfc_moco_download(pfc_ctx *ctx, pfc_view from, pfc_view host) { return transfer(ctx, DOWN, host, false, from); }

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
    PFC_TRY(pfc_moco_upload(m->ctx, params, false, m->params));
    m->has_params = true;
    return PFC_OK;
}

pfc_status pfc_moco_get_params(pfc_moco *m, pfc_view params)
{
    if (!params.data) return PFC_OK;
    PFC_TRY(check_view(m->ctx, "params_k", params, m->params));
    if (!m->has_params) return pfc_fail(m->ctx, PFC_ERR_ARG, "params_k: there is no key encoder before the first hook");
    return pfc_moco_download(m->ctx, m->params, params);
}

pfc_status pfc_moco_set_queue(pfc_moco *m, pfc_view queue, int64_t queue_ptr)
{
    if (queue_ptr >= m->cfg.queue_size)
        return pfc_fail(m->ctx, PFC_ERR_ARG, "queue_ptr: found %lld, expected 0 to %lld", (long long)queue_ptr, (long long)m->cfg.queue_size - 1);
    if (queue.data) {
        PFC_TRY(check_view(m->ctx, "queue", queue, m->queue));
        PFC_TRY(pfc_moco_upload(m->ctx, queue, false, m->queue));
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
        st = pfc_moco_upload(ctx, row, true, pfc_view_rows(m->queue, j, 1));
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
    return pfc_moco_download(m->ctx, m->queue, queue);
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
