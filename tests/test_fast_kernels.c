/* test_fast_kernels.c: fast mode of the cpu backend. All instruction sets and thread counts agree bit for bit with the plain C table, and that one agrees
 * with loops in double; then the rules at the edges (poles, clamp, threshold, NaN, empty ranks). */
#include <config.h>

#include "backend/cpu/fast.h"
#include "backend/cpuid.h"
#include "fast_step.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The tables beside plain C that this build has and this machine can run. */
static int vector_tables(const pfc_ops **tables, const pfc_fast_kernels **kernels)
{
    int count = 0;
#ifdef PFC_HAVE_AVX2
    if (pfc_cpu_has_avx2()) tables[count] = &pfc_ops_fast_avx2, kernels[count++] = &pfc_fast_kernels_avx2;
#endif
#ifdef PFC_HAVE_AVX512
    if (pfc_cpu_has_avx512()) tables[count] = &pfc_ops_fast_avx512, kernels[count++] = &pfc_fast_kernels_avx512;
#endif
    return count;
}

static void choose_head(fast_problem *p, unsigned which)
{
    static const pfc_head_kind kinds[] = { PFC_HEAD_COS, PFC_HEAD_ARC, PFC_HEAD_CIRCLE, PFC_HEAD_LINEAR };
    p->head.kind = kinds[which % 4];
    p->head.normalised = p->head.kind != PFC_HEAD_LINEAR;
    if (!p->head.normalised) p->head.scale = 1;
    p->head.arc_gradient = which >> 2 & 1 ? PFC_ARC_STRAIGHT_THROUGH : PFC_ARC_EXACT;
}

static void same_bits(const fast_problem *p, const fast_result *a, const fast_result *b, const char *isa)
{
    for (int i = 0; i < R_COUNT; i++)
        ck_assert_msg(memcmp(a->v[i], b->v[i], (size_t)(fast_result_size(p, i) + 1) * sizeof(float)) == 0,
                      "%s of %s differs: n %d d %d c %d slack %d block %d head %d", FAST_RESULT_NAMES[i], isa, (int)p->n, (int)p->d, (int)p->c, (int)p->slack,
                      (int)p->block, (int)p->head.kind);
    ck_assert_double_eq(a->loss, b->loss);
}

static void compare_isas(int64_t n, int64_t d, int64_t c, unsigned i)
{
    const pfc_ops *tables[2];
    const pfc_fast_kernels *kernels[2];
    int count = vector_tables(tables, kernels);
    fast_problem p;
    fast_result scalar, other;
    fast_problem_make(&p, n, d, c, i);
    choose_head(&p, i);
    p.head.cos_clamp = (int)(i >> 3 & 1);
    p.head.threshold = i % 5 == 0 ? 0.05 : 0;
    p.head.arc_fallback = (pfc_arc_fallback)(i % 3);
    fast_step(&pfc_ops_fast_scalar, 1, &p, &scalar);
    p.fused = 1;
    fast_step(&pfc_ops_fast_scalar, 1, &p, &other);
    same_bits(&p, &scalar, &other, "weight_update");
    fast_result_free(&other);
    for (int t = 0; t < count; t++) {
        p.fused = i % 3 > 0;
        fast_step(tables[t], i % 5 < 2 ? 2 + (int)(i % 5) : 1, &p, &other);
        same_bits(&p, &scalar, &other, tables[t]->isa);
        fast_result_free(&other);
    }
    fast_result_free(&scalar);
    fast_problem_free(&p);
}

/* Every length 1..200 as N, as D and as the number of classes, with odd leading dimensions, blocks of 1..40, gathered rows, 1..3 threads, with
 * and without weight_update. */
START_TEST(isas_agree)
{
    for (unsigned i = 1; i <= 200; i++) {
        compare_isas(i, 1 + i * 7 % 37, 1 + i * 5 % 41, i);
        compare_isas(1 + i * 5 % 29, i, 1 + i * 11 % 43, i + 1);
        compare_isas(1 + i * 3 % 31, 1 + i * 13 % 35, i, i + 2);
    }
    compare_isas(150, 200, 190, 3);
}
END_TEST

