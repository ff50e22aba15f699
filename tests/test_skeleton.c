/* test_skeleton.c: the skeleton of a backend (doc/backend.md): what it fills has the bits of the cpu backend, keeps the contract, and is enough for
 * group_gather; what it lacks is named. This is how a backend is tested while its table grows. */
#include "skeleton_backend.h"

#include "backend/checked/checked.h"
#include "case/case.h"
#include "core/ctx.h"
#include "skeleton_device.h"
#include "core/px.h"
#include "pfc_test.h"

#include <pfc/batch_norm.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 37, COLS = 19, COUNT = ROWS * COLS };

/* Float32 numbers of all magnitudes, with zeros and, if wild, NaN and infinities. */
static void fill(double *x, int64_t n, bool wild, uint64_t seed)
{
    for (int64_t i = 0; i < n; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        uint64_t r = seed >> 33;
        x[i] = (double)(float)(((double)(r % 2000001) * 1e-6 - 1.0) * px_pow2((int64_t)(r % 61) - 30));
        if (r % 11 == 0) x[i] = 0.0;
        if (wild && r % 17 == 0) x[i] = r % 3 == 0 ? PX_NAN : r % 3 == 1 ? PX_INF : -PX_INF;
    }
}

/* The skeleton, or the checked backend around it. */
static pfc_backend *open_skeleton(bool checked)
{
    pfc_backend *be = calloc(1, sizeof *be), *around = calloc(1, sizeof *around);
    ck_assert(be && around && skeleton_open(be, PFC_EXACT) == PFC_OK);
    if (!checked) {
        free(around);
        return be;
    }
    ck_assert_msg(pfc_checked_open(around, be) == PFC_OK, "%s", around->error);
    return around;
}

static pfc_backend *open_cpu(void)
{
    const pfc_options options = { .mode = PFC_EXACT, .backend = "cpu" };
    char why[256] = "";
    pfc_backend *be = NULL;
    ck_assert_msg(pfc_backend_open(&options, &be, why, sizeof why) == PFC_OK, "%s", why);
    return be;
}

static void *upload(pfc_backend *be, const void *host, size_t bytes)
{
    void *p = NULL;
    ck_assert(be->ops->alloc(be, bytes, &p) == PFC_OK);
    if (host) ck_assert(be->ops->upload(be, p, host, bytes) == PFC_OK);
    return p;
}

static pfc_view matrix(pfc_backend *be, int64_t rows, int64_t cols, const double *host)
{
    pfc_view v = pfc_view_make(upload(be, host, (size_t)(rows * cols) * 8), PFC_F64, rows, cols);
    v.place = be->ops->place;
    return v;
}

static void take(pfc_backend *be, void *host, void *p, size_t bytes)
{
    ck_assert_msg(be->ops->download(be, host, p, bytes) == PFC_OK && be->ops->sync(be) == PFC_OK, "%s", be->error);
    be->ops->free(be, p);
}

/* The same for n reals, NaN as one NaN. */
static void take_reals(pfc_backend *be, double *host, pfc_view v)
{
    take(be, host, v.data, (size_t)(v.rows * v.cols) * 8);
    for (int64_t i = 0; i < v.rows * v.cols; i++)
        if (px_nan(host[i])) host[i] = PX_NAN;
}

/* What the filled operations make of the same numbers. */
typedef struct results {
    double norm[ROWS / 2], rounded[COUNT], scaled[COUNT], divided[COUNT], zero[COUNT];
    int32_t expo[ROWS / 2];
} results;

static void compute(pfc_backend *be, bool wild, results *out)
{
    const pfc_ops *ops = be->ops;
    double x[COUNT], wide[COUNT];
    int64_t index[ROWS / 2];
    memset(out, 0, sizeof *out);
    fill(x, COUNT, wild, 1);
    for (int i = 0; i < COUNT; i++) wide[i] = x[i] * (1.0 / 3.0);
    for (int i = 0; i < ROWS / 2; i++) index[i] = ROWS - 1 - 2 * i;
    pfc_view a = matrix(be, ROWS, COLS, x), norm = matrix(be, ROWS / 2, 1, NULL), b = matrix(be, ROWS, COLS, wide);
    pfc_view c = matrix(be, ROWS, COLS, x), d = matrix(be, ROWS, COLS, x), e = matrix(be, ROWS, COLS, x);
    int32_t *expo = upload(be, NULL, sizeof out->expo);
    int64_t *chosen = upload(be, index, sizeof index);
    pfc_rowset rows = { a, chosen, 0, ROWS / 2 };
    ck_assert_msg(ops->row_norms(be, rows, norm, expo) == PFC_OK, "%s", be->error);
    ck_assert_msg(ops->round_state(be, b) == PFC_OK && ops->scale(be, c, 1.0 / 7.0) == PFC_OK, "%s", be->error);
    ck_assert_msg(ops->divide(be, d, 7.0) == PFC_OK && ops->zero(be, e) == PFC_OK, "%s", be->error);
    take_reals(be, out->norm, norm);
    take(be, out->expo, expo, sizeof out->expo);
    take_reals(be, out->rounded, b);
    take_reals(be, out->scaled, c);
    take_reals(be, out->divided, d);
    take_reals(be, out->zero, e);
    be->ops->free(be, a.data);
    be->ops->free(be, chosen);
}

