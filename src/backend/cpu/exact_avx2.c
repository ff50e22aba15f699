/* exact_avx2.c: the inner loops of exact mode, compiled for avx2. Kernels and their table, nothing else. */
#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile with -mavx2 -mfma"
#endif
#define EXACT_TABLE pfc_exact_kernels_avx2
#define EXACT_ISA "avx2"
#include "backend/cpu/exact_kernels.inc"
