/* arcface.cu: sub-centers, angular margins, soft targets (doc/exact-v1.md section 8). */
#include "backend/cuda/acc.h"
#include "backend/cuda/math.h"

template <class T> static pfc_status subcenters(pfc_backend *be, int lane, pfc_view z, pfc_view bias, int64_t k, pfc_view cosine, pfc_view winner)
{
    cuda &d = cuda_of(be);
    (void)lane;
    each_element(d, cosine.rows, cosine.cols, [=] ON_DEVICE(int64_t c, int64_t n) {
        double best = 0.0;
        int32_t which = 0;
        for (int64_t j = 0; j < k; j++) {
            double v = (T)PX_ADD(value<T>(z, c * k + j, n), bias.data ? value<T>(bias, c * k + j) : 0.0);
            if (j > 0 && !(v > best || (px_nan(v) && !px_nan(best)))) continue;
            best = v;
            which = (int32_t)j;
        }
        put<T>(cosine, c, n, best);
        row_of<int32_t>(winner, c)[n] = which;
    });
    return finish(d);
}

/* ---- logits ---- */

struct angular_block {
    pfc_angular head;
    pfc_view cosine;
    int64_t c0;
    pfc_rows_info rows;
};

template <class T> ON_DEVICE static inline double logit(const angular_block &b, int64_t c, int64_t n, double *slope)
{
    double z = value<T>(b.cosine, c, n), l, constant[4];
    if (b.head.margins && b.rows.target[n] == b.c0 + c) {
        for (int j = 0; j < 4; j++) constant[j] = value<T>(b.head.constant, b.c0 + c, j);
        pfc_angular_target_logit(&b.head, constant, z, &l, slope);
    } else {
        angular_row(&b.head, b.head.margins ? value<T>(b.head.constant, b.c0 + c) : 1.0, &z, 1, &l, slope);
    }
    return l;
}

template <class T>
static pfc_status angular_logits(pfc_backend *be, int lane, const pfc_angular *head, pfc_view cosine, int64_t c0, const pfc_rows_info *rows, pfc_view l)
{
    cuda &d = cuda_of(be);
    const angular_block b = { *head, cosine, c0, *rows };
    (void)lane;
    each_element(d, cosine.rows, cosine.cols, [=] ON_DEVICE(int64_t c, int64_t n) {
        double slope = 0.0;
        put<T>(l, c, n, logit<T>(b, c, n, &slope));
    });
    return finish(d);
}

template <class T> ON_DEVICE static inline double probability(pfc_view l, const pfc_rows_info &rows, int64_t c, int64_t n)
{
    return PX_DIV(px_exp(PX_SUB(value<T>(l, c, n), value<T>(rows.max, n))), value<T>(rows.sum, n));
}

template <class T> static pfc_status softmax_prob(pfc_backend *be, int lane, pfc_view l, const pfc_rows_info *rows, pfc_view p)
{
    cuda &d = cuda_of(be);
    const pfc_rows_info r = *rows;
    (void)lane;
    each_element(d, l.rows, l.cols, [=] ON_DEVICE(int64_t c, int64_t n) { put<T>(p, c, n, probability<T>(l, r, c, n)); });
    return finish(d);
}

/* ---- what the rows aim at ---- */

struct aimed {
    pfc_view l;
    int64_t c0;
    pfc_rows_info rows;
    pfc_aims aims;
};

template <class T> ON_DEVICE static inline double weight_of(const pfc_aims &aims, int64_t c)
{
    return aims.class_weight.data ? value<T>(aims.class_weight, c) : 1.0;
}

/* q and r = log sum - (l - max) of a class and row; false: not a term (one-hot, and not the row's class). */
template <class T> ON_DEVICE static inline bool term(const aimed &a, int64_t c, int64_t n, double *q, double *r)
{
    bool soft = a.aims.soft.data != NULL;
    if (!soft && a.rows.target[n] != a.c0 + c) return false;
    *q = soft ? PX_MUL(value<T>(a.aims.soft, a.c0 + c, n), weight_of<T>(a.aims, a.c0 + c)) : weight_of<T>(a.aims, a.c0 + c);
    *r = PX_SUB(px_log(value<T>(a.rows.sum, n)), PX_SUB(value<T>(a.l, c, n), value<T>(a.rows.max, n)));
    return true;
}

static pfc_status exact_aims_expo(pfc_backend *be, int lane, pfc_view l, int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_acc *total,
                                  pfc_acc *loss)
{
    cuda &d = cuda_of(be);
    const aimed a = { l, c0, *rows, *aims };
    double *to_total = device_of(total).max, *to_loss = device_of(loss).max;
    (void)lane;
    columns<both<magnitude_of>>(
        d, l.rows, l.cols,
        [=] ON_DEVICE(both<magnitude_of> & m, int64_t c, int64_t n) {
            double q, r;
            if (!term<double>(a, c, n, &q, &r)) return;
            m.first.add(q);
            m.second.add(PX_MUL(q, r));
        },
        [=] ON_DEVICE(int64_t n, const both<magnitude_of> &m) {
            raise(to_total + n, m.first.v);
            raise(to_loss + n, m.second.v);
        });
    return finish(d);
}

