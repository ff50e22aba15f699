/* fast_block.c: the operations on a block of classes in fast mode: what the kernels need is laid out in the lane's scratch. */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/fast.h"

#include <stdlib.h>
#include <string.h>

/* X for the products: packed panels as fast_kernels.h describes, and the divisors. */
enum { COLUMNS, ROWS, UNIT, PACKINGS };
typedef struct packing {
    float *panels[PACKINGS]; /* x transposed, panels over n: cosines; x as it is, panels over d: weight_grad of the linear head; x / max(||x||, 1e-12),
                                panels over d: weight_grad. NULL: no product has asked for it yet */
} packing;
struct pfc_operand {
    pfc_view x;
    int64_t n, d;
    packing *packed;
    float *divisor; /* max(||x||, 1e-12), padded to the panel; 1 beyond N. NULL without norms */
    float *inverse; /* 1 / divisor */
};

/* ---- scratch ---- */

enum { ROW_ARRAYS = 10, CLASS_ARRAYS = 3 };

/* Bytes of all arrays; each is rounded up to 64 bytes. Places them if memory is given. */
static size_t scratch_layout(fast_scratch *s, char *memory)
{
    size_t at = 0;
    float **const row_array[ROW_ARRAYS] = { &s->logit, &s->slope, &s->onehot, &s->max, &s->share, &s->keep, &s->sum, &s->factor, &s->target, &s->dot };
    float **const class_array[CLASS_ARRAYS] = { &s->wd, &s->winv, &s->a };
#define PLACE(pointer, count)                                       \
    do {                                                            \
        if (memory) (pointer) = (void *)(memory + at);              \
        at += ((size_t)(count) * sizeof *(pointer) + 63) / 64 * 64; \
    } while (0)
    for (int i = 0; i < ROW_ARRAYS; i++) PLACE(*row_array[i], pfc_round16(s->n));
    for (int i = 0; i < CLASS_ARRAYS; i++) PLACE(*class_array[i], s->classes);
    PLACE(s->packed, s->classes * s->width);
    PLACE(s->w, s->classes);
    PLACE(s->m, s->classes);
    PLACE(s->ahead_row, s->classes);
    PLACE(s->first, s->classes + 2);
    PLACE(s->row, s->n);
#undef PLACE
    return at;
}

static int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }

fast_scratch *pfc_fast_scratch(pfc_backend *be, int lane, int64_t classes, int64_t n, int64_t d)
{
    pfc_fast_state *state = be->state;
    fast_scratch *s = &state->lane[lane];
    int64_t panel = state->k->panel, width = (d + panel - 1) / panel * panel;
    if (s->memory && classes <= s->classes && n <= s->n && width <= s->width) return s;
    fast_scratch wanted = { .n = larger(n, s->n), .classes = larger(classes, s->classes), .width = larger(width, s->width) };
    size_t bytes = scratch_layout(&wanted, NULL);
    char *memory = aligned_alloc(64, bytes);
    if (!memory) return NULL;
    memset(memory, 0, bytes);
    scratch_layout(&wanted, memory);
    wanted.memory = (float *)(void *)memory;
    free(s->memory);
    *s = wanted;
    return s;
}

static pfc_status no_scratch(pfc_backend *be, int64_t classes, int64_t n) { return pfc_cpu_nomem(be, (size_t)(classes + n) * 64 * sizeof(float)); }

/* ---- operand ---- */

/* Panels over d. */
static void pack_rows(const pfc_fast_kernels *kernels, pfc_view x, const float *divisor, float *out)
{
    int64_t panel = kernels->panel;
    for (int64_t p = 0; p < x.cols; p += panel)
        for (int64_t k = 0; k < x.rows; k++, out += panel) {
            int64_t width = x.cols - p < panel ? x.cols - p : panel;
            if (divisor)
                kernels->divide_row(pfc_fast_at(x, k) + p, divisor[k], width, out);
            else
                memcpy(out, pfc_fast_at(x, k) + p, (size_t)width * sizeof *out);
            memset(out + width, 0, (size_t)(panel - width) * sizeof *out);
        }
}

/* Panels over n: a few columns of all rows of a panel at a time, which stay in the nearest cache. */
static void pack_columns(const pfc_fast_kernels *kernels, pfc_view x, float *out)
{
    enum { COLUMNS_AT_ONCE = 16 };
    int64_t panel = kernels->panel;
    for (int64_t p = 0; p < x.rows; p += panel, out += panel * x.cols)
        for (int64_t k0 = 0; k0 < x.cols; k0 += COLUMNS_AT_ONCE) {
            int64_t end = k0 + COLUMNS_AT_ONCE < x.cols ? k0 + COLUMNS_AT_ONCE : x.cols;
            for (int64_t j = 0; j < panel; j++) {
                const float *row = p + j < x.rows ? pfc_fast_at(x, p + j) : NULL;
                for (int64_t k = k0; k < end; k++) out[k * panel + j] = row ? row[k] : 0.0f;
            }
        }
}

