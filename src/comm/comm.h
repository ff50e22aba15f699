/* comm.h (internal): the collectives of the algorithms (semantics.md 1.9), over any communicator, on host memory; sums of
 * accumulators also on a device's, where MPI takes it.
 *
 * Sums of doubles are taken in rank order, so a result depends on the number of ranks and never on the MPI library; sums of int64 are exact in
 * any order. Maxima let NaN win and give +0 for a tie of zeros. Every call is collective and returns PFC_ERR_RUNTIME with a text in
 * comm->error when MPI fails. */
#ifndef PFC_COMM_H
#define PFC_COMM_H

#include <mpi.h>
#include <pfc/status.h>
#include <pfc/view.h>
#include <stdbool.h>

struct pfc_acc;
struct pfc_backend;
struct pfc_row_plan;
struct pfc_comm_observer;

typedef struct pfc_comm {
    MPI_Comm mpi;
    int rank, ranks;
    MPI_Op max_f64, max_f32;            /* NaN wins */
    struct pfc_comm_observer *observer; /* NULL: nobody looks. Communicators made by pfc_comm_split have it, too */
    char error[256];
} pfc_comm;

/* ---- looking on: for programs that tell what the ranks exchange ---- */

typedef enum pfc_comm_op {
    PFC_COMM_GATHER,
    PFC_COMM_MAX,
    PFC_COMM_SUM,
    PFC_COMM_REDUCE_SCATTER,
    PFC_COMM_ALLTOALL,
    PFC_COMM_BROADCAST,
    PFC_COMM_EXCHANGE_ROWS,
    PFC_COMM_GATHER_ROWS
} pfc_comm_op;

/* One call on this rank. in is what it hands in, good before the call; out what it has got, good after it; both in host memory, and the same where the
 * call works in place. */
typedef struct pfc_comm_call {
    pfc_comm_op op;
    pfc_dtype dtype;    /* U8: bytes of rows */
    int64_t send, recv; /* elements; of exchange_rows those of other ranks only */
    const void *in, *out;
    const struct pfc_acc *acc;       /* sums of an accumulator: its words are the elements; else NULL */
    struct pfc_backend *be;          /* whose it is */
    const struct pfc_row_plan *plan; /* exchange_rows */
    size_t row_bytes;                /* exchange_rows, allgather_rows */
    int64_t number;                  /* of the call: before and after belong together */
} pfc_comm_call;

typedef struct pfc_comm_observer {
    /* Called before and after every collective of the algorithms, but not for those inside another one, nor for agreeing. */
    void (*look)(void *user, const pfc_comm *comm, const pfc_comm_call *call, bool after);
    void *user;
    int64_t calls;
    int depth; /* inside how many calls we are */
} pfc_comm_observer;

/* Around the work of a collective. */
static inline void pfc_comm_before(const pfc_comm *comm, pfc_comm_call *call)
{
    pfc_comm_observer *o = comm->observer;
    if (!o) return;
    call->number = o->calls++;
    if (o->depth++ == 0) o->look(o->user, comm, call, false);
}
static inline void pfc_comm_after(const pfc_comm *comm, const pfc_comm_call *call)
{
    pfc_comm_observer *o = comm->observer;
    if (o && --o->depth == 0) o->look(o->user, comm, call, true);
}

/* No communicator: pfc_comm_close does nothing with it. */
static inline pfc_comm pfc_comm_none(void)
{
    pfc_comm none = { .mpi = MPI_COMM_NULL };
    return none;
}
/* Duplicates `parent`; errors are returned, not fatal. */
pfc_status pfc_comm_open(pfc_comm *comm, MPI_Comm parent);
/* out: the ranks of `comm` with the same colour, in their order there. Collective over comm; pfc_comm_close frees it. */
pfc_status pfc_comm_split(pfc_comm *comm, int colour, pfc_comm *out);
void pfc_comm_close(pfc_comm *comm);
/* The ranks of this machine, and which of them this one is. Collective. */
pfc_status pfc_comm_machine(pfc_comm *comm, int *rank, int *ranks);

