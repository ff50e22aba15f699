/* train_plot.c: loss and accuracy over the steps, by gnuplot, from the log's lines: after a resume also those of the steps before it. */
#include "driver/train.h"
#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { POINTS = 400, SERIES = 32, COLUMNS = 10 };
enum { STEP = 0, LOSS = 5, NAME = 8, ACCURACY = 9 }; /* columns */

typedef struct points {
    char name[64]; /* of an accuracy; "" of the steps themselves */
    double *x, *y;
    int64_t count;
} points;

typedef struct curves {
    points loss, accuracy[SERIES];
    int series;
    bool full; /* out of memory */
} curves;

static void add(curves *c, points *p, double x, double y)
{
    if (!isfinite(y)) return;
    if (p->count % 1024 == 0) {
        size_t bytes = (size_t)(p->count + 1024) * sizeof(double);
        double *more_x = realloc(p->x, bytes), *more_y = realloc(p->y, bytes);
        if (more_x) p->x = more_x;
        if (more_y) p->y = more_y;
        if (!more_x || !more_y) {
            c->full = true;
            return;
        }
    }
    p->x[p->count] = x;
    p->y[p->count++] = y;
}

/* NULL: there are too many. */
static points *series_of(curves *c, const char *name)
{
    for (int i = 0; i < c->series; i++)
        if (strcmp(c->accuracy[i].name, name) == 0) return &c->accuracy[i];
    if (c->series == SERIES) return NULL;
    points *p = &c->accuracy[c->series++];
    snprintf(p->name, sizeof p->name, "%s", name);
    return p;
}

static void take_line(curves *c, char *line)
{
    char *column[COLUMNS] = { 0 };
    line[strcspn(line, "\n")] = 0;
    for (int k = 0; k < COLUMNS && line; k++) column[k] = strsep(&line, "\t");
    if (!column[COLUMNS - 1]) return; /* cut short by a kill */
    double step = strtod(column[STEP], NULL);
    if (column[LOSS][0]) add(c, &c->loss, step, strtod(column[LOSS], NULL));
    points *p = column[ACCURACY][0] ? series_of(c, column[NAME]) : NULL;
    if (p) add(c, p, step, strtod(column[ACCURACY], NULL));
}

static bool read_log(FILE *file, curves *c)
{
    char *line = NULL;
    size_t size = 0;
    if (fflush(file) || fseek(file, 0, SEEK_SET)) return false;
    bool first = true;
    for (; getline(&line, &size, file) > 0; first = false)
        if (!first) take_line(c, line);
    free(line);
    return !ferror(file) && fseek(file, 0, SEEK_END) == 0 && !c->full;
}

/* Means of neighbours where there are more points than a plot can show. */
static void write_points(FILE *g, const points *p, int number)
{
    int64_t each = p->name[0] ? 1 : (p->count + POINTS - 1) / POINTS;
    fprintf(g, "$curve%d << END\n", number);
    for (int64_t i = 0; i < p->count; i += each) {
        int64_t n = p->count - i < each ? p->count - i : each;
        double x = 0.0, y = 0.0;
        for (int64_t k = i; k < i + n; k++) x += p->x[k], y += p->y[k];
        fprintf(g, "%.9g %.9g\n", x / (double)n, y / (double)n);
    }
    fprintf(g, "END\n");
}

/* Without what gnuplot would take for its own. */
static void write_text(FILE *g, const char *text)
{
    for (; *text; text++) fputc(*text == '\'' || *text == '\n' ? ' ' : *text, g);
}

static void write_script(FILE *g, const curves *c, const char *title)
{
    write_points(g, &c->loss, 0);
    for (int i = 0; i < c->series; i++) write_points(g, &c->accuracy[i], i + 1);
    fprintf(g, "set title '");
    write_text(g, title);
    fprintf(g, "' noenhanced font ',11'\nset xlabel 'step'\nset ylabel 'loss'\nset y2label 'accuracy'\nset ytics nomirror\nset yrange [0:*]\n"
               "set y2tics\nset y2range [0:1]\nset grid\nset bmargin 5\nset key outside below maxrows 3\nset style data lines\n"
               "plot $curve0 title 'loss' lw 2 lc rgb '#888888'");
    for (int i = 0; i < c->series; i++) {
        const char *name = c->accuracy[i].name;
        fprintf(g, ", $curve%d axes x1y2 with %s lw 2 title '", i + 1, name[0] ? "linespoints pt 7 ps 0.4" : "lines");
        write_text(g, name[0] ? name : "accuracy of the steps");
        fprintf(g, "' noenhanced");
    }
    fprintf(g, "\n");
}

int pfc_train_plot(const pfc_cli *cli, const pfc_train_log *log, const char *title, pfc_diag *diag)
{
    if (!cli->plot) return 0;
    if (cli->rank == 0) {
        curves c = { 0 };
        if (!read_log(log->file, &c))
            pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "--plot: %s cannot be read back", log->path);
        else if (c.loss.count) { /* else no step has been done */
            FILE *g = pfc_plot_open(cli, 560);
            if (g) write_script(g, &c, title);
            pfc_plot_close(cli, g, diag);
        }
        free(c.loss.x);
        free(c.loss.y);
        for (int i = 0; i < c.series; i++) {
            free(c.accuracy[i].x);
            free(c.accuracy[i].y);
        }
    }
    return pfc_diag_agree(cli->comm, diag);
}
