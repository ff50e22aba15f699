/* rng_avx512.c: ranges of random numbers, compiled for avx512. Kernels and their table, nothing else. */
#if !defined(__AVX512F__) || !defined(__AVX512DQ__)
#error "compile with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma"
#endif
#define RNG_TABLE pfc_rng_kernels_avx512
#include "core/rng_kernels.inc"
