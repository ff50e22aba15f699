/* test_moco.c: momentum contrast: library against the textbook, golden numbers of semantics.md 10.7, finite differences, the invariants 19 to 23 of
 * section 9, the ring, uneven ranks, what is refused. */
#include "dense/moco_dense.h"
#include "pfc_test.h"

#include <math.h>
#include <pfc/pfc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static pfc_ctx *make_ctx(MPI_Comm comm, pfc_mode mode, int threads)
{
    pfc_ctx *ctx = NULL;
    char why[256] = "";
    pfc_options options = { mode, NULL, NULL, threads, 0 };
    ck_assert_msg(pfc_ctx_create(comm, &options, &ctx, why, sizeof why) == PFC_OK, "%s", why);
    return ctx;
}

/* ---- a problem: inputs whole on every rank, as float32 values; results whole on every rank, as doubles ---- */

typedef struct problem {
    int64_t n, k, d, params, ptr; /* N, K, D */
    double mu, tau;
    int wrap;
    float *query, *key, *queue, *params_q, *params_k;
} problem;

typedef struct outcome {
    pfc_status status;
    int64_t ptr;
    double *key, *grad, *queue, *params, *loss; /* (N,D) (N,D) (K,D) (n) (P) */
} outcome;

static float *normals(int64_t count, uint32_t tensor)
{
    float *x = malloc((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++) x[i] = (float)pfc_normal(99, i, tensor, PFC_STREAM_FILL);
    return x;
}

static problem *problem_new(int64_t n, int64_t k, int64_t d)
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

static void problem_free(problem *p)
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
    return o;
}

static void outcome_free(outcome *o)
{
    free(o->key), free(o->grad), free(o->queue), free(o->params), free(o->loss);
    free(o);
}

/* An encoder that works row by row: the keys are the images. */
static int row_wise(void *user, pfc_view params_k, pfc_view images, pfc_view keys)
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

static pfc_moco *object(pfc_ctx *ctx, const problem *p, bool with_params)
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

/* Hook and step; results whole on every rank. */
static outcome *library_rows(pfc_ctx *ctx, const problem *p, int shuffle, const int *weights)
{
    MPI_Comm comm = pfc_ctx_ranks(ctx) == 1 ? MPI_COMM_SELF : MPI_COMM_WORLD;
    pfc_dtype real = pfc_ctx_real(ctx);
    outcome *o = outcome_new(p, pfc_ctx_ranks(ctx));
    rows mine = share(p, ctx, weights);
    pfc_moco *m = object(ctx, p, true);
    pfc_view keys = pfc_view_make(malloc((size_t)(mine.count * p->d) * 8 + 8), real, mine.count, p->d), grad = keys;
    grad.data = malloc((size_t)(mine.count * p->d) * 8 + 8);
    pfc_moco_result result = { NAN, grad };
    pfc_view images = pfc_view_make(p->key + mine.first * p->d, PFC_F32, mine.count, p->d);
    o->status = pfc_moco_hook(m, pfc_view_make(p->params_q, PFC_F32, 1, p->params), images, row_wise, NULL, shuffle, 5, keys);
    if (o->status == PFC_OK) o->status = pfc_moco_step(m, pfc_view_make(p->query + mine.first * p->d, PFC_F32, mine.count, p->d), keys, &result);
    for (int64_t i = 0; o->status == PFC_OK && i < mine.count * p->d; i++) {
        o->key[mine.first * p->d + i] = number(keys.data, real, i);
        o->grad[mine.first * p->d + i] = number(grad.data, real, i);
    }
    o->loss[pfc_ctx_rank(ctx)] = result.loss;
    MPI_Allreduce(MPI_IN_PLACE, o->key, (int)(p->n * p->d), MPI_DOUBLE, MPI_SUM, comm);
    MPI_Allreduce(MPI_IN_PLACE, o->grad, (int)(p->n * p->d), MPI_DOUBLE, MPI_SUM, comm);
    MPI_Allreduce(MPI_IN_PLACE, o->loss, pfc_ctx_ranks(ctx), MPI_DOUBLE, MPI_SUM, comm);
    if (o->status == PFC_OK) o->status = pfc_moco_get_params(m, pfc_view_make(o->params, PFC_F64, 1, p->params));
    if (o->status == PFC_OK) o->status = pfc_moco_get_queue(m, pfc_view_make(o->queue, PFC_F64, p->k, p->d), &o->ptr);
    free(keys.data), free(grad.data);
    pfc_moco_destroy(&m);
    return o;
}

