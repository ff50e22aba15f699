/* bench_products.c: exact mode's three products alone, as the engine computes them for a step: the batch made an operand once, then blocks of classes, with
 * slicing and recombination, without norms, softmax and update. X and W are float32 numbers; H is the gradient of their own softmax, one target a row. */
#include "backend/cpu/exact.h"
#include "core/rng_kernels.h"
#include "driver/bench.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { FORWARD, FEATURE, WEIGHT, PARTS };

struct pfc_bench_products {
    MPI_Comm comm;
    pfc_backend *be;
    int64_t n, c, d;
    double *x, *w, *f; /* the caller's: (n,d), (c,d), (c,n) */
    double *h, *t;     /* (c,n); per lane a block of (block,d) */
    double *norm;      /* n + c */
    int32_t *expo;     /* of x, of w, of the columns of h, of its rows */
    pfc_operand *batch;
    pfc_acc *acc;
    pfc_status *status; /* per lane */
    int part;
    pfc_timing part_time[PARTS], total;
};

static void fill(double *x, int64_t count, uint32_t tensor)
{
    pfc_normal_range(pfc_rng_best(), 1, 0, count, tensor, PFC_STREAM_FILL, x);
    for (int64_t i = 0; i < count; i++) x[i] = (double)(float)x[i];
}

static pfc_rowset rows_of(double *p, int64_t first, int64_t count, int64_t cols)
{
    return (pfc_rowset){ pfc_view_make(p, PFC_F64, first + count, cols), NULL, first, count };
}

static pfc_status one_block(pfc_bench_products *b, int lane, int64_t first, int64_t count)
{
    pfc_exact *ex = exact_of(b->be);
    exact_lane *mine = &ex->lane[lane];
    const int32_t *wexpo = b->expo + b->n + first, *column = b->expo + b->n + b->c, *row = column + b->n;
    pfc_rowset w = rows_of(b->w, first, count, b->d);
    if (b->part == FORWARD) return ex->engine->forward(mine, w, wexpo, b->batch, b->f + first * b->n);
    if (b->part == FEATURE)
        return ex->engine->feature(mine, rows_of(b->h, first, count, b->n), column, w, wexpo, &((exact_acc_state *)b->acc->state)->product[lane]);
    int64_t strip = ex->engine->strip ? ex->engine->strip : count;
    for (int64_t i = 0; i < count; i += strip) {
        int64_t some = count - i < strip ? count - i : strip;
        double *t = b->t + lane * EXACT_BLOCK * b->d + i * b->d;
        PFC_TRY(ex->engine->weight(mine, rows_of(b->h, first + i, some, b->n), row + first + i, b->batch, t));
    }
    return PFC_OK;
}

static void run_lane(void *arg, int lane)
{
    pfc_bench_products *b = arg;
    int64_t blocks = (b->c + EXACT_BLOCK - 1) / EXACT_BLOCK, end = blocks * (lane + 1) / b->be->lanes;
    for (int64_t i = blocks * lane / b->be->lanes; i < end && b->status[lane] == PFC_OK; i++) {
        int64_t first = i * EXACT_BLOCK, left = b->c - first;
        b->status[lane] = one_block(b, lane, first, left < EXACT_BLOCK ? left : EXACT_BLOCK);
    }
}

static pfc_status one_part(pfc_bench_products *b, int part)
{
    b->part = part;
    b->be->ops->for_lanes(b->be, b->be->lanes, run_lane, b);
    for (int i = 0; i < b->be->lanes; i++)
        if (b->status[i] != PFC_OK) return b->status[i];
    return PFC_OK;
}

static pfc_status make_batch(pfc_bench_products *b)
{
    return b->be->ops->operand_create(b->be, pfc_view_make(b->x, PFC_F64, b->n, b->d), pfc_view_make(b->norm, PFC_F64, b->n, 1), b->expo, &b->batch);
}

static void drop_batch(pfc_bench_products *b)
{
    if (b->batch) b->be->ops->operand_destroy(b->be, b->batch);
    b->batch = NULL;
}

static pfc_status feature(pfc_bench_products *b)
{
    PFC_TRY(b->be->ops->acc_create(b->be, PFC_ACC_PRODUCT, b->n, b->d, &b->acc));
    memcpy(b->acc->expo, b->expo + b->n + b->c, (size_t)b->n * sizeof *b->expo);
    pfc_status st = one_part(b, FEATURE);
    if (st == PFC_OK) st = b->be->ops->acc_fold(b->be, b->acc, NULL);
    b->be->ops->acc_destroy(b->be, b->acc);
    b->acc = NULL;
    return st;
}

/* h = softmax(scale cos) - onehot, from the integers in f; then the grids of its columns and rows. */
static void make_gradient(pfc_bench_products *b)
{
    const double scale = 64.0;
    int32_t *column = b->expo + b->n + b->c, *row = column + b->n;
    for (int64_t i = 0; i < b->n; i++) {
        double sum = 0.0, most = 0.0;
        for (int64_t c = 0; c < b->c; c++) {
            double cosine = ldexp(b->f[c * b->n + i], b->expo[i] + b->expo[b->n + c] - 124) / (b->norm[i] * b->norm[b->n + c]);
            sum += b->h[c * b->n + i] = exp(scale * (cosine - 1.0));
        }
        for (int64_t c = 0; c < b->c; c++) {
            double *h = &b->h[c * b->n + i];
            *h = (*h / sum - (c == i * b->c / b->n ? 1.0 : 0.0)) / (double)b->n;
            if (fabs(*h) > most) most = fabs(*h);
        }
        column[i] = px_expo(most);
    }
    for (int64_t c = 0; c < b->c; c++) {
        double most = 0.0;
        for (int64_t i = 0; i < b->n; i++)
            if (fabs(b->h[c * b->n + i]) > most) most = fabs(b->h[c * b->n + i]);
        row[c] = px_expo(most);
    }
}

