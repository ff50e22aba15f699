/* test_tiles.c: the tile model against plain formulas and the rules it has to keep, and the int8 kernels at the digits' extremes, through the model. */
#include <config.h>

#include "backend/cpu/engine_amx.h"
#include "backend/cpuid.h"
#define PFC_TILE_MODEL
#include "backend/cpu/tiles.h"

#include <check.h>
#include <float.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

static uint32_t next(uint32_t *s)
{
    *s = *s * 1664525u + 1013904223u;
    return *s >> 8;
}

/* ---- the model ---- */

static uint8_t left_bytes[16][64], right_bytes[16][64];
static int32_t sums[16][16], before[16][16];

static void random_tiles(uint32_t *seed)
{
    for (int i = 0; i < 1024; i++) {
        left_bytes[i / 64][i % 64] = (uint8_t)next(seed);
        right_bytes[i / 64][i % 64] = (uint8_t)next(seed);
    }
    for (int i = 0; i < 256; i++) before[i / 16][i % 16] = (int32_t)(next(seed) << 8);
}

static int64_t term(uint8_t byte, int is_signed) { return is_signed && byte > 127 ? (int64_t)byte - 256 : byte; }

static void check_signs(int left_signed, int right_signed)
{
    for (int m = 0; m < 16; m++)
        for (int n = 0; n < 16; n++) {
            int64_t want = before[m][n];
            for (int k = 0; k < 64; k++) want += term(left_bytes[m][k], left_signed) * term(right_bytes[k / 4][4 * n + k % 4], right_signed);
            ck_assert_uint_eq((uint32_t)sums[m][n], (uint32_t)want); /* modulo 2^32 */
        }
}

START_TEST(int8_products)
{
    uint32_t seed = 5;
    for (int round = 0; round < 8; round++) {
        random_tiles(&seed);
        tile_configure();
        for (int variant = 0; variant < 4; variant++) {
            tile_load(2, before, 64);
            tile_load(4, left_bytes, 64);
            tile_load(6, right_bytes, 64);
            if (variant == 0) tile_dpbuud(2, 4, 6);
            if (variant == 1) tile_dpbusd(2, 4, 6);
            if (variant == 2) tile_dpbsud(2, 4, 6);
            if (variant == 3) tile_dpbssd(2, 4, 6);
            tile_store(2, sums, 64);
            check_signs(variant >> 1, variant & 1);
        }
        tile_release();
    }
}
END_TEST

static uint16_t bf16(float x)
{
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return (uint16_t)(bits >> 16);
}

/* One output: two even and two odd terms, added to `was`. */
static float bf16_output(const float left[4], const float right[4], float was)
{
    static uint16_t a[16][32], b[16][32];
    static float c[16][16];
    memset(a, 0, sizeof a);
    memset(b, 0, sizeof b);
    memset(c, 0, sizeof c);
    c[3][5] = was;
    for (int k = 0; k < 4; k++) a[3][k] = bf16(left[k]), b[k / 2][2 * 5 + k % 2] = bf16(right[k]);
    tile_configure();
    tile_load(0, c, 64);
    tile_load(1, a, 64);
    tile_load(2, b, 64);
    tile_dpbf16ps(0, 1, 2);
    tile_store(0, c, 64);
    tile_release();
    return c[3][5];
}

#define FOUR(a, b, c, d) ((const float[4]){ a, b, c, d })

