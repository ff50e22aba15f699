/* batch_norm_rows.c: a batch between the even blocks of a file and the blocks that `rows` gives the ranks. */
#include "case/batch_norm_case.h"

#include <limits.h>
#include <stdlib.h>

/* [first, end) of rank r under both cuts. */
typedef struct block {
    int64_t first, end;
} block;

static block file_block(const pfc_case *c, int ranks, int r)
{
    pfc_shard s = pfc_shard_of(c->size['N' - 'A'], ranks, r);
    return (block){ s.start, s.start + s.count };
}

static block rank_block(const pfc_case *c, int ranks, int r)
{
    block b = { 0, 0 };
    for (int q = 0; q <= r; q++) {
        b.first = b.end;
        b.end += pfc_batch_norm_case_rows(c, ranks, q);
    }
    return b;
}

/* What of `mine` goes to or comes from `other`: count and offset in `mine`. */
static void overlap(block mine, block other, int *count, int *offset)
{
    int64_t first = mine.first > other.first ? mine.first : other.first, end = mine.end < other.end ? mine.end : other.end;
    *count = end > first ? (int)(end - first) : 0;
    *offset = *count ? (int)(first - mine.first) : 0;
}

int pfc_batch_norm_case_move(MPI_Comm comm, const pfc_case *c, const void *from, void *to, size_t row, bool back, pfc_diag *diag)
{
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    int *n = malloc((size_t)(4 * ranks) * sizeof *n);
    if (!n) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", c->name);
    if (row > INT_MAX || c->size['N' - 'A'] > INT_MAX) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: a batch with unequal rows is too large to move", c->name);
    if (pfc_diag_agree(comm, diag)) {
        free(n);
        return diag->exit_status;
    }
    block file = file_block(c, ranks, rank), own = rank_block(c, ranks, rank);
    for (int r = 0; r < ranks; r++) {
        block there = back ? file_block(c, ranks, r) : rank_block(c, ranks, r), origin = back ? rank_block(c, ranks, r) : file_block(c, ranks, r);
        overlap(back ? own : file, there, &n[r], &n[ranks + r]);
        overlap(back ? file : own, origin, &n[2 * ranks + r], &n[3 * ranks + r]);
    }
    MPI_Datatype type;
    MPI_Type_contiguous((int)row, MPI_BYTE, &type);
    MPI_Type_commit(&type);
    if (MPI_Alltoallv(from, n, n + ranks, type, to, n + 2 * ranks, n + 3 * ranks, type, comm) != MPI_SUCCESS)
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: MPI_Alltoallv failed", c->name);
    MPI_Type_free(&type);
    free(n);
    return pfc_diag_agree(comm, diag);
}
