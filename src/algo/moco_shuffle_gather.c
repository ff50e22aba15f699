/* moco_shuffle_gather.c: the batch shuffle as the sources write it: gather everything, keep the rows that are wanted. For reading, and for the tests to
 * compare with; moco_shuffle.c is the one in use.
 *
 * He et al., CVPR 2020, section 3.3; VISSL moco_hooks.py _batch_shuffle_ddp and _batch_unshuffle_ddp (semantics.md 6.3).
 *
 * P ranks, r this rank, b rows on each, N = b*P.
 *
 *   step                                                        holds afterwards        moved per rank
 *   1  gather                X = all rows, rank-major           X (N,m)                 (P-1) b rows in
 *   2  pick                  out_i = X[numbers[r b + i]]        out (b,m)               -
 *
 * The source also sends the permutation from rank 0; here every rank has it. */
#include "algo/moco_shuffle.h"

#include <stdlib.h>
#include <string.h>

pfc_status pfc_moco_shuffle_by_gather(pfc_ctx *ctx, const int64_t *numbers, pfc_view x, pfc_view out)
{
    const pfc_comm *comm = &ctx->comm;
    int64_t b = x.rows, start[2] = { b, -b };
    size_t row = (size_t)x.cols * pfc_dtype_size(x.dtype);
    PFC_TRY(pfc_comm_max(&ctx->comm, start, 2, PFC_I64));
    if (start[0] != -start[1]) return pfc_fail(ctx, PFC_ERR_SHAPE, "x: every rank needs the same number of rows");
    char *mine = malloc((size_t)b * row + 8), *all = malloc((size_t)b * (size_t)comm->ranks * row + 8);
    pfc_status st = pfc_agree(ctx, mine && all ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory"));

    /* 1 */
    for (int64_t i = 0; st == PFC_OK && i < b; i++) memcpy(mine + (size_t)i * row, pfc_view_rows(x, i, 1).data, row);
    if (st == PFC_OK) st = pfc_comm_allgather(&ctx->comm, mine, b * (int64_t)row, PFC_U8, all);

    /* 2 */
    for (int64_t i = 0; st == PFC_OK && i < b; i++) memcpy(pfc_view_rows(out, i, 1).data, all + (size_t)numbers[comm->rank * b + i] * row, row);
    free(mine);
    free(all);
    return st;
}
