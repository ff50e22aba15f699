/* sinkhorn.h (internal): Sinkhorn on matrices in the table's place. */
#ifndef PFC_ALGO_SINKHORN_H
#define PFC_ALGO_SINKHORN_H

#include "core/ctx.h"

#include <pfc/sinkhorn.h>

/* PFC_OK, or PFC_ERR_ARG with a text. Local. */
pfc_status pfc_sinkhorn_check(pfc_ctx *ctx, const pfc_sinkhorn_config *cfg);

/* PFC_ERR_SHAPE if n samples of each rank or K prototypes are more than exact mode sums over. Local. */
pfc_status pfc_sinkhorn_check_size(pfc_ctx *ctx, int64_t n, int64_t K);

/* q (n,K) = assignment of scores (n,K), both real and contiguous; the same n on all ranks; pfc_sinkhorn_check_size was asked. tap: send the row sums to
 * the tap. Collective. */
pfc_status pfc_sinkhorn_run(pfc_ctx *ctx, const pfc_sinkhorn_config *cfg, pfc_view scores, pfc_view q, bool tap);

#endif
