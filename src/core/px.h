/* px.h (internal): portable exact (px) elementwise functions: those of exact-v1, one source for scalar, AVX2, AVX-512 (auto-vectorised) and CUDA.
 *
 * Every value is a fixed tree of IEEE operations {+,-,*,/,sqrt,fma, conversions}, each correctly rounded on every machine. No libm: glibc's exp
 * and acos change bits with the CPU. On a device the macros become the round-to-nearest intrinsics, so that nothing can be contracted.
 * doc/exact-v1.md section 2 is the specification; changing a line here changes every golden. */
#ifndef PFC_PX_H
#define PFC_PX_H

#include <stdint.h>
#include <string.h>

#ifdef __CUDACC__
#define PX_FN static __host__ __device__ __forceinline__
#else
#define PX_FN static inline
#endif
#ifdef __CUDA_ARCH__
#define PX_ADD(a, b) __dadd_rn((a), (b))
#define PX_SUB(a, b) __dsub_rn((a), (b))
#define PX_MUL(a, b) __dmul_rn((a), (b))
#define PX_DIV(a, b) __ddiv_rn((a), (b))
#define PX_FMA(a, b, c) __fma_rn((a), (b), (c))
#define PX_SQRT(a) __dsqrt_rn(a)
#define PX_ABS(a) fabs(a)
#define PX_CLZ(a) __clzll((long long)(a)) /* zero bits before the first one of a uint64_t that is not 0 */
#else
#define PX_ADD(a, b) ((a) + (b))
#define PX_SUB(a, b) ((a) - (b))
#define PX_MUL(a, b) ((a) * (b))
#define PX_DIV(a, b) ((a) / (b))
#define PX_FMA(a, b, c) __builtin_fma((a), (b), (c))
#define PX_SQRT(a) __builtin_sqrt(a)
#define PX_ABS(a) __builtin_fabs(a)
#define PX_CLZ(a) __builtin_clzll(a)
#endif

/* a*b + c where a*b is exact: one operation where there is fma, the same bits where there is none. */
#if defined(__FMA__) || defined(__CUDA_ARCH__)
#define PX_EXACT_FMA(a, b, c) PX_FMA((a), (b), (c))
#else
#define PX_EXACT_FMA(a, b, c) PX_ADD(PX_MUL((a), (b)), (c))
#endif

#define PX_MAGIC 0x1.8p52 /* x + PX_MAGIC has the integer nearest to x in its low bits, |x| < 2^51 */
#define PX_TWO_PI 0x1.921fb54442d18p+2
#define PX_INF __builtin_inf()
#define PX_NAN __builtin_nan("")

PX_FN uint64_t px_bits(double x)
{
#ifdef __CUDA_ARCH__
    return (uint64_t)__double_as_longlong(x);
#else
    uint64_t u;
    memcpy(&u, &x, sizeof u);
    return u;
#endif
}

PX_FN double px_from_bits(uint64_t u)
{
#ifdef __CUDA_ARCH__
    return __longlong_as_double((long long)u);
#else
    double x;
    memcpy(&x, &u, sizeof x);
    return x;
#endif
}

/* Nearest integer, ties to even, |x| < 2^51. */
PX_FN double px_rint(double x) { return PX_SUB(PX_ADD(x, PX_MAGIC), PX_MAGIC); }

/* The same as an int64. */
PX_FN int64_t px_toint(double x) { return (int64_t)(px_bits(PX_ADD(x, PX_MAGIC)) - px_bits(PX_MAGIC)); }

/* 2^k, -1022 <= k <= 1023. */
PX_FN double px_pow2(int64_t k) { return px_from_bits((uint64_t)(k + 1023) << 52); }

/* ldexp(v, k) for -2000 <= k <= 2000 where v is 0 or 1 <= |v| < 2^160: one rounding at most, in the second factor. */
PX_FN double px_scale(double v, int64_t k)
{
    int64_t half = k / 2;
    return PX_MUL(PX_MUL(v, px_pow2(half)), px_pow2(k - half));
}

/* Neither NaN nor infinite. */
PX_FN int px_finite(double x) { return (px_bits(x) & 0x7ff0000000000000u) != 0x7ff0000000000000u; }

