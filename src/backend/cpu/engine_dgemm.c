/* engine_dgemm.c: exact integer products by DGEMM on 21-bit slices.
 *
 * |s| <= 2^20, so a product of two slices is at most 2^40 and a sum of up to 8192 of them is an integer of at most 2^53: every intermediate of any
 * summation order is exact, whatever the BLAS does (exact.md 2.2). Level l collects the slice pairs i + j = l, of weight 2^(21(4-l)). Because one
 * operand stores its slices in order and the other in reverse, the pairs of a level lie next to each other along K: one call per level. */
#include "backend/cpu/exact.h"

#include <cblas.h>
#include <string.h>

enum { K_CHUNK = 2048, K_BUDGET = 8192 };

/* ---- self-check: C*r = A*(B*r) modulo 2^64 for a vector r of odd numbers ---- */

static uint64_t word(double x) { return (uint64_t)(int64_t)x; }

typedef struct gemm_call {
    bool ta, tb;
    int64_t m, n, k;
    const double *a;
    int64_t lda;
    const double *b;
    int64_t ldb;
    double beta;
    double *c;
    int64_t ldc;
} gemm_call;

/* sum_j c_ij r_j for every i, into out. */
static void times_r(const double *c, int64_t m, int64_t n, int64_t ld, bool transposed, uint64_t *out)
{
    memset(out, 0, (size_t)m * sizeof *out);
    for (int64_t i = 0; i < m; i++)
        for (int64_t j = 0; j < n; j++) out[i] += word(transposed ? c[j * ld + i] : c[i * ld + j]) * exact_odd(j);
}

static int verified(const gemm_call *g, const uint64_t *before, uint64_t *br, uint64_t *after)
{
    times_r(g->b, g->k, g->n, g->ldb, g->tb, br);
    times_r(g->c, g->m, g->n, g->ldc, false, after);
    for (int64_t i = 0; i < g->m; i++) {
        uint64_t want = before[i];
        for (int64_t k = 0; k < g->k; k++) want += word(g->ta ? g->a[k * g->lda + i] : g->a[i * g->lda + k]) * br[k];
        if (want != after[i]) return 0;
    }
    return 1;
}

static void call_blas(const gemm_call *g)
{
    cblas_dgemm(CblasRowMajor, g->ta ? CblasTrans : CblasNoTrans, g->tb ? CblasTrans : CblasNoTrans, (int)g->m, (int)g->n, (int)g->k, 1.0, g->a, (int)g->lda,
                g->b, (int)g->ldb, g->beta, g->c, (int)g->ldc);
}

static pfc_status gemm(exact_lane *lane, const gemm_call *g)
{
    if (!lane->self_check) {
        call_blas(g);
        return PFC_OK;
    }
    uint64_t *w = (uint64_t *)pfc_exact_scratch(lane, SCRATCH_CHECK, 2 * g->m + g->k);
    if (!w) return PFC_ERR_NOMEM;
    uint64_t *before = w, *after = w + g->m, *br = w + 2 * g->m;
    memset(before, 0, (size_t)g->m * sizeof *before);
    if (g->beta != 0.0) times_r(g->c, g->m, g->n, g->ldc, false, before);
    call_blas(g);
    if (verified(g, before, br, after)) return PFC_OK;
    return pfc_exact_check_failed(lane, "DGEMM", g->m, g->n, g->k);
}

/* ---- levels ---- */

static const double *slice_at(const exact_slices *s, int j, int64_t k) { return s->p + (s->reversed ? 2 - j : j) * s->plane + (s->by_k ? k * s->ld : k); }

static const double *sum_at(const exact_slices *s, int64_t k) { return s->sum + (s->by_k ? k * s->sum_ld : k); }

/* Levels 0 to 3 (or 4) with three products for the four pairs of slices 0 and 1 (Karatsuba): level 1 = (a0 + a1)(b0 + b1) - a0 b0 - a1 b1. Sums of two
 * slices are at most 2^21, their products over K_CHUNK terms 2^53. */
