/* test_family.c: the helpers of the families' case layers: results and intermediate results by table, inputs, bounds. */
#include "case/family.h"
#include "case/internal.h"
#include "case_toy.h"
#include "core/ctx.h"
#include "pfc_test.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define WORLD MPI_COMM_WORLD

/* A checked toy case, 6 rows a rank and 7 classes, and a context. */
static pfc_case *setup(pfc_ctx **ctx)
{
    pfc_diag diag = { 0 };
    *ctx = pfc_test_ctx(WORLD, (pfc_options){ .mode = PFC_EXACT });
    pfc_case *c = case_toy_make(WORLD, 6 * pfc_test_ranks(), 7);
    PFC_AGREE(WORLD, c && pfc_case_check(WORLD, c, &diag) == 0);
    return c;
}

static void teardown(pfc_ctx **ctx, pfc_case *c)
{
    pfc_case_free(c);
    pfc_ctx_destroy(ctx);
}

START_TEST(results_by_table)
{
    pfc_ctx *ctx;
    pfc_diag diag = { 0 };
    pfc_case *c = setup(&ctx);
    pfc_shard own = pfc_shard_of(7, pfc_test_ranks(), pfc_test_rank());
    pfc_tensor *loss = pfc_case_add_out(ctx, c, "loss", -1, NULL, &diag), *x = pfc_case_add_out(ctx, c, "x_grad", -1, NULL, &diag);
    pfc_tensor *weight = pfc_case_add_out(ctx, c, "weight", -1, NULL, &diag), *sampled = pfc_case_add_out(ctx, c, "sampled", 1, NULL, &diag);
    PFC_AGREE(WORLD, loss && x && weight && sampled && !diag.exit_status);
    ck_assert(loss->ndim == 0 && loss->dtype == PFC_F64);
    ck_assert(x->ndim == 2 && x->dims[0] == 6 * pfc_test_ranks() && x->dims[1] == 3 && x->count == 6);
    ck_assert(weight->dims[0] == 7 && weight->start == own.start && weight->count == own.count);
    ck_assert(sampled->dtype == PFC_I64 && pfc_tensor_view(weight).rows == own.count && pfc_tensor_view(weight).cols == 3);
    ck_assert(pfc_tensor_view(loss).rows == 1 && pfc_case_input_view(c, "none").data == NULL);
    ck_assert_ptr_null(pfc_case_add_out(ctx, c, "x_grad", 4, NULL, &diag));
    ck_assert_int_eq(diag.exit_status, PFC_EXIT_RUNTIME);
    pfc_tensor_set(loss, 0, -0.0);
    pfc_tensor_set(x, 0, -0.0);
    pfc_case_canonical(c, (const char *const[]){ "x_grad", NULL });
    ck_assert(!signbit(pfc_tensor_get(loss, 0)) && signbit(pfc_tensor_get(x, 0)));
    teardown(&ctx, c);
}
END_TEST

/* What a petabyte-sized case says, whoever asks; half of a MiB fits. */
START_TEST(results_beyond_memory)
{
    pfc_ctx *ctx;
    pfc_diag diag = { 0 };
    pfc_case *c = setup(&ctx);
    PFC_AGREE(WORLD, pfc_case_check_memory(ctx, c, "/in/x", "the products", 0x1p16, &diag) == 0);
    PFC_AGREE(WORLD, pfc_case_check_memory(ctx, c, "/in/x", "the products", 0x1p50, &diag) == PFC_EXIT_FILE);
    ck_assert_ptr_nonnull(strstr(diag.text, "/in/x: found sizes for which the products would take 8388608.0 GiB, expected at most"));
    teardown(&ctx, c);
}
END_TEST

/* rows x cols numbers base + global column or row, in a view with a padded row. */
static void tap(pfc_ctx *ctx, const char *name, int64_t rows, int64_t cols, double base, pfc_layout layout)
{
    double *data = calloc((size_t)(rows * (cols + 1)) + 1, sizeof *data);
    pfc_view v = pfc_view_make(data, PFC_F64, rows, cols);
    ck_assert_ptr_nonnull(data);
    v.ld = cols + 1;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t k = 0; k < cols; k++) data[i * v.ld + k] = base + (double)(100 * i + k);
    ctx->tap(ctx->tap_user, name, v, layout);
    free(data);
}

