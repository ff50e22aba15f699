/* train_head.c: task head: partial_fc or the ArcFace head, on the user's features, or on glyphs through an encoder that learns with it. */
#include "case/arcface_head_case.h"
#include "case/internal.h"
#include "case/partial_fc_case.h"
#include "core/words.h"
#include "driver/train_network.h"
#include "train/trainer.h"
#include <stdlib.h>
#include <string.h>

typedef struct head {
    pfc_trainer *trainer;
    pfc_data data, *held_out; /* features from files; or */
    pfc_glyph_data glyphs;
    pfc_encoder *encoder;
    float *images;      /* (b, S*S) */
    pfc_view x, x_grad; /* (b, D): float32 from files, real of an encoder; x_grad for an encoder alone */
    int64_t *labels;    /* (b) */
} head;

/* ---- settings ---- */

static const pfc_param_spec of_head[] = {
    { "head", PFC_PARAM_WORD, "cos", PFC_WORDS_HEAD "|arcface_head", "partial_fc's kinds, or arcface_head" },
    { "num_classes", PFC_PARAM_INT, "", NULL, "the largest label + 1" },
    { "margin", PFC_PARAM_REAL, "", NULL, "0.4; arcface_head 0.5" },
    PFC_SETTING_OF("arcface_head", "scale"), /* of both */
    PFC_SETTING_OF("partial_fc", "cos_clamp"),
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};
static const pfc_param_spec of_partial_fc[] = {
    PFC_SETTING_OF("partial_fc", "sample_rate"),
    PFC_SETTING_OF("partial_fc", "num_sample"),
    PFC_SETTING_OF("partial_fc", "sample_rule"),
    PFC_SETTING_OF("partial_fc", "loss"),
    PFC_SETTING_OF("partial_fc", "arc_gradient"),
    PFC_SETTING_OF("partial_fc", "arc_fallback"),
    PFC_SETTING_OF("partial_fc", "interclass_threshold"),
    PFC_SETTING_OF("partial_fc", "momentum_rule"),
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};
static const pfc_param_spec of_arcface[] = {
    PFC_SETTING_OF("arcface_head", "num_subcenters"), PFC_SETTING_OF("arcface_head", "easy_margin"), PFC_SETTING_OF("arcface_head", "feature_norm"),
    PFC_SETTING_OF("arcface_head", "weight_norm"),    PFC_SETTING_OF("arcface_head", "loss_weight"), PFC_SETTING_OF("arcface_head", "margin_constants"),
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};
static const pfc_param_spec *const tables[] = { of_head, of_partial_fc, of_arcface, pfc_settings_of_glyphs, pfc_settings_of_encoder, NULL };

/* The layer's configuration as a case has it; what no setting is of stays as it was. */
static void fill_layer(pfc_settings *s)
{
    pfc_train_config *c = &s->config;
    const pfc_train_config old = *c;
    bool margin = pfc_param_present(s->values, "margin");
    if (c->layer == PFC_TRAIN_ARCFACE) {
        c->arcface = pfc_arcface_case_config(s->values);
        if (!margin) c->arcface.margin = old.arcface.margin;
        return;
    }
    c->partial_fc = pfc_partial_fc_case_config(s->values);
    if (!margin) c->partial_fc.margin = old.partial_fc.margin;
    c->partial_fc.xgrad_scale = old.partial_fc.xgrad_scale;
    c->partial_fc.unowned_label = old.partial_fc.unowned_label;
}

/* A setting that the head does not have would be overlooked. */
static int fill_config(pfc_train *t)
{
    pfc_settings *s = &t->settings;
    char why[80];
    bool arcface = strcmp(pfc_param_word(s->values, "head"), "arcface_head") == 0;
    snprintf(why, sizeof why, "head %s has no such setting", pfc_param_word(s->values, "head"));
    s->config.layer = arcface ? PFC_TRAIN_ARCFACE : PFC_TRAIN_PARTIAL_FC;
    fill_layer(s);
    s->config.num_classes = pfc_settings_optional(s, "num_classes");
    if (pfc_settings_at_least(s, "num_classes", 1, t->diag) || pfc_settings_at_least(s, "num_sample", 0, t->diag) ||
        pfc_settings_refuse(s, arcface ? of_partial_fc : of_arcface, why, t->diag))
        return t->diag->exit_status;
    if (t->cli->glyphs && s->config.num_classes > 0) return pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "num_classes: with --glyphs it is `classes`");
    if (!t->cli->glyphs && (pfc_settings_refuse(s, pfc_settings_of_glyphs, "is for --glyphs", t->diag) ||
                            pfc_settings_refuse(s, pfc_settings_of_encoder, "is for --glyphs", t->diag)))
        return t->diag->exit_status;
    return pfc_settings_check_effect(s, t->diag);
}

