/* skeleton_backend.c: a backend to begin with. Copy it and its neighbours, put your device's runtime into skeleton_device.h, and fill the table at the end,
 * group by group (doc/backend.md says in which order, and what tests each). What is filled here is complete and has the bits of the cpu backend
 * (tests/test_skeleton.c); what is NULL is to be written. Exact mode; a fast table is a second one, with real = PFC_F32 and doubles on the wire. */
#include "skeleton_backend.h"
#include "skeleton_device.h"

#include "backend/host_sums.h"
#include "backend/mean_loss.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What a real backend has here: the device's queue, a handle of its BLAS, scratch memory. */
typedef struct device {
    int number; /* among the machine's */
} device;

static device *device_of(pfc_backend *be) { return be->state; }
static void device_wait(const device *d) { (void)d; }

/* ---- memory ---- */

pfc_status skeleton_no_memory(pfc_backend *be, size_t bytes)
{
    snprintf(be->error, sizeof be->error, "skeleton: out of memory: %zu bytes", bytes);
    return PFC_ERR_NOMEM;
}

static pfc_status skeleton_alloc(pfc_backend *be, size_t bytes, void **out)
{
    *out = device_malloc(bytes);
    return *out ? PFC_OK : skeleton_no_memory(be, bytes);
}

static void skeleton_free(pfc_backend *be, void *p)
{
    (void)be;
    device_free(p);
}

static pfc_status skeleton_upload(pfc_backend *be, void *to, const void *host, size_t bytes)
{
    (void)be;
    if (bytes) to_device(to, host, bytes);
    return PFC_OK;
}

static pfc_status skeleton_download(pfc_backend *be, void *host, const void *from, size_t bytes)
{
    (void)be;
    if (bytes) to_host(host, from, bytes);
    return PFC_OK;
}

/* An asynchronous device reports here what failed since the last call. */
static pfc_status skeleton_sync(pfc_backend *be)
{
    device_wait(device_of(be));
    return PFC_OK;
}

/* ---- control: one lane, in which a whole block keeps the device busy ---- */

static void skeleton_for_lanes(pfc_backend *be, int lanes, pfc_lane_fn fn, void *arg)
{
    (void)be;
    for (int lane = 0; lane < lanes; lane++) fn(arg, lane);
}

/* ---- rows: a thread for each ---- */

typedef struct norms {
    pfc_rowset a;
    double *norm;
    int32_t *expo;
} norms;

/* exact-v1 1.1 and 3.1; the sum of squares is integers, so its order, and how many threads share it, are free. */
static void row_norm(void *arg, int64_t i)
{
    const norms *k = arg;
    int64_t row = k->a.index ? k->a.index[i] : k->a.first + i, width = k->a.base.cols;
    const double *x = (const double *)k->a.base.data + row * k->a.base.ld;
    unsigned char mark = 0;
    double largest = 0;
    for (int64_t j = 0; j < width; j++) {
        if (px_finite(x[j]))
            largest = PX_ABS(x[j]) > largest ? PX_ABS(x[j]) : largest;
        else
            mark |= px_nan(x[j]) ? PFC_MARK_NAN : PFC_MARK_POSITIVE;
    }
    k->expo[i] = px_expo(largest);
    int32_t e = 2 * k->expo[i] < PFC_EXPO_MIN ? PFC_EXPO_MIN : 2 * k->expo[i];
    pfc_scalar_sum sum = { 0, 0, mark };
    for (int64_t j = 0; !mark && j < width; j++) pfc_scalar_add(&sum, PX_MUL(x[j], x[j]), e);
    k->norm[i] = mark ? pfc_mark_value(mark) : PX_SQRT(pfc_scalar_value(&sum, e));
}

static pfc_status skeleton_row_norms(pfc_backend *be, pfc_rowset a, pfc_view norm, int32_t *expo)
{
    norms k = { a, norm.data, expo };
    (void)be;
    device_run(a.count, row_norm, &k);
    return PFC_OK;
}

/* ---- element by element: a thread for each ---- */

typedef struct elements {
    pfc_view to, from;
    double number;
} elements;

static double *element(pfc_view v, int64_t cols, int64_t i) { return (double *)v.data + i / cols * v.ld + i % cols; }

static void round_one(void *arg, int64_t i)
{
    const elements *k = arg;
    double *x = element(k->to, k->to.cols, i);
    *x = (double)(float)*x;
}

