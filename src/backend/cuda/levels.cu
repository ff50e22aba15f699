/* levels.cu: the products of the parts by cuBLAS, and their self-check. */
#include "backend/cuda/products.h"

/* Pairs (i, j) of parts with i + j = l: the forward operand from place first(l), the reversed one from place first_reversed(l), pairs(l) of them. */
static int pairs(const sliced &s, int l) { return l < s.parts ? l + 1 : 2 * s.parts - 1 - l; }
static int first_place(const sliced &s, int l) { return l < s.parts ? 0 : l - s.parts + 1; }
static int first_reversed(const sliced &s, int l) { return l < s.parts ? s.parts - 1 - l : 0; }

template <class S> static const S *at(const sliced &s, int64_t chunk, int place)
{
    int64_t k = (chunk * s.parts + place) * s.depth;
    return (const S *)s.p + (s.by_k ? k * s.outer : k);
}

static int64_t leading(const sliced &s) { return s.by_k ? s.outer : s.parts * s.depth * s.chunks; }
static int64_t apart(const sliced &s) { return s.parts * s.depth * (s.by_k ? s.outer : 1); } /* chunks */

/* ---- self-check: C*r = A*(B*r) modulo 2^64 for a vector r of odd numbers ---- */

ON_DEVICE static inline uint64_t odd(int64_t i) { return ((uint64_t)i * 0x9E3779B97F4A7C15u + 0xD1B54A32D192ED03u) | 1; }
template <class S> ON_DEVICE inline uint64_t word(S x) { return (uint64_t)(int64_t)x; }

struct wrapping_sum {
    uint64_t v;
    ON_DEVICE wrapping_sum() : v(0) {}
    ON_DEVICE void join(const wrapping_sum &o) { v += o.v; }
};

/* One level of one chunk: c (m, rows of b) from K = k of a and b. */
template <class S, class L> static void verify(cuda &d, const sliced &a, const sliced &b, const S *pa, const S *pb, int64_t k, const L *c)
{
    int64_t m = a.outer, n = rows_of(b), lda = leading(a), ldb = leading(b);
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
    if (found) note(d, PFC_ERR_RUNTIME, "self-check: cuBLAS did not return the exact integers");
}

/* ---- products: row-major C (m, n) = A B^T is column-major C^T = B A^T, so cuBLAS gets b first ---- */

static void multiply(cuda &d, const sliced &a, const sliced &b, int64_t k, const double *pa, const double *pb, int64_t count, double *c)
{
    const double one = 1.0, zero = 0.0;
    note(d,
         cublasDgemmStridedBatched(d.blas, b.by_k ? CUBLAS_OP_N : CUBLAS_OP_T, a.by_k ? CUBLAS_OP_T : CUBLAS_OP_N, (int)b.outer, (int)a.outer, (int)k, &one, pb,
                                   (int)leading(b), apart(b), pa, (int)leading(a), apart(a), &zero, c, (int)b.outer, levels_of(a) * a.outer * b.outer,
                                   (int)count),
         "cublasDgemmStridedBatched");
}

static void multiply(cuda &d, const sliced &a, const sliced &b, int64_t k, const int8_t *pa, const int8_t *pb, int64_t count, int32_t *c)
{
    const int32_t one = 1, zero = 0;
    int64_t rows = rows_of(b);
    note(d,
         cublasGemmStridedBatchedEx(d.blas, CUBLAS_OP_T, CUBLAS_OP_N, (int)rows, (int)a.outer, (int)k, &one, pb, CUDA_R_8I, (int)leading(b), apart(b), pa,
                                    CUDA_R_8I, (int)leading(a), apart(a), &zero, c, CUDA_R_32I, (int)rows, levels_of(a) * a.outer * rows, (int)count,
                                    CUBLAS_COMPUTE_32I, CUBLAS_GEMM_DEFAULT),
         "cublasGemmStridedBatchedEx");
}

template <class S, class L> static void levels(cuda &d, const sliced &a, const sliced &b, int64_t first, int64_t count, L *level)
{
    int64_t size = a.outer * rows_of(b);
    for (int l = 0; l < levels_of(a) && !d.failed; l++) {
        int64_t k = pairs(a, l) * a.depth;
        const S *pa = at<S>(a, first, first_place(a, l)), *pb = at<S>(b, first, first_reversed(a, l));
        multiply(d, a, b, k, pa, pb, count, level + l * size);
        for (int64_t q = 0; d.be->self_check && q < count && !d.failed; q++)
            verify(d, a, b, pa + q * apart(a), pb + q * apart(b), k, level + (q * levels_of(a) + l) * size);
    }
}

void multiply_levels(cuda &d, const sliced &a, const sliced &b, int64_t first, int64_t count, void *level)
{
    if (a.parts == BYTES)
        levels<int8_t>(d, a, b, first, count, (int32_t *)level);
    else
        levels<double>(d, a, b, first, count, (double *)level);
}
