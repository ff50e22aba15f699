/* emulate.c: products with operands in a narrow type (emulate.h).
 *
 *   operand_create                      X^ and X, rounded: which one is used the product says
 *   cosines           Z = W^ X^T        W^ = w / max(|w|, 1e-12), rounded
 *   feature_grad      F += H^T W^       H rounded, W^ as above
 *   weight_grad       G = H X^          H rounded; dw = (G - w^ <w^, G>) / |w|, w^ not rounded
 *   feature_grad_finish                 dx = (F - x^ <x^, F>) / |x|, x^ not rounded
 *   positive_logits   l = s <q, k>      q, k rounded
 *   positive_grad     g += h k          h, k rounded
 *
 * Where a product is not normalised (linear head; swav, moco and arcface_head, which normalise before) the same with w and x in the place of w^ and x^.
 * The entries below are always asked for products that are not normalised. */
#include "backend/emulate/emulate.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pfc_emulation {
    const pfc_ops *inner;
    pfc_ops table;
    const pfc_format *format;
    pfc_rounding rounding; /* of operands */
    bool store;            /* results of products are kept in the format, too */
};

static const pfc_ops *inner_of(const pfc_backend *be) { return be->emulation->inner; }

/* ---- rows in host memory ---- */

/* Rows of reals with what products need of them. */
typedef struct rows {
    pfc_view v, norm; /* (count, D), (count, 1) */
    int32_t *expo;
    void *memory;
} rows;

static pfc_status nomem(pfc_backend *be)
{
    snprintf(be->error, sizeof be->error, "out of memory for rounded operands");
    return PFC_ERR_NOMEM;
}

static void *row_at(pfc_view v, int64_t i) { return (char *)v.data + (size_t)(i * v.ld) * pfc_dtype_size(v.dtype); }

/* Room for count rows of d reals; release frees. */
static pfc_status make_rows(pfc_backend *be, int64_t count, int64_t d, rows *out)
{
    pfc_dtype real = be->ops->real;
    size_t size = pfc_dtype_size(real), data = (size_t)(count * d) * size, norm = (size_t)count * size;
    data = (data + 63) / 64 * 64, norm = (norm + 63) / 64 * 64;
    *out = (rows){ .memory = aligned_alloc(64, data + norm + ((size_t)count * sizeof(int32_t) + 64) / 64 * 64) };
    if (!out->memory) return nomem(be);
    out->v = pfc_view_make(out->memory, real, count, d);
    out->norm = pfc_view_make((char *)out->memory + data, real, count, 1);
    out->expo = (int32_t *)(void *)((char *)out->memory + data + norm);
    return PFC_OK;
}

static void release(rows *r)
{
    free(r->memory);
    r->memory = NULL;
}

/* Every element of a contiguous view to T. */
static void round_view(const pfc_backend *be, pfc_view v)
{
    const pfc_emulation *e = be->emulation;
    for (int64_t i = 0; i < v.rows * v.cols; i++) {
        if (v.dtype == PFC_F64) {
            double *x = (double *)v.data + i;
            *x = pfc_format_round(e->format, e->rounding, *x);
        } else {
            float *x = (float *)v.data + i;
            *x = (float)pfc_format_round(e->format, e->rounding, (double)*x);
        }
    }
}

/* A result as an accumulator in float32 holds it at the end (fast mode has it so), or as it is stored in T. */
static void round_result(const pfc_backend *be, pfc_view v)
{
    const pfc_emulation *e = be->emulation;
    if (v.dtype == PFC_F32 && !e->store) return;
    for (int64_t i = 0; i < v.rows; i++) {
        pfc_view row = pfc_view_make(row_at(v, i), v.dtype, 1, v.cols);
        if (e->store) round_view(be, row);
        for (int64_t j = 0; j < v.cols && !e->store; j++) ((double *)row.data)[j] = (double)(float)((double *)row.data)[j];
    }
}

/* Copies of rows, divided by max(norm, 1e-12) if normalised. */
static pfc_status copy_rows(pfc_backend *be, pfc_rowset w, pfc_view norm, int normalised, rows *out)
{
    int64_t d = w.base.cols;
    PFC_TRY(make_rows(be, w.count, d, out));
    for (int64_t i = 0; i < w.count; i++) memcpy(row_at(out->v, i), row_at(w.base, pfc_row_index(w, i)), (size_t)d * pfc_dtype_size(w.base.dtype));
    pfc_status st = normalised ? inner_of(be)->normalise(be, out->v, norm, out->v) : PFC_OK;
    if (st != PFC_OK) release(out);
    return st;
}

/* The same, rounded, with their own lengths and exponents. */
static pfc_status rounded_rows(pfc_backend *be, pfc_rowset w, pfc_view norm, int normalised, rows *out)
{
    PFC_TRY(copy_rows(be, w, norm, normalised, out));
    round_view(be, out->v);
    pfc_status st = inner_of(be)->row_norms(be, pfc_all_rows(out->v), out->norm, out->expo);
    if (st != PFC_OK) release(out);
    return st;
}

