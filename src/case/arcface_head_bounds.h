/* arcface_head_bounds.h: the ArcFace head with a first-order error bound beside every number (doc/numerics.md section 13).
 *
 * Rank 0, serial, plain double loops in a fixed order, elementary functions of px.h only: the bounds have the same bits everywhere. */
#ifndef PFC_ARCFACE_HEAD_BOUNDS_H
#define PFC_ARCFACE_HEAD_BOUNDS_H

#include "case/arcface_head_case.h"
#include "case/family.h"
#include "case/operand_bounds.h"

/* value and its bound: |port - value| <= bound for a correct float32 port. PX_INF: cannot be decided. */
typedef struct pfc_arcface_pair {
    double *v, *e;
} pfc_arcface_pair;

typedef struct pfc_arcface_bound {
    const pfc_precision *precision;
    const pfc_dense_arcface *in; /* inputs and configuration */
    int64_t n, d, c, k;
    double *xhat, *what, *xnorm, *wnorm;     /* (N,D) (C*k,D) (N) (C*k) */
    pfc_arcface_pair z;                      /* (N,C*k) cosines of all sub-centers, with the bias */
    int64_t *winner;                         /* (N,C) */
    pfc_arcface_pair subcenter;              /* (N,C) e only: +inf where another one may win */
    pfc_arcface_pair cosine, l, slope, p, h; /* (N,C); h: gradient of the cosine */
    double loss, eloss;
    pfc_arcface_pair xg, wg, bg; /* (N,D) (C*k,D) (C*k) */
    pfc_operands of_x, of_w;     /* xhat and what as operands */
    pfc_gradient_sum gradient, bias_gradient;
    double *random, *rest; /* (N,C*k) of a cosine's error the part that is rounding to T; (N,C) of a logit's error what is not that times the slope */
    pfc_loss_error by_gradient;
} pfc_arcface_bound;

/* Memory; false: none left. */
bool pfc_arcface_bound_new(pfc_arcface_bound *s, const pfc_dense_arcface *in, const pfc_precision *p);
void pfc_arcface_bound_free(pfc_arcface_bound *s);

/* The backward half: xg, wg, bg, after the forward one (arcface_head_bounds.c). */
void pfc_arcface_bound_backward(pfc_arcface_bound *s);

/* Whether sub-center j of class c may be the one that a port finds best. */
bool pfc_arcface_bound_may_win(const pfc_arcface_bound *s, int64_t i, int64_t c, int64_t j);

/* As pfc_bound_settle; beyond the largest float32 nothing is decided. */
static inline double pfc_arcface_settle(double value, bool open, double e)
{
    return pfc_bound_settle(value, open || (px_finite(value) && !(value < 3e38 && value > -3e38)), e);
}

#endif
