/* fast_bf16_ops.c: the kernel set bf16x6 of fast mode: the AVX-512 table with the three products of a block on bf16 tiles (fast_bf16.h). Compiled with
 * baseline flags.
 *
 * cosines: rows of W times X, K = D. weight_grad: rows of H times X, K = N. X is packed once per step, W or H per block; each panel of X meets the block's
 * three panels before the next one, so that X may be larger than the L2. feature_grad: H^T times W, K = classes of the block, both packed per block. A
 * result depends on its block, never on the thread. */
#include "backend/cpu/fast_bf16.h"
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/fast.h"
#include "backend/mean_loss.h"

#include <math.h>
#include <stdlib.h>

#ifdef PFC_HAVE_AMX

enum { BLOCK = 96 }; /* classes: W, H and X of a block share an L2 of 2 MB up to D = 512, N = 128; a multiple of the panel */

static const pfc_bf16_kernels *const tiles = &pfc_bf16_kernels_table;

/* ---- the batch ---- */

struct pfc_operand {
    int64_t n, d;
    pfc_view x;
    uint8_t *columns;         /* right panels over n, K = d: cosines */
    uint8_t *rows, *unit;     /* right panels over d, K = n, of x and of x / divisor: weight_grad; unit NULL without norms */
    float *divisor, *inverse; /* max(||x||, 1e-12) and its inverse; NULL without norms */
};

static int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

static void bf16x6_operand_destroy(pfc_backend *be, pfc_operand *x)
{
    if (!x) return;
    pfc_cpu_free(be, x->columns); /* the others are in the same memory */
    free(x);
}

/* The next `bytes` of a block of memory. */
static void *place(uint8_t **at, int64_t bytes)
{
    void *p = *at;
    *at += (bytes + 63) / 64 * 64;
    return p;
}

/* row, unit: work memory, n pointers and n x d floats. */
static void fill_panels(pfc_operand *o, pfc_view norm, const float **row, float *unit)
{
    for (int64_t i = 0; i < o->n; i++) row[i] = pfc_fast_at(o->x, i);
    for (int64_t i = 0; i < o->n; i += BF16_PANEL)
        tiles->rows_right(row + i, NULL, (int)smaller(BF16_PANEL, o->n - i), o->d, o->columns + i / BF16_PANEL * pfc_bf16_panel_bytes(o->d));
    tiles->columns_right(row, NULL, o->n, o->d, o->rows);
    if (!norm.data) return;
    for (int64_t i = 0; i < o->n; i++) {
        o->divisor[i] = pfc_fast_divisor(*pfc_fast_at(norm, i));
        o->inverse[i] = 1.0f / o->divisor[i];
        for (int64_t j = 0; j < o->d; j++) unit[i * o->d + j] = row[i][j] / o->divisor[i];
        row[i] = unit + i * o->d;
    }
    tiles->columns_right(row, NULL, o->n, o->d, o->unit);
}

static pfc_status operand_fill(pfc_backend *be, pfc_view norm, pfc_operand *o)
{
    int64_t by_n = pfc_bf16_panels(o->n) * pfc_bf16_panel_bytes(o->d), by_d = pfc_bf16_panels(o->d) * pfc_bf16_panel_bytes(o->n);
    int64_t floats = (o->n + 16) * (int64_t)sizeof(float), pointers = o->n * (int64_t)sizeof(float *);
    void *memory = NULL, *work = NULL;
    PFC_TRY(pfc_cpu_alloc(be, (size_t)(by_n + 2 * by_d + 2 * floats + 256), &memory));
    uint8_t *at = memory;
    o->columns = place(&at, by_n);
    o->rows = place(&at, by_d);
    if (norm.data) {
        o->unit = place(&at, by_d);
        o->divisor = place(&at, floats);
        o->inverse = place(&at, floats);
    }
    PFC_TRY(pfc_cpu_alloc(be, (size_t)(pointers + 64 + o->n * o->d * (int64_t)sizeof(float)), &work));
    at = work;
    const float **row = place(&at, pointers);
    fill_panels(o, norm, row, (float *)(void *)at);
    pfc_cpu_free(be, work);
    return PFC_OK;
}

static pfc_status bf16x6_operand_create(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out)
{
    (void)expo;
    *out = NULL;
    pfc_operand *o = calloc(1, sizeof *o);
    if (!o) return pfc_cpu_nomem(be, sizeof *o);
    o->n = x.rows, o->d = x.cols, o->x = x;
    pfc_status st = operand_fill(be, norm, o);
    if (st != PFC_OK) {
        bf16x6_operand_destroy(be, o);
        return st;
    }
    *out = o;
    return PFC_OK;
}

/* ---- a block ---- */

