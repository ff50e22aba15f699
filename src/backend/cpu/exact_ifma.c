/* exact_ifma.c: the kernels of exact_ifma.h, compiled for AVX512-IFMA. */
#include "backend/cpu/exact_ifma.h"
#include "backend/cpu/lanes512.h"

static const int64_t LEFT_OFFSET = (int64_t)1 << 51, RIGHT_OFFSET = (int64_t)1 << 41, LOW52 = ((int64_t)1 << 52) - 1;

static inline __m512i all(int64_t x) { return _mm512_set1_epi64(x); }

/* ---- left operands ---- */

/* Sums over the terms of a row: of words, of tops, and how many tops are negative. */
typedef struct row_sums {
    __m512i word, top, negative;
} row_sums;

/* The sums of a row with these terms start at -2^41 * sum(V/2^shift) - 2^104 * negative, as high*2^52 + low. */
static inline void start_row(uint64_t word, int64_t top, int64_t negative, int64_t k, int64_t *high, int64_t *low)
{
    *high = (int64_t)(((uint64_t)k << 40) - ((uint64_t)top << 41) - ((uint64_t)negative << 52) - (word >> 11));
    *low = -(int64_t)((word & 0x7ff) << 41);
}

/* shift 11: false at the first V with bits below. */
static bool rows_shifted(pfc_ifma_strip *s, const double *const row[IFMA_ROWS], const double scale[IFMA_ROWS], int64_t k)
{
    for (int r = 0; r < IFMA_ROWS; r++) {
        __m512i sum = _mm512_setzero_si512(), bits = _mm512_setzero_si512();
        __m512d factor = _mm512_set1_pd(scale[r]);
        uint64_t *to = s->word + r * s->row_step;
        for (int64_t at = 0; at < k; at += 8) {
            __mmask8 mask = first_of_8(k - at);
            __m512i v = row[r] ? quantised(row[r] + at, factor, mask) : _mm512_setzero_si512();
            __m512i word = _mm512_add_epi64(_mm512_srai_epi64(v, IFMA_TOP_SHIFT), all(LEFT_OFFSET));
            bits = _mm512_or_si512(bits, v);
            sum = _mm512_mask_add_epi64(sum, mask, sum, word);
            _mm512_storeu_si512(to + at, word);
            if (at % 64 == 0 && _mm512_test_epi64_mask(bits, all((1 << IFMA_TOP_SHIFT) - 1))) return false;
        }
        if (_mm512_test_epi64_mask(bits, all((1 << IFMA_TOP_SHIFT) - 1))) return false;
        start_row((uint64_t)_mm512_reduce_add_epi64(sum), 0, 0, k, s->high + r, s->low + r);
    }
    return true;
}

static inline void add_term(row_sums *sum, __m512i word, __m512i top, __mmask8 mask)
{
    sum->word = _mm512_mask_add_epi64(sum->word, mask, sum->word, _mm512_and_si512(word, all(LOW52)));
    sum->top = _mm512_mask_add_epi64(sum->top, mask, sum->top, top);
    sum->negative = _mm512_mask_add_epi64(sum->negative, mask, sum->negative, _mm512_srli_epi64(top, 63));
}

static void rows(pfc_ifma_strip *s, const double *const row[IFMA_ROWS], const double scale[IFMA_ROWS], int64_t k, bool keep_shift)
{
    s->listed = 0;
    s->shift = IFMA_TOP_SHIFT;
    if (!keep_shift && rows_shifted(s, row, scale, k)) return;
    s->shift = 0;
    row_sums sum[IFMA_ROWS];
    for (int r = 0; r < IFMA_ROWS; r++) sum[r].word = sum[r].top = sum[r].negative = _mm512_setzero_si512();
    for (int64_t at = 0; at < k; at += 8) {
        __m512i top[IFMA_ROWS], some = _mm512_setzero_si512();
        __mmask8 mask = first_of_8(k - at);
        for (int r = 0; r < IFMA_ROWS; r++) {
            __m512i v = row[r] ? quantised(row[r] + at, _mm512_set1_pd(scale[r]), mask) : _mm512_setzero_si512();
            __m512i word = _mm512_add_epi64(v, all(LEFT_OFFSET));
            top[r] = _mm512_srai_epi64(word, 52);
            some = _mm512_or_si512(some, top[r]);
            add_term(sum + r, word, top[r], mask);
            _mm512_storeu_si512(s->word + r * s->row_step + at, word);
        }
        __mmask8 list = _mm512_mask_test_epi64_mask(mask, some, some);
        __m512i index = _mm512_add_epi64(all(at), _mm512_setr_epi64(0, 1, 2, 3, 4, 5, 6, 7));
        _mm512_storeu_si512(s->at + s->listed, _mm512_maskz_compress_epi64(list, index)); /* whole registers: what is too much is overwritten */
        for (int r = 0; r < IFMA_ROWS; r++) _mm512_storeu_si512(s->top + r * s->top_step + s->listed, _mm512_maskz_compress_epi64(list, top[r]));
        s->listed += __builtin_popcount(list);
    }
    for (int r = 0; r < IFMA_ROWS; r++)
        start_row((uint64_t)_mm512_reduce_add_epi64(sum[r].word), _mm512_reduce_add_epi64(sum[r].top), _mm512_reduce_add_epi64(sum[r].negative), k, s->high + r,
                  s->low + r);
}

