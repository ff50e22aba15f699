/* round.h: what a type T costs a number, a product sum and a softmax, for the bounds of all precisions (doc/numerics.md section 14). */
#ifndef PFC_CASE_ROUND_H
#define PFC_CASE_ROUND_H

#include "case/precision.h"
#include "core/format.h"

/* x in T; infinite beyond T's largest number. Local. */
double pfc_round_to(const pfc_precision *p, pfc_rounding how, double x);
/* The same for n inputs. False, with nothing to use in out: ports of this precision do not round so, or it is the same as PFC_ROUND_EVEN here. Local. */
bool pfc_round_inputs(const pfc_precision *p, pfc_rounding how, const double *x, int64_t n, double *out);

/* bound = the larger of it and the error of a result that is `value` where inputs were rounded, known to e there, and `want` without rounding; infinite
 * where only one is a number. For count results. */
void pfc_round_widen(double *bound, const double *want, const double *value, const double *e, int64_t count);

/* What rounding the operands to T costs sum_k a_k b_k, n terms at distances sa and sb: the statistical size of it, or in -sound the largest, with T's
 * underflow and overflow. 0 for f32. */
double pfc_round_product(const pfc_precision *p, const double *a, int64_t sa, const double *b, int64_t sb, int64_t n);
/* How much, with its sign, the sum changes where every operand is rounded as p's ports do: what equal elements cost, whose roundings are equal. ta, tb: a and b in T. */
double pfc_round_change(const pfc_precision *p, const double *a, const double *ta, const double *b, const double *tb, int64_t n);
/* What it costs where the operands' roundings, which nobody knows, are all equal. */
static inline double pfc_round_common(const pfc_precision *p, double value)
{
    return (p->sound ? 0 : p->truncates ? 4 : 1) * p->u * (value < 0 ? -value : value);
}
/* x in T as p's ports round it. */
static inline double pfc_round_as(const pfc_precision *p, double x) { return pfc_round_to(p, p->truncates ? PFC_ROUND_TO_ZERO : PFC_ROUND_EVEN, x); }

/* Errors of p = softmax(l) and of log p (NULL: not wanted) where l_k is known to el_k, of any size; sum p = 1. */
void pfc_softmax_errors(int64_t n, const double *p, const double *el, double *ep, double *elog);

#endif
