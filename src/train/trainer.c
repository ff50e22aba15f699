/* trainer.c: a run of training steps: settings, examples of a batch, the step. */
#include "train/trainer.h"
#include "train/nearest.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

pfc_train_config pfc_train_defaults(void)
{
    pfc_train_config c = { .layer = PFC_TRAIN_PARTIAL_FC, .batch = 128, .base_lr = 0.1, .power = 1.0, .momentum = 0.9 };
    c.partial_fc = pfc_partial_fc_defaults();
    c.partial_fc.xgrad_scale = 1.0; /* the mean's gradient on any number of ranks */
    c.arcface = pfc_arcface_defaults();
    return c;
}

int64_t pfc_train_subcenters(const pfc_train_config *cfg) { return cfg->layer == PFC_TRAIN_ARCFACE ? cfg->arcface.num_subcenters : 1; }

/* ---- creation ---- */

static pfc_status check_config(pfc_ctx *ctx, const pfc_train_config *c)
{
    const int64_t most = INT64_MAX / 64; /* no size in bytes overflows */
    int ranks = pfc_ctx_ranks(ctx);
    if (c->layer != PFC_TRAIN_PARTIAL_FC && c->layer != PFC_TRAIN_ARCFACE) return pfc_fail(ctx, PFC_ERR_ARG, "layer: found %d, which is none", (int)c->layer);
    if (c->schedule < PFC_SCHEDULE_CONSTANT || c->schedule > PFC_SCHEDULE_POLYNOMIAL)
        return pfc_fail(ctx, PFC_ERR_ARG, "schedule: found %d, which is none", (int)c->schedule);
    if (c->batch < 1) return pfc_fail(ctx, PFC_ERR_ARG, "batch: found %lld, expected 1 or more", (long long)c->batch);
    if (c->batch % ranks) return pfc_fail(ctx, PFC_ERR_SHAPE, "batch: found %lld, expected a multiple of the %d ranks", (long long)c->batch, ranks);
    if (c->examples < c->batch)
        return pfc_fail(ctx, PFC_ERR_ARG, "examples: found %lld, expected at least one batch of %lld", (long long)c->examples, (long long)c->batch);
    if (c->examples > most) return pfc_fail(ctx, PFC_ERR_ARG, "examples: found %lld, expected up to %lld", (long long)c->examples, (long long)most);
    if (c->total_steps < 1 || c->total_steps > most)
        return pfc_fail(ctx, PFC_ERR_ARG, "total_steps: found %lld, expected 1 to %lld", (long long)c->total_steps, (long long)most);
    if (c->warmup_steps < 0 || c->warmup_steps > c->total_steps)
        return pfc_fail(ctx, PFC_ERR_ARG, "warmup_steps: found %lld, expected 0 to %lld", (long long)c->warmup_steps, (long long)c->total_steps);
    if (!isfinite(c->momentum)) return pfc_fail(ctx, PFC_ERR_ARG, "momentum: found %g, expected a finite number", c->momentum);
    if (!isfinite(c->weight_decay)) return pfc_fail(ctx, PFC_ERR_ARG, "weight_decay: found %g, expected a finite number", c->weight_decay);
    if (c->nesterov && c->momentum == 0.0) return pfc_fail(ctx, PFC_ERR_ARG, "nesterov: needs a momentum that is not 0");
    return PFC_OK;
}

static void fill_layer_config(pfc_train_config *c)
{
    c->partial_fc.num_classes = c->arcface.num_classes = c->num_classes;
    c->partial_fc.embedding_size = c->arcface.embedding_size = c->embedding_size;
    c->partial_fc.seed = c->seed;
    c->partial_fc.first_step = 0;
    c->partial_fc.momentum = c->momentum;
    c->partial_fc.weight_decay = c->weight_decay;
    c->partial_fc.nesterov = c->nesterov;
}

