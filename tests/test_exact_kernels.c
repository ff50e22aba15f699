/* test_exact_kernels.c: the inner loops of exact mode give the same bits on every instruction set, for every length 1..200, odd alignment, and values
 * of every kind (zeros of both signs, subnormals, infinities, NaN, ties of the grid). */
#include "backend/backend.h"
#include "backend/cpu/exact_kernels.h"
#include "backend/cpuid.h"
#include "core/px.h"
#include "pfc_test.h"

#include <math.h>
#include <pfc/rng.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_N = 200, HEADS = 10, ARRAYS = 12, STRIDE = MAX_N + 8 };

typedef struct pool {
    double d[ARRAYS][STRIDE];
    int64_t i[ARRAYS][STRIDE];
} pool;

static double uniform(int64_t i) { return pfc_uniform(21, i, 0, 77); }

/* Mostly numbers of moderate size, now and then an odd one. */
static double value(int64_t i, bool odd)
{
    double x = ldexp(2.0 * uniform(3 * i) - 1.0, (int)(40.0 * uniform(3 * i + 1)) - 20);
    static const double odds[] = { 0.0, -0.0, 0x1p-1074, INFINITY, -INFINITY, NAN, 1.0, -1.0, 0x1p-37, 1.5 };
    return odd && uniform(3 * i + 2) < 0.08 ? odds[i % 10] : x;
}

static void fill(pool *p, int64_t seed, bool odd)
{
    for (int a = 0; a < ARRAYS; a++)
        for (int j = 0; j < STRIDE; j++) {
            p->d[a][j] = value(seed * 100000 + a * 1000 + j, odd);
            p->i[a][j] = (int64_t)(value(seed * 100000 + a * 1000 + j, false) * 1000);
        }
}

/* Every kernel once, on arrays that begin `off` elements into their rows. */
static void sums_and_slices(const pfc_exact_kernels *k, pool *p, int64_t n, int off, bool odd)
{
    int flag = 0;
    int64_t ab[4] = { 1, 2, 3, 4 };
    p->d[10][0] = k->max_abs(p->d[0] + off, n, &flag);
    if (!odd) k->sum_squares(p->d[0] + off, n, 0x1p-6, ab, ab + 1); /* |x| < 2^21: exponent 42 */
    flag += 2 * k->slice(p->d[0] + off, n, 0.5, p->d[2] + off, p->d[3] + off, p->d[4] + off);
    k->slice_each(p->d[0] + off, p->d[11] + off, n, p->d[5] + off, p->d[6] + off, p->d[7] + off);
    p->d[10][1] = k->dot_max(p->d[0] + off, p->d[1] + off, n, &flag);
    k->dot_sum(p->d[0] + off, p->d[1] + off, 0x1p-6, n, ab + 2, ab + 3);
    flag += 4 * k->dot_each(p->d[0] + off, p->d[1] + off, p->d[11] + off, n, p->i[0] + off, p->i[1] + off);
    memcpy(p->i[9], ab, sizeof ab);
    p->i[9][5] = flag;
}

static void softmax_loops(const pfc_exact_kernels *k, pool *p, int64_t n, int off)
{
    for (int j = 0; j < n; j++) p->d[8][off + j] = fabs(p->d[0][off + j]) + fabs(p->d[8][off + j]); /* at or above l, sometimes NaN */
    p->i[9][6] = k->exp_sum(p->d[0] + off, p->d[8] + off, n, p->i[2] + off, p->i[3] + off);
    k->grad_row(p->d[0] + off, p->d[1] + off, p->d[8] + off, p->d[9] + off, 120.0, n, p->d[2] + off);
    k->max_row(p->d[0] + off, n, p->d[3] + off);
    k->expo_row(p->d[0] + off, p->d[1] + off, 0.3, 0x1p-5, n, p->d[4] + off, p->d[5] + off);
}

static void head_rows(const pfc_exact_kernels *k, pool *p, int64_t n, int off, int which)
{
    pfc_head head = { .kind = (pfc_head_kind)(which % 4), .scale = 64.0, .margin = 0.5, .cos_m = 0.87, .sin_m = 0.47, .mm = 0.2, .normalised = 1 };
    head.cos_clamp = which & 4 ? 1 : 0;
    head.threshold = which & 8 ? 0.3 : 0.0;
    head.arc_gradient = which & 16 ? PFC_ARC_STRAIGHT_THROUGH : PFC_ARC_EXACT;
    for (int j = 0; j < n; j++) p->d[6][off + j] = j % 7 == 3 ? (j % 2 ? 1.0 : -1.0) : fmod(p->d[6][off + j], 1.1);
    k->logit_row(&head, p->d[6] + off, n, p->d[0] + off, p->d[1] + off);
    k->logit_row(&head, p->d[6] + off, n, p->d[2] + off, NULL);
}