void pfc_fast_operand_destroy(pfc_backend *be, pfc_operand *x)
{
    if (!x) return;
    for (int i = 0; x->packed && i < PACKINGS; i++) pfc_fast_free(be, x->packed->panels[i]);
    free(x->packed);
    pfc_fast_free(be, x->divisor);
    pfc_fast_free(be, x->inverse);
    free(x);
}

static pfc_status floats(pfc_backend *be, int64_t count, float **out)
{
    void *p = NULL;
    pfc_status st = pfc_fast_alloc(be, (size_t)(count > 0 ? count : 1) * sizeof(float), &p);
    *out = p;
    return st;
}

static pfc_status pack(pfc_backend *be, const pfc_operand *o, int which)
{
    const pfc_fast_kernels *kernels = pfc_fast_kernels_of(be);
    int64_t panel = kernels->panel, wide_n = (o->n + panel - 1) / panel * panel, wide_d = (o->d + panel - 1) / panel * panel;
    float *panels;
    PFC_TRY(floats(be, which == COLUMNS ? wide_n * o->d : o->n * wide_d, &panels));
    if (which == COLUMNS)
        pack_columns(kernels, o->x, panels);
    else
        pack_rows(kernels, o->x, which == UNIT ? o->divisor : NULL, panels);
    o->packed->panels[which] = panels;
    return PFC_OK;
}

/* The first lane that asks packs, the others wait. */
static pfc_status panels_of(pfc_backend *be, const pfc_operand *o, int which, const float **out)
{
    pfc_status st = PFC_OK;
#pragma omp critical(pfc_fast_pack)
    {
        if (!o->packed->panels[which]) st = pack(be, o, which);
        *out = o->packed->panels[which];
    }
    return st;
}

static pfc_status operand_fill(pfc_backend *be, pfc_view norm, pfc_operand *o)
{
    int64_t panel = pfc_fast_kernels_of(be)->panel, wide_n = (o->n + panel - 1) / panel * panel;
    o->packed = calloc(1, sizeof *o->packed);
    if (!o->packed) return pfc_cpu_nomem(be, sizeof *o->packed);
    if (!norm.data) return PFC_OK;
    PFC_TRY(floats(be, wide_n, &o->divisor));
    PFC_TRY(floats(be, wide_n, &o->inverse));
    for (int64_t i = 0; i < wide_n; i++) {
        o->divisor[i] = i < o->n ? pfc_fast_divisor(*pfc_fast_at(norm, i)) : 1.0f;
        o->inverse[i] = 1.0f / o->divisor[i];
    }
    return PFC_OK;
}

pfc_status pfc_fast_operand_create(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out)
{
    (void)expo;
    *out = NULL;
    pfc_operand *o = calloc(1, sizeof *o);
    if (!o) return pfc_cpu_nomem(be, sizeof *o);
    o->x = x, o->n = x.rows, o->d = x.cols;
    pfc_status st = operand_fill(be, norm, o);
    if (st != PFC_OK) {
        pfc_fast_operand_destroy(be, o);
        return st;
    }
    *out = o;
    return PFC_OK;
}

/* ---- products ---- */

/* Pointers to the rows, and their divisors and the reciprocals if normalised. */
static void set_classes(fast_scratch *s, pfc_rowset w, pfc_view wnorm, int normalised)
{
    for (int64_t c = 0; c < w.count; c++) {
        s->w[c] = pfc_fast_row(w, c);
        if (!normalised) continue;
        s->wd[c] = pfc_fast_divisor(*pfc_fast_at(wnorm, c));
        s->winv[c] = 1.0f / s->wd[c];
    }
}

/* The projection -(w / d) q; below the clamp there is none. */
static void set_projection(fast_scratch *s, int64_t classes, pfc_view wnorm, pfc_view wdot)
{
    for (int64_t c = 0; c < classes; c++) s->a[c] = *pfc_fast_at(wnorm, c) < (float)PFC_NORM_MIN ? 0.0f : -(*pfc_fast_at(wdot, c) / s->wd[c]);
}

/* The rows as input only. */
static const float *const *rows_in(const fast_scratch *s) { return (const float *const *)s->w; }

void pfc_fast_rows_ahead(pfc_backend *be, int lane, pfc_rowset w)
{
    fast_scratch *s = pfc_fast_scratch(be, lane, w.count, 0, 0);
    if (!s) return;
    for (int64_t c = 0; c < w.count; c++) s->ahead_row[c] = pfc_fast_row(w, c);
    s->ahead = (fast_ahead){ .row = s->ahead_row, .count = w.count, .lines = (w.base.cols + 15) / 16 };
}