START_TEST(taps_by_table)
{
    pfc_ctx *ctx;
    pfc_capture capture;
    pfc_diag diag = { 0 };
    pfc_case *c = setup(&ctx);
    int64_t n = 6 * pfc_test_ranks();
    int rank = pfc_test_rank();
    pfc_shard own = pfc_shard_of(7, pfc_test_ranks(), rank);
    pfc_capture_begin(&capture, ctx, c, NULL);
    tap(ctx, "row_sum_0", n, 1, 0, PFC_REPLICATED);
    tap(ctx, "row_sum_12", n, 1, 0, PFC_REPLICATED);
    tap(ctx, "logits", n, own.count, (double)own.start, PFC_CLASS_COLS);
    tap(ctx, "scores", 8, 3, 10000 * rank, PFC_RANK_SLICES); /* (P,V*bs,D): the middle axis is found */
    PFC_AGREE(WORLD, pfc_capture_end(&capture, &diag) == 0 && c->step.count == 4);
    ck_assert_ptr_null(ctx->tap);
    pfc_tensor *scores = pfc_tensor_find(&c->step, "scores"), *logits = pfc_tensor_find(&c->step, "logits");
    ck_assert(scores->ndim == 3 && scores->dims[0] == pfc_test_ranks() && scores->dims[1] == 8 && scores->dims[2] == 3 && scores->order == 3);
    ck_assert(pfc_tensor_find(&c->step, "row_sum_12")->dist == PFC_DIST_NONE);
    void *whole = NULL;
    PFC_AGREE(WORLD, pfc_tensor_gather(WORLD, logits, &whole, &diag) == 0);
    for (int64_t i = 0; rank == 0 && i < n * 7; i++) ck_assert(((double *)whole)[i] == (double)(100 * (i / 7) + i % 7));
    free(whole);
    PFC_AGREE(WORLD, pfc_tensor_gather(WORLD, scores, &whole, &diag) == 0);
    for (int64_t i = 0; rank == 0 && i < 24 * pfc_test_ranks(); i++) ck_assert(((double *)whole)[i] == (double)(10000 * (i / 24) + 100 * (i % 24 / 3) + i % 3));
    free(whole);
    teardown(&ctx, c);
}
END_TEST

static int three_axes(const pfc_case *c, const char *name, int64_t dims[PFC_MAX_DIMS])
{
    (void)c;
    dims[0] = pfc_test_ranks(), dims[1] = 4, dims[2] = 2;
    return strcmp(name, "scores") ? -1 : 3;
}

START_TEST(taps_refused)
{
    pfc_ctx *ctx;
    pfc_capture capture;
    pfc_case *c = setup(&ctx);
    static const struct {
        const char *name;
        int64_t rows, cols;
        pfc_layout layout;
    } bad[] = {
        { "nothing", 1, 1, PFC_REPLICATED }, { "row_sum_x", 6, 1, PFC_REPLICATED }, { "logits", 1, 1, PFC_CLASS_COLS }, { "scores", 5, 2, PFC_RANK_SLICES }
    };
    for (size_t k = 0; k < sizeof bad / sizeof *bad; k++) {
        pfc_diag diag = { 0 };
        pfc_capture_begin(&capture, ctx, c, three_axes);
        tap(ctx, bad[k].name, bad[k].rows, bad[k].cols, 0, bad[k].layout);
        ck_assert_msg(pfc_capture_end(&capture, &diag) == PFC_EXIT_RUNTIME, "%s", bad[k].name);
        ck_assert_ptr_nonnull(strstr(diag.text, bad[k].name));
    }
    teardown(&ctx, c);
}
END_TEST

