/* batch_norm.cu: batch_norm and group_gather: a team of threads for the sums of a unit (doc/exact-v1.md section 7). */
#include "backend/cuda/acc.h"
#include "backend/cuda/math.h"
#include "backend/host_sums.h"

/* ---- where the elements of a unit are ---- */

/* How many elements unit u has, and the e-th of them. */
ON_DEVICE static inline int64_t unit_size(const pfc_bn_shape &s, int64_t u) { return (s.n - u / s.channels + s.splits - 1) / s.splits * s.inner; }

template <class T> ON_DEVICE static inline double element(const pfc_bn_shape &s, pfc_view x, int64_t u, int64_t e)
{
    return value<T>(x, (u / s.channels + e / s.inner * s.splits) * s.channels + u % s.channels, e % s.inner);
}

/* The unit of row r of the tensor. */
ON_DEVICE static inline int64_t unit_of(const pfc_bn_shape &s, int64_t r) { return r / s.channels % s.splits * s.channels + r % s.channels; }

static int64_t units_of(const pfc_bn_shape &s) { return s.splits * s.channels; }

/* Host arrays of units and channels on the device; mean_g and mean_gx NULL if the host has none. */
struct constants {
    const double *mean, *inv, *weight, *bias, *mean_g, *mean_gx;
};

static constants upload_units(cuda &d, const pfc_bn_shape &s, const pfc_bn_units *units)
{
    const double *const host[] = { units->mean, units->inv, units->weight, units->bias, units->mean_g, units->mean_gx };
    const double *there[6];
    int64_t all = units_of(s);
    double *p = (double *)scratch(d, SCRATCH_A, 6 * (all + 1) * (int64_t)sizeof *p);
    for (int i = 0; i < 6; i++) {
        there[i] = host[i] ? p + i * (all + 1) : NULL;
        if (host[i]) to_device(d, p + i * (all + 1), host[i], (i == 2 || i == 3 ? s.channels : all) * (int64_t)sizeof *p);
    }
    return { there[0], there[1], there[2], there[3], there[4], there[5] };
}

/* ---- statistics ---- */

static pfc_status exact_bn_grid(pfc_backend *be, pfc_bn_shape s, pfc_view x, double *grid)
{
    cuda &d = cuda_of(be);
    double *made = (double *)scratch(d, SCRATCH_A, units_of(s) * (int64_t)sizeof *made);
    teams(d, units_of(s), [=] ON_DEVICE(team t, int64_t u) {
        magnitude_of m;
        for (int64_t e = t.rank; e < unit_size(s, u); e += t.size) m.add(element<double>(s, x, u, e));
        m = t.join(m);
        if (t.rank == 0) made[u] = m.v;
    });
    to_host(d, grid, made, units_of(s) * (int64_t)sizeof *made);
    return finish(d);
}

/* The first value, if it is a number. */
static pfc_status fast_bn_grid(pfc_backend *be, pfc_bn_shape s, pfc_view x, double *grid)
{
    cuda &d = cuda_of(be);
    double *made = (double *)scratch(d, SCRATCH_A, units_of(s) * (int64_t)sizeof *made);
    each(d, units_of(s), [=] ON_DEVICE(int64_t u) {
        double first = unit_size(s, u) > 0 ? element<float>(s, x, u, 0) : PX_NAN;
        made[u] = px_finite(first) ? first : -PX_INF;
    });
    to_host(d, grid, made, units_of(s) * (int64_t)sizeof *made);
    return finish(d);
}

/* Exponents of the sums of a pair of rows, u and units + u: first of the grid's number, second by `squares` or the second grid. */
static void set_expo(pfc_acc *acc, const double *grid, int64_t channels, bool squares)
{
    int64_t units = acc->rows / 2;
    for (int64_t u = 0; u < units; u++) {
        int32_t e = px_expo(grid[squares ? u : u % channels]);
        acc->expo[u] = e;
        acc->expo[units + u] = squares ? pfc_square_expo(e) : px_expo(grid[channels + u % channels]);
    }
}