START_TEST(bf16_products)
{
    const float ones[4] = { 1, 1, 1, 1 };
    ck_assert_float_eq(bf16_output(FOUR(1, 2, 3, 4), FOUR(5, 6, 7, 8), 0.5f), 70.5f);
    /* Even terms in one sum, odd terms in another: 2^24 + 1 rounds down, to even; in one chain the terms would give 2^24 + 2. */
    ck_assert_float_eq(bf16_output(FOUR(0x1p24f, 1, 1, 0), ones, 0), 0x1p24f);
    ck_assert_float_eq(bf16_output(FOUR(0x1p24f, 1, 0, 1), ones, 0), 0x1p24f + 2);
    /* The sum of both before what was there. */
    ck_assert_float_eq(bf16_output(FOUR(1, 1, 0, 0), ones, 0x1p24f), 0x1p24f + 2);
    /* Subnormal operands and results count as zero. */
    ck_assert_float_eq(bf16_output(FOUR(0x1p-127f, 0, 0, 0), FOUR(0x1p20f, 0, 0, 0), 0), 0);
    ck_assert_float_eq(bf16_output(FOUR(0x1p-100f, 0, 0, 0), FOUR(0x1p-27f, 0, 0, 0), 0), 0);
    ck_assert_float_eq(bf16_output(FOUR(0x1p-100f, 0, 0, 0), FOUR(0x1p-26f, 0, 0, 0), 0), 0x1p-126f);
    ck_assert_float_eq(bf16_output(FOUR(0, 0, 0, 0), ones, 0x1p-127f), 0);
    ck_assert(isnan(bf16_output(FOUR(INFINITY, -INFINITY, 0, 0), ones, 0)));
    /* The control register changes nothing and stays. */
    unsigned csr = _mm_getcsr();
    _mm_setcsr(csr | 0x6000); /* towards zero */
    float sum = bf16_output(FOUR(0x1p24f, 0, 3, 0), ones, 0);
    unsigned after = _mm_getcsr();
    _mm_setcsr(csr);
    ck_assert_float_eq(sum, 0x1p24f + 4);
    ck_assert_uint_eq(after & ~0x3fu, (csr | 0x6000) & ~0x3fu);
}
END_TEST

START_TEST(without_configuration)
{
    tile_zero(0);
}
END_TEST

START_TEST(after_release)
{
    tile_configure();
    tile_zero(0);
    tile_release();
    tile_zero(0);
}
END_TEST

static void *zero_a_tile(void *unused)
{
    tile_zero(0);
    return unused;
}

START_TEST(configured_by_another_thread)
{
    pthread_t thread;
    tile_configure();
    ck_assert_int_eq(pthread_create(&thread, NULL, zero_a_tile, NULL), 0);
    pthread_join(thread, NULL);
}
END_TEST

START_TEST(one_tile_twice)
{
    tile_configure();
    tile_dpbssd(0, 1, 1);
}
END_TEST

START_TEST(start_row_set)
{
    tile_config c = { .palette = 1, .start_row = 1 };
    tile_load_config(&c);
}
END_TEST

/* ---- the int8 kernels: digits written straight into the tiles ---- */

/* Line i of a panel as integers: k terms of eight digits. */
static int64_t line_value[2][AMX_PANEL][AMX_CHUNK];

static uint8_t digit(int kind, int plane, uint32_t *seed)
{
    static const uint8_t top[4] = { 0x80, 0x7f, 0xff, 0x00 }, other[4] = { 0xff, 0x80, 0x7f, 0x00 };
    int choice = kind < 4 ? kind : (int)(next(seed) & 3);
    return plane ? other[choice] : top[choice];
}

/* `left`: rows of 64 terms; else groups of four terms of 16 columns. Term t of a step is byte t of a row, or byte t%4 of group t/4. Digits past `planes` and
 * terms past k are zero. */
static void fill(pfc_amx_panel *p, bool left, int kind, int planes, int64_t k, uint32_t *seed)
{
    memset(line_value[!left], 0, sizeof line_value[0]);
    p->used[0] = 0;
    for (int64_t step = 0; step < p->steps; step++)
        for (int q = 0; q < AMX_PLANES; q++) {
            uint8_t *tiles = p->tiles + (q < 5 ? (step * 5 + q) * AMX_TILES : (p->steps * 5 + step * 3 + q - 5) * AMX_TILES);
            if (q < planes) p->used[0] |= (uint64_t)1 << (8 * q + (int)step);
            for (int line = 0; line < AMX_PANEL; line++)
                for (int t = 0; t < AMX_STEP; t++) {
                    uint8_t d = q < planes && step * AMX_STEP + t < k ? digit(kind < 4 ? (kind + line) & 3 : 4, q, seed) : 0;
                    tiles[line / 16 * 1024 + (left ? line % 16 * 64 + t : t / 4 * 64 + line % 16 * 4 + t % 4)] = d;
                    line_value[!left][line][step * AMX_STEP + t] |= (int64_t)((uint64_t)d << 8 * (7 - q));
                }
        }
}

