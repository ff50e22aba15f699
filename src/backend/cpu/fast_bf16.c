/* fast_bf16.c: the kernels of fast_bf16.h, compiled for AMX and AVX-512. */
#include "backend/cpu/fast_bf16.h"
#include "backend/cpu/lanes512.h"
#include "backend/cpu/tiles.h"

enum { HI, MID, LO };

/* ---- parts and panels ---- */

/* Two vectors of floats to the three parts: a in the low halves of the lanes, b in the high ones. Every subtraction is exact. */
static inline void put_line(uint8_t *step, int line, __m512 a, __m512 b)
{
    const __m512i upper = _mm512_set1_epi32((int)0xffff0000u);
    for (int part = 0; part < 3; part++) {
        __m512i high_a = _mm512_and_si512(_mm512_castps_si512(a), upper), high_b = _mm512_and_si512(_mm512_castps_si512(b), upper);
        _mm512_store_si512(step + part * BF16_PART + 64 * line, _mm512_or_si512(_mm512_srli_epi32(high_a, 16), high_b));
        a = _mm512_sub_ps(a, _mm512_castsi512_ps(high_a));
        b = _mm512_sub_ps(b, _mm512_castsi512_ps(high_b));
    }
}

static void rows(const float *const *row, const float *scale, int count, int64_t k, uint8_t *panel)
{
    for (int i = 0; i < BF16_PANEL; i++) {
        __m512 s = _mm512_set1_ps(scale && i < count ? scale[i] : 1.0f);
        for (int64_t at = 0; at < k; at += BF16_STEP) {
            __mmask16 low = first_of_16(i < count ? k - at : 0), high = first_of_16(i < count ? k - at - 16 : 0);
            __m512 a = low ? _mm512_maskz_loadu_ps(low, row[i] + at) : _mm512_setzero_ps();
            __m512 b = high ? _mm512_maskz_loadu_ps(high, row[i] + at + 16) : _mm512_setzero_ps();
            put_line(panel + at / BF16_STEP * BF16_STEP_BYTES, i, _mm512_mul_ps(a, s), _mm512_mul_ps(b, s));
        }
    }
}

/* 16 x 16 groups of four bytes. */
static void transpose_tile(uint8_t *tile)
{
    __m512i r[16], t[16];
    for (int i = 0; i < 16; i++) r[i] = _mm512_load_si512(tile + 64 * i);
    for (int i = 0; i < 8; i++) {
        t[2 * i] = _mm512_unpacklo_epi32(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 16; i += 4) { /* quarter l of r[i+j]: column 4l+j of lines i..i+3 */
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int j = 0; j < 4; j++) {
        __m512i a = _mm512_shuffle_i32x4(r[j], r[4 + j], 0x44), b = _mm512_shuffle_i32x4(r[j], r[4 + j], 0xee);
        __m512i c = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0x44), d = _mm512_shuffle_i32x4(r[8 + j], r[12 + j], 0xee);
        _mm512_store_si512(tile + 64 * j, _mm512_shuffle_i32x4(a, c, 0x88));
        _mm512_store_si512(tile + 64 * (4 + j), _mm512_shuffle_i32x4(a, c, 0xdd));
        _mm512_store_si512(tile + 64 * (8 + j), _mm512_shuffle_i32x4(b, d, 0x88));
        _mm512_store_si512(tile + 64 * (12 + j), _mm512_shuffle_i32x4(b, d, 0xdd));
    }
}

/* Left panels to right ones and back. */
static void transpose_panels(uint8_t *panels, int64_t count, int64_t k)
{
    for (int64_t at = 0; at < count * pfc_bf16_panel_bytes(k); at += 1024) transpose_tile(panels + at);
}

static void rows_right(const float *const *row, const float *scale, int count, int64_t k, uint8_t *panel)
{
    rows(row, scale, count, k, panel);
    transpose_panels(panel, 1, k);
}

/* 16 columns of term t, or zero. */
static inline __m512 term(const float *const *row, const float *scale, int64_t t, int64_t k, int64_t at, int64_t cols)
{
    __mmask16 mask = first_of_16(t < k ? cols - at : 0);
    if (!mask) return _mm512_setzero_ps();
    return _mm512_mul_ps(_mm512_maskz_loadu_ps(mask, row[t] + at), _mm512_set1_ps(scale ? scale[t] : 1.0f));
}

