/* partial_fc_bounds_forward.c: cosines, logits, softmax and loss with their bounds (doc/numerics.md sections 2 to 5). */
#include "case/partial_fc_bounds.h"

#include <math.h>
#include <stdlib.h>

#define EPS PFC_BOUND_EPS

/* ---- normalised rows ---- */

static double length(const double *a, int64_t d)
{
    double sum = 0;
    for (int64_t k = 0; k < d; k++) sum += a[k] * a[k];
    return sqrt(sum);
}

static double clamped(double norm) { return norm < 1e-12 ? 1e-12 : norm; }

static void normalise(pfc_bound_step *s)
{
    bool linear = s->cfg.head == PFC_HEAD_LINEAR;
    int64_t d = s->d;
    for (int64_t i = 0; i < s->n; i++) {
        s->xnorm[i] = length(s->x + i * d, d);
        for (int64_t k = 0; k < d; k++) s->xhat[i * d + k] = linear ? s->x[i * d + k] : s->x[i * d + k] / clamped(s->xnorm[i]);
    }
    for (int64_t j = 0; j < s->c; j++) {
        const double *w = s->w.v + j * d, *ew = s->w.e + j * d;
        double *hat = s->what + j * d, *ehat = s->ewhat + j * d, along = 0;
        s->wnorm[j] = length(w, d);
        double norm = linear ? 1 : clamped(s->wnorm[j]);
        for (int64_t k = 0; k < d; k++) hat[k] = w[k] / norm;
        for (int64_t k = 0; k < d && s->moved; k++) along += linear ? 0 : fabs(hat[k]) * ew[k];
        for (int64_t k = 0; k < d && s->moved; k++) ehat[k] = (ew[k] + fabs(hat[k]) * along) / norm;
    }
    pfc_operands_look(&s->of_x, s->precision, true);
    pfc_operands_look(&s->of_w, s->precision, !s->moved);
}

/* z = <xhat, what>: rounding of operands and products (Q = sum of squared products), of the running sum, of the two norms; and the state's error, of
 * which only the part across what turns it; and T. */
static void cosine(pfc_bound_step *s, int64_t i, int64_t j)
{
    const double *x = s->xhat + i * s->d, *w = s->what + j * s->d, *ew = s->w.e + j * s->d;
    double d = (double)s->d, z = 0, q = 0, sizes = 0, moved = 0, xmax = 0, wmax = 0;
    for (int64_t k = 0; k < s->d; k++) {
        double t = x[k] * w[k];
        z += t;
        q += t * t;
        sizes += fabs(t);
        xmax = fabs(x[k]) > xmax ? fabs(x[k]) : xmax;
        wmax = fabs(w[k]) > wmax ? fabs(w[k]) : wmax;
    }
    bool linear = s->cfg.head == PFC_HEAD_LINEAR, open = false;
    if (s->moved) {
        double along = linear ? 0 : z, norm = linear ? 1 : clamped(s->wnorm[j]);
        for (int64_t k = 0; k < s->d; k++) {
            open = open || ew[k] == PX_INF;
            moved += fabs(x[k] - along * w[k]) * ew[k];
        }
        moved /= norm;
    }
    double e = 6 * EPS * (sqrt(2 * q / 3) + sqrt(d * q) + fabs(z)) + 1.5 * EPS * sqrt(d / 6) * fabs(z);
    if (s->precision->sound) e = fmax(e, pfc_round_sum(s->precision, d) * (sizes + fabs(z)));
    e += pfc_operands_product(s->precision, &s->of_x, i, &s->of_w, j, z, q, sizes, &s->random[i * s->c + j]);
    e = e + moved + pfc_bound_grid(s->d, xmax * wmax);
    s->z.v[i * s->c + j] = z;
    s->z.e[i * s->c + j] = pfc_bound_settle(z, open, e);
}

/* ---- head ---- */

typedef struct point {
    double l, slope;
} point;

