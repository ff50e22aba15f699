/* exact_amx.c: the kernels of exact_amx.h, compiled for AMX and AVX-512. */
#include "backend/cpu/exact_amx.h"
#include "backend/cpu/lanes512.h"
#include "backend/cpu/tiles.h"
#include "core/exactint.h"

enum { TOP_PLANES = 5 };

/* ---- digits ---- */

static inline uint8_t *top_planes(const pfc_amx_panel *p, int64_t step) { return p->tiles + step * (TOP_PLANES * AMX_TILES); }
static inline uint8_t *low_planes(const pfc_amx_panel *p, int64_t step)
{
    return p->tiles + p->steps * (TOP_PLANES * AMX_TILES) + step * ((AMX_PLANES - TOP_PLANES) * AMX_TILES);
}

/* 64 V in eight registers to eight planes of 64 bytes. Byte 16*l + 2*r + b of a plane comes from word 2*l + b of register r. `order` permutes the
 * groups of four bytes. Writes line `line` of the 32 of the step. */
static inline void put_line(pfc_amx_panel *p, int64_t step, int line, const __m512i v[8], __m512i order, bool reorder)
{
    const __m512i pick = _mm512_broadcast_i32x4(_mm_setr_epi8(7, 15, 6, 14, 5, 13, 4, 12, 3, 11, 2, 10, 1, 9, 0, 8));
    __m512i w[8], lo[4], hi[4], plane[8];
    __m512i all = _mm512_or_si512(_mm512_or_si512(_mm512_or_si512(v[0], v[1]), _mm512_or_si512(v[2], v[3])),
                                  _mm512_or_si512(_mm512_or_si512(v[4], v[5]), _mm512_or_si512(v[6], v[7])));
    __m512i *any = (__m512i *)(p->any + 8 * step);
    bool low = _mm512_test_epi64_mask(all, _mm512_set1_epi64(0xffffff)) != 0;
    _mm512_store_si512(any, _mm512_or_si512(_mm512_load_si512(any), all));
    for (int r = 0; r < 8; r++) w[r] = _mm512_shuffle_epi8(v[r], pick);
    for (int r = 0; r < 4; r++) {
        lo[r] = _mm512_unpacklo_epi16(w[2 * r], w[2 * r + 1]);
        hi[r] = _mm512_unpackhi_epi16(w[2 * r], w[2 * r + 1]);
    }
    __m512i a = _mm512_unpacklo_epi32(lo[0], lo[1]), b = _mm512_unpacklo_epi32(lo[2], lo[3]);
    __m512i c = _mm512_unpackhi_epi32(lo[0], lo[1]), d = _mm512_unpackhi_epi32(lo[2], lo[3]);
    plane[0] = _mm512_unpacklo_epi64(a, b);
    plane[1] = _mm512_unpackhi_epi64(a, b);
    plane[2] = _mm512_unpacklo_epi64(c, d);
    plane[3] = _mm512_unpackhi_epi64(c, d);
    a = _mm512_unpacklo_epi32(hi[0], hi[1]), b = _mm512_unpacklo_epi32(hi[2], hi[3]);
    plane[4] = _mm512_unpacklo_epi64(a, b);
    uint8_t *to = top_planes(p, step) + 64 * line;
    for (int q = 0; q < TOP_PLANES; q++) _mm512_store_si512(to + q * AMX_TILES, reorder ? _mm512_permutexvar_epi32(order, plane[q]) : plane[q]);
    if (!low) return;
    c = _mm512_unpackhi_epi32(hi[0], hi[1]), d = _mm512_unpackhi_epi32(hi[2], hi[3]);
    plane[5] = _mm512_unpackhi_epi64(a, b);
    plane[6] = _mm512_unpacklo_epi64(c, d);
    plane[7] = _mm512_unpackhi_epi64(c, d);
    to = low_planes(p, step);
    if (!p->low[step]) {
        for (int64_t i = 0; i < (AMX_PLANES - TOP_PLANES) * AMX_TILES; i += 64) _mm512_store_si512(to + i, _mm512_setzero_si512());
        p->low[step] = 1;
    }
    for (int q = TOP_PLANES; q < AMX_PLANES; q++)
        _mm512_store_si512(to + (q - TOP_PLANES) * AMX_TILES + 64 * line, reorder ? _mm512_permutexvar_epi32(order, plane[q]) : plane[q]);
}

static void start(pfc_amx_panel *p)
{
    for (int64_t s = 0; s < p->steps; s++) {
        _mm512_store_si512(p->any + 8 * s, _mm512_setzero_si512());
        p->low[s] = 0;
    }
}

