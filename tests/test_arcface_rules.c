/* test_arcface_rules.c: rules of semantics.md section 8 and 9, golden numbers of 10.3 and 10.4, gradients by finite differences, misuse. */
#include "arcface_problem.h"
#include "case/case.h"
#include "core/ctx.h"
#include "pfc_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- golden numbers ---- */

static void fill_gen(double *v, int seed, int count)
{
    for (int i = 0; i < count; i++) v[i] = sin(1.0 + 0.7 * i + 1.3 * seed);
}

static pfc_dense_arcface *dense_of(const pfc_arcface_config *o, int64_t n, const double *x, const double *w, const double *margins, const int64_t *y,
                                   const double *soft)
{
    pfc_dense_arcface *d = pfc_dense_arcface_new(o, n);
    ck_assert_ptr_nonnull(d);
    d->x = x, d->weight = w, d->margins = margins, d->labels = y, d->soft_targets = soft;
    pfc_dense_arcface_run(d);
    return d;
}

static void check_row(const double *got, const double *want, int n)
{
    for (int i = 0; i < n; i++) ck_assert_msg(fabs(got[i] - want[i]) <= 6e-11, "element %d: %.12f, printed %.10f", i, got[i], want[i]);
}

START_TEST(golden_head)
{
    double x[16], w[24];
    const double margins[3] = { .5, .3, .1 };
    const double soft[12] = { .7, .2, .1, .1, .9, 0, 0, .5, .5, .3, .3, .3 };
    const double logits[3] = { -2.6020576062, 6.1371406192, 7.9787854943 }, dx[4] = { -.0915328884, -.6676609687, -.9297776629, -.7546053940 };
    const int64_t y[4] = { 0, 1, 2, 1 };
    fill_gen(x, 3, 16);
    fill_gen(w, 4, 24);
    pfc_arcface_config o = arc_config(3, 4, 2);
    o.scale = 8;
    for (int easy = 0; easy < 2; easy++) {
        o.easy_margin = easy;
        pfc_dense_arcface *d = dense_of(&o, 4, x, w, margins, y, NULL);
        ck_assert_msg(fabs(d->loss - 5.431568807727) <= 6e-13, "loss %.13f", d->loss);
        check_row(d->logits, logits, 3);
        check_row(d->x_grad, dx, 4);
        pfc_dense_arcface_free(d);
    }
    o.easy_margin = 0;
    pfc_dense_arcface *d = dense_of(&o, 4, x, w, margins, y, soft);
    ck_assert_msg(fabs(d->loss - 4.184900712436) <= 6e-13, "soft targets: loss %.13f", d->loss);
    pfc_dense_arcface_free(d);
}
END_TEST

START_TEST(golden_fallback)
{
    const double x[8] = { 1, .1, -.2, .3, .5, -1, .2, .1 }, margins[2] = { .5, .3 };
    const double w[16] = { -1, -.15, .25, -.2, -.9, .2, .1, -.5, .3, .8, -.1, .2, .4, .9, .3, -.2 };
    const int64_t y[2] = { 0, 1 };
    const double loss[2] = { 8.688614310450, 6.882034639462 };
    const double logits[2][2] = { { -9.3850326133, 3.9025465463 }, { -7.4673304589, 3.9025465463 } };
    const double dx[2][4] = { { -.5139332805, 2.1836618882, .2175802564, 1.1302771432 }, { -.5139282222, 2.1836403959, .2175781150, 1.1302660186 } };
    pfc_arcface_config o = arc_config(2, 4, 2);
    o.scale = 8;
    for (int easy = 0; easy < 2; easy++) {
        o.easy_margin = easy;
        pfc_dense_arcface *d = dense_of(&o, 2, x, w, margins, y, NULL);
        ck_assert_msg(fabs(d->loss - loss[easy]) <= 6e-13, "easy %d: loss %.13f", easy, d->loss);
        check_row(d->logits, logits[easy], 2);
        check_row(d->x_grad, dx[easy], 4);
        pfc_dense_arcface_free(d);
    }
}
END_TEST

