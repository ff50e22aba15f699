/* operand_bounds.c: operands of products in T, and the softmax of logits with large errors (operand_bounds.h). */
#include "case/operand_bounds.h"
#include "core/format.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- operands ---- */

/* Whether T has x; subnormal numbers count as rounded. f: T. */
static bool has(const pfc_precision *p, const pfc_format *f, double x)
{
    if (x == 0 || !px_finite(x)) return true;
    if (p->truncates || fabs(x) > f->largest || fabs(x) < px_pow2(f->least)) return false;
    return pfc_format_round(f, PFC_ROUND_EVEN, x) == x;
}

typedef struct pfc_operand_place {
    double size;
    int32_t at;
} place;

static int by_size(const void *a, const void *b)
{
    const place *x = a, *y = b;
    if (x->size != y->size) return x->size < y->size ? -1 : 1;
    return (x->at > y->at) - (x->at < y->at);
}

/* Numbers each from its group: equal ones, or those within `near` of the first. Returns how many groups there are. */
static int64_t group_by_size(const place *sorted, int64_t count, double near, int32_t *group)
{
    int64_t groups = 0;
    for (int64_t k = 0, first = 0; k < count; k++) {
        if (k == 0 || sorted[k].size > sorted[first].size * (1 + near)) first = k, groups++;
        group[sorted[k].at] = sorted[first].at;
    }
    return groups;
}

/* Kind and groups of one row. Magnitudes that differ by much less than T's digits are rounded alike, too; a few such pairs, which
 * any row has, do not matter. */
static void look_at(pfc_operands *o, const pfc_precision *p, int64_t row, bool known)
{
    const double *v = o->v + row * o->d;
    int32_t *group = o->group + row * o->d;
    place *sorted = o->sorted;
    const pfc_format *f = pfc_format_find(p->type);
    int64_t rounded = 0;
    for (int64_t k = 0; k < o->d; k++) {
        group[k] = -1;
        if (!(known || v[k] == 0) || !has(p, f, v[k])) sorted[rounded++] = (place){ fabs(v[k]), (int32_t)k };
    }
    if (rounded > 1) qsort(sorted, (size_t)rounded, sizeof *sorted, by_size);
    int64_t groups = group_by_size(sorted, rounded, p->u / 8, group);
    if (2 * groups >= rounded) groups = group_by_size(sorted, rounded, 0, group);
    o->kind[row] = rounded == 0 ? PFC_OPERANDS_EXACT : groups == o->d ? PFC_OPERANDS_APART : PFC_OPERANDS_GROUPED;
    for (int64_t k = 0; o->excess && k < o->d; k++)
        o->excess[row * o->d + k] = px_finite(v[k]) && group[k] >= 0 ? pfc_round_number(p, v[k]) - (p->truncates ? 2 : 1) * p->u * fabs(v[k]) : 0;
}

/* Rows that are equal to within float64's own rounding have the same roundings in T. */
static void find_shared(pfc_operands *o)
{
    place *sorted = o->sorted;
    for (int64_t i = 0; i < o->rows; i++) {
        double key = 0;
        for (int64_t k = 0; k < o->d; k++) key += fabs(o->v[i * o->d + k]) * (double)(o->d + k);
        sorted[i] = (place){ px_finite(key) ? key : 0, (int32_t)i };
        o->shared[i] = o->kind[i] == PFC_OPERANDS_GROUPED;
    }
    qsort(sorted, (size_t)o->rows, sizeof *sorted, by_size);
    for (int64_t i = 1; i < o->rows; i++)
        if (sorted[i].size - sorted[i - 1].size <= 1e-12 * sorted[i].size) o->shared[sorted[i].at] = o->shared[sorted[i - 1].at] = 1;
}

bool pfc_operands_new(pfc_operands *o, const pfc_precision *p, const double *v, int64_t rows, int64_t d)
{
    *o = (pfc_operands){ .v = v, .rows = rows, .d = d };
    if (p->u == 0) return true;
    size_t count = (size_t)(rows * d) + 1;
    o->kind = calloc((size_t)rows + 1, 1);
    o->shared = calloc((size_t)rows + 1, 1);
    o->group = calloc(count, sizeof *o->group);
    o->sums = calloc((size_t)d + 1, sizeof *o->sums);
    o->sorted = calloc((size_t)(d + rows) + 1, sizeof *o->sorted);
    if (p->tiny > 0) o->excess = calloc(count, sizeof *o->excess);
    return o->kind && o->shared && o->group && o->sums && o->sorted && (o->excess || !(p->tiny > 0));
}

void pfc_operands_free(pfc_operands *o)
{
    free(o->kind);
    free(o->shared);
    free(o->group);
    free(o->sums);
    free(o->sorted);
    free(o->excess);
    *o = (pfc_operands){ 0 };
}

void pfc_operands_look(pfc_operands *o, const pfc_precision *p, bool known)
{
    if (p->u == 0) return;
    for (int64_t i = 0; i < o->rows; i++) look_at(o, p, i, known);
    find_shared(o);
}

double pfc_operands_round(const pfc_precision *p, double squares, double sizes, double value, double stored)
{
    pfc_precision worst = *p;
    worst.sound = true;
    double e = pfc_round_operands(p, squares, sizes, value), most = pfc_round_operands(&worst, squares, sizes, stored);
    return e < most && !p->sound ? e : most;
}

