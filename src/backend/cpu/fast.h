/* fast.h (internal): the state behind the fast cpu tables: which kernels, scratch per lane, operands, accumulators. */
#ifndef PFC_CPU_FAST_H
#define PFC_CPU_FAST_H

#include "backend/backend.h"
#include "backend/cpu/fast_kernels.h"

enum { FAST_LANES = 8, FAST_BLOCK = 126 }; /* blocks: W, H and dW of a block and the packed X share a 2 MiB L2 up to D = 512, N = 128; a multiple of the tile */

enum { FAST_KEPT = 32 };

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
    void *block[FAST_KEPT]; /* freed memory kept for the next step */
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

/* Memory as pfc_cpu_alloc's; what pfc_fast_free is given may be handed out again. */
pfc_status pfc_fast_alloc(pfc_backend *be, size_t bytes, void **out);
void pfc_fast_free(pfc_backend *be, void *p);

/* The lane's scratch, large enough (d: 0 where no W is packed); NULL: out of memory. */
fast_scratch *pfc_fast_scratch(pfc_backend *be, int lane, int64_t classes, int64_t n, int64_t d);

static inline const pfc_fast_kernels *pfc_fast_kernels_of(const pfc_backend *be) { return ((const pfc_fast_state *)be->state)->k; }
static inline int64_t pfc_round16(int64_t n) { return (n + 15) & ~(int64_t)15; }
static inline fast_sgd pfc_fast_sgd_of(const pfc_sgd *sgd)
{
    fast_sgd f = { (float)sgd->lr, (float)sgd->momentum, (float)sgd->weight_decay, sgd->nesterov };
    return f;
}
/* max(norm, 1e-12); NaN stays. */
static inline float pfc_fast_divisor(float norm) { return norm < 1e-12f ? 1e-12f : norm; }
static inline float *pfc_fast_at(pfc_view v, int64_t row) { return (float *)v.data + row * v.ld; }
static inline float *pfc_fast_row(pfc_rowset s, int64_t i) { return pfc_fast_at(s.base, s.index ? s.index[i] : s.first + i); }

/* The entries of the tables (backend.h has their meaning). */
pfc_status pfc_fast_row_norms(pfc_backend *be, pfc_rowset a, pfc_view norm, int32_t *expo);
pfc_status pfc_fast_round_state(pfc_backend *be, pfc_view state);
pfc_status pfc_fast_operand_create(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out);
void pfc_fast_operand_destroy(pfc_backend *be, pfc_operand *x);
void pfc_fast_rows_ahead(pfc_backend *be, int lane, pfc_rowset w);
pfc_status pfc_fast_cosines(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_view z);
pfc_status pfc_fast_row_max(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum);
pfc_status pfc_fast_row_max_fold(pfc_backend *be, pfc_acc *sum, pfc_view max);
pfc_status pfc_fast_target_prob(pfc_backend *be, const pfc_rows_info *rows, int64_t n_rows, double *prob);
pfc_status pfc_fast_logits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view l);
pfc_status pfc_fast_dlogits(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view g);
pfc_status pfc_fast_logit_grad(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view h, pfc_acc *dot,
                               pfc_view wdot);
pfc_status pfc_fast_feature_grad(pfc_backend *be, int lane, pfc_view h, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_acc *feature);
pfc_status pfc_fast_weight_grad(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                pfc_view dw);
pfc_status pfc_fast_weight_update(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                  pfc_view momentum, const pfc_sgd *sgd);
/* The kernel set bf16x6 (fast_bf16_ops.c). */
pfc_status pfc_bf16x6_operand_create(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out);
void pfc_bf16x6_operand_destroy(pfc_backend *be, pfc_operand *x);
pfc_status pfc_bf16x6_cosines(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_view z);
pfc_status pfc_bf16x6_feature_grad(pfc_backend *be, int lane, pfc_view h, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_acc *feature);
pfc_status pfc_bf16x6_weight_grad(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                  pfc_view dw);
pfc_status pfc_bf16x6_weight_update(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                    pfc_view momentum, const pfc_sgd *sgd);
pfc_status pfc_fast_feature_grad_finish(pfc_backend *be, pfc_view feature, pfc_view dot, pfc_view x, pfc_view norm, int normalised, double scale,
                                        pfc_view x_grad);
pfc_status pfc_fast_sgd_rows(pfc_backend *be, pfc_view dw, pfc_rowset weight, pfc_view momentum, const pfc_sgd *sgd);
/* The lane's sums of products (rows * ld), zero at first. */
float *pfc_fast_lane_product(pfc_acc *acc, int lane);
pfc_status pfc_fast_acc_create(pfc_backend *be, int kind, int64_t rows, int64_t cols, pfc_acc **out);
void pfc_fast_acc_destroy(pfc_backend *be, pfc_acc *acc);
pfc_status pfc_fast_acc_fold(pfc_backend *be, pfc_acc *acc, const pfc_rows_info *rows);
pfc_status pfc_fast_acc_value(pfc_backend *be, const pfc_acc *acc, int64_t first, int64_t count, pfc_view out);

/* fast_matrix.c */
pfc_status pfc_fast_normalise(pfc_backend *be, pfc_view a, pfc_view norm, pfc_view out);
pfc_status pfc_fast_normalise_backward(pfc_backend *be, pfc_view g, pfc_view unit, pfc_view norm, pfc_view out);
pfc_status pfc_fast_softmax_rows(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum);

/* fast_batch_norm.c */
pfc_status pfc_fast_bn_grid(pfc_backend *be, pfc_bn_shape shape, pfc_view x, double *grid);
pfc_status pfc_fast_bn_sums(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const double *grid, pfc_acc *acc);
pfc_status pfc_fast_bn_moments(pfc_backend *be, const pfc_acc *acc, const double *grid, int64_t count, double *mean, double *var);
pfc_status pfc_fast_bn_normalise(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const pfc_bn_units *units, pfc_view y);
pfc_status pfc_fast_bn_forward_alone(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const pfc_bn_units *units, double eps, double *mean, double *var,
                                     double *inv, pfc_view y);
pfc_status pfc_fast_bn_backward_alone(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, double divisor, double *sums,
                                      pfc_view x_grad);
pfc_status pfc_fast_bn_grad_sums(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, const double *grid, pfc_acc *acc);
pfc_status pfc_fast_bn_values(pfc_backend *be, const pfc_acc *acc, int64_t channels, int64_t splits, int joined, double *out);
pfc_status pfc_fast_bn_backward(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, pfc_view x_grad);
pfc_status pfc_fast_gather_add(pfc_backend *be, pfc_view x, pfc_acc *acc);
/* fast_arcface.c */
pfc_status pfc_fast_subcenter_max(pfc_backend *be, int lane, pfc_view z, pfc_view bias, int64_t k, pfc_view cosine, pfc_view winner);
pfc_status pfc_fast_angular_logits(pfc_backend *be, int lane, const pfc_angular *head, pfc_view cosine, int64_t c0, const pfc_rows_info *rows, pfc_view l);
pfc_status pfc_fast_softmax_prob(pfc_backend *be, int lane, pfc_view l, const pfc_rows_info *rows, pfc_view p);
pfc_status pfc_fast_aims_sum(pfc_backend *be, int lane, pfc_view l, int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_acc *total, pfc_acc *loss);
pfc_status pfc_fast_subcenter_grad(pfc_backend *be, int lane, const pfc_angular *head, pfc_view cosine, pfc_view l, pfc_view winner, int64_t k, int64_t c0,
                                   const pfc_rows_info *rows, const pfc_aims *aims, pfc_view h, pfc_view bias_grad);

#endif
