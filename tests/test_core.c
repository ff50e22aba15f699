/* test_core.c: the ground that exact mode stands on: counters, shards, wide integers, elementwise functions, sums, the list of required operations, and the
 * two guards (self-check, floating-point environment). */
#include "backend/cpu/exact.h"
#include "core/rng_kernels.h"
#include "pfc_test.h"

#include <math.h>
#include <pfc/pfc.h>
#include <stdlib.h>
#include <string.h>
#ifdef __SSE2__
#include <xmmintrin.h>
#endif

/* Random123's published known answers. */
START_TEST(philox_has_the_published_vectors)
{
    static const uint32_t counter[3][4] = { { 0, 0, 0, 0 }, { ~0u, ~0u, ~0u, ~0u }, { 0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344 } };
    static const uint32_t key[3][2] = { { 0, 0 }, { ~0u, ~0u }, { 0xa4093822, 0x299f31d0 } };
    static const uint32_t want[3][4] = { { 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8 },
                                         { 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd },
                                         { 0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1 } };
    for (int i = 0; i < 3; i++) {
        uint32_t out[4];
        pfc_philox4x32(counter[i], key[i], out);
        ck_assert_mem_eq(out, want[i], sizeof out);
    }
}
END_TEST

START_TEST(normal_numbers_have_their_moments)
{
    double sum = 0, squares = 0, fourth = 0;
    int n = 200000;
    for (int i = 0; i < n; i++) {
        double x = pfc_normal(5, i, 0, PFC_STREAM_WEIGHT);
        sum += x, squares += x * x, fourth += x * x * x * x;
    }
    ck_assert_double_eq_tol(sum / n, 0.0, 5 / sqrt(n));
    ck_assert_double_eq_tol(squares / n, 1.0, 5 * sqrt(2.0 / n));
    ck_assert_double_eq_tol(fourth / n, 3.0, 5 * sqrt(96.0 / n));
}
END_TEST

/* Every instruction set, every length, odd and even, across the word's end at 2^33, over the whole index. */
START_TEST(ranges_hold_the_numbers_of_their_indices)
{
    static const char *const caps[] = { "scalar", "avx2", "avx512" };
    static const int64_t firsts[] = { 0, 1, 6, 4294967290, 8589934575, INT64_MAX - 700, -5 };
    enum { MOST = 600 };
    double got[MOST + 1], want[MOST];
    for (int cap = 0; cap < 3; cap++) {
        setenv("PFC_MAX_ISA", caps[cap], 1);
        const pfc_rng_kernels *k = pfc_rng_best();
        for (int f = 0; f < 7; f++)
            for (int normal = 0; normal < 2; normal++) {
                for (int64_t i = 0; i < MOST; i++) want[i] = (normal ? pfc_normal : pfc_uniform)(-7, firsts[f] + i, 3, 4);
                for (int64_t n = 0; n <= MOST; n += n < 70 ? 1 : 53) {
                    got[n] = -1.0;
                    (normal ? pfc_normal_range : pfc_uniform_range)(k, -7, firsts[f], n, 3, 4, got);
                    ck_assert_mem_eq(got, want, (size_t)n * sizeof *got);
                    ck_assert(got[n] == -1.0);
                }
            }
    }
    unsetenv("PFC_MAX_ISA");
}
END_TEST

START_TEST(shards_cut_without_gap_or_overlap)
{
    for (int64_t total = 0; total < 60; total++)
        for (int ranks = 1; ranks < 12; ranks++) {
            int64_t next = 0;
            for (int r = 0; r < ranks; r++) {
                pfc_shard s = pfc_shard_of(total, ranks, r);
                ck_assert_int_eq(s.start, next);
                ck_assert_int_eq(s.count, total / ranks + (r < total % ranks));
                for (int64_t i = s.start; i < s.start + s.count; i++) ck_assert_int_eq(pfc_shard_owner(total, ranks, i), r);
                next += s.count;
            }
            ck_assert_int_eq(next, total);
        }
}
END_TEST

