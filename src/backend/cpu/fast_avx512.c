/* fast_avx512.c: the inner loops of fast mode for AVX-512: tiles of 6 x 64 in 24 registers. Kernels and their table, nothing else. */
#if !defined(__AVX512F__) || !defined(__AVX512DQ__)
#error "compile with -mavx512f -mavx512dq -mavx512bw -mavx512vl -mfma"
#endif
#include "backend/cpu/vec_avx512.h"
#define TILE_VECS 4
#define FAST_TABLE pfc_fast_kernels_avx512
#define FAST_ISA "avx512"
#include "backend/cpu/fast_table.inc"
