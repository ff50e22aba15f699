/* bench_plot.c: the share of the bound of each case as bars, by gnuplot. */
#include "driver/bench.h"

/* One bar a row: name, share in percent, label. */
static void write_data(FILE *g, const pfc_bench_record *records, int count)
{
    int rows = 0;
    fprintf(g, "$cases << END\n");
    for (int i = 0; i < count; i++) {
        const pfc_bench_record *r = &records[i];
        if (r->bound <= 0.0) continue;
        fprintf(g, "%d %.2f \"%s\" \"%.*f %% of %s, %.3g ms\"\n", rows++, 100.0 * r->share, r->name, r->share < 0.1, 100.0 * r->share, pfc_bench_limit(r),
                1e3 * r->seconds);
    }
    fprintf(g, "END\n");
}

static void write_script(FILE *g, const pfc_bench *bench, int rows)
{
    fprintf(g, "set title \"pfc\\\\_ref bench, %s mode, %s, %s: share of the bound\"\n", bench->mode == PFC_FAST ? "fast" : "exact", bench->machine.isa,
            pfc_bench_ranks(bench->cli));
    fprintf(g, "set xlabel \"bound (the larger of flops / peak and bytes / memory rate) over time, %%\"\n");
    fprintf(g, "set xrange [0:150]\nset xtics 0,20,100\nset yrange [%d.6:-0.6]\nunset key\nset grid x\nset style fill solid 0.8 noborder\n", rows - 1);
    fprintf(g, "set ytics scale 0 noenhanced\nset arrow from 100,graph 0 to 100,graph 1 nohead lw 2 lc rgb '#888888' back\n");
    fprintf(g, "plot $cases using (0.5*$2):1:(0.5*$2):(0.35):ytic(3) with boxxyerror lc rgb '#3a6ea5', "
               "'' using ($2+1.5):1:4 with labels left noenhanced\n");
}

int pfc_bench_plot(const pfc_bench *bench, const pfc_bench_record *records, int count, pfc_diag *diag)
{
    const pfc_cli *cli = bench->cli;
    int rows = 0;
    if (!cli->plot) return 0;
    for (int i = 0; i < count; i++) rows += records[i].bound > 0.0;
    if (cli->rank == 0 && !rows) pfc_diag_fail(diag, PFC_EXIT_FILE, "--plot: no case has a bound");
    if (cli->rank == 0 && rows) {
        FILE *g = pfc_plot_open(cli, 130 + 32 * rows);
        if (g) write_data(g, records, count);
        if (g) write_script(g, bench, rows);
        pfc_plot_close(cli, g, diag);
    }
    return pfc_diag_agree(cli->comm, diag);
}