static pfc_status make_rates(pfc_trainer *t)
{
    t->lr = malloc((size_t)t->cfg.total_steps * sizeof *t->lr);
    if (!t->lr) return pfc_fail(t->ctx, PFC_ERR_NOMEM, "out of memory");
    if (pfc_train_rates(&t->cfg, t->lr) == PFC_OK) return PFC_OK;
    return pfc_fail(t->ctx, PFC_ERR_ARG, "learning rate: found base %g, final %g, start %g, power %g, expected finite numbers and power 0 or more",
                    t->cfg.base_lr, t->cfg.final_lr, t->cfg.start_lr, t->cfg.power);
}

/* partial_fc keeps its weights itself; those of the ArcFace head are the trainer's. */
static pfc_status make_layer(pfc_trainer *t)
{
    pfc_train_config *c = &t->cfg;
    bool arcface = c->layer == PFC_TRAIN_ARCFACE;
    PFC_TRY(arcface ? pfc_arcface_create(t->ctx, &c->arcface, &t->head) : pfc_partial_fc_create(t->ctx, &c->partial_fc, &t->layer));
    int64_t k = pfc_train_subcenters(c);
    pfc_shard classes = pfc_shard_of(c->num_classes, pfc_ctx_ranks(t->ctx), pfc_ctx_rank(t->ctx));
    t->rows = (pfc_shard){ classes.start * k, classes.count * k };
    return pfc_agree(t->ctx, arcface ? pfc_train_arcface_state(t) : PFC_OK);
}