/* ---- operands ---- */

/* Behind a pfc_operand of this table. [1] of directions, [0] of the rows as they are. */
typedef struct operand {
    rows rows[2];
    pfc_operand *inner[2];
} operand;

static void emulated_operand_destroy(pfc_backend *be, pfc_operand *x)
{
    operand *o = (operand *)(void *)x;
    for (int k = 0; o && k < 2; k++) {
        if (o->inner[k]) inner_of(be)->operand_destroy(be, o->inner[k]);
        release(&o->rows[k]);
    }
    free(o);
}

static pfc_status emulated_operand_create(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out)
{
    (void)expo;
    operand *o = calloc(1, sizeof *o);
    *out = NULL;
    if (!o) return nomem(be);
    pfc_status st = PFC_OK;
    for (int k = 0; k < 2 && st == PFC_OK; k++) {
        if (k == 1 && !norm.data) break; /* never normalised */
        st = rounded_rows(be, pfc_all_rows(x), norm, k, &o->rows[k]);
        if (st == PFC_OK) st = inner_of(be)->operand_create(be, o->rows[k].v, o->rows[k].norm, o->rows[k].expo, &o->inner[k]);
    }
    if (st == PFC_OK)
        *out = (pfc_operand *)(void *)o;
    else
        emulated_operand_destroy(be, (pfc_operand *)(void *)o);
    return st;
}

static const pfc_operand *inner_operand(const pfc_operand *x, int normalised) { return ((const operand *)(const void *)x)->inner[normalised != 0]; }

/* ---- products ---- */

static pfc_status emulated_cosines(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised,
                                   pfc_view z)
{
    rows r;
    (void)wexpo;
    PFC_TRY(rounded_rows(be, w, wnorm, normalised, &r));
    pfc_status st = inner_of(be)->cosines(be, lane, inner_operand(x, normalised), pfc_all_rows(r.v), r.norm, r.expo, 0, z);
    if (st == PFC_OK) round_result(be, z);
    release(&r);
    return st;
}

static pfc_status emulated_feature_grad(pfc_backend *be, int lane, pfc_view h, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised,
                                        pfc_acc *feature)
{
    rows r, g;
    (void)wexpo;
    PFC_TRY(copy_rows(be, pfc_all_rows(h), wnorm, 0, &g));
    round_view(be, g.v);
    pfc_status st = rounded_rows(be, w, wnorm, normalised, &r);
    if (st == PFC_OK) {
        st = inner_of(be)->feature_grad(be, lane, g.v, pfc_all_rows(r.v), r.norm, r.expo, 0, feature);
        release(&r);
    }
    release(&g);
    return st;
}

/* dw <- (dw - w^ <w^, dw>) / |w|, w^ not rounded. */
static pfc_status project(pfc_backend *be, pfc_view dw, pfc_rowset w, pfc_view wnorm)
{
    rows unit;
    PFC_TRY(copy_rows(be, w, wnorm, 1, &unit));
    pfc_status st = inner_of(be)->normalise_backward(be, dw, unit.v, wnorm, dw);
    release(&unit);
    return st;
}

static pfc_status emulated_weight_grad(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                       pfc_view dw)
{
    rows g;
    (void)wdot;
    pfc_view none = { 0 };
    PFC_TRY(copy_rows(be, pfc_all_rows(h), wnorm, 0, &g));
    round_view(be, g.v);
    pfc_status st = inner_of(be)->weight_grad(be, lane, inner_operand(x, normalised), g.v, w, none, none, 0, dw);
    if (st == PFC_OK) round_result(be, dw);
    release(&g);
    return st == PFC_OK && normalised ? project(be, dw, w, wnorm) : st;
}

static pfc_status emulated_feature_grad_finish(pfc_backend *be, pfc_view feature, pfc_view dot, pfc_view x, pfc_view norm, int normalised, double scale,
                                               pfc_view x_grad)
{
    const pfc_ops *inner = inner_of(be);
    rows unit;
    if (!normalised) return inner->feature_grad_finish(be, feature, dot, x, norm, normalised, scale, x_grad);
    PFC_TRY(copy_rows(be, pfc_all_rows(x), norm, 1, &unit));
    pfc_status st = inner->normalise_backward(be, feature, unit.v, norm, x_grad);
    if (st == PFC_OK) st = inner->scale(be, x_grad, scale);
    release(&unit);
    return st;
}

/* A sum of products at its end. */
static pfc_status emulated_acc_value(pfc_backend *be, const pfc_acc *acc, int64_t first, int64_t count, pfc_view out)
{
    PFC_TRY(inner_of(be)->acc_value(be, acc, first, count, out));
    if (acc->kind == PFC_ACC_PRODUCT) round_result(be, pfc_view_rows(out, 0, count));
    return PFC_OK;
}

/* ---- the grid of exact mode: terms of rounded factors may be larger ---- */

/* expo + 4: among subnormal numbers rounding doubles a factor at most, and the exponent of a direction is up to one more than that of w less that of |w|.
 * NULL: out of memory. */
