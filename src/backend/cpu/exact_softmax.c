/* exact_softmax.c: logits, softmax and logit gradients of exact mode (doc/exact-v1.md 3.3 to 3.10).
 *
 * Logits are cheap and are made again from the stored cosines in every pass; only the cosines stay in memory. */
#include "backend/cpu/exact.h"
#include "backend/target_logit.h"

#include <string.h>

/* A block of classes and what is needed to make its logits again, a class at a time: they stay in the first-level cache. */
typedef struct block {
    exact_lane *lane;
    const pfc_head *head;
    const pfc_rows_info *rows;
    int64_t c, n, c0;
    const double *z; /* (c, n) */
    int64_t ld;
    double *l, *slope, *inverse, *work; /* n each: of the class at hand; 1/S; for the caller */
    const unsigned char *valid;         /* of class_gradient: the rows that take part; NULL: all */
    const int32_t *first, *next;        /* the rows whose target is class c of the block: first[c], next[that one], ... -1 */
} block;

/* The rows by target class. */
static pfc_status sort_targets(block *b)
{
    int32_t *first = (int32_t *)pfc_exact_scratch(b->lane, SCRATCH_TARGETS, b->c + b->n), *next = first ? first + b->c : NULL;
    if (!first) return PFC_ERR_NOMEM;
    memset(first, -1, (size_t)b->c * sizeof *first);
    for (int64_t n = b->n - 1; n >= 0; n--) {
        int64_t t = pfc_target_in_block(b->rows, n, b->c0, b->c);
        if (t < 0) continue;
        next[n] = first[t];
        first[t] = (int32_t)n;
    }
    b->first = first;
    b->next = next;
    return PFC_OK;
}

static pfc_status open_block(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, block *b)
{
    exact_lane *mine = &exact_of(be)->lane[lane];
    block made = { .lane = mine, .head = head, .rows = rows, .c = z.rows, .n = z.cols, .c0 = c0, .z = z.data, .ld = z.ld };
    PFC_TRY(pfc_exact_fail(be, lane, pfc_exact_environment(mine)));
    made.l = pfc_exact_scratch(mine, SCRATCH_LOGIT, 4 * made.n);
    if (!made.l) return pfc_exact_fail(be, lane, PFC_ERR_NOMEM);
    made.slope = made.l + made.n;
    made.inverse = made.slope + made.n;
    made.work = made.inverse + made.n;
    PFC_TRY(pfc_exact_fail(be, lane, sort_targets(&made)));
    *b = made;
    return PFC_OK;
}

/* Logits of class c of the block, slopes too if asked, its target rows included. */
static const double *class_logits(const block *b, int64_t c, bool slopes)
{
    const double *z = b->z + c * b->ld;
    b->lane->k->logit_row(b->head, z, b->n, b->l, slopes ? b->slope : NULL);
    for (int32_t n = b->first[c]; n >= 0; n = b->next[n]) {
        double slope;
        pfc_target_logit(b->head, z[n], &b->l[n], &slope);
        if (slopes) b->slope[n] = slope;
    }
    return b->l;
}

pfc_status pfc_exact_row_max(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum)
{
    block b;
    PFC_TRY(open_block(be, lane, head, z, c0, rows, &b));
    for (int64_t c = 0; c < b.c; c++) {
        const double *l = class_logits(&b, c, false);
        b.lane->k->max_row(l, b.n, exact_scalar_lane(sum, lane)->max);
        for (int32_t n = b.first[c]; n >= 0; n = b.next[n]) ((double *)rows->target_logit.data)[n] = l[n];
    }
    return PFC_OK;
}

pfc_status pfc_exact_row_max_fold(pfc_backend *be, pfc_acc *sum, pfc_view max)
{
    double *out = max.data;
    for (int64_t i = 0; i < sum->rows; i++) out[i] = -PX_INF;
    for (int lane = 0; lane < sum->lanes; lane++) exact_of(be)->k->max_row(exact_scalar_lane(sum, lane)->max, sum->rows, out);
    for (int64_t i = 0; i < sum->rows; i++) out[i] += 0.0; /* no -0 */
    return PFC_OK;
}

pfc_status pfc_exact_row_sum(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum)
{
    block b;
    PFC_TRY(open_block(be, lane, head, z, c0, rows, &b));
    exact_scalar_acc *acc = exact_scalar_lane(sum, lane);
    const double *max = rows->max.data;
    for (int64_t c = 0; c < b.c; c++) {
        const double *l = class_logits(&b, c, false);
        if (!b.lane->k->exp_sum(l, max, b.n, acc->a, acc->b)) continue;
        for (int64_t n = 0; n < b.n; n++) acc->mark[n] |= pfc_mark_of(px_exp(l[n] - max[n]));
    }
    return PFC_OK;
}