static inline void list_term(pfc_ifma_strip *s, int64_t k, __m256i top)
{
    int64_t t[IFMA_ROWS];
    _mm256_storeu_si256((__m256i *)t, top);
    s->at[s->listed] = k;
    for (int r = 0; r < IFMA_ROWS; r++) s->top[r * s->top_step + s->listed] = t[r];
    s->listed++;
}

static void columns(pfc_ifma_strip s[2], const double *x, int64_t ld, const double *scale, int count, int64_t k)
{
    __mmask8 mask = first_of_8(count);
    __m512d factor = _mm512_maskz_loadu_pd(mask, scale);
    row_sums sum = { _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512() };
    s[0].shift = s[1].shift = 0;
    s[0].listed = s[1].listed = 0;
    for (int64_t at = 0; at < k; at++) {
        __m512i word = _mm512_add_epi64(quantised(x + at * ld, factor, mask), all(LEFT_OFFSET)), top = _mm512_srai_epi64(word, 52);
        _mm256_storeu_si256((__m256i *)(s[0].word + at * IFMA_ROWS), _mm512_castsi512_si256(word));
        _mm256_storeu_si256((__m256i *)(s[1].word + at * IFMA_ROWS), _mm512_extracti64x4_epi64(word, 1));
        add_term(&sum, word, top, 0xff);
        __mmask8 some = _mm512_test_epi64_mask(top, top);
        if (some & 0x0f) list_term(s, at, _mm512_castsi512_si256(top));
        if (some & 0xf0) list_term(s + 1, at, _mm512_extracti64x4_epi64(top, 1));
    }
    int64_t word[8], top[8], negative[8];
    _mm512_storeu_si512(word, sum.word);
    _mm512_storeu_si512(top, sum.top);
    _mm512_storeu_si512(negative, sum.negative);
    for (int i = 0; i < 8; i++) start_row((uint64_t)word[i], top[i], negative[i], k, s[i / 4].high + i % 4, s[i / 4].low + i % 4);
}

/* ---- right operands ---- */

static __attribute__((noinline)) void list_rests(pfc_ifma_panel *p, int64_t k, int64_t col, __m512i rest, __mmask8 mask)
{
    int64_t value[8];
    _mm512_storeu_si512(value, rest);
    for (int i = 0; i < 8; i++) {
        if (!(mask >> i & 1)) continue;
        if (p->rests < IFMA_LISTED) p->list[p->rests] = (pfc_ifma_rest){ k, col + i, value[i] };
        p->rests++;
    }
}

/* Adds to what a column starts at minus 2^51 * sum of words, in high*2^52 + low; low keeps the parity of the sum in its bit 51. */
static inline void start_columns(pfc_ifma_words *w, int64_t col, __m512i sum)
{
    __m512i low = _mm512_load_si512(w->low + col), odd = _mm512_and_si512(sum, all(1));
    __m512i parity = _mm512_add_epi64(odd, _mm512_srli_epi64(_mm512_sub_epi64(_mm512_setzero_si512(), low), 51));
    __m512i high = _mm512_add_epi64(_mm512_srli_epi64(sum, 1), _mm512_srli_epi64(parity, 1));
    _mm512_store_si512(w->high + col, _mm512_sub_epi64(_mm512_load_si512(w->high + col), high));
    _mm512_store_si512(w->low + col, _mm512_sub_epi64(_mm512_setzero_si512(), _mm512_slli_epi64(_mm512_and_si512(parity, all(1)), 51)));
}

