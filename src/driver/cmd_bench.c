/* cmd_bench.c: times an algorithm on generated inputs. Every family with a bench stands in the table below. */
#include "driver/bench.h"
#include <string.h>

static const struct {
    const char *algorithm;
    int (*bench)(pfc_cli *cli, pfc_case *c, pfc_json *json, pfc_diag *diag);
} benches[] = {
    { "partial_fc", pfc_bench_partial_fc },
    { NULL, NULL },
};

int pfc_cmd_bench(pfc_cli *cli)
{
    pfc_diag diag = { 0 };
    const char *name = cli->files[0];
    int i = 0;
    while (benches[i].algorithm && strcmp(benches[i].algorithm, name)) i++;
    const pfc_algorithm *a = benches[i].algorithm ? pfc_algorithm_find(name) : NULL;
    if (!a)
        pfc_diag_fail(&diag, PFC_EXIT_USAGE, "bench %s: %s", name,
                      pfc_algorithm_find(name) ? "this algorithm has no bench" : "no such algorithm; pfc_ref list names them");
    pfc_case *c = a ? pfc_case_new(a) : NULL;
    if (a && !c) pfc_diag_fail(&diag, PFC_EXIT_RUNTIME, "out of memory");
    if (!pfc_diag_agree(cli->comm, &diag) && !pfc_cli_params(cli, c, &diag) && !(cli->size && pfc_cli_sizes(cli->size, c, &diag))) {
        pfc_json *json = pfc_json_open(cli, &diag);
        if (!diag.exit_status) {
            pfc_json_begin(json, "cases", '[');
            benches[i].bench(cli, c, json, &diag);
            pfc_json_end(json);
        }
        pfc_json_close(&json, cli, &diag);
    }
    pfc_case_free(c);
    return pfc_report(cli, &diag);
}
