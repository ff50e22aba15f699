/* engine_ifma.c: exact integer products by 52-bit multiply-add. Words, strips, panels and kernels: exact_ifma.h. Compiled with baseline flags.
 *
 * cosines: rows of W times X^T, K = D. weight_grad: rows of G times X, K = N. Both take 32 classes at a time against panels of X made once per step.
 * feature_grad: H^T times W, K = classes of the block, sums kept as words of base 2^32. */
#include "backend/cpu/engine_ifma.h"

#include <stdlib.h>
#include <string.h>

#ifdef PFC_HAVE_IFMA

enum { GROUP = 8 }; /* strips of a group: what stays in cache while panels pass */

/* ---- memory ---- */

static int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
static int64_t at_most(int64_t a, int64_t limit) { return a < limit ? a : limit; }
static int64_t round_up(int64_t words) { return (words + 7) / 8 * 8; }

/* Words and tops of every row, indices of the listed terms. */
static int64_t strip_words(int64_t k) { return (2 * IFMA_ROWS + 1) * (round_up(k) + IFMA_PAD); }

int64_t pfc_ifma_strips_words(int64_t count, int64_t k) { return round_up(count * (int64_t)sizeof(pfc_ifma_strip) / 8) + count * strip_words(k); }

pfc_ifma_strip *pfc_ifma_strips_place(void *memory, int64_t count, int64_t k, bool by_k)
{
    pfc_ifma_strip *s = memory;
    int64_t length = round_up(k) + IFMA_PAD, *at = (int64_t *)memory + round_up(count * (int64_t)sizeof *s / 8);
    for (int64_t i = 0; i < count; i++, at += strip_words(k)) {
        s[i].word = (uint64_t *)at;
        s[i].row_step = by_k ? 1 : length;
        s[i].step = by_k ? IFMA_ROWS : 1;
        s[i].top = at + IFMA_ROWS * length;
        s[i].top_step = length;
        s[i].at = at + 2 * IFMA_ROWS * length;
    }
    return s;
}

static int64_t panel_words(int64_t k) { return k * IFMA_COLS + IFMA_PAD; }

int64_t pfc_ifma_panels_words(int64_t count, int64_t k) { return count * ((int64_t)sizeof(pfc_ifma_panel) / 8 + 2 * panel_words(k)); }

pfc_ifma_panel *pfc_ifma_panels_place(void *memory, int64_t count, int64_t k)
{
    pfc_ifma_panel *p = memory;
    uint64_t *at = (uint64_t *)(p + count), *rest = at + count * panel_words(k);
    for (int64_t i = 0; i < count; i++) {
        p[i].main.word = at + i * panel_words(k);
        p[i].rest.word = rest + i * panel_words(k);
        p[i].rests = 0;
    }
    return p;
}

/* ---- right operands ---- */

/* The panels of rows [first, first + count) of a set, count <= IFMA_CHUNK; expo NULL: already scaled. */
static bool make_panels(pfc_ifma_panel *p, pfc_rowset set, const int32_t *expo, int64_t first, int64_t count)
{
    const pfc_ifma_kernels *k = &pfc_ifma_kernels_table;
    int64_t cols = set.base.cols;
    bool many = false;
    for (int pass = 0; pass < 1 + many; pass++) {
        for (int64_t at = 0; at < count; at += 8) {
            int left = (int)at_most(count - at, 8);
            const double *row[8];
            double scale[8];
            for (int i = 0; i < left; i++) {
                row[i] = exact_row(set, first + at + i);
                scale[i] = expo ? px_pow2(62 - expo[first + at + i]) : 1.0;
            }
            if (pass == 0)
                k->right(p, at, row, scale, left, cols);
            else
                k->right_rest(p, at, row, scale, left, cols);
        }
        for (int64_t j = 0; pass == 0 && j < ceil_div(cols, IFMA_COLS); j++) many |= p[j].rests > IFMA_LISTED;
    }
    return many;
}

/* A prepared right operand: panels of every chunk of K, [chunk][panel]. */
typedef struct right_side {
    pfc_ifma_panel *panel;
    int64_t cols, k;
    bool many;         /* a panel has more rests than its list */
    const uint64_t *r; /* self-check: B*r */
} right_side;

struct ifma_operand {
    right_side rows, cols; /* N columns, K = D; D columns, K = N */
};

uint64_t *pfc_ifma_operand_words(const pfc_operand *x, bool of_weight_grad)
{
    const struct ifma_operand *op = (const struct ifma_operand *)x->storage;
    return (of_weight_grad ? &op->cols : &op->rows)->panel->main.word;
}

