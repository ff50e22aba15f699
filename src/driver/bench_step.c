/* bench_step.c: times any algorithm on generated inputs: its bench hooks, or, without them, `run`. */
#include "driver/bench.h"

typedef struct bench {
    pfc_bench *bench;
    pfc_case *c;
    pfc_bench_record *r;
    pfc_diag *diag;
    pfc_ctx *ctx;
    void *state; /* of bench_open */
} bench;

static int64_t list_bytes(const pfc_tensor_list *list)
{
    int64_t bytes = 0;
    for (int i = 0; i < list->count; i++) bytes += pfc_tensor_local(&list->items[i]) * (int64_t)pfc_dtype_size(list->items[i].dtype);
    return bytes;
}

/* Bytes of inputs and results, the average over the ranks. */
static int64_t tensor_bytes(MPI_Comm comm, const pfc_case *c)
{
    int64_t bytes = list_bytes(&c->in) + list_bytes(&c->out);
    int ranks;
    MPI_Allreduce(MPI_IN_PLACE, &bytes, 1, MPI_INT64_T, MPI_SUM, comm);
    MPI_Comm_size(comm, &ranks);
    return bytes / ranks;
}

static int prepare(bench *b)
{
    pfc_cli *cli = b->bench->cli;
    pfc_case *c = b->c;
    snprintf(c->name, sizeof c->name, "%s", b->r->name);
    pfc_rss_restart();
    if (!c->algorithm->fill(cli->comm, c, cli->fill, cli->seed, b->diag)) pfc_case_check(cli->comm, c, b->diag);
    if (pfc_diag_agree(cli->comm, b->diag)) return b->diag->exit_status;
    b->r->inputs = pfc_rss_now(cli->comm);
    pfc_rss_restart();
    return 0;
}

static int one_step(bench *b, pfc_timing *timing)
{
    const pfc_algorithm *a = b->c->algorithm;
    pfc_clock start = pfc_clock_start(b->bench->cli->comm);
    int status = a->bench_step ? a->bench_step(b->state, b->diag) : a->run(b->ctx, b->c, false, b->diag);
    if (!status && timing) pfc_clock_stop(b->bench->cli->comm, start, timing);
    return status;
}

/* Two steps first: the second one finds all pages touched. */
static int measure(bench *b)
{
    const pfc_algorithm *a = b->c->algorithm;
    const pfc_cli *cli = b->bench->cli;
    if (a->bench_open) b->state = a->bench_open(b->ctx, b->c, b->diag);
    if (pfc_diag_agree(cli->comm, b->diag)) return b->diag->exit_status;
    for (int i = -2; i < cli->rounds; i++)
        if (one_step(b, i < 0 ? NULL : &b->r->step)) return b->diag->exit_status;
    b->r->peak = pfc_rss_peak(cli->comm);
    b->r->working_set = tensor_bytes(cli->comm, b->c);
    b->r->has_cost = a->bench_cost != NULL;
    if (a->bench_cost) a->bench_cost(b->c, cli->ranks, pfc_ctx_real(b->ctx), &b->r->flops, b->r->bytes);
    return pfc_bench_figures(b->bench, b->ctx, b->r, b->diag);
}

int pfc_bench_any(pfc_bench *run, pfc_case *c, pfc_bench_record *r, pfc_json *json, pfc_diag *diag)
{
    bench b = { .bench = run, .c = c, .r = r, .diag = diag };
    b.ctx = pfc_cli_context(run->cli, run->mode, diag);
    if (b.ctx && !prepare(&b) && !measure(&b)) {
        if (run->alone) pfc_bench_print(run, c, b.ctx, r);
        pfc_json_begin(json, NULL, '{');
        pfc_bench_json(run, c, b.ctx, r, json);
        pfc_json_end(json);
    }
    if (b.state && c->algorithm->bench_close) c->algorithm->bench_close(b.state);
    pfc_cli_context_close(&b.ctx, diag);
    return diag->exit_status;
}
