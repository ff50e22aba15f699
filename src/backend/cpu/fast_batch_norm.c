/* fast_batch_norm.c: batch_norm and group_gather in fast mode: a thread per unit, one pass per operation, sums in double. Where a channel has one element in
 * a sample, vectors run over channels that stand side by side: a thread per strip of them, the same bits.
 *
 * The kernels work with two or three constants of a unit in float32. Where these cannot be trusted (something infinite or NaN, or close to the ends of
 * float32's range) the unit goes element by element through exact mode's formula in double, so that NaN and infinities appear at the same places. */
#include "backend/cpu/fast.h"
#include "backend/host_sums.h"
#include "core/px.h"

#include <string.h>

enum { STREAM = 1 << 22 }; /* elements from which stores bypass the caches */

/* Where the elements of a unit are: `runs` rows, `stride` floats apart, the first one at `first`. */
typedef struct place {
    int64_t runs, stride, first;
} place;

static place place_of(const pfc_bn_shape *s, int64_t u)
{
    int64_t split = u / s->channels;
    place p = { (s->n - split + s->splits - 1) / s->splits, s->splits * s->channels * s->inner, u * s->inner };
    return p;
}

static int64_t units_of(const pfc_bn_shape *s) { return s->splits * s->channels; }

/* In front of a loop over units, or strips: a thread for each, where there is enough to do. */
#define AT_ONCE _Pragma("omp parallel for schedule(static) num_threads(be->threads) if (shape.n * shape.channels * shape.inner > FAST_PARALLEL)")

/* Units side by side, of one split. */
enum { STRIP = 64 };
typedef struct strip {
    int64_t first, count; /* units */
    place p;              /* of the first */
} strip;

static bool has_strips(const pfc_bn_shape *s) { return s->inner == 1; }

static int64_t strips_of(const pfc_bn_shape *s) { return s->splits * ((s->channels + STRIP - 1) / STRIP); }

static strip strip_of(const pfc_bn_shape *s, int64_t i)
{
    int64_t each = strips_of(s) / s->splits, channel = i % each * STRIP, left = s->channels - channel;
    strip t = { i / each * s->channels + channel, left < STRIP ? left : STRIP, { 0, 0, 0 } };
    t.p = place_of(s, t.first);
    return t;
}

static const float *at(pfc_view v, place p) { return (const float *)v.data + p.first; }
static float *out_at(pfc_view v, place p) { return (float *)v.data + p.first; }

/* ---- statistics ---- */

static double grid_of(pfc_view x, place p)
{
    double first = p.runs > 0 ? (double)*at(x, p) : PX_NAN;
    return px_finite(first) ? first : -PX_INF;
}

static float shift_of(double grid) { return (float)pfc_fast_shift(grid); }

pfc_status pfc_fast_bn_grid(pfc_backend *be, pfc_bn_shape shape, pfc_view x, double *grid)
{
    (void)be;
    for (int64_t u = 0; u < units_of(&shape); u++) grid[u] = grid_of(x, place_of(&shape, u));
    return PFC_OK;
}

/* first, second: STRIP. */
static void strip_sums(const pfc_fast_kernels *k, const strip *t, pfc_view x, const double *grid, double *first, double *second)
{
    double shift[STRIP] = { 0.0 };
    for (int64_t i = 0; i < t->count; i++) shift[i] = (double)shift_of(grid[i]);
    k->bn_column_sums(at(x, t->p), t->p.runs, t->p.stride, t->count, shift, first, second);
}

static void column_sums(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const double *grid, double *sum)
{
    AT_ONCE
    for (int64_t i = 0; i < strips_of(&shape); i++) {
        strip t = strip_of(&shape, i);
        double first[STRIP], second[STRIP];
        strip_sums(pfc_fast_kernels_of(be), &t, x, grid + t.first, first, second);
        memcpy(sum + t.first, first, (size_t)t.count * sizeof *sum);
        memcpy(sum + units_of(&shape) + t.first, second, (size_t)t.count * sizeof *sum);
    }
}

