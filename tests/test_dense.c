/* test_dense.c: the dense equations against numbers known from elsewhere: the golden numbers of semantics.md 2.4, 2.8, 10.1, 10.2, 10.10, and finite
 * differences. */
#include "dense/dense.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Inputs of semantics.md section 10. */
static void mat(int seed, int64_t count, double *out)
{
    for (int64_t i = 0; i < count; i++) out[i] = sin(1.0 + 0.7 * (double)i + 1.3 * seed);
}

static pfc_partial_fc_config config(int64_t c, int64_t d)
{
    pfc_partial_fc_config o = pfc_partial_fc_defaults();
    o.num_classes = c;
    o.embedding_size = d;
    o.xgrad_scale = 1;
    return o;
}

/* got agrees with a printed number to the digits printed. */
#define PRINTED(got, want, digits) ck_assert_double_eq_tol((got), (want), 0.501 * pow(10, -(digits)))

/* ---- 10.1, 10.2 ---- */

static const int64_t GOLDEN_LABELS[4] = { 0, 3, 4, 1 };

static pfc_dense_partial_fc *golden(pfc_partial_fc_config o, const double *keys)
{
    double x[16];
    mat(1, 16, x);
    pfc_dense_partial_fc *p = pfc_dense_partial_fc_new(&o, 2, 4);
    ck_assert_ptr_nonnull(p);
    mat(2, 20, p->weight);
    ck_assert(pfc_dense_partial_fc_step(p, x, GOLDEN_LABELS, keys));
    return p;
}

typedef struct golden_row {
    pfc_head_kind head;
    pfc_arc_gradient gradient;
    double s, m, loss, dx0[4], dw3[4];
} golden_row;

static const golden_row GOLDEN[] = {
    { PFC_HEAD_LINEAR,
      PFC_ARC_EXACT,
      1,
      0,
      1.589853494745,
      { .2044305994, .1848098000, .0782700640, -.0650813062 },
      { .0823723796, .0261631471, -.0423510224, -.0909468443 } },
    { PFC_HEAD_COS,
      PFC_ARC_EXACT,
      16,
      .4,
      11.024397157547,
      { 1.4442496734, 2.0286100997, 1.6588834982, .5089580667 },
      { .0901167788, .0970635944, .0583598849, -.0077913904 } },
    { PFC_HEAD_ARC,
      PFC_ARC_EXACT,
      16,
      .5,
      11.219629818744,
      { 1.4735162361, 2.0697182583, 1.6924994434, .5192716943 },
      { .1311140711, .1412212375, .0849098492, -.0113359679 } },
    { PFC_HEAD_CIRCLE,
      PFC_ARC_EXACT,
      16,
      .25,
      16.812555530310,
      { 1.4531952246, 2.0411751262, 1.6691584718, .5121105067 },
      { .4066774891, .4380269620, .2633655104, -.0351608560 } },
    { PFC_HEAD_ARC,
      PFC_ARC_STRAIGHT_THROUGH,
      16,
      .5,
      11.219629818744,
      { 1.4442496943, 2.0286101291, 1.6588835223, .5089580741 },
      { .0899168076, .0968482081, .0582303830, -.0077741011 } },
};

START_TEST(golden_numbers)
{
    static const double COSINES[5] = { 0.2871630367, -0.5608121071, 0.7940457061, -0.9544818142, 0.9971923844 };
    const golden_row *g = &GOLDEN[_i];
    pfc_partial_fc_config o = config(5, 4);
    o.head = g->head;
    o.arc_gradient = g->gradient;
    o.scale = g->s;
    o.margin = g->m;
    pfc_dense_partial_fc *p = golden(o, NULL);
    PRINTED(p->loss, g->loss, 12);
    for (int k = 0; k < 4; k++) PRINTED(p->x_grad[k], g->dx0[k], 10);
    for (int k = 0; k < 4; k++) PRINTED(p->weight_grad[3 * 4 + k], g->dw3[k], 10);
    for (int k = 0; k < 5 && g->head != PFC_HEAD_LINEAR; k++) PRINTED(p->cosine[k], COSINES[k], 10);
    pfc_dense_partial_fc_free(p);
}
END_TEST

