/* fast_arcface.c: sub-centers, angular margins, soft targets of fast mode (doc/exact-v1.md section 8 in float32). */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/fast.h"
#include "core/px.h"

static int32_t *winner_row(pfc_view v, int64_t i) { return (int32_t *)v.data + i * v.ld; }

pfc_status pfc_fast_subcenter_max(pfc_backend *be, int lane, pfc_view z, pfc_view bias, int64_t k, pfc_view cosine, pfc_view winner)
{
    (void)lane;
    for (int64_t c = 0; c < cosine.rows; c++)
        pfc_fast_kernels_of(be)->subcenter_max(pfc_fast_at(z, c * k), z.ld, bias.data ? pfc_fast_at(bias, c * k) : NULL, k, cosine.cols, pfc_fast_at(cosine, c),
                                               winner_row(winner, c));
    return PFC_OK;
}

/* ---- logits ---- */

static fast_angular head_of(const pfc_angular *head)
{
    fast_angular f = { head->margins, head->easy, head->cos_clamp, (float)head->scale };
    return f;
}

/* The target's logit and slope. c: cos m, sin m, threshold, m sin m. */
static void target_logit(const fast_angular *head, const float *c, float z, float *logit, float *slope)
{
    const float inf = __builtin_inff();
    float v = head->clamp ? (z < -1.0f ? -1.0f : z > 1.0f ? 1.0f : z) : z;
    float q = __builtin_sqrtf((1.0f - v) * (1.0f + v)), phi = __builtin_fmaf(v, c[0], -(q * c[1])), rise = c[0] + (v * c[1]) / q;
    if (head->clamp && __builtin_fabsf(v) == 1.0f) rise = 0.0f;
    if (!(head->easy ? v > 0.0f : v > c[2])) {
        phi = head->easy ? v : v - c[3];
        rise = 1.0f;
    }
    if (!(__builtin_fabsf(v) < inf)) phi = __builtin_nanf("");
    if (!head->clamp && (!(__builtin_fabsf(v) < 1.0f) || c[0] != c[0])) rise = __builtin_nanf("");
    *logit = head->s * phi;
    *slope = head->clamp && !(__builtin_fabsf(z) <= 1.0f) ? 0.0f : head->s * rise;
}

/* l and slope (NULL: not wanted) of class c of the block; other rows than the class's own targets. */
static void class_logits(const pfc_fast_kernels *k, const pfc_angular *head, pfc_view cosine, int64_t c, int64_t c0, const pfc_rows_info *rows, float *l,
                         float *slope)
{
    const fast_angular f = head_of(head);
    const float *constant = head->margins ? pfc_fast_at(head->constant, c0 + c) : NULL, *z = pfc_fast_at(cosine, c);
    k->angular_row(&f, constant && constant[0] != constant[0], z, cosine.cols, l, slope);
    for (int64_t n = 0; constant && n < cosine.cols; n++) {
        float d;
        if (rows->target[n] == c0 + c) target_logit(&f, constant, z[n], l + n, slope ? slope + n : &d);
    }
}

pfc_status pfc_fast_angular_logits(pfc_backend *be, int lane, const pfc_angular *head, pfc_view cosine, int64_t c0, const pfc_rows_info *rows, pfc_view l)
{
    (void)lane;
    for (int64_t c = 0; c < cosine.rows; c++) class_logits(pfc_fast_kernels_of(be), head, cosine, c, c0, rows, pfc_fast_at(l, c), NULL);
    return PFC_OK;
}

pfc_status pfc_fast_softmax_prob(pfc_backend *be, int lane, pfc_view l, const pfc_rows_info *rows, pfc_view p)
{
    (void)lane;
    for (int64_t c = 0; c < l.rows; c++)
        pfc_fast_kernels_of(be)->prob_row(pfc_fast_at(l, c), pfc_fast_at(rows->max, 0), pfc_fast_at(rows->sum, 0), l.cols, pfc_fast_at(p, c));
    return PFC_OK;
}

/* ---- what the rows aim at ---- */

