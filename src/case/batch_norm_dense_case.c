/* batch_norm_dense_case.c: a batch_norm case through the dense equations, on rank 0. */
#include "case/batch_norm_case.h"
#include "case/family.h"

#include <string.h>

int pfc_batch_norm_dense_case(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag)
{
    pfc_dense_batch_norm p;
    int rank;
    MPI_Comm_rank(comm, &rank);
    if (pfc_batch_norm_case_problem(comm, c, &p, diag)) return diag->exit_status;
    bool sub = p.cfg.kind == PFC_BN_SUB, back = pfc_tensor_find(&c->in, "grad_y") != NULL;
    const pfc_tensor *x = pfc_tensor_find(&c->in, "x");
    int64_t per_rank[2] = { p.ranks, p.cfg.channels }, split[2] = { p.ranks, p.cfg.channels * p.cfg.num_splits };
    const struct result {
        const char *name;
        bool wanted;
        int ndim;
        const int64_t *dims;
        const double *from;
    } results[] = { { "y", true, x->ndim, x->dims, p.y },
                    { "running_mean", true, 2, per_rank, p.running_mean },
                    { "running_var", true, 2, per_rank, p.running_var },
                    { "split_running_mean", sub, 2, split, p.split_mean },
                    { "split_running_var", sub, 2, split, p.split_var },
                    { "x_grad", back, x->ndim, x->dims, p.x_grad },
                    { "weight_grad", back, 2, per_rank, p.weight_grad },
                    { "bias_grad", back, 2, per_rank, p.bias_grad } };
    if (rank == 0) pfc_dense_batch_norm_run(&p);
    for (size_t i = 0; i < sizeof results / sizeof *results; i++) {
        const struct result *r = &results[i];
        pfc_tensor *t = r->wanted ? pfc_tensor_add(comm, out, r->name, PFC_F64, r->ndim, r->dims, PFC_DIST_NONE, 0) : NULL;
        if (r->wanted && !t) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense batch_norm: out of memory");
        if (t && rank == 0) memcpy(t->data, r->from, (size_t)pfc_tensor_elements(t) * sizeof(double));
    }
    pfc_batch_norm_case_problem_free(&p);
    return pfc_diag_agree(comm, diag);
}
