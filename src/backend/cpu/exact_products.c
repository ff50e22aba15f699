/* exact_products.c: the three products of exact mode: quantise, let the engine compute the integers, finish (doc/exact-v1.md 3.2, 3.9, 3.10). */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/exact.h"

#include <stdlib.h>
#include <string.h>

pfc_status pfc_exact_fail(pfc_backend *be, int lane, pfc_status status)
{
    if (status == PFC_OK) return PFC_OK;
    const char *text = exact_of(be)->lane[lane].error;
    if (text[0])
        memcpy(be->error, text, strlen(text) + 1);
    else
        memcpy(be->error, "out of memory", 14);
    return status;
}

/* ---- the batch as an operand ---- */

static void fill_operand(const pfc_exact_kernels *k, pfc_operand *op)
{
    int64_t n = op->n, d = op->d;
    double *rows = op->storage, *cols = rows + 3 * n * d;
    for (int64_t i = 0; i < n; i++) {
        const double *x = (const double *)op->x.data + i * op->x.ld;
        double *r = rows + i * 3 * d;
        if (k->slice(x, d, px_pow2(20 - op->expo[i]), r + 2 * d, r + d, r)) op->wide_index[op->rows.wide++] = i;
        for (int place = 0; place < 3; place++) memcpy(cols + (place * n + i) * d, r + place * d, (size_t)d * sizeof *r);
        op->sx[i] = px_pow2(op->expo[i] - 62);
        op->pow_e[i] = px_pow2(op->expo[i]);
        op->dx[i] = exact_clamped(op->norm[i]);
        op->any_nonfinite |= !px_finite(op->norm[i]);
    }
    op->rows.p = rows;
    op->rows.plane = d;
    op->rows.ld = 3 * d;
    op->cols.p = cols;
    op->cols.plane = n * d;
    op->cols.ld = d;
    op->cols.by_k = true;
    op->rows.reversed = op->cols.reversed = true;
    op->cols.wide = op->rows.wide;
    op->rows.wide_index = op->cols.wide_index = op->wide_index;
}

pfc_status pfc_exact_operand_create(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out)
{
    int64_t n = x.rows, d = x.cols;
    *out = NULL;
    pfc_operand *op = calloc(1, sizeof *op);
    if (!op) return pfc_cpu_nomem(be, sizeof *op);
    size_t bytes = (size_t)(6 * n * d + 3 * n) * sizeof(double);
    op->storage = aligned_alloc(64, (bytes + 64) / 64 * 64);
    op->wide_index = malloc((size_t)(n + 1) * sizeof *op->wide_index);
    if (!op->storage || !op->wide_index) {
        pfc_exact_operand_destroy(be, op);
        return pfc_cpu_nomem(be, bytes);
    }
    op->n = n;
    op->d = d;
    op->x = x;
    op->norm = norm.data;
    op->expo = expo;
    op->sx = op->storage + 6 * n * d;
    op->pow_e = op->sx + n;
    op->dx = op->pow_e + n;
    fill_operand(exact_of(be)->k, op);
    *out = op;
    return PFC_OK;
}

void pfc_exact_operand_destroy(pfc_backend *be, pfc_operand *x)
{
    (void)be;
    if (!x) return;
    free(x->storage);
    free(x->wide_index);
    free(x);
}

/* ---- slices of a block of classes ---- */