static outcome *library(MPI_Comm comm, const problem *p, pfc_mode mode, int threads, int shuffle)
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

static outcome *textbook(const problem *p, int ranks)
{
    outcome *o = outcome_new(p, ranks);
    double *query = widened(p->query, p->n * p->d), *key = widened(p->key, p->n * p->d), *queue = widened(p->queue, p->k * p->d);
    double *q = widened(p->params_q, p->params), *k = widened(p->params_k, p->params), *unit = malloc((size_t)(p->n * p->d) * sizeof *unit);
    double *logits = malloc((size_t)(p->n * (1 + p->k)) * sizeof *logits);
    pfc_dense_moco m = { p->n, p->d, p->k, ranks, p->tau, query, key, queue, p->ptr, unit, o->key, logits, o->loss, o->grad };
    pfc_dense_moco_update(p->mu, false, q, p->params, k);
    pfc_dense_moco_step(&m);
    memcpy(o->params, k, (size_t)p->params * sizeof *k);
    memcpy(o->queue, queue, (size_t)(p->k * p->d) * sizeof *queue);
    o->ptr = m.ptr;
    free(query), free(key), free(queue), free(q), free(k), free(unit), free(logits);
    return o;
}

/* Largest |a - b| over the largest |b|, or over 0.01 if that is larger: a loss of nearly certain rows, and its gradient, are differences of numbers near 1.
 * +inf where NaN or infinities differ. */
static double worst(const double *a, const double *b, int64_t count)
{
    double difference = 0, largest = 0.01;
    for (int64_t i = 0; i < count; i++) {
        if (isfinite(a[i]) != isfinite(b[i]) || isnan(a[i]) != isnan(b[i])) return INFINITY;
        if (isfinite(b[i])) difference = fmax(difference, fabs(a[i] - b[i])), largest = fmax(largest, fabs(b[i]));
    }
    return difference / largest;
}

static double worst_of_all(const outcome *a, const outcome *b, const problem *p, int ranks)
{
    double w = worst(a->key, b->key, p->n * p->d);
    w = fmax(w, worst(a->grad, b->grad, p->n * p->d));
    w = fmax(w, worst(a->queue, b->queue, p->k * p->d));
    w = fmax(w, worst(a->params, b->params, p->params));
    w = fmax(w, worst(a->loss, b->loss, ranks));
    return a->ptr == b->ptr ? w : INFINITY;
}

static bool same_bits(const outcome *a, const outcome *b, const problem *p, int ranks)
{
    size_t nd = (size_t)(p->n * p->d) * sizeof(double), kd = (size_t)(p->k * p->d) * sizeof(double);
    return memcmp(a->key, b->key, nd) == 0 && memcmp(a->grad, b->grad, nd) == 0 && memcmp(a->queue, b->queue, kd) == 0 &&
           memcmp(a->params, b->params, (size_t)p->params * sizeof(double)) == 0 && memcmp(a->loss, b->loss, (size_t)ranks * sizeof(double)) == 0 &&
           a->ptr == b->ptr;
}

/* ---- against the textbook ---- */

