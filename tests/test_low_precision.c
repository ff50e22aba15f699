/* test_low_precision.c: the bounds of sinkhorn, swav, moco, moco_shuffle, batch_norm and group_gather for tf32, bf16 and f16: right ports pass, wrong ones do
 * not, and the bits are the same on any split of the ranks (doc/numerics.md section 14). */
#include "case/algorithms.h"
#include "case/family.h"
#include "case/round.h"
#include "case/swav_case.h"
#include "low_precision.h"
#include "pfc_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static pfc_ctx *context(MPI_Comm comm, pfc_mode mode) { return pfc_test_ctx(comm, (pfc_options){ .mode = mode, .threads = 1 }); }

typedef struct setting {
    const pfc_algorithm *algorithm;
    const char *size; /* letters */
    int64_t sizes[5];
    const char *params[4][2]; /* name, text; ends with NULL */
    const char *wrong[2];     /* a parameter that a wrong port has; NULL: it loses the first number of the first input */
} setting;

static pfc_case *make_case(MPI_Comm comm, const setting *s, const char *fill, const char *const wrong[2])
{
    pfc_diag diag = { 0 };
    pfc_case *c = pfc_case_new(s->algorithm);
    ck_assert_ptr_nonnull(c);
    for (int k = 0; s->params[k][0]; k++) pfc_case_set_param(c, s->params[k][0], s->params[k][1], &diag);
    if (wrong && wrong[0]) pfc_case_set_param(c, wrong[0], wrong[1], &diag);
    for (int k = 0; s->size[k]; k++) c->size[s->size[k] - 'A'] = s->sizes[k];
    if (!diag.exit_status) s->algorithm->fill(comm, c, fill, 7, &diag);
    if (!diag.exit_status) pfc_case_check(comm, c, &diag);
    ck_assert_msg(!diag.exit_status, "%s", diag.text);
    return c;
}

static void run(pfc_ctx *ctx, pfc_case *c, const pfc_precision *bounds)
{
    pfc_diag diag = { 0 };
    c->algorithm->run(ctx, c, true, &diag);
    if (!diag.exit_status && bounds) c->algorithm->bounds(ctx, c, bounds, &diag);
    ck_assert_msg(!diag.exit_status, "%s", diag.text);
}

/* The larger of *worst and |got - want| / bound of one result, all of them whole on this rank. */
static void compare(const double *got, const double *want, const double *bound, int64_t n, double *worst, int64_t *decided)
{
    for (int64_t i = 0; i < n; i++) {
        if (!isfinite(want[i]) || isinf(bound[i])) continue;
        (*decided)++;
        if (got[i] != want[i]) *worst = fmax(*worst, isfinite(got[i]) ? fabs(got[i] - want[i]) / bound[i] : INFINITY);
    }
}

/* Over all results of a case; the same on all ranks. Collective. */
static double worst_ratio(MPI_Comm comm, const pfc_case *got, const pfc_case *want, int64_t *decided)
{
    double worst = 0;
    pfc_diag diag = { 0 };
    for (int k = 0; k < want->bound_out.count; k++) {
        const pfc_tensor *e = &want->bound_out.items[k], *mine = pfc_tensor_find(&got->out, e->name);
        int64_t n = pfc_tensor_elements(e);
        void *a = NULL, *b = NULL;
        double *wide = malloc((size_t)(n + 1) * sizeof *wide);
        pfc_tensor_gather(comm, mine, &a, &diag);
        pfc_tensor_gather(comm, pfc_tensor_find(&want->out, e->name), &b, &diag);
        for (int64_t i = 0; a && i < n; i++) wide[i] = mine->dtype == PFC_F32 ? (double)((const float *)a)[i] : ((const double *)a)[i];
        if (a) compare(wide, b, e->data, n, &worst, decided);
        free(wide);
        free(a);
        free(b);
    }
    MPI_Bcast(&worst, 1, MPI_DOUBLE, 0, comm);
    ck_assert_msg(!diag.exit_status, "%s", diag.text);
    return worst;
}

static const char *const TYPES[] = { "tf32", "bf16", "f16", "tf32-sound", "bf16-sound", "f16-sound", "tf32-rz", "bf16-rz", "f16-rz" };
static const char *const FILLS[] = { "normal", "lattice", "hard" };
enum { TYPE_COUNT = sizeof TYPES / sizeof TYPES[0] };

/* ---- families that read their inputs in T: float32's results of rounded inputs ---- */

