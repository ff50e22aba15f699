/* backend.h (internal): THE contract for someone who ports pfc_ref to a new device.
 *
 * A backend is loops over rows, columns and classes; it knows nothing of ranks. It is one const table of function pointers (struct
 * pfc_ops) per numeric mode and instruction set, instantiated with designated initialisers at the end of the backend's main file, and an
 * object (struct pfc_backend) with its private state. Algorithms call the table and comm, nothing else.
 *
 * Real storage ("real") is double in exact tables and float in fast tables. Unless an entry says "optional", or "exact only" in a
 * fast table, NULL is an error that names the entry (pfc_ops_missing).
 *
 * Memory. Every view and rowset, and every pointer that is not named host here, is memory of this backend (alloc), or part of it; algorithms do not read
 * or write it themselves but upload and download. Host memory are: structs passed by address and what they hold as plain members, data, special and
 * expo of an accumulator, host and prob of the entries, all of mean_loss. An entry reads its arguments and writes those that its comment puts to the left
 * of = or <-, every element of them and nothing between the rows, unless it says otherwise; these overlap no other argument. Columns (n,1) are
 * contiguous, and so are z, h and what a tap shows. The checked backend (checked/checked.h) holds both sides to this.
 *
 * Letters: N rows of the whole batch, D width, c classes of a block. A *block* is a range of the sampled classes of this rank; Z, H and dW
 * blocks are class-major: (classes, N) and (classes, D), so that a block is contiguous.
 * A *lane* is a private accumulator: blocks of one lane run one after the other, lanes run at the same time (threads, streams).
 * Lanes are folded in lane order; their number never depends on the number of threads, so neither does any bit.
 *
 * NaN: every entry propagates NaN (max included). Exact tables must reproduce doc/exact-v1.md bit for bit; the section is cited. */
#ifndef PFC_BACKEND_H
#define PFC_BACKEND_H

#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

#include "backend/cpuid.h"

#include <pfc/ctx.h>
#include <pfc/partial_fc.h>
#include <pfc/sinkhorn.h>
#include <stdbool.h>

typedef struct pfc_backend pfc_backend;
typedef struct pfc_emulation pfc_emulation;

/* Rows of a matrix, all or chosen: row i is base row index[i], or first + i if index is NULL. */
typedef struct pfc_rowset {
    pfc_view base;
    const int64_t *index; /* in the place of base; NULL: contiguous */
    int64_t first, count;
} pfc_rowset;

static inline pfc_rowset pfc_all_rows(pfc_view v)
{
    pfc_rowset all = { v, NULL, 0, v.rows };
    return all;
}

/* Rows [first, first + count) of a set, and of a matrix. */
static inline pfc_rowset pfc_rowset_part(pfc_rowset set, int64_t first, int64_t count)
{
    pfc_rowset part = { set.base, set.index ? set.index + first : NULL, set.first + first, count };
    return part;
}
static inline pfc_view pfc_view_rows(pfc_view v, int64_t first, int64_t count)
{
    if (v.data) v.data = (char *)v.data + (size_t)first * (size_t)v.ld * pfc_dtype_size(v.dtype);
    v.rows = count;
    return v;
}

/* Which row of base is row i; for backends whose memory is the host's. */
static inline int64_t pfc_row_index(pfc_rowset set, int64_t i) { return set.index ? set.index[i] : set.first + i; }

/* A shorter row is divided by this in place of its length, and nothing is projected in the backward (F.normalize; semantics.md 1.1). */
#define PFC_NORM_MIN 1e-12

/* The head with its constants worked out once (partial_fc_head.c; exact-v1 section 3). */
typedef struct pfc_head {
    pfc_head_kind kind;
    pfc_arc_gradient arc_gradient;
    pfc_arc_fallback arc_fallback;
    int cos_clamp;
    double scale, margin;
    double cos_m, sin_m, mm; /* cos m, sin m, m*sin m */
    double threshold;        /* interclass threshold, 0: off */
    int normalised;          /* 0: linear, plain products */
} pfc_head;

