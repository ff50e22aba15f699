/* exact_ifma.h (internal): exact integer products with 52-bit multiply-add (AVX512-IFMA): operands as words, and the kernels that make and multiply them.
 *
 * vpmadd52luq and vpmadd52huq add the low and the high 52 bits of a product of two unsigned 52-bit words to 64-bit sums. The integers V of
 * doc/exact-v1.md 1.2, |V| < 2^62, become
 *   left   V = 2^shift * (top*2^52 + word - 2^51),  0 <= word < 2^52, |top| <= 2^10. shift 11 where all V of a strip allow it: then every top is 0
 *          (float32 rows); else shift 0. Terms with a top that is not 0 are listed: few in a gradient with one exponent per row, most where it is per class.
 *   right  V = 2^22 * (word - 2^41) + rest,  2^40 <= word < 2^42, 0 <= rest < 2^22. A rest that is not 0 is rare in float32 operands: a list, or, if there
 *          are many, a second right operand of words rest + 2^41.
 * Two sums per output: low += lo(word*word), high += hi(word*word) + lo(top*word); a negative top counts modulo 2^52, which adds 2^52 to the sum because
 * 0 < |top|*word < 2^52. Sums start at minus what the offsets add, so that in the end sum_k (left/2^shift)(right/2^22) = high*2^52 + low. Over at most 1024
 * terms |low| < 2^63 and the true |high| <= 2^61: high may wrap on the way, not at the end. */
#ifndef PFC_EXACT_IFMA_H
#define PFC_EXACT_IFMA_H

#include <stdbool.h>
#include <stdint.h>

enum {
    IFMA_ROWS = 4,     /* rows of a strip (left operand) */
    IFMA_COLS = 16,    /* columns of a panel (right operand) */
    IFMA_CHUNK = 1024, /* terms of K in a strip or panel */
    IFMA_PAD = 8,      /* words between arrays, so that they do not share cache sets */
    IFMA_TOP_SHIFT = 11,
    IFMA_REST_BITS = 22,
    IFMA_LISTED = 16 /* rests of a panel that are listed */
};

/* Four rows of the left operand. Row r of term k at word[r*row_step + k*step]; bits above 52 are the top, ignored by the multiplication. */
typedef struct pfc_ifma_strip {
    uint64_t *word;
    int64_t row_step, step;
    int64_t *at;  /* terms with a top that is not 0 in any row: `listed` of them */
    int64_t *top; /* [IFMA_ROWS][top_step], of listed terms */
    int64_t listed, top_step;
    int shift;
    int64_t high[IFMA_ROWS], low[IFMA_ROWS]; /* what the sums start at */
} pfc_ifma_strip;

typedef struct pfc_ifma_rest {
    int64_t k, col, value;
} pfc_ifma_rest;

/* Words of 16 columns of the right operand, [k][IFMA_COLS], and what the sums start at (added to the strip's). */
typedef struct pfc_ifma_words {
    _Alignas(64) int64_t high[IFMA_COLS], low[IFMA_COLS];
    uint64_t *word;
} pfc_ifma_words;

typedef struct pfc_ifma_panel {
    pfc_ifma_words main, rest; /* rest: only if rests > IFMA_LISTED */
    int64_t rests;
    pfc_ifma_rest list[IFMA_LISTED];
} pfc_ifma_panel;

/* high*2^52 + low of a product, 0 <= low < 2^52. */
typedef struct pfc_ifma_tile {
    _Alignas(64) int64_t high[IFMA_ROWS][IFMA_COLS], low[IFMA_ROWS][IFMA_COLS];
} pfc_ifma_tile;

typedef struct pfc_ifma_kernels {
    /* Strip of rows row[i][0..k), V = rne(x * scale[i]); row[i] NULL: zero. keep_shift: shift 0 whatever the data. */
    void (*rows)(pfc_ifma_strip *s, const double *const row[IFMA_ROWS], const double scale[IFMA_ROWS], int64_t k, bool keep_shift);
    /* Two strips of the transpose: row i is x[0..k)[i], i < count <= 8, stride ld, V = rne(x * scale[i]). step is IFMA_ROWS, row_step 1. */
    void (*columns)(pfc_ifma_strip s[2], const double *x, int64_t ld, const double *scale, int count, int64_t k);
    /* Terms k0 to k0 + count - 1 of panels 0, 1, ... for `cols` columns: row[i][0..cols), count <= 8, V = rne(x * scale[i]). */
    void (*right)(pfc_ifma_panel *p, int64_t k0, const double *const row[8], const double scale[8], int count, int64_t cols);
    void (*right_rest)(pfc_ifma_panel *p, int64_t k0, const double *const row[8], const double scale[8], int count, int64_t cols);
    void (*product)(const pfc_ifma_strip *s, const pfc_ifma_words *w, int64_t k, pfc_ifma_tile *t);
    /* out = RN(tile) * scale, a power of two. */
    void (*round)(const pfc_ifma_tile *t, double scale, int rows, int cols, double *out, int64_t ld);
    /* sum += 256 * 2^22 * tile if main, else 256 * tile: four words of base 2^32, the most significant first, `plane` apart. */
    void (*add)(const pfc_ifma_tile *t, bool main, int rows, int cols, int64_t *sum, int64_t plane, int64_t ld);
} pfc_ifma_kernels;

/* Defined where this build has them. */
extern const pfc_ifma_kernels pfc_ifma_kernels_table;

#endif