static float weight_of(const pfc_aims *aims, int64_t c) { return aims->class_weight.data ? *pfc_fast_at(aims->class_weight, c) : 1.0f; }

pfc_status pfc_fast_aims_sum(pfc_backend *be, int lane, pfc_view l, int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_acc *total, pfc_acc *loss)
{
    int64_t n = l.cols;
    const float *max = pfc_fast_at(rows->max, 0), *sum = pfc_fast_at(rows->sum, 0);
    double *to_total = pfc_fast_acc_of(total)->sum + lane * n, *to_loss = pfc_fast_acc_of(loss)->sum + lane * n;
    fast_scratch *s = pfc_fast_scratch(be, lane, l.rows, n, 0);
    if (!s) return pfc_cpu_nomem(be, (size_t)(l.rows + n) * 64);
    for (int64_t i = 0; i < n; i++) s->logit[i] = (float)px_log((double)sum[i]);
    for (int64_t c = 0; aims->soft.data && c < l.rows; c++)
        pfc_fast_kernels_of(be)->surprise_row(pfc_fast_at(aims->soft, c0 + c), weight_of(aims, c0 + c), pfc_fast_at(l, c), max, s->logit, n, to_total, to_loss);
    for (int64_t i = 0; !aims->soft.data && i < n; i++) {
        int64_t at = pfc_target_in_block(rows, i, c0, l.rows);
        if (at < 0) continue;
        float q = weight_of(aims, c0 + at), r = s->logit[i] - (pfc_fast_at(l, at)[i] - max[i]);
        to_total[i] += (double)q;
        to_loss[i] += (double)q * (double)r;
    }
    return PFC_OK;
}

/* ---- gradient of the cosines ---- */

static void class_gradient(const pfc_fast_kernels *k, pfc_view l, int64_t c, int64_t c0, const float *slope, const pfc_rows_info *rows, const pfc_aims *aims,
                           float *p, float *h)
{
    const float *total = pfc_fast_at(aims->total, 0), *soft = aims->soft.data ? pfc_fast_at(aims->soft, c0 + c) : NULL;
    float weight = weight_of(aims, c0 + c), factor = (float)aims->factor;
    k->prob_row(pfc_fast_at(l, c), pfc_fast_at(rows->max, 0), pfc_fast_at(rows->sum, 0), l.cols, p);
    k->aim_row(p, soft, weight, total, factor, slope, l.cols, h);
    for (int64_t i = 0; !soft && i < l.cols; i++)
        if (rows->target[i] == c0 + c) h[i] = (__builtin_fmaf(total[i], p[i], -weight) * factor) * slope[i];
}

pfc_status pfc_fast_subcenter_grad(pfc_backend *be, int lane, const pfc_angular *head, pfc_view cosine, pfc_view l, pfc_view winner, int64_t k, int64_t c0,
                                   const pfc_rows_info *rows, const pfc_aims *aims, pfc_view h, pfc_view bias_grad)
{
    const pfc_fast_kernels *kernels = pfc_fast_kernels_of(be);
    int64_t n = cosine.cols;
    fast_scratch *s = pfc_fast_scratch(be, lane, cosine.rows, n, 0);
    if (!s) return pfc_cpu_nomem(be, (size_t)(cosine.rows + n) * 64);
    for (int64_t c = 0; c < cosine.rows; c++) {
        class_logits(kernels, head, cosine, c, c0, rows, s->logit, s->slope);
        class_gradient(kernels, l, c, c0, s->slope, rows, aims, s->share, s->dot);
        for (int64_t j = 0; j < k; j++) {
            float *to = pfc_fast_at(h, c * k + j);
            const int32_t *won = winner_row(winner, c);
            for (int64_t i = 0; i < n; i++) to[i] = won[i] == j ? s->dot[i] : 0.0f;
        }
    }
    for (int64_t r = 0; bias_grad.data && r < h.rows; r++) {
        double sum = 0.0;
        for (int64_t i = 0; i < n; i++) sum += (double)pfc_fast_at(h, r)[i];
        *pfc_fast_at(bias_grad, r) = (float)sum;
    }
    return PFC_OK;
}
