/* train_swav.c: task swav: swapped prediction of cluster assignments between views of glyphs.
 *
 * Caron et al., NeurIPS 2020 (arXiv:2006.09882), appendix A.1; semantics.md section 5. P ranks, b images on each, V views ("crops", here all of one size), the
 * first A of which are assigned, K prototypes, D width of an embedding.
 *
 *   step                                                                                          holds afterwards
 *   1  V views of every image (augment.h)                                                         images (V b, S*S)
 *   2  encoder of all views at once, batch norm in training mode; projection head on top          features (V b, F), embeddings (V b, D)
 *   3  at the start of an epoch: the queue's flag goes off; a queue, from its first epoch on      queue (A L, D)
 *   4  pfc_swav_step: projection, scores, assignment with queue, loss, gradients                  grad (V b, D), assignment (A b, K)
 *   5  SGD by the mean of the ranks' gradients (1.8), at one rate for everything; prototypes
 *      stay as they are in the first freeze_prototypes_niters steps                               encoder, head, prototypes (K,D)
 *
 * Each rank has the mean loss of its own rows; what is logged is the mean over the ranks. ln K is the loss of a network that tells nothing apart.
 * The projection head, the source's Linear-BN-ReLU-Linear, is for the loss: accuracy is that of the encoder's features. */
#include "case/internal.h"
#include "case/swav_case.h"
#include "driver/train_views.h"
#include "train/swav_state.h"
#include <math.h>
#include <pfc/shard.h>
#include <stdlib.h>

enum { USED_BY = 4096 }; /* images that are asked for their nearest prototype */

typedef struct swav {
    pfc_views views;
    pfc_encoder *head; /* NULL: none, features are embeddings */
    pfc_swav *layer;
    int64_t K, A, D;
    pfc_view features, feature_grad, embeddings, grad, assignment; /* real; without a head the first two have no data */
} swav;

static const pfc_param_spec of_swav[] = {
    { "num_prototypes", PFC_PARAM_INT, "3000", NULL, "K" },
    { "crops", PFC_PARAM_INT, "2", NULL, "views of every image" },
    { "num_assign", PFC_PARAM_INT, "2", NULL, "the first so many crops are assigned" },
    { "feat_dim", PFC_PARAM_INT, "128", NULL, "D, of the projection head; 0: no head" },
    { "hidden_mlp", PFC_PARAM_INT, "512", NULL, "hidden units of the head; 0: one linear layer" },
    PFC_SETTING_OF("swav", "temperature"),
    PFC_SINKHORN_PARAMS,
    PFC_SETTING_OF("swav", "log_softmax"),
    { "queue_length", PFC_PARAM_INT, "0", NULL, "earlier images on all ranks, rounded down to batches; 0: no queue" },
    { "epoch_queue_starts", PFC_PARAM_INT, "15", NULL, "first epoch with a queue" },
    { "freeze_prototypes_niters", PFC_PARAM_INT, "313", NULL, "steps in which the prototypes stay as they are" },
    { "larc", PFC_PARAM_INT, "0", "0|1", "layer-wise rate of the prototypes; the encoder has none" },
    { "larc_trust", PFC_PARAM_REAL, "0.001", NULL, "" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};
static const pfc_param_spec *const tables[] = { of_swav, pfc_settings_of_glyphs, pfc_settings_of_encoder, NULL };

/* ---- open and close ---- */

/* What the library would take, but not a run. */
static int check(pfc_train *t)
{
    const pfc_case *v = t->settings.values;
    long long crops = pfc_param_int(v, "crops"), length = pfc_param_int(v, "queue_length"), batch = t->settings.config.batch;
    long long prototypes = pfc_param_int(v, "num_prototypes");
    static const char *const counts[] = { "feat_dim", "hidden_mlp", "epoch_queue_starts", "freeze_prototypes_niters" };
    if (t->settings.config.nesterov) return pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "nesterov: task swav has none, as the prototypes' update has none");
    if (crops < 2 || crops > PFC_AUGMENT_VIEWS) return pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "crops: found %lld, expected 2 to %d", crops, PFC_AUGMENT_VIEWS);
    if (prototypes > INT32_MAX) return pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "num_prototypes: found %lld, expected up to %d", prototypes, INT32_MAX);
    if (length > 0 && length < batch) /* the source would go without, and say nothing */
        return pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "queue_length: found %lld, expected 0, or at least the batch of %lld", length, batch);
    for (int i = 0; i < 4 && !t->diag->exit_status; i++) pfc_settings_at_least(&t->settings, counts[i], 0, t->diag);
    return t->diag->exit_status;
}