START_TEST(golden_margins)
{
    const int64_t counts[4] = { 1, 10, 100, 0 }, equal[3] = { 7, 7, 7 }, negative[2] = { 3, -1 };
    const double want[4] = { .5, .2119707501, .05, .5 };
    double got[4], other[4];
    char why[128] = "";
    pfc_adaptive_margins_config o = pfc_adaptive_margins_defaults();
    ck_assert_int_eq(pfc_adaptive_margins(&o, counts, 4, got, why, sizeof why), PFC_OK);
    check_row(got, want, 4);
    pfc_dense_adaptive_margins(&o, counts, 4, other);
    ck_assert_msg(arc_worst(got, other, 4) <= 1e-14, "dense differs");
    ck_assert_int_eq(pfc_adaptive_margins(&o, equal, 3, got, why, sizeof why), PFC_OK);
    ck_assert_msg(isnan(got[0]) && isnan(got[2]), "equal counts: %g", got[0]);
    o.equal_counts = PFC_EQUAL_MIN;
    ck_assert_int_eq(pfc_adaptive_margins(&o, equal, 3, got, NULL, 0), PFC_OK);
    ck_assert_double_eq(got[1], .05);
    ck_assert_int_eq(pfc_adaptive_margins(&o, negative, 2, got, why, sizeof why), PFC_ERR_DATA);
    ck_assert_msg(strstr(why, "class 1") && strstr(why, "-1"), "%s", why);
    ck_assert_int_eq(pfc_adaptive_margins(&o, counts, 0, got, why, sizeof why), PFC_ERR_DATA);
    o.power = NAN;
    ck_assert_int_eq(pfc_adaptive_margins(&o, counts, 4, got, why, sizeof why), PFC_ERR_ARG);
}
END_TEST

/* ---- gradients by finite differences of the dense loss; the library is compared with dense in test_arcface.c ---- */

static double loss_at(const arc_problem *p)
{
    arc_outcome *o = arc_dense(p);
    double loss = o->v[ARC_LOSS][0];
    arc_outcome_free(o);
    return loss;
}

static void differences(const arc_problem *p, double *input, int64_t count, const double *gradient, const char *name, int id)
{
    const double h = 1e-5;
    for (int64_t i = 0; i < count; i++) {
        double at = input[i];
        input[i] = at + h;
        double up = loss_at(p);
        input[i] = at - h;
        double slope = (up - loss_at(p)) / (2 * h);
        input[i] = at;
        ck_assert_msg(fabs(slope - gradient[i]) <= 1e-7, "case %d: %s[%d]: %.10g by differences, %.10g as gradient", id, name, (int)i, slope, gradient[i]);
    }
}

START_TEST(finite_differences)
{
    pfc_ctx *ctx = arc_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 1);
    for (int id = 0; id < 8; id++) {
        pfc_arcface_config o = arc_config(4, 5, 1 + id % 3);
        o.scale = 4;
        o.easy_margin = id % 2;
        o.feature_norm = id != 3;
        o.weight_norm = id != 5;
        o.cos_clamp = id == 3 || id == 5;
        o.loss_weight = 1.5;
        arc_problem *p = arc_problem_new(&o, 2 * pfc_test_ranks(),
                                         id == 0   ? 0
                                         : id == 7 ? ARC_BIAS
                                                   : ARC_MARGINS | (id % 2 ? ARC_SOFT : 0) | ARC_CLASS_WEIGHT,
                                         40 + id);
        arc_outcome *g = arc_library(MPI_COMM_WORLD, ctx, p);
        PFC_AGREE(MPI_COMM_WORLD, g->status == PFC_OK);
        differences(p, p->x, g->size[ARC_X_GRAD], g->v[ARC_X_GRAD], "x", id);
        differences(p, p->weight, g->size[ARC_WEIGHT_GRAD], g->v[ARC_WEIGHT_GRAD], "weight", id);
        if (p->bias) differences(p, p->bias, g->size[ARC_BIAS_GRAD], g->v[ARC_BIAS_GRAD], "bias", id);
        arc_outcome_free(g);
        arc_problem_free(p);
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- invariants (semantics 9, items 28 to 30, and 5, 6) ---- */

static arc_outcome *run_exact(const arc_problem *p)
{
    pfc_ctx *ctx = arc_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 1);
    arc_outcome *o = arc_library(MPI_COMM_WORLD, ctx, p);
    pfc_ctx_destroy(&ctx);
    PFC_AGREE(MPI_COMM_WORLD, o->status == PFC_OK);
    return o;
}