static uint64_t word(int64_t i) { return (uint64_t)(pfc_uniform(11, i, 0, 77) * 0x1p53) << 11 ^ (uint64_t)(pfc_uniform(12, i, 0, 77) * 0x1p53); }

/* limbs of v * 2^shift */
static void to_limbs(__int128 v, int shift, int64_t limb[PFC_LIMBS])
{
    memset(limb, 0, PFC_LIMBS * sizeof *limb);
    for (int bit = shift; bit < 160 && v != 0; bit += 8) {
        int64_t byte = (int64_t)(v & 255);
        limb[bit / 40] += byte << bit % 40 & (((int64_t)1 << 40) - 1);
        if (bit % 40 > 32) limb[bit / 40 + 1] += byte >> (40 - bit % 40);
        v = (v - byte) / 256;
        if (v < 0 && v > -256 && bit + 8 >= 152) break;
    }
}

/* The compiler's own conversion of 128-bit integers rounds to nearest even; shifted up, the same digits must come out. */
START_TEST(wide_integers_round_to_nearest_even)
{
    int64_t limb[PFC_LIMBS];
    for (int i = 0; i < 200000; i++) {
        int bits = 1 + (int)(word(3 * i) % 120);
        unsigned __int128 u = ((unsigned __int128)word(3 * i + 1) << 64 | word(3 * i + 2)) >> (128 - bits);
        if (i % 5 == 0 && bits > 60) u &= ~(((unsigned __int128)1 << (bits - 54)) - 1); /* exact ties and neighbours */
        if (i % 15 == 0) u += 1;
        double want = (double)u;
        for (int shift = 0; shift <= 32; shift += 32) {
            to_limbs((__int128)u, shift, limb);
            ck_assert_double_eq(pfc_limbs_round(limb), ldexp(want, shift));
            for (int j = 0; j < PFC_LIMBS; j++) limb[j] = -limb[j];
            ck_assert_double_eq(pfc_limbs_round(limb), -ldexp(want, shift));
        }
    }
}
END_TEST

/* |got - want| in units of the last place of want. */
static double ulps(double got, long double want)
{
    int e;
    frexpl(want, &e);
    return (double)(fabsl((long double)got - want) / ldexpl(1.0L, e - 53));
}

START_TEST(elementwise_functions_are_accurate)
{
    double worst_exp = 0, worst_log = 0, worst_sin = 0, worst_cos = 0;
    for (int i = 0; i < 100000; i++) {
        double u = pfc_uniform(1, i, 0, 77), x = -708.0 + 1417.7 * u, y = ldexp(1.0 + u, (int)(word(i) % 2000) - 1000), a = 20.0 * u - 10.0, s, c;
        worst_exp = fmax(worst_exp, ulps(px_exp(x), expl(x)));
        worst_log = fmax(worst_log, ulps(px_log(y), logl(y)));
        px_sincos(a, &s, &c);
        /* Absolute error in 2^-53: half a unit from the last fma, up to half from rounding r after the reduction, the rest from r*z and the
         * polynomial. 1.05 is the most this sample shows; the functions are not claimed to be within one unit. */
        worst_sin = fmax(worst_sin, fabs((double)((long double)s - sinl(a))) / 0x1p-53);
        worst_cos = fmax(worst_cos, fabs((double)((long double)c - cosl(a))) / 0x1p-53);
    }
    ck_assert_double_lt(worst_exp, 0.9);
    ck_assert_double_lt(worst_log, 0.75);
    ck_assert_double_lt(worst_sin, 1.25);
    ck_assert_double_lt(worst_cos, 1.25);
}
END_TEST