START_TEST(golden_cos_intermediate)
{
    static const double MAX0[4] = { 12.7047312969, 3.2937403930, 2.7232544402, 11.7680495119 },
                        MAX1[4] = { 15.9550781502, 5.9307257217, 5.9251552286, 2.3948839539 };
    static const double SUM[4] = { 1.038760780570, 1.084040946415, 1.070352580056, 1.000271747201 };
    static const double PROB[4] = { 1.862990020313e-08, 9.224743800567e-01, 9.342715836192e-01, 4.395645003681e-12 };
    static const double XGRAD[16] = { 2.8884993467, 4.0572201993, 3.3177669964, 1.0179161335, .0051942954,  .0131826687,   .0149710270,   .0097182773,
                                      -.0143063719, .1246867125,  .2050376877,  .1889562346,  2.5815452029, -1.7140600967, -5.2035161499, -6.2456772506 };
    pfc_partial_fc_config o = config(5, 4);
    o.scale = 16;
    o.margin = .4;
    o.xgrad_scale = NAN; /* the number of ranks, two */
    pfc_dense_partial_fc *p = golden(o, NULL);
    for (int i = 0; i < 4; i++) {
        const double *l = p->logits + 5 * i;
        PRINTED(fmax(l[0], fmax(l[1], l[2])), MAX0[i], 10);
        PRINTED(fmax(l[3], l[4]), MAX1[i], 10);
        PRINTED(p->row_max[i], fmax(MAX0[i], MAX1[i]), 10);
        PRINTED(p->row_sum[i], SUM[i], 12);
        ck_assert_double_eq_tol(p->prob_target[i] / PROB[i], 1, 1e-12);
    }
    for (int k = 0; k < 16; k++) PRINTED(p->x_grad[k], XGRAD[k], 10);
    pfc_dense_partial_fc_free(p);

    static const double KEYS[5] = { .1, .2, .0, .3, .4 }; /* with the positives {0,1,3,4}: class 2 is left out */
    o.num_sample = 2;
    p = golden(o, KEYS);
    PRINTED(p->loss, 11.007816606866, 12);
    ck_assert_int_eq(p->sampled[2], 0);
    ck_assert_int_eq(p->sampled[0] + p->sampled[1] + p->sampled[3] + p->sampled[4], 4);
    pfc_dense_partial_fc_free(p);
}
END_TEST

/* ---- 2.4, 2.8, 10.10 ---- */

START_TEST(sampling)
{
    static const int64_t labels[4] = { 9, 3, 14, 9 };
    double keys[16] = { 0, 0, 0, 0, 0, 0, 0, 0, .10, .00, .95, .20, .30, .90, .00, .50 };
    pfc_partial_fc_config o = config(16, 1);
    o.sample_rate = .5;
    pfc_dense_partial_fc *p = pfc_dense_partial_fc_new(&o, 2, 4);
    pfc_dense_partial_fc_sample(p, labels, keys);
    /* rank 0: positive 3, all keys equal: lower classes first; rank 1: the worked example */
    static const int64_t want[16] = { 1, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1, 0, 0, 1, 1, 0 };
    for (int j = 0; j < 16; j++) ck_assert_int_eq(p->sampled[j], want[j]);

    p->cfg.sample_rule = PFC_SAMPLE_GLOBAL; /* 8 in all: positives 3, 9, 14, then keys .95 .90 .50 .30 .20 */
    pfc_dense_partial_fc_sample(p, labels, keys);
    static const int64_t global[16] = { 0, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1 };
    for (int j = 0; j < 16; j++) ck_assert_int_eq(p->sampled[j], global[j]);

    p->cfg.sample_rate = 0; /* positives only */
    pfc_dense_partial_fc_sample(p, labels, keys);
    int64_t count = 0;
    for (int j = 0; j < 16; j++) count += p->sampled[j];
    ck_assert_int_eq(count, 3);
    ck_assert_int_eq(p->sampled[3] + p->sampled[9] + p->sampled[14], 3);
    pfc_dense_partial_fc_free(p);
}
END_TEST

