/* rng_order.h (internal): random permutations that are the same on every rank. */
#ifndef PFC_RNG_ORDER_H
#define PFC_RNG_ORDER_H

#include <stdbool.h>
#include <stdint.h>

/* order <- 0 to count - 1 sorted by (pfc_uniform of the number, number). False: out of memory. Local. */
bool pfc_random_order(int64_t seed, uint32_t step, uint32_t stream, int64_t count, int64_t *order);

#endif