/* What is known of each of the N rows; arrays of N in the table's place. Read-only but for target_logit in row_max. */
typedef struct pfc_rows_info {
    const int64_t *target;      /* position of the row's label among this rank's sampled classes, or -1 */
    const unsigned char *valid; /* 0: the row is ignored; NULL: none is */
    pfc_view target_logit;      /* real (N,1): l at the target, written by row_max where this rank owns it, undefined elsewhere */
    pfc_view max;               /* real (N,1): running, then global maximum of the logits */
    pfc_view sum;               /* real (N,1): global denominator */
    double n;                   /* rows that count */
} pfc_rows_info;

/* Position of row n's target in a block of `count` classes from c0, or -1; for backends whose memory is the host's. */
static inline int64_t pfc_target_in_block(const pfc_rows_info *rows, int64_t n, int64_t c0, int64_t count)
{
    int64_t t = rows->target[n] - c0;
    return rows->target[n] >= 0 && t >= 0 && t < count ? t : -1;
}

/* An accumulator for sums over classes, hence over ranks: rows x cols sums. The backend chooses the representation inside the lanes; on the wire
 * an element is `words` 8-byte words of type `wire`, which comm adds. Exact: int64 limbs on the grid `expo`; fast: one double. */
typedef struct pfc_acc {
    int kind; /* PFC_ACC_SCALAR: sums of terms (exact-v1 1.3); PFC_ACC_PRODUCT: sums of products (1.2) */
    int64_t rows, cols;
    int lanes, words;
    pfc_dtype wire;         /* PFC_I64 or PFC_F64 */
    void *data;             /* rows*cols*words words, element-major, after acc_fold */
    pfc_place place;        /* of data: host memory, but where the site allows it (pfc_site) sums of products may stay in the backend's */
    unsigned char *special; /* rows*cols marks after acc_fold: 1 +inf, 2 -inf, 3 NaN (bits combine by or); NULL if there are none */
    int32_t *expo;          /* rows, host: grid exponent of each row. Exact only, else NULL */
    void *state;            /* the backend's own */
} pfc_acc;
enum { PFC_ACC_SCALAR, PFC_ACC_PRODUCT };

/* An angular margin per class (arcface_head.c; exact-v1 8.4). */
typedef struct pfc_angular {
    double scale;
    int margins; /* 0: none anywhere, the logit is scale times the cosine (evaluation) */
    int easy, cos_clamp;
    pfc_view constant; /* real (classes of this rank, 4): cos m, sin m, threshold, fallback m sin m */
} pfc_angular;

/* What the rows of a batch aim at (exact-v1 8.6): q_nc = class weight times one-hot at the row's target, or times a probability. */
typedef struct pfc_aims {
    pfc_view soft;         /* real (classes of this rank, N), class-major; NULL data: one-hot at pfc_rows_info's target */
    pfc_view class_weight; /* real (classes of this rank, 1); NULL data: ones */
    pfc_view total;        /* real (N,1): sum of q over all classes */
    double factor;         /* of the loss: loss weight / N */
} pfc_aims;

typedef struct pfc_sgd {
    double lr, momentum, weight_decay;
    int nesterov;
} pfc_sgd;

/* A tensor (n, C, L) of batch_norm, contiguous: a view of n*C rows and L columns. Sample i belongs to split i mod S; what is normalised together is a
 * unit u = s*C + c. */
typedef struct pfc_bn_shape {
    int64_t n, channels, splits, inner; /* n, C, S, L */
} pfc_bn_shape;

/* What is known of the units; host arrays. mean, inv = 1/sqrt(var + eps), mean_g, mean_gx: (S*C); weight, bias: (C). */
typedef struct pfc_bn_units {
    const double *mean, *inv, *weight, *bias;
    const double *mean_g, *mean_gx; /* of the backward */
} pfc_bn_units;

typedef struct pfc_operand pfc_operand; /* rows prepared for products; opaque */

