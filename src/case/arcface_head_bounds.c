/* arcface_head_bounds.c: the bounds of an arcface_head case: cosines, logits, softmax and loss (doc/numerics.md section 13). */
#include "case/arcface_head_bounds.h"
#include "core/ctx.h"

#include <math.h>
#include <stdlib.h>

#define EPS PFC_BOUND_EPS

/* ---- cosines ---- */

static void normalise(const double *a, int64_t rows, int64_t d, bool wanted, double *norm, double *hat)
{
    for (int64_t i = 0; i < rows; i++) {
        double sum = 0;
        for (int64_t k = 0; k < d; k++) sum += a[i * d + k] * a[i * d + k];
        norm[i] = sqrt(sum);
        for (int64_t k = 0; k < d; k++) hat[i * d + k] = !wanted ? a[i * d + k] : a[i * d + k] / (norm[i] < 1e-12 ? 1e-12 : norm[i]);
    }
}

/* A length that float32 does not have. */
static bool lost(double norm) { return px_finite(norm) && norm > 3e38; }

/* <xhat, what> + bias: rounding of operands and products (Q: sum of squared products), of the running sum, of the two norms, of the bias; and T. */
static void product(pfc_arcface_bound *s, int64_t i, int64_t row)
{
    const double *x = s->xhat + i * s->d, *w = s->what + row * s->d;
    double d = (double)s->d, z = 0, q = 0, sizes = 0, xmax = 0, wmax = 0;
    for (int64_t k = 0; k < s->d; k++) {
        double t = x[k] * w[k];
        z += t;
        q += t * t;
        sizes += fabs(t);
        if (fabs(x[k]) > xmax) xmax = fabs(x[k]);
        if (fabs(w[k]) > wmax) wmax = fabs(w[k]);
    }
    double e = 6 * EPS * (sqrt(2 * q / 3) + sqrt(d * q) + fabs(z)) + 1.5 * EPS * sqrt(d / 6) * fabs(z);
    if (s->precision->sound) e = fmax(e, pfc_round_sum(s->precision, d) * (sizes + fabs(z)));
    e += pfc_operands_product(s->precision, &s->of_x, i, &s->of_w, row, z, q, sizes, &s->random[i * s->c * s->k + row]);
    e += pfc_bound_grid(s->d, xmax * wmax);
    if (s->in->bias) {
        double b = s->in->bias[row];
        z += b;
        e += EPS * (fabs(z) + fabs(b)) + pfc_round_number(s->precision, b) + pfc_round_number(s->precision, z);
    }
    s->z.v[i * s->c * s->k + row] = z;
    bool open = (s->in->cfg.feature_norm && lost(s->xnorm[i])) || (s->in->cfg.weight_norm && lost(s->wnorm[row]));
    s->z.e[i * s->c * s->k + row] = pfc_arcface_settle(z, open, e);
}

bool pfc_arcface_bound_may_win(const pfc_arcface_bound *s, int64_t i, int64_t c, int64_t j)
{
    const double *z = s->z.v + (i * s->c + c) * s->k, *e = s->z.e + (i * s->c + c) * s->k;
    int64_t won = s->winner[i * s->c + c];
    if (j == won) return true;
    if (px_nan(z[won])) return false;
    return z[j] + e[j] >= z[won] - e[won] || e[j] == PX_INF || e[won] == PX_INF;
}

static void best(pfc_arcface_bound *s, int64_t i, int64_t c)
{
    const double *z = s->z.v + (i * s->c + c) * s->k, *e = s->z.e + (i * s->c + c) * s->k;
    int64_t at = i * s->c + c, won = 0;
    double most = 0;
    bool alone = true;
    for (int64_t j = 1; j < s->k; j++)
        if (z[j] > z[won] || (px_nan(z[j]) && !px_nan(z[won]))) won = j;
    s->winner[at] = won;
    for (int64_t j = 0; j < s->k; j++) {
        if (!pfc_arcface_bound_may_win(s, i, c, j)) continue;
        if (j != won) alone = false;
        if (e[j] > most) most = e[j];
    }
    s->subcenter.e[at] = alone ? 0 : PX_INF;
    s->cosine.v[at] = z[won];
    s->cosine.e[at] = pfc_arcface_settle(z[won], most == PX_INF, most);
}

/* ---- logits ---- */

typedef struct point {
    double l, slope;
} point;

