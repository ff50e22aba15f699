/* exact_products.c: the three products of exact mode: quantise, let the engine compute the integers, finish (doc/exact-v1.md 3.2, 3.9, 3.10). */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/exact.h"

#include <stdlib.h>
#include <string.h>

/* ---- the batch as an operand ---- */

pfc_status pfc_exact_operand_create(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out)
{
    int64_t n = x.rows, d = x.cols;
    *out = NULL;
    pfc_operand *op = calloc(1, sizeof *op);
    if (!op) return pfc_cpu_nomem(be, sizeof *op);
    op->sx = malloc((size_t)(4 * n + 1) * sizeof *op->sx);
    if (!op->sx) {
        pfc_exact_operand_destroy(be, op);
        return pfc_cpu_nomem(be, (size_t)n * 32);
    }
    op->n = n;
    op->d = d;
    op->x = x;
    op->norm = norm.data;
    op->expo = expo;
    op->pow_e = op->sx + n;
    op->dx = op->pow_e + n;
    op->inverse = op->dx + n;
    for (int64_t i = 0; i < n; i++) {
        op->sx[i] = px_pow2(expo[i] - 62);
        op->pow_e[i] = px_pow2(expo[i]);
        op->dx[i] = exact_divisor(op->norm[i]);
        op->any_nonfinite |= !px_finite(op->norm[i]);
        if (!(op->dx[i] <= 0x1p200)) op->inverse = NULL;
    }
    for (int64_t i = 0; op->inverse && i < n; i++) op->inverse[i] = 1.0 / op->dx[i];
    pfc_exact *ex = exact_of(be);
    pfc_status st = pfc_exact_environment(&ex->lane[0]);
    if (st == PFC_OK) st = ex->engine->prepare(&ex->lane[0], op);
    if (st != PFC_OK) {
        pfc_exact_operand_destroy(be, op);
        return pfc_exact_fail(be, 0, st);
    }
    *out = op;
    return PFC_OK;
}

void pfc_exact_operand_destroy(pfc_backend *be, pfc_operand *x)
{
    (void)be;
    if (!x) return;
    free(x->storage);
    free(x->wide_index);
    free(x->sx);
    free(x);
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
            double dot = special_dot(exact_at(x->x, i), exact_row(w, c), x->d);
            z[c * ld + i] = normalised ? dot / (x->dx[i] * exact_divisor(wnorm[c])) : dot;
        }
    }
}

pfc_status pfc_exact_cosines(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_view z)
{
    pfc_exact *ex = exact_of(be);
    exact_lane *mine = &ex->lane[lane];
    double *out = z.data;
    const double *norm = wnorm.data;
    pfc_status st = pfc_exact_environment(mine);
    if (st == PFC_OK) st = ex->engine->forward(mine, w, wexpo, x, out);
    if (st != PFC_OK) return pfc_exact_fail(be, lane, st);
    for (int64_t c = 0; c < w.count; c++)
        ex->k->finish_cosine(out + c * x->n, x->sx, normalised ? x->dx : NULL, px_pow2(wexpo[c] - 62), exact_divisor(norm[c]), x->n);
    special_cosines(x, w, norm, normalised, out, x->n);
    return PFC_OK;
}

/* ---- gradient of the features ---- */

static void mark_feature(pfc_view h, pfc_rowset w, const double *wnorm, int normalised, unsigned char *mark)
{
    int64_t n = h.cols, d = w.base.cols;
    for (int64_t c = 0; c < h.rows; c++)
        for (int64_t i = 0; i < n; i++) {
            double v = exact_at(h, c)[i];
            if (px_finite(v) && px_finite(wnorm[c])) continue;
            const double *row = exact_row(w, c);
            for (int64_t j = 0; j < d; j++) {
                double unit = normalised ? row[j] / exact_divisor(wnorm[c]) : row[j];
                if (!px_finite(v) || !px_finite(unit)) mark[i * d + j] |= pfc_mark_of(v * unit);
            }
        }
}

/* A block of doubles as rows. */
static pfc_rowset rows_of(double *p, int64_t rows, int64_t cols) { return pfc_all_rows(pfc_view_make(p, PFC_F64, rows, cols)); }

pfc_status pfc_exact_feature_grad(pfc_backend *be, int lane, pfc_view h, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_acc *feature)
{
    pfc_exact *ex = exact_of(be);
    exact_product_acc *acc = exact_product_lane(feature, lane);
    exact_lane *mine = &ex->lane[lane];
    pfc_status st = pfc_exact_environment(mine);
    double *u = pfc_exact_scratch(mine, SCRATCH_U, h.rows * h.cols); /* (h / d_c) * 2^(e_c) */
    if (st != PFC_OK || !u) return pfc_exact_fail(be, lane, st != PFC_OK ? st : PFC_ERR_NOMEM);
    for (int64_t c = 0; c < h.rows; c++)
        ex->k->scale_row(exact_at(h, c), exact_divisor(((const double *)wnorm.data)[c]), px_pow2(wexpo[c]), normalised, h.cols, u + c * h.cols);
    st = ex->engine->feature(mine, rows_of(u, h.rows, h.cols), feature->expo, w, wexpo, acc);
    if (st != PFC_OK) return pfc_exact_fail(be, lane, st);
    int nonfinite = 0;
    for (int64_t c = 0; c < h.rows; c++) {
        ex->k->max_abs(exact_at(h, c), h.cols, &nonfinite);
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
        const double *f = exact_at(feature, i), *row = exact_at(x, i);
        double *out = exact_at(x_grad, i);
        double raw = ((const double *)norm.data)[i], r = exact_divisor(raw), q = normalised ? *exact_at(dot, i) : 0.0;
        for (int64_t j = 0; j < feature.cols; j++) {
            double v = !normalised || raw < PFC_NORM_MIN ? f[j] : PX_FMA(-(row[j] / r), q, f[j]);
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
            double v = exact_at(x->x, i)[j], unit = normalised ? v / x->dx[i] : v;
            if (!px_finite(h[i]) || !px_finite(unit)) mark |= pfc_mark_of(h[i] * unit);
        }
        if (mark) t[j] = pfc_mark_value(mark);
    }
}