typedef struct pfc_sinkhorn_plan pfc_sinkhorn_plan; /* the matrix Q of one Sinkhorn run, in whatever form the mode keeps it; opaque */

typedef void (*pfc_lane_fn)(void *arg, int lane);

typedef struct pfc_ops {
    const char *name; /* "cpu" */
    const char *isa;  /* "scalar", "avx2", "avx512", "sm_90" */
    pfc_mode mode;
    pfc_dtype real;
    pfc_place place;
    int lanes;             /* private accumulators of class loops; 0: as many as threads (integer sums: no bit depends on it) */
    int64_t block_classes; /* classes per block; a GPU says a large number and gets one block */

    /* ---- memory ---- */
    pfc_status (*alloc)(pfc_backend *be, size_t bytes, void **out); /* 64-byte aligned, uninitialised */
    void (*free)(pfc_backend *be, void *p);
    pfc_status (*upload)(pfc_backend *be, void *dst, const void *host, size_t bytes);   /* host to place */
    pfc_status (*download)(pfc_backend *be, void *host, const void *src, size_t bytes); /* place to host */
    pfc_status (*sync)(pfc_backend *be);                                                /* everything issued so far is done; reports its errors */

    /* ---- control ---- */
    /* fn(arg, 0..lanes-1), possibly at the same time. fn reports failure through arg. */
    void (*for_lanes)(pfc_backend *be, int lanes, pfc_lane_fn fn, void *arg);

    /* ---- rows (step 4 of partial_fc) ---- */
    /* norm_i = ||a_i|| (real, raw: not clamped); expo_i = grid exponent (exact-v1 1.1, 3.1; int32 in the place of
     * a; exact only: fast leaves it alone and takes NULL). */
    pfc_status (*row_norms)(pfc_backend *be, pfc_rowset a, pfc_view norm, int32_t *expo);
    /* state <- float32(state), elementwise (exact; fast: nothing to do). */
    pfc_status (*round_state)(pfc_backend *be, pfc_view state);

    /* ---- products (steps 4, 9) ---- */
    /* X (N,D) prepared once per step, used by cosines and weight_grad. norm and expo as from row_norms; all three must outlive the operand and
     * stay as they are. out: host, an object of the backend. */
    pfc_status (*operand_create)(pfc_backend *be, pfc_view x, pfc_view norm, const int32_t *expo, pfc_operand **out);
    void (*operand_destroy)(pfc_backend *be, pfc_operand *x);
    /* optional: a hint that the lane's next block is the rows w of the weight. It may be fetched into a cache meanwhile. */
    void (*rows_ahead)(pfc_backend *be, int lane, pfc_rowset w);
    /* z (classes, N) real: z_cn = <x_n, w_c> / (max(||x_n||,1e-12) max(||w_c||,1e-12)), or <x_n, w_c> if not normalised (3.2). */
    pfc_status (*cosines)(pfc_backend *be, int lane, const pfc_operand *x, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_view z);

    /* ---- logits and softmax (steps 5-7) ---- */
    /* max_n = max(max_n, logits of the block) for this lane's private maxima; target_logit where the target is in the block. c0: sampled position of
     * the block's first class. Fast tables also keep the running sum of exp(l - running max) in `sum`'s lane (row_sum is then NULL). */
    pfc_status (*row_max)(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum);
    /* rows->max = maximum over the lanes; -inf if there was no block. NaN wins. */
    pfc_status (*row_max_fold)(pfc_backend *be, pfc_acc *sum, pfc_view max);
    /* exact only: sum_n += exp(l - max_n) over the block (3.5). */
    pfc_status (*row_sum)(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_acc *sum);
    /* prob_n (double, N) = p at the target, 0 where this rank does not own it (3.6). Host result. */
    pfc_status (*target_prob)(pfc_backend *be, const pfc_rows_info *rows, int64_t n_rows, double *prob);
    /* Host: mean row loss (3.7). prob: summed over ranks; shifted: l_t - M, summed over ranks (lse only, else NULL). */
    double (*mean_loss)(pfc_loss_kind kind, const double *prob, const double *sum, const double *shifted, const unsigned char *valid, int64_t n_rows, double n);

    /* ---- what a tap shows (taps only; the other entries make these on the fly) ---- */
    /* l (classes, N) = logits of the block, targets included (3.3). */
    pfc_status (*logits)(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view l);
    /* g (classes, N) = (p - onehot) / n, 0 for ignored rows (3.8). */
    pfc_status (*dlogits)(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view g);

    /* ---- gradients (steps 8-10) ---- */
    /* exact only: raises feature->expo and dot->expo (host arrays of the lane, folded by acc_expo_fold) to cover the block's terms (3.9). */
    pfc_status (*grad_expo)(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view wnorm,
                            const int32_t *wexpo, pfc_acc *feature, pfc_acc *dot);
    /* exact only: feature->expo, dot->expo = maximum over lanes, in host memory, ready to be all-reduced. */
    pfc_status (*acc_expo_fold)(pfc_backend *be, pfc_acc *acc);
    /* h (classes, N) = G * slope (3.8); dot_n += h z over the block; wdot_c = sum_n h z (3.10, real). dot and wdot only if normalised. */
    pfc_status (*logit_grad)(pfc_backend *be, int lane, const pfc_head *head, pfc_view z, int64_t c0, const pfc_rows_info *rows, pfc_view h, pfc_acc *dot,
                             pfc_view wdot);
    /* feature_n += sum_c h_cn w_c / max(||w_c||,1e-12) (3.9). */
    pfc_status (*feature_grad)(pfc_backend *be, int lane, pfc_view h, pfc_rowset w, pfc_view wnorm, const int32_t *wexpo, int normalised, pfc_acc *feature);
    /* dw (classes, D) = gradient of the rows (3.10), the normalisation's backward included. Not normalised: h times x; of w only the count is read, wnorm
     * and wdot not at all. Normalised: every finite |w| is 0 or within 2^-149 and 2^128, as those of float32 (round_state). */
    pfc_status (*weight_grad)(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                              pfc_view dw);
    /* x_grad (rows,D) = normalisation's backward of feature (rows,D) with dot (rows,1), times scale (3.9). x, norm: the same rows. */
    pfc_status (*feature_grad_finish)(pfc_backend *be, pfc_view feature, pfc_view dot, pfc_view x, pfc_view norm, int normalised, double scale,
                                      pfc_view x_grad);

    /* ---- update (steps 9, 11) ---- */
    /* optional: rows of weight and momentum <- as sgd_rows by the dw of weight_grad, bit for bit, without dw in memory. For steps whose caller does not
     * ask for the gradient. momentum: the same rows of it as w's of the weight. */
    pfc_status (*weight_update)(pfc_backend *be, int lane, const pfc_operand *x, pfc_view h, pfc_rowset w, pfc_view wnorm, pfc_view wdot, int normalised,
                                pfc_view momentum, const pfc_sgd *sgd);
    /* Rows of weight and momentum (the same rows of both) <- by dw (3.11), the other rows stay. dw.data NULL: gradient zero (rows that were not sampled,
     * dense rule). */
    pfc_status (*sgd_rows)(pfc_backend *be, pfc_view dw, pfc_rowset weight, pfc_view momentum, const pfc_sgd *sgd);

    /* ---- whole matrices (src/algo/matrix.c; swav, moco) ---- */
    /* out_i = a_i / max(norm_i, 1e-12), rows of D (4.1). norm as from row_norms. out may be a. */
    pfc_status (*normalise)(pfc_backend *be, pfc_view a, pfc_view norm, pfc_view out);
    /* out = gradient of a, given g = gradient of unit = normalise(a) (4.2). out may be g. */
    pfc_status (*normalise_backward)(pfc_backend *be, pfc_view g, pfc_view unit, pfc_view norm, pfc_view out);
    /* max_n = max_k a_nk / t, sum_n = sum_k exp(a_nk / t - max_n) (4.4); real (rows,1) each. */
    pfc_status (*softmax_rows)(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum);
    /* exact only: raises acc->expo of every column k of a (host arrays of the lane, folded by acc_expo_fold) to cover a_nk 2^(expo_n) (4.3). */
    pfc_status (*column_expo)(pfc_backend *be, int lane, pfc_view a, const int32_t *expo, pfc_acc *acc);

    /* ---- arcface_head ---- */
    /* cosine (classes, N) = max_j (z + bias) over the k rows of z (classes*k, N) of a class, winner (classes, N) int32 its j: the first of equal ones, NaN
     * wins (8.3). bias (classes*k, 1), or NULL data. */
    pfc_status (*subcenter_max)(pfc_backend *be, int lane, pfc_view z, pfc_view bias, int64_t k, pfc_view cosine, pfc_view winner);
    /* l (classes, N) = logits of the block with the margin at the target (8.4). c0: its first class among this rank's. */
    pfc_status (*angular_logits)(pfc_backend *be, int lane, const pfc_angular *head, pfc_view cosine, int64_t c0, const pfc_rows_info *rows, pfc_view l);
    /* p (classes, N) = exp(l - max) / sum (8.5). p may be l. */
    pfc_status (*softmax_prob)(pfc_backend *be, int lane, pfc_view l, const pfc_rows_info *rows, pfc_view p);
    /* exact only: raises total->expo and loss->expo (host arrays of the lane, folded by acc_expo_fold) to cover the block's terms (8.6). */
    pfc_status (*aims_expo)(pfc_backend *be, int lane, pfc_view l, int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_acc *total, pfc_acc *loss);
    /* total_n += q, loss_n += q (log sum_n - (l - max_n)) over the block (8.6). */
    pfc_status (*aims_sum)(pfc_backend *be, int lane, pfc_view l, int64_t c0, const pfc_rows_info *rows, const pfc_aims *aims, pfc_acc *total, pfc_acc *loss);
    /* h (classes*k, N) = gradient of the sub-centers' cosines: (total p - q) factor slope in the winner's row, 0 in the others; bias_grad (classes*k, 1) =
     * sum over the rows, if its data is not NULL (8.7). */
    pfc_status (*subcenter_grad)(pfc_backend *be, int lane, const pfc_angular *head, pfc_view cosine, pfc_view l, pfc_view winner, int64_t k, int64_t c0,
                                 const pfc_rows_info *rows, const pfc_aims *aims, pfc_view h, pfc_view bias_grad);

    /* ---- sinkhorn, swav (doc/exact-v1.md section 5) ---- */
    /* Q (n,K) from scores (n,K), a sample a row; both must outlive the plan, and at the end q is the assignment. total: N, samples of all ranks.
     * extremes (host): largest score/epsilon, and largest of -score/epsilon, or -inf where sinkhorn_exp does not want it; NaN wins. The caller reduces both
     * with the maximum over ranks. */
    pfc_status (*sinkhorn_create)(pfc_backend *be, const pfc_sinkhorn_config *cfg, double total, pfc_view scores, pfc_view q, double extremes[2],
                                  pfc_sinkhorn_plan **out);
    void (*sinkhorn_destroy)(pfc_backend *be, pfc_sinkhorn_plan *plan);
    /* Q = exp(score/epsilon - shift), infinities replaced as the version does (5.1). extremes: of all ranks. Not for log. */
    pfc_status (*sinkhorn_exp)(pfc_backend *be, pfc_sinkhorn_plan *plan, const double extremes[2]);
    /* exact only: raises acc->expo (K, host, not lanes) to cover Q (5.2). */
    pfc_status (*sinkhorn_expo)(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_acc *acc);
    /* Sums of Q over this rank's samples (5.2): an exact table has the last two of these, a fast one the first or the last two.
     * sums (K+1, host) = the sums, then their total, where doubles will do;
     * acc (K scalars) += the sums; host: sums (K) of an accumulator that all ranks have added, and their total. */
    pfc_status (*sinkhorn_own_sums)(pfc_backend *be, pfc_sinkhorn_plan *plan, double *sums);
    pfc_status (*sinkhorn_sums)(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_acc *acc);
    pfc_status (*sinkhorn_total)(pfc_backend *be, const pfc_acc *acc, double *sums, double *total);
    /* Q /= t (5.3); Q += x, vissl only (5.4). */
    pfc_status (*sinkhorn_divide)(pfc_backend *be, pfc_sinkhorn_plan *plan, double t);
    pfc_status (*sinkhorn_add)(pfc_backend *be, pfc_sinkhorn_plan *plan, double x);
    /* One iteration: every prototype to mass 1/K by its row sum (host, K), then every sample to mass 1/N (5.4). */
    pfc_status (*sinkhorn_scale)(pfc_backend *be, pfc_sinkhorn_plan *plan, const double *sums);
    /* q = the assignment (5.5). */
    pfc_status (*sinkhorn_finish)(pfc_backend *be, pfc_sinkhorn_plan *plan);
    /* Log domain (5.6): max_k (K,1 real) = max over samples of a_k + g; acc_k = sum of exp(a_k + g - max_k). */
    pfc_status (*sinkhorn_log_max)(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max);
    pfc_status (*sinkhorn_log_sums)(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, pfc_acc *acc);
    /* log_sums (host, K) = log of the row sums of all ranks; then f of every prototype and g of every sample. */
    pfc_status (*sinkhorn_log_scale)(pfc_backend *be, pfc_sinkhorn_plan *plan, pfc_view max, const pfc_acc *acc, double *log_sums);
    /* to (rows, cols) = from, elements in the place; rows may move within one matrix. */
    pfc_status (*copy_rows)(pfc_backend *be, pfc_view from, pfc_view to);
    /* to = +0. */
    pfc_status (*zero)(pfc_backend *be, pfc_view to);
    /* a /= d, elementwise. */
    pfc_status (*divide)(pfc_backend *be, pfc_view a, double d);
    /* row_n (double, rows, host) = sum_k q_nk log p_nk, p = softmax(a/t), max and sum as from softmax_rows; source: log of the softmax (5.8). */
    pfc_status (*swav_row_loss)(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, double *row);
    /* out_nk = (first ? 0 : out_nk) + (sum_k' q_nk') p_nk - q_nk (5.9); source: a p of 0 makes the row NaN, as the source's 0/0. */
    pfc_status (*swav_dlogits)(pfc_backend *be, pfc_view a, double t, pfc_view max, pfc_view sum, pfc_view q, int source, int first, pfc_view out);
    /* out *= factor, elementwise. */
    pfc_status (*scale)(pfc_backend *be, pfc_view out, double factor);
    /* g = (g + decay w) factor, elementwise (LARC, 5.11). */
    pfc_status (*decay_scale)(pfc_backend *be, pfc_view g, pfc_view w, double decay, double factor);

    /* ---- moco ---- */
    /* k <- k*mu + q*(1-mu), elementwise (6.1); each product and the sum are rounded, 1-mu is formed in double. */
    pfc_status (*momentum_update)(pfc_backend *be, pfc_view k, pfc_view q, double mu);
    /* l_n = s <q_n, k_n>, real (rows,1) (6.3). The other logits (6.4) are those of head linear with scale s and no target: cosines, row_max, row_sum,
     * grad_expo, logit_grad, feature_grad, the queue's keys as classes. */
    pfc_status (*positive_logits)(pfc_backend *be, pfc_view q, pfc_view k, double s, pfc_view l);
    /* max_n = max(max_n, l_n). */
    pfc_status (*positive_max)(pfc_backend *be, pfc_view l, pfc_view max);
    /* sum_n += exp(l_n - max_n) (6.5). */
    pfc_status (*positive_sum)(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum);
    /* g_n += ((exp(l_n - max_n) / sum_n - 1) / count) s k_n (6.7); g, k (rows,D). */
    pfc_status (*positive_grad)(pfc_backend *be, pfc_view l, pfc_view max, pfc_view sum, double count, double s, pfc_view k, pfc_view g);

    /* ---- batch_norm, group_gather (exact-v1 7) ---- */
    /* grid_u (host, S*C) = what the sums of unit u are taken on, such that the maximum over ranks serves all: exact the largest finite |x| (0: none); fast
     * one of the values, to be subtracted (-inf: none). */
    pfc_status (*bn_grid)(pfc_backend *be, pfc_bn_shape shape, pfc_view x, double *grid);
    /* acc (2*S*C rows) += x in row u, x^2 in row S*C + u; on the grid (7.2). */
    pfc_status (*bn_sums)(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const double *grid, pfc_acc *acc);
    /* mean, var (host, units): of `count` values, from acc->data and the marks, after acc_fold (7.2). */
    pfc_status (*bn_moments)(pfc_backend *be, const pfc_acc *acc, const double *grid, int64_t count, double *mean, double *var);
    /* y = ((x - mean) inv) weight + bias (7.3). */
    pfc_status (*bn_normalise)(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const pfc_bn_units *units, pfc_view y);
    /* exact only: grid (host, 2*C) = largest finite |g| of channel c, and of |g x^|, x^ = (x - mean) inv (7.6). */
    pfc_status (*bn_grad_grid)(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, double *grid);
    /* acc (2*S*C rows) += g in row u, g x^ in row S*C + u (7.6). */
    pfc_status (*bn_grad_sums)(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, const double *grid, pfc_acc *acc);
    /* out (host, 2*S*C) = values of acc after acc_fold; joined: (2*C), the sums over the splits (7.6). */
    pfc_status (*bn_values)(pfc_backend *be, const pfc_acc *acc, int64_t channels, int64_t splits, int joined, double *out);
    /* x_grad = weight inv ((g - mean_g) - x^ mean_gx); mean_g NULL: weight inv g (7.7). */
    pfc_status (*bn_backward)(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, pfc_view x_grad);
    /* optional: the same numbers as bn_grid, bn_sums, bn_moments (count: the unit's elements here) and bn_normalise one after the other, with inv =
     * 1/sqrt(var + eps) (7.3), but unit by unit, so that one is still in cache when it is normalised. mean, var, inv: host, units. units->mean and inv are
     * not looked at. For statistics that no other rank shares. */
    pfc_status (*bn_forward_alone)(pfc_backend *be, pfc_bn_shape shape, pfc_view x, const pfc_bn_units *units, double eps, double *mean, double *var,
                                   double *inv, pfc_view y);
    /* optional: the same of bn_grad_sums, bn_values and bn_backward with mean_g = sum g / divisor; sums (host, 2*S*C) as bn_values has them, not joined.
     * x_grad.data NULL: the sums only. */
    pfc_status (*bn_backward_alone)(pfc_backend *be, pfc_bn_shape shape, pfc_view x, pfc_view g, const pfc_bn_units *units, double divisor, double *sums,
                                    pfc_view x_grad);
    /* exact only: acc->expo of row i (host) = grid exponent of x_i. */
    pfc_status (*gather_expo)(pfc_backend *be, pfc_view x, pfc_acc *acc);
    /* acc (scalar, one column) += x (rows,1) (7.1). */
    pfc_status (*gather_add)(pfc_backend *be, pfc_view x, pfc_acc *acc);

    /* ---- accumulators ---- */
    /* zero; expo all -900: grad_expo raises it, or the caller sets it where it is a constant (row sums: 0). */
    pfc_status (*acc_create)(pfc_backend *be, int kind, int64_t rows, int64_t cols, pfc_acc **out);
    void (*acc_destroy)(pfc_backend *be, pfc_acc *acc);
    /* Lanes into acc->data on the wire grid, acc->special. rows->max needed by fast row sums, else NULL. */
    pfc_status (*acc_fold)(pfc_backend *be, pfc_acc *acc, const pfc_rows_info *rows);
    /* out (count, cols) real = value of rows [first, first+count) of acc->data with its marks (1.2, 1.3). */
    pfc_status (*acc_value)(pfc_backend *be, const pfc_acc *acc, int64_t first, int64_t count, pfc_view out);
    /* optional: out (n words) = sum of the `count` pieces of n words that stand one after the other, in their order; in the backend's memory. Needed by
     * those that leave acc->data there. */
    pfc_status (*add_pieces)(pfc_backend *be, pfc_dtype wire, const void *pieces, int count, int64_t n, void *out);
} pfc_ops;

