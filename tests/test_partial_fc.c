/* test_partial_fc.c: the library's PartialFC against the dense equations: a table of options, golden numbers of semantics.md 10.1, special rows. */
#include "partial_fc_problem.h"
#include "pfc_test.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- a broad table of options ---- */

enum { HEADS = 4, SAMPLINGS = 6, UNOWNED = 3, LOSSES = 2, TABLE = HEADS * SAMPLINGS * UNOWNED * LOSSES };

/* A choice 0..count-1 for case `id` that has nothing to do with the others. */
static int pick(int id, uint32_t what, int count) { return (int)(count * pfc_uniform(id, what, 5, PFC_STREAM_FILL)); }

static void set_sampling(pfc_partial_fc_config *o, int kind, int ranks)
{
    int64_t c = o->num_classes;
    o->sample_rule = kind == 3 ? PFC_SAMPLE_GLOBAL : PFC_SAMPLE_SHARD;
    if (kind == 0) o->sample_rate = 1.5; /* full */
    if (kind == 1) o->sample_rate = .57;
    if (kind == 2) o->num_sample = c / ranks / 2 + 1;
    if (kind == 3) o->sample_rate = .4;
    if (kind == 4) o->sample_rate = 0; /* positives only: ranks without any */
    if (kind == 5) {
        o->sample_rule = PFC_SAMPLE_GLOBAL;
        o->num_sample = 3 * c; /* clipped: all */
    }
}

static problem *table_problem(int id, int ranks)
{
    static const int64_t SIZES[] = { 3, 17, 40, 64 }; /* C: fewer than ranks, uneven, even */
    int rest = id, head = rest % HEADS, kind = (rest /= HEADS) % SAMPLINGS, unowned = (rest /= SAMPLINGS) % UNOWNED, loss = (rest / UNOWNED) % LOSSES;
    pfc_partial_fc_config o = problem_config(SIZES[pick(id, 0, 4)], 1 + 4 * (int64_t)pick(id, 1, 3) + 2);
    o.head = (pfc_head_kind)head;
    o.unowned_label = (pfc_unowned)unowned;
    o.loss = (pfc_loss_kind)loss;
    set_sampling(&o, kind, ranks);
    o.scale = head == PFC_HEAD_LINEAR ? 1.5 : 16;
    o.margin = pick(id, 2, 2) ? .5 : 1.7; /* the larger reaches the fallback */
    o.arc_gradient = (pfc_arc_gradient)pick(id, 3, 2);
    o.arc_fallback = (pfc_arc_fallback)pick(id, 4, 3);
    o.cos_clamp = pick(id, 5, 2);
    o.interclass_threshold = (head == PFC_HEAD_COS || head == PFC_HEAD_ARC) && pick(id, 6, 2) ? .3 : 0;
    o.momentum_rule = (pfc_momentum_rule)pick(id, 7, 2);
    /* Not simple fractions: 0.9 times a float32 is often a tie of the rounding between steps, which two correct programs take differently. */
    o.momentum = pick(id, 8, 4) ? .9137 : 0;
    o.nesterov = o.momentum != 0 && pick(id, 9, 2);
    o.lr = .0973;
    o.weight_decay = pick(id, 10, 2) ? .0113 : 0;
    o.xgrad_scale = pick(id, 11, 2) ? NAN : 1;
    o.seed = 77 + id;
    o.first_step = 5;
    int64_t steps = 1 + pick(id, 12, 3);
    problem *p = problem_new(&o, ranks * (int64_t)(1 + pick(id, 13, 4)), steps, pick(id, 14, 2), id);
    if (pick(id, 15, 3) == 0)
        for (int64_t i = 0; i < steps * p->n; i += 3) p->labels[i] = i % 2 ? -1 : o.num_classes + i; /* nobody's */
    return p;
}

static void describe(const problem *p, int id, char *text, size_t size)
{
    const pfc_partial_fc_config *o = &p->cfg;
    snprintf(text, size, "case %d: head %d N %d C %d D %d steps %d rate %g num %d rule %d loss %d grad %d fallback %d clamp %d thr %g mom %d/%g/%d unowned %d",
             id, (int)o->head, (int)p->n, (int)o->num_classes, (int)o->embedding_size, (int)p->steps, o->sample_rate, (int)o->num_sample, (int)o->sample_rule,
             (int)o->loss, (int)o->arc_gradient, (int)o->arc_fallback, o->cos_clamp, o->interclass_threshold, (int)o->momentum_rule, o->momentum, o->nesterov,
             (int)o->unowned_label);
}

