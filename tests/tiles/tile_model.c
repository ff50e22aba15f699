/* tile_model.c: see tile_model.h. */
#include "backend/cpu/tiles.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <xmmintrin.h>

enum { TILES = 8, ROWS = 16, ROW_BYTES = 64 };

typedef union tile {
    uint8_t byte[ROWS][ROW_BYTES];
    int8_t signed_byte[ROWS][ROW_BYTES];
    uint16_t word[ROWS][ROW_BYTES / 2];
    uint32_t dword[ROWS][ROW_BYTES / 4];
    float real[ROWS][ROW_BYTES / 4];
} tile;

static _Thread_local tile tiles[TILES];
static _Thread_local int rows_of[TILES], bytes_of[TILES]; /* 0: not configured */

static void fault(const char *what)
{
    fprintf(stderr, "tile model: %s\n", what);
    raise(SIGILL);
}

static void need(int t)
{
    if (t < 0 || t >= TILES || !rows_of[t]) fault("a tile is used without a configuration in this thread");
}

void tile_load_config(const tile_config *c)
{
    int reserved = c->start_row;
    for (int i = 0; i < 14; i++) reserved |= c->reserved[i];
    for (int i = TILES; i < 16; i++) reserved |= c->bytes[i] | c->rows[i];
    if (c->palette != 1 || reserved) fault("configuration: palette or reserved bytes");
    for (int i = 0; i < TILES; i++) {
        if (c->bytes[i] > ROW_BYTES || c->rows[i] > ROWS || c->bytes[i] % 4 || !c->bytes[i] != !c->rows[i]) fault("configuration: shape of a tile");
        bytes_of[i] = c->bytes[i];
        rows_of[i] = c->rows[i];
    }
    memset(tiles, 0, sizeof tiles);
}

void tile_release(void)
{
    memset(tiles, 0, sizeof tiles);
    memset(rows_of, 0, sizeof rows_of);
    memset(bytes_of, 0, sizeof bytes_of);
}

void tile_zero(int t)
{
    need(t);
    memset(&tiles[t], 0, sizeof tiles[t]);
}

void tile_load(int t, const void *from, int64_t stride)
{
    need(t);
    memset(&tiles[t], 0, sizeof tiles[t]);
    for (int r = 0; r < rows_of[t]; r++) memcpy(tiles[t].byte[r], (const uint8_t *)from + r * stride, (size_t)bytes_of[t]);
}

void tile_store(int t, void *to, int64_t stride)
{
    need(t);
    for (int r = 0; r < rows_of[t]; r++) memcpy((uint8_t *)to + r * stride, tiles[t].byte[r], (size_t)bytes_of[t]);
}

/* sum is m x n, left m x k, right k x n, in elements of four bytes. */
static void need_shapes(int sum, int left, int right)
{
    need(sum);
    need(left);
    need(right);
    if (sum == left || sum == right || left == right) fault("a product uses one tile twice");
    if (rows_of[sum] != rows_of[left] || bytes_of[sum] != bytes_of[right] || bytes_of[left] / 4 != rows_of[right]) fault("shapes of a product");
}

/* The sum of four products is exact in 32 bits; adding it wraps around. */
#define INT8_PRODUCT(name, left_byte, right_byte)                                                                                              \
    void name(int sum, int left, int right)                                                                                                    \
    {                                                                                                                                          \
        need_shapes(sum, left, right);                                                                                                         \
        for (int m = 0; m < rows_of[sum]; m++)                                                                                                 \
            for (int k = 0; k < rows_of[right]; k++)                                                                                           \
                for (int n = 0; n < bytes_of[sum] / 4; n++) {                                                                                  \
                    int four = 0;                                                                                                              \
                    for (int b = 0; b < 4; b++) four += (int)tiles[left].left_byte[m][4 * k + b] * (int)tiles[right].right_byte[k][4 * n + b]; \
                    tiles[sum].dword[m][n] += (uint32_t)four;                                                                                  \
                }                                                                                                                              \
    }
INT8_PRODUCT(tile_dpbssd, signed_byte, signed_byte)
INT8_PRODUCT(tile_dpbsud, signed_byte, byte)
INT8_PRODUCT(tile_dpbusd, byte, signed_byte)
INT8_PRODUCT(tile_dpbuud, byte, byte)

static float widened(uint16_t bf16)
{
    uint32_t bits = (uint32_t)bf16 << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

/* Row m: even and odd terms apart, then their sum, then the sum with what was there; each step rounded. */
static void bf16_row(float *sum, const uint16_t *left, const tile *right, int steps, int cols)
{
    float part[ROW_BYTES / 2] = { 0 };
    for (int k = 0; k < steps; k++)
        for (int i = 0; i < 2 * cols; i++) part[i] = __builtin_fmaf(widened(left[2 * k + i % 2]), widened(right->word[k][i]), part[i]);
    for (int n = 0; n < cols; n++) sum[n] += part[2 * n] + part[2 * n + 1];
}

/* To nearest even, subnormal operands and results as zero, whatever MXCSR says; no exceptions. */
void tile_dpbf16ps(int sum, int left, int right)
{
    enum { NEAREST = 0x1f80, FLUSH = 0x8040 }; /* all exceptions masked; FTZ and DAZ */
    need_shapes(sum, left, right);
    unsigned csr = _mm_getcsr();
    _mm_setcsr(NEAREST | FLUSH);
    tile_fence();
    for (int m = 0; m < rows_of[sum]; m++) bf16_row(tiles[sum].real[m], tiles[left].word[m], &tiles[right], rows_of[right], bytes_of[sum] / 4);
    tile_fence();
    _mm_setcsr(csr);
}
