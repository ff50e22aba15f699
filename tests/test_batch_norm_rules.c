/* test_batch_norm_rules.c: batch norm at its edges: results that only some ranks ask for, ranks without rows, NaN and infinities, layers that do not track
 * statistics, threads, refusals with their texts. On any number of ranks, in both modes. */
#include "batch_norm_problem.h"
#include "dense/batch_norm_dense.h"
#include "pfc_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { C = 3, L = 5, ROWS = 4, SIZE = ROWS * C * L };

static const pfc_bn_kind KINDS[] = { PFC_BN_PLAIN, PFC_BN_SUB, PFC_BN_SYNC };

/* A layer of each kind over all ranks; sub with two splits, sync over all ranks. */
static pfc_batch_norm_config any_config(pfc_bn_kind kind)
{
    pfc_batch_norm_config cfg = bn_config(kind, C);
    cfg.num_splits = 2;
    cfg.num_sync_devices = 0;
    return cfg;
}

static void open_filled(bn *b, pfc_mode mode, int threads, pfc_batch_norm_config cfg)
{
    bn_open(b, bn_ctx(MPI_COMM_WORLD, mode, threads), cfg, ROWS, L);
    bn_fill(b, (int64_t)ROWS * pfc_test_rank());
}

static bool same(const double *a, const double *b, int64_t n) { return memcmp(a, b, (size_t)n * sizeof *a) == 0; }
static bool all_are(const double *a, int64_t n, double value)
{
    for (int64_t i = 0; i < n; i++)
        if (a[i] != value) return false;
    return true;
}

/* ---- results that only some ranks ask for ---- */

/* What this rank asked for as in `whole`, the rest as it was before. */
static bool only_asked(const bn *b, const bn *whole, int asked)
{
    return (asked & BN_X_GRAD ? same(b->dx, whole->dx, SIZE) : all_are(b->dx, SIZE, 0.0)) &&
           (asked & BN_WEIGHT_GRAD ? same(b->dw, whole->dw, C) : all_are(b->dw, C, 0.0)) &&
           (asked & BN_BIAS_GRAD ? same(b->db, whole->db, C) : all_are(b->db, C, 0.0));
}

START_TEST(some_ranks_ask)
{
    for (int i = 0; i < 3 * 2 * 2 * 8; i++) {
        pfc_mode mode = i & 1 ? PFC_FAST : PFC_EXACT;
        int training = i >> 1 & 1, asked = ((i >> 2) + pfc_test_rank()) % 8;
        pfc_batch_norm_config cfg = any_config(KINDS[i / 32]);
        bn whole, part;
        open_filled(&whole, mode, 1, cfg);
        open_filled(&part, mode, 1, cfg);
        PFC_AGREE(MPI_COMM_WORLD, bn_forward(&whole, training) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, bn_backward(&whole) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, bn_forward(&part, training) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, bn_backward_part(&part, asked) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, only_asked(&part, &whole, asked));
        bn_close(&whole);
        bn_close(&part);
    }
}
END_TEST

/* ---- ranks without rows ---- */