static const setting READERS[] = {
    { &pfc_algorithm_sinkhorn, "NK", { 30, 10 }, { { "epsilon", "0.05" }, { NULL, NULL } }, { "epsilon", "0.051" } },
    { &pfc_algorithm_sinkhorn, "NK", { 30, 10 }, { { "version", "log" }, { NULL, NULL } }, { "iterations", "2" } },
    { &pfc_algorithm_moco_shuffle, "NC", { 30, 4 }, { { NULL, NULL } }, { NULL, NULL } },
    { &pfc_algorithm_batch_norm, "NCHW", { 30, 6, 3, 2 }, { { "kind", "sync" }, { "num_sync_devices", "0" }, { NULL, NULL } }, { "eps", "0.001" } },
    { &pfc_algorithm_batch_norm, "NCHW", { 30, 6, 3, 2 }, { { "kind", "plain" }, { NULL, NULL } }, { "momentum", "0.11" } },
    { &pfc_algorithm_group_gather, "M", { 20 }, { { "num_sync_devices", "1" }, { "num_groups", "1" }, { NULL, NULL } }, { NULL, NULL } },
};
enum { READER_COUNT = sizeof READERS / sizeof READERS[0] };

static void round_inputs(pfc_case *c, const pfc_precision *type)
{
    static const char *const names[] = { "scores", "x", "grad_y", "input", "grad_output" };
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        pfc_tensor *t = pfc_tensor_find(&c->in, names[k]);
        for (int64_t i = 0; t && i < pfc_tensor_local(t); i++) ((float *)t->data)[i] = (float)low_round(type, pfc_tensor_get(t, i));
    }
}

/* A port that reads its inputs in T, right or wrong, against the bounds. */
static double reader_ratio(pfc_ctx *exact, pfc_ctx *fast, const setting *s, const char *fill, const pfc_precision *type, bool wrong)
{
    pfc_case *want = make_case(MPI_COMM_WORLD, s, fill, NULL), *got = make_case(MPI_COMM_WORLD, s, fill, wrong ? s->wrong : NULL);
    int64_t decided = 0;
    run(exact, want, type);
    round_inputs(got, type);
    pfc_tensor *first = &got->in.items[0];
    if (wrong && !s->wrong[0] && pfc_test_rank() == 0) pfc_tensor_set(first, 0, pfc_tensor_get(first, 0) + 1);
    run(fast, got, NULL);
    double ratio = worst_ratio(MPI_COMM_WORLD, got, want, &decided);
    if (pfc_test_rank() == 0) ck_assert_int_gt(decided, 0);
    pfc_case_free(want);
    pfc_case_free(got);
    return ratio;
}

START_TEST(inputs_in_t)
{
    pfc_ctx *exact = context(MPI_COMM_WORLD, PFC_EXACT), *fast = context(MPI_COMM_WORLD, PFC_FAST);
    for (int k = 0; k < READER_COUNT; k++)
        for (int t = 0; t < TYPE_COUNT; t++) {
            const setting *s = &READERS[k];
            const pfc_precision *type = pfc_precision_find(TYPES[t]);
            for (int f = 0; f < 3; f++) {
                bool vacuous = s->algorithm == &pfc_algorithm_sinkhorn && f == 2 && k == 0; /* a prototype without mass */
                double ratio = vacuous ? 0 : reader_ratio(exact, fast, s, FILLS[f], type, false);
                ck_assert_msg(ratio <= 1, "%s %s, %s: a right port is %g times its bound", s->algorithm->name, TYPES[t], FILLS[f], ratio);
            }
            double ratio = reader_ratio(exact, fast, s, "normal", type, true);
            ck_assert_msg(ratio > 3, "%s %s: a wrong port is only %g times its bound", s->algorithm->name, TYPES[t], ratio);
        }
    pfc_ctx_destroy(&exact);
    pfc_ctx_destroy(&fast);
}
END_TEST

/* ---- moco and swav: products in T ---- */

typedef struct result {
    const char *name;
    bool step;
    int64_t count;
    double *data;
} result;

/* Results of a serial port on rank 0 against a case's; the same on all ranks. Collective. */
static double port_ratio(MPI_Comm comm, const pfc_case *want, const result *results, int count)
{
    double worst = 0;
    int64_t decided = 0, total = 0;
    pfc_diag diag = { 0 };
    for (int k = 0; k < count; k++) {
        const result *r = &results[k];
        const pfc_tensor *e = pfc_tensor_find(r->step ? &want->bound_step : &want->bound_out, r->name);
        void *whole = NULL;
        ck_assert_int_eq(pfc_tensor_elements(e), r->count);
        pfc_tensor_gather(comm, pfc_tensor_find(r->step ? &want->step : &want->out, r->name), &whole, &diag);
        if (whole) compare(r->data, whole, e->data, r->count, &worst, &decided);
        total += r->count;
        free(whole);
    }
    MPI_Bcast(&worst, 1, MPI_DOUBLE, 0, comm);
    ck_assert_msg(!diag.exit_status, "%s", diag.text);
    if (pfc_test_rank() == 0) ck_assert_int_eq(decided, total);
    return worst;
}

