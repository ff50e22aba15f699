/* fast_avx2.c: the inner loops of fast mode for AVX2 and FMA: tiles of 6 x 16 in 12 registers. Kernels and their table, nothing else. */
#if !defined(__AVX2__) || !defined(__FMA__)
#error "compile with -mavx2 -mfma"
#endif
#include "backend/cpu/vec_avx2.h"
#define TILE_VECS 1
#define FAST_TABLE pfc_fast_kernels_avx2
#define FAST_ISA "avx2"
#include "backend/cpu/fast_table.inc"
