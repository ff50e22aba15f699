/* test_partial_fc_rules.c: what must hold for PartialFC whatever the numbers are: the same bits on any split of the ranks, the invariants of
 * semantics.md section 9 (11 and 12 are in test_partial_fc_gradients.c). */
#include "partial_fc_problem.h"
#include "pfc_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static outcome *run(MPI_Comm comm, const problem *p, const char *engine, int threads)
{
    pfc_ctx *ctx = make_ctx(comm, PFC_EXACT, engine, threads);
    outcome *o = problem_library(comm, ctx, p, false);
    pfc_ctx_destroy(&ctx);
    ck_assert_int_eq(o->status, PFC_OK);
    return o;
}

static outcome *run_world(const problem *p) { return run(MPI_COMM_WORLD, p, NULL, 1); }

/* Rows enough for any of 1, 2, 3, 5, 8 ranks, and for this number. */
static int64_t rows(void) { return pfc_test_ranks() * 4; }

/* ---- 1: the same bits however the work is split ---- */

static void expect_same(const outcome *a, const outcome *b, const char *what)
{
    int k = first_difference(a, b);
    ck_assert_msg(k < 0, "%s: the bits of %s differ", what, k < 0 ? "" : RESULT_NAMES[k]);
}

START_TEST(same_bits_on_any_split)
{
    MPI_Comm halves;
    MPI_Comm_split(MPI_COMM_WORLD, pfc_test_rank() % 2, 0, &halves);
    int half;
    MPI_Comm_size(halves, &half);
    for (int head = 0; head < 4; head++)
        for (int sampled = 0; sampled < 2; sampled++) {
            pfc_partial_fc_config o = problem_config(43, 21);
            o.head = (pfc_head_kind)head;
            o.scale = head ? 64 : 1;
            o.margin = .4;
            o.sample_rule = PFC_SAMPLE_GLOBAL;
            o.sample_rate = sampled ? .6 : 1;
            o.lr = .1;
            o.weight_decay = .01;
            o.loss = sampled ? PFC_LOSS_LSE : PFC_LOSS_CLAMP;
            problem *p = problem_new(&o, rows(), 3, false, 400 + head);
            outcome *world = run_world(p), *self = run(MPI_COMM_SELF, p, NULL, 1);
            expect_same(world, self, "one rank");
            if (p->n % half == 0) {
                outcome *other = run(halves, p, NULL, 1);
                expect_same(other, self, "half the ranks");
                outcome_free(other);
            }
            outcome *other = run(MPI_COMM_WORLD, p, "int128", 1);
            expect_same(other, self, "integer engine");
            outcome_free(other);
            other = run(MPI_COMM_WORLD, p, NULL, 2);
            expect_same(other, self, "two threads");
            outcome_free(other);
            outcome_free(world);
            outcome_free(self);
            problem_free(p);
        }
    MPI_Comm_free(&halves);
}
END_TEST

/* ---- 2, 3 ---- */

START_TEST(linear_is_plain_softmax)
{
    enum { D = 4, C = 9 };
    pfc_partial_fc_config o = problem_config(C, D);
    o.head = PFC_HEAD_LINEAR;
    o.scale = 1;
    problem *p = problem_new(&o, rows(), 1, false, 7);
    outcome *got = run_world(p);
    double loss = 0;
    double *dx = calloc((size_t)(p->n * D), 8), dw[C * D] = { 0 };
    for (int64_t i = 0; i < p->n; i++) {
        double l[C] = { 0 }, sum = 0;
        for (int j = 0; j < C; j++) {
            for (int k = 0; k < D; k++) l[j] += p->x[i * D + k] * p->weight[j * D + k];
            sum += exp(l[j]);
        }
        loss += (log(sum) - l[p->labels[i]]) / (double)p->n;
        for (int j = 0; j < C; j++)
            for (int k = 0; k < D; k++) {
                double g = (exp(l[j]) / sum - (j == p->labels[i])) / (double)p->n;
                dx[i * D + k] += g * p->weight[j * D + k];
                dw[j * D + k] += g * p->x[i * D + k];
            }
    }
    ck_assert_double_eq_tol(got->v[LOSS][0], loss, 1e-13);
    ck_assert_double_lt(worst(got->v[X_GRAD], dx, p->n * D, 0), 1e-12);
    ck_assert_double_lt(worst(got->v[WEIGHT_GRAD], dw, C * D, 0), 1e-12);
    free(dx);
    outcome_free(got);
    problem_free(p);
}
END_TEST

