/* softmax.cu: logits, softmax and logit gradients of partial_fc (backend.h: steps 6 to 9; doc/exact-v1.md 3.3 to 3.10). Logits are made again from the
 * cosines wherever they are needed. */
#include "backend/cuda/acc.h"
#include "backend/cuda/math.h"

/* What every kernel here looks at. */
struct block {
    pfc_head head;
    pfc_view z;
    int64_t c0;
    pfc_rows_info rows;
};

ON_DEVICE static inline bool is_target(const block &b, int64_t c, int64_t n) { return b.rows.target[n] == b.c0 + c; }

/* Logit and slope of class c of the block in row n. */
template <class T> ON_DEVICE inline double logit(const block &b, int64_t c, int64_t n, double *slope)
{
    double z = value<T>(b.z, c, n), l;
    if (is_target(b, c, n))
        pfc_target_logit(&b.head, z, &l, slope);
    else
        logit_row(&b.head, &z, 1, &l, slope);
    return l;
}

/* Gradient of the logit (3.8), then times its slope. */
template <class T> ON_DEVICE inline double logit_gradient(const block &b, int64_t c, int64_t n, bool with_slope)
{
    double slope, l = logit<T>(b, c, n, &slope), max = value<T>(b.rows.max, n), sum = value<T>(b.rows.sum, n), h;
    if (!with_slope) slope = 1.0;
    if (b.rows.valid && !b.rows.valid[n]) return 0.0;
    if (is_target(b, c, n)) return PX_MUL(PX_DIV(PX_SUB(PX_DIV(px_exp(PX_SUB(l, max)), sum), 1.0), b.rows.n), slope);
    grad_row(&l, &slope, &max, &sum, b.rows.n, 1, &h);
    return h;
}

/* ---- maximum and sum ---- */

template <class T> static void keep_targets(cuda &d, const block &b)
{
    int64_t classes = b.z.rows;
    block mine = b;
    each(d, b.z.cols, [=] ON_DEVICE(int64_t n) {
        int64_t c = mine.rows.target[n] - mine.c0;
        double slope;
        if (mine.rows.target[n] >= 0 && c >= 0 && c < classes) put<T>(mine.rows.target_logit, n, 0, logit<T>(mine, c, n, &slope));
    });
}

static pfc_status exact_row_max(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum)
{
    cuda &d = cuda_of(be);
    const block b = { *head, z, c0, *rows };
    double *max = device_of(sum).max;
    (void)lane;
    columns<largest>(
        d, z.rows, z.cols,
        [=] ON_DEVICE(largest & m, int64_t c, int64_t n) {
            double slope;
            m.add(logit<double>(b, c, n, &slope));
        },
        [=] ON_DEVICE(int64_t n, const largest &m) {
            largest now;
            now.v = max[n];
            now.join(m);
            max[n] = now.v;
        });
    keep_targets<double>(d, b);
    return finish(d);
}

struct online { /* the largest l, and the sum of exp(l - largest) */
    double max, sum;
    ON_DEVICE online() : max(-PX_INF), sum(0.0) {}
    ON_DEVICE void join(const online &o)
    {
        double m = px_larger(o.max, max), at = m == -PX_INF ? 0.0 : m;
        sum = PX_ADD(PX_MUL(sum, px_exp(PX_SUB(max, at))), PX_MUL(o.sum, px_exp(PX_SUB(o.max, at))));
        max = m;
    }
    ON_DEVICE void add(double l)
    {
        online one;
        one.max = l;
        one.sum = 1.0;
        join(one);
    }
};

static pfc_status fast_row_max(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum)
{
    cuda &d = cuda_of(be);
    const block b = { *head, z, c0, *rows };
    double *max = device_of(sum).max, *total = device_of(sum).sum;
    (void)lane;
    if (z.rows == 0) return PFC_OK;
    columns<online>(
        d, z.rows, z.cols,
        [=] ON_DEVICE(online & s, int64_t c, int64_t n) {
            double slope;
            s.add((double)(float)logit<float>(b, c, n, &slope));
        },
        [=] ON_DEVICE(int64_t n, const online &s) {
            online all;
            all.max = max[n];
            all.sum = total[n];
            all.join(s);
            max[n] = all.max;
            total[n] = all.sum;
        });
    device_of(sum).seen = 1;
    keep_targets<float>(d, b);
    return finish(d);
}

template <class T> static pfc_status row_max_fold(pfc_backend *be, pfc_acc *sum, pfc_view max)
{
    cuda &d = cuda_of(be);
    const double *from = device_of(sum).max;
    each(d, sum->rows, [=] ON_DEVICE(int64_t n) { put<T>(max, n, 0, PX_ADD(from[n], 0.0)); }); /* no -0 */
    return finish(d);
}

static pfc_status exact_row_sum(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum)
{
    cuda &d = cuda_of(be);
    const block b = { *head, z, c0, *rows };
    int64_t *word = device_of(sum).word;
    unsigned char *mark = device_of(sum).mark;
    (void)lane;
    columns<integer_sum>(
        d, z.rows, z.cols,
        [=] ON_DEVICE(integer_sum & s, int64_t c, int64_t n) {
            double slope;
            s.add(px_exp(PX_SUB(logit<double>(b, c, n, &slope), value<double>(b.rows.max, n))), 0);
        },
        [=] ON_DEVICE(int64_t n, const integer_sum &s) { deposit(word, mark, n, s); });
    return finish(d);
}

