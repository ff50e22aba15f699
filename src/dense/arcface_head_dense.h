/* arcface_head_dense.h: the sub-center ArcFace head and adaptive margins as textbook equations, serial, in double: the tests' second opinion.
 *
 * Whole matrices, plain loops, libm; nothing shared with exact mode. Written to be read next to semantics.md section 8. */
#ifndef PFC_ARCFACE_HEAD_DENSE_H
#define PFC_ARCFACE_HEAD_DENSE_H

#include <pfc/arcface_head.h>
#include <stdbool.h>

/* Letters: N rows, D width, C classes, k sub-centers; matrices are row-major. Inputs belong to the caller and are set before a call. */
typedef struct pfc_dense_arcface {
    pfc_arcface_config cfg;
    bool eval;
    int64_t n;
    const double *x, *weight, *bias;           /* (N,D) (C*k,D) (C*k) or NULL */
    const int64_t *labels;                     /* (N); unused with eval */
    const double *margins;                     /* (C), or NULL: cfg.margin */
    const double *soft_targets, *class_weight; /* (N,C), (C), or NULL */

    /* Results, owned. */
    double *xhat, *what, *xnorm, *wnorm;    /* (N,D) (C*k,D) (N) (C*k) */
    double *cosine, *logits, *slope, *prob; /* (N,C); slope is dlogit/dcosine */
    int64_t *subcenter;                     /* (N,C) */
    double loss;
    double *x_grad, *weight_grad, *bias_grad; /* (N,D) (C*k,D) (C*k) */
} pfc_dense_arcface;

/* NULL: out of memory. Local, as everything here. */
pfc_dense_arcface *pfc_dense_arcface_new(const pfc_arcface_config *cfg, int64_t rows);
void pfc_dense_arcface_free(pfc_dense_arcface *p); /* NULL-safe */

/* Everything from the inputs. */
void pfc_dense_arcface_run(pfc_dense_arcface *p);
/* Logit (without scale) of a cosine in training and its derivative. */
void pfc_dense_arcface_phi(const pfc_arcface_config *cfg, double margin, double z, bool target, double *phi, double *slope);

/* The margins of 8.6. */
void pfc_dense_adaptive_margins(const pfc_adaptive_margins_config *cfg, const int64_t *counts, int64_t classes, double *margins);

#endif