START_TEST(elementwise_functions_at_the_edges)
{
    double s, c;
    ck_assert_double_eq(px_exp(0.0), 1.0);
    ck_assert_double_eq(px_exp(-708.1), 0.0);
    ck_assert_double_eq(px_exp(-INFINITY), 0.0);
    ck_assert(isinf(px_exp(709.8)) && px_exp(709.8) > 0);
    ck_assert(isnan(px_exp(NAN)) && isnan(px_log(NAN)) && isnan(px_log(-1.0)));
    ck_assert_double_eq(px_log(1.0), 0.0);
    ck_assert_double_eq(px_log(0.0), -INFINITY);
    ck_assert_double_eq(px_log(INFINITY), INFINITY);
    ck_assert_double_eq_tol(px_log(0x1p-1074), -744.4400719213812, 1e-12);
    ck_assert_double_eq_tol(-px_log(1e-30), 69.07755278982137, 1e-13);
    px_sincos(0.0, &s, &c);
    ck_assert(s == 0.0 && c == 1.0);
    ck_assert_int_eq(px_expo(0.0), -900);
    ck_assert_int_eq(px_expo(1.0), 1);
    ck_assert_int_eq(px_expo(-0.75), 0);
    ck_assert_int_eq(px_expo(0x1p-1074), -900);
}
END_TEST

/* Any order gives the same integers; the value is the exact sum to the last bit. */
START_TEST(scalar_sums_do_not_depend_on_order)
{
    enum { N = 4096 };
    double t[N];
    long double exact = 0;
    pfc_scalar_sum up = { 0, 0, 0 }, down = { 0, 0, 0 };
    for (int i = 0; i < N; i++) t[i] = ldexp(pfc_uniform(2, i, 0, 77) - 0.5, (int)(word(i) % 30));
    for (int i = 0; i < N; i++) {
        pfc_scalar_add(&up, t[i], 30);
        pfc_scalar_add(&down, t[N - 1 - i], 30);
        exact += t[i];
    }
    ck_assert(up.a == down.a && up.b == down.b);
    ck_assert_double_eq_tol(pfc_scalar_value(&up, 30), (double)exact, 0x1p-30);
    pfc_scalar_add(&up, INFINITY, 30);
    ck_assert_double_eq(pfc_scalar_value(&up, 30), INFINITY);
    pfc_scalar_add(&up, -INFINITY, 30);
    ck_assert(isnan(pfc_scalar_value(&up, 30)));
}
END_TEST

/* Slices beyond their 20 bits: DGEMM rounds, and the self-check has to notice. Within the bits it must be silent. */
START_TEST(self_check_notices_inexact_products)
{
    enum { M = 8, N = 8, K = 512 };
    double *w = malloc(sizeof *w * 3 * M * K), *x = malloc(sizeof *x * 3 * N * K), t[M * N];
    ck_assert(w && x);
    for (int big = 0; big < 2; big++) {
        double top = big ? 0x1p27 + 1 : 0x1p20;
        for (int i = 0; i < 3 * M * K; i++) w[i] = i % 2 ? top : top - 1;
        for (int i = 0; i < 3 * N * K; i++) x[i] = i % 3 ? top : top - 3;
        exact_lane lane = { .k = &pfc_exact_kernels_scalar, .self_check = true };
        exact_slices ws = { w, K, 3 * K, false, false, NULL, 0, 0, NULL };
        pfc_operand op = { .n = N, .d = K, .rows = { x, K, 3 * K, true, false, NULL, 0, 0, NULL } };
        pfc_status st = pfc_dgemm_forward(&lane, M, &ws, &op, t);
        ck_assert_int_eq(st, big ? PFC_ERR_RUNTIME : PFC_OK);
        ck_assert_int_eq(strncmp(lane.error, "self-check", 10) == 0, big);
        for (int i = 0; i < SCRATCH_COUNT; i++) free(lane.buffer[i].p);
    }
    free(w);
    free(x);
}
END_TEST