pfc_status pfc_fast_cosines(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_view z)
{
    fast_scratch *s = pfc_fast_scratch(be, lane, w.count, x->n, 0);
    (void)wexpo;
    if (!s) return no_scratch(be, w.count, x->n);
    const float *columns;
    PFC_TRY(panels_of(be, x, COLUMNS, &columns));
    set_classes(s, w, wnorm, normalised);
    pfc_fast_kernels_of(be)->cosines(columns, x->n, x->d, rows_in(s), w.count, normalised ? x->divisor : NULL, x->inverse, s->wd, s->winv, &s->ahead, z.data,
                                     z.ld);
    return PFC_OK;
}

pfc_status pfc_fast_feature_grad(pfc_backend *be, int lane, pfc_view h, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_acc *feature)
{
    fast_acc *acc = pfc_fast_acc_of(feature);
    fast_scratch *s = pfc_fast_scratch(be, lane, w.count, h.cols, w.base.cols);
    (void)wexpo;
    if (!s) return no_scratch(be, w.count, h.cols);
    set_classes(s, w, wnorm, normalised);
    pfc_fast_kernels_of(be)->feature_grad(h.data, h.ld, h.cols, rows_in(s), normalised ? s->winv : NULL, w.count, w.base.cols, s->packed,
                                          pfc_fast_lane_product(feature, lane), acc->ld);
    return PFC_OK;
}

pfc_status pfc_fast_weight_grad(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                pfc_view dw)
{
    fast_scratch *s = pfc_fast_scratch(be, lane, w.count, x->n, 0);
    if (!s) return no_scratch(be, w.count, x->n);
    const float *panels;
    PFC_TRY(panels_of(be, x, normalised ? UNIT : ROWS, &panels));
    if (normalised) set_classes(s, w, wnorm, normalised);
    if (normalised) set_projection(s, w.count, wnorm, wdot);
    pfc_fast_kernels_of(be)->weight_grad(h.data, h.ld, w.count, panels, x->n, rows_in(s), normalised ? s->a : NULL, s->winv, x->d, dw.data, dw.ld);
    return PFC_OK;
}

pfc_status pfc_fast_weight_update(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                  pfc_view momentum, const pfc_sgd *sgd)
{
    fast_scratch *s = pfc_fast_scratch(be, lane, w.count, x->n, 0);
    const fast_sgd f = pfc_fast_sgd_of(sgd);
    if (!s) return no_scratch(be, w.count, x->n);
    const float *panels;
    PFC_TRY(panels_of(be, x, normalised ? UNIT : ROWS, &panels));
    set_classes(s, w, wnorm, normalised);
    if (normalised) set_projection(s, w.count, wnorm, wdot);
    for (int64_t c = 0; c < w.count; c++) s->m[c] = pfc_fast_at(momentum, pfc_row_index(w, c));
    pfc_fast_kernels_of(be)->weight_update(h.data, h.ld, w.count, panels, x->n, s->w, s->m, normalised ? s->a : NULL, s->winv, x->d, &f, &s->ahead);
    return PFC_OK;
}

/* ---- logits and softmax ---- */

static fast_head head_of(const pfc_head *head)
{
    fast_head f = { .clamp = head->cos_clamp, .s = (float)head->scale, .m = (float)head->margin };
    f.kind = head->kind == PFC_HEAD_COS ? FAST_COS : head->kind == PFC_HEAD_ARC ? FAST_ARC : head->kind == PFC_HEAD_CIRCLE ? FAST_CIRCLE : FAST_LINEAR;
    f.fallback = head->arc_fallback == PFC_FALLBACK_LINEAR ? FAST_FALLBACK_LINEAR
                 : head->arc_fallback == PFC_FALLBACK_EASY ? FAST_FALLBACK_EASY
                                                           : FAST_FALLBACK_NONE;
    f.arc_slope = head->arc_gradient == PFC_ARC_EXACT;
    f.one_plus_m = (float)(1.0 + head->margin), f.one_minus_m = (float)(1.0 - head->margin);
    f.cm = (float)head->cos_m, f.sm = (float)head->sin_m, f.mm = (float)head->mm;
    f.threshold = head->threshold > 0.0 ? (float)head->threshold : __builtin_inff();
    return f;
}

/* The block's targets by class: counted, then placed; rows rise within a class. */
static fast_targets find_targets(fast_scratch *s, const int64_t *target, int64_t n, int64_t c0, int64_t classes)
{
    int32_t *next = s->first + 1; /* shifted by one: after placing, first[c] is the start of class c */
    memset(s->first, 0, (size_t)(classes + 2) * sizeof *s->first);
    for (int64_t i = 0; i < n; i++)
        if (target[i] >= c0 && target[i] < c0 + classes) next[target[i] - c0 + 1]++;
    for (int64_t c = 1; c <= classes; c++) next[c] += next[c - 1];
    for (int64_t i = 0; i < n; i++)
        if (target[i] >= c0 && target[i] < c0 + classes) s->row[next[target[i] - c0]++] = (int32_t)i;
    fast_targets t = { s->first, s->row };
    return t;
}