/* The head at z (exact-v1 8.3). */
static point head(const pfc_arcface_config *o, double m, double z, bool target)
{
    double sine, cosine, inside = 1;
    if (o->cos_clamp) {
        inside = z >= -1 && z <= 1;
        z = z < -1 ? -1 : z > 1 ? 1 : z;
    }
    px_sincos(m, &sine, &cosine);
    bool angular = o->easy_margin ? z > 0 : z > -cosine;
    double q = sqrt((1 - z) * (1 + z));
    point at = { z * cosine - q * sine, cosine + z * sine / q };
    if (!angular) at = (point){ o->easy_margin ? z : z - m * sine, 1 };
    if (o->cos_clamp && angular && (z == 1 || z == -1)) at.slope = 0;
    bool poisoned = px_nan(at.l) || !px_finite(z);
    if (!target) at = (point){ z, 1 };
    if (!o->cos_clamp && poisoned) at.l = PX_NAN;
    if (!o->cos_clamp && (!(z > -1 && z < 1) || px_nan(m))) at.slope = PX_NAN;
    return (point){ o->scale * at.l, o->scale * at.slope * inside };
}

/* Largest change of the head over [z - e, z + e], by its ends: the other side of a branch is seen there. Where e is large, also by the two sides of the
 * jump. */
static void logit(pfc_arcface_bound *s, int64_t i, int64_t c)
{
    const pfc_arcface_config *o = &s->in->cfg;
    int64_t at = i * s->c + c;
    bool target = !s->in->eval && s->in->labels[i] == c;
    double m = s->in->margins ? s->in->margins[c] : o->margin, z = s->cosine.v[at], e = s->cosine.e[at] + 2 * EPS, scale = fabs(o->scale);
    bool open = s->cosine.e[at] == PX_INF, edge = !(fabs(fabs(z) - 1) > e) && px_finite(z), clamp = o->cos_clamp != 0;
    double clamped = clamp ? fmin(fmax(z, -1), 1) : z;
    point p = s->in->eval ? (point){ o->scale * clamped, o->scale } : head(o, m, z, target), low = p, high = p;
    if (!s->in->eval) low = head(o, m, z - e, target), high = head(o, m, z + e, target);
    double el = s->in->eval ? scale * e : fmax(fabs(low.l - p.l), fabs(high.l - p.l)), es = fmax(fabs(low.slope - p.slope), fabs(high.slope - p.slope));
    double sine, cosine;
    px_sincos(m, &sine, &cosine);
    double random = s->random[i * s->c * s->k + c * s->k + s->winner[at]], bend = fmax(fabs(low.l - p.l + p.slope * e), fabs(high.l - p.l - p.slope * e));
    double b = pfc_precision_is_f32(s->precision) || !target ? PX_NAN : o->easy_margin ? 0 : -cosine;
    for (int side = -1; side < 2 && fabs(z - b) <= e; side += 2) {
        point at_b = head(o, m, b + side * 0x1p-50, true);
        el = fmax(el, fabs(at_b.l - p.l));
        es = fmax(es, fabs(at_b.slope - p.slope));
        bend = fmax(bend, fabs(at_b.l - p.l - p.slope * (b - z)));
    }
    double own = (target ? 4 : 2) * EPS * scale * (target ? 1 + fabs(m) + fabs(z) : fabs(z)) + 2 * EPS * fabs(p.l);
    el += own;
    s->rest[at] = bend + fabs(p.slope) * (e - random) + own;
    if (s->subcenter.e[at] > 0) s->rest[at] = el + fabs(p.slope) * random; /* another sub-center's rounding */
    es += 4 * EPS * fabs(p.slope);
    if (target) es += 2 * EPS / fabs((1 - z) * (1 + z)) * fabs(p.slope); /* sin(acos z)/sqrt(1 - z^2) as a port may compute it */
    if (edge && !s->in->eval && !clamp) es = PX_INF;
    if (edge && !s->in->eval && !clamp && z > 0) el = PX_INF; /* a number or not */
    if (edge && clamp && !s->in->eval) es = target ? PX_INF : scale;
    s->l.v[at] = p.l;
    s->slope.v[at] = p.slope;
    s->l.e[at] = pfc_arcface_settle(p.l, open || el == PX_INF, el);
    s->slope.e[at] = pfc_arcface_settle(p.slope, open || es == PX_INF, es);
}

/* ---- softmax ---- */

typedef struct row {
    double top, sum, elog; /* elog: bound of log sum exp; +inf: undecided */
    double total, etotal;  /* sum of the aims */
    pfc_bound_row errors;
} row;

