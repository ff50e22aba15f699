/* test_swav.c: the SwAV layer against the dense equations and finite differences, golden numbers of semantics.md 10.6, invariants 15 to 18, the queue's
 * life (5.4), the edge cases of 5.6, the optimiser (1.7) and the learning-rate schedule (5.7). */
#include "algo/matrix.h"
#include "dense/swav_dense.h"
#include "pfc_test.h"

#include <math.h>
#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_V = 4, MAX_A = 3, MAX_BS = 4, MAX_K = 11, MAX_D = 6, MAX_L = 8, MAX_P = 8 };
enum { MAX_ROWS = MAX_P * MAX_V * MAX_BS };

static pfc_ctx *context(MPI_Comm comm, pfc_mode mode, int threads)
{
    pfc_options o = { .mode = mode, .threads = threads };
    char why[256];
    pfc_ctx *ctx;
    pfc_status st = pfc_ctx_create(comm, &o, &ctx, why, sizeof why);
    ck_assert_msg(st == PFC_OK, "%s", why);
    return ctx;
}

/* For tests that call operations on host memory: of the cpu backend, whatever the environment says. */
static pfc_ctx *cpu_context(void)
{
    pfc_ctx *ctx = NULL;
    pfc_options options = { PFC_EXACT, "cpu", NULL, 1, 0 };
    ck_assert(pfc_ctx_create(MPI_COMM_SELF, &options, &ctx, NULL, 0) == PFC_OK);
    return ctx;
}

static double gen(int seed, int64_t i) { return sin(1.0 + 0.7 * (double)i + 1.3 * seed); }
static double random_float(int64_t seed, int64_t i) { return (double)(float)pfc_normal(seed, i, 0, PFC_STREAM_FILL); }

/* Largest difference over the largest value; infinite where NaN or infinities differ. */
static double distance(const double *a, const double *b, int64_t count)
{
    double worst = 0, largest = 1e-300;
    for (int64_t i = 0; i < count; i++) {
        if ((isnan(a[i]) && isnan(b[i])) || a[i] == b[i]) {
            if (isfinite(b[i]) && fabs(b[i]) > largest) largest = fabs(b[i]);
            continue;
        }
        double d = fabs(a[i] - b[i]);
        worst = d <= worst ? worst : isnan(d) ? INFINITY : d;
        if (fabs(b[i]) > largest) largest = fabs(b[i]);
    }
    return worst / largest;
}

/* ---- a problem and its results, whole on every rank ---- */

typedef struct problem {
    pfc_swav_config cfg;
    int64_t crops[MAX_A], bs, L;
    int use, frozen;
    double embedding[MAX_ROWS * MAX_D], prototypes[MAX_K * MAX_D], queue[MAX_P * MAX_A * MAX_L * MAX_D];
} problem;

typedef struct results {
    pfc_status status;
    double loss[MAX_P], assignment[MAX_P * MAX_A * MAX_BS * MAX_K], embedding_grad[MAX_ROWS * MAX_D], prototypes[MAX_K * MAX_D];
    double prototypes_grad[MAX_K * MAX_D], queue[MAX_P * MAX_A * MAX_L * MAX_D];
    int64_t use;
} results;

/* A crops of V, bs samples, L rows of queue (0: none); filled: random rows, else zeros. */
static void make_problem(problem *p, int64_t V, int64_t A, int64_t bs, int64_t L, bool filled, int64_t seed)
{
    memset(p, 0, sizeof *p);
    p->cfg = pfc_swav_defaults();
    p->cfg.num_prototypes = MAX_K;
    p->cfg.embedding_size = MAX_D;
    p->cfg.crops = V;
    p->cfg.num_assign = A;
    for (int64_t i = 0; i < A; i++) p->crops[i] = (2 * i) % V;
    p->bs = bs;
    p->L = L;
    for (int64_t i = 0; i < MAX_ROWS * MAX_D; i++) p->embedding[i] = random_float(seed, i);
    for (int64_t i = 0; i < MAX_K * MAX_D; i++) p->prototypes[i] = random_float(seed + 1, i);
    for (int64_t i = 0; filled && i < MAX_P * MAX_A * MAX_L * MAX_D; i++) p->queue[i] = random_float(seed + 2, i);
    p->cfg.crops_for_assign = p->crops;
}

/* count doubles of every rank, after real numbers of the mode. */
static void gather(MPI_Comm comm, pfc_dtype real, void *part, int64_t count, double *whole)
{
    double *mine = malloc((size_t)count * sizeof *mine + 1);
    for (int64_t i = 0; i < count; i++) mine[i] = real == PFC_F64 ? ((double *)part)[i] : (double)((float *)part)[i];
    MPI_Allgather(mine, (int)count, MPI_DOUBLE, whole, (int)count, MPI_DOUBLE, comm);
    free(mine);
}

