/* partial_fc_dense.c: class-sharded softmax layer, written as one dense layer (semantics.md section 2). */
#include "dense/dense.h"

#include <math.h>
#include <stdlib.h>

/* A maximum that a NaN wins, unlike fmax. */
static double max_nan(double a, double b)
{
    if (isnan(a)) return a;
    return a >= b ? a : b; /* b NaN: the comparison is false */
}

static double dot(const double *a, const double *b, int64_t n)
{
    double sum = 0;
    for (int64_t k = 0; k < n; k++) sum += a[k] * b[k];
    return sum;
}

static bool owned(const pfc_dense_partial_fc *p, int64_t label) { return label >= 0 && label < p->c; }

/* ---- forward ---- */

/* hat = a / max(|a|, 1e-12), row by row (1.1); linear: hat = a. */
static void normalise(const double *a, int64_t rows, int64_t d, bool linear, double *norm, double *hat)
{
    for (int64_t i = 0; i < rows; i++) {
        norm[i] = sqrt(dot(a + i * d, a + i * d, d));
        for (int64_t k = 0; k < d; k++) hat[i * d + k] = linear ? a[i * d + k] : a[i * d + k] / max_nan(norm[i], 1e-12);
    }
}

/* The angular head: phi(theta) with z = cos theta, and dphi/dz. z outside [-1,1] has no angle: NaN. */
static void arc(const pfc_partial_fc_config *cfg, double z, bool target, double *phi, double *slope)
{
    double m = cfg->margin, theta = acos(z), sine = sin(theta);
    bool margin = target;
    if (target && cfg->arc_fallback == PFC_FALLBACK_LINEAR && z <= -cos(m)) margin = false; /* theta + m >= pi */
    if (target && cfg->arc_fallback == PFC_FALLBACK_EASY && !(z > 0)) margin = false;

    *slope = 1; /* cos(acos z) = z */
    if (margin) {
        *phi = cos(theta + m);
        if (cfg->arc_gradient == PFC_ARC_EXACT) *slope = sin(theta + m) / sine;
    } else if (target && cfg->arc_fallback == PFC_FALLBACK_LINEAR) {
        *phi = z - m * sin(m);
    } else {
        *phi = z;
    }
    if (isnan(theta)) *phi = NAN;
    /* The derivative of acos is infinite at the poles: the source multiplies it by 0; with the clamp the direction counts as none (A.2). */
    if (fabs(z) == 1 && cfg->arc_gradient == PFC_ARC_EXACT) {
        if (!cfg->cos_clamp)
            *slope = NAN;
        else if (margin)
            *slope = 0;
    }
}

/* l and dl/dz of one element (2.5, 3.5). The circle's factors are constants for the derivative. */
void pfc_dense_partial_fc_head(const pfc_partial_fc_config *cfg, double z, bool target, double *logit, double *slope)
{
    double s = cfg->scale, m = cfg->margin;
    bool inside = true; /* a clamp passes the gradient where -1 <= z <= 1 */
    if (cfg->cos_clamp) {
        inside = !(z < -1 || z > 1);
        z = z < -1 ? -1 : z > 1 ? 1 : z;
    }
    if (cfg->interclass_threshold > 0 && !target && z > cfg->interclass_threshold) {
        *logit = *slope = 0;
        return;
    }
    double f = z, df = 1;
    if (cfg->head == PFC_HEAD_COS && target) f = z - m;
    if (cfg->head == PFC_HEAD_ARC) arc(cfg, z, target, &f, &df);
    if (cfg->head == PFC_HEAD_CIRCLE) {
        df = target ? max_nan(1 + m - z, 0) : max_nan(z + m, 0);
        f = df * (target ? z - (1 - m) : z - m);
    }
    *logit = s * f;
    *slope = inside ? s * df : 0;
}

static bool dropped(const pfc_dense_partial_fc *p, int64_t label) { return p->cfg.unowned_label == PFC_UNOWNED_IGNORE && !owned(p, label); }

/* A dropped row takes no part, not even with a NaN. */
static void drop_rows(pfc_dense_partial_fc *p, const int64_t *labels)
{
    for (int64_t i = 0; i < p->n; i++) {
        bool finite = true;
        for (int64_t k = 0; k < p->d; k++) finite = finite && isfinite(p->xhat[i * p->d + k]);
        if (!dropped(p, labels[i]) || finite) continue;
        p->xnorm[i] = 0;
        for (int64_t k = 0; k < p->d; k++) p->xhat[i * p->d + k] = 0;
    }
}

static void forward(pfc_dense_partial_fc *p, const double *x, const int64_t *labels)
{
    int64_t n = p->n, d = p->d, c = p->c;
    bool linear = p->cfg.head == PFC_HEAD_LINEAR;
    normalise(x, n, d, linear, p->xnorm, p->xhat);
    drop_rows(p, labels);
    normalise(p->weight, c, d, linear, p->wnorm, p->what);
    for (int64_t i = 0; i < n; i++)
        for (int64_t j = 0; j < c; j++) {
            int64_t ij = i * c + j;
            p->cosine[ij] = p->logits[ij] = p->slope[ij] = NAN;
            if (!p->sampled[j]) continue;
            p->cosine[ij] = dot(p->xhat + i * d, p->what + j * d, d);
            pfc_dense_partial_fc_head(&p->cfg, p->cosine[ij], labels[i] == j, &p->logits[ij], &p->slope[ij]);
        }
}

