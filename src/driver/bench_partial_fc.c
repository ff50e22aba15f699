/* bench_partial_fc.c: partial_fc steps beside three plain OpenBLAS products of the same shapes, in turns.
 *
 * A step's own work is 6 N C D operations on the C sampled classes: F = X W^T, DX = G W, DW = G^T X. What it must move, two passes over the
 * classes being forced by the global softmax sum: weights read twice and written once, momentum read and written once, cosines written and
 * read once: (5 C D + 2 N C) elements. */
#include "case/partial_fc_case.h"
#include "driver/bench.h"
#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

typedef struct bench {
    pfc_bench *run;
    pfc_bench_record *r;
    pfc_cli *cli;
    pfc_case *c;
    pfc_diag *diag;
    pfc_ctx *ctx;
    pfc_partial_fc *layer;
    int64_t n, classes, d;      /* global */
    int64_t rows, own, sampled; /* of this rank; sampled: classes in the last step */
    int64_t all_sampled;
    float *x;
    int64_t *labels, *mask;
    double *x_grad;
    void *gemm;                /* X, W, F, DX, DW of the three products of `piece` classes */
    pfc_bench_products *exact; /* NULL: fast mode, not on the cpu backend, or more than one piece */
    int64_t piece;
    pfc_timing product;
} bench;

static void default_param(pfc_case *c, const char *name, const char *text, pfc_diag *diag)
{
    int i = pfc_param_index(c->algorithm, name);
    if (!c->param[i].given) pfc_case_set_param(c, name, text, diag);
}

/* Features and labels of the fill "normal"; the case's check needs a weight, which is freed at once: the layer makes its own. */
static int prepare_case(bench *b)
{
    pfc_case *c = b->c;
    pfc_diag *diag = b->diag;
    static const char *const defaults[][2] = { { "head", "cos" }, { "scale", "64" }, { "margin", "0.4" }, { "lr", "0.1" }, { "weight_decay", "0.0005" } };
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) default_param(c, defaults[i][0], defaults[i][1], diag);
    snprintf(c->name, sizeof c->name, "%s", b->r->name);
    b->n = c->size['N' - 'A'], b->classes = c->size['C' - 'A'], b->d = c->size['D' - 'A'];
    if (b->n % b->cli->ranks)
        return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: found N = %lld, expected a multiple of the number of ranks, %d", (long long)b->n, b->cli->ranks);
    double own = (double)(b->classes / b->cli->ranks + 1);
    if (pfc_bench_room(b->cli, (b->run->mode == PFC_FAST ? 4.0 : 8.0) * own * (2.0 * (double)b->d + (c->recompute ? 0.0 : (double)b->n)), diag))
        return diag->exit_status;
    int64_t x[2] = { b->n, b->d }, w[2] = { b->classes, b->d };
    pfc_tensor *features = pfc_tensor_add(b->cli->comm, &c->in, "features", PFC_F32, 2, x, PFC_DIST_BATCH, 0);
    pfc_tensor *labels = pfc_tensor_add(b->cli->comm, &c->in, "labels", PFC_I64, 1, x, PFC_DIST_BATCH, 0);
    pfc_tensor *weight = pfc_tensor_add(b->cli->comm, &c->in, "weight", PFC_F32, 2, w, PFC_DIST_CLASS, 0);
    if (!features || !labels || !weight)
        return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for %lld x %lld weights", (long long)b->classes, (long long)b->d);
    return 0;
}

static int take_inputs(bench *b)
{
    b->rows = b->n / b->cli->ranks;
    b->own = pfc_shard_of(b->classes, b->cli->ranks, b->cli->rank).count;
    b->x = malloc((size_t)(b->rows * b->d) * sizeof *b->x + 1);
    b->labels = malloc((size_t)b->rows * sizeof *b->labels + 1);
    b->x_grad = malloc((size_t)(b->rows * b->d) * sizeof *b->x_grad + 1);
    bool all = !pfc_partial_fc_case_samples(b->c); /* then nobody has to tell which classes */
    b->mask = all ? NULL : malloc((size_t)b->own * sizeof *b->mask + 1);
    if (!b->x || !b->labels || !b->x_grad || (!all && !b->mask)) return pfc_diag_fail(b->diag, PFC_EXIT_RUNTIME, "out of memory for the inputs");
    int64_t first = b->rows * b->cli->rank;
    for (int64_t i = 0; i < b->rows * b->d; i++) b->x[i] = (float)pfc_normal(1, first * b->d + i, 0, PFC_STREAM_FILL);
    for (int64_t i = 0; i < b->rows; i++) b->labels[i] = (int64_t)(pfc_uniform(1, first + i, 1, PFC_STREAM_FILL) * (double)b->classes) % b->classes;
    return 0;
}

