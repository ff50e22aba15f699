/* exact_softmax.c: logits, softmax and logit gradients of exact mode (doc/exact-v1.md 3.3 to 3.10).
 *
 * Logits are cheap and are made again from the stored cosines in every pass; only the cosines stay in memory. */
#include "backend/cpu/exact.h"
#include "backend/target_logit.h"

#include <string.h>

typedef struct block {
    exact_lane *lane;
    int64_t c, n, c0;
    const double *z; /* (c, n) */
    int64_t ld;
    double *l, *slope;
} block;

/* Logits of the block, slopes too if asked, targets included. */
static pfc_status make_logits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, bool slopes, block *b)
{
    exact_lane *mine = &exact_of(be)->lane[lane];
    PFC_TRY(pfc_exact_fail(be, lane, pfc_exact_environment(mine)));
    block made = { mine, z.rows, z.cols, c0, z.data, z.ld, NULL, NULL };
    made.l = pfc_exact_scratch(mine, SCRATCH_LOGIT, made.c * made.n);
    made.slope = slopes ? pfc_exact_scratch(mine, SCRATCH_SLOPE, made.c * made.n) : NULL;
    if (!made.l || (slopes && !made.slope)) return pfc_exact_fail(be, lane, PFC_ERR_NOMEM);
    for (int64_t c = 0; c < made.c; c++) mine->k->logit_row(head, made.z + c * z.ld, made.n, made.l + c * made.n, slopes ? made.slope + c * made.n : NULL);
    for (int64_t n = 0; n < made.n; n++) {
        int64_t t = rows->target[n] - c0;
        if (rows->target[n] < 0 || t < 0 || t >= made.c) continue;
        double slope, l;
        pfc_target_logit(head, made.z[t * z.ld + n], &l, &slope);
        made.l[t * made.n + n] = l;
        if (slopes) made.slope[t * made.n + n] = slope;
    }
    *b = made;
    return PFC_OK;
}

static exact_scalar_acc *scalar_lane(pfc_acc *acc, int lane) { return &((exact_acc_state *)acc->state)->scalar[lane]; }

pfc_status pfc_exact_row_max(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum)
{
    block b;
    PFC_TRY(make_logits(be, lane, head, z, c0, rows, false, &b));
    for (int64_t c = 0; c < b.c; c++) b.lane->k->max_row(b.l + c * b.n, b.n, scalar_lane(sum, lane)->max);
    for (int64_t n = 0; n < b.n; n++) {
        int64_t t = rows->target[n] - c0;
        if (t >= 0 && t < b.c) ((double *)rows->target_logit.data)[n] = b.l[t * b.n + n];
    }
    return PFC_OK;
}

pfc_status pfc_exact_row_max_fold(pfc_backend *be, pfc_acc *sum, pfc_view max)
{
    double *out = max.data;
    for (int64_t i = 0; i < sum->rows; i++) out[i] = -PX_INF;
    for (int lane = 0; lane < sum->lanes; lane++) exact_of(be)->k->max_row(scalar_lane(sum, lane)->max, sum->rows, out);
    for (int64_t i = 0; i < sum->rows; i++) out[i] += 0.0; /* no -0 */
    return PFC_OK;
}

