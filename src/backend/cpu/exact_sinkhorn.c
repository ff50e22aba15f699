/* exact_sinkhorn.c: Sinkhorn iterations in exact mode, in the published arrangement: every element of Q is updated in place (doc/exact-v1.md section 5). */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/exact.h"
#include "backend/host_sums.h"
#include "backend/shoot_infs.h"

#include <stdlib.h>

struct pfc_sinkhorn_plan {
    pfc_sinkhorn_config cfg;
    double total; /* N */
    pfc_view q;   /* (n,K): score/epsilon, then Q; log: score/epsilon to the end */
    double *row;  /* (K) factors of the prototypes; log: f */
    double *g;    /* (n) log: of the samples */
    double *work; /* (lanes,K) */
    int lanes;
};

static double *q_row(const pfc_sinkhorn_plan *p, int64_t j) { return exact_at(p->q, j); }

/* fn on a part of the samples for every lane; lanes run at the same time. */
typedef void (*part_fn)(const pfc_exact_kernels *k, pfc_sinkhorn_plan *p, int lane, int64_t first, int64_t end, void *arg);

static pfc_status for_samples(pfc_backend *be, pfc_sinkhorn_plan *p, part_fn fn, void *arg)
{
    pfc_exact *ex = exact_of(be);
    pfc_status st = PFC_OK;
#pragma omp parallel for num_threads(be->threads)
    for (int lane = 0; lane < p->lanes; lane++) {
        pfc_status mine = pfc_exact_environment(&ex->lane[lane]);
        if (mine == PFC_OK) fn(ex->k, p, lane, p->q.rows * lane / p->lanes, p->q.rows * (lane + 1) / p->lanes, arg);
#pragma omp critical
        if (mine != PFC_OK) st = pfc_exact_fail(be, lane, mine);
    }
    return st;
}

/* ---- beginning and end ---- */

typedef struct begin {
    pfc_view scores;
    double *max; /* per lane */
} begin;

static void divide_part(const pfc_exact_kernels *k, pfc_sinkhorn_plan *p, int lane, int64_t first, int64_t end, void *arg)
{
    begin *b = arg;
    for (int64_t j = first; j < end; j++) {
        const double *o = exact_at(b->scores, j);
        k->divide_row(o, p->cfg.epsilon, p->q.cols, q_row(p, j));
        b->max[lane] = px_larger(k->scaled_max(q_row(p, j), 1.0, p->q.cols), b->max[lane]);
    }
}

pfc_status pfc_exact_sinkhorn_create(pfc_backend *be, const pfc_sinkhorn_config *cfg, double total, pfc_view scores, pfc_view q, double extremes[2],
                                     pfc_sinkhorn_plan **out)
{
    int lanes = exact_of(be)->lanes;
    pfc_sinkhorn_plan *p = calloc(1, sizeof *p);
    begin b = { scores, malloc((size_t)lanes * sizeof(double)) };
    *out = p;
    if (p) {
        *p = (pfc_sinkhorn_plan){ .cfg = *cfg, .total = total, .q = q, .lanes = lanes };
        p->row = calloc((size_t)q.cols, sizeof(double));
        p->g = calloc((size_t)q.rows, sizeof(double));
        p->work = calloc((size_t)lanes * (size_t)q.cols, sizeof(double));
    }
    pfc_status st = p && b.max && p->row && p->g && p->work ? PFC_OK : pfc_cpu_nomem(be, (size_t)(q.cols + q.rows) * sizeof(double));
    for (int lane = 0; b.max && lane < lanes; lane++) b.max[lane] = -PX_INF;
    if (st == PFC_OK) st = for_samples(be, p, divide_part, &b);
    extremes[0] = extremes[1] = -PX_INF;
    for (int lane = 0; st == PFC_OK && lane < lanes; lane++) extremes[0] = px_larger(b.max[lane], extremes[0]);
    free(b.max);
    if (st != PFC_OK) {
        pfc_exact_sinkhorn_destroy(be, p);
        *out = NULL;
    }
    return st;
}

void pfc_exact_sinkhorn_destroy(pfc_backend *be, pfc_sinkhorn_plan *plan)
{
    (void)be;
    if (!plan) return;
    free(plan->row);
    free(plan->g);
    free(plan->work);
    free(plan);
}

static void exp_part(const pfc_exact_kernels *k, pfc_sinkhorn_plan *p, int lane, int64_t first, int64_t end, void *arg)
{
    (void)lane;
    for (int64_t j = first; j < end; j++) k->exp_shift(q_row(p, j), *(const double *)arg, p->q.cols, q_row(p, j));
}

pfc_status pfc_exact_sinkhorn_exp(pfc_backend *be, pfc_sinkhorn_plan *plan, const double extremes[2])
{
    double shift = plan->cfg.stabilise ? extremes[0] : 0.0;
    PFC_TRY(for_samples(be, plan, exp_part, &shift));
    if (pfc_replaces_infinities(&plan->cfg)) pfc_shoot_infs(plan->q.data, plan->q.rows, plan->q.cols, plan->q.ld);
    return PFC_OK;
}

