/* levels.cu: the DGEMMs of a product of slices, and their self-check. */
#include "backend/cuda/products.h"

/* Slice pairs of level l: the forward operand from `first`, `pairs` of them; the reversed one begins at place first_reversed. */
static const struct {
    int first, first_reversed, pairs;
} level_pairs[PFC_LEVELS] = { { 0, 2, 1 }, { 0, 1, 2 }, { 0, 0, 3 }, { 1, 0, 2 }, { 2, 0, 1 } };

static const double *at(const sliced &s, int64_t chunk, int place)
{
    int64_t k = (chunk * 3 + place) * s.depth;
    return s.p + (s.by_k ? k * s.outer : k);
}

static int64_t leading(const sliced &s) { return s.by_k ? s.outer : 3 * s.depth * s.chunks; }
static int64_t apart(const sliced &s) { return 3 * s.depth * (s.by_k ? s.outer : 1); } /* chunks */

/* ---- self-check: C*r = A*(B*r) modulo 2^64 for a vector r of odd numbers ---- */

ON_DEVICE static inline uint64_t odd(int64_t i) { return ((uint64_t)i * 0x9E3779B97F4A7C15u + 0xD1B54A32D192ED03u) | 1; }
ON_DEVICE static inline uint64_t word(double x) { return (uint64_t)(int64_t)x; }

struct wrapping_sum {
    uint64_t v;
    ON_DEVICE wrapping_sum() : v(0) {}
    ON_DEVICE void join(const wrapping_sum &o) { v += o.v; }
};

/* One level of one chunk: c (m, n) from K = k of a and b. */
static void verify(cuda &d, const sliced &a, const sliced &b, const double *pa, const double *pb, int64_t k, const double *c)
{
    int64_t m = a.outer, n = b.outer, lda = leading(a), ldb = leading(b);
    bool ka = a.by_k, kb = b.by_k;
    uint64_t *br = (uint64_t *)scratch(d, SCRATCH_CHECK, (k + 1) * (int64_t)sizeof *br), *wrong = br + k;
    fill_zero(d, wrong, sizeof *wrong);
    teams(d, k, [=] ON_DEVICE(team t, int64_t i) {
        wrapping_sum s;
        for (int64_t j = t.rank; j < n; j += t.size) s.v += word(kb ? pb[i * ldb + j] : pb[j * ldb + i]) * odd(j);
        s = t.join(s);
        if (t.rank == 0) br[i] = s.v;
    });
    teams(d, m, [=] ON_DEVICE(team t, int64_t i) {
        wrapping_sum s;
        for (int64_t j = t.rank; j < n; j += t.size) s.v += word(c[i * n + j]) * odd(j);
        for (int64_t j = t.rank; j < k; j += t.size) s.v -= word(ka ? pa[j * lda + i] : pa[i * lda + j]) * br[j];
        s = t.join(s);
        if (t.rank == 0 && s.v) *wrong = 1;
    });
    uint64_t found = 0;
    to_host(d, &found, wrong, sizeof found);
    if (found) note(d, PFC_ERR_RUNTIME, "self-check: cuBLAS DGEMM did not return the exact integers");
}

/* ---- products ---- */

/* Row-major C (m, n) = A B^T is column-major C^T = B A^T: cuBLAS gets b first. */
void multiply_levels(cuda &d, const sliced &a, const sliced &b, int64_t first, int64_t count, double *level)
{
    const double one = 1.0, zero = 0.0;
    int64_t size = a.outer * b.outer;
    for (int l = 0; l < PFC_LEVELS && !d.failed; l++) {
        int64_t k = level_pairs[l].pairs * a.depth;
        const double *pa = at(a, first, level_pairs[l].first), *pb = at(b, first, level_pairs[l].first_reversed);
        note(d,
             cublasDgemmStridedBatched(d.blas, b.by_k ? CUBLAS_OP_N : CUBLAS_OP_T, a.by_k ? CUBLAS_OP_T : CUBLAS_OP_N, (int)b.outer, (int)a.outer, (int)k, &one,
                                       pb, (int)leading(b), apart(b), pa, (int)leading(a), apart(a), &zero, level + l * size, (int)b.outer, PFC_LEVELS * size,
                                       (int)count),
             "cublasDgemmStridedBatched");
        for (int64_t q = 0; d.be->self_check && q < count && !d.failed; q++)
            verify(d, a, b, pa + q * apart(a), pb + q * apart(b), k, level + (q * PFC_LEVELS + l) * size);
    }
}
