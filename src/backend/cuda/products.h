/* products.h (internal): matrix products of exact mode: integers in parts, cuBLAS on the parts, limbs, one rounding (doc/exact-v1.md 1.2; exact.md 2.2, 2.7).
 *
 *   engine dgemm   V = s0*2^42 + s1*2^21 + s2 as doubles, |s| <= 2^20: a product of two is at most 2^40, a sum of 3*1024 of them below 2^52
 *   engine int8    V = sum of b_i 256^(7-i), -128 <= b <= 127: a product is at most 2^14, a sum of 8*8192 of them at most 2^30, below int32's end
 *
 * Whatever the order, cuBLAS makes the exact integer. The sum over K is cut into chunks of `depth`; within a chunk the parts stand one after the other along K,
 * in one operand forward and in the other in reverse, so that the pairs i + j = l of a level lie next to each other: one call per level for all chunks. */
#ifndef PFC_CUDA_PRODUCTS_H
#define PFC_CUDA_PRODUCTS_H

#include "backend/cuda/math.h"

enum { SLICES = 3, BYTES = 8 };

struct sliced {
    void *p;               /* double or int8_t */
    int parts;             /* SLICES, BYTES */
    int64_t outer, K;      /* rows (or columns, if by_k), and terms of the sums */
    int64_t depth, chunks; /* K is filled up with zeros to depth*chunks */
    bool by_k;             /* element (o, k) at k*outer + o, else at o*parts*depth*chunks + k, k along the parts */
    bool reversed;
};

inline bool uses_bytes(const cuda &d) { return d.be->engine[0] == 'i'; }
inline int levels_of(const sliced &s) { return 2 * s.parts - 1; }
inline int64_t part_bytes(const sliced &s) { return s.parts == BYTES ? 1 : (int64_t)sizeof(double); }

/* Rows in memory: the tensor cores want 4 bytes at a time. */
inline int64_t rows_of(const sliced &s) { return s.parts == BYTES ? (s.outer + 3) / 4 * 4 : s.outer; }

inline sliced sliced_shape(const cuda &d, int64_t outer, int64_t K, bool by_k, bool reversed)
{
    sliced s = { NULL, uses_bytes(d) ? BYTES : SLICES, outer, K > 0 ? K : 1, 0, 0, by_k, reversed };
    bool bytes = s.parts == BYTES;
    int64_t deepest = bytes ? 8192 : 1024;
    s.depth = s.K < deepest ? s.K : deepest;
    if (bytes) s.depth = (s.depth + 15) / 16 * 16;
    if (bytes) s.by_k = false; /* tensor cores read both operands along K */
    s.chunks = (s.K + s.depth - 1) / s.depth;
    return s;
}

inline int64_t sliced_bytes(const sliced &s) { return s.parts * rows_of(s) * s.depth * s.chunks * part_bytes(s); }

/* The eight bytes of s0*2^42 + s1*2^21 + s2. */
ON_DEVICE inline void bytes_of(double s0, double s1, double s2, int8_t byte[BYTES])
{
    int64_t v = (int64_t)s0 * ((int64_t)1 << 42) + (int64_t)s1 * ((int64_t)1 << 21) + (int64_t)s2;
    for (int i = BYTES - 1; i >= 0; i--) {
        byte[i] = (int8_t)(uint8_t)((uint64_t)v & 255);
        v = (v - byte[i]) / 256; /* exact */
    }
}

/* Fills s.p: f(o, k, x, scale) sets the number and 2^(20-e) of its grid. */
template <class F> void slice_into(cuda &d, const sliced &into, F f)
{
    sliced s = into;
    int64_t padded = s.depth * s.chunks, rows = rows_of(s), K = into.K;
    each(d, rows * padded, [=] ON_DEVICE(int64_t i) {
        int64_t o = s.by_k ? i % rows : i / padded, k = s.by_k ? i / rows : i % padded;
        double x = 0.0, scale = 1.0, part[SLICES];
        int8_t byte[BYTES];
        if (k < K && o < s.outer) f(o, k, x, scale);
        slice_each(&x, &scale, 1, part, part + 1, part + 2);
        if (s.parts == BYTES) bytes_of(part[0], part[1], part[2], byte);
        for (int j = 0; j < s.parts; j++) {
            int64_t at = (k / s.depth * s.parts + (s.reversed ? s.parts - 1 - j : j)) * s.depth + k % s.depth;
            int64_t to = s.by_k ? at * rows + o : o * s.parts * padded + at;
            if (s.parts == BYTES)
                ((int8_t *)s.p)[to] = byte[j];
            else
                ((double *)s.p)[to] = part[j];
        }
    });
}

/* level (chunks, levels, m, rows of b) of the chunks [first, first + count), double or int32_t: a forward, b reversed, of the same K. */
void multiply_levels(cuda &d, const sliced &a, const sliced &b, int64_t first, int64_t count, void *level);

/* limb += the levels of an element, `stride` apart from `at` on. */
ON_DEVICE inline void add_levels(int64_t *limb, const void *level, int parts, int64_t at, int64_t stride)
{
    if (parts == BYTES)
        for (int l = 0; l < 2 * BYTES - 1; l++) pfc_limbs_add_at(limb, ((const int32_t *)level)[at + l * stride], 8 * (2 * BYTES - 2 - l));
    else
        for (int l = 0; l < 2 * SLICES - 1; l++) pfc_limbs_add_at(limb, (int64_t)((const double *)level)[at + l * stride], 21 * (2 * SLICES - 2 - l));
}

static const int64_t LEVEL_BYTES = 1 << 28; /* of the levels of one call, if that holds one chunk */

/* g(i, limb) for every element i = row of a times outer of b plus row of b, limb[4] = its sum over K, not normalised. */
template <class G> void product(cuda &d, const sliced &a, const sliced &b, G g)
{
    int64_t n = b.outer, size = a.outer * n, wide = rows_of(b), made = a.outer * wide, one = levels_of(a) * made * (a.parts == BYTES ? 4 : 8);
    int levels = levels_of(a), parts = a.parts;
    if (size == 0) return;
    int64_t batch = one * a.chunks <= LEVEL_BYTES ? a.chunks : LEVEL_BYTES / one < 1 ? 1 : LEVEL_BYTES / one;
    void *level = scratch(d, SCRATCH_LEVELS, batch * one);
    int64_t *sum = batch < a.chunks ? (int64_t *)scratch(d, SCRATCH_LIMBS, size * PFC_LIMBS * (int64_t)sizeof *sum) : NULL;
    if (sum) fill_zero(d, sum, size * PFC_LIMBS * (int64_t)sizeof *sum);
    for (int64_t first = 0; first < a.chunks && !d.failed; first += batch) {
        int64_t count = a.chunks - first < batch ? a.chunks - first : batch;
        bool last = first + count == a.chunks;
        multiply_levels(d, a, b, first, count, level);
        each(d, size, [=] ON_DEVICE(int64_t i) {
            int64_t limb[PFC_LIMBS] = { 0, 0, 0, 0 };
            for (int64_t q = 0; q < count; q++) add_levels(limb, level, parts, q * levels * made + i / n * wide + i % n, made);
            for (int j = 0; sum && j < PFC_LIMBS; j++) limb[j] = sum[i * PFC_LIMBS + j] += limb[j];
            if (last) g(i, limb);
        });
    }
}

#endif