PX_FN int px_nan(double x) { return x != x; }

/* The larger of a and b; NaN wins. */
PX_FN double px_larger(double a, double b) { return px_nan(a) || a > b ? a : b; }

/* Exponent e with |x| < 2^e <= 2|x|, as frexp; 0 gives -900, and smaller ones than -900 are -900 (exact-v1 1.1). Finite x. */
PX_FN int32_t px_expo(double x)
{
    int32_t e = (int32_t)((px_bits(x) >> 52) & 0x7ff) - 1022;
    return e < -900 ? -900 : e;
}

/* exp where -708 <= x <= 709.78. */
PX_FN double px_exp_between(double x)
{
    double t = PX_ADD(PX_MUL(x, 0x1.71547652b82fep+0), PX_MAGIC); /* log2 e */
    double k = PX_SUB(t, PX_MAGIC);
    double r = PX_FMA(-k, 0x1.62e42feep-1, x);   /* ln 2, its first 32 bits */
    double c = PX_MUL(k, 0x1.a39ef35793c76p-33); /* and what is left of it */
    double rr = PX_SUB(r, c);
    double lo = PX_SUB(PX_SUB(r, rr), c);
    double q = 0x1.6124613a86d09p-33; /* 1/13! */
    q = PX_FMA(q, rr, 0x1.1eed8eff8d898p-29);
    q = PX_FMA(q, rr, 0x1.ae64567f544e4p-26);
    q = PX_FMA(q, rr, 0x1.27e4fb7789f5cp-22);
    q = PX_FMA(q, rr, 0x1.71de3a556c734p-19);
    q = PX_FMA(q, rr, 0x1.a01a01a01a01ap-16);
    q = PX_FMA(q, rr, 0x1.a01a01a01a01ap-13);
    q = PX_FMA(q, rr, 0x1.6c16c16c16c17p-10);
    q = PX_FMA(q, rr, 0x1.1111111111111p-7);
    q = PX_FMA(q, rr, 0x1.5555555555555p-5);
    q = PX_FMA(q, rr, 0x1.5555555555555p-3);
    q = PX_FMA(q, rr, 0.5);
    double e = PX_ADD(1.0, PX_ADD(rr, PX_FMA(PX_MUL(rr, rr), q, lo)));
    /* e*2^k: k is the lowest bits of t and goes into the exponent of e; the product is a normal number. */
    return px_from_bits(px_bits(e) + (px_bits(t) << 52));
}

/* exp, at most 0.83 ulp. */
PX_FN double px_exp(double x)
{
    double y = px_exp_between(x);
    y = x < -708.0 ? 0.0 : y;
    y = x > 709.78 ? PX_INF : y;
    return px_nan(x) ? x : y;
}

/* log, at most 0.61 ulp for normal x; subnormal x is scaled first. */
PX_FN double px_log(double x)
{
    double big = x < 0x1p-1000 ? PX_MUL(x, 0x1p100) : x;
    int64_t k = (int64_t)(px_bits(big) >> 52) - 1023 - (x < 0x1p-1000 ? 100 : 0);
    double m = px_from_bits((px_bits(big) & 0x000fffffffffffffu) | 0x3ff0000000000000u); /* [1, 2) */
    int up = m >= 0x1.6a09e667f3bcdp+0;                                                  /* sqrt 2 */
    m = up ? PX_MUL(m, 0.5) : m;
    double kd = (double)(k + up);
    double f = PX_SUB(m, 1.0);
    double s = PX_DIV(f, PX_ADD(2.0, f));
    double z = PX_MUL(s, s);
    double q = 0x1.47ae147ae147bp-4; /* 2/25 */
    q = PX_FMA(q, z, 0x1.642c8590b2164p-4);
    q = PX_FMA(q, z, 0x1.8618618618618p-4);
    q = PX_FMA(q, z, 0x1.af286bca1af28p-4);
    q = PX_FMA(q, z, 0x1.e1e1e1e1e1e1ep-4);
    q = PX_FMA(q, z, 0x1.1111111111111p-3);
    q = PX_FMA(q, z, 0x1.3b13b13b13b14p-3);
    q = PX_FMA(q, z, 0x1.745d1745d1746p-3);
    q = PX_FMA(q, z, 0x1.c71c71c71c71cp-3);
    q = PX_FMA(q, z, 0x1.2492492492492p-2);
    q = PX_FMA(q, z, 0x1.999999999999ap-2);
    q = PX_FMA(q, z, 0x1.5555555555555p-1);
    double R = PX_MUL(z, q);
    double h = PX_MUL(PX_MUL(0.5, f), f);
    double low = PX_ADD(PX_MUL(s, PX_ADD(h, R)), PX_MUL(kd, 0x1.a39ef35793c76p-33));
    double y = PX_SUB(PX_MUL(kd, 0x1.62e42feep-1), PX_SUB(PX_SUB(h, low), f));
    y = x == PX_INF ? PX_INF : y;
    y = x == 0.0 ? -PX_INF : y;
    return (x < 0.0 || px_nan(x)) ? PX_NAN : y;
}

