/* philox.c: Philox4x32-10 and the numbers made from it. */
#include <pfc/rng.h>

#include "core/px.h"
#include "core/rng_kernels.h"

void pfc_philox4x32(const uint32_t counter[4], const uint32_t key[2], uint32_t out[4])
{
    uint32_t c0 = counter[0], c1 = counter[1], c2 = counter[2], c3 = counter[3], k0 = key[0], k1 = key[1];
    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)PHILOX_M0 * c0, p1 = (uint64_t)PHILOX_M1 * c2;
        uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += PHILOX_W0;
        k1 += PHILOX_W1;
    }
    out[0] = c0;
    out[1] = c1;
    out[2] = c2;
    out[3] = c3;
}

static void draw(int64_t seed, int64_t index, uint32_t step, uint32_t stream, uint32_t x[4])
{
    uint32_t key[2] = { (uint32_t)(uint64_t)seed, (uint32_t)((uint64_t)seed >> 32) };
    uint32_t counter[4] = { (uint32_t)(uint64_t)index, (uint32_t)((uint64_t)index >> 32), step, stream };
    pfc_philox4x32(counter, key, x);
}

/* The upper 53 bits of two words. */
static uint64_t mantissa(uint32_t high, uint32_t low) { return (((uint64_t)high << 32) | low) >> 11; }

double pfc_uniform(int64_t seed, int64_t index, uint32_t step, uint32_t stream)
{
    uint32_t x[4];
    draw(seed, index, step, stream, x);
    return (double)mantissa(x[0], x[1]) * 0x1p-53;
}

void pfc_normal_pair(int64_t seed, int64_t pair, uint32_t step, uint32_t stream, double out[2])
{
    uint32_t x[4];
    draw(seed, pair, step, stream, x);
    double u1 = (double)(mantissa(x[0], x[1]) + 1) * 0x1p-53, u2 = (double)mantissa(x[2], x[3]) * 0x1p-53;
    double radius = PX_SQRT(-2.0 * px_log(u1)), sine, cosine;
    px_sincos(PX_TWO_PI * u2, &sine, &cosine);
    out[0] = radius * cosine;
    out[1] = radius * sine;
}

double pfc_normal(int64_t seed, int64_t index, uint32_t step, uint32_t stream)
{
    double pair[2];
    pfc_normal_pair(seed, index >> 1, step, stream, pair);
    return pair[index & 1];
}
