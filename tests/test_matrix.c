/* test_matrix.c: the whole-matrix operations (src/algo/matrix.c and the backend's entries behind it): products against long double, the same bits for
 * every number of ranks, marks of non-finite terms, normalising and back, row softmax. Both modes. */
#include "algo/matrix.h"
#include "pfc_test.h"

#include <math.h>
#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 60, K = 37, D = 19 }; /* ROWS over 1, 2, 3, 5 ranks; K and D are no multiples of a tile */

typedef struct world {
    pfc_ctx *ctx;
    pfc_view a, b, wide; /* (rows of this rank, K), (K, D), (rows of this rank, D) in the table's place */
    int64_t rows, first;
} world;

static double element(int which, int64_t i) { return (double)(float)(pfc_normal(5, i, (uint32_t)which, 77) * (i % 7 == 0 ? 1e-3 : 1.0)); }

static void put(pfc_ctx *ctx, pfc_view v, const double *x)
{
    void *host = malloc((size_t)(v.rows * v.cols) * 8 + 8);
    for (int64_t i = 0; i < v.rows * v.cols; i++) {
        if (v.dtype == PFC_F64)
            ((double *)host)[i] = x[i];
        else
            ((float *)host)[i] = (float)x[i];
    }
    PFC_AGREE(MPI_COMM_WORLD, ctx->be->ops->upload(ctx->be, v.data, host, (size_t)(v.rows * v.cols) * pfc_dtype_size(v.dtype)) == PFC_OK);
    free(host);
}

static double *get(pfc_ctx *ctx, pfc_view v)
{
    double *x = calloc((size_t)(v.rows * v.cols) + 1, sizeof *x);
    pfc_view flat = v;
    flat.rows = v.rows * v.cols;
    PFC_AGREE(MPI_COMM_WORLD, pfc_download_f64(ctx, flat, x) == PFC_OK);
    return x;
}

static void fill(world *w, pfc_view v, int which, int64_t first)
{
    double *x = malloc((size_t)(v.rows * v.cols + 1) * sizeof *x);
    for (int64_t i = 0; i < v.rows * v.cols; i++) x[i] = element(which, first * v.cols + i);
    put(w->ctx, v, x);
    free(x);
}

static void make(world *w, pfc_mode mode, int threads)
{
    w->ctx = pfc_test_ctx(MPI_COMM_WORLD, (pfc_options){ .mode = mode, .threads = threads });
    w->rows = ROWS / pfc_test_ranks();
    w->first = w->rows * pfc_test_rank();
    pfc_dtype real = pfc_ctx_real(w->ctx);
    bool ok = pfc_ws_view(w->ctx, real, w->rows, K, &w->a) == PFC_OK && pfc_ws_view(w->ctx, real, K, D, &w->b) == PFC_OK &&
              pfc_ws_view(w->ctx, real, w->rows, D, &w->wide) == PFC_OK;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    fill(w, w->a, 1, w->first);
    fill(w, w->b, 2, 0);
    fill(w, w->wide, 3, w->first);
}

static void drop(world *w)
{
    pfc_ws_free(w->ctx, &w->a);
    pfc_ws_free(w->ctx, &w->b);
    pfc_ws_free(w->ctx, &w->wide);
    pfc_ctx_destroy(&w->ctx);
}

static bool close_to(double got, long double want, long double size, pfc_mode mode)
{
    return fabsl(got - want) <= (mode == PFC_EXACT ? 0x1p-52L : 0x1p-20L) * size;
}