static void check_product(const int64_t *sum, int64_t k)
{
    for (int r = 0; r < AMX_PANEL; r++)
        for (int c = 0; c < AMX_PANEL; c++) {
            unsigned __int128 want = 0, got = 0; /* 256*T modulo 2^128 */
            for (int64_t t = 0; t < k; t++) want += (unsigned __int128)((__int128)line_value[0][r][t] * line_value[1][c][t]);
            for (int g = 0; g < 4; g++) got = (got << 32) + (unsigned __int128)(__int128)sum[(g * AMX_PANEL + r) * AMX_PANEL + c];
            ck_assert_msg(want << 8 == got, "row %d, column %d, K %d", r, c, (int)k);
        }
}

START_TEST(digit_extremes)
{
    const pfc_amx_kernels *kernels = &pfc_amx_kernels_table;
    enum { LEVEL_WORDS = AMX_LEVELS * AMX_LEVEL };
    int64_t *sum = malloc(sizeof(int64_t) * 4 * AMX_PANEL * AMX_PANEL);
    int32_t *level = aligned_alloc(64, sizeof(int32_t) * 2 * LEVEL_WORDS);
    uint8_t *memory = aligned_alloc(64, (size_t)pfc_amx_panels_bytes(2, AMX_CHUNK));
    uint32_t seed = 1;
    ck_assert(sum && level && memory);
    for (int kind = 0; kind < 6; kind++)
        for (int planes = 1; planes <= AMX_PLANES; planes += 1 + (kind < 4)) {
            int64_t k = kind < 2 ? AMX_CHUNK : 1 + (int64_t)(next(&seed) % AMX_CHUNK);
            pfc_amx_panel *p = pfc_amx_panels_place(memory, 2, k);
            pfc_amx_work w = { .level = { level, level + LEVEL_WORDS } };
            pfc_amx_output to = { .sum = sum, .plane = AMX_PANEL * AMX_PANEL, .sum_ld = AMX_PANEL, .set = true, .rows = AMX_PANEL, .cols = AMX_PANEL };
            fill(&p[0], true, kind, planes, k, &seed);
            fill(&p[1], false, kind < 4 ? (kind + planes) & 3 : 4, AMX_PLANES + 1 - planes, k, &seed);
            kernels->configure();
            kernels->product(&p[0], &p[1], 0, &to, &w);
            kernels->release();
            kernels->drain(&w);
            check_product(sum, k);
        }
    free(sum);
    free(level);
    free(memory);
}
END_TEST

int main(void)
{
    if (!pfc_cpu_has_avx512()) return 77;
    Suite *suite = suite_create("tiles");
    TCase *tc = tcase_create("model");
    tcase_add_test(tc, int8_products);
    tcase_add_test(tc, bf16_products);
    tcase_add_test(tc, digit_extremes);
    tcase_add_test_raise_signal(tc, without_configuration, SIGILL);
    tcase_add_test_raise_signal(tc, after_release, SIGILL);
    tcase_add_test_raise_signal(tc, configured_by_another_thread, SIGILL);
    tcase_add_test_raise_signal(tc, one_tile_twice, SIGILL);
    tcase_add_test_raise_signal(tc, start_row_set, SIGILL);
    suite_add_tcase(suite, tc);
    SRunner *runner = srunner_create(suite);
    srunner_set_fork_status(runner, CK_FORK);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