static int64_t side_words(int64_t cols, int64_t k)
{
    return ceil_div(k, IFMA_CHUNK) * pfc_ifma_panels_words(ceil_div(cols, IFMA_COLS), at_most(k, IFMA_CHUNK));
}

static void make_side(right_side *b, int64_t *memory, pfc_rowset set, const int32_t *expo)
{
    int64_t count = ceil_div(set.base.cols, IFMA_COLS), k = set.count;
    b->panel = pfc_ifma_panels_place(memory, ceil_div(k, IFMA_CHUNK) * count, at_most(k, IFMA_CHUNK));
    b->cols = set.base.cols;
    b->k = k;
    for (int64_t c = 0; c < ceil_div(k, IFMA_CHUNK); c++)
        b->many |= make_panels(b->panel + c * count, set, expo, c * IFMA_CHUNK, at_most(k - c * IFMA_CHUNK, IFMA_CHUNK));
}

/* ---- self-check: A*(B*r) = C*r modulo the prime 2^61 - 1, where every bit of an integer counts ---- */

#define PRIME (((uint64_t)1 << 61) - 1)
static uint64_t residue(pfc_i128 x) { return (uint64_t)((x % (pfc_i128)PRIME + (pfc_i128)PRIME) % (pfc_i128)PRIME); }
static uint64_t times(uint64_t a, uint64_t b) { return (uint64_t)((pfc_u128)a * b % PRIME); }
static uint64_t weight_of(int64_t j) { return exact_odd(j) % PRIME; }
static void accumulate(uint64_t *sum, uint64_t x) { *sum = (*sum + x) % PRIME; }

static void check_operand(const pfc_operand *x, uint64_t *rows_r, uint64_t *cols_r)
{
    memset(rows_r, 0, (size_t)x->d * sizeof *rows_r);
    memset(cols_r, 0, (size_t)x->n * sizeof *cols_r);
    for (int64_t i = 0; i < x->n; i++)
        for (int64_t j = 0; j < x->d; j++) {
            uint64_t v = residue(pfc_quantise(exact_at(x->x, i)[j], x->expo[i]));
            accumulate(rows_r + j, times(v, weight_of(i)));
            accumulate(cols_r + i, times(v, weight_of(j)));
        }
}

static void check_tile(const pfc_ifma_tile *t, int exponent, int rows, int cols, int64_t first, uint64_t *check)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c++) {
            uint64_t value = residue(pfc_ifma_value(t, r, c));
            accumulate(check + r, times(times(value, (uint64_t)1 << exponent), weight_of(first + c)));
        }
}

static pfc_status check_rows(exact_lane *lane, pfc_rowset a, const int32_t *expo, const right_side *b, const uint64_t *check)
{
    for (int64_t i = 0; i < a.count; i++) {
        uint64_t want = 0;
        for (int64_t k = 0; k < b->k; k++) accumulate(&want, times(residue(pfc_quantise(exact_row(a, i)[k], expo[i])), b->r[k]));
        if (want != check[i]) return pfc_exact_check_failed(lane, "engine ifma", a.count, b->cols, b->k);
    }
    return PFC_OK;
}

static pfc_status check_feature(exact_lane *lane, pfc_rowset h, const int32_t *grid, pfc_rowset w, const int32_t *expo, const uint64_t *check)
{
    int64_t n = h.base.cols, d = w.base.cols;
    uint64_t *want = (uint64_t *)pfc_exact_scratch(lane, SCRATCH_T, n);
    if (!want) return PFC_ERR_NOMEM;
    memset(want, 0, (size_t)n * sizeof *want);
    for (int64_t c = 0; c < h.count; c++) {
        uint64_t r = 0;
        for (int64_t j = 0; j < d; j++) accumulate(&r, times(residue(pfc_quantise(exact_row(w, c)[j], expo[c])), weight_of(j)));
        for (int64_t i = 0; i < n; i++) accumulate(want + i, times(residue(pfc_quantise(exact_row(h, c)[i], grid[i])), r));
    }
    return memcmp(want, check, (size_t)n * sizeof *want) == 0 ? PFC_OK : pfc_exact_check_failed(lane, "engine ifma", n, d, h.count);
}

/* ---- the batch ---- */

