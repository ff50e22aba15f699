/* exact_kernels.h (internal): the inner loops of exact mode, one table per instruction set. All tables give the same bits (doc/exact-v1.md): the body exists
 * once, in exact_kernels.inc, and the compiler vectorises it. Pointers never overlap unless said so. */
#ifndef PFC_EXACT_KERNELS_H
#define PFC_EXACT_KERNELS_H

#include <pfc/partial_fc.h>
#include <stdint.h>

struct pfc_head;
struct pfc_angular;

enum { PFC_FINISH_SCALE, PFC_FINISH_DIVIDE, PFC_FINISH_PROJECT, PFC_FINISH_NEAR };

typedef struct pfc_exact_kernels {
    const char *isa;
    /* Largest finite |x_i|; *nonfinite set to 1 if one is NaN or infinite, else left alone. */
    double (*max_abs)(const double *x, int64_t n, int *nonfinite);
    /* Scalar sum (1.3) of x_i^2, scale = 2^(36-e); finite x only. */
    void (*sum_squares)(const double *x, int64_t n, double scale, int64_t *a, int64_t *b);
    /* Three 21-bit slices of V (1.2): x*scale = s0 + s1*2^-21 + s2*2^-42 + rest, scale = 2^(20-e); non-finite x give 0. Returns 1 if any s2 is not 0. */
    int (*slice)(const double *x, int64_t n, double scale, double *s0, double *s1, double *s2);
    /* The same with a scale per element. */
    void (*slice_each)(const double *x, const double *scale, int64_t n, double *s0, double *s1, double *s2);
    /* out_i = RN(sum_l level[l][i] * 2^(21(4-l))), l = 0..count-1, |level| <= 2^52, count <= 5. */
    void (*round_levels)(const double *const level[5], int count, int64_t n, double *out);
    /* Six int64 levels of weight 2^(21(5-l)), `stride` apart: level[l+1] += x[l] for l < count, carried so that level[1..5] is in [0, 2^21); then x = 0.
     * |x| <= 2^53. */
    void (*flush_levels)(double *x, int64_t *level, int64_t stride, int64_t n, int count);
    /* z = (t * (sx*sw)) / (dx * dw), or t * (sx*sw) if dx is NULL. */
    void (*finish_cosine)(double *t, const double *sx, const double *dx, double sw, double dw, int64_t n);
    /* l and (if not NULL) slope of a class that is nobody's target (3.3). */
    void (*logit_row)(const struct pfc_head *head, const double *z, int64_t n, double *l, double *slope);
    /* max_i = maximum, NaN wins. */
    void (*max_row)(const double *l, int64_t n, double *max);
    /* a_i, b_i += exp(l_i - max_i) with exponent 0 (1.3). Returns 1 if a term is not finite (it is left out). */
    int (*exp_sum)(const double *l, const double *max, int64_t n, int64_t *a, int64_t *b);
    /* h = ((exp(l - max) / sum - 0) / count) * slope. */
    void (*grad_row)(const double *l, const double *slope, const double *max, const double *sum, double count, int64_t n, double *h);
    /* The same by reciprocals, inverse = 1/sum. 0: an l - max is beyond 400, h is undefined, and grad_row has to do it. For sums of 2^-30 to 2^30, count 1
     * to 2^24. */
    int (*grad_near)(const double *l, const double *slope, const double *max, const double *sum, const double *inverse, double count, int64_t n, double *h);
    /* Coefficient of feature_grad: u = (h / d) * s; hmax_i = max(hmax_i, |u|) over finite ones; zmax_i the same of h*z if z is not NULL. */
    void (*expo_row)(const double *h, const double *z, double d, double s, int64_t n, double *hmax, double *zmax);
    /* u = (h / d) * s, d NULL: h * s. Elementwise d, s. inverse: 1/d, or NULL unless every d is within 2^-200 and 2^200. */
    void (*scale_each)(const double *h, const double *d, const double *inverse, const double *s, int64_t n, double *u);
    /* u = (h / d) * s; divide 0: h * s. */
    void (*scale_row)(const double *h, double d, double s, int divide, int64_t n, double *u);
    /* a_i, b_i += h_i z_i with scale_i = 2^(36-e_i); non-finite terms left out, returns 1 if there was one. */
    int (*dot_each)(const double *h, const double *z, const double *scale, int64_t n, int64_t *a, int64_t *b);
    /* Largest finite |h_i z_i|, and the scalar sum with one scale; non-finite terms are left out and reported. */
    double (*dot_max)(const double *h, const double *z, int64_t n, int *nonfinite);
    void (*dot_sum)(const double *h, const double *z, double scale, int64_t n, int64_t *a, int64_t *b);
    /* Gradient of a row of weights (3.10) from v = (t*s1)*s2, as `how` says: v; v/d; fma(-(w/d), q, v)/d. NEAR is the last one for powers of two s1, s2, t of
     * 0 or |t| >= 1, and float32 values w. */
    void (*finish_weight)(const double *t, double s1, double s2, const double *w, double d, double q, int how, int64_t n, double *g);
    /* x = x rounded to float32. */
    void (*round_row)(double *x, int64_t n);
    /* SGD of one row (3.11); g NULL: zero gradient. buf untouched if momentum is 0. */
    void (*sgd_row)(double *w, double *buf, const double *g, double lr, double momentum, double decay, int nesterov, int64_t n);

    /* ---- whole matrices (exact_matrix.inc; exact-v1 4) ---- */
    /* out_i = a_i / d; out may be a. */
    void (*divide_row)(const double *a, double d, int64_t n, double *out);
    /* out = fma(-unit, q, g) / d, project 0: g / d; out may be g. */
    void (*project_row)(const double *g, const double *unit, double q, double d, int project, int64_t n, double *out);
    /* Largest a_i / t, NaN wins, no -0; -inf if n is 0. */
    double (*scaled_max)(const double *a, double t, int64_t n);
    /* a, b += exp(x_i / t - max) with exponent 0 (1.3). Returns 1 if a term is not finite (it is left out). */
    int (*scaled_exp_sum)(const double *x, double t, double max, int64_t n, int64_t *a, int64_t *b);

    /* ---- arcface_head (exact_arcface.inc; exact-v1 8) ---- */
    /* best_i = max_j (z[j][i] + bias_j), rows ld apart, winner_i its j; the first of equal ones, NaN wins. bias NULL: none. */
    void (*subcenter_max)(const double *z, int64_t ld, const double *bias, int64_t k, int64_t n, double *best, int32_t *winner);
    /* l and (if not NULL) slope of a class that is nobody's target; cos_m: of its margin. */
    void (*angular_row)(const struct pfc_angular *head, double cos_m, const double *z, int64_t n, double *l, double *slope);
    /* p = exp(l - max) / sum. */
    void (*prob_row)(const double *l, const double *max, const double *sum, int64_t n, double *p);
    /* r = lse - (l - max). */
    void (*surprise_row)(const double *l, const double *max, const double *lse, int64_t n, double *r);
    /* h = (fma(total, p, -q) * factor) * slope; q NULL: zeros. */
    void (*aim_row)(const double *p, const double *q, const double *total, double factor, const double *slope, int64_t n, double *h);

    /* ---- sinkhorn, swav (exact_swav.inc; exact-v1 5) ---- */
    /* out_i = exp(a_i - shift); out may be a. */
    void (*exp_shift)(const double *a, double shift, int64_t n, double *out);
    /* max_i = max(max_i, |x_i|) over finite x. */
    void (*max_abs_each)(const double *x, int64_t n, double *max);
    /* a_i, b_i += x_i with scale_i = 2^(36-e_i) (1.3); non-finite terms left out, returns 1 if there was one. */
    int (*add_each)(const double *x, const double *scale, int64_t n, int64_t *a, int64_t *b);
    /* a, b += all x_i with one scale; non-finite terms left out. */
    void (*sum_row)(const double *x, double scale, int64_t n, int64_t *a, int64_t *b);
    /* x_i *= u_i; x_i /= u_i; x_i *= s. */
    void (*multiply_each)(double *x, const double *u, int64_t n);
    void (*divide_each)(double *x, const double *u, int64_t n);
    void (*multiply_row)(double *x, double s, int64_t n);
    /* out_i = x_i + y_i; y NULL: x_i + s. */
    void (*add_row)(const double *x, const double *y, double s, int64_t n, double *out);
    /* out_i = q_i log p_i (5.8); source: log of exp(.)/sum, else (a/t - max) - log_sum. */
    void (*loss_terms)(const double *a, const double *q, double t, double max, double sum, double log_sum, int source, int64_t n, double *out);
    /* out_i += fma(mass, p_i, -q_i) (5.9). Returns 1 if a p is 0. */
    int (*add_dlogits)(const double *a, const double *q, double t, double max, double sum, double mass, int64_t n, double *out);
    /* g = fma(decay, w, g) factor. */
    void (*decay_scale)(double *g, const double *w, double decay, double factor, int64_t n);

    /* ---- moco (exact_moco.inc) ---- */
    /* k = k*mu + q*rest, three roundings; k is overwritten. */
    void (*momentum)(double *k, const double *q, double mu, double rest, int64_t n);
    /* g = fma(c, x, g). */
    void (*add_scaled)(double c, const double *x, int64_t n, double *g);

    /* ---- batch_norm (exact_batch_norm.inc; exact-v1 7); x^ = (x - mean) inv ---- */
    /* sum[0..1] += x with scale[0] = 2^(36-e), sum[2..3] += x^2 with scale[1] (1.3). Returns 1 if an x is not finite (left out). */
    int (*bn_sums)(const double *x, int64_t n, const double scale[2], int64_t sum[4]);
    /* y = fma(x^, weight, bias). */
    void (*bn_normalise)(const double *x, int64_t n, double mean, double inv, double weight, double bias, double *y);
    /* max[0] = largest finite |g|, max[1] = largest finite |g x^|, with what they are. */
    void (*bn_grad_max)(const double *x, const double *g, int64_t n, double mean, double inv, double max[2]);
    /* sum[0..1] += g, sum[2..3] += g x^. Returns 1 if a term is not finite (left out). */
    int (*bn_grad_sums)(const double *x, const double *g, int64_t n, double mean, double inv, const double scale[2], int64_t sum[4]);
    /* out = a * fma(-x^, mean_gx, g - mean_g). */
    void (*bn_backward)(const double *x, const double *g, int64_t n, double mean, double inv, double a, double mean_g, double mean_gx, double *out);
    /* out = a * g. */
    void (*bn_multiply)(const double *g, int64_t n, double a, double *out);
} pfc_exact_kernels;

/* Only those that this build has are defined. */
extern const pfc_exact_kernels pfc_exact_kernels_scalar, pfc_exact_kernels_avx2, pfc_exact_kernels_avx512;

#endif