pfc_status pfc_exact_target_prob(pfc_backend *be, const pfc_rows_info *rows, int64_t n_rows, double *prob)
{
    (void)be;
    const double *l = rows->target_logit.data, *max = rows->max.data, *sum = rows->sum.data;
    for (int64_t n = 0; n < n_rows; n++) prob[n] = rows->target[n] < 0 ? 0.0 : px_exp(l[n] - max[n]) / sum[n];
    return PFC_OK;
}

/* What class_gradient needs: 1/S, or none where reciprocals will not do; the rows that are ignored. */
static void open_gradient(block *b)
{
    const double *sum = b->rows->sum.data, count = b->rows->n;
    bool good = count >= 1.0;
    for (int64_t n = 0; n < b->n; n++) {
        good = good && sum[n] >= 0x1p-30 && sum[n] <= 0x1p30;
        b->inverse[n] = 1.0 / sum[n];
    }
    if (!good) b->inverse = NULL;
    b->valid = b->rows->valid && memchr(b->rows->valid, 0, (size_t)b->n) ? b->rows->valid : NULL;
}

/* h of one class (3.8). */
static void class_gradient(const block *b, int64_t c, double *h)
{
    const pfc_rows_info *rows = b->rows;
    const double *l = b->l, *slope = b->slope, *max = rows->max.data, *sum = rows->sum.data;
    if (!b->inverse || !b->lane->k->grad_near(l, slope, max, sum, b->inverse, rows->n, b->n, h)) b->lane->k->grad_row(l, slope, max, sum, rows->n, b->n, h);
    for (int32_t n = b->first[c]; n >= 0; n = b->next[n]) h[n] = ((px_exp(l[n] - max[n]) / sum[n] - 1.0) / rows->n) * slope[n];
    for (int64_t n = 0; b->valid && n < b->n; n++)
        if (!b->valid[n]) h[n] = 0.0;
}

pfc_status pfc_exact_grad_expo(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view wnorm,
                               const int32_t *wexpo, pfc_acc *feature, pfc_acc *dot)
{
    block b;
    PFC_TRY(open_block(be, lane, head, z, c0, rows, &b));
    open_gradient(&b);
    double *hmax = exact_product_lane(feature, lane)->max, *zmax = head->normalised ? exact_scalar_lane(dot, lane)->max : NULL;
    for (int64_t c = 0; c < b.c; c++) {
        double d = head->normalised ? exact_divisor(((const double *)wnorm.data)[c]) : 1.0;
        class_logits(&b, c, true);
        class_gradient(&b, c, b.work);
        b.lane->k->expo_row(b.work, zmax ? b.z + c * b.ld : NULL, d, px_pow2(wexpo[c]), b.n, hmax, zmax);
    }
    return PFC_OK;
}

pfc_status pfc_exact_logit_grad(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view h, pfc_acc *dot,
                                pfc_view wdot)
{
    block b;
    PFC_TRY(open_block(be, lane, head, z, c0, rows, &b));
    open_gradient(&b);
    double *scale = b.work;
    for (int64_t n = 0; head->normalised && n < b.n; n++) scale[n] = px_pow2(36 - dot->expo[n]);
    for (int64_t c = 0; c < b.c; c++) {
        double *row = exact_at(h, c);
        const double *cosine = b.z + c * b.ld;
        class_logits(&b, c, true);
        class_gradient(&b, c, row);
        if (!head->normalised) continue;
        exact_scalar_acc *acc = exact_scalar_lane(dot, lane);
        if (b.lane->k->dot_each(row, cosine, scale, b.n, acc->a, acc->b))
            for (int64_t n = 0; n < b.n; n++) acc->mark[n] |= pfc_mark_of(row[n] * cosine[n]);
        ((double *)wdot.data)[c] = pfc_exact_dot(b.lane->k, row, cosine, b.n); /* 3.10 */
    }
    return PFC_OK;
}

pfc_status pfc_exact_logits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view l)
{
    block b;
    PFC_TRY(open_block(be, lane, head, z, c0, rows, &b));
    for (int64_t c = 0; c < b.c; c++) memcpy(exact_at(l, c), class_logits(&b, c, false), (size_t)b.n * sizeof(double));
    return PFC_OK;
}

pfc_status pfc_exact_dlogits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view g)
{
    block b;
    PFC_TRY(open_block(be, lane, head, z, c0, rows, &b));
    open_gradient(&b);
    for (int64_t c = 0; c < b.c; c++) {
        class_logits(&b, c, false);
        for (int64_t i = 0; i < b.n; i++) b.slope[i] = 1.0;
        class_gradient(&b, c, exact_at(g, c));
    }
    return PFC_OK;
}
