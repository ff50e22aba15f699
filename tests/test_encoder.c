/* test_encoder.c: the numbers of the encoder through the public interface: against plain loops in double, those against finite differences, the same bits on
 * any number of ranks, ranks without rows. */
#include "encoder_problem.h"
#include "pfc_test.h"

#include <math.h>
#include <string.h>

static void dense_step(dense_encoder *e, int number, encoder_results *r)
{
    double x[N * IN], g[N * OUT];
    for (int64_t i = 0; i < N * IN; i++) x[i] = encoder_input(number * N * IN + i);
    for (int64_t i = 0; i < N * OUT; i++) g[i] = encoder_gradient(number * N * OUT + i);
    dense_encoder_forward(e, x, true);
    memcpy(r->y, e->x[e->cfg.layers], sizeof r->y);
    dense_encoder_backward(e, g, 3.0, r->x_grad);
    memcpy(r->grad, e->grad, sizeof r->grad);
    dense_encoder_update(e, 0.5);
    memcpy(r->param, e->param, sizeof r->param);
}

/* Largest difference by the largest value. */
static double distance(const double *got, const double *want, int64_t n)
{
    double most = 0.0, size = 0.0;
    for (int64_t i = 0; i < n; i++) {
        if (!(fabs(got[i] - want[i]) <= most)) most = fabs(got[i] - want[i]);
        if (fabs(want[i]) > size) size = fabs(want[i]);
    }
    return size > 0.0 ? most / size : most;
}

/* ---- plain loops in double ---- */

/* Two steps, and an evaluation. A parameter near the middle of two float32 numbers may be rounded to the other one. */
static void compare(pfc_mode mode, const pfc_encoder_config *c, double tolerance)
{
    const double rounding = tolerance < 1e-7 ? 1e-7 : tolerance;
    pfc_ctx *ctx = encoder_ctx(MPI_COMM_WORLD, mode);
    pfc_encoder *e = encoder_make(ctx, c);
    int64_t b = N / pfc_test_ranks(), first = b * pfc_test_rank(), n = pfc_encoder_params(e);
    dense_encoder d;
    encoder_results got, want;
    double x[N * IN];
    dense_encoder_open(&d, c, pfc_test_ranks());
    d.round = true;
    PFC_AGREE(MPI_COMM_WORLD, n == d.params && pfc_encoder_get_params(e, pfc_view_make(d.param, PFC_F64, 1, n)) == PFC_OK);
    for (int i = 0; i < 2; i++) {
        encoder_step(ctx, e, i, first, b, &got);
        dense_step(&d, i, &want);
        PFC_AGREE(MPI_COMM_WORLD, distance(got.y, want.y + first * OUT, b * OUT) <= tolerance);
        PFC_AGREE(MPI_COMM_WORLD, distance(got.x_grad, want.x_grad + first * IN, b * IN) <= tolerance);
        PFC_AGREE(MPI_COMM_WORLD, distance(got.grad, want.grad, n) <= tolerance);
        PFC_AGREE(MPI_COMM_WORLD, distance(got.param, want.param, n) <= rounding);
        tolerance = rounding;
    }
    for (int64_t i = 0; i < N * IN; i++) x[i] = encoder_input(2 * N * IN + i);
    encoder_forward(ctx, e, 2, first, b, 0, got.y);
    dense_encoder_forward(&d, x, false);
    PFC_AGREE(MPI_COMM_WORLD, distance(got.y, d.x[c->layers] + first * OUT, b * OUT) <= tolerance);
    pfc_encoder_destroy(&e);
    pfc_ctx_destroy(&ctx);
}

START_TEST(plain_loops)
{
    for (int64_t layers = 1; layers <= 3; layers++)
        for (int kind = 0; kind < KINDS; kind++) {
            pfc_encoder_config c = encoder_config_of(layers, kind, pfc_test_ranks());
            c.last_norm = (int)(layers + kind) % 2;
            c.nesterov = kind % 2;
            compare(PFC_EXACT, &c, 1e-12);
            compare(PFC_FAST, &c, 1e-5);
        }
}
END_TEST

