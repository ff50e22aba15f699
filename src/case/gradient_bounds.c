/* gradient_bounds.c: sums of gradients with operands in T, through the normalisation (operand_bounds.h; doc/numerics.md section 14.1). */
#include "case/operand_bounds.h"

#include <math.h>
#include <stdlib.h>

#define EPS PFC_BOUND_EPS

/* Ranks whose parts of a sum may each be stored in T. More of them average out. */
enum { PARTS = 8 };

/* What T may lose of `count` numbers below its normal ones, of `size` together. */
static double lost_below(const pfc_precision *p, double size, int count)
{
    double most = (p->truncates ? 2 : 1) * p->tiny * count;
    return size < most ? size : most;
}

bool pfc_gradient_sum_new(pfc_gradient_sum *g, const pfc_precision *p, int64_t d)
{
    *g = (pfc_gradient_sum){ .p = p, .d = d };
    double *room = calloc(4 * (size_t)d + 1, sizeof *room);
    g->across = room;
    if (!room) return false;
    g->squares = room + d;
    g->sizes = room + 2 * d;
    g->rest = room + 3 * d;
    return true;
}

void pfc_gradient_sum_free(pfc_gradient_sum *g)
{
    free(g->across);
    g->across = NULL;
}

void pfc_gradient_sum_begin(pfc_gradient_sum *g, int64_t terms, const double *own, double norm, double parts, double *f, double *e)
{
    g->open = own && fabs(norm - 1e-12) < 1e-17; /* which side of the clamp a float32 length falls on */
    g->clamped = own && norm < 1e-12;
    g->own = g->clamped ? NULL : own;
    g->norm = !own ? 1 : g->clamped ? 1e-12 : norm;
    g->terms = terms;
    g->parts = parts;
    g->largest = 0;
    g->f = f;
    g->e = e;
    for (int64_t k = 0; k < g->d; k++) f[k] = e[k] = g->across[k] = g->squares[k] = g->sizes[k] = g->rest[k] = 0;
}

void pfc_gradient_sum_add(pfc_gradient_sum *g, double h, double eh, const pfc_operands *o, int64_t row, const double *ev, double along)
{
    const pfc_precision *p = g->p;
    const double *v = o->v + row * o->d, *lost = o->excess ? o->excess + row * o->d : NULL;
    double size = fabs(h) + eh, under = lost_below(p, size, 1), rounded = g->parts;
    for (int64_t k = 0; k < g->d; k++) g->f[k] += h * v[k];
    if (eh == PX_INF || (px_finite(h) && size > p->largest)) g->open = true;
    if (g->open || !px_finite(h)) return;
    if (o->kind) rounded += 1 + (o->kind[row] != PFC_OPERANDS_EXACT);
    double q = rounded / 2 * size * size;
    if (!g->own) along = 0;
    for (int64_t k = 0; k < g->d; k++) {
        double a = fabs(v[k]), t = a * fabs(h);
        if (px_finite(t) && t > g->largest) g->largest = t;
        g->across[k] += eh * fabs(g->own ? v[k] - along * g->own[k] : v[k]);
        g->squares[k] += q * a * a;
        g->sizes[k] += size * a;
        g->rest[k] += under * a + (ev ? size * ev[k] : 0);
    }
    for (int64_t k = 0; lost && k < g->d; k++) g->rest[k] += size * lost[k];
}

void pfc_gradient_sum_swap(pfc_gradient_sum *g, double h, const double *a, double along_a, const double *b, double along_b)
{
    double size = fabs(h);
    for (int64_t k = 0; k < g->d; k++) {
        double turn = b[k] - a[k] - (g->own ? (along_b - along_a) * g->own[k] : 0);
        g->across[k] += size * fabs(turn);
        g->squares[k] += size * size * b[k] * b[k];
        g->sizes[k] += size * fabs(b[k]);
    }
}

/* What was rounded in the sum of element k, all but the error of the h. */
static double rounding(const pfc_gradient_sum *g, int64_t k)
{
    const pfc_precision *p = g->p;
    double value = fabs(g->f[k]) + g->across[k], running = 48 * EPS;
    if (p->sound) running = fmax(running, pfc_round_sum(p, (double)(g->terms + g->d))); /* the lengths are sums of d */
    double e = pfc_operands_round(p, g->squares[k], g->sizes[k], value, g->parts > 0 ? g->sizes[k] : value);
    e += running * g->sizes[k] + g->rest[k];
    e += g->parts > 0 ? lost_below(p, g->sizes[k] + g->across[k] + e, PARTS) : lost_below(p, value + e, 1);
    return value + e > p->largest ? PX_INF : e + pfc_bound_grid(g->terms, g->largest);
}

void pfc_gradient_sum_end(pfc_gradient_sum *g, const double *eown)
{
    double along = 0, ealong = 0, dots = 0, turn = 0, stretch = 0, round = g->p->sound ? pfc_round_sum(g->p, 2 * (double)g->d) : 0;
    for (int64_t k = 0; eown && g->clamped && k < g->d; k++) g->open = g->open || eown[k] > 0;
    for (int64_t k = 0; k < g->d; k++) {
        g->rest[k] = px_finite(g->f[k]) ? rounding(g, k) : 0;
        if (g->rest[k] == PX_INF) g->open = true;
        if (!g->own) continue;
        along += g->f[k] * g->own[k];
        dots += fabs(g->f[k] * g->own[k]);
        ealong += fabs(g->own[k]) * g->rest[k];
        if (eown) turn += eown[k] * fabs(g->f[k]), stretch += fabs(g->own[k]) * eown[k];
    }
    for (int64_t k = 0; k < g->d; k++) {
        double own = g->own ? g->own[k] : 0, size = fabs(own), v = (g->f[k] - own * along) / g->norm;
        double e = (g->across[k] + g->rest[k] + size * (ealong + round * dots)) / g->norm + (4 * EPS + round) * fabs(v);
        if (eown && g->own) e += (eown[k] * fabs(along) + size * turn) / g->norm + fabs(v) * stretch;
        g->f[k] = v;
        g->e[k] = pfc_bound_settle(v, g->open, e);
    }
}
