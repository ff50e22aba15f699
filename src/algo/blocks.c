/* blocks.c: see blocks.h. */
#include "algo/blocks.h"

#include <stdlib.h>

typedef struct job {
    int64_t rows, size, lanes;
    pfc_block_fn fn;
    void *arg;
    pfc_status *status; /* per lane */
} job;

static void run_lane(void *arg, int lane)
{
    const job *j = arg;
    int64_t blocks = (j->rows + j->size - 1) / j->size;
    for (int64_t i = blocks * lane / j->lanes; i < blocks * (lane + 1) / j->lanes && j->status[lane] == PFC_OK; i++) {
        int64_t first = i * j->size, left = j->rows - first;
        j->status[lane] = j->fn(j->arg, lane, first, left < j->size ? left : j->size);
    }
}

pfc_status pfc_for_blocks(pfc_ctx *ctx, int64_t rows, int64_t size, pfc_block_fn fn, void *arg)
{
    int lanes = ctx->be->lanes;
    job j = { rows, size, lanes, fn, arg, calloc((size_t)lanes, sizeof *j.status) }; /* PFC_OK is 0 */
    if (!j.status) return pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    ctx->be->ops->for_lanes(ctx->be, lanes, run_lane, &j);
    pfc_status st = PFC_OK;
    for (int i = 0; i < lanes; i++)
        if (st == PFC_OK) st = j.status[i];
    free(j.status);
    return st == PFC_OK ? ctx->be->ops->sync(ctx->be) : st;
}