/* Slices the rows of w. by_k: [w2; w1; w0], for sums over classes; else [w0|w1|w2] per row, for sums over D. */
static pfc_status slice_block(exact_lane *lane, pfc_rowset w, const int32_t *expo, bool by_k, exact_slices *out)
{
    int64_t d = w.base.cols, c = w.count;
    PFC_TRY(pfc_exact_environment(lane));
    double *p = pfc_exact_scratch(lane, SCRATCH_W, 3 * c * d + c);
    if (!p) return PFC_ERR_NOMEM;
    int64_t *wide = (int64_t *)(p + 3 * c * d), count = 0;
    for (int64_t i = 0; i < c; i++) {
        double scale = px_pow2(20 - expo[i]), *at = by_k ? p + i * d : p + i * 3 * d;
        int64_t plane = by_k ? c * d : d;
        int third = by_k ? lane->k->slice(exact_row(w, i), d, scale, at + 2 * plane, at + plane, at)
                         : lane->k->slice(exact_row(w, i), d, scale, at, at + plane, at + 2 * plane);
        if (third) wide[count++] = i;
    }
    exact_slices s = { p, by_k ? c * d : d, by_k ? d : 3 * d, by_k, by_k, count, wide };
    *out = s;
    return PFC_OK;
}

/* ---- cosines ---- */

/* The terms of <a, b> in which a factor is not finite: NaN or an infinity, in any order. */
static double special_dot(const double *a, const double *b, int64_t n)
{
    unsigned char mark = 0;
    for (int64_t i = 0; i < n; i++)
        if (!px_finite(a[i]) || !px_finite(b[i])) mark |= pfc_mark_of(a[i] * b[i]);
    return pfc_mark_value(mark);
}

static void special_cosines(const pfc_operand *x, pfc_rowset w, const double *wnorm, int normalised, double *z, int64_t ld)
{
    for (int64_t c = 0; c < w.count; c++) {
        bool bad = !px_finite(wnorm[c]);
        if (!bad && !x->any_nonfinite) continue;
        for (int64_t i = 0; i < x->n; i++) {
            if (!bad && px_finite(x->norm[i])) continue;
            double dot = special_dot((const double *)x->x.data + i * x->x.ld, exact_row(w, c), x->d);
            z[c * ld + i] = normalised ? dot / (x->dx[i] * exact_clamped(wnorm[c])) : dot;
        }
    }
}

pfc_status pfc_exact_cosines(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_view z)
{
    pfc_exact *ex = exact_of(be);
    exact_slices s;
    double *out = z.data;
    const double *norm = wnorm.data;
    pfc_status st = slice_block(&ex->lane[lane], w, wexpo, false, &s);
    if (st == PFC_OK) st = ex->engine->forward(&ex->lane[lane], w.count, &s, x, out);
    if (st != PFC_OK) return pfc_exact_fail(be, lane, st);
    for (int64_t c = 0; c < w.count; c++)
        ex->k->finish_cosine(out + c * x->n, x->sx, normalised ? x->dx : NULL, px_pow2(wexpo[c] - 62), exact_clamped(norm[c]), x->n);
    special_cosines(x, w, norm, normalised, out, x->n);
    return PFC_OK;
}

/* ---- gradient of the features ---- */

static void mark_feature(pfc_view h, pfc_rowset w, const double *wnorm, int normalised, unsigned char *mark)
{
    int64_t n = h.cols, d = w.base.cols;
    for (int64_t c = 0; c < h.rows; c++)
        for (int64_t i = 0; i < n; i++) {
            double v = ((const double *)h.data)[c * h.ld + i];
            if (px_finite(v) && px_finite(wnorm[c])) continue;
            const double *row = exact_row(w, c);
            for (int64_t j = 0; j < d; j++) {
                double unit = normalised ? row[j] / exact_clamped(wnorm[c]) : row[j];
                if (!px_finite(v) || !px_finite(unit)) mark[i * d + j] |= pfc_mark_of(v * unit);
            }
        }
}

/* The lane's memory, made when it is first used. */
static pfc_status ready(exact_product_acc *acc, const pfc_acc *a, bool limbs)
{
    size_t size = (size_t)(a->rows * a->cols);
    if (limbs && !acc->limb) acc->limb = calloc(size, PFC_LIMBS * sizeof *acc->limb);
    if (!limbs && !acc->level) acc->level = calloc(size, 5 * sizeof *acc->level);
    if (!limbs && !acc->high) acc->high = calloc(size, 6 * sizeof *acc->high);
    return (limbs ? acc->limb != NULL : acc->level && acc->high) ? PFC_OK : PFC_ERR_NOMEM;
}