template <class T> static pfc_status target_prob(pfc_backend *be, const pfc_rows_info *rows, int64_t n_rows, double *prob)
{
    cuda &d = cuda_of(be);
    const pfc_rows_info r = *rows;
    double *made = (double *)scratch(d, SCRATCH_A, n_rows * (int64_t)sizeof *made);
    each(d, n_rows, [=] ON_DEVICE(int64_t n) {
        made[n] = r.target[n] < 0 ? 0.0 : PX_DIV(px_exp(PX_SUB(value<T>(r.target_logit, n), value<T>(r.max, n))), value<T>(r.sum, n));
    });
    to_host(d, prob, made, n_rows * (int64_t)sizeof *made);
    return finish(d);
}

/* ---- taps ---- */

template <class T> static pfc_status logits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view l)
{
    cuda &d = cuda_of(be);
    const block b = { *head, z, c0, *rows };
    (void)lane;
    each_element(d, z.rows, z.cols, [=] ON_DEVICE(int64_t c, int64_t n) {
        double slope;
        put<T>(l, c, n, logit<T>(b, c, n, &slope));
    });
    return finish(d);
}

template <class T> static pfc_status dlogits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view g)
{
    cuda &d = cuda_of(be);
    const block b = { *head, z, c0, *rows };
    (void)lane;
    each_element(d, z.rows, z.cols, [=] ON_DEVICE(int64_t c, int64_t n) { put<T>(g, c, n, logit_gradient<T>(b, c, n, false)); });
    return finish(d);
}

/* ---- gradients ---- */

static pfc_status exact_grad_expo(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view wnorm,
                                  const int32_t *wexpo, pfc_acc *feature, pfc_acc *dot)
{
    cuda &d = cuda_of(be);
    const block b = { *head, z, c0, *rows };
    double *hmax = device_of(feature).max, *zmax = head->normalised ? device_of(dot).max : NULL;
    (void)lane;
    columns<both<magnitude_of>>(
        d, z.rows, z.cols,
        [=] ON_DEVICE(both<magnitude_of> & m, int64_t c, int64_t n) {
            double h = logit_gradient<double>(b, c, n, true), by = b.head.normalised ? divisor_of(value<double>(wnorm, c)) : 1.0, u;
            scale_row(&h, by, px_pow2(wexpo[c]), 1, 1, &u);
            m.first.add(u);
            if (zmax) m.second.add(PX_MUL(h, value<double>(b.z, c, n)));
        },
        [=] ON_DEVICE(int64_t n, const both<magnitude_of> &m) {
            raise(hmax + n, m.first.v);
            if (zmax) raise(zmax + n, m.second.v);
        });
    return finish(d);
}

/* h of the block, and for every class the sum of h z over the rows. */
template <class T> static void gradient_rows(cuda &d, const block &b, pfc_view h, pfc_view wdot)
{
    int64_t rows = b.z.cols;
    block mine = b;
    each_element(d, b.z.rows, rows, [=] ON_DEVICE(int64_t c, int64_t n) { put<T>(h, c, n, logit_gradient<T>(mine, c, n, true)); });
    if (!b.head.normalised || !wdot.data) return;
    teams(d, b.z.rows, [=] ON_DEVICE(team t, int64_t c) {
        double q = team_sum<T>(t, rows, [=](int64_t n) { return PX_MUL(value<T>(h, c, n), value<T>(mine.z, c, n)); });
        if (t.rank == 0) put<T>(wdot, c, 0, q);
    });
}

static pfc_status exact_logit_grad(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view h, pfc_acc *dot,
                                   pfc_view wdot)
{
    cuda &d = cuda_of(be);
    const block b = { *head, z, c0, *rows };
    (void)lane;
    gradient_rows<double>(d, b, h, wdot);
    if (!head->normalised) return finish(d);
    const int32_t *expo = grid_of(d, dot);
    int64_t *word = device_of(dot).word;
    unsigned char *mark = device_of(dot).mark;
    columns<integer_sum>(
        d, z.rows, z.cols, [=] ON_DEVICE(integer_sum & s, int64_t c, int64_t n) { s.add(PX_MUL(value<double>(h, c, n), value<double>(z, c, n)), expo[n]); },
        [=] ON_DEVICE(int64_t n, const integer_sum &s) { deposit(word, mark, n, s); });
    return finish(d);
}

static pfc_status fast_logit_grad(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view h, pfc_acc *dot,
                                  pfc_view wdot)
{
    cuda &d = cuda_of(be);
    const block b = { *head, z, c0, *rows };
    (void)lane;
    gradient_rows<float>(d, b, h, dot ? wdot : pfc_view());
    if (!head->normalised || !dot) return finish(d);
    double *total = device_of(dot).sum;
    columns<plain_sum>(
        d, z.rows, z.cols, [=] ON_DEVICE(plain_sum & s, int64_t c, int64_t n) { s.add(PX_MUL(value<float>(h, c, n), value<float>(z, c, n))); },
        [=] ON_DEVICE(int64_t n, const plain_sum &s) { total[n] = PX_ADD(total[n], s.v); });
    return finish(d);
}

void add_softmax(pfc_ops &exact, pfc_ops &fast)
{
    exact.row_max = exact_row_max;
    fast.row_max = fast_row_max;
    exact.row_max_fold = row_max_fold<double>;
    fast.row_max_fold = row_max_fold<float>;
    exact.row_sum = exact_row_sum;
    exact.target_prob = target_prob<double>;
    fast.target_prob = target_prob<float>;
    exact.logits = logits<double>;
    fast.logits = logits<float>;
    exact.dlogits = dlogits<double>;
    fast.dlogits = dlogits<float>;
    exact.grad_expo = exact_grad_expo;
    exact.logit_grad = exact_logit_grad;
    fast.logit_grad = fast_logit_grad;
}
