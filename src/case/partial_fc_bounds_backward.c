/* partial_fc_bounds_backward.c: gradients and the update with their bounds (doc/numerics.md sections 6 to 8), and the step's memory. */
#include "case/partial_fc_bounds.h"

#include <math.h>
#include <stdlib.h>

#define EPS PFC_BOUND_EPS

/* ---- gradients ---- */

/* H = G * slope of one element. */
static void logit_gradient(const pfc_bound_step *s, int64_t ij, double *h, double *eh)
{
    double g = s->g.v[ij], eg = s->g.e[ij], d = s->slope.v[ij], ed = s->slope.e[ij];
    *h = g * d;
    bool open = eg == PX_INF || (ed == PX_INF && (g != 0 || eg != 0)); /* an ignored row has no gradient, whatever its slope */
    *eh = pfc_bound_settle(*h, open, eg * fabs(d) + (fabs(g) + eg) * (ed == PX_INF ? 0 : ed));
}

/* f += h * hat with its bound: of h, of hat, and 48 roundings' worth of every term for the running sum. *largest: of all |h hat_k|. */
static void add(int64_t d, double h, double eh, const double *hat, const double *ehat, double *f, double *ef, double *largest)
{
    double e = eh + 48 * EPS * fabs(h);
    for (int64_t k = 0; k < d; k++) {
        double t = h * hat[k];
        f[k] += t;
        if (px_finite(t) && fabs(t) > *largest) *largest = fabs(t);
        if (eh == PX_INF)
            ef[k] = PX_INF;
        else if (px_finite(h))
            ef[k] += e * fabs(hat[k]) + (ehat ? fabs(h) * ehat[k] : 0);
    }
}

/* Through the normalisation: out = (f - hat <hat, f>)/norm, in place. ehat: the direction's own error (NULL: none). */
static void project(int64_t d, const double *hat, const double *ehat, double norm, double *f, double *ef)
{
    bool tiny = norm < 1e-12, open = fabs(norm - 1e-12) < 1e-17; /* which side of the clamp a float32 norm falls on */
    double along = 0, ealong = 0, turn = 0, length = tiny ? 1e-12 : norm, stretch = 0;
    for (int64_t k = 0; k < d; k++) {
        open = open || ef[k] == PX_INF;
        along += f[k] * hat[k];
        ealong += fabs(hat[k]) * ef[k];
        if (ehat) turn += ehat[k] * fabs(f[k]), stretch += fabs(hat[k]) * ehat[k];
    }
    for (int64_t k = 0; k < d; k++) {
        double v = (tiny ? f[k] : f[k] - hat[k] * along) / length;
        double e = tiny ? ef[k] / length : (ef[k] + fabs(hat[k]) * ealong) / length;
        if (ehat && !tiny) e += (ehat[k] * fabs(along) + fabs(hat[k]) * turn) / length + fabs(v) * stretch;
        if (ehat && tiny && stretch > 0) open = true;
        f[k] = v;
        ef[k] = e + 4 * EPS * fabs(v);
    }
    for (int64_t k = 0; k < d; k++) ef[k] = pfc_bound_settle(f[k], open, ef[k]);
}

/* The golden's own grid under a sum of `count` terms. */
static void widen(int64_t d, int64_t count, double largest, double *ef)
{
    for (int64_t k = 0; k < d; k++) ef[k] += pfc_bound_grid(count, largest);
}

static void clear(double *f, double *ef, int64_t d)
{
    for (int64_t k = 0; k < d; k++) f[k] = ef[k] = 0;
}

/* The same sums with operands in T, or sound. */
static void feature_gradient_row(pfc_bound_step *s, int64_t i)
{
    pfc_gradient_sum *g = &s->gradient;
    double h, eh;
    pfc_gradient_sum_begin(g, s->c, s->cfg.head == PFC_HEAD_LINEAR ? NULL : s->xhat + i * s->d, s->xnorm[i], 1, s->xg.v + i * s->d, s->xg.e + i * s->d);
    for (int64_t j = 0; j < s->c; j++) {
        if (!s->sampled[j]) continue;
        logit_gradient(s, i * s->c + j, &h, &eh);
        pfc_gradient_sum_add(g, h, eh, &s->of_w, j, s->moved ? s->ewhat + j * s->d : NULL, s->z.v[i * s->c + j]);
    }
    pfc_loss_error_row(&s->by_gradient, &s->of_x, i, g->f);
    pfc_gradient_sum_end(g, NULL);
}

