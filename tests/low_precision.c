/* low_precision.c: plain ports of MoCo and SwAV whose products have operands in tf32, bf16 or f16. */
#include "low_precision.h"

#include "dense/swav_dense.h"

#include <math.h>
#include <stdlib.h>

double low_round(const pfc_precision *type, double x)
{
    int e;
    if (type->u == 0 || x == 0 || !isfinite(x)) return x;
    frexp(x, &e);
    int quantum = e + (int)lround(log2(type->u)); /* 2^e > |x|: u 2^e is the last place */
    if (type->tiny > 0 && quantum < -24) quantum = -24;
    double t = ldexp(x, -quantum), y = ldexp(type->truncates ? trunc(t) : nearbyint(t), quantum);
    return fabs(y) > type->largest ? copysign(INFINITY, x) : y;
}

static float in(const low_port *port, float x) { return (float)low_round(port->type, (double)x); }
static float stored(const low_port *port, float x) { return port->stores ? in(port, x) : x; }

/* sum_k a_k b_k, elements sa and sb apart. */
static float product(const low_port *port, const float *a, int64_t sa, const float *b, int64_t sb, int64_t n)
{
    float sum = 0;
    for (int64_t k = 0; k < n; k++) sum += in(port, a[k * sa]) * in(port, b[k * sb]);
    return stored(port, sum);
}

static float *numbers(int64_t n)
{
    float *x = calloc((size_t)n + 1, sizeof *x);
    if (!x) abort();
    return x;
}

/* x / |x| of every row, and the lengths. */
static void unit(const double *x, int64_t rows, int64_t d, float *out, float *length)
{
    for (int64_t i = 0; i < rows; i++) {
        float s = 0;
        for (int64_t j = 0; j < d; j++) s += (float)x[i * d + j] * (float)x[i * d + j];
        length[i] = sqrtf(s);
        for (int64_t j = 0; j < d; j++) out[i * d + j] = (float)x[i * d + j] / length[i];
    }
}

/* Through the length: (g - q <q,g>) / length. */
static void through_length(const low_port *port, const float *q, const float *g, float length, int64_t d, double *out)
{
    float along = 0;
    for (int64_t j = 0; j < d; j++) along += q[j] * g[j];
    if (port->fault == LOW_NO_PROJECTION) along = 0;
    for (int64_t j = 0; j < d; j++) out[j] = (double)((g[j] - q[j] * along) / length);
}

/* p = softmax(l) in place; log of the sum of exp. */
static float softmax(float *l, int64_t n)
{
    float top = l[0], sum = 0;
    for (int64_t j = 1; j < n; j++) top = l[j] > top ? l[j] : top;
    for (int64_t j = 0; j < n; j++) sum += l[j] = expf(l[j] - top);
    for (int64_t j = 0; j < n; j++) l[j] /= sum;
    return logf(sum) + top;
}

void low_moco(const low_port *port, int ranks, int64_t N, int64_t K, int64_t D, double temperature, const double *query, const double *key, const double *queue,
              double *logits, double *loss, double *query_grad)
{
    float *q = numbers(N * D), *k = numbers(N * D), *u = numbers(K * D), *lq = numbers(N), *lk = numbers(N), *p = numbers(1 + K), *g = numbers(D);
    int64_t b = N / ranks;
    float s = (float)(1 / temperature);
    unit(query, N, D, q, lq);
    unit(key, N, D, k, lk);
    for (int64_t i = 0; i < K * D; i++) u[i] = (float)queue[i];
    for (int r = 0; r < ranks; r++) loss[r] = 0;
    for (int64_t i = 0; i < N; i++) {
        const float *row = q + i * D, *own = k + (port->fault == LOW_ROWS_SHIFTED ? (i + 1) % N : i) * D;
        p[0] = product(port, row, 1, own, 1, D) * s;
        for (int64_t j = 0; j < K; j++) p[1 + j] = product(port, row, 1, u + j * D, 1, D) * s;
        for (int64_t j = 0; j <= K; j++) logits[i * (1 + K) + j] = (double)p[j];
        float positive = p[0];
        if (port->fault == LOW_KEY_LEFT_OUT) p[1] = -INFINITY;
        loss[i / b] += (double)((softmax(p, 1 + K) - positive) / (float)b);
        p[0] -= 1;
        for (int64_t j = 0; j <= K; j++) p[j] *= port->fault == LOW_NO_MEAN ? s : s / (float)b;
        for (int64_t d = 0; d < D; d++) g[d] = stored(port, product(port, p, 1, own + d, 1, 1) + product(port, p + 1, 1, u + d, D, K));
        through_length(port, row, g, lq[i], D, query_grad + i * D);
    }
    free(q), free(k), free(u), free(lq), free(lk), free(p), free(g);
}