/* The first rank has no row, the others have all; in a group that counts elements the result is that of the whole batch. */
START_TEST(a_rank_without_rows)
{
    int rank = pfc_test_rank(), ranks = pfc_test_ranks();
    if (ranks == 1) return;
    for (int mode = PFC_EXACT; mode <= PFC_FAST; mode++) {
        pfc_batch_norm_config cfg = any_config(PFC_BN_SYNC);
        bn shared, alone;
        double tolerance = mode == PFC_FAST ? 1e-5 : 1e-14, mean[2][C], var[2][C];
        cfg.weighting = PFC_BN_COUNT;
        cfg.running_var = PFC_BN_RUNNING_UNBIASED;
        bn_open(&shared, bn_ctx(MPI_COMM_WORLD, (pfc_mode)mode, 1), cfg, rank == 0 ? 0 : ROWS, L);
        bn_open(&alone, bn_ctx(MPI_COMM_SELF, (pfc_mode)mode, 1), bn_config(PFC_BN_PLAIN, C), (int64_t)ROWS * (ranks - 1), L);
        bn_fill(&shared, (int64_t)ROWS * (rank - 1));
        bn_fill(&alone, 0);
        bool ok = bn_forward(&alone, 1) == PFC_OK && bn_backward(&alone) == PFC_OK;
        PFC_AGREE(MPI_COMM_WORLD, ok);
        PFC_AGREE(MPI_COMM_WORLD, bn_forward(&shared, 1) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, bn_backward(&shared) == PFC_OK);
        bn_running(&shared, mean[0], var[0]);
        bn_running(&alone, mean[1], var[1]);
        for (int64_t i = 0; rank > 0 && i < SIZE; i++)
            ok = ok && bn_near(shared.y[i], alone.y[(rank - 1) * SIZE + i], tolerance) && bn_near(shared.dx[i], alone.dx[(rank - 1) * SIZE + i], tolerance);
        for (int c = 0; c < C; c++) ok = ok && bn_near(mean[0][c], mean[1][c], tolerance) && bn_near(var[0][c], var[1][c], 4.0 * tolerance);
        if (rank == 0) ok = ok && all_are(shared.dw, C, 0.0) && all_are(shared.db, C, 0.0);
        PFC_AGREE(MPI_COMM_WORLD, ok);
        bn_close(&shared);
        bn_close(&alone);
    }
}
END_TEST

/* A group without a single row gives nothing and keeps its running statistics. */
START_TEST(nobody_has_rows)
{
    if (pfc_test_ranks() == 1) return;
    for (int mode = PFC_EXACT; mode <= PFC_FAST; mode++) {
        pfc_batch_norm_config cfg = any_config(PFC_BN_SYNC);
        double mean[C], var[C];
        bn b;
        cfg.weighting = PFC_BN_COUNT;
        bn_open(&b, bn_ctx(MPI_COMM_WORLD, (pfc_mode)mode, 1), cfg, 0, L);
        PFC_AGREE(MPI_COMM_WORLD, bn_forward(&b, 1) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, bn_backward(&b) == PFC_OK);
        bn_running(&b, mean, var);
        PFC_AGREE(MPI_COMM_WORLD, all_are(mean, C, 0.0) && all_are(var, C, 1.0) && all_are(b.dw, C, 0.0) && all_are(b.db, C, 0.0));
        bn_close(&b);
    }
}
END_TEST

/* ---- NaN and infinities ---- */

/* The dense equations for all ranks of a layer as any_config has it, its results in the order of OUT_*. */
enum { OUT_Y, OUT_DX, OUT_DW, OUT_DB, OUT_COUNT };
typedef struct dense {
    double *x, *g, *out[OUT_COUNT];
} dense;

static double *room(int64_t n) { return calloc((size_t)n + 1, sizeof(double)); }

static void dense_run(const bn *b, pfc_bn_kind kind, dense *d)
{
    int ranks = pfc_test_ranks();
    int64_t units = 2 * C, *rows = calloc((size_t)ranks, sizeof *rows);
    double *extra[] = { room(ranks * C),
                        room(ranks * C),
                        room(ranks * units),
                        room(ranks * units),
                        room(ranks * units),
                        room(ranks * units),
                        room(ranks * units),
                        room(ranks * units),
                        room(ranks),
                        room(ranks),
                        room(2 * units),
                        room(C),
                        room(C) };
    for (int r = 0; r < ranks; r++) rows[r] = ROWS;
    for (int c = 0; c < C; c++) extra[11][c] = 1.0;
    d->x = room(ranks * SIZE), d->g = room(ranks * SIZE);
    for (int i = 0; i < OUT_COUNT; i++) d->out[i] = room(ranks * (i < OUT_DW ? SIZE : C));
    MPI_Allgather(b->x, SIZE, MPI_DOUBLE, d->x, SIZE, MPI_DOUBLE, MPI_COMM_WORLD);
    MPI_Allgather(b->g, SIZE, MPI_DOUBLE, d->g, SIZE, MPI_DOUBLE, MPI_COMM_WORLD);
    pfc_dense_batch_norm p = { .cfg = any_config(kind),
                               .ranks = ranks,
                               .rows = rows,
                               .l = L,
                               .training = true,
                               .x = d->x,
                               .g = d->g,
                               .weight = extra[11],
                               .bias = extra[12],
                               .running_mean = extra[0],
                               .running_var = extra[1],
                               .split_mean = extra[2],
                               .split_var = extra[3],
                               .y = d->out[OUT_Y],
                               .x_grad = d->out[OUT_DX],
                               .weight_grad = d->out[OUT_DW],
                               .bias_grad = d->out[OUT_DB],
                               .mean = extra[4],
                               .var = extra[5],
                               .sum_g = extra[6],
                               .sum_gx = extra[7],
                               .divisor = extra[8],
                               .count = extra[9],
                               .work = extra[10] };
    p.cfg.local_size = p.cfg.num_sync_devices = ranks;
    if (kind != PFC_BN_SUB) p.cfg.num_splits = 1;
    pfc_dense_batch_norm_run(&p);
    for (size_t i = 0; i < sizeof extra / sizeof *extra; i++) free(extra[i]);
    free(rows);
}

