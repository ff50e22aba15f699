/* test_bf16x6.c: the products of the kernel set bf16x6 through the tile model: not less accurate than the ordinary ones, the same bits for any number of
 * threads, right at every size, with tiny and huge numbers, infinities and NaN. */
#include <config.h>

#include "../fast_step.h"
#include "backend/cpu/fast.h"
#include "backend/cpuid.h"

#include <check.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- the three products of one table ---- */

/* x (n,d), w (c,d), h (c,n), in blocks of classes; slack floats behind every row of x and w. */
typedef struct problem {
    int64_t n, d, c, block, slack;
    int normalised;
    float *x, *w, *h;
} problem;

typedef struct outcome {
    float *z, *f, *dw; /* (c,n), (n,d), (c,d) */
} outcome;

static uint32_t seed;
static double uniform(void) /* in (0, 1) */
{
    seed = seed * 1664525u + 1013904223u;
    return ((double)(seed >> 8) + 0.5) * 0x1p-24;
}
static double gauss(void) { return sqrt(-2 * log(uniform())) * cos(6.283185307179586 * uniform()); }

static float *must(int64_t count)
{
    float *p = calloc((size_t)count + 1, sizeof *p);
    ck_assert_ptr_nonnull(p);
    return p;
}

static float *gaussian_rows(int64_t rows, int64_t cols, int64_t ld, double scale)
{
    float *p = must(rows * ld);
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) p[i * ld + j] = (float)(scale * gauss());
    return p;
}

static problem make_problem(int64_t n, int64_t d, int64_t c, int normalised, double scale)
{
    problem p = { n, d, c, 96, 3, normalised, NULL, NULL, NULL };
    seed = (uint32_t)(n * 10007 + d * 101 + c);
    p.x = gaussian_rows(n, d, d + p.slack, scale / sqrt((double)d));
    p.w = gaussian_rows(c, d, d + p.slack, scale / sqrt((double)d));
    p.h = must(n * c); /* as of a softmax: small and positive, one large negative number in each row of X */
    for (int64_t i = 0; i < n * c; i++) p.h[i] = (float)(exp(3 * gauss() - 9) / (double)n);
    for (int64_t i = 0; i < n; i++) p.h[i * 31 % c * n + i] = (float)(-0.9 / (double)n);
    return p;
}

static void free_problem(problem *p)
{
    free(p->x);
    free(p->w);
    free(p->h);
}

static void free_outcome(outcome *o)
{
    free(o->z);
    free(o->f);
    free(o->dw);
}

static pfc_view rows_of(float *data, int64_t rows, int64_t cols, int64_t ld)
{
    pfc_view v = { data, PFC_F32, PFC_HOST, rows, cols, ld };
    return v;
}

static outcome compute(const pfc_ops *ops, const problem *p)
{
    pfc_backend be = { .ops = ops, .threads = 1, .lanes = ops->lanes };
    int64_t n = p->n, d = p->d, c = p->c, ld = d + p->slack;
    outcome o = { must(c * n), must(n * d), must(c * d) };
    float *norm = must(n + c), *wdot = must(c);
    pfc_view x = rows_of(p->x, n, d, ld), w = rows_of(p->w, c, d, ld), xnorm = rows_of(norm, n, 1, 1), wnorm = rows_of(norm + n, c, 1, 1);
    pfc_operand *operand;
    pfc_acc *acc;
    ck_assert_int_eq(pfc_fast_state_create(&be), PFC_OK);
    ck_assert_int_eq(ops->row_norms(&be, (pfc_rowset){ x, NULL, 0, n }, xnorm, NULL), PFC_OK);
    ck_assert_int_eq(ops->row_norms(&be, (pfc_rowset){ w, NULL, 0, c }, wnorm, NULL), PFC_OK);
    ck_assert_int_eq(ops->operand_create(&be, x, xnorm, NULL, &operand), PFC_OK);
    ck_assert_int_eq(ops->acc_create(&be, PFC_ACC_PRODUCT, n, d, &acc), PFC_OK);
    for (int64_t c0 = 0; c0 < c; c0 += p->block) {
        int64_t count = c - c0 < p->block ? c - c0 : p->block;
        pfc_rowset set = { w, NULL, c0, count };
        pfc_view block_norm = rows_of(norm + n + c0, count, 1, 1), h = rows_of(p->h + c0 * n, count, n, n), dot = rows_of(wdot + c0, count, 1, 1);
        ck_assert_int_eq(ops->cosines(&be, 0, operand, set, block_norm, NULL, p->normalised, rows_of(o.z + c0 * n, count, n, n)), PFC_OK);
        ck_assert_int_eq(ops->feature_grad(&be, 0, h, set, block_norm, NULL, p->normalised, acc), PFC_OK);
        ck_assert_int_eq(ops->weight_grad(&be, 0, operand, h, set, block_norm, dot, p->normalised, rows_of(o.dw + c0 * d, count, d, d)), PFC_OK);
    }
    const fast_acc *sums = acc->state;
    for (int64_t i = 0; i < n; i++) memcpy(o.f + i * d, sums->product + i * sums->ld, (size_t)d * sizeof(float));
    ops->acc_destroy(&be, acc);
    ops->operand_destroy(&be, operand);
    pfc_fast_state_destroy(&be);
    free(norm);
    free(wdot);
    return o;
}