static pfc_status exact_aims_sum(pfc_backend *be, int lane, pfc_view l, int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_acc *total,
                                 pfc_acc *loss)
{
    cuda &d = cuda_of(be);
    const aimed a = { l, c0, *rows, *aims };
    device_acc to_total = device_of(total), to_loss = device_of(loss);
    const int32_t *total_grid = grid_of(d, total), *loss_grid = grid_of(d, loss);
    (void)lane;
    columns<both<integer_sum>>(
        d, l.rows, l.cols,
        [=] ON_DEVICE(both<integer_sum> & s, int64_t c, int64_t n) {
            double q, r;
            if (!term<double>(a, c, n, &q, &r)) return;
            s.first.add(q, total_grid[n]);
            s.second.add(PX_MUL(q, r), loss_grid[n]);
        },
        [=] ON_DEVICE(int64_t n, const both<integer_sum> &s) {
            deposit(to_total.word, to_total.mark, n, s.first);
            deposit(to_loss.word, to_loss.mark, n, s.second);
        });
    return finish(d);
}

static pfc_status fast_aims_sum(pfc_backend *be, int lane, pfc_view l, int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_acc *total,
                                pfc_acc *loss)
{
    cuda &d = cuda_of(be);
    const aimed a = { l, c0, *rows, *aims };
    double *to_total = device_of(total).sum, *to_loss = device_of(loss).sum;
    (void)lane;
    columns<both<plain_sum>>(
        d, l.rows, l.cols,
        [=] ON_DEVICE(both<plain_sum> & s, int64_t c, int64_t n) {
            double q, r;
            if (!term<float>(a, c, n, &q, &r)) return;
            s.first.add(q);
            s.second.add(PX_MUL(q, r));
        },
        [=] ON_DEVICE(int64_t n, const both<plain_sum> &s) {
            to_total[n] = PX_ADD(to_total[n], s.first.v);
            to_loss[n] = PX_ADD(to_loss[n], s.second.v);
        });
    return finish(d);
}

/* ---- gradient of the cosines ---- */

template <class T> ON_DEVICE static inline double gradient(const angular_block &b, const aimed &a, int64_t c, int64_t n)
{
    double slope = 0.0, p = probability<T>(a.l, a.rows, c, n), total = value<T>(a.aims.total, n), q = 0.0, h;
    bool soft = a.aims.soft.data != NULL;
    logit<T>(b, c, n, &slope);
    if (soft)
        q = PX_MUL(value<T>(a.aims.soft, a.c0 + c, n), weight_of<T>(a.aims, a.c0 + c));
    else if (a.rows.target[n] == a.c0 + c)
        q = weight_of<T>(a.aims, a.c0 + c);
    aim_row(&p, soft || a.rows.target[n] == a.c0 + c ? &q : NULL, &total, a.aims.factor, &slope, 1, &h);
    return h;
}

template <class T>
static pfc_status subcenter_grad(pfc_backend *be, int lane, const pfc_angular *head, pfc_view cosine, pfc_view l, pfc_view winner, int64_t k, int64_t c0,
                                 const pfc_rows_info *rows, const pfc_aims *aims, pfc_view h, pfc_view bias_grad)
{
    cuda &d = cuda_of(be);
    const angular_block b = { *head, cosine, c0, *rows };
    const aimed a = { l, c0, *rows, *aims };
    (void)lane;
    each_element(d, cosine.rows, cosine.cols, [=] ON_DEVICE(int64_t c, int64_t n) {
        double g = gradient<T>(b, a, c, n);
        int32_t won = row_of<int32_t>(winner, c)[n];
        for (int64_t j = 0; j < k; j++) put<T>(h, c * k + j, n, won == j ? g : 0.0);
    });
    if (bias_grad.data)
        teams(d, h.rows, [=] ON_DEVICE(team t, int64_t r) {
            double s = team_sum<T>(t, h.cols, [=](int64_t n) { return value<T>(h, r, n); });
            if (t.rank == 0) put<T>(bias_grad, r, 0, s);
        });
    return finish(d);
}

void add_arcface(pfc_ops &exact, pfc_ops &fast)
{
    exact.subcenter_max = subcenters<double>;
    fast.subcenter_max = subcenters<float>;
    exact.angular_logits = angular_logits<double>;
    fast.angular_logits = angular_logits<float>;
    exact.softmax_prob = softmax_prob<double>;
    fast.softmax_prob = softmax_prob<float>;
    exact.aims_expo = exact_aims_expo;
    exact.aims_sum = exact_aims_sum;
    fast.aims_sum = fast_aims_sum;
    exact.subcenter_grad = subcenter_grad<double>;
    fast.subcenter_grad = subcenter_grad<float>;
}