static void dense_free(dense *d)
{
    free(d->x), free(d->g);
    for (int i = 0; i < OUT_COUNT; i++) free(d->out[i]);
}

/* NaN where the other is NaN, the same infinity, near elsewhere. */
static bool alike(const double *got, const double *want, int64_t n, double tolerance)
{
    for (int64_t i = 0; i < n; i++) {
        bool fits = isnan(want[i]) ? isnan(got[i]) : isinf(want[i]) ? got[i] == want[i] : fabs(got[i] - want[i]) <= tolerance * (1.0 + fabs(want[i]));
        if (!fits) {
            printf("# element %d: found %.17g, expected %.17g\n", (int)i, got[i], want[i]);
            return false;
        }
    }
    return true;
}

static bool as_dense(const bn *b, const dense *d, double tolerance)
{
    const double *got[] = { b->y, b->dx, b->dw, b->db };
    for (int i = 0; i < OUT_COUNT; i++) {
        int64_t size = i < OUT_DW ? SIZE : C;
        if (!alike(got[i], d->out[i] + pfc_test_rank() * size, size, tolerance)) return false;
    }
    return true;
}

/* One special value in x or g of the last rank's middle channel; a constant channel beside it. The sums of g of a channel share a grid (exact-v1 7.6):
 * beside 3e38 nothing would be left of the other splits'. */
START_TEST(special_values)
{
    static const double values[2][5] = { { NAN, INFINITY, -INFINITY, 3e38, 0.0 }, { NAN, INFINITY, -INFINITY, 1e4, 0.0 } };
    for (int i = 0; i < 3 * 2 * 2 * 5; i++) {
        pfc_bn_kind kind = KINDS[i / 20];
        pfc_mode mode = i & 1 ? PFC_FAST : PFC_EXACT;
        bool in_g = i >> 1 & 1;
        bn b;
        dense d;
        open_filled(&b, mode, 1, any_config(kind));
        for (int64_t n = 0; n < ROWS; n++)
            for (int64_t l = 0; l < L; l++) b.x[(n * C + 2) * L + l] = 0.75;
        if (pfc_test_rank() == pfc_test_ranks() - 1) (in_g ? b.g : b.x)[C * L + L + 2] = (double)(float)values[in_g][i / 4 % 5];
        PFC_AGREE(MPI_COMM_WORLD, bn_forward(&b, 1) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, bn_backward(&b) == PFC_OK);
        dense_run(&b, kind, &d);
        PFC_AGREE(MPI_COMM_WORLD, as_dense(&b, &d, mode == PFC_FAST ? 2e-3 : 1e-9)); /* 1/sqrt(eps) of a constant channel multiplies its errors by 300 */
        dense_free(&d);
        bn_close(&b);
    }
}
END_TEST

/* ---- layers that do not track statistics ---- */

