/* moco_problem.c: see moco_problem.h. */
#include "moco_problem.h"

#include "dense/moco_dense.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

pfc_ctx *make_ctx(MPI_Comm comm, pfc_mode mode, int threads) { return pfc_test_ctx(comm, (pfc_options){ .mode = mode, .threads = threads }); }

static float *normals(int64_t count, uint32_t tensor)
{
    float *x = malloc((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++) x[i] = (float)pfc_normal(99, i, tensor, PFC_STREAM_FILL);
    return x;
}

problem *problem_new(int64_t n, int64_t k, int64_t d)
{
    problem *p = malloc(sizeof *p);
    *p = (problem){ n, k, d, 17, 0, 0.9, 0.2, 1, normals(n * d, 0), normals(n * d, 1), normals(k * d, 2), normals(17, 3), normals(17, 4) };
    for (int64_t i = 0; i < n * d; i++) p->key[i] = p->query[i] + 0.5f * p->key[i];
    for (int64_t j = 0; j < k; j++) {
        double sum = 0;
        for (int64_t i = 0; i < d; i++) sum += (double)p->queue[j * d + i] * (double)p->queue[j * d + i];
        for (int64_t i = 0; i < d; i++) p->queue[j * d + i] = (float)((double)p->queue[j * d + i] / sqrt(sum));
    }
    return p;
}

void problem_free(problem *p)
{
    free(p->query), free(p->key), free(p->queue), free(p->params_q), free(p->params_k);
    free(p);
}

static outcome *outcome_new(const problem *p, int ranks)
{
    outcome *o = calloc(1, sizeof *o);
    o->key = calloc((size_t)(p->n * p->d), sizeof(double));
    o->grad = calloc((size_t)(p->n * p->d), sizeof(double));
    o->queue = calloc((size_t)(p->k * p->d), sizeof(double));
    o->params = calloc((size_t)p->params, sizeof(double));
    o->loss = calloc((size_t)ranks, sizeof(double));
    o->correct = calloc((size_t)ranks, sizeof *o->correct);
    return o;
}

void outcome_free(outcome *o)
{
    free(o->key), free(o->grad), free(o->queue), free(o->params), free(o->loss), free(o->correct);
    free(o);
}

int row_wise(void *user, pfc_view params_k, pfc_view images, pfc_view keys)
{
    (void)params_k;
    if (user) memcpy(user, images.data, (size_t)(images.rows * images.cols) * sizeof(float));
    for (int64_t i = 0; i < keys.rows * keys.cols; i++) {
        double x = (double)((const float *)images.data)[i];
        if (keys.dtype == PFC_F64)
            ((double *)keys.data)[i] = x;
        else
            ((float *)keys.data)[i] = (float)x;
    }
    return 0;
}

/* Rows [first, first + count) of this rank, by uneven hands: rank r has weights[r]/sum of them; NULL: equal. */
typedef struct rows {
    int64_t first, count;
} rows;

static rows share(const problem *p, const pfc_ctx *ctx, const int *weights)
{
    int64_t start = 0, sum = 0, ranks = pfc_ctx_ranks(ctx);
    for (int r = 0; r < ranks; r++) sum += weights ? weights[r] : 1;
    for (int r = 0; r < pfc_ctx_rank(ctx); r++) start += (weights ? weights[r] : 1) * p->n / sum;
    rows mine = { start, (weights ? weights[pfc_ctx_rank(ctx)] : 1) * p->n / sum };
    return mine;
}

pfc_moco *object(pfc_ctx *ctx, const problem *p, bool with_params)
{
    pfc_moco_config cfg = pfc_moco_defaults();
    cfg.num_params = p->params, cfg.embedding_size = p->d, cfg.queue_size = p->k;
    cfg.momentum = p->mu, cfg.temperature = p->tau, cfg.queue_wrap = p->wrap;
    pfc_moco *m = NULL;
    bool ok = pfc_moco_create(ctx, &cfg, &m) == PFC_OK;
    if (ok && with_params) ok = pfc_moco_set_params(m, pfc_view_make(p->params_k, PFC_F32, 1, p->params)) == PFC_OK;
    ok = ok && pfc_moco_set_queue(m, pfc_view_make(p->queue, PFC_F32, p->k, p->d), p->ptr) == PFC_OK;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    return m;
}

static double number(const void *x, pfc_dtype type, int64_t i) { return type == PFC_F64 ? ((const double *)x)[i] : (double)((const float *)x)[i]; }

outcome *library_rows(pfc_ctx *ctx, const problem *p, int shuffle, const int *weights)
{
    MPI_Comm comm = pfc_ctx_ranks(ctx) == 1 ? MPI_COMM_SELF : MPI_COMM_WORLD;
    pfc_dtype real = pfc_ctx_real(ctx);
    outcome *o = outcome_new(p, pfc_ctx_ranks(ctx));
    rows mine = share(p, ctx, weights);
    pfc_moco *m = object(ctx, p, true);
    pfc_view keys = pfc_view_make(malloc((size_t)(mine.count * p->d) * 8 + 8), real, mine.count, p->d), grad = keys;
    grad.data = malloc((size_t)(mine.count * p->d) * 8 + 8);
    pfc_moco_result result = { NAN, grad, -1 };
    pfc_view images = pfc_view_make(p->key + mine.first * p->d, PFC_F32, mine.count, p->d);
    o->status = pfc_moco_hook(m, pfc_view_make(p->params_q, PFC_F32, 1, p->params), images, row_wise, NULL, shuffle, 5, keys);
    if (o->status == PFC_OK) o->status = pfc_moco_step(m, pfc_view_make(p->query + mine.first * p->d, PFC_F32, mine.count, p->d), keys, &result);
    for (int64_t i = 0; o->status == PFC_OK && i < mine.count * p->d; i++) {
        o->key[mine.first * p->d + i] = number(keys.data, real, i);
        o->grad[mine.first * p->d + i] = number(grad.data, real, i);
    }
    o->loss[pfc_ctx_rank(ctx)] = result.loss;
    o->correct[pfc_ctx_rank(ctx)] = result.correct;
    MPI_Allreduce(MPI_IN_PLACE, o->key, (int)(p->n * p->d), MPI_DOUBLE, MPI_SUM, comm);
    MPI_Allreduce(MPI_IN_PLACE, o->grad, (int)(p->n * p->d), MPI_DOUBLE, MPI_SUM, comm);
    MPI_Allreduce(MPI_IN_PLACE, o->loss, pfc_ctx_ranks(ctx), MPI_DOUBLE, MPI_SUM, comm);
    MPI_Allreduce(MPI_IN_PLACE, o->correct, pfc_ctx_ranks(ctx), MPI_INT64_T, MPI_SUM, comm);
    if (o->status == PFC_OK) o->status = pfc_moco_get_params(m, pfc_view_make(o->params, PFC_F64, 1, p->params));
    if (o->status == PFC_OK) o->status = pfc_moco_get_queue(m, pfc_view_make(o->queue, PFC_F64, p->k, p->d), &o->ptr);
    free(keys.data), free(grad.data);
    pfc_moco_destroy(&m);
    return o;
}

outcome *library(MPI_Comm comm, const problem *p, pfc_mode mode, int threads, int shuffle)
{
    pfc_ctx *ctx = make_ctx(comm, mode, threads);
    outcome *o = library_rows(ctx, p, shuffle, NULL);
    pfc_ctx_destroy(&ctx);
    return o;
}

static double *widened(const float *x, int64_t count)
{
    double *y = malloc((size_t)count * sizeof *y);
    for (int64_t i = 0; i < count; i++) y[i] = (double)x[i];
    return y;
}

static bool first_is_largest(const double *l, int64_t count)
{
    for (int64_t j = 1; j < count; j++)
        if (!(l[0] > l[j])) return false;
    return true;
}

outcome *textbook(const problem *p, int ranks)
{
    outcome *o = outcome_new(p, ranks);
    double *query = widened(p->query, p->n * p->d), *key = widened(p->key, p->n * p->d), *queue = widened(p->queue, p->k * p->d);
    double *q = widened(p->params_q, p->params), *k = widened(p->params_k, p->params), *unit = malloc((size_t)(p->n * p->d) * sizeof *unit);
    double *logits = malloc((size_t)(p->n * (1 + p->k)) * sizeof *logits);
    pfc_dense_moco m = { p->n, p->d, p->k, ranks, p->tau, query, key, queue, p->ptr, unit, o->key, logits, o->loss, o->grad };
    pfc_dense_moco_update(p->mu, false, q, p->params, k);
    pfc_dense_moco_step(&m);
    for (int64_t n = 0; n < p->n; n++) o->correct[n * ranks / p->n] += first_is_largest(logits + n * (1 + p->k), 1 + p->k);
    memcpy(o->params, k, (size_t)p->params * sizeof *k);
    memcpy(o->queue, queue, (size_t)(p->k * p->d) * sizeof *queue);
    o->ptr = m.ptr;
    free(query), free(key), free(queue), free(q), free(k), free(unit), free(logits);
    return o;
}

double worst(const double *a, const double *b, int64_t count)
{
    double difference = 0, largest = 0.01;
    for (int64_t i = 0; i < count; i++) {
        if (isfinite(a[i]) != isfinite(b[i]) || isnan(a[i]) != isnan(b[i])) return INFINITY;
        if (isfinite(b[i])) difference = fmax(difference, fabs(a[i] - b[i])), largest = fmax(largest, fabs(b[i]));
    }
    return difference / largest;
}

double worst_of_all(const outcome *a, const outcome *b, const problem *p, int ranks)
{
    double w = worst(a->key, b->key, p->n * p->d);
    w = fmax(w, worst(a->grad, b->grad, p->n * p->d));
    w = fmax(w, worst(a->queue, b->queue, p->k * p->d));
    w = fmax(w, worst(a->params, b->params, p->params));
    w = fmax(w, worst(a->loss, b->loss, ranks));
    return a->ptr == b->ptr && memcmp(a->correct, b->correct, (size_t)ranks * sizeof *a->correct) == 0 ? w : INFINITY;
}

bool same_bits(const outcome *a, const outcome *b, const problem *p, int ranks)
{
    size_t nd = (size_t)(p->n * p->d) * sizeof(double), kd = (size_t)(p->k * p->d) * sizeof(double);
    return memcmp(a->key, b->key, nd) == 0 && memcmp(a->grad, b->grad, nd) == 0 && memcmp(a->queue, b->queue, kd) == 0 &&
           memcmp(a->params, b->params, (size_t)p->params * sizeof(double)) == 0 && memcmp(a->loss, b->loss, (size_t)ranks * sizeof(double)) == 0 &&
           memcmp(a->correct, b->correct, (size_t)ranks * sizeof *a->correct) == 0 && a->ptr == b->ptr;
}