static inline void right_words(pfc_ifma_panel *p, int64_t k0, const double *const row[8], const double scale[8], int count, int64_t cols, bool rests)
{
    const __m512i low = all((1 << IFMA_REST_BITS) - 1);
    for (int64_t c = 0; c < (cols + IFMA_COLS - 1) / IFMA_COLS * IFMA_COLS; c += 8) { /* zeros beyond the last column */
        pfc_ifma_panel *panel = p + c / IFMA_COLS;
        pfc_ifma_words *w = rests ? &panel->rest : &panel->main;
        __mmask8 mask = first_of_8(cols - c);
        __m512i sum = _mm512_setzero_si512();
        uint64_t *to = w->word + k0 * IFMA_COLS + c % IFMA_COLS;
        if (k0 == 0) {
            _mm512_store_si512(w->high + c % IFMA_COLS, sum);
            _mm512_store_si512(w->low + c % IFMA_COLS, sum);
            if (!rests && c % IFMA_COLS == 0) panel->rests = 0;
        }
        for (int i = 0; i < count; i++) {
            __m512i v = quantised(row[i] + c, _mm512_set1_pd(scale[i]), mask), rest = _mm512_and_si512(v, low);
            __m512i word = _mm512_add_epi64(rests ? rest : _mm512_srai_epi64(v, IFMA_REST_BITS), all(RIGHT_OFFSET));
            __mmask8 some = _mm512_test_epi64_mask(v, low);
            if (!rests && __builtin_expect(some, 0)) list_rests(panel, k0 + i, c % IFMA_COLS, rest, some);
            sum = _mm512_add_epi64(sum, word);
            _mm512_store_si512(to + i * IFMA_COLS, word);
        }
        start_columns(w, c % IFMA_COLS, sum);
    }
}

static void right(pfc_ifma_panel *p, int64_t k0, const double *const row[8], const double scale[8], int count, int64_t cols)
{
    right_words(p, k0, row, scale, count, cols, false);
}

static void right_rest(pfc_ifma_panel *p, int64_t k0, const double *const row[8], const double scale[8], int count, int64_t cols)
{
    right_words(p, k0, row, scale, count, cols, true);
}

/* ---- products ---- */

static void product(const pfc_ifma_strip *s, const pfc_ifma_words *w, int64_t k, pfc_ifma_tile *t)
{
    enum { VECTORS = IFMA_COLS / 8 };
    __m512i high[IFMA_ROWS][VECTORS], low[IFMA_ROWS][VECTORS], right[VECTORS];
    for (int r = 0; r < IFMA_ROWS; r++)
        for (int v = 0; v < VECTORS; v++) {
            high[r][v] = _mm512_add_epi64(all(s->high[r]), _mm512_load_si512(w->high + 8 * v));
            low[r][v] = _mm512_add_epi64(all(s->low[r]), _mm512_load_si512(w->low + 8 * v));
        }
    const uint64_t *left = s->word, *from = w->word;
    for (int64_t i = 0; i < k; i++, left += s->step, from += IFMA_COLS) {
        for (int v = 0; v < VECTORS; v++) right[v] = _mm512_load_si512(from + 8 * v);
        for (int r = 0; r < IFMA_ROWS; r++) {
            __m512i word = all((int64_t)left[r * s->row_step]);
            for (int v = 0; v < VECTORS; v++) {
                low[r][v] = _mm512_madd52lo_epu64(low[r][v], word, right[v]);
                high[r][v] = _mm512_madd52hi_epu64(high[r][v], word, right[v]);
            }
        }
    }
    const int64_t *top = s->top;
    for (int64_t i = 0; i < s->listed; i++, top++) {
        from = w->word + s->at[i] * IFMA_COLS;
        for (int v = 0; v < VECTORS; v++) right[v] = _mm512_load_si512(from + 8 * v);
        for (int r = 0; r < IFMA_ROWS; r++)
            for (int v = 0; v < VECTORS; v++) high[r][v] = _mm512_madd52lo_epu64(high[r][v], all(top[r * s->top_step]), right[v]);
    }
    for (int r = 0; r < IFMA_ROWS; r++)
        for (int v = 0; v < VECTORS; v++) {
            _mm512_store_si512(t->high[r] + 8 * v, _mm512_add_epi64(high[r][v], _mm512_srai_epi64(low[r][v], 52)));
            _mm512_store_si512(t->low[r] + 8 * v, _mm512_and_si512(low[r][v], all(LOW52)));
        }
}