START_TEST(truncation)
{
    static const struct {
        double rate;
        int64_t c, want;
    } T[] = { { .29, 100, 28 }, { .57, 100, 56 }, { .1, 30, 3 }, { .7, 10, 7 } };
    for (int t = 0; t < 4; t++) {
        static const int64_t labels[1] = { 0 };
        pfc_partial_fc_config o = config(T[t].c, 1);
        o.sample_rate = T[t].rate;
        pfc_dense_partial_fc *p = pfc_dense_partial_fc_new(&o, 1, 1);
        pfc_dense_partial_fc_sample(p, labels, NULL);
        int64_t count = 0;
        for (int64_t j = 0; j < T[t].c; j++) count += p->sampled[j];
        ck_assert_int_eq(count, T[t].want);
        pfc_dense_partial_fc_free(p);
    }
}
END_TEST

/* One class of two is sampled and nobody owns the label: p = 1, so its gradient is the feature, 0.5. Class 0 is visited at steps 1 and 3. */
static void two_visits(pfc_momentum_rule rule, double *w, double *buf)
{
    static const double x[1] = { .5 }, first[2] = { .9, .1 }, second[2] = { .1, .9 };
    static const int64_t nobody[1] = { -1 };
    pfc_partial_fc_config o = config(2, 1);
    o.head = PFC_HEAD_LINEAR;
    o.scale = 1;
    o.num_sample = 1;
    o.lr = .1;
    o.momentum = .9;
    o.weight_decay = .01;
    o.momentum_rule = rule;
    pfc_dense_partial_fc *p = pfc_dense_partial_fc_new(&o, 1, 1);
    p->weight[0] = 1;
    for (int t = 0; t < 3; t++) {
        p->steps = 0; /* the printed numbers have no float32 between the steps */
        ck_assert(pfc_dense_partial_fc_step(p, x, nobody, t == 1 ? second : first));
        ck_assert_double_eq(p->weight_grad[0], t == 1 ? 0 : .5);
    }
    *w = p->weight[0];
    *buf = p->momentum[0];
    pfc_dense_partial_fc_free(p);
}

START_TEST(lazy_and_dense_momentum)
{
    double w, buf;
    two_visits(PFC_MOMENTUM_LAZY, &w, &buf);
    PRINTED(w, 0.852151, 6);
    PRINTED(buf, 0.96849, 5);
    two_visits(PFC_MOMENTUM_DENSE, &w, &buf);
    PRINTED(w, 0.809084749, 9);
    PRINTED(buf, 0.93066251, 8);
}
END_TEST

START_TEST(saturated_row)
{
    static const double x[2] = { 1, 0 };
    static const int64_t label[1] = { 0 };
    pfc_partial_fc_config o = config(2, 2);
    o.margin = 0;
    o.scale = 50;
    double grad[2][2], loss[2];
    for (int kind = 0; kind < 2; kind++) {
        o.loss = kind ? PFC_LOSS_LSE : PFC_LOSS_CLAMP;
        pfc_dense_partial_fc *p = pfc_dense_partial_fc_new(&o, 1, 1);
        p->weight[0] = -1; /* the target is opposite: logits -50 and 40 */
        p->weight[2] = .8, p->weight[3] = .6;
        ck_assert(pfc_dense_partial_fc_step(p, x, label, NULL));
        loss[kind] = p->loss;
        memcpy(grad[kind], p->x_grad, sizeof grad[kind]);
        pfc_dense_partial_fc_free(p);
    }
    ck_assert_double_eq_tol(loss[0], 69.07755278982137, 1e-13);
    ck_assert_double_eq_tol(loss[1], 90, 1e-12);
    ck_assert_double_eq(grad[0][1], grad[1][1]);
    ck_assert_double_eq_tol(grad[1][1], 30, 1e-12); /* s * (0.6 - 0) */
}
END_TEST

/* ---- finite differences ---- */

enum { FN = 5, FD = 3, FC = 6 };

static const int64_t FD_LABELS[FN] = { 2, 0, 5, 2, 3 };

