/* ops_head.c: the operations of partial_fc in the order of a step (src/algo/partial_fc.c), a rank alone. */
#include "ops.h"

#include "core/px.h"

#include <stdlib.h>

typedef struct sizes {
    int64_t n, d, c;
} sizes;

/* More terms than a chunk of a product, more classes than a block and a team have; one of everything. */
static const sizes shapes[] = { { 5, 3, 7 }, { 33, 40, 600 }, { 1, 1, 1 }, { 3, 2100, 5 }, { 300, 9, 70 }, { 33, 40, 600 } };
enum { SHAPES = sizeof shapes / sizeof *shapes, HEADS = 4 };

typedef struct step {
    side *s;
    sizes z;
    pfc_head head;
    pfc_view x, w, m, xnorm, wnorm, cos, h, dw, wdot, column, wide, rows_out;
    int32_t *xexpo, *wexpo;
    pfc_rows_info rows;
    pfc_operand *operand;
    pfc_acc *sum, *dot, *feature;
    int64_t block;
} step;

static pfc_rowset part(pfc_view v, int64_t first, int64_t count) { return (pfc_rowset){ v, NULL, first, count }; }

static void make_rows(step *t)
{
    int64_t *target = malloc((size_t)t->z.n * sizeof *target);
    unsigned char *valid = malloc((size_t)t->z.n + 1);
    for (int64_t i = 0; target && valid && i < t->z.n; i++) {
        target[i] = i % 4 == 3 ? -1 : (i * 7) % t->z.c;
        valid[i] = i % 6 != 5;
    }
    t->rows = (pfc_rows_info){ side_array(t->s, target, t->z.n, sizeof *target),
                               side_array(t->s, valid, t->z.n, 1),
                               side_matrix(t->s, t->z.n, 1, NULL),
                               side_matrix(t->s, t->z.n, 1, NULL),
                               side_matrix(t->s, t->z.n, 1, NULL),
                               (double)(t->z.n - t->z.n / 6) };
    free(target);
    free(valid);
}

static void make(step *t, bool wild)
{
    side *s = t->s;
    double *x = numbers(1, t->z.n * t->z.d, wild), *w = numbers(2, t->z.c * t->z.d, wild), *m = numbers(3, t->z.c * t->z.d, false),
           *zeros = calloc((size_t)t->z.n, sizeof *zeros);
    t->x = side_matrix(s, t->z.n, t->z.d, x);
    t->w = side_matrix(s, t->z.c, t->z.d, w);
    t->m = side_matrix(s, t->z.c, t->z.d, m);
    free(x), free(w), free(m);
    t->xnorm = side_matrix(s, t->z.n, 1, NULL);
    t->wnorm = side_matrix(s, t->z.c, 1, NULL);
    t->xexpo = side_array(s, NULL, t->z.n, sizeof(int32_t));
    t->wexpo = side_array(s, NULL, t->z.c, sizeof(int32_t));
    t->cos = side_matrix(s, t->z.c, t->z.n, NULL);
    t->h = side_matrix(s, t->z.c, t->z.n, NULL);
    t->dw = side_matrix(s, t->z.c, t->z.d, NULL);
    t->wdot = side_matrix(s, t->z.c, 1, NULL);
    t->column = side_matrix(s, t->z.n, 1, zeros);
    t->wide = side_matrix(s, t->z.n, t->z.d, NULL);
    t->rows_out = side_matrix(s, t->z.n, t->z.d, NULL);
    free(zeros);
    make_rows(t);
    t->rows.target_logit = t->column; /* defined everywhere, so that it can be compared */
    CALL(s, acc_create, PFC_ACC_SCALAR, t->z.n, 1, &t->sum);
    CALL(s, acc_create, PFC_ACC_SCALAR, t->z.n, 1, &t->dot);
    CALL(s, acc_create, PFC_ACC_PRODUCT, t->z.n, t->z.d, &t->feature);
    t->block = s->ops->block_classes < 256 ? s->ops->block_classes : 256;
}

static void release(step *t)
{
    side *s = t->s;
    s->ops->operand_destroy(s->be, t->operand);
    CALLED(s, operand_destroy);
    s->ops->acc_destroy(s->be, t->sum);
    s->ops->acc_destroy(s->be, t->dot);
    s->ops->acc_destroy(s->be, t->feature);
    CALLED(s, acc_destroy);
}