static pfc_status gemm_levels_by_sums(exact_lane *lane, int64_t m, int64_t n, const exact_slices *a, int na, const exact_slices *b, int nb, int64_t k0,
                                      int64_t kc, double *level, int64_t stride)
{
    gemm_call g = { a->by_k, !b->by_k, m, n, kc, NULL, a->ld, NULL, b->ld, 0.0, NULL, n };
    for (int i = 0; i < 2; i++) {
        g.a = slice_at(a, i, k0);
        g.b = slice_at(b, i, k0);
        g.c = level + 2 * i * stride;
        PFC_TRY(gemm(lane, &g));
    }
    gemm_call sums = { a->by_k, !b->by_k, m, n, kc, sum_at(a, k0), a->sum_ld, sum_at(b, k0), b->sum_ld, 0.0, level + stride, n };
    PFC_TRY(gemm(lane, &sums));
    const double *l0 = level, *l2 = level + 2 * stride;
    double *l1 = level + stride;
    for (int64_t i = 0; i < m * n; i++) l1[i] -= l0[i] + l2[i];
    for (int i = 0; i < na; i++)
        for (int j = 0; j < nb; j++) {
            if (i < 2 && j < 2) continue;
            g.a = slice_at(a, i, k0);
            g.b = slice_at(b, j, k0);
            g.beta = i + j == 2 || (i == 2 && j == 1 && nb == 3) ? 1.0 : 0.0; /* level 2 has a1 b1, level 3 a1 b2 already */
            g.c = level + (i + j) * stride;
            PFC_TRY(gemm(lane, &g));
        }
    return PFC_OK;
}

/* level[l] (m, n) (+)= pairs i + j = l over k in [k0, k0 + kc) of K, with the first `na`, `nb` slices. Levels are `stride` apart. */
static pfc_status gemm_levels(exact_lane *lane, int64_t m, int64_t n, int64_t K, const exact_slices *a, int na, const exact_slices *b, int nb, int64_t k0,
                              int64_t kc, double beta, double *level, int64_t stride)
{
    if (a->sum && b->sum && beta == 0.0) return gemm_levels_by_sums(lane, m, n, a, na, b, nb, k0, kc, level, stride);
    for (int l = 0; l <= na + nb - 2; l++) {
        int first = l - nb + 1 > 0 ? l - nb + 1 : 0, last = l < na - 1 ? l : na - 1;
        gemm_call g = { a->by_k, !b->by_k, m, n, kc, NULL, a->ld, NULL, b->ld, beta, level + l * stride, n };
        if (kc == K) { /* the pairs of a level are contiguous along K: one call */
            g.k = K * (last - first + 1);
            g.a = slice_at(a, first, 0);
            g.b = slice_at(b, l - first, 0);
            PFC_TRY(gemm(lane, &g));
            continue;
        }
        for (int i = first; i <= last; i++) {
            g.a = slice_at(a, i, k0);
            g.b = slice_at(b, l - i, k0);
            PFC_TRY(gemm(lane, &g));
            g.beta = 1.0;
        }
    }
    return PFC_OK;
}

/* t (m, n) = RN(sum over K) with na, nb slices. K up to K_CHUNK: levels stay double. */
static pfc_status rounded_product(exact_lane *lane, int64_t m, int64_t n, int64_t K, const exact_slices *a, int na, const exact_slices *b, int nb, double *t)
{
    int64_t size = m * n;
    double *level = pfc_exact_scratch(lane, SCRATCH_LEVELS, (K <= K_CHUNK ? 5 : 11) * size);
    if (!level) return PFC_ERR_NOMEM;
    int count = na + nb - 1;
    if (K <= K_CHUNK) {
        const double *planes[5] = { level, level + size, level + 2 * size, level + 3 * size, level + 4 * size };
        PFC_TRY(gemm_levels(lane, m, n, K, a, na, b, nb, 0, K, 0.0, level, size));
        lane->k->round_levels(planes, count, size, t);
        return PFC_OK;
    }
    int64_t *high = (int64_t *)(level + 5 * size);
    memset(high, 0, (size_t)(6 * size) * sizeof *high);
    for (int64_t k0 = 0; k0 < K; k0 += K_CHUNK) {
        int64_t kc = K - k0 < K_CHUNK ? K - k0 : K_CHUNK;
        PFC_TRY(gemm_levels(lane, m, n, K, a, na, b, nb, k0, kc, 0.0, level, size));
        lane->k->flush_levels(level, high, size, size, count);
    }
    for (int64_t i = 0; i < size; i++) {
        int64_t limb[PFC_LIMBS] = { 0, 0, 0, 0 };
        pfc_limbs_add_levels(limb, high + i, size);
        t[i] = pfc_limbs_round(limb);
    }
    return PFC_OK;
}

