/* fast_bf16.h (internal): products of floats on bf16 tiles (AMX), as accurate as float32: the kernel set bf16x6 of fast mode.
 *
 * A float is hi + mid + lo, three bfloat16 by truncation, exactly. Of the nine products of parts six are kept: hi*hi, hi*mid, mid*hi, mid*mid, hi*lo,
 * lo*hi; the others are below 2^-22 of the whole. In every 32 x 32 block the five small ones are summed first, over all of K, then hi*hi is added.
 *
 * Panels hold 32 rows (left operand) or 32 columns (right operand) with all of K in steps of 32 terms: [step][part][2 tiles of 1 KB]. Terms i and i + 16 of
 * a step stand together in four bytes, in either operand, so packing is one shift and one blend. Rows, columns and terms past the end are zero.
 *
 * The tiles take subnormal operands and results as zero: lo loses bits below about 1e-33, so what may be that small is scaled by a power of two. An
 * infinity is inf + NaN in parts: a block that is not finite is computed again by `chain`, as the ordinary kernels do. */
#ifndef PFC_CPU_FAST_BF16_H
#define PFC_CPU_FAST_BF16_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    BF16_PANEL = 32,
    BF16_STEP = 32,
    BF16_PART = 2 * 1024,              /* bytes of one part of a step */
    BF16_STEP_BYTES = 3 * BF16_PART,   /* of a step */
    BF16_OUT = BF16_PANEL * BF16_PANEL /* floats of a product */
};

static inline int64_t pfc_bf16_panels(int64_t count) { return (count + BF16_PANEL - 1) / BF16_PANEL; }
static inline int64_t pfc_bf16_panel_bytes(int64_t k) { return (k + BF16_STEP - 1) / BF16_STEP * BF16_STEP_BYTES; }

/* out is always [32][32]; only rows x cols of it count. */
typedef struct pfc_bf16_kernels {
    void (*configure)(void); /* this thread's tiles; before product */
    void (*release)(void);

    /* Left panel: row i is row[i][0..k) scale[i], i < count. scale NULL: 1. */
    void (*rows)(const float *const *row, const float *scale, int count, int64_t k, uint8_t *panel);
    /* The same as a right panel: column i is row[i]. */
    void (*rows_right)(const float *const *row, const float *scale, int count, int64_t k, uint8_t *panel);
    /* Right panels, one after the other, for `cols` columns: term t is row[t][0..cols) scale[t], t < k. */
    void (*columns_right)(const float *const *row, const float *scale, int64_t k, int64_t cols, uint8_t *panels);
    /* The same as left panels: row j of all panels together is column j. */
    void (*columns)(const float *const *row, const float *scale, int64_t k, int64_t cols, uint8_t *panels);

    void (*product)(const uint8_t *left, const uint8_t *right, int64_t k, float *out);
    bool (*finite)(const float *out, int rows, int cols);
    /* out_ij = out_ij + left_i0 right_0j + left_i1 right_1j ..., one fma after the other: left_it = left[i][t step], right [k][32]. */
    void (*chain)(const float *const *left, int64_t step, const float *right, int64_t k, int rows, float *out);

    /* What becomes of a product. z_ij = out_ij / (xd_j wd_i), xinv = 1/xd, winv = 1/wd. */
    void (*quotients)(const float *out, int rows, int cols, const float *xd, const float *xinv, const float *wd, const float *winv, float *z, int64_t ldz);
    void (*copy)(const float *out, int rows, int cols, float *z, int64_t ldz);
    /* f += out. */
    void (*add)(const float *out, int rows, int cols, float *f, int64_t ldf);
    /* dw_ij = fma(a_i, w[i][at + j], out_ij up_i) winv_i; a NULL: out_ij up_i. */
    void (*projected)(const float *out, int rows, int cols, const float *up, const float *const *w, int64_t at, const float *a, const float *winv, float *dw,
                      int64_t lddw);
    /* Largest |x_i|; NaN anywhere: unspecified. */
    float (*largest)(const float *x, int64_t n);
} pfc_bf16_kernels;

/* Defined where this build has them. */
extern const pfc_bf16_kernels pfc_bf16_kernels_table;

/* Whether the kernels can run here: built, CPU, operating system, permission, known answers, PFC_MAX_ISA. false: why, in one line. */
bool pfc_bf16_usable(char *why, size_t size);

#endif
