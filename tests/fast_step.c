/* fast_step.c: see fast_step.h. */
#include "fast_step.h"

#include "backend/cpu/fast.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

const char *const FAST_RESULT_NAMES[R_COUNT] = { "xnorm", "wnorm", "z",       "max", "sum",    "target_logit", "h",
                                                 "wdot",  "dot",   "feature", "dw",  "x_grad", "weight",       "momentum" };

enum { FENCE = 0x7fc0beef }; /* a NaN: what nobody may write or read */

static void *must(void *p)
{
    ck_assert_ptr_nonnull(p);
    return p;
}

static float *fenced(int64_t count)
{
    const uint32_t bits = FENCE;
    float *v = must(malloc((size_t)(count + 1) * sizeof *v));
    for (int64_t i = 0; i <= count; i++) memcpy(v + i, &bits, sizeof bits);
    return v;
}

/* rows x cols values in (-1, 1) times scale; the slack stays fenced. */
static float *values(unsigned *seed, int64_t rows, int64_t cols, int64_t slack, float scale)
{
    float *v = fenced(rows * (cols + slack));
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < cols; j++) {
            *seed = *seed * 1664525u + 1013904223u;
            v[i * (cols + slack) + j] = scale * ((float)(int)(*seed >> 8) * 0x1p-23f - 1.0f);
        }
    return v;
}

void fast_problem_make(fast_problem *p, int64_t n, int64_t d, int64_t c, unsigned seed)
{
    *p = (fast_problem){ .n = n, .d = d, .c = c, .slack = seed % 3, .block = 1 + seed % 40, .gather = (int)(seed & 1) };
    p->head = (pfc_head){
        .kind = PFC_HEAD_COS, .scale = 8, .margin = 0.4, .cos_m = 0.92106099400288510, .sin_m = 0.38941834230865052, .mm = 0.4 * 0.38941834230865052
    };
    p->head.normalised = 1;
    p->sgd = (pfc_sgd){ 0.125, 0.9, 5e-4, (int)(seed >> 1 & 1) };
    p->x = values(&seed, n, d, p->slack, 1.0f);
    p->w = values(&seed, 2 * c, d, p->slack, 0.01f);
    p->momentum = values(&seed, 2 * c, d, p->slack, 0.01f);
    p->target = must(calloc((size_t)n + 1, sizeof *p->target));
    p->index = must(calloc((size_t)c + 1, sizeof *p->index));
    p->valid = must(calloc((size_t)n + 1, 1));
    for (int64_t i = 0; i < n; i++) {
        p->valid[i] = i % 7 != 3;
        p->target[i] = p->valid[i] && i % 3 != 2 && c > 0 ? (i * i + 5 * i) % c : -1;
        p->valid_rows += p->valid[i];
    }
    for (int64_t i = 0; i < c; i++) p->index[i] = 2 * i + (i & 1);
}

void fast_problem_free(fast_problem *p)
{
    free(p->x);
    free(p->w);
    free(p->momentum);
    free(p->target);
    free(p->index);
    free(p->valid);
}

fast_shape fast_result_shape(const fast_problem *p, int which)
{
    int64_t wide_n = p->n + p->slack, wide_d = p->d + p->slack;
    switch (which) {
    case R_XNORM:
    case R_MAX:
    case R_SUM:
    case R_TARGET:
    case R_DOT: return (fast_shape){ p->n, 1, 1 };
    case R_WNORM:
    case R_WDOT: return (fast_shape){ p->c, 1, 1 };
    case R_Z:
    case R_H:
    case R_L:
    case R_G: return (fast_shape){ p->c, p->n, wide_n };
    case R_FEATURE: return (fast_shape){ p->n, p->d, p->d };
    case R_XGRAD: return (fast_shape){ p->n, p->d, wide_d };
    case R_DW: return (fast_shape){ p->c, p->d, wide_d };
    default: return (fast_shape){ 2 * p->c, p->d, wide_d };
    }
}

int64_t fast_result_size(const fast_problem *p, int which)
{
    fast_shape s = fast_result_shape(p, which);
    return s.rows * s.ld;
}

void fast_result_free(fast_result *r)
{
    for (int i = 0; i < R_COUNT; i++) free(r->v[i]);
}

