/* bench_partial_fc.c: partial_fc steps beside three plain OpenBLAS products of the same shapes, in turns.
 *
 * A step's own work is 6 N C D operations on the C sampled classes: F = X W^T, DX = G W, DW = G^T X. What it must move, two passes over the
 * classes being forced by the global softmax sum: weights read twice and written once, momentum read and written once, cosines written and
 * read once: (5 C D + 2 N C) elements. bound_seconds = max(operations / peak, bytes / peak). */
#include "case/partial_fc_case.h"
#include "driver/bench.h"
#include <cblas.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct bench {
    pfc_cli *cli;
    pfc_case *c;
    pfc_diag *diag;
    pfc_mode mode;
    pfc_ctx *ctx;
    pfc_partial_fc *layer;
    int threads;
    int64_t n, classes, d;      /* global */
    int64_t rows, own, sampled; /* of this rank; sampled: classes in the last step */
    int64_t all_sampled;
    float *x;
    int64_t *labels, *mask;
    double *x_grad;
    void *gemm; /* X, W, F, DX, DW of the three products */
    pfc_timing step, product;
    int64_t rss;
    pfc_peaks peaks;
} bench;

static void default_param(pfc_case *c, const char *name, const char *text, pfc_diag *diag)
{
    int i = pfc_param_index(c->algorithm, name);
    if (!c->param[i].given) pfc_case_set_param(c, name, text, diag);
}

static void default_size(pfc_case *c, char letter, int64_t value)
{
    if (c->size[letter - 'A'] < 0) c->size[letter - 'A'] = value;
}

/* Features and labels of the fill "normal"; the case's check needs a weight, which is freed at once: the layer makes its own. */
static int prepare_case(bench *b)
{
    pfc_case *c = b->c;
    pfc_diag *diag = b->diag;
    static const char *const defaults[][2] = { { "head", "cos" }, { "scale", "64" }, { "margin", "0.4" }, { "lr", "0.1" }, { "weight_decay", "0.0005" } };
    for (size_t i = 0; i < sizeof defaults / sizeof defaults[0]; i++) default_param(c, defaults[i][0], defaults[i][1], diag);
    default_size(c, 'N', 128);
    default_size(c, 'C', 100000);
    default_size(c, 'D', 512);
    snprintf(c->name, sizeof c->name, "bench");
    b->n = c->size['N' - 'A'], b->classes = c->size['C' - 'A'], b->d = c->size['D' - 'A'];
    if (b->n % b->cli->ranks) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: N = %lld is not divisible by %d ranks", (long long)b->n, b->cli->ranks);
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double need = (b->mode == PFC_FAST ? 4.0 : 8.0) * (double)b->classes * (2.0 * (double)b->d + (c->recompute ? 0.0 : (double)b->n));
    if (need > memory) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: weights, momentum and cosines are larger than the memory of this machine");
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
    b->mask = malloc((size_t)b->own * sizeof *b->mask + 1);
    if (!b->x || !b->labels || !b->x_grad || !b->mask) return pfc_diag_fail(b->diag, PFC_EXIT_RUNTIME, "out of memory for the inputs");
    int64_t first = b->rows * b->cli->rank;
    for (int64_t i = 0; i < b->rows * b->d; i++) b->x[i] = (float)pfc_normal(1, first * b->d + i, 0, PFC_STREAM_FILL);
    for (int64_t i = 0; i < b->rows; i++) b->labels[i] = (int64_t)(pfc_uniform(1, first + i, 1, PFC_STREAM_FILL) * (double)b->classes) % b->classes;
    return 0;
}

