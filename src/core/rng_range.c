/* rng_range.c: random numbers of consecutive indices by the kernels of the best instruction set. */
#include "backend/backend.h"
#include "core/rng_kernels.h"

#include <pfc/rng.h>
#include <string.h>

enum { FEW = 32 }; /* below, asking which CPU this is costs more than the kernels save */

static const pfc_rng_kernels *kernels(void)
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

void pfc_uniform_range(int64_t seed, int64_t first, int64_t count, uint32_t step, uint32_t stream, double *out)
{
    if (count >= FEW)
        kernels()->uniform(range(seed, first, step, stream), count, out);
    else
        for (int64_t i = 0; i < count; i++) out[i] = pfc_uniform(seed, first + i, step, stream);
}

void pfc_normal_range(int64_t seed, int64_t first, int64_t count, uint32_t step, uint32_t stream, double *out)
{
    int64_t odd = count > 0 && first % 2 != 0, pairs = (count - odd) / 2;
    if (odd) out[0] = pfc_normal(seed, first, step, stream);
    if (count >= FEW)
        kernels()->normal_pairs(range(seed, (first + odd) >> 1, step, stream), pairs, out + odd);
    else
        for (int64_t i = 0; i < pairs; i++) pfc_normal_pair(seed, ((first + odd) >> 1) + i, step, stream, out + odd + 2 * i);
    if (odd + 2 * pairs < count) out[count - 1] = pfc_normal(seed, first + count - 1, step, stream);
}
