/* engine_ifma.h (internal): memory of strips and panels, for the ifma engine and its tests. */
#ifndef PFC_ENGINE_IFMA_H
#define PFC_ENGINE_IFMA_H

#include "backend/cpu/exact.h"
#include "backend/cpu/exact_ifma.h"

/* 8-byte words of `count` strips or panels with K = k <= IFMA_CHUNK, and the strips or panels in 64-byte aligned memory of that size. by_k: for columns. */
int64_t pfc_ifma_strips_words(int64_t count, int64_t k);
pfc_ifma_strip *pfc_ifma_strips_place(void *memory, int64_t count, int64_t k, bool by_k);
int64_t pfc_ifma_panels_words(int64_t count, int64_t k);
pfc_ifma_panel *pfc_ifma_panels_place(void *memory, int64_t count, int64_t k);
/* Words of the first panel of a prepared batch, for cosines or for weight_grad: tests damage them. */
uint64_t *pfc_ifma_operand_words(const pfc_operand *x, bool of_weight_grad);

/* high*2^52 + low; high may be negative, which must not be shifted. */
static inline pfc_i128 pfc_ifma_value(const pfc_ifma_tile *t, int row, int col) { return (pfc_i128)t->high[row][col] * ((int64_t)1 << 52) + t->low[row][col]; }

#endif
