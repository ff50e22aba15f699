/* trainer_state.c: a trainer as a list of checkpoint items, written and read. */
#include "train/checkpoint.h"
#include "train/trainer.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST_FACTS = 40, WORDS = 16 };

/* The items with the memory that they point to. */
typedef struct state {
    pfc_item *items;
    int count;
    char words[WORDS][PFC_ITEM_TEXT_SIZE]; /* never moved: items point here */
    int64_t numbers[WORDS];
    int word_count, number_count;
    int64_t step;
    pfc_view weight, momentum;
} state;

static void add(state *s, pfc_item item) { s->items[s->count++] = item; }
static void add_int(state *s, const char *name, int64_t *value) { add(s, pfc_item_int(name, value, 1)); }
static void add_real(state *s, const char *name, double *value) { add(s, pfc_item_real(name, value, 1)); }

static void add_switch(state *s, const char *name, int value)
{
    int64_t *number = &s->numbers[s->number_count++];
    *number = value;
    add_int(s, name, number);
}

static void add_word(state *s, const char *name, const char *word)
{
    char *text = s->words[s->word_count++];
    snprintf(text, PFC_ITEM_TEXT_SIZE, "%s", word);
    add(s, pfc_item_text(name, text, 1));
}

static void add_partial_fc(state *s, pfc_partial_fc_config *c)
{
    static const char *const heads[] = { "linear", "cos", "arc", "circle" }, *const fallbacks[] = { "none", "linear", "easy" },
                             *const unowned[] = { "source", "error", "ignore" };
    add_word(s, "head", heads[c->head]);
    if (c->head != PFC_HEAD_LINEAR) add_real(s, "margin", &c->margin);
    add_real(s, "scale", &c->scale);
    add_real(s, "sample_rate", &c->sample_rate);
    add_int(s, "num_sample", &c->num_sample);
    add_word(s, "sample_rule", c->sample_rule == PFC_SAMPLE_GLOBAL ? "global" : "shard");
    add_real(s, "xgrad_scale", &c->xgrad_scale);
    add_word(s, "loss", c->loss == PFC_LOSS_LSE ? "lse" : "clamp");
    add_word(s, "arc_gradient", c->arc_gradient == PFC_ARC_STRAIGHT_THROUGH ? "straight_through" : "exact");
    add_word(s, "arc_fallback", fallbacks[c->arc_fallback]);
    add_switch(s, "cos_clamp", c->cos_clamp != 0);
    add_real(s, "interclass_threshold", &c->interclass_threshold);
    add_word(s, "momentum_rule", c->momentum_rule == PFC_MOMENTUM_DENSE ? "dense" : "lazy");
    add_word(s, "unowned_label", unowned[c->unowned_label]);
}

static void add_arcface(state *s, pfc_arcface_config *c)
{
    add_word(s, "head", "arcface_head");
    add_int(s, "num_subcenters", &c->num_subcenters);
    add_real(s, "scale", &c->scale);
    add_real(s, "margin", &c->margin);
    add_word(s, "margin_constants", c->margin_constants == PFC_MARGIN_SET ? "set" : "init");
    add_switch(s, "easy_margin", c->easy_margin != 0);
    add_switch(s, "feature_norm", c->feature_norm != 0);
    add_switch(s, "weight_norm", c->weight_norm != 0);
    add_real(s, "loss_weight", &c->loss_weight);
    add_switch(s, "cos_clamp", c->cos_clamp != 0);
}

static void add_schedule(state *s, pfc_train_config *c)
{
    static const char *const schedules[] = { "constant", "cosine", "polynomial" };
    add_word(s, "schedule", schedules[c->schedule]);
    add_real(s, "base_lr", &c->base_lr);
    add_int(s, "warmup_steps", &c->warmup_steps);
    if (c->warmup_steps) add_real(s, "start_lr", &c->start_lr);
    if (c->schedule == PFC_SCHEDULE_CONSTANT) return;
    add_int(s, "total_steps", &c->total_steps);
    add_real(s, "final_lr", &c->final_lr);
    if (c->schedule == PFC_SCHEDULE_POLYNOMIAL) add_real(s, "power", &c->power);
}