static problem *table_problem(int id, int ranks)
{
    static const int64_t BATCH[] = { 1, 3, 7 }, KEYS[] = { 1, 13, 300, 1100 }, WIDTH[] = { 2, 5, 16, 33 };
    problem *p = problem_new(ranks * BATCH[id % 3], KEYS[id % 4], WIDTH[id / 2 % 4]);
    p->tau = id % 5 == 0 ? 1.3 : id % 5 == 1 ? 0.07 : id % 5 == 2 ? -0.5 : 0.2;
    p->mu = id % 3 == 0 ? 0.999 : id % 3 == 1 ? 0.0 : 1.0;
    p->ptr = (id * 7) % p->k;
    if (id % 4 == 3) memset(p->query, 0, (size_t)p->d * sizeof(float));                   /* a zero query: the 1e12 branch */
    if (id % 6 == 5) memset(p->key + (p->n - 1) * p->d, 0, (size_t)p->d * sizeof(float)); /* a zero key */
    return p;
}

START_TEST(textbook_table)
{
    int ranks = pfc_test_ranks();
    for (int id = 0; id < 24; id++) {
        problem *p = table_problem(id, ranks);
        outcome *want = textbook(p, ranks);
        for (int mode = 0; mode < 2; mode++) {
            outcome *got = library(MPI_COMM_WORLD, p, mode ? PFC_FAST : PFC_EXACT, 1, id % 2);
            double w = worst_of_all(got, want, p, ranks);
            ck_assert_msg(got->status == PFC_OK && w < (mode ? 1e-4 : 1e-11), "case %d, mode %d: status %d, off by %g", id, mode, got->status, w);
            outcome_free(got);
        }
        outcome_free(want);
        problem_free(p);
    }
}
END_TEST

/* Section 10.7: the textbook in double to the printed digits; the library on the same numbers as float32 agrees with the textbook on those. */
static double gen(int seed, int64_t i) { return sin(1.0 + 0.7 * (double)i + 1.3 * seed); }

START_TEST(golden_numbers)
{
    static const double GRAD[4] = { .8977433877, .2559624140, -.5062016825, -1.0302912181 };
    double q[12], k[12], u[24], unit[12], key[12], logits[21], loss, grad[12];
    for (int i = 0; i < 12; i++) q[i] = gen(7, i), k[i] = gen(8, i);
    for (int j = 0; j < 6; j++) {
        double sum = 0;
        for (int i = 0; i < 4; i++) sum += gen(9, 4 * j + i) * gen(9, 4 * j + i);
        for (int i = 0; i < 4; i++) u[4 * j + i] = gen(9, 4 * j + i) / sqrt(sum);
    }
    problem *p = problem_new(3, 6, 4);
    for (int i = 0; i < 12; i++) p->query[i] = (float)q[i], p->key[i] = (float)k[i];
    for (int i = 0; i < 24; i++) p->queue[i] = (float)u[i];
    pfc_dense_moco m = { 3, 4, 6, 1, .2, q, k, u, 0, unit, key, logits, &loss, grad };
    pfc_dense_moco_step(&m);
    ck_assert_double_eq_tol(loss, 3.039099590909, 6e-13);
    for (int i = 0; i < 4; i++) ck_assert_double_eq_tol(grad[i], GRAD[i], 6e-11);
    outcome *got = library(MPI_COMM_SELF, p, PFC_EXACT, 1, 1);
    ck_assert_double_eq_tol(got->loss[0], 3.039099590909, 3e-7);
    for (int i = 0; i < 4; i++) ck_assert_double_eq_tol(got->grad[i], GRAD[i], 3e-7);
    outcome_free(got);
    problem_free(p);
}
END_TEST

