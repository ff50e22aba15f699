/* bench_cases.c: the standard cases of the bench command. */
#include "driver/bench.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PFC_A "N=128,C=100000,D=512"
#define PFC_C "N=128,C=1000000,D=128"

/* N is the batch of all ranks (swav's B that of one rank). The first case of an algorithm also gives what `bench ALGORITHM` leaves open. */
static const pfc_bench_standard standards[] = {
    { "partial_fc A", "partial_fc", PFC_A, "N=8,C=2000,D=64", "sample_rate=1" },
    { "partial_fc A, 10 %", "partial_fc", PFC_A, "N=8,C=2000,D=64", "sample_rate=0.1" },
    { "partial_fc B", "partial_fc", "N=512,C=100000,D=512", "N=32,C=2000,D=64", "sample_rate=1" },
    { "partial_fc C", "partial_fc", PFC_C, "N=8,C=20000,D=32", "sample_rate=1" },
    { "partial_fc C, 10 %", "partial_fc", PFC_C, "N=8,C=20000,D=32", "sample_rate=0.1" },
    { "arcface_head", "arcface_head", "N=128,C=100000,D=512", "N=8,C=500,D=32", "scale=64,num_subcenters=1,margin=0.5,loss_weight=1" },
    { "sinkhorn 64", "sinkhorn", "N=64,K=3000", "N=8,K=300", "iterations=3" },
    { "sinkhorn 512", "sinkhorn", "N=512,K=3000", "N=16,K=300", "iterations=3" },
    { "sinkhorn 4096", "sinkhorn", "N=4096,K=3000", "N=64,K=300", "iterations=3" },
    { "swav", "swav", "B=64,K=3000,D=128,A=2", "B=4,K=30,D=16,A=2", "crops=8" },
    { "moco", "moco", "N=256,K=65536,D=128,M=1000000", "N=8,K=512,D=16,M=1000", "queue_wrap=0" },
    { "moco_shuffle", "moco_shuffle", "N=256,C=3,H=224,W=224", "N=16,C=3,H=16,W=16", "" },
    { "batch_norm", "batch_norm", "N=64,C=64,H=56,W=56", "N=8,C=4,H=8,W=8", "kind=sync,num_sync_devices=0" },
    { "group_gather", "group_gather", "M=4096", "M=64", "num_groups=1,num_sync_devices=0" },
    { "adaptive_margins", "adaptive_margins", "C=1000000", "C=1000", "" },
};
enum { STANDARDS = sizeof standards / sizeof standards[0] };

const pfc_bench_standard *pfc_bench_standard_of(const char *algorithm)
{
    for (int i = 0; i < STANDARDS; i++)
        if (strcmp(standards[i].algorithm, algorithm) == 0) return &standards[i];
    return NULL;
}

/* Sizes and parameters that `usual` has and c was not given. */
static void take_over(const pfc_case *usual, pfc_case *c)
{
    const pfc_param_spec *specs = c->algorithm->params;
    for (int i = 0; i < 26; i++)
        if (c->size[i] < 0) c->size[i] = usual->size[i];
    for (int i = 0; specs && specs[i].name; i++)
        if (!c->param[i].given) c->param[i] = usual->param[i];
}

/* NAME=VALUE[,NAME=VALUE]... */
static int set_params(const char *text, pfc_case *c, pfc_diag *diag)
{
    const char *one[] = { text };
    pfc_cli cli = { .params = one, .param_count = 1 };
    return *text ? pfc_cli_params(&cli, c, diag) : 0;
}

int pfc_bench_defaults(const pfc_cli *cli, const pfc_bench_standard *s, pfc_case *c, pfc_diag *diag)
{
    pfc_case *usual = pfc_case_new(c->algorithm);
    if (!usual) return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory");
    if (s) {
        if (!set_params(s->param, usual, diag)) pfc_cli_sizes(cli->quick ? s->quick : s->size, usual, diag);
    } else if (c->algorithm->any_ranks) {
        c->algorithm->any_ranks(usual, cli->ranks, diag);
    }
    if (!diag->exit_status) take_over(usual, c);
    pfc_case_free(usual);
    return diag->exit_status;
}