/* rows u and units + u += the sums over the unit's elements of what f adds to a pair. */
template <class F> static void exact_pair(cuda &d, const pfc_bn_shape &shape, pfc_acc *acc, F f)
{
    pfc_bn_shape s = shape;
    int64_t units = units_of(s);
    device_acc to = device_of(acc);
    const int32_t *expo = grid_of(d, acc);
    teams(d, units, [=] ON_DEVICE(team t, int64_t u) {
        both<integer_sum> sum;
        for (int64_t e = t.rank; e < unit_size(s, u); e += t.size) {
            double a, b;
            f(u, e, &a, &b);
            sum.first.add(a, expo[u]);
            sum.second.add(b, expo[units + u]);
        }
        sum = t.join(sum);
        if (t.rank) return;
        deposit(to.word, to.mark, u, sum.first);
        deposit(to.word, to.mark, units + u, sum.second);
    });
}

template <class F> static void fast_pair(cuda &d, const pfc_bn_shape &shape, pfc_acc *acc, F f)
{
    pfc_bn_shape s = shape;
    int64_t units = units_of(s);
    double *to = device_of(acc).sum;
    teams(d, units, [=] ON_DEVICE(team t, int64_t u) {
        both<plain_sum> sum;
        for (int64_t e = t.rank; e < unit_size(s, u); e += t.size) {
            double a, b;
            f(u, e, &a, &b);
            sum.first.add(a);
            sum.second.add(b);
        }
        sum = t.join(sum);
        if (t.rank) return;
        to[u] = sum.first.v;
        to[units + u] = sum.second.v;
    });
}

static pfc_status exact_bn_sums(pfc_backend *be, pfc_bn_shape s, pfc_view x, const double *grid, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    set_expo(acc, grid, s.channels, true);
    exact_pair(d, s, acc, [=] ON_DEVICE(int64_t u, int64_t e, double *a, double *b) {
        *a = element<double>(s, x, u, e);
        *b = px_finite(*a) ? PX_MUL(*a, *a) : 0.0; /* the first sum bears the mark */
    });
    return finish(d);
}

static pfc_status fast_bn_sums(pfc_backend *be, pfc_bn_shape s, pfc_view x, const double *grid, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    double *shift = (double *)scratch(d, SCRATCH_A, units_of(s) * (int64_t)sizeof *shift);
    to_device(d, shift, grid, units_of(s) * (int64_t)sizeof *shift);
    fast_pair(d, s, acc, [=] ON_DEVICE(int64_t u, int64_t e, double *a, double *b) {
        *a = PX_SUB(element<float>(s, x, u, e), px_finite(shift[u]) ? shift[u] : 0.0);
        *b = PX_MUL(*a, *a);
    });
    return finish(d);
}

static pfc_status bn_moments(pfc_backend *be, const pfc_acc *acc, const double *grid, int64_t count, double *mean, double *var)
{
    (void)be;
    pfc_acc_moments(acc, grid, count, mean, var);
    return PFC_OK;
}

template <class T> static pfc_status normalise_units(pfc_backend *be, pfc_bn_shape s, pfc_view x, const pfc_bn_units *units, pfc_view y)
{
    cuda &d = cuda_of(be);
    constants k = upload_units(d, s, units);
    each_element(d, s.n * s.channels, s.inner, [=] ON_DEVICE(int64_t r, int64_t c) {
        int64_t u = unit_of(s, r), channel = u % s.channels;
        double v = value<T>(x, r, c), made;
        bn_normalise(&v, 1, k.mean[u], k.inv[u], k.weight[channel], k.bias[channel], &made);
        put<T>(y, r, c, made);
    });
    return finish(d);
}

/* ---- gradients ---- */

static pfc_status exact_bn_grad_grid(pfc_backend *be, pfc_bn_shape s, pfc_view x, pfc_view g, const pfc_bn_units *units, double *grid)
{
    cuda &d = cuda_of(be);
    constants k = upload_units(d, s, units);
    int64_t channels = s.channels, all = units_of(s);
    double *made = (double *)scratch(d, SCRATCH_B, 2 * channels * (int64_t)sizeof *made);
    teams(d, channels, [=] ON_DEVICE(team t, int64_t c) {
        both<magnitude_of> m;
        for (int64_t u = c; u < all; u += channels)
            for (int64_t e = t.rank; e < unit_size(s, u); e += t.size) {
                double v = element<double>(s, g, u, e);
                m.first.add(v);
                m.second.add(PX_MUL(v, PX_MUL(PX_SUB(element<double>(s, x, u, e), k.mean[u]), k.inv[u])));
            }
        m = t.join(m);
        if (t.rank) return;
        made[c] = m.first.v;
        made[channels + c] = m.second.v;
    });
    to_host(d, grid, made, 2 * channels * (int64_t)sizeof *made);
    return finish(d);
}

