/* test_partial_fc_gradients.c: PartialFC's gradients are the derivatives of its loss, except where the source says otherwise (semantics.md section 9, 11 and
 * 12). */
#include "partial_fc_problem.h"
#include "pfc_test.h"

#include <math.h>

/* ---- 11: finite differences ---- */

enum { FD = 3, FC = 4 };

/* The loss, or with `frozen` (N,C) the loss of the circle head with its factors s*a held fixed. */
static double loss_at(pfc_ctx *ctx, const problem *p, const double *frozen)
{
    outcome *o = problem_library(MPI_COMM_WORLD, ctx, p, false);
    ck_assert_int_eq(o->status, PFC_OK);
    double total = 0;
    for (int64_t i = 0; i < p->n && frozen; i++) {
        double sum = 0, target = 0;
        for (int64_t j = 0; j < FC; j++) {
            bool mine = p->labels[i] == j;
            double l = frozen[i * FC + j] * (o->v[COSINE][i * FC + j] - (mine ? 1 - p->cfg.margin : p->cfg.margin));
            sum += exp(l);
            if (mine) target = l;
        }
        total += log(sum) - target;
    }
    double loss = frozen ? total / (double)p->n : o->v[LOSS][0];
    outcome_free(o);
    return loss;
}

/* Central difference with Richardson's extrapolation; the steps keep the input a float32 value. */
static double difference(pfc_ctx *ctx, const problem *p, double *at, const double *frozen)
{
    static const double STEP[4] = { 1, -1, 2, -2 };
    const double h = 0x1p-9;
    double keep = *at, value[4];
    for (int t = 0; t < 4; t++) {
        *at = keep + STEP[t] * h;
        value[t] = loss_at(ctx, p, frozen);
    }
    *at = keep;
    return (4 * (value[0] - value[1]) / (2 * h) - (value[2] - value[3]) / (4 * h)) / 3;
}

static double worst_difference(pfc_ctx *ctx, const pfc_partial_fc_config *o, bool freeze)
{
    problem *p = problem_new(o, pfc_test_ranks() < 3 ? 2 * pfc_test_ranks() : pfc_test_ranks(), 1, false, 17);
    for (int64_t k = 0; k < p->n * FD; k++) p->x[k] = rint(p->x[k] * 1024) / 1024;
    for (int64_t k = 0; k < FC * FD; k++) p->weight[k] = rint(p->weight[k] * 1024) / 1024;
    outcome *base = problem_library(MPI_COMM_WORLD, ctx, p, false);
    double frozen[32 * FC];
    for (int64_t i = 0; i < p->n * FC; i++) {
        double logit;
        pfc_dense_partial_fc_head(o, base->v[COSINE][i], p->labels[i / FC] == i % FC, &logit, &frozen[i]);
    }
    double dx[32 * FD], dw[FC * FD];
    for (int64_t k = 0; k < p->n * FD; k++) dx[k] = difference(ctx, p, &p->x[k], freeze ? frozen : NULL);
    for (int64_t k = 0; k < FC * FD; k++) dw[k] = difference(ctx, p, &p->weight[k], freeze ? frozen : NULL);
    double err = fmax(worst(dx, base->v[X_GRAD], p->n * FD, 0), worst(dw, base->v[WEIGHT_GRAD], FC * FD, 0));
    outcome_free(base);
    problem_free(p);
    return err;
}

START_TEST(finite_differences)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 1);
    pfc_partial_fc_config o = problem_config(FC, FD);
    o.scale = 2;
    o.margin = .3;
    for (int head = 0; head < 4; head++) {
        o.head = (pfc_head_kind)head;
        double err = worst_difference(ctx, &o, head == PFC_HEAD_CIRCLE);
        ck_assert_msg(err < 1e-7, "head %d: %g", head, err);
    }
    ck_assert_double_gt(worst_difference(ctx, &o, false), 1e-2); /* the circle's factors are not differentiated */
    o.head = PFC_HEAD_ARC;
    o.arc_gradient = PFC_ARC_STRAIGHT_THROUGH;
    ck_assert_double_gt(worst_difference(ctx, &o, false), 1e-3); /* not the derivative, on purpose */
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- 12: straight-through ---- */

/* In the plane, with a zero vector as the other class, the feature gradient is the target's alone: it differs by sin(theta + m)/sin theta. */
START_TEST(straight_through)
{
    enum { D = 2, C = 2 };
    pfc_partial_fc_config o = problem_config(C, D);
    o.head = PFC_HEAD_ARC;
    o.margin = .5;
    o.scale = 4;
    problem *p = problem_new(&o, pfc_test_ranks(), 1, false, 18);
    for (int k = 0; k < D; k++) p->weight[D + k] = 0;
    for (int64_t i = 0; i < p->n; i++) p->labels[i] = 0;
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 1);
    outcome *exact = problem_library(MPI_COMM_WORLD, ctx, p, false);
    p->cfg.arc_gradient = PFC_ARC_STRAIGHT_THROUGH;
    outcome *through = problem_library(MPI_COMM_WORLD, ctx, p, false);
    ck_assert(exact->status == PFC_OK && through->status == PFC_OK);
    pfc_ctx_destroy(&ctx);
    ck_assert(same_bits(exact->v[LOSS], through->v[LOSS], 1));
    for (int64_t i = 0; i < p->n; i++) {
        double theta = acos(exact->v[COSINE][i * C]), ratio = sin(theta + .5) / sin(theta);
        for (int k = 0; k < D; k++) ck_assert_double_eq_tol(exact->v[X_GRAD][i * D + k], ratio * through->v[X_GRAD][i * D + k], 1e-12);
        ck_assert_double_gt(fabs(ratio - 1), 1e-6);
    }
    outcome_free(exact);
    outcome_free(through);
    problem_free(p);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(finite_differences),
        PFC_ONCE(straight_through),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