/* The logarithm of a sum of exponentials, sum = sum exp(x - max): max + log(sum), and an infinite or NaN max as it is. */
PX_FN double px_log_sum(double max, double sum) { return px_finite(max) ? PX_ADD(max, px_log(sum)) : max; }

/* sine and cosine, |x| <= 2^20 (beyond that the reduction loses digits; still the same bits everywhere). */
PX_FN void px_sincos(double x, double *sine, double *cosine)
{
    double n = px_rint(PX_MUL(x, 0x1.45f306dc9c883p-1)); /* 2/pi */
    int64_t quadrant = px_toint(n) & 3;
    double r = PX_FMA(-n, 0x1.921fb54442d18p+0, x); /* pi/2 in three parts */
    r = PX_FMA(-n, 0x1.1a62633145c07p-54, r);
    r = PX_FMA(-n, -0x1.f1976b7ed8fbcp-110, r);
    double z = PX_MUL(r, r);
    double a = 0x1.952c77030ad4ap-49; /* 1/17! */
    a = PX_FMA(a, z, -0x1.ae7f3e733b81fp-41);
    a = PX_FMA(a, z, 0x1.6124613a86d09p-33);
    a = PX_FMA(a, z, -0x1.ae64567f544e4p-26);
    a = PX_FMA(a, z, 0x1.71de3a556c734p-19);
    a = PX_FMA(a, z, -0x1.a01a01a01a01ap-13);
    a = PX_FMA(a, z, 0x1.1111111111111p-7);
    a = PX_FMA(a, z, -0x1.5555555555555p-3);
    double s = PX_FMA(PX_MUL(r, z), a, r);
    double b = -0x1.6827863b97d97p-53; /* -1/18! */
    b = PX_FMA(b, z, 0x1.ae7f3e733b81fp-45);
    b = PX_FMA(b, z, -0x1.93974a8c07c9dp-37);
    b = PX_FMA(b, z, 0x1.1eed8eff8d898p-29);
    b = PX_FMA(b, z, -0x1.27e4fb7789f5cp-22);
    b = PX_FMA(b, z, 0x1.a01a01a01a01ap-16);
    b = PX_FMA(b, z, -0x1.6c16c16c16c17p-10);
    b = PX_FMA(b, z, 0x1.5555555555555p-5);
    double w = PX_MUL(0.5, z);
    double one = PX_SUB(1.0, w);
    double c = PX_ADD(one, PX_FMA(PX_MUL(z, z), b, PX_SUB(PX_SUB(1.0, one), w)));
    double si = (quadrant & 1) ? c : s, co = (quadrant & 1) ? s : c;
    *sine = (quadrant & 2) ? -si : si;
    *cosine = (quadrant == 1 || quadrant == 2) ? -co : co;
}

/* x^power for finite x > 0 and |power| <= 1e100, at most 2 + |power| ulp. An error of log x counts power times, so it has two parts:
 * log x = hi + (x e^-hi - 1). */
PX_FN double px_pow(double x, double power)
{
    double hi = px_log(x);
    double lo = PX_FMA(x, px_exp(-hi), -1.0);
    double p = PX_MUL(power, hi);
    double e = PX_FMA(power, lo, PX_FMA(power, hi, -p));
    double y = px_exp(p);
    return y < PX_INF ? PX_FMA(y, e, y) : y;
}

#endif
