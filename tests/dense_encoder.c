/* dense_encoder.c: see dense_encoder.h. Batch norm is that of src/dense. */
#include "dense_encoder.h"

#include "dense/batch_norm_dense.h"

#include <string.h>

void dense_encoder_open(dense_encoder *e, const pfc_encoder_config *cfg, int ranks)
{
    memset(e, 0, sizeof *e);
    e->cfg = *cfg;
    e->ranks = ranks;
    for (int64_t l = 0; l < cfg->layers; l++) {
        dense_statistics *s = &e->statistics[l];
        for (size_t i = 0; i < sizeof s->var / sizeof *s->var; i++) s->var[i] = 1.0;
        for (size_t i = 0; i < sizeof s->split_var / sizeof *s->split_var; i++) s->split_var[i] = 1.0;
        e->params += cfg->widths[l] * cfg->widths[l + 1];
        if (l + 1 < cfg->layers || cfg->last_norm) e->params += 2 * cfg->widths[l + 1];
    }
}

static bool has_norm(const dense_encoder *e, int64_t l) { return l + 1 < e->cfg.layers || e->cfg.last_norm; }

static int64_t begin(const dense_encoder *e, int64_t layer)
{
    int64_t at = 0;
    for (int64_t l = 0; l < layer; l++) at += e->cfg.widths[l] * e->cfg.widths[l + 1] + 2 * e->cfg.widths[l + 1];
    return at;
}

static double rounded(const dense_encoder *e, double a) { return e->round ? (double)(float)a : a; }

/* Batch norm of layer l, forward, and backward if g is not NULL: statistics move on in s. */
static void norm(const dense_encoder *e, int64_t l, bool training, dense_statistics *s, double *y, const double *g, double *x_grad, double *param_grad)
{
    int64_t c = e->cfg.widths[l + 1], rows[DENSE_RANKS];
    double z[DENSE_SIZE], own[2][DENSE_RANKS * DENSE_WIDTH], vectors[4][DENSE_RANKS * DENSE_SPLITS * DENSE_WIDTH], divisor[DENSE_RANKS], count[DENSE_RANKS];
    double work[2 * DENSE_SPLITS * DENSE_WIDTH];
    const double *weight = e->param + begin(e, l) + c * e->cfg.widths[l];
    pfc_dense_batch_norm p = { .cfg = e->cfg.norm, .ranks = e->ranks, .rows = rows, .l = 1, .training = training, .aggregate = true, .x = z, .g = g };
    p.cfg.channels = c;
    if (p.cfg.kind != PFC_BN_SUB) p.cfg.num_splits = 1;
    if (p.cfg.local_size == 0) p.cfg.local_size = e->ranks;
    if (p.cfg.num_sync_devices <= 0) p.cfg.num_sync_devices = p.cfg.local_size;
    for (int r = 0; r < e->ranks; r++) rows[r] = DENSE_ROWS / e->ranks;
    for (int64_t i = 0; i < DENSE_ROWS * c; i++) z[i] = rounded(e, e->z[l][i]);
    p.weight = weight, p.bias = weight + c;
    p.running_mean = s->mean, p.running_var = s->var, p.split_mean = s->split_mean, p.split_var = s->split_var;
    p.y = y, p.x_grad = x_grad, p.weight_grad = own[0], p.bias_grad = own[1];
    p.mean = vectors[0], p.var = vectors[1], p.sum_g = vectors[2], p.sum_gx = vectors[3];
    p.divisor = divisor, p.count = count, p.work = work;
    pfc_dense_batch_norm_run(&p);
    for (int64_t i = 0; g && i < 2 * c; i++) {
        param_grad[i] = 0.0;
        for (int r = 0; r < e->ranks; r++) param_grad[i] += own[i / c][r * c + i % c];
    }
}

/* Rank 0's count. */
static void share(const dense_encoder *e, int64_t l, dense_statistics *s)
{
    int64_t c = e->cfg.widths[l + 1], u = c * e->cfg.norm.num_splits;
    for (int r = 1; r < e->ranks; r++) {
        memcpy(s->mean + r * c, s->mean, (size_t)c * sizeof(double));
        memcpy(s->var + r * c, s->var, (size_t)c * sizeof(double));
        memcpy(s->split_mean + r * u, s->split_mean, (size_t)u * sizeof(double));
        memcpy(s->split_var + r * u, s->split_var, (size_t)u * sizeof(double));
    }
}