static double aim(const pfc_arcface_bound *s, int64_t i, int64_t c)
{
    double t = s->in->soft_targets ? s->in->soft_targets[i * s->c + c] : s->in->labels[i] == c;
    return t * (s->in->class_weight ? s->in->class_weight[c] : 1);
}

static row statistics(const pfc_arcface_bound *s, int64_t i)
{
    const double *l = s->l.v + i * s->c, *el = s->l.e + i * s->c;
    row r = { .top = -PX_INF };
    double up = 0, down = 0, most = 0, sum_aims = 0;
    bool open = false;
    for (int64_t c = 0; c < s->c; c++)
        if (!(l[c] <= r.top) && !px_nan(r.top)) r.top = l[c];
    for (int64_t c = 0; c < s->c; c++) r.sum += px_exp(l[c] - r.top);
    for (int64_t c = 0; c < s->c; c++) {
        double p = px_exp(l[c] - r.top) / r.sum;
        open = open || el[c] == PX_INF;
        if (el[c] > most) most = el[c];
        if (p > 0) up += p * pfc_bound_grow(el[c]), down += p * (1 - px_exp(-el[c]));
        r.total += aim(s, i, c);
        sum_aims += fabs(aim(s, i, c));
    }
    double round = pfc_round_sum(s->precision, (double)s->c);
    r.errors = (pfc_bound_row){ .round = round };
    for (int64_t c = 0; c < s->c && !pfc_precision_is_f32(s->precision); c++) pfc_bound_row_add(&r.errors, l[c] - r.top, el[c], r.sum);
    r.elog = open ? PX_INF : fmin(fmax(up < 0.01 ? up : px_log(1 + up), pfc_bound_shrink(down)), most) + round;
    if (!pfc_precision_is_f32(s->precision) && !open) r.elog = pfc_bound_row_sum(&r.errors);
    r.etotal = round * sum_aims;
    return r;
}

/* Relative bound of p (as numerics.md section 4). */
static double relative(double p, double el, double elog)
{
    if (el + elog > 0.05) return pfc_bound_grow(el + elog);
    double others = elog - p * el;
    return 1.06 * ((1 - p) * el + (others > 0 ? others : 0));
}

/* p, h = (T p - q) w/N dl/dcos, and what the row adds to the loss. */
static void softmax_row(pfc_arcface_bound *s, int64_t i, double *loss, double *eloss)
{
    double factor = s->in->cfg.loss_weight / (double)s->n, first = 0, whole = 0, size = 0, part = 0, most = 0;
    row r = statistics(s, i);
    bool plain = pfc_precision_is_f32(s->precision) || r.elog == PX_INF;
    for (int64_t c = 0; c < s->c; c++) {
        int64_t at = i * s->c + c;
        double p = px_exp(s->l.v[at] - r.top) / r.sum, q = aim(s, i, c), el = s->l.e[at], surprise = px_log(r.sum) - (s->l.v[at] - r.top);
        double odds = plain ? 0 : pfc_bound_odds(&r.errors, p, el),
               change = plain ? p * relative(p, el, r.elog) : pfc_bound_probability(p, odds) + p * r.errors.round;
        if (!plain && p == 0) change = px_exp(s->l.v[at] - r.top + odds) / r.sum;
        double most_p = p > 0.5 ? p : 1 - p, ep = change + 4 * EPS * p + 0x1p-125;
        if (!(ep <= most_p)) ep = most_p;
        double g = (r.total * p - q) * factor;
        double eg = fabs(factor) * (fabs(r.total) * ep + r.etotal * p + 2 * EPS * (fabs(r.total) * p + fabs(q))) + 4 * EPS * fabs(g);
        double d = s->slope.v[at], ed = s->slope.e[at];
        s->p.v[at] = p;
        s->p.e[at] = pfc_arcface_settle(p, r.elog == PX_INF, ep);
        s->h.v[at] = g * d;
        s->h.e[at] = pfc_arcface_settle(g * d, r.elog == PX_INF || ed == PX_INF, eg * fabs(d) + (fabs(g) + eg) * ed);
        int64_t won = c * s->k + s->winner[at], iw = i * s->c * s->k + won;
        double z = s->z.v[iw] - (s->in->bias ? s->in->bias[won] : 0);
        if (g != 0) pfc_loss_error_product(&s->by_gradient, g, g * d, z, s->random[iw], s->rest[at], false);
        if (!s->in->soft_targets && s->in->labels[i] == c) part += q * surprise;
        if (s->in->soft_targets) part += q * surprise;
        if (el > most) most = el;
        first += fabs(r.total * p - q) * el;
        whole += q == 0 ? 0 : fabs(q) * (plain ? el + r.elog : pfc_bound_surprise(p, odds) + r.errors.round);
        size += q != 0 ? fabs(q) * (1 + fabs(surprise)) : 0;
    }
    double round = r.errors.round, e = most + r.elog > 0.05 ? whole : 1.06 * first + fabs(r.total) * round;
    if (!plain) e = fmin(whole, first + fabs(r.total) * (r.errors.bend + round));
    size *= s->precision->sound ? fmax(16 * EPS, pfc_round_sum(s->precision, (double)(s->n + s->c))) : 16 * EPS;
    e += size;
    s->by_gradient.rest += fabs(factor) * (fabs(r.total) * (r.errors.bend + round) + size);
    *loss += factor * part;
    *eloss += pfc_arcface_settle(part, r.elog == PX_INF, fabs(factor) * e);
}