/* The kernels that a step uses in one form only. */
START_TEST(kernels_agree)
{
    const pfc_ops *tables[2];
    const pfc_fast_kernels *kernels[2];
    int count = vector_tables(tables, kernels);
    float x[208], a[208], b[208];
    for (int i = 0; i < 208; i++) x[i] = (float)(i * i % 97 - 96) * 1.1f;
    for (int n = 0; n <= 200; n++) {
        memset(a, 0, sizeof a);
        pfc_fast_kernels_scalar.exp_row(x + 3, n, a);
        double squares = pfc_fast_kernels_scalar.sum_squares(x + 3, n), mass = pfc_fast_kernels_scalar.row_mass(x + 3, n), want = 0;
        for (int i = 0; i < n; i++) want += (double)x[i + 3];
        ck_assert_double_le(fabs(mass - want), 1e-12 * fabs(want));
        for (int t = 0; t < count; t++) {
            memset(b, 0, sizeof b);
            kernels[t]->exp_row(x + 3, n, b);
            ck_assert_mem_eq(a, b, sizeof a);
            ck_assert_double_eq(kernels[t]->sum_squares(x + 3, n), squares);
            ck_assert_double_eq(kernels[t]->row_mass(x + 3, n), mass);
        }
    }
}
END_TEST

/* The data is fixed, so the bound may be that of a random walk: 4 (s sqrt(D) + sqrt(C + N) + 16) roundings of 2^-24. */
static void within_bound(const fast_problem *p, const fast_reference *want, const fast_result *got, int which)
{
    double bound = 4 * (p->head.scale * sqrt((double)p->d) + sqrt((double)(p->c + p->n)) + 16) * 0x1p-24;
    fast_shape shape = fast_result_shape(p, which);
    for (int64_t i = 0; i < shape.rows; i++)
        for (int64_t j = 0; j < shape.cols; j++) {
            int64_t at = i * shape.ld + j;
            double w = want->v[which][at], g = (double)got->v[which][at];
            if (isnan(w) && which == R_TARGET) continue;
            ck_assert_msg(fabs(g - w) <= bound * want->magnitude[which][at], "%s[%d,%d]: %.9g, expected %.9g, magnitude %g, bound %g (n %d d %d c %d head %d)",
                          FAST_RESULT_NAMES[which], (int)i, (int)j, g, w, want->magnitude[which][at], bound, (int)p->n, (int)p->d, (int)p->c,
                          (int)p->head.kind);
        }
}

START_TEST(agrees_with_double)
{
    const pfc_ops *tables[3] = { &pfc_ops_fast_scalar };
    const pfc_fast_kernels *kernels[2];
    int count = 1 + vector_tables(tables + 1, kernels);
    for (unsigned i = 0; i < 24; i++) {
        fast_problem p;
        fast_result got;
        fast_reference want;
        fast_problem_make(&p, 3 + (i * 37) % 130, 4 + (i * 61) % 190, 2 + (i * 29) % 300, 1000 + i);
        choose_head(&p, i);
        fast_reference_step(&p, &want);
        fast_step(tables[(int)i % count], 2, &p, &got);
        for (int which = 0; which < R_COUNT; which++)
            if (p.head.normalised || (which != R_DOT && which != R_WDOT)) within_bound(&p, &want, &got, which);
        ck_assert_double_eq_tol(got.loss, want.loss, 1e-5 * (1 + fabs(want.loss)));
        fast_result_free(&got);
        fast_reference_free(&want);
        fast_problem_free(&p);
    }
}
END_TEST