static void widen(pfc_dtype real, double *x, int64_t count)
{
    for (int64_t i = count - 1; real == PFC_F32 && i >= 0; i--) {
        float f;
        memcpy(&f, (char *)x + i * 4, 4);
        x[i] = (double)f;
    }
}

static pfc_swav *make_layer(pfc_ctx *ctx, problem *p)
{
    pfc_swav *layer;
    p->cfg.crops_for_assign = p->crops;
    int64_t mine = p->cfg.num_assign * p->L;
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_create(ctx, &p->cfg, &layer) == PFC_OK);
    bool ok = pfc_swav_set_prototypes(layer, pfc_view_make(p->prototypes, PFC_F64, MAX_K, MAX_D), (pfc_view){ 0 }) == PFC_OK;
    pfc_view queue = pfc_view_make(p->queue + pfc_ctx_rank(ctx) * mine * MAX_D, PFC_F64, mine, MAX_D);
    if (!p->L) queue.data = NULL;
    ok = pfc_swav_set_queue(layer, queue, p->use) == PFC_OK && ok;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    return layer;
}

static void library(MPI_Comm comm, pfc_mode mode, int threads, problem *p, results *r)
{
    pfc_ctx *ctx = context(comm, mode, threads);
    pfc_swav *layer = make_layer(ctx, p);
    pfc_dtype real = pfc_ctx_real(ctx);
    int64_t rows = p->cfg.crops * p->bs, assigned = p->cfg.num_assign * p->bs, queued = p->cfg.num_assign * p->L, rank = pfc_ctx_rank(ctx);
    double *q = malloc((size_t)(assigned * MAX_K) * 8), *dh = malloc((size_t)(rows * MAX_D) * 8), *queue = malloc((size_t)(queued * MAX_D) * 8 + 8);
    pfc_swav_result out = { .assignment = pfc_view_make(q, real, assigned, MAX_K),
                            .embedding_grad = pfc_view_make(dh, real, rows, MAX_D),
                            .prototypes_grad = pfc_view_make(r->prototypes_grad, real, MAX_K, MAX_D) };
    int use = 0;
    r->status = pfc_swav_step(layer, pfc_view_make(p->embedding + rank * rows * MAX_D, PFC_F64, rows, MAX_D), p->frozen, &out);
    if (r->status == PFC_OK) {
        ck_assert(pfc_swav_get_prototypes(layer, pfc_view_make(r->prototypes, real, MAX_K, MAX_D), (pfc_view){ 0 }) == PFC_OK);
        ck_assert(pfc_swav_get_queue(layer, pfc_view_make(p->L ? queue : NULL, real, queued, MAX_D), &use) == PFC_OK);
        widen(real, r->prototypes, MAX_K * MAX_D);
        widen(real, r->prototypes_grad, MAX_K * MAX_D);
        MPI_Allgather(&out.loss, 1, MPI_DOUBLE, r->loss, 1, MPI_DOUBLE, comm);
        gather(comm, real, q, assigned * MAX_K, r->assignment);
        gather(comm, real, dh, rows * MAX_D, r->embedding_grad);
        if (p->L) gather(comm, real, queue, queued * MAX_D, r->queue);
        r->use = use;
    }
    pfc_swav_destroy(&layer);
    pfc_ctx_destroy(&ctx);
    free(q);
    free(dh);
    free(queue);
}

static void dense(int ranks, const problem *p, results *r)
{
    memcpy(r->prototypes, p->prototypes, sizeof r->prototypes);
    memcpy(r->queue, p->queue, sizeof r->queue);
    pfc_dense_swav s = { .cfg = &p->cfg,
                         .ranks = ranks,
                         .bs = p->bs,
                         .L = p->L,
                         .frozen = p->frozen,
                         .embedding = p->embedding,
                         .prototypes = r->prototypes,
                         .queue = r->queue,
                         .use_the_queue = p->use,
                         .loss = r->loss,
                         .assignment = r->assignment,
                         .embedding_grad = r->embedding_grad,
                         .prototypes_grad = r->prototypes_grad };
    ck_assert(pfc_dense_swav_step(&s));
    r->use = s.use_the_queue;
    r->status = s.same_answer ? PFC_OK : PFC_ERR_DATA;
}

