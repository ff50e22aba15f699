/* swav.cu: the loss of SwAV and its gradient, and small operations on whole matrices (doc/exact-v1.md 5.8 to 5.11). */
#include "backend/cuda/math.h"

/* Whether the memory of both, first to last element, is disjoint. */
static bool apart(pfc_view a, pfc_view b, size_t size)
{
    const char *p = (const char *)a.data, *q = (const char *)b.data;
    if (a.rows <= 0 || a.cols <= 0) return true;
    return p + (size_t)((a.rows - 1) * a.ld + a.cols) * size <= q || q + (size_t)((b.rows - 1) * b.ld + b.cols) * size <= p;
}

/* Rows that move within a matrix go through other memory: no thread knows what another one has read. */
template <class T> static pfc_status copy_rows(pfc_backend *be, pfc_view from, pfc_view to)
{
    cuda &d = cuda_of(be);
    pfc_view by = to;
    if (!apart(from, to, sizeof(T))) {
        by.data = scratch(d, SCRATCH_A, from.rows * from.cols * (int64_t)sizeof(T));
        by.ld = from.cols;
    }
    each_element(d, from.rows, from.cols, [=] ON_DEVICE(int64_t r, int64_t c) { row_of<T>(by, r)[c] = row_of<T>(from, r)[c]; });
    if (by.data != to.data) each_element(d, from.rows, from.cols, [=] ON_DEVICE(int64_t r, int64_t c) { row_of<T>(to, r)[c] = row_of<T>(by, r)[c]; });
    return finish(d);
}

template <class T> static pfc_status zero(pfc_backend *be, pfc_view to)
{
    cuda &d = cuda_of(be);
    each_element(d, to.rows, to.cols, [=] ON_DEVICE(int64_t r, int64_t c) { put<T>(to, r, c, 0.0); });
    return finish(d);
}

template <class T> static pfc_status divide(pfc_backend *be, pfc_view a, double by)
{
    cuda &d = cuda_of(be);
    each_element(d, a.rows, a.cols, [=] ON_DEVICE(int64_t r, int64_t c) { put<T>(a, r, c, PX_DIV(value<T>(a, r, c), by)); });
    return finish(d);
}

template <class T> static pfc_status scale(pfc_backend *be, pfc_view out, double factor)
{
    cuda &d = cuda_of(be);
    each_element(d, out.rows, out.cols, [=] ON_DEVICE(int64_t r, int64_t c) { put<T>(out, r, c, PX_MUL(value<T>(out, r, c), factor)); });
    return finish(d);
}

template <class T> static pfc_status decay_and_scale(pfc_backend *be, pfc_view g, pfc_view w, double decay, double factor)
{
    cuda &d = cuda_of(be);
    each_element(d, g.rows, g.cols, [=] ON_DEVICE(int64_t r, int64_t c) {
        double v = value<T>(g, r, c), from = value<T>(w, r, c);
        decay_scale(&v, &from, decay, factor, 1);
        put<T>(g, r, c, v);
    });
    return finish(d);
}

template <class T> static pfc_status swav_row_loss(pfc_backend *be, pfc_view a, double by, pfc_view max, pfc_view sum, pfc_view q, int source, double *row)
{
    cuda &d = cuda_of(be);
    double *made = (double *)scratch(d, SCRATCH_A, a.rows * (int64_t)sizeof *made);
    teams(d, a.rows, [=] ON_DEVICE(team t, int64_t i) {
        const double m = value<T>(max, i), s = value<T>(sum, i), log_s = px_log(s);
        double loss = team_sum<T>(t, a.cols, [=](int64_t j) {
            double x = value<T>(a, i, j), aim = value<T>(q, i, j), term;
            loss_terms(&x, &aim, by, m, s, log_s, source, 1, &term);
            return term;
        });
        if (t.rank == 0) made[i] = loss;
    });
    to_host(d, row, made, a.rows * (int64_t)sizeof *made);
    return finish(d);
}

template <class T>
static pfc_status swav_dlogits(pfc_backend *be, pfc_view a, double by, pfc_view max, pfc_view sum, pfc_view q, int source, int first, pfc_view out)
{
    cuda &d = cuda_of(be);
    teams(d, a.rows, [=] ON_DEVICE(team t, int64_t i) {
        const double m = value<T>(max, i), s = value<T>(sum, i), mass = team_sum<T>(t, a.cols, [=](int64_t j) { return value<T>(q, i, j); });
        flag zero;
        for (int64_t j = t.rank; j < a.cols; j += t.size) {
            double x = value<T>(a, i, j), aim = value<T>(q, i, j), made = first ? 0.0 : value<T>(out, i, j);
            zero.v |= add_dlogits(&x, &aim, by, m, s, mass, 1, &made);
            put<T>(out, i, j, made);
        }
        zero = t.join(zero);
        for (int64_t j = t.rank; source && zero.v && j < a.cols; j += t.size) put<T>(out, i, j, PX_NAN);
    });
    return finish(d);
}

void add_swav(pfc_ops &exact, pfc_ops &fast)
{
    exact.copy_rows = copy_rows<double>;
    fast.copy_rows = copy_rows<float>;
    exact.zero = zero<double>;
    fast.zero = zero<float>;
    exact.divide = divide<double>;
    fast.divide = divide<float>;
    exact.scale = scale<double>;
    fast.scale = scale<float>;
    exact.decay_scale = decay_and_scale<double>;
    fast.decay_scale = decay_and_scale<float>;
    exact.swav_row_loss = swav_row_loss<double>;
    fast.swav_row_loss = swav_row_loss<float>;
    exact.swav_dlogits = swav_dlogits<double>;
    fast.swav_dlogits = swav_dlogits<float>;
}
