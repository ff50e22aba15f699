/* test_encoder.c: the encoder through the public interface: against plain loops in double and finite differences, the same bits on any number of ranks, ranks
 * without rows, checkpoints, refusals. */
#include "dense_encoder.h"
#include "pfc_test.h"

#include <math.h>
#include <pfc/pfc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { IN = 5, OUT = 4, N = DENSE_ROWS };

/* What a step gives on this rank; gradients and parameters are those of all. */
typedef struct results {
    double y[DENSE_SIZE], x_grad[DENSE_SIZE], grad[DENSE_PARAMS], param[DENSE_PARAMS];
} results;

static pfc_ctx *context(MPI_Comm comm, pfc_mode mode)
{
    pfc_options options = { .mode = mode };
    pfc_ctx *ctx = NULL;
    char why[256] = "";
    ck_assert_msg(pfc_ctx_create(comm, &options, &ctx, why, sizeof why) == PFC_OK, "%s", why);
    return ctx;
}

static pfc_encoder_config config(int64_t layers)
{
    static const int64_t widths[] = { IN, 7, 6, OUT };
    pfc_encoder_config c = pfc_encoder_defaults();
    c.layers = layers;
    memcpy(c.widths, widths, (size_t)layers * sizeof *widths);
    c.widths[layers] = OUT;
    c.weight_decay = 0.01;
    c.norm.momentum = 0.25;
    c.norm.eps = 0.125;
    c.seed = 5;
    return c;
}

static pfc_encoder *encoder(pfc_ctx *ctx, const pfc_encoder_config *c)
{
    pfc_encoder *e = NULL;
    pfc_status st = pfc_encoder_create(ctx, c, &e);
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
    return e;
}

static double input(int64_t i) { return (float)pfc_normal(3, i, 0, PFC_STREAM_FILL); }
static double gradient(int64_t i) { return (float)pfc_normal(4, i, 0, PFC_STREAM_FILL); }

/* Rows [first, first + b) of the batch of a step, through a buffer of the mode's type. */
static void forward(pfc_ctx *ctx, pfc_encoder *e, int step, int64_t first, int64_t b, int training, double *y)
{
    double x[DENSE_SIZE], out[DENSE_SIZE];
    pfc_dtype real = pfc_ctx_real(ctx);
    for (int64_t i = 0; i < b * IN; i++) x[i] = input(step * N * IN + first * IN + i);
    pfc_status st = pfc_encoder_forward(e, pfc_view_make(x, PFC_F64, b, IN), training, pfc_view_make(out, real, b, OUT));
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
    for (int64_t i = 0; i < b * OUT; i++) y[i] = real == PFC_F64 ? out[i] : ((float *)out)[i];
}

static void step(pfc_ctx *ctx, pfc_encoder *e, int number, int64_t first, int64_t b, results *r)
{
    double g[DENSE_SIZE], out[DENSE_SIZE];
    pfc_dtype real = pfc_ctx_real(ctx);
    int64_t n = pfc_encoder_params(e);
    for (int64_t i = 0; i < b * OUT; i++) g[i] = gradient(number * N * OUT + first * OUT + i);
    forward(ctx, e, number, first, b, 1, r->y);
    pfc_status st = pfc_encoder_backward(e, pfc_view_make(g, PFC_F64, b, OUT), 3.0, pfc_view_make(out, real, b, IN));
    if (st == PFC_OK) st = pfc_encoder_get_grads(e, pfc_view_make(r->grad, PFC_F64, 1, n));
    if (st == PFC_OK) st = pfc_encoder_update(e, 0.5);
    if (st == PFC_OK) st = pfc_encoder_get_params(e, pfc_view_make(r->param, PFC_F64, 1, n));
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
    for (int64_t i = 0; i < b * IN; i++) r->x_grad[i] = real == PFC_F64 ? out[i] : ((float *)out)[i];
}

