/* encoder_step.c: forward, backward and update of the encoder.
 *
 *   step, layer l = 0, 1, ...                                          rank holds     moved between ranks
 *   1  x_0 = x
 *   2  z_l = x_l W_l^T                                                 (b,out)
 *   3  y_l = batch norm of z_l                                         (b,out)        batch_norm.c
 *   4  x_(l+1) = max(y_l, 0), all but the last
 *   backward, l = ..., 1, 0, g = gradient of y_l, d = gradient of z_l
 *   5  d through batch norm; its weight_grad, bias_grad                (b,out)        batch_norm.c; not shared: 16 out P bytes
 *   6  dW_l = sum over all ranks of d^T x_l                            (out,in)       SUM, 8 (exact 32) out in bytes
 *   7  g of layer l - 1 = d W_l where x_l > 0, else 0                  (b,in)
 *   8  all gradients divided by the divisor
 *   update
 *   9  momentum and parameters, the same on all ranks
 *
 * Exact mode: the products are exact-v1 section 4, batch norm section 7, the update 3.11; x_(l+1), d and g are rounded to float32. */
#include "algo/host_rows.h"
#include "algo/matrix.h"
#include "core/exactint.h"
#include "train/encoder.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- memory ---- */

static bool grow(void **buffer, int64_t rows, int64_t cols, pfc_dtype real)
{
    free(*buffer);
    *buffer = aligned_alloc(64, ((size_t)(rows * cols) * pfc_dtype_size(real) / 64 + 1) * 64);
    return *buffer != NULL;
}

static pfc_status make_room(pfc_encoder *e, int64_t rows)
{
    pfc_dtype real = pfc_ctx_real(e->ctx);
    int64_t widest = e->layer[0].in;
    bool made = true;
    if (rows <= e->room) return PFC_OK;
    e->room = 0;
    for (int64_t i = 0; i < e->cfg.layers && made; i++) {
        pfc_encoder_layer *l = &e->layer[i];
        if (l->out > widest) widest = l->out;
        made = rows <= INT64_MAX / 64 / widest && grow(&l->x, rows, l->in, real) && (!l->norm || grow(&l->z, rows, l->out, real));
    }
    made = made && grow(&e->g, rows, widest, real) && grow(&e->d, rows, widest, real);
    if (!made) return pfc_fail(e->ctx, PFC_ERR_NOMEM, "out of memory: %lld rows", (long long)rows);
    e->room = rows;
    return PFC_OK;
}

/* ---- rows on the host ---- */

static pfc_view matrix(const pfc_encoder *e, void *data, int64_t rows, int64_t cols) { return pfc_view_make(data, pfc_ctx_real(e->ctx), rows, cols); }
/* As batch norm takes it: a row per sample and channel. */
static pfc_view channels(pfc_view v) { return pfc_view_make(v.data, v.dtype, v.rows * v.cols, 1); }

/* to <- float32(from). */
static void take(pfc_view from, pfc_view to)
{
    int64_t n = to.rows * to.cols;
    if (to.dtype == PFC_F32 && from.dtype == PFC_F32 && n) memcpy(to.data, from.data, (size_t)n * sizeof(float));
    if (to.dtype == PFC_F32 && from.dtype == PFC_F64)
        for (int64_t i = 0; i < n; i++) ((float *)to.data)[i] = (float)((const double *)from.data)[i];
    if (to.dtype == PFC_F64)
        for (int64_t i = 0; i < n; i++) ((double *)to.data)[i] = from.dtype == PFC_F64 ? (double)(float)((double *)from.data)[i] : ((float *)from.data)[i];
}

/* v <- float32(v). */
static void round32(pfc_view v)
{
    if (v.dtype == PFC_F64) take(v, v);
}

/* v_i <- 0 where a_i <= 0: ReLU with a = v, its backward with a the result of the forward. A NaN stays. */
static void rectify(pfc_view a, pfc_view v)
{
    int64_t n = v.rows * v.cols;
    if (v.dtype == PFC_F32) {
        const float *from = a.data;
        float *x = v.data;
#pragma omp simd
        for (int64_t i = 0; i < n; i++) x[i] = from[i] <= 0.0f ? 0.0f : x[i];
    } else {
        const double *from = a.data;
        double *x = v.data;
        for (int64_t i = 0; i < n; i++) x[i] = from[i] <= 0.0 ? 0.0 : x[i];
    }
}

