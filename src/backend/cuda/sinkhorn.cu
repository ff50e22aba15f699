/* sinkhorn.cu: Sinkhorn iterations in the published arrangement: every element of Q is updated in place (doc/exact-v1.md section 5).
 *
 * Both modes work on a matrix of doubles. Exact: the assignment's own memory, and integer sums. Fast: a matrix beside it, because what is within float64 and
 * beyond float32 must not become 0 or infinite, and plain sums. A team of threads has one sample: a thread reads only what it wrote itself. */
#include "backend/cuda/acc.h"
#include "backend/cuda/math.h"
#include "backend/host_sums.h"
#include "backend/shoot_infs.h"

#include <stdlib.h>

struct pfc_sinkhorn_plan {
    pfc_sinkhorn_config cfg;
    double total;    /* N */
    pfc_view scores; /* (n,K) real */
    pfc_view out;    /* (n,K) real: the assignment */
    pfc_view q;      /* (n,K) double: Q; log: score/epsilon to the end. Exact: out */
    double *own;     /* q's memory in fast mode, else NULL */
    double *row;     /* (K) factors of the prototypes; log: f */
    double *g;       /* (n) log: of the samples; else the samples' maxima in passing */
    double *host;    /* (K) host: on the way to row */
};

static bool is_log(const pfc_sinkhorn_plan *p) { return p->cfg.version == PFC_SINKHORN_LOG; }

/* ---- beginning and end ---- */

static void sinkhorn_destroy(pfc_backend *be, pfc_sinkhorn_plan *plan)
{
    cuda &d = cuda_of(be);
    if (!plan) return;
    device_free(d, plan->own);
    device_free(d, plan->row);
    device_free(d, plan->g);
    free(plan->host);
    free(plan);
    finish(d);
}

/* Q = score/epsilon; returns the largest element, NaN wins. */
template <class T> static double divide_scores(cuda &d, const pfc_sinkhorn_plan *p)
{
    const pfc_view from = p->scores, q = p->q;
    const double epsilon = p->cfg.epsilon;
    double *max = p->g, *all = (double *)scratch(d, SCRATCH_A, (int64_t)sizeof *all), result = -PX_INF;
    teams(d, q.rows, [=] ON_DEVICE(team t, int64_t j) {
        largest m;
        for (int64_t i = t.rank; i < q.cols; i += t.size) {
            double a = PX_DIV(value<T>(from, j, i), epsilon);
            put<double>(q, j, i, a);
            m.add(a);
        }
        m = t.join(m);
        if (t.rank == 0) max[j] = m.v;
    });
    teams(d, 1, [=] ON_DEVICE(team t, int64_t) {
        largest m;
        for (int64_t j = t.rank; j < q.rows; j += t.size) m.add(max[j]);
        m = t.join(m);
        if (t.rank == 0) *all = PX_ADD(m.v, 0.0);
    });
    to_host(d, &result, all, (int64_t)sizeof result);
    return result;
}

template <class T>
static pfc_status sinkhorn_create(pfc_backend *be, const pfc_sinkhorn_config *cfg, double total, pfc_view scores, pfc_view q, double extremes[2],
                                  pfc_sinkhorn_plan **out)
{
    cuda &d = cuda_of(be);
    int64_t bytes = (int64_t)sizeof(double);
    pfc_sinkhorn_plan *p = *out = (pfc_sinkhorn_plan *)calloc(1, sizeof *p);
    extremes[0] = extremes[1] = -PX_INF;
    if (p) p->host = (double *)malloc((size_t)(q.cols * bytes) + 1);
    if (!p || !p->host) {
        note(d, PFC_ERR_NOMEM, "out of memory");
    } else {
        p->cfg = *cfg, p->total = total, p->scores = scores, p->out = p->q = q;
        p->row = (double *)device_alloc(d, q.cols * bytes);
        p->g = (double *)device_alloc(d, q.rows * bytes);
        if (sizeof(T) == sizeof(float)) {
            p->own = (double *)device_alloc(d, q.rows * q.cols * bytes);
            p->q = pfc_view_make(p->own, PFC_F64, q.rows, q.cols);
        }
        if (!d.failed) extremes[0] = divide_scores<T>(d, p);
        if (is_log(p) && !d.failed) fill_zero(d, p->g, q.rows * bytes), fill_zero(d, p->row, q.cols * bytes);
    }
    pfc_status st = finish(d);
    if (st == PFC_OK) return st;
    sinkhorn_destroy(be, p);
    *out = NULL;
    return st;
}