static void dense_step(dense_encoder *e, int number, results *r)
{
    double x[N * IN], g[N * OUT];
    for (int64_t i = 0; i < N * IN; i++) x[i] = input(number * N * IN + i);
    for (int64_t i = 0; i < N * OUT; i++) g[i] = gradient(number * N * OUT + i);
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

enum { KINDS = 4 };

static pfc_encoder_config config_of(int64_t layers, int kind, int ranks)
{
    pfc_encoder_config c = config(layers);
    const pfc_bn_kind kinds[KINDS] = { PFC_BN_SYNC, PFC_BN_PLAIN, PFC_BN_SUB, PFC_BN_SYNC };
    c.norm.kind = kinds[kind];
    if (kind == 2) c.norm.num_splits = DENSE_SPLITS;
    if (kind == 3) c.norm.num_sync_devices = ranks % 2 ? 1 : 2; /* groups */
    return c;
}

/* Two steps, and an evaluation. A parameter near the middle of two float32 numbers may be rounded to the other one. */
static void compare(pfc_mode mode, const pfc_encoder_config *c, double tolerance)
{
    const double rounding = tolerance < 1e-7 ? 1e-7 : tolerance;
    pfc_ctx *ctx = context(MPI_COMM_WORLD, mode);
    pfc_encoder *e = encoder(ctx, c);
    int64_t b = N / pfc_test_ranks(), first = b * pfc_test_rank(), n = pfc_encoder_params(e);
    dense_encoder d;
    results got, want;
    double x[N * IN];
    dense_encoder_open(&d, c, pfc_test_ranks());
    d.round = true;
    PFC_AGREE(MPI_COMM_WORLD, n == d.params && pfc_encoder_get_params(e, pfc_view_make(d.param, PFC_F64, 1, n)) == PFC_OK);
    for (int i = 0; i < 2; i++) {
        step(ctx, e, i, first, b, &got);
        dense_step(&d, i, &want);
        PFC_AGREE(MPI_COMM_WORLD, distance(got.y, want.y + first * OUT, b * OUT) <= tolerance);
        PFC_AGREE(MPI_COMM_WORLD, distance(got.x_grad, want.x_grad + first * IN, b * IN) <= tolerance);
        PFC_AGREE(MPI_COMM_WORLD, distance(got.grad, want.grad, n) <= tolerance);
        PFC_AGREE(MPI_COMM_WORLD, distance(got.param, want.param, n) <= rounding);
        tolerance = rounding;
    }
    for (int64_t i = 0; i < N * IN; i++) x[i] = input(2 * N * IN + i);
    forward(ctx, e, 2, first, b, 0, got.y);
    dense_encoder_forward(&d, x, false);
    PFC_AGREE(MPI_COMM_WORLD, distance(got.y, d.x[c->layers] + first * OUT, b * OUT) <= tolerance);
    pfc_encoder_destroy(&e);
    pfc_ctx_destroy(&ctx);
}

START_TEST(plain_loops)
{
    for (int64_t layers = 1; layers <= 3; layers++)
        for (int kind = 0; kind < KINDS; kind++) {
            pfc_encoder_config c = config_of(layers, kind, pfc_test_ranks());
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
        pfc_encoder_config c = config_of(3, kind, pfc_test_ranks());
        c.last_norm = kind % 2;
        dense_encoder_open(&e, &c, pfc_test_ranks());
        for (int64_t i = 0; i < e.params; i++) e.param[i] = 0.5 * pfc_normal(6, i, 0, PFC_STREAM_FILL);
        for (int64_t i = 0; i < N * IN; i++) x[i] = input(i);
        for (int64_t i = 0; i < N * OUT; i++) g[i] = gradient(i);
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
        pfc_encoder_config c = config(3);
        c.last_norm = last_norm;
        pfc_ctx *alone = context(MPI_COMM_SELF, PFC_EXACT), *all = context(MPI_COMM_WORLD, PFC_EXACT);
        pfc_encoder *one = encoder(alone, &c), *many = encoder(all, &c);
        results want, got;
        size_t n = (size_t)pfc_encoder_params(one) * sizeof(double), out = (size_t)(b * OUT) * sizeof(double), in = (size_t)(b * IN) * sizeof(double);
        for (int i = 0; i < 3; i++) {
            step(alone, one, i, 0, N, &want);
            step(all, many, i, first, b, &got);
            PFC_AGREE(MPI_COMM_WORLD, memcmp(got.y, want.y + first * OUT, out) == 0);
            PFC_AGREE(MPI_COMM_WORLD, memcmp(got.x_grad, want.x_grad + first * IN, in) == 0);
            PFC_AGREE(MPI_COMM_WORLD, memcmp(got.grad, want.grad, n) == 0 && memcmp(got.param, want.param, n) == 0);
        }
        forward(alone, one, 3, 0, N, 0, want.y);
        forward(all, many, 3, first, b, 0, got.y);
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
        pfc_encoder_config c = config_of(2, kind, pfc_test_ranks());
        pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_FAST);
        results r[2];
        double root[DENSE_PARAMS];
        memset(r, 0, sizeof r);
        for (int k = 0; k < 2; k++) {
            pfc_encoder *e = encoder(ctx, &c);
            for (int i = 0; i < 3; i++) step(ctx, e, i, first, b, &r[k]);
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
        pfc_encoder_config c = config_of(2, kind, pfc_test_ranks());
        pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT);
        pfc_encoder *e = encoder(ctx, &c);
        results r;
        double some[DENSE_SIZE], all[DENSE_SIZE], root[DENSE_SIZE];
        int64_t rows = pfc_test_rank() * 5 % N; /* none on rank 0 */
        step(ctx, e, 0, first, b, &r);
        forward(ctx, e, 1, 0, rows, 0, some);
        forward(ctx, e, 1, 0, N, 0, all);
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
    pfc_encoder_config c = config(3);
    c.norm.weighting = PFC_BN_COUNT;
    pfc_ctx *alone = context(MPI_COMM_SELF, PFC_EXACT), *all = context(MPI_COMM_WORLD, PFC_EXACT);
    pfc_encoder *one = encoder(alone, &c), *many = encoder(all, &c);
    results want, got;
    size_t n = (size_t)pfc_encoder_params(one) * sizeof(double);
    for (int i = 0; i < 2; i++) {
        step(alone, one, i, 0, N, &want);
        step(all, many, i, first, b, &got);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(got.y, want.y + first * OUT, (size_t)(b * OUT) * sizeof(double)) == 0);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(got.grad, want.grad, n) == 0 && memcmp(got.param, want.param, n) == 0);
    }
    pfc_encoder_destroy(&one);
    pfc_encoder_destroy(&many);
    pfc_ctx_destroy(&alone);
    pfc_ctx_destroy(&all);
}
END_TEST

