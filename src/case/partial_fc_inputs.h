/* partial_fc_inputs.h: the inputs of a partial_fc case, whole, in double, on rank 0: for the dense equations and the bounds. */
#ifndef PFC_PARTIAL_FC_INPUTS_H
#define PFC_PARTIAL_FC_INPUTS_H

#include "case/partial_fc_case.h"

typedef struct pfc_partial_fc_inputs {
    pfc_partial_fc_config cfg;
    int ranks;
    int64_t n, d, c, steps;
    bool features_per_step;             /* features are (steps,N,D), else they serve every step */
    bool one_x_grad;                    /* x_grad is (N,D), else (steps,N,D) */
    int64_t labels_stride, keys_stride; /* elements from one step's to the next one's: 0 or N, 0 or C */
    /* Rank 0 only, elsewhere NULL: */
    double *x, *weight, *momentum;
    int64_t *labels;
    double *keys; /* NULL: own keys */
} pfc_partial_fc_inputs;

/* Fills *in from the case; everything but the arrays on all ranks. Collective. Returns the exit status. */
int pfc_partial_fc_inputs_gather(MPI_Comm comm, const pfc_case *c, pfc_partial_fc_inputs *in, pfc_diag *diag);
void pfc_partial_fc_inputs_free(pfc_partial_fc_inputs *in); /* the arrays. Local */

/* The arrays that serve step t. Local, rank 0. */
const double *pfc_partial_fc_inputs_x(const pfc_partial_fc_inputs *in, int64_t t);
const int64_t *pfc_partial_fc_inputs_labels(const pfc_partial_fc_inputs *in, int64_t t);
const double *pfc_partial_fc_inputs_keys(const pfc_partial_fc_inputs *in, int64_t t);

/* The members `dense` and `bounds` of partial_fc's entry in the table of algorithms (case.h). Collective. */
int pfc_partial_fc_dense_case(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag);
int pfc_partial_fc_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag);

#endif