/* Loss with the circle's factors as given (l = s * a * (z - offset)), or the step's own loss. */
static double loss_at(const pfc_partial_fc_config *o, const double *x, const double *w, const double *frozen)
{
    pfc_dense_partial_fc *p = pfc_dense_partial_fc_new(o, 1, FN);
    memcpy(p->weight, w, sizeof(double) * FC * FD);
    ck_assert(pfc_dense_partial_fc_step(p, x, FD_LABELS, NULL));
    double total = 0;
    for (int i = 0; i < FN && frozen; i++) {
        double sum = 0, target = 0;
        for (int j = 0; j < FC; j++) {
            bool mine = FD_LABELS[i] == j;
            double l = frozen[i * FC + j] * (p->cosine[i * FC + j] - (mine ? 1 - o->margin : o->margin));
            sum += exp(l);
            if (mine) target = l;
        }
        total += log(sum) - target;
    }
    double loss = frozen ? total / FN : p->loss;
    pfc_dense_partial_fc_free(p);
    return loss;
}

/* Central difference with one step of Richardson's extrapolation, in element k of v (which is x or w). */
static double difference(const pfc_partial_fc_config *o, const double *x, const double *w, double *v, int k, const double *frozen)
{
    double h = 2e-4, at = v[k], value[4];
    for (int t = 0; t < 4; t++) {
        static const double AT[4] = { 1, -1, 2, -2 };
        v[k] = at + AT[t] * h;
        value[t] = loss_at(o, x, w, frozen);
    }
    v[k] = at;
    return (4 * (value[0] - value[1]) / (2 * h) - (value[2] - value[3]) / (4 * h)) / 3;
}

/* Largest difference between the gradients and the finite differences, over the largest gradient. */
static double worst_difference(const pfc_partial_fc_config *o, bool freeze)
{
    double x[FN * FD], w[FC * FD], worst = 0, top = 0;
    mat(11, FN * FD, x);
    mat(12, FC * FD, w);
    pfc_dense_partial_fc *p = pfc_dense_partial_fc_new(o, 1, FN);
    memcpy(p->weight, w, sizeof w);
    ck_assert(pfc_dense_partial_fc_step(p, x, FD_LABELS, NULL));
    const double *frozen = freeze ? p->slope : NULL;
    for (int k = 0; k < FN * FD; k++) {
        worst = fmax(worst, fabs(difference(o, x, w, x, k, frozen) - p->x_grad[k]));
        top = fmax(top, fabs(p->x_grad[k]));
    }
    for (int k = 0; k < FC * FD; k++) {
        worst = fmax(worst, fabs(difference(o, x, w, w, k, frozen) - p->weight_grad[k]));
        top = fmax(top, fabs(p->weight_grad[k]));
    }
    pfc_dense_partial_fc_free(p);
    return worst / top;
}

START_TEST(finite_differences)
{
    pfc_partial_fc_config o = config(FC, FD);
    o.scale = 4;
    o.margin = .3;
    for (int head = PFC_HEAD_LINEAR; head <= PFC_HEAD_CIRCLE; head++)
        for (int loss = 0; loss < 2; loss++) {
            o.head = (pfc_head_kind)head;
            o.loss = (pfc_loss_kind)loss;
            ck_assert_double_lt(worst_difference(&o, head == PFC_HEAD_CIRCLE), 1e-8);
        }
    ck_assert_double_gt(worst_difference(&o, false), 1e-2); /* the circle's factors are not differentiated */

    o.head = PFC_HEAD_ARC;
    o.margin = 1.2;
    for (int fallback = 0; fallback < 3; fallback++) {
        o.arc_fallback = (pfc_arc_fallback)fallback;
        ck_assert_double_lt(worst_difference(&o, false), 1e-8);
    }
    o.interclass_threshold = .35;
    ck_assert_double_lt(worst_difference(&o, false), 1e-8);
    o.arc_fallback = PFC_FALLBACK_NONE;
    o.arc_gradient = PFC_ARC_STRAIGHT_THROUGH;
    ck_assert_double_gt(worst_difference(&o, false), 1e-2); /* not the derivative, on purpose */
}
END_TEST

/* ---- special rows ---- */

