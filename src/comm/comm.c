/* comm.c: collectives over MPI. */
#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include "comm/comm_mpi.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#if defined HAVE_MPI_EXT_H && defined HAVE_MPIX_QUERY_CUDA_SUPPORT
#include <mpi-ext.h>
#endif

pfc_status pfc_comm_check(pfc_comm *comm, int rc, const char *what)
{
    if (rc == MPI_SUCCESS) return PFC_OK;
    char text[MPI_MAX_ERROR_STRING];
    int length = 0;
    MPI_Error_string(rc, text, &length);
    snprintf(comm->error, sizeof comm->error, "%s: %.200s", what, text);
    return PFC_ERR_RUNTIME;
}

static MPI_Datatype mpi_type(pfc_dtype dtype)
{
    switch (dtype) {
    case PFC_F32: return MPI_FLOAT;
    case PFC_F64: return MPI_DOUBLE;
    case PFC_I64: return MPI_INT64_T;
    case PFC_I32: return MPI_INT32_T;
    case PFC_U8: return MPI_UINT8_T;
    }
    return MPI_DATATYPE_NULL;
}

/* a if it is greater or NaN; a tie of zeros gives +0. */
#define DEFINE_MAX(name, type)                                                   \
    static void name(void *in, void *inout, int *length, MPI_Datatype *datatype) \
    {                                                                            \
        const type *a = in;                                                      \
        type *b = inout;                                                         \
        (void)datatype;                                                          \
        for (int i = 0; i < *length; i++)                                        \
            if (a[i] != a[i] || a[i] > b[i])                                     \
                b[i] = a[i];                                                     \
            else                                                                 \
                b[i] += (type)0;                                                 \
    }
DEFINE_MAX(max_f64, double)
DEFINE_MAX(max_f32, float)