/* ---- open and close ---- */

static int read_data(pfc_train *t, head *h)
{
    const pfc_cli *cli = t->cli;
    pfc_train_config *c = &t->settings.config;
    if (pfc_data_read(cli, cli->features, cli->labels, c->num_classes, &h->data, t->diag)) return t->diag->exit_status;
    if (c->num_classes < 1) c->num_classes = h->data.classes;
    c->embedding_size = h->data.width;
    c->examples = h->data.examples.count;
    h->held_out = calloc((size_t)cli->held_out_count + 1, sizeof *h->held_out);
    if (!h->held_out) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    for (int i = 0; i < cli->held_out_count && !pfc_diag_agree(cli->comm, t->diag); i++) {
        pfc_data *set = &h->held_out[i];
        if (!pfc_data_read(cli, cli->held_out[i], cli->held_out_labels[i], c->num_classes, set, t->diag) && set->width != h->data.width)
            pfc_diag_fail(t->diag, PFC_EXIT_FILE, "%s: found width %lld, expected %lld, that of %.200s", cli->held_out[i], (long long)set->width,
                          (long long)h->data.width, cli->features);
    }
    return pfc_diag_agree(cli->comm, t->diag);
}

static int open_encoder(pfc_train *t, head *h)
{
    pfc_encoder_config c;
    if (pfc_glyph_data_open(t, &h->glyphs) || pfc_encoder_config_of(t, &h->glyphs, &c)) return t->diag->exit_status;
    t->settings.config.embedding_size = c.widths[c.layers];
    return pfc_train_failed(t, pfc_encoder_create(t->ctx, &c, &h->encoder), "encoder");
}

static int make_rows(pfc_train *t, head *h)
{
    int64_t b = pfc_plan_rows(t->plan), D = t->settings.config.embedding_size;
    pfc_dtype type = h->encoder ? pfc_ctx_real(t->ctx) : PFC_F32;
    size_t bytes = (size_t)(b * D) * pfc_dtype_size(type);
    h->x = pfc_view_make(malloc(bytes), type, b, D);
    h->labels = malloc((size_t)b * sizeof *h->labels);
    bool made = h->x.data && h->labels;
    if (h->encoder) {
        int64_t S = h->glyphs.glyphs->size;
        h->images = malloc((size_t)(b * S * S) * sizeof *h->images);
        h->x_grad = pfc_view_make(malloc(bytes), type, b, D);
        made = made && h->images && h->x_grad.data;
    }
    if (!made) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    return pfc_diag_agree(t->cli->comm, t->diag);
}

static int open_head(pfc_train *t)
{
    head *h = t->state = calloc(1, sizeof *h);
    if (!h) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    if (pfc_diag_agree(t->cli->comm, t->diag) || fill_config(t)) return t->diag->exit_status;
    if ((t->cli->glyphs ? open_encoder : read_data)(t, h) || pfc_train_length(t)) return t->diag->exit_status;
    if (pfc_train_failed(t, pfc_trainer_create(t->ctx, &t->settings.config, &h->trainer), "train")) return t->diag->exit_status;
    t->plan = &h->trainer->plan;
    if (!h->encoder && pfc_data_digest(t->ctx, &h->data, t->diag)) return t->diag->exit_status;
    return make_rows(t, h);
}

static void close_head(pfc_train *t)
{
    head *h = t->state;
    if (!h) return;
    for (int i = 0; h->held_out && i < t->cli->held_out_count; i++) pfc_data_free(&h->held_out[i]);
    free(h->held_out);
    free(h->images);
    free(h->x.data);
    free(h->x_grad.data);
    free(h->labels);
    pfc_trainer_destroy(&h->trainer);
    pfc_encoder_destroy(&h->encoder);
    pfc_glyph_data_close(&h->glyphs);
    pfc_data_free(&h->data);
    free(h);
}

/* ---- a step, the accuracy ---- */

static void head_facts(const pfc_train *t, char *text, size_t size)
{
    const pfc_train_config *c = &t->settings.config;
    const pfc_case *v = t->settings.values;
    int used = 0;
    if (t->cli->glyphs)
        used = snprintf(text, size, "encoder %s, norm %s, augment %s, ", pfc_param_word(v, "encoder"), pfc_param_word(v, "norm"), pfc_param_word(v, "augment"));
    snprintf(text + used, size - (size_t)used, "head %s, C = %lld, D = %lld", pfc_param_word(v, "head"), (long long)c->num_classes,
             (long long)c->embedding_size);
}

/* x and labels of this rank's examples from whoever keeps them. */
static int fetch(pfc_train *t, head *h, pfc_train_step *step)
{
    double start = MPI_Wtime();
    pfc_status st = pfc_examples_fetch(t->ctx, &h->data.examples, step->examples, h->x.rows, h->x.data, h->labels);
    step->data_time = MPI_Wtime() - start;
    return pfc_train_failed(t, st, "examples");
}

