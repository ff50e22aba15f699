/* engine_amx_test.c: whether the amx engine can run here. Includes a test with known answers, so that a machine whose tiles are wrong (a configuration that
 * was not kept, a virtual machine that emulates badly) never computes anything. */
#include "backend/cpu/engine_amx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef PFC_HAVE_AMX

/* Digit of plane q of row (or column) i: lines of extremes, then mixtures. As the signed or unsigned value that it stands for. */
static int digit(int i, int q)
{
    static const uint8_t top[4] = { 0x80, 0x7f, 0xff, 0x00 }, other[4] = { 0xff, 0x80, 0x7f, 0x01 };
    int mix = i < 8 ? 0 : i < 16 ? (q ? 0 : 1) : (i * 5 + q * 3 + i * q) & 3;
    return q ? other[mix] : (int8_t)top[mix];
}

/* Every term of a line is the same digit. */
static void fill(pfc_amx_panel *p, bool left)
{
    p->used[0] = ~(uint64_t)0;
    for (int64_t step = 0; step < p->steps; step++)
        for (int q = 0; q < AMX_PLANES; q++) {
            uint8_t *to = p->tiles + (q < 5 ? (step * 5 + q) * AMX_TILES : (p->steps * 5 + step * 3 + q - 5) * AMX_TILES);
            for (int i = 0; i < AMX_TILES; i++) { /* left: 32 lines of 64 terms; right: two tiles of 16 lines of 16 columns of 4 terms */
                int line = left ? i / 64 : i / 1024 * 16 + i % 64 / 4;
                to[i] = (uint8_t)digit(line, q);
            }
        }
}

static bool right_answers(const int64_t *sum)
{
    for (int r = 0; r < AMX_PANEL; r++)
        for (int c = 0; c < AMX_PANEL; c++) {
            int64_t want[4] = { 0, 0, 0, 0 };
            for (int i = 0; i < AMX_PLANES; i++)
                for (int j = 0; j < AMX_PLANES; j++) {
                    int l = i + j;
                    want[l / 4] += (int64_t)AMX_CHUNK * digit(r, i) * digit(c, j) * ((int64_t)1 << 8 * (3 - l % 4));
                }
            for (int g = 0; g < 4; g++)
                if (sum[(g * AMX_PANEL + r) * AMX_PANEL + c] != want[g]) return false;
        }
    return true;
}

/* All four sign variants at the digit extremes, with a full chunk. */
static bool known_answers(char *why, size_t size)
{
    enum { LEVEL_BYTES = AMX_LEVELS * AMX_LEVEL * 4, SUM_BYTES = 4 * AMX_PANEL * AMX_PANEL * 8 };
    const pfc_amx_kernels *k = &pfc_amx_kernels_table;
    int64_t bytes = pfc_amx_panels_bytes(2, AMX_CHUNK);
    uint8_t *memory = aligned_alloc(64, (size_t)bytes + 2 * LEVEL_BYTES + SUM_BYTES);
    if (!memory) {
        snprintf(why, size, "out of memory");
        return false;
    }
    pfc_amx_panel *p = pfc_amx_panels_place(memory, 2, AMX_CHUNK);
    pfc_amx_work w;
    memset(&w, 0, sizeof w);
    w.level[0] = (int32_t *)(memory + bytes);
    w.level[1] = (int32_t *)(memory + bytes + LEVEL_BYTES);
    int64_t *sum = (int64_t *)(memory + bytes + 2 * LEVEL_BYTES);
    pfc_amx_output to = { .sum = sum, .plane = AMX_PANEL * AMX_PANEL, .sum_ld = AMX_PANEL, .set = true, .rows = AMX_PANEL, .cols = AMX_PANEL };
    fill(&p[0], true);
    fill(&p[1], false);
    k->configure();
    k->product(&p[0], &p[1], 0, &to, &w);
    k->release();
    k->drain(&w);
    bool good = right_answers(sum);
    free(memory);
    if (!good) snprintf(why, size, "the tiles of this machine gave wrong answers");
    return good;
}

bool pfc_engine_amx_usable(char *why, size_t size) { return pfc_cpu_amx(PFC_TILES_INT8, why, size) && known_answers(why, size); }

#else
bool pfc_engine_amx_usable(char *why, size_t size) { return pfc_cpu_amx(PFC_TILES_INT8, why, size); }
#endif
