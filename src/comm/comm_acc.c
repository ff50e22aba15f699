/* comm_acc.c: adding accumulators over ranks. */
#include "backend/backend.h"
#include "comm/comm_mpi.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* If any rank has marks, all get the marks of all (bitwise or). */
static pfc_status join_marks(pfc_comm *comm, pfc_acc *acc)
{
    int64_t n = acc->rows * acc->cols;
    int any = acc->special != NULL;
    if (comm->ranks == 1) return PFC_OK;
    PFC_TRY(pfc_comm_check(comm, MPI_Allreduce(MPI_IN_PLACE, &any, 1, MPI_INT, MPI_MAX, comm->mpi), "MPI_Allreduce"));
    if (!any) return PFC_OK;
    if (!acc->special) acc->special = calloc((size_t)n, 1);
    PFC_TRY(pfc_comm_agree_on_memory(comm, acc->special));
    return pfc_comm_allreduce(comm, acc->special, n, PFC_U8, MPI_BOR);
}

/* ---- words on a device: MPI moves them, the backend adds them, in rank order as comm.c does ---- */

/* A device fails on one rank; all have to stop. */
static pfc_status agree(pfc_comm *comm, pfc_backend *be, pfc_status mine)
{
    int status = mine;
    if (mine != PFC_OK && be->error[0]) snprintf(comm->error, sizeof comm->error, "%s", be->error);
    pfc_status st = pfc_comm_first_failure(comm, &status, comm->error, sizeof comm->error);
    return st != PFC_OK ? st : (pfc_status)status;
}

/* acc->data <- sum over ranks of n words each; or, scattered, its first n words <- sum of this rank's chunk. */
static pfc_status add_on_device(pfc_comm *comm, pfc_backend *be, pfc_acc *acc, int64_t n, bool scattered)
{
    const pfc_ops *ops = be->ops;
    void *all = NULL;
    if (comm->ranks == 1 || n == 0) return PFC_OK;
    pfc_status st = ops->alloc(be, (size_t)n * (size_t)comm->ranks * 8, &all);
    if (st == PFC_OK) st = ops->sync(be); /* what MPI will read is there */
    st = agree(comm, be, st);
    if (st == PFC_OK && scattered) st = pfc_comm_alltoall(comm, acc->data, n, acc->wire, all);
    if (st == PFC_OK && !scattered) st = pfc_comm_allgather(comm, acc->data, n, acc->wire, all);
    if (st == PFC_OK) st = agree(comm, be, ops->add_pieces(be, acc->wire, all, comm->ranks, n, acc->data));
    if (all) ops->free(be, all);
    return st;
}

/* ---- accumulators ---- */

static pfc_status sum(pfc_comm *comm, pfc_backend *be, pfc_acc *acc)
{
    int64_t n = acc->rows * acc->cols * acc->words;
    PFC_TRY(join_marks(comm, acc));
    return acc->place == PFC_DEVICE ? add_on_device(comm, be, acc, n, false) : pfc_comm_sum(comm, acc->data, n, acc->wire);
}

static pfc_status reduce_scatter(pfc_comm *comm, pfc_backend *be, pfc_acc *acc)
{
    int64_t rows = acc->rows / comm->ranks, first = rows * comm->rank, n = rows * acc->cols * acc->words;
    PFC_TRY(join_marks(comm, acc));
    PFC_TRY(acc->place == PFC_DEVICE ? add_on_device(comm, be, acc, n, true) : pfc_comm_reduce_scatter(comm, acc->data, n, acc->wire));
    if (acc->special) memmove(acc->special, acc->special + first * acc->cols, (size_t)(rows * acc->cols));
    if (acc->expo) memmove(acc->expo, acc->expo + first, (size_t)rows * sizeof *acc->expo);
    return PFC_OK;
}

/* For an observer. */
static pfc_comm_call call_of(pfc_comm_op op, pfc_backend *be, const pfc_acc *acc, int64_t parts)
{
    int64_t n = acc->rows * acc->cols * acc->words;
    return (pfc_comm_call){ .op = op, .dtype = acc->wire, .send = n, .recv = n / parts, .in = acc->data, .out = acc->data, .acc = acc, .be = be };
}

pfc_status pfc_comm_sum_acc(pfc_comm *comm, pfc_backend *be, pfc_acc *acc)
{
    pfc_comm_call call = call_of(PFC_COMM_SUM, be, acc, 1);
    pfc_comm_before(comm, &call);
    pfc_status st = sum(comm, be, acc);
    pfc_comm_after(comm, &call);
    return st;
}

pfc_status pfc_comm_reduce_scatter_acc(pfc_comm *comm, pfc_backend *be, pfc_acc *acc)
{
    pfc_comm_call call = call_of(PFC_COMM_REDUCE_SCATTER, be, acc, comm->ranks);
    pfc_comm_before(comm, &call);
    pfc_status st = reduce_scatter(comm, be, acc);
    pfc_comm_after(comm, &call);
    return st;
}