/* The loops themselves: their gradients are slopes. */
static double objective(dense_encoder *e, const double *x, const double *g)
{
    double sum = 0.0;
    dense_encoder_forward(e, x, true);
    for (int64_t i = 0; i < N * OUT; i++) sum += g[i] * e->x[e->cfg.layers][i];
    return sum;
}

static double slope(dense_encoder *e, double *at, const double *x, const double *g)
{
    const double h = 1e-6, middle = *at;
    *at = middle + h;
    double above = objective(e, x, g);
    *at = middle - h;
    double below = objective(e, x, g);
    *at = middle;
    return (above - below) / (2.0 * h);
}

START_TEST(finite_differences)
{
    static dense_encoder e;
    enum { SOME = 40 };
    double x[N * IN], g[N * OUT], x_grad[N * IN], slopes[DENSE_PARAMS];
    for (int kind = 0; kind < KINDS; kind++) {
        pfc_encoder_config c = encoder_config_of(3, kind, pfc_test_ranks());
        c.last_norm = kind % 2;
        dense_encoder_open(&e, &c, pfc_test_ranks());
        for (int64_t i = 0; i < e.params; i++) e.param[i] = 0.5 * pfc_normal(6, i, 0, PFC_STREAM_FILL);
        for (int64_t i = 0; i < N * IN; i++) x[i] = encoder_input(i);
        for (int64_t i = 0; i < N * OUT; i++) g[i] = encoder_gradient(i);
        objective(&e, x, g);
        dense_encoder_backward(&e, g, 1.0, x_grad);
        for (int64_t i = 0; i < e.params; i++) slopes[i] = slope(&e, &e.param[i], x, g);
        ck_assert_msg(distance(slopes, e.grad, e.params) <= 1e-7, "kind %d: %g", kind, distance(slopes, e.grad, e.params));
        for (int64_t i = 0; i < SOME; i++) slopes[i] = slope(&e, &x[i], x, g);
        ck_assert_msg(distance(slopes, x_grad, SOME) <= 1e-7, "kind %d: %g", kind, distance(slopes, x_grad, SOME));
    }
}
END_TEST

/* ---- ranks ---- */

/* Exact mode: what one rank computes with all rows. */
START_TEST(any_number_of_ranks)
{
    int64_t b = N / pfc_test_ranks(), first = b * pfc_test_rank();
    for (int last_norm = 0; last_norm < 2; last_norm++) {
        pfc_encoder_config c = encoder_config(3);
        c.last_norm = last_norm;
        pfc_ctx *alone = encoder_ctx(MPI_COMM_SELF, PFC_EXACT), *all = encoder_ctx(MPI_COMM_WORLD, PFC_EXACT);
        pfc_encoder *one = encoder_make(alone, &c), *many = encoder_make(all, &c);
        encoder_results want, got;
        size_t n = (size_t)pfc_encoder_params(one) * sizeof(double), out = (size_t)(b * OUT) * sizeof(double), in = (size_t)(b * IN) * sizeof(double);
        for (int i = 0; i < 3; i++) {
            encoder_step(alone, one, i, 0, N, &want);
            encoder_step(all, many, i, first, b, &got);
            PFC_AGREE(MPI_COMM_WORLD, memcmp(got.y, want.y + first * OUT, out) == 0);
            PFC_AGREE(MPI_COMM_WORLD, memcmp(got.x_grad, want.x_grad + first * IN, in) == 0);
            PFC_AGREE(MPI_COMM_WORLD, memcmp(got.grad, want.grad, n) == 0 && memcmp(got.param, want.param, n) == 0);
        }
        encoder_forward(alone, one, 3, 0, N, 0, want.y);
        encoder_forward(all, many, 3, first, b, 0, got.y);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(got.y, want.y + first * OUT, out) == 0);
        pfc_encoder_destroy(&one);
        pfc_encoder_destroy(&many);
        pfc_ctx_destroy(&alone);
        pfc_ctx_destroy(&all);
    }
}
END_TEST