/* ---- the source's shoot_infs: infinities become the largest of the others and 0; NaN wins ---- */

struct others {
    double v;
    int any;
    ON_DEVICE others() : v(0.0), any(0) {}
    ON_DEVICE void join(const others &o)
    {
        v = px_larger(o.v, v);
        any |= o.any;
    }
    ON_DEVICE void add(double x)
    {
        others one;
        one.any = PX_ABS(x) == PX_INF;
        if (!one.any) one.v = x;
        join(one);
    }
};

static void shoot_infs(cuda &d, const pfc_sinkhorn_plan *p)
{
    const pfc_view q = p->q;
    others *part = (others *)scratch(d, SCRATCH_A, (q.rows + 1) * (int64_t)sizeof *part), *all = part + q.rows;
    teams(d, q.rows, [=] ON_DEVICE(team t, int64_t j) {
        others m;
        for (int64_t i = t.rank; i < q.cols; i += t.size) m.add(value<double>(q, j, i));
        m = t.join(m);
        if (t.rank == 0) part[j] = m;
    });
    teams(d, 1, [=] ON_DEVICE(team t, int64_t) {
        others m;
        for (int64_t j = t.rank; j < q.rows; j += t.size) m.join(part[j]);
        m = t.join(m);
        if (t.rank == 0) *all = m;
    });
    each_element(d, q.rows, q.cols, [=] ON_DEVICE(int64_t j, int64_t i) {
        if (all->any && PX_ABS(value<double>(q, j, i)) == PX_INF) put<double>(q, j, i, all->v);
    });
}

static pfc_status sinkhorn_exp(pfc_backend *be, pfc_sinkhorn_plan *plan, const double extremes[2])
{
    cuda &d = cuda_of(be);
    const double shift = plan->cfg.stabilise ? extremes[0] : 0.0;
    const pfc_view q = plan->q;
    each_element(d, q.rows, q.cols, [=] ON_DEVICE(int64_t j, int64_t i) { put<double>(q, j, i, px_exp(PX_SUB(value<double>(q, j, i), shift))); });
    if (pfc_replaces_infinities(&plan->cfg)) shoot_infs(d, plan);
    return finish(d);
}

/* ---- sums over the samples ---- */

static pfc_status exact_sinkhorn_expo(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    const pfc_view q = plan->q;
    int32_t *expo = device_of(acc).expo;
    columns<magnitude_of>(
        d, q.rows, q.cols, [=] ON_DEVICE(magnitude_of & m, int64_t j, int64_t i) { m.add(value<double>(q, j, i)); },
        [=] ON_DEVICE(int64_t i, const magnitude_of &m) { expo[i] = pfc_mass_expo(m.v); });
    to_host(d, acc->expo, expo, q.cols * (int64_t)sizeof *expo);
    return finish(d);
}

/* acc_i += the sum over the samples of term(j, i). */
template <class F> static void exact_sums(cuda &d, const pfc_sinkhorn_plan *p, pfc_acc *acc, F term)
{
    const int32_t *expo = grid_of(d, acc);
    int64_t *word = device_of(acc).word;
    unsigned char *mark = device_of(acc).mark;
    columns<integer_sum>(
        d, p->q.rows, p->q.cols, [=] ON_DEVICE(integer_sum & s, int64_t j, int64_t i) { s.add(term(j, i), expo[i]); },
        [=] ON_DEVICE(int64_t i, const integer_sum &s) { deposit(word, mark, i, s); });
}

template <class F> static void fast_sums(cuda &d, const pfc_sinkhorn_plan *p, pfc_acc *acc, F term)
{
    double *total = device_of(acc).sum;
    columns<plain_sum>(
        d, p->q.rows, p->q.cols, [=] ON_DEVICE(plain_sum & s, int64_t j, int64_t i) { s.add(term(j, i)); },
        [=] ON_DEVICE(int64_t i, const plain_sum &s) { total[i] = PX_ADD(total[i], s.v); });
}

template <class T> static pfc_status sinkhorn_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    const pfc_view q = plan->q;
    auto term = [=] ON_DEVICE(int64_t j, int64_t i) { return value<double>(q, j, i); };
    if (sizeof(T) == sizeof(float))
        fast_sums(d, plan, acc, term);
    else
        exact_sums(d, plan, acc, term);
    return finish(d);
}

