/* fast_bf16_test.c: whether the kernel set bf16x6 can run here. Includes a test with known answers, for the reasons of engine_amx_test.c. */
#include "backend/backend.h"
#include "backend/cpu/fast_bf16.h"

#include <stdio.h>
#include <stdlib.h>

#ifdef PFC_HAVE_AMX

enum { DEPTH = 70 };

/* Row i, with 24 significant bits: every part counts. Or 1 + 2^-9 times a power of two, whose square is exact in 24 bits and needs mid*mid. */
static float full(int i, int k) { return (float)(0x800001 + (i * 977 + k * 131071) % 0x7ffffe) * (k & 1 ? -0x1p-20f : 0x1p-23f); }
static float square(int i) { return (1.0f + 0x1p-9f) * (float)(1 << i % 5); }

/* Row j has one term, of value +-2^(j%3), or square(j). */
static float single(int j, int k, bool squares) { return k != (j * 13 + 5) % DEPTH ? 0.0f : squares ? square(j) : (float)(j & 1 ? -(1 << j % 3) : 1 << j % 3); }

enum { FULL_LEFT, FULL_RIGHT, SQUARES, ROUNDS };

static float element(int round, int side, int i, int k)
{
    if (round == SQUARES) return side ? single(i, k, true) : square(i);
    return side == (round == FULL_RIGHT) ? full(i, k) : single(i, k, false);
}

/* Products whose every rounding is exact. */
static bool right_answers(int round, const float *out)
{
    for (int i = 0; i < BF16_PANEL; i++)
        for (int j = 0; j < BF16_PANEL; j++) {
            double want = 0.0;
            for (int k = 0; k < DEPTH; k++) want += (double)element(round, 0, i, k) * (double)element(round, 1, j, k);
            if ((double)out[i * BF16_PANEL + j] != want) return false;
        }
    return true;
}

static bool known_answers(char *why, size_t size)
{
    const pfc_bf16_kernels *k = &pfc_bf16_kernels_table;
    int64_t bytes = pfc_bf16_panel_bytes(DEPTH);
    uint8_t *memory = aligned_alloc(64, (size_t)(2 * bytes) + BF16_OUT * sizeof(float));
    if (!memory) {
        snprintf(why, size, "out of memory");
        return false;
    }
    float value[2][BF16_PANEL][DEPTH], *out = (float *)(void *)(memory + 2 * bytes);
    const float *row[2][BF16_PANEL];
    bool good = true;
    for (int round = 0; round < ROUNDS && good; round++) {
        for (int side = 0; side < 2; side++)
            for (int i = 0; i < BF16_PANEL; i++) {
                row[side][i] = value[side][i];
                for (int t = 0; t < DEPTH; t++) value[side][i][t] = element(round, side, i, t);
            }
        k->rows(row[0], NULL, BF16_PANEL, DEPTH, memory);
        k->rows_right(row[1], NULL, BF16_PANEL, DEPTH, memory + bytes);
        k->configure();
        k->product(memory, memory + bytes, DEPTH, out);
        k->release();
        good = right_answers(round, out);
    }
    free(memory);
    if (!good) snprintf(why, size, "the tiles of this machine gave wrong answers");
    return good;
}

bool pfc_bf16_usable(char *why, size_t size) { return pfc_cpu_amx(PFC_TILES_BF16, why, size) && known_answers(why, size); }

#else
bool pfc_bf16_usable(char *why, size_t size) { return pfc_cpu_amx(PFC_TILES_BF16, why, size); }
#endif
