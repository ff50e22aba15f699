/* vec_avx2.h (internal): sixteen floats as two AVX registers. vec_scalar.h has the meaning of each operation; include from an AVX2 file only. */
#ifndef PFC_VEC_AVX2_H
#define PFC_VEC_AVX2_H

#include <immintrin.h>
#include <stdint.h>
#include <string.h>

typedef struct v16 {
    __m256 a, b;
} v16;
typedef struct v16d {
    __m256d part[4];
} v16d;

#define V16_FN static inline __attribute__((always_inline))
#define V16_EACH(lo, hi)      \
    v16 out = { (lo), (hi) }; \
    return out

V16_FN v16 v16_zero(void) { V16_EACH(_mm256_setzero_ps(), _mm256_setzero_ps()); }
V16_FN v16 v16_set(float x) { V16_EACH(_mm256_set1_ps(x), _mm256_set1_ps(x)); }
V16_FN v16 v16_load(const float *p) { V16_EACH(_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)); }
V16_FN void v16_store(float *p, v16 x)
{
    _mm256_storeu_ps(p, x.a);
    _mm256_storeu_ps(p + 8, x.b);
}
V16_FN void v16_stream(float *p, v16 x)
{
    _mm256_stream_ps(p, x.a);
    _mm256_stream_ps(p + 8, x.b);
}
V16_FN void v16_stream_end(void) { _mm_sfence(); }
V16_FN v16 v16_load_part(const float *p, int64_t n)
{
    float t[16] = { 0 };
    memcpy(t, p, (size_t)n * sizeof *t);
    return v16_load(t);
}
V16_FN void v16_store_part(float *p, v16 x, int64_t n)
{
    float t[16];
    v16_store(t, x);
    memcpy(p, t, (size_t)n * sizeof *t);
}

V16_FN v16 v16_add(v16 x, v16 y) { V16_EACH(_mm256_add_ps(x.a, y.a), _mm256_add_ps(x.b, y.b)); }
V16_FN v16 v16_sub(v16 x, v16 y) { V16_EACH(_mm256_sub_ps(x.a, y.a), _mm256_sub_ps(x.b, y.b)); }
V16_FN v16 v16_mul(v16 x, v16 y) { V16_EACH(_mm256_mul_ps(x.a, y.a), _mm256_mul_ps(x.b, y.b)); }
V16_FN v16 v16_div(v16 x, v16 y) { V16_EACH(_mm256_div_ps(x.a, y.a), _mm256_div_ps(x.b, y.b)); }
V16_FN v16 v16_fma(v16 x, v16 y, v16 z) { V16_EACH(_mm256_fmadd_ps(x.a, y.a, z.a), _mm256_fmadd_ps(x.b, y.b, z.b)); }
V16_FN v16 v16_fnma(v16 x, v16 y, v16 z) { V16_EACH(_mm256_fnmadd_ps(x.a, y.a, z.a), _mm256_fnmadd_ps(x.b, y.b, z.b)); }
V16_FN v16 v16_and(v16 x, v16 mask) { V16_EACH(_mm256_and_ps(x.a, mask.a), _mm256_and_ps(x.b, mask.b)); }

V16_FN v16 v16_lt(v16 x, v16 y, v16 yes, v16 no)
{
    V16_EACH(_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_LT_OQ)), _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_LT_OQ)));
}
V16_FN v16 v16_eq(v16 x, v16 y, v16 yes, v16 no)
{
    V16_EACH(_mm256_blendv_ps(no.a, yes.a, _mm256_cmp_ps(x.a, y.a, _CMP_EQ_OQ)), _mm256_blendv_ps(no.b, yes.b, _mm256_cmp_ps(x.b, y.b, _CMP_EQ_OQ)));
}
V16_FN __m256 v8_max(__m256 x, __m256 y)
{
    return _mm256_blendv_ps(_mm256_max_ps(y, x), y, _mm256_cmp_ps(y, y, _CMP_UNORD_Q)); /* of a NaN and a number max_ps takes the second */
}
V16_FN v16 v16_max(v16 x, v16 y) { V16_EACH(v8_max(x.a, y.a), v8_max(x.b, y.b)); }
V16_FN v16 v16_above(v16 x, v16 y) { V16_EACH(_mm256_max_ps(x.a, y.a), _mm256_max_ps(x.b, y.b)); }
V16_FN v16 v16_below(v16 x, v16 y) { V16_EACH(_mm256_min_ps(x.a, y.a), _mm256_min_ps(x.b, y.b)); }
V16_FN v16 v16_abs(v16 x)
{
    const __m256 sign = _mm256_set1_ps(-0.0f);
    V16_EACH(_mm256_andnot_ps(sign, x.a), _mm256_andnot_ps(sign, x.b));
}
V16_FN __m256 v8_pow2(__m256 t) { return _mm256_castsi256_ps(_mm256_add_epi32(_mm256_slli_epi32(_mm256_castps_si256(t), 23), _mm256_set1_epi32(0x3f800000))); }
V16_FN v16 v16_pow2(v16 t) { V16_EACH(v8_pow2(t.a), v8_pow2(t.b)); }