/* Units in the last place between the kernel's exp and the true one. */
START_TEST(exp_is_accurate)
{
    enum { COUNT = 1 << 16 };
    float *x = malloc(COUNT * sizeof *x), *y = malloc(COUNT * sizeof *y);
    double worst = 0;
    ck_assert(x && y);
    for (int i = 0; i < COUNT; i++) x[i] = -87.3f * (float)i / COUNT;
    pfc_fast_kernels_scalar.exp_row(x, COUNT, y);
    for (int i = 0; i < COUNT; i++) {
        double want = exp((double)x[i]), ulp = ldexp(1.0, ilogb(want) - 23);
        worst = fmax(worst, fabs((double)y[i] - want) / ulp);
    }
    ck_assert_double_le(worst, 1.05);
    const float edge[] = { 0.0f, -0.0f, -INFINITY, NAN, -87.4f, -1e30f, -1.0f };
    float e[7];
    pfc_fast_kernels_scalar.exp_row(edge, 7, e);
    ck_assert(e[0] == 1 && e[1] == 1 && e[2] == 0 && isnan(e[3]) && e[4] == 0 && e[5] == 0);
    ck_assert_float_eq(e[6], 0.36787945f);
    free(x);
    free(y);
}
END_TEST

/* ---- edges: one block, given cosines ---- */

typedef struct edge {
    pfc_backend be;
    pfc_head head;
    float z[4], h[4], wdot[4], max[1], sum[1], logit[1];
    int64_t target;
    unsigned char valid;
    double total, prob;
} edge;

/* One row, four classes with cosines z, the target at position t. */
static void edge_run(edge *e, const float *z, int64_t t)
{
    pfc_acc *sum, *dot;
    const pfc_ops *ops = e->be.ops;
    memcpy(e->z, z, sizeof e->z);
    e->target = t;
    pfc_view zv = pfc_view_make(e->z, PFC_F32, 4, 1), h = pfc_view_make(e->h, PFC_F32, 4, 1), wdot = pfc_view_make(e->wdot, PFC_F32, 4, 1);
    pfc_rows_info rows = {
        &e->target, &e->valid, pfc_view_make(e->logit, PFC_F32, 1, 1), pfc_view_make(e->max, PFC_F32, 1, 1), pfc_view_make(e->sum, PFC_F32, 1, 1), 1
    };
    ck_assert_int_eq(ops->acc_create(&e->be, PFC_ACC_SCALAR, 1, 1, &sum), PFC_OK);
    ck_assert_int_eq(ops->acc_create(&e->be, PFC_ACC_SCALAR, 1, 1, &dot), PFC_OK);
    ck_assert_int_eq(ops->row_max(&e->be, 3, &e->head, zv, 0, &rows, sum), PFC_OK);
    ck_assert_int_eq(ops->row_max_fold(&e->be, sum, rows.max), PFC_OK);
    ck_assert_int_eq(ops->acc_fold(&e->be, sum, &rows), PFC_OK);
    ck_assert_int_eq(ops->acc_value(&e->be, sum, 0, 1, rows.sum), PFC_OK);
    e->total = *(double *)sum->data;
    ck_assert_int_eq(ops->target_prob(&e->be, &rows, 1, &e->prob), PFC_OK);
    ck_assert_int_eq(ops->logit_grad(&e->be, 3, &e->head, zv, 0, &rows, h, dot, wdot), PFC_OK);
    ops->acc_destroy(&e->be, sum);
    ops->acc_destroy(&e->be, dot);
}

static void edge_open(edge *e, pfc_head_kind kind)
{
    *e = (edge){ .be = { .ops = &pfc_ops_fast_scalar, .threads = 1, .lanes = 8 }, .valid = 1 };
    e->head = (pfc_head){ .kind = kind, .scale = 2, .margin = 0.5, .cos_m = cos(0.5), .sin_m = sin(0.5), .mm = 0.5 * sin(0.5), .normalised = 1 };
    ck_assert_int_eq(pfc_fast_state_create(&e->be), PFC_OK);
}