static int open_layer(bench *b)
{
    pfc_partial_fc_config cfg = pfc_partial_fc_case_config(b->c);
    pfc_tensor_list_free(&b->c->in);
    b->r->inputs = pfc_rss_now(b->cli->comm);
    pfc_rss_restart();
    pfc_status status = pfc_partial_fc_create(b->ctx, &cfg, &b->layer);
    return status == PFC_OK ? 0 : pfc_diag_from_status(b->diag, status, b->ctx, "bench");
}

static int one_step(bench *b, pfc_timing *timing)
{
    pfc_dtype real = pfc_ctx_real(b->ctx);
    pfc_view none = pfc_view_make(NULL, real, 0, 0), keys = pfc_view_make(NULL, PFC_F64, 0, 0);
    pfc_partial_fc_result result = { 0.0, pfc_view_make(b->x_grad, real, b->rows, b->d), none, pfc_view_make(b->mask, PFC_I64, b->own, 1) };
    pfc_clock start = pfc_clock_start(b->cli->comm);
    pfc_status status =
        pfc_partial_fc_step(b->layer, pfc_view_make(b->x, PFC_F32, b->rows, b->d), pfc_view_make(b->labels, PFC_I64, b->rows, 1), keys, &result);
    if (status != PFC_OK) return pfc_diag_from_status(b->diag, status, b->ctx, "bench");
    if (timing) pfc_clock_stop(b->cli->comm, start, timing);
    return 0;
}

/* ---- the three products, at most MOST_CLASSES at a time: their operands are not larger than the layer ---- */

enum { MOST_CLASSES = 1 << 20 };

static void count_sampled(bench *b)
{
    b->sampled = b->mask ? 0 : b->own;
    for (int64_t i = 0; b->mask && i < b->own; i++) b->sampled += b->mask[i] != 0;
    MPI_Allreduce(&b->sampled, &b->all_sampled, 1, MPI_INT64_T, MPI_SUM, b->cli->comm);
    b->piece = b->sampled < MOST_CLASSES ? b->sampled : MOST_CLASSES;
}

static int open_products(bench *b)
{
    size_t elements = (size_t)(2 * b->n * b->d + 2 * b->piece * b->d + b->n * b->piece);
    size_t size = b->run->mode == PFC_FAST ? sizeof(float) : sizeof(double);
    b->gemm = malloc(elements * size + 1);
    if (!b->gemm) pfc_diag_fail(b->diag, PFC_EXIT_RUNTIME, "out of memory for the plain products");
    for (size_t i = 0; b->gemm && i < elements; i++) {
        double value = (double)(i % 13) * 0.01 - 0.06;
        if (b->run->mode == PFC_FAST)
            ((float *)b->gemm)[i] = (float)value;
        else
            ((double *)b->gemm)[i] = value;
    }
    return pfc_diag_agree(b->cli->comm, b->diag);
}

/* X, dX, W, dW, F in b->gemm. */
static int open_exact_products(bench *b)
{
    if (b->run->mode != PFC_EXACT || strcmp(pfc_ctx_backend_name(b->ctx), "cpu") != 0 || b->piece < b->sampled) return 0;
    double *x = b->gemm, *w = x + 2 * b->n * b->d, *f = w + 2 * b->sampled * b->d;
    b->exact = pfc_bench_products_open(b->cli->comm, pfc_ctx_engine_name(b->ctx), b->cli->threads, b->n, b->sampled, b->d, x, w, f, b->diag);
    return b->diag->exit_status;
}

static void products_f32(const bench *b, int64_t classes, bool first)
{
    int n = (int)b->n, c = (int)classes, d = (int)b->d;
    float *x = b->gemm, *dx = x + b->n * b->d, *w = dx + b->n * b->d, *dw = w + classes * b->d, *f = dw + classes * b->d;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, c, d, 1.0f, x, d, w, d, 0.0f, f, c);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, d, c, 1.0f, f, c, w, d, first ? 0.0f : 1.0f, dx, d);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, c, d, n, 1.0f, f, c, x, d, 0.0f, dw, d);
}

static void products_f64(const bench *b, int64_t classes, bool first)
{
    int n = (int)b->n, c = (int)classes, d = (int)b->d;
    double *x = b->gemm, *dx = x + b->n * b->d, *w = dx + b->n * b->d, *dw = w + classes * b->d, *f = dw + classes * b->d;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, c, d, 1.0, x, d, w, d, 0.0, f, c);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, d, c, 1.0, f, c, w, d, first ? 0.0 : 1.0, dx, d);
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, c, d, n, 1.0, f, c, x, d, 0.0, dw, d);
}