/* 28: equal sub-centers change nothing in the forward, and the first one has the gradient. */
START_TEST(duplicated_subcenters)
{
    pfc_arcface_config one = arc_config(5, 6, 1), three = arc_config(5, 6, 3);
    arc_problem *p = arc_problem_new(&one, 2 * pfc_test_ranks(), ARC_MARGINS, 3), *q = arc_problem_new(&three, 2 * pfc_test_ranks(), ARC_MARGINS, 3);
    for (int64_t r = 0; r < 15; r++) memcpy(q->weight + r * 6, p->weight + r / 3 * 6, 6 * sizeof(double));
    arc_outcome *a = run_exact(p), *b = run_exact(q);
    ck_assert(memcmp(a->v[ARC_LOGITS], b->v[ARC_LOGITS], (size_t)a->size[ARC_LOGITS] * 8) == 0);
    ck_assert(memcmp(a->v[ARC_X_GRAD], b->v[ARC_X_GRAD], (size_t)a->size[ARC_X_GRAD] * 8) == 0);
    ck_assert_double_eq(a->v[ARC_LOSS][0], b->v[ARC_LOSS][0]);
    for (int64_t i = 0; i < b->size[ARC_SUBCENTER]; i++) ck_assert_double_eq(b->v[ARC_SUBCENTER][i], 0);
    for (int64_t r = 0; r < 15; r++)
        for (int64_t k = 0; k < 6; k++) ck_assert_double_eq(b->v[ARC_WEIGHT_GRAD][r * 6 + k], r % 3 ? 0 : a->v[ARC_WEIGHT_GRAD][r / 3 * 6 + k]);
    arc_outcome_free(a);
    arc_outcome_free(b);
    arc_problem_free(p);
    arc_problem_free(q);
}
END_TEST

/* 29: no margin is a plain cosine softmax, easy or not, and as in evaluation. */
START_TEST(no_margin)
{
    pfc_arcface_config o = arc_config(7, 5, 2);
    o.margin = 0;
    arc_problem *p = arc_problem_new(&o, 3 * pfc_test_ranks(), 0, 8);
    arc_outcome *normal = run_exact(p);
    p->eval = true;
    arc_outcome *eval = run_exact(p);
    p->eval = false;
    p->cfg.easy_margin = 1;
    arc_outcome *easy = run_exact(p);
    ck_assert(arc_worst(normal->v[ARC_LOGITS], eval->v[ARC_LOGITS], normal->size[ARC_LOGITS]) <= 1e-15);
    ck_assert(arc_worst(easy->v[ARC_LOGITS], eval->v[ARC_LOGITS], normal->size[ARC_LOGITS]) <= 1e-15);
    arc_outcome_free(normal);
    arc_outcome_free(eval);
    arc_outcome_free(easy);
    arc_problem_free(p);
}
END_TEST

/* 30: phi' <= cos for margins up to pi/2, and it does not fall with the cosine; at the threshold the fallback is taken (strict comparison). */
START_TEST(margin_never_helps)
{
    for (int j = 0; j <= 8; j++) {
        pfc_arcface_config o = arc_config(2, 2, 1);
        double m = j * M_PI / 16, last = -INFINITY, phi, slope;
        for (int i = -1000; i <= 1000; i++) {
            double z = i / 1000.0;
            pfc_dense_arcface_phi(&o, m, z, true, &phi, &slope);
            ck_assert_msg(phi <= z + 1e-15, "m %g: phi(%g) = %g", m, z, phi);
            ck_assert_msg(phi >= last - 1e-15 || fabs(z + cos(m)) < 2e-3, "m %g: phi falls at %g", m, z); /* it jumps at the threshold */
            last = phi;
        }
        o.margin_constants = PFC_MARGIN_SET;
        pfc_dense_arcface_phi(&o, m, -cos(m), true, &phi, &slope);
        ck_assert_msg(fabs(phi - (-cos(m) - m * sin(m))) <= 1e-15, "m %g: phi at the threshold is %g", m, phi);
    }
}
END_TEST