/* Largest relative difference over all results. */
static double worst(const problem *p, int ranks, const results *a, const results *b)
{
    int64_t V = p->cfg.crops, A = p->cfg.num_assign;
    double d[6] = { distance(a->loss, b->loss, ranks),
                    distance(a->assignment, b->assignment, ranks * A * p->bs * MAX_K),
                    distance(a->embedding_grad, b->embedding_grad, ranks * V * p->bs * MAX_D),
                    distance(a->prototypes, b->prototypes, MAX_K * MAX_D),
                    distance(a->prototypes_grad, b->prototypes_grad, MAX_K * MAX_D),
                    p->L ? distance(a->queue, b->queue, ranks * A * p->L * MAX_D) : 0 };
    double most = 0;
    for (int i = 0; i < 6; i++) most = d[i] > most ? d[i] : most;
    return a->use == b->use ? most : INFINITY;
}

static problem p;
static results exact, fast, want;

static void compare(double tolerance)
{
    int ranks = pfc_test_ranks();
    dense(ranks, &p, &want);
    library(MPI_COMM_WORLD, PFC_EXACT, 1, &p, &exact);
    library(MPI_COMM_WORLD, PFC_FAST, 1, &p, &fast);
    PFC_AGREE(MPI_COMM_WORLD, exact.status == PFC_OK && fast.status == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, worst(&p, ranks, &exact, &want) <= 1e-9);
    PFC_AGREE(MPI_COMM_WORLD, worst(&p, ranks, &fast, &exact) <= tolerance);
}

START_TEST(every_switch)
{
    static const int64_t V[] = { 2, 4, 3 }, A[] = { 1, 2, 3 };
    make_problem(&p, V[_i % 3], A[_i / 3 % 3], 1 + _i % MAX_BS, _i % 4 == 0 ? 0 : MAX_L, _i % 4 != 1, 100 + _i);
    p.use = _i % 4 == 2;
    p.frozen = _i % 5 == 0;
    p.cfg.sinkhorn.version = (pfc_sinkhorn_version)(_i % 4);
    p.cfg.sinkhorn.stabilise = _i % 2;
    p.cfg.sinkhorn.iterations = _i % 3 + (_i % 7 != 0);
    p.cfg.log_softmax = (pfc_log_softmax)(_i / 2 % 2);
    compare(2e-5);
}
END_TEST

/* ---- golden numbers 10.6: given assignments ---- */

static const double Q[12] = { .2, .3, .5, .6, .3, .1, .1, .8, .1, .25, .25, .5 };