START_TEST(sum_rules)
{
    for (int head = 0; head < 4; head++) {
        pfc_partial_fc_config o = problem_config(31, 6);
        o.head = (pfc_head_kind)head;
        problem *p = problem_new(&o, rows(), 1, false, 8);
        outcome *got = run_world(p);
        double total = 0;
        for (int64_t i = 0; i < p->n; i++) {
            double sum = 0;
            for (int j = 0; j < 31; j++) {
                sum += got->v[DLOGITS][i * 31 + j];
                total += fabs(got->v[DLOGITS][i * 31 + j]);
            }
            ck_assert_double_eq_tol(sum, 0, 1e-15);
        }
        ck_assert_double_le(total, 2 + 1e-14);
        ck_assert_double_gt(total, 0.1);
        outcome_free(got);
        problem_free(p);
    }
}
END_TEST

/* ---- 4, 5, 6 ---- */

START_TEST(factor_of_ranks)
{
    pfc_partial_fc_config o = problem_config(11, 5);
    problem *p = problem_new(&o, rows(), 1, false, 9);
    outcome *one = run(MPI_COMM_SELF, p, NULL, 1);
    p->cfg.xgrad_scale = NAN;
    outcome *got = run_world(p);
    for (int64_t i = 0; i < got->size[X_GRAD]; i++) ck_assert_double_eq(got->v[X_GRAD][i], one->v[X_GRAD][i] * pfc_test_ranks());
    ck_assert(same_bits(got->v[WEIGHT_GRAD], one->v[WEIGHT_GRAD], one->size[WEIGHT_GRAD])); /* the weights' gradient has no such factor */
    outcome_free(one);
    outcome_free(got);
    problem_free(p);
}
END_TEST

/* Cosine of the angle between rows of a and rows of b, at most. */
static double alignment(const double *a, const double *b, int64_t count, int64_t d)
{
    double most = 0;
    for (int64_t i = 0; i < count; i++) {
        double ab = 0, aa = 0, bb = 0;
        for (int64_t k = i * d; k < (i + 1) * d; k++) ab += a[k] * b[k], aa += a[k] * a[k], bb += b[k] * b[k];
        if (aa > 0 && bb > 0) most = fmax(most, fabs(ab) / sqrt(aa * bb));
    }
    return most;
}

START_TEST(gradients_are_tangential)
{
    for (int head = PFC_HEAD_COS; head <= PFC_HEAD_CIRCLE; head++) {
        pfc_partial_fc_config o = problem_config(13, 8);
        o.head = (pfc_head_kind)head;
        o.scale = 8;
        problem *p = problem_new(&o, rows(), 1, false, 10);
        outcome *got = run_world(p);
        ck_assert_double_lt(alignment(p->x, got->v[X_GRAD], p->n, 8), 1e-11);
        ck_assert_double_lt(alignment(p->weight, got->v[WEIGHT_GRAD], 13, 8), 1e-11);
        outcome_free(got);
        problem_free(p);
    }
}
END_TEST