/* wide b^T, a b and a^T wide (over all ranks) against plain sums. */
static void products(pfc_mode mode)
{
    world w;
    pfc_view nt = { 0 }, nn = { 0 }, tn = { 0 };
    pfc_matrix b, wide;
    make(&w, mode, 1);
    pfc_dtype real = pfc_ctx_real(w.ctx);
    bool ok = pfc_ws_view(w.ctx, real, w.rows, K, &nt) == PFC_OK && pfc_ws_view(w.ctx, real, w.rows, D, &nn) == PFC_OK &&
              pfc_ws_view(w.ctx, real, K, D, &tn) == PFC_OK && pfc_matrix_make(w.ctx, w.b, &b) == PFC_OK && pfc_matrix_make(w.ctx, w.wide, &wide) == PFC_OK;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    ok = pfc_product_nt(w.ctx, &wide, &b, nt) == PFC_OK && pfc_product_nn(w.ctx, w.a, &b, nn) == PFC_OK;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    PFC_AGREE(MPI_COMM_WORLD, pfc_product_tn(w.ctx, w.a, &wide, true, tn) == PFC_OK);
    double *xnt = get(w.ctx, nt), *xnn = get(w.ctx, nn), *xtn = get(w.ctx, tn);
    for (int64_t n = 0; n < w.rows; n++)
        for (int64_t k = 0; k < K; k++) {
            long double sum = 0, size = 0;
            for (int64_t d = 0; d < D; d++) {
                long double t = (long double)element(3, (w.first + n) * D + d) * element(2, k * D + d);
                sum += t, size += fabsl(t);
            }
            ok = ok && close_to(xnt[n * K + k], sum, size, mode);
        }
    PFC_AGREE(MPI_COMM_WORLD, ok);
    for (int64_t n = 0; n < w.rows; n++)
        for (int64_t d = 0; d < D; d++) {
            long double sum = 0, size = 0;
            for (int64_t k = 0; k < K; k++) {
                long double t = (long double)element(1, (w.first + n) * K + k) * element(2, k * D + d);
                sum += t, size += fabsl(t);
            }
            ok = ok && close_to(xnn[n * D + d], sum, size, mode);
        }
    PFC_AGREE(MPI_COMM_WORLD, ok);
    for (int64_t k = 0; k < K; k++)
        for (int64_t d = 0; d < D; d++) {
            long double sum = 0, size = 0;
            for (int64_t n = 0; n < ROWS; n++) {
                long double t = (long double)element(1, n * K + k) * element(3, n * D + d);
                sum += t, size += fabsl(t);
            }
            ok = ok && close_to(xtn[k * D + d], sum, size, mode);
        }
    PFC_AGREE(MPI_COMM_WORLD, ok);
    free(xnt), free(xnn), free(xtn);
    pfc_matrix_free(w.ctx, &b), pfc_matrix_free(w.ctx, &wide);
    pfc_ws_free(w.ctx, &nt), pfc_ws_free(w.ctx, &nn), pfc_ws_free(w.ctx, &tn);
    drop(&w);
}

START_TEST(products_exact)
{
    products(PFC_EXACT);
}
END_TEST
START_TEST(products_fast)
{
    products(PFC_FAST);
}
END_TEST

/* a^T wide over all ranks, on the ranks at hand and on one rank alone with all rows. */
static void transposed(pfc_ctx *ctx, int64_t first, int64_t rows, bool over_ranks, double *out)
{
    pfc_view a = { 0 }, wide = { 0 }, tn = { 0 };
    pfc_matrix m;
    world w = { .ctx = ctx };
    bool ok = pfc_ws_view(ctx, PFC_F64, rows, K, &a) == PFC_OK && pfc_ws_view(ctx, PFC_F64, rows, D, &wide) == PFC_OK &&
              pfc_ws_view(ctx, PFC_F64, K, D, &tn) == PFC_OK;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    fill(&w, a, 1, first);
    fill(&w, wide, 3, first);
    PFC_AGREE(MPI_COMM_WORLD, pfc_matrix_make(ctx, wide, &m) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, pfc_product_tn(ctx, a, &m, over_ranks, tn) == PFC_OK);
    double *x = get(ctx, tn);
    memcpy(out, x, sizeof *x * K * D);
    free(x);
    pfc_matrix_free(ctx, &m);
    pfc_ws_free(ctx, &a), pfc_ws_free(ctx, &wide), pfc_ws_free(ctx, &tn);
}

