/* test_batch_norm.c: batch norm and GroupGather from the library: numbers of semantics.md 10.8 and 10.9, invariants 24 to 27 of section 9, gradients against
 * finite differences, running statistics, selection by name. On any number of ranks. */
#include "batch_norm_problem.h"
#include "core/ctx.h"
#include "pfc_test.h"

#include <math.h>
#include <pfc/pfc.h>
#include <stdlib.h>
#include <string.h>

enum { N = 24, C = 3, L = 5, SAMPLE = C * L }; /* of the whole batch; 1, 2, 3 and 8 ranks divide N, 5 ranks do not */

static double gen(int seed, int i) { return sin(1.0 + 0.7 * i + 1.3 * seed); } /* semantics 10 */

/* ---- 10.9: two splits on one rank ---- */

START_TEST(golden_sub)
{
    static const double rm[] = { .065451198336, -.047591420919, -.081629154016, .019842872748 },
                        rv[] = { .913252411641, .919788444953, .905549156081, .925846274950 };
    pfc_batch_norm_config cfg = bn_config(PFC_BN_SUB, 2);
    bn b;
    double mean[4], var[4], split_mean[4], split_var[4];
    cfg.num_splits = 2;
    bn_open(&b, bn_ctx(MPI_COMM_SELF, PFC_EXACT, 1), cfg, 4, 2);
    for (int i = 0; i < 16; i++) b.x[i] = gen(30, i);
    /* the layer takes float32; the printed numbers are of doubles, so compare to what float32 keeps */
    ck_assert(bn_forward(&b, 1) == PFC_OK);
    pfc_batch_norm_state s = { .split_mean = pfc_view_make(split_mean, PFC_F64, 4, 1), .split_var = pfc_view_make(split_var, PFC_F64, 4, 1) };
    ck_assert(pfc_batch_norm_get_state(b.layer, &s) == PFC_OK);
    for (int i = 0; i < 4; i++) ck_assert(bn_near(split_mean[i], rm[i], 1e-8) && bn_near(split_var[i], rv[i], 1e-8));
    ck_assert(pfc_batch_norm_aggregate(b.layer) == PFC_OK);
    bn_running(&b, mean, var);
    ck_assert(bn_near(mean[0], -.008088977840, 1e-8) && bn_near(mean[1], -.013874274086, 1e-8) && bn_near(var[0], .914808941373, 1e-8) &&
              bn_near(var[1], .923954205942, 1e-8));
    double once[2] = { mean[0], var[0] };
    ck_assert(pfc_batch_norm_aggregate(b.layer) == PFC_OK); /* twice changes nothing */
    bn_running(&b, mean, var);
    ck_assert(mean[0] == once[0] && var[0] == once[1]);
    bn_close(&b);
}
END_TEST

/* ---- 10.8: group 0 of the four ranks, on the first two ranks of those at hand ---- */

START_TEST(golden_sync)
{
    MPI_Comm two;
    MPI_Comm_split(MPI_COMM_WORLD, pfc_test_rank() / 2, pfc_test_rank(), &two);
    int ranks, rank = pfc_test_rank();
    MPI_Comm_size(two, &ranks);
    if (ranks == 2) {
        pfc_batch_norm_config cfg = bn_config(PFC_BN_SYNC, 2);
        bn b;
        float weight[2] = { 1.5f, -0.5f }, bias[2] = { 0.1f, 0.2f };
        double mean[2], var[2];
        cfg.num_sync_devices = 2;
        bn_open(&b, bn_ctx(two, PFC_EXACT, 1), cfg, 1, 3);
        for (int i = 0; i < 6; i++) b.x[i] = gen(10 + rank % 2, i);
        pfc_batch_norm_state s = { .weight = pfc_view_make(weight, PFC_F32, 2, 1), .bias = pfc_view_make(bias, PFC_F32, 2, 1), .num_batches_tracked = -1 };
        ck_assert(pfc_batch_norm_set_state(b.layer, &s) == PFC_OK);
        ck_assert_msg(bn_forward(&b, 1) == PFC_OK, "%s", pfc_ctx_error(b.ctx));
        bn_running(&b, mean, var);
        ck_assert(bn_near(mean[0], .023519467034, 1e-8) && bn_near(var[0], .939961165577, 1e-8));
        if (rank % 2 == 0) ck_assert(bn_near(b.y[0], 1.8924664065, 1e-6) && bn_near(b.y[1], 1.5487369075, 1e-6) && bn_near(b.y[2], .2611714080, 1e-6));
        bn_close(&b);
    }
    MPI_Comm_free(&two);
}
END_TEST

