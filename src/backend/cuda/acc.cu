/* acc.cu: accumulators: sums on the device, in the form of the wire (exact-v1 section 1). From acc_fold on acc->data is in host memory, but for sums of
 * products that may stay (stays_on_device). */
#include "backend/cuda/acc.h"

#include "backend/cuda/math.h"
#include "backend/host_sums.h"

#include <stdlib.h>

static void acc_destroy(pfc_backend *be, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    if (!acc) return;
    device_acc *s = (device_acc *)acc->state;
    if (s) {
        void *const all[] = { s->word, s->mark, s->sum, s->product, s->max, s->expo };
        for (void *p : all) device_free(d, p);
    }
    free(s);
    if (acc->place == PFC_HOST) free(acc->data);
    free(acc->special);
    free(acc->expo);
    free(acc);
    finish(d);
}

static void *zeros(cuda &d, int64_t bytes)
{
    void *p = device_alloc(d, bytes);
    fill_zero(d, p, bytes);
    return p;
}

/* `below`: of a maximum of logits. A largest |term| starts there as well: it is never negative. */
static void fill_state(cuda &d, pfc_acc *acc, bool exact)
{
    device_acc &s = device_of(acc);
    int64_t size = acc->rows * acc->cols, rows = acc->rows;
    if (exact) {
        s.word = (int64_t *)zeros(d, size * acc->words * (int64_t)sizeof *s.word);
        s.mark = (unsigned char *)zeros(d, size);
        s.expo = (int32_t *)device_alloc(d, rows * (int64_t)sizeof *s.expo);
    } else {
        if (acc->kind == PFC_ACC_PRODUCT) s.product = (float *)zeros(d, size * (int64_t)sizeof *s.product);
        if (acc->kind == PFC_ACC_SCALAR || acc->place == PFC_DEVICE) s.sum = (double *)zeros(d, size * (int64_t)sizeof *s.sum);
    }
    if (acc->place == PFC_DEVICE) acc->data = exact ? (void *)s.word : s.sum;
    double *max = s.max = (double *)device_alloc(d, rows * (int64_t)sizeof *s.max);
    each(d, rows, [=] ON_DEVICE(int64_t i) { max[i] = -PX_INF; });
}

static pfc_status create(pfc_backend *be, int kind, int64_t rows, int64_t cols, bool exact, pfc_acc **out)
{
    cuda &d = cuda_of(be);
    pfc_acc *acc = (pfc_acc *)calloc(1, sizeof *acc);
    *out = NULL;
    if (acc) {
        acc->kind = kind, acc->rows = rows, acc->cols = cols, acc->lanes = 1;
        acc->words = !exact ? 1 : kind == PFC_ACC_PRODUCT ? (int)PFC_LIMBS : 2;
        acc->wire = exact ? PFC_I64 : PFC_F64;
        acc->place = kind == PFC_ACC_PRODUCT && stays_on_device(d) ? PFC_DEVICE : PFC_HOST;
        acc->data = acc->place == PFC_HOST ? calloc((size_t)(rows * cols * acc->words) + 1, 8) : NULL;
        acc->expo = exact ? (int32_t *)malloc(((size_t)rows + 1) * sizeof *acc->expo) : NULL;
        acc->state = calloc(1, sizeof(device_acc));
    }
    if (!acc || (!acc->data && acc->place == PFC_HOST) || !acc->state || (exact && !acc->expo))
        note(d, PFC_ERR_NOMEM, "out of memory");
    else
        fill_state(d, acc, exact);
    pfc_status st = finish(d);
    if (st != PFC_OK) {
        acc_destroy(be, acc);
        return st;
    }
    for (int64_t i = 0; exact && i < rows; i++) acc->expo[i] = PFC_EXPO_MIN;
    *out = acc;
    return PFC_OK;
}

static pfc_status exact_acc_create(pfc_backend *be, int kind, int64_t rows, int64_t cols, pfc_acc **out) { return create(be, kind, rows, cols, true, out); }
static pfc_status fast_acc_create(pfc_backend *be, int kind, int64_t rows, int64_t cols, pfc_acc **out) { return create(be, kind, rows, cols, false, out); }

const int32_t *grid_of(cuda &d, pfc_acc *acc)
{
    to_device(d, device_of(acc).expo, acc->expo, acc->rows * (int64_t)sizeof *acc->expo);
    return device_of(acc).expo;
}

static pfc_status exact_acc_expo_fold(pfc_backend *be, pfc_acc *acc)
{
    cuda &d = cuda_of(be);
    const double *max = device_of(acc).max;
    int32_t *expo = device_of(acc).expo, *made = (int32_t *)malloc(((size_t)acc->rows + 1) * sizeof *made);
    if (!made) note(d, PFC_ERR_NOMEM, "out of memory");
    each(d, acc->rows, [=] ON_DEVICE(int64_t i) { expo[i] = max[i] > 0.0 ? px_expo(max[i]) : (int32_t)PFC_EXPO_MIN; });
    to_host(d, made, expo, acc->rows * (int64_t)sizeof *made);
    for (int64_t i = 0; !d.failed && i < acc->rows; i++)
        if (made[i] > acc->expo[i]) acc->expo[i] = made[i];
    free(made);
    return finish(d);
}

/* ---- folding: to host memory ---- */

/* acc->special is made only when there is a mark. */
static void fetch_marks(cuda &d, pfc_acc *acc)
{
    int64_t size = acc->rows * acc->cols;
    acc->special = (unsigned char *)calloc((size_t)size + 1, 1);
    if (!acc->special) note(d, PFC_ERR_NOMEM, "out of memory");
    if (d.failed) return;
    to_host(d, acc->special, device_of(acc).mark, size);
    for (int64_t i = 0; i < size; i++)
        if (acc->special[i]) return;
    free(acc->special);
    acc->special = NULL;
}