/* A block of weights and what is done with their gradient: it goes to dw or, with sgd, into weights and momentum at once. */
typedef struct weight_block {
    const pfc_operand *x;
    pfc_view h;
    pfc_rowset w;
    pfc_view wnorm, wdot;
    int normalised;
    pfc_view dw, momentum;
    const pfc_sgd *sgd;
} weight_block;

/* Classes [c, c + count) of a block. */
static weight_block strip_of(const weight_block *b, int64_t c, int64_t count)
{
    weight_block s = *b;
    s.h = pfc_view_rows(b->h, c, count);
    s.w = pfc_rowset_part(b->w, c, count);
    if (b->normalised) {
        s.wnorm = pfc_view_rows(b->wnorm, c, count);
        s.wdot = pfc_view_rows(b->wdot, c, count);
    }
    if (!b->sgd) s.dw = pfc_view_rows(b->dw, c, count);
    return s;
}

/* g = gradient of class c from t, the sum rounded to a double. */
static void finish_gradient(const exact_lane *lane, const weight_block *b, int64_t c, int32_t grid, bool marked, double *t, double *g)
{
    const pfc_operand *x = b->x;
    double raw = b->normalised ? ((const double *)b->wnorm.data)[c] : 1.0, q = b->normalised ? ((const double *)b->wdot.data)[c] : 0.0;
    int32_t power = grid - 124;
    double s1 = px_pow2(power / 2), s2 = px_pow2(power - power / 2);
    if (marked) {
        for (int64_t j = 0; j < x->d; j++) t[j] = (t[j] * s1) * s2;
        mark_weight(x, exact_at(b->h, c), b->normalised, t);
        s1 = s2 = 1.0;
    }
    int how = !b->normalised ? PFC_FINISH_SCALE : raw < PFC_NORM_MIN ? PFC_FINISH_DIVIDE : marked ? PFC_FINISH_PROJECT : PFC_FINISH_NEAR;
    lane->k->finish_weight(t, s1, s2, b->normalised ? exact_row(b->w, c) : NULL, exact_divisor(raw), q, how, x->d, g);
}

static void update_row(const exact_lane *lane, const weight_block *b, int64_t c, const double *g)
{
    double *buf = exact_at(b->momentum, pfc_row_index(b->w, c));
    lane->k->sgd_row(exact_row(b->w, c), buf, g, b->sgd->lr, b->sgd->momentum, b->sgd->weight_decay, b->sgd->nesterov, b->x->d);
}

/* u = (h / d_n) * 2^(e_n) on the grid of each class, times the batch. */
static pfc_status weight_strip(const pfc_engine *engine, exact_lane *lane, const weight_block *b)
{
    const pfc_operand *x = b->x;
    int64_t count = b->h.rows, n = x->n;
    int nonfinite = 0;
    double *t = pfc_exact_scratch(lane, SCRATCH_T, (count + 1) * x->d + count), *u = pfc_exact_scratch(lane, SCRATCH_U, count * n);
    if (!t || !u) return PFC_ERR_NOMEM;
    double *row = t + count * x->d;
    int32_t *grid = (int32_t *)(row + x->d);
    for (int64_t c = 0; c < count; c++) {
        lane->k->scale_each(exact_at(b->h, c), b->normalised ? x->dx : NULL, b->normalised ? x->inverse : NULL, x->pow_e, n, u + c * n);
        grid[c] = px_expo(lane->k->max_abs(u + c * n, n, &nonfinite));
    }
    PFC_TRY(engine->weight(lane, rows_of(u, count, n), grid, x, t));
    for (int64_t c = 0; c < count; c++) {
        double *g = b->sgd ? row : exact_at(b->dw, c);
        finish_gradient(lane, b, c, grid[c], nonfinite || x->any_nonfinite, t + c * x->d, g);
        if (b->sgd) update_row(lane, b, c, g);
    }
    return PFC_OK;
}

static pfc_status weight_strips(pfc_backend *be, int lane, const weight_block *b)
{
    pfc_exact *ex = exact_of(be);
    exact_lane *mine = &ex->lane[lane];
    int64_t strip = ex->engine->strip ? ex->engine->strip : b->w.count;
    pfc_status st = pfc_exact_environment(mine);
    for (int64_t c = 0; st == PFC_OK && c < b->w.count; c += strip) {
        weight_block part = strip_of(b, c, b->w.count - c < strip ? b->w.count - c : strip);
        st = weight_strip(ex->engine, mine, &part);
    }
    return pfc_exact_fail(be, lane, st);
}

pfc_status pfc_exact_weight_grad(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                 pfc_view dw)
{
    weight_block b = { .x = x, .h = h, .w = w, .wnorm = wnorm, .wdot = wdot, .normalised = normalised, .dw = dw };
    return weight_strips(be, lane, &b);
}

pfc_status pfc_exact_weight_update(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                   pfc_view momentum, const pfc_sgd *sgd)
{
    weight_block b = { .x = x, .h = h, .w = w, .wnorm = wnorm, .wdot = wdot, .normalised = normalised, .momentum = momentum, .sgd = sgd };
    return weight_strips(be, lane, &b);
}