/* ---- parameters ---- */

START_TEST(parameters)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT);
    pfc_encoder_config c = config(2);
    pfc_encoder *e = encoder(ctx, &c), *other;
    double p[DENSE_PARAMS], q[DENSE_PARAMS];
    int64_t n = pfc_encoder_params(e), norm = 7 * IN, second = norm + 14;
    ck_assert(n == 7 * IN + 14 + OUT * 7 + 2 * OUT);
    ck_assert(pfc_encoder_get_params(e, pfc_view_make(p, PFC_F64, 1, n)) == PFC_OK);
    for (int64_t i = 0; i < 7 * IN; i++) ck_assert(p[i] == (float)((2.0 * pfc_uniform(5, i, 0, PFC_STREAM_ENCODER) - 1.0) * (1.0 / sqrt(IN))));
    for (int64_t i = 0; i < OUT * 7; i++) ck_assert(p[second + i] == (float)((2.0 * pfc_uniform(5, i, 1, PFC_STREAM_ENCODER) - 1.0) * (1.0 / sqrt(7.0))));
    for (int64_t i = 0; i < 14; i++) ck_assert(p[norm + i] == (i < 7 ? 1.0 : 0.0));

    p[3] = 0.1; /* no float32 number */
    ck_assert(pfc_encoder_set_params(e, pfc_view_make(p, PFC_F64, 1, n)) == PFC_OK && pfc_encoder_get_params(e, pfc_view_make(q, PFC_F64, 1, n)) == PFC_OK);
    ck_assert(q[3] == 0.1f && q[4] == p[4]);
    for (int64_t i = 0; i < 7; i++) p[norm + i] = 0.0, p[norm + 7 + i] = 0.5; /* batch norm hears of it: all hidden values are 0.5 */
    other = encoder(ctx, &c);
    float f[DENSE_PARAMS];
    for (int64_t i = 0; i < n; i++) f[i] = (float)p[i];
    ck_assert(pfc_encoder_set_params(other, pfc_view_make(f, PFC_F32, 1, n)) == PFC_OK);
    double y[DENSE_SIZE];
    forward(ctx, other, 0, 0, 2, 0, y);
    ck_assert(memcmp(y, y + OUT, OUT * sizeof *y) == 0);
    pfc_encoder_destroy(&e);
    pfc_encoder_destroy(&other);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- checkpoints ---- */