static double *room(int64_t n)
{
    double *x = calloc((size_t)n + 1, sizeof *x);
    ck_assert_ptr_nonnull(x);
    return x;
}

static double moco_ratio(const pfc_case *c, const low_port *port)
{
    int64_t N = c->size['N' - 'A'], K = c->size['K' - 'A'], D = c->size['D' - 'A'];
    int ranks = pfc_test_ranks();
    double *query, *key, *queue, *logits = room(N * (1 + K)), *loss = room(ranks), *grad = room(N * D);
    pfc_diag diag = { 0 };
    pfc_case_gather_reals(MPI_COMM_WORLD, c, "query", &query, &diag);
    pfc_case_gather_reals(MPI_COMM_WORLD, c, "key", &key, &diag);
    pfc_case_gather_reals(MPI_COMM_WORLD, c, "queue", &queue, &diag);
    ck_assert_msg(!diag.exit_status, "%s", diag.text);
    if (query) low_moco(port, ranks, N, K, D, pfc_param_real(c, "temperature"), query, key, queue, logits, loss, grad);
    result results[] = { { "logits", true, N * (1 + K), logits }, { "loss", false, ranks, loss }, { "query_grad", false, N * D, grad } };
    double ratio = port_ratio(MPI_COMM_WORLD, c, results, 3);
    free(query), free(key), free(queue), free(logits), free(loss), free(grad);
    return ratio;
}

static double swav_ratio(const pfc_case *c, const low_port *port)
{
    int64_t bs = pfc_swav_case_samples(c), K = c->size['K' - 'A'], D = c->size['D' - 'A'], rows = pfc_test_ranks() * 2 * bs;
    double *h, *C, *s = room(rows * K), *ds = room(rows * K), *loss = room(rows), *dh = room(rows * D), *dC = room(K * D);
    pfc_sinkhorn_config cfg = pfc_case_sinkhorn_config(c);
    pfc_diag diag = { 0 };
    pfc_case_gather_reals(MPI_COMM_WORLD, c, "embedding", &h, &diag);
    pfc_case_gather_reals(MPI_COMM_WORLD, c, "prototypes", &C, &diag);
    ck_assert_msg(!diag.exit_status, "%s", diag.text);
    if (h) low_swav(port, pfc_test_ranks(), &cfg, pfc_param_real(c, "temperature"), bs, K, D, h, C, s, ds, loss, dh, dC);
    result results[] = { { "scores", true, rows * K, s },
                         { "dscores", true, rows * K, ds },
                         { "loss", false, pfc_test_ranks(), loss },
                         { "embedding_grad", false, rows * D, dh },
                         { "prototypes_grad", false, K * D, dC } };
    double ratio = port_ratio(MPI_COMM_WORLD, c, results, 5);
    free(h), free(C), free(s), free(ds), free(loss), free(dh), free(dC);
    return ratio;
}

/* Faults and how many times its bound a wrong port should be at least; 0: a type as coarse as bf16 does not show it here. */
static void check_products(const setting *s, double (*ratio_of)(const pfc_case *, const low_port *), const int *faults, int count)
{
    pfc_ctx *ctx = context(MPI_COMM_WORLD, PFC_EXACT);
    for (int t = 0; t < TYPE_COUNT; t++)
        for (int f = 0; f < 2; f++) {
            const pfc_precision *type = pfc_precision_find(TYPES[t]);
            pfc_case *want = make_case(MPI_COMM_WORLD, s, FILLS[f], NULL);
            run(ctx, want, type);
            for (int k = 0; k < 2; k++) {
                double ratio = ratio_of(want, &(low_port){ type, k == 1, 0 });
                ck_assert_msg(ratio <= 1, "%s %s, %s: a right port is %g times its bound", s->algorithm->name, TYPES[t], FILLS[f], ratio);
            }
            for (int k = 0; k < count && f == 0; k++) {
                double ratio = ratio_of(want, &(low_port){ type, false, faults[k] });
                bool coarse = type->u > 0x1p-10 && (faults[k] == LOW_NO_PROJECTION || faults[k] == LOW_KEY_LEFT_OUT);
                ck_assert_msg(ratio > 2 || coarse, "%s %s, fault %d: a wrong port is only %g times its bound", s->algorithm->name, TYPES[t], faults[k], ratio);
            }
            pfc_case_free(want);
        }
    pfc_ctx_destroy(&ctx);
}

static const setting MOCO = { &pfc_algorithm_moco, "NKD", { 30, 60, 32 }, { { "temperature", "0.2" }, { NULL, NULL } }, { NULL, NULL } };
static const setting SWAV = { &pfc_algorithm_swav, "BKD", { 5, 12, 32 }, { { "crops", "2" }, { NULL, NULL } }, { NULL, NULL } };