static void one_product(bench *b, pfc_timing *timing)
{
    pfc_openblas_threads(b->cli->threads);
    pfc_clock start = pfc_clock_start(b->cli->comm);
    for (int64_t done = 0; done < b->sampled; done += b->piece) {
        int64_t classes = b->sampled - done < b->piece ? b->sampled - done : b->piece;
        if (b->run->mode == PFC_FAST)
            products_f32(b, classes, done == 0);
        else
            products_f64(b, classes, done == 0);
    }
    if (timing) pfc_clock_stop(b->cli->comm, start, timing);
    pfc_openblas_threads(1);
    /* OpenBLAS's threads go on looking for work for a while, on the cores of the next step. */
    const struct timespec rest = { 0, 100000000 };
    if (b->cli->threads > 1) nanosleep(&rest, NULL);
}

/* Weights are read for the products, then updated with the momentum. */
static int figure_out(bench *b)
{
    double n = (double)b->n, c = (double)b->all_sampled, d = (double)b->d, size = b->run->mode == PFC_FAST ? 4.0 : 8.0;
    pfc_bench_record *r = b->r;
    r->has_cost = true;
    r->flops = 6.0 * n * c * d;
    r->bytes[PFC_BYTES_READ] = size * c * d;
    r->bytes[PFC_BYTES_UPDATE] = size * 4.0 * c * d;
    r->bytes[PFC_BYTES_COPY] = size * 2.0 * n * c;
    r->working_set = (int64_t)(size * 2.0 * (double)b->classes * d) / b->cli->ranks;
    return pfc_bench_figures(b->run, b->ctx, r, b->diag);
}

/* Memory is read before the products' operands exist. Two steps first: the second one finds all pages touched. */
static int measure(bench *b)
{
    if (one_step(b, NULL) || one_step(b, NULL)) return b->diag->exit_status;
    b->r->peak = pfc_rss_peak(b->cli->comm);
    count_sampled(b);
    if (b->run->alone) {
        if (open_products(b) || open_exact_products(b)) return b->diag->exit_status;
        one_product(b, NULL);
    }
    for (int i = 0; i < b->cli->rounds; i++) {
        if (one_step(b, &b->r->step)) return b->diag->exit_status;
        if (b->run->alone) one_product(b, &b->product);
        if (b->exact && pfc_bench_products_run(b->exact, b->diag)) return b->diag->exit_status;
    }
    if (!b->run->alone) b->r->peak = pfc_rss_peak(b->cli->comm);
    return figure_out(b);
}

/* ---- telling ---- */

static void print(const bench *b)
{
    const char *gemm = b->run->mode == PFC_FAST ? "SGEMM" : "DGEMM";
    double cpu = pfc_median(b->product.cpu, b->product.count), wall = pfc_median(b->product.wall, b->product.count);
    if (b->cli->rank != 0 || b->cli->quiet) return;
    pfc_bench_print(b->run, b->c, b->ctx, b->r);
    printf("sampled         %lld classes\n", (long long)b->all_sampled);
    printf("three %ss    %.6f s CPU  %.6f s wall\n", gemm, cpu, wall);
    printf("step/products   %.2f CPU  %.2f wall\n", b->r->cpu / cpu, b->r->wall / wall);
    if (b->exact) pfc_bench_products_print(b->exact, &b->product);
}

static void write_json(const bench *b, pfc_json *j)
{
    pfc_json_begin(j, NULL, '{');
    pfc_bench_json(b->run, b->c, b->ctx, b->r, j);
    pfc_json_int(j, "sampled_classes", b->all_sampled);
    if (b->product.count) {
        pfc_json_timing(j, "gemm_seconds", "gemm_wall_seconds", &b->product);
        pfc_json_real(j, "step_over_gemm", b->r->cpu / pfc_median(b->product.cpu, b->product.count));
        pfc_json_real(j, "step_over_gemm_wall", b->r->wall / pfc_median(b->product.wall, b->product.count));
    }
    if (b->exact) pfc_bench_products_json(b->exact, &b->product, j);
    pfc_json_end(j);
}

static void close_bench(bench *b)
{
    pfc_bench_products_close(b->exact);
    pfc_partial_fc_destroy(&b->layer);
    pfc_cli_context_close(&b->ctx, b->diag);
    free(b->x);
    free(b->labels);
    free(b->mask);
    free(b->x_grad);
    free(b->gemm);
}

int pfc_bench_partial_fc(pfc_bench *run, pfc_case *c, pfc_bench_record *r, pfc_json *json, pfc_diag *diag)
{
    static bench b; /* large */
    b = (bench){ .run = run, .r = r, .cli = run->cli, .c = c, .diag = diag };
    pfc_rss_restart();
    b.ctx = pfc_cli_context(b.cli, run->mode, diag);
    if (b.ctx) prepare_case(&b);
    if (!pfc_diag_agree(b.cli->comm, diag) && !pfc_case_check(b.cli->comm, c, diag)) {
        take_inputs(&b);
        if (!pfc_diag_agree(b.cli->comm, diag) && !open_layer(&b) && !measure(&b)) {
            if (run->alone) print(&b);
            write_json(&b, json);
        }
    }
    close_bench(&b);
    return diag->exit_status;
}
