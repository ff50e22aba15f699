/* test_emulate.c: numbers rounded to tf32, bf16 and f16 against their bit patterns, and products of rounded operands (backend/emulate) against plain products
 * of operands that were rounded here. */
#include "algo/matrix.h"
#include "pfc_test.h"

#include <math.h>
#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

/* ---- rounding ---- */

static double of_float_bits(uint32_t bits)
{
    float x;
    memcpy(&x, &bits, sizeof x);
    return (double)x;
}

static double bf16_number(int64_t pattern) { return of_float_bits((uint32_t)pattern << 16); }
static double tf32_number(int64_t pattern) { return of_float_bits((uint32_t)pattern << 13); }
static double f16_number(int64_t pattern)
{
    int64_t exponent = pattern >> 10, fraction = pattern & 0x3ff;
    return exponent == 0 ? ldexp((double)fraction, -24) : exponent == 31 ? (double)INFINITY : ldexp((double)(1024 + fraction), (int)exponent - 25);
}

/* Both signs of x. */
static void expect(const pfc_format *f, bool truncate, double x, double want)
{
    double up = pfc_format_round(f, truncate, x), down = pfc_format_round(f, truncate, -x);
    ck_assert_msg(up == want && down == -want && !signbit(up) && signbit(down), "%s%s of %a: found %a and %a, expected %a", f->name,
                  truncate ? " truncated" : "", x, up, down, want);
}

/* All positive patterns: each stays, what lies between two neighbours goes to the nearer one, the middle to the even pattern; what is truncated to the lower. */
static void check_format(const char *name, double (*number)(int64_t), int64_t infinite)
{
    const pfc_format *f = pfc_format_find(name);
    ck_assert_ptr_nonnull(f);
    for (int64_t k = 0; k + 1 < infinite; k++) {
        double a = number(k), b = number(k + 1), middle = a + (b - a) / 2;
        expect(f, false, a, a);
        expect(f, true, a, a);
        expect(f, false, middle, k % 2 ? b : a);
        expect(f, false, nextafter(middle, 0), a);
        expect(f, false, nextafter(middle, b), b);
        expect(f, true, nextafter(b, 0), a);
    }
    double largest = number(infinite - 1), half = (largest - number(infinite - 2)) / 2;
    ck_assert_double_eq(largest, f->largest);
    expect(f, false, nextafter(largest + half, 0), largest);
    expect(f, false, largest + half, (double)INFINITY);
    expect(f, false, 1e300, (double)INFINITY);
    expect(f, true, 1e300, largest);
    expect(f, true, (double)INFINITY, (double)INFINITY);
    expect(f, false, 0x1p-1074, 0.0);
    ck_assert(isnan(pfc_format_round(f, false, (double)NAN)));
}

START_TEST(f16_rounds)
{
    check_format("f16", f16_number, 0x7c00);
}
END_TEST
START_TEST(bf16_rounds)
{
    check_format("bf16", bf16_number, 0x7f80);
}
END_TEST
START_TEST(tf32_rounds)
{
    check_format("tf32", tf32_number, 0x7f80 << 3);
}
END_TEST

START_TEST(float32_is_no_narrow_type)
{
    ck_assert_ptr_null(pfc_format_find("f32"));
    ck_assert_ptr_null(pfc_format_find(""));
}
END_TEST

/* ---- products ---- */

enum { N = 23, C = 17, D = 40 };

typedef struct world {
    pfc_ctx *ctx;
    pfc_view x, w, h; /* (N,D) (C,D) (C,N) */
} world;

static void set(pfc_view v, int64_t i, double value)
{
    if (v.dtype == PFC_F64)
        ((double *)v.data)[i] = value;
    else
        ((float *)v.data)[i] = (float)value;
}

static double get(pfc_view v, int64_t i) { return v.dtype == PFC_F64 ? ((double *)v.data)[i] : (double)((float *)v.data)[i]; }