V16_FN __m128 v16_quarter(v16 x, int i)
{
    __m256 half = i < 2 ? x.a : x.b;
    return i % 2 ? _mm256_extractf128_ps(half, 1) : _mm256_castps256_ps128(half);
}
V16_FN v16d v16d_zero(void)
{
    v16d z = { { _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd(), _mm256_setzero_pd() } };
    return z;
}
V16_FN v16d v16d_add_square(v16d s, v16 x)
{
    for (int i = 0; i < 4; i++) {
        __m256d v = _mm256_cvtps_pd(v16_quarter(x, i));
        s.part[i] = _mm256_fmadd_pd(v, v, s.part[i]);
    }
    return s;
}
V16_FN v16d v16d_add(v16d s, v16 x)
{
    for (int i = 0; i < 4; i++) s.part[i] = _mm256_add_pd(s.part[i], _mm256_cvtps_pd(v16_quarter(x, i)));
    return s;
}
V16_FN v16d v16d_add_product(v16d s, v16 x, v16 y)
{
    for (int i = 0; i < 4; i++) s.part[i] = _mm256_fmadd_pd(_mm256_cvtps_pd(v16_quarter(x, i)), _mm256_cvtps_pd(v16_quarter(y, i)), s.part[i]);
    return s;
}
V16_FN v16d v16d_from(v16 x)
{
    v16d d;
    for (int i = 0; i < 4; i++) d.part[i] = _mm256_cvtps_pd(v16_quarter(x, i));
    return d;
}
V16_FN v16d v16d_load(const float *p)
{
    v16d d;
    for (int i = 0; i < 4; i++) d.part[i] = _mm256_cvtps_pd(_mm_loadu_ps(p + 4 * i));
    return d;
}
V16_FN v16d v16d_read(const double *p)
{
    v16d d;
    for (int i = 0; i < 4; i++) d.part[i] = _mm256_loadu_pd(p + 4 * i);
    return d;
}
V16_FN v16d v16d_minus(v16d a, double x)
{
    for (int i = 0; i < 4; i++) a.part[i] = _mm256_sub_pd(a.part[i], _mm256_set1_pd(x));
    return a;
}
V16_FN v16d v16d_plus(v16d a, v16d b)
{
    for (int i = 0; i < 4; i++) a.part[i] = _mm256_add_pd(a.part[i], b.part[i]);
    return a;
}
V16_FN v16d v16d_fma(v16d a, v16d b, v16d c)
{
    for (int i = 0; i < 4; i++) c.part[i] = _mm256_fmadd_pd(a.part[i], b.part[i], c.part[i]);
    return c;
}
V16_FN v16d v16d_times(v16d a, v16d b)
{
    for (int i = 0; i < 4; i++) a.part[i] = _mm256_mul_pd(a.part[i], b.part[i]);
    return a;
}
V16_FN v16d v16d_set(double x)
{
    v16d d;
    for (int i = 0; i < 4; i++) d.part[i] = _mm256_set1_pd(x);
    return d;
}
V16_FN v16 v16_rounded(const double *p)
{
    V16_EACH(_mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(p + 4)), _mm256_cvtpd_ps(_mm256_loadu_pd(p))),
             _mm256_set_m128(_mm256_cvtpd_ps(_mm256_loadu_pd(p + 12)), _mm256_cvtpd_ps(_mm256_loadu_pd(p + 8))));
}
V16_FN void v16d_store(double *p, v16d s)
{
    for (int i = 0; i < 4; i++) _mm256_storeu_pd(p + 4 * i, s.part[i]);
}

#endif