/* Four times as long: exactly the same directions. Three times: up to rounding. */
START_TEST(lengths_do_not_matter)
{
    enum { D = 6, C = 10 };
    for (int factor = 3; factor <= 4; factor++) {
        pfc_partial_fc_config o = problem_config(C, D);
        problem *p = problem_new(&o, rows(), 1, false, 11);
        for (int64_t k = 0; k < p->n * D; k++) p->x[k] = rint(p->x[k] * 1024) / 1024; /* room for the factor */
        for (int64_t k = 0; k < C * D; k++) p->weight[k] = rint(p->weight[k] * 1024) / 1024;
        outcome *before = run_world(p);
        for (int k = 0; k < D; k++) p->x[k] *= factor, p->weight[5 * D + k] *= factor;
        outcome *after = run_world(p);
        for (int k = 0; k < D; k++) after->v[X_GRAD][k] *= factor, after->v[WEIGHT_GRAD][5 * D + k] *= factor;
        for (int k = LOSS; k <= WEIGHT_GRAD; k++) {
            if (factor == 4) ck_assert_msg(same_bits(before->v[k], after->v[k], before->size[k]), "%s changed", RESULT_NAMES[k]);
            ck_assert_double_lt(worst(after->v[k], before->v[k], before->size[k], 0), 1e-12);
        }
        outcome_free(before);
        outcome_free(after);
        problem_free(p);
    }
}
END_TEST

/* ---- 7, 8: sampling ---- */

START_TEST(sampled_classes)
{
    enum { C = 50, D = 4 };
    int ranks = pfc_test_ranks();
    for (int64_t want = 0; want < 12; want += 3) {
        pfc_partial_fc_config o = problem_config(C, D);
        o.num_sample = want;
        o.lr = .1;
        o.weight_decay = .1;
        problem *p = problem_new(&o, rows(), 1, want % 2, 12);
        outcome *got = run_world(p);
        for (int r = 0; r < ranks; r++) {
            pfc_shard s = pfc_shard_of(C, ranks, r);
            int64_t positives = 0, sampled = 0;
            for (int64_t j = s.start; j < s.start + s.count; j++) {
                bool positive = false;
                for (int64_t i = 0; i < p->n; i++) positive = positive || p->labels[i] == j;
                positives += positive;
                sampled += (int64_t)got->v[SAMPLED][j];
                ck_assert_msg(!positive || got->v[SAMPLED][j] == 1, "positive %d is not sampled", (int)j);
                bool kept = memcmp(got->v[WEIGHT] + j * D, p->weight + j * D, D * 8) == 0 && memcmp(got->v[MOMENTUM] + j * D, p->momentum + j * D, D * 8) == 0;
                ck_assert_msg(kept == (got->v[SAMPLED][j] == 0), "row %d: sampled %d, kept %d", (int)j, (int)got->v[SAMPLED][j], kept);
            }
            int64_t asked = want < s.count ? want : s.count;
            ck_assert_int_eq(sampled, positives > asked ? positives : asked);
        }
        outcome_free(got);
        problem_free(p);
    }
}
END_TEST

START_TEST(all_sampled_is_full)
{
    pfc_partial_fc_config o = problem_config(23, 5);
    o.lr = .1;
    problem *p = problem_new(&o, rows(), 2, false, 13);
    outcome *full = run_world(p);
    p->cfg.num_sample = 23;
    outcome *sampled = run_world(p);
    expect_same(sampled, full, "num_sample = num_local");
    outcome_free(full);
    outcome_free(sampled);
    problem_free(p);
}
END_TEST

/* Same keys, same step number: the same classes; another seed or step: others. */
START_TEST(own_keys)
{
    pfc_partial_fc_config o = problem_config(200, 3);
    o.sample_rule = PFC_SAMPLE_GLOBAL;
    o.sample_rate = .3;
    o.seed = 5000000000; /* needs both words of the key */
    o.first_step = 7;
    problem *p = problem_new(&o, rows(), 1, false, 14);
    outcome *own = run_world(p);
    p->keys = calloc(200, 8);
    for (int64_t j = 0; j < 200; j++) p->keys[j] = pfc_uniform(5000000000, j, 7, PFC_STREAM_CLASS_KEY);
    outcome *given = run_world(p);
    expect_same(own, given, "keys given");
    for (int64_t j = 0; j < 200; j++) p->keys[j] = pfc_uniform(5000000000, j, 8, PFC_STREAM_CLASS_KEY);
    outcome *later = run_world(p);
    ck_assert(!same_bits(own->v[SAMPLED], later->v[SAMPLED], 200));
    outcome_free(own);
    outcome_free(given);
    outcome_free(later);
    problem_free(p);
}
END_TEST