#ifdef __SSE2__
/* A library that switches subnormals off process-wide would change bits: exact mode refuses to go on. */
START_TEST(flushing_subnormals_is_refused)
{
    pfc_options options = { .mode = PFC_EXACT, .threads = 1 };
    pfc_ctx *ctx = NULL;
    pfc_partial_fc *layer = NULL;
    pfc_partial_fc_config cfg = pfc_partial_fc_defaults();
    cfg.num_classes = 5, cfg.embedding_size = 3;
    ck_assert_int_eq(pfc_ctx_create(MPI_COMM_SELF, &options, &ctx, NULL, 0), PFC_OK);
    ck_assert_int_eq(pfc_partial_fc_create(ctx, &cfg, &layer), PFC_OK);
    float x[3] = { 1, 2, 3 };
    int64_t y = 2;
    pfc_partial_fc_result result = { 0 };
    pfc_view none = { 0 }, xv = pfc_view_make(x, PFC_F32, 1, 3), yv = pfc_view_make(&y, PFC_I64, 1, 1);
    unsigned saved = _mm_getcsr();
    _mm_setcsr(saved | 0x8000);
    pfc_status st = pfc_partial_fc_step(layer, xv, yv, none, &result);
    _mm_setcsr(saved);
    ck_assert_int_eq(st, PFC_ERR_RUNTIME);
    ck_assert_ptr_nonnull(strstr(pfc_ctx_error(ctx), "floating-point environment"));
    ck_assert_int_eq(pfc_partial_fc_step(layer, xv, yv, none, &result), PFC_OK);
    pfc_partial_fc_destroy(&layer);
    pfc_ctx_destroy(&ctx);
}
END_TEST
#endif

START_TEST(a_missing_operation_is_named)
{
    const pfc_ops whole = pfc_ops_exact_scalar;
    pfc_ops part = whole;
    ck_assert_ptr_null(pfc_ops_missing(&whole));
#define WITHOUT(name)                              \
    part = whole;                                  \
    part.name = NULL;                              \
    ck_assert_ptr_nonnull(pfc_ops_missing(&part)); \
    ck_assert_str_eq(pfc_ops_missing(&part), #name)
    WITHOUT(alloc);
    WITHOUT(row_norms);
    WITHOUT(subcenter_max);
    WITHOUT(scale);
    WITHOUT(positive_grad);
    WITHOUT(gather_add);
    WITHOUT(acc_value);
}
END_TEST

/* Without these exact mode would sum on grids that fit nothing; fast tables have none of them. */
START_TEST(exact_tables_need_their_grids)
{
    const pfc_ops whole = pfc_ops_exact_scalar;
    pfc_ops part, fast = pfc_ops_fast_scalar;
    WITHOUT(row_sum);
    WITHOUT(grad_expo);
    WITHOUT(acc_expo_fold);
    WITHOUT(column_expo);
    WITHOUT(aims_expo);
    WITHOUT(sinkhorn_expo);
    WITHOUT(sinkhorn_sums);
    WITHOUT(sinkhorn_total);
    WITHOUT(bn_grad_grid);
    WITHOUT(gather_expo);
    ck_assert(!fast.row_sum && !fast.grad_expo && !fast.gather_expo && !pfc_ops_missing(&fast));
    fast.sinkhorn_own_sums = NULL; /* the other two in its place */
    ck_assert_str_eq(pfc_ops_missing(&fast), "sinkhorn_sums");
    fast.sinkhorn_sums = whole.sinkhorn_sums;
    fast.sinkhorn_total = whole.sinkhorn_total;
    ck_assert_ptr_null(pfc_ops_missing(&fast));
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(philox_has_the_published_vectors),   PFC_ONCE(normal_numbers_have_their_moments),   PFC_ONCE(ranges_hold_the_numbers_of_their_indices),
        PFC_ONCE(shards_cut_without_gap_or_overlap),  PFC_ONCE(wide_integers_round_to_nearest_even), PFC_ONCE(elementwise_functions_are_accurate),
        PFC_ONCE(elementwise_functions_at_the_edges), PFC_ONCE(scalar_sums_do_not_depend_on_order),  PFC_ONCE(self_check_notices_inexact_products),
        PFC_ONCE(a_missing_operation_is_named),       PFC_ONCE(exact_tables_need_their_grids),
#ifdef __SSE2__
        PFC_ONCE(flushing_subnormals_is_refused),
#endif
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
