/* text_input.c: inputs of one axis from text files, one number a line. */
#include "case/internal.h"
#include "driver/driver.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct numbers {
    double *reals;
    int64_t *integers; /* the same numbers, as long as all of them are integers */
    int64_t count;
    bool integral;
} numbers;

static void free_numbers(numbers *n)
{
    free(n->reals);
    free(n->integers);
}

static bool append(numbers *n, double real, int64_t integer)
{
    if (n->count % 1024 == 0) {
        size_t longer = (size_t)(n->count + 1024) * 8;
        double *reals = realloc(n->reals, longer);
        if (reals) n->reals = reals;
        int64_t *integers = realloc(n->integers, longer);
        if (integers) n->integers = integers;
        if (!reals || !integers) return false;
    }
    n->reals[n->count] = real;
    n->integers[n->count++] = integer;
    return true;
}

static char *strip(char *text)
{
    text[strcspn(text, "#")] = 0;
    while (isspace((unsigned char)*text)) text++;
    for (size_t k = strlen(text); k > 0 && isspace((unsigned char)text[k - 1]);) text[--k] = 0;
    return text;
}

static int read_line(numbers *n, char *line, const char *path, long number, pfc_diag *diag)
{
    char *text = strip(line), *end;
    if (!*text) return 0;
    double real = strtod(text, &end);
    if (*end) return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: line %ld: found \"%.60s\", expected one number", path, number, text);
    errno = 0;
    long long integer = strtoll(text, &end, 10);
    n->integral = n->integral && !*end && !errno;
    if (!append(n, real, integer)) return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", path);
    return 0;
}

static int read_numbers(numbers *n, const char *path, pfc_diag *diag)
{
    char *line = NULL;
    size_t size = 0;
    n->integral = true;
    FILE *file = fopen(path, "r");
    if (!file) return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: cannot be opened: %s", path, strerror(errno));
    errno = 0;
    for (long number = 1; !diag->exit_status && getline(&line, &size, file) >= 0; number++) read_line(n, line, path, number, diag);
    if (!diag->exit_status && !feof(file)) pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: cannot be read: %s", path, strerror(errno));
    if (!diag->exit_status && n->count == 0) pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found no number, expected one a line", path);
    free(line);
    fclose(file);
    return diag->exit_status;
}

/* Reading is rank 0's; then all ranks hold the numbers. */
static int read_input(const pfc_cli *cli, const char *name, const char *path, pfc_tensor_list *given, pfc_diag *diag)
{
    numbers n = { 0 };
    if (cli->rank == 0) read_numbers(&n, path, diag);
    if (pfc_diag_agree(cli->comm, diag)) {
        free_numbers(&n);
        return diag->exit_status;
    }
    int64_t head[2] = { n.count, n.integral };
    MPI_Bcast(head, 2, MPI_INT64_T, 0, cli->comm);
    pfc_tensor *t = pfc_tensor_add(cli->comm, given, name, head[1] ? PFC_I64 : PFC_F64, 1, head, PFC_DIST_NONE, 0);
    if (!t) pfc_diag_fail(diag, PFC_EXIT_FILE, "--in %s: out of memory, or a name too long", name);
    if (!pfc_diag_agree(cli->comm, diag)) {
        if (cli->rank == 0) memcpy(t->data, head[1] ? (void *)n.integers : (void *)n.reals, (size_t)n.count * 8);
        const int64_t piece = 1 << 24; /* an int counts them */
        for (int64_t at = 0; at < head[0]; at += piece)
            MPI_Bcast((double *)t->data + at, (int)(head[0] - at < piece ? head[0] - at : piece), MPI_DOUBLE, 0, cli->comm);
    }
    free_numbers(&n);
    return diag->exit_status;
}

int pfc_cli_inputs(const pfc_cli *cli, pfc_tensor_list *given, pfc_diag *diag)
{
    for (int i = 0; i < cli->input_count && !diag->exit_status; i++) {
        const char *equals = strchr(cli->inputs[i], '=');
        char name[PFC_MAX_NAME];
        if (!equals || equals == cli->inputs[i] || !equals[1] || equals - cli->inputs[i] >= PFC_MAX_NAME)
            return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--in %s: expected NAME=FILE.txt", cli->inputs[i]);
        snprintf(name, sizeof name, "%.*s", (int)(equals - cli->inputs[i]), cli->inputs[i]);
        if (pfc_tensor_find(given, name)) return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--in %s: given twice", name);
        read_input(cli, name, equals + 1, given, diag);
    }
    return diag->exit_status;
}
