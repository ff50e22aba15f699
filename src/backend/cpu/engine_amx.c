/* engine_amx.c: exact integer products on int8 tiles. Panels, digits and kernels: exact_amx.h. Compiled with baseline flags.
 *
 * cosines: rows of W times X^T, K = D. weight_grad: rows of G times X, K = N. Both are 32 classes at a time against panels of X made once per step.
 * feature_grad: H^T times W, K = classes of the block; H by its columns, W interleaved, both made per block, sums kept as words of base 2^32. */
#include "backend/cpu/engine_amx.h"

#include <stdlib.h>
#include <string.h>

#ifdef PFC_HAVE_AMX

/* ---- memory of panels ---- */

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t panel_bytes(int64_t k)
{
    int64_t steps = ceil_div(k, AMX_STEP);
    return steps * AMX_PLANES * AMX_TILES + steps * 64 + (ceil_div(k, AMX_CHUNK) * 8 + 63) / 64 * 64 + (steps + 63) / 64 * 64;
}
static int64_t header_bytes(int64_t count) { return (count * (int64_t)sizeof(pfc_amx_panel) + 63) / 64 * 64; }

int64_t pfc_amx_panels_bytes(int64_t count, int64_t k) { return header_bytes(count) + count * panel_bytes(k); }

pfc_amx_panel *pfc_amx_panels_place(void *memory, int64_t count, int64_t k)
{
    pfc_amx_panel *p = memory;
    uint8_t *at = (uint8_t *)memory + header_bytes(count);
    int64_t steps = ceil_div(k, AMX_STEP);
    for (int64_t i = 0; i < count; i++, at += panel_bytes(k)) {
        p[i].steps = steps;
        p[i].tiles = at;
        p[i].any = (uint64_t *)(at + steps * AMX_PLANES * AMX_TILES);
        p[i].used = p[i].any + 8 * steps;
        p[i].low = (uint8_t *)p[i].any + 64 * steps + (ceil_div(k, AMX_CHUNK) * 8 + 63) / 64 * 64;
    }
    return p;
}

static pfc_amx_panel *scratch_panels(exact_lane *lane, int which, int64_t count, int64_t k)
{
    void *memory = pfc_exact_scratch(lane, which, pfc_amx_panels_bytes(count, k) / 8);
    return memory ? pfc_amx_panels_place(memory, count, k) : NULL;
}

/* Levels of two products, after which come `extra` words. */
static int64_t *scratch_work(exact_lane *lane, int64_t extra, pfc_amx_work *w)
{
    int64_t each = AMX_LEVELS * AMX_LEVEL;
    int32_t *level = (int32_t *)pfc_exact_scratch(lane, SCRATCH_LEVELS, each + extra);
    memset(w, 0, sizeof *w);
    w->level[0] = level;
    w->level[1] = level ? level + each : NULL;
    return level ? (int64_t *)(level + 2 * each) : NULL;
}

/* ---- self-check: A*(B*r) = C*r modulo 2^64, digits read as a polynomial in y: true for any y, and every level counts ---- */

/* sum of digits * y^(7-q), from the value itself. */
static uint64_t polynomial(double x, int32_t e)
{
    int64_t v = pfc_quantise(x, e);
    uint64_t sum = (uint64_t)(v >> 56);
    for (int shift = 48; shift >= 0; shift -= 8) sum = sum * PFC_AMX_CHECK_Y + ((uint64_t)v >> shift & 0xff);
    return sum;
}

/* ---- the batch ---- */

struct amx_operand {
    pfc_amx_panel *rows, *cols; /* right panels: N columns, K = D; D columns, K = N */
    uint64_t *rows_r, *cols_r;  /* self-check: B*r, D and N words */
};

