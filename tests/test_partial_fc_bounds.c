/* test_partial_fc_bounds.c: the float32 bounds of partial_fc: correct results pass, wrong ones do not, and the bits are the same on any split of the
 * ranks (doc/numerics.md). */
#include "case/algorithms.h"
#include "case/partial_fc_inputs.h"
#include "dense/dense.h"
#include "pfc_test.h"
#include "same_bounds.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pfc_ctx *context(MPI_Comm comm, pfc_mode mode) { return pfc_test_ctx(comm, (pfc_options){ .mode = mode, .threads = 1 }); }

typedef struct setting {
    const char *fill;
    int64_t n, c, d;
    const char *params[16][2]; /* name, text; ends with NULL */
} setting;

/* The checked case of a setting; `name`, if not NULL, is set to `text` instead. Collective. */
static pfc_case *make_case(MPI_Comm comm, const setting *s, const char *name, const char *text)
{
    pfc_diag diag = { 0 };
    pfc_case *c = pfc_case_new(&pfc_algorithm_partial_fc);
    ck_assert_ptr_nonnull(c);
    for (int k = 0; s->params[k][0]; k++) pfc_case_set_param(c, s->params[k][0], name && !strcmp(name, s->params[k][0]) ? text : s->params[k][1], &diag);
    c->size['N' - 'A'] = s->n;
    c->size['C' - 'A'] = s->c;
    c->size['D' - 'A'] = s->d;
    if (!diag.exit_status) pfc_partial_fc_fill(comm, c, s->fill, 5, &diag);
    if (!diag.exit_status) pfc_case_check(comm, c, &diag);
    ck_assert_msg(!diag.exit_status, "%s", diag.text);
    return c;
}

static void run(pfc_ctx *ctx, pfc_case *c, bool bounds)
{
    pfc_diag diag = { 0 };
    pfc_partial_fc_run(ctx, c, true, &diag);
    if (!diag.exit_status && bounds) pfc_partial_fc_bounds(ctx, c, pfc_precision_find("f32"), &diag);
    ck_assert_msg(!diag.exit_status, "%s", diag.text);
}

static const setting SETTINGS[] = {
    { "normal", 24, 60, 16, { { "head", "linear" }, { "scale", "1.5" }, { "xgrad_scale", "1" }, { "lr", "0.1" }, { "steps", "2" }, { NULL, NULL } } },
    { "normal",
      24,
      60,
      16,
      { { "head", "cos" }, { "scale", "16" }, { "margin", "0.4" }, { "xgrad_scale", "1" }, { "lr", "0.01" }, { "steps", "3" }, { NULL, NULL } } },
    { "normal",
      24,
      60,
      16,
      { { "head", "arc" },
        { "scale", "16" },
        { "margin", "0.5" },
        { "xgrad_scale", "1" },
        { "lr", "0.01" },
        { "nesterov", "1" },
        { "loss", "lse" },
        { NULL, NULL } } },
    { "normal",
      24,
      60,
      16,
      { { "head", "circle" },
        { "scale", "16" },
        { "margin", "0.25" },
        { "xgrad_scale", "1" },
        { "sample_rule", "global" },
        { "sample_rate", "0.6" },
        { NULL, NULL } } },
    { "lattice",
      24,
      60,
      16,
      { { "head", "cos" }, { "scale", "8" }, { "margin", "0.25" }, { "xgrad_scale", "1" }, { "interclass_threshold", "0.3" }, { NULL, NULL } } },
    { "hard", 24, 60, 16, { { "head", "cos" }, { "scale", "8" }, { "margin", "0.25" }, { "xgrad_scale", "1" }, { NULL, NULL } } },
    { "hard",
      24,
      60,
      16,
      { { "head", "arc" },
        { "scale", "8" },
        { "margin", "0.5" },
        { "xgrad_scale", "1" },
        { "arc_fallback", "linear" },
        { "cos_clamp", "1" },
        { NULL, NULL } } },
};
enum { COUNT = sizeof SETTINGS / sizeof SETTINGS[0] };