/* The library's loss, by central differences with steps that float32 can hold; the loss of a rank does not move with another rank's query. */
START_TEST(finite_differences)
{
    int ranks = pfc_test_ranks();
    problem *p = problem_new(2 * ranks, 9, 4);
    outcome *o = library(MPI_COMM_WORLD, p, PFC_EXACT, 1, 1);
    const float h = 0x1p-10f;
    for (int64_t i = 0; i < p->n * p->d; i += 3) {
        float x = p->query[i];
        p->query[i] = x + h;
        double up = (double)(x + h);
        outcome *above = library(MPI_COMM_WORLD, p, PFC_EXACT, 1, 0);
        p->query[i] = x - h;
        double down = (double)(x - h);
        outcome *below = library(MPI_COMM_WORLD, p, PFC_EXACT, 1, 0);
        p->query[i] = x;
        for (int r = 0; r < ranks; r++) {
            double slope = (above->loss[r] - below->loss[r]) / (up - down), want = r == i / (2 * p->d) ? o->grad[i] : 0.0;
            ck_assert_msg(fabs(slope - want) < 2e-5 * (1 + fabs(want)), "element %d, rank %d: slope %.9g, gradient %.9g", (int)i, r, slope, want);
        }
        outcome_free(above);
        outcome_free(below);
    }
    outcome_free(o);
    problem_free(p);
}
END_TEST

/* ---- the same bits ---- */

/* Shuffled or not (19: a row-wise encoder), threads, and every rank alone with its own rows. */
START_TEST(same_bits_everywhere)
{
    int ranks = pfc_test_ranks(), rank = pfc_test_rank();
    for (int mode = 0; mode < 2; mode++) {
        problem *p = problem_new(5 * ranks, 700, 24);
        outcome *a = library(MPI_COMM_WORLD, p, mode ? PFC_FAST : PFC_EXACT, 1, 1);
        outcome *b = library(MPI_COMM_WORLD, p, mode ? PFC_FAST : PFC_EXACT, 3, 0);
        PFC_AGREE(MPI_COMM_WORLD, same_bits(a, b, p, ranks));
        problem own = *p; /* one rank: the same loss and gradient of its own rows */
        own.n = 5;
        own.query += rank * 5 * p->d;
        own.key += rank * 5 * p->d;
        outcome *c = library(MPI_COMM_SELF, &own, mode ? PFC_FAST : PFC_EXACT, 2, 1);
        size_t bytes = (size_t)(5 * p->d) * sizeof(double);
        PFC_AGREE(MPI_COMM_WORLD, c->loss[0] == a->loss[rank] && memcmp(c->grad, a->grad + rank * 5 * p->d, bytes) == 0);
        outcome_free(a), outcome_free(b), outcome_free(c);
        problem_free(p);
    }
}
END_TEST

/* ---- invariants 20 to 23 ---- */

START_TEST(momentum)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_EXACT, 1);
    problem *p = problem_new(pfc_test_ranks(), 4 * pfc_test_ranks(), 3);
    for (int k = 0; k < 3; k++) {
        p->mu = k == 0 ? 1.0 : k == 1 ? 0.0 : 0.75;
        pfc_moco *m = object(ctx, p, true);
        double keys[3], got[17];
        pfc_view out = pfc_view_make(keys, PFC_F64, 1, 3), images = pfc_view_make(p->key + 3 * pfc_test_rank(), PFC_F32, 1, 3);
        bool ok = true;
        for (int t = 0; t < 5; t++) ok = ok && pfc_moco_hook(m, pfc_view_make(p->params_q, PFC_F32, 1, 17), images, row_wise, NULL, 1, t, out) == PFC_OK;
        ok = ok && pfc_moco_get_params(m, pfc_view_make(got, PFC_F64, 1, 17)) == PFC_OK;
        for (int i = 0; i < 17; i++) { /* mu^t theta_0 + (1 - mu^t) theta_q, up to the rounding of the state to float32 */
            double power = pow(p->mu, 5), want = power * (double)p->params_k[i] + (1 - power) * (double)p->params_q[i];
            ok = ok && fabs(got[i] - want) <= (k == 2 ? 5e-7 : 0.0) * (1 + fabs(want));
        }
        PFC_AGREE(MPI_COMM_WORLD, ok);
        pfc_moco_destroy(&m);
    }
    problem_free(p);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* The first hook of an object without key parameters copies; one rank never shuffles, several do if asked. */