/* Which planes are in use, from what was or-ed together. */
static void finish(pfc_amx_panel *p)
{
    const int64_t per_chunk = AMX_CHUNK / AMX_STEP;
    for (int64_t s = 0; s < p->steps; s++) {
        uint64_t any = (uint64_t)_mm512_reduce_or_epi64(_mm512_load_si512(p->any + 8 * s)), bits = 0;
        for (int q = 0; q < AMX_PLANES; q++)
            if ((any >> (8 * (7 - q))) & 0xff) bits |= (uint64_t)1 << (8 * q);
        if (s % per_chunk == 0) p->used[s / per_chunk] = 0;
        p->used[s / per_chunk] |= bits << (s % per_chunk);
    }
}

static void rows(pfc_amx_panel *p, const double *const row[AMX_PANEL], const double scale[AMX_PANEL], int64_t k)
{
    __m512i v[8];
    start(p);
    for (int i = 0; i < AMX_PANEL; i++) {
        __m512d s = _mm512_set1_pd(row[i] ? scale[i] : 0.0);
        for (int64_t step = 0; step < p->steps; step++) {
            int64_t at = step * AMX_STEP, left = row[i] ? k - at : 0;
            for (int r = 0; r < 8; r++) {
                __mmask8 mask = first_of_8(left - 8 * r);
                v[r] = mask ? quantised(row[i] + at + 8 * r, s, mask) : _mm512_setzero_si512();
            }
            put_line(p, step, i, v, v[0], false);
        }
    }
    finish(p);
}

/* A left panel becomes a right one: group of four bytes t of line n to group n of line t. */
static void rows_right(pfc_amx_panel *p, const double *const row[AMX_PANEL], const double scale[AMX_PANEL], int64_t k)
{
    rows(p, row, scale, k);
    for (int64_t tile = 0; tile < p->steps * AMX_PLANES * 2; tile++) {
        uint32_t *x = (uint32_t *)(p->tiles + tile * 1024);
        for (int n = 0; n < 16; n++)
            for (int t = 0; t < n; t++) {
                uint32_t swap = x[16 * n + t];
                x[16 * n + t] = x[16 * t + n];
                x[16 * t + n] = swap;
            }
    }
}