static int32_t *wider(const int32_t *expo, int64_t n)
{
    int32_t *e = malloc((size_t)n * sizeof *e + 1);
    for (int64_t i = 0; e && i < n; i++) e[i] = expo[i] + 4;
    return e;
}

static pfc_status emulated_grad_expo(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *info, pfc_view wnorm,
                                     const int32_t *wexpo, pfc_acc *feature, pfc_acc *dot)
{
    int32_t *expo = wider(wexpo, z.rows);
    if (!expo) return nomem(be);
    pfc_status st = inner_of(be)->grad_expo(be, lane, head, z, c0, info, wnorm, expo, feature, dot);
    free(expo);
    return st;
}

static pfc_status emulated_column_expo(pfc_backend *be, int lane, pfc_view a, const int32_t *expo, pfc_acc *acc)
{
    int32_t *e = wider(expo, a.rows);
    if (!e) return nomem(be);
    pfc_status st = inner_of(be)->column_expo(be, lane, a, e, acc);
    free(e);
    return st;
}

/* ---- moco ---- */

static pfc_status emulated_positive_logits(pfc_backend *be, pfc_view q, pfc_view k, double s, pfc_view l)
{
    rows a, b;
    PFC_TRY(rounded_rows(be, pfc_all_rows(q), l, 0, &a));
    pfc_status st = rounded_rows(be, pfc_all_rows(k), l, 0, &b);
    if (st == PFC_OK) {
        st = inner_of(be)->positive_logits(be, a.v, b.v, 1.0, l);
        if (st == PFC_OK) round_result(be, l);
        if (st == PFC_OK) st = inner_of(be)->scale(be, l, s);
        release(&b);
    }
    release(&a);
    return st;
}

/* g_n += h_n k_n */
static void add_scaled(pfc_view h, pfc_view k, pfc_view g)
{
    for (int64_t i = 0; i < g.rows; i++)
        for (int64_t j = 0; j < g.cols; j++) {
            if (g.dtype == PFC_F64)
                ((double *)row_at(g, i))[j] += *(double *)row_at(h, i) * ((double *)row_at(k, i))[j];
            else
                ((float *)row_at(g, i))[j] += *(float *)row_at(h, i) * ((float *)row_at(k, i))[j];
        }
}

/* h_n, the gradient of the positive logit's product, from the inner entry: what it adds to 0 for k = 1. */
static pfc_status emulated_positive_grad(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum, double count, double s, pfc_view k, pfc_view g)
{
    rows r, h = { .memory = NULL };
    PFC_TRY(rounded_rows(be, pfc_all_rows(k), l, 0, &r));
    pfc_status st = make_rows(be, g.rows, 1, &h);
    if (st == PFC_OK) {
        inner_of(be)->zero(be, h.v);
        for (int64_t i = 0; i < g.rows; i++) {
            if (g.dtype == PFC_F64)
                *(double *)row_at(h.norm, i) = 1.0;
            else
                *(float *)row_at(h.norm, i) = 1.0f;
        }
        st = inner_of(be)->positive_grad(be, l, max, sum, count, s, h.norm, h.v);
    }
    if (st == PFC_OK) {
        round_view(be, h.v);
        add_scaled(h.v, r.v, g);
        round_result(be, g);
    }
    release(&h);
    release(&r);
    return st;
}

/* ---- opening ---- */

void pfc_emulate_end(pfc_backend *be)
{
    if (!be->emulation) return;
    be->ops = be->emulation->inner;
    free(be->emulation);
    be->emulation = NULL;
}

pfc_status pfc_emulate(pfc_backend *be, const pfc_format *format, int how)
{
    pfc_emulate_end(be);
    if (!format) return PFC_OK;
    if (be->ops->place != PFC_HOST) {
        snprintf(be->error, sizeof be->error, "backend %s cannot emulate %s, expected backend cpu", be->ops->name, format->name);
        return PFC_ERR_UNSUPPORTED;
    }
    pfc_emulation *e = malloc(sizeof *e);
    if (!e) return nomem(be);
    *e = (pfc_emulation){ be->ops, *be->ops, format, how & PFC_EMULATE_TRUNCATE ? PFC_ROUND_TO_ZERO : PFC_ROUND_EVEN, how & PFC_EMULATE_STORE };
    e->table.operand_create = emulated_operand_create;
    e->table.operand_destroy = emulated_operand_destroy;
    e->table.cosines = emulated_cosines;
    e->table.feature_grad = emulated_feature_grad;
    e->table.weight_grad = emulated_weight_grad;
    e->table.weight_update = NULL;
    e->table.feature_grad_finish = emulated_feature_grad_finish;
    e->table.acc_value = emulated_acc_value;
    e->table.positive_logits = emulated_positive_logits;
    e->table.positive_grad = emulated_positive_grad;
    if (e->table.grad_expo) e->table.grad_expo = emulated_grad_expo;
    if (e->table.column_expo) e->table.column_expo = emulated_column_expo;
    be->emulation = e;
    be->ops = &e->table;
    return PFC_OK;
}
