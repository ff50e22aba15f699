/* rng_scalar.c: ranges of random numbers, compiled for scalar. Kernels and their table, nothing else. */
#define RNG_TABLE pfc_rng_kernels_scalar
#include "core/rng_kernels.inc"