/* Linear-BN-ReLU-Linear, or Linear. */
static int make_head(pfc_train *t, swav *s)
{
    pfc_encoder_config c = s->views.config;
    int64_t out = pfc_param_int(t->settings.values, "feat_dim"), hidden = pfc_param_int(t->settings.values, "hidden_mlp");
    s->D = out ? out : s->views.D;
    if (!out) return 0;
    c.layers = 0;
    c.widths[0] = s->views.D;
    if (hidden) c.widths[++c.layers] = hidden;
    c.widths[++c.layers] = out;
    c.last_norm = 0;
    c.seed = (int64_t)((uint64_t)c.seed + 1); /* other weights than the encoder's */
    return pfc_train_failed(t, pfc_encoder_create(t->ctx, &c, &s->head), "projection head");
}

static int make_layer(pfc_train *t, swav *s)
{
    static const int64_t crops[PFC_AUGMENT_VIEWS] = { 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15 };
    const pfc_case *v = t->settings.values;
    pfc_swav_config c = pfc_swav_defaults();
    c.num_prototypes = s->K = pfc_param_int(v, "num_prototypes");
    c.embedding_size = s->D;
    c.crops = s->views.count;
    c.num_assign = s->A = pfc_param_int(v, "num_assign");
    c.crops_for_assign = crops;
    c.temperature = pfc_param_real(v, "temperature");
    c.sinkhorn = pfc_case_sinkhorn_config(v);
    c.log_softmax = (pfc_log_softmax)pfc_param_choice(v, "log_softmax");
    c.queue_length = pfc_param_int(v, "queue_length");
    c.epoch_queue_starts = pfc_param_int(v, "epoch_queue_starts");
    c.momentum = t->settings.config.momentum;
    c.weight_decay = t->settings.config.weight_decay;
    c.larc = (int)pfc_param_int(v, "larc");
    c.larc_trust = pfc_param_real(v, "larc_trust");
    c.seed = t->settings.config.seed;
    if (s->A < 1 || s->A > c.crops)
        return pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "num_assign: found %lld, expected 1 to %lld, the crops", (long long)s->A, (long long)c.crops);
    return pfc_train_failed(t, pfc_swav_create(t->ctx, &c, &s->layer), "swav");
}

static pfc_view rows_of(pfc_dtype type, int64_t rows, int64_t cols)
{
    return pfc_view_make(malloc((size_t)(rows * cols) * pfc_dtype_size(type) + 1), type, rows, cols);
}

static int make_rows(pfc_train *t, swav *s)
{
    pfc_dtype real = pfc_ctx_real(t->ctx);
    int64_t rows = s->views.count * s->views.b;
    s->embeddings = rows_of(real, rows, s->D);
    s->grad = rows_of(real, rows, s->D);
    s->assignment = rows_of(real, s->A * s->views.b, s->K);
    bool made = s->embeddings.data && s->grad.data && s->assignment.data;
    if (s->head) {
        s->features = rows_of(real, rows, s->views.D);
        s->feature_grad = rows_of(real, rows, s->views.D);
        made = made && s->features.data && s->feature_grad.data;
    }
    if (!made) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    return pfc_diag_agree(t->cli->comm, t->diag);
}

static int open_swav(pfc_train *t)
{
    swav *s = t->state = calloc(1, sizeof *s);
    if (!s) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    if (pfc_diag_agree(t->cli->comm, t->diag) || check(t)) return t->diag->exit_status;
    if (pfc_views_open(t, &s->views, (int)pfc_param_int(t->settings.values, "crops")) || make_head(t, s) || make_layer(t, s)) return t->diag->exit_status;
    return make_rows(t, s);
}

static void close_swav(pfc_train *t)
{
    swav *s = t->state;
    if (!s) return;
    free(s->features.data);
    free(s->feature_grad.data);
    free(s->embeddings.data);
    free(s->grad.data);
    free(s->assignment.data);
    pfc_swav_destroy(&s->layer);
    pfc_encoder_destroy(&s->head);
    pfc_views_close(&s->views);
    free(s);
}