typedef struct step_job {
    pfc_backend *be;
    const fast_problem *p;
    fast_result *r;
    pfc_operand *x;
    pfc_rows_info rows;
    pfc_acc *sum, *dot, *feature;
    int backward;
    pfc_status status[64];
} step_job;

static pfc_view rows_at(float *data, int64_t first, int64_t rows, int64_t cols, int64_t slack)
{
    pfc_view v = { data + first * (cols + slack), PFC_F32, PFC_HOST, rows, cols, cols + slack };
    return v;
}

static pfc_view column(float *data, int64_t first, int64_t rows) { return pfc_view_make(data + first, PFC_F32, rows, 1); }

static pfc_rowset classes_at(const step_job *j, int64_t c0, int64_t c)
{
    const fast_problem *p = j->p;
    pfc_rowset s = { rows_at(j->r->v[R_W], 0, 2 * p->c, p->d, p->slack), p->gather ? p->index + c0 : NULL, c0, c };
    return s;
}

static pfc_status block_forward(step_job *j, int lane, int64_t c0, int64_t c)
{
    const fast_problem *p = j->p;
    const pfc_ops *ops = j->be->ops;
    pfc_rowset w = classes_at(j, c0, c);
    pfc_view norm = column(j->r->v[R_WNORM], c0, c), z = rows_at(j->r->v[R_Z], c0, c, p->n, p->slack);
    PFC_TRY(ops->row_norms(j->be, w, norm, NULL));
    PFC_TRY(ops->cosines(j->be, lane, j->x, w, norm, NULL, p->head.normalised, z));
    return ops->row_max(j->be, lane, &p->head, z, c0, &j->rows, j->sum);
}

static pfc_status block_backward(step_job *j, int lane, int64_t c0, int64_t c)
{
    const fast_problem *p = j->p;
    const pfc_ops *ops = j->be->ops;
    pfc_rowset w = classes_at(j, c0, c);
    pfc_view norm = column(j->r->v[R_WNORM], c0, c), wdot = column(j->r->v[R_WDOT], c0, c);
    pfc_view z = rows_at(j->r->v[R_Z], c0, c, p->n, p->slack), h = rows_at(j->r->v[R_H], c0, c, p->n, p->slack);
    pfc_view dw = rows_at(j->r->v[R_DW], c0, c, p->d, p->slack);
    int unit = p->head.normalised;
    PFC_TRY(ops->logits(j->be, lane, &p->head, z, c0, &j->rows, rows_at(j->r->v[R_L], c0, c, p->n, p->slack)));
    PFC_TRY(ops->dlogits(j->be, lane, &p->head, z, c0, &j->rows, rows_at(j->r->v[R_G], c0, c, p->n, p->slack)));
    PFC_TRY(ops->logit_grad(j->be, lane, &p->head, z, c0, &j->rows, h, unit ? j->dot : NULL, wdot));
    PFC_TRY(ops->feature_grad(j->be, lane, h, w, norm, NULL, unit, j->feature));
    PFC_TRY(ops->weight_grad(j->be, lane, j->x, h, w, norm, wdot, unit, dw));
    if (p->fused) return ops->weight_update(j->be, lane, j->x, h, w, norm, wdot, unit, rows_at(j->r->v[R_MOMENTUM], 0, 2 * p->c, p->d, p->slack), &p->sgd);
    return ops->sgd_rows(j->be, dw, w, rows_at(j->r->v[R_MOMENTUM], 0, 2 * p->c, p->d, p->slack), &p->sgd);
}

/* Blocks are dealt to the lanes in runs. */
static void step_lane(void *arg, int lane)
{
    step_job *j = arg;
    int64_t blocks = (j->p->c + j->p->block - 1) / j->p->block, lanes = j->be->lanes;
    for (int64_t b = blocks * lane / lanes; b < blocks * (lane + 1) / lanes && j->status[lane] == PFC_OK; b++) {
        int64_t c0 = b * j->p->block, c = j->p->c - c0 < j->p->block ? j->p->c - c0 : j->p->block;
        j->status[lane] = j->backward ? block_backward(j, lane, c0, c) : block_forward(j, lane, c0, c);
    }
}

