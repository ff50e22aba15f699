/* arcface_head_case.h: what the parts of the arcface_head family share: table, check and run, fill, dense, bounds. */
#ifndef PFC_ARCFACE_HEAD_CASE_H
#define PFC_ARCFACE_HEAD_CASE_H

#include "case/case.h"
#include "dense/arcface_head_dense.h"

/* The library's configuration of a checked case (C and D from the letters). Local. */
pfc_arcface_config pfc_arcface_case_config(const pfc_case *c);

/* The dense problem of a case with its inputs, whole, on rank 0 (NULL elsewhere). The inputs belong to the problem. Collective; returns the exit status. */
int pfc_arcface_case_dense(MPI_Comm comm, const pfc_case *c, pfc_dense_arcface **out, pfc_diag *diag);
void pfc_arcface_case_dense_free(pfc_dense_arcface *p); /* NULL-safe */

/* The hooks of the table. */
int pfc_arcface_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag);                                  /* arcface_head_check.c */
int pfc_arcface_run_case(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag);               /* arcface_head_case.c */
int pfc_arcface_dense_case(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag); /* arcface_head_dense_case.c */
int pfc_arcface_fill(MPI_Comm comm, pfc_case *c, const char *fill, int64_t seed, pfc_diag *diag);   /* arcface_head_fill.c */
int pfc_arcface_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag);  /* arcface_head_bounds.c */
void *pfc_arcface_bench_open(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag);                            /* arcface_head_case.c */
int pfc_arcface_bench_step(void *bench, pfc_diag *diag);
void pfc_arcface_bench_close(void *bench);

#endif
