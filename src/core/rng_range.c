/* rng_range.c: random numbers of consecutive indices by the kernels of an instruction set. */
#include "backend/backend.h"
#include "core/rng_kernels.h"

#include <pfc/rng.h>
#include <string.h>

const pfc_rng_kernels *pfc_rng_best(void)
{
    char why[128];
    const char *isa = pfc_cpu_isa(why, sizeof why);
#ifdef PFC_HAVE_AVX512
    if (isa && strcmp(isa, "avx512") == 0) return &pfc_rng_kernels_avx512;
#endif
#ifdef PFC_HAVE_AVX2
    if (isa && strcmp(isa, "avx2") == 0) return &pfc_rng_kernels_avx2;
#endif
    return &pfc_rng_kernels_scalar;
}

static rng_range range(int64_t seed, int64_t first, uint32_t step, uint32_t stream)
{
    return (rng_range){ { (uint32_t)(uint64_t)seed, (uint32_t)((uint64_t)seed >> 32) }, step, stream, (uint64_t)first };
}

void pfc_uniform_range(const pfc_rng_kernels *k, int64_t seed, int64_t first, int64_t count, uint32_t step, uint32_t stream, double *out)
{
#ifdef PFC_HAVE_AVX2
    if (k == &pfc_rng_kernels_avx2) k = &pfc_rng_kernels_scalar; /* without 64-bit products AVX2 takes 1.5 times as long as the plain loop */
#endif
    k->uniform(range(seed, first, step, stream), count, out);
}

void pfc_normal_range(const pfc_rng_kernels *k, int64_t seed, int64_t first, int64_t count, uint32_t step, uint32_t stream, double *out)
{
    int64_t odd = count > 0 && first % 2 != 0, pairs = (count - odd) / 2;
    if (odd) out[0] = pfc_normal(seed, first, step, stream);
    k->normal_pairs(range(seed, (first + odd) >> 1, step, stream), pairs, out + odd);
    if (odd + 2 * pairs < count) out[count - 1] = pfc_normal(seed, first + count - 1, step, stream);
}
