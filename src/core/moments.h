/* moments.h (internal): mean and variance from the integers of exact sums, each one correctly rounded rational number (doc/exact-v1.md 7.2).
 *
 * The variance of numbers with a large mean is a small difference of large ones: taken between integers nothing is lost. */
#ifndef PFC_MOMENTS_H
#define PFC_MOMENTS_H

#include "core/exactint.h"

#ifdef __cplusplus
extern "C" {
#endif

/* first, second: scalar sums (1.3) of x with exponent e and of x*x with exponent max(2e, -900), over `count` numbers, 0 < count <= 2^24 (1.5).
 * mean = sum / count; var = max(count * second - first^2, 0) / count^2, the biased variance. A marked first sum: its value, and NaN. */
void pfc_moments(const pfc_scalar_sum *first, const pfc_scalar_sum *second, int64_t count, int32_t e, double *mean, double *var);

#ifdef __cplusplus
}
#endif
#endif
