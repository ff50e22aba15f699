/* fast_sinkhorn.c: Sinkhorn iterations in fast mode: factors of prototypes and samples instead of the matrix, one pass over the matrix per iteration.
 *
 * e_jk = exp(a_jk - m_j), a = score/epsilon, m_j the largest of sample j: made once, in the place of the assignment. Q_jk = e_jk r_k b_j. A pass makes
 * b_j = c / sum_k e_jk r_k and adds e_jk r_k b_j to the next row sums while the row is in the first cache. Lanes are fixed parts of the samples,
 * folded in order: no bit depends on the number of threads. */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/fast.h"
#include "backend/cpu/fast_swav.h"
#include "backend/host_sums.h"
#include "core/px.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const double FLOAT_RANGE = 60.0; /* largest spread of a: factors reach exp(+-60) times sizes, within float32 */
static const double EXP_RANGE = 700.0;  /* without a shift exp overflows or vanishes beyond 708 in float64 */

static float *q_row(const pfc_sinkhorn_plan *p, int64_t j) { return pfc_fast_at(p->q, j); }
static int64_t part_start(const pfc_sinkhorn_plan *p, int lane) { return p->q.rows * lane / FAST_LANES; }

typedef struct work {
    pfc_backend *be;
    const pfc_fast_kernels *k;
    pfc_sinkhorn_plan *p;
    double *max, *low, *ref; /* per lane */
    const float *column_max; /* log */
    float log_n;
} work;

static void clear_part(const work *w, int lane, float value)
{
    float *part = w->p->part + lane * w->p->ld;
    for (int64_t i = 0; i < w->p->ld; i++) part[i] = value;
}

/* ---- beginning ---- */

static double larger(double a, double b) { return px_nan(a) || a > b ? a : b; } /* NaN wins */

/* e, the largest score of every sample, and sums of e relative to the lane's first sample. */
static void begin_lane(void *arg, int lane)
{
    const work *w = arg;
    pfc_sinkhorn_plan *p = w->p;
    int64_t first = part_start(p, lane), end = part_start(p, lane + 1);
    double epsilon = p->cfg.epsilon;
    float *part = p->part + lane * p->ld, scale = (float)(1.0 / epsilon);
    clear_part(w, lane, 0.0f);
    for (int64_t j = first; j < end; j++) {
        float max, min;
        const float *o = pfc_fast_at(p->scores, j);
        w->k->extremes_row(o, p->q.cols, &max, &min);
        double m = (double)max / epsilon;
        if (j == first) w->ref[lane] = m;
        w->max[lane] = larger(m, w->max[lane]);
        w->low[lane] = larger(-(double)min / epsilon, w->low[lane]);
        p->b[j] = max;
        w->k->exp_scaled_row(o, scale, max * scale, (float)px_exp(m - w->ref[lane]), p->q.cols, q_row(p, j), part);
    }
}

static void divide_lane(void *arg, int lane)
{
    const work *w = arg;
    for (int64_t j = part_start(w->p, lane); j < part_start(w->p, lane + 1); j++)
        w->k->divide_row(pfc_fast_at(w->p->scores, j), (float)w->p->cfg.epsilon, w->p->q.cols, q_row(w->p, j));
}

static bool allocate(pfc_sinkhorn_plan *p)
{
    int64_t K = p->q.cols, n = p->q.rows;
    p->ld = pfc_round16(K);
    p->r = calloc((size_t)p->ld, sizeof *p->r);
    p->b = calloc((size_t)n, sizeof *p->b);
    p->part = malloc(FAST_LANES * (size_t)p->ld * sizeof *p->part);
    return p->r && p->b && p->part;
}

pfc_status pfc_fast_sinkhorn_create(pfc_backend *be, const pfc_sinkhorn_config *cfg, double total, pfc_view scores, pfc_view q, double extremes[2],
                                    pfc_sinkhorn_plan **out)
{
    double max[FAST_LANES], low[FAST_LANES], ref[FAST_LANES] = { 0.0 };
    pfc_sinkhorn_plan *p = *out = calloc(1, sizeof *p);
    extremes[0] = extremes[1] = -PX_INF;
    if (p) *p = (pfc_sinkhorn_plan){ .cfg = *cfg, .total = total, .scores = scores, .q = q };
    if (!p || !allocate(p)) {
        pfc_fast_sinkhorn_destroy(be, p);
        *out = NULL;
        return pfc_cpu_nomem(be, (size_t)(q.cols + q.rows) * sizeof(float));
    }
    work w = { .be = be, .k = pfc_fast_kernels_of(be), .p = p, .max = max, .low = low, .ref = ref };
    for (int lane = 0; lane < FAST_LANES; lane++) max[lane] = low[lane] = -PX_INF;
    pfc_cpu_for_lanes(be, FAST_LANES, cfg->version == PFC_SINKHORN_LOG ? divide_lane : begin_lane, &w);
    for (int lane = 0; lane < FAST_LANES; lane++) {
        extremes[0] = larger(max[lane], extremes[0]);
        extremes[1] = larger(low[lane], extremes[1]);
    }
    /* All sums relative to the first sample of this rank, until the shift is known. */
    p->first_max = (double)p->b[0] / cfg->epsilon;
    for (int lane = 0; lane < FAST_LANES; lane++) p->unit[lane] = part_start(p, lane) < part_start(p, lane + 1) ? px_exp(ref[lane] - p->first_max) : 0.0;
    return PFC_OK;
}

