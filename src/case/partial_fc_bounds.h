/* partial_fc_bounds.h: one step of PartialFC with a first-order error bound beside every number (doc/numerics.md).
 *
 * Rank 0, serial, plain double loops in a fixed order, elementary functions of px.h only: the bounds have the same bits everywhere. */
#ifndef PFC_PARTIAL_FC_BOUNDS_H
#define PFC_PARTIAL_FC_BOUNDS_H

#include "case/family.h"
#include "case/operand_bounds.h"
#include "case/partial_fc_inputs.h"

/* value and its bound: |port - value| <= bound for a correct float32 port. PX_INF: cannot be decided. */
typedef struct pfc_bound_pair {
    double *v, *e;
} pfc_bound_pair;

typedef struct pfc_bound_step {
    const pfc_precision *precision;
    pfc_partial_fc_config cfg;
    double cos_m, sin_m, xgrad_scale;
    int64_t n, d, c, count; /* count: sampled classes */
    double rows;            /* rows that count in the mean */
    bool moved;             /* the state carries errors of earlier steps */
    const double *x;
    const int64_t *labels;
    int64_t *sampled;              /* (C) */
    pfc_bound_pair w, m;           /* (C,D) state before, then after the step */
    double *xhat, *what, *ewhat;   /* (N,D) (C,D) (C,D) */
    double *xnorm, *wnorm;         /* (N) (C) */
    pfc_bound_pair z, l, slope, g; /* (N,C): cosine, logit, its slope, (p - onehot)/n */
    pfc_bound_pair top, sum, prob; /* (N) */
    double loss, eloss;
    pfc_bound_pair xg, wg;   /* (N,D) (C,D) */
    pfc_operands of_x, of_w; /* xhat and what as operands */
    pfc_gradient_sum gradient;
    double *random, *rest; /* (N,C) of a cosine's error the part that is rounding to T; of a logit's error what is not that times the slope */
    char *flat;            /* (N) whether the row's loss may be clamped */
    pfc_loss_error by_gradient;
} pfc_bound_step;

/* Memory of everything but x and labels; false: none left. */
bool pfc_bound_step_new(pfc_bound_step *s, const pfc_partial_fc_inputs *in, const pfc_precision *p);
void pfc_bound_step_free(pfc_bound_step *s);

/* From x, labels, sampled, w, m to everything else. */
void pfc_bound_step_run(pfc_bound_step *s);
/* Its backward half: xg, wg, and the new state. */
void pfc_bound_step_backward(pfc_bound_step *s);

#endif
