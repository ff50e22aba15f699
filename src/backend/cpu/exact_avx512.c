/* exact_avx512.c: the inner loops of exact mode, compiled for avx512. Kernels and their table, nothing else. */
#if !defined(__AVX512F__) || !defined(__AVX512DQ__)
#error "compile with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma"
#endif
#define EXACT_TABLE pfc_exact_kernels_avx512
#define EXACT_ISA "avx512"
#include "backend/cpu/exact_kernels.inc"