/* Exact: double rounding errors of sums this short, amplified by scale and steps. Fast: semantics.md appendix D. Where all rows are nearly certain,
 * loss and gradients are differences of numbers near 1: below 0.01 the tolerance is absolute. */
static void compare(const outcome *got, const outcome *want, pfc_mode mode, const char *text)
{
    ck_assert_msg(got->status == want->status, "%s: status %d, the equations say %d", text, got->status, want->status);
    ck_assert_msg(got->labels_kept, "%s: the caller's labels changed", text);
    for (int k = 0; k < RESULTS && got->status == PFC_OK; k++) {
        double tolerance = mode == PFC_EXACT ? 1e-11 : k == LOSS ? 1e-5 : 1e-4;
        if (k == SAMPLED) tolerance = 0;
        double err = worst(got->v[k], want->v[k], got->size[k], .01);
        ck_assert_msg(err <= tolerance, "%s: %s differs by %g, allowed %g", text, RESULT_NAMES[k], err, tolerance);
    }
}

/* Logits are the head of the library's own cosines, NaN included. */
static void check_head(const outcome *o, const problem *p, const char *text)
{
    int64_t c = p->cfg.num_classes;
    const int64_t *labels = p->labels + (p->steps - 1) * p->n;
    for (int64_t i = 0; i < p->n * c; i++) {
        double logit, slope;
        if (o->v[SAMPLED][i % c] == 0) continue;
        pfc_dense_partial_fc_head(&p->cfg, o->v[COSINE][i], labels[i / c] == i % c, &logit, &slope);
        double got = o->v[LOGITS][i];
        ck_assert_msg(isnan(got) ? isnan(logit) : fabs(got - logit) <= 1e-14 * (p->cfg.scale + fabs(logit)), "%s: logit %g of cosine %.17g, expected %g", text,
                      got, o->v[COSINE][i], logit);
    }
}

static void table(pfc_mode mode, int every)
{
    int ranks = pfc_test_ranks();
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, mode, NULL, 1);
    for (int id = 0; id < TABLE; id += every) {
        char text[300];
        problem *p = table_problem(id, ranks);
        describe(p, id, text, sizeof text);
        outcome *got = problem_library(MPI_COMM_WORLD, ctx, p, id % 2), *want = problem_dense(p, ranks);
        compare(got, want, mode, text);
        if (mode == PFC_EXACT && got->status == PFC_OK) check_head(got, p, text);
        outcome_free(got);
        outcome_free(want);
        problem_free(p);
    }
    pfc_ctx_destroy(&ctx);
}

START_TEST(exact_table)
{
    table(PFC_EXACT, 1);
}
END_TEST

START_TEST(fast_table)
{
    table(PFC_FAST, 1);
}
END_TEST

/* ---- golden numbers 10.1: on one rank and on two, as printed (float32 inputs: seven digits) ---- */

static void mat(int seed, int64_t count, double *out)
{
    for (int64_t i = 0; i < count; i++) out[i] = (double)(float)sin(1.0 + 0.7 * (double)i + 1.3 * seed);
}

static problem *golden_problem(pfc_head_kind head, double s, double m)
{
    static const int64_t labels[4] = { 0, 3, 4, 1 };
    pfc_partial_fc_config o = problem_config(5, 4);
    o.head = head;
    o.scale = s;
    o.margin = m;
    o.xgrad_scale = NAN;
    problem *p = problem_new(&o, 4, 1, false, 0);
    mat(1, 16, p->x);
    mat(2, 20, p->weight);
    memcpy(p->labels, labels, sizeof labels);
    return p;
}

