/* fast_products.cu: the three products of fast mode by SGEMM, or with TF32 operands if the engine says so. */
#include "backend/cuda/acc.h"
#include "backend/cuda/operand.h"

#include <stdlib.h>

/* Row-major C (m, n) = alpha op(A) op(B) + beta C, leading dimensions of rows. */
static void multiply(cuda &d, bool ta, bool tb, int64_t m, int64_t n, int64_t k, const float *a, int64_t lda, const float *b, int64_t ldb, float beta, float *c,
                     int64_t ldc)
{
    const float one = 1.0f;
    if (m == 0 || n == 0 || d.failed) return;
    note(d,
         cublasSgemm(d.blas, tb ? CUBLAS_OP_T : CUBLAS_OP_N, ta ? CUBLAS_OP_T : CUBLAS_OP_N, (int)n, (int)m, (int)k, &one, b, (int)ldb, a, (int)lda, &beta, c,
                     (int)ldc),
         "cublasSgemm");
}

static void fast_operand_destroy(pfc_backend *be, pfc_operand *x)
{
    cuda &d = cuda_of(be);
    if (!x) return;
    device_free(d, x->unit);
    free(x);
    finish(d);
}

static pfc_status fast_operand_create(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out)
{
    cuda &d = cuda_of(be);
    pfc_operand *o = (pfc_operand *)calloc(1, sizeof *o);
    (void)expo;
    *out = NULL;
    if (!o) return PFC_ERR_NOMEM;
    o->x = x;
    o->norm = norm;
    float *unit = o->unit = norm.data ? (float *)device_alloc(d, x.rows * x.cols * (int64_t)sizeof(float)) : NULL;
    int64_t width = x.cols;
    if (unit)
        each_element(d, x.rows, width,
                     [=] ON_DEVICE(int64_t n, int64_t j) { unit[n * width + j] = (float)PX_DIV(value<float>(x, n, j), divisor_of(value<float>(norm, n))); });
    pfc_status st = finish(d);
    if (st != PFC_OK)
        fast_operand_destroy(be, o);
    else
        *out = o;
    return st;
}

/* The rows one after the other: as they are, or gathered. */
static const float *dense_rows(cuda &d, pfc_rowset w, int64_t *ld)
{
    int64_t width = w.base.cols;
    *ld = w.base.ld;
    if (!w.index) return (const float *)w.base.data + w.first * w.base.ld;
    float *gathered = (float *)scratch(d, SCRATCH_B, w.count * width * (int64_t)sizeof(float));
    each_element(d, w.count, width, [=] ON_DEVICE(int64_t c, int64_t j) { gathered[c * width + j] = row_of<float>(w, c)[j]; });
    *ld = width;
    return gathered;
}

static pfc_status fast_cosines(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_view z)
{
    cuda &d = cuda_of(be);
    int64_t ldw, width = x->x.cols;
    const float *rows = dense_rows(d, w, &ldw), *features = normalised ? x->unit : (const float *)x->x.data;
    (void)lane, (void)wexpo;
    multiply(d, false, true, w.count, x->x.rows, width, rows, ldw, features, normalised ? width : x->x.ld, 0.0f, (float *)z.data, z.ld);
    if (normalised)
        each_element(d, z.rows, z.cols,
                     [=] ON_DEVICE(int64_t c, int64_t n) { put<float>(z, c, n, PX_DIV(value<float>(z, c, n), divisor_of(value<float>(wnorm, c)))); });
    return finish(d);
}

static pfc_status fast_feature_grad(pfc_backend *be, int lane, pfc_view h, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_acc *feature)
{
    cuda &d = cuda_of(be);
    int64_t ldw, n = h.cols;
    const float *rows = dense_rows(d, w, &ldw), *u = (const float *)h.data;
    float *made = normalised ? (float *)scratch(d, SCRATCH_A, h.rows * n * (int64_t)sizeof(float)) : NULL;
    (void)lane, (void)wexpo;
    if (made) {
        each_element(d, h.rows, n,
                     [=] ON_DEVICE(int64_t c, int64_t i) { made[c * n + i] = (float)PX_DIV(value<float>(h, c, i), divisor_of(value<float>(wnorm, c))); });
        u = made;
    }
    multiply(d, true, false, n, w.base.cols, w.count, u, made ? n : h.ld, rows, ldw, 1.0f, device_of(feature).product, w.base.cols);
    return finish(d);
}

static pfc_status fast_weight_grad(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                   pfc_view dw)
{
    cuda &d = cuda_of(be);
    int64_t width = x->x.cols;
    const float *features = normalised ? x->unit : (const float *)x->x.data;
    (void)lane;
    multiply(d, false, false, w.count, width, x->x.rows, (const float *)h.data, h.ld, features, normalised ? width : x->x.ld, 0.0f, (float *)dw.data, dw.ld);
    if (normalised)
        each_element(d, w.count, width, [=] ON_DEVICE(int64_t c, int64_t j) {
            double raw = value<float>(wnorm, c), by = divisor_of(raw), g = value<float>(dw, c, j);
            if (!(raw < PFC_NORM_MIN)) g = PX_FMA(-PX_DIV((double)row_of<float>(w, c)[j], by), value<float>(wdot, c), g);
            put<float>(dw, c, j, PX_DIV(g, by));
        });
    return finish(d);
}

void add_fast_products(pfc_ops &fast)
{
    fast.operand_create = fast_operand_create;
    fast.operand_destroy = fast_operand_destroy;
    fast.cosines = fast_cosines;
    fast.feature_grad = fast_feature_grad;
    fast.weight_grad = fast_weight_grad;
}