START_TEST(untracked)
{
    for (int i = 0; i < 3 * 2; i++) {
        pfc_mode mode = i & 1 ? PFC_FAST : PFC_EXACT;
        pfc_bn_kind kind = KINDS[i / 2];
        pfc_batch_norm_config cfg = any_config(kind);
        double mean[C], var[C];
        bn with, without, plain;
        open_filled(&with, mode, 1, cfg);
        cfg.track_running_stats = 0;
        open_filled(&without, mode, 1, cfg);
        cfg = bn_config(PFC_BN_PLAIN, C);
        open_filled(&plain, mode, 1, cfg);
        PFC_AGREE(MPI_COMM_WORLD, bn_forward(&with, 1) == PFC_OK && bn_forward(&without, 1) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, bn_backward(&with) == PFC_OK && bn_backward(&without) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, same(with.y, without.y, SIZE) && same(with.dx, without.dx, SIZE)); /* training does not look at them */
        PFC_AGREE(MPI_COMM_WORLD, pfc_batch_norm_aggregate(without.layer) == PFC_OK);
        bn_running(&without, mean, var);
        pfc_batch_norm_state s = { 0 };
        PFC_AGREE(MPI_COMM_WORLD, pfc_batch_norm_get_state(without.layer, &s) == PFC_OK && s.num_batches_tracked == 0);
        PFC_AGREE(MPI_COMM_WORLD, all_are(mean, C, 0.0) && all_are(var, C, 1.0));
        /* evaluation has only the batch of this rank, without splits; its gradient has the terms of the statistics */
        PFC_AGREE(MPI_COMM_WORLD, bn_forward(&without, 0) == PFC_OK && bn_forward(&plain, 1) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, bn_backward(&without) == PFC_OK && bn_backward(&plain) == PFC_OK);
        PFC_AGREE(MPI_COMM_WORLD, same(without.y, plain.y, SIZE) && same(without.dx, plain.dx, SIZE) && same(without.dw, plain.dw, C));
        bn_close(&with);
        bn_close(&without);
        bn_close(&plain);
    }
}
END_TEST

/* ---- doubles ---- */

/* Doubles that are no float32, and larger than any: the layer takes what float32 keeps of them. */
static void make_wide(double *x, float *narrow, int64_t n, int at)
{
    for (int64_t i = 0; i < n; i++) {
        x[i] = bn_number(5, i + at) * 1.1;
        if (i % 31 == 7) x[i] = 1e39;
        narrow[i] = (float)x[i];
    }
}

START_TEST(doubles_are_rounded)
{
    for (int i = 0; i < 3 * 2 * 2; i++) {
        pfc_mode mode = i & 1 ? PFC_FAST : PFC_EXACT;
        int training = i >> 1 & 1;
        bn b;
        open_filled(&b, mode, 1, any_config(KINDS[i / 4]));
        pfc_dtype real = pfc_ctx_real(b.ctx);
        double x[2][SIZE], results[2][2][SIZE];
        float single[2][SIZE];
        memset(results, 0, sizeof results);
        for (int t = 0; t < 2; t++) make_wide(x[t], single[t], SIZE, 100 * t + SIZE * pfc_test_rank());
        for (int f64 = 0; f64 < 2; f64++) {
            pfc_dtype type = f64 ? PFC_F64 : PFC_F32;
            pfc_view in = pfc_view_make(f64 ? (void *)x[0] : single[0], type, ROWS * C, L),
                     g = pfc_view_make(f64 ? (void *)x[1] : single[1], type, ROWS * C, L);
            pfc_batch_norm_result r = { .x_grad = pfc_view_make(results[f64][1], real, ROWS * C, L) };
            PFC_AGREE(MPI_COMM_WORLD, pfc_batch_norm_forward(b.layer, in, training, pfc_view_make(results[f64][0], real, ROWS * C, L)) == PFC_OK);
            PFC_AGREE(MPI_COMM_WORLD, pfc_batch_norm_backward(b.layer, in, g, &r) == PFC_OK);
            pfc_batch_norm_state fresh = { .running_mean = pfc_view_make((double[C]){ 0 }, PFC_F64, C, 1), .num_batches_tracked = 0 };
            PFC_AGREE(MPI_COMM_WORLD, pfc_batch_norm_set_state(b.layer, &fresh) == PFC_OK);
        }
        PFC_AGREE(MPI_COMM_WORLD, memcmp(results[0], results[1], sizeof results[0]) == 0);
        bn_close(&b);
    }
}
END_TEST