/* Sum of squares of what is rounded alike: of each group's sum of terms. At least that of the terms: a port's numbers may differ in float32, and lie on
 * either side of where T rounds up. */
static double together(const pfc_operands *o, int64_t row, const double *a, const double *b, double squares)
{
    if (o->kind[row] == PFC_OPERANDS_APART) return squares;
    if (o->kind[row] == PFC_OPERANDS_EXACT) return 0;
    const int32_t *group = o->group + row * o->d;
    double q = 0;
    for (int64_t k = 0; k < o->d; k++) o->sums[k] = 0;
    for (int64_t k = 0; k < o->d; k++)
        if (group[k] >= 0) o->sums[group[k]] += a[k] * b[k];
    for (int64_t k = 0; k < o->d; k++) q += o->sums[k] * o->sums[k];
    return q > squares ? q : squares;
}

double pfc_operands_product(const pfc_precision *p, const pfc_operands *a, int64_t i, const pfc_operands *b, int64_t j, double z, double squares, double sizes,
                            double *random)
{
    *random = 0;
    if (p->u == 0) return 0;
    const double *x = a->v + i * a->d, *y = b->v + j * b->d;
    double of_x = together(a, i, x, y, squares), of_y = together(b, j, x, y, squares), e;
    int exact = (a->kind[i] == PFC_OPERANDS_EXACT) + (b->kind[j] == PFC_OPERANDS_EXACT);
    if (exact == 2)
        e = has(p, pfc_format_find(p->type), z) ? 0 : pfc_round_number(p, z);
    else
        e = pfc_operands_round(p, (of_x + of_y) / 2, sizes, z, z);
    if (exact < 2) *random = e;
    if (a->excess) {
        const double *ex = a->excess + i * a->d, *ey = b->excess + j * b->d;
        double lost = (p->truncates ? 2 : 1) * p->tiny, size = fabs(z);
        for (int64_t k = 0; k < a->d; k++) {
            if (ex[k] == PX_INF || ey[k] == PX_INF) return PX_INF;
            lost += ex[k] * fabs(y[k]) + fabs(x[k]) * ey[k];
        }
        e += lost;
        if (size + e > p->largest) return PX_INF;
    }
    return e;
}

/* ---- softmax ---- */

void pfc_bound_row_add(pfc_bound_row *r, double l, double e, double sum)
{
    double p = px_exp(l) / sum;
    r->most = e > r->most ? e : r->most;
    if (!(p > 0)) {
        r->up += px_exp(l + e) / sum;
        return;
    }
    double up = p * pfc_bound_grow(e);
    r->up += up;
    r->down += p * (1 - px_exp(-e));
    r->bend += e < 0.01 ? p * e * e * 0.51 : up - p * e;
}

double pfc_bound_row_sum(const pfc_bound_row *r)
{
    double change = fmax(r->up < 0.01 ? r->up : px_log(1 + r->up), pfc_bound_shrink(r->down));
    return (change < r->most ? change : r->most) + r->round; /* log sum exp moves no more than its arguments */
}

double pfc_bound_odds(const pfc_bound_row *r, double p, double e)
{
    double rest = 1 - p, others = r->most;
    if (rest > 1e-9) {
        double up = (r->up - p * pfc_bound_grow(e)) / rest, down = (r->down - p * (1 - px_exp(-e))) / rest;
        double change = fmax(up < 0.01 ? up : px_log(1 + up), pfc_bound_shrink(down));
        if (change < others) others = change > 0 ? change : 0;
    }
    return e + others;
}

double pfc_bound_probability(double p, double odds)
{
    double rest = 1 - p, r = px_exp(-odds), spread = odds < 1e-6 ? odds : 1 - r;
    double up = p * rest * spread / (p + rest * r), down = p * rest * spread / (p * r + rest);
    return up > down ? up : down;
}

double pfc_bound_surprise(double p, double odds)
{
    if (odds > 30) return odds;
    double change = (1 - p) * pfc_bound_grow(odds);
    return change < 0.01 ? change : px_log(1 + change);
}

/* ---- the loss ---- */

void pfc_loss_error_row(pfc_loss_error *e, const pfc_operands *o, int64_t row, const double *f)
{
    const double *v = o->v + row * o->d;
    double q = 0;
    if (!o->kind) return;
    for (int64_t k = 0; k < o->d; k++) q += v[k] * f[k] * (v[k] * f[k]);
    q = together(o, row, v, f, q);
    if (o->shared[row])
        e->alike += sqrt(q);
    else
        e->squares += q;
}

void pfc_loss_error_product(pfc_loss_error *e, double g, double h, double z, double random, double rest, bool flat)
{
    if (random > 0) e->squares += h * z * (h * z); /* the result's rounding */
    e->drift += h * z;
    e->rest += fabs(g) * rest + (flat ? fabs(h) * random : 0);
}

double pfc_loss_error_all(const pfc_loss_error *e, const pfc_precision *p)
{
    double drift = p->truncates ? 4 * p->u * fabs(e->drift) : 0;
    return e->rest + 6 * p->u * (sqrt(e->squares / 3) + e->alike / 1.7) + drift;
}
