/* fast_sinkhorn.c: Sinkhorn iterations in fast mode: factors of prototypes and samples instead of the matrix, one pass over the matrix per iteration.
 *
 * e_jk = exp(a_jk - m), a = score/epsilon, m near the largest: made once, in the place of the assignment. Q_jk = e_jk r_k b_j. A pass makes
 * b_j = c / sum_k e_jk r_k and adds e_jk b_j to the next row sums while the row is in the first cache; r_k is put to the sums at the end. Lanes are fixed
 * parts of the samples, folded in order: no bit depends on the number of threads. */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/fast.h"
#include "backend/cpu/fast_sinkhorn.h"
#include "core/px.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum {
    LANE_SAMPLES = 32, /* at least that many samples in a lane: every lane costs a row of sums */
    STREAM = 1 << 22   /* elements from which e is written past the caches */
};

static const double FLOAT_RANGE = 60.0; /* largest spread of a: factors reach exp(+-60) times sizes, within float32 */
static const double ABOVE = 20.0;       /* a - m may be that large */
static const double EXP_RANGE = 700.0;  /* without a shift exp overflows or vanishes beyond 708 in float64 */

static float *q_row(const pfc_sinkhorn_plan *p, int64_t j) { return pfc_fast_at(p->q, j); }
static int64_t part_start(const pfc_sinkhorn_plan *p, int lane) { return p->q.rows * lane / p->lanes; }

typedef struct work {
    pfc_backend *be;
    const pfc_fast_kernels *k;
    pfc_sinkhorn_plan *p;
    float shift, *max, *min; /* max, min: of the scores, per lane */
    const float *column_max; /* log */
    float log_n;
} work;

static void clear_part(const work *w, int lane, float value)
{
    float *part = w->p->part + lane * w->p->ld;
    for (int64_t i = 0; i < w->p->ld; i++) part[i] = value;
}

/* ---- beginning ---- */

/* e, its sums, and the largest and smallest score: NaN where there is one, and then NaN is in the sums. */
static void begin_lane(void *arg, int lane)
{
    const work *w = arg;
    pfc_sinkhorn_plan *p = w->p;
    float *part = p->part + lane * p->ld, scale = (float)(1.0 / p->cfg.epsilon), max[16], min[16], most, least;
    int stream = p->q.rows * p->q.cols > STREAM;
    for (int i = 0; i < 16; i++) max[i] = -__builtin_inff(), min[i] = __builtin_inff();
    clear_part(w, lane, 0.0f);
    for (int64_t j = part_start(p, lane); j < part_start(p, lane + 1); j++)
        w->k->exp_row_sum(pfc_fast_at(p->scores, j), scale, w->shift, p->q.cols, q_row(p, j), part, max, min, stream);
    w->k->extremes_row(max, 16, &w->max[lane], &least);
    w->k->extremes_row(min, 16, &most, &w->min[lane]);
    w->k->extremes_row(part, p->q.cols, &most, &least);
    if (most != most) w->max[lane] = w->min[lane] = most;
}

/* e relative to the score m, and the extremes of score/epsilon. */
static void begin(work *w, float m, double extremes[2])
{
    pfc_sinkhorn_plan *p = w->p;
    w->shift = m * (float)(1.0 / p->cfg.epsilon);
    if (!px_finite((double)w->shift)) w->shift = 0.0f; /* or e and the sums would be NaN where no score is */
    p->shift = (double)w->shift;
    pfc_cpu_for_lanes(w->be, p->lanes, begin_lane, w);
    extremes[0] = extremes[1] = -PX_INF;
    for (int lane = 0; lane < p->lanes; lane++) {
        extremes[0] = px_larger((double)w->max[lane] / p->cfg.epsilon, extremes[0]);
        extremes[1] = px_larger(-(double)w->min[lane] / p->cfg.epsilon, extremes[1]);
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
    bool log = p->cfg.version == PFC_SINKHORN_LOG;
    p->lanes = n < LANE_SAMPLES ? 1 : n < LANE_SAMPLES * FAST_LANES ? (int)(n / LANE_SAMPLES) : FAST_LANES;
    p->ld = pfc_round16(K);
    p->r = calloc((size_t)p->ld, sizeof *p->r);
    p->g = log ? calloc((size_t)n, sizeof *p->g) : NULL;
    p->part = malloc((size_t)(p->lanes * p->ld) * sizeof *p->part);
    return p->r && (p->g || !log) && p->part;
}

pfc_status pfc_fast_sinkhorn_create(pfc_backend *be, const pfc_sinkhorn_config *cfg, double total, pfc_view scores, pfc_view q, double extremes[2],
                                    pfc_sinkhorn_plan **out)
{
    float max[FAST_LANES], min[FAST_LANES], m, least;
    pfc_sinkhorn_plan *p = *out = calloc(1, sizeof *p);
    extremes[0] = extremes[1] = -PX_INF;
    if (p) *p = (pfc_sinkhorn_plan){ .cfg = *cfg, .total = total, .scores = scores, .q = q };
    if (!p || !allocate(p)) {
        pfc_fast_sinkhorn_destroy(be, p);
        *out = NULL;
        return pfc_cpu_nomem(be, (size_t)(q.cols + q.rows) * sizeof(float));
    }
    work w = { .be = be, .k = pfc_fast_kernels_of(be), .p = p, .max = max, .min = min };
    if (cfg->version == PFC_SINKHORN_LOG) {
        pfc_cpu_for_lanes(be, p->lanes, divide_lane, &w);
        return PFC_OK;
    }
    /* Most often the first sample's largest score is near that of all, and one pass does. */
    w.k->extremes_row(pfc_fast_at(scores, 0), q.cols, &m, &least);
    begin(&w, m, extremes);
    if (px_finite(extremes[0]) && extremes[0] - p->shift > ABOVE) begin(&w, (float)(extremes[0] * cfg->epsilon), extremes);
    return PFC_OK;
}

void pfc_fast_sinkhorn_destroy(pfc_backend *be, pfc_sinkhorn_plan *plan)
{
    (void)be;
    if (!plan) return;
    free(plan->r);
    free(plan->g);
    free(plan->part);
    free(plan->wide);
    free(plan);
}

pfc_status pfc_fast_sinkhorn_exp(pfc_backend *be, pfc_sinkhorn_plan *plan, const double extremes[2])
{
    double max = extremes[0], min = -extremes[1];
    bool narrow =
        max - min <= FLOAT_RANGE && fabs(max - plan->shift) <= FLOAT_RANGE + ABOVE && (plan->cfg.stabilise || (max <= EXP_RANGE && min >= -EXP_RANGE));
    if (!narrow) return pfc_fast_wide_exp(be, plan, plan->cfg.stabilise ? max : 0.0);
    for (int64_t i = 0; i < plan->q.cols; i++) plan->r[i] = 1.0f;
    plan->unit = px_exp(plan->shift - max);
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
    for (int64_t j = part_start(p, lane); j < part_start(p, lane + 1); j++) w->k->scale_sample(q_row(p, j), p->r, c, p->q.cols, part);
}

pfc_status pfc_fast_sinkhorn_own_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, double *sums)
{
    work w = { .be = be, .k = pfc_fast_kernels_of(be), .p = plan };
    if (plan->wide) return pfc_fast_wide_sums(be, plan, sums);
    if (!plan->summed) pfc_cpu_for_lanes(be, plan->lanes, pass_lane, &w);
    plan->summed = true;
    sums[plan->q.cols] = w.k->fold_parts(plan->part, plan->ld, plan->lanes, plan->r, plan->unit, plan->q.cols, sums);
    return PFC_OK;
}

