/* comm_rows.c: rows of any size between ranks: from each rank to the one that wants it, or to all. Bytes are moved as they are. */
#include "comm/comm_mpi.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* From this size on a row travels as a message of its own, straight from its place to its place; smaller ones travel together, one message for each
 * pair of ranks, gathered and scattered by the MPI library. */
enum { LONG_ROW = 1 << 16, TAG = 1 };

/* A row as one item, since counts are int: whole GiB and the rest. */
static pfc_status row_type(pfc_comm *comm, size_t bytes, MPI_Datatype *type)
{
    const size_t unit = (size_t)1 << 30;
    int length[2] = { (int)(bytes / unit), (int)(bytes % unit) }, rc;
    MPI_Aint at[2] = { 0, (MPI_Aint)(bytes - bytes % unit) };
    MPI_Datatype part[2] = { MPI_DATATYPE_NULL, MPI_BYTE };
    PFC_TRY(pfc_comm_check(comm, MPI_Type_contiguous((int)unit, MPI_BYTE, &part[0]), "MPI_Type_contiguous"));
    rc = bytes < unit ? MPI_Type_contiguous((int)bytes, MPI_BYTE, type) : MPI_Type_create_struct(2, length, at, part, type);
    MPI_Type_free(&part[0]);
    PFC_TRY(pfc_comm_check(comm, rc, "MPI_Type_create_struct"));
    return pfc_comm_check(comm, MPI_Type_commit(type), "MPI_Type_commit");
}

/* ---- each row to the rank that wants it ---- */

typedef struct exchange {
    pfc_comm *comm;
    const pfc_row_plan *plan;
    const char *from;
    char *to;
    size_t from_stride, to_stride, bytes;
    MPI_Datatype row;
    MPI_Request *request;
    MPI_Aint *place; /* of the rows of one message */
    int pending;
} exchange;

/* The `count` rows listed in `rows`, `stride` apart, as one type. */
static pfc_status rows_type(const exchange *e, const int64_t *rows, int64_t count, size_t stride, MPI_Datatype *type)
{
    pfc_comm *comm = e->comm;
    for (int64_t i = 0; i < count; i++) e->place[i] = (MPI_Aint)((size_t)rows[i] * stride);
    PFC_TRY(pfc_comm_check(comm, MPI_Type_create_hindexed_block((int)count, 1, e->place, e->row, type), "MPI_Type_create_hindexed_block"));
    return pfc_comm_check(comm, MPI_Type_commit(type), "MPI_Type_commit");
}

/* Posts what this rank receives from `peer` (sending false) or sends there. */
static pfc_status post(exchange *e, int peer, const int64_t *rows, int64_t count, bool sending)
{
    pfc_comm *comm = e->comm;
    MPI_Datatype type;
    if (count == 0) return PFC_OK;
    for (int64_t i = 0; e->bytes >= LONG_ROW && i < count; i++) {
        MPI_Request *request = &e->request[e->pending];
        if (sending)
            PFC_TRY(pfc_comm_check(comm, MPI_Isend(e->from + (size_t)rows[i] * e->from_stride, 1, e->row, peer, TAG, comm->mpi, request), "MPI_Isend"));
        else
            PFC_TRY(pfc_comm_check(comm, MPI_Irecv(e->to + (size_t)rows[i] * e->to_stride, 1, e->row, peer, TAG, comm->mpi, request), "MPI_Irecv"));
        e->pending++;
    }
    if (e->bytes >= LONG_ROW) return PFC_OK;
    PFC_TRY(rows_type(e, rows, count, sending ? e->from_stride : e->to_stride, &type));
    int rc = sending ? MPI_Isend(e->from, 1, type, peer, TAG, comm->mpi, &e->request[e->pending])
                     : MPI_Irecv(e->to, 1, type, peer, TAG, comm->mpi, &e->request[e->pending]);
    MPI_Type_free(&type); /* when the message is done */
    PFC_TRY(pfc_comm_check(comm, rc, sending ? "MPI_Isend" : "MPI_Irecv"));
    e->pending++;
    return PFC_OK;
}

/* All receives, then all sends, each rank beginning with its right neighbour; own rows are copied meanwhile. */
static pfc_status exchange_rows(exchange *e)
{
    pfc_comm *comm = e->comm;
    const pfc_row_plan *p = e->plan;
    for (int k = 1; k < comm->ranks; k++) {
        int peer = (comm->rank + comm->ranks - k) % comm->ranks;
        PFC_TRY(post(e, peer, p->recv_row + p->recv_start[peer], p->recv_start[peer + 1] - p->recv_start[peer], false));
    }
    for (int k = 1; k < comm->ranks; k++) {
        int peer = (comm->rank + k) % comm->ranks;
        PFC_TRY(post(e, peer, p->send_row + p->send_start[peer], p->send_start[peer + 1] - p->send_start[peer], true));
    }
    const int64_t *out = p->send_row + p->send_start[comm->rank], *in = p->recv_row + p->recv_start[comm->rank];
    for (int64_t i = 0; i < p->send_start[comm->rank + 1] - p->send_start[comm->rank]; i++)
        memcpy(e->to + (size_t)in[i] * e->to_stride, e->from + (size_t)out[i] * e->from_stride, e->bytes);
    return pfc_comm_check(comm, MPI_Waitall(e->pending, e->request, MPI_STATUSES_IGNORE), "MPI_Waitall");
}