/* Whether MPI takes pointers to memory of a CUDA device: what it says at run time. Local. */
bool pfc_comm_takes_device(void);

/* recv (ranks*count) <- send (count) of every rank, in rank order. */
pfc_status pfc_comm_allgather(pfc_comm *comm, const void *send, int64_t count, pfc_dtype dtype, void *recv);
/* The same in two halves. A request that is all zeros is not open: waiting for it does nothing. */
typedef struct pfc_comm_request {
    MPI_Request mpi;
    bool open;
    pfc_comm_call call; /* for an observer */
} pfc_comm_request;
pfc_status pfc_comm_allgather_start(pfc_comm *comm, const void *send, int64_t count, pfc_dtype dtype, void *recv, pfc_comm_request *request);
pfc_status pfc_comm_wait(pfc_comm *comm, pfc_comm_request *request);

/* x <- maximum over ranks, elementwise; F32, F64 (NaN wins), I32, I64. */
pfc_status pfc_comm_max(pfc_comm *comm, void *x, int64_t count, pfc_dtype dtype);
/* x <- sum over ranks; F64 in rank order, I64. */
pfc_status pfc_comm_sum(pfc_comm *comm, void *x, int64_t count, pfc_dtype dtype);
/* x (ranks*count elements, chunk j for rank j); on return x[0..count) of rank j holds the sum of its chunk; F64 in rank order, I64. The rest is
 * undefined. */
pfc_status pfc_comm_reduce_scatter(pfc_comm *comm, void *x, int64_t count, pfc_dtype dtype);
/* recv (ranks*count): chunk r <- this rank's chunk of send (ranks*count) of rank r. */
pfc_status pfc_comm_alltoall(pfc_comm *comm, const void *send, int64_t count, pfc_dtype dtype, void *recv);
pfc_status pfc_comm_broadcast(pfc_comm *comm, void *x, int64_t count, pfc_dtype dtype, int root);

/* acc <- sum over ranks, everywhere. be: whose acc it is; not looked at where acc->data is host memory. */
pfc_status pfc_comm_sum_acc(pfc_comm *comm, struct pfc_backend *be, struct pfc_acc *acc);
/* Rows [0, rows/ranks) of acc on rank j <- sum over ranks of rows [j*rows/ranks, ...). rows divisible by ranks. expo moves along. */
pfc_status pfc_comm_reduce_scatter_acc(pfc_comm *comm, struct pfc_backend *be, struct pfc_acc *acc);

/* Which rows of this rank go where: rows send_row[send_start[p]..send_start[p+1]) to rank p, in this order; what comes from rank p goes to the places
 * recv_row[recv_start[p]..recv_start[p+1]). Arrays of ranks + 1. Every row has one place: send and receive counts of each pair of ranks agree. */
typedef struct pfc_row_plan {
    int64_t *send_start, *send_row, *recv_start, *recv_row;
} pfc_row_plan;
/* Rows of `bytes` bytes by the plan, as they are, without a copy in between; rows are `stride` bytes apart. from and to do not overlap. */
pfc_status pfc_comm_exchange_rows(pfc_comm *comm, const pfc_row_plan *plan, const void *from, size_t from_stride, void *to, size_t to_stride, size_t bytes);
/* to (start[ranks] rows) <- the rows of every rank in rank order, rank r's are [start[r], start[r+1]). Contiguous rows of `bytes` bytes. */
pfc_status pfc_comm_allgather_rows(pfc_comm *comm, const void *from, const int64_t *start, size_t bytes, void *to);

/* PFC_ERR_NOMEM on all ranks if memory is NULL on one: a rank without memory must not leave the others waiting in the exchange that needs it. */
pfc_status pfc_comm_agree_on_memory(pfc_comm *comm, const void *memory);

/* status and text of the lowest rank whose *status is not 0, on all ranks. */
pfc_status pfc_comm_first_failure(pfc_comm *comm, int *status, char *text, size_t size);

#endif