/* RN(high*2^52 + low). |high| < 2^53: both parts are doubles and one fma rounds. Else in units of 2^12, where the lowest bit stands for all below it (round
 * to odd) and is far below the rounding position. */
static inline __m512d rounded(__m512i high, __m512i low)
{
    const __m512d two52 = _mm512_set1_pd(0x1p52);
    __m512d value = _mm512_fmadd_pd(_mm512_cvtepi64_pd(high), two52, _mm512_cvtepi64_pd(low));
    __mmask8 large = _mm512_cmpgt_epi64_mask(_mm512_abs_epi64(high), all((int64_t)1 << 53));
    if (!large) return value;
    __m512i m = _mm512_or_si512(_mm512_slli_epi64(_mm512_and_si512(high, all(0xfff)), 40), _mm512_srli_epi64(low, 12));
    m = _mm512_mask_or_epi64(m, _mm512_test_epi64_mask(low, all(0xfff)), m, all(1));
    __m512d big = _mm512_fmadd_pd(_mm512_cvtepi64_pd(_mm512_srai_epi64(high, 12)), two52, _mm512_cvtepi64_pd(m));
    return _mm512_mask_mul_pd(value, large, big, _mm512_set1_pd(0x1p12));
}

static void round_tile(const pfc_ifma_tile *t, double scale, int rows, int cols, double *out, int64_t ld)
{
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c += 8) {
            __m512d value = rounded(_mm512_load_si512(t->high[r] + c), _mm512_load_si512(t->low[r] + c));
            _mm512_mask_storeu_pd(out + r * ld + c, first_of_8(cols - c), _mm512_mul_pd(value, _mm512_set1_pd(scale)));
        }
}

static inline void add_word(int64_t *to, __m512i word, __mmask8 mask)
{
    _mm512_mask_storeu_epi64(to, mask, _mm512_add_epi64(_mm512_maskz_loadu_epi64(mask, to), word));
}

/* Where bit 0 of low comes: bit 30 (main), bit 8 (rest). */
static void add(const pfc_ifma_tile *t, bool main, int rows, int cols, int64_t *sum, int64_t plane, int64_t ld)
{
    const __m512i low32 = all(0xffffffff);
    const __m128i left = _mm_cvtsi32_si128(main ? 30 : 8), right = _mm_cvtsi32_si128(main ? 2 : 24);
    const __m128i high_left = _mm_cvtsi32_si128(main ? 18 : 28), high_right = _mm_cvtsi32_si128(main ? 14 : 4);
    for (int r = 0; r < rows; r++)
        for (int c = 0; c < cols; c += 8) {
            __mmask8 mask = first_of_8(cols - c);
            __m512i high = _mm512_load_si512(t->high[r] + c), low = _mm512_load_si512(t->low[r] + c), up = _mm512_srl_epi64(low, right);
            __m512i word[4] = { _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_and_si512(up, low32),
                                _mm512_and_si512(_mm512_sll_epi64(low, left), low32) };
            __m512i joint = _mm512_and_si512(_mm512_sll_epi64(high, high_left), low32), rest = _mm512_sra_epi64(high, high_right);
            if (main) { /* high starts at bit 82 = 64 + 18 */
                word[1] = _mm512_add_epi64(_mm512_srli_epi64(up, 32), joint);
                word[0] = rest;
            } else { /* at bit 60 = 32 + 28 */
                word[2] = _mm512_add_epi64(word[2], joint);
                word[1] = _mm512_and_si512(rest, low32);
                word[0] = _mm512_srai_epi64(rest, 32);
            }
            for (int i = 0; i < 4; i++) add_word(sum + i * plane + r * ld + c, word[i], mask);
        }
}

const pfc_ifma_kernels pfc_ifma_kernels_table = {
    .rows = rows,
    .columns = columns,
    .right = right,
    .right_rest = right_rest,
    .product = product,
    .round = round_tile,
    .add = add,
};