static pfc_status exact_bn_grad_sums(pfc_backend *be, pfc_bn_shape s, pfc_view x, pfc_view g, const pfc_bn_units *units, const double *grid, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    constants k = upload_units(d, s, units);
    set_expo(acc, grid, s.channels, false);
    exact_pair(d, s, acc, [=] ON_DEVICE(int64_t u, int64_t e, double *a, double *b) {
        *a = element<double>(s, g, u, e);
        *b = PX_MUL(*a, PX_MUL(PX_SUB(element<double>(s, x, u, e), k.mean[u]), k.inv[u]));
    });
    return finish(d);
}

static pfc_status fast_bn_grad_sums(pfc_backend *be, pfc_bn_shape s, pfc_view x, pfc_view g, const pfc_bn_units *units, const double *grid, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    constants k = upload_units(d, s, units);
    (void)grid;
    fast_pair(d, s, acc, [=] ON_DEVICE(int64_t u, int64_t e, double *a, double *b) {
        *a = element<float>(s, g, u, e);
        *b = PX_MUL(*a, PX_MUL(PX_SUB(element<float>(s, x, u, e), k.mean[u]), k.inv[u]));
    });
    return finish(d);
}

static pfc_status bn_values(pfc_backend *be, const pfc_acc *acc, int64_t channels, int64_t splits, int joined, double *out)
{
    (void)be;
    pfc_acc_bn_values(acc, channels, splits, joined, out);
    return PFC_OK;
}

template <class T> static pfc_status backward_units(pfc_backend *be, pfc_bn_shape s, pfc_view x, pfc_view g, const pfc_bn_units *units, pfc_view x_grad)
{
    cuda &d = cuda_of(be);
    constants k = upload_units(d, s, units);
    each_element(d, s.n * s.channels, s.inner, [=] ON_DEVICE(int64_t r, int64_t c) {
        int64_t u = unit_of(s, r);
        double v = value<T>(g, r, c), a = PX_MUL(k.weight[u % s.channels], k.inv[u]), made;
        if (k.mean_g) {
            double xv = value<T>(x, r, c);
            bn_backward(&xv, &v, 1, k.mean[u], k.inv[u], a, k.mean_g[u], k.mean_gx[u], &made);
        } else {
            bn_multiply(&v, 1, a, &made);
        }
        put<T>(x_grad, r, c, made);
    });
    return finish(d);
}

/* ---- group_gather ---- */

static pfc_status exact_gather_expo(pfc_backend *be, pfc_view x, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    int32_t *made = device_of(acc).expo;
    each(d, x.rows, [=] ON_DEVICE(int64_t i) {
        double v = value<double>(x, i);
        made[i] = px_finite(v) ? px_expo(v) : (int32_t)PFC_EXPO_MIN;
    });
    to_host(d, acc->expo, made, x.rows * (int64_t)sizeof *made);
    return finish(d);
}

static pfc_status exact_gather_add(pfc_backend *be, pfc_view x, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    device_acc to = device_of(acc);
    const int32_t *expo = grid_of(d, acc);
    each(d, x.rows, [=] ON_DEVICE(int64_t i) {
        integer_sum s;
        s.add(value<double>(x, i), expo[i]);
        deposit(to.word, to.mark, i, s);
    });
    return finish(d);
}

static pfc_status fast_gather_add(pfc_backend *be, pfc_view x, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    double *to = device_of(acc).sum;
    each(d, x.rows, [=] ON_DEVICE(int64_t i) { to[i] = PX_ADD(to[i], value<float>(x, i)); });
    return finish(d);
}

void add_batch_norm(pfc_ops &exact, pfc_ops &fast)
{
    exact.bn_grid = exact_bn_grid;
    fast.bn_grid = fast_bn_grid;
    exact.bn_sums = exact_bn_sums;
    fast.bn_sums = fast_bn_sums;
    exact.bn_moments = fast.bn_moments = bn_moments;
    exact.bn_normalise = normalise_units<double>;
    fast.bn_normalise = normalise_units<float>;
    exact.bn_grad_grid = exact_bn_grad_grid;
    exact.bn_grad_sums = exact_bn_grad_sums;
    fast.bn_grad_sums = fast_bn_grad_sums;
    exact.bn_values = fast.bn_values = bn_values;
    exact.bn_backward = backward_units<double>;
    fast.bn_backward = backward_units<float>;
    exact.gather_expo = exact_gather_expo;
    exact.gather_add = exact_gather_add;
    fast.gather_add = fast_gather_add;
}
