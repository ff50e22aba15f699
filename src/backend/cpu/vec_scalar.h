/* vec_scalar.h (internal): sixteen floats in plain C. All fast kernels are written on this type: lane i of a sum is the same chain of IEEE operations on
 * every instruction set, so their results agree bit for bit. vec_avx2.h and vec_avx512.h have the same functions. */
#ifndef PFC_VEC_SCALAR_H
#define PFC_VEC_SCALAR_H

#include <stdint.h>
#include <string.h>

typedef struct v16 {
    float f[16];
} v16;
typedef struct v16d {
    double f[16];
} v16d;

#define V16_FN static inline
#define V16_EACH(expression)                              \
    v16 out;                                              \
    for (int i = 0; i < 16; i++) out.f[i] = (expression); \
    return out

V16_FN v16 v16_zero(void) { V16_EACH(0.0f); }
V16_FN v16 v16_set(float x) { V16_EACH(x); }
V16_FN v16 v16_load(const float *p) { V16_EACH(p[i]); }
V16_FN void v16_store(float *p, v16 x) { memcpy(p, x.f, sizeof x.f); }
/* A store past the caches, p a multiple of 64 bytes; all of them are done after v16_stream_end. */
V16_FN void v16_stream(float *p, v16 x) { memcpy(p, x.f, sizeof x.f); }
V16_FN void v16_stream_end(void) {}
/* The first n < 16 elements; the others are 0 and are not stored. */
V16_FN v16 v16_load_part(const float *p, int64_t n) { V16_EACH(i < n ? p[i] : 0.0f); }
V16_FN void v16_store_part(float *p, v16 x, int64_t n) { memcpy(p, x.f, (size_t)n * sizeof *p); }

V16_FN v16 v16_add(v16 x, v16 y) { V16_EACH(x.f[i] + y.f[i]); }
V16_FN v16 v16_sub(v16 x, v16 y) { V16_EACH(x.f[i] - y.f[i]); }
V16_FN v16 v16_mul(v16 x, v16 y) { V16_EACH(x.f[i] * y.f[i]); }
V16_FN v16 v16_div(v16 x, v16 y) { V16_EACH(x.f[i] / y.f[i]); }
V16_FN v16 v16_fma(v16 x, v16 y, v16 z) { V16_EACH(__builtin_fmaf(x.f[i], y.f[i], z.f[i])); }
V16_FN v16 v16_fnma(v16 x, v16 y, v16 z) { V16_EACH(__builtin_fmaf(-x.f[i], y.f[i], z.f[i])); }

/* x < y ? yes : no, and x == y ? yes : no; false for NaN. */
V16_FN v16 v16_lt(v16 x, v16 y, v16 yes, v16 no) { V16_EACH(x.f[i] < y.f[i] ? yes.f[i] : no.f[i]); }
V16_FN v16 v16_eq(v16 x, v16 y, v16 yes, v16 no) { V16_EACH(x.f[i] == y.f[i] ? yes.f[i] : no.f[i]); }
/* The larger; NaN wins. */
V16_FN v16 v16_max(v16 x, v16 y) { V16_EACH(y.f[i] != y.f[i] || y.f[i] > x.f[i] ? y.f[i] : x.f[i]); }
/* x > y ? x : y, and x < y ? x : y: y where x is NaN. */
V16_FN v16 v16_above(v16 x, v16 y) { V16_EACH(x.f[i] > y.f[i] ? x.f[i] : y.f[i]); }
V16_FN v16 v16_below(v16 x, v16 y) { V16_EACH(x.f[i] < y.f[i] ? x.f[i] : y.f[i]); }
V16_FN v16 v16_abs(v16 x) { V16_EACH(__builtin_fabsf(x.f[i])); }

V16_FN uint32_t v16_bits(float x)
{
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    return u;
}
V16_FN float v16_from_bits(uint32_t u)
{
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
}
/* Bitwise and with all ones or zero. */
V16_FN v16 v16_and(v16 x, v16 mask) { V16_EACH(v16_from_bits(v16_bits(x.f[i]) & v16_bits(mask.f[i]))); }
/* 2^k where t = k + 1.5*2^23, -126 <= k <= 127. */
V16_FN v16 v16_pow2(v16 t) { V16_EACH(v16_from_bits((v16_bits(t.f[i]) << 23) + 0x3f800000u)); }

/* Sixteen double sums; lane i gets the square of element i (exact) by fma. */
V16_FN v16d v16d_zero(void)
{
    v16d z = { { 0.0 } };
    return z;
}
V16_FN v16d v16d_add_square(v16d s, v16 x)
{
    for (int i = 0; i < 16; i++) s.f[i] = __builtin_fma((double)x.f[i], (double)x.f[i], s.f[i]);
    return s;
}
/* Lane i gets x_i, or x_i y_i (exact products) by fma. */
V16_FN v16d v16d_add(v16d s, v16 x)
{
    for (int i = 0; i < 16; i++) s.f[i] += (double)x.f[i];
    return s;
}
V16_FN v16d v16d_add_product(v16d s, v16 x, v16 y)
{
    for (int i = 0; i < 16; i++) s.f[i] = __builtin_fma((double)x.f[i], (double)y.f[i], s.f[i]);
    return s;
}
/* Sixteen doubles from floats, in a register or in memory; from doubles in memory; a - x; a + b; a*b + c by fma; a*b; all x. */
V16_FN v16d v16d_from(v16 x)
{
    v16d d;
    for (int i = 0; i < 16; i++) d.f[i] = (double)x.f[i];
    return d;
}
V16_FN v16d v16d_load(const float *p) { return v16d_from(v16_load(p)); }
V16_FN v16d v16d_read(const double *p)
{
    v16d d;
    memcpy(d.f, p, sizeof d.f);
    return d;
}
V16_FN v16d v16d_minus(v16d a, double x)
{
    for (int i = 0; i < 16; i++) a.f[i] -= x;
    return a;
}
V16_FN v16d v16d_plus(v16d a, v16d b)
{
    for (int i = 0; i < 16; i++) a.f[i] += b.f[i];
    return a;
}
V16_FN v16d v16d_fma(v16d a, v16d b, v16d c)
{
    for (int i = 0; i < 16; i++) c.f[i] = __builtin_fma(a.f[i], b.f[i], c.f[i]);
    return c;
}
V16_FN v16d v16d_times(v16d a, v16d b)
{
    for (int i = 0; i < 16; i++) a.f[i] *= b.f[i];
    return a;
}
V16_FN v16d v16d_set(double x)
{
    v16d d;
    for (int i = 0; i < 16; i++) d.f[i] = x;
    return d;
}
V16_FN void v16d_store(double *p, v16d s) { memcpy(p, s.f, sizeof s.f); }
/* Sixteen doubles, each rounded to float. */
V16_FN v16 v16_rounded(const double *p) { V16_EACH((float)p[i]); }

#endif