static pfc_status sinkhorn_total(pfc_backend *be, const pfc_acc *acc, double *sums, double *total)
{
    (void)be;
    pfc_acc_total(acc, sums, total);
    return PFC_OK;
}

/* ---- elementwise ---- */

static pfc_status sinkhorn_divide(pfc_backend *be, pfc_sinkhorn_plan *plan, double by)
{
    cuda &d = cuda_of(be);
    const pfc_view q = plan->q;
    each_element(d, q.rows, q.cols, [=] ON_DEVICE(int64_t j, int64_t i) { put<double>(q, j, i, PX_DIV(value<double>(q, j, i), by)); });
    return finish(d);
}

static pfc_status sinkhorn_add(pfc_backend *be, pfc_sinkhorn_plan *plan, double x)
{
    cuda &d = cuda_of(be);
    const pfc_view q = plan->q;
    each_element(d, q.rows, q.cols, [=] ON_DEVICE(int64_t j, int64_t i) { put<double>(q, j, i, PX_ADD(value<double>(q, j, i), x)); });
    return finish(d);
}

/* The sum of x[0..n) by a team: the mass of a sample (1.3). */
template <class T> ON_DEVICE static inline double mass_of(team t, const double *x, int64_t n)
{
    if (sizeof(T) == sizeof(float)) return team_sum<float>(t, n, [=](int64_t i) { return x[i]; });
    magnitude_of m;
    integer_sum s;
    for (int64_t i = t.rank; i < n; i += t.size) m.add(x[i]);
    m = t.join(m);
    int32_t e = pfc_mass_expo(m.v);
    for (int64_t i = t.rank; i < n; i += t.size) s.add(x[i], e);
    s = t.join(s);
    return pfc_scalar_value(&s.s, e);
}

template <class T> static pfc_status sinkhorn_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, const double *sums)
{
    cuda &d = cuda_of(be);
    const pfc_view q = plan->q;
    const bool v2 = plan->cfg.version == PFC_SINKHORN_V2;
    const int64_t n = q.cols;
    const double share = 1.0 / (double)n, total = plan->total, *row = plan->row;
    for (int64_t i = 0; i < n; i++) plan->host[i] = v2 ? sums[i] : share / sums[i];
    if (pfc_replaces_infinities(&plan->cfg)) pfc_shoot_infs(plan->host, 1, n, n);
    to_device(d, plan->row, plan->host, n * (int64_t)sizeof(double));
    teams(d, q.rows, [=] ON_DEVICE(team t, int64_t j) {
        double *x = row_of<double>(q, j);
        for (int64_t i = t.rank; i < n; i += t.size) x[i] = v2 ? PX_DIV(PX_DIV(x[i], row[i]), (double)n) : PX_MUL(x[i], row[i]);
        double mass = mass_of<T>(t, x, n), by = PX_DIV(PX_DIV(1.0, total), mass);
        for (int64_t i = t.rank; i < n; i += t.size) x[i] = v2 ? PX_DIV(PX_DIV(x[i], mass), total) : PX_MUL(x[i], by);
    });
    return finish(d);
}

/* ---- log domain ---- */

template <class T> static pfc_status sinkhorn_log_max(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max)
{
    cuda &d = cuda_of(be);
    const pfc_view q = plan->q;
    const double *g = plan->g;
    columns<largest>(
        d, q.rows, q.cols, [=] ON_DEVICE(largest & m, int64_t j, int64_t i) { m.add(PX_ADD(value<double>(q, j, i), g[j])); },
        [=] ON_DEVICE(int64_t i, const largest &m) { put<T>(max, i, 0, PX_ADD(m.v, 0.0)); });
    return finish(d);
}

template <class T> static pfc_status sinkhorn_log_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    const pfc_view q = plan->q;
    const double *g = plan->g;
    auto term = [=] ON_DEVICE(int64_t j, int64_t i) { return px_exp(PX_SUB(PX_ADD(value<double>(q, j, i), g[j]), value<T>(max, i))); };
    for (int64_t i = 0; acc->expo && i < acc->rows; i++) acc->expo[i] = 0; /* the largest term is 1 */
    if (sizeof(T) == sizeof(float))
        fast_sums(d, plan, acc, term);
    else
        exact_sums(d, plan, acc, term);
    return finish(d);
}