static void check_operand(const pfc_operand *x, const struct amx_operand *op)
{
    memset(op->rows_r, 0, (size_t)x->d * sizeof *op->rows_r);
    memset(op->cols_r, 0, (size_t)x->n * sizeof *op->cols_r);
    for (int64_t i = 0; i < x->n; i++)
        for (int64_t j = 0; j < x->d; j++) {
            uint64_t v = polynomial(exact_at(x->x, i)[j], x->expo[i]);
            op->rows_r[j] += v * exact_odd(i);
            op->cols_r[i] += v * exact_odd(j);
        }
}

/* 32 rows of a set as pointers; NULL beyond the end. */
static void point_at(pfc_rowset set, const int32_t *expo, int64_t first, int64_t count, const double **row, double *scale)
{
    for (int64_t i = 0; i < count; i++) {
        row[i] = first + i < set.count ? exact_row(set, first + i) : NULL;
        scale[i] = row[i] ? px_pow2(62 - expo[first + i]) : 0.0;
    }
}

/* Right panels of `set` transposed: K = rows of the set. */
static void interleave_rows(pfc_amx_panel *p, pfc_rowset set, const int32_t *expo)
{
    const pfc_amx_kernels *k = &pfc_amx_kernels_table;
    int64_t cols = set.base.cols, panels = ceil_div(cols, AMX_PANEL);
    const double *row[AMX_STEP];
    double scale[AMX_STEP];
    for (int64_t i = 0; i < panels; i++) k->start(p + i);
    for (int64_t at = 0; at < set.count; at += AMX_STEP) {
        int64_t left = set.count - at < AMX_STEP ? set.count - at : AMX_STEP;
        point_at(set, expo, at, left, row, scale);
        k->interleave(p, at / AMX_STEP, row, scale, (int)left, cols);
    }
    for (int64_t i = 0; i < panels; i++) k->finish(p + i);
}

static pfc_status prepare(exact_lane *lane, pfc_operand *x)
{
    int64_t nr = ceil_div(x->n, AMX_PANEL), nc = ceil_div(x->d, AMX_PANEL);
    int64_t rows = pfc_amx_panels_bytes(nr, x->d), cols = pfc_amx_panels_bytes(nc, x->n);
    size_t bytes = (size_t)(rows + cols) + sizeof(struct amx_operand) + (size_t)(x->n + x->d) * sizeof(uint64_t);
    uint8_t *memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!memory) return PFC_ERR_NOMEM;
    x->storage = (double *)memory;
    struct amx_operand *op = (struct amx_operand *)(memory + rows + cols);
    op->rows = pfc_amx_panels_place(memory, nr, x->d);
    op->cols = pfc_amx_panels_place(memory + rows, nc, x->n);
    op->rows_r = (uint64_t *)(op + 1);
    op->cols_r = op->rows_r + x->d;
    pfc_rowset set = pfc_all_rows(x->x);
    for (int64_t i = 0; i < nr; i++) {
        const double *row[AMX_PANEL];
        double scale[AMX_PANEL];
        point_at(set, x->expo, i * AMX_PANEL, AMX_PANEL, row, scale);
        pfc_amx_kernels_table.rows_right(op->rows + i, row, scale, x->d);
    }
    interleave_rows(op->cols, set, x->expo);
    if (lane->self_check) check_operand(x, op);
    x->panels = op;
    return PFC_OK;
}

/* ---- cosines and weight_grad: rows times the batch ---- */

typedef struct right_side {
    const pfc_amx_panel *panel;
    const uint64_t *r; /* B*r */
    int64_t cols, k;
} right_side;

