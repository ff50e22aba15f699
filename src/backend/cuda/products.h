/* products.h (internal): matrix products of exact mode: integers in three slices, DGEMM on the slices, limbs (doc/exact-v1.md 1.2; exact.md 2.2).
 *
 * V = s0*2^42 + s1*2^21 + s2 with |s| <= 2^20, so a product of two slices is at most 2^40 and a sum of 3*1024 of them below 2^52: whatever the order,
 * cuBLAS makes the exact integer. The sum over K is cut into chunks of `depth`; within a chunk the slices stand one after the other along K, in one
 * operand forward and in the other in reverse, so that the pairs i + j = l of a level lie next to each other: one call per level for all chunks. */
#ifndef PFC_CUDA_PRODUCTS_H
#define PFC_CUDA_PRODUCTS_H

#include "backend/cuda/math.h"

enum { PFC_LEVELS = 5 };
static const int64_t DEEPEST = 1024;

struct sliced {
    double *p;
    int64_t outer, K;      /* rows (or columns, if by_k), and terms of the sums */
    int64_t depth, chunks; /* K is filled up with zeros to depth*chunks */
    bool by_k;             /* element (o, k) at k*outer + o, else at o*3*depth*chunks + k, k along the slices */
    bool reversed;
};

inline sliced sliced_shape(int64_t outer, int64_t K, bool by_k, bool reversed)
{
    sliced s = { NULL, outer, K, 0, 0, by_k, reversed };
    s.depth = K < DEEPEST ? (K > 0 ? K : 1) : DEEPEST;
    s.chunks = K > 0 ? (K + s.depth - 1) / s.depth : 1;
    return s;
}

inline int64_t sliced_bytes(const sliced &s) { return 3 * s.outer * s.depth * s.chunks * (int64_t)sizeof(double); }

/* Fills s.p: f(o, k, x, scale) sets the number and 2^(20-e) of its grid. */
template <class F> void slice_into(cuda &d, const sliced &into, F f)
{
    sliced s = into;
    int64_t padded = s.depth * s.chunks;
    each(d, s.outer * padded, [=] ON_DEVICE(int64_t i) {
        int64_t o = s.by_k ? i % s.outer : i / padded, k = s.by_k ? i / s.outer : i % padded;
        double x = 0.0, scale = 1.0, part[3];
        if (k < s.K) f(o, k, x, scale);
        slice_each(&x, &scale, 1, part, part + 1, part + 2);
        for (int j = 0; j < 3; j++) {
            int64_t at = (k / s.depth * 3 + (s.reversed ? 2 - j : j)) * s.depth + k % s.depth;
            s.p[s.by_k ? at * s.outer + o : o * 3 * padded + at] = part[j];
        }
    });
}

/* level (chunks, 5, m, n) of the chunks [first, first + count): a forward, b reversed, of the same K. */
void multiply_levels(cuda &d, const sliced &a, const sliced &b, int64_t first, int64_t count, double *level);

/* limb += the five levels of an element, `stride` apart. */
ON_DEVICE inline void add_levels(int64_t *limb, const double *level, int64_t stride)
{
    for (int l = 0; l < PFC_LEVELS; l++) pfc_limbs_add_at(limb, (int64_t)level[l * stride], 21 * (PFC_LEVELS - 1 - l));
}

static const int64_t LEVEL_BYTES = 1 << 28; /* of the levels of one call, if that holds one chunk */

/* g(i, limb) for every element i = row of a times outer of b plus row of b, limb[4] = its sum over K, not normalised. */
template <class G> void product(cuda &d, const sliced &a, const sliced &b, G g)
{
    int64_t size = a.outer * b.outer, one = PFC_LEVELS * size * (int64_t)sizeof(double);
    if (size == 0) return;
    int64_t batch = one * a.chunks <= LEVEL_BYTES ? a.chunks : LEVEL_BYTES / one < 1 ? 1 : LEVEL_BYTES / one;
    double *level = (double *)scratch(d, SCRATCH_LEVELS, batch * one);
    int64_t *sum = batch < a.chunks ? (int64_t *)scratch(d, SCRATCH_LIMBS, size * PFC_LIMBS * (int64_t)sizeof *sum) : NULL;
    if (sum) fill_zero(d, sum, size * PFC_LIMBS * (int64_t)sizeof *sum);
    for (int64_t first = 0; first < a.chunks && !d.failed; first += batch) {
        int64_t count = a.chunks - first < batch ? a.chunks - first : batch;
        bool last = first + count == a.chunks;
        multiply_levels(d, a, b, first, count, level);
        each(d, size, [=] ON_DEVICE(int64_t i) {
            int64_t limb[PFC_LIMBS] = { 0, 0, 0, 0 };
            for (int64_t q = 0; q < count; q++) add_levels(limb, level + q * PFC_LEVELS * size + i, size);
            for (int j = 0; sum && j < PFC_LIMBS; j++) limb[j] = sum[i * PFC_LIMBS + j] += limb[j];
            if (last) g(i, limb);
        });
    }
}

#endif