START_TEST(moco_in_t)
{
    static const int faults[] = { LOW_KEY_LEFT_OUT, LOW_ROWS_SHIFTED, LOW_NO_PROJECTION, LOW_NO_MEAN };
    check_products(&MOCO, moco_ratio, faults, 4);
}
END_TEST

START_TEST(swav_in_t)
{
    static const int faults[] = { LOW_ROWS_SHIFTED, LOW_NO_MEAN };
    check_products(&SWAV, swav_ratio, faults, 2);
}
END_TEST

/* ---- bits ---- */

static void expect_same_bits(const setting *s, const char *type, const char *const *names, bool step)
{
    pfc_ctx *world = context(MPI_COMM_WORLD, PFC_EXACT), *self = context(MPI_COMM_SELF, PFC_EXACT);
    pfc_case *a = make_case(MPI_COMM_WORLD, s, "normal", NULL), *b = make_case(MPI_COMM_SELF, s, "normal", NULL);
    run(world, a, pfc_precision_find(type));
    run(self, b, pfc_precision_find(type));
    bool same = true;
    for (int k = 0; names[k]; k++) {
        const pfc_tensor *x = pfc_tensor_find(step ? &a->bound_step : &a->bound_out, names[k]),
                         *y = pfc_tensor_find(step ? &b->bound_step : &b->bound_out, names[k]);
        same = same && x && y && memcmp(x->data, y->data, (size_t)pfc_tensor_elements(x) * sizeof(double)) == 0;
    }
    PFC_AGREE(MPI_COMM_WORLD, same);
    pfc_case_free(a);
    pfc_case_free(b);
    pfc_ctx_destroy(&world);
    pfc_ctx_destroy(&self);
}

START_TEST(same_bits_on_any_split)
{
    static const char *const q[] = { "assignment", NULL }, *const moved[] = { "shuffled", "unshuffled", NULL }, *const keys[] = { "key", "queue", NULL },
                             *const logits[] = { "logits", NULL }, *const sums[] = { "row_sum_0", "row_sum_2", NULL };
    for (int t = 0; t < TYPE_COUNT; t++) {
        expect_same_bits(&READERS[0], TYPES[t], q, false);
        expect_same_bits(&READERS[0], TYPES[t], sums, true);
        expect_same_bits(&READERS[2], TYPES[t], moved, false);
        expect_same_bits(&MOCO, TYPES[t], keys, false);
        expect_same_bits(&MOCO, TYPES[t], logits, true);
    }
}
END_TEST

/* ---- src/case/round.c ---- */

START_TEST(rounding)
{
    for (int t = 0; t < TYPE_COUNT; t++) {
        const pfc_precision *p = pfc_precision_find(TYPES[t]);
        for (int i = 0; i < 4000; i++) {
            double x = (double)(float)ldexp(sin(i), i % 56 - 40);
            ck_assert_double_eq(pfc_round_as(p, x), low_round(p, x));
            ck_assert_double_le(fabs(pfc_round_as(p, x) - x), pfc_round_number(p, x));
        }
        double tie = 1 + p->u;
        ck_assert_double_eq(pfc_round_to(p, PFC_ROUND_EVEN, tie), 1);
        ck_assert_double_eq(pfc_round_to(p, PFC_ROUND_AWAY, -tie), -1 - 2 * p->u);
        ck_assert_double_eq(pfc_round_to(p, PFC_ROUND_TO_ZERO, 1 + 1.99 * p->u), 1);
        ck_assert(isinf(pfc_round_to(p, PFC_ROUND_EVEN, 70000)) == (p->largest < 70000));
    }
}
END_TEST

/* Two logits, one of them wrong by 0.5: the largest change of p and log p, from the formula of the softmax. */
START_TEST(softmax_errors)
{
    double p[2] = { 0.3, 0.7 }, el[2] = { 0.5, 0 }, ep[3], elog[3];
    pfc_softmax_errors(2, p, el, ep, elog);
    double high = 0.3 * exp(0.5) / (0.3 * exp(0.5) + 0.7), low = 0.3 * exp(-0.5) / (0.3 * exp(-0.5) + 0.7);
    ck_assert_double_eq_tol(ep[0], fmax(high - 0.3, 0.3 - low), 1e-15);
    ck_assert_double_eq_tol(ep[1], ep[0], 1e-15);
    ck_assert_double_eq_tol(elog[0], log(0.3 / low), 1e-15);
    double sure[3] = { 1, 0, 0 }, wide[3] = { 900, 1, 2 };
    pfc_softmax_errors(3, sure, wide, ep, elog);
    ck_assert_double_eq(ep[0], 0);
    ck_assert_double_eq(ep[1], 0);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(rounding), PFC_ONCE(softmax_errors), PFC_ONCE(inputs_in_t), PFC_ONCE(moco_in_t), PFC_ONCE(swav_in_t), PFC_ONCE(same_bits_on_any_split),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
