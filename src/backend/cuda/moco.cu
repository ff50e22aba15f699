/* moco.cu: the momentum encoder and the positive logits (doc/exact-v1.md section 6). */
#include "backend/cuda/math.h"

template <class T> static pfc_status momentum_update(pfc_backend *be, pfc_view k, pfc_view q, double mu)
{
    cuda &d = cuda_of(be);
    double rest = 1.0 - mu;
    each_element(d, k.rows, k.cols, [=] ON_DEVICE(int64_t r, int64_t c) {
        double old = value<T>(k, r, c), now = value<T>(q, r, c);
        momentum(&old, &now, mu, rest, 1);
        put<T>(k, r, c, old);
    });
    return finish(d);
}

template <class T> static pfc_status positive_logits(pfc_backend *be, pfc_view q, pfc_view k, double s, pfc_view l)
{
    cuda &d = cuda_of(be);
    teams(d, q.rows, [=] ON_DEVICE(team t, int64_t i) {
        double dot = team_sum<T>(t, q.cols, [=](int64_t j) { return PX_MUL(value<T>(q, i, j), value<T>(k, i, j)); });
        if (t.rank == 0) put<T>(l, i, 0, PX_MUL(s, dot));
    });
    return finish(d);
}

template <class T> static pfc_status positive_max(pfc_backend *be, pfc_view l, pfc_view max)
{
    cuda &d = cuda_of(be);
    each(d, l.rows, [=] ON_DEVICE(int64_t i) {
        largest m;
        m.v = value<T>(max, i);
        m.add(value<T>(l, i));
        put<T>(max, i, 0, PX_ADD(m.v, 0.0)); /* no -0 */
    });
    return finish(d);
}

template <class T> ON_DEVICE static inline double positive(pfc_view l, pfc_view max, int64_t i) { return px_exp(PX_SUB(value<T>(l, i), value<T>(max, i))); }

template <class T> static pfc_status positive_sum(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum)
{
    cuda &d = cuda_of(be);
    each(d, l.rows, [=] ON_DEVICE(int64_t i) { put<T>(sum, i, 0, PX_ADD(value<T>(sum, i), positive<T>(l, max, i))); });
    return finish(d);
}

template <class T> static pfc_status positive_grad(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum, double count, double s, pfc_view k, pfc_view g)
{
    cuda &d = cuda_of(be);
    each_element(d, k.rows, k.cols, [=] ON_DEVICE(int64_t i, int64_t j) {
        double p = PX_DIV(positive<T>(l, max, i), value<T>(sum, i)), by = PX_MUL(PX_DIV(PX_SUB(p, 1.0), count), s), key = value<T>(k, i, j);
        double made = value<T>(g, i, j);
        add_scaled(by, &key, 1, &made);
        put<T>(g, i, j, made);
    });
    return finish(d);
}

void add_moco(pfc_ops &exact, pfc_ops &fast)
{
    exact.momentum_update = momentum_update<double>;
    fast.momentum_update = momentum_update<float>;
    exact.positive_logits = positive_logits<double>;
    fast.positive_logits = positive_logits<float>;
    exact.positive_max = positive_max<double>;
    fast.positive_max = positive_max<float>;
    exact.positive_sum = positive_sum<double>;
    fast.positive_sum = positive_sum<float>;
    exact.positive_grad = positive_grad<double>;
    fast.positive_grad = positive_grad<float>;
}