START_TEST(first_call_and_shuffle)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_FAST, 1);
    int ranks = pfc_test_ranks(), rank = pfc_test_rank();
    problem *p = problem_new(4 * ranks, 4, 3);
    pfc_moco *m = object(ctx, p, false);
    float seen[12], keys[12], got[17];
    pfc_view out = pfc_view_make(keys, PFC_F32, 4, 3), images = pfc_view_make(p->key + 12 * rank, PFC_F32, 4, 3),
             q = pfc_view_make(p->params_q, PFC_F32, 1, 17);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_get_params(m, pfc_view_make(got, PFC_F32, 1, 17)) == PFC_ERR_ARG);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_hook(m, q, images, row_wise, seen, 0, 0, out) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, memcmp(seen, images.data, sizeof seen) == 0); /* shuffle_batch 0 */
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_get_params(m, pfc_view_make(got, PFC_F32, 1, 17)) == PFC_OK && memcmp(got, p->params_q, sizeof got) == 0);
    int moved = 0;
    for (int t = 0; t < 4; t++) {
        float kept[12];
        memcpy(kept, keys, sizeof kept);
        PFC_AGREE(MPI_COMM_WORLD, pfc_moco_hook(m, q, images, row_wise, seen, 1, t, out) == PFC_OK && memcmp(kept, keys, sizeof kept) == 0);
        moved += memcmp(seen, images.data, sizeof seen) != 0;
    }
    MPI_Allreduce(MPI_IN_PLACE, &moved, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    PFC_AGREE(MPI_COMM_WORLD, (moved > 0) == (ranks > 1));
    pfc_moco_destroy(&m);
    problem_free(p);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* After K/N steps the pointer is back at 0, no initial key is left, and all ranks have the same queue. */
START_TEST(ring)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_EXACT, 1);
    int ranks = pfc_test_ranks();
    pfc_moco_config cfg = { .embedding_size = 4, .queue_size = 6 * ranks, .momentum = .5, .temperature = .2, .seed = 3 };
    pfc_moco *m = NULL;
    double before[48 * 4], after[48 * 4];
    int64_t ptr = -1, n = 6 * ranks * 4;
    bool ok = pfc_moco_create(ctx, &cfg, &m) == PFC_OK && pfc_moco_get_queue(m, pfc_view_make(before, PFC_F64, 6 * ranks, 4), &ptr) == PFC_OK && ptr == 0;
    for (int64_t j = 0; j < 6 * ranks; j++) { /* the initial queue: unit rows, not two alike */
        double sum = 0;
        for (int i = 0; i < 4; i++) sum += before[4 * j + i] * before[4 * j + i];
        ok = ok && fabs(sum - 1) < 1e-15 && (j == 0 || before[4 * j] != before[4 * j - 4]);
    }
    PFC_AGREE(MPI_COMM_WORLD, ok);
    for (int t = 0; t < 3; t++) {
        float query[8], keys[8];
        for (int i = 0; i < 8; i++) query[i] = (float)gen(t, 8 * pfc_test_rank() + i), keys[i] = (float)gen(t + 9, 8 * pfc_test_rank() + i);
        pfc_moco_result result = { 0, pfc_view_make(NULL, PFC_F64, 0, 0) };
        ok = ok && pfc_moco_step(m, pfc_view_make(query, PFC_F32, 2, 4), pfc_view_make(keys, PFC_F32, 2, 4), &result) == PFC_OK;
        ok = ok && result.loss > 0 && result.loss <= log(1.0 + 6.0 * ranks) + 4 / .2; /* keys of length up to 2 here */
    }
    ok = ok && pfc_moco_get_queue(m, pfc_view_make(after, PFC_F64, 6 * ranks, 4), &ptr) == PFC_OK && ptr == 0;
    for (int64_t i = 0; i < n; i++) { /* row 2 r + i of step t is rank r's row i */
        int64_t t = i / (8 * ranks), at = i % (8 * ranks);
        ok = ok && after[i] != before[i] && after[i] == (double)(float)gen((int)t + 9, at);
    }
    PFC_AGREE(MPI_COMM_WORLD, ok);
    pfc_moco_destroy(&m);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* 23: q = k and an orthogonal queue: log(1 + K exp(-1/tau)); a zero query: log(1 + K). Both modes. */
