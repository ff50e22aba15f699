/* fast_kernels.h (internal): the inner loops of fast mode, one table per instruction set. Plain pointers only: an ISA file includes nothing that would
 * make the compiler emit its instructions elsewhere.
 *
 * All tables give the same bits: every sum is a chain of fma in a fixed order, either one chain per output (products) or sixteen lanes, element i in
 * lane i mod 16, folded by one tree (norms, dots). Buffers marked [16] hold a multiple of 16 floats and are zero beyond n. */
#ifndef PFC_CPU_FAST_KERNELS_H
#define PFC_CPU_FAST_KERNELS_H

#include <stdint.h>

enum { FAST_LINEAR, FAST_COS, FAST_ARC, FAST_CIRCLE };                 /* as pfc_head_kind */
enum { FAST_FALLBACK_NONE, FAST_FALLBACK_LINEAR, FAST_FALLBACK_EASY }; /* as pfc_arc_fallback */

/* The head in float (doc/exact-v1.md 3.3). */
typedef struct fast_head {
    int kind, fallback, clamp;
    int arc_slope; /* arc with the exact gradient */
    float s, m;    /* scale, margin */
    float one_plus_m, one_minus_m;
    float cm, sm, mm; /* cos m, sin m, m*sin m */
    float threshold;  /* +inf: off */
} fast_head;

/* Angular margins in float (doc/exact-v1.md 8.4). */
typedef struct fast_angular {
    int margins, easy, clamp; /* margins 0: evaluation */
    float s;
} fast_angular;

/* A block's targets: those of class c are row[first[c]] .. row[first[c+1]-1]. */
typedef struct fast_targets {
    const int32_t *first, *row;
} fast_targets;

/* What logit_grad knows of the rows, all [16]. */
typedef struct fast_rows {
    const float *max;              /* M_n */
    const float *share;            /* 1 / (S_n n) */
    const float *keep;             /* all ones, or 0: the row is ignored (bits) */
    int unit_slope;                /* 1: every slope is taken as 1, so that h is G */
    float one_n;                   /* 1 / n */
    float *logit, *slope, *onehot; /* work; onehot is zero between calls */
} fast_rows;

/* sgd constants in float. */
typedef struct fast_sgd {
    float lr, momentum, decay;
    int nesterov;
} fast_sgd;

/* Rows of the weight that will be used after this block; a kernel fetches them a share at a time while it works. */
typedef struct fast_ahead {
    const float *const *row;
    int64_t count, lines;      /* rows, cache lines of a row */
    int64_t next, line, share; /* where it is; lines a turn */
} fast_ahead;

