/* tile_model.h: the AMX tile instructions in C, after the pseudo-code of Intel's instruction set reference, for tests on machines without tiles. State
 * is per thread as on the hardware. What a CPU answers with an exception (no configuration, wrong shapes, one tile twice) is SIGILL with a line on stderr. Included by tiles.h. */
#ifndef TILE_MODEL_H
#define TILE_MODEL_H

#include <immintrin.h> /* as tiles.h without the model */

void tile_load_config(const tile_config *config);
void tile_release(void);
void tile_zero(int t);
void tile_load(int t, const void *from, int64_t stride);
void tile_store(int t, void *to, int64_t stride);
void tile_dpbssd(int sum, int left, int right);
void tile_dpbsud(int sum, int left, int right);
void tile_dpbusd(int sum, int left, int right);
void tile_dpbuud(int sum, int left, int right);
void tile_dpbf16ps(int sum, int left, int right);

#endif
