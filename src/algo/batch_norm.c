/* batch_norm.c: batch normalisation forward and backward: over this rank's batch, over its splits, or over a group of ranks.
 *
 * Mirrors BatchNorm (PyTorch), SubBatchNorm3d and NaiveSyncBatchNorm3d (SlowFast, TimeSformer: batchnorm_helper.py). Equations: semantics.md 7.2, 7.3,
 * 7.6 and A.9; values: doc/exact-v1.md section 7.
 *
 * x (n, C, L): n samples of this rank, C channels, L elements each. Split s holds the samples i with i mod S = s (S = 1 but for sub); unit u = s*C + c,
 * U = S*C of them. d ranks share the statistics of a unit: the ranks of a group (sync), else this rank alone (d = 1, nothing is moved).
 *
 *   forward                                                                      holds afterwards         moved per rank
 *   1  count         M = elements of a unit over the group                       M                        24 bytes
 *   2  grid          what the sums are taken on (exact: exponents; fast: shifts) grid (U)                 8 U
 *   3  sums          sum x, sum x^2, allreduce SUM                               sums (2U)                32 U exact, 16 U fast
 *   4  statistics    mean = sum x / M, var = sum x^2 / M - mean^2                mean, var (U)            16 U d, only if equal weights meet unequal counts
 *   5  running       r += momentum (new - r)                                     running (C or U)         -
 *   6  normalise     x^ = (x - mean)/sqrt(var + eps), y = weight x^ + bias       y (n, C, L)              -
 *   backward, g = dL/dy
 *   7  grid          of the sums of g and g x^ (exact only)                      grid (2C)                16 C
 *   8  sums          bias_grad = sum g, weight_grad = sum g x^ of this rank; allreduce SUM  sums (2U)     32 U exact, 16 U fast
 *   9  gradient      dx = weight/sqrt(var + eps) (g - sum g / D - x^ sum g x^ / D)   dx (n, C, L)         -
 *
 * Besides, all ranks of the context agree that none has failed: forward on what was handed in, on memory, before step 3's exchange and at the end; backward on
 * the first two at once, before step 8's exchange and at the end. Step 5 is done after that: an error leaves the running statistics alone.
 *
 * The source moves 2C floats of every one of the G ranks of the machine to every other (GroupGather, 8 C G bytes), forward and backward, and keeps
 * those of its sub-group; the sum over the sub-group needs no more than it. D = M where every element counts the same; with equal weights of the
 * ranks D = d times the elements of this rank, which is what goes back through the mean of means. */
#include "algo/batch_norm.h"

#include <stdlib.h>
#include <string.h>

static int64_t units_of(const pfc_batch_norm *bn) { return bn->last.shape.splits * bn->cfg.channels; }

/* A failure in the group's communicator is told through the context's. */
static pfc_status group_agree(pfc_batch_norm *bn, pfc_status st)
{
    if (st != PFC_OK && bn->group.error[0]) memcpy(bn->ctx->comm.error, bn->group.error, sizeof bn->group.error);
    bn->group.error[0] = 0;
    return pfc_agree(bn->ctx, st);
}

/* ---- what the tensors are ---- */

static pfc_status check_tensor(const pfc_batch_norm *bn, const char *name, pfc_view v, bool result)
{
    pfc_dtype real = bn->ctx->be->ops->real;
    bool fits = result ? v.dtype == real : v.dtype == PFC_F32 || v.dtype == PFC_F64;
    if (!v.data && v.rows * v.cols > 0) return pfc_fail(bn->ctx, PFC_ERR_ARG, "%s: found no data", name);
    if (!fits) return pfc_fail(bn->ctx, PFC_ERR_SHAPE, "%s: found another element type, expected %s", name, result ? "pfc_ctx_real" : "f32 or f64");
    if (v.cols < 1 || v.rows < 0 || v.rows % bn->cfg.channels != 0 || (v.ld != v.cols && v.rows > 1))
        return pfc_fail(bn->ctx, PFC_ERR_SHAPE, "%s: found (%lld,%lld), expected (n*%lld, L) contiguous", name, (long long)v.rows, (long long)v.cols,
                        (long long)bn->cfg.channels);
    return PFC_OK;
}