static void zero_one(void *arg, int64_t i)
{
    const elements *k = arg;
    *element(k->to, k->to.cols, i) = 0.0;
}

static void divide_one(void *arg, int64_t i)
{
    const elements *k = arg;
    double *x = element(k->to, k->to.cols, i);
    *x = PX_DIV(*x, k->number);
}

static void scale_one(void *arg, int64_t i)
{
    const elements *k = arg;
    double *x = element(k->to, k->to.cols, i);
    *x = PX_MUL(*x, k->number);
}

static pfc_status each_element(device_body body, pfc_view to, double number)
{
    elements k = { .to = to, .number = number };
    device_run(to.rows * to.cols, body, &k);
    return PFC_OK;
}

static pfc_status skeleton_round_state(pfc_backend *be, pfc_view state)
{
    (void)be;
    return each_element(round_one, state, 0);
}

static pfc_status skeleton_zero(pfc_backend *be, pfc_view to)
{
    (void)be;
    return each_element(zero_one, to, 0);
}

static pfc_status skeleton_divide(pfc_backend *be, pfc_view a, double d)
{
    (void)be;
    return each_element(divide_one, a, d);
}

static pfc_status skeleton_scale(pfc_backend *be, pfc_view out, double factor)
{
    (void)be;
    return each_element(scale_one, out, factor);
}

/* ---- accumulators: the integers of a sum on the device, from acc_fold on in host memory, where MPI adds them ---- */

typedef struct sums {
    int64_t *a, *b; /* exact-v1 1.3 */
    unsigned char *mark;
} sums;

static void clear_sum(void *arg, int64_t i)
{
    const sums *s = arg;
    s->a[i] = s->b[i] = 0;
    s->mark[i] = 0;
}

static void skeleton_acc_destroy(pfc_backend *be, pfc_acc *acc)
{
    (void)be;
    if (!acc) return;
    sums *s = acc->state;
    if (s) device_free(s->a), device_free(s->b), device_free(s->mark);
    free(s);
    free(acc->data);
    free(acc->expo);
    free(acc->special);
    free(acc);
}

static pfc_status skeleton_acc_create(pfc_backend *be, int kind, int64_t rows, int64_t cols, pfc_acc **out)
{
    size_t n = (size_t)(rows * cols);
    *out = NULL;
    if (kind != PFC_ACC_SCALAR) { /* sums of products: four words an element, exact-v1 1.2; pfc_limbs_add_at and its neighbours of core/exactint.h */
        snprintf(be->error, sizeof be->error, "skeleton: sums of products are to be written");
        return PFC_ERR_UNSUPPORTED;
    }
    pfc_acc *acc = calloc(1, sizeof *acc);
    if (!acc) return skeleton_no_memory(be, sizeof *acc);
    *acc = (pfc_acc){ .kind = kind, .rows = rows, .cols = cols, .lanes = 1, .words = 2, .wire = PFC_I64, .place = PFC_HOST };
    acc->data = calloc(n + 1, 2 * sizeof(int64_t));
    acc->expo = malloc(((size_t)rows + 1) * sizeof *acc->expo);
    sums *s = acc->state = calloc(1, sizeof *s);
    if (s) s->a = device_malloc(8 * n), s->b = device_malloc(8 * n), s->mark = device_malloc(n);
    if (!acc->data || !acc->expo || !s || !s->a || !s->b || !s->mark) {
        skeleton_acc_destroy(be, acc);
        return skeleton_no_memory(be, 24 * n);
    }
    device_run((int64_t)n, clear_sum, s);
    for (int64_t i = 0; i < rows; i++) acc->expo[i] = PFC_EXPO_MIN;
    *out = acc;
    return PFC_OK;
}

/* The device's integers in the form of the wire: a, b of an element side by side; marks only where there are some. */
static pfc_status skeleton_acc_fold(pfc_backend *be, pfc_acc *acc, const pfc_rows_info *rows)
{
    (void)rows; /* of fast row sums */
    size_t n = (size_t)(acc->rows * acc->cols);
    const sums *s = acc->state;
    int64_t *word = acc->data, *b = malloc(8 * n + 1);
    bool marked = false;
    acc->special = calloc(n + 1, 1);
    if (!b || !acc->special) {
        free(b);
        return skeleton_no_memory(be, 9 * n);
    }
    to_host(word, s->a, 8 * n);
    to_host(b, s->b, 8 * n);
    to_host(acc->special, s->mark, n);
    for (int64_t i = (int64_t)n - 1; i >= 0; i--) {
        word[2 * i] = word[i];
        word[2 * i + 1] = b[i];
        marked |= acc->special[i] != 0;
    }
    free(b);
    if (!marked) free(acc->special), acc->special = NULL;
    return PFC_OK;
}

