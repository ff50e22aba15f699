/* exact_avx512.c: the inner loops of exact mode, compiled for avx512. Kernels and their table, nothing else. */
#define EXACT_TABLE pfc_exact_kernels_avx512
#define EXACT_ISA "avx512"
#if !defined(__AVX512F__) || !defined(__AVX512DQ__)
#error "compile with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma"
#endif
#define PFC_HAVE_AVX512 1
#include "backend/cpu/exact_kernels.inc"
