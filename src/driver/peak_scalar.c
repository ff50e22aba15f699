/* peak_scalar.c: the loops of peak_kernels.inc in plain C, in registers of 16 bytes, which every machine of interest has. Compiled with -ffp-contract=fast:
 * multiply and add become one instruction where the baseline instruction set has it. */
#include "driver/peak_kernels.h"

typedef float pfc_f32x4 __attribute__((vector_size(16)));
typedef double pfc_f64x2 __attribute__((vector_size(16)));

#define TABLE pfc_peak_scalar
#define ISA "scalar"
#define F32 pfc_f32x4
#define F64 pfc_f64x2
#define FMA_F32(a, b, c) ((a) * (b) + (c))
#define FMA_F64(a, b, c) ((a) * (b) + (c))
#include "driver/peak_kernels.inc"