static void columns_right(const float *const *row, const float *scale, int64_t k, int64_t cols, uint8_t *panels)
{
    int64_t bytes = pfc_bf16_panel_bytes(k), wide = pfc_bf16_panels(cols) * BF16_PANEL;
    for (int64_t step = 0; step * BF16_STEP < k; step++)
        for (int pair = 0; pair < 16; pair++)
            for (int64_t at = 0; at < wide; at += 16) {
                int64_t t = step * BF16_STEP + pair;
                put_line(panels + at / BF16_PANEL * bytes + step * BF16_STEP_BYTES, (int)(at % BF16_PANEL) + pair, term(row, scale, t, k, at, cols),
                         term(row, scale, t + 16, k, at, cols));
            }
}

static void columns(const float *const *row, const float *scale, int64_t k, int64_t cols, uint8_t *panels)
{
    columns_right(row, scale, k, cols, panels);
    transpose_panels(panels, pfc_bf16_panels(cols), k);
}

/* ---- tiles: 0 to 3 sums, 4 and 5 left, 6 and 7 right ---- */

static void configure(void) { tile_configure(); }

static void release(void) { tile_release(); }

#define LOAD_LEFT(part)                        \
    tile_load(4, left + (part)*BF16_PART, 64); \
    tile_load(5, left + (part)*BF16_PART + 1024, 64)
#define LOAD_RIGHT(part)                        \
    tile_load(6, right + (part)*BF16_PART, 64); \
    tile_load(7, right + (part)*BF16_PART + 1024, 64)
#define MULTIPLY            \
    tile_dpbf16ps(0, 4, 6); \
    tile_dpbf16ps(1, 4, 7); \
    tile_dpbf16ps(2, 5, 6); \
    tile_dpbf16ps(3, 5, 7)

/* mid*mid, mid*hi, lo*hi, hi*hi left out, hi*mid, hi*lo: each part is loaded as late as it can be kept. */
static inline void small_products(const uint8_t *left, const uint8_t *right)
{
    LOAD_LEFT(MID);
    LOAD_RIGHT(MID);
    MULTIPLY;
    LOAD_RIGHT(HI);
    MULTIPLY;
    LOAD_LEFT(LO);
    MULTIPLY;
    LOAD_LEFT(HI);
    LOAD_RIGHT(MID);
    MULTIPLY;
    LOAD_RIGHT(LO);
    MULTIPLY;
}

static inline void large_product(const uint8_t *left, const uint8_t *right)
{
    LOAD_LEFT(HI);
    LOAD_RIGHT(HI);
    MULTIPLY;
}

static void product(const uint8_t *left, const uint8_t *right, int64_t k, float *out)
{
    int64_t bytes = pfc_bf16_panel_bytes(k);
    tile_fence();
    tile_zero(0);
    tile_zero(1);
    tile_zero(2);
    tile_zero(3);
    for (int64_t at = 0; at < bytes; at += BF16_STEP_BYTES) small_products(left + at, right + at);
    for (int64_t at = 0; at < bytes; at += BF16_STEP_BYTES) large_product(left + at, right + at);
    tile_store(0, out, 4 * BF16_PANEL);
    tile_store(1, out + 16, 4 * BF16_PANEL);
    tile_store(2, out + 16 * BF16_PANEL, 4 * BF16_PANEL);
    tile_store(3, out + 16 * BF16_PANEL + 16, 4 * BF16_PANEL);
    tile_fence();
}

/* ---- what is not finite ---- */

static bool all_finite(const float *out, int n_rows, int cols)
{
    __mmask16 bad = 0;
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < cols; j += 16) bad |= _mm512_mask_fpclass_ps_mask(first_of_16(cols - j), _mm512_load_ps(out + i * BF16_PANEL + j), NOT_FINITE);
    return bad == 0;
}