/* Classes [c, c + count) and their rows of what is made for classes. */
#define FOR_BLOCKS(t) for (int64_t c = 0, count; c < (t)->z.c && (count = (t)->z.c - c < (t)->block ? (t)->z.c - c : (t)->block); c += count)

static void forward(step *t)
{
    side *s = t->s;
    const pfc_rows_info *rows = &t->rows;
    CALL(s, row_norms, part(t->x, 0, t->z.n), t->xnorm, t->xexpo);
    keep(s, "row_norms", t->xnorm);
    if (s->ops->mode == PFC_EXACT) keep_i32(s, "exponents of row_norms", t->xexpo, t->z.n);
    CALL(s, operand_create, t->x, t->xnorm, t->xexpo, &t->operand);
    FOR_BLOCKS(t)
    {
        CALL(s, row_norms, part(t->w, c, count), pfc_view_rows(t->wnorm, c, count), t->wexpo + c);
        if (s->ops->rows_ahead) s->ops->rows_ahead(s->be, 0, part(t->w, 0, c));
        CALLED(s, rows_ahead);
        CALL(s, cosines, 0, t->operand, part(t->w, c, count), pfc_view_rows(t->wnorm, c, count), t->wexpo + c, t->head.normalised,
             pfc_view_rows(t->cos, c, count));
        CALL(s, row_max, 0, &t->head, pfc_view_rows(t->cos, c, count), c, rows, t->sum);
    }
    keep(s, "cosines", t->cos);
    keep(s, "target_logit of row_max", t->rows.target_logit);
    CALL(s, row_max_fold, t->sum, t->rows.max);
    keep(s, "row_max_fold", t->rows.max);
    for (int64_t i = 0; t->sum->expo && i < t->z.n; i++) t->sum->expo[i] = 0;
    if (s->ops->row_sum) FOR_BLOCKS(t) CALL(s, row_sum, 0, &t->head, pfc_view_rows(t->cos, c, count), c, rows, t->sum);
    keep_acc(s, "row_sum", t->sum, rows, t->rows.sum);
}

static void loss_and_taps(step *t)
{
    side *s = t->s;
    double *prob = calloc((size_t)t->z.n, 3 * sizeof *prob), *sum = prob + t->z.n, *shifted = sum + t->z.n;
    unsigned char *valid = malloc((size_t)t->z.n + 1);
    CALL(s, target_prob, &t->rows, t->z.n, prob);
    keep_host(s, "target_prob", PFC_F64, prob, t->z.n);
    for (int64_t i = 0; i < t->z.n; i++) sum[i] = 1.5, shifted[i] = -0.25 * (double)i, valid[i] = i % 6 != 5;
    for (int kind = PFC_LOSS_CLAMP; kind <= PFC_LOSS_LSE; kind++) {
        double loss = s->ops->mean_loss((pfc_loss_kind)kind, prob, sum, kind == PFC_LOSS_LSE ? shifted : NULL, valid, t->z.n, (double)t->z.n);
        keep_host(s, "mean_loss", PFC_F64, &loss, 1);
    }
    CALLED(s, mean_loss);
    free(prob);
    free(valid);
    FOR_BLOCKS(t) CALL(s, logits, 0, &t->head, pfc_view_rows(t->cos, c, count), c, &t->rows, pfc_view_rows(t->h, c, count));
    keep(s, "logits", t->h);
    FOR_BLOCKS(t) CALL(s, dlogits, 0, &t->head, pfc_view_rows(t->cos, c, count), c, &t->rows, pfc_view_rows(t->h, c, count));
    keep(s, "dlogits", t->h);
}