static void golden(MPI_Comm comm, pfc_mode mode)
{
    static const struct {
        pfc_head_kind head;
        double s, m, loss, dx[4], dw[4]; /* dx: row 0, before the factor P; dw: class 3 */
    } G[] = {
        { PFC_HEAD_LINEAR,
          1,
          0,
          1.589853494745,
          { .2044305994, .1848098000, .0782700640, -.0650813062 },
          { .0823723796, .0261631471, -.0423510224, -.0909468443 } },
        { PFC_HEAD_COS,
          16,
          .4,
          11.024397157547,
          { 1.4442496734, 2.0286100997, 1.6588834982, .5089580667 },
          { .0901167788, .0970635944, .0583598849, -.0077913904 } },
        { PFC_HEAD_ARC,
          16,
          .5,
          11.219629818744,
          { 1.4735162361, 2.0697182583, 1.6924994434, .5192716943 },
          { .1311140711, .1412212375, .0849098492, -.0113359679 } },
        { PFC_HEAD_CIRCLE,
          16,
          .25,
          16.812555530310,
          { 1.4531952246, 2.0411751262, 1.6691584718, .5121105067 },
          { .4066774891, .4380269620, .2633655104, -.0351608560 } },
    };
    pfc_ctx *ctx = make_ctx(comm, mode, NULL, 1);
    double ranks = pfc_ctx_ranks(ctx);
    for (size_t g = 0; g < sizeof G / sizeof G[0]; g++) {
        problem *p = golden_problem(G[g].head, G[g].s, G[g].m);
        outcome *o = problem_library(comm, ctx, p, false), *want = problem_dense(p, (int)ranks);
        double tolerance = mode == PFC_EXACT ? 3e-6 : 1e-5; /* |dl/dx| <= 16 times 2^-24 for each input */
        ck_assert_int_eq(o->status, PFC_OK);
        ck_assert_double_eq_tol(o->v[LOSS][0], G[g].loss, tolerance);
        for (int k = 0; k < 4; k++) ck_assert_double_eq_tol(o->v[X_GRAD][k] / ranks, G[g].dx[k], tolerance);
        for (int k = 0; k < 4; k++) ck_assert_double_eq_tol(o->v[WEIGHT_GRAD][12 + k], G[g].dw[k], tolerance);
        compare(o, want, mode, "golden");
        outcome_free(o);
        outcome_free(want);
        problem_free(p);
    }
    pfc_ctx_destroy(&ctx);
}

static void golden_cos_steps(MPI_Comm comm)
{
    static const double COSINES[5] = { 0.2871630367, -0.5608121071, 0.7940457061, -0.9544818142, 0.9971923844 };
    static const double MAX[4] = { 15.9550781502, 5.9307257217, 5.9251552286, 11.7680495119 },
                        SUM[4] = { 1.038760780570, 1.084040946415, 1.070352580056, 1.000271747201 };
    static const double PROB[4] = { 1.862990020313e-08, 9.224743800567e-01, 9.342715836192e-01, 4.395645003681e-12 };
    static const double XGRAD[16] = { 2.8884993467, 4.0572201993, 3.3177669964, 1.0179161335, .0051942954,  .0131826687,   .0149710270,   .0097182773,
                                      -.0143063719, .1246867125,  .2050376877,  .1889562346,  2.5815452029, -1.7140600967, -5.2035161499, -6.2456772506 };
    pfc_ctx *ctx = make_ctx(comm, PFC_EXACT, NULL, 1);
    problem *p = golden_problem(PFC_HEAD_COS, 16, .4);
    p->cfg.xgrad_scale = 2;
    outcome *o = problem_library(comm, ctx, p, false);
    ck_assert_int_eq(o->status, PFC_OK);
    for (int k = 0; k < 5; k++) ck_assert_double_eq_tol(o->v[COSINE][k], COSINES[k], 2e-7);
    for (int k = 0; k < 4; k++) ck_assert_double_eq_tol(o->v[ROW_MAX][k], MAX[k], 3e-6);
    for (int k = 0; k < 4; k++) ck_assert_double_eq_tol(o->v[ROW_SUM][k], SUM[k], 3e-6);
    for (int k = 0; k < 4; k++) ck_assert_double_eq_tol(o->v[PROB_TARGET][k] / PROB[k], 1, 1e-5);
    for (int k = 0; k < 16; k++) ck_assert_double_eq_tol(o->v[X_GRAD][k], XGRAD[k], 1e-5);
    for (int k = 0; k < 5; k++) ck_assert_double_eq_tol(o->v[DLOGITS][k], (exp(o->v[LOGITS][k] - MAX[0]) / SUM[0] - (k == 0)) / 4, 1e-6);
    outcome_free(o);
    problem_free(p);
    pfc_ctx_destroy(&ctx);
}