START_TEST(golden_numbers)
{
    enum { V = 3, BS = 2, K = 3, D = 4, A = 2 };
    static const int64_t crops[] = { 0, 1 };
    double h[V * BS * D], C[K * D], dS[V * BS * K];
    static const double dC[] = { .2095154716, -.9412408207, -1.6493168476, -1.5816933899 }, dH[] = { .3307263011, -.1579274088, -.5723053907, -.7175192048 };
    pfc_swav_config cfg = pfc_swav_defaults();
    cfg.num_prototypes = K, cfg.embedding_size = D, cfg.crops = V, cfg.num_assign = A, cfg.crops_for_assign = crops;
    for (int i = 0; i < V * BS * D; i++) h[i] = gen(5, i);
    for (int k = 0; k < K; k++) {
        double length = 0;
        for (int d = 0; d < D; d++) length += gen(6, k * D + d) * gen(6, k * D + d);
        for (int d = 0; d < D; d++) C[k * D + d] = gen(6, k * D + d) / sqrt(length);
    }
    ck_assert(fabs(pfc_dense_swav_loss(&cfg, BS, h, C, Q) - 5.582500208623) <= 5.1e-13);

    /* The library's own operations on the given q. */
    pfc_ctx *ctx = cpu_context();
    const pfc_ops *ops = ctx->be->ops;
    pfc_view z = pfc_view_make(malloc(sizeof h), PFC_F64, V * BS, D), S = pfc_view_make(malloc(sizeof dS), PFC_F64, V * BS, K);
    pfc_view c = pfc_view_make(C, PFC_F64, K, D), q = pfc_view_make((void *)Q, PFC_F64, A * BS, K), g = pfc_view_make(dS, PFC_F64, V * BS, K);
    double max[V * BS], sum[V * BS], row[V * BS * A], grad[V * BS * D], cgrad[K * D], total = 0;
    pfc_view vmax = pfc_view_make(max, PFC_F64, V * BS, 1), vsum = pfc_view_make(sum, PFC_F64, V * BS, 1), dh = pfc_view_make(grad, PFC_F64, V * BS, D);
    pfc_matrix H, Z, M;
    ck_assert(pfc_matrix_make(ctx, pfc_view_make(h, PFC_F64, V * BS, D), &H) == PFC_OK);
    ck_assert(ops->normalise(ctx->be, H.v, H.norm, z) == PFC_OK);
    ck_assert(pfc_matrix_make(ctx, z, &Z) == PFC_OK && pfc_matrix_make(ctx, c, &M) == PFC_OK);
    ck_assert(pfc_product_nt(ctx, &Z, &M, S) == PFC_OK);
    int terms = 0;
    for (int v = 0; v < V; v++) {
        pfc_view s = pfc_view_rows(S, v * BS, BS), m = pfc_view_rows(vmax, v * BS, BS), t = pfc_view_rows(vsum, v * BS, BS), d = pfc_view_rows(g, v * BS, BS);
        ck_assert(ops->softmax_rows(ctx->be, s, cfg.temperature, m, t) == PFC_OK);
        for (int i = 0, first = 1; i < A; i++) {
            if (crops[i] == v) continue;
            ck_assert(ops->swav_row_loss(ctx->be, s, cfg.temperature, m, t, pfc_view_rows(q, i * BS, BS), 1, row + terms) == PFC_OK);
            ck_assert(ops->swav_dlogits(ctx->be, s, cfg.temperature, m, t, pfc_view_rows(q, i * BS, BS), 1, first, d) == PFC_OK);
            terms += BS;
            first = 0;
        }
    }
    ck_assert(ops->scale(ctx->be, g, 1.0 / (A * (V - 1) * BS * cfg.temperature)) == PFC_OK);
    for (int i = 0; i < terms; i++) total -= row[i];
    ck_assert(fabs(total / BS / (V - 1) / A - 5.582500208623) <= 5.1e-13);
    ck_assert(pfc_product_nn(ctx, g, &M, dh) == PFC_OK && ops->normalise_backward(ctx->be, dh, z, H.norm, dh) == PFC_OK);
    ck_assert(pfc_product_tn(ctx, g, &Z, false, pfc_view_make(cgrad, PFC_F64, K, D)) == PFC_OK);
    for (int d = 0; d < D; d++) ck_assert(fabs(grad[d] - dH[d]) <= 5.1e-11 && fabs(cgrad[d] - dC[d]) <= 5.1e-11);
    pfc_matrix_free(ctx, &H);
    pfc_matrix_free(ctx, &Z);
    pfc_matrix_free(ctx, &M);
    free(z.data);
    free(S.data);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- finite differences of each rank's loss, its assignments kept ---- */

START_TEST(finite_differences)
{
    const double step = 1e-6;
    int ranks = pfc_test_ranks(), rank = pfc_test_rank();
    make_problem(&p, 4, 2, 2, _i ? MAX_L : 0, true, 40 + _i);
    library(MPI_COMM_WORLD, PFC_EXACT, 1, &p, &exact);
    int64_t rows = p.cfg.crops * p.bs, first = rank * rows * MAX_D;
    const double *q = exact.assignment + rank * p.cfg.num_assign * p.bs * MAX_K;
    double h[MAX_V * MAX_BS * MAX_D], C[MAX_K * MAX_D], mine[MAX_K * MAX_D], error = 0;
    memcpy(h, p.embedding + first, (size_t)(rows * MAX_D) * sizeof *h);
    memcpy(C, exact.prototypes, sizeof C);
    ck_assert(fabs(pfc_dense_swav_loss(&p.cfg, p.bs, h, C, q) - exact.loss[rank]) <= 1e-12);
    for (int64_t i = 0; i < rows * MAX_D; i++) {
        double x = h[i], up, down;
        h[i] = x + step;
        up = pfc_dense_swav_loss(&p.cfg, p.bs, h, C, q);
        h[i] = x - step;
        down = pfc_dense_swav_loss(&p.cfg, p.bs, h, C, q);
        h[i] = x;
        error = fmax(error, fabs((up - down) / (2 * step) - exact.embedding_grad[first + i]));
    }
    for (int64_t i = 0; i < MAX_K * MAX_D; i++) {
        double x = C[i], up, down;
        C[i] = x + step;
        up = pfc_dense_swav_loss(&p.cfg, p.bs, h, C, q);
        C[i] = x - step;
        down = pfc_dense_swav_loss(&p.cfg, p.bs, h, C, q);
        C[i] = x;
        mine[i] = (up - down) / (2 * step);
    }
    MPI_Allreduce(MPI_IN_PLACE, mine, MAX_K * MAX_D, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (int64_t i = 0; i < MAX_K * MAX_D; i++) error = fmax(error, fabs(mine[i] / ranks - exact.prototypes_grad[i]));
    PFC_AGREE(MPI_COMM_WORLD, error <= 1e-7);
}
END_TEST

/* ---- invariants ---- */

/* 16, 17: the loss is no less than the mean entropy of q; <h, dh> = 0. */
START_TEST(loss_and_gradient)
{
    int ranks = pfc_test_ranks();
    make_problem(&p, 3, 2, 3, MAX_L, true, 60);
    library(MPI_COMM_WORLD, PFC_EXACT, 1, &p, &exact);
    int64_t each = p.cfg.num_assign * p.bs;
    bool good = true;
    for (int r = 0; r < ranks; r++) {
        double entropy = 0;
        for (int64_t i = 0; i < each * MAX_K; i++) {
            double q = exact.assignment[r * each * MAX_K + i];
            entropy -= q > 0 ? q * log(q) : 0;
        }
        good = good && exact.loss[r] >= entropy / (double)each;
    }
    for (int64_t r = 0; r < ranks * p.cfg.crops * p.bs; r++) {
        double along = 0;
        for (int d = 0; d < MAX_D; d++) along += p.embedding[r * MAX_D + d] * exact.embedding_grad[r * MAX_D + d];
        good = good && fabs(along) <= 1e-13;
    }
    PFC_AGREE(MPI_COMM_WORLD, good);
}
END_TEST

/* 16: zero embeddings: uniform assignments, ln K. The gradient is that of the clamp: 1e12 times. */
START_TEST(zero_embeddings)
{
    make_problem(&p, 2, 1, 2, 0, false, 61);
    memset(p.embedding, 0, sizeof p.embedding);
    library(MPI_COMM_WORLD, PFC_EXACT, 1, &p, &exact); /* its gradient is rounding times 1e12 */
    PFC_AGREE(MPI_COMM_WORLD, fabs(exact.loss[0] - log(MAX_K)) <= 1e-14 && fabs(exact.assignment[0] - 1.0 / MAX_K) <= 1e-15);
    make_problem(&p, 3, 2, 2, 0, false, 62);
    memset(p.embedding, 0, MAX_D * sizeof(double));
    compare(2e-5);
    PFC_AGREE(MPI_COMM_WORLD, fabs(exact.embedding_grad[0]) > 1e8);
}
END_TEST

/* 15: the union of all ranks' rows decides: P ranks with bs samples assign as one rank with P*bs, queue included; same bits. */
START_TEST(ranks_do_not_matter)
{
    enum { PER_RANK = 2 };
    int ranks = pfc_test_ranks();
    int64_t N = PER_RANK * ranks, L = 2 * PER_RANK;
    make_problem(&p, 2, 1, PER_RANK, L, true, 63);
    library(MPI_COMM_WORLD, PFC_EXACT, 1, &p, &exact);
    /* Sinkhorn of all rows on one rank, in another order: queues first, then batches. */
    pfc_ctx *ctx = cpu_context();
    int64_t rows = N + ranks * L;
    double *all = malloc((size_t)(rows * MAX_D) * 8), *scores = malloc((size_t)(rows * MAX_K) * 8), *q = malloc((size_t)(rows * MAX_K) * 8);
    memcpy(all, p.queue, (size_t)(ranks * L * MAX_D) * 8);
    for (int r = 0; r < ranks; r++) memcpy(all + (ranks * L + r * PER_RANK) * MAX_D, p.embedding + r * 2 * PER_RANK * MAX_D, PER_RANK * MAX_D * 8);
    pfc_matrix H, X, C;
    pfc_view batch = pfc_view_make(all + ranks * L * MAX_D, PFC_F64, N, MAX_D);
    ck_assert(pfc_matrix_make(ctx, batch, &H) == PFC_OK && ctx->be->ops->normalise(ctx->be, batch, H.norm, batch) == PFC_OK);
    ck_assert(pfc_matrix_make(ctx, pfc_view_make(all, PFC_F64, rows, MAX_D), &X) == PFC_OK);
    ck_assert(pfc_matrix_make(ctx, pfc_view_make(exact.prototypes, PFC_F64, MAX_K, MAX_D), &C) == PFC_OK);
    ck_assert(pfc_product_nt(ctx, &X, &C, pfc_view_make(scores, PFC_F64, rows, MAX_K)) == PFC_OK);
    ck_assert(pfc_sinkhorn(ctx, &p.cfg.sinkhorn, pfc_view_make(scores, PFC_F64, rows, MAX_K), pfc_view_make(q, PFC_F64, rows, MAX_K)) == PFC_OK);
    bool good = memcmp(q + ranks * L * MAX_K, exact.assignment, (size_t)(N * MAX_K) * 8) == 0;
    pfc_matrix_free(ctx, &H);
    pfc_matrix_free(ctx, &X);
    pfc_matrix_free(ctx, &C);
    pfc_ctx_destroy(&ctx);
    free(all);
    free(scores);
    free(q);
    PFC_AGREE(MPI_COMM_WORLD, good);
}
END_TEST

START_TEST(threads_do_not_matter)
{
    make_problem(&p, 4, 2, 4, MAX_L, true, 64);
    for (int mode = 0; mode < 2; mode++) {
        library(MPI_COMM_WORLD, (pfc_mode)mode, 1, &p, &exact);
        library(MPI_COMM_WORLD, (pfc_mode)mode, 3, &p, &fast);
        PFC_AGREE(MPI_COMM_WORLD, worst(&p, pfc_test_ranks(), &fast, &exact) == 0);
    }
}
END_TEST

/* ---- edge cases ---- */

/* p underflows: log(softmax) gives NaN, log-softmax does not. */
START_TEST(vanishing_probabilities)
{
    make_problem(&p, 3, 2, 2, 0, false, 65);
    p.cfg.temperature = 5e-4;
    compare(1e-3);
    PFC_AGREE(MPI_COMM_WORLD, !isfinite(exact.loss[0]) && isnan(exact.prototypes_grad[0]));
    p.cfg.log_softmax = PFC_LOG_SOFTMAX_STABLE;
    compare(1e-3);
    PFC_AGREE(MPI_COMM_WORLD, isfinite(exact.loss[0]) && isfinite(exact.prototypes_grad[0]));
    p.cfg.log_softmax = PFC_LOG_SOFTMAX_SOURCE;
    p.cfg.sinkhorn.version = PFC_SINKHORN_V2;
    compare(1e-3);
    PFC_AGREE(MPI_COMM_WORLD, isfinite(exact.loss[0]));
}
END_TEST

START_TEST(one_crop)
{
    make_problem(&p, 1, 1, 2, 0, false, 66);
    compare(2e-5);
    PFC_AGREE(MPI_COMM_WORLD, isnan(exact.loss[0]) && isnan(exact.embedding_grad[0]));
    p.frozen = 1;
    compare(2e-5);
    PFC_AGREE(MPI_COMM_WORLD, exact.prototypes_grad[0] == 0);
}
END_TEST

/* The first assigned crop's queue is empty, the second's is full: the flag is on from the second position on, and stays. */
START_TEST(the_flag_is_carried)
{
    make_problem(&p, 3, 3, 2, 4, true, 67);
    for (int r = 0; r < pfc_test_ranks(); r++)
        for (int d = 0; d < MAX_D; d++) p.queue[((r * 3 + 0) * 4 + 3) * MAX_D + d] = p.queue[((r * 3 + 2) * 4 + 3) * MAX_D + d] = 0;
    compare(2e-5);
    PFC_AGREE(MPI_COMM_WORLD, exact.use == 1);
}
END_TEST

START_TEST(ranks_that_disagree)
{
    if (pfc_test_ranks() == 1) return;
    make_problem(&p, 2, 1, 2, 4, true, 68);
    for (int d = 0; d < MAX_D; d++) p.queue[3 * MAX_D + d] = 0; /* rank 0's last row */
    dense(pfc_test_ranks(), &p, &want);
    library(MPI_COMM_WORLD, PFC_EXACT, 1, &p, &exact);
    PFC_AGREE(MPI_COMM_WORLD, want.status == PFC_ERR_DATA && exact.status == PFC_ERR_DATA);
}
END_TEST

START_TEST(refusals)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT, 1);
    pfc_swav *layer;
    pfc_swav_result out = { 0 };
    make_problem(&p, 2, 1, 4, 2, true, 69); /* 4 samples, queue of 2 */
    layer = make_layer(ctx, &p);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_step(layer, pfc_view_make(p.embedding, PFC_F64, 8, MAX_D), 0, &out) == PFC_ERR_SHAPE);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_step(layer, pfc_view_make(p.embedding, PFC_F64, 3, MAX_D), 0, &out) == PFC_ERR_SHAPE);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_update(layer, 0.1) == PFC_ERR_ARG);
    pfc_swav_destroy(&layer);
    p.crops[0] = 2;
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_create(ctx, &p.cfg, &layer) == PFC_ERR_ARG && strstr(pfc_ctx_error(ctx), "crops_for_assign"));
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- life of the queue (5.4, invariant 18) ---- */

