/* batch_norm_dense.c: batch normalisation as the papers write it (semantics.md 7.2, 7.3, 7.6, A.9): two passes over the numbers, libm, one thread. */
#include "dense/batch_norm_dense.h"

#include <math.h>

static bool uses_splits(const pfc_dense_batch_norm *p) { return p->cfg.kind == PFC_BN_SUB && p->training; }
static bool uses_batch(const pfc_dense_batch_norm *p) { return p->training || !p->cfg.track_running_stats; }
static bool uses_group(const pfc_dense_batch_norm *p) { return p->cfg.kind == PFC_BN_SYNC && p->training && p->cfg.local_size > 1; }

int64_t pfc_dense_batch_norm_units(const pfc_dense_batch_norm *p) { return p->cfg.channels * (uses_splits(p) ? p->cfg.num_splits : 1); }

void pfc_dense_batch_norm_group(const pfc_dense_batch_norm *p, int r, int *first, int *end)
{
    int d = uses_group(p) ? (int)p->cfg.num_sync_devices : 1;
    *first = r / d * d;
    *end = *first + d;
}

/* Calls visit(arg, element of x, unit) for every element of rank r. */
typedef void (*visit_fn)(void *arg, int64_t element, int64_t unit);
static void visit_rank(const pfc_dense_batch_norm *p, int r, visit_fn visit, void *arg)
{
    int64_t start = 0, c = p->cfg.channels, splits = uses_splits(p) ? p->cfg.num_splits : 1;
    for (int q = 0; q < r; q++) start += p->rows[q];
    for (int64_t i = 0; i < p->rows[r]; i++)
        for (int64_t j = 0; j < c; j++)
            for (int64_t k = 0; k < p->l; k++) visit(arg, ((start + i) * c + j) * p->l + k, i % splits * c + j);
}

/* ---- statistics ---- */

typedef struct moments {
    const double *x;
    double *mean, *sum; /* units: mean (given or made), and what is summed */
    int power;          /* 1: of x, 2: of (x - mean)^2 */
} moments;

static void add_power(void *arg, int64_t e, int64_t u)
{
    moments *m = arg;
    double d = m->power == 1 ? m->x[e] : m->x[e] - m->mean[u];
    m->sum[u] += m->power == 1 ? d : d * d;
}

/* How much an element of rank r counts in the means of its group. */
static double weight_of(const pfc_dense_batch_norm *p, int r)
{
    int first, end;
    int64_t splits = uses_splits(p) ? p->cfg.num_splits : 1;
    double total = 0;
    pfc_dense_batch_norm_group(p, r, &first, &end);
    for (int q = first; q < end; q++) total += (double)(p->rows[q] / splits * p->l);
    if (uses_group(p) && p->cfg.weighting == PFC_BN_EQUAL) return 1.0 / ((double)(end - first) * (double)(p->rows[r] * p->l));
    return total > 0 ? 1.0 / total : 0.0;
}

/* result_u (rank r's slice) = weighted mean of x, or of (x - mean)^2, over the group. */
static void group_mean(const pfc_dense_batch_norm *p, int r, int power, double *result)
{
    int first, end;
    int64_t units = pfc_dense_batch_norm_units(p);
    double *part = p->work;
    pfc_dense_batch_norm_group(p, r, &first, &end);
    for (int64_t u = 0; u < units; u++) result[u] = 0;
    for (int q = first; q < end; q++) {
        moments m = { p->x, p->mean + r * units, part, power };
        for (int64_t u = 0; u < units; u++) part[u] = 0;
        visit_rank(p, q, add_power, &m);
        for (int64_t u = 0; u < units; u++) result[u] += part[u] * (p->rows[q] ? weight_of(p, q) : 0.0);
    }
}

static void statistics(pfc_dense_batch_norm *p, int r)
{
    int64_t units = pfc_dense_batch_norm_units(p), splits = uses_splits(p) ? p->cfg.num_splits : 1;
    double *mean = p->mean + r * units, *var = p->var + r * units;
    int first, end;
    p->count[r] = 0;
    pfc_dense_batch_norm_group(p, r, &first, &end);
    for (int q = first; q < end; q++) p->count[r] += (double)(p->rows[q] / splits * p->l);
    if (uses_batch(p)) {
        group_mean(p, r, 1, mean);
        group_mean(p, r, 2, var);
    }
    for (int64_t u = 0; u < units && !uses_batch(p); u++) {
        mean[u] = p->running_mean[r * units + u];
        var[u] = p->running_var[r * units + u];
    }
    p->divisor[r] = uses_batch(p) && p->rows[r] ? 1.0 / weight_of(p, r) : 0.0;
}