/* Fast mode: the same bits again; parameters are the same on all ranks, whatever the ranks' own statistics. */
START_TEST(fast_bits)
{
    int64_t b = N / pfc_test_ranks(), first = b * pfc_test_rank();
    for (int kind = 0; kind < KINDS; kind++) {
        pfc_encoder_config c = encoder_config_of(2, kind, pfc_test_ranks());
        pfc_ctx *ctx = encoder_ctx(MPI_COMM_WORLD, PFC_FAST);
        encoder_results r[2];
        double root[DENSE_PARAMS];
        memset(r, 0, sizeof r);
        for (int k = 0; k < 2; k++) {
            pfc_encoder *e = encoder_make(ctx, &c);
            for (int i = 0; i < 3; i++) encoder_step(ctx, e, i, first, b, &r[k]);
            pfc_encoder_destroy(&e);
        }
        memcpy(root, r[0].param, sizeof root);
        MPI_Bcast(root, DENSE_PARAMS, MPI_DOUBLE, 0, MPI_COMM_WORLD);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(&r[0], &r[1], sizeof r[0]) == 0 && memcmp(root, r[0].param, sizeof root) == 0);
        pfc_ctx_destroy(&ctx);
    }
}
END_TEST

/* Evaluation by rank 0's statistics on every rank, whatever rows each has; the ranks go on with them. */
START_TEST(evaluation)
{
    int64_t b = N / pfc_test_ranks(), first = b * pfc_test_rank();
    for (int kind = 0; kind < KINDS; kind++) {
        pfc_encoder_config c = encoder_config_of(2, kind, pfc_test_ranks());
        pfc_ctx *ctx = encoder_ctx(MPI_COMM_WORLD, PFC_EXACT);
        pfc_encoder *e = encoder_make(ctx, &c);
        encoder_results r;
        double some[DENSE_SIZE], all[DENSE_SIZE], root[DENSE_SIZE];
        int64_t rows = pfc_test_rank() * 5 % N; /* none on rank 0 */
        encoder_step(ctx, e, 0, first, b, &r);
        encoder_forward(ctx, e, 1, 0, rows, 0, some);
        encoder_forward(ctx, e, 1, 0, N, 0, all);
        memcpy(root, all, sizeof root);
        MPI_Bcast(root, N * OUT, MPI_DOUBLE, 0, MPI_COMM_WORLD);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(all, root, (size_t)(N * OUT) * sizeof *all) == 0);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(all, some, (size_t)(rows * OUT) * sizeof *all) == 0);
        pfc_encoder_destroy(&e);
        pfc_ctx_destroy(&ctx);
    }
}
END_TEST

/* Ranks with other rows than the others, and with none, where batch norm allows it: every element counts the same. */
START_TEST(unequal_ranks)
{
    int ranks = pfc_test_ranks(), rank = pfc_test_rank();
    if (ranks == 1) return;
    int64_t b = rank == 0 ? 0 : (rank < ranks - 1 ? 1 : N - (ranks - 2)), first = rank == 0 ? 0 : rank - 1;
    pfc_encoder_config c = encoder_config(3);
    c.norm.weighting = PFC_BN_COUNT;
    pfc_ctx *alone = encoder_ctx(MPI_COMM_SELF, PFC_EXACT), *all = encoder_ctx(MPI_COMM_WORLD, PFC_EXACT);
    pfc_encoder *one = encoder_make(alone, &c), *many = encoder_make(all, &c);
    encoder_results want, got;
    size_t n = (size_t)pfc_encoder_params(one) * sizeof(double);
    for (int i = 0; i < 2; i++) {
        encoder_step(alone, one, i, 0, N, &want);
        encoder_step(all, many, i, first, b, &got);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(got.y, want.y + first * OUT, (size_t)(b * OUT) * sizeof(double)) == 0);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(got.grad, want.grad, n) == 0 && memcmp(got.param, want.param, n) == 0);
    }
    pfc_encoder_destroy(&one);
    pfc_encoder_destroy(&many);
    pfc_ctx_destroy(&alone);
    pfc_ctx_destroy(&all);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(plain_loops), PFC_ONCE(finite_differences), PFC_ONCE(any_number_of_ranks), PFC_ONCE(fast_bits), PFC_ONCE(evaluation), PFC_ONCE(unequal_ranks),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