void pfc_fast_sinkhorn_destroy(pfc_backend *be, pfc_sinkhorn_plan *plan)
{
    (void)be;
    if (!plan) return;
    free(plan->r);
    free(plan->b);
    free(plan->part);
    free(plan->wide);
    free(plan);
}

pfc_status pfc_fast_sinkhorn_exp(pfc_backend *be, pfc_sinkhorn_plan *plan, const double extremes[2])
{
    double max = extremes[0], min = -extremes[1], factor = px_exp(plan->first_max - max);
    bool narrow = max - min <= FLOAT_RANGE && (plan->cfg.stabilise || (max <= EXP_RANGE && min >= -EXP_RANGE));
    if (!narrow) return pfc_fast_wide_exp(be, plan, plan->cfg.stabilise ? max : 0.0);
    for (int64_t j = 0; j < plan->q.rows; j++) plan->b[j] = (float)px_exp((double)plan->b[j] / plan->cfg.epsilon - max);
    for (int64_t i = 0; i < plan->q.cols; i++) plan->r[i] = 1.0f;
    for (int lane = 0; lane < FAST_LANES; lane++) plan->unit[lane] *= factor;
    plan->summed = true;
    return PFC_OK;
}

/* ---- iterations ---- */

static void pass_lane(void *arg, int lane)
{
    const work *w = arg;
    pfc_sinkhorn_plan *p = w->p;
    float *part = p->part + lane * p->ld, c = (float)(1.0 / p->total);
    clear_part(w, lane, 0.0f);
    p->unit[lane] = 1.0;
    for (int64_t j = part_start(p, lane); j < part_start(p, lane + 1); j++) p->b[j] = w->k->scale_sample(q_row(p, j), p->r, c, p->q.cols, part);
}

/* The lanes' floats into the accumulator's doubles. */
static void hand_over(const pfc_sinkhorn_plan *p, pfc_acc *acc)
{
    double *sum = ((fast_acc *)acc->state)->sum;
    for (int lane = 0; lane < FAST_LANES; lane++)
        for (int64_t i = 0; i < p->q.cols; i++) sum[lane * p->q.cols + i] = (double)p->part[lane * p->ld + i] * p->unit[lane];
}

pfc_status pfc_fast_sinkhorn_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_acc *acc)
{
    work w = { .be = be, .k = pfc_fast_kernels_of(be), .p = plan };
    if (plan->wide) {
        pfc_fast_wide_sums(be, plan, ((fast_acc *)acc->state)->sum);
        return PFC_OK;
    }
    if (!plan->summed) pfc_cpu_for_lanes(be, FAST_LANES, pass_lane, &w);
    plan->summed = true;
    hand_over(plan, acc);
    return PFC_OK;
}

pfc_status pfc_fast_sinkhorn_total(pfc_backend *be, const pfc_acc *acc, double *sums, double *total)
{
    (void)be;
    pfc_acc_total(acc, sums, total);
    return PFC_OK;
}

pfc_status pfc_fast_sinkhorn_divide(pfc_backend *be, pfc_sinkhorn_plan *plan, double t)
{
    if (plan->wide) {
        pfc_fast_wide_each(be, plan, t, 0.0);
        return PFC_OK;
    }
    for (int64_t j = 0; j < plan->q.rows; j++) plan->b[j] = (float)((double)plan->b[j] / t);
    for (int lane = 0; lane < FAST_LANES; lane++) plan->unit[lane] /= t;
    return PFC_OK;
}

/* Only where a row sum is 0, and then Q is wide: no e is 0 otherwise. */
pfc_status pfc_fast_sinkhorn_add(pfc_backend *be, pfc_sinkhorn_plan *plan, double x)
{
    if (plan->wide) pfc_fast_wide_each(be, plan, 1.0, x);
    return PFC_OK;
}