/* What a reader wants to know first when a file does not fit stands first. */
static void add_facts(state *s, pfc_trainer *t)
{
    pfc_train_config *c = &t->cfg;
    add_int(s, "num_classes", &c->num_classes);
    add_int(s, "embedding_size", &c->embedding_size);
    add_word(s, "mode", pfc_ctx_mode(t->ctx) == PFC_EXACT ? "exact" : "fast");
    if (c->layer == PFC_TRAIN_PARTIAL_FC)
        add_partial_fc(s, &c->partial_fc);
    else
        add_arcface(s, &c->arcface);
    add_int(s, "batch", &c->batch);
    add_int(s, "examples", &c->examples);
    add_int(s, "seed", &c->seed);
    add_schedule(s, c);
    add_real(s, "momentum", &c->momentum);
    add_real(s, "weight_decay", &c->weight_decay);
    add_switch(s, "nesterov", c->nesterov != 0);
    s->step = t->steps;
    add(s, pfc_item_int("step", &s->step, 0));
}

/* Own memory for the tensors: the layer's may be a device's, and a file that is refused must not change it. */
static bool add_tensors(state *s, pfc_trainer *t)
{
    pfc_dtype real = pfc_ctx_real(t->ctx);
    int64_t k = pfc_train_subcenters(&t->cfg), D = t->cfg.embedding_size;
    size_t bytes = (size_t)(t->rows.count * D) * pfc_dtype_size(real) + 1;
    s->weight = pfc_view_make(malloc(bytes), real, t->rows.count, D);
    s->momentum = pfc_view_make(malloc(bytes), real, t->rows.count, D);
    if (!s->weight.data || !s->momentum.data) return false;
    add(s, pfc_item_tensor("head.weight", s->weight.data, real, t->cfg.num_classes * k, D, k));
    add(s, pfc_item_tensor("head.momentum", s->momentum.data, real, t->cfg.num_classes * k, D, k));
    return true;
}

static void release(state *s)
{
    free(s->weight.data);
    free(s->momentum.data);
    free(s->items);
}

static pfc_status describe(pfc_trainer *t, const pfc_item *more, int more_count, state *s)
{
    memset(s, 0, sizeof *s);
    s->items = calloc((size_t)(MOST_FACTS + more_count), sizeof *s->items);
    if (!s->items) return pfc_fail(t->ctx, PFC_ERR_NOMEM, "out of memory");
    add_facts(s, t);
    for (int i = 0; i < more_count; i++) add(s, more[i]);
    return add_tensors(s, t) ? PFC_OK : pfc_fail(t->ctx, PFC_ERR_NOMEM, "out of memory");
}

pfc_status pfc_trainer_save(pfc_trainer *t, const char *folder, int keep, const pfc_item *more, int more_count, char *path, size_t size)
{
    state s;
    pfc_status st = describe(t, more, more_count, &s);
    if (st == PFC_OK) st = pfc_trainer_state(t, s.weight, s.momentum);
    st = pfc_agree(t->ctx, st);
    if (st == PFC_OK) st = pfc_checkpoint_save(t->ctx, folder, t->steps, keep, s.items, s.count, path, size);
    release(&s);
    return st;
}

static pfc_status take(pfc_trainer *t, const char *path, const state *s)
{
    if (s->step < 0 || s->step > t->cfg.total_steps)
        return pfc_checkpoint_fail(t->ctx, PFC_ERR_DATA, path, "/fact/step", "found %lld, expected 0 to %lld, the steps of this run", (long long)s->step,
                                   (long long)t->cfg.total_steps);
    if (t->layer) {
        PFC_TRY(pfc_partial_fc_set_state(t->layer, s->weight, s->momentum));
        pfc_partial_fc_set_steps(t->layer, s->step);
    } else {
        pfc_train_convert(s->weight, t->weight);
        pfc_train_convert(s->momentum, t->momentum);
    }
    t->steps = s->step;
    return PFC_OK;
}

pfc_status pfc_trainer_load(pfc_trainer *t, const char *path, const pfc_item *more, int more_count)
{
    state s;
    pfc_status st = pfc_agree(t->ctx, describe(t, more, more_count, &s));
    if (st == PFC_OK) st = pfc_checkpoint_read(t->ctx, path, s.items, s.count);
    if (st == PFC_OK) st = pfc_agree(t->ctx, take(t, path, &s));
    release(&s);
    return st;
}
