/* plot.c: what all plots have in common: whether gnuplot can draw them, and how it is called. */
#include "driver/driver.h"
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

int pfc_plot_check(const pfc_cli *cli, pfc_diag *diag)
{
    if (!cli->plot) return 0;
    if (!terminal(cli->plot) || strchr(cli->plot, '\'') || strchr(cli->plot, '\n'))
        pfc_diag_fail(diag, PFC_EXIT_USAGE, "--plot %s: expected FILE.svg or FILE.png", cli->plot);
    else if (cli->rank == 0 && !in_path("gnuplot"))
        pfc_diag_fail(diag, PFC_EXIT_BACKEND, "--plot: gnuplot not found");
    return pfc_diag_agree(cli->comm, diag);
}

FILE *pfc_plot_open(const pfc_cli *cli, int height)
{
    char term[128];
    FILE *g = popen("gnuplot 2>/dev/null", "w");
    if (!g) return NULL;
    snprintf(term, sizeof term, terminal(cli->plot), height); /* NOLINT: one of two formats */
    fprintf(g, "set terminal %s\nset output '%s'\nset encoding utf8\n", term, cli->plot);
    return g;
}

int pfc_plot_close(const pfc_cli *cli, FILE *g, pfc_diag *diag)
{
    if (g && pclose(g) == 0) return 0;
    return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "--plot %s: gnuplot failed", cli->plot);
}
