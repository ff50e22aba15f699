/* exact_amx.h (internal): exact integer products on int8 tiles (AMX): panels of digits, and the kernels that make and multiply them.
 *
 * The digits of an operand are the eight bytes of its integer V (doc/exact-v1.md 1.2) in two's complement: plane q is the byte of weight 256^(7-q), the top
 * plane (q = 0) signed, the others unsigned. Products of planes i and j are collected in level i + j, of weight 256^(14-i-j), and are exact in int32:
 * 8 pairs * 512 terms * 255^2 < 2^31. A plane of a tile that is all zero is never multiplied; float32 operands use five planes of the eight.
 *
 * A panel is 32 rows (left operand) or 32 columns (right operand) with all of K, in steps of 64 terms. The order of the terms inside a step is that of
 * the byte shuffles: the same for every panel, so a sum does not see it. Terms, rows and columns beyond the end are zero digits. */
#ifndef PFC_EXACT_AMX_H
#define PFC_EXACT_AMX_H

#include <stdbool.h>
#include <stdint.h>

enum {
    AMX_PANEL = 32,  /* rows or columns of a panel: two tiles */
    AMX_STEP = 64,   /* terms of K in a tile */
    AMX_CHUNK = 512, /* terms of K summed in int32 */
    AMX_PLANES = 8,
    AMX_LEVELS = 15,
    AMX_LEVEL = 4 * 256 + 16, /* int32 from one level to the next: four tiles, and 64 bytes so that levels do not share cache sets */
    AMX_TILES = 2 * 1024      /* bytes of one plane of one step */
};

typedef struct pfc_amx_panel {
    uint8_t *tiles; /* planes 0 to 4 of every step, then planes 5 to 7 of every step (written only where not zero) */
    uint64_t *any;  /* 8 words per step: all V of the step or-ed together, while the panel is made */
    uint8_t *low;   /* per step: planes 5 to 7 are written */
    uint64_t *used; /* per chunk: bit 8*q + s: plane q of step s of the chunk is not zero */
    int64_t steps;
} pfc_amx_panel;

/* Where the 32 x 32 sums of a product go. Sums are 256*T in four int64 words of base 2^32, the most significant first, each signed. */
typedef struct pfc_amx_output {
    int64_t *sum; /* [4][plane], row stride sum_ld; NULL: one chunk, straight to out */
    int64_t plane, sum_ld;
    bool set;    /* sum = product instead of sum += product */
    double *out; /* RN(T) of the sum; NULL: not wanted (yet) */
    int64_t out_ld;
    int rows, cols;      /* that exist */
    uint64_t *check;     /* per row: += sum over columns of P*r, P = sum of levels * y^(14-level), modulo 2^64; NULL: off */
    const uint64_t *odd; /* r of each column */
} pfc_amx_output;

/* Levels of two products: while the tiles compute one, the vector units finish the one before. */
typedef struct pfc_amx_work {
    int32_t *level[2]; /* [AMX_LEVELS][AMX_LEVEL]: 4 tiles of 16 x 16; 64-byte aligned */
    int parity;
    pfc_amx_output to; /* of the product that is not finished: */
    const int32_t *from;
    int first, last, row, col; /* its levels, and the next outputs to finish */
} pfc_amx_work;

typedef struct pfc_amx_kernels {
    void (*configure)(void); /* this thread's tiles; before product */
    void (*release)(void);
    /* Left panel: row i is row[i][0..k), V = rne(x * scale[i]); row[i] NULL: zero. */
    void (*rows)(pfc_amx_panel *p, const double *const row[AMX_PANEL], const double scale[AMX_PANEL], int64_t k);
    /* The same as a right panel: column i is row[i]. */
    void (*rows_right)(pfc_amx_panel *p, const double *const row[AMX_PANEL], const double scale[AMX_PANEL], int64_t k);
    /* Left panel of the transpose: row i is x[0..k)[i], i < count <= 32, stride ld, V = rne(x * scale[i]). */
    void (*columns)(pfc_amx_panel *p, const double *x, int64_t ld, const double *scale, int count, int64_t k);
    /* Step `step` of right panels 0, 1, ... for `cols` columns: term i is row[i][0..cols), i < count <= 64, V = rne(x * scale[i]). */
    void (*interleave)(pfc_amx_panel *p, int64_t step, const double *const row[AMX_STEP], const double scale[AMX_STEP], int count, int64_t cols);
    void (*start)(pfc_amx_panel *p);  /* before interleave */
    void (*finish)(pfc_amx_panel *p); /* after it */
    /* Left times right over one chunk; the result is in place after the next product or drain. */
    void (*product)(const pfc_amx_panel *left, const pfc_amx_panel *right, int64_t chunk, const pfc_amx_output *to, pfc_amx_work *w);
    void (*drain)(pfc_amx_work *w);
} pfc_amx_kernels;

#define PFC_AMX_CHECK_Y 0x9E3779B97F4A7C15u /* y of the self-check */

/* Defined where this build has them. */
extern const pfc_amx_kernels pfc_amx_kernels_table;

#endif
