/* rng_kernels.h (internal): random numbers of consecutive counters, several at a time. */
#ifndef PFC_RNG_KERNELS_H
#define PFC_RNG_KERNELS_H

#include <stdint.h>

/* Philox4x32-10: multipliers of a round, and what the key grows by after it (Salmon et al. 2011, table 2). */
#define PHILOX_M0 0xD2511F53u
#define PHILOX_M1 0xCD9E8D57u
#define PHILOX_W0 0x9E3779B9u
#define PHILOX_W1 0xBB67AE85u

/* Which counters: (first + i low, first + i high, step, stream) under key. */
typedef struct rng_range {
    uint32_t key[2], step, stream;
    uint64_t first;
} rng_range;

typedef struct pfc_rng_kernels {
    void (*uniform)(rng_range r, int64_t count, double *out);      /* out[i] of counter i, as pfc_uniform */
    void (*normal_pairs)(rng_range r, int64_t count, double *out); /* out[2i], out[2i + 1] of counter i, as pfc_normal_pair */
} pfc_rng_kernels;

/* Only those that this build has are defined. */
extern const pfc_rng_kernels pfc_rng_kernels_scalar, pfc_rng_kernels_avx2, pfc_rng_kernels_avx512;

/* Those of the best instruction set up to PFC_MAX_ISA. Asks the CPU, which takes some 50 us on a virtual machine: once per context. */
const pfc_rng_kernels *pfc_rng_best(void);

/* out[i] <- the number of index first + i, i < count, bit for bit that of pfc_uniform and pfc_normal (pfc/rng.h). */
void pfc_uniform_range(const pfc_rng_kernels *k, int64_t seed, int64_t first, int64_t count, uint32_t step, uint32_t stream, double *out);
void pfc_normal_range(const pfc_rng_kernels *k, int64_t seed, int64_t first, int64_t count, uint32_t step, uint32_t stream, double *out);

#endif