START_TEST(gathers_round_doubles)
{
    enum { M = 40 };
    for (int mode = PFC_EXACT; mode <= PFC_FAST; mode++) {
        pfc_ctx *ctx = bn_ctx(MPI_COMM_WORLD, (pfc_mode)mode, 1);
        double x[M], sum[2][M];
        float single[M];
        memset(sum, 0, sizeof sum);
        make_wide(x, single, M, M * pfc_test_rank());
        for (int f64 = 0; f64 < 2; f64++) {
            pfc_view in = pfc_view_make(f64 ? (void *)x : single, f64 ? PFC_F64 : PFC_F32, M, 1), out = pfc_view_make(sum[f64], pfc_ctx_real(ctx), M, 1);
            PFC_AGREE(MPI_COMM_WORLD, pfc_group_gather(ctx, 1, 1, 0, in, out) == PFC_OK);
        }
        PFC_AGREE(MPI_COMM_WORLD, memcmp(sum[0], sum[1], sizeof sum[0]) == 0);
        pfc_ctx_destroy(&ctx);
    }
}
END_TEST

/* ---- refusals ---- */

static bool refused(const bn *b, pfc_status got, pfc_status want, const char *text)
{
    bool ok = got == want && strstr(pfc_ctx_error(b->ctx), text);
    if (!ok) printf("# status %d for %d: '%s', expected '%s'\n", (int)got, (int)want, pfc_ctx_error(b->ctx), text);
    return ok;
}

static void refuse_config(pfc_batch_norm_config cfg, pfc_status want, const char *text)
{
    bn b = { .ctx = bn_ctx(MPI_COMM_WORLD, PFC_EXACT, 1) };
    pfc_status st = pfc_batch_norm_create(b.ctx, &cfg, &b.layer);
    PFC_AGREE(MPI_COMM_WORLD, !b.layer && refused(&b, st, want, text));
    pfc_ctx_destroy(&b.ctx);
}

START_TEST(refused_configurations)
{
    pfc_batch_norm_config cfg = bn_config(PFC_BN_PLAIN, 0);
    char text[128];
    refuse_config(cfg, PFC_ERR_ARG, "channels: found 0, expected 1 or more");
    cfg = bn_config(PFC_BN_SUB, C);
    cfg.num_splits = 0;
    refuse_config(cfg, PFC_ERR_ARG, "num_splits: found 0, expected 1 to 16777216");
    cfg.num_splits = (int64_t)1 << 61; /* times 8 bytes and C: nothing */
    refuse_config(cfg, PFC_ERR_ARG, "num_splits: found 2305843009213693952, expected 1 to 16777216");
    cfg.num_splits = 1 << 24;
    cfg.channels = (int64_t)1 << 37;
    refuse_config(cfg, PFC_ERR_ARG, "channels: found 137438953472 with 16777216 splits");
    cfg = bn_config(PFC_BN_PLAIN, INT64_MAX / 8);
    refuse_config(cfg, PFC_ERR_ARG, "channels: found 1152921504606846975 with 1 splits");
    cfg = bn_config(PFC_BN_PLAIN, C);
    cfg.eps = NAN;
    refuse_config(cfg, PFC_ERR_ARG, "eps: found NaN");
    cfg = bn_config(PFC_BN_PLAIN, C);
    cfg.momentum = INFINITY;
    refuse_config(cfg, PFC_ERR_ARG, "momentum: found an infinity");
    cfg = bn_config(PFC_BN_SYNC, C);
    cfg.num_sync_devices = pfc_test_ranks() + 1;
    snprintf(text, sizeof text, "num_sync_devices: found %d, expected a divisor", pfc_test_ranks() + 1);
    refuse_config(cfg, PFC_ERR_SHAPE, text);
    cfg = bn_config(PFC_BN_SYNC, C);
    cfg.local_size = pfc_test_ranks() + 1;
    snprintf(text, sizeof text, "local_size: found %d, expected a divisor of the number of ranks, %d", pfc_test_ranks() + 1, pfc_test_ranks());
    refuse_config(cfg, PFC_ERR_SHAPE, text);
}
END_TEST