/* Softmax over the sampled classes, loss, and G = dloss/dlogits (2.6, A.1). */
static void softmax(pfc_dense_partial_fc *p, const int64_t *labels)
{
    int64_t c = p->c, count = 0;
    double total = 0;
    for (int64_t i = 0; i < p->n; i++) count += !dropped(p, labels[i]);

    for (int64_t i = 0; i < p->n; i++) {
        const double *l = p->logits + i * c;
        bool mine = owned(p, labels[i]), valid = !dropped(p, labels[i]);
        double top = -INFINITY, sum = 0;
        for (int64_t j = 0; j < c; j++)
            if (p->sampled[j]) top = max_nan(top, l[j]);
        for (int64_t j = 0; j < c; j++)
            if (p->sampled[j]) sum += exp(l[j] - top);
        p->row_max[i] = top;
        p->row_sum[i] = sum;
        p->prob_target[i] = mine ? exp(l[labels[i]] - top) / sum : 0;

        if (valid && p->cfg.loss == PFC_LOSS_CLAMP) total += -log(max_nan(p->prob_target[i], 1e-30));
        if (valid && p->cfg.loss == PFC_LOSS_LSE) total += log(sum) + top - l[labels[i]];
        for (int64_t j = 0; j < c; j++) {
            double onehot = j == labels[i];
            p->dlogits[i * c + j] = !p->sampled[j] ? NAN : !valid ? 0 : (exp(l[j] - top) / sum - onehot) / (double)count;
            if (!valid) p->slope[i * c + j] = 0; /* dropped, poles and all */
        }
    }
    p->loss = count ? total / (double)count : 0;
}

/* ---- backward ---- */

/* Gradient of a from that of its direction: J^T g with J = (1 - hat hat^T)/|a|; below the clamp the division is by the constant 1e-12 (1.1). */
static void unnormalise(const double *g, const double *hat, double norm, int64_t d, double *out)
{
    double along = dot(g, hat, d);
    for (int64_t k = 0; k < d; k++) out[k] = norm < 1e-12 ? g[k] / 1e-12 : (g[k] - hat[k] * along) / norm;
}

/* rows x cols: out_i = sum_j H_ij other_j, then through the normalisation of row i. H is read with the given strides. */
static void gradient(const pfc_dense_partial_fc *p, int64_t i, int64_t count, int64_t row_stride, int64_t col_stride, const double *other, const double *hat,
                     double norm, double *out)
{
    int64_t d = p->d;
    double *g = out;
    for (int64_t k = 0; k < d; k++) g[k] = 0;
    for (int64_t j = 0; j < count; j++) {
        int64_t ij = i * row_stride + j * col_stride;
        if (!p->sampled[ij % p->c]) continue;
        double h = p->dlogits[ij] * p->slope[ij];
        for (int64_t k = 0; k < d; k++) g[k] += h * other[j * d + k];
    }
    if (p->cfg.head != PFC_HEAD_LINEAR) unnormalise(g, hat, norm, d, out);
}

/* dX = (G*slope) What and dW = (G*slope)^T Xhat (2.7). */
static void backward(pfc_dense_partial_fc *p, const int64_t *labels)
{
    int64_t n = p->n, d = p->d, c = p->c;
    double scale = isnan(p->cfg.xgrad_scale) ? (double)p->ranks : p->cfg.xgrad_scale;
    for (int64_t i = 0; i < n; i++) gradient(p, i, c, c, 1, p->what, p->xhat + i * d, p->xnorm[i], p->x_grad + i * d);
    for (int64_t i = 0; i < n * d; i++) p->x_grad[i] = dropped(p, labels[i / d]) ? 0 : p->x_grad[i] * scale;
    for (int64_t j = 0; j < c; j++) {
        for (int64_t k = 0; k < d; k++) p->weight_grad[j * d + k] = 0;
        if (p->sampled[j]) gradient(p, j, n, 1, c, p->xhat, p->what + j * d, p->wnorm[j], p->weight_grad + j * d);
    }
}

/* SGD with momentum (1.7). lazy: only sampled rows, the others do not even decay (2.8); dense: all rows (3.4). */
static void update(pfc_dense_partial_fc *p)
{
    const pfc_partial_fc_config *o = &p->cfg;
    for (int64_t j = 0; j < p->c; j++) {
        if (!p->sampled[j] && o->momentum_rule == PFC_MOMENTUM_LAZY) continue;
        for (int64_t k = j * p->d; k < (j + 1) * p->d; k++) {
            double g = p->weight_grad[k];
            if (o->weight_decay != 0) g += o->weight_decay * p->weight[k];
            if (o->momentum != 0) {
                p->momentum[k] = o->momentum * p->momentum[k] + g;
                g = o->nesterov ? g + o->momentum * p->momentum[k] : p->momentum[k];
            }
            p->weight[k] -= o->lr * g;
        }
    }
}

bool pfc_dense_partial_fc_step(pfc_dense_partial_fc *p, const double *x, const int64_t *labels, const double *keys)
{
    for (int64_t i = 0; i < p->n; i++) {
        bool refuse = p->cfg.unowned_label == PFC_UNOWNED_ERROR || (p->cfg.unowned_label == PFC_UNOWNED_SOURCE && p->cfg.loss == PFC_LOSS_LSE);
        if (refuse && !owned(p, labels[i])) return false;
    }
    for (int64_t k = 0; p->steps > 0 && k < p->c * p->d; k++) {
        p->weight[k] = (double)(float)p->weight[k];
        p->momentum[k] = (double)(float)p->momentum[k];
    }
    pfc_dense_partial_fc_sample(p, labels, keys);
    forward(p, x, labels);
    softmax(p, labels);
    backward(p, labels);
    update(p);
    p->steps++;
    return true;
}