/* 5, 6: gradients are orthogonal to their rows, and a longer row has a shorter gradient. */
START_TEST(lengths_do_not_count)
{
    pfc_arcface_config o = arc_config(6, 5, 2);
    arc_problem *p = arc_problem_new(&o, 2 * pfc_test_ranks(), 0, 12);
    arc_outcome *a = run_exact(p);
    for (int64_t i = 0; i < p->n; i++) {
        double along = 0, size = 0;
        for (int64_t k = 0; k < 5; k++) along += p->x[i * 5 + k] * a->v[ARC_X_GRAD][i * 5 + k], size += fabs(p->x[i * 5 + k] * a->v[ARC_X_GRAD][i * 5 + k]);
        ck_assert_msg(fabs(along) <= 1e-14 * (size + 1e-3), "row %d: %g along itself", (int)i, along);
    }
    for (int64_t k = 0; k < 5; k++) p->x[k] *= 4, p->weight[k] *= 8;
    arc_outcome *b = run_exact(p);
    ck_assert_double_eq(a->v[ARC_LOSS][0], b->v[ARC_LOSS][0]);
    for (int64_t k = 0; k < 5; k++) {
        ck_assert_double_eq(b->v[ARC_X_GRAD][k] * 4, a->v[ARC_X_GRAD][k]);
        ck_assert_double_eq(b->v[ARC_WEIGHT_GRAD][k] * 8, a->v[ARC_WEIGHT_GRAD][k]);
    }
    arc_outcome_free(a);
    arc_outcome_free(b);
    arc_problem_free(p);
}
END_TEST

/* 1.1: a zero row has cosines 0 and the gradient of its direction times 1e12. */
START_TEST(zero_rows)
{
    pfc_arcface_config o = arc_config(3, 4, 1), raw = o;
    arc_problem *p = arc_problem_new(&o, 2 * pfc_test_ranks(), 0, 5);
    for (int64_t k = 0; k < 4; k++) p->x[k] = 0;
    arc_outcome *a = run_exact(p);
    for (int64_t c = 0; c < 3; c++) ck_assert_double_eq(a->v[ARC_COSINE][c], 0);
    raw.feature_norm = 0; /* of the same row taken as its direction */
    p->cfg = raw;
    for (int64_t i = 4; i < p->n * 4; i++) p->x[i] /= 16; /* and the others short enough for cosines */
    arc_outcome *b = run_exact(p);
    for (int64_t k = 0; k < 4; k++)
        ck_assert_msg(fabs(a->v[ARC_X_GRAD][k] / (b->v[ARC_X_GRAD][k] * 1e12) - 1) < 1e-12, "%g and %g", a->v[ARC_X_GRAD][k], b->v[ARC_X_GRAD][k]);
    arc_outcome_free(a);
    arc_outcome_free(b);
    arc_problem_free(p);
}
END_TEST

/* 8.4: what is at 1 or beyond. Row 0 is on class 1, which is not its own, then against it, then twice as long. */
START_TEST(poles)
{
    pfc_arcface_config o = arc_config(3, 4, 1);
    o.feature_norm = o.weight_norm = 0;
    arc_problem *p = arc_problem_new(&o, 2 * pfc_test_ranks(), 0, 6);
    for (int64_t i = 0; i < p->n * 4; i++) p->x[i] /= 8; /* all others inside */
    for (int64_t i = 0; i < 12; i++) p->weight[i] /= 8;
    for (int64_t k = 0; k < 4; k++) p->x[k] = p->weight[4 + k] = k == 0;
    for (int64_t i = 1; i < p->n; i++) p->x[i * 4] = 0;
    p->weight[0] = p->weight[8] = .25;
    p->labels[0] = 0;
    static const double LENGTH[4] = { 1, -1, 2, -2 };
    for (int i = 0; i < 8; i++) {
        p->x[0] = LENGTH[i % 4];
        p->cfg.cos_clamp = i >= 4;
        arc_outcome *a = run_exact(p);
        bool lost = i == 2; /* cos above 1: acos is NaN; below -1 the source takes the fallback, so only the gradient is */
        ck_assert_msg(isnan(a->v[ARC_LOGITS][1]) == lost && isnan(a->v[ARC_LOSS][0]) == lost, "length %g: logit %g", LENGTH[i % 4], a->v[ARC_LOGITS][1]);
        ck_assert_msg(isnan(a->v[ARC_X_GRAD][0]) == (i < 4), "length %g, clamp %d: gradient %g", LENGTH[i % 4], p->cfg.cos_clamp, a->v[ARC_X_GRAD][0]);
        ck_assert(!isnan(a->v[ARC_X_GRAD][4])); /* other rows are not touched */
        arc_outcome_free(a);
    }
    arc_problem_free(p);
}
END_TEST

/* ---- margins set later, and misuse ---- */

