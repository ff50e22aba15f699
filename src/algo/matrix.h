/* matrix.h (internal): products of whole matrices, for algorithms whose matrices fit in memory whole. doc/exact-v1.md section 4.
 *
 * All views are in the table's place, real, and contiguous (ld = cols). Letters: n, k, d sizes. */
#ifndef PFC_ALGO_MATRIX_H
#define PFC_ALGO_MATRIX_H

#include "core/ctx.h"

/* A matrix with what the products need of its rows. */
typedef struct pfc_matrix {
    pfc_view v;    /* (rows, cols) borrowed */
    pfc_view norm; /* (rows, 1) lengths, raw */
    pfc_view expo; /* (rows, 1) int32 grid exponents */
} pfc_matrix;

/* Lengths and exponents of the rows of v. Local; on failure nothing is held. */
pfc_status pfc_matrix_make(pfc_ctx *ctx, pfc_view v, pfc_matrix *out);
void pfc_matrix_free(pfc_ctx *ctx, pfc_matrix *m); /* NULL-safe members; not v */

/* out (n,k) = a (n,d) b^T, b (k,d). Local. */
pfc_status pfc_product_nt(pfc_ctx *ctx, const pfc_matrix *a, const pfc_matrix *b, pfc_view out);
/* out (n,d) = a (n,k) b, b (k,d). Local. */
pfc_status pfc_product_nn(pfc_ctx *ctx, pfc_view a, const pfc_matrix *b, pfc_view out);
/* out (k,d) = sum over rows n of a (n,k)^T b (n,d): over the rows of this rank, or of all ranks (then collective, the same result on all). */
pfc_status pfc_product_tn(pfc_ctx *ctx, pfc_view a, const pfc_matrix *b, bool over_ranks, pfc_view out);

#endif
