/* lanes512.h (internal): what the kernels for tiles and for IFMA share: partly used AVX-512 registers, and the integer V of eight doubles. Include from files
 * compiled for AVX-512 only. */
#ifndef PFC_LANES512_H
#define PFC_LANES512_H

#include <immintrin.h>
#include <stdint.h>

enum { NOT_FINITE = 0x99 }; /* vfpclass: quiet NaN, +inf, -inf, signalling NaN */

/* The first n lanes, n of any size. */
static inline __mmask8 first_of_8(int64_t n) { return (__mmask8)(n >= 8 ? 0xff : n <= 0 ? 0 : (1 << n) - 1); }
static inline __mmask16 first_of_16(int64_t n) { return (__mmask16)(n >= 16 ? 0xffff : n <= 0 ? 0 : (1 << n) - 1); }

/* V of eight elements (doc/exact-v1.md 1.2), scale = 2^(62-e); NaN and infinities count as 0. */
static inline __m512i quantised(const double *x, __m512d scale, __mmask8 mask)
{
    __m512d v = _mm512_maskz_loadu_pd(mask, x);
    mask &= (__mmask8)~_mm512_fpclass_pd_mask(v, NOT_FINITE);
    return _mm512_cvtpd_epi64(_mm512_maskz_mul_pd(mask, v, scale));
}

#endif
