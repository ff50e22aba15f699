/* explain_watch.c: what the ranks exchange, written down as it happens: amounts, and the numbers where they are few. */
#include "backend/backend.h"
#include "core/ctx.h"
#include "driver/explain.h"

#include <stdlib.h>
#include <string.h>

static double number_at(const void *data, pfc_dtype dtype, int64_t i)
{
    switch (dtype) {
    case PFC_F32: return (double)((const float *)data)[i];
    case PFC_F64: return ((const double *)data)[i];
    case PFC_I64: return (double)((const int64_t *)data)[i];
    case PFC_I32: return (double)((const int32_t *)data)[i];
    case PFC_U8: return (double)((const unsigned char *)data)[i];
    }
    return 0.0;
}

static void take_numbers(pfc_ex_side *side, const void *data, pfc_dtype dtype, int64_t count)
{
    side->count = count;
    for (int64_t i = 0; i < count && i < PFC_EX_VALUES; i++) side->value[i] = number_at(data, dtype, i);
}

/* The sums that an accumulator's words stand for. */
static void take_sums(pfc_ex_watch *w, pfc_ex_side *side, const pfc_comm_call *call, int64_t rows)
{
    const pfc_ops *ops = call->be->ops;
    int64_t count = rows * call->acc->cols;
    size_t bytes = (size_t)count * pfc_dtype_size(ops->real);
    pfc_view v = { 0 };
    side->count = count;
    if (count > PFC_EX_VALUES) return;
    void *host = malloc(bytes + 8);
    pfc_status st = host ? pfc_ws_view(w->ctx, ops->real, rows, call->acc->cols, &v) : PFC_ERR_NOMEM;
    if (st == PFC_OK) st = ops->acc_value(call->be, call->acc, 0, rows, v);
    if (st == PFC_OK) st = ops->download(call->be, host, v.data, bytes);
    if (st == PFC_OK) take_numbers(side, host, ops->real, count);
    w->failed = w->failed || st != PFC_OK;
    pfc_ws_free(w->ctx, &v);
    free(host);
}

static void take_side(pfc_ex_watch *w, pfc_ex_side *side, const pfc_comm *comm, const pfc_comm_call *call, bool after)
{
    int64_t elements = after ? call->recv : call->send;
    side->bytes = elements * (int64_t)pfc_dtype_size(call->dtype);
    if (call->op == PFC_COMM_EXCHANGE_ROWS) return;
    if (call->acc)
        take_sums(w, side, call, after && call->op == PFC_COMM_REDUCE_SCATTER ? call->acc->rows / comm->ranks : call->acc->rows);
    else if (call->op == PFC_COMM_GATHER_ROWS) /* rows of the mode's reals: the only ones that are gathered so */
        take_numbers(side, after ? call->out : call->in, pfc_ctx_real(w->ctx), side->bytes / (int64_t)pfc_dtype_size(pfc_ctx_real(w->ctx)));
    else
        take_numbers(side, after ? call->out : call->in, call->dtype, elements);
}

static char kind_of(const pfc_comm_call *call)
{
    if (call->acc) return 'a';
    return call->dtype == PFC_I64 ? 'i' : call->dtype == PFC_I32 ? 'e' : call->dtype == PFC_U8 ? 'b' : 'r';
}

static int leader_of(const pfc_ex_watch *w, const pfc_comm *comm)
{
    int first = 0, leader = 0;
    MPI_Group group, all;
    MPI_Comm_group(comm->mpi, &group);
    MPI_Comm_group(w->ctx->comm.mpi, &all);
    MPI_Group_translate_ranks(group, 1, &first, all, &leader);
    MPI_Group_free(&group);
    MPI_Group_free(&all);
    return leader;
}

static void take_rows(pfc_ex_event *e, const pfc_comm *comm, const pfc_comm_call *call)
{
    const pfc_row_plan *p = call->plan;
    e->row_bytes = (int64_t)call->row_bytes;
    if (!p) return;
    for (int peer = 0; peer < comm->ranks; peer++)
        for (int64_t i = p->send_start[peer]; i < p->send_start[peer + 1]; i++) {
            if (e->rows < PFC_EX_ROWS) {
                e->peer[e->rows] = peer;
                e->row[e->rows] = p->send_row[i];
            }
            e->rows++;
        }
}

static pfc_ex_event *new_event(pfc_ex_watch *w, const pfc_comm *comm, const pfc_comm_call *call)
{
    pfc_ex_event *events = realloc(w->events, (size_t)(w->count + 1) * sizeof *events);
    if (!events) {
        w->failed = true;
        return NULL;
    }
    w->events = events;
    pfc_ex_event *e = &events[w->count++];
    memset(e, 0, sizeof *e);
    e->number = call->number;
    e->op = call->op;
    e->kind = kind_of(call);
    e->ranks = comm->ranks;
    e->leader = leader_of(w, comm);
    e->taps = w->c->step.count;
    take_rows(e, comm, call);
    return e;
}

static pfc_ex_event *find_event(pfc_ex_watch *w, int64_t number)
{
    for (int i = w->count - 1; i >= 0; i--)
        if (w->events[i].number == number) return &w->events[i];
    return NULL;
}

static void look(void *user, const pfc_comm *comm, const pfc_comm_call *call, bool after)
{
    pfc_ex_watch *w = user;
    pfc_ex_event *e = after ? find_event(w, call->number) : new_event(w, comm, call);
    if (e) take_side(w, &e->side[after], comm, call, after);
}

void pfc_ex_watch_begin(pfc_ex_watch *w, pfc_ctx *ctx, const pfc_case *c)
{
    *w = (pfc_ex_watch){ .observer = { .look = look }, .ctx = ctx, .c = c };
    w->observer.user = w;
    ctx->comm.observer = &w->observer;
}

void pfc_ex_watch_end(pfc_ex_watch *w) { w->ctx->comm.observer = NULL; }

void pfc_ex_watch_free(pfc_ex_watch *w)
{
    free(w->events);
    w->events = NULL;
}
