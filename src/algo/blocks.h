/* blocks.h (internal): a matrix in blocks of rows that fit in cache, over the lanes of the backend. */
#ifndef PFC_ALGO_BLOCKS_H
#define PFC_ALGO_BLOCKS_H

#include "core/ctx.h"

/* Rows [first, first + count); lane: whose memory it may use. */
typedef pfc_status (*pfc_block_fn)(void *arg, int lane, int64_t first, int64_t count);

/* fn over all blocks of `size` of the `rows` rows, the last one shorter. Lane i takes the i-th part of them, in order, and stops where one fails. The
 * status is that of the lowest failing lane. Local. */
pfc_status pfc_for_blocks(pfc_ctx *ctx, int64_t rows, int64_t size, pfc_block_fn fn, void *arg);

#endif