START_TEST(known_losses)
{
    for (int mode = 0; mode < 2; mode++) {
        problem *p = problem_new(1, 5, 3);
        const double near = mode ? 1e-6 : 1e-14;
        for (int i = 0; i < 3; i++) p->query[i] = p->key[i] = i == 0 ? 3.0f : 0.0f;
        for (int j = 0; j < 5; j++) p->queue[3 * j] = 0.0f, p->queue[3 * j + 1] = 0.6f, p->queue[3 * j + 2] = -0.8f;
        outcome *o = library(MPI_COMM_SELF, p, mode ? PFC_FAST : PFC_EXACT, 1, 1);
        ck_assert_double_eq_tol(o->loss[0], log(1 + 5 * exp(-1 / .2)), near);
        outcome_free(o);
        p->query[0] = 0.0f;
        o = library(MPI_COMM_SELF, p, mode ? PFC_FAST : PFC_EXACT, 1, 1);
        ck_assert_double_eq_tol(o->loss[0], log(6.0), near);
        ck_assert_double_eq_tol(o->grad[0] / 1e12, (1.0 / 6 - 1) / .2, 10 * near); /* the clamp branch: times 1e12 */
        outcome_free(o);
        problem_free(p);
    }
}
END_TEST

/* ---- uneven ranks ---- */

START_TEST(uneven_rows)
{
    static const int WEIGHTS[8] = { 2, 0, 3, 1, 0, 1, 4, 1 };
    int ranks = pfc_test_ranks(), sum = 0;
    for (int r = 0; r < ranks; r++) sum += WEIGHTS[r];
    problem *p = problem_new(2 * sum, 50, 6);
    p->ptr = 41;
    outcome *want = textbook(p, 1);
    for (int mode = 0; mode < 2; mode++) {
        pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, mode ? PFC_FAST : PFC_EXACT, 1);
        outcome *got = library_rows(ctx, p, 1, WEIGHTS);
        double near = mode ? 1e-5 : 1e-12, mean = 0;
        bool ok = got->status == PFC_OK && worst(got->key, want->key, p->n * p->d) < near && worst(got->queue, want->queue, p->k * p->d) < near;
        for (int r = 0; ok && r < ranks; r++) {
            mean += got->loss[r] * WEIGHTS[r] / sum;
            ok = WEIGHTS[r] || got->loss[r] == 0;
        }
        PFC_AGREE(MPI_COMM_WORLD, ok && got->ptr == want->ptr && fabs(mean - want->loss[0]) < near * mean);
        outcome_free(got);
        pfc_ctx_destroy(&ctx);
    }
    outcome_free(want);
    problem_free(p);
}
END_TEST

/* ---- what is refused ---- */

static int failing(void *user, pfc_view params_k, pfc_view images, pfc_view keys)
{
    (void)params_k, (void)images, (void)keys;
    return *(int *)user;
}

static pfc_status step_with(pfc_ctx *ctx, int64_t b, int64_t k, int64_t ptr, int wrap)
{
    problem *p = problem_new(b * pfc_ctx_ranks(ctx), k, 2);
    p->wrap = wrap, p->ptr = ptr;
    outcome *o = library_rows(ctx, p, 1, NULL);
    pfc_status st = o->status;
    outcome_free(o);
    problem_free(p);
    return st;
}