pfc_status pfc_fast_bn_sums(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const double *grid, pfc_acc *acc)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
    double *sum = pfc_fast_acc_of(acc)->sum;
    if (has_strips(&shape)) {
        column_sums(be, shape, x, grid, sum);
        return PFC_OK;
    }
    AT_ONCE
    for (int64_t u = 0; u < units_of(&shape); u++) {
        place p = place_of(&shape, u);
        double two[2];
        k->bn_sums(at(x, p), p.runs, p.stride, shape.inner, shift_of(grid[u]), two);
        sum[u] = two[0];
        sum[units_of(&shape) + u] = two[1];
    }
    return PFC_OK;
}

pfc_status pfc_fast_bn_moments(pfc_backend *be, const pfc_acc *acc, const double *grid, int64_t count, double *mean, double *var)
{
    (void)be;
    pfc_acc_moments(acc, grid, count, mean, var);
    return PFC_OK;
}

/* ---- elements ---- */

static bool small(double a) { return __builtin_fabs(a) < 1e30; } /* a summand; false for NaN */
/* A factor of the float32 formulas that is neither near overflow nor near underflow. */
static bool plain(double a) { return a == 0.0 || (__builtin_fabs(a) > 1e-30 && small(a)); }

/* What a unit is worked on with. */
typedef struct job {
    const pfc_fast_kernels *k;
    const pfc_bn_shape *shape;
    place p;
    int stream; /* results go past the cache: they are larger than it */
    double mean, inv, weight, bias;
} job;

static job job_of(pfc_backend *be, const pfc_bn_shape *shape, int64_t u, const pfc_bn_units *units)
{
    int64_t c = u % shape->channels;
    job j = {
        pfc_fast_kernels_of(be), shape, place_of(shape, u), shape->n * shape->channels * shape->inner > STREAM, 0.0, 0.0, units->weight[c], units->bias[c]
    };
    if (units->mean) j.mean = units->mean[u], j.inv = units->inv[u];
    return j;
}

/* y = a x + b. false: the constants cannot be trusted. */
static bool normal_factors(const job *j, double *a, double *b)
{
    *a = j->weight * j->inv;
    *b = j->bias - j->mean * *a;
    return plain(*a) && small(*b);
}

static void normalise(const job *j, pfc_view x, pfc_view y)
{
    place p = j->p;
    double a, b;
    if (normal_factors(j, &a, &b)) {
        j->k->bn_normalise(at(x, p), p.runs, p.stride, j->shape->inner, (float)a, (float)b, out_at(y, p), j->stream);
        return;
    }
    for (int64_t r = 0; r < p.runs; r++)
        for (int64_t i = r * p.stride; i < r * p.stride + j->shape->inner; i++)
            out_at(y, p)[i] = (float)__builtin_fma(((double)at(x, p)[i] - j->mean) * j->inv, j->weight, j->bias);
}

static void strip_normalise(pfc_backend *be, const pfc_bn_shape *shape, const strip *t, pfc_view x, const pfc_bn_units *units, pfc_view y)
{
    float a[STRIP] = { 0.0f }, b[STRIP] = { 0.0f };
    bool usable[STRIP];
    for (int64_t i = 0; i < t->count; i++) {
        job j = job_of(be, shape, t->first + i, units);
        double da, db;
        usable[i] = normal_factors(&j, &da, &db);
        if (usable[i]) a[i] = (float)da, b[i] = (float)db;
    }
    pfc_fast_kernels_of(be)->bn_column_normalise(at(x, t->p), t->p.runs, t->p.stride, t->count, a, b, out_at(y, t->p));
    for (int64_t i = 0; i < t->count; i++) {
        if (usable[i]) continue;
        job j = job_of(be, shape, t->first + i, units);
        normalise(&j, x, y);
    }
}

