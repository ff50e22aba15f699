/* moco_dense_case.c: a moco case through the textbook equations, on rank 0. */
#include "case/moco_case.h"
#include "dense/moco_dense.h"

#include <stdlib.h>
#include <string.h>

/* Tensors named as /out, zero, on all ranks. */
static void make_results(MPI_Comm comm, const pfc_case *c, int ranks, pfc_tensor_list *out, pfc_diag *diag)
{
    int64_t n = c->size['N' - 'A'], d = c->size['D' - 'A'], k = c->size['K' - 'A'], p = ranks, nd[2] = { n, d }, kd[2] = { k, d };
    bool ok = pfc_tensor_add(comm, out, "params_k", PFC_F64, 1, pfc_tensor_find(&c->in, "params_q")->dims, PFC_DIST_NONE, 0) != NULL;
    ok = pfc_tensor_add(comm, out, "loss", PFC_F64, 1, &p, PFC_DIST_NONE, 0) && ok;
    ok = pfc_tensor_add(comm, out, "query_grad", PFC_F64, 2, nd, PFC_DIST_NONE, 0) && ok;
    ok = pfc_tensor_add(comm, out, "key", PFC_F64, 2, nd, PFC_DIST_NONE, 0) && ok;
    ok = pfc_tensor_add(comm, out, "queue", PFC_F64, 2, kd, PFC_DIST_NONE, 0) && ok;
    ok = pfc_tensor_add(comm, out, "queue_ptr", PFC_I64, 0, NULL, PFC_DIST_NONE, 0) && ok;
    if (!ok) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense moco: out of memory");
}

enum { PARAMS_Q, PARAMS_K, QUERY, KEY, QUEUE, INPUTS };
static const char *const NAMES[INPUTS] = { "params_q", "params_k", "query", "key", "queue" };

static void compute(const pfc_case *c, int ranks, double *const in[INPUTS], pfc_tensor_list *out, pfc_diag *diag)
{
    pfc_dense_moco m = { .rows = c->size['N' - 'A'], .width = c->size['D' - 'A'], .keys = c->size['K' - 'A'], .ranks = ranks };
    int64_t params = pfc_tensor_find(&c->in, "params_q")->dims[0];
    double *theta = pfc_tensor_find(out, "params_k")->data;
    memcpy(theta, in[PARAMS_K], (size_t)params * sizeof(double));
    pfc_dense_moco_update(pfc_param_real(c, "momentum"), pfc_param_int(c, "first_call"), in[PARAMS_Q], params, theta);

    m.temperature = pfc_param_real(c, "temperature");
    m.query = in[QUERY];
    m.key = in[KEY];
    m.queue = pfc_tensor_find(out, "queue")->data;
    m.ptr = pfc_param_int(c, "queue_ptr");
    m.key_unit = pfc_tensor_find(out, "key")->data;
    m.loss = pfc_tensor_find(out, "loss")->data;
    m.query_grad = pfc_tensor_find(out, "query_grad")->data;
    m.query_unit = malloc((size_t)(m.rows * m.width) * sizeof(double));
    m.logits = malloc((size_t)(m.rows * (1 + m.keys)) * sizeof(double));
    memcpy(m.queue, in[QUEUE], (size_t)(m.keys * m.width) * sizeof(double));
    if (m.query_unit && m.logits)
        pfc_dense_moco_step(&m);
    else
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "dense moco: out of memory");
    *(int64_t *)pfc_tensor_find(out, "queue_ptr")->data = m.ptr;
    free(m.query_unit);
    free(m.logits);
}

int pfc_moco_dense(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag)
{
    double *in[INPUTS] = { NULL };
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    make_results(comm, c, ranks, out, diag);
    for (int i = 0; i < INPUTS && !pfc_diag_agree(comm, diag); i++) pfc_case_gather_reals(comm, c, NAMES[i], &in[i], diag);
    if (!pfc_diag_agree(comm, diag) && rank == 0) compute(c, ranks, in, out, diag);
    for (int i = 0; i < INPUTS; i++) free(in[i]);
    return pfc_diag_agree(comm, diag);
}
