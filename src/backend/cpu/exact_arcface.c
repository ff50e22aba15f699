/* exact_arcface.c: sub-centers, angular margins, soft targets of exact mode (doc/exact-v1.md section 8). */
#include "backend/cpu/exact.h"
#include "backend/target_logit.h"

static int32_t *winner_row(pfc_view v, int64_t i) { return (int32_t *)v.data + i * v.ld; }

pfc_status pfc_exact_subcenter_max(pfc_backend *be, int lane, pfc_view z, pfc_view bias, int64_t k, pfc_view cosine, pfc_view winner)
{
    for (int64_t c = 0; c < cosine.rows; c++)
        exact_of(be)->k->subcenter_max(exact_at(z, c * k), z.ld, bias.data ? exact_at(bias, c * k) : NULL, k, cosine.cols, exact_at(cosine, c),
                                       winner_row(winner, c));
    return pfc_exact_finish(be, lane);
}

/* ---- logits ---- */

/* l and slope (NULL data: not wanted) of the block, both (classes, N). */
static void make_logits(const pfc_exact_kernels *k, const pfc_angular *head, pfc_view cosine, int64_t c0, const pfc_rows_info *rows, pfc_view l, pfc_view slope)
{
    for (int64_t c = 0; c < cosine.rows; c++)
        k->angular_row(head, head->margins ? *exact_at(head->constant, c0 + c) : 1.0, exact_at(cosine, c), cosine.cols, exact_at(l, c),
                       slope.data ? exact_at(slope, c) : NULL);
    for (int64_t n = 0; head->margins && n < cosine.cols; n++) {
        int64_t t = pfc_target_in_block(rows, n, c0, cosine.rows);
        double d;
        if (t >= 0)
            pfc_angular_target_logit(head, exact_at(head->constant, c0 + t), exact_at(cosine, t)[n], exact_at(l, t) + n,
                                     slope.data ? exact_at(slope, t) + n : &d);
    }
}

pfc_status pfc_exact_angular_logits(pfc_backend *be, int lane, const pfc_angular *head, pfc_view cosine, int64_t c0, const pfc_rows_info *rows, pfc_view l)
{
    pfc_view none = { 0 };
    make_logits(exact_of(be)->k, head, cosine, c0, rows, l, none);
    return pfc_exact_finish(be, lane);
}

pfc_status pfc_exact_softmax_prob(pfc_backend *be, int lane, pfc_view l, const pfc_rows_info *rows, pfc_view p)
{
    for (int64_t c = 0; c < l.rows; c++) exact_of(be)->k->prob_row(exact_at(l, c), exact_at(rows->max, 0), exact_at(rows->sum, 0), l.cols, exact_at(p, c));
    return pfc_exact_finish(be, lane);
}

/* ---- what the rows aim at ---- */

static double weight_of(const pfc_aims *aims, int64_t c) { return aims->class_weight.data ? *exact_at(aims->class_weight, c) : 1.0; }

/* The terms of one class, or with one-hot targets of a whole block: row i adds q_i to its total and q_i r_i to its loss. */
typedef struct terms {
    int64_t n;
    double *q, *r, *one, *lse, *total_scale, *loss_scale;
} terms;

typedef void (*terms_fn)(const pfc_exact_kernels *k, const terms *t, exact_scalar_acc *total, exact_scalar_acc *loss);

static void raise_expo(const pfc_exact_kernels *k, const terms *t, exact_scalar_acc *total, exact_scalar_acc *loss)
{
    k->expo_row(t->q, t->r, 1.0, 1.0, t->n, total->max, loss->max);
}

static void add_products(const pfc_exact_kernels *k, const double *a, const double *b, const double *scale, int64_t n, exact_scalar_acc *to)
{
    if (k->dot_each(a, b, scale, n, to->a, to->b))
        for (int64_t i = 0; i < n; i++) to->mark[i] |= pfc_mark_of(a[i] * b[i]);
}

static void add_terms(const pfc_exact_kernels *k, const terms *t, exact_scalar_acc *total, exact_scalar_acc *loss)
{
    add_products(k, t->q, t->one, t->total_scale, t->n, total);
    add_products(k, t->q, t->r, t->loss_scale, t->n, loss);
}

