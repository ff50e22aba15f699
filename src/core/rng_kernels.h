/* rng_kernels.h (internal): random numbers of consecutive counters, several at a time. */
#ifndef PFC_RNG_KERNELS_H
#define PFC_RNG_KERNELS_H

#include <stdint.h>

/* Which counters: (first + i low, first + i high, step, stream) under key. */
typedef struct rng_range {
    uint32_t key[2], step, stream;
    uint64_t first;
} rng_range;

typedef struct pfc_rng_kernels {
    void (*uniform)(rng_range r, int64_t count, double *out);      /* out[i] of counter i, as pfc_uniform */
    void (*normal_pairs)(rng_range r, int64_t count, double *out); /* out[2i], out[2i + 1] of counter i, as pfc_normal_pair */
} pfc_rng_kernels;

extern const pfc_rng_kernels pfc_rng_kernels_scalar, pfc_rng_kernels_avx2, pfc_rng_kernels_avx512;

#endif