/* Largest |got - want| / bound over a list of results, and how many elements could be decided. Collective. */
static double worst_ratio(MPI_Comm comm, const pfc_tensor_list *got, const pfc_tensor_list *want, const pfc_tensor_list *bounds, int64_t *decided)
{
    double worst = 0;
    pfc_diag diag = { 0 };
    for (int k = 0; k < bounds->count; k++) {
        const pfc_tensor *e = &bounds->items[k];
        void *a = NULL, *b = NULL;
        if (!strcmp(e->name, "sample_keys")) continue;
        ck_assert_int_eq(e->dtype, PFC_F64);
        ck_assert_int_eq(pfc_tensor_elements(e), pfc_tensor_elements(pfc_tensor_find(want, e->name)));
        pfc_tensor_gather(comm, pfc_tensor_find(got, e->name), &a, &diag);
        pfc_tensor_gather(comm, pfc_tensor_find(want, e->name), &b, &diag);
        bool f32 = pfc_tensor_find(got, e->name)->dtype == PFC_F32;
        for (int64_t i = 0; a && i < pfc_tensor_elements(e); i++) {
            double bound = ((const double *)e->data)[i], y = ((const double *)b)[i], x = f32 ? (double)((const float *)a)[i] : ((const double *)a)[i];
            if (!isfinite(y) || isinf(bound)) continue;
            (*decided)++;
            if (x != y) worst = fmax(worst, isfinite(x) ? fabs(x - y) / bound : INFINITY);
        }
        free(a);
        free(b);
    }
    MPI_Bcast(&worst, 1, MPI_DOUBLE, 0, comm);
    MPI_Bcast(decided, 1, MPI_INT64_T, 0, comm);
    ck_assert_msg(!diag.exit_status, "%s", diag.text);
    return worst;
}

START_TEST(fast_mode_passes)
{
    pfc_ctx *exact = context(MPI_COMM_WORLD, PFC_EXACT), *fast = context(MPI_COMM_WORLD, PFC_FAST);
    for (int k = 0; k < COUNT; k++) {
        pfc_case *want = make_case(MPI_COMM_WORLD, &SETTINGS[k], NULL, NULL), *got = make_case(MPI_COMM_WORLD, &SETTINGS[k], NULL, NULL);
        run(exact, want, true);
        run(fast, got, false);
        int64_t decided = 0, total = 0;
        double ratio = worst_ratio(MPI_COMM_WORLD, &got->out, &want->out, &want->bound_out, &decided);
        ck_assert_msg(ratio <= 1 && ratio > 1e-4, "setting %d: results are %g times their bound", k, ratio);
        ratio = worst_ratio(MPI_COMM_WORLD, &got->step, &want->step, &want->bound_step, &decided);
        ck_assert_msg(ratio <= 1 && ratio > 1e-4, "setting %d: intermediate results are %g times their bound", k, ratio);
        ck_assert_int_eq(want->bound_out.count, 5);
        ck_assert_int_ge(want->bound_step.count, 6);
        for (int j = 0; j < want->bound_out.count; j++) total += pfc_tensor_elements(&want->bound_out.items[j]);
        ck_assert_int_gt(decided, total / 2);
        pfc_case_free(got);
        pfc_case_free(want);
    }
    pfc_ctx_destroy(&exact);
    pfc_ctx_destroy(&fast);
}
END_TEST

/* A parameter a little off: the results of the wrong case against the bounds of the right one. */
static void expect_caught(pfc_ctx *ctx, const setting *s, const char *name, const char *text)
{
    pfc_case *want = make_case(MPI_COMM_WORLD, s, NULL, NULL), *wrong = make_case(MPI_COMM_WORLD, s, name, text);
    run(ctx, want, true);
    run(ctx, wrong, false);
    int64_t decided = 0;
    double ratio = worst_ratio(MPI_COMM_WORLD, &wrong->out, &want->out, &want->bound_out, &decided);
    ck_assert_msg(ratio > 10, "%s = %s: only %g times the bound", name, text, ratio);
    pfc_case_free(want);
    pfc_case_free(wrong);
}

