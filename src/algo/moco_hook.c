/* moco_hook.c: the momentum encoder: its parameters follow the query encoder's, and its keys come from shuffled images.
 *
 * He et al., CVPR 2020, sections 3.2 (equation 2) and 3.3 (shuffling BN). Mirrors VISSL hooks/moco_hooks.py MoCoHook.on_forward (09270ed); equations:
 * semantics.md 6.2, 6.3; values: doc/exact-v1.md section 6.
 *
 * P ranks, r this rank, b images of m bytes on it, D width of a key, theta_q and theta_k (n) parameters of the two encoders, mu momentum.
 *
 *   step                                                                     holds afterwards         moved per rank
 *   1  shuffle        the images, by a permutation of (seed, step)           images (b,m)             (1 - 1/P) b m in and out, as in moco_shuffle.c
 *   2  parameters     first call: theta_k = theta_q ; later                  theta_k (n)              -
 *                     theta_k = mu theta_k + (1 - mu) theta_q
 *   3  encode         k = encoder(theta_k, images), k / max(|k|, 1e-12)      keys (b,D), shuffled     what the encoder moves
 *   4  unshuffle      the keys                                               keys (b,D), own order    8 (1 - 1/P) b D exact, 4 (1 - 1/P) b D fast
 *
 * The source takes 2 before 1. Neither looks at the other's result, and this way images that do not fit are found before the parameters have moved.
 * There is no gradient through any of it. One rank does not shuffle, nor does the source (6.6 MOCO-4). */
#include "algo/moco.h"

#include "algo/host_rows.h"

#include <stdlib.h>

typedef struct hook {
    pfc_moco *moco;
    pfc_ctx *ctx;
    int64_t b;
    pfc_moco_shuffle *shuffle; /* NULL: not shuffled */
    pfc_view images, shuffled; /* host */
    pfc_view keys;             /* (b,D) real, host */
    pfc_view theta;            /* (1,n) real, host: what the encoder sees */
    pfc_view k, norm, expo;    /* (b,D), (b,1) */
    pfc_view part;             /* (1, up to PART) real: a part of theta_q */
} hook;

enum { PART = 1 << 20 };

/* 2: part by part, so that theta_q needs no copy as large as itself. */
static pfc_status momentum_update(hook *h, pfc_view q)
{
    pfc_moco *m = h->moco;
    const pfc_ops *ops = h->ctx->be->ops;
    if (!m->has_params) {
        PFC_TRY(pfc_host_in(h->ctx, q, true, m->params));
        m->has_params = true;
        return PFC_OK;
    }
    PFC_TRY(ops->round_state(h->ctx->be, m->params));
    for (int64_t i = 0; i < q.cols; i += PART) {
        size_t at = (size_t)i;
        pfc_view from = q, to = m->params, part = h->part;
        from.cols = to.cols = part.cols = q.cols - i < PART ? q.cols - i : PART;
        from.data = (char *)q.data + at * pfc_dtype_size(q.dtype);
        to.data = (char *)to.data + at * pfc_dtype_size(to.dtype);
        PFC_TRY(pfc_host_in(h->ctx, from, true, part));
        PFC_TRY(ops->momentum_update(h->ctx->be, to, part, m->cfg.momentum));
    }
    return PFC_OK;
}

/* 3 */
static pfc_status encode(hook *h, pfc_moco_encoder encoder, void *user)
{
    const pfc_ops *ops = h->ctx->be->ops;
    pfc_rowset rows = { h->k, NULL, 0, h->b };
    PFC_TRY(pfc_host_out(h->ctx, h->moco->params, h->theta));
    int failure = encoder(user, h->theta, h->shuffle ? h->shuffled : h->images, h->keys);
    if (failure) return pfc_fail(h->ctx, PFC_ERR_RUNTIME, "the key encoder failed with %d", failure);
    if (h->b == 0) return PFC_OK;
    PFC_TRY(pfc_host_in(h->ctx, h->keys, false, h->k));
    PFC_TRY(ops->row_norms(h->ctx->be, rows, h->norm, h->expo.data));
    PFC_TRY(ops->normalise(h->ctx->be, h->k, h->norm, h->k));
    return pfc_host_out(h->ctx, h->k, h->keys);
}