static pfc_status prepare(exact_lane *lane, pfc_operand *x)
{
    int64_t n = x->n, d = x->d, head = round_up(sizeof(struct ifma_operand) / 8), rows = side_words(n, d), cols = side_words(d, n);
    double *turned = pfc_exact_scratch(lane, SCRATCH_LEVELS, n * d); /* (D,N), scaled */
    int64_t *memory = aligned_alloc(64, (size_t)round_up(head + rows + cols + n + d) * sizeof *memory);
    x->storage = (double *)memory;
    if (!memory || !turned) return PFC_ERR_NOMEM;
    struct ifma_operand *op = (struct ifma_operand *)memory;
    memset(op, 0, sizeof *op);
    memory += head;
    uint64_t *rows_r = (uint64_t *)(memory + rows + cols), *cols_r = rows_r + d;
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < d; j++) turned[j * n + i] = exact_at(x->x, i)[j] * px_pow2(62 - x->expo[i]);
    make_side(&op->rows, memory, pfc_all_rows(pfc_view_make(turned, PFC_F64, d, n)), NULL);
    make_side(&op->cols, memory + rows, pfc_all_rows(x->x), x->expo);
    if (lane->self_check) check_operand(x, rows_r, cols_r);
    op->rows.r = rows_r;
    op->cols.r = cols_r;
    return PFC_OK;
}

/* ---- listed rests ---- */

static int64_t left_value(const pfc_ifma_strip *s, int64_t r, int64_t k)
{
    return ((int64_t)s->word[r * s->row_step + k * s->step] - ((int64_t)1 << 51)) * ((int64_t)1 << s->shift);
}

static void check_rest(const pfc_ifma_strip *s, const pfc_ifma_rest *e, int rows, int64_t first, uint64_t *check)
{
    for (int r = 0; r < rows; r++) accumulate(check + r, times(times(residue(left_value(s, r, e->k)), (uint64_t)e->value), weight_of(first + e->col)));
}

/* Rounds again the outputs of the columns that have listed rests. */
static void repair(const pfc_ifma_strip *s, const pfc_ifma_panel *p, const pfc_ifma_tile *t, int rows, double *out, int64_t ld)
{
    for (int64_t i = 0; i < p->rests; i++) {
        int64_t col = p->list[i].col;
        for (int r = 0; r < rows; r++) {
            int64_t limb[PFC_LIMBS] = { 0, 0, 0, 0 };
            pfc_limbs_add_at(limb, t->high[r][col], 52 + IFMA_REST_BITS + s->shift);
            pfc_limbs_add_at(limb, t->low[r][col], IFMA_REST_BITS + s->shift);
            for (int64_t j = 0; j < p->rests; j++) {
                int64_t v = left_value(s, r, p->list[j].k);
                if (p->list[j].col != col) continue;
                pfc_limbs_add_at(limb, (v & 0xffffffff) * p->list[j].value, 0);
                pfc_limbs_add_at(limb, (v >> 32) * p->list[j].value, 32);
            }
            out[r * ld + col] = pfc_limbs_round(limb);
        }
    }
}

/* Adds them to words of base 2^32. */
static void add_rests(const pfc_ifma_strip *s, const pfc_ifma_panel *p, int rows, int64_t *sum, int64_t plane, int64_t ld)
{
    for (int64_t i = 0; i < p->rests; i++)
        for (int r = 0; r < rows; r++) {
            int64_t v = left_value(s, r, p->list[i].k), *to = sum + r * ld + p->list[i].col;
            int64_t low = 256 * (v & 0xffffffff) * p->list[i].value, high = 256 * (v >> 32) * p->list[i].value;
            to[3 * plane] += low & 0xffffffff;
            to[2 * plane] += (low >> 32) + (high & 0xffffffff);
            to[plane] += high >> 32;
        }
}

/* ---- a strip times a panel ---- */

/* Where the outputs go: straight to out, or added to sum. */
typedef struct destination {
    double *out;
    int64_t ld;
    int64_t *sum;
    int64_t plane;
    int rows, cols;
    uint64_t *check; /* per row; NULL: off */
    int64_t first;   /* first column */
} destination;

/* The sums do not stay in cache from one block to the next; the product hides the wait. */
static void prefetch_sums(const destination *to)
{
    for (int i = 0; i < 4; i++)
        for (int r = 0; r < to->rows; r++)
            for (int c = 0; c < to->cols; c += 8) __builtin_prefetch(to->sum + i * to->plane + r * to->ld + c, 1);
}

