/* train_network.c: glyphs chosen by the settings, encoders made by them, accuracy on the held-out faces. */
#include "driver/train_network.h"
#include "case/internal.h"
#include "train/class_means.h"
#include "train/encoder.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { EMBED_ROWS = 256 }; /* of a round on a rank */

const pfc_param_spec pfc_settings_of_glyphs[] = {
    { "train_faces", PFC_PARAM_TEXT, "", NULL, "KEY+KEY+...; without: all but the held-out ones" },
    { "held_faces", PFC_PARAM_TEXT, "", NULL, "faces to measure the accuracy on" },
    { "min_faces", PFC_PARAM_INT, "1", NULL, "training faces that a class must have" },
    { "classes", PFC_PARAM_INT, "0", NULL, "so many of them, drawn by the seed; 0: all" },
    { "augment", PFC_PARAM_WORD, "none", "none|shift|affine", "what moves the images of a step" },
    { "stretch", PFC_PARAM_REAL, "0.12", NULL, "affine: scale and shear" },
    { "translation", PFC_PARAM_REAL, "0.05", NULL, "affine: of the side" },
    { "noise", PFC_PARAM_REAL, "0", NULL, "added to every pixel, up to this" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

const pfc_param_spec pfc_settings_of_encoder[] = {
    { "encoder", PFC_PARAM_TEXT, "256-512-128", NULL, "widths: of the input, of every layer" },
    { "last_norm", PFC_PARAM_INT, "1", "0|1", "batch norm after the last layer, too" },
    { "norm", PFC_PARAM_WORD, "sync", "plain|sub|sync", "batch norm of a rank, of parts of its rows, of ranks together" },
    { "norm_devices", PFC_PARAM_INT, "0", NULL, "sync: ranks together; 0: all" },
    { "norm_splits", PFC_PARAM_INT, "1", NULL, "sub: parts" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

/* ---- glyphs ---- */

static pfc_glyph_choice choice_of(const pfc_settings *s)
{
    return (pfc_glyph_choice){ .train = pfc_param_word(s->values, "train_faces"),
                               .held = pfc_param_word(s->values, "held_faces"),
                               .min_faces = pfc_param_int(s->values, "min_faces"),
                               .classes = pfc_param_int(s->values, "classes"),
                               .seed = s->config.seed };
}

static void fill_augment(const pfc_settings *s, pfc_augment *a)
{
    a->kind = (pfc_augment_kind)pfc_param_choice(s->values, "augment");
    a->stretch = pfc_param_real(s->values, "stretch");
    a->translation = pfc_param_real(s->values, "translation");
    a->noise = pfc_param_real(s->values, "noise");
    a->seed = s->config.seed;
}

int pfc_glyph_data_open(pfc_train *t, pfc_glyph_data *d)
{
    char path[1100];
    int64_t batch = t->settings.config.batch;
    if (!t->cli->glyphs) return pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "task %s: --glyphs is needed", t->task->name);
    if (pfc_shipped_file(t->cli, "--glyphs", t->cli->glyphs, "", path, sizeof path, t->diag)) return t->diag->exit_status;
    if (pfc_train_failed(t, pfc_glyphs_open(t->ctx, path, &d->glyphs), path)) return t->diag->exit_status;
    pfc_glyph_choice choice = choice_of(&t->settings);
    if (pfc_train_failed(t, pfc_glyph_set_make(t->ctx, d->glyphs, &choice, &d->set), path)) return t->diag->exit_status;
    d->augment = pfc_augment_defaults(d->glyphs->size);
    fill_augment(&t->settings, &d->augment);
    t->settings.config.examples = d->set->examples;
    t->settings.config.num_classes = d->set->classes;
    d->pixels = malloc((size_t)(batch < d->set->examples ? batch : d->set->examples) * sizeof *d->pixels); /* a batch beyond the data: the plan says so */
    if (!d->pixels) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    return pfc_diag_agree(t->cli->comm, t->diag);
}

void pfc_glyph_data_close(pfc_glyph_data *d)
{
    free(d->pixels);
    pfc_glyph_set_free(&d->set);
    pfc_glyphs_close(&d->glyphs);
}

int pfc_glyph_data_rows(pfc_train *t, pfc_glyph_data *d, const int64_t *examples, int view, float *images)
{
    int64_t b = pfc_plan_rows(t->plan);
    for (int64_t i = 0; i < b; i++) {
        const pfc_glyph_example *e = &d->set->example[examples[i]];
        d->pixels[i] = pfc_glyph(d->glyphs, e->face, e->character);
    }
    return pfc_train_failed(t, pfc_agree(t->ctx, pfc_augment_rows(t->ctx, &d->augment, pfc_plan_epoch(t->plan), view, b, d->pixels, examples, images)),
                            "augment");
}

void pfc_glyph_data_items(const pfc_train *t, const pfc_glyph_data *d, pfc_items *items)
{
    pfc_items_text(items, "glyphs_sha256", d->glyphs->sha256);
    pfc_settings_items(&t->settings, pfc_settings_of_glyphs, items);
}

/* ---- encoders ---- */

/* "256-512-128" */
static bool parse_widths(const char *text, pfc_encoder_config *c)
{
    for (c->layers = -1; c->layers < PFC_ENCODER_LAYERS;) {
        char *end;
        errno = 0;
        long long width = strtoll(text, &end, 10);
        if (end == text || errno || width < 1 || (*end && *end != '-')) return false;
        c->widths[++c->layers] = width;
        if (!*end) return c->layers > 0;
        text = end + 1;
    }
    return false;
}

int pfc_encoder_config_of(pfc_train *t, const pfc_glyph_data *d, pfc_encoder_config *c)
{
    const pfc_case *v = t->settings.values;
    const char *widths = pfc_param_word(v, "encoder");
    int64_t S = d->glyphs->size;
    *c = pfc_encoder_defaults();
    c->last_norm = (int)pfc_param_int(v, "last_norm");
    c->norm.kind = (pfc_bn_kind)pfc_param_choice(v, "norm");
    c->norm.num_sync_devices = pfc_param_int(v, "norm_devices");
    c->norm.num_splits = pfc_param_int(v, "norm_splits");
    c->momentum = t->settings.config.momentum;
    c->weight_decay = t->settings.config.weight_decay;
    c->nesterov = t->settings.config.nesterov;
    c->seed = t->settings.config.seed;
    if (!parse_widths(widths, c))
        return pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "encoder: found %s, expected widths from the input's to the output's, up to %d layers: 256-512-128",
                             widths, PFC_ENCODER_LAYERS);
    if (c->widths[0] != S * S)
        return pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "encoder: found %s, expected %lld-..., as the glyphs have %lld x %lld pixels", widths, (long long)(S * S),
                             (long long)S, (long long)S);
    return 0;
}

pfc_status pfc_encoder_items_of(pfc_encoder *encoder, const char *prefix, pfc_items *items)
{
    pfc_item list[PFC_ENCODER_ITEMS];
    int count = 0;
    PFC_TRY(pfc_encoder_items(encoder, prefix, list, PFC_ENCODER_ITEMS, &count));
    for (int i = 0; i < count; i++) pfc_items_add(items, list[i]);
    return PFC_OK;
}

/* ---- accuracy ---- */

static pfc_status embed(void *encoder, pfc_view images, pfc_view embeddings) { return pfc_encoder_forward(encoder, images, 0, embeddings); }

static void tell(pfc_train *t, const pfc_glyph_set *set, const char *kind, const int64_t *right)
{
    for (int64_t h = 0; h < set->held; h++) {
        char name[64];
        snprintf(name, sizeof name, "%s %s", pfc_glyph_key(set->glyphs, set->held_face[h]), kind);
        pfc_train_tell(t, name, right[h], set->query_first[h + 1] - set->query_first[h]);
    }
}

int pfc_network_evaluate(pfc_train *t, const pfc_glyph_data *d, pfc_encoder *encoder, const pfc_centres *head)
{
    const pfc_glyph_set *set = d->set;
    if (!set->held) return t->diag->exit_status;
    int64_t D = encoder->cfg.widths[encoder->cfg.layers], rows = pfc_shard_of(set->classes, t->cli->ranks, t->cli->rank).count;
    pfc_dtype real = pfc_ctx_real(t->ctx);
    void *means = malloc((size_t)(rows * D) * pfc_dtype_size(real) + 1);
    int64_t *right = calloc(2 * (size_t)set->held, sizeof *right);
    pfc_centres centres[2] = { { .classes = set->classes, .subcenters = 1, .cosine = true, .rows = pfc_view_make(means, real, rows, D) } };
    if (head) centres[1] = *head;
    if (!means || !right) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    if (!pfc_diag_agree(t->cli->comm, t->diag) &&
        !pfc_train_failed(t, pfc_class_means(t->ctx, set, embed, encoder, EMBED_ROWS, centres[0].rows), "class means") &&
        !pfc_train_failed(t, pfc_held_out_right(t->ctx, set, embed, encoder, EMBED_ROWS, centres, head ? 2 : 1, right), "accuracy")) {
        tell(t, set, "mean", right);
        if (head) tell(t, set, "W", right + set->held);
    }
    free(means);
    free(right);
    return pfc_diag_agree(t->cli->comm, t->diag);
}