/* Work memory of a product with K = k: the product, the right operand of `chain`, and `extra` bytes. */
typedef struct bf16_work {
    float *out, *right;
    uint8_t *extra;
} bf16_work;

static pfc_status get_work(pfc_backend *be, int lane, int64_t k, int64_t extra, bf16_work *w)
{
    fast_tile_memory *m = &((pfc_fast_state *)be->state)->tiles[lane];
    size_t bytes = (size_t)(BF16_OUT * 4 + k * BF16_PANEL * 4 + extra + 256);
    if (m->bytes < bytes) {
        free(m->memory);
        m->memory = aligned_alloc(64, (bytes + 63) / 64 * 64);
        m->bytes = m->memory ? bytes : 0;
        if (!m->memory) return pfc_cpu_nomem(be, bytes);
    }
    uint8_t *at = m->memory;
    w->out = place(&at, BF16_OUT * 4);
    w->right = place(&at, k * BF16_PANEL * 4);
    w->extra = at;
    return PFC_OK;
}

/* Left panels of rows, one after the other. */
static void pack_rows(const float *const *row, const float *scale, int64_t count, int64_t k, uint8_t *panels)
{
    for (int64_t i = 0; i < count; i += BF16_PANEL)
        tiles->rows(row + i, scale ? scale + i : NULL, (int)smaller(BF16_PANEL, count - i), k, panels + i / BF16_PANEL * pfc_bf16_panel_bytes(k));
}

/* Sums are wanted from `start` (rows x cols), or from zero. */
static void start_chain(bf16_work *w, int rows, int cols, const float *start, int64_t ld)
{
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < BF16_PANEL; j++) w->out[i * BF16_PANEL + j] = start && j < cols ? start[i * ld + j] : 0.0f;
}

/* ---- cosines ---- */

/* At most BLOCK classes: their rows of W, max(||w||, 1e-12) and its inverse. */
typedef struct cosine_block {
    int64_t first, count;
    const float *w[BLOCK];
    float wd[BLOCK], winv[BLOCK];
} cosine_block;

static void set_cosine_block(cosine_block *b, pfc_rowset w, pfc_view wnorm, int normalised, int64_t first)
{
    b->first = first;
    b->count = smaller(BLOCK, w.count - first);
    for (int64_t i = 0; i < b->count; i++) {
        b->w[i] = pfc_fast_row(w, first + i);
        if (!normalised) continue;
        b->wd[i] = pfc_fast_divisor(*pfc_fast_at(wnorm, first + i));
        b->winv[i] = 1.0f / b->wd[i];
    }
}

/* Classes c.. of the block, columns n0.. of z; the product is in work->out. */
static void finish_cosines(bf16_work *work, const pfc_operand *x, const cosine_block *b, int normalised, int64_t c, int64_t n0, pfc_view z)
{
    int rows = (int)smaller(BF16_PANEL, b->count - c), cols = (int)smaller(BF16_PANEL, x->n - n0);
    float *to = pfc_fast_at(z, b->first + c) + n0;
    if (!tiles->finite(work->out, rows, cols)) {
        for (int64_t t = 0; t < x->d; t++)
            for (int j = 0; j < BF16_PANEL; j++) work->right[t * BF16_PANEL + j] = j < cols ? pfc_fast_at(x->x, n0 + j)[t] : 0.0f;
        start_chain(work, rows, cols, NULL, 0);
        tiles->chain(b->w + c, 1, work->right, x->d, rows, work->out);
    }
    if (normalised)
        tiles->quotients(work->out, rows, cols, x->divisor + n0, x->inverse + n0, b->wd + c, b->winv + c, to, z.ld);
    else
        tiles->copy(work->out, rows, cols, to, z.ld);
}

static pfc_status bf16x6_cosines(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised,
                                 pfc_view z)
{
    bf16_work work;
    cosine_block b;
    int64_t bytes = pfc_bf16_panel_bytes(x->d);
    (void)wexpo;
    PFC_TRY(get_work(be, lane, x->d, pfc_bf16_panels(BLOCK) * bytes, &work));
    tiles->configure();
    for (int64_t first = 0; first < w.count; first += BLOCK) {
        set_cosine_block(&b, w, wnorm, normalised, first);
        pack_rows(b.w, NULL, b.count, x->d, work.extra);
        for (int64_t n0 = 0; n0 < x->n; n0 += BF16_PANEL)
            for (int64_t c = 0; c < b.count; c += BF16_PANEL) {
                tiles->product(work.extra + c / BF16_PANEL * bytes, x->columns + n0 / BF16_PANEL * bytes, x->d, work.out);
                finish_cosines(&work, x, &b, normalised, c, n0, z);
            }
    }
    tiles->release();
    return PFC_OK;
}

/* ---- feature_grad ---- */

