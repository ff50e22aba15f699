/* rng_order.c: permutations from keys, so that no state has to travel. */
#include "core/rng_order.h"

#include <pfc/rng.h>
#include <stdlib.h>

typedef struct keyed {
    double key;
    int64_t number;
} keyed;

static int by_key_then_number(const void *a, const void *b)
{
    const keyed *x = a, *y = b;
    if (x->key != y->key) return x->key < y->key ? -1 : 1;
    return (x->number > y->number) - (x->number < y->number);
}

bool pfc_random_order(int64_t seed, uint32_t step, uint32_t stream, int64_t count, int64_t *order)
{
    keyed *k = malloc((size_t)count * sizeof *k + 1);
    if (!k) return false;
    for (int64_t i = 0; i < count; i++) k[i] = (keyed){ pfc_uniform(seed, i, step, stream), i };
    qsort(k, (size_t)count, sizeof *k, by_key_then_number);
    for (int64_t i = 0; i < count; i++) order[i] = k[i].number;
    free(k);
    return true;
}
