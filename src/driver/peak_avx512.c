/* peak_avx512.c: the loops of peak_kernels.inc for AVX-512. */
#include "driver/peak_kernels.h"
#include <immintrin.h>

#define TABLE pfc_peak_avx512
#define ISA "avx512"
#define F32 __m512
#define F64 __m512d
#define FMA_F32(a, b, c) _mm512_fmadd_ps(a, b, c)
#define FMA_F64(a, b, c) _mm512_fmadd_pd(a, b, c)
#define STREAM(p, x) _mm512_stream_ps((float *)(p), x)
#define STREAM_END() _mm_sfence()
#include "driver/peak_kernels.inc"
