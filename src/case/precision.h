/* precision.h: the number types that bounds are made for, and what rounding costs in each (doc/numerics.md section 14).
 *
 * A port in type T holds in T what enters a matrix product and may store its result in T; a family without matrix products reads its real inputs in T
 * (x of batch_norm, scores of sinkhorn). Every sum, and everything else, is float32. So an error bound for T is the one for float32 with the functions
 * below in the place of its roundings; for f32 they add nothing.
 *
 * Three kinds of each type, told apart by a suffix of the name:
 *   (none)    n independent roundings add up to about 6 sqrt(n) of one (Higham and Mary); never exceeded in practice
 *   -sound    they all point the same way: n of one. Never exceeded, and wider
 *   -rz       operands are truncated, not rounded to nearest: twice the error, and it does not average out */
#ifndef PFC_PRECISION_H
#define PFC_PRECISION_H

#include "core/px.h"

#include <stdbool.h>
#include <stdint.h>

typedef struct pfc_precision {
    const char *name; /* group of /bound: "f32", "bf16", "bf16-rz", "bf16-sound" */
    const char *type; /* "f32", "tf32", "bf16", "f16" */
    double u;         /* unit roundoff of T: 2^-11 tf32 and f16, 2^-8 bf16; 0: float32, which the bounds count anyway */
    double tiny;      /* error where T has no smaller numbers: half its smallest one, 2^-25 for f16; 0 where T has float32's range */
    double largest;   /* beyond it T overflows: 65504 for f16; else infinity */
    bool sound, truncates;
} pfc_precision;

/* All types and kinds, ending with name NULL. The first four, the types themselves, are what a golden has unless asked otherwise. */
enum { PFC_PRECISIONS = 11, PFC_PRECISION_TYPES = 4 };
extern const pfc_precision pfc_precisions[PFC_PRECISIONS + 1];
/* NULL: no such name. Local. */
const pfc_precision *pfc_precision_find(const char *name);

/* Whether the plain bounds of float32 will do. */
static inline bool pfc_precision_is_f32(const pfc_precision *p) { return p->u == 0 && !p->sound; }

/* Four units in the last place of a float32: the unit in which its rounding errors are counted. */
#define PFC_BOUND_EPS 0x1p-22

/* |x rounded to T - x|: of an operand, an input, or a result that is stored in T. 0 for f32. Infinite where T overflows. */
static inline double pfc_round_number(const pfc_precision *p, double x)
{
    double size = x < 0 ? -x : x, e = (p->truncates ? 2 : 1) * p->u * size, tiny = (p->truncates ? 2 : 1) * p->tiny;
    if (size > p->largest) return PX_INF;
    return e > tiny ? e : tiny < size ? tiny : size;
}

/* Relative error of a running float32 sum of n terms of one sign. */
static inline double pfc_round_sum(const pfc_precision *p, double n)
{
    if (p->sound) return 1.01 * 0x1p-24 * (n + 8);
    return PFC_BOUND_EPS * (4 + 0.5 * PX_SQRT(n));
}

/* Beyond float32: what operands in T, and a result stored in T, cost a product sum of terms t_k = a_k b_k. squares: sum t^2; sizes: sum |t|; value: the sum.
 * Without T's underflow and overflow, which pfc_round_number has. 0 for f32. */
static inline double pfc_round_operands(const pfc_precision *p, double squares, double sizes, double value)
{
    double size = value < 0 ? -value : value, u = p->truncates ? 2 * p->u : p->u;
    if (p->u == 0) return 0;
    if (p->sound) return (2 * u + u * u) * sizes + u * size;
    /* truncating shrinks every operand by half its error on average, hence the sum as a whole; the spread is that of rounding */
    return 6 * p->u * PX_SQRT(2 * squares / 3) + (p->truncates ? 2 * p->u * size : 0) + u * size;
}

#endif