/* ---- sums over the samples ---- */

static void expo_part(const pfc_exact_kernels *k, pfc_sinkhorn_plan *p, int lane, int64_t first, int64_t end, void *arg)
{
    (void)arg;
    double *max = p->work + lane * p->q.cols;
    for (int64_t i = 0; i < p->q.cols; i++) max[i] = 0.0;
    for (int64_t j = first; j < end; j++) k->max_abs_each(q_row(p, j), p->q.cols, max);
}

pfc_status pfc_exact_sinkhorn_expo(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_acc *acc)
{
    PFC_TRY(for_samples(be, plan, expo_part, NULL));
    for (int64_t i = 0; i < plan->q.cols; i++) {
        acc->expo[i] = PFC_MASS_EXPO_MIN;
        for (int lane = 0; lane < plan->lanes; lane++) {
            int32_t e = pfc_mass_expo(plan->work[lane * plan->q.cols + i]);
            if (e > acc->expo[i]) acc->expo[i] = e;
        }
    }
    return PFC_OK;
}

static void sums_part(const pfc_exact_kernels *k, pfc_sinkhorn_plan *p, int lane, int64_t first, int64_t end, void *arg)
{
    pfc_acc *acc = arg;
    exact_scalar_acc *s = exact_scalar_lane(acc, lane);
    double *scale = p->work + lane * p->q.cols;
    for (int64_t i = 0; i < p->q.cols; i++) scale[i] = px_pow2(36 - acc->expo[i]);
    for (int64_t j = first; j < end; j++) {
        const double *x = q_row(p, j);
        if (!k->add_each(x, scale, p->q.cols, s->a, s->b)) continue;
        for (int64_t i = 0; i < p->q.cols; i++) s->mark[i] |= pfc_mark_of(x[i]);
    }
}

pfc_status pfc_exact_sinkhorn_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_acc *acc) { return for_samples(be, plan, sums_part, acc); }

pfc_status pfc_exact_sinkhorn_total(pfc_backend *be, const pfc_acc *acc, double *sums, double *total)
{
    (void)be;
    pfc_acc_total(acc, sums, total);
    return PFC_OK;
}

/* ---- elementwise ---- */

static void divide_all_part(const pfc_exact_kernels *k, pfc_sinkhorn_plan *p, int lane, int64_t first, int64_t end, void *arg)
{
    (void)lane;
    for (int64_t j = first; j < end; j++) k->divide_row(q_row(p, j), *(const double *)arg, p->q.cols, q_row(p, j));
}

static void add_all_part(const pfc_exact_kernels *k, pfc_sinkhorn_plan *p, int lane, int64_t first, int64_t end, void *arg)
{
    (void)lane, (void)k;
    for (int64_t j = first; j < end; j++)
        for (int64_t i = 0; i < p->q.cols; i++) q_row(p, j)[i] += *(const double *)arg;
}

pfc_status pfc_exact_sinkhorn_divide(pfc_backend *be, pfc_sinkhorn_plan *plan, double t) { return for_samples(be, plan, divide_all_part, &t); }
pfc_status pfc_exact_sinkhorn_add(pfc_backend *be, pfc_sinkhorn_plan *plan, double x) { return for_samples(be, plan, add_all_part, &x); }

/* Mass of one sample: the scalar sum of its row (1.3). */
static double mass(const pfc_exact_kernels *k, const double *x, int64_t n)
{
    int nonfinite = 0;
    pfc_scalar_sum s = { 0, 0, 0 };
    int32_t e = pfc_mass_expo(k->max_abs(x, n, &nonfinite));
    k->sum_row(x, px_pow2(36 - e), n, &s.a, &s.b);
    for (int64_t i = 0; nonfinite && i < n; i++) s.mark |= pfc_mark_of(x[i]);
    return pfc_scalar_value(&s, e);
}

static void scale_part(const pfc_exact_kernels *k, pfc_sinkhorn_plan *p, int lane, int64_t first, int64_t end, void *arg)
{
    (void)lane, (void)arg;
    int64_t n = p->q.cols;
    for (int64_t j = first; j < end; j++) {
        double *x = q_row(p, j);
        if (p->cfg.version == PFC_SINKHORN_V2) {
            k->divide_each(x, p->row, n);
            k->divide_row(x, (double)n, n, x);
            k->divide_row(x, mass(k, x, n), n, x);
            k->divide_row(x, p->total, n, x);
        } else {
            k->multiply_each(x, p->row, n);
            k->multiply_row(x, (1.0 / p->total) / mass(k, x, n), n);
        }
    }
}

pfc_status pfc_exact_sinkhorn_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, const double *sums)
{
    int64_t n = plan->q.cols;
    double r = 1.0 / (double)n;
    for (int64_t i = 0; i < n; i++) plan->row[i] = plan->cfg.version == PFC_SINKHORN_V2 ? sums[i] : r / sums[i];
    if (pfc_replaces_infinities(&plan->cfg)) pfc_shoot_infs(plan->row, 1, n, n);
    return for_samples(be, plan, scale_part, NULL);
}