/* From the inputs to l, and without eval to everything else. */
static void bound_run(pfc_arcface_bound *s)
{
    normalise(s->in->x, s->n, s->d, s->in->cfg.feature_norm, s->xnorm, s->xhat);
    normalise(s->in->weight, s->c * s->k, s->d, s->in->cfg.weight_norm, s->wnorm, s->what);
    pfc_operands_look(&s->of_x, s->precision, true);
    pfc_operands_look(&s->of_w, s->precision, true);
    double loss = 0, eloss = 0;
    for (int64_t i = 0; i < s->n; i++) {
        for (int64_t j = 0; j < s->c * s->k; j++) product(s, i, j);
        for (int64_t c = 0; c < s->c; c++) {
            best(s, i, c);
            logit(s, i, c);
        }
        if (!s->in->eval) softmax_row(s, i, &loss, &eloss);
    }
    s->loss = loss;
    s->eloss = pfc_arcface_settle(loss, eloss == PX_INF, eloss + 4 * EPS * fabs(loss));
    if (s->in->eval) return;
    pfc_arcface_bound_backward(s);
    double by_gradient = pfc_loss_error_all(&s->by_gradient, s->precision) + 4 * EPS * fabs(loss);
    if (s->precision->u > 0 && !s->precision->sound && by_gradient < s->eloss) s->eloss = by_gradient;
}

/* ---- the hook ---- */

static void put_all(const pfc_arcface_bound *s, pfc_case *c)
{
    int64_t nc = s->n * s->c, rows = s->c * s->k;
    pfc_bound_put(&c->bound_out, "logits", s->l.e, 0, nc);
    pfc_bound_put(&c->bound_out, "subcenter", s->subcenter.e, 0, nc);
    pfc_bound_put(&c->bound_out, "loss", &s->eloss, 0, 1);
    pfc_bound_put(&c->bound_out, "x_grad", s->xg.e, 0, s->n * s->d);
    pfc_bound_put(&c->bound_out, "weight_grad", s->wg.e, 0, rows * s->d);
    pfc_bound_put(&c->bound_out, "bias_grad", s->bg.e, 0, rows);
    pfc_bound_put(&c->bound_step, "cosine", s->cosine.e, 0, nc);
    pfc_bound_put(&c->bound_step, "prob", s->p.e, 0, nc);
}

int pfc_arcface_bounds(pfc_ctx *ctx, pfc_case *c, const pfc_precision *precision, pfc_diag *diag)
{
    MPI_Comm comm = ctx->comm.mpi;
    pfc_dense_arcface *in;
    pfc_arcface_bound s = { 0 };
    if (pfc_bounds_begin(comm, c, diag)) return diag->exit_status;
    const pfc_tensor *sub = pfc_tensor_find(&c->out, "subcenter"); /* an integer with bounds: 0, or +inf where nearly equal sub-centers compete */
    if (!pfc_tensor_add(comm, &c->bound_out, "subcenter", PFC_F64, 2, sub->dims, PFC_DIST_NONE, 0))
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "bounds: out of memory");
    if (pfc_diag_agree(comm, diag) || pfc_arcface_case_dense(comm, c, &in, diag)) return diag->exit_status;
    if (in && !pfc_arcface_bound_new(&s, in, precision)) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "bounds: out of memory");
    if (in && !diag->exit_status) {
        bound_run(&s);
        put_all(&s, c);
    }
    pfc_arcface_bound_free(&s);
    pfc_arcface_case_dense_free(in);
    return pfc_bounds_share(comm, c, diag);
}
