/* alone.c: cases made on the spot for any number of ranks, and the same case computed by rank 0 alone: what a golden file would say. */
#include "driver/driver.h"

#include <string.h>

pfc_case *pfc_case_any_ranks(MPI_Comm comm, const pfc_algorithm *a, int ranks, pfc_diag *diag)
{
    pfc_case *c = pfc_case_new(a);
    if (!c) {
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory");
        return NULL;
    }
    snprintf(c->name, sizeof c->name, "any_ranks");
    if (!a->any_ranks(c, ranks, diag) && !a->fill(comm, c, "normal", 1, diag)) pfc_case_check(comm, c, diag);
    if (!diag->exit_status) return c;
    pfc_case_free(c);
    return NULL;
}

static void keep_digests(MPI_Comm comm, pfc_tensor_list *list, pfc_digests *d, pfc_diag *diag)
{
    for (int i = 0; i < list->count && d->count < PFC_MAX_DIGESTS && !diag->exit_status; i++) {
        if (pfc_tensor_digest(comm, &list->items[i], diag)) return;
        snprintf(d->name[d->count], sizeof d->name[0], "%s", list->items[i].name);
        memcpy(d->sha256[d->count++], list->items[i].sha256, sizeof d->sha256[0]);
    }
}

/* On one rank, over MPI_COMM_SELF. */
static void run_alone(const pfc_cli *cli, const pfc_algorithm *a, pfc_digests *d, pfc_diag *diag)
{
    pfc_cli solo = *cli;
    solo.comm = MPI_COMM_SELF;
    solo.rank = 0;
    solo.ranks = 1;
    pfc_ctx *ctx = pfc_cli_context(&solo, PFC_EXACT, diag);
    pfc_case *c = ctx ? pfc_case_any_ranks(MPI_COMM_SELF, a, cli->ranks, diag) : NULL;
    if (c && !a->run(ctx, c, true, diag)) {
        keep_digests(MPI_COMM_SELF, &c->out, d, diag);
        keep_digests(MPI_COMM_SELF, &c->step, d, diag);
    }
    pfc_case_free(c);
    pfc_cli_context_close(&ctx, diag);
}

int pfc_digests_alone(const pfc_cli *cli, const pfc_algorithm *a, pfc_digests *d, pfc_diag *diag)
{
    memset(d, 0, sizeof *d);
    if (cli->rank == 0) run_alone(cli, a, d, diag);
    if (pfc_diag_agree(cli->comm, diag)) return diag->exit_status;
    MPI_Bcast(d, (int)sizeof *d, MPI_BYTE, 0, cli->comm);
    return 0;
}

const char *pfc_digests_find(const pfc_digests *d, const char *name)
{
    for (int i = 0; i < d->count; i++)
        if (strcmp(d->name[i], name) == 0) return d->sha256[i];
    return NULL;
}