static pfc_status check_alike(const pfc_batch_norm *bn, const char *name, pfc_view v, pfc_view x, bool result)
{
    PFC_TRY(check_tensor(bn, name, v, result));
    if (v.rows == x.rows && v.cols == x.cols) return PFC_OK;
    return pfc_fail(bn->ctx, PFC_ERR_SHAPE, "%s: found (%lld,%lld), expected that of x, (%lld,%lld)", name, (long long)v.rows, (long long)v.cols,
                    (long long)x.rows, (long long)x.cols);
}

/* ---- the batch ---- */

/* Sums of this rank alone: of the forward over a unit, of the backward over all splits of a channel. */
static pfc_status check_length(const pfc_batch_norm *bn)
{
    return pfc_check_terms(bn->ctx, PFC_ERR_SHAPE, "x: samples x elements of a channel", bn->last.shape.n, bn->last.shape.inner);
}

/* Where one sample decides alone: as the sources, one value per channel cannot be normalised by itself. */
static pfc_status check_batch(const pfc_batch_norm *bn)
{
    const pfc_bn_last *l = &bn->last;
    const pfc_bn_shape *s = &l->shape;
    if (s->n % s->splits != 0)
        return pfc_fail(bn->ctx, PFC_ERR_SHAPE, "x: found %lld samples on a rank, expected a multiple of num_splits, %lld", (long long)s->n,
                        (long long)s->splits);
    int64_t values = s->n / s->splits * s->inner;
    if (l->batch && !l->shared && values <= 1)
        return pfc_fail(bn->ctx, PFC_ERR_SHAPE, "x: found %lld value%s per channel on a rank, expected more than 1 when training", (long long)values,
                        values == 1 ? "" : "s");
    return l->batch ? check_length(bn) : PFC_OK;
}

/* Of an x that is not checked yet: batch and shared, which say what the ranks exchange, hold on all of them. */
static void describe(pfc_batch_norm *bn, pfc_view x, int training)
{
    pfc_bn_last *l = &bn->last;
    bool tracked = bn->cfg.track_running_stats != 0;
    l->done = false;
    l->batch = training || !tracked; /* without running statistics evaluation has none but the batch's */
    l->shared = training && bn->grouped;
    l->shape = (pfc_bn_shape){ x.rows / bn->cfg.channels, bn->cfg.channels, training && bn->cfg.kind == PFC_BN_SUB ? bn->cfg.num_splits : 1, x.cols };
}

/* L is one number for all ranks: the largest and the smallest are the same. mine: what this rank has found so far; if that is a failure it joins without a say. */
static pfc_status check_inner(pfc_batch_norm *bn, pfc_status mine)
{
    int64_t both[2] = { INT64_MIN, INT64_MIN };
    if (mine == PFC_OK) both[1] = -(both[0] = bn->last.shape.inner);
    pfc_status st = pfc_comm_max(&bn->ctx->comm, both, 2, PFC_I64);
    if (mine != PFC_OK || st != PFC_OK || both[0] == -both[1]) return mine != PFC_OK ? mine : st;
    return pfc_fail(bn->ctx, PFC_ERR_SHAPE, "x: found %lld to %lld columns, expected the same on all ranks", (long long)-both[1], (long long)both[0]);
}

/* ---- forward ---- */

/* 1: M, before any work. mine: as above. */
static pfc_status count_elements(pfc_batch_norm *bn, pfc_status mine)
{
    pfc_bn_last *l = &bn->last;
    bool ok = mine == PFC_OK, equal = bn->cfg.weighting == PFC_BN_EQUAL;
    int64_t own = ok ? l->shape.n / l->shape.splits * l->shape.inner : 0, total = own, extremes[2] = { ok ? own : INT64_MIN, ok ? -own : INT64_MIN };
    l->unequal = false;
    l->count = own;
    l->divisor = (double)own;
    if (!l->shared) return mine;
    pfc_status st = pfc_comm_max(&bn->group, extremes, 2, PFC_I64);
    if (st == PFC_OK) st = pfc_comm_sum(&bn->group, &total, 1, PFC_I64);
    if (!ok || st != PFC_OK) return ok ? st : mine;
    l->unequal = equal && extremes[0] != -extremes[1];
    l->count = total;
    l->divisor = equal ? (double)own * (double)bn->group.ranks : (double)total;
    if (equal && extremes[1] == 0)
        return pfc_fail(bn->ctx, PFC_ERR_SHAPE, "x: found no rows on a rank, expected 1 or more on each rank of a group with equal weighting");
    return pfc_check_terms(bn->ctx, PFC_ERR_SHAPE, "x: elements of a channel over the ranks of a group", total, 1);
}