/* u = (h / d_c) * 2^(e_c) on the grid of each row n, sliced: [h0; h1; h2]. */
static pfc_status slice_gradient(exact_lane *lane, pfc_view h, const double *wnorm, const int32_t *wexpo, int normalised, const int32_t *grid, exact_slices *out)
{
    int64_t c = h.rows, n = h.cols;
    double *p = pfc_exact_scratch(lane, SCRATCH_H, 3 * c * n), *u = pfc_exact_scratch(lane, SCRATCH_ROWS, 2 * n);
    if (!p || !u) return PFC_ERR_NOMEM;
    double *scale = u + n;
    for (int64_t i = 0; i < n; i++) scale[i] = px_pow2(20 - grid[i]);
    for (int64_t i = 0; i < c; i++) {
        double *at = p + i * n;
        lane->k->scale_row((const double *)h.data + i * h.ld, exact_clamped(wnorm[i]), px_pow2(wexpo[i]), normalised, n, u);
        lane->k->slice_each(u, scale, n, at, at + c * n, at + 2 * c * n);
    }
    exact_slices s = { p, c * n, n, false, true, 0, NULL };
    *out = s;
    return PFC_OK;
}

pfc_status pfc_exact_feature_grad(pfc_backend *be, int lane, pfc_view h, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_acc *feature)
{
    pfc_exact *ex = exact_of(be);
    exact_product_acc *acc = &((exact_acc_state *)feature->state)->product[lane];
    exact_slices hs, ws;
    pfc_status st = ready(acc, feature, ex->engine == &pfc_engine_int128);
    if (st == PFC_OK) st = slice_gradient(&ex->lane[lane], h, wnorm.data, wexpo, normalised, feature->expo, &hs);
    if (st == PFC_OK) st = slice_block(&ex->lane[lane], w, wexpo, true, &ws);
    if (st == PFC_OK) st = ex->engine->feature(&ex->lane[lane], w.count, h.cols, w.base.cols, &hs, &ws, acc);
    if (st != PFC_OK) return pfc_exact_fail(be, lane, st);
    int nonfinite = 0;
    for (int64_t c = 0; c < h.rows; c++) {
        ex->k->max_abs((const double *)h.data + c * h.ld, h.cols, &nonfinite);
        if (!px_finite(((const double *)wnorm.data)[c])) nonfinite = 1;
    }
    if (!nonfinite) return PFC_OK;
    if (!acc->mark) acc->mark = calloc((size_t)(feature->rows * feature->cols), 1);
    if (!acc->mark) return pfc_exact_fail(be, lane, PFC_ERR_NOMEM);
    mark_feature(h, w, wnorm.data, normalised, acc->mark);
    return PFC_OK;
}

pfc_status pfc_exact_feature_grad_finish(pfc_backend *be, pfc_view feature, pfc_view dot, pfc_view x, pfc_view norm, int normalised, double scale,
                                         pfc_view x_grad)
{
    (void)be;
    for (int64_t i = 0; i < feature.rows; i++) {
        const double *f = (const double *)feature.data + i * feature.ld, *row = (const double *)x.data + i * x.ld;
        double *out = (double *)x_grad.data + i * x_grad.ld;
        double raw = ((const double *)norm.data)[i], r = exact_clamped(raw), q = normalised ? ((const double *)dot.data)[i * dot.ld] : 0.0;
        for (int64_t j = 0; j < feature.cols; j++) {
            double v = !normalised || raw < 1e-12 ? f[j] : PX_FMA(-(row[j] / r), q, f[j]);
            out[j] = (normalised ? v / r : v) * scale;
        }
    }
    return PFC_OK;
}

