/* matrix.cu: whole matrices: normalising rows and back, row softmax, grids of columns (doc/exact-v1.md section 4). */
#include "backend/cuda/acc.h"
#include "backend/cuda/math.h"

template <class T> static pfc_status normalise(pfc_backend *be, pfc_view a, pfc_view norm, pfc_view out)
{
    cuda &d = cuda_of(be);
    each_element(d, a.rows, a.cols, [=] ON_DEVICE(int64_t i, int64_t j) { put<T>(out, i, j, PX_DIV(value<T>(a, i, j), divisor_of(value<T>(norm, i)))); });
    return finish(d);
}

/* out may be g: the sum of a row is taken before its team writes. */
template <class T> static pfc_status normalise_backward(pfc_backend *be, pfc_view g, pfc_view unit, pfc_view norm, pfc_view out)
{
    cuda &d = cuda_of(be);
    teams(d, g.rows, [=] ON_DEVICE(team t, int64_t i) {
        double raw = value<T>(norm, i), by = divisor_of(raw), q = 0.0;
        int project = !(raw < PFC_NORM_MIN);
        if (project) q = team_sum<T>(t, g.cols, [=](int64_t j) { return PX_MUL(value<T>(g, i, j), value<T>(unit, i, j)); });
        for (int64_t j = t.rank; j < g.cols; j += t.size) {
            double x = value<T>(g, i, j), u = value<T>(unit, i, j), made;
            project_row(&x, &u, q, by, project, 1, &made);
            put<T>(out, i, j, made);
        }
    });
    return finish(d);
}

/* The sum of exp(x(j)) by a team, every term at most 1 (exact: exponent 0). */
template <class T, class F> ON_DEVICE static double team_exp_sum(team t, int64_t n, F x)
{
    if (sizeof(T) == sizeof(float)) return team_sum<T>(t, n, [=](int64_t j) { return px_exp(x(j)); });
    integer_sum s;
    for (int64_t j = t.rank; j < n; j += t.size) s.add(px_exp(x(j)), 0);
    s = t.join(s);
    return pfc_scalar_value(&s.s, 0);
}

template <class T> static pfc_status softmax_rows(pfc_backend *be, pfc_view a, double by, pfc_view max, pfc_view sum)
{
    cuda &d = cuda_of(be);
    teams(d, a.rows, [=] ON_DEVICE(team t, int64_t i) {
        largest m;
        for (int64_t j = t.rank; j < a.cols; j += t.size) m.add((T)PX_DIV(value<T>(a, i, j), by));
        m = t.join(m);
        double top = PX_ADD(m.v, 0.0); /* no -0 */
        double s = team_exp_sum<T>(t, a.cols, [=](int64_t j) { return PX_SUB(PX_DIV(value<T>(a, i, j), by), top); });
        if (t.rank) return;
        put<T>(max, i, 0, top);
        put<T>(sum, i, 0, s);
    });
    return finish(d);
}

static pfc_status exact_column_expo(pfc_backend *be, int lane, pfc_view a, const int32_t *expo, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    double *max = device_of(acc).max;
    (void)lane;
    columns<magnitude_of>(
        d, a.rows, a.cols, [=] ON_DEVICE(magnitude_of & m, int64_t r, int64_t c) { m.add(PX_MUL(value<double>(a, r, c), px_pow2(expo[r]))); },
        [=] ON_DEVICE(int64_t c, const magnitude_of &m) { raise(max + c, m.v); });
    return finish(d);
}

void add_matrix(pfc_ops &exact, pfc_ops &fast)
{
    exact.normalise = normalise<double>;
    fast.normalise = normalise<float>;
    exact.normalise_backward = normalise_backward<double>;
    fast.normalise_backward = normalise_backward<float>;
    exact.softmax_rows = softmax_rows<double>;
    fast.softmax_rows = softmax_rows<float>;
    exact.column_expo = exact_column_expo;
}