/* ---- accuracy ---- */

/* Error of `rows` x `cols` sums over k terms: the largest relative to the sum of the absolute terms, and the rms relative to that of the result. */
typedef struct error {
    double max, squares, result;
} error;

static void add_error(error *e, double got, double want, double magnitude)
{
    double off = fabs(got - want);
    if (magnitude > 0 && off / magnitude > e->max) e->max = off / magnitude;
    e->squares += off * off;
    e->result += want * want;
}

static double *unit_rows(const float *a, int64_t rows, int64_t cols, int64_t ld, int normalised, double *norm)
{
    double *u = malloc((size_t)(rows * cols) * sizeof *u);
    for (int64_t i = 0; i < rows; i++) {
        double s = 0;
        for (int64_t j = 0; j < cols; j++) s += (double)a[i * ld + j] * (double)a[i * ld + j];
        norm[i] = normalised ? (double)(float)sqrt(s) : 1;
        for (int64_t j = 0; j < cols; j++) u[i * cols + j] = (double)a[i * ld + j] / norm[i];
    }
    return u;
}

/* Against double: errors of z, f and dw. */
static void measure(const problem *p, const outcome *o, error e[3])
{
    int64_t n = p->n, d = p->d, c = p->c, ld = d + p->slack;
    double *norm = malloc((size_t)(n + c) * sizeof *norm), *sum = malloc((size_t)(4 * d) * sizeof *sum), *size = sum + d;
    double *x = unit_rows(p->x, n, d, ld, p->normalised, norm), *w = unit_rows(p->w, c, d, ld, p->normalised, norm + n);
    memset(e, 0, 3 * sizeof *e);
    for (int64_t i = 0; i < c; i++)
        for (int64_t j = 0; j < n; j++) {
            double s = 0, m = 0;
            for (int64_t k = 0; k < d; k++) s += w[i * d + k] * x[j * d + k], m += fabs(w[i * d + k] * x[j * d + k]);
            add_error(&e[0], (double)o->z[i * n + j], s, m);
        }
    for (int64_t j = 0; j < n; j++) {
        memset(sum, 0, (size_t)(2 * d) * sizeof *sum);
        for (int64_t i = 0; i < c; i++)
            for (int64_t k = 0; k < d; k++) sum[k] += (double)p->h[i * n + j] * w[i * d + k], size[k] += fabs((double)p->h[i * n + j] * w[i * d + k]);
        for (int64_t k = 0; k < d; k++) add_error(&e[1], (double)o->f[j * d + k], sum[k], size[k]);
    }
    for (int64_t i = 0; i < c; i++) {
        double s = p->normalised ? norm[n + i] : 1;
        memset(sum, 0, (size_t)(2 * d) * sizeof *sum);
        for (int64_t j = 0; j < n; j++)
            for (int64_t k = 0; k < d; k++) sum[k] += (double)p->h[i * n + j] * x[j * d + k] / s, size[k] += fabs((double)p->h[i * n + j] * x[j * d + k] / s);
        for (int64_t k = 0; k < d; k++) add_error(&e[2], (double)o->dw[i * d + k], sum[k], size[k]);
    }
    free(norm);
    free(sum);
    free(x);
    free(w);
}

static double rms(const error *e) { return sqrt(e->squares / e->result); }