static void swav_facts(const pfc_train *t, char *text, size_t size)
{
    const pfc_case *v = t->settings.values;
    const swav *s = t->state;
    long long length = pfc_param_int(v, "queue_length"), batch = t->settings.config.batch;
    int used = snprintf(text, size, "swav, encoder %s, norm %s, augment %s, %d crops, D = %lld, K = %lld (ln K = %.4f)", pfc_param_word(v, "encoder"),
                        pfc_param_word(v, "norm"), pfc_param_word(v, "augment"), s->views.count, (long long)s->D, (long long)s->K, log((double)s->K));
    if (length > 0 && (size_t)used < size)
        snprintf(text + used, size - (size_t)used, ", queue %lld from epoch %lld", length - length % batch, (long long)pfc_param_int(v, "epoch_queue_starts"));
}

/* ---- a step ---- */

static double real_at(pfc_view v, int64_t i) { return v.dtype == PFC_F64 ? ((const double *)v.data)[i] : ((const float *)v.data)[i]; }

/* The prototype that a row of the assignment has most of, the first of equal ones. */
static int64_t assigned_to(const swav *s, int64_t row)
{
    int64_t best = 0;
    for (int64_t k = 1; k < s->K; k++)
        if (real_at(s->assignment, row * s->K + k) > real_at(s->assignment, row * s->K + best)) best = k;
    return best;
}

/* Share of this rank's images of which two crops are assigned to the same prototype. */
static double agreement(const swav *s)
{
    int64_t b = s->views.b, same = 0;
    for (int64_t n = 0; n < b; n++) same += assigned_to(s, n) == assigned_to(s, b + n);
    return (double)same / (double)b;
}

/* Embeddings of images, which may be fewer rows than a step's; features is room for the encoder's. Collective. */
static pfc_status embed(swav *s, pfc_view images, int training, pfc_view features, pfc_view embeddings)
{
    if (!s->head) return pfc_encoder_forward(s->views.encoder, images, training, embeddings);
    PFC_TRY(pfc_encoder_forward(s->views.encoder, images, training, features));
    return pfc_encoder_forward(s->head, features, training, embeddings);
}

/* SGD of head and encoder with the mean of the ranks' gradients. */
static int learn(pfc_train *t, swav *s, double lr)
{
    if (!s->head) return pfc_views_learn(t, &s->views, s->grad, lr);
    pfc_status st = pfc_encoder_backward(s->head, s->grad, t->cli->ranks, s->feature_grad);
    if (st == PFC_OK) st = pfc_encoder_update(s->head, lr);
    return pfc_train_failed(t, st, "projection head") || pfc_views_learn(t, &s->views, s->feature_grad, lr);
}

static int step_swav(pfc_train *t, pfc_train_step *step)
{
    swav *s = t->state;
    pfc_views *v = &s->views;
    int frozen = step->number < pfc_param_int(t->settings.values, "freeze_prototypes_niters");
    pfc_swav_result result = { .assignment = s->assignment, .embedding_grad = s->grad };
    if (pfc_views_fetch(t, v, step)) return t->diag->exit_status;                                                                     /* 1 */
    pfc_status st = embed(s, pfc_view_make(v->images, PFC_F32, v->count * v->b, v->config.widths[0]), 1, s->features, s->embeddings); /* 2 */
    if (pfc_train_failed(t, st, "encoder")) return t->diag->exit_status;
    double start = MPI_Wtime();
    if (step->number % pfc_plan_epoch_steps(&v->plan) == 0) st = pfc_swav_begin_epoch(s->layer, pfc_plan_epoch(&v->plan), v->b); /* 3 */
    if (st == PFC_OK) st = pfc_swav_step(s->layer, s->embeddings, frozen, &result);                                              /* 4 */
    if (st == PFC_OK) st = pfc_agree(t->ctx, pfc_swav_update(s->layer, step->lr));                                               /* 5 */
    step->head_time = MPI_Wtime() - start;
    if (pfc_train_failed(t, st, "swav") || learn(t, s, step->lr)) return t->diag->exit_status;
    v->plan.steps++;
    double means[2] = { result.loss, s->A > 1 ? agreement(s) : NAN };
    if (pfc_views_mean(t, means, 2)) return t->diag->exit_status;
    step->loss = means[0];
    step->accuracy = means[1];
    return 0;
}

/* ---- accuracy ---- */