static pfc_status exact_acc_fold(pfc_backend *be, pfc_acc *acc, const pfc_rows_info *rows)
{
    cuda &d = cuda_of(be);
    int64_t size = acc->rows * acc->cols, *word = device_of(acc).word;
    (void)rows;
    if (acc->kind == PFC_ACC_PRODUCT) each(d, size, [=] ON_DEVICE(int64_t i) { pfc_limbs_normalise(word + i * PFC_LIMBS); });
    if (acc->place == PFC_HOST) to_host(d, acc->data, word, size * acc->words * (int64_t)sizeof *word);
    fetch_marks(d, acc);
    return finish(d);
}

/* Sums of exp(l - running maximum) brought to the maximum of all ranks. One that is not finite makes the sum NaN where there is any class. */
static pfc_status fast_acc_fold(pfc_backend *be, pfc_acc *acc, const pfc_rows_info *rows)
{
    cuda &d = cuda_of(be);
    device_acc s = device_of(acc);
    int64_t size = acc->rows * acc->cols;
    double *wire = s.sum ? s.sum : (double *)scratch(d, SCRATCH_A, size * (int64_t)sizeof(double));
    if (acc->kind == PFC_ACC_PRODUCT) {
        each(d, size, [=] ON_DEVICE(int64_t i) { wire[i] = (double)s.product[i]; });
    } else if (rows) {
        pfc_view max = rows->max;
        each(d, acc->rows, [=] ON_DEVICE(int64_t i) {
            double m = value<float>(max, i);
            if (s.seen) wire[i] = px_finite(m) ? PX_MUL(wire[i], px_exp(PX_SUB(s.max[i], m))) : PX_NAN;
        });
    }
    if (acc->place == PFC_HOST) to_host(d, acc->data, wire, size * (int64_t)sizeof *wire);
    return finish(d);
}

/* ---- values ---- */

/* Rows [first, first + count) of sums of products that stayed here: exact ones with the exponents and marks that the ranks agreed on. */
template <class T> static void value_here(cuda &d, const pfc_acc *acc, int64_t first, int64_t count, pfc_view out)
{
    int64_t cols = acc->cols, size = count * cols;
    if (acc->wire == PFC_F64) {
        const double *sum = (const double *)acc->data + first * cols;
        each(d, size, [=] ON_DEVICE(int64_t i) { put<T>(out, i / cols, i % cols, sum[i]); });
        return;
    }
    const int64_t *word = (const int64_t *)acc->data + first * cols * PFC_LIMBS;
    int32_t *expo = (int32_t *)scratch(d, SCRATCH_A, (count + 1) * (int64_t)sizeof *expo);
    unsigned char *mark = acc->special ? (unsigned char *)scratch(d, SCRATCH_B, size + 1) : NULL;
    to_device(d, expo, acc->expo + first, count * (int64_t)sizeof *expo);
    if (mark) to_device(d, mark, acc->special + first * cols, size);
    each(d, size, [=] ON_DEVICE(int64_t i) {
        double v = mark && mark[i] ? pfc_mark_value(mark[i]) : px_scale(pfc_limbs_round(word + i * PFC_LIMBS), expo[i / cols] - 124);
        put<T>(out, i / cols, i % cols, v);
    });
}

static pfc_status add_pieces(pfc_backend *be, pfc_dtype wire, const void *pieces, int count, int64_t n, void *out)
{
    cuda &d = cuda_of(be);
    each(d, n, [=] ON_DEVICE(int64_t i) {
        if (wire == PFC_I64) {
            const int64_t *p = (const int64_t *)pieces;
            int64_t sum = p[i];
            for (int r = 1; r < count; r++) sum += p[r * n + i];
            ((int64_t *)out)[i] = sum;
        } else {
            const double *p = (const double *)pieces;
            double sum = p[i];
            for (int r = 1; r < count; r++) sum = PX_ADD(sum, p[r * n + i]);
            ((double *)out)[i] = sum;
        }
    });
    return finish(d);
}

template <class T> static pfc_status acc_value(pfc_backend *be, const pfc_acc *acc, int64_t first, int64_t count, pfc_view out)
{
    cuda &d = cuda_of(be);
    int64_t cols = acc->cols;
    if (acc->place == PFC_DEVICE) {
        value_here<T>(d, acc, first, count, out);
        return finish(d);
    }
    T *made = (T *)malloc((size_t)(count * cols) * sizeof *made + 1), *there = (T *)scratch(d, SCRATCH_A, count * cols * (int64_t)sizeof *made);
    if (!made) note(d, PFC_ERR_NOMEM, "out of memory");
    for (int64_t i = 0; made && i < count * cols; i++) made[i] = (T)pfc_acc_number(acc, first * cols + i);
    to_device(d, there, made, count * cols * (int64_t)sizeof *made);
    each_element(d, count, cols, [=] ON_DEVICE(int64_t r, int64_t c) { row_of<T>(out, r)[c] = there[r * cols + c]; });
    free(made);
    return finish(d);
}

void add_acc(pfc_ops &exact, pfc_ops &fast)
{
    exact.acc_create = exact_acc_create;
    fast.acc_create = fast_acc_create;
    exact.acc_destroy = fast.acc_destroy = acc_destroy;
    exact.acc_expo_fold = exact_acc_expo_fold;
    exact.acc_fold = exact_acc_fold;
    fast.acc_fold = fast_acc_fold;
    exact.add_pieces = fast.add_pieces = add_pieces;
    exact.acc_value = acc_value<double>;
    fast.acc_value = acc_value<float>;
}
