/* ops_matrix.c: operations on whole matrices, those of swav and moco, and those that only move or scale numbers. */
#include "ops.h"

#include "core/px.h"

#include <stdlib.h>

typedef struct sizes {
    int64_t rows, cols;
} sizes;

static const sizes shapes[] = { { 4, 6 }, { 1, 1 }, { 70, 300 }, { 700, 3 }, { 3, 5000 } };
enum { SHAPES = sizeof shapes / sizeof *shapes };

static pfc_rowset all(pfc_view v) { return (pfc_rowset){ v, NULL, 0, v.rows }; }

static pfc_view made(side *s, int tensor, sizes z, bool wild)
{
    double *x = numbers(tensor, z.rows * z.cols, wild);
    pfc_view v = side_matrix(s, z.rows, z.cols, x);
    free(x);
    return v;
}

static void lengths(side *s, sizes z, bool wild)
{
    pfc_view a = made(s, 20, z, wild), g = made(s, 21, z, false), unit = side_matrix(s, z.rows, z.cols, NULL), norm = side_matrix(s, z.rows, 1, NULL);
    int64_t index[2] = { z.rows - 1, z.rows / 2 };
    int32_t *expo = side_array(s, NULL, z.rows, sizeof *expo);
    pfc_rowset chosen = { a, side_array(s, index, 2, sizeof *index), 0, 2 };
    if (z.rows > 1) CALL(s, row_norms, chosen, pfc_view_rows(norm, 0, 2), expo);
    if (z.rows > 1) keep(s, "row_norms of chosen rows", pfc_view_rows(norm, 0, 2));
    CALL(s, row_norms, all(a), norm, expo);
    CALL(s, normalise, a, norm, unit);
    keep(s, "normalise", unit);
    CALL(s, normalise_backward, g, unit, norm, g);
    keep(s, "normalise_backward", g);
    if (s->ops->column_expo) {
        pfc_acc *acc = NULL;
        CALL(s, acc_create, PFC_ACC_PRODUCT, z.cols, 2, &acc);
        CALL(s, column_expo, 0, a, expo, acc);
        CALL(s, acc_expo_fold, acc);
        keep_host(s, "column_expo", PFC_I32, acc->expo, z.cols);
        s->ops->acc_destroy(s->be, acc);
    }
    CALL(s, divide, unit, 3.0);
    CALL(s, round_state, unit);
    keep(s, "round_state after divide", unit);
}

static void softmax(side *s, sizes z, bool wild)
{
    pfc_view a = made(s, 22, z, wild), q = made(s, 23, z, false), max = side_matrix(s, z.rows, 1, NULL), sum = side_matrix(s, z.rows, 1, NULL),
             out = side_matrix(s, z.rows, z.cols, NULL);
    double *row = calloc((size_t)z.rows, sizeof *row);
    CALL(s, softmax_rows, a, 0.3, max, sum);
    keep(s, "max of softmax_rows", max);
    keep(s, "sum of softmax_rows", sum);
    for (int source = 0; source < 2; source++) {
        CALL(s, swav_row_loss, a, 0.3, max, sum, q, source, row);
        keep_host(s, "swav_row_loss", PFC_F64, row, z.rows);
        for (int first = 1; first >= 0; first--) CALL(s, swav_dlogits, a, 0.3, max, sum, q, source, first, out);
        keep(s, "swav_dlogits", out);
    }
    free(row);
}

static void moving(side *s, sizes z)
{
    pfc_view a = made(s, 24, z, false), b = made(s, 25, z, false), c = side_matrix(s, z.rows, z.cols, NULL);
    CALL(s, momentum_update, a, b, 0.99);
    keep(s, "momentum_update", a);
    CALL(s, scale, a, 0.7);
    keep(s, "scale", a);
    CALL(s, decay_scale, a, b, 1e-3, 1.7);
    keep(s, "decay_scale", a);
    CALL(s, copy_rows, a, c);
    if (z.rows > 1) CALL(s, copy_rows, pfc_view_rows(c, 0, z.rows - 1), pfc_view_rows(c, 1, z.rows - 1));
    keep(s, "copy_rows", c);
    CALL(s, zero, pfc_view_rows(c, z.rows / 2, z.rows - z.rows / 2));
    keep(s, "zero", c);
}