static inline void transpose8(__m512i r[8])
{
    __m512i t[8], u[8];
    for (int i = 0; i < 4; i++) {
        t[2 * i] = _mm512_unpacklo_epi64(r[2 * i], r[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi64(r[2 * i], r[2 * i + 1]);
    }
    for (int i = 0; i < 2; i++)
        for (int j = 0; j < 2; j++) { /* rows 4i..4i+3, columns of parity j */
            u[4 * i + j] = _mm512_shuffle_i64x2(t[4 * i + j], t[4 * i + 2 + j], 0x88);
            u[4 * i + 2 + j] = _mm512_shuffle_i64x2(t[4 * i + j], t[4 * i + 2 + j], 0xdd);
        }
    for (int j = 0; j < 2; j++) {
        r[j] = _mm512_shuffle_i64x2(u[j], u[4 + j], 0x88);         /* columns 0, 1 */
        r[4 + j] = _mm512_shuffle_i64x2(u[j], u[4 + j], 0xdd);     /* 4, 5 */
        r[2 + j] = _mm512_shuffle_i64x2(u[2 + j], u[6 + j], 0x88); /* 2, 3 */
        r[6 + j] = _mm512_shuffle_i64x2(u[2 + j], u[6 + j], 0xdd); /* 6, 7 */
    }
}

static void columns(pfc_amx_panel *p, const double *x, int64_t ld, const double *scale, int count, int64_t k)
{
    __m512i v[8][8], r[8]; /* v[i][g]: row i, terms 8g to 8g+7 */
    start(p);
    for (int64_t step = 0; step < p->steps; step++)
        for (int i0 = 0; i0 < AMX_PANEL; i0 += 8) {
            __mmask8 mask = first_of_8(count - i0);
            __m512d s = _mm512_maskz_loadu_pd(mask, scale + i0);
            for (int g = 0; g < 8; g++) {
                for (int j = 0; j < 8; j++) {
                    int64_t at = step * AMX_STEP + 8 * g + j;
                    r[j] = at < k && mask ? quantised(x + at * ld + i0, s, mask) : _mm512_setzero_si512();
                }
                transpose8(r);
                for (int i = 0; i < 8; i++) v[i][g] = r[i];
            }
            for (int i = 0; i < 8; i++) put_line(p, step, i0 + i, v[i], r[0], false);
        }
    finish(p);
}

/* Line t of a right tile has, for each of 16 columns, four terms of the step; put_line's order makes them b, b+1, b+8, b+9. */
static void interleave(pfc_amx_panel *p, int64_t step, const double *const row[AMX_STEP], const double scale[AMX_STEP], int count, int64_t cols)
{
    const __m512i order = _mm512_setr_epi32(0, 1, 4, 5, 8, 9, 12, 13, 2, 3, 6, 7, 10, 11, 14, 15);
    for (int t = 0; t < 16; t++) {
        int term[4] = { 16 * (t & 3) + 2 * (t >> 2), 0, 0, 0 };
        term[1] = term[0] + 1, term[2] = term[0] + 8, term[3] = term[0] + 9;
        for (int64_t c = 0; c < (cols + AMX_PANEL - 1) / AMX_PANEL * AMX_PANEL; c += 16) {
            __m512i x[4][2], v[8];
            __mmask8 mask[2] = { first_of_8(cols - c), first_of_8(cols - c - 8) };
            for (int i = 0; i < 4; i++)
                for (int half = 0; half < 2; half++)
                    x[i][half] = term[i] < count && mask[half] ? quantised(row[term[i]] + c + 8 * half, _mm512_set1_pd(scale[term[i]]), mask[half])
                                                               : _mm512_setzero_si512();
            for (int half = 0; half < 2; half++)
                for (int pair = 0; pair < 2; pair++) {
                    v[4 * half + pair] = _mm512_unpacklo_epi64(x[2 * pair][half], x[2 * pair + 1][half]);
                    v[4 * half + 2 + pair] = _mm512_unpackhi_epi64(x[2 * pair][half], x[2 * pair + 1][half]);
                }
            put_line(p + c / AMX_PANEL, step, (int)(c % AMX_PANEL) + t, v, order, true);
        }
    }
}

/* ---- levels to sums and doubles ---- */

static inline __m512i level_at(const int32_t *at, int l) { return _mm512_cvtepi32_epi64(_mm256_load_si256((const __m256i *)(at + l * AMX_LEVEL))); }

/* Levels 4g..4g+3 of eight outputs, those in [first, last], joined: weight 256^(12-4g) of 256*T. */
static inline __m512i joined(const int32_t *at, int g, int first, int last)
{
    if (first <= 4 * g && 4 * g + 3 <= last) {
        __m512i high = _mm512_add_epi64(_mm512_slli_epi64(level_at(at, 4 * g), 8), level_at(at, 4 * g + 1));
        __m512i low = _mm512_add_epi64(_mm512_slli_epi64(level_at(at, 4 * g + 2), 8), level_at(at, 4 * g + 3));
        return _mm512_add_epi64(_mm512_slli_epi64(high, 16), low);
    }
    __m512i sum = _mm512_setzero_si512();
    for (int l = 4 * g; l < 4 * g + 4 && l <= last; l++)
        if (l >= first) sum = _mm512_add_epi64(sum, _mm512_sll_epi64(level_at(at, l), _mm_cvtsi32_si128(8 * (4 * g + 3 - l))));
    return sum;
}

/* Base 2^32, the most significant first; 256*T. */
typedef struct words {
    __m512i w0, w1, w2, w3;
} words;

/* The elements that the vector code leaves: close to zero, or too large. */
static __attribute__((noinline)) void round_each(const words *g, unsigned lanes, double value[8])
{
    int64_t word[4][8];
    _mm512_storeu_si512(word[0], g->w0);
    _mm512_storeu_si512(word[1], g->w1);
    _mm512_storeu_si512(word[2], g->w2);
    _mm512_storeu_si512(word[3], g->w3);
    for (int i = 0; i < 8; i++) {
        int64_t limb[PFC_LIMBS] = { 0, 0, 0, 0 };
        if (!(lanes >> i & 1)) continue;
        pfc_limbs_add_words(limb, &word[0][i], 8);
        value[i] = pfc_limbs_round(limb);
    }
}

/* RN(T). Carried, T = 2^36 * (w0*2^52 + m + rest), 0 <= m < 2^52, 0 <= rest < 1; the lowest bit of m stands for rest (round to odd) and is below every
 * rounding position if |w0| >= 16; w0*2^52 + m is rounded once. */
static inline __m512d rounded(words g)
{
    const __m512i low32 = _mm512_set1_epi64(0xffffffff), limit = _mm512_set1_epi64((int64_t)1 << 53);
    g.w2 = _mm512_add_epi64(g.w2, _mm512_srai_epi64(g.w3, 32));
    g.w3 = _mm512_and_si512(g.w3, low32);
    g.w1 = _mm512_add_epi64(g.w1, _mm512_srai_epi64(g.w2, 32));
    g.w2 = _mm512_and_si512(g.w2, low32);
    g.w0 = _mm512_add_epi64(g.w0, _mm512_srai_epi64(g.w1, 32));
    g.w1 = _mm512_and_si512(g.w1, low32);
    __m512i m = _mm512_or_si512(_mm512_slli_epi64(g.w1, 20), _mm512_srli_epi64(g.w2, 12));
    __m512i rest = _mm512_or_si512(_mm512_and_si512(g.w2, _mm512_set1_epi64(0xfff)), g.w3);
    m = _mm512_mask_or_epi64(m, _mm512_test_epi64_mask(rest, rest), m, _mm512_set1_epi64(1));
    __m512d value = _mm512_fmadd_pd(_mm512_cvtepi64_pd(g.w0), _mm512_set1_pd(0x1p52), _mm512_cvtepi64_pd(m));
    value = _mm512_mul_pd(value, _mm512_set1_pd(0x1p36));
    __m512i size = _mm512_abs_epi64(g.w0), some = _mm512_or_si512(g.w0, m);
    unsigned outside = _mm512_cmplt_epi64_mask(size, _mm512_set1_epi64(16)) | _mm512_cmpgt_epi64_mask(size, limit);
    unsigned lanes = outside & _mm512_test_epi64_mask(some, some);
    if (lanes) {
        double v[8];
        _mm512_storeu_pd(v, value);
        round_each(&g, lanes, v);
        value = _mm512_loadu_pd(v);
    }
    return value;
}

/* The levels' side of the self-check: P = sum of levels * y^(14-level). */
static __attribute__((noinline)) void check_levels(pfc_amx_work *w, const int32_t *at, __mmask8 mask)
{
    __m512i p = _mm512_setzero_si512(), y = _mm512_set1_epi64((long long)PFC_AMX_CHECK_Y);
    for (int l = 0; l < AMX_LEVELS; l++) {
        p = _mm512_mullo_epi64(p, y);
        if (l >= w->first && l <= w->last) p = _mm512_add_epi64(p, _mm512_cvtepi32_epi64(_mm256_load_si256((const __m256i *)(at + l * AMX_LEVEL))));
    }
    p = _mm512_mullo_epi64(p, _mm512_maskz_loadu_epi64(mask, w->to.odd + w->col));
    uint64_t lane[8]; /* added as unsigned: the sum is meant modulo 2^64 */
    _mm512_storeu_si512(lane, p);
    for (int i = 0; i < 8; i++) w->to.check[w->row] += lane[i];
}

/* One word of the sum in memory and of this product; both are the sum now. `same`: the product adds nothing. */
static inline __m512i summed(const pfc_amx_output *to, int64_t *at, __m512i word, __mmask8 mask, bool same)
{
    if (!to->set) word = _mm512_add_epi64(word, _mm512_maskz_loadu_epi64(mask, at));
    if (to->set || !same) _mm512_mask_storeu_epi64(at, mask, word);
    return word;
}

/* Eight outputs of the product that is not finished. */
static __attribute__((noinline)) void finish_eight(pfc_amx_work *w)
{
    const pfc_amx_output *to = &w->to;
    const int32_t *at = w->from + ((w->row >> 4) * 2 + (w->col >> 4)) * 256 + (w->row & 15) * 16 + (w->col & 15);
    __mmask8 mask = first_of_8(to->cols - w->col);
    int first = w->first, last = w->last;
    words g = { joined(at, 0, first, last), joined(at, 1, first, last), joined(at, 2, first, last), joined(at, 3, first, last) };
    if (to->check) check_levels(w, at, mask);
    if (to->sum) {
        int64_t *sum = to->sum + w->row * to->sum_ld + w->col;
        g.w0 = summed(to, sum, g.w0, mask, last < 0);
        g.w1 = summed(to, sum + to->plane, g.w1, mask, last < 4);
        g.w2 = summed(to, sum + 2 * to->plane, g.w2, mask, last < 8);
        if (last >= 12 || to->set || to->out) g.w3 = summed(to, sum + 3 * to->plane, g.w3, mask, last < 12);
    }
    if (to->out) _mm512_mask_storeu_pd(to->out + w->row * to->out_ld + w->col, mask, rounded(g));
    w->col += 8;
    if (w->col >= to->cols) {
        w->col = 0;
        w->row++;
    }
}

static void drain(pfc_amx_work *w)
{
    while (w->row < w->to.rows) finish_eight(w);
}

/* ---- tiles: 0 to 3 sums, 4 and 5 left, 6 and 7 right ---- */

static void configure(void) { tile_configure(); }

static void release(void) { tile_release(); }

/* Steps of one pair of planes; after each, some vector work of the product before. */
#define MULTIPLY(op)                                                                    \
    for (; todo; todo &= todo - 1) {                                                    \
        int step = __builtin_ctz(todo);                                                 \
        const uint8_t *l = left + step * left_stride, *r = right + step * right_stride; \
        tile_load(4, l, 64);                                                            \
        tile_load(6, r, 64);                                                            \
        op(0, 4, 6);                                                                    \
        tile_load(7, r + 1024, 64);                                                     \
        op(1, 4, 7);                                                                    \
        tile_load(5, l + 1024, 64);                                                     \
        op(2, 5, 6);                                                                    \
        op(3, 5, 7);                                                                    \
        for (int n = 0; n < work && w->row < w->to.rows; n++) finish_eight(w);          \
    }

static inline const uint8_t *plane_of(const pfc_amx_panel *p, int64_t step, int q, int64_t *stride)
{
    *stride = q < TOP_PLANES ? TOP_PLANES * AMX_TILES : (AMX_PLANES - TOP_PLANES) * AMX_TILES;
    return q < TOP_PLANES ? top_planes(p, step) + q * AMX_TILES : low_planes(p, step) + (q - TOP_PLANES) * AMX_TILES;
}

static void multiply_planes(const pfc_amx_panel *a, int i, const pfc_amx_panel *b, int j, int64_t chunk, unsigned todo, int work, pfc_amx_work *w)
{
    int64_t left_stride, right_stride, step0 = chunk * (AMX_CHUNK / AMX_STEP);
    const uint8_t *left = plane_of(a, step0, i, &left_stride), *right = plane_of(b, step0, j, &right_stride);
    if (i == 0 && j == 0) {
        MULTIPLY(tile_dpbssd)
    } else if (i == 0) {
        MULTIPLY(tile_dpbsud)
    } else if (j == 0) {
        MULTIPLY(tile_dpbusd)
    } else {
        MULTIPLY(tile_dpbuud)
    }
}

static void product(const pfc_amx_panel *a, const pfc_amx_panel *b, int64_t chunk, const pfc_amx_output *to, pfc_amx_work *w)
{
    uint64_t used_a = a->used[chunk], used_b = b->used[chunk];
    int32_t *level = w->level[w->parity];
    int first = 0, last = -1, work = 1;
    tile_fence(); /* panels are in memory before tiles are loaded */
    if (used_a && used_b) {
        first = __builtin_ctzll(used_a) / 8 + __builtin_ctzll(used_b) / 8;
        last = (63 - __builtin_clzll(used_a)) / 8 + (63 - __builtin_clzll(used_b)) / 8;
        int64_t steps = a->steps - chunk * 8 < 8 ? a->steps - chunk * 8 : 8;
        work += w->to.rows * w->to.cols / 8 / (1 + (int)(__builtin_popcountll(used_a) * __builtin_popcountll(used_b) / steps));
    }
    for (int l = first; l <= last; l++) {
        tile_zero(0);
        tile_zero(1);
        tile_zero(2);
        tile_zero(3);
        for (int i = l < AMX_PLANES ? 0 : l - AMX_PLANES + 1; i < AMX_PLANES && i <= l; i++) {
            unsigned todo = (unsigned)((used_a >> (8 * i)) & (used_b >> (8 * (l - i))) & 0xff);
            if (todo) multiply_planes(a, i, b, l - i, chunk, todo, work, w);
        }
        int32_t *at = level + l * AMX_LEVEL;
        tile_store(0, at, 64);
        tile_store(1, at + 256, 64);
        tile_store(2, at + 512, 64);
        tile_store(3, at + 768, 64);
    }
    tile_fence();
    drain(w);
    w->to = *to;
    w->from = level;
    w->first = first;
    w->last = last;
    w->row = w->col = 0;
    w->parity ^= 1;
}

const pfc_amx_kernels pfc_amx_kernels_table = {
    .configure = configure,
    .release = release,
    .rows = rows,
    .rows_right = rows_right,
    .columns = columns,
    .interleave = interleave,
    .start = start,
    .finish = finish,
    .product = product,
    .drain = drain,
};