/* ---- the state between steps ---- */

/* One step on one rank; w (C,D) goes in as float64 and comes out after it. */
static void step_from(pfc_partial_fc *layer, const problem *p, double *w)
{
    int64_t c = p->cfg.num_classes, d = p->cfg.embedding_size;
    pfc_view none = pfc_view_make(NULL, PFC_F64, 0, 0), weight = pfc_view_make(w, PFC_F64, c, d);
    pfc_partial_fc_result r = { 0, none, none, pfc_view_make(NULL, PFC_I64, 0, 0) };
    ck_assert_int_eq(pfc_partial_fc_set_state(layer, weight, none), PFC_OK);
    ck_assert_int_eq(pfc_partial_fc_step(layer, pfc_view_make(p->x, PFC_F64, p->n, d), pfc_view_make(p->labels, PFC_I64, p->n, 1), none, &r), PFC_OK);
    ck_assert_int_eq(pfc_partial_fc_get_state(layer, weight, none), PFC_OK);
}

START_TEST(minus_zero_is_no_large_key)
{
    pfc_partial_fc_config o = problem_config(40, 5);
    o.sample_rate = 0.4;
    for (int rule = PFC_SAMPLE_SHARD; rule <= PFC_SAMPLE_GLOBAL; rule++) {
        o.sample_rule = (pfc_sample_rule)rule;
        problem *p = problem_new(&o, pfc_test_ranks(), 1, true, 31);
        for (int64_t i = 0; i < p->n; i++) p->labels[i] = 0;
        p->keys[7] = 0.0;
        outcome *want = run_world(p);
        p->keys[7] = -0.0;
        outcome *got = run_world(p);
        ck_assert(first_difference(got, want) < 0 && got->v[SAMPLED][7] == 0.0);
        outcome_free(want);
        outcome_free(got);
        problem_free(p);
    }
}
END_TEST

/* A step starts from float32 weights, whatever was put in; what it leaves is float64. Twice, so that a state already rounded is replaced. */
START_TEST(state_is_rounded_before_a_step)
{
    enum { C = 9, D = 4 };
    pfc_partial_fc_config o = problem_config(C, D);
    o.lr = .1;
    o.momentum = 0;
    problem *p = problem_new(&o, 6, 1, false, 19);
    pfc_ctx *ctx = make_ctx(MPI_COMM_SELF, PFC_EXACT, NULL, 1);
    pfc_partial_fc *layer = NULL;
    ck_assert_int_eq(pfc_partial_fc_create(ctx, &o, &layer), PFC_OK);
    for (int round = 0; round < 2; round++) {
        double rounded[C * D], raw[C * D];
        int more = 0;
        for (int k = 0; k < C * D; k++) {
            rounded[k] = p->weight[k];
            raw[k] = p->weight[k] * (1 + 0x1p-27);
        }
        step_from(layer, p, rounded);
        step_from(layer, p, raw);
        for (int k = 0; k < C * D; k++) more += rounded[k] != (double)(float)rounded[k];
        ck_assert(same_bits(raw, rounded, C * D));
        ck_assert_int_gt(more, C * D / 2);
    }
    pfc_partial_fc_destroy(&layer);
    pfc_ctx_destroy(&ctx);
    problem_free(p);
}
END_TEST

/* ---- 9: order ---- */

static void swap_rows(double *a, int64_t i, int64_t j, int64_t d)
{
    for (int64_t k = 0; k < d; k++) {
        double t = a[i * d + k];
        a[i * d + k] = a[j * d + k];
        a[j * d + k] = t;
    }
}

static void reverse(double *a, int64_t count, int64_t d)
{
    for (int64_t i = 0; i < count / 2; i++) swap_rows(a, i, count - 1 - i, d);
}