static pfc_status check_rows(const pfc_encoder *e, const char *name, pfc_view v, int64_t rows, int64_t cols, bool result)
{
    bool fits = result ? v.dtype == pfc_ctx_real(e->ctx) : v.dtype == PFC_F32 || v.dtype == PFC_F64;
    if (v.rows != rows || v.cols != cols || (v.ld != cols && rows > 1) || rows < 0)
        return pfc_fail(e->ctx, PFC_ERR_SHAPE, "%s: found (%lld,%lld), expected (%lld,%lld) contiguous", name, (long long)v.rows, (long long)v.cols,
                        (long long)rows, (long long)cols);
    if (!fits) return pfc_fail(e->ctx, PFC_ERR_SHAPE, "%s: found another element type, expected %s", name, result ? "pfc_ctx_real" : "f32 or f64");
    return v.data || rows == 0 ? PFC_OK : pfc_fail(e->ctx, PFC_ERR_SHAPE, "%s: found no data", name);
}

/* ---- forward ---- */

/* 2. Local. */
static pfc_status multiply(const pfc_encoder *e, const pfc_encoder_layer *l, pfc_view x, pfc_view z)
{
    pfc_ctx *ctx = e->ctx;
    pfc_host_rows in = { 0 }, out = { 0 };
    pfc_matrix X = { 0 }, W = { 0 };
    if (x.rows == 0) return PFC_OK;
    pfc_status st = pfc_host_take(ctx, x, false, &in);
    if (st == PFC_OK) st = pfc_host_room(ctx, z, &out);
    if (st == PFC_OK) st = pfc_matrix_make(ctx, in.v, &X);
    if (st == PFC_OK) st = pfc_matrix_make(ctx, pfc_encoder_part(e->param, l->weight_at, l->out, l->in), &W);
    if (st == PFC_OK) st = pfc_product_nt(ctx, &X, &W, out.v);
    if (st == PFC_OK) st = pfc_host_give(ctx, &out, z);
    pfc_matrix_free(ctx, &X);
    pfc_matrix_free(ctx, &W);
    pfc_host_release(ctx, &in);
    pfc_host_release(ctx, &out);
    return st;
}

/* 2 to 4. */
static pfc_status layer_forward(pfc_encoder *e, int64_t i, int64_t rows, int training, pfc_view y)
{
    const pfc_encoder_layer *l = &e->layer[i];
    pfc_view z = l->norm ? matrix(e, l->z, rows, l->out) : y;
    PFC_TRY(pfc_agree(e->ctx, multiply(e, l, matrix(e, l->x, rows, l->in), z)));
    if (l->norm) PFC_TRY(pfc_batch_norm_forward(l->norm, channels(z), training, channels(y)));
    if (i + 1 == e->cfg.layers) return PFC_OK;
    round32(y);
    rectify(y, y);
    return PFC_OK;
}

/* Statistics of rank 0 on all ranks, as a checkpoint has them, aggregated if they are those of splits. */
static pfc_status share_statistics(pfc_encoder *e, const pfc_encoder_layer *l)
{
    int64_t n = pfc_encoder_statistics(e, l);
    if (n == 0) return PFC_OK;
    pfc_batch_norm_state s = pfc_encoder_running(e, l, e->vectors, e->vectors + n, PFC_F64);
    PFC_TRY(pfc_batch_norm_get_state(l->norm, &s));
    round32(pfc_view_make(e->vectors, PFC_F64, 2, n));
    PFC_TRY(pfc_comm_broadcast(&e->ctx->comm, e->vectors, 2 * n, PFC_F64, 0));
    PFC_TRY(pfc_comm_broadcast(&e->ctx->comm, &s.num_batches_tracked, 1, PFC_I64, 0));
    PFC_TRY(pfc_batch_norm_set_state(l->norm, &s));
    return pfc_batch_norm_aggregate(l->norm);
}

/* The sums of the backward are over the rows of all ranks. */
static pfc_status check_batch(const pfc_encoder *e, int64_t rows)
{
    int64_t total = rows;
    if (pfc_ctx_mode(e->ctx) != PFC_EXACT) return PFC_OK;
    PFC_TRY(pfc_comm_sum(&e->ctx->comm, &total, 1, PFC_I64));
    return pfc_check_terms(e->ctx, PFC_ERR_SHAPE, "x: rows of all ranks", total, 1);
}