START_TEST(inputs_and_bounds)
{
    pfc_ctx *ctx;
    pfc_diag diag = { 0 };
    pfc_case *c = setup(&ctx);
    double *weight = NULL, *none = NULL, *labels = NULL;
    int64_t *integers = NULL;
    int rank = pfc_test_rank();
    PFC_AGREE(WORLD, !pfc_case_gather_reals(WORLD, c, "weight", &weight, &diag) && !pfc_case_gather_reals(WORLD, c, "missing", &none, &diag));
    PFC_AGREE(WORLD, !pfc_case_gather_reals(WORLD, c, "labels", &labels, &diag) && !pfc_case_gather_ints(WORLD, c, "labels", &integers, &diag));
    ck_assert(!none && !weight == (rank != 0) && !integers == (rank != 0));
    for (int64_t i = 0; rank == 0 && i < 21; i++) ck_assert(weight[i] == case_toy_value("weight", i));
    for (int64_t i = 0; rank == 0 && i < 6; i++) ck_assert(labels[i] == case_toy_value("labels", i) && (double)integers[i] == labels[i]);
    case_toy_results(WORLD, c);
    PFC_AGREE(WORLD, !pfc_bounds_begin(WORLD, c, &diag) && c->bound_out.count == 3 && c->bound_step.count == 3); /* not `sampled` */
    if (rank == 0) pfc_bound_put(&c->bound_out, "weight", weight, 1, 20);
    pfc_bound_put(&c->bound_out, "sampled", weight, 0, 1);
    PFC_AGREE(WORLD, !pfc_bounds_share(WORLD, c, &diag));
    const pfc_tensor *bound = pfc_tensor_find(&c->bound_out, "weight");
    for (int64_t i = 1; i < 21; i++) ck_assert(pfc_tensor_get(bound, i) == case_toy_value("weight", i - 1));
    free(weight);
    free(labels);
    free(integers);
    teardown(&ctx, c);
}
END_TEST

/* A number that float32 rounds, integers where integers are due, names and ranges. */
START_TEST(given_inputs)
{
    pfc_ctx *ctx;
    pfc_diag diag = { 0 };
    pfc_case *c = setup(&ctx);
    pfc_tensor_list given = { 0 };
    int64_t seven = 7, two[2] = { pfc_test_ranks(), 2 };
    pfc_tensor *keys = pfc_tensor_add(WORLD, &given, "keys", PFC_F64, 1, &seven, PFC_DIST_NONE, 0);
    pfc_tensor *queue = pfc_tensor_add(WORLD, &given, "queue", PFC_I64, 2, two, PFC_DIST_NONE, 0);
    pfc_tensor *labels = pfc_tensor_add(WORLD, &given, "labels", PFC_F64, 1, &seven, PFC_DIST_NONE, 0);
    pfc_tensor *table = pfc_tensor_add(WORLD, &given, "table", PFC_F64, 0, NULL, PFC_DIST_NONE, 0);
    for (int64_t i = 0; i < 7; i++) pfc_tensor_set(keys, i, 0.1 * (double)i);
    for (int64_t i = 0; i < 2 * pfc_test_ranks(); i++) pfc_tensor_set(queue, i, (double)i);
    PFC_AGREE(WORLD, !pfc_case_put_input(WORLD, c, keys, &diag) && !pfc_case_put_input(WORLD, c, queue, &diag) && !pfc_case_check(WORLD, c, &diag));
    const pfc_tensor *k = pfc_tensor_find(&c->in, "keys"), *q = pfc_tensor_find(&c->in, "queue");
    for (int64_t i = 0; i < k->count; i++) ck_assert(pfc_tensor_get(k, i) == 0.1 * (double)(k->start + i));
    ck_assert(q->dtype == PFC_F32 && pfc_tensor_get(q, 1) == 2 * pfc_test_rank() + 1 && c->rounded == 0);
    pfc_tensor_set(table, 0, 0.1);
    ck_assert(!pfc_case_put_input(WORLD, c, table, &diag) && c->rounded == (pfc_test_rank() == 0));
    pfc_tensor_set(table, 0, 1e39);
    ck_assert_int_eq(pfc_case_put_input(WORLD, c, table, &diag), PFC_EXIT_FILE);
    diag = (pfc_diag){ 0 };
    ck_assert_int_eq(pfc_case_put_input(WORLD, c, labels, &diag), PFC_EXIT_FILE);
    pfc_tensor_list_free(&given);
    teardown(&ctx, c);
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(results_by_table), PFC_ONCE(results_beyond_memory), PFC_ONCE(taps_by_table),
        PFC_ONCE(taps_refused),     PFC_ONCE(inputs_and_bounds),     PFC_ONCE(given_inputs),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
