/* vec_avx512.h (internal): sixteen floats as one AVX-512 register. vec_scalar.h has the meaning of each operation; include from an AVX-512 file only. */
#ifndef PFC_VEC_AVX512_H
#define PFC_VEC_AVX512_H

#include <immintrin.h>
#include <stdint.h>

typedef __m512 v16;
typedef struct v16d {
    __m512d half[2];
} v16d;

#define V16_FN static inline __attribute__((always_inline))

V16_FN v16 v16_zero(void) { return _mm512_setzero_ps(); }
V16_FN v16 v16_set(float x) { return _mm512_set1_ps(x); }
V16_FN v16 v16_load(const float *p) { return _mm512_loadu_ps(p); }
V16_FN void v16_store(float *p, v16 x) { _mm512_storeu_ps(p, x); }
V16_FN void v16_stream(float *p, v16 x) { _mm512_stream_ps(p, x); }
V16_FN void v16_stream_end(void) { _mm_sfence(); }
V16_FN v16 v16_load_part(const float *p, int64_t n) { return _mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p); }
V16_FN void v16_store_part(float *p, v16 x, int64_t n) { _mm512_mask_storeu_ps(p, (__mmask16)((1u << n) - 1), x); }

V16_FN v16 v16_add(v16 a, v16 b) { return _mm512_add_ps(a, b); }
V16_FN v16 v16_sub(v16 a, v16 b) { return _mm512_sub_ps(a, b); }
V16_FN v16 v16_mul(v16 a, v16 b) { return _mm512_mul_ps(a, b); }
V16_FN v16 v16_div(v16 a, v16 b) { return _mm512_div_ps(a, b); }
V16_FN v16 v16_fma(v16 a, v16 b, v16 c) { return _mm512_fmadd_ps(a, b, c); }
V16_FN v16 v16_fnma(v16 a, v16 b, v16 c) { return _mm512_fnmadd_ps(a, b, c); }
V16_FN v16 v16_and(v16 a, v16 mask) { return _mm512_and_ps(a, mask); }

V16_FN v16 v16_lt(v16 a, v16 b, v16 yes, v16 no) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_LT_OQ), no, yes); }
V16_FN v16 v16_eq(v16 a, v16 b, v16 yes, v16 no) { return _mm512_mask_blend_ps(_mm512_cmp_ps_mask(a, b, _CMP_EQ_OQ), no, yes); }
V16_FN v16 v16_max(v16 a, v16 b)
{
    return _mm512_mask_mov_ps(_mm512_max_ps(b, a), _mm512_cmp_ps_mask(b, b, _CMP_UNORD_Q), b); /* of a NaN and a number max_ps takes the second */
}
V16_FN v16 v16_above(v16 a, v16 b) { return _mm512_max_ps(a, b); }
V16_FN v16 v16_below(v16 a, v16 b) { return _mm512_min_ps(a, b); }
V16_FN v16 v16_abs(v16 a) { return _mm512_abs_ps(a); }
V16_FN v16 v16_pow2(v16 t) { return _mm512_castsi512_ps(_mm512_add_epi32(_mm512_slli_epi32(_mm512_castps_si512(t), 23), _mm512_set1_epi32(0x3f800000))); }

V16_FN v16d v16d_zero(void)
{
    v16d z = { { _mm512_setzero_pd(), _mm512_setzero_pd() } };
    return z;
}
V16_FN v16d v16d_add_square(v16d s, v16 x)
{
    __m512d lo = _mm512_cvtps_pd(_mm512_castps512_ps256(x)), hi = _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1));
    s.half[0] = _mm512_fmadd_pd(lo, lo, s.half[0]);
    s.half[1] = _mm512_fmadd_pd(hi, hi, s.half[1]);
    return s;
}
V16_FN v16d v16d_add(v16d s, v16 x)
{
    s.half[0] = _mm512_add_pd(s.half[0], _mm512_cvtps_pd(_mm512_castps512_ps256(x)));
    s.half[1] = _mm512_add_pd(s.half[1], _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)));
    return s;
}
V16_FN v16d v16d_add_product(v16d s, v16 x, v16 y)
{
    s.half[0] = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_castps512_ps256(x)), _mm512_cvtps_pd(_mm512_castps512_ps256(y)), s.half[0]);
    s.half[1] = _mm512_fmadd_pd(_mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(y, 1)), s.half[1]);
    return s;
}
V16_FN v16d v16d_from(v16 x)
{
    v16d d = { { _mm512_cvtps_pd(_mm512_castps512_ps256(x)), _mm512_cvtps_pd(_mm512_extractf32x8_ps(x, 1)) } };
    return d;
}
V16_FN v16d v16d_load(const float *p)
{
    v16d d = { { _mm512_cvtps_pd(_mm256_loadu_ps(p)), _mm512_cvtps_pd(_mm256_loadu_ps(p + 8)) } };
    return d;
}
V16_FN v16d v16d_read(const double *p)
{
    v16d d = { { _mm512_loadu_pd(p), _mm512_loadu_pd(p + 8) } };
    return d;
}
V16_FN v16d v16d_minus(v16d a, double x)
{
    for (int i = 0; i < 2; i++) a.half[i] = _mm512_sub_pd(a.half[i], _mm512_set1_pd(x));
    return a;
}
V16_FN v16d v16d_plus(v16d a, v16d b)
{
    for (int i = 0; i < 2; i++) a.half[i] = _mm512_add_pd(a.half[i], b.half[i]);
    return a;
}
V16_FN v16d v16d_fma(v16d a, v16d b, v16d c)
{
    for (int i = 0; i < 2; i++) c.half[i] = _mm512_fmadd_pd(a.half[i], b.half[i], c.half[i]);
    return c;
}
V16_FN v16d v16d_times(v16d a, v16d b)
{
    for (int i = 0; i < 2; i++) a.half[i] = _mm512_mul_pd(a.half[i], b.half[i]);
    return a;
}
V16_FN v16d v16d_set(double x)
{
    v16d d = { { _mm512_set1_pd(x), _mm512_set1_pd(x) } };
    return d;
}
V16_FN v16 v16_rounded(const double *p)
{
    return _mm512_insertf32x8(_mm512_castps256_ps512(_mm512_cvtpd_ps(_mm512_loadu_pd(p))), _mm512_cvtpd_ps(_mm512_loadu_pd(p + 8)), 1);
}
V16_FN void v16d_store(double *p, v16d s)
{
    _mm512_storeu_pd(p, s.half[0]);
    _mm512_storeu_pd(p + 8, s.half[1]);
}

#endif
