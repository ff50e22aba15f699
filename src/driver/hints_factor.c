/* hints_factor.c: got = c want, or got - before = c (want - before): which c, and what is known to make it.
 *
 * c is fitted by least squares. It is told only if it explains every element within its tolerance, and if the tolerances leave no doubt that it is not 1: d,
 * the largest error of c that they allow (of a result, what gate G3 allows), must be smaller than |c - 1|. A factor without a name needs more elements than
 * one with; to name a cause c must be known to 10 % and be that factor to 2 %. */
#include "driver/hints.h"
#include <math.h>
#include <string.h>

enum { FEW = 8 };

typedef struct fit {
    double c, doubt; /* |true factor - c| <= doubt */
    bool fits;       /* every element within its tolerance */
    int64_t count;   /* elements that are too large to hide another factor */
} fit;

/* What an element was before: 0 without a state. */
static double base(const pfc_tensor *before, double rest, int64_t i) { return before ? rest * pfc_tensor_get(before, i) : 0.0; }

/* got - rest before = c (want - rest before) */
static fit find_factor(const pfc_hinter *h, const pfc_tensor *before, double rest)
{
    double cross = 0, square = 0, room = 0;
    fit f = { 0, INFINITY, true, 0 };
    for (int64_t i = 0; i < h->n; i++) {
        double b = base(before, rest, i), w = pfc_tensor_get(h->want, i) - b, g = pfc_tensor_get(h->got, i) - b, t = pfc_hint_tolerance(h, i);
        if (!isfinite(w) || !isfinite(g) || !isfinite(t)) continue;
        cross += w * g;
        square += w * w;
        room += fabs(w) * t;
    }
    if (square == 0) return f;
    f.c = cross / square;
    double size = fabs(f.c) > 1 ? fabs(f.c) : 1, most = room / square;
    if (!before && h->r->gate[2] && h->r->slope_limit < most) most = h->r->slope_limit;
    f.doubt = size * most;
    for (int64_t i = 0; i < h->n && f.fits; i++) {
        double b = base(before, rest, i), w = pfc_tensor_get(h->want, i) - b, g = pfc_tensor_get(h->got, i) - b, t = pfc_hint_tolerance(h, i);
        if (!isfinite(w) || !isfinite(g) || !isfinite(t)) continue;
        f.fits = fabs(g - f.c * w) <= size * t + fabs(w) * f.doubt;
        if (fabs((f.c - 1) * w) > 2 * size * t) f.count++;
    }
    return f;
}

static bool clear(const fit *f) { return f->fits && f->count > 0 && 1.5 * f->doubt < fabs(f->c - 1); }

static bool is_factor(const pfc_hinter *h, const fit *f, double c)
{
    double doubt = f->doubt > 1e-6 * fabs(c) ? f->doubt : 1e-6 * fabs(c), off = fabs(f->c - c);
    if (!isfinite(c) || c == 0 || c == 1 || !clear(f) || off > doubt) return false;
    return h->n >= FEW ? doubt < 0.1 * fabs(c) && off < 0.02 * fabs(c) : doubt < 1e-4 * fabs(c); /* few elements: only if it is precise */
}

static double setting(const pfc_hinter *h, const char *name)
{
    const pfc_case *c = h->k->golden.settings;
    return pfc_param_index(c->algorithm, name) >= 0 && pfc_param_present(c, name) ? pfc_param_real(c, name) : NAN;
}

/* Rows of the whole batch; NaN: there is none. */
static double batch(const pfc_hinter *h)
{
    const pfc_result_file *g = &h->k->golden;
    for (const pfc_tensor_spec *s = g->settings->algorithm->in; s && s->name; s++) {
        const pfc_tensor *t = s->cut == 'N' ? pfc_tensor_find(&g->in, s->name) : NULL;
        int axis = t ? pfc_shape_axis(s, t->ndim) : -1;
        if (axis >= 0 && h->k->cli->shard_rank < 0) return (double)t->dims[axis];
    }
    return NAN;
}

typedef struct factor {
    double value;
    const char *name, *why;
} factor;