/* Rounded once, on the host: pfc_acc_number is the same for every backend. */
static pfc_status skeleton_acc_value(pfc_backend *be, const pfc_acc *acc, int64_t first, int64_t count, pfc_view out)
{
    size_t n = (size_t)(count * acc->cols);
    double *value = malloc(8 * n + 1);
    if (!value) return skeleton_no_memory(be, 8 * n);
    for (size_t i = 0; i < n; i++) value[i] = pfc_acc_number(acc, first * acc->cols + (int64_t)i);
    for (int64_t r = 0; r < count; r++) to_device((double *)out.data + r * out.ld, value + r * acc->cols, 8 * (size_t)acc->cols);
    free(value);
    return PFC_OK;
}

/* ---- group_gather ---- */

typedef struct terms {
    pfc_view x;
    const int32_t *expo;
    sums sum;
} terms;

static void add_term(void *arg, int64_t i)
{
    const terms *k = arg;
    pfc_scalar_sum s = { k->sum.a[i], k->sum.b[i], k->sum.mark[i] };
    pfc_scalar_add(&s, ((const double *)k->x.data)[i * k->x.ld], k->expo[i]);
    k->sum.a[i] = s.a, k->sum.b[i] = s.b, k->sum.mark[i] = s.mark;
}

static pfc_status skeleton_gather_add(pfc_backend *be, pfc_view x, pfc_acc *acc)
{
    size_t bytes = (size_t)x.rows * sizeof *acc->expo;
    int32_t *expo = device_malloc(bytes); /* acc->expo is in host memory */
    if (!expo) return skeleton_no_memory(be, bytes);
    to_device(expo, acc->expo, bytes);
    terms k = { x, expo, *(const sums *)acc->state };
    device_run(x.rows, add_term, &k);
    device_free(expo);
    return PFC_OK;
}

typedef struct exponents {
    pfc_view x;
    int32_t *expo;
} exponents;

static void term_expo(void *arg, int64_t i)
{
    const exponents *k = arg;
    double x = ((const double *)k->x.data)[i * k->x.ld];
    k->expo[i] = px_finite(x) ? px_expo(x) : PFC_EXPO_MIN;
}

static pfc_status skeleton_gather_expo(pfc_backend *be, pfc_view x, pfc_acc *acc)
{
    size_t bytes = (size_t)x.rows * sizeof *acc->expo;
    exponents k = { x, device_malloc(bytes) };
    if (!k.expo) return skeleton_no_memory(be, bytes);
    device_run(x.rows, term_expo, &k);
    to_host(acc->expo, k.expo, bytes);
    device_free(k.expo);
    return PFC_OK;
}

/* ---- the table, in the order of backend.h. Sections are those of doc/exact-v1.md; "optional": may stay NULL; "exact only": NULL in a
 * fast table ---- */