/* What a forward works with: the caller's tensors; where the batch's statistics are taken and no function does all at once, grid (U), work vectors
 * (2U (1 + d)) and sums (2U). */
typedef struct room {
    pfc_host_rows x, y;
    double *grid, *work;
    pfc_acc *acc;
    bool alone; /* ops->bn_forward_alone does 2 to 4 and 6: no other rank is asked */
} room;

static pfc_status make_room(pfc_batch_norm *bn, pfc_view x, pfc_view y, room *r)
{
    const pfc_ops *ops = bn->ctx->be->ops;
    const pfc_bn_last *l = &bn->last;
    int64_t units = units_of(bn), d = l->shared ? bn->group.ranks : 0;
    r->alone = l->batch && !l->shared && ops->bn_forward_alone;
    PFC_TRY(pfc_bn_take(bn, x, &r->x));
    PFC_TRY(pfc_bn_room(bn, y, &r->y));
    if (!l->batch || r->alone) return PFC_OK;
    r->grid = calloc((size_t)(units * (3 + 2 * d)) + 1, sizeof *r->grid);
    if (!r->grid) return pfc_fail(bn->ctx, PFC_ERR_NOMEM, "out of memory");
    r->work = r->grid + units;
    return ops->acc_create(bn->ctx->be, PFC_ACC_SCALAR, 2 * units, 1, &r->acc);
}

static void free_room(pfc_batch_norm *bn, room *r)
{
    pfc_host_release(bn->ctx, &r->x);
    pfc_host_release(bn->ctx, &r->y);
    if (r->acc) bn->ctx->be->ops->acc_destroy(bn->ctx->be, r->acc);
    free(r->grid);
}

/* 4, the source's weighting with unequal counts: every rank's own mean and variance, merged with the same weight each. work: 2U (1 + d). */
static pfc_status merge_statistics(pfc_batch_norm *bn, const pfc_acc *acc, const double *grid, double *work)
{
    pfc_bn_last *l = &bn->last;
    int64_t units = units_of(bn), own = l->shape.n / l->shape.splits * l->shape.inner;
    double *all = work + 2 * units;
    pfc_status st = bn->ctx->be->ops->bn_moments(bn->ctx->be, acc, grid, own, work, work + units), moved;
    moved = pfc_comm_allgather(&bn->group, work, 2 * units, PFC_F64, all);
    if (st == PFC_OK) st = moved;
    if (st == PFC_OK && !pfc_bn_merge(all, bn->group.ranks, units, l->mean, l->var)) st = pfc_fail(bn->ctx, PFC_ERR_NOMEM, "out of memory");
    return st;
}

/* 2, 3, 4. A rank whose grid failed joins the exchange of grids all the same, so that one agreement, before the sums, is enough. Ranks of different groups
 * may differ in what they exchange, but not in how often they agree. */
static pfc_status batch_statistics(pfc_batch_norm *bn, const room *r)
{
    pfc_backend *be = bn->ctx->be;
    const pfc_ops *ops = be->ops;
    pfc_bn_last *l = &bn->last;
    int64_t units = units_of(bn);
    memset(l->mean, 0, (size_t)units * sizeof(double)); /* what a group without rows keeps */
    memset(l->var, 0, (size_t)units * sizeof(double));
    pfc_status st = ops->bn_grid(be, l->shape, r->x.v, r->grid), moved = PFC_OK;
    if (l->shared) moved = pfc_comm_max(&bn->group, r->grid, units, PFC_F64);
    if (st == PFC_OK) st = moved;
    if (st == PFC_OK) st = ops->bn_sums(be, l->shape, r->x.v, r->grid, r->acc);
    if (st == PFC_OK) st = ops->acc_fold(be, r->acc, NULL);
    PFC_TRY(group_agree(bn, st));
    if (l->unequal) return merge_statistics(bn, r->acc, r->grid, r->work);
    if (l->shared) PFC_TRY(pfc_comm_sum_acc(&bn->group, be, r->acc));
    return l->count > 0 ? ops->bn_moments(be, r->acc, r->grid, l->count, l->mean, l->var) : PFC_OK;
}