pfc_status pfc_encoder_forward(pfc_encoder *e, pfc_view x, int training, pfc_view y)
{
    const pfc_encoder_layer *last = &e->layer[e->cfg.layers - 1];
    int64_t rows = x.rows;
    e->rows = -1;
    pfc_status st = check_rows(e, "x", x, rows, e->layer[0].in, false);
    if (st == PFC_OK) st = check_rows(e, "y", y, rows, last->out, true);
    if (st == PFC_OK) st = make_room(e, rows);
    PFC_TRY(pfc_agree(e->ctx, st));
    if (training) PFC_TRY(pfc_agree(e->ctx, check_batch(e, rows)));
    if (rows) take(x, matrix(e, e->layer[0].x, rows, e->layer[0].in)); /* 1 */
    for (int64_t i = 0; i < e->cfg.layers; i++) {
        if (!training && e->layer[i].norm) PFC_TRY(pfc_agree(e->ctx, share_statistics(e, &e->layer[i])));
        PFC_TRY(layer_forward(e, i, rows, training, i + 1 < e->cfg.layers ? matrix(e, e->layer[i + 1].x, rows, e->layer[i].out) : y));
    }
    if (training) e->rows = rows;
    return PFC_OK;
}

/* ---- backward ---- */

/* x (1,n) <- sum over the ranks, in whatever order. */
static pfc_status sum_over_ranks(pfc_encoder *e, pfc_view x)
{
    int ranks = e->ctx->comm.ranks;
    int64_t n = x.cols;
    double *mine = e->vectors, *all = mine + n, *term = all + ranks * n;
    for (int64_t i = 0; i < n; i++) mine[i] = x.dtype == PFC_F64 ? ((double *)x.data)[i] : ((float *)x.data)[i];
    PFC_TRY(pfc_agree(e->ctx, pfc_comm_allgather(&e->ctx->comm, mine, n, PFC_F64, all)));
    for (int64_t i = 0; i < n; i++) {
        for (int r = 0; r < ranks; r++) term[r] = all[r * n + i];
        double sum = pfc_scalar_sum_of(term, ranks);
        if (x.dtype == PFC_F64)
            ((double *)x.data)[i] = sum;
        else
            ((float *)x.data)[i] = (float)sum;
    }
    return PFC_OK;
}

/* 5. */
static pfc_status norm_backward(pfc_encoder *e, const pfc_encoder_layer *l, int64_t rows, void *g, void *d)
{
    pfc_view two = matrix(e, e->two, 1, 2 * l->out), weight = pfc_encoder_part(two, 0, l->out, 1), bias = pfc_encoder_part(two, l->out, l->out, 1);
    pfc_batch_norm_result r = { .x_grad = channels(matrix(e, d, rows, l->out)) };
    *(e->shared ? &r.shared_weight_grad : &r.weight_grad) = weight;
    *(e->shared ? &r.shared_bias_grad : &r.bias_grad) = bias;
    PFC_TRY(pfc_batch_norm_backward(l->norm, channels(matrix(e, l->z, rows, l->out)), channels(matrix(e, g, rows, l->out)), &r));
    if (l->norm_at < 0) return PFC_OK;
    if (!e->shared) PFC_TRY(sum_over_ranks(e, two));
    return pfc_agree(e->ctx, pfc_host_in(e->ctx, two, false, pfc_encoder_part(e->grad, l->norm_at, 1, 2 * l->out)));
}

/* 6. */
static pfc_status weight_gradient(pfc_encoder *e, const pfc_encoder_layer *l, pfc_view d)
{
    pfc_ctx *ctx = e->ctx;
    pfc_host_rows in = { 0 }, grad = { 0 };
    pfc_matrix X = { 0 };
    pfc_status st = pfc_host_take(ctx, matrix(e, l->x, d.rows, l->in), false, &in);
    if (st == PFC_OK) st = pfc_host_take(ctx, d, false, &grad);
    if (st == PFC_OK) st = pfc_matrix_make(ctx, in.v, &X);
    st = pfc_agree(ctx, st);
    if (st == PFC_OK) st = pfc_product_tn(ctx, grad.v, &X, true, pfc_encoder_part(e->grad, l->weight_at, l->out, l->in));
    pfc_matrix_free(ctx, &X);
    pfc_host_release(ctx, &in);
    pfc_host_release(ctx, &grad);
    return st;
}