static pfc_status make_inputs(pfc_bench_products *b)
{
    fill(b->x, b->n * b->d, 0);
    fill(b->w, b->c * b->d, 1);
    PFC_TRY(b->be->ops->row_norms(b->be, rows_of(b->x, 0, b->n, b->d), pfc_view_make(b->norm, PFC_F64, b->n, 1), b->expo));
    PFC_TRY(b->be->ops->row_norms(b->be, rows_of(b->w, 0, b->c, b->d), pfc_view_make(b->norm + b->n, PFC_F64, b->c, 1), b->expo + b->n));
    PFC_TRY(make_batch(b));
    PFC_TRY(one_part(b, FORWARD));
    drop_batch(b);
    make_gradient(b);
    return PFC_OK;
}

pfc_bench_products *pfc_bench_products_open(MPI_Comm comm, const char *engine, int threads, int64_t n, int64_t c, int64_t d, double *x, double *w, double *f,
                                            pfc_diag *diag)
{
    char why[256];
    pfc_options options = { PFC_EXACT, "cpu", engine, threads, -1 };
    pfc_bench_products *b = calloc(1, sizeof *b);
    if (b && pfc_backend_open(&options, &b->be, why, sizeof why) != PFC_OK) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s", why);
    if (b && b->be) {
        *b = (pfc_bench_products){ .comm = comm, .be = b->be, .n = n, .c = c, .d = d, .x = x, .w = w, .f = f };
        b->status = calloc((size_t)b->be->lanes, sizeof *b->status);
        b->h = malloc((size_t)(c * n) * sizeof *b->h + 1);
        b->t = malloc((size_t)(b->be->lanes * EXACT_BLOCK * d) * sizeof *b->t + 1);
        b->norm = malloc((size_t)(n + c) * sizeof *b->norm + 1);
        b->expo = malloc((size_t)(2 * (n + c)) * sizeof *b->expo + 1);
    }
    if (!b || (b->be && (!b->status || !b->h || !b->t || !b->norm || !b->expo))) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for the exact products");
    if (!diag->exit_status && make_inputs(b) != PFC_OK) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "exact products: %s", b->be->error);
    if (!pfc_diag_agree(comm, diag)) return b;
    pfc_bench_products_close(b);
    return NULL;
}

void pfc_bench_products_close(pfc_bench_products *b)
{
    if (!b) return;
    drop_batch(b);
    if (b->be) pfc_backend_close(b->be);
    free(b->status);
    free(b->h);
    free(b->t);
    free(b->norm);
    free(b->expo);
    free(b);
}

int pfc_bench_products_run(pfc_bench_products *b, pfc_diag *diag)
{
    pfc_clock all = pfc_clock_start(b->comm), start = all;
    pfc_status st = make_batch(b);
    if (st == PFC_OK) st = one_part(b, FORWARD);
    pfc_clock_stop(b->comm, start, &b->part_time[FORWARD]);
    start = pfc_clock_start(b->comm);
    if (st == PFC_OK) st = feature(b);
    pfc_clock_stop(b->comm, start, &b->part_time[FEATURE]);
    start = pfc_clock_start(b->comm);
    if (st == PFC_OK) st = one_part(b, WEIGHT);
    pfc_clock_stop(b->comm, start, &b->part_time[WEIGHT]);
    drop_batch(b);
    pfc_clock_stop(b->comm, all, &b->total);
    if (st != PFC_OK) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "exact products: %s", b->be->error);
    return pfc_diag_agree(b->comm, diag);
}

void pfc_bench_products_print(const pfc_bench_products *b, const pfc_timing *plain)
{
    double part[PARTS], cpu = pfc_median(b->total.cpu, b->total.count), wall = pfc_median(b->total.wall, b->total.count);
    for (int i = 0; i < PARTS; i++) part[i] = pfc_median(b->part_time[i].cpu, b->part_time[i].count);
    printf("exact products  %.6f s CPU  %.6f s wall  (X W^T %.4f, G W %.4f, G^T X %.4f)\n", cpu, wall, part[FORWARD], part[FEATURE], part[WEIGHT]);
    printf("exact/DGEMMs    %.2f CPU  %.2f wall\n", cpu / pfc_median(plain->cpu, plain->count), wall / pfc_median(plain->wall, plain->count));
}

void pfc_bench_products_json(const pfc_bench_products *b, const pfc_timing *plain, pfc_json *j)
{
    pfc_json_timing(j, "exact_products_seconds", "exact_products_wall_seconds", &b->total);
    pfc_json_timing(j, "exact_forward_seconds", "exact_forward_wall_seconds", &b->part_time[FORWARD]);
    pfc_json_timing(j, "exact_feature_seconds", "exact_feature_wall_seconds", &b->part_time[FEATURE]);
    pfc_json_timing(j, "exact_weight_seconds", "exact_weight_wall_seconds", &b->part_time[WEIGHT]);
    pfc_json_real(j, "exact_products_over_gemm", pfc_median(b->total.cpu, b->total.count) / pfc_median(plain->cpu, plain->count));
}