/* The same numbers on one rank: plain over both ranks' rows, with the running variance as sync has it and as an unbiased rule would. */
START_TEST(golden_sync_alone)
{
    static const double want_var[] = { .939961165577, .947953398693 };
    float weight[2] = { 1.5f, -0.5f }, bias[2] = { 0.1f, 0.2f };
    for (int unbiased = 0; unbiased < 2; unbiased++) {
        pfc_batch_norm_config cfg = bn_config(PFC_BN_PLAIN, 2);
        bn b;
        double mean[2], var[2];
        cfg.running_var = unbiased ? PFC_BN_RUNNING_UNBIASED : PFC_BN_RUNNING_BIASED;
        bn_open(&b, bn_ctx(MPI_COMM_SELF, PFC_EXACT, 1), cfg, 2, 3);
        for (int i = 0; i < 12; i++) b.x[i] = gen(10 + i / 6, i % 6);
        pfc_batch_norm_state s = { .weight = pfc_view_make(weight, PFC_F32, 2, 1), .bias = pfc_view_make(bias, PFC_F32, 2, 1), .num_batches_tracked = -1 };
        ck_assert(pfc_batch_norm_set_state(b.layer, &s) == PFC_OK);
        ck_assert(bn_forward(&b, 1) == PFC_OK);
        bn_running(&b, mean, var);
        ck_assert(bn_near(mean[0], .023519467034, 1e-8) && bn_near(var[0], want_var[unbiased], 1e-8));
        ck_assert(bn_near(b.y[0], 1.8924664065, 1e-6) && bn_near(b.y[1], 1.5487369075, 1e-6) && bn_near(b.y[2], .2611714080, 1e-6));
        bn_close(&b);
    }
}
END_TEST

/* ---- 24: sync over all ranks is plain over the whole batch, the same bits, also of the shared gradients; 25: what a channel sums to ---- */

