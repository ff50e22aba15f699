/* arcface_head.h: ArcFace head with sub-centers, its classes sharded over the ranks, and margins that follow the class counts.
 *
 * Deng et al., "ArcFace: Additive Angular Margin Loss", CVPR 2019 (arXiv:1801.07698); "Sub-center ArcFace", ECCV 2020 (LNCS 12356).
 * Mirrors ArcFaceClsHead and SetAdaptiveMarginsHook of mmpretrain (ee7f2e8). The source replicates the weight and averages gradients; here all k
 * sub-centers of a class live on one rank and the softmax goes over all ranks, which gives the same numbers. Formulas: semantics.md
 * section 8, 1.1, 1.6 and appendix A.1, A.10; values: doc/exact-v1.md section 8.
 *
 * Letters: P ranks, r this rank, b rows per rank, N = b*P, D width of a feature, C classes, C_r classes of rank r (pfc_shard_of(C, P, r)), k sub-centers
 * of a class. Row c*k + j of the weight is sub-center j of class c. */
#ifndef PFC_ARCFACE_HEAD_H
#define PFC_ARCFACE_HEAD_H

#include <pfc/ctx.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Which formulas give threshold and fallback of a margin m: those of the constructor, cos(pi - m) and sin(pi - m) m, or those of
 * set_margins, -cos m and sin(m) m. They differ by rounding (ARC-7). */
typedef enum pfc_margin_constants { PFC_MARGIN_INIT, PFC_MARGIN_SET } pfc_margin_constants;

/* [global in] Equal on all ranks. Defaults: pfc_arcface_defaults. */
typedef struct pfc_arcface_config {
    int64_t num_classes;                   /* C */
    int64_t embedding_size;                /* D */
    int64_t num_subcenters;                /* k */
    double scale;                          /* s, at most 1e100 in magnitude */
    double margin;                         /* m of every class, radians, at most 2^20 in magnitude; pfc_arcface_set_margins gives each class its own */
    pfc_margin_constants margin_constants; /* formulas for the margin above */
    int easy_margin;                       /* 1: margin where the cosine is positive, plain cosine elsewhere */
    int feature_norm, weight_norm;         /* 0: rows as they are, so that the "cosine" is a product */
    double loss_weight;                    /* factor of the loss, at most 1e100 in magnitude */
    /* 1: cosines to [-1,1], margin evaluated at the target only, no 0*inf (semantics 8.4). 0: what the source gives, at every class: its `where` drops the
     * margin below the threshold, so only a cosine above 1 makes the logit NaN; the gradient is NaN from 1 up and from -1 down. */
    int cos_clamp;
} pfc_arcface_config;

/* k 1, scale 64, margin 0.5 by the formulas of the constructor, both norms, loss weight 1, nothing else. C and D are 0 and must be set. */
pfc_arcface_config pfc_arcface_defaults(void);

typedef struct pfc_arcface pfc_arcface;

/* Collective. The head keeps a pointer to ctx and no weight: that is the caller's. Errors: PFC_ERR_ARG (the text names the field), PFC_ERR_NOMEM. */
pfc_status pfc_arcface_create(pfc_ctx *ctx, const pfc_arcface_config *cfg, pfc_arcface **out);
void pfc_arcface_destroy(pfc_arcface **head); /* NULL-safe; before the context. Local */

/* Gives the classes new margins, f64: (C_r,1), those of this rank's classes, or one number for all of them. constants: PFC_MARGIN_SET is what the
 * source's set_margins does, PFC_MARGIN_INIT what its constructor does with a list. A NaN is a margin, and makes NaN as the source does.
 * Local: every rank calls it for its own classes. Errors: PFC_ERR_SHAPE, PFC_ERR_ARG (beyond 2^20), PFC_ERR_NOMEM; the old margins stay. */
pfc_status pfc_arcface_set_margins(pfc_arcface *head, pfc_view margins, pfc_margin_constants constants);

/* What one call reads. Optional views have NULL data. Float inputs are f32 or f64 (rounded to f32); rows may be padded (ld). */
typedef struct pfc_arcface_input {
    pfc_view features;     /* [local in] (b, D) */
    pfc_view labels;       /* [local in] (b, 1) i64, 0 <= y < C; training only */
    pfc_view weight;       /* [local in] (C_r*k, D) */
    pfc_view bias;         /* [local in] (C_r*k, 1), added before the maximum over sub-centers; optional, on all ranks or on none */
    pfc_view soft_targets; /* [local in] (N, C_r): this rank's columns of all rows; optional, on all ranks or on none. The margin stays at the label */
    pfc_view class_weight; /* [local in] (C_r, 1); optional, on all ranks or on none */
} pfc_arcface_input;

/* What it gives back. Caller-owned; NULL data where not wanted. real = pfc_ctx_real. */
typedef struct pfc_arcface_result {
    double loss;          /* [global out] loss_weight/N times the sum over all rows; not divided by the class weights (8.5) */
    pfc_view logits;      /* [local out] (N, C_r) real: this rank's columns of all rows */
    pfc_view subcenter;   /* [local out] (N, C_r) i64: the sub-center with the largest cosine, the first of equal ones */
    pfc_view x_grad;      /* [local out] (b, D) real */
    pfc_view weight_grad; /* [local out] (C_r*k, D) real; zero rows where a sub-center won nowhere */
    pfc_view bias_grad;   /* [local out] (C_r*k, 1) real; only with a bias */
} pfc_arcface_result;

/* Training: logits with margin, loss, gradients. Collective. A rank without classes passes views of 0 rows (0 columns), or without data. Errors:
 * PFC_ERR_SHAPE (unequal b, b = 0, N > 2^24 in exact mode, other shapes or types), PFC_ERR_ARG (an optional input on some ranks only),
 * PFC_ERR_DATA (a label outside [0,C)), PFC_ERR_NOMEM, PFC_ERR_RUNTIME; results are then undefined. */
pfc_status pfc_arcface_step(pfc_arcface *head, const pfc_arcface_input *in, pfc_arcface_result *result);

/* Evaluation: logits = scale * cosine (clamped if cos_clamp), no margin, and sub-centers; reads features, weight and bias. Collective. Errors as above. */
pfc_status pfc_arcface_eval(pfc_arcface *head, const pfc_arcface_input *in, pfc_arcface_result *result);

/* ---- margins from the class counts (8.6) ---- */

typedef enum pfc_equal_counts { PFC_EQUAL_SOURCE, PFC_EQUAL_MIN } pfc_equal_counts;

typedef struct pfc_adaptive_margins_config {
    double power, margin_min, margin_max; /* finite */
    pfc_equal_counts equal_counts;        /* all classes alike: the source's 0/0, or margin_min for all (A.10) */
} pfc_adaptive_margins_config;

/* power -0.25, margins from 0.05 to 0.5, equal counts as the source. */
pfc_adaptive_margins_config pfc_adaptive_margins_defaults(void);

/* margin_c = (f_c - min f)/(max f - min f) * (margin_max - margin_min) + margin_min, f_c = max(count_c, 1)^power, over all C classes, host memory: the rarest
 * class has margin_max. The same bits in every mode (doc/exact-v1.md 8). Local. Errors: PFC_ERR_ARG (a number that is not finite),
 * PFC_ERR_DATA (no class, a negative count), with the reason in why (size bytes) if that is not NULL; margins stay as they were. */
pfc_status pfc_adaptive_margins(const pfc_adaptive_margins_config *cfg, const int64_t *counts, int64_t classes, double *margins, char *why, size_t size);

#ifdef __cplusplus
}
#endif
#endif