static int open_layer(bench *b)
{
    pfc_partial_fc_config cfg = pfc_partial_fc_case_config(b->c);
    pfc_tensor_list_free(&b->c->in);
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

/* ---- the three products ---- */

static int open_products(bench *b)
{
    b->sampled = 0;
    for (int64_t i = 0; i < b->own; i++) b->sampled += b->mask[i] != 0;
    MPI_Allreduce(&b->sampled, &b->all_sampled, 1, MPI_INT64_T, MPI_SUM, b->cli->comm);
    size_t elements = (size_t)(2 * b->n * b->d + 2 * b->sampled * b->d + b->n * b->sampled);
    size_t size = b->mode == PFC_FAST ? sizeof(float) : sizeof(double);
    b->gemm = malloc(elements * size + 1);
    if (!b->gemm) pfc_diag_fail(b->diag, PFC_EXIT_RUNTIME, "out of memory for the plain products");
    for (size_t i = 0; b->gemm && i < elements; i++) {
        double value = (double)(i % 13) * 0.01 - 0.06;
        if (b->mode == PFC_FAST)
            ((float *)b->gemm)[i] = (float)value;
        else
            ((double *)b->gemm)[i] = value;
    }
    return pfc_diag_agree(b->cli->comm, b->diag);
}

static void products_f32(const bench *b)
{
    int n = (int)b->n, c = (int)b->sampled, d = (int)b->d;
    float *x = b->gemm, *dx = x + b->n * b->d, *w = dx + b->n * b->d, *dw = w + b->sampled * b->d, *f = dw + b->sampled * b->d;
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, c, d, 1.0f, x, d, w, d, 0.0f, f, c);
    cblas_sgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, d, c, 1.0f, f, c, w, d, 0.0f, dx, d);
    cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, c, d, n, 1.0f, f, c, x, d, 0.0f, dw, d);
}

static void products_f64(const bench *b)
{
    int n = (int)b->n, c = (int)b->sampled, d = (int)b->d;
    double *x = b->gemm, *dx = x + b->n * b->d, *w = dx + b->n * b->d, *dw = w + b->sampled * b->d, *f = dw + b->sampled * b->d;
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasTrans, n, c, d, 1.0, x, d, w, d, 0.0, f, c);
    cblas_dgemm(CblasRowMajor, CblasNoTrans, CblasNoTrans, n, d, c, 1.0, f, c, w, d, 0.0, dx, d);
    cblas_dgemm(CblasRowMajor, CblasTrans, CblasNoTrans, c, d, n, 1.0, f, c, x, d, 0.0, dw, d);
}

static void one_product(bench *b, pfc_timing *timing)
{
    pfc_openblas_threads(b->threads);
    pfc_clock start = pfc_clock_start(b->cli->comm);
    if (b->sampled > 0 && b->mode == PFC_FAST) products_f32(b);
    if (b->sampled > 0 && b->mode == PFC_EXACT) products_f64(b);
    if (timing) pfc_clock_stop(b->cli->comm, start, timing);
    pfc_openblas_threads(1);
}

/* Memory is read before the products' operands exist. Two steps first: the second one finds all pages touched. */
static int measure(bench *b)
{
    if (one_step(b, NULL) || one_step(b, NULL)) return b->diag->exit_status;
    b->rss = pfc_peak_rss(b->cli->comm);
    if (open_products(b)) return b->diag->exit_status;
    one_product(b, NULL);
    for (int i = 0; i < b->cli->rounds; i++) {
        if (one_step(b, &b->step)) return b->diag->exit_status;
        one_product(b, &b->product);
    }
    b->peaks = pfc_measure_peaks(b->cli->comm, b->mode, b->threads, b->diag);
    return b->diag->exit_status;
}

/* ---- telling ---- */

typedef struct figures {
    double flops, bytes, bound, step_cpu, step_wall, gemm_cpu, gemm_wall;
} figures;

static figures figure_out(const bench *b)
{
    double n = (double)b->n, c = (double)b->all_sampled, d = (double)b->d, size = b->mode == PFC_FAST ? 4.0 : 8.0;
    figures f = { .flops = 6.0 * n * c * d, .bytes = size * (5.0 * c * d + 2.0 * n * c) };
    double compute = f.flops / b->peaks.flops, memory = f.bytes / b->peaks.memory;
    f.bound = compute > memory ? compute : memory;
    f.step_cpu = pfc_median(b->step.cpu, b->step.count);
    f.step_wall = pfc_median(b->step.wall, b->step.count);
    f.gemm_cpu = pfc_median(b->product.cpu, b->product.count);
    f.gemm_wall = pfc_median(b->product.wall, b->product.count);
    return f;
}

