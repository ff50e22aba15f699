/* moco_dense.c: momentum contrast, semantics.md section 6, formula by formula. */
#include "dense/moco_dense.h"

#include <math.h>
#include <pfc/rng.h>
#include <string.h>

/* ---- the shuffle (6.3) ---- */

void pfc_dense_moco_permutation(int64_t seed, uint32_t step, int64_t n, int64_t *permutation)
{
    for (int64_t i = 0; i < n; i++) {
        double u = pfc_uniform(seed, i, step, PFC_STREAM_SHUFFLE_KEY);
        int64_t before = 0;
        for (int64_t j = 0; j < n; j++) {
            double v = pfc_uniform(seed, j, step, PFC_STREAM_SHUFFLE_KEY);
            if (v < u || (v == u && j < i)) before++;
        }
        permutation[before] = i;
    }
}

void pfc_dense_moco_pick(const double *x, const int64_t *permutation, int64_t n, int64_t m, double *out)
{
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < m; j++) out[i * m + j] = x[permutation[i] * m + j];
}

/* ---- the momentum encoder (6.2) ---- */

void pfc_dense_moco_update(double mu, bool first_call, const double *theta_q, int64_t n, double *theta_k)
{
    for (int64_t i = 0; i < n; i++) theta_k[i] = first_call ? theta_q[i] : mu * theta_k[i] + (1 - mu) * theta_q[i];
}

/* ---- the loss (6.4) ---- */

static double dot(const double *a, const double *b, int64_t d)
{
    double sum = 0;
    for (int64_t j = 0; j < d; j++) sum += a[j] * b[j];
    return sum;
}

/* v / max(|v|, 1e-12) (1.1); returns |v|. */
static double normalise(const double *v, int64_t d, double *unit)
{
    double norm = sqrt(dot(v, v, d));
    for (int64_t j = 0; j < d; j++) unit[j] = v[j] / (norm < 1e-12 ? 1e-12 : norm);
    return norm;
}

/* A maximum that a NaN wins. */
static double max_nan(double a, double b) { return isnan(a) || a > b ? a : b; }

/* l_0 = <q,k>/tau, l_j = <q,u_j>/tau; returns log sum exp l. */
static double logits_of(const pfc_dense_moco *m, const double *q, const double *k, double *l)
{
    double top = -INFINITY, sum = 0;
    for (int64_t j = 0; j <= m->keys; j++) {
        l[j] = dot(q, j == 0 ? k : m->queue + (j - 1) * m->width, m->width) / m->temperature;
        top = max_nan(l[j], top);
    }
    for (int64_t j = 0; j <= m->keys; j++) sum += exp(l[j] - top);
    return top + log(sum);
}

/* dL/dq = 1/(b tau) ((p_0 - 1) k + sum_j p_j u_j), then back through the normalisation (1.1). */
static void gradient_of(const pfc_dense_moco *m, const double *q, double norm, const double *k, const double *l, double lse, double b, double *g)
{
    int64_t d = m->width;
    for (int64_t i = 0; i < d; i++) g[i] = (exp(l[0] - lse) - 1) * k[i];
    for (int64_t j = 1; j <= m->keys; j++) {
        double p = exp(l[j] - lse);
        for (int64_t i = 0; i < d; i++) g[i] += p * m->queue[(j - 1) * d + i];
    }
    for (int64_t i = 0; i < d; i++) g[i] /= b * m->temperature;
    double along = dot(q, g, d);
    for (int64_t i = 0; i < d; i++) g[i] = norm < 1e-12 ? g[i] / 1e-12 : (g[i] - q[i] * along) / norm;
}

static void enqueue(pfc_dense_moco *m)
{
    for (int64_t i = 0; i < m->rows; i++) memcpy(m->queue + (m->ptr + i) % m->keys * m->width, m->key_unit + i * m->width, (size_t)m->width * sizeof(double));
    m->ptr = (m->ptr + m->rows) % m->keys;
}

void pfc_dense_moco_step(pfc_dense_moco *m)
{
    int64_t d = m->width, b = m->rows / m->ranks;
    for (int r = 0; r < m->ranks; r++) m->loss[r] = 0;
    for (int64_t n = 0; n < m->rows; n++) {
        double *l = m->logits + n * (1 + m->keys), *k = m->key_unit + n * d, *q = m->query_unit + n * d, *g = m->query_grad + n * d;
        double norm = normalise(m->query + n * d, d, q);
        normalise(m->key + n * d, d, k);
        double lse = logits_of(m, q, k, l);
        m->loss[n / b] += (lse - l[0]) / (double)b;
        gradient_of(m, q, norm, k, l, lse, (double)b, g);
    }
    enqueue(m);
}