typedef struct feature_block {
    const float **w, **h; /* rows of W and H */
    float *scale;         /* 1 / max(||w||, 1e-12), or NULL */
    uint8_t *wp, *hp;     /* right panels over d, left panels over n */
    int64_t classes;
} feature_block;

static pfc_status place_feature(pfc_backend *be, int lane, int64_t classes, int64_t n, int64_t d, bf16_work *work, feature_block *b)
{
    int64_t bytes = pfc_bf16_panel_bytes(classes), pointers = classes * (int64_t)sizeof(float *) + 64;
    PFC_TRY(get_work(be, lane, classes, (pfc_bf16_panels(n) + pfc_bf16_panels(d)) * bytes + 3 * pointers, work));
    uint8_t *at = work->extra;
    b->classes = classes;
    b->wp = place(&at, pfc_bf16_panels(d) * bytes);
    b->hp = place(&at, pfc_bf16_panels(n) * bytes);
    b->w = place(&at, pointers);
    b->h = place(&at, pointers);
    b->scale = place(&at, pointers);
    return PFC_OK;
}

/* Adds the product in work->out, or the chain of its terms, to f (rows of n, columns of d). */
static void finish_feature(bf16_work *work, const feature_block *b, int64_t n0, int rows, int64_t d0, int cols, int64_t ldh, float *f, int64_t ldf)
{
    if (tiles->finite(work->out, rows, cols)) {
        tiles->add(work->out, rows, cols, f, ldf);
        return;
    }
    for (int64_t t = 0; t < b->classes; t++)
        for (int j = 0; j < BF16_PANEL; j++) work->right[t * BF16_PANEL + j] = j < cols ? b->w[t][d0 + j] * (b->scale ? b->scale[t] : 1.0f) : 0.0f;
    const float *left[BF16_PANEL];
    for (int i = 0; i < rows; i++) left[i] = b->h[0] + n0 + i;
    start_chain(work, rows, cols, f, ldf);
    tiles->chain(left, ldh, work->right, b->classes, rows, work->out);
    tiles->copy(work->out, rows, cols, f, ldf);
}

static pfc_status bf16x6_feature_grad(pfc_backend *be, int lane, pfc_view h, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised,
                                      pfc_acc *feature)
{
    const fast_acc *acc = pfc_fast_acc_of(feature);
    int64_t n = h.cols, d = w.base.cols, bytes = pfc_bf16_panel_bytes(w.count);
    float *f = pfc_fast_lane_product(feature, lane);
    bf16_work work;
    feature_block b;
    (void)wexpo;
    if (w.count == 0) return PFC_OK;
    PFC_TRY(place_feature(be, lane, w.count, n, d, &work, &b));
    for (int64_t c = 0; c < w.count; c++) {
        b.w[c] = pfc_fast_row(w, c);
        b.h[c] = pfc_fast_at(h, c);
        b.scale[c] = normalised ? 1.0f / pfc_fast_divisor(*pfc_fast_at(wnorm, c)) : 1.0f;
    }
    tiles->columns(b.h, NULL, w.count, n, b.hp);
    tiles->columns_right(b.w, b.scale, w.count, d, b.wp);
    tiles->configure();
    for (int64_t d0 = 0; d0 < d; d0 += BF16_PANEL)
        for (int64_t n0 = 0; n0 < n; n0 += BF16_PANEL) {
            tiles->product(b.hp + n0 / BF16_PANEL * bytes, b.wp + d0 / BF16_PANEL * bytes, w.count, work.out);
            finish_feature(&work, &b, n0, (int)smaller(BF16_PANEL, n - n0), d0, (int)smaller(BF16_PANEL, d - d0), h.ld, f + n0 * acc->ld + d0, acc->ld);
        }
    tiles->release();
    return PFC_OK;
}

/* ---- weight_grad ---- */

/* At most BLOCK classes: their rows of H, and of W with the projection -(w / d) q; below the clamp there is none. */
typedef struct weight_block {
    int64_t first, count;
    const float *h[BLOCK], *w[BLOCK];
    float a[BLOCK], winv[BLOCK];
    float scale[BLOCK], up[BLOCK]; /* of the rows of H: those of classes that no row of X is near are tiny */
} weight_block;

/* A power of two that brings x to [1/2, 1) or close; 1 for zero and what is not finite. */
static float power_for(float x)
{
    int e = 0;
    if (!(x > 0.0f) || x > 0x1.fffffep127f) return 1.0f;
    frexpf(x, &e);
    return ldexpf(1.0f, e > 126 ? -126 : e < -126 ? 126 : -e);
}