/* Pairs of ranks; the last may be alone. */
static MPI_Comm pairs(void)
{
    MPI_Comm comm;
    MPI_Comm_split(MPI_COMM_WORLD, pfc_test_rank() / 2, 0, &comm);
    return comm;
}

START_TEST(golden_numbers)
{
    MPI_Comm two = pairs();
    golden(MPI_COMM_SELF, PFC_EXACT);
    golden(two, PFC_EXACT);
    golden_cos_steps(MPI_COMM_SELF);
    golden_cos_steps(two);
    MPI_Comm_free(&two);
}
END_TEST

START_TEST(golden_numbers_fast)
{
    MPI_Comm two = pairs();
    golden(MPI_COMM_SELF, PFC_FAST);
    golden(two, PFC_FAST);
    MPI_Comm_free(&two);
}
END_TEST

/* Class 2 left out: the printed loss of the sampled variant. Its keys are the lowest and each rank of two asks for two. */
START_TEST(golden_sampled)
{
    static const double keys[5] = { .1, .2, .0, .3, .4 };
    MPI_Comm two = pairs();
    pfc_ctx *ctx = make_ctx(two, PFC_EXACT, NULL, 1);
    problem *p = golden_problem(PFC_HEAD_COS, 16, .4);
    p->keys = calloc(5, sizeof(double));
    memcpy(p->keys, keys, sizeof keys);
    p->cfg.num_sample = pfc_ctx_ranks(ctx) == 2 ? 2 : 4;
    outcome *o = problem_library(two, ctx, p, false);
    ck_assert_int_eq(o->status, PFC_OK);
    ck_assert_double_eq_tol(o->v[LOSS][0], 11.007816606866, 3e-6);
    outcome_free(o);
    problem_free(p);
    pfc_ctx_destroy(&ctx);
    MPI_Comm_free(&two);
}
END_TEST

/* ---- special rows ---- */

/* Some rows and weights are zero, some are multiples of an axis (|z| = 1 exactly). */
static problem *special_problem(pfc_head_kind head, int clamp, pfc_arc_gradient gradient, int ranks)
{
    pfc_partial_fc_config o = problem_config(7, 4);
    o.head = head;
    o.margin = .5;
    o.cos_clamp = clamp;
    o.arc_gradient = gradient;
    o.lr = .1;
    problem *p = problem_new(&o, 3 * ranks, 1, false, 900);
    for (int k = 0; k < 4; k++) {
        p->x[k] = 0;                /* a zero row */
        p->x[4 + k] = 2 * (k == 1); /* powers of two: exact in any precision */
        p->weight[2 * 4 + k] = .5 * (k == 1);
        p->weight[5 * 4 + k] = -2 * (k == 1);
        p->weight[6 * 4 + k] = 0;
    }
    p->labels[0] = 1;
    p->labels[1] = 2;
    p->labels[2] = 6;
    return p;
}

static void zero_rows_and_poles(pfc_mode mode)
{
    int ranks = pfc_test_ranks();
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, mode, NULL, 1);
    for (int head = 0; head < HEADS; head++)
        for (int variant = 0; variant < 4; variant++) {
            problem *p = special_problem((pfc_head_kind)head, variant & 1, (pfc_arc_gradient)(variant >> 1), ranks);
            outcome *got = problem_library(MPI_COMM_WORLD, ctx, p, false), *want = problem_dense(p, ranks);
            char text[100];
            snprintf(text, sizeof text, "special rows: head %d clamp %d gradient %d", head, variant & 1, variant >> 1);
            compare(got, want, mode, text);
            bool pole = head == PFC_HEAD_ARC && variant == 0;
            ck_assert_msg(isfinite(got->v[LOSS][0]), "%s", text);
            ck_assert_msg(isnan(got->v[X_GRAD][4]) == pole && isnan(got->v[WEIGHT_GRAD][5 * 4]) == pole, "%s", text);
            if (head != PFC_HEAD_LINEAR) ck_assert_msg(fabs(got->v[X_GRAD][0]) > 1e9, "%s: the gradient of a zero row is divided by 1e-12", text);
            outcome_free(got);
            outcome_free(want);
            problem_free(p);
        }
    pfc_ctx_destroy(&ctx);
}

