/* bench_report.c: the figures of a case, as lines, as a row of a table, as JSON.
 *
 * bound = max(flops / peak, sum over the patterns of bytes / rate), with the rates of bench_machine.c; share = bound / seconds. */
#include "driver/bench.h"
#include <string.h>

int pfc_bench_figures(pfc_bench *bench, const pfc_ctx *ctx, pfc_bench_record *r, pfc_diag *diag)
{
    const pfc_cli *cli = bench->cli;
    if (pfc_machine_measure(cli, bench->mode, &bench->machine, diag)) return diag->exit_status;
    r->cpu = pfc_median(r->step.cpu, r->step.count);
    r->wall = pfc_median(r->step.wall, r->step.count);
    r->seconds = pfc_bench_by_cpu(cli) ? r->cpu : r->wall;
    r->moved = r->compute = r->memory = r->bound = r->share = 0.0;
    if (!r->has_cost) return 0;
    for (int p = 0; p < PFC_BYTES_PATTERNS; p++) r->moved += r->bytes[p];
    if (strcmp(pfc_ctx_backend_name(ctx), "cuda") == 0) return 0; /* the rates are those of the CPU */
    r->compute = r->flops / bench->machine.flops;
    for (int p = 0; p < PFC_BYTES_PATTERNS; p++) r->memory += r->bytes[p] / pfc_machine_rate(&bench->machine, (pfc_bytes_pattern)p, r->working_set);
    r->bound = r->compute > r->memory ? r->compute : r->memory;
    r->share = r->bound / r->seconds;
    return 0;
}

const char *pfc_bench_limit(const pfc_bench_record *r) { return r->compute > r->memory ? "compute" : "memory"; }

static double mib(int64_t bytes) { return (double)bytes / 1048576.0; }

static int64_t beyond(const pfc_bench_record *r) { return r->peak > r->inputs ? r->peak - r->inputs : 0; }

const char *pfc_bench_ranks(const pfc_cli *cli)
{
    static char text[64];
    snprintf(text, sizeof text, "%d rank%s x %d thread%s", cli->ranks, cli->ranks == 1 ? "" : "s", cli->threads, cli->threads == 1 ? "" : "s");
    return text;
}

void pfc_bench_print(const pfc_bench *bench, const pfc_case *c, const pfc_ctx *ctx, const pfc_bench_record *r)
{
    const pfc_timing *t = &r->step;
    if (bench->cli->rank != 0 || bench->cli->quiet) return;
    printf("%s", c->algorithm->name);
    for (int i = 0; i < 26; i++)
        if (c->size[i] >= 0) printf(" %c=%lld", 'A' + i, (long long)c->size[i]);
    printf(", %s mode, %s %s, engine %s, %s, OpenBLAS %s\n", bench->mode == PFC_FAST ? "fast" : "exact", pfc_ctx_backend_name(ctx), pfc_ctx_isa(ctx),
           pfc_ctx_engine_name(ctx), pfc_bench_ranks(bench->cli), pfc_openblas_state()->core);
    pfc_machine_print(bench->cli, bench->mode, &bench->machine);
    printf("step            %.6f s CPU  %.6f s wall  (medians of %d rounds; CPU %.6f to %.6f)\n", r->cpu, r->wall, t->count, pfc_least(t->cpu, t->count),
           pfc_most(t->cpu, t->count));
    for (int i = 0; i < t->count; i++) printf("  round %-3d     %.6f s CPU  %.6f s wall\n", i + 1, t->cpu[i], t->wall[i]);
    if (r->has_cost)
        printf("work            %.6f GFLOP, %.3f MB at least: %.1f GFLOP/s, %.1f GB/s\n", r->flops * 1e-9, r->moved * 1e-6, r->flops / r->seconds * 1e-9,
               r->moved / r->seconds * 1e-9);
    if (r->bound > 0.0)
        printf("bound           %.9f s (compute %.9f, memory %.9f), reached %.1f %% by %s time\n", r->bound, r->compute, r->memory, 100.0 * r->share,
               pfc_bench_by_cpu(bench->cli) ? "CPU" : "wall");
    printf("peak memory     %.1f MiB in the largest rank, %.1f MiB beyond the inputs\n", mib(r->peak), mib(beyond(r)));
}

pfc_table *pfc_bench_table(void)
{
    static const char *const titles[] = { "case", "CPU ms",   "least", "most",  "wall ms",  "GFLOP/s",
                                          "GB/s", "bound ms", "by",    "share", "peak MiB", "beyond inputs" };
    return pfc_table_new("lrrrrrrrlrrr", titles);
}

