/* bench_plot.c: the share of the bound of each case as bars, by gnuplot. */
#include "driver/bench.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *terminal(const char *file)
{
    const char *dot = strrchr(file, '.');
    if (dot && strcmp(dot, ".svg") == 0) return "svg size 900,%d font 'sans-serif,14' background 'white'";
    if (dot && strcmp(dot, ".png") == 0) return "pngcairo size 900,%d font 'sans-serif,11'";
    return NULL;
}

static bool in_path(const char *program)
{
    char path[4096], *save = NULL;
    const char *all = getenv("PATH");
    snprintf(path, sizeof path, "%s", all ? all : "");
    for (char *folder = strtok_r(path, ":", &save); folder; folder = strtok_r(NULL, ":", &save)) {
        char file[4352];
        snprintf(file, sizeof file, "%s/%s", folder, program);
        if (access(file, X_OK) == 0) return true;
    }
    return false;
}

int pfc_bench_plot_check(const pfc_cli *cli, pfc_diag *diag)
{
    if (!cli->plot) return 0;
    if (!terminal(cli->plot) || strchr(cli->plot, '\'') || strchr(cli->plot, '\n'))
        pfc_diag_fail(diag, PFC_EXIT_USAGE, "--plot %s: expected FILE.svg or FILE.png", cli->plot);
    else if (cli->rank == 0 && !in_path("gnuplot"))
        pfc_diag_fail(diag, PFC_EXIT_BACKEND, "--plot: gnuplot not found");
    return pfc_diag_agree(cli->comm, diag);
}

/* One bar a row: name, share in percent, label. */
static int write_data(FILE *g, const pfc_bench_record *records, int count)
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
    return rows;
}

static void write_script(FILE *g, const pfc_bench *bench, const pfc_bench_record *records, int count)
{
    const pfc_cli *cli = bench->cli;
    char term[128];
    int rows = write_data(g, records, count);
    snprintf(term, sizeof term, terminal(cli->plot), 130 + 32 * rows); /* NOLINT: one of two formats */
    fprintf(g, "set terminal %s\nset output '%s'\nset encoding utf8\n", term, cli->plot);
    fprintf(g, "set title \"pfc\\\\_ref bench, %s mode, %s, %s: share of the bound\"\n", bench->mode == PFC_FAST ? "fast" : "exact", bench->machine.isa,
            pfc_bench_ranks(cli));
    fprintf(g, "set xlabel \"bound (the larger of flops / peak and bytes / memory rate) over time, %%\"\n");
    fprintf(g, "set xrange [0:150]\nset xtics 0,20,100\nset yrange [%d.6:-0.6]\nunset key\nset grid x\nset style fill solid 0.8 noborder\n", rows - 1);
    fprintf(g, "set ytics scale 0 noenhanced\nset arrow from 100,graph 0 to 100,graph 1 nohead lw 2 lc rgb '#888888' back\n");
    fprintf(g, "plot $cases using (0.5*$2):1:(0.5*$2):(0.35):ytic(3) with boxxyerror lc rgb '#3a6ea5', "
               "'' using ($2+1.5):1:4 with labels left noenhanced\n");
}

int pfc_bench_plot(const pfc_bench *bench, const pfc_bench_record *records, int count, pfc_diag *diag)
{
    const pfc_cli *cli = bench->cli;
    if (!cli->plot) return 0;
    if (cli->rank == 0) {
        bool any = false;
        for (int i = 0; i < count; i++) any = any || records[i].bound > 0.0;
        FILE *g = any ? popen("gnuplot 2>/dev/null", "w") : NULL;
        if (g) write_script(g, bench, records, count);
        if (!any)
            pfc_diag_fail(diag, PFC_EXIT_FILE, "--plot: no case has a bound");
        else if (!g || pclose(g) != 0)
            pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "--plot %s: gnuplot failed", cli->plot);
    }
    return pfc_diag_agree(cli->comm, diag);
}