static pfc_status for_terms(pfc_backend *be, int lane, pfc_view l, int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_acc *total, pfc_acc *loss,
                            terms_fn fn)
{
    exact_lane *mine = &exact_of(be)->lane[lane];
    const double *max = exact_at(rows->max, 0), *sum = exact_at(rows->sum, 0);
    int64_t n = l.cols;
    pfc_status st = pfc_exact_environment(mine);
    double *p = pfc_exact_scratch(mine, SCRATCH_ROWS, 6 * n);
    if (st != PFC_OK || !p) return pfc_exact_fail(be, lane, st != PFC_OK ? st : PFC_ERR_NOMEM);
    terms t = { n, p, p + n, p + 2 * n, p + 3 * n, p + 4 * n, p + 5 * n };
    exact_scalar_acc *to_total = exact_scalar_lane(total, lane), *to_loss = exact_scalar_lane(loss, lane);
    for (int64_t i = 0; i < n; i++) {
        t.one[i] = 1.0;
        t.lse[i] = px_log(sum[i]);
        t.total_scale[i] = px_pow2(36 - total->expo[i]);
        t.loss_scale[i] = px_pow2(36 - loss->expo[i]);
    }
    for (int64_t c = 0; aims->soft.data && c < l.rows; c++) {
        mine->k->scale_row(exact_at(aims->soft, c0 + c), 1.0, weight_of(aims, c0 + c), 0, n, t.q);
        mine->k->surprise_row(exact_at(l, c), max, t.lse, n, t.r);
        fn(mine->k, &t, to_total, to_loss);
    }
    if (aims->soft.data) return PFC_OK;
    for (int64_t i = 0; i < n; i++) {
        int64_t at = pfc_target_in_block(rows, i, c0, l.rows);
        t.q[i] = at < 0 ? 0.0 : weight_of(aims, c0 + at);
        t.r[i] = at < 0 ? 0.0 : t.lse[i] - (exact_at(l, at)[i] - max[i]);
    }
    fn(mine->k, &t, to_total, to_loss);
    return PFC_OK;
}

pfc_status pfc_exact_aims_expo(pfc_backend *be, int lane, pfc_view l, int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_acc *total,
                               pfc_acc *loss)
{
    return for_terms(be, lane, l, c0, rows, aims, total, loss, raise_expo);
}

pfc_status pfc_exact_aims_sum(pfc_backend *be, int lane, pfc_view l, int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_acc *total, pfc_acc *loss)
{
    return for_terms(be, lane, l, c0, rows, aims, total, loss, add_terms);
}

/* ---- gradient of the cosines ---- */

/* h of class c of the block; work holds 2 N. */
static void class_gradient(const pfc_exact_kernels *k, pfc_view l, int64_t c, int64_t c0, const double *slope, const pfc_rows_info *rows, const pfc_aims *aims,
                           double *work, double *h)
{
    int64_t n = l.cols;
    double *p = work, *q = work + n, weight = weight_of(aims, c0 + c);
    const double *total = exact_at(aims->total, 0);
    k->prob_row(exact_at(l, c), exact_at(rows->max, 0), exact_at(rows->sum, 0), n, p);
    if (aims->soft.data) k->scale_row(exact_at(aims->soft, c0 + c), 1.0, weight, 0, n, q);
    k->aim_row(p, aims->soft.data ? q : NULL, total, aims->factor, slope, n, h);
    for (int64_t i = 0; !aims->soft.data && i < n; i++)
        if (rows->target[i] == c0 + c) h[i] = (PX_FMA(total[i], p[i], -weight) * aims->factor) * slope[i];
}

/* Row j of the class gets h where j won, 0 elsewhere. */
static void scatter(const double *h, const int32_t *winner, int64_t k, pfc_view out, int64_t first)
{
    for (int64_t j = 0; j < k; j++) {
        double *to = exact_at(out, first + j);
        for (int64_t i = 0; i < out.cols; i++) to[i] = winner[i] == j ? h[i] : 0.0;
    }
}

pfc_status pfc_exact_subcenter_grad(pfc_backend *be, int lane, const pfc_angular *head, pfc_view cosine, pfc_view l, pfc_view winner, int64_t k, int64_t c0,
                                    const pfc_rows_info *rows, const pfc_aims *aims, pfc_view h, pfc_view bias_grad)
{
    exact_lane *mine = &exact_of(be)->lane[lane];
    int64_t n = cosine.cols, size = cosine.rows * n;
    pfc_status st = pfc_exact_environment(mine);
    double *slope = pfc_exact_scratch(mine, SCRATCH_SLOPE, size), *again = pfc_exact_scratch(mine, SCRATCH_LOGIT, size);
    double *work = pfc_exact_scratch(mine, SCRATCH_ROWS, 3 * n);
    if (st != PFC_OK || !slope || !again || !work) return pfc_exact_fail(be, lane, st != PFC_OK ? st : PFC_ERR_NOMEM);
    make_logits(mine->k, head, cosine, c0, rows, pfc_view_make(again, PFC_F64, cosine.rows, n), pfc_view_make(slope, PFC_F64, cosine.rows, n));
    for (int64_t c = 0; c < cosine.rows; c++) {
        class_gradient(mine->k, l, c, c0, slope + c * n, rows, aims, work, work + 2 * n);
        scatter(work + 2 * n, winner_row(winner, c), k, h, c * k);
    }
    for (int64_t r = 0; bias_grad.data && r < h.rows; r++) *exact_at(bias_grad, r) = pfc_scalar_sum_of(exact_at(h, r), n);
    return PFC_OK;
}
