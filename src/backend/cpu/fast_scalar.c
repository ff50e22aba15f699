/* fast_scalar.c: the inner loops of fast mode in plain C, for reading and checking; fmaf is the C library's where the machine has none. */
#include "backend/cpu/vec_scalar.h"
#define TILE_VECS 1
#define UNROLL /* no registers to keep */
#define FAST_TABLE pfc_fast_kernels_scalar
#define FAST_ISA "scalar"
#include "backend/cpu/fast_table.inc"
