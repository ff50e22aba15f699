/* train_head.c: task head: partial_fc or the ArcFace head, on the user's features, or on glyphs through an encoder that learns with it. */
#include "case/internal.h"
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
    { "head", PFC_PARAM_WORD, "cos", "linear|cos|arc|circle|arcface_head", "partial_fc's kinds, or arcface_head" },
    { "num_classes", PFC_PARAM_INT, "", NULL, "the largest label + 1" },
    { "scale", PFC_PARAM_REAL, "64", NULL, "" },
    { "margin", PFC_PARAM_REAL, "", NULL, "0.4; arcface_head 0.5" },
    { "cos_clamp", PFC_PARAM_INT, "0", "0|1", "" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};
static const pfc_param_spec of_partial_fc[] = {
    { "sample_rate", PFC_PARAM_REAL, "1", NULL, "" },
    { "num_sample", PFC_PARAM_INT, "", NULL, "" },
    { "sample_rule", PFC_PARAM_WORD, "shard", "shard|global", "global: independent of the number of ranks" },
    { "loss", PFC_PARAM_WORD, "clamp", "clamp|lse", "" },
    { "arc_gradient", PFC_PARAM_WORD, "exact", "exact|straight_through", "" },
    { "arc_fallback", PFC_PARAM_WORD, "none", "none|linear|easy", "" },
    { "interclass_threshold", PFC_PARAM_REAL, "0", NULL, "" },
    { "momentum_rule", PFC_PARAM_WORD, "lazy", "lazy|dense", "" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};
static const pfc_param_spec of_arcface[] = {
    { "num_subcenters", PFC_PARAM_INT, "1", NULL, "" }, { "easy_margin", PFC_PARAM_INT, "0", "0|1", "" },
    { "feature_norm", PFC_PARAM_INT, "1", "0|1", "" },  { "weight_norm", PFC_PARAM_INT, "1", "0|1", "" },
    { "loss_weight", PFC_PARAM_REAL, "1", NULL, "" },   { "margin_constants", PFC_PARAM_WORD, "init", "init|set", "" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};
static const pfc_param_spec *const tables[] = { of_head, of_partial_fc, of_arcface, pfc_settings_of_glyphs, pfc_settings_of_encoder, NULL };

static void fill_partial_fc(const pfc_case *c, pfc_partial_fc_config *p)
{
    p->head = (pfc_head_kind)pfc_param_choice(c, "head");
    p->scale = pfc_param_real(c, "scale");
    if (pfc_param_present(c, "margin")) p->margin = pfc_param_real(c, "margin");
    p->sample_rate = pfc_param_real(c, "sample_rate");
    if (pfc_param_present(c, "num_sample")) p->num_sample = pfc_param_int(c, "num_sample");
    p->sample_rule = (pfc_sample_rule)pfc_param_choice(c, "sample_rule");
    p->loss = (pfc_loss_kind)pfc_param_choice(c, "loss");
    p->arc_gradient = (pfc_arc_gradient)pfc_param_choice(c, "arc_gradient");
    p->arc_fallback = (pfc_arc_fallback)pfc_param_choice(c, "arc_fallback");
    p->cos_clamp = (int)pfc_param_int(c, "cos_clamp");
    p->interclass_threshold = pfc_param_real(c, "interclass_threshold");
    p->momentum_rule = (pfc_momentum_rule)pfc_param_choice(c, "momentum_rule");
}

static void fill_arcface(const pfc_case *c, pfc_arcface_config *a)
{
    a->num_subcenters = pfc_param_int(c, "num_subcenters");
    a->scale = pfc_param_real(c, "scale");
    if (pfc_param_present(c, "margin")) a->margin = pfc_param_real(c, "margin");
    a->margin_constants = (pfc_margin_constants)pfc_param_choice(c, "margin_constants");
    a->easy_margin = (int)pfc_param_int(c, "easy_margin");
    a->feature_norm = (int)pfc_param_int(c, "feature_norm");
    a->weight_norm = (int)pfc_param_int(c, "weight_norm");
    a->loss_weight = pfc_param_real(c, "loss_weight");
    a->cos_clamp = (int)pfc_param_int(c, "cos_clamp");
}

/* A setting that the head does not have would be overlooked. */
static int fill_config(pfc_train *t)
{
    pfc_settings *s = &t->settings;
    char why[80];
    bool arcface = strcmp(pfc_param_word(s->values, "head"), "arcface_head") == 0;
    snprintf(why, sizeof why, "head %s has no such setting", pfc_param_word(s->values, "head"));
    s->config.layer = arcface ? PFC_TRAIN_ARCFACE : PFC_TRAIN_PARTIAL_FC;
    if (arcface)
        fill_arcface(s->values, &s->config.arcface);
    else
        fill_partial_fc(s->values, &s->config.partial_fc);
    s->config.num_classes = pfc_settings_optional(s, "num_classes");
    if (pfc_param_present(s->values, "num_classes") && s->config.num_classes < 1)
        pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "num_classes: found %lld, expected 1 or more", (long long)s->config.num_classes);
    if (pfc_param_present(s->values, "num_sample") && pfc_param_int(s->values, "num_sample") < 0)
        pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "num_sample: found %lld, expected 0 or more", (long long)pfc_param_int(s->values, "num_sample"));
    if (pfc_settings_refuse(s, arcface ? of_partial_fc : of_arcface, why, t->diag)) return t->diag->exit_status;
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
