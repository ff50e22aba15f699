/* trainer.c: a run of training steps of a layer: settings, the step, the state. */
#include "train/trainer.h"
#include "train/nearest.h"

#include <stdlib.h>

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

/* partial_fc keeps its weights itself; those of the ArcFace head are the trainer's. */
static pfc_status make_layer(pfc_trainer *t)
{
    pfc_train_config *c = &t->plan.cfg;
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
    if (cfg->layer != PFC_TRAIN_PARTIAL_FC && cfg->layer != PFC_TRAIN_ARCFACE)
        return pfc_agree(ctx, pfc_fail(ctx, PFC_ERR_ARG, "layer: found %d, which is none", (int)cfg->layer));
    pfc_trainer *t = calloc(1, sizeof *t);
    PFC_TRY(pfc_agree(ctx, t ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory")));
    t->ctx = ctx;
    pfc_status st = pfc_plan_open(&t->plan, ctx, cfg);
    if (st == PFC_OK) {
        fill_layer_config(&t->plan.cfg);
        st = make_layer(t);
    }
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
    pfc_plan_close(&t->plan);
    free(t);
    *trainer = NULL;
}

int64_t pfc_trainer_steps(const pfc_trainer *t) { return t->plan.steps; }
int64_t pfc_trainer_epoch_steps(const pfc_trainer *t) { return pfc_plan_epoch_steps(&t->plan); }
pfc_status pfc_trainer_batch(pfc_trainer *t, int64_t *numbers) { return pfc_plan_batch(&t->plan, numbers); }

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
        if (st == PFC_OK) pfc_train_sgd(&t->plan.cfg, lr, grad, t->weight, t->momentum);
        result->loss = r.loss;
    }
    free(grad.data);
    return st;
}

pfc_status pfc_trainer_step(pfc_trainer *t, pfc_view features, pfc_view labels, pfc_train_result *result)
{
    int64_t b = pfc_plan_rows(&t->plan);
    pfc_status st = pfc_plan_rate(&t->plan, &result->lr);
    if (st != PFC_OK) return st; /* of all ranks */
    if (features.rows != b || labels.rows != b)
        st = pfc_fail(t->ctx, PFC_ERR_SHAPE, "features, labels: found %lld and %lld rows, expected %lld", (long long)features.rows, (long long)labels.rows,
                      (long long)b);
    PFC_TRY(pfc_agree(t->ctx, st));
    PFC_TRY((t->layer ? step_partial_fc : step_arcface)(t, features, labels, result->lr, result));
    t->plan.steps++;
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

pfc_status pfc_trainer_centres(pfc_trainer *t, pfc_centres *centres)
{
    const pfc_train_config *c = &t->plan.cfg;
    pfc_dtype real = pfc_ctx_real(t->ctx);
    *centres = (pfc_centres){ .classes = c->num_classes, .subcenters = pfc_train_subcenters(c) };
    centres->cosine = t->head ? c->arcface.weight_norm : c->partial_fc.head != PFC_HEAD_LINEAR;
    centres->rows = pfc_view_make(malloc((size_t)(t->rows.count * c->embedding_size) * pfc_dtype_size(real) + 1), real, t->rows.count, c->embedding_size);
    if (!centres->rows.data) return pfc_fail(t->ctx, PFC_ERR_NOMEM, "out of memory");
    return pfc_trainer_state(t, centres->rows, pfc_view_make(NULL, real, 0, 0));
}

pfc_status pfc_trainer_nearest(pfc_trainer *t, pfc_view features, int64_t *classes)
{
    pfc_centres centres;
    pfc_status st = pfc_agree(t->ctx, pfc_trainer_centres(t, &centres));
    if (st == PFC_OK) st = pfc_nearest(t->ctx, &centres, features, classes);
    free(centres.rows.data);
    return st;
}