static void make(world *w, pfc_mode mode)
{
    w->ctx = pfc_test_ctx(MPI_COMM_WORLD, (pfc_options){ .mode = mode, .backend = "cpu", .threads = 2 });
    pfc_dtype real = pfc_ctx_real(w->ctx);
    ck_assert(pfc_ws_view(w->ctx, real, N, D, &w->x) == PFC_OK && pfc_ws_view(w->ctx, real, C, D, &w->w) == PFC_OK &&
              pfc_ws_view(w->ctx, real, C, N, &w->h) == PFC_OK);
    for (int64_t i = 0; i < N * D; i++) set(w->x, i, (double)(float)pfc_normal(1, i, 0, 77));
    for (int64_t i = 0; i < C * D; i++) set(w->w, i, (double)(float)pfc_normal(2, i, 0, 77));
    for (int64_t i = 0; i < C * N; i++) set(w->h, i, (double)(float)(1e-5 * pfc_normal(3, i, 0, 77))); /* mostly subnormal in f16 */
}

static void drop(world *w)
{
    pfc_ws_free(w->ctx, &w->x);
    pfc_ws_free(w->ctx, &w->w);
    pfc_ws_free(w->ctx, &w->h);
    pfc_ctx_destroy(&w->ctx);
}

/* The four products: Z = W X^T, G = H X, F = H^T W (as rows of H^T, by class), each into out, one after the other. */
enum { RESULTS = C * N + C * D + N * D };

static void products(world *w, double *out)
{
    pfc_matrix x, m;
    pfc_dtype real = pfc_ctx_real(w->ctx);
    pfc_view z, g, f;
    ck_assert(pfc_ws_view(w->ctx, real, C, N, &z) == PFC_OK && pfc_ws_view(w->ctx, real, C, D, &g) == PFC_OK && pfc_ws_view(w->ctx, real, N, D, &f) == PFC_OK);
    ck_assert(pfc_matrix_make(w->ctx, w->x, &x) == PFC_OK && pfc_matrix_make(w->ctx, w->w, &m) == PFC_OK);
    ck_assert(pfc_product_nt(w->ctx, &m, &x, z) == PFC_OK);
    ck_assert(pfc_product_nn(w->ctx, w->h, &x, g) == PFC_OK);
    ck_assert(pfc_product_tn(w->ctx, w->h, &m, false, f) == PFC_OK);
    for (int64_t i = 0; i < C * N; i++) out[i] = get(z, i);
    for (int64_t i = 0; i < C * D; i++) out[C * N + i] = get(g, i);
    for (int64_t i = 0; i < N * D; i++) out[C * N + C * D + i] = get(f, i);
    pfc_matrix_free(w->ctx, &x);
    pfc_matrix_free(w->ctx, &m);
    pfc_ws_free(w->ctx, &z);
    pfc_ws_free(w->ctx, &g);
    pfc_ws_free(w->ctx, &f);
}

static void round_all(pfc_view v, const pfc_format *f, bool truncate)
{
    for (int64_t i = 0; i < v.rows * v.cols; i++) set(v, i, pfc_format_round(f, truncate, get(v, i)));
}

/* The sums of exact mode are on a grid that depends on the operands, so float32 may come out one unit apart where they lie near a middle. */
static bool equal(double a, double b, pfc_mode mode) { return a == b || (mode == PFC_EXACT && fabs(a - b) <= 0x1p-23 * fabs(b)); }

static void check_products(pfc_mode mode, const char *type, bool truncate)
{
    world w;
    const pfc_format *f = pfc_format_find(type);
    static double emulated[RESULTS], rounded[RESULTS], plain[RESULTS];
    make(&w, mode);
    products(&w, plain);
    ck_assert(pfc_ctx_emulate(w.ctx, f, truncate) == PFC_OK);
    products(&w, emulated);
    ck_assert(pfc_ctx_emulate(w.ctx, NULL, false) == PFC_OK);
    round_all(w.x, f, truncate);
    round_all(w.w, f, truncate);
    round_all(w.h, f, truncate);
    products(&w, rounded);
    int64_t moved = 0;
    for (int64_t i = 0; i < RESULTS; i++) {
        double want = mode == PFC_EXACT ? (double)(float)rounded[i] : rounded[i];
        ck_assert_msg(equal(emulated[i], want, mode), "%s, element %lld: found %a, expected %a", type, (long long)i, emulated[i], want);
        ck_assert(emulated[i] == (double)(float)emulated[i]);
        moved += emulated[i] != plain[i];
    }
    ck_assert_int_gt(moved, RESULTS / 2);
    drop(&w);
}

static const char *const types[] = { "tf32", "bf16", "f16" };

START_TEST(products_take_rounded_operands)
{
    for (int mode = 0; mode < 2; mode++)
        for (int t = 0; t < 3; t++)
            for (int truncate = 0; truncate < 2; truncate++) check_products(mode ? PFC_FAST : PFC_EXACT, types[t], truncate);
}
END_TEST