static void chain(const float *const *left, int64_t step, const float *right, int64_t k, int n_rows, float *out)
{
    for (int i = 0; i < n_rows; i++) {
        __m512 a = _mm512_load_ps(out + i * BF16_PANEL), b = _mm512_load_ps(out + i * BF16_PANEL + 16);
        for (int64_t t = 0; t < k; t++) {
            __m512 x = _mm512_set1_ps(left[i][t * step]);
            a = _mm512_fmadd_ps(x, _mm512_load_ps(right + t * BF16_PANEL), a);
            b = _mm512_fmadd_ps(x, _mm512_load_ps(right + t * BF16_PANEL + 16), b);
        }
        _mm512_store_ps(out + i * BF16_PANEL, a);
        _mm512_store_ps(out + i * BF16_PANEL + 16, b);
    }
}

/* ---- what becomes of a product ---- */

/* As in fast_gemm.inc: quotient, remainder, correction. */
static inline __m512 quotient(__m512 x, __m512 a, __m512 ia, __m512 b, __m512 ib)
{
    __m512 inverse = _mm512_mul_ps(ia, ib), q = _mm512_mul_ps(x, inverse);
    return _mm512_fmadd_ps(_mm512_fnmadd_ps(q, _mm512_mul_ps(a, b), x), inverse, q);
}

static void quotients(const float *out, int n_rows, int cols, const float *xd, const float *xinv, const float *wd, const float *winv, float *z, int64_t ldz)
{
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < cols; j += 16) {
            __mmask16 mask = first_of_16(cols - j);
            __m512 x = quotient(_mm512_load_ps(out + i * BF16_PANEL + j), _mm512_maskz_loadu_ps(mask, xd + j), _mm512_maskz_loadu_ps(mask, xinv + j),
                                _mm512_set1_ps(wd[i]), _mm512_set1_ps(winv[i]));
            _mm512_mask_storeu_ps(z + i * ldz + j, mask, x);
        }
}

static void copy(const float *out, int n_rows, int cols, float *z, int64_t ldz)
{
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < cols; j += 16) _mm512_mask_storeu_ps(z + i * ldz + j, first_of_16(cols - j), _mm512_load_ps(out + i * BF16_PANEL + j));
}

static void add(const float *out, int n_rows, int cols, float *f, int64_t ldf)
{
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < cols; j += 16) {
            __mmask16 mask = first_of_16(cols - j);
            __m512 sum = _mm512_add_ps(_mm512_maskz_loadu_ps(mask, f + i * ldf + j), _mm512_load_ps(out + i * BF16_PANEL + j));
            _mm512_mask_storeu_ps(f + i * ldf + j, mask, sum);
        }
}

static void projected(const float *out, int n_rows, int cols, const float *up, const float *const *w, int64_t at, const float *a, const float *winv, float *dw,
                      int64_t lddw)
{
    for (int i = 0; i < n_rows; i++)
        for (int j = 0; j < cols; j += 16) {
            __mmask16 mask = first_of_16(cols - j);
            __m512 x = _mm512_mul_ps(_mm512_load_ps(out + i * BF16_PANEL + j), _mm512_set1_ps(up[i]));
            if (a) x = _mm512_mul_ps(_mm512_fmadd_ps(_mm512_set1_ps(a[i]), _mm512_maskz_loadu_ps(mask, w[i] + at + j), x), _mm512_set1_ps(winv[i]));
            _mm512_mask_storeu_ps(dw + i * lddw + j, mask, x);
        }
}

static float largest(const float *x, int64_t n)
{
    __m512 most = _mm512_setzero_ps();
    for (int64_t i = 0; i < n; i += 16) most = _mm512_max_ps(most, _mm512_abs_ps(_mm512_maskz_loadu_ps(first_of_16(n - i), x + i)));
    return _mm512_reduce_max_ps(most);
}

const pfc_bf16_kernels pfc_bf16_kernels_table = {
    .configure = configure,
    .release = release,
    .rows = rows,
    .rows_right = rows_right,
    .columns_right = columns_right,
    .columns = columns,
    .product = product,
    .finite = all_finite,
    .chain = chain,
    .quotients = quotients,
    .copy = copy,
    .add = add,
    .projected = projected,
    .largest = largest,
};