START_TEST(sync_is_plain_of_all)
{
    pfc_shard part = pfc_shard_of(N, pfc_test_ranks(), pfc_test_rank());
    pfc_batch_norm_config cfg = bn_config(PFC_BN_SYNC, C);
    bn shared, alone;
    cfg.num_sync_devices = 0;
    cfg.weighting = PFC_BN_COUNT; /* 5 ranks have unequal rows */
    cfg.running_var = PFC_BN_RUNNING_UNBIASED;
    bn_open(&alone, bn_ctx(MPI_COMM_SELF, PFC_EXACT, 1), bn_config(PFC_BN_PLAIN, C), N, L);
    bn_open(&shared, bn_ctx(MPI_COMM_WORLD, PFC_EXACT, 1), cfg, part.count, L);
    for (int64_t i = 0; i < N * SAMPLE; i++) alone.x[i] = bn_number(1, i) * (1.0 + (double)(i % 7)), alone.g[i] = bn_number(2, i);
    memcpy(shared.x, alone.x + part.start * SAMPLE, (size_t)(part.count * SAMPLE) * sizeof(double));
    memcpy(shared.g, alone.g + part.start * SAMPLE, (size_t)(part.count * SAMPLE) * sizeof(double));
    bool ok = bn_forward(&alone, 1) == PFC_OK && bn_backward(&alone) == PFC_OK;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    pfc_status st = bn_forward(&shared, 1);
    if (st == PFC_OK) st = bn_backward(&shared);
    PFC_AGREE(MPI_COMM_WORLD, st == PFC_OK);
    double all[2][C];
    const pfc_view x = pfc_view_make(shared.x, PFC_F64, part.count * C, L), g = pfc_view_make(shared.g, PFC_F64, part.count * C, L);
    pfc_batch_norm_result sums = { .shared_weight_grad = pfc_view_make(all[0], PFC_F64, C, 1), .shared_bias_grad = pfc_view_make(all[1], PFC_F64, C, 1) };
    PFC_AGREE(MPI_COMM_WORLD, pfc_batch_norm_backward(shared.layer, x, g, &sums) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, memcmp(all[0], alone.dw, sizeof all[0]) == 0 && memcmp(all[1], alone.db, sizeof all[1]) == 0);
    memset(all, 0, sizeof all); /* and without a group they are this rank's */
    const pfc_view ax = pfc_view_make(alone.x, PFC_F64, N * C, L), ag = pfc_view_make(alone.g, PFC_F64, N * C, L);
    PFC_AGREE(MPI_COMM_WORLD, pfc_batch_norm_backward(alone.layer, ax, ag, &sums) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, memcmp(all[0], alone.dw, sizeof all[0]) == 0 && memcmp(all[1], alone.db, sizeof all[1]) == 0);
    size_t bytes = (size_t)(part.count * SAMPLE) * sizeof(double);
    double sum[2] = { shared.dw[0], shared.db[0] }, mean[2][C], var[2][C];
    MPI_Allreduce(MPI_IN_PLACE, sum, 2, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    bn_running(&alone, mean[0], var[0]);
    bn_running(&shared, mean[1], var[1]);
    ok = memcmp(shared.y, alone.y + part.start * SAMPLE, bytes) == 0 && memcmp(shared.dx, alone.dx + part.start * SAMPLE, bytes) == 0;
    ok = ok && bn_near(sum[0], alone.dw[0], 1e-12) && bn_near(sum[1], alone.db[0], 1e-12);
    ok = ok && memcmp(mean[0], mean[1], sizeof mean[0]) == 0 && memcmp(var[0], var[1], sizeof var[0]) == 0;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    bn_close(&alone);
    bn_close(&shared);
}
END_TEST

/* 25, per channel over the whole group: mean dx = 0, mean dx x^ = A mean(G x^) eps/(v + eps), mean y = bias, var y = weight^2 v/(v + eps). */
START_TEST(what_a_channel_sums_to)
{
    enum { DX, DXH, GXH, Y, YY, SUMS };
    const double eps = 0.25, count = (double)N * L, weight[C] = { 1.5, -0.5, 3.0 }, bias[C] = { 0.125, 0.25, -2.0 };
    pfc_shard part = pfc_shard_of(N, pfc_test_ranks(), pfc_test_rank());
    pfc_batch_norm_config cfg = bn_config(PFC_BN_SYNC, C);
    double mean[C], var[C], s[C][SUMS] = { { 0.0 } };
    double affine[2][C];
    memcpy(affine[0], weight, sizeof weight), memcpy(affine[1], bias, sizeof bias);
    bn b;
    cfg.num_sync_devices = 0;
    cfg.weighting = PFC_BN_COUNT;
    cfg.eps = eps;
    cfg.momentum = 1.0; /* the running statistics are the batch's */
    cfg.running_var = PFC_BN_RUNNING_BIASED;
    bn_open(&b, bn_ctx(MPI_COMM_WORLD, PFC_EXACT, 1), cfg, part.count, L);
    bn_fill(&b, part.start);
    pfc_batch_norm_state state = { .weight = pfc_view_make(affine[0], PFC_F64, C, 1), .bias = pfc_view_make(affine[1], PFC_F64, C, 1) };
    PFC_AGREE(MPI_COMM_WORLD, pfc_batch_norm_set_state(b.layer, &state) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, bn_forward(&b, 1) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, bn_backward(&b) == PFC_OK);
    bn_running(&b, mean, var);
    for (int64_t i = 0; i < part.count * SAMPLE; i++) {
        int64_t c = i / L % C;
        double hat = (b.x[i] - mean[c]) / sqrt(var[c] + eps);
        s[c][DX] += b.dx[i] / count, s[c][DXH] += b.dx[i] * hat / count, s[c][GXH] += b.g[i] * hat / count;
        s[c][Y] += b.y[i] / count, s[c][YY] += (b.y[i] - bias[c]) * (b.y[i] - bias[c]) / count;
    }
    MPI_Allreduce(MPI_IN_PLACE, s, C * SUMS, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (int c = 0; c < C; c++) {
        double a = weight[c] / sqrt(var[c] + eps);
        PFC_AGREE(MPI_COMM_WORLD, bn_near(s[c][DX], 0.0, 1e-14) && bn_near(s[c][DXH], a * s[c][GXH] * eps / (var[c] + eps), 1e-14));
        PFC_AGREE(MPI_COMM_WORLD, bn_near(s[c][Y], bias[c], 1e-13) && bn_near(s[c][YY], weight[c] * weight[c] * var[c] / (var[c] + eps), 1e-13));
    }
    bn_close(&b);
}
END_TEST

/* 26: S splits are S layers on interleaved samples. */
START_TEST(splits_are_layers)
{
    enum { S = 3 };
    pfc_batch_norm_config cfg = bn_config(PFC_BN_SUB, C);
    bn all, one;
    cfg.num_splits = S;
    bn_open(&all, bn_ctx(MPI_COMM_SELF, PFC_EXACT, 1), cfg, N, L);
    bn_fill(&all, 0);
    ck_assert(bn_forward(&all, 1) == PFC_OK && bn_backward(&all) == PFC_OK);
    for (int64_t s = 0; s < S; s++) {
        bn_open(&one, bn_ctx(MPI_COMM_SELF, PFC_EXACT, 1), bn_config(PFC_BN_PLAIN, C), N / S, L);
        for (int64_t i = 0; i < N / S; i++) {
            memcpy(one.x + i * SAMPLE, all.x + (i * S + s) * SAMPLE, SAMPLE * sizeof(double));
            memcpy(one.g + i * SAMPLE, all.g + (i * S + s) * SAMPLE, SAMPLE * sizeof(double));
        }
        ck_assert(bn_forward(&one, 1) == PFC_OK && bn_backward(&one) == PFC_OK);
        for (int64_t i = 0; i < N / S; i++) {
            ck_assert(memcmp(one.y + i * SAMPLE, all.y + (i * S + s) * SAMPLE, SAMPLE * sizeof(double)) == 0);
            for (int64_t j = 0; j < SAMPLE; j++) ck_assert(bn_near(one.dx[i * SAMPLE + j], all.dx[(i * S + s) * SAMPLE + j], 1e-13));
        }
        bn_close(&one);
    }
    bn_close(&all);
}
END_TEST

/* The gradient of sum g y by central differences, over all ranks' losses (the group shares statistics). x moves in float32 steps. */
START_TEST(finite_differences)
{
    pfc_batch_norm_config cfg = bn_config(PFC_BN_SYNC, C);
    bn b;
    int ranks = pfc_test_ranks();
    const double h = 0x1p-10;
    cfg.num_sync_devices = 0;
    cfg.eps = 0.01;
    bn_open(&b, bn_ctx(MPI_COMM_WORLD, PFC_EXACT, 1), cfg, 4, L);
    for (int64_t i = 0; i < 4 * SAMPLE; i++) {
        b.x[i] = rint(bn_number(3, i + 1000 * pfc_test_rank()) * 0x1p10) * 0x1p-10;
        b.g[i] = bn_number(4, i + 1000 * pfc_test_rank());
    }
    PFC_AGREE(MPI_COMM_WORLD, bn_forward(&b, 1) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, bn_backward(&b) == PFC_OK);
    bool ok = true;
    for (int64_t at = 0; at < 4 * SAMPLE; at += 7)
        for (int owner = 0; owner < ranks; owner += 2) {
            double loss[2] = { 0.0, 0.0 };
            for (int side = 0; side < 2; side++) {
                if (owner == pfc_test_rank()) b.x[at] += side ? -2.0 * h : h;
                PFC_AGREE(MPI_COMM_WORLD, bn_forward(&b, 1) == PFC_OK);
                for (int64_t i = 0; i < 4 * SAMPLE; i++) loss[side] += b.g[i] * b.y[i];
            }
            if (owner == pfc_test_rank()) b.x[at] += h;
            MPI_Allreduce(MPI_IN_PLACE, loss, 2, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
            if (owner == pfc_test_rank()) ok = ok && bn_near((loss[0] - loss[1]) / (2.0 * h), b.dx[at], 1e-4);
        }
    PFC_AGREE(MPI_COMM_WORLD, ok);
    bn_close(&b);
}
END_TEST

/* ---- running statistics and evaluation ---- */

START_TEST(running_statistics)
{
    pfc_batch_norm_config cfg = bn_config(PFC_BN_PLAIN, C);
    bn b;
    double mean[C], var[C], want_mean = 0.0, want_var = 0.0;
    cfg.momentum = NAN; /* cumulative average: the mean of the batches' statistics */
    bn_open(&b, bn_ctx(MPI_COMM_SELF, PFC_EXACT, 1), cfg, N, L);
    for (int batch = 0; batch < 3; batch++) {
        double m = 0.0, q = 0.0;
        for (int64_t i = 0; i < N * SAMPLE; i++) b.x[i] = bn_number(10 + batch, i);
        for (int64_t n = 0; n < N; n++)
            for (int64_t l = 0; l < L; l++) m += b.x[n * SAMPLE + l] / (N * L);
        for (int64_t n = 0; n < N; n++)
            for (int64_t l = 0; l < L; l++) q += (b.x[n * SAMPLE + l] - m) * (b.x[n * SAMPLE + l] - m) / (N * L - 1);
        want_mean += m / 3.0, want_var += q / 3.0;
        ck_assert(bn_forward(&b, 1) == PFC_OK);
    }
    bn_running(&b, mean, var);
    ck_assert(bn_near(mean[0], want_mean, 1e-7) && bn_near(var[0], want_var, 1e-7)); /* float32 between steps */
    ck_assert(bn_forward(&b, 0) == PFC_OK);
    double x = b.x[0], y = (x - (double)(float)mean[0]) / sqrt((double)(float)var[0] + cfg.eps);
    ck_assert(bn_near(b.y[0], y, 1e-14));
    for (int64_t i = 0; i < N * SAMPLE; i++) b.g[i] = 1.0;
    ck_assert(bn_backward(&b) == PFC_OK);
    ck_assert(bn_near(b.dx[0], 1.0 / sqrt((double)(float)var[0] + cfg.eps), 1e-14)); /* no terms of the statistics */
    bn_close(&b);
}
END_TEST

/* ---- 27 and the groups of 7.5 ---- */

START_TEST(group_gather_is_its_transpose)
{
    int ranks = pfc_test_ranks(), rank = pfc_test_rank();
    pfc_ctx *ctx = bn_ctx(MPI_COMM_WORLD, PFC_EXACT, 1);
    for (int64_t d = 1; d <= ranks; d++) {
        if (ranks % d) continue;
        double v[4], u[4], Fv[4], Fu[4], dot[2] = { 0.0, 0.0 }, want[4] = { 0.0 };
        for (int i = 0; i < 4; i++) v[i] = bn_number(20, 4 * rank + i), u[i] = bn_number(21, 4 * rank + i);
        int64_t groups = ranks / d;
        PFC_AGREE(MPI_COMM_WORLD, pfc_group_gather(ctx, d, groups, 0, pfc_view_make(v, PFC_F64, 4, 1), pfc_view_make(Fv, PFC_F64, 4, 1)) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, pfc_group_gather(ctx, d, groups, 0, pfc_view_make(u, PFC_F64, 4, 1), pfc_view_make(Fu, PFC_F64, 4, 1)) == PFC_OK);
        bool ok = true;
        int64_t first = groups > 1 ? rank / d * d : 0, count = groups > 1 ? d : ranks;
        for (int i = 0; i < 4; i++) {
            for (int64_t r = first; r < first + count; r++) want[i] += bn_number(20, 4 * r + i);
            ok = ok && bn_near(Fv[i], want[i], 1e-13);
            dot[0] += Fv[i] * u[i], dot[1] += v[i] * Fu[i];
        }
        MPI_Allreduce(MPI_IN_PLACE, dot, 2, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        PFC_AGREE(MPI_COMM_WORLD, ok && bn_near(dot[0], dot[1], 1e-12));
    }
    double one = 1.0;
    pfc_view v = pfc_view_make(&one, PFC_F64, 1, 1);
    PFC_AGREE(MPI_COMM_WORLD, pfc_group_gather(ctx, 1, 1, ranks + 1, v, v) == PFC_ERR_SHAPE); /* ragged */
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- ranks that differ, by the formulas ---- */

/* Mean and variance of ranks with 2, 3, 4, ... samples that all weigh the same (semantics A.9), then x_grad with each rank's own divisor. */
START_TEST(unequal_ranks_of_equal_weight)
{
    int ranks = pfc_test_ranks(), rank = pfc_test_rank();
    const int64_t n = 2 + rank, l = 3, size = n * l;
    pfc_batch_norm_config cfg = bn_config(PFC_BN_SYNC, 1);
    bn b;
    double own[2] = { 0, 0 }, all[2], sums[2] = { 0, 0 };
    cfg.weighting = PFC_BN_EQUAL;
    cfg.num_sync_devices = 0;
    bn_open(&b, bn_ctx(MPI_COMM_WORLD, PFC_EXACT, 1), cfg, n, l);
    bn_fill(&b, 100 * rank);
    PFC_AGREE(MPI_COMM_WORLD, bn_forward(&b, 1) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, bn_backward(&b) == PFC_OK);
    for (int64_t i = 0; i < size; i++) own[0] += b.x[i] / (double)size, own[1] += b.x[i] * b.x[i] / (double)size;
    MPI_Allreduce(own, all, 2, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    double mean = all[0] / ranks, inv = 1.0 / sqrt(all[1] / ranks - mean * mean + cfg.eps), divisor = (double)(size * ranks);
    for (int64_t i = 0; i < size; i++) sums[0] += b.g[i], sums[1] += b.g[i] * (b.x[i] - mean) * inv;
    bool ok = bn_near(b.db[0], sums[0], 1e-12) && bn_near(b.dw[0], sums[1], 1e-12);
    MPI_Allreduce(MPI_IN_PLACE, sums, 2, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
    for (int64_t i = 0; i < size; i++) {
        double unit = (b.x[i] - mean) * inv, dx = inv * (b.g[i] - sums[0] / divisor - unit * sums[1] / divisor);
        ok = ok && bn_near(b.y[i], unit, 1e-12) && bn_near(b.dx[i], dx, 1e-12);
    }
    PFC_AGREE(MPI_COMM_WORLD, ok);
    bn_close(&b);
}
END_TEST

/* ---- state ---- */

enum { SPLITS = 2, UNITS = 2 * SPLITS };

/* Every vector of a layer of two channels and two splits. */
typedef struct vectors {
    double mean[2], var[2], split_mean[UNITS], split_var[UNITS];
} vectors;

static pfc_batch_norm_state views(vectors *v)
{
    return (pfc_batch_norm_state){ .running_mean = pfc_view_make(v->mean, PFC_F64, 2, 1),
                                   .running_var = pfc_view_make(v->var, PFC_F64, 2, 1),
                                   .split_mean = pfc_view_make(v->split_mean, PFC_F64, UNITS, 1),
                                   .split_var = pfc_view_make(v->split_var, PFC_F64, UNITS, 1),
                                   .num_batches_tracked = -1 };
}

/* Training, with statistics of splits that are no float32 numbers or those next to them, then evaluation: the state and y. */
static void train_and_evaluate(bool single, bool aggregate, vectors *after, double *y)
{
    bn b;
    vectors v = { { 0.1, 0.2 }, { 0.7, 0.9 }, { 0.1, 0.2, 0.3, 0.4 }, { 0.7, 0.9, 1.1, 1.3 } };
    pfc_batch_norm_config cfg = bn_config(PFC_BN_SUB, 2);
    double *all = (double *)&v;
    for (size_t i = 0; single && i < sizeof v / sizeof *all; i++) all[i] = (float)all[i];
    pfc_batch_norm_state before = views(&v), s = views(after);
    cfg.num_splits = SPLITS;
    bn_open(&b, bn_ctx(MPI_COMM_WORLD, PFC_EXACT, 1), cfg, 4, 3);
    bn_fill(&b, 0);
    bool ok = pfc_batch_norm_set_state(b.layer, &before) == PFC_OK;
    if (aggregate) { /* what it makes is rounded by the training after it */
        ok = ok && pfc_batch_norm_aggregate(b.layer) == PFC_OK && pfc_batch_norm_get_state(b.layer, &s) == PFC_OK;
        if (single) {
            for (int i = 0; i < 2; i++) after->mean[i] = (float)after->mean[i], after->var[i] = (float)after->var[i];
            ok = ok && pfc_batch_norm_set_state(b.layer, &s) == PFC_OK;
        }
    }
    PFC_AGREE(MPI_COMM_WORLD, ok && bn_forward(&b, 1) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, bn_forward(&b, 0) == PFC_OK && pfc_batch_norm_get_state(b.layer, &s) == PFC_OK);
    memcpy(y, b.y, 24 * sizeof *y);
    bn_close(&b);
}

/* Between two calls a port keeps them in float32. */
START_TEST(statistics_are_float32_between_calls)
{
    for (int aggregate = 0; aggregate < 2; aggregate++) {
        vectors after[2];
        double y[2][24];
        for (int single = 0; single < 2; single++) train_and_evaluate(single, aggregate, &after[single], y[single]);
        ck_assert(memcmp(&after[0], &after[1], sizeof after[0]) == 0 && memcmp(y[0], y[1], sizeof y[0]) == 0);
    }
}
END_TEST

/* ---- 7.1 ---- */

START_TEST(selection)
{
    pfc_batch_norm_config cfg = pfc_batch_norm_defaults();
    ck_assert(pfc_norm_select("batchnorm", 4, 4, &cfg) == PFC_OK && cfg.kind == PFC_BN_PLAIN);
    ck_assert(pfc_norm_select("sub_batchnorm", 4, 2, &cfg) == PFC_OK && cfg.kind == PFC_BN_SUB && cfg.num_splits == 4);
    ck_assert(pfc_norm_select("sync_batchnorm", 4, 2, &cfg) == PFC_OK && cfg.kind == PFC_BN_SYNC && cfg.num_sync_devices == 2);
    ck_assert(pfc_norm_select("layernorm", 4, 2, &cfg) == PFC_ERR_UNSUPPORTED && cfg.kind == PFC_BN_SYNC);
    ck_assert(pfc_norm_multigrid(64, 8, 8, &cfg) == PFC_OK && cfg.kind == PFC_BN_PLAIN);
    ck_assert(pfc_norm_multigrid(16, 8, 8, &cfg) == PFC_OK && cfg.kind == PFC_BN_SYNC && cfg.num_sync_devices == 4);
    ck_assert(pfc_norm_multigrid(256, 8, 8, &cfg) == PFC_OK && cfg.kind == PFC_BN_SUB && cfg.num_splits == 4);
    ck_assert(pfc_norm_multigrid(0, 8, 8, &cfg) == PFC_ERR_ARG);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(golden_sub),
        PFC_ONCE(golden_sync),
        PFC_ONCE(golden_sync_alone),
        PFC_ONCE(what_a_channel_sums_to),
        PFC_ONCE(sync_is_plain_of_all),
        PFC_ONCE(splits_are_layers),
        PFC_ONCE(finite_differences),
        PFC_ONCE(unequal_ranks_of_equal_weight),
        PFC_ONCE(statistics_are_float32_between_calls),
        PFC_ONCE(running_statistics),
        PFC_ONCE(group_gather_is_its_transpose),
        PFC_ONCE(selection),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
