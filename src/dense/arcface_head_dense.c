/* arcface_head_dense.c: sub-center ArcFace, written as one dense layer (semantics.md section 8). */
#include "dense/arcface_head_dense.h"

#include <math.h>
#include <stdlib.h>

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++) sum += a[k] * b[k];
    return sum;
}

/* ---- forward ---- */

/* hat = a / max(|a|, 1e-12), row by row (1.1), or a itself. */
static void normalise(const double *a, int64_t rows, int64_t d, bool wanted, double *norm, double *hat)
{
    for (int64_t i = 0; i < rows; i++) {
        norm[i] = sqrt(dot(a + i * d, a + i * d, d));
        for (int64_t k = 0; k < d; k++) hat[i * d + k] = !wanted ? a[i * d + k] : a[i * d + k] / (norm[i] < 1e-12 ? 1e-12 : norm[i]);
    }
}

/* 8.2: the best sub-center, the first of equal ones; a NaN is the best. */
static void cosines(pfc_dense_arcface *p)
{
    int64_t c = p->cfg.num_classes, k = p->cfg.num_subcenters, d = p->cfg.embedding_size;
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t j = 0; j < c; j++) {
            double best = -INFINITY;
            int64_t winner = -1;
            for (int64_t s = 0; s < k; s++) {
                double z = dot(p->xhat + i * d, p->what + (j * k + s) * d, d) + (p->bias ? p->bias[j * k + s] : 0);
                if (winner >= 0 && !(z > best) && !(isnan(z) && !isnan(best))) continue;
                best = z;
                winner = s;
            }
            p->cosine[i * c + j] = best;
            p->subcenter[i * c + j] = winner;
        }
}

/* 8.3, 8.4. The source evaluates the margin's branch at every class and mixes it in with 0 or 1, so that its NaN comes through; the derivative of acos
 * is -inf at +-1 and NaN beyond, and comes through multiplied by 0 likewise. */
void pfc_dense_arcface_phi(const pfc_arcface_config *cfg, double margin, double z, bool target, double *phi, double *slope)
{
    bool set = cfg->margin_constants == PFC_MARGIN_SET, inside = true;
    double threshold = set ? -cos(margin) : cos(M_PI - margin), fallback = set ? sin(margin) * margin : sin(M_PI - margin) * margin;
    if (cfg->cos_clamp) {
        inside = z >= -1 && z <= 1;
        z = z < -1 ? -1 : z > 1 ? 1 : z;
    }
    bool angular = cfg->easy_margin ? z > 0 : z > threshold;
    double theta = acos(z), at = angular ? cos(theta + margin) : cfg->easy_margin ? z : z - fallback;
    double rise = angular ? sin(theta + margin) / sin(theta) : 1;
    if (cfg->cos_clamp && angular && fabs(z) == 1) rise = 0; /* no direction there (A.2) */
    if (cfg->cos_clamp) {
        *phi = target ? at : z;
        *slope = inside ? (target ? rise : 1) : 0;
        return;
    }
    *phi = target ? at + 0 * z : 0 * at + z;
    *slope = fabs(z) < 1 && !isnan(margin) ? (target ? rise : 1) : NAN;
}

static void logits(pfc_dense_arcface *p)
{
    int64_t c = p->cfg.num_classes;
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t j = 0; j < c; j++) {
            double z = p->cosine[i * c + j], f, df = 1;
            if (p->eval)
                f = !p->cfg.cos_clamp ? z : z < -1 ? -1 : z > 1 ? 1 : z;
            else
                pfc_dense_arcface_phi(&p->cfg, p->margins ? p->margins[j] : p->cfg.margin, z, p->labels[i] == j, &f, &df);
            p->logits[i * c + j] = p->cfg.scale * f;
            p->slope[i * c + j] = p->cfg.scale * df;
        }
}

/* ---- loss and backward ---- */

/* cw_c t_ic of 8.5. */
static double aim(const pfc_dense_arcface *p, int64_t i, int64_t j)
{
    double t = p->soft_targets ? p->soft_targets[i * p->cfg.num_classes + j] : p->labels[i] == j;
    return t * (p->class_weight ? p->class_weight[j] : 1);
}

/* Probabilities, loss, and dloss/dlogits in the place of slope: multiplied by it (8.5, 1.6). */
static void softmax(pfc_dense_arcface *p)
{
    int64_t c = p->cfg.num_classes;
    double factor = p->cfg.loss_weight / (double)p->n, sum_loss = 0;
    for (int64_t i = 0; i < p->n; i++) {
        const double *l = p->logits + i * c;
        double top = l[0], sum = 0, total = 0;
        for (int64_t j = 0; j < c; j++)
            if (l[j] > top || isnan(l[j])) top = l[j];
        for (int64_t j = 0; j < c; j++) sum += exp(l[j] - top);
        for (int64_t j = 0; j < c; j++) {
            bool part = p->soft_targets || p->labels[i] == j;
            p->prob[i * c + j] = exp(l[j] - top) / sum;
            total += aim(p, i, j);
            if (part) sum_loss += aim(p, i, j) * (log(sum) - (l[j] - top));
        }
        for (int64_t j = 0; j < c; j++) p->slope[i * c + j] *= factor * (total * p->prob[i * c + j] - aim(p, i, j));
    }
    p->loss = factor * sum_loss;
}