/* Digits of c that are known. */
static int digits(const fit *f) { return 8 * f->doubt < fabs(f->c - 1) ? 6 : 3; }

/* Tells the factor, or its inverse, if it has a name. what: "the result" or "the update". */
static bool tell_named(const pfc_hinter *h, const fit *f, const char *what)
{
    double P = h->k->ranks > 1 ? h->k->ranks : NAN, N = batch(h);
    const factor factors[] = {
        { P, "the number of ranks", "a sum over the ranks in the place of a mean, or the other way round; or xgrad_scale" },
        { N, "the batch size", "a mean over the batch in the place of a sum, or the other way round" },
        { N / P, "the batch size of a rank", "a mean over the rank's rows in the place of all rows, or the other way round" },
        { setting(h, "scale"), "scale", "the logits' scale in the gradient" },
        { setting(h, "temperature"), "temperature", "the temperature in the gradient" },
        { 2, "2", "counted twice, or half of it missing" },
    };
    if (is_factor(h, f, -1)) {
        pfc_hint(h, "%s has the opposite sign", what);
        return true;
    }
    for (size_t i = 0; i < sizeof factors / sizeof factors[0]; i++) {
        bool times = is_factor(h, f, factors[i].value), by = is_factor(h, f, 1 / factors[i].value);
        if (!times && !by) continue;
        pfc_hint(h, "%s is the golden's %s %g, %s: %s", what, times ? "times" : "divided by", factors[i].value, factors[i].name, factors[i].why);
        return true;
    }
    return false;
}

/* M/(M-1), or its inverse: variances that are unbiased or not. M: samples that were counted. */
static bool tell_bias(const pfc_hinter *h, const fit *f)
{
    double c = f->c > 1 ? f->c : 1 / f->c, m = c / (c - 1), whole = round(m), doubt = f->doubt * m * m;
    if (!clear(f) || f->c <= 0 || c > 2.001 || fabs(m - whole) > 0.02 * m || doubt > 0.1 * m) return false;
    pfc_hint(h, "the variance is the golden's times %s with M = %g: %s", f->c > 1 ? "M/(M-1)" : "(M-1)/M", whole,
             f->c > 1 ? "unbiased where the golden's is biased" : "biased where the golden's is unbiased");
    return true;
}

static bool is_variance(const pfc_hinter *h)
{
    size_t length = strlen(h->name);
    return length >= 3 && strcmp(h->name + length - 3, "var") == 0;
}

bool pfc_hint_factor(const pfc_hinter *h)
{
    fit f = find_factor(h, NULL, 0);
    if (tell_named(h, &f, "the result")) return true;
    if (is_variance(h) && !h->before && tell_bias(h, &f)) return true;
    if (!clear(&f) || f.count < FEW || fabs(f.c) < 1e-6) return false;
    pfc_hint(h, "the result is the golden's times %.*g throughout", digits(&f), f.c);
    return true;
}

bool pfc_hint_update(const pfc_hinter *h)
{
    double m = setting(h, "momentum");
    if (!h->before) return false;
    fit f = find_factor(h, h->before, 1);
    if (m > 0 && m < 1 && m != 0.5 && (is_factor(h, &f, m / (1 - m)) || is_factor(h, &f, (1 - m) / m))) {
        pfc_hint(h, "momentum %g and 1 - momentum are swapped in the update of the state", m);
        return true;
    }
    if (tell_named(h, &f, "the update of the state")) return true;
    if (!clear(&f) || f.count < FEW || fabs(f.c) < 1e-6) return false;
    pfc_hint(h, "the state moves %.*g times as far as the golden's: learning rate, momentum, or a factor of the gradient", digits(&f), f.c);
    return true;
}

/* A running variance: (1 - m) before + m variance; the bias is in the variance alone. */
bool pfc_hint_variance(const pfc_hinter *h)
{
    double m = setting(h, "momentum");
    if (!is_variance(h) || !h->before || !(m > 0 && m < 1)) return false;
    fit f = find_factor(h, h->before, 1 - m);
    return tell_bias(h, &f);
}