/* Bytes that the system could give away now; all of the machine's where it does not say. */
static double free_memory(void)
{
    int64_t available = pfc_proc_bytes("/proc/meminfo", "MemAvailable:");
    return available ? (double)available : (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
}

int pfc_bench_room(const pfc_cli *cli, double bytes, pfc_diag *diag)
{
    double need = bytes * cli->node_ranks, room = free_memory();
    if (need <= room) return 0;
    return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size: needs %.1f GB, this machine has %.1f GB left", need * 1e-9, room * 1e-9);
}

int pfc_bench_case(pfc_bench *bench, pfc_case *c, pfc_bench_record *r, pfc_json *json, pfc_diag *diag)
{
    return (strcmp(c->algorithm->name, "partial_fc") == 0 ? pfc_bench_partial_fc : pfc_bench_any)(bench, c, r, json, diag);
}

/* Fills the record; a case that cannot be run here is told as skipped, any other failure is one. */
static int one_case(pfc_bench *bench, const pfc_bench_standard *s, pfc_bench_record *r, pfc_json *json, pfc_diag *diag)
{
    pfc_cli *cli = bench->cli;
    snprintf(r->name, sizeof r->name, "%s", s->name);
    pfc_case *c = pfc_case_new(pfc_algorithm_find(s->algorithm));
    if (!c) return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory");
    if (!pfc_bench_defaults(cli, s, c, diag)) pfc_bench_case(bench, c, r, json, diag);
    pfc_case_free(c);
    if (r->step.count > 0 || (diag->exit_status != PFC_EXIT_USAGE && diag->exit_status != PFC_EXIT_FILE)) return diag->exit_status;
    snprintf(r->skipped, sizeof r->skipped, "%.*s", (int)sizeof r->skipped - 1, diag->text);
    *diag = (pfc_diag){ 0 };
    pfc_json_begin(json, NULL, '{');
    pfc_json_text(json, "name", r->name);
    pfc_json_text(json, "algorithm", s->algorithm);
    pfc_json_text(json, "skipped", r->skipped);
    pfc_json_end(json);
    return 0;
}

static void print_all(const pfc_bench *bench, const pfc_bench_record *records)
{
    const pfc_cli *cli = bench->cli;
    if (cli->rank != 0 || cli->quiet) return;
    pfc_machine_print(cli, bench->mode, &bench->machine);
    printf("%s mode, medians of %d rounds; share: bound over %s time\n", bench->mode == PFC_FAST ? "fast" : "exact", cli->rounds,
           pfc_bench_by_cpu(cli) ? "CPU" : "wall");
    pfc_table *t = pfc_bench_table();
    for (int i = 0; i < STANDARDS; i++) pfc_bench_row(t, &records[i]);
    pfc_table_print(t, stdout);
    pfc_table_free(t);
    for (int i = 0; i < STANDARDS; i++)
        if (records[i].skipped[0]) printf("%s: skipped: %s\n", records[i].name, records[i].skipped);
}

int pfc_bench_all(pfc_bench *bench, pfc_json *json, pfc_bench_record **records, int *count, pfc_diag *diag)
{
    bool progress = bench->cli->rank == 0 && !bench->cli->quiet && isatty(STDERR_FILENO);
    *records = calloc(STANDARDS, sizeof **records);
    *count = STANDARDS;
    if (!*records) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory");
    if (pfc_diag_agree(bench->cli->comm, diag)) return diag->exit_status;
    for (int i = 0; i < STANDARDS && !diag->exit_status; i++) {
        if (progress) fprintf(stderr, "\r%-40s", standards[i].name);
        one_case(bench, &standards[i], &(*records)[i], json, diag);
    }
    if (progress) fprintf(stderr, "\r%-40s\r", "");
    if (!diag->exit_status) print_all(bench, *records);
    return diag->exit_status;
}