static void take_step(pfc_swav *layer, int64_t t, double *z)
{
    enum { BS = 2, V = 2 };
    double h[V * BS * MAX_D];
    pfc_swav_result out = { 0 };
    for (int i = 0; i < V * BS * MAX_D; i++) h[i] = random_float(500 + t, pfc_test_rank() * 1000 + i);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_step(layer, pfc_view_make(h, PFC_F64, V * BS, MAX_D), 0, &out) == PFC_OK);
    for (int n = 0; n < BS; n++) { /* crop 0 is the assigned one */
        double length = 0;
        for (int d = 0; d < MAX_D; d++) length += h[n * MAX_D + d] * h[n * MAX_D + d];
        for (int d = 0; d < MAX_D; d++) z[n * MAX_D + d] = h[n * MAX_D + d] / sqrt(length);
    }
}

START_TEST(life_of_the_queue)
{
    enum { BS = 2, FILLS = 5 };
    int ranks = pfc_test_ranks(), use = -1;
    double z[FILLS][BS * MAX_D], queue[3 * BS * MAX_D];
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT, 1);
    ck_assert(pfc_swav_queue_rows(3840, 64, 4) == 960 && pfc_swav_queue_rows(100, 64, 2) == 0 && pfc_swav_queue_rows(3 * 128 + 7, 64, 2) == 192);
    make_problem(&p, 2, 1, BS, 0, false, 70);
    p.cfg.queue_length = 3 * BS * ranks + 1; /* rounded to three fills */
    p.cfg.epoch_queue_starts = 2;
    pfc_swav *layer = make_layer(ctx, &p);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_begin_epoch(layer, 1, BS) == PFC_OK && pfc_swav_queue_length(layer) == 0);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_begin_epoch(layer, 2, BS) == PFC_OK && pfc_swav_queue_length(layer) == 3 * BS);
    for (int t = 0; t < FILLS; t++) {
        take_step(layer, t, z[t]);
        ck_assert(pfc_swav_get_queue(layer, pfc_view_make(queue, PFC_F64, 3 * BS, MAX_D), &use) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, use == (t >= 3)); /* three fills complete it, the fourth step finds it full */
        bool good = true;
        for (int j = 0; j < 3; j++)
            for (int i = 0; i < BS * MAX_D; i++) {
                double is = queue[j * BS * MAX_D + i], expected = j <= t ? z[t - j][i] : 0;
                good = good && fabs(is - expected) <= (j ? 6e-8 : 1e-15); /* older ones went through float32 */
                good = good && (j == 0 || is == (double)(float)is);
            }
        PFC_AGREE(MPI_COMM_WORLD, good);
    }
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_begin_epoch(layer, 3, BS) == PFC_OK);
    ck_assert(pfc_swav_get_queue(layer, (pfc_view){ 0 }, &use) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, use == 0 && pfc_swav_queue_length(layer) == 3 * BS); /* the flag goes, the rows stay */
    take_step(layer, 9, z[0]);
    ck_assert(pfc_swav_get_queue(layer, (pfc_view){ 0 }, &use) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, use == 1);
    pfc_swav_destroy(&layer);
    p.cfg.queue_length = BS * ranks - 1; /* rounds to nothing */
    layer = make_layer(ctx, &p);
    PFC_AGREE(MPI_COMM_WORLD, pfc_swav_begin_epoch(layer, 9, BS) == PFC_OK && pfc_swav_queue_length(layer) == 0);
    pfc_swav_destroy(&layer);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- optimiser ---- */

