/* cmd_bench.c: times an algorithm on generated inputs. */
#include "driver/bench.h"
#include <string.h>

int pfc_cmd_bench(pfc_cli *cli)
{
    pfc_diag diag = { 0 };
    const char *name = cli->files[0];
    const pfc_algorithm *a = pfc_algorithm_find(name);
    if (!a || !a->fill)
        pfc_diag_fail(&diag, PFC_EXIT_USAGE, "bench %s: %s", name, a ? "this algorithm has no bench" : "no such algorithm; pfc_ref list names them");
    pfc_case *c = diag.exit_status ? NULL : pfc_case_new(a);
    if (!c) pfc_diag_fail(&diag, PFC_EXIT_RUNTIME, "out of memory");
    if (c) c->recompute = cli->recompute;
    if (!pfc_diag_agree(cli->comm, &diag) && !pfc_cli_params(cli, c, &diag) && !(cli->size && pfc_cli_sizes(cli->size, c, &diag))) {
        pfc_json *json = pfc_json_open(cli, &diag);
        if (!diag.exit_status) {
            pfc_json_begin(json, "cases", '[');
            if (strcmp(name, "partial_fc") == 0)
                pfc_bench_partial_fc(cli, c, json, &diag);
            else
                pfc_bench_any(cli, c, json, &diag);
            pfc_json_end(json);
        }
        pfc_json_close(&json, cli, &diag);
    }
    pfc_case_free(c);
    return pfc_report(cli, &diag);
}
