/* cmd_run.c: computes one case. */
#include "driver/driver.h"
#include <string.h>

static void print_results(const pfc_cli *cli, const pfc_case *c, const pfc_ctx *ctx, double seconds)
{
    static const char *const titles[] = { "result", "shape", "sha256" };
    if (cli->rank != 0 || cli->quiet) return;
    printf("%s: %s, %s, %s %s, %d rank%s, %.3f s\n", c->path, c->algorithm->name, c->spec, pfc_ctx_backend_name(ctx), pfc_ctx_isa(ctx), cli->ranks,
           cli->ranks == 1 ? "" : "s", seconds);
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
    pfc_json_int(j, "ranks", cli->ranks);
    pfc_json_int(j, "rounded_inputs", c->rounded);
    pfc_json_real(j, "seconds", seconds);
    pfc_json_begin(j, "out", '{');
    for (int i = 0; i < c->out.count; i++) pfc_json_text(j, c->out.items[i].name, c->out.items[i].sha256);
    pfc_json_end(j);
    return pfc_json_close(&j, cli, diag);
}

static int compute(const pfc_cli *cli, pfc_ctx *ctx, pfc_case *c, pfc_diag *diag)
{
    double start = MPI_Wtime();
    if (c->algorithm->run(ctx, c, cli->steps, diag)) return diag->exit_status;
    snprintf(c->spec, sizeof c->spec, "%s", pfc_ctx_mode(ctx) == PFC_EXACT ? PFC_SPEC_EXACT : "fast");
    double seconds = MPI_Wtime() - start;
    int what = (cli->no_inputs ? 0 : PFC_WRITE_INPUTS) | (cli->steps ? PFC_WRITE_STEPS : 0);
    for (int i = 0; i < c->out.count; i++)
        if (pfc_tensor_digest(cli->comm, &c->out.items[i], diag)) return diag->exit_status;
    if (pfc_case_write(cli->comm, cli->output, c, what, diag)) return diag->exit_status;
    print_results(cli, c, ctx, seconds);
    return write_json(cli, ctx, c, seconds, diag);
}

int pfc_cmd_run(pfc_cli *cli)
{
    pfc_diag diag = { 0 };
    pfc_case *c = NULL;
    pfc_tensor_list given = { 0 };
    if (pfc_same_file(cli, cli->files[0], cli->output)) {
        pfc_diag_fail(&diag, PFC_EXIT_USAGE, "%s: output and input are the same file", cli->output);
        return pfc_report(cli, &diag);
    }
    pfc_ctx *ctx = pfc_cli_context(cli, cli->mode_given ? cli->mode : PFC_EXACT, &diag);
    if (ctx && !pfc_cli_inputs(cli, &given, &diag) && !pfc_case_read_with(cli->comm, cli->files[0], PFC_READ_INPUTS, &given, &c, &diag))
        compute(cli, ctx, c, &diag);
    pfc_case_free(c);
    pfc_tensor_list_free(&given);
    pfc_cli_context_close(&ctx, &diag);
    return pfc_report(cli, &diag);
}
