/* partial_fc_dense_case.c: a partial_fc case through the dense equations, on rank 0. */
#include "case/partial_fc_inputs.h"
#include "dense/dense.h"

#include <string.h>

/* Tensors named as /out, zero, on all ranks. False: out of memory. */
static bool make_results(MPI_Comm comm, const pfc_partial_fc_inputs *in, pfc_tensor_list *out)
{
    int64_t steps[1] = { in->steps }, cd[2] = { in->c, in->d }, snd[3] = { in->steps, in->n, in->d };
    bool ok = pfc_tensor_add(comm, out, "loss", PFC_F64, 1, steps, PFC_DIST_NONE, 0) != NULL;
    ok = pfc_tensor_add(comm, out, "x_grad", PFC_F64, in->one_x_grad ? 2 : 3, in->one_x_grad ? snd + 1 : snd, PFC_DIST_NONE, 0) && ok;
    ok = pfc_tensor_add(comm, out, "weight_grad", PFC_F64, 2, cd, PFC_DIST_NONE, 0) && ok;
    ok = pfc_tensor_add(comm, out, "weight", PFC_F64, 2, cd, PFC_DIST_NONE, 0) && ok;
    ok = pfc_tensor_add(comm, out, "weight_momentum", PFC_F64, 2, cd, PFC_DIST_NONE, 0) && ok;
    return pfc_tensor_add(comm, out, "sampled", PFC_I64, 1, cd, PFC_DIST_NONE, 0) && ok;
}

/* All steps; the results of step t into the tensors. Rank 0. */
static void compute(const pfc_partial_fc_inputs *in, pfc_tensor_list *out, pfc_diag *diag)
{
    size_t cd = (size_t)(in->c * in->d) * sizeof(double), nd = (size_t)(in->n * in->d);
    double *loss = pfc_tensor_find(out, "loss")->data, *x_grad = pfc_tensor_find(out, "x_grad")->data;
    pfc_dense_partial_fc *p = pfc_dense_partial_fc_new(&in->cfg, in->ranks, in->n);
    if (!p) {
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense partial_fc: out of memory");
        return;
    }
    memcpy(p->weight, in->weight, cd);
    memcpy(p->momentum, in->momentum, cd);
    for (int64_t t = 0; t < in->steps && !diag->exit_status; t++) {
        if (!pfc_dense_partial_fc_step(p, pfc_partial_fc_inputs_x(in, t), pfc_partial_fc_inputs_labels(in, t), pfc_partial_fc_inputs_keys(in, t)))
            pfc_diag_fail(diag, PFC_EXIT_FILE, "/in/labels: a label of step %lld is not in [0, %lld)", (long long)t, (long long)in->c);
        loss[t] = p->loss;
        memcpy(x_grad + (size_t)t * nd, p->x_grad, nd * sizeof(double));
    }
    memcpy(pfc_tensor_find(out, "weight_grad")->data, p->weight_grad, cd);
    memcpy(pfc_tensor_find(out, "weight")->data, p->weight, cd);
    memcpy(pfc_tensor_find(out, "weight_momentum")->data, p->momentum, cd);
    memcpy(pfc_tensor_find(out, "sampled")->data, p->sampled, (size_t)in->c * sizeof(int64_t));
    pfc_dense_partial_fc_free(p);
}

int pfc_partial_fc_dense_case(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag)
{
    pfc_partial_fc_inputs in;
    if (pfc_partial_fc_inputs_gather(comm, c, &in, diag)) return diag->exit_status;
    if (!make_results(comm, &in, out)) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense partial_fc: out of memory");
    int rank;
    MPI_Comm_rank(comm, &rank);
    if (!pfc_diag_agree(comm, diag) && rank == 0) compute(&in, out, diag);
    pfc_partial_fc_inputs_free(&in);
    return pfc_diag_agree(comm, diag);
}
