/* operand_bounds.h: what a type T with few digits costs the products and the softmax of a classification head (doc/numerics.md section 14.1).
 *
 * Used by partial_fc and arcface_head. All of it is first-order or exact, serial and in a fixed order, with functions of px.h only. */
#ifndef PFC_OPERAND_BOUNDS_H
#define PFC_OPERAND_BOUNDS_H

#include "case/family.h"
#include "case/precision.h"

/* exp(x) - 1 and -log(1 - x) from above, x >= 0. */
static inline double pfc_bound_grow(double x) { return x < 0.01 ? x * (1 + x) : px_exp(x) - 1; }
static inline double pfc_bound_shrink(double x) { return x < 0.01 ? x * (1 + x) : x < 1 ? -px_log(1 - x) : PX_INF; }

/* ---- operands ---- */

/* Rows of vectors that enter products in T. Elements of equal magnitude are rounded alike, so their errors add up; elements that T has are not rounded
 * at all. kind and group say which. Nothing is kept for f32. */
typedef struct pfc_operands {
    const double *v; /* (rows, d) */
    int64_t rows, d;
    char *kind;                       /* (rows) */
    char *shared;                     /* (rows) whether another row is rounded alike, too */
    int32_t *group;                   /* (rows, d) of a row with repeated magnitudes: element that has it first; -1: T has the number */
    double *excess;                   /* (rows, d) f16: error beyond u|v|, where T underflows; NULL: none */
    double *sums;                     /* (d) room to add up groups */
    struct pfc_operand_place *sorted; /* (d + rows) room to sort */
} pfc_operands;

enum { PFC_OPERANDS_APART, PFC_OPERANDS_EXACT, PFC_OPERANDS_GROUPED };

/* Memory; v must outlive it. False: none left. */
bool pfc_operands_new(pfc_operands *o, const pfc_precision *p, const double *v, int64_t rows, int64_t d);
void pfc_operands_free(pfc_operands *o);
/* Describes the rows, which have their numbers now. known: a port has them, too; false: they carry errors, so T may not have them. */
void pfc_operands_look(pfc_operands *o, const pfc_precision *p, bool known);

/* pfc_round_operands, but never more than its sound variant. stored: |all results that are rounded|, where the sum is one of parts. */
double pfc_operands_round(const pfc_precision *p, double squares, double sizes, double value, double stored);
/* Error of z = <a_i, b_j>, beyond float32, with operands and result in T; +inf where T overflows. squares: of the terms; sizes: of |terms|. *random: the
 * part of it that is a sum of independent roundings. */
double pfc_operands_product(const pfc_precision *p, const pfc_operands *a, int64_t i, const pfc_operands *b, int64_t j, double z, double squares, double sizes,
                            double *random);

/* ---- softmax ---- */

/* A row's errors of logits: sums over classes of p (exp(e) - 1), p (1 - exp(-e)) and p (exp(e) - 1 - e), the largest e, and rounding of the
 * denominator. */
typedef struct pfc_bound_row {
    double up, down, bend, most, round;
} pfc_bound_row;

/* Takes a class in: its logit is l above the largest one and off by e; sum: the denominator. */
void pfc_bound_row_add(pfc_bound_row *r, double l, double e, double sum);
/* Error of log sum exp. */
double pfc_bound_row_sum(const pfc_bound_row *r);

/* Error of log(p/(1-p)) where the class's logit is off by e; without the denominator's rounding. */
double pfc_bound_odds(const pfc_bound_row *r, double p, double e);
/* Largest change of p, and of log p, where log(p/(1-p)) is off by odds: exact, however large. */
double pfc_bound_probability(double p, double odds);
double pfc_bound_surprise(double p, double odds);

/* ---- the loss ---- */

/* The loss moves by its gradient times the operands' roundings: 6 of the standard deviations of all of them together. H: gradient of a product z. */
typedef struct pfc_loss_error {
    double squares, alike, drift; /* of independent errors; sizes of others; sum H z */
    double rest;                  /* error that is no such rounding */
} pfc_loss_error;

/* f: gradient of the loss with respect to a row. */
void pfc_loss_error_row(pfc_loss_error *e, const pfc_operands *o, int64_t row, const double *f);
/* A product z is off by `random`; g, of the logit: rest is its error beyond h random. flat: the row's loss may not depend on it (clamp). */
void pfc_loss_error_product(pfc_loss_error *e, double g, double h, double z, double random, double rest, bool flat);
double pfc_loss_error_all(const pfc_loss_error *e, const pfc_precision *p);

/* ---- sums of gradients ---- */

/* f = sum h_c v_c over rows of operands, then through the normalisation of `own`: (f - own <own, f>)/norm. An error of h_c moves the result along
 * v_c - own <own, v_c> only. */
typedef struct pfc_gradient_sum {
    const pfc_precision *p;
    int64_t d, terms;  /* terms: of the sum, for running sums that are sound */
    const double *own; /* NULL: no projection */
    double norm;       /* divisor */
    double *f;         /* the sum, then the gradient */
    double *e;         /* its bound */
    double *across;    /* error of the h, projected */
    double *squares, *sizes, *rest;
    double parts;       /* 1: the sum is over ranks, too, and each part may be stored in T */
    double largest;     /* |h v_k| */
    bool clamped, open; /* clamped: own is shorter than 1e-12 */
} pfc_gradient_sum;

/* Memory for rows of d; false: none. */
bool pfc_gradient_sum_new(pfc_gradient_sum *g, const pfc_precision *p, int64_t d);
void pfc_gradient_sum_free(pfc_gradient_sum *g);

/* f and e: (d), where the gradient and its bound go. */
void pfc_gradient_sum_begin(pfc_gradient_sum *g, int64_t terms, const double *own, double norm, double parts, double *f, double *e);
/* Adds h v_row; eh: error of h; ev: error of v_row (NULL: none); along = <own, v_row>. */
void pfc_gradient_sum_add(pfc_gradient_sum *g, double h, double eh, const pfc_operands *o, int64_t row, const double *ev, double along);
/* A port may have h b_row in the place of h a_row. */
void pfc_gradient_sum_swap(pfc_gradient_sum *g, double h, const double *a, double along_a, const double *b, double along_b);
/* eown: error of own (NULL: none). */
void pfc_gradient_sum_end(pfc_gradient_sum *g, const double *eown);

#endif