START_TEST(arc_poles)
{
    edge e;
    edge_open(&e, PFC_HEAD_ARC);
    edge_run(&e, (float[]){ 1, 0.5f, 0.25f, -1 }, 1); /* |z| = 1: finite logits, NaN slopes */
    ck_assert(isfinite(e.max[0]) && isfinite(e.total));
    ck_assert(isnan(e.h[0]) && !isnan(e.h[1]) && !isnan(e.h[2]) && isnan(e.h[3]));
    edge_run(&e, (float[]){ 1, 0.5f, 0.25f, 0 }, 0); /* at the target */
    ck_assert(isfinite(e.total) && isnan(e.h[0]) && !isnan(e.h[1]));
    edge_run(&e, (float[]){ 0, 0x1.000002p0f, 0, 0 }, 0); /* above 1: the row is NaN */
    ck_assert(isnan(e.max[0]) && isnan(e.total) && isnan(e.h[0]) && isnan(e.h[1]) && isnan(e.h[2]));
    e.head.arc_gradient = PFC_ARC_STRAIGHT_THROUGH;
    edge_run(&e, (float[]){ 1, 0.5f, 0.25f, -1 }, 0);
    ck_assert(isfinite(e.h[0]) && isfinite(e.h[3]));
    e.head.arc_gradient = PFC_ARC_EXACT;
    e.head.cos_clamp = 1;
    edge_run(&e, (float[]){ 1, 1.5f, -2, 0.5f }, 0); /* clamped: the pole's slope is 0, outside is gated */
    ck_assert_float_eq(e.logit[0], 2 * (float)cos(0.5));
    ck_assert(e.h[0] == 0 && e.h[1] == 0 && e.h[2] == 0 && e.h[3] > 0);
    pfc_fast_state_destroy(&e.be);
}
END_TEST

START_TEST(arc_fallbacks)
{
    edge e;
    edge_open(&e, PFC_HEAD_ARC);
    e.head.arc_fallback = PFC_FALLBACK_LINEAR;
    edge_run(&e, (float[]){ -0.9f, 0, 0, 0 }, 0);
    ck_assert_float_eq(e.logit[0], 2 * (-0.9f - (float)(0.5 * sin(0.5))));
    edge_run(&e, (float[]){ -0.8f, 0, 0, 0 }, 0);
    ck_assert_float_eq_tol(e.logit[0], (float)(2 * cos(acos(-0.8f) + 0.5)), 1e-6f);
    e.head.arc_fallback = PFC_FALLBACK_EASY;
    edge_run(&e, (float[]){ -0.25f, 0, 0, 0 }, 0);
    ck_assert_float_eq(e.logit[0], -0.5f);
    edge_run(&e, (float[]){ 0.25f, 0, 0, 0 }, 0);
    ck_assert_float_eq_tol(e.logit[0], (float)(2 * cos(acos(0.25) + 0.5)), 1e-6f);
    pfc_fast_state_destroy(&e.be);
}
END_TEST

START_TEST(threshold_and_clamp)
{
    edge e;
    edge_open(&e, PFC_HEAD_COS);
    e.head.threshold = 0.25;
    edge_run(&e, (float[]){ 0.5f, 0.75f, 0.25f, 0.1f }, 1); /* 0.5 is switched off, the target is not, 0.25 is not above */
    ck_assert_float_eq(e.max[0], 0.5f);
    ck_assert_float_eq(e.logit[0], 0.5f);
    ck_assert(e.h[0] == 0 && e.h[1] < 0 && e.h[2] > 0 && e.h[3] > 0);
    ck_assert_float_eq_tol((float)e.total, (float)(exp(-0.5) + 1 + 1 + exp(-0.3)), 1e-6f);
    ck_assert_double_eq_tol(e.prob, 1 / e.total, 1e-6);
    e.head.threshold = 0;
    e.head.cos_clamp = 1;
    edge_run(&e, (float[]){ 3, 1, -1, NAN }, 1);
    ck_assert(isnan(e.max[0]) && isnan(e.total));
    edge_run(&e, (float[]){ 3, 1, -1, -3 }, 1);
    ck_assert(e.max[0] == 2 && e.h[0] == 0 && e.h[1] < 0 && e.h[2] > 0 && e.h[3] == 0);
    pfc_fast_state_destroy(&e.be);
}
END_TEST