START_TEST(set_margins)
{
    pfc_arcface_config o = arc_config(2 * pfc_test_ranks() + 1, 5, 2);
    pfc_ctx *ctx = arc_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 1);
    pfc_arcface *head = NULL;
    double one = .3, far = 1e7, pair[2] = { .1, .2 };
    PFC_AGREE(MPI_COMM_WORLD, pfc_arcface_create(ctx, &o, &head) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, pfc_arcface_set_margins(head, pfc_view_make(&one, PFC_F64, 1, 1), PFC_MARGIN_SET) == PFC_OK);
    PFC_AGREE(MPI_COMM_WORLD, pfc_arcface_set_margins(head, pfc_view_make(&far, PFC_F64, 1, 1), PFC_MARGIN_SET) == PFC_ERR_ARG);
    pfc_status st = pfc_arcface_set_margins(head, pfc_view_make(pair, PFC_F64, 2, 1), PFC_MARGIN_SET); /* ranks have 2 or 3 classes */
    pfc_shard s = pfc_shard_of(o.num_classes, pfc_test_ranks(), pfc_test_rank());
    PFC_AGREE(MPI_COMM_WORLD, st == (s.count == 2 ? PFC_OK : PFC_ERR_SHAPE));
    PFC_AGREE(MPI_COMM_WORLD, pfc_arcface_set_margins(head, pfc_view_make(&one, PFC_F32, 1, 1), PFC_MARGIN_SET) == PFC_ERR_SHAPE);
    pfc_arcface_destroy(&head);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* An upload that fails, at its first call or a later one. */
static int uploads_left;
static pfc_status (*real_upload)(pfc_backend *be, void *dst, const void *host, size_t bytes);
static pfc_status failing_upload(pfc_backend *be, void *dst, const void *host, size_t bytes)
{
    return uploads_left-- > 0 ? real_upload(be, dst, host, bytes) : PFC_ERR_RUNTIME;
}