static void compare_accuracy(int64_t n, int64_t d, int64_t c, int normalised)
{
    static const char *const names[3] = { "cosines", "feature_grad", "weight_grad" };
    error tiles[3], ordinary[3];
    problem p = make_problem(n, d, c, normalised, 1);
    outcome t = compute(&pfc_ops_fast_bf16x6, &p), o = compute(&pfc_ops_fast_avx512, &p);
    measure(&p, &t, tiles);
    measure(&p, &o, ordinary);
    for (int i = 0; i < 3; i++) {
        printf("# N %d D %d C %d %s, %s: max %.2e (ordinary %.2e, ratio %.2f), rms %.2e (ordinary %.2e, ratio %.2f)\n", (int)n, (int)d, (int)c,
               normalised ? "unit rows" : "plain", names[i], tiles[i].max, ordinary[i].max, tiles[i].max / ordinary[i].max, rms(&tiles[i]), rms(&ordinary[i]),
               rms(&tiles[i]) / rms(&ordinary[i]));
        ck_assert_double_gt(ordinary[i].max, 0);
        ck_assert_double_le(tiles[i].max, ordinary[i].max);
        ck_assert_double_le(rms(&tiles[i]), rms(&ordinary[i]));
    }
    free_outcome(&t);
    free_outcome(&o);
    free_problem(&p);
}

START_TEST(not_less_accurate)
{
    compare_accuracy(128, 512, 1200, 1);
    compare_accuracy(128, 128, 1200, 1);
    compare_accuracy(96, 200, 700, 0);
}
END_TEST

/* ---- every size ---- */

static void choose_head(fast_problem *p, unsigned which)
{
    static const pfc_head_kind kinds[] = { PFC_HEAD_COS, PFC_HEAD_ARC, PFC_HEAD_CIRCLE, PFC_HEAD_LINEAR };
    p->head.kind = kinds[which % 4];
    p->head.normalised = p->head.kind != PFC_HEAD_LINEAR;
    if (!p->head.normalised) p->head.scale = 1;
}

/* As test_fast_kernels.c holds the ordinary tables against double. */
static void within_bound(const fast_problem *p, const fast_reference *want, const fast_result *got, int which)
{
    double bound = 4 * (p->head.scale * sqrt((double)p->d) + sqrt((double)(p->c + p->n)) + 16) * 0x1p-24;
    fast_shape shape = fast_result_shape(p, which);
    for (int64_t i = 0; i < shape.rows; i++)
        for (int64_t j = 0; j < shape.cols; j++) {
            double w = want->v[which][i * shape.ld + j], g = (double)got->v[which][i * shape.ld + j], m = want->magnitude[which][i * shape.ld + j];
            if (isnan(w) && which == R_TARGET) continue;
            ck_assert_msg(fabs(g - w) <= bound * m, "%s[%d,%d]: %.9g, expected %.9g (n %d d %d c %d head %d)", FAST_RESULT_NAMES[which], (int)i, (int)j, g, w,
                          (int)p->n, (int)p->d, (int)p->c, (int)p->head.kind);
        }
}

/* A step in double; the same bits with more threads and with weight_update; nothing written between rows (the step's fences). */
static void check_step(int64_t n, int64_t d, int64_t c, unsigned i)
{
    fast_problem p;
    fast_result one, other;
    fast_reference want;
    fast_problem_make(&p, n, d, c, i);
    if (i % 2) p.block = 1 + i * 37 % 130;
    choose_head(&p, i);
    fast_reference_step(&p, &want);
    fast_step(&pfc_ops_fast_bf16x6, 1, &p, &one);
    for (int which = 0; which < R_COUNT; which++)
        if (p.head.normalised || (which != R_DOT && which != R_WDOT)) within_bound(&p, &want, &one, which);
    p.fused = 1;
    fast_step(&pfc_ops_fast_bf16x6, 3, &p, &other);
    for (int which = 0; which < R_COUNT; which++)
        ck_assert_msg(memcmp(one.v[which], other.v[which], (size_t)(fast_result_size(&p, which) + 1) * sizeof(float)) == 0, "%s: n %d d %d c %d",
                      FAST_RESULT_NAMES[which], (int)n, (int)d, (int)c);
    fast_result_free(&one);
    fast_result_free(&other);
    fast_reference_free(&want);
    fast_problem_free(&p);
}

