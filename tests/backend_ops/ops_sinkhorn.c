/* ops_sinkhorn.c: the operations of sinkhorn (src/algo/sinkhorn.c), a rank alone. */
#include "ops.h"

#include <stdlib.h>

typedef struct sizes {
    int64_t n, k;
} sizes;

static const sizes shapes[] = { { 6, 4 }, { 1, 1 }, { 50, 700 }, { 1300, 7 } };
enum { SHAPES = sizeof shapes / sizeof *shapes, VERSIONS = 4 };

typedef struct assigning {
    side *s;
    sizes z;
    pfc_sinkhorn_config cfg;
    pfc_sinkhorn_plan *plan;
    pfc_view q, max, column;
    double *sums; /* (K), and a place for a total */
} assigning;

/* Into t->sums, the total behind them. */
static void sums_by_accumulator(assigning *t)
{
    side *s = t->s;
    pfc_acc *acc = NULL;
    CALL(s, acc_create, PFC_ACC_SCALAR, t->z.k, 1, &acc);
    if (s->ops->sinkhorn_expo) CALL(s, sinkhorn_expo, t->plan, acc);
    CALL(s, sinkhorn_sums, t->plan, acc);
    CALL(s, acc_fold, acc, NULL);
    CALL(s, sinkhorn_total, acc, t->sums, &t->sums[t->z.k]);
    s->ops->acc_destroy(s->be, acc);
}

static double row_sums(assigning *t)
{
    side *s = t->s;
    if (s->ops->sinkhorn_own_sums)
        CALL(s, sinkhorn_own_sums, t->plan, t->sums);
    else
        sums_by_accumulator(t);
    if (s->ops->mode == PFC_EXACT || t->cfg.stabilise) /* else fast mode may keep Q at a scale of its own */
        keep_host(s, "sums of sinkhorn and their total", PFC_F64, t->sums, t->z.k + 1);
    return t->sums[t->z.k];
}

static void iterate(assigning *t, const double extremes[2])
{
    side *s = t->s;
    CALL(s, sinkhorn_exp, t->plan, extremes);
    CALL(s, sinkhorn_divide, t->plan, row_sums(t));
    for (int i = 0; i < 2; i++) {
        row_sums(t);
        if (t->cfg.version == PFC_SINKHORN_VISSL) CALL(s, sinkhorn_add, t->plan, 1e-12);
        if (t->cfg.version == PFC_SINKHORN_VISSL) row_sums(t);
        CALL(s, sinkhorn_scale, t->plan, t->sums);
    }
}

static void iterate_log(assigning *t)
{
    side *s = t->s;
    for (int i = 0; i < 2; i++) {
        pfc_acc *acc = NULL;
        CALL(s, acc_create, PFC_ACC_SCALAR, t->z.k, 1, &acc);
        CALL(s, sinkhorn_log_max, t->plan, t->max);
        keep(s, "sinkhorn_log_max", t->max);
        CALL(s, sinkhorn_log_sums, t->plan, t->max, acc);
        CALL(s, acc_fold, acc, NULL);
        CALL(s, sinkhorn_log_scale, t->plan, t->max, acc, t->sums);
        keep_host(s, "sinkhorn_log_scale", PFC_F64, t->sums, t->z.k);
        s->ops->acc_destroy(s->be, acc);
    }
}

static void run(side *s, int variant)
{
    static const pfc_sinkhorn_version versions[VERSIONS] = { PFC_SINKHORN_V1, PFC_SINKHORN_V2, PFC_SINKHORN_VISSL, PFC_SINKHORN_LOG };
    bool wild = variant >= 2 * SHAPES * VERSIONS;
    int shape = wild ? 2 : variant / (2 * VERSIONS);
    assigning t = { .s = s, .z = shapes[shape], .cfg = { 0.3, 2, variant / VERSIONS % 2 == 0, versions[variant % VERSIONS] } };
    double *x = numbers(40, t.z.n * t.z.k, wild), extremes[2];
    pfc_view scores = side_matrix(s, t.z.n, t.z.k, x);
    free(x);
    t.q = side_matrix(s, t.z.n, t.z.k, NULL);
    t.max = side_matrix(s, t.z.k, 1, NULL);
    t.sums = calloc((size_t)t.z.k + 1, sizeof *t.sums);
    CALL(s, sinkhorn_create, &t.cfg, (double)t.z.n, scores, t.q, extremes, &t.plan);
    if (t.cfg.version != PFC_SINKHORN_LOG) keep_host(s, "sinkhorn_create", PFC_F64, extremes, 1); /* the other one is the backend's own affair */
    if (t.cfg.version == PFC_SINKHORN_LOG)
        iterate_log(&t);
    else
        iterate(&t, extremes);
    CALL(s, sinkhorn_finish, t.plan);
    keep(s, "sinkhorn_finish", t.q);
    s->ops->sinkhorn_destroy(s->be, t.plan);
    CALLED(s, sinkhorn_destroy);
    free(t.sums);
}

const chain sinkhorn_chain = { "sinkhorn", run, 2 * SHAPES *VERSIONS + VERSIONS, 2 * SHAPES *VERSIONS };
