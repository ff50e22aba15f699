/* cmd_run.c: computes one case. */
#include "case/emulate.h"
#include "driver/driver.h"
#include <string.h>

#define STORED "-stored"

static void print_results(const pfc_cli *cli, const pfc_case *c, const pfc_ctx *ctx, double seconds)
{
    static const char *const titles[] = { "result", "shape", "sha256" };
    if (cli->rank != 0 || cli->quiet) return;
    printf("%s: %s, %s%s%s, %s %s, %d rank%s, %.3f s\n", c->path, c->algorithm->name, pfc_ctx_mode(ctx) == PFC_EXACT ? PFC_SPEC_EXACT : "fast",
           cli->emulate ? " as " : "", cli->emulate ? cli->emulate : "", pfc_ctx_backend_name(ctx), pfc_ctx_isa(ctx), cli->ranks, cli->ranks == 1 ? "" : "s",
           seconds);
    if (c->rounded) printf("%lld input values were rounded to float32\n", (long long)c->rounded);
    pfc_table *table = pfc_table_new("lll", titles);
    for (int i = 0; i < c->out.count; i++) {
        char shape[160];
        pfc_table_cell(table, "%s", c->out.items[i].name);
        pfc_table_cell(table, "%s", pfc_shape_text(&c->out.items[i], shape, sizeof shape));
        pfc_table_cell(table, "%s", c->out.items[i].sha256);
    }
    pfc_table_print(table, stdout);
    pfc_table_free(table);
}

static int write_json(const pfc_cli *cli, const pfc_ctx *ctx, const pfc_case *c, double seconds, pfc_diag *diag)
{
    if (!cli->json) return 0;
    pfc_json *j = pfc_json_open(cli, diag);
    if (diag->exit_status) return diag->exit_status;
    pfc_json_text(j, "case", c->path);
    pfc_json_text(j, "algorithm", c->algorithm->name);
    pfc_json_text(j, "spec", c->spec);
    pfc_json_context(j, ctx);
    if (cli->emulate) pfc_json_text(j, "emulate", cli->emulate);
    pfc_json_int(j, "ranks", cli->ranks);
    pfc_json_int(j, "rounded_inputs", c->rounded);
    pfc_json_real(j, "seconds", seconds);
    pfc_json_begin(j, "out", '{');
    for (int i = 0; i < c->out.count; i++) pfc_json_text(j, c->out.items[i].name, c->out.items[i].sha256);
    pfc_json_end(j);
    return pfc_json_close(&j, cli, diag);
}

/* Of --emulate: the results of products are stored in the type. */
static bool stored(const pfc_cli *cli)
{
    size_t n = strlen(cli->emulate), tail = strlen(STORED);
    return n > tail && strcmp(cli->emulate + n - tail, STORED) == 0;
}

/* as: NULL, or the precision of --emulate. */
static int compute(const pfc_cli *cli, pfc_ctx *ctx, const pfc_precision *as, pfc_case *c, pfc_diag *diag)
{
    double start = MPI_Wtime();
    c->recompute = cli->recompute;
    if (as ? pfc_case_run_emulated(ctx, c, as, stored(cli), cli->steps, diag) : c->algorithm->run(ctx, c, cli->steps, diag)) return diag->exit_status;
    snprintf(c->spec, sizeof c->spec, "%s", pfc_ctx_mode(ctx) == PFC_EXACT && !as ? PFC_SPEC_EXACT : "fast"); /* an emulation is none of exact-v1's results */
    double seconds = MPI_Wtime() - start;
    int what = (cli->no_inputs ? 0 : PFC_WRITE_INPUTS) | (cli->steps ? PFC_WRITE_STEPS : 0);
    for (int i = 0; i < c->out.count; i++)
        if (pfc_tensor_digest(cli->comm, &c->out.items[i], diag)) return diag->exit_status;
    if (pfc_case_write(cli->comm, cli->output, c, what, diag)) return diag->exit_status;
    print_results(cli, c, ctx, seconds);
    return write_json(cli, ctx, c, seconds, diag);
}

/* Of --emulate: a narrow type, operands truncated or not. */
static int choose_type(const pfc_cli *cli, const pfc_precision **as, pfc_diag *diag)
{
    char name[32];
    if (!cli->emulate) return 0;
    snprintf(name, sizeof name, "%s", cli->emulate);
    if (stored(cli) && strlen(cli->emulate) < sizeof name) name[strlen(name) - strlen(STORED)] = 0;
    *as = pfc_precision_find(name);
    if (*as && (*as)->u > 0 && !(*as)->sound) return 0;
    return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--emulate %s: expected tf32, bf16 or f16, any with -rz, -stored or -rz-stored", cli->emulate);
}

int pfc_cmd_run(pfc_cli *cli)
{
    pfc_diag diag = { 0 };
    pfc_case *c = NULL;
    pfc_tensor_list given = { 0 };
    const pfc_precision *as = NULL;
    if (pfc_same_file(cli, cli->files[0], cli->output)) {
        pfc_diag_fail(&diag, PFC_EXIT_USAGE, "%s: output and input are the same file", cli->output);
        return pfc_report(cli, &diag);
    }
    if (choose_type(cli, &as, &diag)) return pfc_report(cli, &diag);
    pfc_ctx *ctx = pfc_cli_context(cli, cli->mode_given ? cli->mode : as ? PFC_FAST : PFC_EXACT, &diag);
    if (ctx && !pfc_cli_inputs(cli, &given, &diag) && !pfc_case_read_with(cli->comm, cli->files[0], PFC_READ_INPUTS, &given, &c, &diag))
        compute(cli, ctx, as, c, &diag);
    pfc_case_free(c);
    pfc_tensor_list_free(&given);
    pfc_cli_context_close(&ctx, &diag);
    return pfc_report(cli, &diag);
}