/* The last rank has `rows` rows of `inner`, the others ROWS of L. */
static void refuse_forward(pfc_batch_norm_config cfg, int64_t rows, int64_t inner, pfc_status want, const char *text)
{
    bool last = pfc_test_rank() == pfc_test_ranks() - 1;
    bn b;
    bn_open(&b, bn_ctx(MPI_COMM_WORLD, PFC_EXACT, 1), cfg, last ? rows : ROWS, last ? inner : L);
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, bn_forward(&b, 1), want, text));
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, bn_backward(&b), PFC_ERR_ARG, "backward: found no forward before it"));
    bn_close(&b);
}

START_TEST(refused_batches)
{
    refuse_forward(any_config(PFC_BN_SUB), 3, L, PFC_ERR_SHAPE, "x: found 3 samples on a rank, expected a multiple of num_splits, 2");
    if (pfc_test_ranks() == 1) {
        refuse_forward(any_config(PFC_BN_PLAIN), 1, 1, PFC_ERR_SHAPE, "x: found 1 value per channel on a rank, expected more than 1 when training");
        refuse_forward(any_config(PFC_BN_SYNC), 1, 1, PFC_ERR_SHAPE, "x: found 1 value per channel"); /* a machine of one rank: plain */
    } else {
        refuse_forward(any_config(PFC_BN_PLAIN), ROWS, L + 1, PFC_ERR_SHAPE, "x: found 5 to 6 columns, expected the same on all ranks");
        refuse_forward(any_config(PFC_BN_SYNC), 0, L, PFC_ERR_SHAPE, "x: found no rows on a rank, expected 1 or more");
    }
    refuse_forward(any_config(PFC_BN_PLAIN), 0, L, PFC_ERR_SHAPE, "x: found 0 values per channel on a rank");
}
END_TEST

START_TEST(refused_views)
{
    bn b;
    open_filled(&b, PFC_EXACT, 1, bn_config(PFC_BN_PLAIN, C));
    pfc_view x = pfc_view_make(b.x, PFC_F64, ROWS * C, L), y = pfc_view_make(b.y, PFC_F64, ROWS * C, L), bad = x;
    pfc_batch_norm *layer = b.layer;
    bad.data = NULL;
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_forward(layer, bad, 1, y), PFC_ERR_ARG, "x: found no data"));
    bad = x, bad.rows--;
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_forward(layer, bad, 1, y), PFC_ERR_SHAPE, "x: found (11,5), expected (n*3, L) contiguous"));
    bad = y, bad.rows -= C;
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_forward(layer, x, 1, bad), PFC_ERR_SHAPE, "y: found (9,5), expected that of x, (12,5)"));
    bad = y, bad.dtype = PFC_F32;
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_forward(layer, x, 1, bad), PFC_ERR_SHAPE, "y: found another element type, expected pfc_ctx_real"));
    bad = x, bad.dtype = PFC_I64;
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_forward(layer, bad, 1, y), PFC_ERR_SHAPE, "x: found another element type, expected f32 or f64"));
    PFC_AGREE(MPI_COMM_WORLD, bn_forward(&b, 1) == PFC_OK);
    pfc_batch_norm_result r = { .weight_grad = pfc_view_make(b.dw, PFC_F64, C - 1, 1) };
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_backward(layer, x, x, &r), PFC_ERR_SHAPE, "weight_grad: expected (C,1)"));
    r = (pfc_batch_norm_result){ .bias_grad = pfc_view_make(b.db, PFC_F32, C, 1) };
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_backward(layer, x, x, &r), PFC_ERR_SHAPE, "bias_grad: expected (C,1)"));
    r = (pfc_batch_norm_result){ .shared_weight_grad = pfc_view_make(b.dw, PFC_F64, C + 1, 1) };
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_backward(layer, x, x, &r), PFC_ERR_SHAPE, "shared_weight_grad: expected (C,1)"));
    r = (pfc_batch_norm_result){ .shared_bias_grad = pfc_view_make(b.db, PFC_F64, C, 2) };
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_backward(layer, x, x, &r), PFC_ERR_SHAPE, "shared_bias_grad: expected (C,1)"));
    bad = x, bad.rows -= C;
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_backward(layer, bad, x, &r), PFC_ERR_SHAPE, "x: found (9,5), expected that of the forward"));
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_backward(layer, x, bad, &r), PFC_ERR_SHAPE, "grad_y: found (9,5), expected that of x, (12,5)"));
    bn_close(&b);
}
END_TEST