/* ---- forward: rows against rows ---- */

/* The wide rows of s, gathered with all slices. */
static pfc_status gather_wide(exact_lane *lane, int which, const exact_slices *s, int64_t K, exact_slices *out)
{
    double *p = pfc_exact_scratch(lane, which, 3 * K * s->wide);
    if (!p) return PFC_ERR_NOMEM;
    for (int64_t i = 0; i < s->wide; i++) memcpy(p + i * 3 * K, s->p + s->wide_index[i] * s->ld, (size_t)(3 * K) * sizeof *p);
    *out = *s;
    out->p = p;
    out->sum = NULL;
    out->ld = 3 * K;
    return PFC_OK;
}

pfc_status pfc_dgemm_forward(exact_lane *lane, int64_t m, const exact_slices *w, const pfc_operand *x, double *t)
{
    int64_t n = x->n, K = x->d;
    bool w_full = w->wide * 4 > m, x_full = x->rows.wide * 4 > n;
    PFC_TRY(rounded_product(lane, m, n, K, w, w_full ? 3 : 2, &x->rows, x_full ? 3 : 2, t));
    int na = w->wide ? 3 : 2, nb = x->rows.wide ? 3 : 2;
    exact_slices part;
    if (x->rows.wide && !x_full) { /* all rows of w against the wide rows of x */
        int64_t count = x->rows.wide;
        PFC_TRY(gather_wide(lane, SCRATCH_EXTRA_B, &x->rows, K, &part));
        double *again = pfc_exact_scratch(lane, SCRATCH_EXTRA_A, m * count);
        if (!again) return PFC_ERR_NOMEM;
        PFC_TRY(rounded_product(lane, m, count, K, w, na, &part, 3, again));
        for (int64_t i = 0; i < m; i++)
            for (int64_t j = 0; j < count; j++) t[i * n + x->rows.wide_index[j]] = again[i * count + j];
    }
    if (w->wide && !w_full) { /* the wide rows of w against all of x */
        PFC_TRY(gather_wide(lane, SCRATCH_EXTRA_A, w, K, &part));
        double *again = pfc_exact_scratch(lane, SCRATCH_EXTRA_B, w->wide * n);
        if (!again) return PFC_ERR_NOMEM;
        PFC_TRY(rounded_product(lane, w->wide, n, K, &part, 3, &x->rows, nb, again));
        for (int64_t i = 0; i < w->wide; i++) memcpy(t + w->wide_index[i] * n, again + i * n, (size_t)n * sizeof *t);
    }
    return PFC_OK;
}

/* ---- sums over K = classes or rows, where wide entries lie along K ---- */

/* Adds to levels 2..4 the third slice of the wide k of b: level[i+2] += slice i of a times slice 2 of b. */
static pfc_status add_wide(exact_lane *lane, int64_t m, int64_t n, const exact_slices *a, const exact_slices *b, double beta4, double *level, int64_t stride)
{
    int64_t count = b->wide;
    double *ga = pfc_exact_scratch(lane, SCRATCH_EXTRA_A, count * m), *gb = pfc_exact_scratch(lane, SCRATCH_EXTRA_B, count * n);
    if (!ga || !gb) return PFC_ERR_NOMEM;
    for (int64_t i = 0; i < count; i++) memcpy(gb + i * n, slice_at(b, 2, b->wide_index[i]), (size_t)n * sizeof *gb);
    for (int j = 0; j < 3; j++) {
        for (int64_t i = 0; i < count; i++) {
            const double *from = slice_at(a, j, b->wide_index[i]);
            for (int64_t r = 0; r < m; r++) ga[i * m + r] = from[a->by_k ? r : r * a->ld];
        }
        gemm_call g = { true, false, m, n, count, ga, m, gb, n, j == 2 ? beta4 : 1.0, level + (j + 2) * stride, n };
        PFC_TRY(gemm(lane, &g));
    }
    return PFC_OK;
}

