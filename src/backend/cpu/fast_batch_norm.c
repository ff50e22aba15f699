/* fast_batch_norm.c: batch_norm and group_gather in fast mode: a thread per unit, one pass per operation, sums in double.
 *
 * The kernels work with two or three constants of a unit in float32. Where these cannot be trusted (something infinite or NaN, or close to the ends of
 * float32's range) the unit goes element by element through exact mode's formula in double, so that NaN and infinities appear at the same places. */
#include "backend/cpu/fast.h"
#include "core/px.h"

enum { PARALLEL = 1 << 15 }; /* elements from which threads pay */

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

pfc_status pfc_fast_bn_grid(pfc_backend *be, pfc_bn_shape shape, pfc_view x, double *grid)
{
    (void)be;
    for (int64_t u = 0; u < units_of(&shape); u++) {
        place p = place_of(&shape, u);
        double first = p.runs > 0 ? (double)*at(x, p) : PX_NAN;
        grid[u] = px_finite(first) ? first : -PX_INF;
    }
    return PFC_OK;
}

static float shift_of(double grid) { return px_finite(grid) ? (float)grid : 0.0f; }

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
    int64_t units = acc->rows / 2;
    const double *sum = acc->data;
    for (int64_t u = 0; u < units; u++) {
        double d = sum[u] / (double)count, v = sum[units + u] / (double)count - d * d;
        mean[u] = (double)shift_of(grid[u]) + d;
        var[u] = v < 0.0 ? 0.0 : px_finite(mean[u]) ? v : PX_NAN;
    }
    return PFC_OK;
}

/* ---- elements ---- */

/* A constant of the float32 formulas that is neither near overflow nor near underflow. */
static bool small(double a) { return __builtin_fabs(a) < 1e30; } /* a summand; false for NaN */
static bool plain(double a) { return a == 0.0 || (__builtin_fabs(a) > 1e-30 && small(a)); }

static float normalised(const pfc_bn_units *t, int64_t u, int64_t c, float x)
{
    return (float)__builtin_fma(((double)x - t->mean[u]) * t->inv[u], t->weight[c], t->bias[c]);
}

pfc_status pfc_fast_bn_normalise(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const pfc_bn_units *units, pfc_view y)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
    FOR_UNITS(u)
    {
        place p = place_of(&shape, u);
        int64_t c = u % shape.channels;
        double a = units->weight[c] * units->inv[u], b = units->bias[c] - units->mean[u] * a;
        if (plain(a) && small(b)) {
            k->bn_normalise(at(x, p), p.runs, p.stride, shape.inner, (float)a, (float)b, out_at(y, p));
            continue;
        }
        for (int64_t r = 0; r < p.runs; r++)
            for (int64_t i = 0; i < shape.inner; i++) out_at(y, p)[r * p.stride + i] = normalised(units, u, c, at(x, p)[r * p.stride + i]);
    }
    return PFC_OK;
}

/* ---- gradients ---- */

pfc_status pfc_fast_bn_grad_sums(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, const double *grid, pfc_acc *acc)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
    double *sum = ((fast_acc *)acc->state)->sum;
    (void)grid;
    FOR_UNITS(u)
    {
        place p = place_of(&shape, u);
        double two[2], mean = units->mean[u], inv = units->inv[u];
        bool usable = px_finite(mean) && plain(inv);
        if (usable) k->bn_grad_sums(at(x, p), at(g, p), p.runs, p.stride, shape.inner, mean, two);
        if (usable && px_finite(two[0]) && px_finite(two[1])) {
            two[1] *= inv;
        } else { /* term by term, as exact mode judges them */
            two[0] = two[1] = 0.0;
            for (int64_t r = 0; r < p.runs; r++)
                for (int64_t i = 0; i < shape.inner; i++) {
                    double gi = (double)at(g, p)[r * p.stride + i], xi = (double)at(x, p)[r * p.stride + i];
                    two[0] += gi;
                    two[1] += gi * ((xi - mean) * inv);
                }
        }
        sum[u] = two[0];
        sum[units_of(&shape) + u] = two[1];
    }
    return PFC_OK;
}

pfc_status pfc_fast_bn_values(pfc_backend *be, const pfc_acc *acc, int64_t channels, int64_t splits, int joined, double *out)
{
    (void)be;
    const double *data = acc->data;
    int64_t rows = 2 * channels * (joined ? 1 : splits);
    for (int64_t i = 0; i < rows; i++) {
        out[i] = 0.0;
        for (int64_t s = 0; s < (joined ? splits : 1); s++) out[i] += data[joined ? i / channels * channels * splits + s * channels + i % channels : i];
    }
    return PFC_OK;
}

/* x_grad = a ((g - mean_g) - x^ mean_gx) element by element. */
static void backward_slowly(const pfc_bn_shape *s, place p, pfc_view x, pfc_view g, const pfc_bn_units *t, int64_t u, double a, pfc_view out)
{
    for (int64_t r = 0; r < p.runs; r++)
        for (int64_t i = 0; i < s->inner; i++) {
            int64_t k = r * p.stride + i;
            double v = (double)at(g, p)[k];
            if (t->mean_g) v = __builtin_fma(-(((double)at(x, p)[k] - t->mean[u]) * t->inv[u]), t->mean_gx[u], v - t->mean_g[u]);
            out_at(out, p)[k] = (float)(a * v);
        }
}

pfc_status pfc_fast_bn_backward(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, pfc_view x_grad)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
    FOR_UNITS(u)
    {
        place p = place_of(&shape, u);
        double a = units->weight[u % shape.channels] * units->inv[u], slope = 0.0, offset = 0.0;
        if (units->mean_g) {
            slope = -a * units->inv[u] * units->mean_gx[u];
            offset = -a * units->mean_g[u] - slope * units->mean[u];
        }
        if (!plain(a) || !plain(slope) || !small(offset))
            backward_slowly(&shape, p, x, g, units, u, a, x_grad);
        else if (units->mean_g)
            k->bn_backward(at(x, p), at(g, p), p.runs, p.stride, shape.inner, (float)slope, (float)a, (float)offset, out_at(x_grad, p));
        else
            k->bn_normalise(at(g, p), p.runs, p.stride, shape.inner, (float)a, 0.0f, out_at(x_grad, p));
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
