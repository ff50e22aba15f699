/* peak_kernels.h: what the bench command measures a machine with: loops that do nothing but multiply and add, or move bytes, one set for each instruction
 * set. */
#ifndef PFC_DRIVER_PEAK_KERNELS_H
#define PFC_DRIVER_PEAK_KERNELS_H

#include <stdint.h>

/* A memory loop moves n floats, n a multiple of PFC_PEAK_STEP: all of them arrays of its own, of equal lengths, one behind the other. It returns what keeps the
 * compiler from dropping the work. */
enum { PFC_PEAK_STEP = 3 * 256 };
typedef float pfc_memory_loop(float *memory, int64_t n);

typedef struct pfc_peak_kernels {
    const char *isa;
    /* Independent chains of multiply and add in registers; a round is flops_f32 or flops_f64 operations. */
    double (*fma_f32)(int64_t rounds), (*fma_f64)(int64_t rounds);
    double flops_f32, flops_f64;
    pfc_memory_loop *read, *copy, *copy_stream, *triad, *triad_stream; /* _stream: stores that bypass the caches; NULL: there are none */
    pfc_memory_loop *update;                                           /* two arrays, both read and written: twice the bytes of n floats */
} pfc_peak_kernels;

extern const pfc_peak_kernels pfc_peak_scalar, pfc_peak_avx2, pfc_peak_avx512;

#endif