START_TEST(same_bits_on_any_ranks)
{
    static double together[K * D], alone[K * D];
    pfc_ctx *ctx = pfc_test_ctx(MPI_COMM_WORLD, (pfc_options){ PFC_EXACT, NULL, "dgemm", 2, 1 }), *self = pfc_test_ctx(MPI_COMM_SELF, (pfc_options){ 0 });
    int64_t rows = ROWS / pfc_test_ranks();
    transposed(ctx, rows * pfc_test_rank(), rows, true, together);
    transposed(self, 0, ROWS, false, alone);
    PFC_AGREE(MPI_COMM_WORLD, memcmp(together, alone, sizeof alone) == 0);
    pfc_ctx_destroy(&ctx);
    pfc_ctx_destroy(&self);
}
END_TEST

/* A NaN in row 1 of b reaches column 1 of the product, an infinity of a its row; a product of infinity and 0 is NaN. */
static void marks(pfc_mode mode)
{
    world w;
    pfc_view out = { 0 };
    pfc_matrix b;
    make(&w, mode, 1);
    double bad[K * D], *row = calloc((size_t)(w.rows * K), sizeof *row);
    for (int64_t i = 0; i < K * D; i++) bad[i] = i / D == 1 ? (double)NAN : i / D == 2 ? 0.0 : 1.0;
    for (int64_t i = 0; i < w.rows * K; i++) row[i] = i == 0 ? (double)INFINITY : i % K == 1 ? 0.0 : 1.0;
    put(w.ctx, w.b, bad);
    put(w.ctx, w.a, row);
    PFC_AGREE(MPI_COMM_WORLD, pfc_ws_view(w.ctx, pfc_ctx_real(w.ctx), w.rows, D, &out) == PFC_OK && pfc_matrix_make(w.ctx, w.b, &b) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, pfc_product_nn(w.ctx, w.a, &b, out) == PFC_OK);
    double *x = get(w.ctx, out);
    bool ok = true;
    for (int64_t i = 0; i < w.rows * D; i++) ok = ok && isnan(x[i]); /* 0 * NaN */
    PFC_AGREE(MPI_COMM_WORLD, ok);
    free(x);
    for (int64_t d = 0; d < D; d++) bad[D + d] = 1.0;
    put(w.ctx, w.b, bad);
    pfc_matrix_free(w.ctx, &b);
    PFC_AGREE(MPI_COMM_WORLD, pfc_matrix_make(w.ctx, w.b, &b) == PFC_OK && pfc_product_nn(w.ctx, w.a, &b, out) == PFC_OK);
    x = get(w.ctx, out);
    for (int64_t d = 0; d < D; d++) ok = ok && x[d] == INFINITY && x[D + d] == K - 2;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    free(x);
    free(row);
    pfc_matrix_free(w.ctx, &b);
    pfc_ws_free(w.ctx, &out);
    drop(&w);
}

START_TEST(marks_exact)
{
    marks(PFC_EXACT);
}
END_TEST
START_TEST(marks_fast)
{
    marks(PFC_FAST);
}
END_TEST

