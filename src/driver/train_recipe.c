/* train_recipe.c: what was written of settings: lines NAME=VALUE of a recipe, and --param NAME=VALUE,... */
#include "case/internal.h"
#include "driver/train.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { RECIPE_BYTES = 1 << 16 };

const char *pfc_assignment_place(const pfc_assignments *a, const pfc_assignment *one, char *text, size_t size)
{
    char label[PFC_LABEL];
    text[0] = 0;
    if (one->line) snprintf(text, size, "%s: line %ld", pfc_label(a->recipe, label), one->line);
    return text;
}

void pfc_assignments_free(pfc_assignments *a)
{
    free(a->list);
    a->list = NULL;
    a->count = 0;
}

static char *strip(char *text)
{
    while (isspace((unsigned char)*text)) text++;
    for (size_t k = strlen(text); k > 0 && isspace((unsigned char)text[k - 1]);) text[--k] = 0;
    return text;
}

/* NULL: appended; else what is wrong with it. */
static const char *append(pfc_assignments *a, char *text, long line)
{
    char *equals = strchr(text, '='), *name = text;
    if (!equals || equals == text) return "expected NAME=VALUE";
    *equals = 0;
    name = strip(name);
    char *value = strip(equals + 1);
    if (strlen(name) >= PFC_MAX_NAME || strlen(value) >= 2 * PFC_MAX_WORD) return "expected a shorter one";
    pfc_assignment *longer = realloc(a->list, ((size_t)a->count + 1) * sizeof *longer);
    if (!longer) return "out of memory";
    a->list = longer;
    pfc_assignment *one = &a->list[a->count++];
    one->line = line;
    snprintf(one->name, sizeof one->name, "%s", name);
    snprintf(one->value, sizeof one->value, "%s", value);
    return NULL;
}

/* ---- the command line ---- */

static int take_params(const pfc_cli *cli, pfc_assignments *a, pfc_diag *diag)
{
    for (int i = 0; i < cli->param_count && !diag->exit_status; i++) {
        char *text = strdup(cli->params[i]), *rest = NULL;
        if (!text) return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "--param: out of memory");
        for (char *item = strtok_r(text, ",", &rest); item && !diag->exit_status; item = strtok_r(NULL, ",", &rest)) {
            char shown[80];
            snprintf(shown, sizeof shown, "%s", item);
            const char *fault = append(a, item, 0);
            if (fault) pfc_diag_fail(diag, PFC_EXIT_USAGE, "--param %s: %s", shown, fault);
        }
        free(text);
    }
    return diag->exit_status;
}

/* ---- the file ---- */

/* The text on all ranks. */
static int read_text(const pfc_cli *cli, const char *path, char *text, pfc_diag *diag)
{
    char label[PFC_LABEL];
    if (cli->rank == 0) {
        FILE *file = fopen(path, "r");
        size_t n = file ? fread(text, 1, RECIPE_BYTES, file) : 0;
        if (!file || ferror(file))
            pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: cannot be read: %s", pfc_label(path, label), strerror(errno));
        else if (n == RECIPE_BYTES || memchr(text, 0, n))
            pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found no short text, expected a recipe: lines NAME=VALUE", pfc_label(path, label));
        text[n < RECIPE_BYTES ? n : 0] = 0;
        if (file) fclose(file);
    }
    if (pfc_diag_agree(cli->comm, diag)) return diag->exit_status;
    MPI_Bcast(text, RECIPE_BYTES, MPI_CHAR, 0, cli->comm);
    return 0;
}

static void take_line(pfc_assignments *a, char *line, long number, pfc_diag *diag)
{
    char label[PFC_LABEL], shown[80];
    line[strcspn(line, "#")] = 0;
    line = strip(line);
    if (!*line) return;
    snprintf(shown, sizeof shown, "%s", line);
    const char *fault = append(a, line, number);
    if (fault) pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: line %ld: found \"%s\", %s", pfc_label(a->recipe, label), number, shown, fault);
    for (int i = 0; i + 1 < a->count && !fault; i++)
        if (strcmp(a->list[i].name, a->list[a->count - 1].name) == 0)
            pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: line %ld: found %s again, expected it once; it stands in line %ld", pfc_label(a->recipe, label), number,
                          a->list[i].name, a->list[i].line);
}

static int take_recipe(const pfc_cli *cli, pfc_assignments *a, pfc_diag *diag)
{
    char *text = malloc(RECIPE_BYTES);
    if (!text) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "--recipe: out of memory");
    if (!pfc_diag_agree(cli->comm, diag) && !pfc_shipped_file(cli, "--recipe", cli->recipe, "recipes", a->recipe, sizeof a->recipe, diag) &&
        !read_text(cli, a->recipe, text, diag)) {
        long number = 1;
        for (char *line = text, *next; line && !diag->exit_status; line = next, number++) {
            next = strchr(line, '\n');
            if (next) *next++ = 0;
            take_line(a, line, number, diag);
        }
    }
    free(text);
    return pfc_diag_agree(cli->comm, diag);
}

int pfc_assignments_read(const pfc_cli *cli, pfc_assignments *a, pfc_diag *diag)
{
    memset(a, 0, sizeof *a);
    if (cli->recipe && take_recipe(cli, a, diag)) return diag->exit_status;
    return take_params(cli, a, diag);
}