START_TEST(filled_operations_have_the_bits_of_the_cpu)
{
    for (int wild = 0; wild < 2; wild++) {
        static results want, got;
        pfc_backend *cpu = open_cpu();
        compute(cpu, wild, &want);
        pfc_backend_close(cpu);
        for (int checked = 0; checked < 2; checked++) {
            char why[256] = "";
            pfc_backend *be = open_skeleton(checked);
            compute(be, wild, &got);
            ck_assert_msg(memcmp(&want, &got, sizeof want) == 0, "wild %d, checked %d", wild, checked);
            ck_assert_msg(pfc_backend_finish(be, why, sizeof why) == PFC_OK, "%s", why);
        }
    }
}
END_TEST

/* The products of a batch with a block of chosen classes. */
enum { BATCH = 21, CLASSES = 9 };
typedef struct products {
    double cosine[CLASSES * BATCH], gradient[CLASSES * COLS];
} products;

static void fill_products(bool wild, double *x, double *w, double *h, double *dot)
{
    fill(x, BATCH * COLS, wild, 2);
    fill(w, COUNT, wild, 3);
    fill(h, CLASSES * BATCH, wild, 4);
    fill(dot, CLASSES, wild, 5);
    for (int j = 0; j < COLS; j++) {
        x[3 * COLS + j] *= px_pow2(-70), w[(ROWS - 5) * COLS + j] *= px_pow2(-70); /* below the clamp of the norm */
        x[4 * COLS + j] = 0;
    }
    for (int64_t i = 0; i < CLASSES * BATCH; i++) h[i] *= 1.0 / 3.0; /* gradients are doubles */
}

static void multiply(pfc_backend *be, bool wild, int normalised, products *out)
{
    const pfc_ops *ops = be->ops;
    double x[BATCH * COLS], w[COUNT], h[CLASSES * BATCH], dot[CLASSES];
    int64_t index[CLASSES];
    pfc_operand *op = NULL;
    fill_products(wild, x, w, h, dot);
    for (int i = 0; i < CLASSES; i++) index[i] = ROWS - 1 - 2 * i;
    pfc_view xv = matrix(be, BATCH, COLS, x), wv = matrix(be, ROWS, COLS, w), hv = matrix(be, CLASSES, BATCH, h), dv = matrix(be, CLASSES, 1, dot);
    pfc_view xnorm = matrix(be, BATCH, 1, NULL), wnorm = matrix(be, CLASSES, 1, NULL), z = matrix(be, CLASSES, BATCH, NULL),
             dw = matrix(be, CLASSES, COLS, NULL);
    int32_t *xexpo = upload(be, NULL, BATCH * sizeof *xexpo), *wexpo = upload(be, NULL, CLASSES * sizeof *wexpo);
    int64_t *chosen = upload(be, index, sizeof index);
    pfc_rowset batch = { xv, NULL, 0, BATCH }, classes = { wv, chosen, 0, CLASSES };
    ck_assert_msg(ops->row_norms(be, batch, xnorm, xexpo) == PFC_OK && ops->row_norms(be, classes, wnorm, wexpo) == PFC_OK, "%s", be->error);
    ck_assert_msg(ops->operand_create(be, xv, xnorm, xexpo, &op) == PFC_OK, "%s", be->error);
    ck_assert_msg(ops->cosines(be, 0, op, classes, wnorm, wexpo, normalised, z) == PFC_OK, "%s", be->error);
    ck_assert_msg(ops->weight_grad(be, 0, op, hv, classes, wnorm, dv, normalised, dw) == PFC_OK, "%s", be->error);
    ops->operand_destroy(be, op);
    take_reals(be, out->cosine, z);
    take_reals(be, out->gradient, dw);
    void *rest[] = { xv.data, wv.data, hv.data, dv.data, xnorm.data, wnorm.data, xexpo, wexpo, chosen };
    for (size_t i = 0; i < sizeof rest / sizeof *rest; i++) ops->free(be, rest[i]);
}

START_TEST(products_have_the_bits_of_the_cpu)
{
    for (int kind = 0; kind < 4; kind++) {
        products want, got;
        pfc_backend *cpu = open_cpu();
        multiply(cpu, kind & 1, kind >> 1, &want);
        pfc_backend_close(cpu);
        for (int checked = 0; checked < 2; checked++) {
            char why[256] = "";
            pfc_backend *be = open_skeleton(checked);
            multiply(be, kind & 1, kind >> 1, &got);
            ck_assert_msg(memcmp(want.cosine, got.cosine, sizeof got.cosine) == 0, "cosines, kind %d, checked %d", kind, checked);
            ck_assert_msg(memcmp(want.gradient, got.gradient, sizeof got.gradient) == 0, "weight_grad, kind %d, checked %d", kind, checked);
            ck_assert_msg(pfc_backend_finish(be, why, sizeof why) == PFC_OK, "%s", why);
        }
    }
}
END_TEST