static void strip_times_panel(const pfc_ifma_strip *s, const pfc_ifma_panel *p, int64_t k, const destination *to)
{
    const pfc_ifma_kernels *kernels = &pfc_ifma_kernels_table;
    pfc_ifma_tile t;
    if (to->sum) prefetch_sums(to);
    kernels->product(s, &p->main, k, &t);
    if (to->check) check_tile(&t, IFMA_REST_BITS + s->shift, to->rows, to->cols, to->first, to->check);
    if (to->sum)
        kernels->add(&t, true, to->rows, to->cols, to->sum, to->plane, to->ld);
    else
        kernels->round(&t, px_pow2(IFMA_REST_BITS + s->shift), to->rows, to->cols, to->out, to->ld);
    if (p->rests == 0) return;
    if (p->rests > IFMA_LISTED) { /* only with sum */
        kernels->product(s, &p->rest, k, &t);
        if (to->check) check_tile(&t, 0, to->rows, to->cols, to->first, to->check);
        kernels->add(&t, false, to->rows, to->cols, to->sum, to->plane, to->ld);
        return;
    }
    for (int64_t i = 0; to->check && i < p->rests; i++) check_rest(s, &p->list[i], to->rows, to->first, to->check);
    if (to->sum)
        add_rests(s, p, to->rows, to->sum, to->plane, to->ld);
    else
        repair(s, p, &t, to->rows, to->out, to->ld);
}

/* ---- cosines and weight_grad: rows times the batch ---- */

/* Rows [first, first + rows) of a, one chunk of K. */
static void group_times(pfc_ifma_strip *strip, pfc_rowset a, const int32_t *expo, int64_t first, int rows, const right_side *b, int64_t chunk, int64_t *sum,
                        double *t, uint64_t *check)
{
    int64_t k0 = chunk * IFMA_CHUNK, k = at_most(b->k - k0, IFMA_CHUNK), panels = ceil_div(b->cols, IFMA_COLS);
    for (int i = 0; i < rows; i += IFMA_ROWS) {
        const double *row[IFMA_ROWS];
        double scale[IFMA_ROWS];
        for (int r = 0; r < IFMA_ROWS; r++) {
            row[r] = i + r < rows ? exact_row(a, first + i + r) + k0 : NULL;
            scale[r] = row[r] ? px_pow2(62 - expo[first + i + r]) : 1.0;
        }
        pfc_ifma_kernels_table.rows(strip + i / IFMA_ROWS, row, scale, k, sum != NULL);
    }
    for (int64_t j = 0; j < panels; j++)
        for (int i = 0; i < rows; i += IFMA_ROWS) {
            int64_t c = j * IFMA_COLS;
            destination to = { .out = t ? t + (first + i) * b->cols + c : NULL,
                               .ld = b->cols,
                               .sum = sum ? sum + i * b->cols + c : NULL,
                               .plane = GROUP * IFMA_ROWS * b->cols,
                               .rows = (int)at_most(rows - i, IFMA_ROWS),
                               .cols = (int)at_most(b->cols - c, IFMA_COLS),
                               .check = check ? check + first + i : NULL,
                               .first = c };
            strip_times_panel(strip + i / IFMA_ROWS, b->panel + chunk * panels + j, k, &to);
        }
}

static void round_words(const int64_t *sum, int64_t plane, int64_t count, double *t)
{
    for (int64_t i = 0; i < count; i++) {
        int64_t limb[PFC_LIMBS] = { 0, 0, 0, 0 };
        pfc_limbs_add_words(limb, sum + i, plane);
        t[i] = pfc_limbs_round(limb);
    }
}

static pfc_status rows_times(exact_lane *lane, pfc_rowset a, const int32_t *expo, const right_side *b, double *t)
{
    int64_t chunks = ceil_div(b->k, IFMA_CHUNK), k = at_most(b->k, IFMA_CHUNK), plane = GROUP * IFMA_ROWS * b->cols;
    bool summed = chunks > 1 || b->many;
    double *memory = pfc_exact_scratch(lane, SCRATCH_EXTRA_A, pfc_ifma_strips_words(GROUP, k));
    int64_t *sum = summed ? (int64_t *)pfc_exact_scratch(lane, SCRATCH_LEVELS, 4 * plane) : NULL;
    uint64_t *check = lane->self_check ? (uint64_t *)pfc_exact_scratch(lane, SCRATCH_CHECK, a.count) : NULL;
    if (b->k == 0) memset(t, 0, (size_t)(a.count * b->cols) * sizeof *t);
    if (!memory || (summed && !sum) || (lane->self_check && !check)) return PFC_ERR_NOMEM;
    if (check) memset(check, 0, (size_t)a.count * sizeof *check);
    pfc_ifma_strip *strip = pfc_ifma_strips_place(memory, GROUP, k, false);
    for (int64_t i = 0; i < a.count; i += GROUP * IFMA_ROWS) {
        int rows = (int)at_most(a.count - i, GROUP * IFMA_ROWS);
        if (sum) memset(sum, 0, (size_t)(4 * plane) * sizeof *sum);
        for (int64_t c = 0; c < chunks; c++) group_times(strip, a, expo, i, rows, b, c, sum, sum ? NULL : t, check);
        if (sum) round_words(sum, plane, rows * b->cols, t + i * b->cols);
    }
    return check ? check_rows(lane, a, expo, b, check) : PFC_OK;
}