START_TEST(exact_zero_rows_and_poles)
{
    zero_rows_and_poles(PFC_EXACT);
}
END_TEST

START_TEST(fast_zero_rows_and_poles)
{
    zero_rows_and_poles(PFC_FAST);
}
END_TEST

/* Rows parallel to a class: rounding takes some cosines above 1. Those rows are NaN, the others are not, and the clamp heals them. */
START_TEST(cosines_beyond_one)
{
    int ranks = pfc_test_ranks();
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 1);
    pfc_partial_fc_config o = problem_config(40, 9);
    o.head = PFC_HEAD_ARC;
    o.margin = .5;
    problem *p = problem_new(&o, ranks * (40 / ranks), 1, false, 31);
    for (int64_t i = 0; i < p->n; i++)
        for (int k = 0; k < 9; k++) p->x[i * 9 + k] = (i % 3 ? -2 : 4) * p->weight[i * 9 + k];
    outcome *got = problem_library(MPI_COMM_WORLD, ctx, p, false);
    ck_assert_int_eq(got->status, PFC_OK);
    check_head(got, p, "beyond one");
    int64_t beyond = 0;
    for (int64_t i = 0; i < p->n; i++) {
        bool outside = fabs(got->v[COSINE][i * 40 + i]) > 1;
        beyond += outside;
        ck_assert(isnan(got->v[ROW_MAX][i]) == outside);
        ck_assert(isnan(got->v[PROB_TARGET][i]) == outside);
        for (int j = 0; j < 40; j++) ck_assert(isnan(got->v[DLOGITS][i * 40 + j]) == outside);
        if (outside) ck_assert(isnan(got->v[X_GRAD][i * 9]));
    }
    ck_assert_int_gt(beyond, 0);
    ck_assert_int_lt(beyond, p->n);
    ck_assert(isnan(got->v[LOSS][0]));
    outcome_free(got);
    p->cfg.cos_clamp = 1;
    got = problem_library(MPI_COMM_WORLD, ctx, p, false);
    for (int k = 0; k < SAMPLED; k++)
        for (int64_t i = 0; i < got->size[k]; i++) ck_assert_msg(isfinite(got->v[k][i]), "%s is not finite with cos_clamp", RESULT_NAMES[k]);
    outcome_free(got);
    problem_free(p);
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(nonfinite_inputs)
{
    static const double BAD[3] = { NAN, INFINITY, -INFINITY };
    int ranks = pfc_test_ranks();
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 1);
    for (int head = 0; head < HEADS; head++)
        for (int k = 0; k < 6; k++) {
            pfc_partial_fc_config o = problem_config(9, 5);
            o.head = (pfc_head_kind)head;
            o.scale = 2;
            problem *p = problem_new(&o, 2 * ranks, 1, false, 50 + k);
            if (k < 3)
                p->x[7] = BAD[k];
            else
                p->weight[5 * 4 + 1] = BAD[k - 3];
            char text[60];
            snprintf(text, sizeof text, "non-finite input %d, head %d", k, head);
            outcome *got = problem_library(MPI_COMM_WORLD, ctx, p, false), *want = problem_dense(p, ranks);
            compare(got, want, PFC_EXACT, text);
            outcome_free(got);
            outcome_free(want);
            problem_free(p);
        }
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* A dropped row takes no part, whatever it holds: the bits of a row of zeros, and no gradient for it. */
START_TEST(dropped_rows_may_hold_anything)
{
    for (int mode = PFC_EXACT; mode <= PFC_FAST; mode++) {
        pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, (pfc_mode)mode, NULL, 1);
        pfc_partial_fc_config o = problem_config(9, 5);
        o.unowned_label = PFC_UNOWNED_IGNORE;
        problem *p = problem_new(&o, 3 * pfc_test_ranks(), 1, false, 60);
        p->labels[1] = -1;
        for (int k = 0; k < 5; k++) p->x[5 + k] = 0;
        outcome *want = problem_library(MPI_COMM_WORLD, ctx, p, false);
        p->x[5] = NAN, p->x[6] = INFINITY;
        outcome *got = problem_library(MPI_COMM_WORLD, ctx, p, false);
        ck_assert(got->status == PFC_OK && want->status == PFC_OK);
        int k = first_difference(got, want);
        ck_assert_msg(k < 0, "mode %d: %s differs", mode, k < 0 ? "" : RESULT_NAMES[k]);
        outcome_free(got);
        p->weight[0] = NAN; /* nor do classes with a NaN reach it */
        got = problem_library(MPI_COMM_WORLD, ctx, p, false);
        ck_assert(got->status == PFC_OK && isnan(got->v[X_GRAD][0]) && same_bits(got->v[X_GRAD] + 5, (const double[5]){ 0 }, 5));
        outcome_free(got);
        outcome_free(want);
        problem_free(p);
        pfc_ctx_destroy(&ctx);
    }
}
END_TEST