static point arc(const pfc_bound_step *s, double z, bool target)
{
    const pfc_partial_fc_config *o = &s->cfg;
    bool linear = target && o->arc_fallback == PFC_FALLBACK_LINEAR && z <= -s->cos_m;
    bool easy = target && o->arc_fallback == PFC_FALLBACK_EASY && !(z > 0);
    bool margin = target && !linear && !easy, exact = o->arc_gradient == PFC_ARC_EXACT;
    double q = sqrt((1 - z) * (1 + z));
    point p = { linear ? z - o->margin * s->sin_m : z, 1 };
    if (margin) p.l = z * s->cos_m - q * s->sin_m;
    if (margin && exact) p.slope = s->cos_m + z * s->sin_m / q;
    if (!(z >= -1 && z <= 1)) p.l = PX_NAN;
    if ((z == 1 || z == -1) && exact) p.slope = !o->cos_clamp ? PX_NAN : margin ? 0 : 1;
    return p;
}

static point head(const pfc_bound_step *s, double z, bool target)
{
    const pfc_partial_fc_config *o = &s->cfg;
    double m = o->margin, gate = 1;
    if (o->cos_clamp) {
        gate = z < -1 || z > 1 ? 0 : 1;
        z = z < -1 ? -1 : z > 1 ? 1 : z;
    }
    if (o->interclass_threshold > 0 && !target && z > o->interclass_threshold) return (point){ 0, 0 };
    point p = { z, 1 };
    if (o->head == PFC_HEAD_COS && target) p.l = z - m;
    if (o->head == PFC_HEAD_ARC) p = arc(s, z, target);
    if (o->head == PFC_HEAD_CIRCLE) {
        double a = target ? 1 + m - z : z + m;
        p.slope = a < 0 ? 0 : a;
        p.l = p.slope * (target ? z - (1 - m) : z - m);
    }
    return (point){ o->scale * p.l, o->scale * p.slope * gate };
}

/* Where the head jumps; NaN: nowhere. */
static double jump(const pfc_bound_step *s, bool target)
{
    const pfc_partial_fc_config *o = &s->cfg;
    if (!target) return o->interclass_threshold > 0 ? o->interclass_threshold : PX_NAN;
    if (o->head != PFC_HEAD_ARC || o->arc_fallback == PFC_FALLBACK_NONE) return PX_NAN;
    return o->arc_fallback == PFC_FALLBACK_EASY ? 0 : -s->cos_m;
}

/* Largest change of the head over [z - e, z + e], by its ends: the other side of a branch or a pole is seen there. Where e is large, also by the two
 * sides of a jump. */
static void head_pair(pfc_bound_step *s, int64_t i, int64_t j)
{
    const pfc_partial_fc_config *o = &s->cfg;
    int64_t ij = i * s->c + j;
    bool target = s->labels[i] == j, arc_exact = o->head == PFC_HEAD_ARC && o->arc_gradient == PFC_ARC_EXACT;
    double z = s->z.v[ij], e = s->z.e[ij] + (o->head == PFC_HEAD_ARC ? 2 * EPS : 0), q2 = (1 - z) * (1 + z), scale = fabs(o->scale);
    point at = head(s, z, target), low = head(s, z - e, target), high = head(s, z + e, target);
    double el = fmax(fabs(low.l - at.l), fabs(high.l - at.l)), es = fmax(fabs(low.slope - at.slope), fabs(high.slope - at.slope));
    double bend = fmax(fabs(low.l - at.l + at.slope * e), fabs(high.l - at.l - at.slope * e)); /* how far from a straight line */
    double b = pfc_precision_is_f32(s->precision) ? PX_NAN : jump(s, target);
    for (int side = -1; side < 2 && fabs(z - b) <= e; side += 2) {
        point p = head(s, b + side * 0x1p-50, target);
        el = fmax(el, fabs(p.l - at.l));
        es = fmax(es, fabs(p.slope - at.slope));
        bend = fmax(bend, fabs(p.l - at.l - at.slope * (b - z)));
    }
    double size = fabs(z) + (o->head == PFC_HEAD_LINEAR ? 0 : 1 + fabs(o->margin));
    double own = (o->head == PFC_HEAD_LINEAR ? 2 : target ? 4 : 2) * EPS * scale * (o->head == PFC_HEAD_COS && !target ? fabs(z) : size) + 2 * EPS * fabs(at.l);
    el += own;
    s->rest[ij] = bend + fabs(at.slope) * (e - s->random[ij]) + own;
    es += 4 * EPS * fabs(at.slope) + (o->head == PFC_HEAD_CIRCLE ? 2 * EPS * scale * size : 0);
    if (arc_exact) es += 2 * EPS / q2 * fabs(at.slope); /* sin(acos z)/sqrt(1 - z^2) as a port may compute it */

    bool edge = px_finite(z) && !(fabs(z) + e < 1);
    if (edge && o->head == PFC_HEAD_ARC && !o->cos_clamp) el = es = PX_INF;
    if (edge && arc_exact && target) es = PX_INF; /* the slope has a pole there */
    if (edge && arc_exact && !target && o->cos_clamp) es = scale;
    s->l.v[ij] = at.l;
    s->slope.v[ij] = at.slope;
    s->l.e[ij] = pfc_bound_settle(at.l, el == PX_INF || (s->z.e[ij] == PX_INF && !px_finite(z)), el);
    s->slope.e[ij] = pfc_bound_settle(at.slope, es == PX_INF || (s->z.e[ij] == PX_INF && !px_finite(z)), es);
}