/* Where a backend runs. */
typedef struct pfc_site {
    int local_rank;  /* of the process on its machine: which device to take */
    bool alone;      /* there is no other rank */
    bool device_mpi; /* MPI says at run time that it takes pointers to a device */
} pfc_site;

/* One backend object per context. */
struct pfc_backend {
    const pfc_ops *ops;
    int threads;
    pfc_site site;
    int lanes;                      /* lanes of class loops: ops->lanes, or threads */
    bool self_check;                /* verify every integer product modulo a number (2^64, or the engine's own) */
    const char *engine;             /* name of the product engine; NULL: the ordinary one of fast mode */
    const char *transport;          /* how data reaches MPI, if not in host memory from the beginning; else NULL */
    void *state;                    /* the backend's own */
    pfc_emulation *emulation;       /* products with operands in a narrow type stand in front of the table (emulate/emulate.h); NULL: none do */
    char error[256];                /* text of the last failure */
    void (*close)(pfc_backend *be); /* frees state; what it finds wrong goes to error */
};

/* Name of the first entry that is NULL and that the table's mode needs, or NULL if the table is complete. */
const char *pfc_ops_missing(const pfc_ops *ops);

/* The registry (registry.c). Picks a table by backend name, mode and what the machine can run, capped by PFC_MAX_ISA. On failure the reason is in
 * why (size bytes). */