static void strip_times(const pfc_amx_panel *left, int rows, const right_side *b, int64_t *sum, double *t, uint64_t *check, const uint64_t *odds,
                        pfc_amx_work *w)
{
    int64_t chunks = ceil_div(b->k, AMX_CHUNK);
    for (int64_t j = 0; j < ceil_div(b->cols, AMX_PANEL); j++) {
        int64_t c0 = j * AMX_PANEL;
        int cols = (int)(b->cols - c0 < AMX_PANEL ? b->cols - c0 : AMX_PANEL);
        for (int64_t c = 0; c < chunks; c++) {
            pfc_amx_output to = { .sum = chunks > 1 ? sum : NULL,
                                  .plane = AMX_PANEL * AMX_PANEL,
                                  .sum_ld = AMX_PANEL,
                                  .set = c == 0,
                                  .out = c + 1 == chunks ? t + c0 : NULL,
                                  .out_ld = b->cols,
                                  .rows = rows,
                                  .cols = cols,
                                  .check = check,
                                  .odd = odds ? odds + c0 : NULL };
            pfc_amx_kernels_table.product(left, b->panel + j, c, &to, w);
        }
    }
}

static pfc_status check_rows(exact_lane *lane, pfc_rowset a, const int32_t *expo, const right_side *b, const uint64_t *check)
{
    for (int64_t i = 0; i < a.count; i++) {
        uint64_t want = 0;
        for (int64_t k = 0; k < b->k; k++) want += polynomial(exact_row(a, i)[k], expo[i]) * b->r[k];
        if (want != check[i]) return pfc_exact_check_failed(lane, "the tiles", a.count, b->cols, b->k);
    }
    return PFC_OK;
}

static pfc_status rows_times(exact_lane *lane, pfc_rowset a, const int32_t *expo, const right_side *b, double *t)
{
    const pfc_amx_kernels *k = &pfc_amx_kernels_table;
    const double *row[AMX_PANEL];
    double scale[AMX_PANEL];
    pfc_amx_work w;
    int64_t *sum = scratch_work(lane, 4 * AMX_PANEL * AMX_PANEL, &w);
    pfc_amx_panel *left = scratch_panels(lane, SCRATCH_EXTRA_A, 1, b->k);
    uint64_t *check = lane->self_check ? (uint64_t *)pfc_exact_scratch(lane, SCRATCH_CHECK, a.count + b->cols) : NULL, *odds = check ? check + a.count : NULL;
    if (!sum || !left || (lane->self_check && !check)) return PFC_ERR_NOMEM;
    if (check) memset(check, 0, (size_t)a.count * sizeof *check);
    for (int64_t j = 0; odds && j < b->cols; j++) odds[j] = exact_odd(j);
    k->configure();
    for (int64_t i = 0; i < a.count; i += AMX_PANEL) {
        point_at(a, expo, i, AMX_PANEL, row, scale);
        k->rows(left, row, scale, b->k);
        strip_times(left, (int)(a.count - i < AMX_PANEL ? a.count - i : AMX_PANEL), b, sum, t + i * b->cols, check ? check + i : NULL, odds, &w);
    }
    k->release();
    k->drain(&w);
    return check ? check_rows(lane, a, expo, b, check) : PFC_OK;
}

static pfc_status forward(exact_lane *lane, pfc_rowset w, const int32_t *expo, const pfc_operand *x, double *t)
{
    right_side b = { x->panels->rows, x->panels->rows_r, x->n, x->d };
    return rows_times(lane, w, expo, &b, t);
}

static pfc_status weight(exact_lane *lane, pfc_rowset g, const int32_t *expo, const pfc_operand *x, double *t)
{
    right_side b = { x->panels->cols, x->panels->cols_r, x->d, x->n };
    return rows_times(lane, g, expo, &b, t);
}

/* ---- feature_grad ---- */