static void update(pfc_dense_batch_norm *p, int r)
{
    int64_t units = pfc_dense_batch_norm_units(p);
    bool sub = p->cfg.kind == PFC_BN_SUB;
    bool unbiased = p->cfg.running_var == PFC_BN_RUNNING_UNBIASED || (p->cfg.running_var == PFC_BN_RUNNING_SOURCE && !uses_group(p));
    double *rm = (sub ? p->split_mean : p->running_mean) + r * units, *rv = (sub ? p->split_var : p->running_var) + r * units;
    double a = isnan(p->cfg.momentum) ? 1.0 / (double)(p->batches + 1) : p->cfg.momentum, m = p->count[r];
    if (!p->training || !p->cfg.track_running_stats || m == 0) return;
    for (int64_t u = 0; u < units; u++) {
        rm[u] = (1 - a) * rm[u] + a * p->mean[r * units + u];
        if (!unbiased) rv[u] = (1 - a) * rv[u] + a * p->var[r * units + u];
        if (unbiased && m > 1) rv[u] = (1 - a) * rv[u] + a * p->var[r * units + u] * m / (m - 1);
    }
}

/* aggregate_stats: the law of total variance. */
static void aggregate(pfc_dense_batch_norm *p, int r)
{
    int64_t c = p->cfg.channels, s = p->cfg.num_splits;
    if (p->cfg.kind != PFC_BN_SUB || !p->cfg.track_running_stats) return;
    for (int64_t j = 0; j < c; j++) {
        double mean = 0, var = 0;
        for (int64_t t = 0; t < s; t++) mean += p->split_mean[(r * s + t) * c + j] / (double)s;
        for (int64_t t = 0; t < s; t++) {
            double d = p->split_mean[(r * s + t) * c + j] - mean;
            var += (p->split_var[(r * s + t) * c + j] + d * d) / (double)s;
        }
        p->running_mean[r * c + j] = mean;
        p->running_var[r * c + j] = var;
    }
}

/* ---- elements ---- */

typedef struct pass {
    pfc_dense_batch_norm *p;
    int64_t at; /* of rank r's units */
    int r;
    double *sum_g, *sum_gx; /* units of this rank alone */
} pass;

static double xhat(const pass *t, int64_t e, int64_t u) { return (t->p->x[e] - t->p->mean[t->at + u]) / sqrt(t->p->var[t->at + u] + t->p->cfg.eps); }

static void forward(void *arg, int64_t e, int64_t u)
{
    pass *t = arg;
    int64_t c = u % t->p->cfg.channels;
    t->p->y[e] = xhat(t, e, u) * t->p->weight[c] + t->p->bias[c];
}

static void add_gradient(void *arg, int64_t e, int64_t u)
{
    pass *t = arg;
    t->sum_g[u] += t->p->g[e];
    t->sum_gx[u] += t->p->g[e] * xhat(t, e, u);
}

static void backward(void *arg, int64_t e, int64_t u)
{
    pass *t = arg;
    const pfc_dense_batch_norm *p = t->p;
    double a = p->weight[u % p->cfg.channels] / sqrt(p->var[t->at + u] + p->cfg.eps), g = p->g[e];
    if (p->divisor[t->r] > 0) g = g - p->sum_g[t->at + u] / p->divisor[t->r] - xhat(t, e, u) * p->sum_gx[t->at + u] / p->divisor[t->r];
    p->x_grad[e] = a * g;
}

static void rank_backward(pfc_dense_batch_norm *p, int r)
{
    int64_t units = pfc_dense_batch_norm_units(p), c = p->cfg.channels;
    double *own_g = p->work, *own_gx = p->work + units;
    int first, end;
    pfc_dense_batch_norm_group(p, r, &first, &end);
    for (int64_t u = 0; u < units; u++) p->sum_g[r * units + u] = p->sum_gx[r * units + u] = 0;
    for (int64_t j = 0; j < c; j++) p->weight_grad[r * c + j] = p->bias_grad[r * c + j] = 0;
    for (int q = first; q < end; q++) {
        pass t = { p, q * units, q, own_g, own_gx };
        for (int64_t u = 0; u < units; u++) own_g[u] = own_gx[u] = 0;
        visit_rank(p, q, add_gradient, &t);
        for (int64_t u = 0; u < units; u++) {
            p->sum_g[r * units + u] += own_g[u];
            p->sum_gx[r * units + u] += own_gx[u];
            if (q == r) p->bias_grad[r * c + u % c] += own_g[u];
            if (q == r) p->weight_grad[r * c + u % c] += own_gx[u];
        }
    }
    pass t = { p, r * units, r, NULL, NULL };
    visit_rank(p, r, backward, &t);
}

void pfc_dense_batch_norm_run(pfc_dense_batch_norm *p)
{
    int64_t units = pfc_dense_batch_norm_units(p);
    for (int r = 0; r < p->ranks; r++) {
        if (!p->training && p->aggregate) aggregate(p, r);
        statistics(p, r);
        update(p, r);
        if (p->training) aggregate(p, r);
        pass t = { p, r * units, r, NULL, NULL };
        visit_rank(p, r, forward, &t);
    }
    for (int r = 0; r < p->ranks && p->g; r++) rank_backward(p, r);
}

void pfc_dense_group_gather(int ranks, int64_t num_sync_devices, int64_t num_groups, int64_t local_size, int64_t m, const double *in, double *out)
{
    int64_t d = num_groups > 1 ? num_sync_devices : local_size;
    for (int64_t r = 0; r < ranks; r++)
        for (int64_t i = 0; i < m; i++) {
            double sum = 0;
            for (int64_t q = r / d * d; q < r / d * d + d; q++) sum += in[q * m + i];
            out[r * m + i] = sum;
        }
}