static void weight_gradient_row(pfc_bound_step *s, int64_t j)
{
    pfc_gradient_sum *g = &s->gradient;
    double h, eh;
    pfc_gradient_sum_begin(g, s->n, s->cfg.head == PFC_HEAD_LINEAR ? NULL : s->what + j * s->d, s->wnorm[j], 0, s->wg.v + j * s->d, s->wg.e + j * s->d);
    for (int64_t i = 0; i < s->n; i++) {
        logit_gradient(s, i * s->c + j, &h, &eh);
        pfc_gradient_sum_add(g, h, eh, &s->of_x, i, NULL, s->z.v[i * s->c + j]);
    }
    pfc_loss_error_row(&s->by_gradient, &s->of_w, j, g->f);
    pfc_gradient_sum_end(g, s->moved ? s->ewhat + j * s->d : NULL);
}

static void feature_gradient_f32(pfc_bound_step *s, int64_t i)
{
    int64_t d = s->d;
    double *f = s->xg.v + i * d, *ef = s->xg.e + i * d, h, eh, largest = 0;
    clear(f, ef, d);
    for (int64_t j = 0; j < s->c; j++) {
        if (!s->sampled[j]) continue;
        logit_gradient(s, i * s->c + j, &h, &eh);
        add(d, h, eh, s->what + j * d, s->moved ? s->ewhat + j * d : NULL, f, ef, &largest);
    }
    widen(d, s->c, largest, ef);
    if (s->cfg.head != PFC_HEAD_LINEAR) project(d, s->xhat + i * d, NULL, s->xnorm[i], f, ef);
}

static void weight_gradient_f32(pfc_bound_step *s, int64_t j)
{
    int64_t d = s->d;
    double *f = s->wg.v + j * d, *ef = s->wg.e + j * d, h, eh, largest = 0;
    clear(f, ef, d);
    for (int64_t i = 0; i < s->n; i++) {
        logit_gradient(s, i * s->c + j, &h, &eh);
        add(d, h, eh, s->xhat + i * d, NULL, f, ef, &largest);
    }
    widen(d, s->n, largest, ef);
    if (s->cfg.head != PFC_HEAD_LINEAR)
        project(d, s->what + j * d, s->moved ? s->ewhat + j * d : NULL, s->wnorm[j], f, ef);
    else
        for (int64_t k = 0; k < d; k++) ef[k] = pfc_bound_settle(f[k], ef[k] == PX_INF, ef[k]);
}

static void feature_gradient(pfc_bound_step *s)
{
    int64_t d = s->d;
    for (int64_t i = 0; i < s->n; i++) {
        double *f = s->xg.v + i * d, *ef = s->xg.e + i * d;
        if (pfc_precision_is_f32(s->precision))
            feature_gradient_f32(s, i);
        else
            feature_gradient_row(s, i);
        for (int64_t k = 0; k < d; k++) {
            f[k] *= s->xgrad_scale;
            ef[k] = pfc_bound_settle(f[k], ef[k] == PX_INF, ef[k] * fabs(s->xgrad_scale) + EPS * fabs(f[k]));
        }
    }
}

static void weight_gradient(pfc_bound_step *s)
{
    int64_t d = s->d;
    for (int64_t j = 0; j < s->c; j++) {
        clear(s->wg.v + j * d, s->wg.e + j * d, d);
        if (!s->sampled[j]) continue;
        if (pfc_precision_is_f32(s->precision))
            weight_gradient_f32(s, j);
        else
            weight_gradient_row(s, j);
    }
}

/* ---- update ---- */

/* One element of SGD; every operation adds a rounding of its result and operands. */
static void sgd(const pfc_partial_fc_config *o, double dw, double edw, double *w, double *ew, double *m, double *em)
{
    bool open = edw == PX_INF || *ew == PX_INF || *em == PX_INF;
    double decay = o->weight_decay * *w, g = dw + decay, eg = edw + fabs(o->weight_decay) * *ew + 2 * EPS * (fabs(dw) + fabs(decay));
    if (o->momentum != 0) {
        double kept = o->momentum * *m;
        *em = fabs(o->momentum) * *em + eg + 2 * EPS * (fabs(kept) + fabs(g));
        *m = kept + g;
        double ahead = o->momentum * *m;
        eg = o->nesterov ? eg + fabs(o->momentum) * *em + 2 * EPS * (fabs(g) + fabs(ahead)) : *em;
        g = o->nesterov ? g + ahead : *m;
        *em = pfc_bound_settle(*m, open, *em);
    }
    *w -= o->lr * g;
    *ew = pfc_bound_settle(*w, open, *ew + fabs(o->lr) * eg + EPS * fabs(*w) + 2 * EPS * fabs(o->lr * g));
}

