/* swav_case.h: what the cases of sinkhorn, swav and lr_schedule share: configurations from parameters, fills, bounds. */
#ifndef PFC_CASE_SWAV_CASE_H
#define PFC_CASE_SWAV_CASE_H

#include "case/case.h"

/* From epsilon, iterations, stabilise, version. */
pfc_sinkhorn_config pfc_case_sinkhorn_config(const pfc_case *c);
/* All that a step needs. crops: (A), kept by the caller. */
pfc_swav_config pfc_case_swav_config(const pfc_case *c, const int64_t *crops);
/* Their conditions; 0: fine. Local. */
int pfc_case_sinkhorn_check(const pfc_case *c, pfc_diag *diag);

/* bs of a checked swav case. Local. */
int64_t pfc_swav_case_samples(const pfc_case *c);

/* Inputs of a swav case, whole, on rank 0. */
typedef struct pfc_swav_inputs {
    pfc_swav_config cfg;
    int ranks;
    int64_t bs, L; /* L 0: no queue */
    int frozen;
    int64_t use_the_queue;
    double *embedding, *prototypes, *queue;
} pfc_swav_inputs;
int pfc_swav_inputs_gather(MPI_Comm comm, const pfc_case *c, pfc_swav_inputs *in, pfc_diag *diag); /* Collective; a failure is agreed, nothing is held */
void pfc_swav_inputs_free(pfc_swav_inputs *in);

int pfc_swav_case_dense(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag);

/* swav_check.c, swav_fill.c, swav_bounds.c */
int pfc_swav_case_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag);
int pfc_sinkhorn_case_fill(MPI_Comm comm, pfc_case *c, const char *fill, int64_t seed, pfc_diag *diag);
int pfc_swav_case_fill(MPI_Comm comm, pfc_case *c, const char *fill, int64_t seed, pfc_diag *diag);
int pfc_sinkhorn_case_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag);
int pfc_swav_case_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag);

/* Parameters of both. */
#define PFC_SINKHORN_PARAMS                                                                                                                      \
    { "epsilon", PFC_PARAM_REAL, "0.05", NULL, "entropy of the assignment" }, { "iterations", PFC_PARAM_INT, "3", NULL, "Sinkhorn iterations" }, \
        { "stabilise", PFC_PARAM_INT, "1", "0|1", "subtract the largest score of all ranks before exp (log ignores it)" },                       \
    {                                                                                                                                            \
        "version", PFC_PARAM_WORD, "v1", "v1|v2|vissl|log", "whose arrangement"                                                                  \
    }

#endif