/* Operands that the type holds: nothing changes, not a bit. */
START_TEST(exact_operands_change_nothing)
{
    static double plain[RESULTS], emulated[RESULTS];
    for (int mode = 0; mode < 2; mode++) {
        world w;
        make(&w, mode ? PFC_FAST : PFC_EXACT);
        round_all(w.x, pfc_format_find("bf16"), false);
        round_all(w.w, pfc_format_find("bf16"), false);
        round_all(w.h, pfc_format_find("bf16"), false);
        products(&w, plain);
        ck_assert(pfc_ctx_emulate(w.ctx, pfc_format_find("tf32"), false) == PFC_OK); /* it holds all of bf16 */
        products(&w, emulated);
        for (int64_t i = 0; i < RESULTS; i++) ck_assert(equal(emulated[i], mode ? plain[i] : (double)(float)plain[i], mode ? PFC_FAST : PFC_EXACT));
        drop(&w);
    }
}
END_TEST

/* cos = <w^, x^> of rounded directions; a zero row has cosine 0, a row with a NaN has NaN. */
START_TEST(cosines_take_rounded_directions)
{
    for (int mode = 0; mode < 2; mode++) {
        world w;
        make(&w, mode ? PFC_FAST : PFC_EXACT);
        const pfc_format *f = pfc_format_find("bf16");
        const pfc_ops *ops;
        pfc_matrix x, m;
        pfc_view z;
        pfc_operand *operand;
        for (int64_t j = 0; j < D; j++) set(w.w, j, 0.0);
        set(w.w, D, (double)NAN);
        ck_assert(pfc_ctx_emulate(w.ctx, f, false) == PFC_OK);
        ops = w.ctx->be->ops;
        ck_assert(pfc_matrix_make(w.ctx, w.x, &x) == PFC_OK && pfc_matrix_make(w.ctx, w.w, &m) == PFC_OK);
        ck_assert(pfc_ws_view(w.ctx, pfc_ctx_real(w.ctx), C, N, &z) == PFC_OK);
        ck_assert(ops->operand_create(w.ctx->be, w.x, x.norm, x.expo.data, &operand) == PFC_OK);
        ck_assert(ops->cosines(w.ctx->be, 0, operand, (pfc_rowset){ w.w, NULL, 0, C }, m.norm, m.expo.data, 1, z) == PFC_OK);
        for (int64_t c = 0; c < C; c++)
            for (int64_t i = 0; i < N; i++) {
                double want = 0, wn = get(m.norm, c), xn = get(x.norm, i);
                for (int64_t j = 0; c > 0 && j < D; j++) {
                    double a = get(w.w, c * D + j) / wn, b = get(w.x, i * D + j) / xn;
                    if (mode) a = (double)(float)a, b = (double)(float)b;
                    want += pfc_format_round(f, false, a) * pfc_format_round(f, false, b);
                }
                double got = get(z, c * N + i);
                if (c == 1)
                    ck_assert(isnan(got));
                else
                    ck_assert_double_eq_tol(got, want, mode ? 1e-6 : 1e-7);
            }
        ops->operand_destroy(w.ctx->be, operand);
        pfc_ws_free(w.ctx, &z);
        pfc_matrix_free(w.ctx, &x);
        pfc_matrix_free(w.ctx, &m);
        drop(&w);
    }
}
END_TEST

START_TEST(only_host_memory_is_emulated)
{
    pfc_ctx *ctx = pfc_test_ctx(MPI_COMM_WORLD, (pfc_options){ .mode = PFC_EXACT, .backend = "checked", .threads = 1 });
    ck_assert(pfc_ctx_emulate(ctx, pfc_format_find("bf16"), false) == PFC_ERR_UNSUPPORTED);
    ck_assert_str_eq(pfc_ctx_error(ctx), "backend checked cannot emulate bf16, expected backend cpu");
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(f16_rounds),
        PFC_ONCE(bf16_rounds),
        PFC_ONCE(tf32_rounds),
        PFC_ONCE(float32_is_no_narrow_type),
        PFC_ONCE(products_take_rounded_operands),
        PFC_ONCE(exact_operands_change_nothing),
        PFC_ONCE(cosines_take_rounded_directions),
        PFC_ONCE(only_host_memory_is_emulated),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