static pfc_status forward(exact_lane *lane, pfc_rowset w, const int32_t *expo, const pfc_operand *x, double *t)
{
    return rows_times(lane, w, expo, &((const struct ifma_operand *)x->storage)->rows, t);
}

static pfc_status weight(exact_lane *lane, pfc_rowset g, const int32_t *expo, const pfc_operand *x, double *t)
{
    return rows_times(lane, g, expo, &((const struct ifma_operand *)x->storage)->cols, t);
}

/* ---- feature_grad ---- */

/* One chunk of classes. */
static void feature_chunk(pfc_ifma_strip *strip, pfc_ifma_panel *panel, pfc_rowset h, const double *scale, pfc_rowset w, const int32_t *expo, int64_t first,
                          int64_t k, int64_t *sum, uint64_t *check)
{
    int64_t n = h.base.cols, d = w.base.cols, ld = h.base.ld;
    const double *from = exact_row(h, first);
    for (int64_t i = 0; i < n; i += 2 * IFMA_ROWS)
        pfc_ifma_kernels_table.columns(strip + i / IFMA_ROWS, from + i, ld, scale + i, (int)at_most(n - i, 2 * IFMA_ROWS), k);
    make_panels(panel, w, expo, first, k);
    for (int64_t j = 0; j < d; j += IFMA_COLS)
        for (int64_t i = 0; i < n; i += IFMA_ROWS) {
            destination to = { .sum = sum + i * d + j,
                               .plane = n * d,
                               .ld = d,
                               .rows = (int)at_most(n - i, IFMA_ROWS),
                               .cols = (int)at_most(d - j, IFMA_COLS),
                               .check = check ? check + i : NULL,
                               .first = j };
            strip_times_panel(strip + i / IFMA_ROWS, panel + j / IFMA_COLS, k, &to);
        }
}

static pfc_status feature(exact_lane *lane, pfc_rowset h, const int32_t *grid, pfc_rowset w, const int32_t *expo, exact_product_acc *acc)
{
    int64_t n = h.base.cols, d = w.base.cols, k = at_most(h.count, IFMA_CHUNK), strips = 2 * ceil_div(n, 2 * IFMA_ROWS), panels = ceil_div(d, IFMA_COLS);
    double *hm = pfc_exact_scratch(lane, SCRATCH_H, pfc_ifma_strips_words(strips, k)), *scale = pfc_exact_scratch(lane, SCRATCH_ROWS, n);
    double *wm = pfc_exact_scratch(lane, SCRATCH_W, pfc_ifma_panels_words(panels, k));
    uint64_t *check = lane->self_check ? (uint64_t *)pfc_exact_scratch(lane, SCRATCH_CHECK, n) : NULL;
    if (!hm || !wm || !scale || (lane->self_check && !check)) return PFC_ERR_NOMEM;
    if (check) memset(check, 0, (size_t)n * sizeof *check);
    PFC_TRY(pfc_exact_sum_words(acc, n * d, 3 * ceil_div(h.count, IFMA_CHUNK))); /* main, rest, list */
    pfc_ifma_strip *strip = pfc_ifma_strips_place(hm, strips, k, true);
    pfc_ifma_panel *panel = pfc_ifma_panels_place(wm, panels, k);
    for (int64_t i = 0; i < n; i++) scale[i] = px_pow2(62 - grid[i]);
    for (int64_t c = 0; c < h.count; c += IFMA_CHUNK) feature_chunk(strip, panel, h, scale, w, expo, c, at_most(h.count - c, IFMA_CHUNK), acc->sum, check);
    return check ? check_feature(lane, h, grid, w, expo, check) : PFC_OK;
}

const pfc_engine pfc_engine_ifma = {
    .name = "ifma",
    .strip = 2 * GROUP * IFMA_ROWS,
    .prepare = prepare,
    .forward = forward,
    .weight = weight,
    .feature = feature,
};

#else
const pfc_engine pfc_engine_ifma = { .name = "ifma" }; /* pfc_engine_ifma_usable says no before anything is called */
#endif