/* ---- what is refused ---- */

static pfc_status create_with(pfc_ctx *ctx, pfc_partial_fc_config o)
{
    pfc_partial_fc *layer = NULL;
    pfc_status status = pfc_partial_fc_create(ctx, &o, &layer);
    pfc_partial_fc_destroy(&layer);
    return status;
}

START_TEST(refused)
{
    pfc_ctx *ctx = make_ctx(MPI_COMM_WORLD, PFC_EXACT, NULL, 1);
    pfc_partial_fc_config o = problem_config(7, 3);
    ck_assert_int_eq(create_with(ctx, o), PFC_OK);
    o.num_classes = 0;
    ck_assert_int_eq(create_with(ctx, o), PFC_ERR_ARG);
    o = problem_config(7, 0);
    ck_assert_int_eq(create_with(ctx, o), PFC_ERR_ARG);
    o = problem_config(7, 3);
    o.sample_rate = 2;
    ck_assert_int_eq(create_with(ctx, o), PFC_ERR_ARG);
    o.num_sample = 2; /* decides instead of the rate */
    ck_assert_int_eq(create_with(ctx, o), PFC_OK);
    o = problem_config(7, 3);
    o.nesterov = 1;
    o.momentum = 0;
    ck_assert_int_eq(create_with(ctx, o), PFC_ERR_ARG);

    /* one rank with more rows than the others */
    o = problem_config(7, 3);
    pfc_partial_fc *layer = NULL;
    ck_assert_int_eq(pfc_partial_fc_create(ctx, &o, &layer), PFC_OK);
    float x[6] = { 1, 2, 3, 4, 5, 6 };
    int64_t labels[2] = { 0, 1 }, rows = pfc_test_rank() == pfc_test_ranks() - 1 ? 2 : 1;
    pfc_partial_fc_result r = { 0, pfc_view_make(NULL, PFC_F64, 0, 0), pfc_view_make(NULL, PFC_F64, 0, 0), pfc_view_make(NULL, PFC_I64, 0, 0) };
    pfc_status status =
        pfc_partial_fc_step(layer, pfc_view_make(x, PFC_F32, rows, 3), pfc_view_make(labels, PFC_I64, rows, 1), pfc_view_make(NULL, PFC_F64, 0, 0), &r);
    ck_assert_int_eq(status, pfc_test_ranks() == 1 ? PFC_OK : PFC_ERR_SHAPE);
    ck_assert(pfc_test_ranks() == 1 || strlen(pfc_ctx_error(ctx)) > 0);
    /* and the layer still works */
    status = pfc_partial_fc_step(layer, pfc_view_make(x, PFC_F32, 1, 3), pfc_view_make(labels, PFC_I64, 1, 1), pfc_view_make(NULL, PFC_F64, 0, 0), &r);
    ck_assert_int_eq(status, PFC_OK);
    ck_assert(isfinite(r.loss));
    pfc_partial_fc_destroy(&layer);
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(exact_table),
        PFC_ONCE(fast_table),
        PFC_ONCE(golden_numbers),
        PFC_ONCE(golden_numbers_fast),
        PFC_ONCE(golden_sampled),
        PFC_ONCE(exact_zero_rows_and_poles),
        PFC_ONCE(fast_zero_rows_and_poles),
        PFC_ONCE(cosines_beyond_one),
        PFC_ONCE(nonfinite_inputs),
        PFC_ONCE(dropped_rows_may_hold_anything),
        PFC_ONCE(refused),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