START_TEST(not_finite)
{
    edge e;
    edge_open(&e, PFC_HEAD_COS);
    edge_run(&e, (float[]){ 0, -INFINITY, 0, 0 }, -1); /* a logit of -inf counts nothing */
    ck_assert(e.max[0] == 0 && e.total == 3 && e.prob == 0);
    edge_run(&e, (float[]){ 0, INFINITY, 0, 0 }, -1);
    ck_assert(e.max[0] == INFINITY && isnan(e.total) && isnan(e.h[0]));
    edge_run(&e, (float[]){ NAN, 1, 0, 0 }, -1); /* NaN wins, wherever it stands */
    ck_assert(isnan(e.max[0]) && isnan(e.total));
    edge_run(&e, (float[]){ -INFINITY, -INFINITY, -INFINITY, -INFINITY }, -1);
    ck_assert(e.max[0] == -INFINITY && isnan(e.total));
    e.valid = 0; /* an ignored row has no gradient */
    edge_run(&e, (float[]){ 0.5f, 1, 0, 0 }, -1);
    ck_assert(e.h[0] == 0 && e.h[1] == 0 && e.wdot[0] == 0);
    pfc_fast_state_destroy(&e.be);
}
END_TEST

START_TEST(no_class)
{
    edge e;
    pfc_acc *sum;
    edge_open(&e, PFC_HEAD_COS);
    const pfc_ops *ops = e.be.ops;
    pfc_rows_info rows = { &e.target, &e.valid, pfc_view_make(e.logit, PFC_F32, 1, 1), pfc_view_make(e.max, PFC_F32, 1, 1), pfc_view_make(e.sum, PFC_F32, 1, 1),
                           1 };
    ck_assert_int_eq(ops->acc_create(&e.be, PFC_ACC_SCALAR, 1, 1, &sum), PFC_OK);
    ck_assert_int_eq(ops->row_max_fold(&e.be, sum, rows.max), PFC_OK);
    ck_assert(e.max[0] == -INFINITY);
    ck_assert_int_eq(ops->acc_fold(&e.be, sum, &rows), PFC_OK);
    ck_assert_double_eq(*(double *)sum->data, 0);
    ops->acc_destroy(&e.be, sum);
    pfc_fast_state_destroy(&e.be);
}
END_TEST

/* Rows below the norm's clamp: quotient by 1e-12 and no projection (semantics.md 1.1). */
START_TEST(zero_rows)
{
    fast_problem p;
    fast_result got;
    fast_problem_make(&p, 5, 7, 6, 4);
    for (int64_t k = 0; k < p.d; k++) p.x[k] = 0, p.w[p.d + p.slack + k] = 0;
    fast_step(&pfc_ops_fast_scalar, 1, &p, &got);
    ck_assert(got.v[R_XNORM][0] == 0 && got.v[R_WNORM][1] == 0 && got.v[R_Z][0] == 0);
    for (int64_t k = 0; k < p.d; k++) ck_assert_float_eq(got.v[R_XGRAD][k], (float)(2 / (double)1e-12f) * got.v[R_FEATURE][k]);
    fast_result_free(&got);
    fast_problem_free(&p);
}
END_TEST

/* ---- rows of Sinkhorn ---- */

enum { ROW = 208, PARTS = 3 };

typedef struct sinkhorn_rows {
    float e[ROW], q[ROW], sum[ROW], column[ROW], r[ROW], max[16], min[16];
    double folded[ROW], total;
} sinkhorn_rows;

/* One row through all of its kernels; parts (PARTS, ROW). offset: where e and q start, stream: past the caches from the first aligned place on. */
static void sinkhorn_row(const pfc_fast_kernels *k, const float *a, const float *parts, int n, int offset, int stream, sinkhorn_rows *out)
{
    float *e = out->e + offset % 3, *q = out->q + offset % 5;
    memset(out, 0, sizeof *out);
    for (int i = 0; i < 16; i++) out->max[i] = -INFINITY, out->min[i] = INFINITY;
    for (int i = 0; i < ROW; i++) out->sum[i] = (float)i, out->column[i] = 1.0f, out->r[i] = i < n ? 1.0f / (float)(i + 1) : 0.0f;
    k->exp_row_sum(a, 20.0f, 3.0f, n, e, out->sum, out->max, out->min, stream);
    memcpy(q, e, (size_t)n * sizeof *q);
    k->scale_sample(e, out->r, 0.25f, n, out->column);
    k->finish_sample(q, out->r, n);
    out->total = k->fold_parts(parts, ROW, PARTS, out->r, 0.3, n, out->folded);
    k->next_factors(out->r, out->folded, 0.125f, n);
}