/* 5. A batch without a single row leaves them alone. */
static void running_statistics(pfc_batch_norm *bn)
{
    const pfc_batch_norm_config *cfg = &bn->cfg;
    const pfc_bn_last *l = &bn->last;
    bool unbiased = cfg->running_var == PFC_BN_RUNNING_UNBIASED || (cfg->running_var == PFC_BN_RUNNING_SOURCE && !l->shared);
    double momentum = cfg->momentum == cfg->momentum ? cfg->momentum : 1.0 / (double)(bn->batches + 1);
    if (!cfg->track_running_stats || l->count == 0) return;
    bn->batches++;
    pfc_bn_update(l->mean, l->var, units_of(bn), momentum, unbiased, l->count, cfg->kind == PFC_BN_SUB ? bn->split_mean : bn->running_mean,
                  cfg->kind == PFC_BN_SUB ? bn->split_var : bn->running_var);
}

static void export_vector(const double *from, int64_t n, pfc_view to)
{
    for (int64_t i = 0; to.data && i < n; i++) {
        if (to.dtype == PFC_F64)
            ((double *)to.data)[i] = from[i];
        else
            ((float *)to.data)[i] = (float)from[i];
    }
}

/* A vector of this rank as (S, C) of reals for the tap. */
static void tap(const pfc_batch_norm *bn, const char *name, double *v)
{
    const pfc_ctx *ctx = bn->ctx;
    pfc_view vector = pfc_view_make(v, PFC_F64, bn->last.shape.splits, bn->cfg.channels);
    if (!ctx->tap) return;
    if (ctx->be->ops->real == PFC_F32) {
        vector.data = bn->last.shown;
        vector.dtype = PFC_F32;
        export_vector(v, units_of(bn), pfc_view_make(bn->last.shown, PFC_F32, units_of(bn), 1));
    }
    ctx->tap(ctx->tap_user, name, vector, PFC_RANK_SLICES);
}

/* 2 to 4 and 6 in one go where no other rank is asked. */
static pfc_status forward_alone(pfc_batch_norm *bn, const room *r)
{
    pfc_bn_last *l = &bn->last;
    const pfc_bn_units units = { NULL, NULL, bn->weight, bn->bias, NULL, NULL };
    return bn->ctx->be->ops->bn_forward_alone(bn->ctx->be, l->shape, r->x.v, &units, bn->cfg.eps, l->mean, l->var, l->inv, r->y.v);
}

/* As a port keeps them between steps. */
static void round_running(pfc_batch_norm *bn)
{
    int64_t c = bn->cfg.channels;
    if (!bn->aggregated) {
        pfc_bn_round(bn->running_mean, c);
        pfc_bn_round(bn->running_var, c);
    }
    pfc_bn_round(bn->split_mean, c * bn->cfg.num_splits);
    pfc_bn_round(bn->split_var, c * bn->cfg.num_splits);
}

/* Mean and variance that this call normalises with. */
static pfc_status statistics(pfc_batch_norm *bn, const room *r)
{
    pfc_bn_last *l = &bn->last;
    size_t bytes = (size_t)bn->cfg.channels * sizeof(double);
    if (l->batch) {
        PFC_TRY(r->alone ? forward_alone(bn, r) : batch_statistics(bn, r));
    } else {
        memcpy(l->mean, bn->running_mean, bytes);
        memcpy(l->var, bn->running_var, bytes);
    }
    if (!r->alone) pfc_bn_inverse(l->var, bn->cfg.eps, units_of(bn), l->inv);
    tap(bn, "mean", l->mean);
    tap(bn, "var", l->var);
    return PFC_OK;
}