/* ---- softmax ---- */

/* Bounds of maximum, denominator and its logarithm (returned) of row i. The values must be there. */
static double row_errors(pfc_bound_step *s, int64_t i, pfc_bound_row *r)
{
    const double *l = s->l.v + i * s->c, *el = s->l.e + i * s->c;
    double floor = -PX_INF, etop = 0, most = 0, up = 0, down = 0, top = s->top.v[i], sum = s->sum.v[i];
    bool open = false;
    for (int64_t j = 0; j < s->c; j++) {
        if (!s->sampled[j]) continue;
        open = open || el[j] == PX_INF;
        if (l[j] - el[j] > floor) floor = l[j] - el[j];
        if (el[j] > most) most = el[j];
    }
    for (int64_t j = 0; j < s->c; j++) {
        if (!s->sampled[j]) continue;
        if (l[j] + el[j] >= floor && el[j] > etop) etop = el[j];
        double p = px_exp(l[j] - top) / sum;
        if (p > 0) up += p * pfc_bound_grow(el[j]), down += p * (1 - px_exp(-el[j]));
    }
    double round = pfc_round_sum(s->precision, (double)s->count);
    *r = (pfc_bound_row){ .round = round };
    for (int64_t j = 0; j < s->c && !pfc_precision_is_f32(s->precision); j++)
        if (s->sampled[j]) pfc_bound_row_add(r, l[j] - top, el[j], sum);
    double esum = fmin(fmax(up < 0.01 ? up : px_log(1 + up), pfc_bound_shrink(down)), most) + round; /* log sum exp moves no more than its arguments */
    if (!pfc_precision_is_f32(s->precision)) esum = pfc_bound_row_sum(r);
    s->top.e[i] = pfc_bound_settle(top, open, etop);
    s->sum.e[i] = pfc_bound_settle(sum, open, sum * pfc_bound_grow(esum + etop));
    return open ? PX_INF : esum;
}

/* Relative bound of p where the logit is off by el and log of the denominator by esum. To first order p (1-p) of its own error counts and p_j of
 * the others'; large errors (a branch) are taken whole. */
static double relative(double p, double el, double esum)
{
    if (el + esum > 0.05) return pfc_bound_grow(el + esum);
    double others = esum - p * el;
    return 1.06 * ((1 - p) * el + (others > 0 ? others : 0));
}