/* ---- gradient of the weights ---- */

/* Replaces the elements of t (one class, already scaled) that have a non-finite term. */
static void mark_weight(const pfc_operand *x, const double *h, int normalised, double *t)
{
    for (int64_t j = 0; j < x->d; j++) {
        unsigned char mark = 0;
        for (int64_t i = 0; i < x->n; i++) {
            double v = ((const double *)x->x.data)[i * x->x.ld + j], unit = normalised ? v / x->dx[i] : v;
            if (!px_finite(h[i]) || !px_finite(unit)) mark |= pfc_mark_of(h[i] * unit);
        }
        if (mark) t[j] = pfc_mark_value(mark);
    }
}

/* u = (h / d_n) * 2^(e_n) on the grid of each class, sliced: [g0|g1|g2] per class; grid exponents out. */
static pfc_status slice_by_class(exact_lane *lane, const pfc_operand *x, pfc_view h, int normalised, int32_t *grid, int *nonfinite, exact_slices *out)
{
    int64_t c = h.rows, n = x->n;
    double *p = pfc_exact_scratch(lane, SCRATCH_H, 3 * c * n), *u = pfc_exact_scratch(lane, SCRATCH_ROWS, n);
    if (!p || !u) return PFC_ERR_NOMEM;
    for (int64_t i = 0; i < c; i++) {
        double *at = p + i * 3 * n;
        lane->k->scale_each((const double *)h.data + i * h.ld, normalised ? x->dx : NULL, x->pow_e, n, u);
        grid[i] = px_expo(lane->k->max_abs(u, n, nonfinite));
        lane->k->slice(u, n, px_pow2(20 - grid[i]), at, at + n, at + 2 * n);
    }
    exact_slices s = { p, n, 3 * n, false, false, 0, NULL };
    *out = s;
    return PFC_OK;
}

static void finish_weight_rows(pfc_exact *ex, const pfc_operand *x, double *t, const int32_t *grid, bool marked, pfc_view h, pfc_rowset w, pfc_view wnorm,
                               pfc_view wdot, int normalised, pfc_view dw)
{
    for (int64_t c = 0; c < w.count; c++) {
        double *g = (double *)dw.data + c * dw.ld, *row = t + c * x->d;
        double raw = ((const double *)wnorm.data)[c], q = normalised ? ((const double *)wdot.data)[c] : 0.0;
        int32_t power = grid[c] - 124;
        double s1 = px_pow2(power / 2), s2 = px_pow2(power - power / 2);
        if (marked) {
            for (int64_t j = 0; j < x->d; j++) row[j] = (row[j] * s1) * s2;
            mark_weight(x, (const double *)h.data + c * h.ld, normalised, row);
            s1 = s2 = 1.0;
        }
        ex->k->finish_weight(row, s1, s2, exact_row(w, c), exact_clamped(raw), q, !(raw < 1e-12), !normalised, x->d, g);
    }
}

pfc_status pfc_exact_weight_grad(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                 pfc_view dw)
{
    pfc_exact *ex = exact_of(be);
    exact_lane *mine = &ex->lane[lane];
    exact_slices g;
    int nonfinite = 0;
    double *t = pfc_exact_scratch(mine, SCRATCH_T, w.count * x->d + w.count);
    if (!t) return pfc_exact_fail(be, lane, PFC_ERR_NOMEM);
    int32_t *grid = (int32_t *)(t + w.count * x->d);
    pfc_status st = slice_by_class(mine, x, h, normalised, grid, &nonfinite, &g);
    if (st == PFC_OK) st = ex->engine->weight(mine, w.count, &g, x, t);
    if (st != PFC_OK) return pfc_exact_fail(be, lane, st);
    finish_weight_rows(ex, x, t, grid, nonfinite || x->any_nonfinite, h, w, wnorm, wdot, normalised, dw);
    return PFC_OK;
}
