/* exact_batch_norm.c: batch_norm and group_gather in exact mode: a thread per unit, integers on the grids of doc/exact-v1.md section 7. */
#include "backend/cpu/exact.h"
#include "backend/host_sums.h"

/* The runs of unit u: sample i of its split, i = 0 .. unit_runs - 1. */
static int64_t unit_runs(const pfc_bn_shape *s, int64_t u)
{
    int64_t split = u / s->channels;
    return (s->n - split + s->splits - 1) / s->splits;
}

static int64_t run_row(const pfc_bn_shape *s, int64_t u, int64_t i) { return (u / s->channels + i * s->splits) * s->channels + u % s->channels; }

static double *run(pfc_view v, const pfc_bn_shape *s, int64_t u, int64_t i) { return exact_at(v, run_row(s, u, i)); }

static int64_t units_of(const pfc_bn_shape *s) { return s->splits * s->channels; }

/* In front of a loop over the units: a thread for each, where there is enough to do. */
#define UNITS_AT_ONCE _Pragma("omp parallel for schedule(static) num_threads(be->threads) if (shape.n * shape.channels * shape.inner > EXACT_PARALLEL)")

/* ---- statistics ---- */

pfc_status pfc_exact_bn_grid(pfc_backend *be, pfc_bn_shape shape, pfc_view x, double *grid)
{
    const pfc_exact_kernels *k = exact_of(be)->k;
    UNITS_AT_ONCE
    for (int64_t u = 0; u < units_of(&shape); u++) {
        int nonfinite = 0;
        grid[u] = 0.0;
        for (int64_t i = 0; i < unit_runs(&shape, u); i++) {
            double m = k->max_abs(run(x, &shape, u, i), shape.inner, &nonfinite);
            if (m > grid[u]) grid[u] = m;
        }
    }
    return pfc_exact_finish(be, 0);
}

/* Rows u and units + u of a lane's sums. */
static void keep_sums(pfc_acc *acc, int64_t u, const int64_t sum[4])
{
    exact_scalar_acc *lane = exact_scalar_lane(acc, 0);
    int64_t units = acc->rows / 2;
    lane->a[u] += sum[0], lane->b[u] += sum[1];
    lane->a[units + u] += sum[2], lane->b[units + u] += sum[3];
}

static void mark(pfc_acc *acc, int64_t row, double term)
{
    exact_scalar_acc *lane = exact_scalar_lane(acc, 0);
    lane->mark[row] |= pfc_mark_of(term);
}

pfc_status pfc_exact_bn_sums(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const double *grid, pfc_acc *acc)
{
    const pfc_exact_kernels *k = exact_of(be)->k;
    int64_t units = units_of(&shape);
    UNITS_AT_ONCE
    for (int64_t u = 0; u < units_of(&shape); u++) {
        int32_t e = px_expo(grid[u]), e2 = pfc_square_expo(e);
        const double scale[2] = { px_pow2(36 - e), px_pow2(36 - e2) };
        int64_t sum[4] = { 0, 0, 0, 0 };
        acc->expo[u] = e;
        acc->expo[units + u] = e2;
        for (int64_t i = 0; i < unit_runs(&shape, u); i++) {
            const double *row = run(x, &shape, u, i);
            if (!k->bn_sums(row, shape.inner, scale, sum)) continue;
            for (int64_t j = 0; j < shape.inner; j++) mark(acc, u, row[j]);
        }
        keep_sums(acc, u, sum);
    }
    return pfc_exact_finish(be, 0);
}

pfc_status pfc_exact_bn_moments(pfc_backend *be, const pfc_acc *acc, const double *grid, int64_t count, double *mean, double *var)
{
    pfc_acc_moments(acc, grid, count, mean, var);
    return pfc_exact_finish(be, 0);
}

pfc_status pfc_exact_bn_normalise(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const pfc_bn_units *units, pfc_view y)
{
    const pfc_exact_kernels *k = exact_of(be)->k;
    UNITS_AT_ONCE
    for (int64_t u = 0; u < units_of(&shape); u++) {
        int64_t c = u % shape.channels;
        for (int64_t i = 0; i < unit_runs(&shape, u); i++)
            k->bn_normalise(run(x, &shape, u, i), shape.inner, units->mean[u], units->inv[u], units->weight[c], units->bias[c], run(y, &shape, u, i));
    }
    return pfc_exact_finish(be, 0);
}