static void softmax_row(pfc_bound_step *s, int64_t i, bool valid, double *loss, double *eloss)
{
    int64_t c = s->c, t = s->labels[i] >= 0 && s->labels[i] < c ? s->labels[i] : -1;
    const double *l = s->l.v + i * c, *el = s->l.e + i * c;
    double top = -PX_INF, sum = 0;
    for (int64_t j = 0; j < c; j++)
        if (s->sampled[j] && !(l[j] <= top) && !px_nan(top)) top = l[j];
    for (int64_t j = 0; j < c; j++)
        if (s->sampled[j]) sum += px_exp(l[j] - top);
    s->top.v[i] = top;
    s->sum.v[i] = sum;
    pfc_bound_row errors;
    double esum = row_errors(s, i, &errors);
    bool plain = pfc_precision_is_f32(s->precision) || esum == PX_INF;

    for (int64_t j = 0; j < c; j++) {
        if (!s->sampled[j]) continue;
        double p = px_exp(l[j] - top) / sum, most = p > 0.5 ? p : 1 - p, g = valid ? (p - (j == t)) / s->rows : 0;
        double odds = plain ? 0 : pfc_bound_odds(&errors, p, el[j]),
               change = plain ? p * relative(p, el[j], esum) : pfc_bound_probability(p, odds) + p * errors.round;
        if (!plain && p == 0) change = px_exp(l[j] - top + odds) / sum;
        double e = change + 4 * EPS * p + 0x1p-125;
        if (!(e <= most)) e = most; /* p stays in [0,1] */
        s->g.v[i * c + j] = g;
        s->g.e[i * c + j] = !valid ? 0 : pfc_bound_settle(g, esum == PX_INF, e / s->rows + 4 * EPS * fabs(g));
        if (j == t) s->prob.e[i] = pfc_bound_settle(p, esum == PX_INF, e);
    }
    double p = t < 0 ? 0 : px_exp(l[t] - top) / sum;
    s->prob.v[i] = p;
    if (t < 0) s->prob.e[i] = 0;
    if (!valid) return;

    double lowest = px_log(1e-30), at = t < 0 ? -PX_INF : px_log(p), e = t < 0 ? 0 : el[t] + esum > 0.05 ? el[t] + esum : relative(p, el[t], esum);
    if (!plain && t >= 0) e = pfc_bound_surprise(p, pfc_bound_odds(&errors, p, el[t])) + errors.round;
    bool lse = s->cfg.loss == PFC_LOSS_LSE;
    double row = lse ? px_log(sum) + top - l[t] : -(at < lowest ? lowest : at);
    if (!lse && px_nan(p)) row = p;
    bool clamped = !lse && at + e < lowest, flat = !lse && at - e < lowest;
    s->flat[i] = flat;
    if (clamped) e = 0;
    *loss += row;
    double round = s->precision->sound ? fmax(16 * EPS, pfc_round_sum(s->precision, s->rows)) : 16 * EPS;
    round *= 1 + fabs(row) + (lse ? fabs(top) / 8 : 0);
    *eloss += pfc_bound_settle(row, esum == PX_INF && (t >= 0 || lse), e + round);
    s->by_gradient.rest += (round + (flat ? e : errors.bend + errors.round)) / s->rows;
}

void pfc_bound_step_run(pfc_bound_step *s)
{
    bool ignore = s->cfg.unowned_label == PFC_UNOWNED_IGNORE;
    double loss = 0, eloss = 0;
    s->by_gradient = (pfc_loss_error){ 0 };
    s->count = 0;
    s->rows = 0;
    for (int64_t j = 0; j < s->c; j++) s->count += s->sampled[j];
    for (int64_t i = 0; i < s->n; i++) s->rows += !ignore || (s->labels[i] >= 0 && s->labels[i] < s->c);
    normalise(s);
    for (int64_t i = 0; i < s->n; i++) {
        for (int64_t j = 0; j < s->c; j++) {
            int64_t ij = i * s->c + j;
            s->z.v[ij] = s->l.v[ij] = s->slope.v[ij] = s->g.v[ij] = PX_NAN;
            s->z.e[ij] = s->l.e[ij] = s->slope.e[ij] = s->g.e[ij] = 0;
            if (!s->sampled[j]) continue;
            cosine(s, i, j);
            head_pair(s, i, j);
        }
        softmax_row(s, i, !ignore || (s->labels[i] >= 0 && s->labels[i] < s->c), &loss, &eloss);
    }
    s->loss = s->rows > 0 ? loss / s->rows : 0;
    s->eloss = pfc_bound_settle(s->loss, eloss == PX_INF, s->rows > 0 ? eloss / s->rows : 0);
    pfc_bound_step_backward(s);
}
