/* examples.h (internal): a data set of which every rank keeps a part, and the rows of a batch from whoever has them. */
#ifndef PFC_TRAIN_EXAMPLES_H
#define PFC_TRAIN_EXAMPLES_H

#include "core/ctx.h"

#include <pfc/shard.h>

typedef struct pfc_examples {
    int64_t count;    /* on all ranks; this one has pfc_shard_of(count, P, r) of them */
    size_t row_bytes; /* of one example */
    void *rows;
    int64_t *labels;
} pfc_examples;

/* The examples with these numbers (b), in this order, whoever keeps them, into rows and labels. b is the same on all ranks. Moves (1 - 1/P) b rows in and out
 * and P b numbers. Collective. */
pfc_status pfc_examples_fetch(pfc_ctx *ctx, const pfc_examples *e, const int64_t *numbers, int64_t b, void *rows, int64_t *labels);

#endif
