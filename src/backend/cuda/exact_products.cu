/* exact_products.cu: the three products of exact mode (doc/exact-v1.md 3.2, 3.9, 3.10). */
#include "backend/cuda/acc.h"
#include "backend/cuda/operand.h"
#include "backend/cuda/products.h"

#include <stdlib.h>

/* Classes at a time: slices and levels of a strip stay within some hundred MB. */
static int64_t strip_of(int64_t n, int64_t width)
{
    int64_t bytes = 64 * n + 24 * width, strip = LEVEL_BYTES / bytes; /* levels of either engine, slices */
    return strip < 64 ? 64 : strip;
}

/* ---- the batch as an operand ---- */

static void exact_operand_destroy(pfc_backend *be, pfc_operand *x)
{
    cuda &d = cuda_of(be);
    if (!x) return;
    device_free(d, x->rows.p);
    device_free(d, x->cols.p);
    free(x);
    finish(d);
}

static pfc_status exact_operand_create(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out)
{
    cuda &d = cuda_of(be);
    pfc_operand *o = (pfc_operand *)calloc(1, sizeof *o);
    *out = NULL;
    if (!o) return PFC_ERR_NOMEM;
    o->x = x;
    o->norm = norm;
    o->expo = expo;
    o->rows = sliced_shape(d, x.rows, x.cols, false, true);
    o->cols = sliced_shape(d, x.cols, x.rows, true, true);
    o->rows.p = device_alloc(d, sliced_bytes(o->rows));
    o->cols.p = device_alloc(d, sliced_bytes(o->cols));
    slice_into(d, o->rows, [=] ON_DEVICE(int64_t n, int64_t k, double &v, double &scale) {
        v = value<double>(x, n, k);
        scale = px_pow2(20 - expo[n]);
    });
    slice_into(d, o->cols, [=] ON_DEVICE(int64_t c, int64_t n, double &v, double &scale) {
        v = value<double>(x, n, c);
        scale = px_pow2(20 - expo[n]);
    });
    pfc_status st = finish(d);
    if (st != PFC_OK)
        exact_operand_destroy(be, o);
    else
        *out = o;
    return st;
}

/* ---- cosines ---- */

/* The marks of the terms of <a, b> in which a factor is not finite. */
ON_DEVICE static inline double special_dot(const double *a, const double *b, int64_t n)
{
    int mark = 0;
    for (int64_t i = 0; i < n; i++)
        if (!px_finite(a[i]) || !px_finite(b[i])) mark |= pfc_mark_of(PX_MUL(a[i], b[i]));
    return pfc_mark_value((unsigned char)mark);
}

static void cosine_strip(cuda &d, const pfc_operand *o, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_view z)
{
    pfc_view x = o->x, norm = o->norm;
    const int32_t *expo = o->expo;
    int64_t rows = x.rows, width = x.cols;
    sliced a = sliced_shape(d, w.count, width, false, false);
    a.p = scratch(d, SCRATCH_A, sliced_bytes(a));
    slice_into(d, a, [=] ON_DEVICE(int64_t c, int64_t k, double &v, double &scale) {
        v = row_of<double>(w, c)[k];
        scale = px_pow2(20 - wexpo[c]);
    });
    product(d, a, o->rows, [=] ON_DEVICE(int64_t i, const int64_t *limb) {
        int64_t c = i / rows, n = i % rows;
        double raw = value<double>(wnorm, c), xn = value<double>(norm, n), dx = divisor_of(xn), sx = px_pow2(expo[n] - 62), t = pfc_limbs_round(limb);
        if (px_finite(raw) && px_finite(xn))
            finish_cosine(&t, &sx, normalised ? &dx : NULL, px_pow2(wexpo[c] - 62), divisor_of(raw), 1);
        else {
            t = special_dot(row_of<double>(x, n), row_of<double>(w, c), width);
            if (normalised) t = PX_DIV(t, PX_MUL(dx, divisor_of(raw)));
        }
        put<double>(z, c, n, t);
    });
}

static pfc_status exact_cosines(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_view z)
{
    cuda &d = cuda_of(be);
    int64_t strip = strip_of(x->x.rows, x->x.cols);
    (void)lane;
    for (int64_t c = 0; c < w.count && !d.failed; c += strip) {
        int64_t count = w.count - c < strip ? w.count - c : strip;
        cosine_strip(d, x, pfc_rowset_part(w, c, count), pfc_view_rows(wnorm, c, count), wexpo + c, normalised, pfc_view_rows(z, c, count));
    }
    return finish(d);
}

/* ---- gradient of the features ---- */

