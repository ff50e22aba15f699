/* common.c: small things that all commands need. */
#include "case/internal.h"
#include "core/ctx.h"
#include "driver/driver.h"
#include <errno.h>
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int pfc_report(const pfc_cli *cli, const pfc_diag *diag)
{
    if (cli->rank == 0 && diag->exit_status) fprintf(stderr, "pfc_ref: %s\n", diag->text);
    return diag->exit_status;
}

int pfc_cli_threads(const pfc_cli *cli)
{
    const char *given = getenv("OMP_NUM_THREADS");
    if (cli->threads) return cli->threads;
    if (given && *given) return 0;
    return cli->node_ranks > 1 ? 1 : 0;
}

static void unfinished(const char *path, bool begun) { (begun ? pfc_temporary_add : pfc_temporary_drop)(path); }

pfc_ctx *pfc_cli_context(const pfc_cli *cli, pfc_mode mode, pfc_diag *diag)
{
    pfc_options options = { .mode = mode, .backend = cli->backend, .threads = pfc_cli_threads(cli) };
    pfc_ctx *ctx = NULL;
    char why[256] = "";
    pfc_status status = pfc_ctx_create(cli->comm, &options, &ctx, why, sizeof why);
    if (status == PFC_OK) {
        ctx->unfinished = unfinished;
        return ctx;
    }
    bool failed = status == PFC_ERR_NOMEM || status == PFC_ERR_RUNTIME || status == PFC_ERR_IO;
    pfc_diag_fail(diag, failed ? PFC_EXIT_RUNTIME : PFC_EXIT_BACKEND, "%s", why[0] ? why : pfc_status_string(status));
    return NULL;
}

void pfc_cli_context_close(pfc_ctx **ctx, pfc_diag *diag)
{
    char why[256] = "";
    if (pfc_ctx_close(ctx, why, sizeof why) != PFC_OK) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s", why);
}

int pfc_cli_params(const pfc_cli *cli, pfc_case *c, pfc_diag *diag)
{
    for (int i = 0; i < cli->param_count && !diag->exit_status; i++) {
        char *text = strdup(cli->params[i]), *rest = NULL;
        if (!text) return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "--param: out of memory");
        for (char *item = strtok_r(text, ",", &rest); item && !diag->exit_status; item = strtok_r(NULL, ",", &rest)) {
            char *value = strchr(item, '=');
            if (!value || value == item) {
                pfc_diag_fail(diag, PFC_EXIT_USAGE, "--param %s: expected NAME=VALUE", item);
                break;
            }
            *value++ = 0;
            pfc_case_set_param(c, item, value, diag);
        }
        free(text);
    }
    return diag->exit_status;
}

int pfc_cli_sizes(const char *text, pfc_case *c, pfc_diag *diag)
{
    for (const char *s = text; *s;) {
        char *end = NULL;
        errno = 0;
        long long value = s[0] >= 'A' && s[0] <= 'Z' && s[1] == '=' ? strtoll(s + 2, &end, 10) : 0;
        if (!end || end == s + 2 || errno || value < 1 || (*end && *end != ',') || c->size[s[0] - 'A'] >= 0)
            return pfc_diag_fail(diag, PFC_EXIT_USAGE, "--size %s: expected LETTER=COUNT,..., each letter once, as N=24,C=37,D=8", text);
        c->size[s[0] - 'A'] = value;
        s = *end ? end + 1 : end;
    }
    return 0;
}

const char *pfc_shape_text(const pfc_tensor *t, char *text, size_t size)
{
    int n = snprintf(text, size, "(");
    for (int i = 0; i < t->ndim && n < (int)size; i++) n += snprintf(text + n, size - (size_t)n, "%s%lld", i ? ", " : "", (long long)t->dims[i]);
    if (n < (int)size) snprintf(text + n, size - (size_t)n, t->ndim == 1 ? ",)" : ")");
    return text;
}

const char *pfc_index_text(const pfc_tensor *t, int64_t index, char *text, size_t size)
{
    int64_t at[PFC_MAX_DIMS] = { 0 };
    for (int i = t->ndim - 1; i >= 0; i--) {
        at[i] = t->dims[i] > 0 ? index % t->dims[i] : 0;
        index = t->dims[i] > 0 ? index / t->dims[i] : 0;
    }
    int n = snprintf(text, size, "[");
    for (int i = 0; i < t->ndim && n < (int)size; i++) n += snprintf(text + n, size - (size_t)n, "%s%lld", i ? ", " : "", (long long)at[i]);
    if (n < (int)size) snprintf(text + n, size - (size_t)n, "]");
    return text;
}

bool pfc_same_file(const pfc_cli *cli, const char *a, const char *b)
{
    struct stat first, second;
    int same = cli->rank == 0 && stat(a, &first) == 0 && stat(b, &second) == 0 && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
    MPI_Bcast(&same, 1, MPI_INT, 0, cli->comm);
    return same != 0;
}
