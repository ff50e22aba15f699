/* examples.c: the rows of a batch from the ranks that keep them. */
#include "train/examples.h"

#include <stdlib.h>

/* all (P*b): what each rank wants. Rows for a receiver stand in the order of its places, so that the lists of a pair match. */
static void make_plan(const pfc_ctx *ctx, const pfc_examples *e, const int64_t *all, int64_t b, pfc_row_plan *p)
{
    int ranks = ctx->comm.ranks, me = ctx->comm.rank;
    pfc_shard mine = pfc_shard_of(e->count, ranks, me);
    int64_t sent = 0, received = 0;
    for (int peer = 0; peer < ranks; peer++) {
        p->send_start[peer] = sent;
        for (int64_t i = 0; i < b; i++) {
            int64_t at = all[peer * b + i] - mine.start;
            if (at >= 0 && at < mine.count) p->send_row[sent++] = at;
        }
    }
    p->send_start[ranks] = sent;
    for (int peer = 0; peer < ranks; peer++) {
        pfc_shard its = pfc_shard_of(e->count, ranks, peer);
        p->recv_start[peer] = received;
        for (int64_t i = 0; i < b; i++)
            if (all[me * b + i] >= its.start && all[me * b + i] < its.start + its.count) p->recv_row[received++] = i;
    }
    p->recv_start[ranks] = received;
}

pfc_status pfc_examples_fetch(pfc_ctx *ctx, const pfc_examples *e, const int64_t *numbers, int64_t b, void *rows, int64_t *labels)
{
    pfc_comm *comm = &ctx->comm;
    int64_t N = b * comm->ranks, *memory = calloc((size_t)(2 * N + b + 2 * (comm->ranks + 1)), sizeof *memory), *all = memory;
    PFC_TRY(pfc_comm_agree_on_memory(comm, memory));
    pfc_row_plan p = { memory + N, memory + N + comm->ranks + 1, NULL, NULL };
    p.recv_start = p.send_row + N;
    p.recv_row = p.recv_start + comm->ranks + 1;
    pfc_status st = pfc_comm_allgather(comm, numbers, b, PFC_I64, all);
    bool known = true;
    for (int64_t i = 0; i < N && st == PFC_OK; i++) known = known && all[i] >= 0 && all[i] < e->count;
    if (st == PFC_OK && !known) st = pfc_fail(ctx, PFC_ERR_ARG, "a number that no example has");
    if (st == PFC_OK) {
        make_plan(ctx, e, all, b, &p);
        st = pfc_comm_exchange_rows(comm, &p, e->rows, e->row_bytes, rows, e->row_bytes, e->row_bytes);
    }
    if (st == PFC_OK) st = pfc_comm_exchange_rows(comm, &p, e->labels, sizeof *labels, labels, sizeof *labels, sizeof *labels);
    free(memory);
    return pfc_agree(ctx, st);
}
