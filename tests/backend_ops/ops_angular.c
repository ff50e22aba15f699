/* ops_angular.c: the operations of arcface_head that partial_fc does not have (src/algo/arcface_head.c), on cosines that are given. */
#include "ops.h"

#include "core/px.h"

#include <math.h>
#include <stdlib.h>

typedef struct sizes {
    int64_t n, c, k;
} sizes;

static const sizes shapes[] = { { 6, 5, 3 }, { 40, 300, 2 }, { 1, 1, 1 }, { 300, 33, 1 }, { 9, 1500, 4 } };
enum { SHAPES = sizeof shapes / sizeof *shapes, KINDS = 4 }; /* soft targets, easy margin */

typedef struct head {
    side *s;
    sizes z;
    pfc_angular angular;
    pfc_aims aims;
    pfc_rows_info rows;
    pfc_view zs, bias, cosine, winner, l, h, db;
    pfc_acc *sum, *total, *loss;
    int64_t block; /* classes */
} head;

static double *cosines(int tensor, int64_t n, bool wild)
{
    double *x = numbers(tensor, n, false), *w = numbers(tensor, n, wild);
    for (int64_t i = 0; i < n; i++) x[i] = !isfinite(w[i]) || w[i] == 0.0 ? w[i] : tanh(0.6 * x[i]);
    free(w);
    return x;
}

static pfc_view margins(side *s, int64_t classes)
{
    double *value = calloc((size_t)classes * 4, sizeof *value);
    for (int64_t c = 0; c < classes; c++) {
        double m = 0.2 + 0.01 * (double)(c % 30);
        px_sincos(m, &value[4 * c + 1], &value[4 * c]);
        value[4 * c + 2] = -value[4 * c];
        value[4 * c + 3] = m * value[4 * c + 1];
    }
    pfc_view v = side_matrix(s, classes, 4, value);
    free(value);
    return v;
}

static void make_aims(head *t, bool soft)
{
    int64_t n = t->z.n, c = t->z.c;
    double *q = calloc((size_t)(c * n), sizeof *q), *weight = calloc((size_t)c, sizeof *weight);
    for (int64_t i = 0; i < c * n; i++) q[i] = (double)(i % 7) / (double)(4 * c);
    for (int64_t i = 0; i < c; i++) weight[i] = 0.5 + (double)(i % 3);
    t->aims.total = side_matrix(t->s, n, 1, NULL);
    t->aims.factor = 1.0 / (double)n;
    if (soft) t->aims.soft = side_matrix(t->s, c, n, q);
    if (soft) t->aims.class_weight = side_matrix(t->s, c, 1, weight);
    free(q);
    free(weight);
}

static void make_rows(head *t)
{
    int64_t *target = calloc((size_t)t->z.n, sizeof *target);
    double *zeros = calloc((size_t)t->z.n, sizeof *zeros);
    for (int64_t i = 0; i < t->z.n; i++) target[i] = i % 5 == 4 ? -1 : (i * 11) % t->z.c;
    t->rows = (pfc_rows_info){ .target = side_array(t->s, target, t->z.n, sizeof *target), .n = (double)t->z.n };
    t->rows.target_logit = side_matrix(t->s, t->z.n, 1, zeros);
    t->rows.max = side_matrix(t->s, t->z.n, 1, NULL);
    t->rows.sum = side_matrix(t->s, t->z.n, 1, NULL);
    free(target);
    free(zeros);
}

static void make(head *t, bool soft, bool easy, bool wild)
{
    side *s = t->s;
    int64_t rows = t->z.c * t->z.k;
    double *z = cosines(10, rows * t->z.n, wild), *b = numbers(11, rows, false);
    for (int64_t i = 0; i < rows; i++) b[i] *= 0.05;
    t->zs = side_matrix(s, rows, t->z.n, z);
    if (soft) t->bias = side_matrix(s, rows, 1, b);
    free(z), free(b);
    t->angular = (pfc_angular){ 20.0, 1, easy, 0, margins(s, t->z.c) };
    t->cosine = side_matrix(s, t->z.c, t->z.n, NULL);
    t->winner = pfc_view_make(side_array(s, NULL, t->z.c * t->z.n, sizeof(int32_t)), PFC_I32, t->z.c, t->z.n);
    t->winner.place = s->ops->place;
    t->l = side_matrix(s, t->z.c, t->z.n, NULL);
    t->h = side_matrix(s, rows, t->z.n, NULL);
    t->db = side_matrix(s, rows, 1, NULL);
    make_rows(t);
    make_aims(t, soft);
    CALL(s, acc_create, PFC_ACC_SCALAR, t->z.n, 1, &t->sum);
    CALL(s, acc_create, PFC_ACC_SCALAR, t->z.n, 1, &t->total);
    CALL(s, acc_create, PFC_ACC_SCALAR, t->z.n, 1, &t->loss);
    t->block = s->ops->block_classes / t->z.k < 100 ? s->ops->block_classes / t->z.k : 100;
}

