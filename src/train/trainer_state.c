/* trainer_state.c: a trainer as a list of checkpoint items, written and read. */
#include "train/trainer.h"

#include "core/words.h"

static void partial_fc_items(const pfc_partial_fc_config *c, pfc_items *items)
{
    pfc_items_word(items, "head", PFC_WORDS_HEAD, (int)c->head);
    if (c->head != PFC_HEAD_LINEAR) pfc_items_real(items, "margin", c->margin);
    pfc_items_real(items, "scale", c->scale);
    pfc_items_real(items, "sample_rate", c->sample_rate);
    pfc_items_int(items, "num_sample", c->num_sample);
    pfc_items_word(items, "sample_rule", PFC_WORDS_SAMPLE_RULE, (int)c->sample_rule);
    pfc_items_real(items, "xgrad_scale", c->xgrad_scale);
    pfc_items_word(items, "loss", PFC_WORDS_LOSS, (int)c->loss);
    pfc_items_word(items, "arc_gradient", PFC_WORDS_ARC_GRADIENT, (int)c->arc_gradient);
    pfc_items_word(items, "arc_fallback", PFC_WORDS_ARC_FALLBACK, (int)c->arc_fallback);
    pfc_items_int(items, "cos_clamp", c->cos_clamp != 0);
    pfc_items_real(items, "interclass_threshold", c->interclass_threshold);
    pfc_items_word(items, "momentum_rule", PFC_WORDS_MOMENTUM_RULE, (int)c->momentum_rule);
    pfc_items_word(items, "unowned_label", PFC_WORDS_UNOWNED_LABEL, (int)c->unowned_label);
}

static void arcface_items(const pfc_arcface_config *c, pfc_items *items)
{
    pfc_items_text(items, "head", "arcface_head");
    pfc_items_int(items, "num_subcenters", c->num_subcenters);
    pfc_items_real(items, "scale", c->scale);
    pfc_items_real(items, "margin", c->margin);
    pfc_items_word(items, "margin_constants", PFC_WORDS_MARGIN_CONSTANTS, (int)c->margin_constants);
    pfc_items_int(items, "easy_margin", c->easy_margin != 0);
    pfc_items_int(items, "feature_norm", c->feature_norm != 0);
    pfc_items_int(items, "weight_norm", c->weight_norm != 0);
    pfc_items_real(items, "loss_weight", c->loss_weight);
    pfc_items_int(items, "cos_clamp", c->cos_clamp != 0);
}

static pfc_view tensor_view(const pfc_trainer *t, const pfc_items *items, const char *name)
{
    return pfc_view_make(pfc_items_data(items, name, true), pfc_ctx_real(t->ctx), t->rows.count, t->plan.cfg.embedding_size);
}

/* The list has memory of its own for the tensors: the layer's may be a device's, and a file that is refused must not change it. What a reader wants to know
 * first when a file does not fit stands first. */
pfc_status pfc_trainer_items(pfc_trainer *t, pfc_items *items)
{
    const pfc_train_config *c = &t->plan.cfg;
    int64_t k = pfc_train_subcenters(c);
    pfc_items_int(items, "num_classes", c->num_classes);
    pfc_items_int(items, "embedding_size", c->embedding_size);
    if (c->layer == PFC_TRAIN_PARTIAL_FC)
        partial_fc_items(&c->partial_fc, items);
    else
        arcface_items(&c->arcface, items);
    pfc_plan_items(&t->plan, items);
    pfc_items_tensor(items, "head.weight", pfc_ctx_real(t->ctx), c->num_classes * k, c->embedding_size, k, t->rows.count);
    pfc_items_tensor(items, "head.momentum", pfc_ctx_real(t->ctx), c->num_classes * k, c->embedding_size, k, t->rows.count);
    PFC_TRY(pfc_items_check(t->ctx, items));
    return pfc_trainer_state(t, tensor_view(t, items, "head.weight"), tensor_view(t, items, "head.momentum"));
}

pfc_status pfc_trainer_take(pfc_trainer *t, const char *path, const pfc_items *items)
{
    pfc_view weight = tensor_view(t, items, "head.weight"), momentum = tensor_view(t, items, "head.momentum");
    PFC_TRY(pfc_plan_take(&t->plan, path, items));
    if (t->layer) {
        PFC_TRY(pfc_partial_fc_set_state(t->layer, weight, momentum));
        pfc_partial_fc_set_steps(t->layer, t->plan.steps);
    } else {
        pfc_train_convert(weight, t->weight);
        pfc_train_convert(momentum, t->momentum);
    }
    return PFC_OK;
}

/* Those of the trainer and the caller's. Collective. */
static pfc_status all_items(pfc_trainer *t, const pfc_item *more, int more_count, pfc_items *items)
{
    pfc_status st = pfc_trainer_items(t, items);
    for (int i = 0; i < more_count; i++) pfc_items_add(items, more[i]);
    return pfc_agree(t->ctx, st == PFC_OK ? pfc_items_check(t->ctx, items) : st);
}

pfc_status pfc_trainer_save(pfc_trainer *t, const char *folder, int keep, const pfc_item *more, int more_count, char *path, size_t size)
{
    pfc_items items = { 0 };
    pfc_status st = all_items(t, more, more_count, &items);
    if (st == PFC_OK) st = pfc_checkpoint_save(t->ctx, folder, t->plan.steps, keep, items.list, items.count, path, size);
    pfc_items_free(&items);
    return st;
}

pfc_status pfc_trainer_load(pfc_trainer *t, const char *path, const pfc_item *more, int more_count)
{
    pfc_items items = { 0 };
    pfc_status st = all_items(t, more, more_count, &items);
    if (st == PFC_OK) st = pfc_checkpoint_read(t->ctx, path, items.list, items.count);
    if (st == PFC_OK) st = pfc_agree(t->ctx, pfc_trainer_take(t, path, &items));
    pfc_items_free(&items);
    return st;
}