/* Assignments of a crop's scores: q (P*bs,K). */
static void assign(int ranks, const pfc_sinkhorn_config *cfg, int64_t bs, int64_t K, int crop, const double *scores, double *q)
{
    double *o = calloc((size_t)(ranks * bs * K) + 1, sizeof *o);
    if (!o) abort();
    for (int64_t i = 0; i < ranks * bs * K; i++) o[i] = scores[((i / (bs * K) * 2 + crop) * bs + i / K % bs) * K + i % K];
    if (!pfc_dense_sinkhorn(cfg, ranks, bs, K, o, q)) abort();
    free(o);
}

void low_swav(const low_port *port, int ranks, const pfc_sinkhorn_config *cfg, double temperature, int64_t bs, int64_t K, int64_t D, const double *embedding,
              const double *prototypes, double *scores, double *dscores, double *loss, double *embedding_grad, double *prototypes_grad)
{
    int64_t rows = ranks * 2 * bs;
    float *z = numbers(rows * D), *lz = numbers(rows), *c = numbers(K * D), *lc = numbers(K), *p = numbers(K), *ds = numbers(rows * K), *g = numbers(D);
    double *q = calloc((size_t)(2 * ranks * bs * K) + 1, sizeof *q);
    if (!q) abort();
    unit(embedding, rows, D, z, lz);
    unit(prototypes, K, D, c, lc);
    for (int64_t i = 0; i < rows * K; i++) scores[i] = (double)product(port, z + i / K * D, 1, c + i % K * D, 1, D);
    for (int crop = 0; crop < 2; crop++) assign(ranks, cfg, bs, K, crop, scores, q + crop * ranks * bs * K);
    for (int r = 0; r < ranks; r++) loss[r] = 0;
    for (int64_t i = 0; i < rows; i++) {
        int64_t rank = i / (2 * bs), other = 1 - i / bs % 2, n = (i + (port->fault == LOW_ROWS_SHIFTED)) % bs;
        const double *target = q + ((other * ranks + rank) * bs + n) * K;
        for (int64_t k = 0; k < K; k++) p[k] = (float)scores[i * K + k] / (float)temperature;
        float lse = softmax(p, K), share = port->fault == LOW_NO_MEAN ? 0.5f : 0.5f / (float)bs;
        for (int64_t k = 0; k < K; k++) {
            loss[rank] += target[k] * (double)((lse - (float)scores[i * K + k] / (float)temperature) * share);
            ds[i * K + k] = (p[k] - (float)target[k]) * share / (float)temperature;
            dscores[i * K + k] = (double)ds[i * K + k];
        }
        for (int64_t d = 0; d < D; d++) g[d] = product(port, ds + i * K, 1, c + d, D, K);
        through_length(port, z + i * D, g, lz[i], D, embedding_grad + i * D);
    }
    for (int64_t k = 0; k < K; k++)
        for (int64_t d = 0; d < D; d++) {
            float sum = 0;
            for (int r = 0; r < ranks; r++) sum += product(port, ds + r * 2 * bs * K + k, K, z + r * 2 * bs * D + d, D, 2 * bs);
            prototypes_grad[k * D + d] = (double)(sum / (float)ranks);
        }
    free(z), free(lz), free(c), free(lc), free(p), free(ds), free(g), free(q);
}