pfc_status pfc_fast_bn_normalise(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const pfc_bn_units *units, pfc_view y)
{
    if (has_strips(&shape)) {
        AT_ONCE
        for (int64_t i = 0; i < strips_of(&shape); i++) {
            strip t = strip_of(&shape, i);
            strip_normalise(be, &shape, &t, x, units, y);
        }
        return PFC_OK;
    }
    AT_ONCE
    for (int64_t u = 0; u < units_of(&shape); u++) {
        job j = job_of(be, &shape, u, units);
        normalise(&j, x, y);
    }
    return PFC_OK;
}

static void strip_forward(pfc_backend *be, const pfc_bn_shape *shape, const strip *t, pfc_view x, const pfc_bn_units *units, double eps, double *mean,
                          double *var, double *inv, pfc_view y)
{
    const pfc_bn_units known = { mean, inv, units->weight, units->bias, NULL, NULL };
    double grid[STRIP], first[STRIP], second[STRIP];
    for (int64_t i = 0; i < t->count; i++) grid[i] = grid_of(x, place_of(shape, t->first + i));
    strip_sums(pfc_fast_kernels_of(be), t, x, grid, first, second);
    for (int64_t i = 0; i < t->count; i++) {
        int64_t u = t->first + i;
        pfc_fast_moments(first[i], second[i], grid[i], (double)t->p.runs, &mean[u], &var[u]);
        inv[u] = 1.0 / PX_SQRT(var[u] + eps);
    }
    strip_normalise(be, shape, t, x, &known, y);
}

pfc_status pfc_fast_bn_forward_alone(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const pfc_bn_units *units, double eps, double *mean, double *var,
                                     double *inv, pfc_view y)
{
    if (has_strips(&shape)) {
        AT_ONCE
        for (int64_t i = 0; i < strips_of(&shape); i++) {
            strip t = strip_of(&shape, i);
            strip_forward(be, &shape, &t, x, units, eps, mean, var, inv, y);
        }
        return PFC_OK;
    }
    AT_ONCE
    for (int64_t u = 0; u < units_of(&shape); u++) {
        pfc_bn_units given = { NULL, NULL, units->weight, units->bias, NULL, NULL };
        job j = job_of(be, &shape, u, &given);
        double two[2], grid = grid_of(x, j.p);
        j.k->bn_sums(at(x, j.p), j.p.runs, j.p.stride, shape.inner, shift_of(grid), two);
        pfc_fast_moments(two[0], two[1], grid, (double)(j.p.runs * shape.inner), &mean[u], &var[u]);
        inv[u] = 1.0 / PX_SQRT(var[u] + eps);
        j.mean = mean[u], j.inv = inv[u];
        normalise(&j, x, y);
    }
    return PFC_OK;
}

/* ---- gradients ---- */

/* two[0] = sum of g, two[1] = sum of g x^, term by term, as exact mode judges them. */
static void terms(const job *j, pfc_view x, pfc_view g, double two[2])
{
    place p = j->p;
    two[0] = two[1] = 0.0;
    for (int64_t r = 0; r < p.runs; r++)
        for (int64_t i = r * p.stride; i < r * p.stride + j->shape->inner; i++) {
            double gi = (double)at(g, p)[i];
            two[0] += gi;
            two[1] += gi * (((double)at(x, p)[i] - j->mean) * j->inv);
        }
}

static bool can_sum(const job *j) { return px_finite(j->mean) && plain(j->inv); }

/* From the sums of g and g (x - mean), if they are good for it. */
static void finish_sums(const job *j, pfc_view x, pfc_view g, double two[2])
{
    if (can_sum(j) && px_finite(two[0]) && px_finite(two[1]))
        two[1] *= j->inv;
    else
        terms(j, x, g, two);
}

static void gradient_sums(const job *j, pfc_view x, pfc_view g, double two[2])
{
    place p = j->p;
    if (can_sum(j)) j->k->bn_grad_sums(at(x, p), at(g, p), p.runs, p.stride, j->shape->inner, j->mean, two);
    finish_sums(j, x, g, two);
}

