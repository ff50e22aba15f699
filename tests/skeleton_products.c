/* skeleton_products.c: products of a backend to begin with: a thread for each element, one term after the other, in 128-bit integers. Slow, and enough for
 * every golden; an engine on slices (doc/backend.md, step 4) makes the same integers faster. Sections are those of doc/exact-v1.md. */
#include "core/exactint.h"
#include "skeleton_device.h"

#include <stdlib.h>

/* Rows stay where they are, and their integers are made on the fly. A faster backend keeps them here, cut into slices. */
struct pfc_operand {
    pfc_view x; /* (N,D) */
    const double *norm;
    const int32_t *expo;
};

pfc_status skeleton_operand_create(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out)
{
    *out = malloc(sizeof **out);
    if (!*out) return skeleton_no_memory(be, sizeof **out);
    **out = (pfc_operand){ x, norm.data, expo };
    return PFC_OK;
}

void skeleton_operand_destroy(pfc_backend *be, pfc_operand *x)
{
    (void)be;
    free(x);
}

/* ---- a sum of products, 1.2: T in four limbs, and what its special terms make of it ---- */

typedef struct product_sum {
    int64_t limb[PFC_LIMBS];
    unsigned char mark;
} product_sum;

/* T += V(a, ea) V(b, eb), |V| <= 2^62. */
static void add_product(product_sum *s, double a, int32_t ea, double b, int32_t eb)
{
    pfc_i128 p = (pfc_i128)pfc_quantise(a, ea) * pfc_quantise(b, eb);
    for (int i = 0; i < 3; i++) s->limb[i] += (int64_t)(p >> (i * PFC_LIMB_BITS)) & (((int64_t)1 << PFC_LIMB_BITS) - 1);
    s->limb[3] += (int64_t)(p >> (3 * PFC_LIMB_BITS));
    pfc_limbs_normalise(s->limb); /* once in 2^22 terms would do */
}

/* 1.4: the mark of a term with a factor that is not finite. */
static void mark_product(product_sum *s, double a, double b)
{
    if (!px_finite(a) || !px_finite(b)) s->mark |= pfc_mark_of(PX_MUL(a, b));
}

static double product_value(const product_sum *s, int32_t e) { return s->mark ? pfc_mark_value(s->mark) : px_scale(pfc_limbs_round(s->limb), e - 124); }

/* ---- products of a block of classes with the batch ---- */

typedef struct block {
    const pfc_operand *x;
    pfc_rowset w;
    const double *wnorm;
    const int32_t *wexpo;
    int normalised;
    pfc_view out; /* cosines (classes, N), or gradient (classes, D) */
    pfc_view h;   /* (classes, N); of the gradient, as the next two */
    const double *wdot;
    int32_t *grid;
} block;

static double clamped(double norm) { return norm < 1e-12 ? 1e-12 : norm; } /* NaN passes */

static const double *row_of(pfc_view v, int64_t i) { return (const double *)v.data + i * v.ld; }

static const double *class_row(const block *k, int64_t c) { return row_of(k->w.base, k->w.index ? k->w.index[c] : k->w.first + c); }

/* 3.2 */
static void cosine(void *arg, int64_t i)
{
    const block *k = arg;
    int64_t c = i / k->out.cols, n = i % k->out.cols;
    const double *x = row_of(k->x->x, n), *w = class_row(k, c);
    product_sum s = { 0 };
    for (int64_t d = 0; d < k->x->x.cols; d++) {
        add_product(&s, x[d], k->x->expo[n], w[d], k->wexpo[c]);
        mark_product(&s, x[d], w[d]);
    }
    double dot = product_value(&s, k->x->expo[n] + k->wexpo[c]);
    ((double *)k->out.data)[c * k->out.ld + n] = k->normalised ? PX_DIV(dot, PX_MUL(clamped(k->x->norm[n]), clamped(k->wnorm[c]))) : dot;
}

pfc_status skeleton_cosines(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_view z)
{
    block k = { .x = x, .w = w, .wnorm = wnorm.data, .wexpo = wexpo, .normalised = normalised, .out = z };
    (void)be, (void)lane;
    device_run(w.count * x->x.rows, cosine, &k);
    return PFC_OK;
}

/* 3.10: u of row n, which takes the row's power of two over from x, so that the sum over the rows has one grid. */
static double scaled_h(const block *k, int64_t c, int64_t n)
{
    double h = row_of(k->h, c)[n];
    return PX_MUL(k->normalised ? PX_DIV(h, clamped(k->x->norm[n])) : h, px_pow2(k->x->expo[n]));
}

static void gradient_grid(void *arg, int64_t c)
{
    const block *k = arg;
    double largest = 0;
    for (int64_t n = 0; n < k->h.cols; n++) {
        double u = PX_ABS(scaled_h(k, c, n));
        if (px_finite(u) && u > largest) largest = u;
    }
    k->grid[c] = px_expo(largest);
}

static void gradient(void *arg, int64_t i)
{
    const block *k = arg;
    int64_t c = i / k->out.cols, d = i % k->out.cols;
    product_sum s = { 0 };
    for (int64_t n = 0; n < k->h.cols; n++) {
        double x = row_of(k->x->x, n)[d];
        add_product(&s, scaled_h(k, c, n), k->grid[c], x, k->x->expo[n]);
        mark_product(&s, row_of(k->h, c)[n], k->normalised ? PX_DIV(x, clamped(k->x->norm[n])) : x);
    }
    double v = product_value(&s, k->grid[c]), *dw = (double *)k->out.data + c * k->out.ld + d;
    if (k->normalised) {
        double length = clamped(k->wnorm[c]);
        if (!(k->wnorm[c] < 1e-12)) v = PX_FMA(-PX_DIV(class_row(k, c)[d], length), k->wdot[c], v);
        v = PX_DIV(v, length);
    }
    *dw = v;
}

pfc_status skeleton_weight_grad(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                pfc_view dw)
{
    size_t bytes = (size_t)w.count * sizeof(int32_t);
    block k = { .x = x, .w = w, .wnorm = wnorm.data, .normalised = normalised, .out = dw, .h = h, .wdot = wdot.data, .grid = device_malloc(bytes) };
    (void)lane;
    if (!k.grid) return skeleton_no_memory(be, bytes);
    device_run(w.count, gradient_grid, &k);
    device_run(w.count * dw.cols, gradient, &k);
    device_free(k.grid);
    return PFC_OK;
}