/* Two steps by hand; i 0: SGD, 1: LARC, 2: LARC with clip, 3: frozen in the second step. */
START_TEST(optimiser)
{
    enum { SIZE = MAX_K * MAX_D };
    const double lr = 0.3;
    double w[SIZE], m[SIZE] = { 0 }, g[SIZE], got[SIZE], momentum[SIZE];
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT, 1);
    make_problem(&p, 2, 1, 2, 0, false, 80);
    p.cfg.larc = _i != 0;
    p.cfg.larc_clip = _i == 2;
    p.cfg.larc_trust = _i == 2 ? 10 : 0.001;
    p.cfg.weight_decay = 0.01;
    pfc_swav *layer = make_layer(ctx, &p);
    for (int t = 0; t < 2; t++) {
        int frozen = _i == 3 && t == 1;
        pfc_swav_result out = { .prototypes_grad = pfc_view_make(g, PFC_F64, MAX_K, MAX_D) };
        PFC_AGREE(MPI_COMM_WORLD,
                  pfc_swav_step(layer, pfc_view_make(p.embedding + (t * 8 + pfc_test_rank()) * 4 * MAX_D, PFC_F64, 4, MAX_D), frozen, &out) == PFC_OK);
        ck_assert(pfc_swav_get_prototypes(layer, pfc_view_make(w, PFC_F64, MAX_K, MAX_D), (pfc_view){ 0 }) == PFC_OK);
        double pn = 0, gn = 0, rate = 1, decay = 0.01;
        for (int i = 0; i < SIZE; i++) pn += w[i] * w[i], gn += g[i] * g[i];
        if (_i > 0) rate = p.cfg.larc_trust * sqrt(pn) / (sqrt(gn) + sqrt(pn) * decay + 1e-8);
        if (_i == 2) rate = fmin(rate / lr, 1);
        for (int i = 0; i < SIZE; i++) {
            m[i] = (double)(float)m[i]; /* between steps */
            if (frozen) continue;
            m[i] = 0.9 * m[i] + (g[i] + decay * w[i]) * rate;
            w[i] -= lr * m[i];
        }
        ck_assert(pfc_swav_update(layer, lr) == PFC_OK);
        ck_assert(pfc_swav_get_prototypes(layer, pfc_view_make(got, PFC_F64, MAX_K, MAX_D), pfc_view_make(momentum, PFC_F64, MAX_K, MAX_D)) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, distance(got, w, SIZE) <= 1e-14 && distance(momentum, m, SIZE) <= (frozen ? 1e-7 : 1e-14));
        for (int i = 0; i < SIZE; i++) m[i] = momentum[i];
        ck_assert(pfc_swav_update(layer, lr) == PFC_OK); /* the gradient is used up: nothing moves */
        ck_assert(pfc_swav_get_prototypes(layer, pfc_view_make(w, PFC_F64, MAX_K, MAX_D), (pfc_view){ 0 }) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(w, got, sizeof w) == 0);
    }
    pfc_swav_destroy(&layer);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- learning rate ---- */

