/* math.h (internal): the mathematics of the device: the same sources as the CPU's, compiled for one thread, so that the bits are the same.
 *
 * The functions of cpu/exact_kernels.inc are loops over n elements; a thread calls them with n = 1. Fast mode stores float and calculates with the same
 * functions in double: it is bound by memory and by the products, not by this. */
#ifndef PFC_CUDA_MATH_H
#define PFC_CUDA_MATH_H

#include "backend/cuda/launch.h"
#include "core/exactint.h"

#define EXACT_FN PX_FN
#define restrict __restrict__
#include "backend/cpu/exact_kernels.inc"
#undef restrict
#include "backend/target_logit.h"

/* Element (r, c) of a view, in double. T: float in fast mode. */
template <class T> ON_DEVICE inline T *row_of(pfc_view v, int64_t r) { return (T *)v.data + r * v.ld; }
template <class T> ON_DEVICE inline T *row_of(pfc_rowset s, int64_t i) { return row_of<T>(s.base, s.index ? s.index[i] : s.first + i); }
template <class T> ON_DEVICE inline double value(pfc_view v, int64_t r, int64_t c = 0) { return (double)row_of<T>(v, r)[c]; }
template <class T> ON_DEVICE inline void put(pfc_view v, int64_t r, int64_t c, double x) { row_of<T>(v, r)[c] = (T)x; }

/* The divisor of a norm: max(norm, 1e-12), NaN stays. float compares as float does. */
ON_DEVICE static inline double divisor_of(double norm) { return norm < PFC_NORM_MIN ? PFC_NORM_MIN : norm; }

/* ---- what is summed ---- */

struct largest { /* NaN wins */
    double v;
    ON_DEVICE largest() : v(-PX_INF) {}
    ON_DEVICE void add(double x) { v = px_larger(x, v); }
    ON_DEVICE void join(const largest &o) { add(o.v); }
};

struct magnitude_of { /* the largest finite |x|, and the marks of the others */
    double v;
    int mark;
    ON_DEVICE magnitude_of() : v(0.0), mark(0) {}
    ON_DEVICE void add(double x)
    {
        if (!px_finite(x))
            mark |= pfc_mark_of(x);
        else if (PX_ABS(x) > v)
            v = PX_ABS(x);
    }
    ON_DEVICE void join(const magnitude_of &o)
    {
        v = o.v > v ? o.v : v;
        mark |= o.mark;
    }
};

struct integer_sum { /* scalar sum of exact-v1 1.3 */
    pfc_scalar_sum s;
    ON_DEVICE integer_sum() : s{ 0, 0, 0 } {}
    ON_DEVICE void add(double t, int32_t e) { pfc_scalar_add(&s, t, e); }
    ON_DEVICE void join(const integer_sum &o)
    {
        s.a += o.s.a;
        s.b += o.s.b;
        s.mark |= o.s.mark;
    }
};

struct plain_sum { /* fast mode: in the order of launch.h */
    double v;
    ON_DEVICE plain_sum() : v(0.0) {}
    ON_DEVICE void add(double x) { v = PX_ADD(v, x); }
    ON_DEVICE void join(const plain_sum &o) { add(o.v); }
};

template <class S> struct both { /* two sums at once */
    S first, second;
    ON_DEVICE void join(const both &o)
    {
        first.join(o.first);
        second.join(o.second);
    }
};

struct flag {
    int v;
    ON_DEVICE flag() : v(0) {}
    ON_DEVICE void join(const flag &o) { v |= o.v; }
};

/* a, b and mark of scalar n of an accumulator += s. */
ON_DEVICE static inline void deposit(int64_t *word, unsigned char *mark, int64_t n, const integer_sum &s)
{
    word[2 * n] += s.s.a;
    word[2 * n + 1] += s.s.b;
    mark[n] |= s.s.mark;
}

/* *max = the larger of both; v is not NaN. */
ON_DEVICE static inline void raise(double *max, double v)
{
    if (v > *max) *max = v;
}

/* The sum of x(j), j in [0, n), by a team: exact on the grid of its largest term, or plain. */
template <class T, class F> ON_DEVICE inline double team_sum(team t, int64_t n, F x)
{
    if (sizeof(T) == sizeof(float)) {
        plain_sum s;
        for (int64_t j = t.rank; j < n; j += t.size) s.add(x(j));
        return t.join(s).v;
    }
    magnitude_of m;
    integer_sum s;
    for (int64_t j = t.rank; j < n; j += t.size) m.add(x(j));
    m = t.join(m);
    int32_t e = px_expo(m.v);
    for (int64_t j = t.rank; j < n; j += t.size) s.add(x(j), e);
    s = t.join(s);
    return pfc_scalar_value(&s.s, e);
}

#endif