static void finishing(const pfc_exact_kernels *k, pool *p, int64_t n, int off)
{
    const double *level[5] = { p->d[5] + off, p->d[6] + off, p->d[7] + off, p->d[8] + off, p->d[9] + off };
    for (int a = 5; a < 10; a++)
        for (int j = 0; j < STRIDE; j++) p->d[a][j] = rint(ldexp(uniform(a * 5000 + j) - 0.5, 20 + (j * a) % 33)); /* integers up to 2^52 */
    for (int count = 3; count <= 5; count++) k->round_levels(level, count, n, p->d[count - 3] + off);
    k->finish_cosine(p->d[0] + off, p->d[11] + off, p->d[10] + off, 0x1p-40, 0.7, n);
    k->finish_cosine(p->d[1] + off, p->d[11] + off, NULL, 0x1p-40, 0.7, n);
    k->finish_weight(p->d[2] + off, 0x1p-30, 0x1p-31, p->d[10] + off, 0.7, 0.1, PFC_FINISH_NEAR, n, p->d[3] + off);
    k->finish_weight(p->d[2] + off, 0x1p-30, 0x1p-31, p->d[10] + off, 0.7, 0.1, PFC_FINISH_DIVIDE, n, p->d[4] + off);
    k->finish_weight(p->d[2] + off, 0x1p-30, 0x1p-31, p->d[10] + off, 0.7, 0.1, PFC_FINISH_PROJECT, n, p->d[5] + off);
    for (int j = 0; j < n; j++) ck_assert(p->d[3][off + j] == p->d[5][off + j]);
    k->sgd(p->d[3] + off, p->d[4] + off, p->d[0] + off, 0.1, 0.9, 0.01, 1, n);
    k->sgd(p->d[4] + off, p->d[1] + off, NULL, 0.1, 0.0, 0.01, 0, n);
    k->scale_each(p->d[0] + off, p->d[10] + off, NULL, p->d[11] + off, n, p->d[5] + off);
    k->round_row(p->d[10] + off, n);
    k->scale_row(p->d[0] + off, 0.3, 0x1p7, 1, n, p->d[6] + off);
    k->scale_row(p->d[0] + off, 0.3, 0x1p7, 0, n, p->d[7] + off);
}

/* Quotients by reciprocals against divisions, for divisors of every size; `far`: numerators that reciprocals cannot do. */
static void quotients(const pfc_exact_kernels *k, pool *p, int64_t n, int off, bool odd, bool far)
{
    double *h = p->d[0] + off, *d = p->d[1] + off, *inverse = p->d[2] + off, *s = p->d[11] + off;
    static const double ends[] = { 0x1.fffffffffffffp0, 0x1p0, 0x1.0000000000001p0, 0x1.ffffffffffffep0, 0x1.8p0 };
    for (int j = 0; j < n; j++) {
        h[j] = odd ? h[j] : ldexp(value(j + 1000 * n, false), (int)(200 * uniform(j)) - 100);
        if (far && j % 13 == 5) h[j] = ldexp(h[j], j % 2 ? 900 : -1000);
        d[j] = j % 3 == 0 ? ends[(j / 3 + n) % 5] : ldexp(1.0 + uniform(9000 + j + 31 * n), (int)(300 * uniform(j + n)) - 150);
        inverse[j] = 1.0 / d[j];
    }
    k->scale_each(h, d, inverse, s, n, p->d[3] + off);
    k->scale_each(h, d, NULL, s, n, p->d[4] + off);
    k->scale_row(h, d[n / 2], 0x1p3, 1, n, p->d[5] + off);
    for (int j = 0; j < n; j++) {
        double want = h[j] / d[j] * s[j], row = h[j] / d[n / 2] * 0x1p3;
        ck_assert_msg(px_bits(p->d[3][off + j]) == px_bits(want) || isnan(want), "%s %a / %a * %a: %a, not %a", k->isa, h[j], d[j], s[j], p->d[3][off + j],
                      want);
        ck_assert(px_bits(p->d[4][off + j]) == px_bits(want) || isnan(want));
        ck_assert(px_bits(p->d[5][off + j]) == px_bits(row) || isnan(row));
    }
    k->expo_row(h, NULL, d[n / 2], 0x1p3, n, p->d[6] + off, NULL);
}