typedef struct pfc_fast_kernels {
    const char *isa;
    int64_t panel; /* columns of a packed panel: a multiple of 16; panels are [columns/panel][k][panel], zero beyond the matrix */

    /* sum of x_i^2 in double. */
    double (*sum_squares)(const float *x, int64_t n);

    /* z_cn = <w_c, x_n> / (xd_n wd_c); xd NULL: no division. panels: x transposed, k = D. xd and xinv = 1/xd: padded to panel; winv = 1/wd. */
    void (*cosines)(const float *panels, int64_t n, int64_t d, const float *const *w, int64_t classes, const float *xd, const float *xinv, const float *wd,
                    const float *winv, fast_ahead *ahead, float *z, int64_t ldz);
    /* f (n, d) += sum_c h_cn (w_c winv_c); winv NULL: w as it is. packed: classes*(d up to a multiple of panel) floats of work; ldf: of 16. */
    void (*feature_grad)(const float *h, int64_t ldh, int64_t n, const float *const *w, const float *winv, int64_t classes, int64_t d, float *packed, float *f,
                         int64_t ldf);
    /* dw_cd = fma(a_c, w_cd, sum_n h_cn x_nd) * winv_c; a NULL: only the sum. panels: x / max(||x||, 1e-12), a NULL: x; k = N. */
    void (*weight_grad)(const float *h, int64_t ldh, int64_t classes, const float *panels, int64_t n, const float *const *w, const float *a, const float *winv,
                        int64_t d, float *dw, int64_t lddw);
    /* weight_grad, and rows w and m of weight and momentum by sgd_row with its dw. */
    void (*weight_update)(const float *h, int64_t ldh, int64_t classes, const float *panels, int64_t n, float *const *w, float *const *m, const float *a,
                          const float *winv, int64_t d, const fast_sgd *sgd, fast_ahead *ahead);

    /* m_n = max(m_n, block's logits); sum_n = sum of exp(l - m_n) over the block; factor_n = exp(old m_n - m_n); target_n where in targets.
     * m, sum, factor, shift, logit: [16]; the last two are work. A maximum of -inf is taken as 0 in the exponents. */
    void (*row_max)(const fast_head *head, const float *z, int64_t ldz, int64_t classes, int64_t n, fast_targets targets, float *m, float *sum, float *factor,
                    float *shift, float *logit, float *target);
    /* l (classes, n) = logits, the targets' included. logit: [16] of work. */
    void (*logits)(const fast_head *head, const float *z, int64_t ldz, int64_t classes, int64_t n, fast_targets targets, float *logit, float *l, int64_t ldl);
    /* h = (exp(l - M) share - onehot) slope; dot_n [16] += h z; wdot_c = sum_n h z. dot NULL: not wanted. */
    void (*logit_grad)(const fast_head *head, const float *z, int64_t ldz, int64_t classes, int64_t n, fast_targets targets, const fast_rows *rows, float *h,
                       int64_t ldh, float *dot, float *wdot);

    /* One row: out = fma(a, x, f) * b. */
    void (*project_row)(const float *f, const float *x, int64_t n, float a, float b, float *out);
    /* One row of weight and momentum; dw NULL: zero. */
    void (*sgd_row)(const float *dw, float *w, float *buf, int64_t n, const fast_sgd *sgd);
    /* out_i = sum of the parts' elements i in their order, in double. Parts are [16], out is not. */
    void (*add_rows)(const float *const *part, int parts, int64_t n, double *out);
    /* out_i = x_i rounded to float. */
    void (*round_row)(const double *x, int64_t n, float *out);
    /* y_i = exp(x_i), x_i <= 0 or NaN; no operation calls it, tests do: the exp that the others have inside. */
    void (*exp_row)(const float *x, int64_t n, float *y);

    /* ---- whole matrices (fast_matrix.inc) ---- */
    /* out_i = a_i / d; out may be a. */
    void (*divide_row)(const float *a, float d, int64_t n, float *out);
    /* sum of a_i b_i in double. */
    double (*dot)(const float *a, const float *b, int64_t n);
    /* out = fma(a, x, g) / d; out may be g. */
    void (*project_divide_row)(const float *g, const float *x, float a, float d, int64_t n, float *out);
    /* Largest a_i / t, NaN wins; -inf if n is 0. */
    float (*scaled_max)(const float *a, float t, int64_t n);
    /* sum of exp(a_i / t - max) in double, max from scaled_max. */
    double (*scaled_exp_sum)(const float *a, float t, float max, int64_t n);

    /* ---- arcface_head (fast_arcface.inc) ---- */
    /* best_i = max_j (z[j][i] + bias_j), rows ld apart, winner_i its j; the first of equal ones, NaN wins. bias NULL: none. */
    void (*subcenter_max)(const float *z, int64_t ld, const float *bias, int64_t k, int64_t n, float *best, int32_t *winner);
    /* l and (if not NULL) slope of a class that is nobody's target. */
    void (*angular_row)(const fast_angular *head, int no_margin, const float *z, int64_t n, float *l, float *slope);
    /* p = exp(l - max) / sum. */
    void (*prob_row)(const float *l, const float *max, const float *sum, int64_t n, float *p);
    /* total_i += q_i and loss_i += q_i (lse_i - (l_i - max_i)), q_i = weight soft_i, in double. */
    void (*surprise_row)(const float *soft, float weight, const float *l, const float *max, const float *lse, int64_t n, double *total, double *loss);
    /* h = (fma(total, p, -weight soft) factor) slope; soft NULL: zeros. */
    void (*aim_row)(const float *p, const float *soft, float weight, const float *total, float factor, const float *slope, int64_t n, float *h);

    /* ---- sinkhorn, swav (fast_swav.inc); sum, max, r, f: [16] ---- */
    /* Largest and smallest element; NaN wins. */
    void (*extremes_row)(const float *a, int64_t n, float *max, float *min);
    /* e_i = exp(a_i scale - shift), sum_i += e_i. max, min (16 each): raised and lowered to the a_i, each in one of the sixteen or in several; those that
     * are NaN are left out. n >= 1. stream: e is written past the caches. */
    void (*exp_row_sum)(const float *a, float scale, float shift, int64_t n, float *e, float *sum, float *max, float *min, int stream);
    /* sum_i += e_i c / sum_k e_k r_k. */
    void (*scale_sample)(const float *e, const float *r, float c, int64_t n, float *sum);
    /* e_i = e_i r_i / sum_i e_i r_i. */
    void (*finish_sample)(float *e, const float *r, int64_t n);
    /* sum_i = (part_0i + part_1i + ..) r_i unit in double, parts ld apart; returns the sum of them. */
    double (*fold_parts)(const float *part, int64_t ld, int parts, const float *r, double unit, int64_t n, double *sum);
    /* r_i *= share / sum_i. */
    void (*next_factors)(float *r, const double *sum, float share, int64_t n);
    /* x_i *= s. */
    void (*multiply_row)(float *x, float s, int64_t n);
    /* max_i = max(max_i, a_i + g); sum_i += exp(a_i + g - max_i). */
    void (*shifted_max)(const float *a, float g, int64_t n, float *max);
    void (*shifted_exp_sum)(const float *a, float g, const float *max, int64_t n, float *sum);
    /* *max = largest a_i + f_i; returns sum of exp(a_i + f_i - *max). */
    double (*log_mass)(const float *a, const float *f, int64_t n, float *max);
    /* a_i = exp(a_i + f_i - max) share. */
    void (*log_finish_row)(float *a, const float *f, float max, float share, int64_t n);
    /* sum of q_i in double. */
    double (*row_mass)(const float *q, int64_t n);
    /* sum of q_i log p_i, log p = a/t - max - log_sum; source: -inf where exact mode's exp(a/t - max) is 0. */
    double (*swav_loss_row)(const float *a, const float *q, float t, float max, float log_sum, int source, int64_t n);
    /* out_i = (first ? 0 : out_i) + mass p_i - q_i, p = exp(a/t - max) share. Returns 1 if a p is 0 in exact mode. */
    int (*swav_dlogit_row)(const float *a, const float *q, float t, float max, float share, float mass, int first, int64_t n, float *out);
    /* g = (g + decay w) factor. */
    void (*decay_scale)(float *g, const float *w, float decay, float factor, int64_t n);

    /* ---- moco (fast_moco.inc) ---- */
    /* k = k*mu + q*rest, three roundings; k is overwritten. */
    void (*momentum)(float *k, const float *q, float mu, float rest, int64_t n);
    /* g = fma(c, x, g). */
    void (*add_scaled)(float c, const float *x, int64_t n, float *g);

    /* ---- batch_norm (fast_batch_norm.inc): a channel is `runs` pieces of n elements, `stride` apart. Sums in double. ---- */
    /* sum[0] = sum of x - shift, sum[1] = sum of (x - shift)^2. */
    void (*bn_sums)(const float *x, int64_t runs, int64_t stride, int64_t n, float shift, double sum[2]);
    /* sum[0] = sum of g, sum[1] = sum of g (x - mean). */
    void (*bn_grad_sums)(const float *x, const float *g, int64_t runs, int64_t stride, int64_t n, double mean, double sum[2]);
    /* y = fma(x, a, b). stream: y is written past the caches. */
    void (*bn_normalise)(const float *x, int64_t runs, int64_t stride, int64_t n, float a, float b, float *y, int stream);
    /* out = fma(x, p, fma(g, a, q)). */
    void (*bn_backward)(const float *x, const float *g, int64_t runs, int64_t stride, int64_t n, float p, float a, float q, float *out, int stream);
    /* The same for n channels that stand side by side with one element in each run. What is known of a channel, and its sums: [16], doubles too. */
    void (*bn_column_sums)(const float *x, int64_t runs, int64_t stride, int64_t n, const double *shift, double *first, double *second);
    void (*bn_column_grad_sums)(const float *x, const float *g, int64_t runs, int64_t stride, int64_t n, const double *mean, double *first, double *second);
    void (*bn_column_normalise)(const float *x, int64_t runs, int64_t stride, int64_t n, const float *a, const float *b, float *y);
    void (*bn_column_backward)(const float *x, const float *g, int64_t runs, int64_t stride, int64_t n, const float *p, const float *a, const float *q,
                               float *out);
} pfc_fast_kernels;

/* Only those that this build has are defined. */
extern const pfc_fast_kernels pfc_fast_kernels_scalar, pfc_fast_kernels_avx2, pfc_fast_kernels_avx512;

#endif