/* Unit rows, orthogonal gradients, and the clamp branch (semantics 1.1). */
static void normalise(pfc_mode mode)
{
    world w;
    pfc_view unit = { 0 }, back = { 0 };
    pfc_matrix m;
    make(&w, mode, 1);
    double *x = get(w.ctx, w.wide);
    for (int64_t d = 0; d < D; d++) x[d] = 0.0;
    put(w.ctx, w.wide, x);
    pfc_dtype real = pfc_ctx_real(w.ctx);
    PFC_AGREE(MPI_COMM_WORLD, pfc_ws_view(w.ctx, real, w.rows, D, &unit) == PFC_OK && pfc_ws_view(w.ctx, real, w.rows, D, &back) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, pfc_matrix_make(w.ctx, w.wide, &m) == PFC_OK);
    const pfc_ops *ops = w.ctx->be->ops;
    pfc_view g = { 0 };
    PFC_AGREE(MPI_COMM_WORLD, pfc_ws_view(w.ctx, real, w.rows, D, &g) == PFC_OK);
    fill(&w, g, 4, w.first);
    bool ok = ops->normalise(w.ctx->be, w.wide, m.norm, unit) == PFC_OK && ops->normalise_backward(w.ctx->be, g, unit, m.norm, back) == PFC_OK;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    double *u = get(w.ctx, unit), *v = get(w.ctx, back), *gg = get(w.ctx, g), tolerance = mode == PFC_EXACT ? 1e-14 : 1e-5;
    for (int64_t i = 0; i < w.rows; i++) {
        double length = 0, along = 0, size = 0;
        for (int64_t d = 0; d < D; d++) length += u[i * D + d] * u[i * D + d], along += x[i * D + d] * v[i * D + d], size += fabs(x[i * D + d] * v[i * D + d]);
        ok = ok && (i == 0 ? length == 0.0 && fabs(v[0] / (gg[0] * 1e12) - 1.0) < 1e-6 : fabs(length - 1.0) < tolerance && fabs(along) <= tolerance * size);
    }
    PFC_AGREE(MPI_COMM_WORLD, ok);
    free(x), free(u), free(v), free(gg);
    pfc_matrix_free(w.ctx, &m);
    pfc_ws_free(w.ctx, &unit), pfc_ws_free(w.ctx, &back), pfc_ws_free(w.ctx, &g);
    drop(&w);
}

START_TEST(normalise_exact)
{
    normalise(PFC_EXACT);
}
END_TEST
START_TEST(normalise_fast)
{
    normalise(PFC_FAST);
}
END_TEST

/* Every length of a row, and rows with -inf, +inf and NaN. */
static void softmax(pfc_mode mode)
{
    world w;
    make(&w, mode, 2);
    const pfc_ops *ops = w.ctx->be->ops;
    pfc_dtype real = pfc_ctx_real(w.ctx);
    for (int64_t n = 1; n <= 70; n++) {
        pfc_view a = { 0 }, max = { 0 }, sum = { 0 };
        bool ok =
            pfc_ws_view(w.ctx, real, 4, n, &a) == PFC_OK && pfc_ws_view(w.ctx, real, 4, 1, &max) == PFC_OK && pfc_ws_view(w.ctx, real, 4, 1, &sum) == PFC_OK;
        double x[4 * 70];
        for (int64_t i = 0; i < 4 * n; i++) x[i] = element(6, i);
        x[n] = -INFINITY, x[2 * n] = INFINITY, x[4 * n - 1] = NAN;
        put(w.ctx, a, x);
        ok = ok && ops->softmax_rows(w.ctx->be, a, 0.25, max, sum) == PFC_OK;
        double *m = get(w.ctx, max), *s = get(w.ctx, sum), want = 0, top = -INFINITY;
        for (int64_t i = 0; i < n; i++) top = fmax(top, x[i] / 0.25);
        for (int64_t i = 0; i < n; i++) want += exp(x[i] / 0.25 - top);
        ok = ok && m[0] == top && fabs(s[0] / want - 1.0) < (mode == PFC_EXACT ? 1e-15 * 8 : 1e-6);
        ok = ok && (n == 1 ? m[1] == -INFINITY && isnan(s[1]) : isfinite(m[1]) && s[1] >= 1.0) && m[2] == INFINITY && isnan(s[2]) && isnan(m[3]) && isnan(s[3]);
        PFC_AGREE(MPI_COMM_WORLD, ok);
        free(m), free(s);
        pfc_ws_free(w.ctx, &a), pfc_ws_free(w.ctx, &max), pfc_ws_free(w.ctx, &sum);
    }
    drop(&w);
}

START_TEST(softmax_exact)
{
    softmax(PFC_EXACT);
}
END_TEST
START_TEST(softmax_fast)
{
    softmax(PFC_FAST);
}
END_TEST

