/* operand.h (internal): the batch prepared for products. */
#ifndef PFC_CUDA_OPERAND_H
#define PFC_CUDA_OPERAND_H

#include "backend/cuda/products.h"

struct pfc_operand {
    pfc_view x, norm;
    const int32_t *expo;
    sliced rows, cols; /* exact: for cosines, for weight_grad */
    float *unit;       /* fast: x / max(||x||, 1e-12), (N, D) */
};

void add_fast_products(pfc_ops &fast);

#endif
