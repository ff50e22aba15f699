/* fast_reference.c: the step of fast_step.h in double, by the formulas of doc/exact-v1.md section 3 and nothing clever. */
#include "fast_step.h"

#include <check.h>
#include <math.h>
#include <stdlib.h>

static double clipped(double v, double lo) { return v < lo ? lo : v; }

/* Logit and slope of the heads without clamp, fallback and threshold (the special cases have tests of their own); *size: the slope's terms. */
static double logit_sized(const pfc_head *h, double z, int target, double *slope, double *size)
{
    double s = h->scale, m = h->margin;
    *slope = *size = s;
    if (h->kind == PFC_HEAD_CIRCLE) {
        double reach = target ? clipped(1 + m - z, 0) : clipped(z + m, 0);
        *slope = s * reach;
        *size = s * ((target ? 1 + m : m) + fabs(z));
        return s * reach * (z - (target ? 1 - m : m));
    }
    if (!target || h->kind == PFC_HEAD_LINEAR) return s * z;
    if (h->kind == PFC_HEAD_COS) return s * (z - m);
    if (h->arc_gradient == PFC_ARC_EXACT) *slope = s * sin(acos(z) + m) / sqrt(1 - z * z), *size = fabs(*slope) + s;
    return s * cos(acos(z) + m);
}

static double logit(const pfc_head *h, double z, int target)
{
    double slope, size;
    return logit_sized(h, z, target, &slope, &size);
}

static const float *class_row(const fast_problem *p, const float *base, int64_t c) { return base + (p->gather ? p->index[c] : c) * (p->d + p->slack); }

static double norm_of(const float *v, int64_t d)
{
    double s = 0;
    for (int64_t k = 0; k < d; k++) s += (double)v[k] * v[k];
    return sqrt(s);
}

static void forward(const fast_problem *p, fast_reference *r)
{
    int64_t ld = p->d + p->slack, ldz = p->n + p->slack;
    for (int64_t i = 0; i < p->n; i++) {
        r->v[R_XNORM][i] = r->magnitude[R_XNORM][i] = norm_of(p->x + i * ld, p->d);
        r->v[R_MAX][i] = -INFINITY;
        r->v[R_TARGET][i] = NAN;
        r->magnitude[R_MAX][i] = r->magnitude[R_TARGET][i] = p->head.scale;
    }
    for (int64_t c = 0; c < p->c; c++) {
        const float *w = class_row(p, p->w, c);
        r->v[R_WNORM][c] = r->magnitude[R_WNORM][c] = norm_of(w, p->d);
        for (int64_t i = 0; i < p->n; i++) {
            double z = 0, unit = p->head.normalised ? 1 / (r->v[R_XNORM][i] * r->v[R_WNORM][c]) : 1, size = 0;
            for (int64_t k = 0; k < p->d; k++) z += (double)p->x[i * ld + k] * w[k] * unit, size += fabs((double)p->x[i * ld + k] * w[k] * unit);
            r->v[R_Z][c * ldz + i] = z;
            r->magnitude[R_Z][c * ldz + i] = size;
            double l = logit(&p->head, z, p->target[i] == c);
            if (p->target[i] == c) r->v[R_TARGET][i] = l;
            r->v[R_MAX][i] = fmax(r->v[R_MAX][i], l);
        }
    }
    for (int64_t i = 0; i < p->n; i++) {
        double t = 0;
        for (int64_t c = 0; c < p->c; c++) {
            double e = exp(logit(&p->head, r->v[R_Z][c * ldz + i], p->target[i] == c) - r->v[R_MAX][i]);
            r->v[R_SUM][i] += e, r->magnitude[R_SUM][i] += e;
            if (p->target[i] == c) t = e;
        }
        if (p->valid[i]) r->loss -= log(clipped(t / r->v[R_SUM][i], 1e-30)) / p->valid_rows;
    }
}

