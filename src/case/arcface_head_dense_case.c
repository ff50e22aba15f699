/* arcface_head_dense_case.c: an arcface_head case through the dense equations, on rank 0. */
#include "case/arcface_head_case.h"
#include "case/family.h"

#include <stdlib.h>
#include <string.h>

void pfc_arcface_case_dense_free(pfc_dense_arcface *p)
{
    if (!p) return;
    const void *inputs[] = { p->x, p->weight, p->bias, p->labels, p->margins, p->soft_targets, p->class_weight };
    for (size_t i = 0; i < sizeof inputs / sizeof *inputs; i++) free((void *)(uintptr_t)inputs[i]);
    pfc_dense_arcface_free(p);
}

int pfc_arcface_case_dense(MPI_Comm comm, const pfc_case *c, pfc_dense_arcface **out, pfc_diag *diag)
{
    static const char *const names[] = { "features", "weight", "bias", "margins", "soft_targets", "class_weight" };
    double *real[6] = { NULL };
    int64_t *labels = NULL;
    pfc_arcface_config cfg = pfc_arcface_case_config(c);
    int rank;
    MPI_Comm_rank(comm, &rank);
    for (int i = 0; i < 6 && !diag->exit_status; i++) pfc_case_gather_reals(comm, c, names[i], &real[i], diag);
    if (!diag->exit_status) pfc_case_gather_ints(comm, c, "labels", &labels, diag);
    pfc_dense_arcface *p = rank == 0 ? pfc_dense_arcface_new(&cfg, c->size['N' - 'A']) : NULL;
    if (rank == 0 && !p) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense arcface_head: out of memory");
    if (p) {
        p->eval = pfc_param_int(c, "eval") != 0;
        p->x = real[0], p->weight = real[1], p->bias = real[2], p->margins = real[3], p->soft_targets = real[4], p->class_weight = real[5];
        p->labels = labels;
    }
    *out = p;
    if (!pfc_diag_agree(comm, diag)) return 0;
    pfc_arcface_case_dense_free(p);
    *out = NULL;
    return diag->exit_status;
}

static void put(pfc_tensor_list *list, const char *name, const void *from)
{
    pfc_tensor *t = pfc_tensor_find(list, name);
    if (t) memcpy(t->data, from, (size_t)pfc_tensor_elements(t) * 8);
}

int pfc_arcface_dense_case(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag)
{
    pfc_dense_arcface *p;
    if (pfc_arcface_case_dense(comm, c, &p, diag)) return diag->exit_status;
    for (int i = 0; i < c->out.count; i++) pfc_case_add_like(comm, &c->out, out, c->out.items[i].name, diag);
    if (!pfc_diag_agree(comm, diag) && p) {
        pfc_dense_arcface_run(p);
        put(out, "logits", p->logits);
        put(out, "subcenter", p->subcenter);
        put(out, "loss", &p->loss);
        put(out, "x_grad", p->x_grad);
        put(out, "weight_grad", p->weight_grad);
        put(out, "bias_grad", p->bias_grad);
    }
    pfc_arcface_case_dense_free(p);
    return diag->exit_status;
}
