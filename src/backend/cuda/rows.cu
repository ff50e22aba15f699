/* rows.cu: norms, rounding of the state, and the update (backend.h: steps 4, 5 and 11). */
#include "backend/cuda/math.h"

/* exact-v1 3.1: a row with a NaN has norm NaN, one with an infinity infinity. */
static pfc_status exact_row_norms(pfc_backend *be, pfc_rowset a, pfc_view norm, int32_t *expo)
{
    cuda &d = cuda_of(be);
    int64_t n = a.base.cols;
    teams(d, a.count, [=] ON_DEVICE(team t, int64_t i) {
        const double *x = row_of<double>(a, i);
        magnitude_of m;
        integer_sum s;
        for (int64_t j = t.rank; j < n; j += t.size) m.add(PX_ABS(x[j]));
        m = t.join(m);
        int32_t own = px_expo(m.v), e = pfc_square_expo(own);
        for (int64_t j = t.rank; j < n && !m.mark; j += t.size) s.add(PX_MUL(x[j], x[j]), e);
        s = t.join(s);
        if (t.rank) return;
        expo[i] = own;
        put<double>(norm, i, 0, m.mark ? pfc_mark_value((unsigned char)m.mark) : PX_SQRT(pfc_scalar_value(&s.s, e)));
    });
    return finish(d);
}

static pfc_status fast_row_norms(pfc_backend *be, pfc_rowset a, pfc_view norm, int32_t *expo)
{
    cuda &d = cuda_of(be);
    int64_t n = a.base.cols;
    (void)expo;
    teams(d, a.count, [=] ON_DEVICE(team t, int64_t i) {
        const float *x = row_of<float>(a, i);
        plain_sum s;
        for (int64_t j = t.rank; j < n; j += t.size) s.add(PX_MUL((double)x[j], (double)x[j]));
        s = t.join(s);
        if (t.rank == 0) put<float>(norm, i, 0, PX_SQRT(s.v));
    });
    return finish(d);
}

static pfc_status exact_round_state(pfc_backend *be, pfc_view state)
{
    cuda &d = cuda_of(be);
    each_element(d, state.rows, state.cols, [=] ON_DEVICE(int64_t r, int64_t c) { put<double>(state, r, c, (double)(float)value<double>(state, r, c)); });
    return finish(d);
}

static pfc_status fast_round_state(pfc_backend *be, pfc_view state)
{
    (void)be, (void)state; /* it is float32 already */
    return PFC_OK;
}

template <class T> static pfc_status sgd_rows(pfc_backend *be, pfc_view dw, pfc_rowset weight, pfc_view momentum, const pfc_sgd *how)
{
    cuda &d = cuda_of(be);
    pfc_sgd o = *how;
    each_element(d, weight.count, weight.base.cols, [=] ON_DEVICE(int64_t i, int64_t j) {
        int64_t r = weight.index ? weight.index[i] : weight.first + i;
        double w = value<T>(weight.base, r, j), buf = o.momentum != 0.0 ? value<T>(momentum, r, j) : 0.0, g = dw.data ? value<T>(dw, i, j) : 0.0;
        sgd_row(&w, &buf, &g, o.lr, o.momentum, o.weight_decay, o.nesterov, 1);
        put<T>(weight.base, r, j, w);
        if (o.momentum != 0.0) put<T>(momentum, r, j, buf);
    });
    return finish(d);
}

void add_rows(pfc_ops &exact, pfc_ops &fast)
{
    exact.row_norms = exact_row_norms;
    fast.row_norms = fast_row_norms;
    exact.round_state = exact_round_state;
    fast.round_state = fast_round_state;
    exact.sgd_rows = sgd_rows<double>;
    fast.sgd_rows = sgd_rows<float>;
}