static char path[1100];

static pfc_status write_state(pfc_ctx *ctx, pfc_encoder *e)
{
    pfc_item items[PFC_ENCODER_ITEMS];
    int count = 0;
    pfc_status st = pfc_encoder_items(e, "encoder", items, PFC_ENCODER_ITEMS, &count);
    return st == PFC_OK ? pfc_checkpoint_write(ctx, path, items, count) : st;
}

static pfc_status read_state(pfc_ctx *ctx, pfc_encoder *e)
{
    pfc_item items[PFC_ENCODER_ITEMS];
    int count = 0;
    pfc_status st = pfc_encoder_items(e, "encoder", items, PFC_ENCODER_ITEMS, &count);
    if (st == PFC_OK) st = pfc_checkpoint_read(ctx, path, items, count);
    return st == PFC_OK ? pfc_encoder_restore(e) : st;
}

/* 2 steps, a checkpoint, 2 steps: the bits of 4 steps. Where every rank has statistics of its own, all go on with rank 0's. */
START_TEST(checkpoints)
{
    int64_t b = N / pfc_test_ranks(), first = b * pfc_test_rank();
    for (int i = 0; i < 2 * KINDS; i++) {
        pfc_encoder_config c = config_of(2, i / 2, pfc_test_ranks());
        c.last_norm = i % 2;
        pfc_ctx *ctx = context(MPI_COMM_WORLD, i % 2 ? PFC_EXACT : PFC_FAST);
        pfc_encoder *e = encoder(ctx, &c), *f;
        results want, got;
        for (int k = 0; k < 2; k++) step(ctx, e, k, first, b, &want);
        PFC_AGREE(MPI_COMM_WORLD, write_state(ctx, e) == PFC_OK);
        for (int k = 2; k < 4; k++) step(ctx, e, k, first, b, &want);
        forward(ctx, e, 4, first, b, 0, want.y);
        c.seed = 99;
        f = encoder(ctx, &c);
        step(ctx, f, 7, first, b, &got);
        pfc_status st = read_state(ctx, f);
        ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
        for (int k = 2; k < 4; k++) step(ctx, f, k, first, b, &got);
        forward(ctx, f, 4, first, b, 0, got.y);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(got.y, want.y, (size_t)(b * OUT) * sizeof(double)) == 0);
        PFC_AGREE(MPI_COMM_WORLD, memcmp(got.param, want.param, (size_t)pfc_encoder_params(e) * sizeof(double)) == 0);
        pfc_encoder_destroy(&e);
        pfc_encoder_destroy(&f);
        pfc_ctx_destroy(&ctx);
    }
}
END_TEST

