/* test_swav.c: the SwAV layer against the dense equations and finite differences, golden numbers of semantics.md 10.6, invariants 15 to 17. */
#include "algo/matrix.h"
#include "swav_problem.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* For tests that call operations on host memory: of the cpu backend, whatever the environment says. */
static pfc_ctx *cpu_context(void) { return pfc_test_ctx(MPI_COMM_SELF, (pfc_options){ .mode = PFC_EXACT, .backend = "cpu", .threads = 1 }); }

static double gen(int seed, int64_t i) { return sin(1.0 + 0.7 * (double)i + 1.3 * seed); }

static problem p;
static results exact, other;

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
    compare(&p, &exact, 2e-5);
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
    compare(&p, &exact, 2e-5);
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
        library(MPI_COMM_WORLD, (pfc_mode)mode, 3, &p, &other);
        PFC_AGREE(MPI_COMM_WORLD, worst(&p, pfc_test_ranks(), &other, &exact) == 0);
    }
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_LOOP(every_switch, 36), PFC_ONCE(golden_numbers),      PFC_LOOP(finite_differences, 2), PFC_ONCE(loss_and_gradient),
        PFC_ONCE(zero_embeddings),  PFC_ONCE(ranks_do_not_matter), PFC_ONCE(threads_do_not_matter),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