static void print(const bench *b, const figures *f)
{
    const char *gemm = b->mode == PFC_FAST ? "SGEMM" : "DGEMM";
    if (b->cli->rank != 0 || b->cli->quiet) return;
    printf("partial_fc N=%lld C=%lld D=%lld, %lld classes a step, %s mode, %s %s, engine %s, %d rank%s x %d thread%s, OpenBLAS %s\n", (long long)b->n,
           (long long)b->classes, (long long)b->d, (long long)b->all_sampled, b->mode == PFC_FAST ? "fast" : "exact", pfc_ctx_backend_name(b->ctx),
           pfc_ctx_isa(b->ctx), pfc_ctx_engine_name(b->ctx), b->cli->ranks, b->cli->ranks == 1 ? "" : "s", b->threads, b->threads == 1 ? "" : "s",
           pfc_openblas_state()->core);
    printf("step            %.6f s CPU  %.6f s wall  (medians of %d rounds)\n", f->step_cpu, f->step_wall, b->step.count);
    for (int i = 0; i < b->step.count; i++) printf("  round %-3d     %.6f s CPU  %.6f s wall\n", i + 1, b->step.cpu[i], b->step.wall[i]);
    printf("three %ss    %.6f s CPU  %.6f s wall\n", gemm, f->gemm_cpu, f->gemm_wall);
    printf("step/products   %.2f CPU  %.2f wall\n", f->step_cpu / f->gemm_cpu, f->step_wall / f->gemm_wall);
    printf("work            %.3f GFLOP, %.1f MB at least\n", f->flops * 1e-9, f->bytes * 1e-6);
    printf("peaks           %.1f GFLOP/s (%s 512^3), %.1f GB/s (a = b + 3 c)\n", b->peaks.flops * 1e-9, gemm, b->peaks.memory * 1e-9);
    printf("bound           %.6f s, reached %.0f %% by wall time\n", f->bound, 100.0 * f->bound / f->step_wall);
    printf("peak memory     %.1f MiB in the largest rank\n", (double)b->rss / 1048576.0);
}

static void write_json(const bench *b, const figures *f, pfc_json *j)
{
    pfc_json_begin(j, NULL, '{');
    pfc_json_text(j, "algorithm", "partial_fc");
    pfc_json_begin(j, "size", '{');
    pfc_json_int(j, "N", b->n);
    pfc_json_int(j, "C", b->classes);
    pfc_json_int(j, "D", b->d);
    pfc_json_end(j);
    pfc_json_params(j, b->c);
    pfc_json_text(j, "mode", b->mode == PFC_FAST ? "fast" : "exact");
    pfc_json_context(j, b->ctx);
    pfc_json_text(j, "openblas_core", pfc_openblas_state()->core);
    pfc_json_int(j, "ranks", b->cli->ranks);
    pfc_json_int(j, "threads", b->threads);
    pfc_json_int(j, "rounds", b->step.count);
    pfc_json_int(j, "sampled_classes", b->all_sampled);
    pfc_json_timing(j, "cpu_seconds", "wall_seconds", &b->step);
    pfc_json_timing(j, "gemm_seconds", "gemm_wall_seconds", &b->product);
    pfc_json_real(j, "step_over_gemm", f->step_cpu / f->gemm_cpu);
    pfc_json_real(j, "step_over_gemm_wall", f->step_wall / f->gemm_wall);
    pfc_json_int(j, "peak_rss_bytes", b->rss);
    pfc_json_real(j, "flops", f->flops);
    pfc_json_real(j, "bytes", f->bytes);
    pfc_json_real(j, "peak_flops_per_second", b->peaks.flops);
    pfc_json_real(j, "peak_bytes_per_second", b->peaks.memory);
    pfc_json_real(j, "bound_seconds", f->bound);
    pfc_json_end(j);
}

static void close_bench(bench *b)
{
    pfc_partial_fc_destroy(&b->layer);
    pfc_cli_context_close(&b->ctx, b->diag);
    free(b->x);
    free(b->labels);
    free(b->mask);
    free(b->x_grad);
    free(b->gemm);
}

int pfc_bench_partial_fc(pfc_cli *cli, pfc_case *c, pfc_json *json, pfc_diag *diag)
{
    static bench b; /* large */
    b.cli = cli;
    b.c = c;
    b.diag = diag;
    b.mode = cli->mode_given ? cli->mode : PFC_FAST;
    if (!cli->threads) cli->threads = 1; /* the primary figure is CPU time of one thread */
    b.threads = cli->threads;
    if (cli->rounds > PFC_MAX_ROUNDS) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--rounds %d: at most %d", cli->rounds, PFC_MAX_ROUNDS);
    b.ctx = pfc_cli_context(cli, b.mode, diag);
    if (b.ctx) prepare_case(&b);
    if (!pfc_diag_agree(cli->comm, diag) && !pfc_case_check(cli->comm, c, diag)) {
        take_inputs(&b);
        if (!pfc_diag_agree(cli->comm, diag) && !open_layer(&b) && !measure(&b)) {
            figures f = figure_out(&b);
            print(&b, &f);
            write_json(&b, &f, json);
        }
    }
    close_bench(&b);
    return diag->exit_status;
}
