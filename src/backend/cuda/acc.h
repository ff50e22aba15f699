/* acc.h (internal): accumulators on the device. */
#ifndef PFC_CUDA_ACC_H
#define PFC_CUDA_ACC_H

#include "backend/cuda/state.h"

/* All arrays on the device; NULL where the kind or the mode has none. */
struct device_acc {
    int64_t *word;       /* exact: rows*cols*words, as on the wire: (a, b) or limbs */
    unsigned char *mark; /* exact: rows*cols */
    double *sum;         /* fast: rows*cols; of products as on the wire, where they stay on the device */
    float *product;      /* fast products: rows*cols */
    double *max;         /* rows: running maximum of the logits, or largest |term| */
    int32_t *expo;       /* exact: rows, as acc->expo when grid_of was last called */
    int seen;            /* row_max had a block */
};

static inline device_acc &device_of(pfc_acc *acc) { return *(device_acc *)acc->state; }

/* acc->expo on the device. */
const int32_t *grid_of(cuda &d, pfc_acc *acc);

#endif
