/* explain_table.c: tables of words, cell by cell. */
#include "driver/explain.h"

#include <stdarg.h>
#include <stdlib.h>

void pfc_ex_cell(pfc_ex_table *t, const char *format, ...)
{
    char **text = realloc(t->text, (size_t)(t->count + 1) * sizeof *text);
    int *owner = realloc(t->owner, (size_t)(t->count + 1) * sizeof *owner);
    if (text) t->text = text;
    if (owner) t->owner = owner;
    if (!text || !owner) return;
    va_list args;
    va_start(args, format);
    if (vasprintf(&t->text[t->count], format, args) < 0) t->text[t->count] = NULL;
    va_end(args);
    t->owner[t->count / t->columns] = -1;
    if (t->text[t->count]) t->count++;
}

void pfc_ex_own(pfc_ex_table *t, int rank) { t->owner[(t->count - 1) / t->columns] = rank; }

void pfc_ex_give(FILE *f, const pfc_ex_writer *w, pfc_ex_table *t)
{
    w->table(f, t->count / t->columns, t->columns, t->text, t->owner);
    pfc_ex_forget(t);
}

void pfc_ex_forget(pfc_ex_table *t)
{
    for (int i = 0; i < t->count; i++) free(t->text[i]);
    free(t->text);
    free(t->owner);
    *t = (pfc_ex_table){ .columns = t->columns };
}
