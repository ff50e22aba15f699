/* round.c: what a type T costs a number, a product sum and a softmax (doc/numerics.md section 14). */
#include "case/round.h"

static double size(double x) { return x < 0 ? -x : x; }
static double smaller(double a, double b) { return a < b ? a : b; }

double pfc_round_to(const pfc_precision *p, pfc_rounding how, double x)
{
    const pfc_format *f = pfc_format_find(p->type);
    if (!f || x == 0 || !px_finite(x)) return x;
    if (size(x) > f->largest) return x < 0 ? -PX_INF : PX_INF;
    return pfc_format_round(f, how, x);
}

bool pfc_round_inputs(const pfc_precision *p, pfc_rounding how, const double *x, int64_t n, double *out)
{
    bool differs = how == PFC_ROUND_EVEN;
    if (p->u == 0 || (how == PFC_ROUND_TO_ZERO && !p->truncates)) return false;
    for (int64_t i = 0; i < n; i++) {
        out[i] = pfc_round_to(p, how, x[i]);
        differs = differs || out[i] != pfc_round_to(p, PFC_ROUND_EVEN, x[i]);
    }
    return differs;
}

/* The error of a result that is `value` where inputs were rounded, and known to e there; want: without rounding. Infinite where only one is a number. */
static double shift(double want, double value, double e)
{
    if (want == value || (px_nan(want) && px_nan(value))) return e;
    if (!px_finite(want) || !px_finite(value)) return PX_INF;
    return size(value - want) + e;
}

void pfc_round_widen(double *bound, const double *want, const double *value, const double *e, int64_t count)
{
    for (int64_t i = 0; i < count; i++) {
        double w = shift(want[i], value[i], e[i]);
        if (!(w <= bound[i])) bound[i] = px_nan(w) ? PX_INF : w;
    }
}

double pfc_round_product(const pfc_precision *p, const double *a, int64_t sa, const double *b, int64_t sb, int64_t n)
{
    double squares = 0, sizes = 0, gone = 0;
    if (p->u == 0) return 0;
    for (int64_t k = 0; k < n; k++) {
        double x = size(a[k * sa]), y = size(b[k * sb]), rx = pfc_round_number(p, x), ry = pfc_round_number(p, y);
        squares += rx * y * (rx * y) + x * ry * (x * ry);
        sizes += rx * y + x * ry + rx * ry;
        if (x <= p->tiny || y <= p->tiny) gone += x * y; /* not rounded but lost: always smaller */
    }
    /* 6 standard deviations; truncated, they are half of the largest error */
    double plain = (p->truncates ? 3 : 6) * PX_SQRT(squares / 3) + gone;
    return p->sound || !(plain < sizes) ? sizes : plain;
}

double pfc_round_change(const pfc_precision *p, const double *a, const double *ta, const double *b, const double *tb, int64_t n)
{
    double change = 0;
    if (p->u == 0 || p->sound) return 0; /* -sound has the largest possible one */
    for (int64_t k = 0; k < n; k++) change += ta[k] * tb[k] - a[k] * b[k];
    return change;
}

/* e^x - 1; of what is beyond any number of float64, enough. */
static double growth(double x) { return px_exp(smaller(x, 700.0)) - 1.0; }

/* log(p/(1-p)) = l_k - log sum of the others' exp is wrong by x at most: by el_k and the others' mean. Then p is wrong by p (1-p) g / (1 + min(p,1-p) g),
 * g = e^x - 1, and log p by log(1 + (1-p) g). */
void pfc_softmax_errors(int64_t n, const double *p, const double *el, double *ep, double *elog)
{
    int64_t top = 0;
    double total = 0, rest_top = 0, others_top = 0;
    for (int64_t k = 1; k < n; k++)
        if (p[k] > p[top]) top = k;
    for (int64_t k = 0; k < n; k++) {
        double t = p[k] * growth(el[k]);
        total += t;
        if (k != top) rest_top += p[k], others_top += t;
    }
    for (int64_t k = 0; k < n; k++) {
        double rest = k == top ? rest_top : 1.0 - p[k], others = k == top ? others_top : total - p[k] * growth(el[k]);
        double x = el[k] + (rest > 0 && others > 0 ? px_log(1.0 + others / rest) : 0), g = growth(x);
        if (elog) elog[k] = px_log(1.0 + rest * g);
        ep[k] = p[k] * rest * g / (1.0 + smaller(p[k], rest) * g);
    }
}
