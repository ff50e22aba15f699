/* engine_ifma_test.c: whether the ifma engine can run here. Includes a product with known answers. */
#include "backend/cpu/engine_ifma.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef PFC_HAVE_IFMA

enum { K = 40 };

/* V of line i, term k: extremes first, then 53-bit mixtures anywhere below 2^62; right: multiples of 2^22, so that nothing is a rest. */
static int64_t answer(int i, int k, bool right)
{
    int64_t most = right ? (((int64_t)1 << 40) - 1) * (1 << IFMA_REST_BITS) : ((int64_t)1 << 62) - 512, mix = (int64_t)(exact_odd(97 * i + k) >> 11);
    if (i < 2) return i ? -most : most;
    if (i == 2) return k & 1 ? most : -most;
    mix = (k & 1 ? -mix : mix) * ((int64_t)1 << (k % 10));
    return right ? mix / (1 << IFMA_REST_BITS) * (1 << IFMA_REST_BITS) : mix;
}

static bool right_answers(const pfc_ifma_tile *t, int shift)
{
    for (int r = 0; r < IFMA_ROWS; r++)
        for (int c = 0; c < IFMA_COLS; c++) {
            pfc_i128 sum = 0;
            for (int k = 0; k < K; k++) sum += (pfc_i128)(answer(r, k, false) >> shift) * (answer(c, k, true) >> IFMA_REST_BITS);
            if (pfc_ifma_value(t, r, c) != sum) return false;
        }
    return true;
}

static bool known_answers(char *why, size_t size)
{
    const pfc_ifma_kernels *k = &pfc_ifma_kernels_table;
    int64_t strip_words = pfc_ifma_strips_words(1, K), panel_words = pfc_ifma_panels_words(1, K);
    void *memory = aligned_alloc(64, (size_t)(strip_words + panel_words + 8) / 8 * 64);
    if (!memory) {
        snprintf(why, size, "out of memory");
        return false;
    }
    pfc_ifma_panel *panel = pfc_ifma_panels_place(memory, 1, K);
    pfc_ifma_strip *strip = pfc_ifma_strips_place((int64_t *)memory + panel_words, 1, K, false);
    double left[IFMA_ROWS][K], right[K][IFMA_COLS];
    const double *row[8];
    const double one[8] = { 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0 };
    for (int i = 0; i < K; i++) {
        for (int r = 0; r < IFMA_ROWS; r++) left[r][i] = (double)answer(r, i, false);
        for (int c = 0; c < IFMA_COLS; c++) right[i][c] = (double)answer(c, i, true);
    }
    for (int i = 0; i < K; i += 8) {
        for (int j = 0; j < 8; j++) row[j] = right[i + j];
        k->right(panel, i, row, one, 8, IFMA_COLS);
    }
    for (int r = 0; r < IFMA_ROWS; r++) row[r] = left[r];
    pfc_ifma_tile tile;
    k->rows(strip, row, one, K, false);
    k->product(strip, &panel->main, K, &tile);
    bool good = right_answers(&tile, strip->shift) && panel->rests == 0;
    free(memory);
    if (!good) snprintf(why, size, "vpmadd52 of this machine gave wrong answers");
    return good;
}

bool pfc_engine_ifma_usable(char *why, size_t size) { return pfc_cpu_ifma(why, size) && known_answers(why, size); }

#else
bool pfc_engine_ifma_usable(char *why, size_t size) { return pfc_cpu_ifma(why, size); }
#endif