/* Whether h or a norm holds a number that is not finite. */
static bool any_special(cuda &d, pfc_view h, pfc_view wnorm)
{
    int32_t *found = (int32_t *)scratch(d, SCRATCH_B, (h.cols + 1) * (int64_t)sizeof *found), first = 0;
    int64_t n = h.cols;
    columns<flag>(
        d, h.rows, n, [=] ON_DEVICE(flag & f, int64_t c, int64_t i) { f.v |= !px_finite(value<double>(h, c, i)) || !px_finite(value<double>(wnorm, c)); },
        [=] ON_DEVICE(int64_t i, const flag &f) { found[1 + i] = f.v; });
    teams(d, 1, [=] ON_DEVICE(team t, int64_t) {
        flag f;
        for (int64_t i = t.rank; i < n; i += t.size) f.v |= found[1 + i];
        f = t.join(f);
        if (t.rank == 0) found[0] = f.v;
    });
    to_host(d, &first, found, sizeof first);
    return first != 0;
}

static void mark_feature(cuda &d, pfc_view h, pfc_rowset w, pfc_view wnorm, int normalised, unsigned char *mark)
{
    int64_t width = w.base.cols, classes = h.rows;
    each_element(d, h.cols, width, [=] ON_DEVICE(int64_t n, int64_t j) {
        int m = 0;
        for (int64_t c = 0; c < classes; c++) {
            double v = value<double>(h, c, n), raw = value<double>(wnorm, c), unit = row_of<double>(w, c)[j];
            if (px_finite(v) && px_finite(raw)) continue;
            if (normalised) unit = PX_DIV(unit, divisor_of(raw));
            if (!px_finite(v) || !px_finite(unit)) m |= pfc_mark_of(PX_MUL(v, unit));
        }
        mark[n * width + j] |= (unsigned char)m;
    });
}

static void feature_strip(cuda &d, pfc_view h, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, const int32_t *grid, device_acc feature)
{
    sliced a = sliced_shape(d, h.cols, h.rows, true, false), b = sliced_shape(d, w.base.cols, h.rows, true, true);
    a.p = scratch(d, SCRATCH_A, sliced_bytes(a));
    b.p = scratch(d, SCRATCH_B, sliced_bytes(b));
    slice_into(d, a, [=] ON_DEVICE(int64_t n, int64_t c, double &v, double &scale) {
        double g = value<double>(h, c, n);
        scale_row(&g, divisor_of(value<double>(wnorm, c)), px_pow2(wexpo[c]), normalised, 1, &v);
        scale = px_pow2(20 - grid[n]);
    });
    slice_into(d, b, [=] ON_DEVICE(int64_t j, int64_t c, double &v, double &scale) {
        v = row_of<double>(w, c)[j];
        scale = px_pow2(20 - wexpo[c]);
    });
    product(d, a, b, [=] ON_DEVICE(int64_t i, const int64_t *limb) {
        for (int j = 0; j < PFC_LIMBS; j++) feature.word[i * PFC_LIMBS + j] += limb[j];
        pfc_limbs_normalise(feature.word + i * PFC_LIMBS);
    });
}

static pfc_status exact_feature_grad(pfc_backend *be, int lane, pfc_view h, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised,
                                     pfc_acc *feature)
{
    cuda &d = cuda_of(be);
    const int32_t *grid = grid_of(d, feature);
    int64_t strip = 1 << 15;
    (void)lane;
    for (int64_t c = 0; c < w.count && !d.failed; c += strip) {
        int64_t count = w.count - c < strip ? w.count - c : strip;
        feature_strip(d, pfc_view_rows(h, c, count), pfc_rowset_part(w, c, count), pfc_view_rows(wnorm, c, count), wexpo + c, normalised, grid,
                      device_of(feature));
    }
    if (any_special(d, h, wnorm)) mark_feature(d, h, w, wnorm, normalised, device_of(feature).mark);
    return finish(d);
}

template <class T>
static pfc_status feature_grad_finish(pfc_backend *be, pfc_view feature, pfc_view dot, pfc_view x, pfc_view norm, int normalised, double scale, pfc_view x_grad)
{
    cuda &d = cuda_of(be);
    each_element(d, feature.rows, feature.cols, [=] ON_DEVICE(int64_t i, int64_t j) {
        double f = value<T>(feature, i, j), v = f, r = 1.0;
        if (normalised) {
            double raw = value<T>(norm, i);
            r = divisor_of(raw);
            if (!(raw < PFC_NORM_MIN)) v = PX_FMA(-PX_DIV(value<T>(x, i, j), r), value<T>(dot, i), f);
            v = PX_DIV(v, r);
        }
        put<T>(x_grad, i, j, PX_MUL(v, scale));
    });
    return finish(d);
}