/* ---- log domain ---- */

static void log_max_part(const pfc_exact_kernels *k, pfc_sinkhorn_plan *p, int lane, int64_t first, int64_t end, void *arg)
{
    double *y = p->work + lane * p->q.cols, *max = (double *)arg + lane * p->q.cols;
    for (int64_t i = 0; i < p->q.cols; i++) max[i] = -PX_INF;
    for (int64_t j = first; j < end; j++) {
        k->add_row(q_row(p, j), NULL, p->g[j], p->q.cols, y);
        k->max_row(y, p->q.cols, max);
    }
}

pfc_status pfc_exact_sinkhorn_log_max(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max)
{
    int64_t n = plan->q.cols;
    double *lanes = malloc((size_t)plan->lanes * (size_t)n * sizeof(double));
    if (!lanes) return pfc_cpu_nomem(be, (size_t)plan->lanes * (size_t)n * sizeof(double));
    pfc_status st = for_samples(be, plan, log_max_part, lanes);
    for (int64_t i = 0; st == PFC_OK && i < n; i++) {
        double m = -PX_INF;
        for (int lane = 0; lane < plan->lanes; lane++) m = px_larger(lanes[lane * n + i], m);
        ((double *)max.data)[i] = m + 0.0;
    }
    free(lanes);
    return st;
}

typedef struct log_sum {
    pfc_acc *acc;
    const double *max;
} log_sum;

static void log_sums_part(const pfc_exact_kernels *k, pfc_sinkhorn_plan *p, int lane, int64_t first, int64_t end, void *arg)
{
    const log_sum *l = arg;
    exact_scalar_acc *s = exact_scalar_lane(l->acc, lane);
    double *y = p->work + lane * p->q.cols;
    for (int64_t j = first; j < end; j++) {
        k->add_row(q_row(p, j), NULL, p->g[j], p->q.cols, y);
        if (!k->exp_sum(y, l->max, p->q.cols, s->a, s->b)) continue;
        for (int64_t i = 0; i < p->q.cols; i++) s->mark[i] |= pfc_mark_of(px_exp(y[i] - l->max[i]));
    }
}

pfc_status pfc_exact_sinkhorn_log_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, pfc_acc *acc)
{
    log_sum l = { acc, max.data };
    for (int64_t i = 0; i < acc->rows; i++) acc->expo[i] = 0; /* the largest term is 1 */
    return for_samples(be, plan, log_sums_part, &l);
}

/* log sum_k exp(a_k + f_k) of one sample; y holds the terms' exponents. */
static double log_mass(const pfc_exact_kernels *k, const pfc_sinkhorn_plan *p, int64_t j, double *y)
{
    pfc_scalar_sum s = { 0, 0, 0 };
    int64_t n = p->q.cols;
    k->add_row(q_row(p, j), p->row, 0.0, n, y);
    double m = k->scaled_max(y, 1.0, n);
    if (k->scaled_exp_sum(y, 1.0, m, n, &s.a, &s.b))
        for (int64_t i = 0; i < n; i++) s.mark |= pfc_mark_of(px_exp(y[i] - m));
    return px_log_sum(m, pfc_scalar_value(&s, 0));
}

static void log_columns_part(const pfc_exact_kernels *k, pfc_sinkhorn_plan *p, int lane, int64_t first, int64_t end, void *arg)
{
    double *y = p->work + lane * p->q.cols;
    for (int64_t j = first; j < end; j++) p->g[j] = *(const double *)arg - log_mass(k, p, j, y);
}

pfc_status pfc_exact_sinkhorn_log_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, const pfc_acc *acc, double *log_sums)
{
    double log_k = -px_log((double)plan->q.cols), log_n = -px_log(plan->total);
    PFC_TRY(pfc_exact_acc_value(be, acc, 0, acc->rows, pfc_view_make(log_sums, PFC_F64, acc->rows, 1)));
    for (int64_t i = 0; i < plan->q.cols; i++) {
        log_sums[i] = px_log_sum(((const double *)max.data)[i], log_sums[i]);
        plan->row[i] = log_k - log_sums[i];
    }
    return for_samples(be, plan, log_columns_part, &log_n);
}

/* ---- the assignment ---- */

static void finish_part(const pfc_exact_kernels *k, pfc_sinkhorn_plan *p, int lane, int64_t first, int64_t end, void *arg)
{
    (void)arg;
    int64_t n = p->q.cols;
    double *y = p->work + lane * n;
    for (int64_t j = first; j < end; j++) {
        double *x = q_row(p, j);
        if (p->cfg.version == PFC_SINKHORN_LOG) {
            double lse = log_mass(k, p, j, y);
            k->exp_shift(y, lse, n, x);
        } else if (p->cfg.version == PFC_SINKHORN_V2) {
            k->multiply_row(x, p->total, n);
        } else {
            k->divide_row(x, mass(k, x, n), n, x);
        }
    }
}

pfc_status pfc_exact_sinkhorn_finish(pfc_backend *be, pfc_sinkhorn_plan *plan) { return for_samples(be, plan, finish_part, NULL); }