void pfc_bench_row(pfc_table *t, const pfc_bench_record *r)
{
    pfc_table_cell(t, "%s", r->name);
    if (r->skipped[0]) {
        pfc_table_cell(t, "skipped");
        for (int i = 0; i < 10; i++) pfc_table_cell(t, "%s", "");
        return;
    }
    pfc_table_cell(t, "%.3f", 1e3 * r->cpu);
    pfc_table_cell(t, "%.3f", 1e3 * pfc_least(r->step.cpu, r->step.count));
    pfc_table_cell(t, "%.3f", 1e3 * pfc_most(r->step.cpu, r->step.count));
    pfc_table_cell(t, "%.3f", 1e3 * r->wall);
    pfc_table_cell(t, "%.1f", r->flops / r->seconds * 1e-9);
    pfc_table_cell(t, "%.1f", r->moved / r->seconds * 1e-9);
    if (r->bound > 0.0) {
        pfc_table_cell(t, "%.3f", 1e3 * r->bound);
        pfc_table_cell(t, "%s", pfc_bench_limit(r));
        pfc_table_cell(t, "%.1f %%", 100.0 * r->share);
    } else {
        for (int i = 0; i < 3; i++) pfc_table_cell(t, "%s", "");
    }
    pfc_table_cell(t, "%.0f", mib(r->peak));
    pfc_table_cell(t, "%.0f", mib(beyond(r)));
}

static void json_cost(const pfc_bench *bench, const pfc_bench_record *r, pfc_json *j)
{
    pfc_json_real(j, "flops", r->flops);
    pfc_json_real(j, "bytes", r->moved);
    pfc_json_begin(j, "bytes_by_pattern", '{');
    for (int p = 0; p < PFC_BYTES_PATTERNS; p++) pfc_json_real(j, pfc_bytes_pattern_name((pfc_bytes_pattern)p), r->bytes[p]);
    pfc_json_end(j);
    pfc_json_real(j, "flops_per_second", r->flops / r->seconds);
    pfc_json_real(j, "bytes_per_second", r->moved / r->seconds);
    pfc_json_real(j, "peak_flops_per_second", bench->machine.flops);
    if (r->bound <= 0.0) return;
    if (r->memory > 0.0) pfc_json_real(j, "peak_bytes_per_second", r->moved / r->memory);
    pfc_json_real(j, "compute_seconds", r->compute);
    pfc_json_real(j, "memory_seconds", r->memory);
    pfc_json_real(j, "bound_seconds", r->bound);
    pfc_json_text(j, "bound_by", pfc_bench_limit(r));
    pfc_json_real(j, "share_of_bound", r->share);
}

static void json_params(pfc_json *j, const pfc_case *c)
{
    pfc_json_begin(j, "param", '{');
    for (int i = 0; c->algorithm->params && c->algorithm->params[i].name; i++) {
        const pfc_param_spec *spec = &c->algorithm->params[i];
        if (!c->param[i].present) continue;
        if (spec->type == PFC_PARAM_WORD) pfc_json_text(j, spec->name, c->param[i].word);
        if (spec->type == PFC_PARAM_INT) pfc_json_int(j, spec->name, c->param[i].i);
        if (spec->type == PFC_PARAM_REAL) pfc_json_real(j, spec->name, c->param[i].r);
    }
    pfc_json_end(j);
}

static void json_sizes(pfc_json *j, const pfc_case *c)
{
    pfc_json_begin(j, "size", '{');
    for (int i = 0; i < 26; i++) {
        const char letter[2] = { (char)('A' + i), 0 };
        if (c->size[i] >= 0) pfc_json_int(j, letter, c->size[i]);
    }
    pfc_json_end(j);
}

void pfc_bench_json(const pfc_bench *bench, const pfc_case *c, const pfc_ctx *ctx, const pfc_bench_record *r, pfc_json *j)
{
    pfc_json_text(j, "name", r->name);
    pfc_json_text(j, "algorithm", c->algorithm->name);
    json_sizes(j, c);
    json_params(j, c);
    pfc_json_context(j, ctx);
    pfc_json_text(j, "mode", bench->mode == PFC_FAST ? "fast" : "exact");
    pfc_json_text(j, "openblas_core", pfc_openblas_state()->core);
    pfc_json_int(j, "ranks", bench->cli->ranks);
    pfc_json_int(j, "threads", bench->cli->threads);
    pfc_json_int(j, "rounds", r->step.count);
    pfc_json_timing(j, "cpu_seconds", "wall_seconds", &r->step);
    pfc_json_text(j, "time", pfc_bench_by_cpu(bench->cli) ? "cpu" : "wall");
    pfc_json_real(j, "seconds", r->seconds);
    pfc_json_int(j, "peak_rss_bytes", r->peak);
    pfc_json_int(j, "inputs_rss_bytes", r->inputs);
    pfc_json_int(j, "beyond_inputs_bytes", beyond(r));
    pfc_json_int(j, "working_set_bytes", r->working_set);
    if (r->has_cost) json_cost(bench, r, j);
}