/* All results of the rows' operations for rows of n, under one instruction set, into out (5 * rows * n). */
static int rows_under(const char *isa, pfc_mode mode, int64_t n, double *out)
{
    enum { R = 4 };
    pfc_ctx *ctx = NULL;
    pfc_options options = { mode, NULL, NULL, 1, -1 };
    world w = { 0 };
    pfc_view v[5], max = { 0 }, sum = { 0 };
    pfc_matrix m;
    setenv("PFC_MAX_ISA", isa, 1);
    bool ok = pfc_ctx_create(MPI_COMM_SELF, &options, &ctx, NULL, 0) == PFC_OK;
    unsetenv("PFC_MAX_ISA");
    PFC_AGREE(MPI_COMM_WORLD, ok);
    w.ctx = ctx;
    const pfc_ops *ops = ctx->be->ops;
    for (int i = 0; i < 5; i++) ok = ok && pfc_ws_view(ctx, ops->real, R, i < 4 ? n : R, &v[i]) == PFC_OK;
    ok = ok && pfc_ws_view(ctx, ops->real, R, 1, &max) == PFC_OK && pfc_ws_view(ctx, ops->real, R, 1, &sum) == PFC_OK;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    fill(&w, v[0], 7, n), fill(&w, v[1], 8, n);
    ok = pfc_matrix_make(ctx, v[0], &m) == PFC_OK && ops->normalise(ctx->be, v[0], m.norm, v[2]) == PFC_OK;
    ok = ok && ops->normalise_backward(ctx->be, v[1], v[2], m.norm, v[3]) == PFC_OK && ops->softmax_rows(ctx->be, v[0], 0.07, max, sum) == PFC_OK;
    ok = ok && pfc_product_nt(ctx, &m, &m, v[4]) == PFC_OK;
    PFC_AGREE(MPI_COMM_WORLD, ok);
    memset(out, 0, sizeof *out * (size_t)(5 * R * n));
    const pfc_view kept[] = { v[2], v[3], max, sum, v[4] };
    for (int i = 0, at = 0; i < 5; i++) {
        double *x = get(ctx, kept[i]);
        memcpy(out + at, x, sizeof *x * (size_t)(kept[i].rows * kept[i].cols));
        at += (int)(kept[i].rows * kept[i].cols);
        free(x);
    }
    pfc_matrix_free(ctx, &m);
    for (int i = 0; i < 5; i++) pfc_ws_free(ctx, &v[i]);
    pfc_ws_free(ctx, &max), pfc_ws_free(ctx, &sum);
    pfc_ctx_destroy(&ctx);
    return 5 * R * (int)n;
}

/* Instruction sets that this machine lacks fall back to the widest it has: then the comparison is with itself. */
START_TEST(isas_agree)
{
    static double want[5 * 4 * 200], got[5 * 4 * 200];
    for (int64_t n = 4; n <= 200; n += n < 40 ? 1 : 13)
        for (int mode = 0; mode < 2; mode++) {
            int count = rows_under("scalar", (pfc_mode)mode, n, want);
            rows_under("avx2", (pfc_mode)mode, n, got);
            PFC_AGREE(MPI_COMM_WORLD, memcmp(want, got, sizeof *want * (size_t)count) == 0);
            rows_under("avx512", (pfc_mode)mode, n, got);
            PFC_AGREE(MPI_COMM_WORLD, memcmp(want, got, sizeof *want * (size_t)count) == 0);
        }
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(products_exact), PFC_ONCE(products_fast),   PFC_ONCE(same_bits_on_any_ranks), PFC_ONCE(marks_exact),
        PFC_ONCE(marks_fast),     PFC_ONCE(normalise_exact), PFC_ONCE(normalise_fast),         PFC_ONCE(isas_agree),
        PFC_ONCE(softmax_exact),  PFC_ONCE(softmax_fast),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