static void update(pfc_bound_step *s)
{
    for (int64_t j = 0; j < s->c; j++) {
        if (!s->sampled[j] && s->cfg.momentum_rule == PFC_MOMENTUM_LAZY) continue;
        for (int64_t k = j * s->d; k < (j + 1) * s->d; k++) sgd(&s->cfg, s->wg.v[k], s->wg.e[k], &s->w.v[k], &s->w.e[k], &s->m.v[k], &s->m.e[k]);
    }
}

/* The loss's error over all rows at once, where it is smaller than the sum of theirs. */
static void loss_by_gradient(pfc_bound_step *s)
{
    if (s->precision->u == 0 || s->precision->sound) return;
    for (int64_t i = 0; i < s->n; i++)
        for (int64_t j = 0; j < s->c; j++) {
            int64_t ij = i * s->c + j;
            double g = s->g.v[ij];
            if (s->sampled[j] && g != 0) pfc_loss_error_product(&s->by_gradient, g, g * s->slope.v[ij], s->z.v[ij], s->random[ij], s->rest[ij], s->flat[i]);
        }
    double e = pfc_loss_error_all(&s->by_gradient, s->precision);
    if (e < s->eloss) s->eloss = e;
}

void pfc_bound_step_backward(pfc_bound_step *s)
{
    feature_gradient(s);
    weight_gradient(s);
    loss_by_gradient(s);
    update(s);
}

/* ---- memory ---- */

typedef struct slot {
    double **array;
    int64_t size;
} slot;

enum { SLOTS = 30 };

static void slots(pfc_bound_step *s, slot all[SLOTS])
{
    int64_t n = s->n, c = s->c, d = s->d;
    slot list[SLOTS] = { { &s->w.v, c * d },   { &s->w.e, c * d },     { &s->m.v, c * d },     { &s->m.e, c * d },    { &s->xhat, n * d }, { &s->what, c * d },
                         { &s->ewhat, c * d }, { &s->xnorm, n },       { &s->wnorm, c },       { &s->z.v, n * c },    { &s->z.e, n * c },  { &s->l.v, n * c },
                         { &s->l.e, n * c },   { &s->slope.v, n * c }, { &s->slope.e, n * c }, { &s->g.v, n * c },    { &s->g.e, n * c },  { &s->top.v, n },
                         { &s->top.e, n },     { &s->sum.v, n },       { &s->sum.e, n },       { &s->prob.v, n },     { &s->prob.e, n },   { &s->xg.v, n * d },
                         { &s->xg.e, n * d },  { &s->wg.v, c * d },    { &s->wg.e, c * d },    { &s->random, n * c }, { &s->rest, n * c }, { NULL, 0 } };
    for (int k = 0; k < SLOTS; k++) all[k] = list[k];
}

bool pfc_bound_step_new(pfc_bound_step *s, const pfc_partial_fc_inputs *in, const pfc_precision *p)
{
    *s = (pfc_bound_step){ .precision = p, .cfg = in->cfg, .n = in->n, .d = in->d, .c = in->c };
    s->xgrad_scale = px_nan(in->cfg.xgrad_scale) ? (double)in->ranks : in->cfg.xgrad_scale;
    px_sincos(in->cfg.margin, &s->sin_m, &s->cos_m);
    slot all[SLOTS];
    slots(s, all);
    bool ok = (s->sampled = calloc((size_t)s->c + 1, sizeof *s->sampled)) != NULL;
    for (int k = 0; k < SLOTS && all[k].array; k++) ok = (*all[k].array = calloc((size_t)all[k].size + 1, sizeof(double))) && ok;
    s->flat = calloc((size_t)s->n + 1, 1);
    ok = ok && s->flat;
    if (ok) {
        bool x = pfc_operands_new(&s->of_x, p, s->xhat, s->n, s->d), w = pfc_operands_new(&s->of_w, p, s->what, s->c, s->d);
        ok = pfc_gradient_sum_new(&s->gradient, p, s->d) && x && w;
    }
    if (!ok) pfc_bound_step_free(s);
    return ok;
}

void pfc_bound_step_free(pfc_bound_step *s)
{
    slot all[SLOTS];
    slots(s, all);
    for (int k = 0; k < SLOTS && all[k].array; k++) {
        free(*all[k].array);
        *all[k].array = NULL;
    }
    pfc_operands_free(&s->of_x);
    pfc_operands_free(&s->of_w);
    pfc_gradient_sum_free(&s->gradient);
    free(s->flat);
    free(s->sampled);
    s->sampled = NULL;
}
