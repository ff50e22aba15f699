/* tiles.h (internal): the AMX tile instructions that the kernels use. Compiled with PFC_TILE_MODEL, a model in C takes their place
 * (tests/tiles/tile_model.h), so that the kernels are tested on machines without tiles; the library is never built like that.
 *
 * Tile numbers are literals: the compiler neither allocates nor saves tiles. All eight are 16 rows of 64 bytes. */
#ifndef PFC_TILES_H
#define PFC_TILES_H

#include <stdint.h>

/* The operand of ldtilecfg, palette 1. */
typedef struct tile_config {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tile_config;

#ifdef PFC_TILE_MODEL
#include "tile_model.h"
#else
#include <immintrin.h>

/* By hand: the operand of gcc's _tile_loadconfig is 8 bytes wide, and the stores to the rest of the structure are dropped. */
#define tile_load_config(config) __asm__ volatile("ldtilecfg %0" : : "m"(*(config)) : "memory")
#define tile_release() _tile_release()
#define tile_zero(t) _tile_zero(t)
#define tile_load(t, from, stride) _tile_loadd(t, from, stride)
#define tile_store(t, to, stride) _tile_stored(t, to, stride)
/* Bytes of 64 terms: the first letter is the left operand's sign, the second the right one's. */
#define tile_dpbssd(sum, left, right) _tile_dpbssd(sum, left, right)
#define tile_dpbsud(sum, left, right) _tile_dpbsud(sum, left, right)
#define tile_dpbusd(sum, left, right) _tile_dpbusd(sum, left, right)
#define tile_dpbuud(sum, left, right) _tile_dpbuud(sum, left, right)
/* bfloat16, 32 terms, float sums. */
#define tile_dpbf16ps(sum, left, right) _tile_dpbf16ps(sum, left, right)
#endif

/* The compiler does not know that tile loads read memory and that tile stores write it: between packing and loading, and between storing and reading. */
#define tile_fence() __asm__ volatile("" : : : "memory")

/* All tiles of this thread. A configuration belongs to its thread, and other libraries may change it: before every run of products. */
static inline void tile_configure(void)
{
    tile_config c = { .palette = 1 };
    for (int i = 0; i < 8; i++) {
        c.bytes[i] = 64;
        c.rows[i] = 16;
    }
    tile_load_config(&c);
}

#endif
