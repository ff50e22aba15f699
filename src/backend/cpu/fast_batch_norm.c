/* fast_batch_norm.c: batch_norm and group_gather in fast mode: a thread per unit, one pass per operation, sums in double.
 *
 * The kernels work with two or three constants of a unit in float32. Where these cannot be trusted (something infinite or NaN, or close to the ends of
 * float32's range) the unit goes element by element through exact mode's formula in double, so that NaN and infinities appear at the same places. */
#include "backend/cpu/fast.h"
#include "backend/host_sums.h"
#include "core/px.h"

enum { PARALLEL = 1 << 15, STREAM = 1 << 22 }; /* elements from which threads pay, and stores that bypass the caches */

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

#define FOR_UNITS(u)                                                                                                                                        \
    _Pragma("omp parallel for schedule(static) num_threads(be->threads) if (shape.n * shape.channels * shape.inner > PARALLEL)") for (int64_t u = 0;        \
                                                                                                                                      u < units_of(&shape); \
                                                                                                                                      u++)

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

pfc_status pfc_fast_bn_sums(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const double *grid, pfc_acc *acc)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
    double *sum = ((fast_acc *)acc->state)->sum;
    FOR_UNITS(u)
    {
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

static void normalise(const job *j, pfc_view x, pfc_view y)
{
    place p = j->p;
    double a = j->weight * j->inv, b = j->bias - j->mean * a;
    if (plain(a) && small(b)) {
        j->k->bn_normalise(at(x, p), p.runs, p.stride, j->shape->inner, (float)a, (float)b, out_at(y, p), j->stream);
        return;
    }
    for (int64_t r = 0; r < p.runs; r++)
        for (int64_t i = r * p.stride; i < r * p.stride + j->shape->inner; i++)
            out_at(y, p)[i] = (float)__builtin_fma(((double)at(x, p)[i] - j->mean) * j->inv, j->weight, j->bias);
}

pfc_status pfc_fast_bn_normalise(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const pfc_bn_units *units, pfc_view y)
{
    FOR_UNITS(u)
    {
        job j = job_of(be, &shape, u, units);
        normalise(&j, x, y);
    }
    return PFC_OK;
}

pfc_status pfc_fast_bn_forward_alone(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const pfc_bn_units *units, double eps, double *mean, double *var,
                                     double *inv, pfc_view y)
{
    FOR_UNITS(u)
    {
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

/* two[0] = sum of g, two[1] = sum of g x^. */
static void gradient_sums(const job *j, pfc_view x, pfc_view g, double two[2])
{
    place p = j->p;
    bool usable = px_finite(j->mean) && plain(j->inv);
    if (usable) j->k->bn_grad_sums(at(x, p), at(g, p), p.runs, p.stride, j->shape->inner, j->mean, two);
    if (usable && px_finite(two[0]) && px_finite(two[1])) {
        two[1] *= j->inv;
        return;
    }
    two[0] = two[1] = 0.0; /* term by term, as exact mode judges them */
    for (int64_t r = 0; r < p.runs; r++)
        for (int64_t i = r * p.stride; i < r * p.stride + j->shape->inner; i++) {
            double gi = (double)at(g, p)[i];
            two[0] += gi;
            two[1] += gi * (((double)at(x, p)[i] - j->mean) * j->inv);
        }
}

pfc_status pfc_fast_bn_grad_sums(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, const double *grid, pfc_acc *acc)
{
    double *sum = ((fast_acc *)acc->state)->sum;
    (void)grid;
    FOR_UNITS(u)
    {
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

/* x_grad = a ((g - mean_g) - x^ mean_gx); batch 0: a g. */
static void backward(const job *j, pfc_view x, pfc_view g, bool batch, double mean_g, double mean_gx, pfc_view out)
{
    place p = j->p;
    double a = j->weight * j->inv, slope = batch ? -a * j->inv * mean_gx : 0.0, offset = batch ? -a * mean_g - slope * j->mean : 0.0;
    if (plain(a) && plain(slope) && small(offset)) {
        if (batch)
            j->k->bn_backward(at(x, p), at(g, p), p.runs, p.stride, j->shape->inner, (float)slope, (float)a, (float)offset, out_at(out, p), j->stream);
        else
            j->k->bn_normalise(at(g, p), p.runs, p.stride, j->shape->inner, (float)a, 0.0f, out_at(out, p), j->stream);
        return;
    }
    for (int64_t r = 0; r < p.runs; r++)
        for (int64_t i = r * p.stride; i < r * p.stride + j->shape->inner; i++) {
            double v = (double)at(g, p)[i];
            if (batch) v = __builtin_fma(-(((double)at(x, p)[i] - j->mean) * j->inv), mean_gx, v - mean_g);
            out_at(out, p)[i] = (float)(a * v);
        }
}

pfc_status pfc_fast_bn_backward(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, pfc_view x_grad)
{
    FOR_UNITS(u)
    {
        job j = job_of(be, &shape, u, units);
        bool batch = units->mean_g != NULL;
        backward(&j, x, g, batch, batch ? units->mean_g[u] : 0.0, batch ? units->mean_gx[u] : 0.0, x_grad);
    }
    return PFC_OK;
}

pfc_status pfc_fast_bn_backward_alone(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, double divisor, double *sums,
                                      pfc_view x_grad)
{
    FOR_UNITS(u)
    {
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
    double *sum = ((fast_acc *)acc->state)->sum;
    for (int64_t i = 0; i < x.rows; i++) sum[i] += (double)*pfc_fast_at(x, i);
    return PFC_OK;
}
