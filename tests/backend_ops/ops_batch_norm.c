/* ops_batch_norm.c: the operations of batch_norm (src/algo/batch_norm.c), a rank alone. */
#include "ops.h"

#include <math.h>
#include <stdlib.h>

static const pfc_bn_shape shapes[] = { { 4, 3, 1, 5 }, { 6, 2, 3, 1 }, { 1, 1, 1, 2 }, { 8, 5, 2, 1200 }, { 300, 40, 1, 1 } };
enum { SHAPES = sizeof shapes / sizeof *shapes };

typedef struct norm {
    side *s;
    pfc_bn_shape shape;
    int64_t units, each; /* each: values of a unit */
    pfc_view x, g, y;
    double *mean, *var, *inv, *weight, *bias, *sums, *grid;
    pfc_bn_units u;
} norm;

static void keep_numbers(norm *t, const char *name, const double *v, int64_t n) { keep_host(t->s, name, PFC_F64, v, n); }

static void make(norm *t, bool wild)
{
    int64_t rows = t->shape.n * t->shape.channels, n = rows * t->shape.inner, c = t->shape.channels, u = t->units;
    double *x = numbers(50, n, wild), *g = numbers(51, n, false);
    for (int64_t i = 0; i < n; i++) x[i] = 2.0 * x[i] + 5.0;
    t->x = side_matrix(t->s, rows, t->shape.inner, x);
    t->g = side_matrix(t->s, rows, t->shape.inner, g);
    t->y = side_matrix(t->s, rows, t->shape.inner, NULL);
    free(x), free(g);
    t->mean = calloc((size_t)(3 * u + 2 * c + 2 * u + 2 * u), sizeof *t->mean);
    t->var = t->mean + u, t->inv = t->var + u, t->weight = t->inv + u, t->bias = t->weight + c, t->sums = t->bias + c, t->grid = t->sums + 2 * u;
    for (int64_t i = 0; i < c; i++) t->weight[i] = 0.5 + 0.25 * (double)(i % 5), t->bias[i] = 0.125 * (double)i;
    t->u = (pfc_bn_units){ t->mean, t->inv, t->weight, t->bias, NULL, NULL };
}

static void statistics(norm *t)
{
    side *s = t->s;
    pfc_acc *acc = NULL;
    CALL(s, acc_create, PFC_ACC_SCALAR, 2 * t->units, 1, &acc);
    CALL(s, bn_grid, t->shape, t->x, t->grid);
    if (s->ops->mode == PFC_EXACT) keep_numbers(t, "bn_grid", t->grid, t->units); /* fast: any of the values */
    CALL(s, bn_sums, t->shape, t->x, t->grid, acc);
    CALL(s, acc_fold, acc, NULL);
    CALL(s, bn_moments, acc, t->grid, t->each, t->mean, t->var);
    s->ops->acc_destroy(s->be, acc);
    for (int64_t i = 0; i < t->units; i++) t->inv[i] = 1.0 / sqrt(t->var[i] + 1e-5);
    keep_numbers(t, "mean of bn_moments", t->mean, t->units);
    keep_numbers(t, "var of bn_moments", t->var, t->units);
    CALL(s, bn_normalise, t->shape, t->x, &t->u, t->y);
    keep(s, "bn_normalise", t->y);
}

static void gradients(norm *t)
{
    side *s = t->s;
    int64_t c = t->shape.channels;
    pfc_acc *acc = NULL;
    CALL(s, acc_create, PFC_ACC_SCALAR, 2 * t->units, 1, &acc);
    if (s->ops->bn_grad_grid) CALL(s, bn_grad_grid, t->shape, t->x, t->g, &t->u, t->grid);
    if (s->ops->bn_grad_grid) keep_numbers(t, "bn_grad_grid", t->grid, 2 * c);
    CALL(s, bn_grad_sums, t->shape, t->x, t->g, &t->u, t->grid, acc);
    CALL(s, acc_fold, acc, NULL);
    CALL(s, bn_values, acc, c, t->shape.splits, 1, t->sums);
    keep_numbers(t, "bn_values, joined", t->sums, 2 * c);
    CALL(s, bn_values, acc, c, t->shape.splits, 0, t->sums);
    keep_numbers(t, "bn_values", t->sums, 2 * t->units);
    s->ops->acc_destroy(s->be, acc);
    CALL(s, bn_backward, t->shape, t->x, t->g, &t->u, t->y); /* without the terms of the statistics */
    keep(s, "bn_backward of given statistics", t->y);
    for (int64_t i = 0; i < 2 * t->units; i++) t->sums[i] /= (double)t->each;
    t->u.mean_g = t->sums;
    t->u.mean_gx = t->sums + t->units;
    CALL(s, bn_backward, t->shape, t->x, t->g, &t->u, t->y);
    keep(s, "bn_backward", t->y);
    t->u.mean_g = t->u.mean_gx = NULL;
}

/* The same in one call. A backend without it: what it replaces has to give the same numbers, and they have been kept; kept again. */
static void alone(norm *t)
{
    side *s = t->s;
    int64_t u = t->units;
    if (s->ops->bn_forward_alone) CALL(s, bn_forward_alone, t->shape, t->x, &t->u, 1e-5, t->mean, t->var, t->inv, t->y);
    if (!s->ops->bn_forward_alone) CALL(s, bn_normalise, t->shape, t->x, &t->u, t->y);
    keep_numbers(t, "mean of bn_forward_alone", t->mean, u);
    keep_numbers(t, "var of bn_forward_alone", t->var, u);
    keep(s, "bn_forward_alone", t->y);
    for (int64_t i = 0; i < 2 * u; i++) t->sums[i] *= (double)t->each; /* what bn_values gave, to rounding */
    t->u.mean_g = t->u.mean_gx = NULL;
    if (s->ops->bn_backward_alone) {
        CALL(s, bn_backward_alone, t->shape, t->x, t->g, &t->u, (double)t->each, t->sums, t->y);
    } else {
        for (int64_t i = 0; i < 2 * u; i++) t->sums[i] /= (double)t->each;
        t->u.mean_g = t->sums;
        t->u.mean_gx = t->sums + u;
        CALL(s, bn_backward, t->shape, t->x, t->g, &t->u, t->y);
    }
    keep(s, "bn_backward_alone", t->y);
}

static void run(side *s, int variant)
{
    bool wild = variant >= SHAPES;
    norm t = { .s = s, .shape = shapes[wild ? 3 : variant] };
    t.units = t.shape.splits * t.shape.channels;
    t.each = t.shape.n / t.shape.splits * t.shape.inner;
    make(&t, wild);
    statistics(&t);
    gradients(&t);
    alone(&t);
    free(t.mean);
}

const chain batch_norm_chain = { "batch_norm", run, SHAPES + 1, SHAPES };