pfc_status pfc_comm_open(pfc_comm *comm, MPI_Comm parent)
{
    memset(comm, 0, sizeof *comm);
    comm->mpi = MPI_COMM_NULL;
    PFC_TRY(pfc_comm_check(comm, MPI_Comm_dup(parent, &comm->mpi), "MPI_Comm_dup"));
    PFC_TRY(pfc_comm_check(comm, MPI_Comm_set_errhandler(comm->mpi, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler"));
    PFC_TRY(pfc_comm_check(comm, MPI_Comm_rank(comm->mpi, &comm->rank), "MPI_Comm_rank"));
    PFC_TRY(pfc_comm_check(comm, MPI_Comm_size(comm->mpi, &comm->ranks), "MPI_Comm_size"));
    PFC_TRY(pfc_comm_check(comm, MPI_Op_create(max_f64, 1, &comm->max_f64), "MPI_Op_create"));
    return pfc_comm_check(comm, MPI_Op_create(max_f32, 1, &comm->max_f32), "MPI_Op_create");
}

bool pfc_comm_takes_device(void)
{
#if defined HAVE_MPI_EXT_H && defined HAVE_MPIX_QUERY_CUDA_SUPPORT
    return MPIX_Query_cuda_support() == 1;
#else
    return false;
#endif
}

pfc_status pfc_comm_split(pfc_comm *comm, int colour, pfc_comm *out)
{
    MPI_Comm part;
    memset(out, 0, sizeof *out);
    out->mpi = MPI_COMM_NULL;
    PFC_TRY(pfc_comm_check(comm, MPI_Comm_split(comm->mpi, colour, comm->rank, &part), "MPI_Comm_split"));
    pfc_status st = pfc_comm_open(out, part);
    out->observer = comm->observer;
    MPI_Comm_free(&part);
    if (st != PFC_OK) snprintf(comm->error, sizeof comm->error, "%s", out->error);
    return st;
}

pfc_status pfc_comm_machine(pfc_comm *comm, int *rank, int *ranks)
{
    MPI_Comm machine;
    *rank = 0;
    *ranks = 1;
    PFC_TRY(pfc_comm_check(comm, MPI_Comm_split_type(comm->mpi, MPI_COMM_TYPE_SHARED, comm->rank, MPI_INFO_NULL, &machine), "MPI_Comm_split_type"));
    pfc_status st = pfc_comm_check(comm, MPI_Comm_rank(machine, rank), "MPI_Comm_rank");
    if (st == PFC_OK) st = pfc_comm_check(comm, MPI_Comm_size(machine, ranks), "MPI_Comm_size");
    MPI_Comm_free(&machine);
    return st;
}

void pfc_comm_close(pfc_comm *comm)
{
    if (comm->mpi == MPI_COMM_NULL) return;
    if (comm->max_f64 != MPI_OP_NULL) MPI_Op_free(&comm->max_f64);
    if (comm->max_f32 != MPI_OP_NULL) MPI_Op_free(&comm->max_f32);
    MPI_Comm_free(&comm->mpi);
}

/* MPI counts are int: `count` elements as one item of a contiguous type. */
static pfc_status make_chunk(pfc_comm *comm, int64_t count, pfc_dtype dtype, MPI_Datatype *type)
{
    if (count < 0 || count > INT_MAX) {
        snprintf(comm->error, sizeof comm->error, "message of %lld elements is too long for MPI", (long long)count);
        return PFC_ERR_RUNTIME;
    }
    PFC_TRY(pfc_comm_check(comm, MPI_Type_contiguous((int)count, mpi_type(dtype), type), "MPI_Type_contiguous"));
    return pfc_comm_check(comm, MPI_Type_commit(type), "MPI_Type_commit");
}

pfc_status pfc_comm_allgather_start(pfc_comm *comm, const void *send, int64_t count, pfc_dtype dtype, void *recv, pfc_comm_request *request)
{
    MPI_Datatype chunk;
    request->call = (pfc_comm_call){ .op = PFC_COMM_GATHER, .dtype = dtype, .send = count, .recv = count * comm->ranks, .in = send, .out = recv };
    pfc_comm_before(comm, &request->call);
    if (comm->observer) comm->observer->depth--; /* what comes until the wait is not inside this call */
    PFC_TRY(make_chunk(comm, count, dtype, &chunk));
    pfc_status st = pfc_comm_check(comm, MPI_Iallgather(send, 1, chunk, recv, 1, chunk, comm->mpi, &request->mpi), "MPI_Iallgather");
    request->open = st == PFC_OK;
    MPI_Type_free(&chunk);
    return st;
}

pfc_status pfc_comm_wait(pfc_comm *comm, pfc_comm_request *request)
{
    if (!request->open) return PFC_OK;
    request->open = false;
    pfc_status st = pfc_comm_check(comm, MPI_Wait(&request->mpi, MPI_STATUS_IGNORE), "MPI_Wait");
    if (comm->observer) comm->observer->depth++;
    pfc_comm_after(comm, &request->call);
    return st;
}

pfc_status pfc_comm_allgather(pfc_comm *comm, const void *send, int64_t count, pfc_dtype dtype, void *recv)
{
    pfc_comm_call call = { .op = PFC_COMM_GATHER, .dtype = dtype, .send = count, .recv = count * comm->ranks, .in = send, .out = recv };
    MPI_Datatype chunk;
    PFC_TRY(make_chunk(comm, count, dtype, &chunk));
    pfc_comm_before(comm, &call);
    pfc_status st = pfc_comm_check(comm, MPI_Allgather(send, 1, chunk, recv, 1, chunk, comm->mpi), "MPI_Allgather");
    pfc_comm_after(comm, &call);
    MPI_Type_free(&chunk);
    return st;
}

enum { PIECE = 1 << 24 }; /* elements of one reduction message */

pfc_status pfc_comm_allreduce(pfc_comm *comm, void *x, int64_t count, pfc_dtype dtype, MPI_Op op)
{
    if (comm->ranks == 1) return PFC_OK;
    for (int64_t done = 0; done < count; done += PIECE) {
        int n = (int)(count - done < PIECE ? count - done : PIECE);
        void *at = (char *)x + (size_t)done * pfc_dtype_size(dtype);
        PFC_TRY(pfc_comm_check(comm, MPI_Allreduce(MPI_IN_PLACE, at, n, mpi_type(dtype), op, comm->mpi), "MPI_Allreduce"));
    }
    return PFC_OK;
}

static pfc_comm_call in_place(pfc_comm_op op, void *x, int64_t send, int64_t recv, pfc_dtype dtype)
{
    return (pfc_comm_call){ .op = op, .dtype = dtype, .send = send, .recv = recv, .in = x, .out = x };
}

pfc_status pfc_comm_max(pfc_comm *comm, void *x, int64_t count, pfc_dtype dtype)
{
    MPI_Op op = dtype == PFC_F64 ? comm->max_f64 : dtype == PFC_F32 ? comm->max_f32 : MPI_MAX;
    pfc_comm_call call = in_place(PFC_COMM_MAX, x, count, count, dtype);
    pfc_comm_before(comm, &call);
    pfc_status st = pfc_comm_allreduce(comm, x, count, dtype, op);
    pfc_comm_after(comm, &call);
    return st;
}

pfc_status pfc_comm_agree_on_memory(pfc_comm *comm, const void *memory)
{
    int missing = memory == NULL;
    PFC_TRY(pfc_comm_check(comm, MPI_Allreduce(MPI_IN_PLACE, &missing, 1, MPI_INT, MPI_MAX, comm->mpi), "MPI_Allreduce"));
    if (!missing) return PFC_OK;
    snprintf(comm->error, sizeof comm->error, "out of memory");
    return PFC_ERR_NOMEM;
}

/* Sum in rank order of `ranks` pieces of n doubles. */
static void add_in_order(double *out, const double *pieces, int ranks, int64_t n)
{
    memcpy(out, pieces, (size_t)n * sizeof *out);
    for (int r = 1; r < ranks; r++)
        for (int64_t i = 0; i < n; i++) out[i] += pieces[r * n + i];
}

enum { SHORT_SUM = 1 << 16 }; /* doubles of all ranks that every rank may gather */

/* Every rank adds its part of the elements and the parts are gathered: 2 n elements travel to a rank and not n for each rank. The same order, so the same
 * bits. */
static pfc_status sum_by_parts(pfc_comm *comm, double *x, int64_t n)
{
    int64_t part = (n + comm->ranks - 1) / comm->ranks, all = part * comm->ranks;
    double *padded = malloc((size_t)(2 * all) * sizeof *padded);
    PFC_TRY(pfc_comm_agree_on_memory(comm, padded));
    double *pieces = padded + all;
    memcpy(padded, x, (size_t)n * sizeof *x);
    memset(padded + n, 0, (size_t)(all - n) * sizeof *x);
    pfc_status st = pfc_comm_alltoall(comm, padded, part, PFC_F64, pieces);
    if (st == PFC_OK) {
        add_in_order(padded, pieces, comm->ranks, part);
        st = pfc_comm_allgather(comm, padded, part, PFC_F64, pieces);
    }
    if (st == PFC_OK) memcpy(x, pieces, (size_t)n * sizeof *x);
    free(padded);
    return st;
}

static pfc_status sum(pfc_comm *comm, void *x, int64_t count, pfc_dtype dtype)
{
    if (comm->ranks == 1) return PFC_OK;
    if (dtype != PFC_F64) return pfc_comm_allreduce(comm, x, count, dtype, MPI_SUM);
    if (count > SHORT_SUM / comm->ranks) return sum_by_parts(comm, x, count);
    double *all = malloc((size_t)count * (size_t)comm->ranks * sizeof *all + 1);
    pfc_status st = pfc_comm_agree_on_memory(comm, all);
    if (st == PFC_OK) st = pfc_comm_allgather(comm, x, count, dtype, all);
    if (st == PFC_OK) add_in_order(x, all, comm->ranks, count);
    free(all);
    return st;
}

pfc_status pfc_comm_sum(pfc_comm *comm, void *x, int64_t count, pfc_dtype dtype)
{
    pfc_comm_call call = in_place(PFC_COMM_SUM, x, count, count, dtype);
    pfc_comm_before(comm, &call);
    pfc_status st = sum(comm, x, count, dtype);
    pfc_comm_after(comm, &call);
    return st;
}

pfc_status pfc_comm_alltoall(pfc_comm *comm, const void *send, int64_t count, pfc_dtype dtype, void *recv)
{
    int64_t all = count * comm->ranks;
    pfc_comm_call call = { .op = PFC_COMM_ALLTOALL, .dtype = dtype, .send = all, .recv = all, .in = send, .out = recv };
    MPI_Datatype chunk;
    PFC_TRY(make_chunk(comm, count, dtype, &chunk));
    pfc_comm_before(comm, &call);
    pfc_status st = pfc_comm_check(comm, MPI_Alltoall(send, 1, chunk, recv, 1, chunk, comm->mpi), "MPI_Alltoall");
    pfc_comm_after(comm, &call);
    MPI_Type_free(&chunk);
    return st;
}

/* All-to-all and a local sum in rank order. MPI_Reduce_scatter_block is slower from 4 ranks up (doc/performance.md), and its order of summation
 * belongs to the library. */
static pfc_status reduce_scatter(pfc_comm *comm, void *x, int64_t count, pfc_dtype dtype)
{
    if (comm->ranks == 1 || count == 0) return PFC_OK;
    void *all = malloc((size_t)count * (size_t)comm->ranks * 8);
    pfc_status st = pfc_comm_agree_on_memory(comm, all);
    if (st == PFC_OK) st = pfc_comm_alltoall(comm, x, count, dtype, all);
    if (st == PFC_OK && dtype == PFC_F64) add_in_order(x, all, comm->ranks, count);
    if (st == PFC_OK && dtype == PFC_I64) {
        int64_t *out = x, *in = all;
        memcpy(out, in, (size_t)count * sizeof *out);
        for (int r = 1; r < comm->ranks; r++)
            for (int64_t i = 0; i < count; i++) out[i] += in[r * count + i];
    }
    free(all);
    return st;
}

pfc_status pfc_comm_reduce_scatter(pfc_comm *comm, void *x, int64_t count, pfc_dtype dtype)
{
    pfc_comm_call call = in_place(PFC_COMM_REDUCE_SCATTER, x, count * comm->ranks, count, dtype);
    pfc_comm_before(comm, &call);
    pfc_status st = reduce_scatter(comm, x, count, dtype);
    pfc_comm_after(comm, &call);
    return st;
}

pfc_status pfc_comm_broadcast(pfc_comm *comm, void *x, int64_t count, pfc_dtype dtype, int root)
{
    pfc_comm_call call = in_place(PFC_COMM_BROADCAST, x, comm->rank == root ? count : 0, count, dtype);
    MPI_Datatype chunk;
    PFC_TRY(make_chunk(comm, count, dtype, &chunk));
    pfc_comm_before(comm, &call);
    pfc_status st = pfc_comm_check(comm, MPI_Bcast(x, 1, chunk, root, comm->mpi), "MPI_Bcast");
    pfc_comm_after(comm, &call);
    MPI_Type_free(&chunk);
    return st;
}

pfc_status pfc_comm_first_failure(pfc_comm *comm, int *status, char *text, size_t size)
{
    int first = *status != 0 ? comm->rank : INT_MAX;
    PFC_TRY(pfc_comm_check(comm, MPI_Allreduce(MPI_IN_PLACE, &first, 1, MPI_INT, MPI_MIN, comm->mpi), "MPI_Allreduce"));
    if (first == INT_MAX) return PFC_OK;
    PFC_TRY(pfc_comm_check(comm, MPI_Bcast(status, 1, MPI_INT, first, comm->mpi), "MPI_Bcast"));
    return pfc_comm_check(comm, MPI_Bcast(text, (int)size, MPI_CHAR, first, comm->mpi), "MPI_Bcast");
}