static void round_statistics(const dense_encoder *e, dense_statistics *s)
{
    double *all = (double *)s;
    for (size_t i = 0; i < sizeof *s / sizeof *all; i++) all[i] = rounded(e, all[i]);
}

static void layer_forward(dense_encoder *e, int64_t l, bool training)
{
    int64_t in = e->cfg.widths[l], out = e->cfg.widths[l + 1];
    const double *w = e->param + begin(e, l);
    double *y = e->x[l + 1];
    for (int64_t i = 0; i < DENSE_ROWS * out; i++) {
        e->z[l][i] = 0.0;
        for (int64_t k = 0; k < in; k++) e->z[l][i] += e->x[l][i / out * in + k] * w[i % out * in + k];
    }
    round_statistics(e, &e->statistics[l]);
    if (!training) share(e, l, &e->statistics[l]);
    if (has_norm(e, l))
        norm(e, l, training, &e->statistics[l], y, NULL, NULL, NULL);
    else
        memcpy(y, e->z[l], sizeof e->z[l]);
    for (int64_t i = 0; l + 1 < e->cfg.layers && i < DENSE_ROWS * out; i++) y[i] = y[i] > 0.0 ? rounded(e, y[i]) : 0.0;
}

void dense_encoder_forward(dense_encoder *e, const double *x, bool training)
{
    for (int64_t i = 0; i < DENSE_ROWS * e->cfg.widths[0]; i++) e->x[0][i] = rounded(e, x[i]);
    for (int64_t l = 0; l < e->cfg.layers; l++) layer_forward(e, l, training);
}

/* g (rows,out) of the layer's output becomes (rows,in) of its input. */
static void layer_backward(dense_encoder *e, int64_t l, double *g)
{
    int64_t in = e->cfg.widths[l], out = e->cfg.widths[l + 1], at = begin(e, l);
    double d[DENSE_SIZE], y[DENSE_SIZE];
    dense_statistics spare = e->statistics[l];
    memcpy(d, g, sizeof d);
    if (has_norm(e, l)) norm(e, l, true, &spare, y, g, d, e->grad + at + in * out);
    for (int64_t i = 0; i < DENSE_ROWS * out; i++) d[i] = rounded(e, d[i]);
    for (int64_t i = 0; i < in * out; i++) {
        e->grad[at + i] = 0.0;
        for (int64_t n = 0; n < DENSE_ROWS; n++) e->grad[at + i] += d[n * out + i / in] * e->x[l][n * in + i % in];
    }
    for (int64_t i = 0; i < DENSE_ROWS * in; i++) {
        double sum = 0.0;
        for (int64_t k = 0; k < out; k++) sum += d[i / in * out + k] * e->param[at + k * in + i % in];
        g[i] = l == 0 ? sum : e->x[l][i] > 0.0 ? rounded(e, sum) : 0.0;
    }
}

void dense_encoder_backward(dense_encoder *e, const double *g, double divisor, double *x_grad)
{
    double v[DENSE_SIZE] = { 0.0 };
    for (int64_t i = 0; i < DENSE_ROWS * e->cfg.widths[e->cfg.layers]; i++) v[i] = rounded(e, g[i]);
    for (int64_t l = e->cfg.layers - 1; l >= 0; l--) layer_backward(e, l, v);
    for (int64_t i = 0; i < e->params; i++) e->grad[i] /= divisor;
    if (x_grad) memcpy(x_grad, v, (size_t)(DENSE_ROWS * e->cfg.widths[0]) * sizeof *v);
}

void dense_encoder_update(dense_encoder *e, double lr)
{
    for (int64_t i = 0; i < e->params; i++) {
        double g = e->grad[i] + e->cfg.weight_decay * e->param[i], m = e->cfg.momentum * e->momentum[i] + g;
        e->momentum[i] = rounded(e, m);
        e->param[i] = rounded(e, e->param[i] - lr * (e->cfg.nesterov ? g + e->cfg.momentum * m : m));
    }
}