static void backward(step *t)
{
    side *s = t->s;
    int normalised = t->head.normalised;
    const pfc_sgd sgd = { 0.1, 0.9, 5e-4, 1 };
    if (s->ops->grad_expo) {
        FOR_BLOCKS(t)
        CALL(s, grad_expo, 0, &t->head, pfc_view_rows(t->cos, c, count), c, &t->rows, pfc_view_rows(t->wnorm, c, count), t->wexpo + c, t->feature, t->dot);
        CALL(s, acc_expo_fold, t->feature);
        CALL(s, acc_expo_fold, t->dot);
    }
    FOR_BLOCKS(t)
    {
        pfc_view h = pfc_view_rows(t->h, c, count), dw = pfc_view_rows(t->dw, c, count), wdot = pfc_view_rows(t->wdot, c, count),
                 norm = pfc_view_rows(t->wnorm, c, count);
        CALL(s, logit_grad, 0, &t->head, pfc_view_rows(t->cos, c, count), c, &t->rows, h, t->dot, wdot);
        CALL(s, feature_grad, 0, h, part(t->w, c, count), norm, t->wexpo + c, normalised, t->feature);
        CALL(s, weight_grad, 0, t->operand, h, part(t->w, c, count), norm, wdot, normalised, dw);
    }
    keep(s, "logit_grad", t->h);
    if (normalised) keep(s, "wdot of logit_grad", t->wdot);
    keep(s, "weight_grad", t->dw);
    keep_acc(s, "feature_grad", t->feature, NULL, t->wide);
    if (normalised) keep_acc(s, "dot of logit_grad", t->dot, NULL, t->column);
    CALL(s, feature_grad_finish, t->wide, t->column, t->x, t->xnorm, normalised, 3.0, t->rows_out);
    keep(s, "feature_grad_finish", t->rows_out);
    CALL(s, sgd_rows, t->dw, part(t->w, 0, t->z.c), t->m, &sgd);
    keep(s, "weight of sgd_rows", t->w);
    keep(s, "momentum of sgd_rows", t->m);
    pfc_view none = { 0 };
    CALL(s, sgd_rows, none, part(t->w, 0, 1), t->m, &sgd);
    keep(s, "weight of sgd_rows without a gradient", t->w);
    FOR_BLOCKS(t)
    {
        pfc_view h = pfc_view_rows(t->h, c, count), dw = pfc_view_rows(t->dw, c, count), wdot = pfc_view_rows(t->wdot, c, count),
                 norm = pfc_view_rows(t->wnorm, c, count);
        if (s->ops->weight_update) {
            CALL(s, weight_update, 0, t->operand, h, part(t->w, c, count), norm, wdot, normalised, t->m, &sgd);
        } else {
            CALL(s, weight_grad, 0, t->operand, h, part(t->w, c, count), norm, wdot, normalised, dw);
            CALL(s, sgd_rows, dw, part(t->w, c, count), t->m, &sgd);
        }
    }
    keep(s, "weight of weight_update", t->w);
    keep(s, "momentum of weight_update", t->m);
}

/* Variants: shapes times heads; those with switches and wild numbers at the end. */
static void run(side *s, int variant)
{
    static const pfc_head_kind kinds[HEADS] = { PFC_HEAD_LINEAR, PFC_HEAD_COS, PFC_HEAD_ARC, PFC_HEAD_CIRCLE };
    bool wild = variant >= SHAPES * HEADS;
    int shape = wild ? 1 : variant / HEADS;
    step t = { .s = s, .z = shapes[shape] };
    t.head = (pfc_head){ .kind = kinds[variant % HEADS], .scale = 16.0, .margin = 0.3, .normalised = kinds[variant % HEADS] != PFC_HEAD_LINEAR };
    if (t.head.kind == PFC_HEAD_LINEAR) t.head.scale = 1.0;
    if (shape == SHAPES - 1) {
        t.head.cos_clamp = 1;
        t.head.arc_fallback = variant % 2 ? PFC_FALLBACK_LINEAR : PFC_FALLBACK_EASY;
        t.head.threshold = t.head.kind == PFC_HEAD_COS ? 0.2 : 0.0;
    }
    px_sincos(t.head.margin, &t.head.sin_m, &t.head.cos_m);
    t.head.mm = t.head.margin * t.head.sin_m;
    make(&t, wild);
    forward(&t);
    loss_and_taps(&t);
    backward(&t);
    side_called(s, offsetof(pfc_ops, sync), "sync", s->ops->sync(s->be));
    release(&t);
}

const chain head_chain = { "partial_fc", run, (SHAPES + 1) * HEADS, SHAPES *HEADS };