START_TEST(poles)
{
    static const double x[4] = { 1, 0, 0, 1 };
    static const int64_t labels[2] = { 0, 2 };
    pfc_partial_fc_config o = config(3, 2);
    o.head = PFC_HEAD_ARC;
    o.margin = .5;
    o.scale = 4;
    for (int clamp = 0; clamp < 2; clamp++) {
        o.cos_clamp = clamp;
        pfc_dense_partial_fc *p = pfc_dense_partial_fc_new(&o, 1, 2);
        static const double w[6] = { 2, 0, .6, .8, -1, 1 };
        memcpy(p->weight, w, sizeof w);
        ck_assert(pfc_dense_partial_fc_step(p, x, labels, NULL));
        ck_assert(isfinite(p->loss)); /* z = 1 exactly: forward is fine */
        ck_assert(!isnan(p->x_grad[2]) && !isnan(p->x_grad[3]));
        ck_assert(isnan(p->x_grad[0]) == !clamp);
        ck_assert(isnan(p->weight_grad[0]) == !clamp);
        ck_assert(!isnan(p->weight_grad[2]));
        pfc_dense_partial_fc_free(p);
    }
    double l, d;
    o.cos_clamp = 0;
    pfc_dense_partial_fc_head(&o, 1.5, false, &l, &d);
    ck_assert(isnan(l));
    o.cos_clamp = 1;
    pfc_dense_partial_fc_head(&o, 1.5, false, &l, &d);
    ck_assert_double_eq(l, 4);
    ck_assert_double_eq(d, 0);
    pfc_dense_partial_fc_head(&o, 1, false, &l, &d);
    ck_assert_double_eq(d, 4);
    pfc_dense_partial_fc_head(&o, -1, true, &l, &d);
    ck_assert_double_eq(d, 0);
    ck_assert_double_eq_tol(l, -4 * cos(.5), 1e-15);
}
END_TEST

START_TEST(zero_feature_row)
{
    static const double x[4] = { 0, 0, 3, 4 };
    static const int64_t labels[2] = { 0, 1 };
    pfc_partial_fc_config o = config(2, 2);
    o.scale = 2;
    pfc_dense_partial_fc *p = pfc_dense_partial_fc_new(&o, 1, 2);
    static const double w[4] = { 1, 0, 0, 1 };
    memcpy(p->weight, w, sizeof w);
    ck_assert(pfc_dense_partial_fc_step(p, x, labels, NULL));
    ck_assert_double_eq(p->cosine[0], 0);
    double g = 2 * .5 / (1 + exp(.8)) * exp(.8); /* s (1 - p)/N, p = 1/(1 + e^(s m)) */
    ck_assert_double_eq_tol(p->x_grad[0] / (-g * 1e12), 1, 1e-12);
    ck_assert_double_eq_tol(p->x_grad[1] / (g * 1e12), 1, 1e-12);
    pfc_dense_partial_fc_free(p);
}
END_TEST

START_TEST(refused_labels)
{
    static const double x[2] = { 1, 2 };
    static const int64_t none[1] = { 2 };
    pfc_partial_fc_config o = config(2, 2);
    pfc_dense_partial_fc *p = pfc_dense_partial_fc_new(&o, 1, 1);
    p->weight[0] = p->weight[3] = 1;
    ck_assert(pfc_dense_partial_fc_step(p, x, none, NULL));
    ck_assert_double_eq_tol(p->loss, 69.07755278982137, 1e-13);
    p->cfg.loss = PFC_LOSS_LSE;
    ck_assert(!pfc_dense_partial_fc_step(p, x, none, NULL));
    p->cfg.unowned_label = PFC_UNOWNED_ERROR;
    ck_assert(!pfc_dense_partial_fc_step(p, x, none, NULL));
    p->cfg.unowned_label = PFC_UNOWNED_IGNORE;
    ck_assert(pfc_dense_partial_fc_step(p, x, none, NULL));
    ck_assert_double_eq(p->loss, 0);
    for (int k = 0; k < 4; k++) ck_assert_double_eq(p->weight_grad[k], 0);
    pfc_dense_partial_fc_free(p);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("dense");
    TCase *tc = tcase_create("partial_fc");
    tcase_add_loop_test(tc, golden_numbers, 0, (int)(sizeof GOLDEN / sizeof GOLDEN[0]));
    tcase_add_test(tc, golden_cos_intermediate);
    tcase_add_test(tc, sampling);
    tcase_add_test(tc, truncation);
    tcase_add_test(tc, lazy_and_dense_momentum);
    tcase_add_test(tc, saturated_row);
    tcase_add_test(tc, finite_differences);
    tcase_add_test(tc, poles);
    tcase_add_test(tc, zero_feature_row);
    tcase_add_test(tc, refused_labels);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_ENV);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