static void set_weight_block(weight_block *b, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised, int64_t first)
{
    b->first = first;
    b->count = smaller(BLOCK, w.count - first);
    for (int64_t i = 0; i < b->count; i++) {
        int64_t c = first + i;
        b->h[i] = pfc_fast_at(h, c);
        b->scale[i] = power_for(tiles->largest(b->h[i], h.cols));
        b->up[i] = 1.0f / b->scale[i];
        if (!normalised) continue;
        float norm = *pfc_fast_at(wnorm, c), wd = pfc_fast_divisor(norm);
        b->w[i] = pfc_fast_row(w, c);
        b->winv[i] = 1.0f / wd;
        b->a[i] = norm < (float)PFC_NORM_MIN ? 0.0f : -(*pfc_fast_at(wdot, c) / wd);
    }
}

/* Classes c.. of the block, columns d0.. of dw, whose first row is the block's; the product is in work->out. */
static void finish_weight(bf16_work *work, const pfc_operand *x, const weight_block *b, int normalised, int64_t c, int64_t d0, float *dw, int64_t lddw)
{
    static const float ones[BF16_PANEL] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 };
    int rows = (int)smaller(BF16_PANEL, b->count - c), cols = (int)smaller(BF16_PANEL, x->d - d0);
    const float *up = b->up + c;
    if (!tiles->finite(work->out, rows, cols)) {
        for (int64_t t = 0; t < x->n; t++)
            for (int j = 0; j < BF16_PANEL; j++)
                work->right[t * BF16_PANEL + j] = j < cols ? pfc_fast_at(x->x, t)[d0 + j] / (normalised ? x->divisor[t] : 1.0f) : 0.0f;
        start_chain(work, rows, cols, NULL, 0);
        tiles->chain(b->h + c, 1, work->right, x->n, rows, work->out);
        up = ones;
    }
    tiles->projected(work->out, rows, cols, up, b->w + c, d0, normalised ? b->a + c : NULL, b->winv + c, dw + c * lddw + d0, lddw);
}

static void weight_products(bf16_work *work, const pfc_operand *x, const weight_block *b, int normalised, float *dw, int64_t lddw)
{
    int64_t bytes = pfc_bf16_panel_bytes(x->n);
    const uint8_t *right = normalised ? x->unit : x->rows;
    pack_rows(b->h, b->scale, b->count, x->n, work->extra);
    for (int64_t d0 = 0; d0 < x->d; d0 += BF16_PANEL)
        for (int64_t c = 0; c < b->count; c += BF16_PANEL) {
            tiles->product(work->extra + c / BF16_PANEL * bytes, right + d0 / BF16_PANEL * bytes, x->n, work->out);
            finish_weight(work, x, b, normalised, c, d0, dw, lddw);
        }
}

static pfc_status bf16x6_weight_grad(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                     pfc_view dw)
{
    bf16_work work;
    weight_block b;
    PFC_TRY(get_work(be, lane, x->n, pfc_bf16_panels(BLOCK) * pfc_bf16_panel_bytes(x->n), &work));
    tiles->configure();
    for (int64_t first = 0; first < w.count; first += BLOCK) {
        set_weight_block(&b, h, w, wnorm, wdot, normalised, first);
        weight_products(&work, x, &b, normalised, pfc_fast_at(dw, first), dw.ld);
    }
    tiles->release();
    return PFC_OK;
}

/* The gradient of a block stays in cache until its rows are updated. */
static pfc_status bf16x6_weight_update(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                       pfc_view momentum, const pfc_sgd *sgd)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
    const fast_sgd f = pfc_fast_sgd_of(sgd);
    bf16_work work;
    weight_block b;
    int64_t bytes = pfc_bf16_panels(BLOCK) * pfc_bf16_panel_bytes(x->n), ld = pfc_round16(x->d);
    PFC_TRY(get_work(be, lane, x->n, bytes + BLOCK * ld * (int64_t)sizeof(float), &work));
    float *dw = (float *)(void *)(work.extra + bytes);
    tiles->configure();
    for (int64_t first = 0; first < w.count; first += BLOCK) {
        set_weight_block(&b, h, w, wnorm, wdot, normalised, first);
        weight_products(&work, x, &b, normalised, dw, ld);
        for (int64_t i = 0; i < b.count; i++) {
            int64_t row = pfc_row_index(w, first + i);
            k->sgd_row(dw + i * ld, pfc_fast_at(w.base, row), pfc_fast_at(momentum, row), x->d, &f);
        }
    }
    tiles->release();
    return PFC_OK;
}

/* ---- the table ---- */

#define FIELD(name, value) .name = value,
#define ENTRY(name) .name = pfc_fast_##name,
#define PRODUCT(name) .name = bf16x6_##name,
const pfc_ops pfc_ops_fast_bf16x6 = {
    .isa = "amx", /* and AVX-512 for everything else */
    .block_classes = BLOCK,
    .rows_ahead = NULL, /* prefetches compete with tile loads for fill buffers */
#include "backend/cpu/fast_ops.inc"
};
#endif
