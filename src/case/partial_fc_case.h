/* partial_fc_case.h: what the parts of the partial_fc family share: table, check and run, fill, bounds. */
#ifndef PFC_PARTIAL_FC_CASE_H
#define PFC_PARTIAL_FC_CASE_H

#include "case/case.h"

/* The library's configuration of a checked case (xgrad_scale resolved; C and D from the letters). Local. */
pfc_partial_fc_config pfc_partial_fc_case_config(const pfc_case *c);

/* Whether classes are sampled: num_sample is given, or trunc(sample_rate) is not 1 (semantics 2.3). Local. */
bool pfc_partial_fc_case_samples(const pfc_case *c);

/* The hooks of the table. */
int pfc_partial_fc_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag);                                  /* partial_fc_check.c */
int pfc_partial_fc_run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag);                    /* partial_fc_case.c */
int pfc_partial_fc_fill(MPI_Comm comm, pfc_case *c, const char *fill, int64_t seed, pfc_diag *diag);   /* partial_fc_fill.c */
int pfc_partial_fc_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag);  /* partial_fc_bounds.c */
int pfc_partial_fc_dense_case(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag); /* partial_fc_dense_case.c */

#endif