pfc_status pfc_batch_norm_forward(pfc_batch_norm *bn, pfc_view x, int training, pfc_view y)
{
    pfc_ctx *ctx = bn->ctx;
    room r = { 0 };
    describe(bn, x, training);
    pfc_status st = check_tensor(bn, "x", x, false);
    if (st == PFC_OK) st = check_alike(bn, "y", y, x, true);
    if (st == PFC_OK) st = check_batch(bn);
    st = check_inner(bn, st);
    if (bn->last.batch) st = count_elements(bn, st); /* 1 */
    PFC_TRY(group_agree(bn, st));
    st = pfc_agree(ctx, make_room(bn, x, y, &r));
    if (st == PFC_OK) {
        if (training) bn->aggregated = false;
        round_running(bn);
        st = statistics(bn, &r); /* 2, 3, 4 */
        const pfc_bn_units units = { bn->last.mean, bn->last.inv, bn->weight, bn->bias, NULL, NULL };
        if (st == PFC_OK && !r.alone) st = ctx->be->ops->bn_normalise(ctx->be, bn->last.shape, r.x.v, &units, r.y.v); /* 6 */
        if (st == PFC_OK) st = ctx->be->ops->sync(ctx->be);
        if (st == PFC_OK) st = pfc_bn_give(bn, &r.y, y);
        st = group_agree(bn, st);
    }
    if (st == PFC_OK && training) running_statistics(bn); /* 5, when no rank has failed */
    free_room(bn, &r);
    bn->last.done = st == PFC_OK;
    return st;
}

/* ---- backward ---- */

/* Work vectors of the backward: sums (2U), mean gradients (2U), this rank's sums over the splits (2C), the grid (2C). */
typedef struct sums {
    double *all, *group, *mean, *own, *grid;
    pfc_acc *acc;
} sums;

static pfc_status make_sums(pfc_batch_norm *bn, sums *s)
{
    int64_t units = units_of(bn), c = bn->cfg.channels;
    s->all = calloc((size_t)(4 * units + 4 * c + 1), sizeof *s->all);
    if (!s->all) return pfc_fail(bn->ctx, PFC_ERR_NOMEM, "out of memory");
    s->group = s->all;
    s->mean = s->group + 2 * units;
    s->own = s->mean + 2 * units;
    s->grid = s->own + 2 * c;
    return bn->ctx->be->ops->acc_create(bn->ctx->be, PFC_ACC_SCALAR, 2 * units, 1, &s->acc);
}

/* 7, 8, with one agreement, as in the forward. */
static pfc_status gradient_sums(pfc_batch_norm *bn, pfc_view x, pfc_view g, const pfc_bn_units *units, sums *s)
{
    pfc_backend *be = bn->ctx->be;
    const pfc_ops *ops = be->ops;
    const pfc_bn_last *l = &bn->last;
    int64_t c = bn->cfg.channels;
    pfc_status st = PFC_OK, moved = PFC_OK;
    if (ops->bn_grad_grid) {
        st = ops->bn_grad_grid(be, l->shape, x, g, units, s->grid);
        if (l->shared) moved = pfc_comm_max(&bn->group, s->grid, 2 * c, PFC_F64);
        if (st == PFC_OK) st = moved;
    }
    if (st == PFC_OK) st = ops->bn_grad_sums(be, l->shape, x, g, units, s->grid, s->acc);
    if (st == PFC_OK) st = ops->acc_fold(be, s->acc, NULL);
    if (st == PFC_OK) st = ops->bn_values(be, s->acc, c, l->shape.splits, 1, s->own);
    PFC_TRY(group_agree(bn, st));
    if (l->shared) PFC_TRY(pfc_comm_sum_acc(&bn->group, be, s->acc));
    return ops->bn_values(be, s->acc, c, l->shape.splits, 0, s->group);
}