START_TEST(schedule)
{
    static const pfc_lr_config table[] = {
        { 4.8, 0.0048, 0.3, 2, 7, 11 }, { 4.8, 0, 0, 0, 5, 3 }, { 1, .1, 0, 4, 4, 2 }, { 2, 0, 1, 1, 3, 1 }, { 1, 1, 1, 2, 5, 3 }
    };
    double lr[77], want_lr[77];
    for (int i = 0; i < 5; i++) {
        const pfc_lr_config *c = &table[i];
        int64_t n = c->epochs * c->steps_per_epoch, rise = c->warmup_epochs * c->steps_per_epoch;
        ck_assert(pfc_lr_schedule(c, lr) == PFC_OK);
        pfc_dense_lr_schedule(c, want_lr);
        for (int64_t t = 0; t < n; t++) ck_assert(fabs(lr[t] - want_lr[t]) <= 1e-14);
        if (rise > 1) ck_assert(lr[0] == c->start_warmup && lr[rise - 1] == c->base_lr);
        if (rise < n) ck_assert(lr[rise] == c->base_lr && (lr[n - 1] > c->final_lr || c->base_lr == c->final_lr));
    }
    ck_assert(lr[0] == 1); /* flat */
    pfc_lr_config bad = { 1, 0, 0, 3, 2, 5 };
    ck_assert(pfc_lr_schedule(&bad, lr) == PFC_ERR_ARG);
}
END_TEST

static Suite *make(void)
{
    Suite *s = suite_create("swav");
    TCase *t = tcase_create("swav");
    tcase_set_timeout(t, 0);
    tcase_add_loop_test(t, every_switch, 0, 36);
    tcase_add_test(t, golden_numbers);
    tcase_add_loop_test(t, finite_differences, 0, 2);
    tcase_add_test(t, loss_and_gradient);
    tcase_add_test(t, zero_embeddings);
    tcase_add_test(t, ranks_do_not_matter);
    tcase_add_test(t, threads_do_not_matter);
    tcase_add_test(t, vanishing_probabilities);
    tcase_add_test(t, one_crop);
    tcase_add_test(t, the_flag_is_carried);
    tcase_add_test(t, ranks_that_disagree);
    tcase_add_test(t, refusals);
    tcase_add_test(t, life_of_the_queue);
    tcase_add_loop_test(t, optimiser, 0, 4);
    tcase_add_test(t, schedule);
    suite_add_tcase(s, t);
    return s;
}

int main(int argc, char **argv) { return pfc_test_main(&argc, &argv, make); }
