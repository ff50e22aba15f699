/* peak_avx2.c: the loops of peak_kernels.inc for AVX2 with FMA. */
#include "driver/peak_kernels.h"
#include <immintrin.h>

#define TABLE pfc_peak_avx2
#define ISA "avx2"
#define F32 __m256
#define F64 __m256d
#define FMA_F32(a, b, c) _mm256_fmadd_ps(a, b, c)
#define FMA_F64(a, b, c) _mm256_fmadd_pd(a, b, c)
#define STREAM(p, x) _mm256_stream_ps((float *)(p), x)
#define STREAM_END() _mm_sfence()
#include "driver/peak_kernels.inc"