/* New margins are there as a whole or not at all. */
START_TEST(set_margins_at_once)
{
    pfc_arcface_config o = arc_config(5, 3, 1);
    pfc_ctx *ctx = arc_ctx(MPI_COMM_SELF, PFC_EXACT, NULL, 1);
    pfc_arcface *head = NULL;
    double x[3] = { 1, 2, 3 }, w[15], margin[5] = { .3, .2, .1, .4, .6 }, before[5], after[5], loss[2];
    int64_t y[1] = { 0 };
    for (int i = 0; i < 15; i++) w[i] = i % 4 - 1.5;
    ck_assert(pfc_arcface_create(ctx, &o, &head) == PFC_OK);
    pfc_arcface_input in = { .features = pfc_view_make(x, PFC_F64, 1, 3),
                             .labels = pfc_view_make(y, PFC_I64, 1, 1),
                             .weight = pfc_view_make(w, PFC_F64, 5, 3) };
    pfc_arcface_result r = { .logits = pfc_view_make(before, PFC_F64, 1, 5) };
    ck_assert(pfc_arcface_step(head, &in, &r) == PFC_OK);
    loss[0] = r.loss;
    const pfc_ops *ops = ctx->be->ops;
    pfc_ops fake = *ops;
    real_upload = ops->upload;
    fake.upload = failing_upload;
    for (int calls = 0; calls < 2; calls++) {
        uploads_left = calls;
        ctx->be->ops = &fake;
        pfc_status st = pfc_arcface_set_margins(head, pfc_view_make(margin, PFC_F64, 5, 1), PFC_MARGIN_SET);
        ctx->be->ops = ops;
        r.logits.data = after;
        ck_assert(pfc_arcface_step(head, &in, &r) == PFC_OK);
        loss[1] = r.loss;
        ck_assert(calls || st == PFC_ERR_RUNTIME);
        ck_assert((st == PFC_OK) == (loss[0] != loss[1]) && (st == PFC_OK) == (before[0] != after[0]));
    }
    pfc_arcface_destroy(&head);
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(bad_configurations)
{
    pfc_ctx *ctx = arc_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 1);
    for (int i = 0; i < 6; i++) {
        pfc_arcface_config o = arc_config(i == 0 ? 0 : 5, i == 1 ? 0 : 4, i == 2 ? 0 : 2);
        static const char *const NAMES[] = { "num_classes", "embedding_size", "num_subcenters", "scale", "loss_weight", "margin" };
        if (i == 3) o.scale = INFINITY;
        if (i == 4) o.loss_weight = NAN;
        if (i == 5) o.margin = 1e9;
        pfc_arcface *head = NULL;
        pfc_status st = pfc_arcface_create(ctx, &o, &head);
        PFC_AGREE(MPI_COMM_WORLD, st == PFC_ERR_ARG && !head && strstr(pfc_ctx_error(ctx), NAMES[i]));
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(bad_inputs)
{
    pfc_arcface_config o = arc_config(4, 3, 2);
    int last = pfc_test_rank() == pfc_test_ranks() - 1;
    pfc_ctx *ctx = arc_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 1);
    pfc_shard s = pfc_shard_of(4, pfc_test_ranks(), pfc_test_rank());
    pfc_arcface *head = NULL;
    double x[6] = { 1, 2, 3, 4, 5, 6 }, w[24], bias[8] = { 0 };
    int64_t y[2] = { 0, 3 };
    for (int i = 0; i < 24; i++) w[i] = i % 5 - 2;
    PFC_AGREE(MPI_COMM_WORLD, pfc_arcface_create(ctx, &o, &head) == PFC_OK);
    for (int i = 0; i < 6; i++) {
        pfc_arcface_input in = { .features = pfc_view_make(x, PFC_F64, 2, 3), .labels = pfc_view_make(y, PFC_I64, 2, 1) };
        in.weight = pfc_view_make(w + s.start * 6, PFC_F64, s.count * 2, 3);
        pfc_arcface_result r = { 0 };
        y[1] = i == 1 && last ? 4 : 3;
        if (i == 2 && last) in.features.cols = 2;
        if (i == 3 && last) in.features.rows = in.labels.rows = 1;
        if (i == 4 && last) in.labels.data = NULL;
        if (i == 5 && pfc_test_rank() == 0) in.bias = pfc_view_make(bias, PFC_F64, s.count * 2, 1);
        bool even = pfc_test_ranks() == 1; /* what differs between ranks */
        const pfc_status want[6] = { PFC_OK, PFC_ERR_DATA, PFC_ERR_SHAPE, even ? PFC_OK : PFC_ERR_SHAPE, PFC_ERR_SHAPE, even ? PFC_OK : PFC_ERR_ARG };
        pfc_status st = pfc_arcface_step(head, &in, &r);
        PFC_AGREE(MPI_COMM_WORLD, st == want[i]);
    }
    pfc_arcface_destroy(&head);
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* ---- the case layer: the sub-centers of a class stay on one rank ---- */

START_TEST(units_stay_together)
{
    const int64_t dims[2] = { 7 * 3, 2 };
    pfc_tensor_list list = { 0 };
    pfc_diag diag = { 0 };
    pfc_tensor *t = pfc_tensor_add_units(MPI_COMM_WORLD, &list, "weight", PFC_F64, 2, dims, PFC_DIST_CLASS, 0, 3);
    pfc_shard classes = pfc_shard_of(7, pfc_test_ranks(), pfc_test_rank());
    PFC_AGREE(MPI_COMM_WORLD, t && t->start == 3 * classes.start && t->count == 3 * classes.count);
    for (int64_t i = 0; i < t->count * 2; i++) ((double *)t->data)[i] = (double)(t->start * 2 + i);
    void *whole = NULL;
    PFC_AGREE(MPI_COMM_WORLD, pfc_tensor_gather(MPI_COMM_WORLD, t, &whole, &diag) == 0);
    bool right = true;
    for (int i = 0; whole && i < 42; i++) right = right && ((double *)whole)[i] == i;
    PFC_AGREE(MPI_COMM_WORLD, right && (whole != NULL) == (pfc_test_rank() == 0));
    free(whole);
    pfc_tensor_list_free(&list);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(golden_head), PFC_ONCE(golden_fallback),     PFC_ONCE(golden_margins),       PFC_ONCE(finite_differences), PFC_ONCE(duplicated_subcenters),
        PFC_ONCE(no_margin),   PFC_ONCE(margin_never_helps),  PFC_ONCE(lengths_do_not_count), PFC_ONCE(zero_rows),          PFC_ONCE(poles),
        PFC_ONCE(set_margins), PFC_ONCE(set_margins_at_once), PFC_ONCE(bad_configurations),   PFC_ONCE(bad_inputs),         PFC_ONCE(units_stay_together),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