/* Gradient of a from that of its direction (1.1), in place. */
static void unnormalise(double *g, const double *hat, double norm, int64_t d)
{
    double along = dot(g, hat, d);
    for (int64_t k = 0; k < d; k++) g[k] = norm < 1e-12 ? g[k] / 1e-12 : (g[k] - hat[k] * along) / norm;
}

static void backward(pfc_dense_arcface *p)
{
    int64_t c = p->cfg.num_classes, k = p->cfg.num_subcenters, d = p->cfg.embedding_size;
    for (int64_t i = 0; i < p->n * d; i++) p->x_grad[i] = 0;
    for (int64_t i = 0; i < c * k * d; i++) p->weight_grad[i] = 0;
    for (int64_t i = 0; i < c * k; i++) p->bias_grad[i] = 0;
    for (int64_t i = 0; i < p->n; i++)
        for (int64_t j = 0; j < c; j++) {
            int64_t row = j * k + p->subcenter[i * c + j];
            double h = p->slope[i * c + j];
            for (int64_t a = 0; a < d; a++) {
                p->x_grad[i * d + a] += h * p->what[row * d + a];
                p->weight_grad[row * d + a] += h * p->xhat[i * d + a];
            }
            p->bias_grad[row] += h;
        }
    for (int64_t i = 0; p->cfg.feature_norm && i < p->n; i++) unnormalise(p->x_grad + i * d, p->xhat + i * d, p->xnorm[i], d);
    for (int64_t r = 0; p->cfg.weight_norm && r < c * k; r++) unnormalise(p->weight_grad + r * d, p->what + r * d, p->wnorm[r], d);
}

void pfc_dense_arcface_run(pfc_dense_arcface *p)
{
    int64_t rows = p->cfg.num_classes * p->cfg.num_subcenters, d = p->cfg.embedding_size;
    normalise(p->x, p->n, d, p->cfg.feature_norm, p->xnorm, p->xhat);
    normalise(p->weight, rows, d, p->cfg.weight_norm, p->wnorm, p->what);
    cosines(p);
    logits(p);
    if (p->eval) return;
    softmax(p);
    backward(p);
}

/* ---- memory ---- */

enum { ARRAYS = 11 };

static void arrays(pfc_dense_arcface *p, double **all[ARRAYS], int64_t size[ARRAYS])
{
    int64_t n = p->n, c = p->cfg.num_classes, rows = c * p->cfg.num_subcenters, d = p->cfg.embedding_size;
    double **list[ARRAYS] = {
        &p->xhat, &p->what, &p->xnorm, &p->wnorm, &p->cosine, &p->logits, &p->slope, &p->prob, &p->x_grad, &p->weight_grad, &p->bias_grad
    };
    int64_t sizes[ARRAYS] = { n * d, rows * d, n, rows, n * c, n * c, n * c, n * c, n * d, rows * d, rows };
    for (int i = 0; i < ARRAYS; i++) {
        all[i] = list[i];
        size[i] = sizes[i];
    }
}

pfc_dense_arcface *pfc_dense_arcface_new(const pfc_arcface_config *cfg, int64_t rows)
{
    pfc_dense_arcface *p = calloc(1, sizeof *p);
    if (!p) return NULL;
    p->cfg = *cfg;
    p->n = rows;
    double **all[ARRAYS];
    int64_t size[ARRAYS];
    arrays(p, all, size);
    p->subcenter = calloc((size_t)(rows * cfg->num_classes) + 1, sizeof *p->subcenter);
    bool ok = p->subcenter != NULL;
    for (int i = 0; i < ARRAYS; i++) ok = (*all[i] = calloc((size_t)size[i] + 1, sizeof(double))) && ok;
    if (ok) return p;
    pfc_dense_arcface_free(p);
    return NULL;
}

void pfc_dense_arcface_free(pfc_dense_arcface *p)
{
    if (!p) return;
    double **all[ARRAYS];
    int64_t size[ARRAYS];
    arrays(p, all, size);
    for (int i = 0; i < ARRAYS; i++) free(*all[i]);
    free(p->subcenter);
    free(p);
}

/* ---- 8.6 ---- */

void pfc_dense_adaptive_margins(const pfc_adaptive_margins_config *cfg, const int64_t *counts, int64_t classes, double *margins)
{
    double least = INFINITY, most = -INFINITY;
    for (int64_t c = 0; c < classes; c++) {
        margins[c] = pow(counts[c] > 1 ? (double)counts[c] : 1, cfg->power);
        least = fmin(least, margins[c]);
        most = fmax(most, margins[c]);
    }
    for (int64_t c = 0; c < classes; c++) {
        bool flat = most == least && cfg->equal_counts == PFC_EQUAL_MIN;
        margins[c] = flat ? cfg->margin_min : (margins[c] - least) / (most - least) * (cfg->margin_max - cfg->margin_min) + cfg->margin_min;
    }
}