/* x by the encoder. */
static int embed(pfc_train *t, head *h, pfc_train_step *step)
{
    double start = MPI_Wtime();
    int64_t S = h->glyphs.glyphs->size;
    for (int64_t i = 0; i < h->x.rows; i++) h->labels[i] = h->glyphs.set->example[step->examples[i]].class;
    if (pfc_glyph_data_rows(t, &h->glyphs, step->examples, 0, h->images)) return t->diag->exit_status;
    step->data_time = MPI_Wtime() - start;
    return pfc_train_failed(t, pfc_encoder_forward(h->encoder, pfc_view_make(h->images, PFC_F32, h->x.rows, S * S), 1, h->x), "encoder");
}

/* The head's loss is the mean over all ranks' rows, so the ranks' gradients add up to its gradient. */
static int learn(pfc_train *t, head *h, double lr)
{
    pfc_status st = pfc_encoder_backward(h->encoder, h->x_grad, 1.0, (pfc_view){ 0 });
    if (st == PFC_OK) st = pfc_encoder_update(h->encoder, lr);
    return pfc_train_failed(t, st, "encoder");
}

static int step_head(pfc_train *t, pfc_train_step *step)
{
    head *h = t->state;
    if ((h->encoder ? embed : fetch)(t, h, step)) return t->diag->exit_status;
    double start = MPI_Wtime();
    pfc_train_result result = { .x_grad = h->x_grad };
    pfc_status st = pfc_trainer_step(h->trainer, h->x, pfc_view_make(h->labels, PFC_I64, h->x.rows, 1), &result);
    step->head_time = MPI_Wtime() - start;
    step->loss = result.loss;
    if (pfc_train_failed(t, st, "step")) return t->diag->exit_status;
    return h->encoder ? learn(t, h, step->lr) : 0;
}

static int measure(pfc_train *t, const pfc_data *set)
{
    head *h = t->state;
    pfc_shard mine = pfc_shard_of(set->examples.count, t->cli->ranks, t->cli->rank);
    int64_t *classes = malloc((size_t)mine.count * sizeof *classes + 1), right = 0;
    if (!classes) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    if (!pfc_diag_agree(t->cli->comm, t->diag) &&
        !pfc_train_failed(t, pfc_trainer_nearest(h->trainer, pfc_view_make(set->examples.rows, PFC_F32, mine.count, set->width), classes), "accuracy")) {
        for (int64_t i = 0; i < mine.count; i++) right += classes[i] == set->examples.labels[i];
        MPI_Allreduce(MPI_IN_PLACE, &right, 1, MPI_INT64_T, MPI_SUM, t->cli->comm);
        pfc_train_tell(t, set->name, right, set->examples.count);
    }
    free(classes);
    return pfc_diag_agree(t->cli->comm, t->diag);
}

static int measure_glyphs(pfc_train *t, head *h)
{
    pfc_centres rows;
    if (!pfc_train_failed(t, pfc_agree(t->ctx, pfc_trainer_centres(h->trainer, &rows)), "accuracy")) pfc_network_evaluate(t, &h->glyphs, h->encoder, &rows);
    free(rows.rows.data);
    return t->diag->exit_status;
}

static int evaluate_head(pfc_train *t)
{
    head *h = t->state;
    if (h->encoder) return measure_glyphs(t, h);
    for (int i = 0; i < t->cli->held_out_count; i++)
        if (measure(t, &h->held_out[i])) break;
    return t->diag->exit_status;
}

/* ---- checkpoints ---- */

static pfc_status head_items(pfc_train *t, pfc_items *items)
{
    head *h = t->state;
    PFC_TRY(pfc_trainer_items(h->trainer, items));
    if (h->encoder) {
        pfc_glyph_data_items(t, &h->glyphs, items);
        pfc_settings_items(&t->settings, pfc_settings_of_encoder, items);
        return pfc_encoder_items_of(h->encoder, "encoder", items);
    }
    pfc_items_text(items, "features_sha256", h->data.features_sha256);
    pfc_items_text(items, "labels_sha256", h->data.labels_sha256);
    return PFC_OK;
}

static pfc_status take_head(pfc_train *t, const char *path, const pfc_items *items)
{
    head *h = t->state;
    PFC_TRY(pfc_agree(t->ctx, pfc_trainer_take(h->trainer, path, items)));
    return h->encoder ? pfc_encoder_restore(h->encoder) : PFC_OK;
}

const pfc_task pfc_task_head = {
    .name = "head",
    .settings = tables,
    .open = open_head,
    .facts = head_facts,
    .step = step_head,
    .evaluate = evaluate_head,
    .items = head_items,
    .take = take_head,
    .close = close_head,
};