/* log sum_k exp(a_k + f_k) of one sample. */
template <class T> ON_DEVICE static inline double log_mass(team t, const double *a, const double *f, int64_t n)
{
    largest m;
    for (int64_t i = t.rank; i < n; i += t.size) m.add(PX_ADD(a[i], f[i]));
    m = t.join(m);
    const double top = PX_ADD(m.v, 0.0);
    double sum;
    if (sizeof(T) == sizeof(float)) {
        sum = team_sum<float>(t, n, [=](int64_t i) { return px_exp(PX_SUB(PX_ADD(a[i], f[i]), top)); });
    } else {
        integer_sum s;
        for (int64_t i = t.rank; i < n; i += t.size) s.add(px_exp(PX_SUB(PX_ADD(a[i], f[i]), top)), 0);
        s = t.join(s);
        sum = pfc_scalar_value(&s.s, 0);
    }
    return px_log_sum(top, sum);
}

template <class T> static pfc_status sinkhorn_log_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, const pfc_acc *acc, double *log_sums)
{
    cuda &d = cuda_of(be);
    const pfc_view q = plan->q;
    const int64_t n = q.cols;
    const double log_k = -px_log((double)n), log_n = -px_log(plan->total), *f = plan->row;
    double *g = plan->g, *there = plan->row;
    each(d, n, [=] ON_DEVICE(int64_t i) { there[i] = value<T>(max, i); });
    to_host(d, plan->host, there, n * (int64_t)sizeof(double));
    for (int64_t i = 0; !d.failed && i < n; i++) {
        log_sums[i] = px_log_sum(plan->host[i], pfc_acc_number(acc, i));
        plan->host[i] = log_k - log_sums[i];
    }
    to_device(d, there, plan->host, n * (int64_t)sizeof(double));
    teams(d, q.rows, [=] ON_DEVICE(team t, int64_t j) {
        double lse = log_mass<T>(t, row_of<double>(q, j), f, n);
        if (t.rank == 0) g[j] = PX_SUB(log_n, lse);
    });
    return finish(d);
}

/* ---- the assignment ---- */

template <class T> static pfc_status sinkhorn_finish(pfc_backend *be, pfc_sinkhorn_plan *plan)
{
    cuda &d = cuda_of(be);
    const pfc_view q = plan->q, out = plan->out;
    const bool log = is_log(plan), v2 = plan->cfg.version == PFC_SINKHORN_V2;
    const double total = plan->total, *f = plan->row;
    teams(d, q.rows, [=] ON_DEVICE(team t, int64_t j) {
        const double *x = row_of<double>(q, j);
        double by = log ? log_mass<T>(t, x, f, q.cols) : v2 ? total : mass_of<T>(t, x, q.cols);
        for (int64_t i = t.rank; i < q.cols; i += t.size)
            put<T>(out, j, i, log ? px_exp(PX_SUB(PX_ADD(x[i], f[i]), by)) : v2 ? PX_MUL(x[i], by) : PX_DIV(x[i], by));
    });
    return finish(d);
}

void add_sinkhorn(pfc_ops &exact, pfc_ops &fast)
{
    exact.sinkhorn_create = sinkhorn_create<double>;
    fast.sinkhorn_create = sinkhorn_create<float>;
    exact.sinkhorn_destroy = fast.sinkhorn_destroy = sinkhorn_destroy;
    exact.sinkhorn_exp = fast.sinkhorn_exp = sinkhorn_exp;
    exact.sinkhorn_expo = exact_sinkhorn_expo;
    exact.sinkhorn_sums = sinkhorn_sums<double>;
    fast.sinkhorn_sums = sinkhorn_sums<float>;
    exact.sinkhorn_total = fast.sinkhorn_total = sinkhorn_total;
    exact.sinkhorn_divide = fast.sinkhorn_divide = sinkhorn_divide;
    exact.sinkhorn_add = fast.sinkhorn_add = sinkhorn_add;
    exact.sinkhorn_scale = sinkhorn_scale<double>;
    fast.sinkhorn_scale = sinkhorn_scale<float>;
    exact.sinkhorn_finish = sinkhorn_finish<double>;
    fast.sinkhorn_finish = sinkhorn_finish<float>;
    exact.sinkhorn_log_max = sinkhorn_log_max<double>;
    fast.sinkhorn_log_max = sinkhorn_log_max<float>;
    exact.sinkhorn_log_sums = sinkhorn_log_sums<double>;
    fast.sinkhorn_log_sums = sinkhorn_log_sums<float>;
    exact.sinkhorn_log_scale = sinkhorn_log_scale<double>;
    fast.sinkhorn_log_scale = sinkhorn_log_scale<float>;
}