/* sum (2 units) as bn_values has them, for the strip. */
static void strip_gradient_sums(pfc_backend *be, const pfc_bn_shape *shape, const strip *t, pfc_view x, pfc_view g, const pfc_bn_units *units, double *sum)
{
    double mean[STRIP] = { 0.0 }, first[STRIP], second[STRIP];
    for (int64_t i = 0; i < t->count; i++) mean[i] = px_finite(units->mean[t->first + i]) ? units->mean[t->first + i] : 0.0;
    pfc_fast_kernels_of(be)->bn_column_grad_sums(at(x, t->p), at(g, t->p), t->p.runs, t->p.stride, t->count, mean, first, second);
    for (int64_t i = 0; i < t->count; i++) {
        job j = job_of(be, shape, t->first + i, units);
        double two[2] = { first[i], second[i] };
        finish_sums(&j, x, g, two);
        sum[t->first + i] = two[0];
        sum[units_of(shape) + t->first + i] = two[1];
    }
}

pfc_status pfc_fast_bn_grad_sums(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, const double *grid, pfc_acc *acc)
{
    double *sum = pfc_fast_acc_of(acc)->sum;
    (void)grid;
    if (has_strips(&shape)) {
        AT_ONCE
        for (int64_t i = 0; i < strips_of(&shape); i++) {
            strip t = strip_of(&shape, i);
            strip_gradient_sums(be, &shape, &t, x, g, units, sum);
        }
        return PFC_OK;
    }
    AT_ONCE
    for (int64_t u = 0; u < units_of(&shape); u++) {
        job j = job_of(be, &shape, u, units);
        double two[2];
        gradient_sums(&j, x, g, two);
        sum[u] = two[0];
        sum[units_of(&shape) + u] = two[1];
    }
    return PFC_OK;
}

pfc_status pfc_fast_bn_values(pfc_backend *be, const pfc_acc *acc, int64_t channels, int64_t splits, int joined, double *out)
{
    (void)be;
    pfc_acc_bn_values(acc, channels, splits, joined, out);
    return PFC_OK;
}

/* x_grad = a ((g - mean_g) - x^ mean_gx); batch 0: a g. As slope x + a g + offset. */
typedef struct back {
    bool batch, usable;
    double mean_g, mean_gx, a, slope, offset;
} back;

static back back_of(const job *j, bool batch, double mean_g, double mean_gx)
{
    back b = { .batch = batch, .mean_g = mean_g, .mean_gx = mean_gx, .a = j->weight * j->inv };
    b.slope = batch ? -b.a * j->inv * mean_gx : 0.0;
    b.offset = batch ? -b.a * mean_g - b.slope * j->mean : 0.0;
    b.usable = plain(b.a) && plain(b.slope) && small(b.offset);
    return b;
}

static void backward_terms(const job *j, const back *b, pfc_view x, pfc_view g, pfc_view out)
{
    place p = j->p;
    for (int64_t r = 0; r < p.runs; r++)
        for (int64_t i = r * p.stride; i < r * p.stride + j->shape->inner; i++) {
            double v = (double)at(g, p)[i];
            if (b->batch) v = __builtin_fma(-(((double)at(x, p)[i] - j->mean) * j->inv), b->mean_gx, v - b->mean_g);
            out_at(out, p)[i] = (float)(b->a * v);
        }
}

static void backward(const job *j, pfc_view x, pfc_view g, bool batch, double mean_g, double mean_gx, pfc_view out)
{
    place p = j->p;
    back b = back_of(j, batch, mean_g, mean_gx);
    if (!b.usable)
        backward_terms(j, &b, x, g, out);
    else if (batch)
        j->k->bn_backward(at(x, p), at(g, p), p.runs, p.stride, j->shape->inner, (float)b.slope, (float)b.a, (float)b.offset, out_at(out, p), j->stream);
    else
        j->k->bn_normalise(at(g, p), p.runs, p.stride, j->shape->inner, (float)b.a, 0.0f, out_at(out, p), j->stream);
}