static pfc_status run(hook *h, pfc_view params_q, pfc_moco_encoder encoder, void *user, pfc_view keys)
{
    if (h->shuffle) PFC_TRY(pfc_moco_shuffle_rows(h->shuffle, h->images, h->shuffled)); /* 1 */
    PFC_TRY(pfc_agree(h->ctx, momentum_update(h, params_q)));                           /* 2 */
    PFC_TRY(pfc_agree(h->ctx, encode(h, encoder, user)));                               /* 3 */
    if (h->shuffle) return pfc_moco_unshuffle_rows(h->shuffle, h->keys, keys);          /* 4 */
    return pfc_host_out(h->ctx, h->k, keys);
}

/* ---- around it ---- */

static pfc_status check_views(const hook *h, pfc_view params_q, pfc_view keys)
{
    const pfc_moco_config *c = &h->moco->cfg;
    if (h->b < 0 || h->images.cols < 1)
        return pfc_fail(h->ctx, PFC_ERR_SHAPE, "images: found (%lld,%lld), expected (b,m), m 1 or more", (long long)h->b, (long long)h->images.cols);
    if (params_q.rows != 1 || params_q.cols != c->num_params || (params_q.cols && !params_q.data) || (params_q.dtype != PFC_F32 && params_q.dtype != PFC_F64))
        return pfc_fail(h->ctx, PFC_ERR_SHAPE, "params_q: found (%lld,%lld), expected (1,%lld) float", (long long)params_q.rows, (long long)params_q.cols,
                        (long long)c->num_params);
    if (keys.rows != h->b || keys.cols != c->embedding_size || (h->b && !keys.data) || keys.dtype != h->ctx->be->ops->real)
        return pfc_fail(h->ctx, PFC_ERR_SHAPE, "keys: found (%lld,%lld), expected (%lld,%lld) of the mode's real type", (long long)keys.rows,
                        (long long)keys.cols, (long long)h->b, (long long)c->embedding_size);
    return PFC_OK;
}

static pfc_status host_memory(hook *h, pfc_dtype dtype, int64_t rows, int64_t cols, pfc_view *out)
{
    *out = pfc_view_make(malloc((size_t)rows * (size_t)cols * pfc_dtype_size(dtype) + 8), dtype, rows, cols);
    return out->data ? PFC_OK : pfc_fail(h->ctx, PFC_ERR_NOMEM, "out of memory");
}

static pfc_status allocate(hook *h, bool shuffling)
{
    pfc_ctx *ctx = h->ctx;
    pfc_dtype real = ctx->be->ops->real;
    int64_t n = h->moco->cfg.num_params, d = h->moco->cfg.embedding_size;
    if (shuffling) PFC_TRY(host_memory(h, h->images.dtype, h->b, h->images.cols, &h->shuffled));
    PFC_TRY(host_memory(h, real, h->b, d, &h->keys));
    PFC_TRY(host_memory(h, real, 1, n, &h->theta));
    PFC_TRY(pfc_ws_view(ctx, real, h->b, d, &h->k));
    PFC_TRY(pfc_ws_view(ctx, real, h->b, 1, &h->norm));
    PFC_TRY(pfc_ws_view(ctx, PFC_I32, h->b, 1, &h->expo));
    return pfc_ws_view(ctx, real, 1, n < PART ? n : PART, &h->part);
}

static void release(hook *h)
{
    pfc_view *views[] = { &h->k, &h->norm, &h->expo, &h->part };
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) pfc_ws_free(h->ctx, views[i]);
    free(h->shuffled.data);
    free(h->keys.data);
    free(h->theta.data);
    pfc_moco_shuffle_destroy(&h->shuffle);
}

pfc_status pfc_moco_hook(pfc_moco *moco, pfc_view params_q, pfc_view images, pfc_moco_encoder encoder, void *user, int shuffle_batch, int64_t step,
                         pfc_view keys)
{
    pfc_ctx *ctx = moco->ctx;
    hook h = { .moco = moco, .ctx = ctx, .b = images.rows, .images = images };
    bool shuffling = shuffle_batch && ctx->comm.ranks > 1;
    pfc_status st = check_views(&h, params_q, keys);
    if (st == PFC_OK) st = allocate(&h, shuffling);
    st = pfc_agree(ctx, st);
    if (st == PFC_OK && shuffling) st = pfc_moco_shuffle_create(ctx, h.b, NULL, moco->cfg.seed, step, &h.shuffle);
    if (st == PFC_OK) st = run(&h, params_q, encoder, user, keys);
    release(&h);
    return st;
}
