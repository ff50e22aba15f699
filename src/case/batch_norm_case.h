/* batch_norm_case.h: what the parts of the batch_norm family share: table, check and run, dense equations, bounds, fill. */
#ifndef PFC_BATCH_NORM_CASE_H
#define PFC_BATCH_NORM_CASE_H

#include "case/case.h"
#include "dense/batch_norm_dense.h"

/* The library's configuration of a checked case. Local. */
pfc_batch_norm_config pfc_batch_norm_case_config(const pfc_case *c);
/* Elements of a channel in one sample, L. Local. */
int64_t pfc_batch_norm_case_inner(const pfc_case *c);
/* Samples of rank r: `rows`, or an equal share. Local. */
int64_t pfc_batch_norm_case_rows(const pfc_case *c, int ranks, int r);

/* A batch cut as files are cut (pfc_shard_of) <-> cut as `rows` says. `from` and `to` are this rank's blocks, `row` bytes per sample. Collective.
 * (batch_norm_rows.c) */
int pfc_batch_norm_case_move(MPI_Comm comm, const pfc_case *c, const void *from, void *to, size_t row, bool back, pfc_diag *diag);

/* The dense problem of a case on rank 0 with all its memory; on other ranks an empty one. Collective. (batch_norm_inputs.c) */
int pfc_batch_norm_case_problem(MPI_Comm comm, const pfc_case *c, pfc_dense_batch_norm *p, pfc_diag *diag);
void pfc_batch_norm_case_problem_free(pfc_dense_batch_norm *p);

/* The hooks of the table. */
int pfc_batch_norm_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag);
int pfc_batch_norm_run(pfc_ctx *ctx, pfc_case *c, bool want_steps, pfc_diag *diag);
int pfc_batch_norm_dense_case(MPI_Comm comm, const pfc_case *c, pfc_tensor_list *out, pfc_diag *diag);
int pfc_batch_norm_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag);
int pfc_batch_norm_fill(MPI_Comm comm, pfc_case *c, const char *fill, int64_t seed, pfc_diag *diag);
void *pfc_batch_norm_bench_open(pfc_ctx *ctx, pfc_case *c, pfc_diag *diag);
int pfc_batch_norm_bench_step(void *bench, pfc_diag *diag);
void pfc_batch_norm_bench_close(void *bench);

#endif
