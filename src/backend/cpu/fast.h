/* fast.h (internal): the state behind the fast cpu tables: which kernels, scratch per lane, operands, accumulators. */
#ifndef PFC_CPU_FAST_H
#define PFC_CPU_FAST_H

#include "backend/backend.h"
#include "backend/cpu/fast_kernels.h"

enum { FAST_LANES = 8, FAST_BLOCK = 126 }; /* blocks: W, H and dW of a block and the packed X share a 2 MiB L2 up to D = 512, N = 128; a multiple of the tile */

enum { FAST_KEPT = 32 };          /* freed blocks of memory */
enum { FAST_PARALLEL = 1 << 15 }; /* elements from which threads pay, where a file has no number of its own */

/* Work memory of one lane for a block of `classes` and N rows; [16] as in fast_kernels.h. Grows, never shrinks. */
typedef struct fast_scratch {
    int64_t n, classes, width; /* width: a multiple of the panel */
    float *memory;
    float *logit, *slope, *onehot, *max, *share, *keep, *sum, *factor, *target, *dot; /* [16] N */
    float *wd, *winv, *a;                                                             /* classes */
    float *packed;                                                                    /* classes * width */
    float **w, **m;                                                                   /* classes: rows of weight and momentum */
    const float **ahead_row;                                                          /* classes: of the next block */
    fast_ahead ahead;
    int32_t *first, *row; /* classes + 2, N */
} fast_scratch;

/* Work memory of the kernel set bf16x6; grows, never shrinks. */
typedef struct fast_tile_memory {
    void *memory;
    size_t bytes;
} fast_tile_memory;

typedef struct pfc_fast_state {
    const pfc_fast_kernels *k;
    fast_scratch lane[FAST_LANES];
    fast_tile_memory tiles[FAST_LANES];
    void *block[FAST_KEPT]; /* freed memory kept for the next step (pfc_fast_alloc, pfc_fast_free) */
    int kept;
    size_t kept_bytes;
} pfc_fast_state;

/* Accumulators: floats per lane for products; a double per row and lane for scalars, with a running maximum if row_max fills it. */
typedef struct fast_acc {
    float *product;      /* lanes * rows * ld; those of lanes that were seen */
    double *sum;         /* lanes * rows */
    float *max;          /* lanes * [16] rows; -inf */
    unsigned char *seen; /* lanes: row_max, or a product, had a block */
    int64_t ld;          /* products: of a row; max: of a lane */
} fast_acc;

/* be->ops says which kernels; called by the registry. */
pfc_status pfc_fast_state_create(pfc_backend *be);
void pfc_fast_state_destroy(pfc_backend *be);

/* The lane's scratch, large enough (d: 0 where no W is packed); NULL: out of memory. */
fast_scratch *pfc_fast_scratch(pfc_backend *be, int lane, int64_t classes, int64_t n, int64_t d);

static inline const pfc_fast_kernels *pfc_fast_kernels_of(const pfc_backend *be) { return ((const pfc_fast_state *)be->state)->k; }
static inline fast_acc *pfc_fast_acc_of(const pfc_acc *acc) { return acc->state; }
static inline int64_t pfc_round16(int64_t n) { return (n + 15) & ~(int64_t)15; }
static inline fast_sgd pfc_fast_sgd_of(const pfc_sgd *sgd)
{
    fast_sgd f = { (float)sgd->lr, (float)sgd->momentum, (float)sgd->weight_decay, sgd->nesterov };
    return f;
}
/* max(norm, 1e-12); NaN stays. */
static inline float pfc_fast_divisor(float norm) { return norm < (float)PFC_NORM_MIN ? (float)PFC_NORM_MIN : norm; }
static inline float *pfc_fast_at(pfc_view v, int64_t row) { return (float *)v.data + row * v.ld; }
static inline float *pfc_fast_row(pfc_rowset s, int64_t i) { return pfc_fast_at(s.base, pfc_row_index(s, i)); }

/* The larger; NaN wins. */
static inline float pfc_fast_larger(float m, float x) { return m == m && !(x <= m) ? x : m; }

void pfc_fast_rows_ahead(pfc_backend *be, int lane, pfc_rowset w);
/* The lane's sums of products (rows * ld), zero at first. */
float *pfc_fast_lane_product(pfc_acc *acc, int lane);

/* The entries of the tables, pfc_fast_NAME with the type of NAME in struct pfc_ops; backend.h has their meaning. */
#define FIELD(name, value)
#define ENTRY(name) __typeof__(*((const pfc_ops *)0)->name) pfc_fast_##name;
#define PRODUCT(name) ENTRY(name)
#include "backend/cpu/fast_ops.inc"
#undef FIELD
#undef ENTRY
#undef PRODUCT

#endif