/* mean_g, mean_gx: of the strip's units; NULL: none. */
static void strip_backward(pfc_backend *be, const pfc_bn_shape *shape, const strip *t, pfc_view x, pfc_view g, const pfc_bn_units *units, const double *mean_g,
                           const double *mean_gx, pfc_view out)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
    float slope[STRIP] = { 0.0f }, a[STRIP] = { 0.0f }, offset[STRIP] = { 0.0f };
    back b[STRIP];
    for (int64_t i = 0; i < t->count; i++) {
        job j = job_of(be, shape, t->first + i, units);
        b[i] = back_of(&j, mean_g != NULL, mean_g ? mean_g[i] : 0.0, mean_g ? mean_gx[i] : 0.0);
        if (b[i].usable) slope[i] = (float)b[i].slope, a[i] = (float)b[i].a, offset[i] = (float)b[i].offset;
    }
    if (mean_g)
        k->bn_column_backward(at(x, t->p), at(g, t->p), t->p.runs, t->p.stride, t->count, slope, a, offset, out_at(out, t->p));
    else
        k->bn_column_normalise(at(g, t->p), t->p.runs, t->p.stride, t->count, a, offset, out_at(out, t->p));
    for (int64_t i = 0; i < t->count; i++) {
        if (b[i].usable) continue;
        job j = job_of(be, shape, t->first + i, units);
        backward_terms(&j, &b[i], x, g, out);
    }
}

pfc_status pfc_fast_bn_backward(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, pfc_view x_grad)
{
    if (has_strips(&shape)) {
        AT_ONCE
        for (int64_t i = 0; i < strips_of(&shape); i++) {
            strip t = strip_of(&shape, i);
            bool batch = units->mean_g != NULL;
            strip_backward(be, &shape, &t, x, g, units, batch ? units->mean_g + t.first : NULL, batch ? units->mean_gx + t.first : NULL, x_grad);
        }
        return PFC_OK;
    }
    AT_ONCE
    for (int64_t u = 0; u < units_of(&shape); u++) {
        job j = job_of(be, &shape, u, units);
        bool batch = units->mean_g != NULL;
        backward(&j, x, g, batch, batch ? units->mean_g[u] : 0.0, batch ? units->mean_gx[u] : 0.0, x_grad);
    }
    return PFC_OK;
}

static void strip_backward_alone(pfc_backend *be, const pfc_bn_shape *shape, const strip *t, pfc_view x, pfc_view g, const pfc_bn_units *units, double divisor,
                                 double *sums, pfc_view x_grad)
{
    double mean_g[STRIP], mean_gx[STRIP];
    strip_gradient_sums(be, shape, t, x, g, units, sums);
    for (int64_t i = 0; i < t->count; i++) {
        mean_g[i] = sums[t->first + i] / divisor;
        mean_gx[i] = sums[units_of(shape) + t->first + i] / divisor;
    }
    if (x_grad.data) strip_backward(be, shape, t, x, g, units, mean_g, mean_gx, x_grad);
}

pfc_status pfc_fast_bn_backward_alone(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, double divisor, double *sums,
                                      pfc_view x_grad)
{
    if (has_strips(&shape)) {
        AT_ONCE
        for (int64_t i = 0; i < strips_of(&shape); i++) {
            strip t = strip_of(&shape, i);
            strip_backward_alone(be, &shape, &t, x, g, units, divisor, sums, x_grad);
        }
        return PFC_OK;
    }
    AT_ONCE
    for (int64_t u = 0; u < units_of(&shape); u++) {
        job j = job_of(be, &shape, u, units);
        double two[2];
        gradient_sums(&j, x, g, two);
        sums[u] = two[0];
        sums[units_of(&shape) + u] = two[1];
        if (x_grad.data) backward(&j, x, g, true, two[0] / divisor, two[1] / divisor, x_grad);
    }
    return PFC_OK;
}

/* ---- group_gather ---- */

pfc_status pfc_fast_gather_add(pfc_backend *be, pfc_view x, pfc_acc *acc)
{
    (void)be;
    double *sum = pfc_fast_acc_of(acc)->sum;
    for (int64_t i = 0; i < x.rows; i++) sum[i] += (double)*pfc_fast_at(x, i);
    return PFC_OK;
}
