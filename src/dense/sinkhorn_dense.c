/* sinkhorn_dense.c: Sinkhorn-Knopp on P imagined ranks, as published (semantics.md 5.5, A.6). Q lies as (samples, prototypes). */
#include "dense/swav_dense.h"

#include <math.h>
#include <stdlib.h>

typedef struct problem {
    const pfc_sinkhorn_config *cfg;
    int ranks;
    int64_t n, N, K; /* n samples of a rank, N of all */
    double *q;       /* (N,K) */
    double *u;       /* (K) */
} problem;

/* Infinities of x become the largest of the other values, with 0 in their place. NaN wins. */
static void shoot_infs(double *x, int64_t count)
{
    double max = 0;
    for (int64_t i = 0; i < count; i++)
        if (isnan(x[i]) || (!isinf(x[i]) && x[i] > max)) max = x[i];
    for (int64_t i = 0; i < count; i++)
        if (isinf(x[i])) x[i] = max;
}

static bool shoots(const problem *p) { return p->cfg->version == PFC_SINKHORN_V1 || p->cfg->version == PFC_SINKHORN_VISSL; }

static double row_sum(const problem *p, int64_t k)
{
    double s = 0;
    for (int64_t j = 0; j < p->N; j++) s += p->q[j * p->K + k];
    return s;
}

static void kernel(const problem *p, const double *scores)
{
    double max = -INFINITY, total = 0;
    for (int64_t i = 0; i < p->N * p->K; i++)
        if (isnan(scores[i]) || scores[i] / p->cfg->epsilon > max) max = scores[i] / p->cfg->epsilon;
    for (int64_t i = 0; i < p->N * p->K; i++) p->q[i] = exp(scores[i] / p->cfg->epsilon - (p->cfg->stabilise ? max : 0));
    for (int r = 0; shoots(p) && r < p->ranks; r++) shoot_infs(p->q + r * p->n * p->K, p->n * p->K);
    for (int64_t k = 0; k < p->K; k++) total += row_sum(p, k);
    for (int64_t i = 0; i < p->N * p->K; i++) p->q[i] /= total;
}

static void iterate(const problem *p)
{
    bool zero = false;
    for (int64_t k = 0; k < p->K; k++) zero = zero || row_sum(p, k) == 0;
    for (int64_t i = 0; zero && p->cfg->version == PFC_SINKHORN_VISSL && i < p->N * p->K; i++) p->q[i] += 1e-12;
    for (int64_t k = 0; k < p->K; k++) p->u[k] = 1.0 / (double)p->K / row_sum(p, k);
    if (shoots(p)) shoot_infs(p->u, p->K);
    for (int64_t j = 0; j < p->N; j++) {
        double *q = p->q + j * p->K, s = 0;
        for (int64_t k = 0; k < p->K; k++) s += q[k] *= p->u[k];
        for (int64_t k = 0; k < p->K; k++) q[k] *= 1.0 / (double)p->N / s;
    }
}

static void finish(const problem *p)
{
    for (int64_t j = 0; j < p->N; j++) {
        double *q = p->q + j * p->K, s = 0;
        for (int64_t k = 0; k < p->K; k++) s += q[k];
        for (int64_t k = 0; k < p->K; k++) q[k] = p->cfg->version == PFC_SINKHORN_V2 ? q[k] * (double)p->N : q[k] / s;
    }
}

/* log sum over i of exp(x[i*stride] + y[i]); y NULL: 0. */
static double log_sum_exp(const double *x, int64_t stride, const double *y, int64_t count)
{
    double max = -INFINITY, s = 0;
    for (int64_t i = 0; i < count; i++) {
        double t = x[i * stride] + (y ? y[i] : 0);
        if (isnan(t) || t > max) max = t; /* a NaN stays */
    }
    if (isinf(max)) return max;
    for (int64_t i = 0; i < count; i++) s += exp(x[i * stride] + (y ? y[i] : 0) - max);
    return max + log(s);
}

/* A.6; q holds scores/epsilon until the end, g (N). */
static void log_domain(const problem *p, double *g)
{
    for (int64_t k = 0; k < p->K; k++) p->u[k] = 0;
    for (int64_t t = 0; t < p->cfg->iterations; t++) {
        for (int64_t k = 0; k < p->K; k++) p->u[k] = -log((double)p->K) - log_sum_exp(p->q + k, p->K, t ? g : NULL, p->N);
        for (int64_t j = 0; j < p->N; j++) g[j] = -log((double)p->N) - log_sum_exp(p->q + j * p->K, 1, p->u, p->K);
    }
    for (int64_t j = 0; j < p->N; j++) {
        double *q = p->q + j * p->K, lse = log_sum_exp(q, 1, p->u, p->K);
        for (int64_t k = 0; k < p->K; k++) q[k] = exp(q[k] + p->u[k] - lse);
    }
}

bool pfc_dense_sinkhorn(const pfc_sinkhorn_config *cfg, int ranks, int64_t n, int64_t K, const double *scores, double *q)
{
    problem p = { cfg, ranks, n, n * ranks, K, q, malloc((size_t)K * sizeof(double)) };
    double *g = malloc((size_t)p.N * sizeof *g);
    bool ok = p.u && g;
    if (ok && cfg->version == PFC_SINKHORN_LOG) {
        for (int64_t i = 0; i < p.N * K; i++) q[i] = scores[i] / cfg->epsilon;
        log_domain(&p, g);
    } else if (ok) {
        kernel(&p, scores);
        for (int64_t t = 0; t < cfg->iterations; t++) iterate(&p);
        finish(&p);
    }
    free(p.u);
    free(g);
    return ok;
}