START_TEST(wrong_parameters_are_caught)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT);
    expect_caught(ctx, &SETTINGS[1], "margin", "0.39");
    expect_caught(ctx, &SETTINGS[2], "margin", "0.49");
    expect_caught(ctx, &SETTINGS[3], "margin", "0.24");
    expect_caught(ctx, &SETTINGS[2], "head", "cos");
    expect_caught(ctx, &SETTINGS[1], "scale", "15.9");
    expect_caught(ctx, &SETTINGS[0], "lr", "0.099");
    expect_caught(ctx, &SETTINGS[2], "nesterov", "0");
    expect_caught(ctx, &SETTINGS[1], "xgrad_scale", "2");
    expect_caught(ctx, &SETTINGS[4], "interclass_threshold", "0");
    pfc_ctx_destroy(&ctx);
}
END_TEST

/* Wrong programs, made from the dense equations: what to do to one. */
typedef enum fault { NONE, NO_MEAN, NO_PROJECTION, CLASS_DROPPED, LABEL_OFF } fault;

/* x_grad and weight_grad of a dense step with a fault against the bounds; rank 0 has all of them. */
static double dense_ratio(const pfc_case *want, const pfc_partial_fc_inputs *in, fault f)
{
    pfc_partial_fc_config o = in->cfg;
    double *keys = calloc((size_t)in->c, sizeof *keys), worst = 0;
    int64_t *labels = malloc((size_t)in->n * sizeof *labels);
    for (int64_t i = 0; i < in->n; i++) labels[i] = f == LABEL_OFF ? (in->labels[i] + 1) % in->c : in->labels[i];
    for (int64_t j = 0; j < in->c; j++) keys[j] = .5;
    keys[in->c - 1] = .25; /* the last class, if it is nobody's label */
    if (f == CLASS_DROPPED) o.num_sample = in->c - 1;
    pfc_dense_partial_fc *p = pfc_dense_partial_fc_new(&o, 1, in->n);
    memcpy(p->weight, in->weight, (size_t)(in->c * in->d) * sizeof(double));
    memcpy(p->momentum, in->momentum, (size_t)(in->c * in->d) * sizeof(double));
    ck_assert(pfc_dense_partial_fc_step(p, in->x, labels, keys));
    const double *ex = pfc_tensor_find(&want->bound_out, "x_grad")->data, *ew = pfc_tensor_find(&want->bound_out, "weight_grad")->data;
    pfc_dense_partial_fc *right = pfc_dense_partial_fc_new(&in->cfg, 1, in->n);
    memcpy(right->weight, in->weight, (size_t)(in->c * in->d) * sizeof(double));
    ck_assert(pfc_dense_partial_fc_step(right, in->x, in->labels, NULL));
    for (int64_t k = 0; k < in->n * in->d; k++) {
        double wrong = p->x_grad[k] * (f == NO_MEAN ? (double)in->n : 1);
        worst = fmax(worst, fabs(wrong - right->x_grad[k]) / ex[k]);
    }
    for (int64_t k = 0; k < in->c * in->d; k++) {
        int64_t j = k / in->d;
        double wrong = p->weight_grad[k];
        for (int64_t i = 0; i < in->n && f == NO_PROJECTION; i++) { /* what the projection takes away */
            double h = p->dlogits[i * in->c + j] * p->slope[i * in->c + j];
            wrong += h * p->cosine[i * in->c + j] * p->what[k] / p->wnorm[j];
        }
        worst = fmax(worst, fabs(wrong - right->weight_grad[k]) / ew[k]);
    }
    pfc_dense_partial_fc_free(p);
    pfc_dense_partial_fc_free(right);
    free(keys);
    free(labels);
    return worst;
}