static pfc_status exchange_planned(pfc_comm *comm, const pfc_row_plan *plan, const void *from, size_t from_stride, void *to, size_t to_stride, size_t bytes)
{
    int64_t rows = plan->send_start[comm->ranks] + plan->recv_start[comm->ranks];
    if (rows > INT_MAX) {
        snprintf(comm->error, sizeof comm->error, "%lld rows are too many for one exchange", (long long)rows);
        return PFC_ERR_RUNTIME;
    }
    exchange e = { .comm = comm, .plan = plan, .from = from, .to = to, .from_stride = from_stride, .to_stride = to_stride, .bytes = bytes };
    size_t requests = (size_t)rows + 2 * (size_t)comm->ranks;
    e.request = malloc(requests * sizeof *e.request);
    e.place = malloc(((size_t)rows + 1) * sizeof *e.place);
    pfc_status st = pfc_comm_agree_on_memory(comm, e.request && e.place ? e.request : NULL);
    if (st == PFC_OK) st = row_type(comm, bytes, &e.row);
    if (st == PFC_OK) {
        st = exchange_rows(&e);
        MPI_Type_free(&e.row);
    }
    free(e.request);
    free(e.place);
    return st;
}

/* Elements of an observer's call: bytes of all rows but this rank's own. */
static int64_t foreign_bytes(const pfc_comm *comm, const int64_t *start, size_t bytes)
{
    return (start[comm->ranks] - (start[comm->rank + 1] - start[comm->rank])) * (int64_t)bytes;
}

pfc_status pfc_comm_exchange_rows(pfc_comm *comm, const pfc_row_plan *plan, const void *from, size_t from_stride, void *to, size_t to_stride, size_t bytes)
{
    pfc_comm_call call = { .op = PFC_COMM_EXCHANGE_ROWS, .dtype = PFC_U8, .in = from, .out = to, .plan = plan, .row_bytes = bytes };
    call.send = foreign_bytes(comm, plan->send_start, bytes);
    call.recv = foreign_bytes(comm, plan->recv_start, bytes);
    pfc_comm_before(comm, &call);
    pfc_status st = exchange_planned(comm, plan, from, from_stride, to, to_stride, bytes);
    pfc_comm_after(comm, &call);
    return st;
}

/* ---- every row to all ---- */

static pfc_status gather_rows(pfc_comm *comm, const void *from, const int64_t *start, size_t bytes, void *to)
{
    MPI_Datatype row;
    int *count = calloc(2 * (size_t)comm->ranks, sizeof *count);
    PFC_TRY(pfc_comm_agree_on_memory(comm, count));
    int *at = count + comm->ranks;
    pfc_status st = start[comm->ranks] > INT_MAX ? PFC_ERR_RUNTIME : PFC_OK;
    if (st != PFC_OK) snprintf(comm->error, sizeof comm->error, "%lld rows are too many for one gather", (long long)start[comm->ranks]);
    for (int r = 0; r < comm->ranks; r++) {
        count[r] = (int)(start[r + 1] - start[r]);
        at[r] = (int)start[r];
    }
    if (st == PFC_OK) st = row_type(comm, bytes, &row);
    if (st == PFC_OK) {
        int rc = MPI_Allgatherv(from, count[comm->rank], row, to, count, at, row, comm->mpi);
        MPI_Type_free(&row);
        st = pfc_comm_check(comm, rc, "MPI_Allgatherv");
    }
    free(count);
    return st;
}

pfc_status pfc_comm_allgather_rows(pfc_comm *comm, const void *from, const int64_t *start, size_t bytes, void *to)
{
    pfc_comm_call call = { .op = PFC_COMM_GATHER_ROWS, .dtype = PFC_U8, .in = from, .out = to, .row_bytes = bytes };
    call.send = (start[comm->rank + 1] - start[comm->rank]) * (int64_t)bytes;
    call.recv = start[comm->ranks] * (int64_t)bytes;
    pfc_comm_before(comm, &call);
    pfc_status st = gather_rows(comm, from, start, bytes, to);
    pfc_comm_after(comm, &call);
    return st;
}
