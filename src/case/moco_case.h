/* moco_case.h: what the files of the moco family's case layer share. */
#ifndef PFC_MOCO_CASE_H
#define PFC_MOCO_CASE_H

#include "case/family.h"
#include "case/internal.h"

/* Members of the entries in the table of algorithms (case.h). */
int pfc_moco_shuffle_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag);
int pfc_moco_shuffle_run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag);
int pfc_moco_shuffle_dense(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag);
int pfc_moco_shuffle_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag);
int pfc_moco_shuffle_fill(MPI_Comm comm, pfc_case *c, const char *fill, int64_t seed, pfc_diag *diag);
void *pfc_moco_shuffle_bench_open(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag);
int pfc_moco_shuffle_bench_step(void *bench, pfc_diag *diag);
void pfc_moco_shuffle_bench_close(void *bench);
void pfc_moco_shuffle_bench_cost(const pfc_case *c, int ranks, pfc_dtype real, double *flops, double *bytes);

int pfc_moco_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag);
int pfc_moco_run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag);
int pfc_moco_dense(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag);
int pfc_moco_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag);
int pfc_moco_fill(MPI_Comm comm, pfc_case *c, const char *fill, int64_t seed, pfc_diag *diag);
void *pfc_moco_bench_open(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag);
int pfc_moco_bench_step(void *bench, pfc_diag *diag);
void pfc_moco_bench_close(void *bench);
void pfc_moco_bench_cost(const pfc_case *c, int ranks, pfc_dtype real, double *flops, double *bytes);

/* The library's configuration of a checked case. Local. */
pfc_moco_config pfc_moco_case_config(const pfc_case *c);
/* Logits, and the queue twice on every rank, against the machine's memory. Collective. */
int pfc_moco_check_memory(pfc_ctx *ctx, const pfc_case *c, pfc_diag *diag);
/* The encoder of a case, which has none: the images are the raw keys (pfc_moco_encoder). */
int pfc_moco_hand_through(void *user, pfc_view params_k, pfc_view images, pfc_view keys);
/* Numbers of one row of an input, and rows of this rank. Local. */
pfc_view pfc_moco_rows_view(const pfc_tensor *t);

#endif
