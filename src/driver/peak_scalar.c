/* peak_scalar.c: the loops of peak_kernels.inc in plain C, in registers of 16 bytes, which every machine of interest has. Multiply and add are one instruction
 * where the baseline instruction set has that, else two. */
#include "driver/peak_kernels.h"

typedef float pfc_f32x4 __attribute__((vector_size(16)));
typedef double pfc_f64x2 __attribute__((vector_size(16)));

#define TABLE pfc_peak_scalar
#define ISA "scalar"
#define F32 pfc_f32x4
#define F64 pfc_f64x2
#ifdef __FP_FAST_FMAF
#define FMA_F32(a, b, c)                                                                                                        \
    (pfc_f32x4)                                                                                                                 \
    {                                                                                                                           \
        __builtin_fmaf((a)[0], (b)[0], (c)[0]), __builtin_fmaf((a)[1], (b)[1], (c)[1]), __builtin_fmaf((a)[2], (b)[2], (c)[2]), \
            __builtin_fmaf((a)[3], (b)[3], (c)[3])                                                                              \
    }
#define FMA_F64(a, b, c) \
    (pfc_f64x2) { __builtin_fma((a)[0], (b)[0], (c)[0]), __builtin_fma((a)[1], (b)[1], (c)[1]) }
#else
#define FMA_F32(a, b, c) ((a) * (b) + (c))
#define FMA_F64(a, b, c) ((a) * (b) + (c))
#endif
#include "driver/peak_kernels.inc"