static pfc_status weight_slices(exact_lane *lane, int64_t m, const exact_slices *g, const pfc_operand *x, double *t)
{
    int64_t size = m * x->d;
    bool full = x->cols.wide * 4 > x->n;
    if (x->cols.wide == 0 || full || x->n > K_CHUNK) return rounded_product(lane, m, x->d, x->n, g, 3, &x->cols, x->cols.wide ? 3 : 2, t);
    double *level = pfc_exact_scratch(lane, SCRATCH_LEVELS, 5 * size);
    if (!level) return PFC_ERR_NOMEM;
    PFC_TRY(gemm_levels(lane, m, x->d, x->n, g, 3, &x->cols, 2, 0, x->n, 0.0, level, size));
    PFC_TRY(add_wide(lane, m, x->d, g, &x->cols, 0.0, level, size));
    const double *planes[5] = { level, level + size, level + 2 * size, level + 3 * size, level + 4 * size };
    lane->k->round_levels(planes, 5, size, t);
    return PFC_OK;
}

static pfc_status feature_slices(exact_lane *lane, int64_t count, int64_t n, int64_t d, const exact_slices *h, const exact_slices *w, exact_product_acc *acc)
{
    int64_t size = n * d;
    bool full = w->wide * 4 > count;
    if (3 * (acc->pending + count) > K_BUDGET) { /* up to three pairs of a level share an accumulator */
        lane->k->flush_levels(acc->level, acc->high, size, size, 5);
        acc->pending = 0;
    }
    acc->pending += count;
    PFC_TRY(gemm_levels(lane, n, d, count, h, 3, w, full ? 3 : 2, 0, count, 1.0, acc->level, size));
    return w->wide && !full ? add_wide(lane, n, d, h, w, 1.0, acc->level, size) : PFC_OK;
}

/* ---- the engine: slices, then their products ---- */

/* The plane s0 + s1 of n x d slices. */
static void add_sums(exact_slices *s, int64_t n, int64_t d, double *sum)
{
    for (int64_t i = 0; i < n; i++) {
        const double *s0 = s->p + (s->reversed ? 2 : 0) * s->plane + i * s->ld, *s1 = s->p + s->plane + i * s->ld;
        for (int64_t j = 0; j < d; j++) sum[i * d + j] = s0[j] + s1[j];
    }
    s->sum = sum;
    s->sum_ld = d;
}

static pfc_status prepare(exact_lane *lane, pfc_operand *x)
{
    PFC_TRY(pfc_slice_operand(lane, x));
    double *sum = x->storage + 6 * x->n * x->d;
    add_sums(&x->rows, x->n, x->d, sum);
    add_sums(&x->cols, x->n, x->d, sum);
    return PFC_OK;
}

static pfc_status sliced_rows(exact_lane *lane, int which, pfc_rowset a, const int32_t *expo, exact_slices *s)
{
    double *sum = pfc_exact_scratch(lane, SCRATCH_SUMS, a.count * a.base.cols);
    if (!sum) return PFC_ERR_NOMEM;
    PFC_TRY(pfc_slice_rows(lane, which, a, expo, false, s));
    add_sums(s, a.count, a.base.cols, sum);
    return PFC_OK;
}

static pfc_status forward(exact_lane *lane, pfc_rowset w, const int32_t *expo, const pfc_operand *x, double *t)
{
    exact_slices s;
    PFC_TRY(sliced_rows(lane, SCRATCH_W, w, expo, &s));
    return pfc_dgemm_forward(lane, w.count, &s, x, t);
}

static pfc_status weight(exact_lane *lane, pfc_rowset g, const int32_t *expo, const pfc_operand *x, double *t)
{
    exact_slices s;
    PFC_TRY(sliced_rows(lane, SCRATCH_H, g, expo, &s));
    return weight_slices(lane, g.count, &s, x, t);
}

static pfc_status feature(exact_lane *lane, pfc_rowset h, const int32_t *grid, pfc_rowset w, const int32_t *expo, exact_product_acc *acc)
{
    int64_t n = h.base.cols, d = w.base.cols;
    exact_slices hs, ws;
    acc->level = pfc_exact_zeros(acc->level, 5 * n * d);
    acc->high = pfc_exact_zeros(acc->high, 6 * n * d);
    if (!acc->level || !acc->high) return PFC_ERR_NOMEM;
    PFC_TRY(pfc_slice_columns(lane, SCRATCH_H, h, grid, &hs));
    PFC_TRY(pfc_slice_rows(lane, SCRATCH_W, w, expo, true, &ws));
    return feature_slices(lane, h.count, n, d, &hs, &ws, acc);
}

const pfc_engine pfc_engine_dgemm = {
    .name = "dgemm",
    .prepare = prepare,
    .forward = forward,
    .weight = weight,
    .feature = feature,
};