/* H, the dots and both gradients before the normalisation's backward. */
static void products(const fast_problem *p, fast_reference *r)
{
    int64_t ld = p->d + p->slack, ldz = p->n + p->slack;
    for (int64_t c = 0; c < p->c; c++) {
        const float *w = class_row(p, p->w, c);
        for (int64_t i = 0; i < p->n; i++) {
            double slope, terms, z = r->v[R_Z][c * ldz + i], l = logit_sized(&p->head, z, p->target[i] == c, &slope, &terms);
            double prob = exp(l - r->v[R_MAX][i]) / r->v[R_SUM][i], hot = p->target[i] == c;
            double h = p->valid[i] ? (prob - hot) / p->valid_rows * slope : 0, size = p->valid[i] ? (prob + hot) / p->valid_rows * terms : 0;
            double dw = p->head.normalised ? r->v[R_WNORM][c] : 1, dx = p->head.normalised ? r->v[R_XNORM][i] : 1;
            r->v[R_L][c * ldz + i] = l, r->magnitude[R_L][c * ldz + i] = p->head.scale * 2;
            r->v[R_G][c * ldz + i] = p->valid[i] ? (prob - hot) / p->valid_rows : 0, r->magnitude[R_G][c * ldz + i] = (prob + hot) / p->valid_rows;
            r->v[R_H][c * ldz + i] = h, r->magnitude[R_H][c * ldz + i] = size;
            r->v[R_DOT][i] += h * z, r->magnitude[R_DOT][i] += size * fabs(z);
            r->v[R_WDOT][c] += h * z, r->magnitude[R_WDOT][c] += size * fabs(z);
            for (int64_t k = 0; k < p->d; k++) {
                r->v[R_FEATURE][i * p->d + k] += h * w[k] / dw, r->magnitude[R_FEATURE][i * p->d + k] += size * fabs(w[k] / dw);
                r->v[R_DW][c * ld + k] += h * p->x[i * ld + k] / dx, r->magnitude[R_DW][c * ld + k] += size * fabs(p->x[i * ld + k] / dx);
            }
        }
    }
}

/* g = (g - u q) / norm, u the unit vector; linear: as it is. */
static void project(const fast_problem *p, const float *v, double norm, double q, double q_size, double factor, double *g, double *size)
{
    for (int64_t k = 0; k < p->d; k++) {
        double u = p->head.normalised ? v[k] / norm : 0, by = factor / (p->head.normalised ? norm : 1);
        g[k] = (g[k] - u * q) * by;
        size[k] = (size[k] + fabs(u) * q_size) * by;
    }
}

static void update(const fast_problem *p, fast_reference *r)
{
    int64_t ld = p->d + p->slack;
    for (int64_t i = 0; i < 2 * p->c * ld; i++) r->v[R_W][i] = p->w[i], r->v[R_MOMENTUM][i] = p->momentum[i];
    for (int64_t c = 0; c < p->c; c++)
        for (int64_t k = 0; k < p->d; k++) {
            int64_t at = (class_row(p, p->w, c) - p->w) + k;
            double g = r->v[R_DW][c * ld + k] + p->sgd.weight_decay * p->w[at], buf = p->sgd.momentum * p->momentum[at] + g,
                   size = r->magnitude[R_DW][c * ld + k];
            r->v[R_MOMENTUM][at] = buf;
            r->v[R_W][at] = p->w[at] - p->sgd.lr * (p->sgd.nesterov ? g + p->sgd.momentum * buf : buf);
            r->magnitude[R_MOMENTUM][at] = size + fabs(p->momentum[at]);
            r->magnitude[R_W][at] = fabs(p->w[at]) + p->sgd.lr * 2 * (size + fabs(p->momentum[at]));
        }
}

void fast_reference_step(const fast_problem *p, fast_reference *r)
{
    int64_t ld = p->d + p->slack;
    r->loss = 0;
    for (int i = 0; i < R_COUNT; i++) {
        int64_t count = fast_result_size(p, i);
        r->v[i] = calloc((size_t)count + 1, sizeof(double));
        r->magnitude[i] = calloc((size_t)count + 1, sizeof(double));
        ck_assert_ptr_nonnull(r->v[i]);
        ck_assert_ptr_nonnull(r->magnitude[i]);
    }
    forward(p, r);
    products(p, r);
    for (int64_t c = 0; c < p->c; c++)
        project(p, class_row(p, p->w, c), r->v[R_WNORM][c], r->v[R_WDOT][c], r->magnitude[R_WDOT][c], 1, r->v[R_DW] + c * ld, r->magnitude[R_DW] + c * ld);
    for (int64_t i = 0; i < p->n; i++) {
        for (int64_t k = 0; k < p->d; k++) {
            r->v[R_XGRAD][i * ld + k] = r->v[R_FEATURE][i * p->d + k];
            r->magnitude[R_XGRAD][i * ld + k] = r->magnitude[R_FEATURE][i * p->d + k];
        }
        project(p, p->x + i * ld, r->v[R_XNORM][i], r->v[R_DOT][i], r->magnitude[R_DOT][i], 2, r->v[R_XGRAD] + i * ld, r->magnitude[R_XGRAD] + i * ld);
    }
    update(p, r);
}

void fast_reference_free(fast_reference *r)
{
    for (int i = 0; i < R_COUNT; i++) {
        free(r->v[i]);
        free(r->magnitude[i]);
    }
}