START_TEST(what_is_refused)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_EXACT, 1);
    int ranks = pfc_test_ranks(), code = pfc_test_rank() == ranks - 1 ? 7 : 0;
    PFC_AGREE(MPI_COMM_WORLD, step_with(ctx, 2, 4 * ranks, 2 * ranks, 0) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, step_with(ctx, 2, 4 * ranks, 2 * ranks + 1, 0) == PFC_ERR_SHAPE && strstr(pfc_ctx_error(ctx), "queue_ptr"));
    PFC_AGREE(MPI_COMM_WORLD, step_with(ctx, 2, 4 * ranks + 1, 0, 0) == PFC_ERR_SHAPE && strstr(pfc_ctx_error(ctx), "multiple of the batch"));
    PFC_AGREE(MPI_COMM_WORLD, step_with(ctx, 2, 4 * ranks + 1, 4 * ranks, 1) == PFC_OK);

    pfc_moco_config cfg = pfc_moco_defaults();
    pfc_moco *m = NULL;
    cfg.temperature = 0;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_create(ctx, &cfg, &m) == PFC_ERR_ARG && !m && strstr(pfc_ctx_error(ctx), "temperature"));
    cfg.temperature = .2, cfg.momentum = NAN;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_create(ctx, &cfg, &m) == PFC_ERR_ARG);
    cfg.momentum = .9, cfg.queue_size = 0;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_create(ctx, &cfg, &m) == PFC_ERR_ARG);

    problem *p = problem_new(ranks, ranks, 2);
    double keys[4];
    pfc_view images = pfc_view_make(p->key, PFC_F32, 1, 2), out = pfc_view_make(keys, PFC_F64, 1, 2), q = pfc_view_make(p->params_q, PFC_F32, 1, 17);
    m = object(ctx, p, true);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_set_queue(m, pfc_view_make(NULL, PFC_F64, 0, 0), ranks) == PFC_ERR_ARG);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_set_params(m, pfc_view_make(p->params_k, PFC_F32, 1, 16)) == PFC_ERR_SHAPE);
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_hook(m, q, images, failing, &code, 1, 0, out) == PFC_ERR_RUNTIME && strstr(pfc_ctx_error(ctx), "failed with 7"));
    q.cols = 16;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_hook(m, q, images, row_wise, NULL, 1, 0, out) == PFC_ERR_SHAPE);
    pfc_moco_result result = { 0, pfc_view_make(NULL, PFC_F64, 0, 0) };
    pfc_view short_keys = pfc_view_make(keys, PFC_F64, code ? 0 : 1, 2); /* wrong on one rank: all fail, none waits */
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_step(m, images, short_keys, &result) == PFC_ERR_SHAPE);
    images.rows = out.rows = 0;
    PFC_AGREE(MPI_COMM_WORLD, pfc_moco_step(m, images, out, &result) == PFC_ERR_SHAPE); /* nobody has a row */
    pfc_moco_destroy(&m);
    problem_free(p);
    pfc_ctx_destroy(&ctx);
}
END_TEST

static Suite *make(void)
{
    Suite *suite = suite_create("moco");
    TCase *t = tcase_create("moco");
    tcase_set_timeout(t, 0);
    tcase_add_test(t, textbook_table);
    tcase_add_test(t, golden_numbers);
    tcase_add_test(t, finite_differences);
    tcase_add_test(t, same_bits_everywhere);
    tcase_add_test(t, momentum);
    tcase_add_test(t, first_call_and_shuffle);
    tcase_add_test(t, ring);
    tcase_add_test(t, known_losses);
    tcase_add_test(t, uneven_rows);
    tcase_add_test(t, what_is_refused);
    suite_add_tcase(suite, t);
    return suite;
}

int main(int argc, char **argv) { return pfc_test_main(&argc, &argv, make); }