/* grad_near is grad_row where it says that it could. */
static void gradients(const pfc_exact_kernels *k, pool *p, int64_t n, int off, bool odd)
{
    double *l = p->d[0] + off, *slope = p->d[1] + off, *max = p->d[2] + off, *sum = p->d[3] + off, *inverse = p->d[4] + off;
    for (int j = 0; j < n; j++) {
        max[j] = 64.0 * uniform(400 + j + n);
        l[j] = odd && j % 50 == 49 ? l[j] - 1000.0 : max[j] - 300.0 * uniform(800 + j + n);
        sum[j] = 1.0 + ldexp(uniform(300 + j), j % 25);
        inverse[j] = 1.0 / sum[j];
    }
    k->grad_row(l, slope, max, sum, 120.0, n, p->d[5] + off);
    if (!k->grad_near(l, slope, max, sum, inverse, 120.0, n, p->d[6] + off)) {
        ck_assert(odd || strcmp(k->isa, "scalar") == 0);
        memcpy(p->d[6] + off, p->d[5] + off, (size_t)n * sizeof(double));
    }
    for (int j = 0; j < n; j++) ck_assert(px_bits(p->d[5][off + j]) == px_bits(p->d[6][off + j]) || isnan(p->d[5][off + j]));
}

static void flushing(const pfc_exact_kernels *k, pool *p, int64_t n)
{
    static double x[5 * MAX_N];
    static int64_t level[6 * MAX_N];
    for (int j = 0; j < 5 * MAX_N; j++) x[j] = rint(ldexp(uniform(90000 + j) - 0.5, 53));
    for (int j = 0; j < 6 * MAX_N; j++) level[j] = (int64_t)ldexp(uniform(80000 + j) - 0.5, 40);
    k->flush_levels(x, level, n, n, 5);
    k->flush_levels(x, level, n, n, 4);
    for (int l = 0; l < 6; l++) memcpy(p->i[4 + l % 4], level + l * n, (size_t)n * sizeof *level);
    for (int l = 1; l < 6; l++)
        for (int64_t j = 0; j < n; j++) ck_assert(level[l * n + j] >= 0 && level[l * n + j] < (int64_t)1 << 21);
}

/* NaN is NaN: its sign and payload may differ between instruction sets and are made canonical before anything is stored. */
static void canonical(pool *p)
{
    for (int a = 0; a < ARRAYS; a++)
        for (int j = 0; j < STRIDE; j++)
            if (isnan(p->d[a][j])) p->d[a][j] = PX_NAN;
}

static void run_all(const pfc_exact_kernels *k, pool *p, int64_t n, int off, int group)
{
    bool odd = group % 2 == 1;
    memset(p, 0, sizeof *p);
    fill(p, n * 10 + group, odd);
    for (int j = 0; j < STRIDE; j++) p->d[11][j] = ldexp(1.0, (int)(10 * uniform(7000 + j)) - 5);
    if (group < 2) sums_and_slices(k, p, n, off, odd);
    if (group == 2 || group == 3) softmax_loops(k, p, n, off);
    if (group == 4) finishing(k, p, n, off);
    if (group == 5) flushing(k, p, n);
    if (group >= 6 && group < HEADS) {
        quotients(k, p, n, off, odd, group >= 8);
        gradients(k, p, n, off, odd);
    }
    if (group >= HEADS) head_rows(k, p, n, off, group - HEADS);
    canonical(p);
}

static void compare(const pfc_exact_kernels *k)
{
    static pool want, got;
    for (int64_t n = 1; n <= MAX_N; n++)
        for (int group = 0; group < HEADS + 32; group++) {
            if (group >= HEADS && (n + group) % 8) continue; /* heads: every combination, at a quarter of the lengths and more */
            int off = (int)(n + group) % 5;
            run_all(&pfc_exact_kernels_scalar, &want, n, off, group);
            run_all(k, &got, n, off, group);
            ck_assert_msg(memcmp(&want, &got, sizeof want) == 0, "%s differs from scalar: n = %d, group %d", k->isa, (int)n, group);
        }
}

START_TEST(avx2_equals_scalar)
{
#ifdef PFC_HAVE_AVX2
    if (pfc_cpu_has_avx2()) compare(&pfc_exact_kernels_avx2);
#endif
}
END_TEST

START_TEST(avx512_equals_scalar)
{
#ifdef PFC_HAVE_AVX512
    if (pfc_cpu_has_avx512()) compare(&pfc_exact_kernels_avx512);
#endif
}
END_TEST

/* What the scalar kernels themselves must do: three slices are the integer V. */
START_TEST(slices_are_the_quantised_value)
{
    for (int i = 0; i < 20000; i++) {
        double x = value(i, false), s[3];
        int32_t e = px_expo(x) + i % 45;
        pfc_exact_kernels_scalar.slice(&x, 1, px_pow2(20 - e), s, s + 1, s + 2);
        long double v = rintl(ldexpl((long double)x, 62 - e));
        ck_assert(ldexpl(s[0], 42) + ldexpl(s[1], 21) + s[2] == v);
        ck_assert(fabs(s[0]) <= 0x1p20 && fabs(s[1]) <= 0x1p20 && fabs(s[2]) <= 0x1p20);
    }
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(slices_are_the_quantised_value),
        PFC_ONCE(avx2_equals_scalar),
        PFC_ONCE(avx512_equals_scalar),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