pfc_status pfc_exact_row_sum(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum)
{
    block b;
    PFC_TRY(make_logits(be, lane, head, z, c0, rows, false, &b));
    exact_scalar_acc *acc = scalar_lane(sum, lane);
    const double *max = rows->max.data;
    for (int64_t c = 0; c < b.c; c++) {
        const double *l = b.l + c * b.n;
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

/* h of one class (3.8). */
static void class_gradient(const block *b, int64_t c, const pfc_rows_info *rows, double *h)
{
    const double *l = b->l + c * b->n, *slope = b->slope + c * b->n, *max = rows->max.data, *sum = rows->sum.data;
    b->lane->k->grad_row(l, slope, max, sum, rows->n, b->n, h);
    for (int64_t n = 0; n < b->n; n++) {
        if (rows->valid && !rows->valid[n])
            h[n] = 0.0;
        else if (rows->target[n] == b->c0 + c)
            h[n] = ((px_exp(l[n] - max[n]) / sum[n] - 1.0) / rows->n) * slope[n];
    }
}

pfc_status pfc_exact_grad_expo(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view wnorm,
                               const int32_t *wexpo, pfc_acc *feature, pfc_acc *dot)
{
    block b;
    PFC_TRY(make_logits(be, lane, head, z, c0, rows, true, &b));
    double *h = pfc_exact_scratch(b.lane, SCRATCH_ROWS, b.n);
    if (!h) return pfc_exact_fail(be, lane, PFC_ERR_NOMEM);
    double *hmax = ((exact_acc_state *)feature->state)->product[lane].max, *zmax = head->normalised ? scalar_lane(dot, lane)->max : NULL;
    for (int64_t c = 0; c < b.c; c++) {
        double d = head->normalised ? exact_clamped(((const double *)wnorm.data)[c]) : 1.0;
        class_gradient(&b, c, rows, h);
        b.lane->k->expo_row(h, zmax ? b.z + c * b.ld : NULL, d, px_pow2(wexpo[c]), b.n, hmax, zmax);
    }
    return PFC_OK;
}

/* Scalar sum of h z over the rows of one class (3.10). */
static double class_dot(const pfc_exact_kernels *k, const double *h, const double *z, int64_t n)
{
    int nonfinite = 0;
    int32_t e = px_expo(k->dot_max(h, z, n, &nonfinite));
    pfc_scalar_sum s = { 0, 0, 0 };
    k->dot_sum(h, z, px_pow2(36 - e), n, &s.a, &s.b);
    for (int64_t i = 0; nonfinite && i < n; i++) s.mark |= pfc_mark_of(h[i] * z[i]);
    return pfc_scalar_value(&s, e);
}

pfc_status pfc_exact_logit_grad(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view h, pfc_acc *dot,
                                pfc_view wdot)
{
    block b;
    PFC_TRY(make_logits(be, lane, head, z, c0, rows, true, &b));
    double *scale = pfc_exact_scratch(b.lane, SCRATCH_ROWS, b.n);
    if (!scale) return pfc_exact_fail(be, lane, PFC_ERR_NOMEM);
    for (int64_t n = 0; head->normalised && n < b.n; n++) scale[n] = px_pow2(36 - dot->expo[n]);
    for (int64_t c = 0; c < b.c; c++) {
        double *row = (double *)h.data + c * h.ld;
        const double *cosine = b.z + c * b.ld;
        class_gradient(&b, c, rows, row);
        if (!head->normalised) continue;
        exact_scalar_acc *acc = scalar_lane(dot, lane);
        if (b.lane->k->dot_each(row, cosine, scale, b.n, acc->a, acc->b))
            for (int64_t n = 0; n < b.n; n++) acc->mark[n] |= pfc_mark_of(row[n] * cosine[n]);
        ((double *)wdot.data)[c] = class_dot(b.lane->k, row, cosine, b.n);
    }
    return PFC_OK;
}

static void copy_rows(const block *b, const double *from, pfc_view to)
{
    for (int64_t c = 0; c < b->c; c++) memcpy((double *)to.data + c * to.ld, from + c * b->n, (size_t)b->n * sizeof *from);
}

pfc_status pfc_exact_logits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view l)
{
    block b;
    PFC_TRY(make_logits(be, lane, head, z, c0, rows, false, &b));
    copy_rows(&b, b.l, l);
    return PFC_OK;
}

pfc_status pfc_exact_dlogits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view g)
{
    block b;
    PFC_TRY(make_logits(be, lane, head, z, c0, rows, true, &b));
    for (int64_t i = 0; i < b.c * b.n; i++) b.slope[i] = 1.0;
    for (int64_t c = 0; c < b.c; c++) class_gradient(&b, c, rows, (double *)g.data + c * g.ld);
    return PFC_OK;
}