/* ---- gradient of the weights ---- */

/* The mark of the terms of element j that are not finite. */
ON_DEVICE static inline int special_term(pfc_view h, int64_t c, pfc_view x, pfc_view norm, int normalised, int64_t j)
{
    int mark = 0;
    for (int64_t n = 0; n < x.rows; n++) {
        double v = value<double>(h, c, n), unit = value<double>(x, n, j);
        if (normalised) unit = PX_DIV(unit, divisor_of(value<double>(norm, n)));
        if (!px_finite(v) || !px_finite(unit)) mark |= pfc_mark_of(PX_MUL(v, unit));
    }
    return mark;
}

/* (h / d_n) 2^(e_n) */
ON_DEVICE static inline double scaled_gradient(pfc_view h, int64_t c, int64_t n, pfc_view norm, const int32_t *expo, int normalised)
{
    double g = value<double>(h, c, n), by = normalised ? divisor_of(value<double>(norm, n)) : 1.0, power = px_pow2(expo[n]), u;
    scale_each(&g, normalised ? &by : NULL, NULL, &power, 1, &u);
    return u;
}

struct class_grid {
    int32_t expo, special;
};

static void weight_strip(cuda &d, const pfc_operand *o, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised, pfc_view dw)
{
    pfc_view x = o->x, norm = o->norm;
    const int32_t *expo = o->expo;
    int64_t width = x.cols, rows = x.rows;
    sliced a = sliced_shape(d, w.count, rows, false, false);
    a.p = scratch(d, SCRATCH_A, sliced_bytes(a));
    class_grid *grid = (class_grid *)scratch(d, SCRATCH_B, w.count * (int64_t)sizeof *grid);
    teams(d, w.count, [=] ON_DEVICE(team t, int64_t c) {
        magnitude_of m;
        for (int64_t n = t.rank; n < rows; n += t.size) {
            m.add(scaled_gradient(h, c, n, norm, expo, normalised));
            m.mark |= px_finite(value<double>(norm, n)) ? 0 : 1;
        }
        m = t.join(m);
        if (t.rank == 0) grid[c] = { px_expo(m.v), m.mark != 0 };
    });
    slice_into(d, a, [=] ON_DEVICE(int64_t c, int64_t n, double &v, double &scale) {
        v = scaled_gradient(h, c, n, norm, expo, normalised);
        scale = px_pow2(20 - grid[c].expo);
    });
    product(d, a, o->cols, [=] ON_DEVICE(int64_t i, const int64_t *limb) {
        int64_t c = i / width, j = i % width;
        int32_t power = grid[c].expo - 124;
        double s1 = px_pow2(power / 2), s2 = px_pow2(power - power / 2), t = pfc_limbs_round(limb), g, unit = normalised ? row_of<double>(w, c)[j] : 0.0;
        double raw = normalised ? value<double>(wnorm, c) : 1.0, q = normalised ? value<double>(wdot, c) : 0.0;
        int mark = grid[c].special ? special_term(h, c, x, norm, normalised, j) : 0;
        if (mark) {
            t = pfc_mark_value((unsigned char)mark);
            s1 = s2 = 1.0;
        }
        int how = !normalised ? PFC_FINISH_SCALE : raw < PFC_NORM_MIN ? PFC_FINISH_DIVIDE : PFC_FINISH_PROJECT;
        finish_weight(&t, s1, s2, &unit, divisor_of(raw), q, how, 1, &g);
        put<double>(dw, c, j, g);
    });
}

static pfc_status exact_weight_grad(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                    pfc_view dw)
{
    cuda &d = cuda_of(be);
    int64_t strip = strip_of(x->x.cols, x->x.rows);
    (void)lane;
    for (int64_t c = 0; c < w.count && !d.failed; c += strip) {
        int64_t count = w.count - c < strip ? w.count - c : strip;
        weight_strip(d, x, pfc_view_rows(h, c, count), pfc_rowset_part(w, c, count), pfc_view_rows(wnorm, c, count), pfc_view_rows(wdot, c, count), normalised,
                     pfc_view_rows(dw, c, count));
    }
    return finish(d);
}

void add_products(pfc_ops &exact, pfc_ops &fast)
{
    exact.operand_create = exact_operand_create;
    exact.operand_destroy = exact_operand_destroy;
    exact.cosines = exact_cosines;
    exact.feature_grad = exact_feature_grad;
    exact.weight_grad = exact_weight_grad;
    exact.feature_grad_finish = feature_grad_finish<double>;
    fast.feature_grad_finish = feature_grad_finish<float>;
    add_fast_products(fast);
}