pfc_status pfc_fast_sinkhorn_divide(pfc_backend *be, pfc_sinkhorn_plan *plan, double t)
{
    if (plan->wide)
        pfc_fast_wide_each(be, plan, t, 0.0);
    else
        plan->unit /= t;
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
    plan->unit = 1.0;
    pfc_fast_kernels_of(be)->next_factors(plan->r, sums, (float)(1.0 / (double)plan->q.cols), plan->q.cols);
    return PFC_OK;
}

/* ---- log domain ---- */

static void log_max_lane(void *arg, int lane)
{
    const work *w = arg;
    clear_part(w, lane, -__builtin_inff());
    for (int64_t j = part_start(w->p, lane); j < part_start(w->p, lane + 1); j++)
        w->k->shifted_max(q_row(w->p, j), w->p->g[j], w->p->q.cols, w->p->part + lane * w->p->ld);
}

pfc_status pfc_fast_sinkhorn_log_max(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max)
{
    work w = { .be = be, .k = pfc_fast_kernels_of(be), .p = plan };
    pfc_cpu_for_lanes(be, plan->lanes, log_max_lane, &w);
    for (int64_t i = 0; i < plan->q.cols; i++) {
        double m = -PX_INF;
        for (int lane = 0; lane < plan->lanes; lane++) m = px_larger((double)plan->part[lane * plan->ld + i], m);
        ((float *)max.data)[i] = (float)m;
    }
    return PFC_OK;
}

static void log_sum_lane(void *arg, int lane)
{
    const work *w = arg;
    clear_part(w, lane, 0.0f);
    for (int64_t j = part_start(w->p, lane); j < part_start(w->p, lane + 1); j++)
        w->k->shifted_exp_sum(q_row(w->p, j), w->p->g[j], w->column_max, w->p->q.cols, w->p->part + lane * w->p->ld);
}

/* The lanes' floats into the accumulator's doubles. */
static void hand_over(const pfc_sinkhorn_plan *p, pfc_acc *acc)
{
    double *sum = pfc_fast_acc_of(acc)->sum;
    for (int lane = 0; lane < p->lanes; lane++)
        for (int64_t i = 0; i < p->q.cols; i++) sum[lane * p->q.cols + i] = (double)p->part[lane * p->ld + i];
}

pfc_status pfc_fast_sinkhorn_log_sums(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, pfc_acc *acc)
{
    float *padded = calloc((size_t)plan->ld, sizeof *padded);
    if (!padded) return pfc_cpu_nomem(be, (size_t)plan->ld * sizeof *padded);
    memcpy(padded, max.data, (size_t)plan->q.cols * sizeof *padded);
    work w = { .be = be, .k = pfc_fast_kernels_of(be), .p = plan, .column_max = padded };
    pfc_cpu_for_lanes(be, plan->lanes, log_sum_lane, &w);
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
        w->p->g[j] = (float)((double)w->log_n - px_log_sum(m, s));
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
    pfc_cpu_for_lanes(be, plan->lanes, log_columns_lane, &w);
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
            w->k->multiply_row(e, (float)(p->total * p->unit), p->q.cols);
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
        pfc_cpu_for_lanes(be, plan->lanes, finish_lane, &w);
    return PFC_OK;
}