pfc_status pfc_trainer_create(pfc_ctx *ctx, const pfc_train_config *cfg, pfc_trainer **out)
{
    *out = NULL;
    PFC_TRY(pfc_agree(ctx, check_config(ctx, cfg)));
    pfc_trainer *t = calloc(1, sizeof *t);
    PFC_TRY(pfc_agree(ctx, t ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory")));
    t->ctx = ctx;
    t->cfg = *cfg;
    fill_layer_config(&t->cfg);
    t->epoch = -1;
    pfc_status st = pfc_agree(ctx, make_rates(t));
    if (st == PFC_OK) st = make_layer(t);
    if (st != PFC_OK) {
        pfc_trainer_destroy(&t);
        return st;
    }
    *out = t;
    return PFC_OK;
}

void pfc_trainer_destroy(pfc_trainer **trainer)
{
    if (!trainer || !*trainer) return;
    pfc_trainer *t = *trainer;
    pfc_partial_fc_destroy(&t->layer);
    pfc_arcface_destroy(&t->head);
    free(t->weight.data);
    free(t->momentum.data);
    free(t->order);
    free(t->lr);
    free(t);
    *trainer = NULL;
}

int64_t pfc_trainer_steps(const pfc_trainer *t) { return t->steps; }
int64_t pfc_trainer_epoch_steps(const pfc_trainer *t) { return t->cfg.examples / t->cfg.batch; }

/* ---- a batch ---- */

pfc_status pfc_trainer_batch(pfc_trainer *t, int64_t *numbers)
{
    int64_t epoch = t->steps / pfc_trainer_epoch_steps(t), at = t->steps % pfc_trainer_epoch_steps(t), b = t->cfg.batch / pfc_ctx_ranks(t->ctx);
    if (!t->order) t->order = malloc((size_t)t->cfg.examples * sizeof *t->order);
    if (!t->order) return pfc_fail(t->ctx, PFC_ERR_NOMEM, "out of memory");
    if (t->epoch != epoch) {
        pfc_status st = pfc_train_order(t->cfg.seed, epoch, t->cfg.examples, t->order);
        if (st != PFC_OK) return pfc_fail(t->ctx, st, "order of epoch %lld: %s", (long long)epoch, pfc_status_string(st));
        t->epoch = epoch;
    }
    memcpy(numbers, t->order + at * t->cfg.batch + pfc_ctx_rank(t->ctx) * b, (size_t)b * sizeof *numbers);
    return PFC_OK;
}

/* ---- the step ---- */

static pfc_status step_partial_fc(pfc_trainer *t, pfc_view features, pfc_view labels, double lr, pfc_train_result *result)
{
    pfc_partial_fc_result r = { .x_grad = result->x_grad };
    pfc_partial_fc_set_lr(t->layer, lr);
    PFC_TRY(pfc_partial_fc_step(t->layer, features, labels, pfc_view_make(NULL, PFC_F64, 0, 0), &r));
    result->loss = r.loss;
    return PFC_OK;
}

/* Loss and gradients, then SGD on all rows. Between steps the state is float32, as in partial_fc. */
static pfc_status step_arcface(pfc_trainer *t, pfc_view features, pfc_view labels, double lr, pfc_train_result *result)
{
    pfc_view grad = t->weight;
    size_t bytes = (size_t)(grad.rows * grad.cols) * pfc_dtype_size(grad.dtype);
    grad.data = malloc(bytes + 1);
    pfc_status st = pfc_agree(t->ctx, grad.data ? PFC_OK : pfc_fail(t->ctx, PFC_ERR_NOMEM, "out of memory"));
    if (st == PFC_OK) {
        pfc_train_round(t->weight);
        pfc_train_round(t->momentum);
        pfc_arcface_input in = { .features = features, .labels = labels, .weight = t->weight };
        pfc_arcface_result r = { .x_grad = result->x_grad, .weight_grad = grad };
        st = pfc_arcface_step(t->head, &in, &r);
        if (st == PFC_OK) pfc_train_sgd(&t->cfg, lr, grad, t->weight, t->momentum);
        result->loss = r.loss;
    }
    free(grad.data);
    return st;
}

pfc_status pfc_trainer_step(pfc_trainer *t, pfc_view features, pfc_view labels, pfc_train_result *result)
{
    int64_t b = t->cfg.batch / pfc_ctx_ranks(t->ctx);
    pfc_status st = PFC_OK;
    if (t->steps >= t->cfg.total_steps) return pfc_fail(t->ctx, PFC_ERR_ARG, "all %lld steps are done", (long long)t->cfg.total_steps);
    if (features.rows != b || labels.rows != b)
        st = pfc_fail(t->ctx, PFC_ERR_SHAPE, "features, labels: found %lld and %lld rows, expected %lld", (long long)features.rows, (long long)labels.rows,
                      (long long)b);
    PFC_TRY(pfc_agree(t->ctx, st));
    result->lr = t->lr[t->steps];
    PFC_TRY((t->layer ? step_partial_fc : step_arcface)(t, features, labels, result->lr, result));
    t->steps++;
    return PFC_OK;
}

pfc_status pfc_trainer_state(pfc_trainer *t, pfc_view weight, pfc_view momentum)
{
    if (t->layer) return pfc_partial_fc_get_state(t->layer, weight, momentum);
    const pfc_view to[2] = { weight, momentum }, from[2] = { t->weight, t->momentum };
    for (int v = 0; v < 2; v++) {
        if (!to[v].data) continue;
        if (to[v].rows != from[v].rows || to[v].cols != from[v].cols || (to[v].dtype != PFC_F32 && to[v].dtype != PFC_F64))
            return pfc_fail(t->ctx, PFC_ERR_SHAPE, "state: found (%lld,%lld), expected (%lld,%lld) float", (long long)to[v].rows, (long long)to[v].cols,
                            (long long)from[v].rows, (long long)from[v].cols);
        pfc_train_convert(from[v], to[v]);
    }
    return PFC_OK;
}

pfc_status pfc_trainer_nearest(pfc_trainer *t, pfc_view features, int64_t *classes)
{
    const pfc_train_config *c = &t->cfg;
    pfc_dtype real = pfc_ctx_real(t->ctx);
    pfc_centres centres = { .classes = c->num_classes, .subcenters = pfc_train_subcenters(c) };
    centres.cosine = t->head ? c->arcface.weight_norm : c->partial_fc.head != PFC_HEAD_LINEAR;
    centres.rows = pfc_view_make(malloc((size_t)(t->rows.count * c->embedding_size) * pfc_dtype_size(real) + 1), real, t->rows.count, c->embedding_size);
    pfc_status st = centres.rows.data ? PFC_OK : pfc_fail(t->ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = pfc_trainer_state(t, centres.rows, pfc_view_make(NULL, real, 0, 0));
    st = pfc_agree(t->ctx, st);
    if (st == PFC_OK) st = pfc_nearest(t->ctx, &centres, features, classes);
    free(centres.rows.data);
    return st;
}
