/* table.c: text tables with columns as wide as they need to be. */
#include "driver/driver.h"
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

struct pfc_table {
    const char *align;
    int columns;
    char **cells; /* row-major, the titles first */
    int count;
};

static void append(pfc_table *t, char *text)
{
    char **cells = text ? realloc(t->cells, (size_t)(t->count + 1) * sizeof *cells) : NULL;
    if (!cells) {
        free(text);
        return;
    }
    t->cells = cells;
    t->cells[t->count++] = text;
}

pfc_table *pfc_table_new(const char *align, const char *const *titles)
{
    pfc_table *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    t->align = align;
    t->columns = (int)strlen(align);
    for (int i = 0; i < t->columns; i++) append(t, strdup(titles[i]));
    return t;
}

void pfc_table_cell(pfc_table *t, const char *format, ...)
{
    if (!t) return;
    va_list args;
    char *text = NULL;
    va_start(args, format);
    if (vasprintf(&text, format, args) < 0) text = NULL;
    va_end(args);
    append(t, text);
}

static int width(const pfc_table *t, int column)
{
    int most = 0;
    for (int i = column; i < t->count; i += t->columns) {
        int n = (int)strlen(t->cells[i]);
        if (n > most) most = n;
    }
    return most;
}

static void print_row(const pfc_table *t, int row, FILE *file)
{
    int last = t->columns - 1, gap = 0; /* blanks owed: none at the end of a line */
    while (last > 0 && !t->cells[row * t->columns + last][0]) last--;
    for (int i = 0; i <= last; i++) {
        const char *text = t->cells[row * t->columns + i];
        int pad = width(t, i) - (int)strlen(text);
        if (t->align[i] == 'r')
            fprintf(file, "%*s%s", gap + pad, "", text), gap = 2;
        else
            fprintf(file, "%*s%s", gap, "", text), gap = 2 + pad;
    }
    fputc('\n', file);
}

void pfc_table_print(const pfc_table *t, FILE *file)
{
    if (!t) return;
    for (int row = 0; (row + 1) * t->columns <= t->count; row++) print_row(t, row, file);
}

void pfc_table_free(pfc_table *t)
{
    if (!t) return;
    for (int i = 0; i < t->count; i++) free(t->cells[i]);
    free(t->cells);
    free(t);
}