/* 7, 8, 9. */
static pfc_status gradients(pfc_batch_norm *bn, pfc_view x, pfc_view g, sums *s, pfc_view x_grad)
{
    const pfc_ops *ops = bn->ctx->be->ops;
    pfc_bn_last *l = &bn->last;
    int64_t units = units_of(bn);
    pfc_bn_units t = { l->mean, l->inv, bn->weight, bn->bias, NULL, NULL };
    bool alone = l->batch && !l->shared && ops->bn_backward_alone; /* the same on all ranks, whatever results each asks for */
    if (alone) {
        PFC_TRY(ops->bn_backward_alone(bn->ctx->be, l->shape, x, g, &t, l->divisor, s->group, x_grad));
        pfc_bn_join(s->group, l->shape.splits, bn->cfg.channels, s->own);
    } else {
        PFC_TRY(gradient_sums(bn, x, g, &t, s));
    }
    tap(bn, "sum_g", s->group);
    tap(bn, "sum_gx", s->group + units);
    if (l->batch) {
        pfc_bn_divide(s->group, l->divisor, 2 * units, s->mean);
        t.mean_g = s->mean;
        t.mean_gx = s->mean + units;
    }
    if (x_grad.data && !alone) PFC_TRY(ops->bn_backward(bn->ctx->be, l->shape, x, g, &t, x_grad));
    return ops->sync(bn->ctx->be);
}

static pfc_status check_vector(const pfc_batch_norm *bn, const char *name, pfc_view v)
{
    if (!v.data || (v.dtype == bn->ctx->be->ops->real && v.rows == bn->cfg.channels && v.cols == 1 && v.ld == 1)) return PFC_OK;
    return pfc_fail(bn->ctx, PFC_ERR_SHAPE, "%s: expected (C,1) of pfc_ctx_real", name);
}

static pfc_status check_backward(const pfc_batch_norm *bn, pfc_view x, pfc_view g, const pfc_batch_norm_result *r)
{
    const pfc_bn_shape *s = &bn->last.shape;
    if (!bn->last.done) return pfc_fail(bn->ctx, PFC_ERR_ARG, "backward: found no forward before it");
    PFC_TRY(check_tensor(bn, "x", x, false));
    if (x.rows != s->n * s->channels || x.cols != s->inner)
        return pfc_fail(bn->ctx, PFC_ERR_SHAPE, "x: found (%lld,%lld), expected that of the forward", (long long)x.rows, (long long)x.cols);
    PFC_TRY(check_length(bn));
    PFC_TRY(check_alike(bn, "grad_y", g, x, false));
    if (r->x_grad.data) PFC_TRY(check_alike(bn, "x_grad", r->x_grad, x, true));
    PFC_TRY(check_vector(bn, "weight_grad", r->weight_grad));
    PFC_TRY(check_vector(bn, "bias_grad", r->bias_grad));
    PFC_TRY(check_vector(bn, "shared_weight_grad", r->shared_weight_grad));
    return check_vector(bn, "shared_bias_grad", r->shared_bias_grad);
}

pfc_status pfc_batch_norm_backward(pfc_batch_norm *bn, pfc_view x, pfc_view grad_y, pfc_batch_norm_result *result)
{
    pfc_ctx *ctx = bn->ctx;
    pfc_host_rows in = { 0 }, g = { 0 }, out = { 0 };
    sums s = { 0 };
    pfc_status st = check_backward(bn, x, grad_y, result);
    if (st == PFC_OK) st = pfc_bn_take(bn, x, &in);
    if (st == PFC_OK) st = pfc_bn_take(bn, grad_y, &g);
    if (st == PFC_OK && result->x_grad.data) st = pfc_bn_room(bn, result->x_grad, &out);
    if (st == PFC_OK) st = make_sums(bn, &s);
    st = pfc_agree(ctx, st);
    if (st == PFC_OK) st = gradients(bn, in.v, g.v, &s, out.v);
    if (st == PFC_OK && result->x_grad.data) st = pfc_bn_give(bn, &out, result->x_grad);
    if (st == PFC_OK) {
        const double *shared = bn->last.shared ? s.group : s.own;
        export_vector(s.own, bn->cfg.channels, result->bias_grad);
        export_vector(s.own + bn->cfg.channels, bn->cfg.channels, result->weight_grad);
        export_vector(shared, bn->cfg.channels, result->shared_bias_grad);
        export_vector(shared + bn->cfg.channels, bn->cfg.channels, result->shared_weight_grad);
    }
    pfc_host_release(ctx, &in);
    pfc_host_release(ctx, &g);
    pfc_host_release(ctx, &out);
    if (s.acc) ctx->be->ops->acc_destroy(ctx->be, s.acc);
    free(s.all);
    return group_agree(bn, st);
}