static pfc_status check_feature(exact_lane *lane, pfc_rowset h, const int32_t *grid, pfc_rowset w, const int32_t *expo, const uint64_t *check)
{
    int64_t n = h.base.cols, d = w.base.cols;
    uint64_t *want = (uint64_t *)pfc_exact_scratch(lane, SCRATCH_T, n);
    if (!want) return PFC_ERR_NOMEM;
    memset(want, 0, (size_t)n * sizeof *want);
    for (int64_t c = 0; c < h.count; c++) {
        uint64_t r = 0;
        for (int64_t j = 0; j < d; j++) r += polynomial(exact_row(w, c)[j], expo[c]) * exact_odd(j);
        for (int64_t i = 0; i < n; i++) want[i] += polynomial(exact_row(h, c)[i], grid[i]) * r;
    }
    return memcmp(want, check, (size_t)n * sizeof *want) == 0 ? PFC_OK : pfc_exact_check_failed(lane, "the tiles", n, d, h.count);
}

static void feature_products(const pfc_amx_panel *hp, const pfc_amx_panel *wp, int64_t n, int64_t d, int64_t chunks, int64_t *sum, uint64_t *check,
                             const uint64_t *odds, pfc_amx_work *work)
{
    for (int64_t j = 0; j < d; j += AMX_PANEL)
        for (int64_t i = 0; i < n; i += AMX_PANEL)
            for (int64_t c = 0; c < chunks; c++) {
                pfc_amx_output to = { .sum = sum + i * d + j,
                                      .plane = n * d,
                                      .sum_ld = d,
                                      .rows = (int)(n - i < AMX_PANEL ? n - i : AMX_PANEL),
                                      .cols = (int)(d - j < AMX_PANEL ? d - j : AMX_PANEL),
                                      .check = check ? check + i : NULL,
                                      .odd = odds ? odds + j : NULL };
                pfc_amx_kernels_table.product(hp + i / AMX_PANEL, wp + j / AMX_PANEL, c, &to, work);
            }
}

static pfc_status feature(exact_lane *lane, pfc_rowset h, const int32_t *grid, pfc_rowset w, const int32_t *expo, exact_product_acc *acc)
{
    const pfc_amx_kernels *k = &pfc_amx_kernels_table;
    int64_t count = h.count, n = h.base.cols, d = w.base.cols, chunks = ceil_div(count, AMX_CHUNK);
    pfc_amx_work work;
    pfc_amx_panel *hp = scratch_panels(lane, SCRATCH_H, ceil_div(n, AMX_PANEL), count), *wp = scratch_panels(lane, SCRATCH_W, ceil_div(d, AMX_PANEL), count);
    double *scale = pfc_exact_scratch(lane, SCRATCH_ROWS, n);
    uint64_t *check = lane->self_check ? (uint64_t *)pfc_exact_scratch(lane, SCRATCH_CHECK, n + d) : NULL, *odds = check ? check + n : NULL;
    if (!hp || !wp || !scale || !scratch_work(lane, 0, &work) || (lane->self_check && !check)) return PFC_ERR_NOMEM;
    PFC_TRY(pfc_exact_sum_words(acc, n * d, chunks));
    for (int64_t i = 0; i < n; i++) scale[i] = px_pow2(62 - grid[i]);
    for (int64_t i = 0; i < n; i += AMX_PANEL)
        k->columns(hp + i / AMX_PANEL, exact_row(h, 0) + i, h.base.ld, scale + i, (int)(n - i < AMX_PANEL ? n - i : AMX_PANEL), count);
    interleave_rows(wp, w, expo);
    if (check) memset(check, 0, (size_t)n * sizeof *check);
    for (int64_t j = 0; odds && j < d; j++) odds[j] = exact_odd(j);
    k->configure();
    feature_products(hp, wp, n, d, chunks, acc->sum, check, odds, &work);
    k->release();
    k->drain(&work);
    return check ? check_feature(lane, h, grid, w, expo, check) : PFC_OK;
}

const pfc_engine pfc_engine_amx = {
    .name = "amx",
    .strip = 2 * AMX_PANEL,
    .prepare = prepare,
    .forward = forward,
    .weight = weight,
    .feature = feature,
};

#else
const pfc_engine pfc_engine_amx = { .name = "amx" }; /* pfc_engine_amx_usable says no before anything is called */
#endif