#define FOR_BLOCKS(t) for (int64_t c = 0, count; c < (t)->z.c && (count = (t)->z.c - c < (t)->block ? (t)->z.c - c : (t)->block); c += count)

static void forward(head *t)
{
    side *s = t->s;
    const pfc_head identity = { .kind = PFC_HEAD_LINEAR, .scale = 1.0 };
    pfc_view none = { 0 };
    FOR_BLOCKS(t)
    {
        CALL(s, subcenter_max, 0, pfc_view_rows(t->zs, c * t->z.k, count * t->z.k), t->bias.data ? pfc_view_rows(t->bias, c * t->z.k, count * t->z.k) : none,
             t->z.k, pfc_view_rows(t->cosine, c, count), pfc_view_rows(t->winner, c, count));
        CALL(s, angular_logits, 0, &t->angular, pfc_view_rows(t->cosine, c, count), c, &t->rows, pfc_view_rows(t->l, c, count));
        CALL(s, row_max, 0, &identity, pfc_view_rows(t->l, c, count), c, &t->rows, t->sum);
    }
    keep(s, "subcenter_max", t->cosine);
    keep_i32(s, "winner of subcenter_max", t->winner.data, t->z.c * t->z.n);
    keep(s, "angular_logits", t->l);
    CALL(s, row_max_fold, t->sum, t->rows.max);
    for (int64_t i = 0; t->sum->expo && i < t->z.n; i++) t->sum->expo[i] = 0;
    if (s->ops->row_sum) FOR_BLOCKS(t) CALL(s, row_sum, 0, &identity, pfc_view_rows(t->l, c, count), c, &t->rows, t->sum);
    keep_acc(s, "row_sum", t->sum, &t->rows, t->rows.sum);
}

/* pfc_aims's total: the sum of q, which acc total holds. */
static void loss(head *t)
{
    side *s = t->s;
    if (s->ops->aims_expo) {
        FOR_BLOCKS(t) CALL(s, aims_expo, 0, pfc_view_rows(t->l, c, count), c, &t->rows, &t->aims, t->total, t->loss);
        CALL(s, acc_expo_fold, t->total);
        CALL(s, acc_expo_fold, t->loss);
    }
    FOR_BLOCKS(t) CALL(s, aims_sum, 0, pfc_view_rows(t->l, c, count), c, &t->rows, &t->aims, t->total, t->loss);
    keep_acc(s, "loss of aims_sum", t->loss, NULL, t->aims.total);
    keep_acc(s, "total of aims_sum", t->total, NULL, t->aims.total);
}

static void backward(head *t)
{
    side *s = t->s;
    pfc_view none = { 0 };
    FOR_BLOCKS(t)
    {
        int64_t first = c * t->z.k, rows = count * t->z.k;
        CALL(s, subcenter_grad, 0, &t->angular, pfc_view_rows(t->cosine, c, count), pfc_view_rows(t->l, c, count), pfc_view_rows(t->winner, c, count), t->z.k,
             c, &t->rows, &t->aims, pfc_view_rows(t->h, first, rows), t->bias.data ? pfc_view_rows(t->db, first, rows) : none);
    }
    keep(s, "subcenter_grad", t->h);
    if (t->bias.data) keep(s, "bias_grad of subcenter_grad", t->db);
    FOR_BLOCKS(t) CALL(s, softmax_prob, 0, pfc_view_rows(t->l, c, count), &t->rows, pfc_view_rows(t->l, c, count));
    keep(s, "softmax_prob", t->l);
}

static void run(side *s, int variant)
{
    bool wild = variant >= SHAPES * KINDS, soft = variant & 1, easy = variant & 2;
    head t = { .s = s, .z = shapes[wild ? 1 : variant / KINDS] };
    make(&t, soft, easy, wild);
    forward(&t);
    loss(&t);
    backward(&t);
    s->ops->acc_destroy(s->be, t.sum);
    s->ops->acc_destroy(s->be, t.total);
    s->ops->acc_destroy(s->be, t.loss);
}

const chain angular_chain = { "arcface_head", run, (SHAPES + 1) * KINDS, SHAPES *KINDS };