/* Whether a shipped golden has its digests where the cpu's table has the skeleton's products in the place of its own. */
static bool has_its_digests(const char *name)
{
    const pfc_options options = { .mode = PFC_EXACT, .backend = "cpu" };
    char path[1024], why[256] = "";
    pfc_diag d = { 0 };
    pfc_case *c = NULL;
    pfc_ctx *ctx = NULL;
    const char *data = getenv("PFC_DATA");
    snprintf(path, sizeof path, "%s/%s.h5", data ? data : "data", name);
    PFC_AGREE(MPI_COMM_WORLD, pfc_ctx_create(MPI_COMM_WORLD, &options, &ctx, why, sizeof why) == PFC_OK);
    pfc_ops mixed = *ctx->be->ops;
    mixed.operand_create = skeleton_operand_create;
    mixed.operand_destroy = skeleton_operand_destroy;
    mixed.cosines = skeleton_cosines;
    mixed.weight_grad = skeleton_weight_grad;
    mixed.weight_update = NULL;
    ctx->be->ops = &mixed;
    PFC_AGREE(MPI_COMM_WORLD, pfc_case_read(MPI_COMM_WORLD, path, PFC_READ_INPUTS | PFC_READ_RESULTS, &c, &d) == 0);
    pfc_tensor_list want = c->out;
    c->out = (pfc_tensor_list){ 0 };
    bool same = want.count > 0 && c->algorithm->run(ctx, c, false, &d) == 0;
    for (int i = 0; same && i < want.count; i++) {
        pfc_tensor *mine = pfc_tensor_find(&c->out, want.items[i].name);
        same = mine && pfc_tensor_digest(MPI_COMM_WORLD, mine, &d) == 0 && strcmp(mine->sha256, want.items[i].sha256) == 0;
    }
    pfc_tensor_list_free(&want);
    pfc_case_free(c);
    pfc_ctx_destroy(&ctx);
    return same;
}

START_TEST(products_are_enough_for_the_goldens)
{
    static const char *const alone[] = { "pfc_full_arc", "pfc_full_linear", "arc_k3_margins", "swav_w1", "moco_plain_w1", NULL };
    static const char *const three[] = { "pfc_full_circle", "arc_wide", "swav_carried_w3", "moco_plain_w3", NULL };
    const char *const *names = pfc_test_ranks() == 1 ? alone : three;
    for (int i = 0; names[i]; i++) {
        bool same = has_its_digests(names[i]);
        if (!same) fprintf(stderr, "%s differs\n", names[i]);
        PFC_AGREE(MPI_COMM_WORLD, same);
    }
}
END_TEST

START_TEST(missing_operations_are_named)
{
    pfc_backend *be = open_skeleton(false);
    ck_assert_str_eq(pfc_ops_missing(be->ops), "row_max");
    pfc_acc *acc = NULL;
    ck_assert_int_eq(be->ops->acc_create(be, PFC_ACC_PRODUCT, 1, 1, &acc), PFC_ERR_UNSUPPORTED);
    ck_assert_msg(strstr(be->error, "sums of products"), "%s", be->error);
    pfc_backend_close(be);
}
END_TEST

/* pfc_group_gather over backend `be` (NULL: cpu). */
static void gather(pfc_backend *be, bool wild, double out[ROWS])
{
    double in[ROWS];
    char why[256];
    pfc_ctx *ctx = pfc_test_ctx(MPI_COMM_WORLD, (pfc_options){ .mode = PFC_EXACT, .backend = "cpu" });
    fill(in, ROWS, wild, 100 + (uint64_t)pfc_test_rank());
    if (be) {
        pfc_backend_close(ctx->be);
        ctx->be = be;
    }
    pfc_status st = pfc_group_gather(ctx, 1, 1, 0, pfc_view_make(in, PFC_F64, ROWS, 1), pfc_view_make(out, PFC_F64, ROWS, 1));
    ck_assert_msg(st == PFC_OK, "%s", pfc_ctx_error(ctx));
    ck_assert_msg(pfc_ctx_close(&ctx, why, sizeof why) == PFC_OK, "%s", why);
    for (int i = 0; i < ROWS; i++)
        if (px_nan(out[i])) out[i] = PX_NAN;
}

START_TEST(group_gather_runs_on_it)
{
    for (int wild = 0; wild < 2; wild++) {
        double want[ROWS], got[ROWS];
        gather(NULL, wild, want);
        for (int checked = 0; checked < 2; checked++) {
            gather(open_skeleton(checked), wild, got);
            PFC_AGREE(MPI_COMM_WORLD, memcmp(want, got, sizeof want) == 0);
        }
    }
}
END_TEST

int main(int argc, char **argv)
{
    const pfc_test tests[] = {
        PFC_ONCE(filled_operations_have_the_bits_of_the_cpu),
        PFC_ONCE(products_have_the_bits_of_the_cpu),
        PFC_ONCE(products_are_enough_for_the_goldens),
        PFC_ONCE(missing_operations_are_named),
        PFC_ONCE(group_gather_runs_on_it),
    };
    return PFC_TEST_MAIN(argc, argv, tests);
}
