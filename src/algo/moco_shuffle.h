/* moco_shuffle.h (internal): the shuffle as an object, and the same thing as the sources do it. */
#ifndef PFC_ALGO_MOCO_SHUFFLE_H
#define PFC_ALGO_MOCO_SHUFFLE_H

#include "core/ctx.h"

#include <pfc/moco.h>

struct pfc_moco_shuffle {
    pfc_ctx *ctx;
    int64_t *start;       /* (P+1): rank r holds rows [start[r], start[r+1]) */
    int64_t *permutation; /* (N) */
    int64_t *inverse;     /* (N) */
    pfc_row_plan there, back;
};

/* N <- sum of the rows of all ranks, *start <- P + 1 numbers (caller frees). Collective. */
pfc_status pfc_moco_rows_of_ranks(pfc_ctx *ctx, int64_t rows, int64_t **start);

/* The source's way: gather all, keep the wanted rows. numbers: the permutation, or for the way back its inverse. Equal rows on all ranks only. Collective. */
pfc_status pfc_moco_shuffle_by_gather(pfc_ctx *ctx, const int64_t *numbers, pfc_view x, pfc_view out);

#endif
