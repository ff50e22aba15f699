/* partial_fc_inputs.c: a partial_fc case gathered on rank 0. */
#include "case/partial_fc_inputs.h"
#include "case/family.h"

#include <stdlib.h>
#include <string.h>

int pfc_partial_fc_inputs_gather(MPI_Comm comm, const pfc_case *c, pfc_partial_fc_inputs *in, pfc_diag *diag)
{
    const pfc_tensor *x = pfc_tensor_find(&c->in, "features"), *y = pfc_tensor_find(&c->in, "labels"), *w = pfc_tensor_find(&c->in, "weight");
    const pfc_tensor *keys = pfc_tensor_find(&c->in, "sample_keys");
    memset(in, 0, sizeof *in);
    in->cfg = pfc_partial_fc_case_config(c);
    MPI_Comm_size(comm, &in->ranks);
    in->steps = pfc_param_int(c, "steps");
    in->n = x->dims[x->ndim - 2];
    in->d = x->dims[x->ndim - 1];
    in->c = w->dims[0];
    in->features_per_step = x->ndim == 3;
    in->one_x_grad = x->ndim == 2 && in->steps == 1;
    in->labels_stride = y->ndim == 2 ? in->n : 0;
    in->keys_stride = keys && keys->ndim == 2 ? in->c : 0;

    int rank;
    MPI_Comm_rank(comm, &rank);
    bool failed = pfc_case_gather_reals(comm, c, "features", &in->x, diag) || pfc_case_gather_reals(comm, c, "weight", &in->weight, diag) ||
                  pfc_case_gather_reals(comm, c, "weight_momentum", &in->momentum, diag) || pfc_case_gather_reals(comm, c, "sample_keys", &in->keys, diag) ||
                  pfc_case_gather_ints(comm, c, "labels", &in->labels, diag);
    if (!failed && rank == 0 && !in->momentum) {
        in->momentum = calloc((size_t)(in->c * in->d) + 1, sizeof(double));
        if (!in->momentum) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "weight_momentum: out of memory");
    }
    if (pfc_diag_agree(comm, diag)) pfc_partial_fc_inputs_free(in);
    return diag->exit_status;
}

void pfc_partial_fc_inputs_free(pfc_partial_fc_inputs *in)
{
    free(in->x);
    free(in->weight);
    free(in->momentum);
    free(in->labels);
    free(in->keys);
    in->x = in->weight = in->momentum = in->keys = NULL;
    in->labels = NULL;
}

const double *pfc_partial_fc_inputs_x(const pfc_partial_fc_inputs *in, int64_t t) { return in->x + (in->features_per_step ? t * in->n * in->d : 0); }
const int64_t *pfc_partial_fc_inputs_labels(const pfc_partial_fc_inputs *in, int64_t t) { return in->labels + t * in->labels_stride; }
const double *pfc_partial_fc_inputs_keys(const pfc_partial_fc_inputs *in, int64_t t) { return in->keys ? in->keys + t * in->keys_stride : NULL; }