/* clang-format off */
static const pfc_ops exact_ops = {
    .name = "skeleton",
    .isa = "none", /* what info prints: "sm_90" */
    .mode = PFC_EXACT,
    .real = PFC_F64,
    .place = PFC_DEVICE,
    .lanes = 1,
    .block_classes = 1 << 15, /* classes that keep the device busy; a block's matrices are this many rows */
    /* memory */
    .alloc = skeleton_alloc,
    .free = skeleton_free,
    .upload = skeleton_upload,
    .download = skeleton_download,
    .sync = skeleton_sync,
    /* control */
    .for_lanes = skeleton_for_lanes,
    /* rows */
    .row_norms = skeleton_row_norms,
    .round_state = skeleton_round_state,
    /* products: integers on grids, 1.2 and 3.2, plain (skeleton_products.c). The largest piece of work is to make them fast: int8 or double matrix units on
     * slices, doc/exact.md, amendment 1, then 2.2 and 2.7 */
    .operand_create = skeleton_operand_create,
    .operand_destroy = skeleton_operand_destroy,
    .rows_ahead = NULL, /* optional */
    .cosines = skeleton_cosines,
    /* logits and softmax: 3.3 to 3.6, elementwise functions of core/px.h; sums as in gather_add, with the exponent 0 */
    .row_max = NULL,
    .row_max_fold = NULL,
    .row_sum = NULL, /* exact only: a fast table sums while it looks for the maximum */
    .target_prob = NULL,
    .mean_loss = pfc_mean_loss,
    /* what a tap shows: needed by golden --steps, verify and explain */
    .logits = NULL,
    .dlogits = NULL,
    /* gradients: 3.8 to 3.10; the first two raise the exponents that the sums are then taken on */
    .grad_expo = NULL,     /* exact only */
    .acc_expo_fold = NULL, /* exact only */
    .logit_grad = NULL,
    .feature_grad = NULL, /* as weight_grad, summed over classes into an accumulator of products */
    .weight_grad = skeleton_weight_grad,
    .feature_grad_finish = NULL,
    /* update: 3.11 */
    .weight_update = NULL, /* optional */
    .sgd_rows = NULL,
    /* whole matrices: 4.1 to 4.4 */
    .normalise = NULL,
    .normalise_backward = NULL,
    .softmax_rows = NULL,
    .column_expo = NULL, /* exact only */
    /* arcface_head: 8.3 to 8.7 */
    .subcenter_max = NULL,
    .angular_logits = NULL,
    .softmax_prob = NULL,
    .aims_expo = NULL, /* exact only */
    .aims_sum = NULL,
    .subcenter_grad = NULL,
    /* sinkhorn, swav: 5.1 to 5.11 */
    .sinkhorn_create = NULL,
    .sinkhorn_destroy = NULL,
    .sinkhorn_exp = NULL,
    .sinkhorn_expo = NULL, /* exact only */
    .sinkhorn_own_sums = NULL, /* fast tables alone: this one, or the next two */
    .sinkhorn_sums = NULL,
    .sinkhorn_total = NULL,
    .sinkhorn_divide = NULL,
    .sinkhorn_add = NULL,
    .sinkhorn_scale = NULL,
    .sinkhorn_finish = NULL,
    .sinkhorn_log_max = NULL,
    .sinkhorn_log_sums = NULL,
    .sinkhorn_log_scale = NULL,
    .copy_rows = NULL,
    .zero = skeleton_zero,
    .divide = skeleton_divide,
    .swav_row_loss = NULL,
    .swav_dlogits = NULL,
    .scale = skeleton_scale,
    .decay_scale = NULL,
    /* moco: 6.1 to 6.7 */
    .momentum_update = NULL,
    .positive_logits = NULL,
    .positive_max = NULL,
    .positive_sum = NULL,
    .positive_grad = NULL,
    /* batch_norm: 7.2, 7.3, 7.6, 7.7; bn_moments and bn_values are pfc_acc_moments and pfc_acc_bn_values of host_sums.h */
    .bn_grid = NULL,
    .bn_sums = NULL,
    .bn_moments = NULL,
    .bn_normalise = NULL,
    .bn_grad_grid = NULL, /* exact only */
    .bn_grad_sums = NULL,
    .bn_values = NULL,
    .bn_backward = NULL,
    .bn_forward_alone = NULL,  /* optional */
    .bn_backward_alone = NULL, /* optional */
    /* group_gather: 7.1 */
    .gather_expo = skeleton_gather_expo,
    .gather_add = skeleton_gather_add,
    /* accumulators */
    .acc_create = skeleton_acc_create,
    .acc_destroy = skeleton_acc_destroy,
    .acc_fold = skeleton_acc_fold,
    .acc_value = skeleton_acc_value,
    .add_pieces = NULL, /* needed if acc->data stays in device memory */
};
/* clang-format on */

/* ---- opening ---- */

static void close_device(pfc_backend *be)
{
    free(be->state);
    be->state = NULL;
}

pfc_status skeleton_open(pfc_backend *be, pfc_mode mode)
{
    if (mode != PFC_EXACT) {
        snprintf(be->error, sizeof be->error, "backend skeleton has no fast mode");
        return PFC_ERR_UNSUPPORTED;
    }
    be->state = calloc(1, sizeof(device));
    if (!be->state) return skeleton_no_memory(be, sizeof(device));
    device_of(be)->number = be->site.local_rank; /* modulo how many there are */
    be->ops = &exact_ops;
    be->threads = be->lanes = 1;
    be->close = close_device;
    return PFC_OK;
}