static void positives(side *s, sizes z, bool wild)
{
    pfc_view q = made(s, 26, z, wild), k = made(s, 27, z, false), g = made(s, 28, z, false), l = side_matrix(s, z.rows, 1, NULL);
    double *top = calloc((size_t)z.rows, sizeof *top);
    for (int64_t i = 0; i < z.rows; i++) top[i] = i % 2 ? 0.5 : -0.5;
    pfc_view max = side_matrix(s, z.rows, 1, top), sum = side_matrix(s, z.rows, 1, top);
    free(top);
    CALL(s, positive_logits, q, k, 0.1, l);
    keep(s, "positive_logits", l);
    CALL(s, positive_max, l, max);
    keep(s, "positive_max", max);
    CALL(s, positive_sum, l, max, sum);
    keep(s, "positive_sum", sum);
    CALL(s, positive_grad, l, max, sum, 7.0, 0.1, k, g);
    keep(s, "positive_grad", g);
}

/* group_gather's sums. */
static void gathering(side *s, sizes z, bool wild)
{
    double *x = numbers(29, z.rows * z.cols, wild);
    pfc_view v = side_matrix(s, z.rows * z.cols, 1, x), out = side_matrix(s, z.rows * z.cols, 1, NULL);
    pfc_acc *acc = NULL;
    free(x);
    CALL(s, acc_create, PFC_ACC_SCALAR, v.rows, 1, &acc);
    if (s->ops->gather_expo) CALL(s, gather_expo, v, acc);
    for (int64_t i = 0; acc->expo && i < v.rows; i++) acc->expo[i] += 2; /* as if another rank had larger ones */
    CALL(s, gather_add, v, acc);
    keep_acc(s, "gather_add", acc, NULL, out);
    s->ops->acc_destroy(s->be, acc);
}

/* Three ranks' words, where the backend adds them itself. */
static void pieces(side *s)
{
    static const int64_t whole[6] = { 1, -(1LL << 60), 3, 1LL << 59, 5, 7 };
    static const double real[6] = { 1, 0x1p53, -0x1p53, 1, 1, -1 };
    int64_t sum[2] = { 9, 7 + (1LL << 59) - (1LL << 60) };
    double total[2] = { ((1.0 - 0x1p53) + 1.0), ((0x1p53 + 1.0) - 1.0) }; /* in rank order */
    if (s->ops->add_pieces) {
        int64_t *words = side_array(s, whole, 6, 8), *word = side_array(s, NULL, 2, 8);
        double *reals = side_array(s, real, 6, 8), *number = side_array(s, NULL, 2, 8);
        CALL(s, add_pieces, PFC_I64, words, 3, 2, word);
        CALL(s, add_pieces, PFC_F64, reals, 3, 2, number);
        CALL(s, download, sum, word, sizeof sum);
        CALL(s, download, total, number, sizeof total);
    }
    keep_host(s, "add_pieces", PFC_I64, sum, 2);
    keep_host(s, "add_pieces", PFC_F64, total, 2);
}

static void count_lane(void *arg, int lane) { ((int *)arg)[lane] += 1; }

static void run(side *s, int variant)
{
    bool wild = variant >= SHAPES;
    sizes z = shapes[wild ? 2 : variant];
    int lane[4] = { 0, 0, 0, 0 };
    lengths(s, z, wild);
    softmax(s, z, wild);
    moving(s, z);
    positives(s, z, wild);
    gathering(s, z, wild);
    pieces(s);
    s->ops->for_lanes(s->be, 4, count_lane, lane);
    CALLED(s, for_lanes);
    int32_t ran[4] = { lane[0], lane[1], lane[2], lane[3] };
    keep_host(s, "for_lanes", PFC_I32, ran, 4);
}

const chain matrix_chain = { "matrices", run, SHAPES + 1, SHAPES };
