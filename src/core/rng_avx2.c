/* rng_avx2.c: ranges of random numbers, compiled for avx2. Kernels and their table, nothing else. */
#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile with -mavx2 -mfma"
#endif
#define RNG_TABLE pfc_rng_kernels_avx2
#include "core/rng_kernels.inc"