pfc_status pfc_backend_open(const pfc_options *options, pfc_backend **out, char *why, size_t size);
/* The same for one process of several. pfc_backend_open: the only one. */
pfc_status pfc_backend_open_at(const pfc_options *options, pfc_site site, pfc_backend **out, char *why, size_t size);
void pfc_backend_close(pfc_backend *be);
/* The same, and whether something was wrong at the end, such as memory that was not freed: PFC_ERR_RUNTIME and a text. Only the checked backend looks. */
pfc_status pfc_backend_finish(pfc_backend *be, char *why, size_t size);

/* The widest CPU instruction set of the tables that this machine, this build and PFC_MAX_ISA allow: "scalar", "avx2" or "avx512"; NULL and a reason if
 * PFC_MAX_ISA has another value. */
const char *pfc_cpu_isa(char *why, size_t size);

/* Whether 52-bit multiply-add (AVX512-IFMA) may be used: in the build, the CPU, the operating system, and not below PFC_MAX_ISA. false: why. */
bool pfc_cpu_ifma(char *why, size_t size);
/* Whether tiles (AMX) may be used: in the build, the CPU, the operating system, and not below PFC_MAX_ISA. false: why. */
bool pfc_cpu_amx(pfc_tile_kind kind, char *why, size_t size);

/* CPU tables; only those that this build has kernels for (PFC_HAVE_AVX2, ...) are defined. */
extern const pfc_ops pfc_ops_exact_scalar, pfc_ops_exact_avx2, pfc_ops_exact_avx512;
extern const pfc_ops pfc_ops_fast_scalar, pfc_ops_fast_avx2, pfc_ops_fast_avx512;
extern const pfc_ops pfc_ops_fast_bf16x6; /* fast_avx512 with products of its own, only where it is asked for */

#endif