pfc_status pfc_fast_row_max(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum)
{
    int64_t n = z.cols;
    fast_acc *acc = pfc_fast_acc_of(sum);
    fast_scratch *s = pfc_fast_scratch(be, lane, z.rows, n, 0);
    if (!s) return no_scratch(be, z.rows, n);
    if (z.rows == 0) return PFC_OK;
    fast_head f = head_of(head);
    fast_targets targets = find_targets(s, rows->target, n, c0, z.rows);
    pfc_fast_kernels_of(be)->row_max(&f, z.data, z.ld, z.rows, n, targets, acc->max + lane * acc->ld, s->sum, s->factor, s->max, s->logit, s->target);
    double *total = acc->sum + lane * sum->rows;
    for (int64_t i = 0; i < n; i++) total[i] = total[i] * (double)s->factor[i] + (double)s->sum[i];
    for (int32_t k = 0; k < targets.first[z.rows]; k++) *pfc_fast_at(rows->target_logit, targets.row[k]) = s->target[targets.row[k]];
    acc->seen[lane] = 1;
    return PFC_OK;
}

/* The constants of the rows: M_n, 1/(S_n n), and a mask. */
static fast_rows rows_of(fast_scratch *s, const pfc_rows_info *rows, int64_t n)
{
    const uint32_t ones = 0xffffffffu;
    for (int64_t i = 0; i < n; i++) {
        s->max[i] = *pfc_fast_at(rows->max, i);
        s->share[i] = (float)(1.0 / ((double)*pfc_fast_at(rows->sum, i) * rows->n));
        s->keep[i] = 0.0f;
        if (!rows->valid || rows->valid[i]) memcpy(s->keep + i, &ones, sizeof ones);
        s->dot[i] = 0.0f;
    }
    for (int64_t i = n; i < pfc_round16(n); i++) s->max[i] = s->share[i] = s->keep[i] = s->dot[i] = 0.0f;
    fast_rows r = { .max = s->max, .share = s->share, .keep = s->keep, .one_n = (float)(1.0 / rows->n) };
    r.logit = s->logit, r.slope = s->slope, r.onehot = s->onehot;
    return r;
}

pfc_status pfc_fast_logit_grad(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view h, pfc_acc *dot,
                               pfc_view wdot)
{
    int64_t n = z.cols;
    fast_scratch *s = pfc_fast_scratch(be, lane, z.rows, n, 0);
    if (!s) return no_scratch(be, z.rows, n);
    fast_head f = head_of(head);
    fast_targets targets = find_targets(s, rows->target, n, c0, z.rows);
    fast_rows r = rows_of(s, rows, n);
    int sums = head->normalised && dot;
    pfc_fast_kernels_of(be)->logit_grad(&f, z.data, z.ld, z.rows, n, targets, &r, h.data, h.ld, sums ? s->dot : NULL, s->a);
    if (!sums) return PFC_OK;
    fast_acc *acc = pfc_fast_acc_of(dot);
    double *total = acc->sum + lane * dot->rows;
    for (int64_t i = 0; i < n; i++) total[i] += (double)s->dot[i];
    for (int64_t c = 0; c < z.rows; c++) *pfc_fast_at(wdot, c) = s->a[c];
    return PFC_OK;
}

/* ---- taps ---- */

pfc_status pfc_fast_logits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view l)
{
    fast_scratch *s = pfc_fast_scratch(be, lane, z.rows, z.cols, 0);
    if (!s) return no_scratch(be, z.rows, z.cols);
    fast_head f = head_of(head);
    fast_targets targets = find_targets(s, rows->target, z.cols, c0, z.rows);
    pfc_fast_kernels_of(be)->logits(&f, z.data, z.ld, z.rows, z.cols, targets, s->logit, l.data, l.ld);
    return PFC_OK;
}

pfc_status pfc_fast_dlogits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view g)
{
    fast_scratch *s = pfc_fast_scratch(be, lane, z.rows, z.cols, 0);
    if (!s) return no_scratch(be, z.rows, z.cols);
    fast_head f = head_of(head);
    fast_targets targets = find_targets(s, rows->target, z.cols, c0, z.rows);
    fast_rows r = rows_of(s, rows, z.cols);
    r.unit_slope = 1;
    pfc_fast_kernels_of(be)->logit_grad(&f, z.data, z.ld, z.rows, z.cols, targets, &r, g.data, g.ld, NULL, NULL);
    return PFC_OK;
}