/* What the last rank alone does wrong, in the middle of the exchanges of a group, all ranks return with its words; and the layer is as it was. */
START_TEST(one_rank_is_refused)
{
    bool last = pfc_test_rank() == pfc_test_ranks() - 1;
    double mean[C];
    bn b;
    open_filled(&b, PFC_EXACT, 1, any_config(PFC_BN_SYNC));
    pfc_batch_norm_state s = { .running_mean = pfc_view_make(mean, PFC_F64, C, 1) };
    pfc_view x = pfc_view_make(b.x, PFC_F64, ROWS * C, L), y = pfc_view_make(b.y, PFC_F64, ROWS * C, L),
             none = { .dtype = PFC_F64, .rows = ROWS * C, .cols = L };
    pfc_view strange = pfc_view_make(b.x, PFC_I64, ROWS * C + 1, L + 1);
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_forward(b.layer, last ? strange : x, 1, y), PFC_ERR_SHAPE, "x: found another element type"));
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_forward(b.layer, x, 1, last ? none : y), PFC_ERR_ARG, "y: found no data"));
    PFC_AGREE(MPI_COMM_WORLD, pfc_batch_norm_get_state(b.layer, &s) == PFC_OK && s.num_batches_tracked == 0 && mean[0] == 0.0);
    PFC_AGREE(MPI_COMM_WORLD, bn_forward(&b, 1) == PFC_OK);
    pfc_batch_norm_result r = { .weight_grad = pfc_view_make(b.dw, PFC_F64, last ? C - 1 : C, 1) };
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_backward(b.layer, x, x, &r), PFC_ERR_SHAPE, "weight_grad: expected (C,1)"));
    PFC_AGREE(MPI_COMM_WORLD, bn_backward(&b) == PFC_OK);
    bn_close(&b);
}
END_TEST

START_TEST(refused_states)
{
    pfc_batch_norm_config cfg = bn_config(PFC_BN_PLAIN, C);
    double v[C] = { 1, 2, 3 };
    pfc_view fits = pfc_view_make(v, PFC_F64, C, 1), two = pfc_view_make(v, PFC_F64, 2, 1);
    pfc_batch_norm_state short_mean = { .running_mean = two }, weight = { .weight = fits }, split = { .split_mean = fits };
    bn b;
    cfg.affine = 0;
    bn_open(&b, bn_ctx(MPI_COMM_WORLD, PFC_EXACT, 1), cfg, ROWS, L);
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_set_state(b.layer, &short_mean), PFC_ERR_SHAPE, "running_mean: found (2,1), expected (3,1)"));
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_set_state(b.layer, &weight), PFC_ERR_ARG, "weight, bias: the layer is not affine"));
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_batch_norm_set_state(b.layer, &split), PFC_ERR_ARG, "split_mean, split_var: only a layer with splits"));
    bn_close(&b);
}
END_TEST

START_TEST(refused_gathers)
{
    bn b = { .ctx = bn_ctx(MPI_COMM_WORLD, PFC_EXACT, 1) };
    double v[2] = { 1, 2 };
    bool last = pfc_test_rank() == pfc_test_ranks() - 1;
    pfc_view fits = pfc_view_make(v, PFC_F64, 2, 1), none = pfc_view_make(last ? NULL : v, PFC_F64, 2, 1);
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_group_gather(b.ctx, 1, 1, 0, none, fits), PFC_ERR_ARG, "in: found no data"));
    PFC_AGREE(MPI_COMM_WORLD, refused(&b, pfc_group_gather(b.ctx, 1, 1, 0, fits, none), PFC_ERR_ARG, "out: found no data"));
    pfc_ctx_destroy(&b.ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(some_ranks_ask),      PFC_ONCE(a_rank_without_rows),   PFC_ONCE(nobody_has_rows),        PFC_ONCE(special_values),  PFC_ONCE(untracked),
        PFC_ONCE(doubles_are_rounded), PFC_ONCE(gathers_round_doubles), PFC_ONCE(refused_configurations), PFC_ONCE(refused_batches), PFC_ONCE(refused_views),
        PFC_ONCE(one_rank_is_refused), PFC_ONCE(refused_states),        PFC_ONCE(refused_gathers),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