static pfc_status run_lanes(step_job *j, int backward)
{
    j->backward = backward;
    j->be->ops->for_lanes(j->be, j->be->lanes, step_lane, j);
    for (int i = 0; i < j->be->lanes; i++) PFC_TRY(j->status[i]);
    return PFC_OK;
}

static void step_loss(step_job *j)
{
    const fast_problem *p = j->p;
    double *prob = must(calloc((size_t)p->n + 1, sizeof *prob)), *sum = must(calloc((size_t)p->n + 1, sizeof *sum));
    ck_assert_int_eq(j->be->ops->target_prob(j->be, &j->rows, p->n, prob), PFC_OK);
    for (int64_t i = 0; i < p->n; i++) sum[i] = (double)j->r->v[R_SUM][i];
    j->r->loss = j->be->ops->mean_loss(PFC_LOSS_CLAMP, prob, sum, NULL, p->valid, p->n, p->valid_rows);
    free(prob);
    free(sum);
}

static pfc_status step_run(step_job *j)
{
    const fast_problem *p = j->p;
    const pfc_ops *ops = j->be->ops;
    fast_result *r = j->r;
    pfc_view x = rows_at(p->x, 0, p->n, p->d, p->slack), norm = column(r->v[R_XNORM], 0, p->n);
    PFC_TRY(ops->row_norms(j->be, (pfc_rowset){ x, NULL, 0, p->n }, norm, NULL));
    PFC_TRY(ops->operand_create(j->be, x, norm, NULL, &j->x));
    PFC_TRY(ops->acc_create(j->be, PFC_ACC_SCALAR, p->n, 1, &j->sum));
    PFC_TRY(ops->acc_create(j->be, PFC_ACC_SCALAR, p->n, 1, &j->dot));
    PFC_TRY(ops->acc_create(j->be, PFC_ACC_PRODUCT, p->n, p->d, &j->feature));
    PFC_TRY(run_lanes(j, 0));
    PFC_TRY(ops->row_max_fold(j->be, j->sum, j->rows.max));
    PFC_TRY(ops->acc_fold(j->be, j->sum, &j->rows));
    PFC_TRY(ops->acc_value(j->be, j->sum, 0, p->n, j->rows.sum));
    step_loss(j);
    PFC_TRY(run_lanes(j, 1));
    PFC_TRY(ops->acc_fold(j->be, j->dot, NULL));
    PFC_TRY(ops->acc_fold(j->be, j->feature, NULL));
    pfc_view dot = column(r->v[R_DOT], 0, p->n), feature = pfc_view_make(r->v[R_FEATURE], PFC_F32, p->n, p->d);
    PFC_TRY(ops->acc_value(j->be, j->dot, 0, p->n, dot));
    PFC_TRY(ops->acc_value(j->be, j->feature, 0, p->n, feature));
    return ops->feature_grad_finish(j->be, feature, dot, x, norm, p->head.normalised, 2.0, rows_at(r->v[R_XGRAD], 0, p->n, p->d, p->slack));
}

void fast_step(const pfc_ops *ops, int threads, const fast_problem *p, fast_result *r)
{
    pfc_backend be = { .ops = ops, .threads = threads, .lanes = ops->lanes };
    step_job *j = must(calloc(1, sizeof *j));
    ck_assert_int_eq(pfc_fast_state_create(&be), PFC_OK);
    for (int i = 0; i < R_COUNT; i++) r->v[i] = fenced(fast_result_size(p, i));
    memcpy(r->v[R_W], p->w, (size_t)fast_result_size(p, R_W) * sizeof(float));
    memcpy(r->v[R_MOMENTUM], p->momentum, (size_t)fast_result_size(p, R_MOMENTUM) * sizeof(float));
    j->be = &be, j->p = p, j->r = r;
    j->rows =
        (pfc_rows_info){ p->target, p->valid, column(r->v[R_TARGET], 0, p->n), column(r->v[R_MAX], 0, p->n), column(r->v[R_SUM], 0, p->n), p->valid_rows };
    ck_assert_int_eq(step_run(j), PFC_OK);
    ops->operand_destroy(&be, j->x);
    ops->acc_destroy(&be, j->sum);
    ops->acc_destroy(&be, j->dot);
    ops->acc_destroy(&be, j->feature);
    pfc_fast_state_destroy(&be);
    free(j);
}