static void near(double found, double want) { ck_assert_double_le(fabs(found - want), 2e-6 * fabs(want)); }

static void sinkhorn_row_is_right(const float *a, const float *parts, int n, int offset, const sinkhorn_rows *got)
{
    const float *e = got->e + offset % 3, *q = got->q + offset % 5;
    double mass = 0, total = 0, high = -INFINITY, low = INFINITY, found_high = -INFINITY, found_low = INFINITY;
    for (int i = 0; i < n; i++) mass += (double)e[i] / (i + 1), high = fmax(high, (double)a[i]), low = fmin(low, (double)a[i]);
    for (int i = 0; i < 16; i++) found_high = fmax(found_high, (double)got->max[i]), found_low = fmin(found_low, (double)got->min[i]);
    ck_assert_double_eq(found_high, high);
    ck_assert_double_eq(found_low, low);
    for (int i = 0; i < n; i++) {
        double folded = 0;
        for (int part = 0; part < PARTS; part++) folded += (double)parts[part * ROW + i];
        near((double)e[i], exp((double)a[i] * 20 - 3));
        near((double)got->sum[i], (double)e[i] + i);
        near((double)got->column[i], 1 + (double)e[i] * 0.25 / mass);
        near((double)q[i], (double)e[i] / (i + 1) / mass);
        near(got->folded[i], folded / (i + 1) * 0.3);
        near((double)got->r[i], 0.125 / (folded * 0.3));
        total += got->folded[i];
    }
    near(got->total, total);
}

/* Every length, e at every place of a vector, streamed or not: the bits of plain C, and those are right; nothing is written beyond the row. */
START_TEST(sinkhorn_rows_agree)
{
    const pfc_ops *tables[2];
    const pfc_fast_kernels *kernels[2];
    int count = vector_tables(tables, kernels);
    static float a[ROW + 8], parts[PARTS * ROW];
    static sinkhorn_rows want, got;
    for (int i = 0; i < ROW; i++) a[i] = (float)(i * i % 97 - 48) * 0.01f;
    for (int i = 0; i < PARTS * ROW; i++) parts[i] = (float)(1 + i * i % 89) * 0.1f;
    for (int n = 1; n <= 200; n++) {
        sinkhorn_row(&pfc_fast_kernels_scalar, a + n % 7, parts, n, n, 0, &want);
        sinkhorn_row_is_right(a + n % 7, parts, n, n, &want);
        ck_assert(want.sum[n] == (float)n && want.e[n + n % 3] == 0.0f && want.folded[n] == 0.0);
        for (int t = -1; t < count; t++)
            for (int stream = 0; stream < 2; stream++) {
                sinkhorn_row(t < 0 ? &pfc_fast_kernels_scalar : kernels[t], a + n % 7, parts, n, n, stream, &got);
                for (int i = 0; i < 16; i++) got.max[i] = want.max[i], got.min[i] = want.min[i]; /* which of the sixteen has them is not said */
                ck_assert_mem_eq(&got, &want, sizeof want);
            }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("fast kernels");
    TCase *tc = tcase_create("step"), *edges = tcase_create("edges");
    tcase_set_timeout(tc, 120);
    tcase_add_test(tc, isas_agree);
    tcase_add_test(tc, kernels_agree);
    tcase_add_test(tc, agrees_with_double);
    tcase_add_test(tc, sinkhorn_rows_agree);
    tcase_add_test(tc, exp_is_accurate);
    tcase_add_test(edges, arc_poles);
    tcase_add_test(edges, arc_fallbacks);
    tcase_add_test(edges, threshold_and_clamp);
    tcase_add_test(edges, not_finite);
    tcase_add_test(edges, no_class);
    tcase_add_test(edges, zero_rows);
    suite_add_tcase(suite, tc);
    suite_add_tcase(suite, edges);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_NOFORK);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
