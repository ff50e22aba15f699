/* exact_scalar.c: the inner loops of exact mode, compiled for scalar. Kernels and their table, nothing else. */
#define EXACT_TABLE pfc_exact_kernels_scalar
#define EXACT_ISA "scalar"
#include "backend/cpu/exact_kernels.inc"