START_TEST(wrong_programs_are_caught)
{
    static const char *const heads[] = { "cos", "arc", "circle" };
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT);
    for (int h = 0; h < 3; h++) {
        setting s = { "normal", 24, 200, 32, { { "head", heads[h] }, { "scale", "64" }, { "margin", "0.5" }, { "xgrad_scale", "1" }, { NULL, NULL } } };
        pfc_case *want = make_case(MPI_COMM_WORLD, &s, NULL, NULL);
        run(ctx, want, true);
        pfc_partial_fc_inputs in;
        pfc_diag diag = { 0 };
        ck_assert_int_eq(pfc_partial_fc_inputs_gather(MPI_COMM_WORLD, want, &in, &diag), 0);
        for (int f = NONE; f <= LABEL_OFF; f++) {
            double ratio = pfc_test_rank() == 0 ? dense_ratio(want, &in, (fault)f) : 0;
            MPI_Bcast(&ratio, 1, MPI_DOUBLE, 0, MPI_COMM_WORLD);
            ck_assert_msg(f == NONE ? ratio < 1e-6 : ratio > 10, "head %s, fault %d: %g times the bound", heads[h], f, ratio);
        }
        pfc_partial_fc_inputs_free(&in);
        pfc_case_free(want);
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

START_TEST(same_bits_on_any_split)
{
    for (int k = 0; k < COUNT; k++) {
        pfc_ctx *world = context(MPI_COMM_WORLD, PFC_EXACT), *self = context(MPI_COMM_SELF, PFC_EXACT);
        pfc_case *a = make_case(MPI_COMM_WORLD, &SETTINGS[k], NULL, NULL), *b = make_case(MPI_COMM_SELF, &SETTINGS[k], NULL, NULL);
        run(world, a, true);
        run(self, b, true);
        PFC_AGREE(MPI_COMM_WORLD, a->bound_out.count > 0 && a->bound_step.count > 0 && same_bounds(a, b));
        pfc_case_free(a);
        pfc_case_free(b);
        pfc_ctx_destroy(&world);
        pfc_ctx_destroy(&self);
    }
}
END_TEST

/* A cosine at 1: whether a port gives NaN cannot be said, and nothing that depends on it is compared. Elsewhere bounds are finite. */
START_TEST(poles_are_undecided)
{
    setting s = {
        "hard", 24, 60, 16, { { "head", "arc" }, { "scale", "8" }, { "margin", "0.5" }, { "xgrad_scale", "1" }, { "cos_clamp", "0" }, { NULL, NULL } }
    };
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT);
    for (int clamp = 0; clamp < 2; clamp++) {
        pfc_case *c = make_case(MPI_COMM_WORLD, &s, "cos_clamp", clamp ? "1" : "0");
        pfc_tensor *w = pfc_tensor_find(&c->in, "weight"), *x = pfc_tensor_find(&c->in, "features"), *y = pfc_tensor_find(&c->in, "labels");
        for (int64_t k = 0; w->start == 0 && w->count > 0 && k < 16; k++) ((float *)w->data)[k] = k == 2; /* class 0 along an axis */
        for (int64_t k = 0; x->start == 0 && k < 16; k++) ((float *)x->data)[k] = 2 * (k == 2);           /* and row 0 with it */
        if (y->start == 0) ((int64_t *)y->data)[0] = 0;
        run(ctx, c, true);
        const double *logits = pfc_tensor_find(&c->bound_step, "logits")->data, *xg = pfc_tensor_find(&c->bound_out, "x_grad")->data;
        const double *loss = pfc_tensor_find(&c->bound_out, "loss")->data, *wg = pfc_tensor_find(&c->bound_out, "weight_grad")->data;
        ck_assert(isinf(logits[0]) == !clamp);
        ck_assert(isfinite(logits[60 + 1]));
        ck_assert(isinf(loss[0]) == !clamp);
        ck_assert(isinf(xg[0])); /* the slope has a pole at the target in either case */
        ck_assert(isinf(wg[0]));
        ck_assert(isfinite(xg[16 * 4]) && isinf(wg[16 * 5]) == !clamp); /* another row; another class */
        pfc_case_free(c);
    }
    pfc_ctx_destroy(&ctx);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(fast_mode_passes),       PFC_ONCE(wrong_parameters_are_caught), PFC_ONCE(wrong_programs_are_caught),
        PFC_ONCE(same_bits_on_any_split), PFC_ONCE(poles_are_undecided),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
