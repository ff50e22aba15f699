/* emulate.h (internal): what a correct port in a narrow number type computes, on the cpu backend.
 *
 * Matrix units of type T round the operands of a product to T and add up in float32; everything around the products is float32. So a backend that emulates T
 * is the same backend with the entries of products replaced: they hand rounded copies of the operands to the entry they replace. What is rounded is what
 * a port would hold in memory as T: directions x/|x| where the product is normalised, the gradient h of the cosines (or logits), and rows as they are
 * elsewhere. The backward of a normalisation is that of float32: from true lengths and unrounded directions, and <x^, dx^> from the product's result.
 *
 * In exact mode the results of products are rounded as well: to float32, one rounding, the least that an accumulator in float32 does, or to T, as a port has
 * them that stores them so. The bits are then as stable as those of exact mode itself. */
#ifndef PFC_EMULATE_H
#define PFC_EMULATE_H

#include "backend/backend.h"
#include "core/format.h"

enum {
    PFC_EMULATE_TRUNCATE = 1, /* operands are truncated, not rounded to nearest */
    PFC_EMULATE_STORE = 2,    /* the results of products are kept in T, too */
};

/* From now on the products of be are those of this type; format NULL: as they were. PFC_ERR_UNSUPPORTED and a text:
 * memory of this backend is not host memory. Between calls only. */
pfc_status pfc_emulate(pfc_backend *be, const pfc_format *format, int how);

/* Frees what pfc_emulate made; the table of be is the backend's own again. NULL-safe. */
void pfc_emulate_end(pfc_backend *be);

#endif