/* nearest (count) <- the nearest prototypes of this rank's part of the images, which are spread evenly over the training examples and not moved. */
static pfc_status nearest_prototypes(pfc_train *t, swav *s, pfc_shard part, int64_t images, int64_t *nearest)
{
    const pfc_glyph_set *set = s->views.glyphs.set;
    pfc_augment still = pfc_augment_defaults(s->views.glyphs.glyphs->size);
    pfc_dtype real = pfc_ctx_real(t->ctx);
    pfc_shard mine = pfc_shard_of(s->K, t->cli->ranks, t->cli->rank);
    pfc_view x = rows_of(PFC_F32, part.count, s->views.config.widths[0]), y = rows_of(real, part.count, s->D);
    pfc_view features = rows_of(real, part.count, s->views.D), prototypes = rows_of(real, s->K, s->D);
    const unsigned char **pixels = malloc((size_t)part.count * sizeof *pixels + 1);
    pfc_status st = x.data && y.data && features.data && prototypes.data && pixels ? PFC_OK : pfc_fail(t->ctx, PFC_ERR_NOMEM, "out of memory");
    for (int64_t i = 0; i < part.count && st == PFC_OK; i++) {
        const pfc_glyph_example *e = &set->example[(part.start + i) * set->examples / images];
        pixels[i] = pfc_glyph(set->glyphs, e->face, e->character);
    }
    if (st == PFC_OK) st = pfc_augment_rows(t->ctx, &still, 0, 0, part.count, pixels, NULL, x.data);
    if (st == PFC_OK) st = pfc_swav_get_prototypes(s->layer, prototypes, (pfc_view){ 0 });
    st = pfc_agree(t->ctx, st);
    if (st == PFC_OK) st = embed(s, x, 0, features, y);
    pfc_centres centres = { .classes = s->K, .subcenters = 1, .cosine = true, .rows = pfc_view_rows(prototypes, mine.start, mine.count) };
    if (st == PFC_OK) st = pfc_nearest(t->ctx, &centres, y, nearest);
    free(x.data);
    free(y.data);
    free(features.data);
    free(prototypes.data);
    free(pixels);
    return st;
}

/* How many prototypes are the nearest of an image at all: one if the network has collapsed. */
static int tell_used(pfc_train *t, swav *s)
{
    int64_t examples = s->views.glyphs.set->examples, images = examples < USED_BY ? examples : USED_BY, used = 0;
    pfc_shard part = pfc_shard_of(images, t->cli->ranks, t->cli->rank);
    int64_t *nearest = malloc((size_t)part.count * sizeof *nearest + 1);
    unsigned char *seen = calloc((size_t)s->K, 1);
    if (!nearest || !seen) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    if (!pfc_diag_agree(t->cli->comm, t->diag) && !pfc_train_failed(t, nearest_prototypes(t, s, part, images, nearest), "prototypes")) {
        for (int64_t i = 0; i < part.count; i++)
            if (nearest[i] >= 0) seen[nearest[i]] = 1;
        MPI_Allreduce(MPI_IN_PLACE, seen, (int)s->K, MPI_UNSIGNED_CHAR, MPI_MAX, t->cli->comm);
        for (int64_t k = 0; k < s->K; k++) used += seen[k];
        pfc_train_tell_share(t, "prototypes used", used, s->K);
    }
    free(nearest);
    free(seen);
    return pfc_diag_agree(t->cli->comm, t->diag);
}

static int evaluate_swav(pfc_train *t)
{
    swav *s = t->state;
    return tell_used(t, s) || pfc_network_evaluate(t, &s->views.glyphs, s->views.encoder, NULL);
}

/* ---- checkpoints ---- */

static pfc_status swav_items(pfc_train *t, pfc_items *items)
{
    swav *s = t->state;
    PFC_TRY(pfc_views_items(t, &s->views, items));
    pfc_settings_items(&t->settings, of_swav, items);
    if (s->head) PFC_TRY(pfc_encoder_items_of(s->head, "projection", items));
    return pfc_swav_items(s->layer, t->settings.config.batch, items);
}

static pfc_status take_swav(pfc_train *t, const char *path, const pfc_items *items)
{
    swav *s = t->state;
    PFC_TRY(pfc_agree(t->ctx, pfc_swav_take(s->layer, t->settings.config.batch, path, items)));
    PFC_TRY(pfc_views_take(t, &s->views, path, items));
    return s->head ? pfc_encoder_restore(s->head) : PFC_OK;
}

const pfc_task pfc_task_swav = {
    .name = "swav",
    .settings = tables,
    .open = open_swav,
    .facts = swav_facts,
    .step = step_swav,
    .evaluate = evaluate_swav,
    .items = swav_items,
    .take = take_swav,
    .close = close_swav,
};