/* Another shape, other statistics: refused, and the encoder is as it was. */
START_TEST(refused_checkpoints)
{
    int64_t b = N / pfc_test_ranks(), first = b * pfc_test_rank();
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT);
    pfc_encoder_config c = config(3), others[3] = { config(3), config(2), config(3) };
    pfc_encoder *e = encoder(ctx, &c), *same = encoder(ctx, &c);
    results want, got;
    others[0].widths[1] = 8;
    others[2].last_norm = 0;
    for (int k = 0; k < 2; k++) step(ctx, e, k, first, b, &got), step(ctx, same, k, first, b, &want);
    for (int i = 0; i < 3; i++) {
        pfc_encoder *other = encoder(ctx, &others[i]);
        PFC_AGREE(MPI_COMM_WORLD, write_state(ctx, other) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, read_state(ctx, e) == PFC_ERR_DATA);
        if (i == 0) ck_assert_msg(strstr(pfc_ctx_error(ctx), "encoder.0.weight: found (8,5), expected (7,5)") != NULL, "%s", pfc_ctx_error(ctx));
        pfc_encoder_destroy(&other);
    }
    step(ctx, e, 2, first, b, &got), step(ctx, same, 2, first, b, &want);
    PFC_AGREE(MPI_COMM_WORLD, memcmp(got.y, want.y, (size_t)(b * OUT) * sizeof(double)) == 0);
    PFC_AGREE(MPI_COMM_WORLD, memcmp(got.param, want.param, (size_t)pfc_encoder_params(e) * sizeof(double)) == 0);

    pfc_item items[4];
    int count = 0;
    ck_assert(pfc_encoder_items(e, "encoder", items, 4, &count) == PFC_ERR_ARG && count == 0);
    ck_assert(pfc_encoder_items(e, "a name that is much too long", items, 4, &count) == PFC_ERR_ARG);
    pfc_encoder_destroy(&e);
    pfc_encoder_destroy(&same);
    e = encoder(ctx, &c);
    ck_assert(pfc_encoder_restore(e) == PFC_ERR_ARG);
    pfc_encoder_destroy(&e);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- refusals ---- */

static bool refused(pfc_ctx *ctx, pfc_status got, pfc_status want, const char *text)
{
    if (got == want && strstr(pfc_ctx_error(ctx), text)) return true;
    fprintf(stderr, "# status %d, text: %s\n", (int)got, pfc_ctx_error(ctx));
    return false;
}

