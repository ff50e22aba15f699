/* arcface_state.c: weights and momentum of an ArcFace head: where they begin, and SGD. In host memory; real numbers of the mode. */
#include "train/trainer.h"

#include "core/px.h"

#include <pfc/rng.h>
#include <stdlib.h>

static double get(pfc_view v, int64_t i) { return v.dtype == PFC_F64 ? ((const double *)v.data)[i] : (double)((const float *)v.data)[i]; }

static void put(pfc_view v, int64_t i, double x)
{
    if (v.dtype == PFC_F64)
        ((double *)v.data)[i] = x;
    else
        ((float *)v.data)[i] = (float)x;
}

/* The rule of partial_fc: N(0, 0.01^2), a function of the seed and the global element. */
pfc_status pfc_train_arcface_state(pfc_trainer *t)
{
    int64_t D = t->plan.cfg.embedding_size, n = t->rows.count * D, first = t->rows.start * D;
    pfc_dtype real = pfc_ctx_real(t->ctx);
    t->weight = pfc_view_make(malloc((size_t)n * pfc_dtype_size(real) + 1), real, t->rows.count, D);
    t->momentum = pfc_view_make(calloc((size_t)n * pfc_dtype_size(real) + 1, 1), real, t->rows.count, D);
    if (!t->weight.data || !t->momentum.data) return pfc_fail(t->ctx, PFC_ERR_NOMEM, "out of memory");
    for (int64_t i = 0; i < n; i++) put(t->weight, i, (float)(0.01 * pfc_normal(t->plan.cfg.seed, first + i, 0, PFC_STREAM_WEIGHT)));
    return PFC_OK;
}

void pfc_train_convert(pfc_view from, pfc_view to)
{
    for (int64_t i = 0; i < from.rows; i++)
        for (int64_t j = 0; j < from.cols; j++) put(to, i * to.ld + j, get(from, i * from.ld + j));
}

void pfc_train_round(pfc_view v)
{
    double *x = v.data;
    for (int64_t i = 0; v.dtype == PFC_F64 && i < v.rows * v.cols; i++) x[i] = (double)(float)x[i];
}

void pfc_train_sgd(const pfc_train_config *cfg, double lr, pfc_view grad, pfc_view weight, pfc_view momentum)
{
    for (int64_t i = 0; i < weight.rows * weight.cols; i++) {
        double w = get(weight, i), v = get(grad, i);
        if (cfg->weight_decay != 0.0) v = PX_FMA(cfg->weight_decay, w, v);
        if (cfg->momentum != 0.0) {
            double m = PX_FMA(cfg->momentum, get(momentum, i), v);
            put(momentum, i, m);
            v = cfg->nesterov ? PX_FMA(cfg->momentum, m, v) : m;
        }
        put(weight, i, PX_FMA(-lr, v, w));
    }
}