START_TEST(order_does_not_matter)
{
    enum { C = 29, D = 7 };
    pfc_partial_fc_config o = problem_config(C, D);
    o.head = PFC_HEAD_ARC;
    o.lr = .1;
    problem *p = problem_new(&o, rows(), 1, false, 15);
    outcome *before = run_world(p);

    reverse(p->x, p->n, D);
    for (int64_t i = 0; i < p->n / 2; i++) {
        int64_t t = p->labels[i];
        p->labels[i] = p->labels[p->n - 1 - i];
        p->labels[p->n - 1 - i] = t;
    }
    outcome *rows_reversed = run_world(p);
    reverse(rows_reversed->v[X_GRAD], p->n, D);
    for (int k = LOSS; k <= SAMPLED; k++)
        ck_assert_msg(same_bits(rows_reversed->v[k], before->v[k], before->size[k]), "%s depends on the order of the batch", RESULT_NAMES[k]);

    reverse(p->weight, C, D);
    reverse(p->momentum, C, D);
    for (int64_t i = 0; i < p->n; i++) p->labels[i] = C - 1 - p->labels[i];
    outcome *classes_reversed = run_world(p);
    reverse(classes_reversed->v[X_GRAD], p->n, D);
    for (int k = WEIGHT_GRAD; k <= MOMENTUM; k++) reverse(classes_reversed->v[k], C, D);
    for (int k = LOSS; k <= MOMENTUM; k++)
        ck_assert_msg(same_bits(classes_reversed->v[k], before->v[k], before->size[k]), "%s depends on the order of the classes", RESULT_NAMES[k]);
    outcome_free(before);
    outcome_free(rows_reversed);
    outcome_free(classes_reversed);
    problem_free(p);
}
END_TEST

/* ---- 10: saturation ---- */

START_TEST(saturated_rows)
{
    enum { D = 2, C = 3 };
    pfc_partial_fc_config o = problem_config(C, D);
    o.scale = 64;
    o.margin = .25;
    o.lr = .1;
    problem *p = problem_new(&o, pfc_test_ranks(), 1, false, 16);
    static const double w[C * D] = { -1, 0, .5, 0, 0, 1 };
    memcpy(p->weight, w, sizeof w);
    for (int64_t i = 0; i < p->n; i++) {
        p->x[i * D] = 2, p->x[i * D + 1] = 0;
        p->labels[i] = 0; /* logits -80, 64, 0 */
    }
    outcome *clamp = run_world(p);
    p->cfg.loss = PFC_LOSS_LSE;
    outcome *lse = run_world(p);
    ck_assert_double_eq_tol(clamp->v[LOSS][0], 69.07755278982137, 1e-13);
    ck_assert_double_eq_tol(lse->v[LOSS][0], 144, 1e-12);
    for (int k = X_GRAD; k < RESULTS; k++)
        ck_assert_msg(same_bits(clamp->v[k], lse->v[k], clamp->size[k]), "%s differs between clamp and lse", RESULT_NAMES[k]);
    ck_assert_double_eq_tol(clamp->v[X_GRAD][1], 0, 1e-25); /* in the plane of x and the two opposite classes nothing is tangential */
    outcome_free(clamp);
    outcome_free(lse);

    p->labels[0] = 7; /* nobody's: 69.0776/N and p/N */
    p->cfg.loss = PFC_LOSS_CLAMP;
    outcome *unowned = run_world(p);
    ck_assert_double_eq_tol(unowned->v[LOSS][0], 69.07755278982137, 1e-13);
    ck_assert_double_eq_tol(unowned->v[DLOGITS][1], 1 / (double)p->n, 1e-15);
    ck_assert_double_eq(unowned->v[PROB_TARGET][0], 0);
    outcome_free(unowned);
    problem_free(p);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(same_bits_on_any_split),
        PFC_ONCE(linear_is_plain_softmax),
        PFC_ONCE(sum_rules),
        PFC_ONCE(factor_of_ranks),
        PFC_ONCE(gradients_are_tangential),
        PFC_ONCE(lengths_do_not_matter),
        PFC_ONCE(sampled_classes),
        PFC_ONCE(all_sampled_is_full),
        PFC_ONCE(own_keys),
        PFC_ONCE(minus_zero_is_no_large_key),
        PFC_ONCE(state_is_rounded_before_a_step),
        PFC_ONCE(order_does_not_matter),
        PFC_ONCE(saturated_rows),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