START_TEST(bad_settings)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT);
    pfc_encoder *e = NULL;
    pfc_encoder_config c = pfc_encoder_defaults();
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "layers: found 0") && !e);
    c = config(2), c.layers = 9;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "layers: found 9, expected 1 to 8"));
    c = config(2), c.widths[1] = 0;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "widths: found 0"));
    c = config(2), c.widths[0] = (1 << 24) + 1;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "widths"));
    c = config(2), c.momentum = NAN;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "momentum"));
    c = config(2), c.weight_decay = INFINITY;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "weight_decay"));
    c = config(2), c.momentum = 0.0, c.nesterov = 1;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "nesterov"));
    c = config(2), c.norm.eps = NAN;
    ck_assert(refused(ctx, pfc_encoder_create(ctx, &c, &e), PFC_ERR_ARG, "eps"));
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(bad_calls)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT);
    pfc_encoder_config c = config(2);
    pfc_encoder *e = encoder(ctx, &c);
    static double x[DENSE_SIZE], y[DENSE_SIZE];
    int64_t n = pfc_encoder_params(e);
    pfc_view in = pfc_view_make(x, PFC_F64, 4, IN), out = pfc_view_make(y, PFC_F64, 4, OUT), none = pfc_view_make(NULL, PFC_F64, 0, 0);
    for (int i = 0; i < 4 * IN; i++) x[i] = input(i);
    bool ok = refused(ctx, pfc_encoder_backward(e, out, 1.0, none), PFC_ERR_ARG, "no training forward");
    ok = ok && refused(ctx, pfc_encoder_update(e, 0.1), PFC_ERR_ARG, "no backward");
    ok = ok && refused(ctx, pfc_encoder_get_grads(e, pfc_view_make(y, PFC_F64, 1, n)), PFC_ERR_ARG, "no backward");
    ok = ok && refused(ctx, pfc_encoder_get_params(e, pfc_view_make(y, PFC_F64, 1, n + 1)), PFC_ERR_SHAPE, "params: found");
    ok = ok && refused(ctx, pfc_encoder_set_params(e, pfc_view_make(y, PFC_I64, 1, n)), PFC_ERR_SHAPE, "params: found");
    ok = ok && refused(ctx, pfc_encoder_forward(e, pfc_view_make(x, PFC_F64, 4, IN + 1), 1, out), PFC_ERR_SHAPE, "x: found (4,6), expected (4,5)");
    ok = ok && refused(ctx, pfc_encoder_forward(e, in, 1, pfc_view_make(y, PFC_F32, 4, OUT)), PFC_ERR_SHAPE, "y: found another element type");
    ok = ok && refused(ctx, pfc_encoder_forward(e, in, 1, pfc_view_make(y, PFC_F64, 3, OUT)), PFC_ERR_SHAPE, "y: found (3,4), expected (4,4)");
    ok = ok && refused(ctx, pfc_encoder_forward(e, pfc_view_make(NULL, PFC_F64, 4, IN), 1, out), PFC_ERR_SHAPE, "x: found no data");
    PFC_AGREE(MPI_COMM_WORLD, ok);
    PFC_AGREE(MPI_COMM_WORLD, pfc_encoder_forward(e, in, 0, out) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, refused(ctx, pfc_encoder_backward(e, out, 1.0, none), PFC_ERR_ARG, "no training forward"));
    PFC_AGREE(MPI_COMM_WORLD, pfc_encoder_forward(e, in, 1, out) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, refused(ctx, pfc_encoder_backward(e, out, 0.0, none), PFC_ERR_ARG, "divisor: found 0"));
    PFC_AGREE(MPI_COMM_WORLD, refused(ctx, pfc_encoder_backward(e, in, 1.0, none), PFC_ERR_SHAPE, "grad_y: found (4,5), expected (4,4)"));
    PFC_AGREE(MPI_COMM_WORLD, refused(ctx, pfc_encoder_backward(e, out, 1.0, out), PFC_ERR_SHAPE, "x_grad: found (4,4), expected (4,5)"));
    PFC_AGREE(MPI_COMM_WORLD, pfc_encoder_backward(e, out, 1.0, none) == PFC_OK && pfc_encoder_update(e, 0.1) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, refused(ctx, pfc_encoder_update(e, 0.1), PFC_ERR_ARG, "not used up"));

    PFC_AGREE(MPI_COMM_WORLD, pfc_encoder_forward(e, in, 1, out) == PFC_OK && pfc_encoder_set_params(e, pfc_view_make(x, PFC_F64, 1, n)) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, refused(ctx, pfc_encoder_backward(e, out, 1.0, none), PFC_ERR_ARG, "no training forward")); /* other weights by now */

    /* One row of all ranks: batch norm's own refusal, the same on all ranks; the encoder can go on. */
    in.rows = out.rows = pfc_test_rank() == 0;
    pfc_status st = pfc_encoder_forward(e, in, 1, out);
    PFC_AGREE(MPI_COMM_WORLD, st == PFC_ERR_SHAPE);
    in.rows = out.rows = 4;
    PFC_AGREE(MPI_COMM_WORLD, pfc_encoder_forward(e, in, 1, out) == PFC_OK);
    pfc_encoder_destroy(&e);
    pfc_encoder_destroy(&e);
    pfc_ctx_destroy(&ctx);
}
END_TEST

static Suite *make(void)
{
    Suite *s = suite_create("encoder");
    const TTest *tests[] = { plain_loops, finite_differences, any_number_of_ranks, fast_bits,    evaluation, unequal_ranks,
                             parameters,  checkpoints,        refused_checkpoints, bad_settings, bad_calls };
    for (size_t i = 0; i < sizeof tests / sizeof *tests; i++) {
        TCase *tc = tcase_create(tests[i]->name);
        tcase_set_timeout(tc, 0);
        tcase_add_test(tc, tests[i]);
        suite_add_tcase(s, tc);
    }
    char folder[900];
    if (!getcwd(folder, sizeof folder)) return s;
    snprintf(path, sizeof path, "%s/tests/test_encoder-%d.h5", folder, pfc_test_ranks());
    return s;
}

int main(int argc, char **argv)
{
    int status = pfc_test_main(&argc, &argv, make);
    unlink(path);
    return status;
}