START_TEST(steps)
{
#ifdef PFC_SANITIZE
    const unsigned every = 4;
#else
    const unsigned every = 1;
#endif
    for (unsigned i = 1; i <= 70; i += every) {
        check_step(i, 4 + i * 7 % 37, 2 + i * 5 % 41, i);
        check_step(3 + i * 5 % 29, 3 + i, 2 + i * 11 % 43, i + 1);
        check_step(3 + i * 3 % 31, 4 + i * 13 % 35, 1 + i, i + 2);
    }
    check_step(150, 200, 390, 3);
}
END_TEST

/* ---- numbers of any size ---- */

static void errors_of(int64_t n, int64_t d, int64_t c, double scale, float h_scale, error e[3])
{
    problem p = make_problem(n, d, c, 1, scale);
    for (int64_t i = 0; i < n * c; i++) p.h[i] *= h_scale;
    outcome o = compute(&pfc_ops_fast_bf16x6, &p);
    measure(&p, &o, e);
    free_outcome(&o);
    free_problem(&p);
}

/* Rows of W and X far from length 1, and gradients of classes that no row is near: errors are relative to the terms, as they are at ordinary sizes. */
START_TEST(tiny_and_large)
{
    static const double scales[] = { 1e-11, 1e-6, 1e6, 1e17 };
    error plain[3], e[3];
    errors_of(40, 70, 100, 1, 1, plain);
    for (int s = 0; s < 4; s++) {
        errors_of(40, 70, 100, scales[s], 1, e);
        for (int i = 0; i < 3; i++) ck_assert(e[i].max <= 2 * plain[i].max && rms(&e[i]) <= 2 * rms(&plain[i]));
    }
    errors_of(40, 70, 100, 1, 0x1p-100f, e);
    ck_assert(e[2].max <= 2 * plain[2].max && rms(&e[2]) <= 2 * rms(&plain[2]));
    errors_of(40, 70, 100, 1, 0x1p100f, e);
    ck_assert(e[2].max <= 2 * plain[2].max && rms(&e[2]) <= 2 * rms(&plain[2]));
}
END_TEST

static int sort_of(float x) { return isnan(x) ? 3 : isinf(x) ? (x > 0 ? 1 : 2) : 0; }

static void same_sort(const char *what, const float *a, const float *b, int64_t count, int64_t *special)
{
    for (int64_t i = 0; i < count; i++) {
        ck_assert_msg(sort_of(a[i]) == sort_of(b[i]), "%s %d: %g, ordinary %g", what, (int)i, (double)a[i], (double)b[i]);
        if (sort_of(a[i])) ++*special;
        if (!sort_of(a[i])) ck_assert_msg(fabsf(a[i] - b[i]) <= 1e-5f * (1 + fabsf(b[i])), "%s %d: %g, ordinary %g", what, (int)i, (double)a[i], (double)b[i]);
    }
}

/* Where the ordinary kernels give an infinity or NaN, so do the tiles, and nowhere else; the rest of the block is not harmed. */
START_TEST(not_finite)
{
    static const float wild[] = { INFINITY, -INFINITY, NAN, 0x1.fffffep127f, -0x1p120f, 0x1.00007ep127f };
    for (int what = 0; what < 3; what++)
        for (int normalised = 0; normalised < 2; normalised++)
            for (int i = 0; i < 6; i++) {
                problem p = make_problem(70, 75, 130, normalised, 1);
                int64_t special = 0;
                float *at = what == 0 ? p.x + 33 * (p.d + p.slack) : what == 1 ? p.w + 40 * (p.d + p.slack) : p.h + 40 * p.n;
                at[17] = wild[i];
                if (i % 2) at[18] = wild[(i + 1) % 6];
                outcome t = compute(&pfc_ops_fast_bf16x6, &p), o = compute(&pfc_ops_fast_avx512, &p);
                same_sort("cosine", t.z, o.z, p.c * p.n, &special);
                same_sort("feature_grad", t.f, o.f, p.n * p.d, &special);
                same_sort("weight_grad", t.dw, o.dw, p.c * p.d, &special);
                if (i < 3) ck_assert_int_gt(special, 0);
                free_outcome(&t);
                free_outcome(&o);
                free_problem(&p);
            }
}
END_TEST

int main(void)
{
    if (!pfc_cpu_has_avx512()) return 77;
    Suite *suite = suite_create("bf16x6");
    TCase *tc = tcase_create("products");
    tcase_set_timeout(tc, 0);
    tcase_add_test(tc, not_less_accurate);
    tcase_add_test(tc, steps);
    tcase_add_test(tc, tiny_and_large);
    tcase_add_test(tc, not_finite);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