/* ---- gradients ---- */

pfc_status pfc_exact_bn_grad_grid(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, double *grid)
{
    const pfc_exact_kernels *k = exact_of(be)->k;
    UNITS_AT_ONCE
    for (int64_t c = 0; c < shape.channels; c++) {
        double max[2] = { 0.0, 0.0 };
        for (int64_t u = c; u < units_of(&shape); u += shape.channels)
            for (int64_t i = 0; i < unit_runs(&shape, u); i++)
                k->bn_grad_max(run(x, &shape, u, i), run(g, &shape, u, i), shape.inner, units->mean[u], units->inv[u], max);
        grid[c] = max[0];
        grid[shape.channels + c] = max[1];
    }
    return pfc_exact_finish(be, 0);
}

pfc_status pfc_exact_bn_grad_sums(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, const double *grid, pfc_acc *acc)
{
    const pfc_exact_kernels *k = exact_of(be)->k;
    int64_t all = units_of(&shape);
    UNITS_AT_ONCE
    for (int64_t u = 0; u < units_of(&shape); u++) {
        int64_t c = u % shape.channels;
        int32_t e = px_expo(grid[c]), ex = px_expo(grid[shape.channels + c]);
        const double scale[2] = { px_pow2(36 - e), px_pow2(36 - ex) }, mean = units->mean[u], inv = units->inv[u];
        int64_t sum[4] = { 0, 0, 0, 0 };
        acc->expo[u] = e;
        acc->expo[all + u] = ex;
        for (int64_t i = 0; i < unit_runs(&shape, u); i++) {
            const double *xr = run(x, &shape, u, i), *gr = run(g, &shape, u, i);
            if (!k->bn_grad_sums(xr, gr, shape.inner, mean, inv, scale, sum)) continue;
            for (int64_t j = 0; j < shape.inner; j++) {
                mark(acc, u, gr[j]);
                mark(acc, all + u, gr[j] * ((xr[j] - mean) * inv));
            }
        }
        keep_sums(acc, u, sum);
    }
    return pfc_exact_finish(be, 0);
}

pfc_status pfc_exact_bn_values(pfc_backend *be, const pfc_acc *acc, int64_t channels, int64_t splits, int joined, double *out)
{
    pfc_acc_bn_values(acc, channels, splits, joined, out);
    return pfc_exact_finish(be, 0);
}

pfc_status pfc_exact_bn_backward(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, pfc_view x_grad)
{
    const pfc_exact_kernels *k = exact_of(be)->k;
    UNITS_AT_ONCE
    for (int64_t u = 0; u < units_of(&shape); u++) {
        double a = units->weight[u % shape.channels] * units->inv[u];
        for (int64_t i = 0; i < unit_runs(&shape, u); i++) {
            const double *gr = run(g, &shape, u, i);
            double *out = run(x_grad, &shape, u, i);
            if (units->mean_g)
                k->bn_backward(run(x, &shape, u, i), gr, shape.inner, units->mean[u], units->inv[u], a, units->mean_g[u], units->mean_gx[u], out);
            else
                k->bn_multiply(gr, shape.inner, a, out);
        }
    }
    return pfc_exact_finish(be, 0);
}

/* ---- group_gather ---- */

pfc_status pfc_exact_gather_expo(pfc_backend *be, pfc_view x, pfc_acc *acc)
{
    for (int64_t i = 0; i < x.rows; i++) {
        double v = *exact_at(x, i);
        acc->expo[i] = px_finite(v) ? px_expo(v) : PFC_EXPO_MIN;
    }
    return pfc_exact_finish(be, 0);
}

pfc_status pfc_exact_gather_add(pfc_backend *be, pfc_view x, pfc_acc *acc)
{
    exact_scalar_acc *lane = exact_scalar_lane(acc, 0);
    for (int64_t i = 0; i < x.rows; i++) {
        pfc_scalar_sum s = { 0, 0, 0 };
        pfc_scalar_add(&s, *exact_at(x, i), acc->expo[i]);
        lane->a[i] += s.a, lane->b[i] += s.b, lane->mark[i] |= s.mark;
    }
    return pfc_exact_finish(be, 0);
}