pfc_status pfc_fast_sinkhorn_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, const double *sums)
{
    plan->summed = false;
    plan->iteration++;
    if (plan->wide) return pfc_fast_wide_scale(be, plan, sums);
    double share = 1.0 / (double)plan->q.cols;
    for (int64_t i = 0; i < plan->q.cols; i++) plan->r[i] = (float)((double)plan->r[i] * (share / sums[i]));
    return PFC_OK;
}

/* ---- log domain ---- */

static void log_max_lane(void *arg, int lane)
{
    const work *w = arg;
    clear_part(w, lane, -__builtin_inff());
    for (int64_t j = part_start(w->p, lane); j < part_start(w->p, lane + 1); j++)
        w->k->shifted_max(q_row(w->p, j), w->p->b[j], w->p->q.cols, w->p->part + lane * w->p->ld);
}

pfc_status pfc_fast_sinkhorn_log_max(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max)
{
    work w = { .be = be, .k = pfc_fast_kernels_of(be), .p = plan };
    pfc_cpu_for_lanes(be, FAST_LANES, log_max_lane, &w);
    for (int64_t i = 0; i < plan->q.cols; i++) {
        double m = -PX_INF;
        for (int lane = 0; lane < FAST_LANES; lane++) m = larger((double)plan->part[lane * plan->ld + i], m);
        ((float *)max.data)[i] = (float)m;
    }
    return PFC_OK;
}

static void log_sum_lane(void *arg, int lane)
{
    const work *w = arg;
    clear_part(w, lane, 0.0f);
    for (int64_t j = part_start(w->p, lane); j < part_start(w->p, lane + 1); j++)
        w->k->shifted_exp_sum(q_row(w->p, j), w->p->b[j], w->column_max, w->p->q.cols, w->p->part + lane * w->p->ld);
}

pfc_status pfc_fast_sinkhorn_log_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, pfc_acc *acc)
{
    float *padded = calloc((size_t)plan->ld, sizeof *padded);
    if (!padded) return pfc_cpu_nomem(be, (size_t)plan->ld * sizeof *padded);
    memcpy(padded, max.data, (size_t)plan->q.cols * sizeof *padded);
    work w = { .be = be, .k = pfc_fast_kernels_of(be), .p = plan, .column_max = padded };
    pfc_cpu_for_lanes(be, FAST_LANES, log_sum_lane, &w);
    for (int lane = 0; lane < FAST_LANES; lane++) plan->unit[lane] = 1.0;
    hand_over(plan, acc);
    free(padded);
    return PFC_OK;
}

static void log_columns_lane(void *arg, int lane)
{
    const work *w = arg;
    for (int64_t j = part_start(w->p, lane); j < part_start(w->p, lane + 1); j++) {
        float m;
        double s = w->k->log_mass(q_row(w->p, j), w->p->r, w->p->q.cols, &m);
        w->p->b[j] = (float)((double)w->log_n - px_log_sum(m, s));
    }
}

pfc_status pfc_fast_sinkhorn_log_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, const pfc_acc *acc, double *log_sums)
{
    work w = { .be = be, .k = pfc_fast_kernels_of(be), .p = plan, .log_n = (float)-px_log(plan->total) };
    double log_k = -px_log((double)plan->q.cols);
    for (int64_t i = 0; i < plan->q.cols; i++) {
        log_sums[i] = px_log_sum(((const float *)max.data)[i], ((const double *)acc->data)[i]);
        plan->r[i] = (float)(log_k - log_sums[i]);
    }
    pfc_cpu_for_lanes(be, FAST_LANES, log_columns_lane, &w);
    return PFC_OK;
}

/* ---- the assignment ---- */

static void finish_lane(void *arg, int lane)
{
    const work *w = arg;
    pfc_sinkhorn_plan *p = w->p;
    for (int64_t j = part_start(p, lane); j < part_start(p, lane + 1); j++) {
        float *e = q_row(p, j), m;
        if (p->cfg.version == PFC_SINKHORN_LOG) {
            double s = w->k->log_mass(e, p->r, p->q.cols, &m);
            w->k->log_finish_row(e, p->r, m, px_finite(m) ? (float)(1.0 / s) : 1.0f, p->q.cols);
        } else if (p->cfg.version == PFC_SINKHORN_V2 && p->iteration == 0) {
            w->k->multiply_row(e, (float)(p->total * (double)p->b[j]), p->q.cols);
        } else {
            w->k->finish_sample(e, p->r, p->q.cols);
        }
    }
}

pfc_status pfc_fast_sinkhorn_finish(pfc_backend *be, pfc_sinkhorn_plan *plan)
{
    work w = { .be = be, .k = pfc_fast_kernels_of(be), .p = plan };
    if (plan->wide)
        pfc_fast_wide_finish(be, plan);
    else
        pfc_cpu_for_lanes(be, FAST_LANES, finish_lane, &w);
    return PFC_OK;
}
