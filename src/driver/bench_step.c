/* bench_step.c: times any algorithm on generated inputs: its bench hooks, or, without them, `run`.
 *
 * Sizes and parameters that the command line does not give are those of the algorithm's any_ranks. bound_seconds = max(operations / peak, bytes / peak). */
#include "driver/bench.h"
#include <string.h>

typedef struct bench {
    pfc_cli *cli;
    pfc_case *c;
    pfc_diag *diag;
    pfc_mode mode;
    pfc_ctx *ctx;
    void *state; /* of bench_open */
    pfc_timing step;
    int64_t rss;
    pfc_peaks peaks;
    bool has_cost;
    double flops, bytes, bound;
} bench;

/* What was not given, from any_ranks; then the inputs. */
static int prepare(bench *b)
{
    pfc_case *c = b->c, *usual = pfc_case_new(c->algorithm);
    const pfc_param_spec *specs = c->algorithm->params;
    if (!usual) return pfc_diag_fail(b->diag, PFC_EXIT_RUNTIME, "out of memory");
    if (c->algorithm->any_ranks && !c->algorithm->any_ranks(usual, b->cli->ranks, b->diag)) {
        for (int i = 0; i < 26; i++)
            if (c->size[i] < 0) c->size[i] = usual->size[i];
        for (int i = 0; specs && specs[i].name; i++)
            if (!c->param[i].given) c->param[i] = usual->param[i];
    }
    pfc_case_free(usual);
    snprintf(c->name, sizeof c->name, "bench");
    if (!pfc_diag_agree(b->cli->comm, b->diag) && !c->algorithm->fill(b->cli->comm, c, b->cli->fill, b->cli->seed, b->diag))
        pfc_case_check(b->cli->comm, c, b->diag);
    return b->diag->exit_status;
}

static int one_step(bench *b, pfc_timing *timing)
{
    const pfc_algorithm *a = b->c->algorithm;
    pfc_clock start = pfc_clock_start(b->cli->comm);
    int status = a->bench_step ? a->bench_step(b->state, b->diag) : a->run(b->ctx, b->c, false, b->diag);
    if (!status && timing) pfc_clock_stop(b->cli->comm, start, timing);
    return status;
}

/* Two steps first: the second one finds all pages touched. */
static int measure(bench *b)
{
    const pfc_algorithm *a = b->c->algorithm;
    if (a->bench_open) b->state = a->bench_open(b->ctx, b->c, b->diag);
    if (pfc_diag_agree(b->cli->comm, b->diag)) return b->diag->exit_status;
    for (int i = -2; i < b->cli->rounds; i++)
        if (one_step(b, i < 0 ? NULL : &b->step)) return b->diag->exit_status;
    b->rss = pfc_peak_rss(b->cli->comm);
    b->peaks = pfc_measure_peaks(b->cli->comm, b->mode, b->cli->threads, b->diag);
    if (b->diag->exit_status || !a->bench_cost) return b->diag->exit_status;
    a->bench_cost(b->c, b->cli->ranks, pfc_ctx_real(b->ctx), &b->flops, &b->bytes);
    double compute = b->flops / b->peaks.flops, memory = b->bytes / b->peaks.memory;
    b->bound = compute > memory ? compute : memory;
    b->has_cost = true;
    return 0;
}

static void print(const bench *b)
{
    const pfc_cli *cli = b->cli;
    double cpu = pfc_median(b->step.cpu, b->step.count), wall = pfc_median(b->step.wall, b->step.count);
    if (cli->rank != 0 || cli->quiet) return;
    printf("%s", b->c->algorithm->name);
    for (int i = 0; i < 26; i++)
        if (b->c->size[i] >= 0) printf(" %c=%lld", 'A' + i, (long long)b->c->size[i]);
    printf(", %s mode, %s %s, %d rank%s x %d thread%s\n", b->mode == PFC_FAST ? "fast" : "exact", pfc_ctx_backend_name(b->ctx), pfc_ctx_isa(b->ctx), cli->ranks,
           cli->ranks == 1 ? "" : "s", cli->threads, cli->threads == 1 ? "" : "s");
    printf("step            %.6f s CPU  %.6f s wall  (medians of %d rounds)\n", cpu, wall, b->step.count);
    for (int i = 0; i < b->step.count; i++) printf("  round %-3d     %.6f s CPU  %.6f s wall\n", i + 1, b->step.cpu[i], b->step.wall[i]);
    printf("peaks           %.1f GFLOP/s (GEMM 512^3), %.1f GB/s (a = b + 3 c)\n", b->peaks.flops * 1e-9, b->peaks.memory * 1e-9);
    if (b->has_cost) {
        printf("work            %.6f GFLOP, %.3f MB at least\n", b->flops * 1e-9, b->bytes * 1e-6);
        printf("bound           %.9f s, reached %.2g %% by wall time\n", b->bound, 100.0 * b->bound / wall);
    }
    printf("peak memory     %.1f MiB in the largest rank\n", (double)b->rss / 1048576.0);
}

static void write_json(const bench *b, pfc_json *j)
{
    char letter[2] = "A";
    pfc_json_begin(j, NULL, '{');
    pfc_json_text(j, "algorithm", b->c->algorithm->name);
    pfc_json_begin(j, "size", '{');
    for (int i = 0; i < 26; i++) {
        letter[0] = (char)('A' + i);
        if (b->c->size[i] >= 0) pfc_json_int(j, letter, b->c->size[i]);
    }
    pfc_json_end(j);
    pfc_json_params(j, b->c);
    pfc_json_text(j, "mode", b->mode == PFC_FAST ? "fast" : "exact");
    pfc_json_context(j, b->ctx);
    pfc_json_text(j, "openblas_core", pfc_openblas_state()->core);
    pfc_json_int(j, "ranks", b->cli->ranks);
    pfc_json_int(j, "threads", b->cli->threads);
    pfc_json_int(j, "rounds", b->step.count);
    pfc_json_timing(j, "cpu_seconds", "wall_seconds", &b->step);
    pfc_json_int(j, "peak_rss_bytes", b->rss);
    if (b->has_cost) {
        pfc_json_real(j, "flops", b->flops);
        pfc_json_real(j, "bytes", b->bytes);
        pfc_json_real(j, "bound_seconds", b->bound);
    }
    pfc_json_real(j, "peak_flops_per_second", b->peaks.flops);
    pfc_json_real(j, "peak_bytes_per_second", b->peaks.memory);
    pfc_json_end(j);
}

int pfc_bench_any(pfc_cli *cli, pfc_case *c, pfc_json *json, pfc_diag *diag)
{
    static bench b; /* large */
    b = (bench){ .cli = cli, .c = c, .diag = diag, .mode = cli->mode_given ? cli->mode : PFC_FAST };
    if (!cli->threads) cli->threads = 1; /* the primary figure is CPU time of one thread */
    if (cli->rounds > PFC_MAX_ROUNDS) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--rounds %d: at most %d", cli->rounds, PFC_MAX_ROUNDS);
    b.ctx = pfc_cli_context(cli, b.mode, diag);
    if (b.ctx && !prepare(&b) && !measure(&b)) {
        print(&b);
        write_json(&b, json);
    }
    if (b.state && c->algorithm->bench_close) c->algorithm->bench_close(b.state);
    pfc_cli_context_close(&b.ctx, diag);
    return diag->exit_status;
}
