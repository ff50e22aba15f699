/* cmd_bench.c: measures the machine, then times one algorithm or all of them on generated inputs. */
#include "driver/bench.h"
#include <stdlib.h>

/* What the command line says of the case: checked before anything is measured. NULL: all algorithms, or a failure. */
static pfc_case *asked_case(const pfc_cli *cli, pfc_diag *diag)
{
    const char *name = cli->file_count ? cli->files[0] : NULL;
    const pfc_algorithm *a = name ? pfc_algorithm_find(name) : NULL;
    if (!name && (cli->size || cli->param_count)) pfc_diag_fail(diag, PFC_EXIT_USAGE, "bench: --size and --param need the name of an algorithm");
    if (name && (!a || !a->fill))
        pfc_diag_fail(diag, PFC_EXIT_USAGE, "bench %s: %s", name, a ? "this algorithm has no bench" : "no such algorithm; pfc_ref list names them");
    if (cli->rounds > PFC_MAX_ROUNDS) pfc_diag_fail(diag, PFC_EXIT_USAGE, "--rounds %d: at most %d", cli->rounds, PFC_MAX_ROUNDS);
    pfc_case *c = a && !diag->exit_status ? pfc_case_new(a) : NULL;
    if (a && !diag->exit_status && !c) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory");
    if (c) c->recompute = cli->recompute;
    if (c && !pfc_cli_params(cli, c, diag) && !(cli->size && pfc_cli_sizes(cli->size, c, diag))) pfc_bench_defaults(cli, pfc_bench_standard_of(name), c, diag);
    return c;
}

static int measure(pfc_bench *bench, pfc_case *c, pfc_json *json, pfc_diag *diag)
{
    static pfc_bench_record one; /* large */
    pfc_bench_record *records = &one, *all = NULL;
    int count = 1;
    if (pfc_machine_measure(bench->cli, bench->mode, &bench->machine, diag)) return diag->exit_status;
    pfc_json_begin(json, "cases", '[');
    if (c) {
        snprintf(one.name, sizeof one.name, "%s", c->algorithm->name);
        pfc_bench_case(bench, c, &one, json, diag);
    } else if (!pfc_bench_all(bench, json, &all, &count, diag)) {
        records = all;
    }
    pfc_json_end(json);
    pfc_machine_json(bench->cli, bench->mode, &bench->machine, json);
    if (!diag->exit_status) pfc_bench_plot(bench, records, count, diag);
    free(all);
    return diag->exit_status;
}

int pfc_cmd_bench(pfc_cli *cli)
{
    pfc_diag diag = { 0 };
    pfc_bench bench = { .cli = cli, .mode = cli->mode_given ? cli->mode : PFC_FAST, .alone = cli->file_count > 0 };
    if (!cli->threads) cli->threads = 1; /* the primary figure is CPU time of one thread */
    pfc_case *c = asked_case(cli, &diag);
    pfc_ctx *probe = NULL;
    if (!pfc_diag_agree(cli->comm, &diag) && !pfc_plot_check(cli, &diag)) probe = pfc_cli_context(cli, bench.mode, &diag);
    pfc_cli_context_close(&probe, &diag); /* what cannot run is known before anything is measured */
    if (!diag.exit_status) {
        pfc_json *json = pfc_json_open(cli, &diag);
        if (!diag.exit_status) measure(&bench, c, json, &diag);
        pfc_json_close(&json, cli, &diag);
    }
    pfc_case_free(c);
    return pfc_report(cli, &diag);
}