/* 7, without ReLU. Local. */
static pfc_status input_gradient(const pfc_encoder *e, const pfc_encoder_layer *l, pfc_view d, pfc_view x_grad)
{
    pfc_ctx *ctx = e->ctx;
    pfc_host_rows grad = { 0 }, out = { 0 };
    pfc_matrix W = { 0 };
    if (d.rows == 0) return PFC_OK;
    pfc_status st = pfc_host_take(ctx, d, false, &grad);
    if (st == PFC_OK) st = pfc_host_room(ctx, x_grad, &out);
    if (st == PFC_OK) st = pfc_matrix_make(ctx, pfc_encoder_part(e->param, l->weight_at, l->out, l->in), &W);
    if (st == PFC_OK) st = pfc_product_nn(ctx, grad.v, &W, out.v);
    if (st == PFC_OK) st = pfc_host_give(ctx, &out, x_grad);
    pfc_matrix_free(ctx, &W);
    pfc_host_release(ctx, &grad);
    pfc_host_release(ctx, &out);
    return st;
}

/* 5 to 7: e->g holds the gradient of the layer's output, then that of its input. */
static pfc_status layer_backward(pfc_encoder *e, int64_t i, int64_t rows, pfc_view x_grad)
{
    const pfc_encoder_layer *l = &e->layer[i];
    pfc_view d = matrix(e, l->norm ? e->d : e->g, rows, l->out);
    if (l->norm) PFC_TRY(norm_backward(e, l, rows, e->g, e->d));
    round32(d);
    PFC_TRY(weight_gradient(e, l, d));
    if (i == 0) return pfc_agree(e->ctx, x_grad.data ? input_gradient(e, l, d, x_grad) : PFC_OK);
    if (!l->norm) { /* d was in g, where the result is to go */
        void *swap = e->g;
        e->g = e->d, e->d = swap;
    }
    pfc_view g = matrix(e, e->g, rows, l->in);
    PFC_TRY(pfc_agree(e->ctx, input_gradient(e, l, d, g)));
    rectify(matrix(e, l->x, rows, l->in), g);
    round32(g);
    return PFC_OK;
}

static pfc_status check_backward(const pfc_encoder *e, pfc_view grad_y, double divisor, pfc_view x_grad)
{
    int64_t rows = e->rows;
    if (rows < 0) return pfc_fail(e->ctx, PFC_ERR_ARG, "backward: found no training forward before it");
    if (!isfinite(divisor) || divisor == 0.0) return pfc_fail(e->ctx, PFC_ERR_ARG, "divisor: found %g, expected a finite number that is not 0", divisor);
    PFC_TRY(check_rows(e, "grad_y", grad_y, rows, e->layer[e->cfg.layers - 1].out, false));
    return x_grad.data ? check_rows(e, "x_grad", x_grad, rows, e->layer[0].in, true) : PFC_OK;
}

pfc_status pfc_encoder_backward(pfc_encoder *e, pfc_view grad_y, double divisor, pfc_view x_grad)
{
    int64_t rows = e->rows, last = e->cfg.layers - 1;
    PFC_TRY(pfc_agree(e->ctx, check_backward(e, grad_y, divisor, x_grad)));
    e->has_grad = e->fresh = false;
    if (rows) take(grad_y, matrix(e, e->g, rows, e->layer[last].out));
    for (int64_t i = last; i >= 0; i--) PFC_TRY(layer_backward(e, i, rows, x_grad));
    if (divisor != 1.0) PFC_TRY(pfc_agree(e->ctx, e->ctx->be->ops->divide(e->ctx->be, e->grad, divisor))); /* 8 */
    e->has_grad = e->fresh = true;
    return PFC_OK;
}

/* ---- update ---- */

/* 9. */
static pfc_status update(pfc_encoder *e, double lr)
{
    const pfc_ops *ops = e->ctx->be->ops;
    const pfc_sgd sgd = { lr, e->cfg.momentum, e->cfg.weight_decay, e->cfg.nesterov };
    PFC_TRY(ops->sgd_rows(e->ctx->be, e->grad, (pfc_rowset){ e->param, NULL, 0, 1 }, e->momentum, &sgd));
    PFC_TRY(ops->round_state(e->ctx->be, e->param));
    PFC_TRY(ops->round_state(e->ctx->be, e->momentum));
    return pfc_encoder_tell_norms(e);
}

pfc_status pfc_encoder_update(pfc_encoder *e, double lr)
{
    if (!e->fresh) return pfc_fail(e->ctx, PFC_ERR_ARG, "update: found no backward before it that is not used up");
    e->fresh = false;
    e->rows = -1;
    return pfc_agree(e->ctx, update(e, lr));
}
