/* train_moco.c: task moco: momentum contrast on glyphs.
 *
 * He et al., CVPR 2020 (arXiv:1911.05722), algorithm 1; semantics.md section 6. P ranks, b images on each, D width of an embedding, K keys in the queue.
 *
 *   step                                                                                            holds afterwards
 *   1  two views of every image (augment.h)                                                         images (2 b, S*S)
 *   2  queries        encoder(view 0), batch norm in training mode                                  query (b,D)
 *   3  keys           the hook (6.3): theta_k follows theta_q as it is before this step's update;   keys (b,D)
 *                     view 1 shuffled over the ranks, key encoder in training mode, keys put back
 *   4  loss           InfoNCE against the queue, its gradient; the keys go into the queue (6.4)     grad (b,D)
 *   5  update         SGD by the mean of the ranks' gradients (1.8)                                 theta_q
 *
 * Each rank has the mean loss of its own rows. The key encoder is an encoder of its own: its parameters are set before every forward, its batch norm has
 * statistics of its own (6.3), which nothing reads in training. */
#include "case/internal.h"
#include "driver/train_views.h"
#include <pfc/moco.h>
#include <stdlib.h>
#include <string.h>

typedef struct moco {
    pfc_views views;
    pfc_encoder *key;
    pfc_moco *moco;
    int shuffle;
    pfc_view params;            /* (1,n) f32: theta_q */
    pfc_view query, keys, grad; /* (b,D) real */
} moco;

static const pfc_param_spec of_moco[] = {
    { "queue_size", PFC_PARAM_INT, "65536", NULL, "keys in the queue; a multiple of batch" },
    PFC_SETTING_OF("moco", "temperature"),
    { "key_momentum", PFC_PARAM_REAL, "0.999", NULL, "of the key encoder's parameters" },
    { "shuffle", PFC_PARAM_INT, "1", "0|1", "key images to other ranks, keys back" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};
static const pfc_param_spec *const tables[] = { of_moco, pfc_settings_of_glyphs, pfc_settings_of_encoder, NULL };

/* ---- open and close ---- */

static int make_moco(pfc_train *t, moco *m)
{
    const pfc_case *v = t->settings.values;
    pfc_moco_config c = pfc_moco_defaults();
    c.num_params = pfc_encoder_params(m->views.encoder);
    c.embedding_size = m->views.D;
    c.queue_size = pfc_param_int(v, "queue_size");
    c.momentum = pfc_param_real(v, "key_momentum");
    c.temperature = pfc_param_real(v, "temperature");
    c.seed = t->settings.config.seed;
    m->shuffle = (int)pfc_param_int(v, "shuffle");
    if (c.queue_size < 1 || c.queue_size % t->settings.config.batch) /* known before the first step */
        return pfc_diag_fail(t->diag, PFC_EXIT_USAGE, "queue_size: found %lld, expected a multiple of batch, %lld", (long long)c.queue_size,
                             (long long)t->settings.config.batch);
    return pfc_train_failed(t, pfc_moco_create(t->ctx, &c, &m->moco), "moco");
}

static int make_rows(pfc_train *t, moco *m)
{
    pfc_dtype real = pfc_ctx_real(t->ctx);
    int64_t n = pfc_encoder_params(m->views.encoder), b = m->views.b, D = m->views.D;
    pfc_view *views[] = { &m->query, &m->keys, &m->grad };
    m->params = pfc_view_make(malloc((size_t)n * sizeof(float)), PFC_F32, 1, n);
    bool made = m->params.data != NULL;
    for (int i = 0; i < 3; i++) {
        *views[i] = pfc_view_make(malloc((size_t)(b * D) * pfc_dtype_size(real)), real, b, D);
        made = made && views[i]->data;
    }
    if (!made) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    return pfc_diag_agree(t->cli->comm, t->diag);
}

static int open_moco(pfc_train *t)
{
    moco *m = t->state = calloc(1, sizeof *m);
    if (!m) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    if (pfc_diag_agree(t->cli->comm, t->diag) || pfc_views_open(t, &m->views, 2)) return t->diag->exit_status;
    if (pfc_train_failed(t, pfc_encoder_create(t->ctx, &m->views.config, &m->key), "key encoder") || make_moco(t, m)) return t->diag->exit_status;
    return make_rows(t, m);
}

static void close_moco(pfc_train *t)
{
    moco *m = t->state;
    if (!m) return;
    free(m->params.data);
    free(m->query.data);
    free(m->keys.data);
    free(m->grad.data);
    pfc_moco_destroy(&m->moco);
    pfc_encoder_destroy(&m->key);
    pfc_views_close(&m->views);
    free(m);
}

static void moco_facts(const pfc_train *t, char *text, size_t size)
{
    const pfc_case *v = t->settings.values;
    snprintf(text, size, "moco, encoder %s, norm %s, %s, augment %s, C = %lld, K = %lld", pfc_param_word(v, "encoder"), pfc_param_word(v, "norm"),
             pfc_param_int(v, "shuffle") ? "shuffled" : "not shuffled", pfc_param_word(v, "augment"), (long long)t->settings.config.num_classes,
             (long long)pfc_param_int(v, "queue_size"));
}

/* ---- a step, the accuracy ---- */

static int encode_keys(void *user, pfc_view params_k, pfc_view images, pfc_view keys)
{
    moco *m = user;
    pfc_status st = pfc_agree(m->views.plan.ctx, pfc_encoder_set_params(m->key, params_k));
    return (int)(st == PFC_OK ? pfc_encoder_forward(m->key, images, 1, keys) : st);
}

static int step_moco(pfc_train *t, pfc_train_step *step)
{
    moco *m = t->state;
    pfc_views *v = &m->views;
    pfc_moco_result result = { .query_grad = m->grad };
    if (pfc_views_fetch(t, v, step)) return t->diag->exit_status;                         /* 1 */
    pfc_status st = pfc_encoder_forward(v->encoder, pfc_views_images(v, 0), 1, m->query); /* 2 */
    if (pfc_train_failed(t, st, "encoder")) return t->diag->exit_status;
    st = pfc_agree(t->ctx, pfc_encoder_get_params(v->encoder, m->params));
    if (st == PFC_OK) /* 3 */
        st = pfc_moco_hook(m->moco, m->params, pfc_views_images(v, 1), encode_keys, m, m->shuffle, step->number, m->keys);
    if (st == PFC_OK) st = pfc_moco_step(m->moco, m->query, m->keys, &result);                                    /* 4 */
    if (pfc_train_failed(t, st, "moco") || pfc_views_learn(t, v, m->grad, step->lr)) return t->diag->exit_status; /* 5 */
    v->plan.steps++;
    double means[2] = { result.loss, (double)result.correct / (double)v->b };
    if (pfc_views_mean(t, means, 2)) return t->diag->exit_status;
    step->loss = means[0];
    step->accuracy = means[1];
    return 0;
}

static int evaluate_moco(pfc_train *t)
{
    moco *m = t->state;
    return pfc_network_evaluate(t, &m->views.glyphs, m->views.encoder, NULL);
}

/* ---- checkpoints ---- */

/* Parameters and statistics of the key encoder: it has no momentum. */
static pfc_status key_items(moco *m, pfc_items *items)
{
    pfc_items all = { 0 };
    pfc_status st = pfc_encoder_items_of(m->key, "key", &all);
    for (int i = 0; i < all.count && st == PFC_OK; i++)
        if (!strstr(all.list[i].name, "momentum")) pfc_items_add(items, all.list[i]);
    if (all.incomplete) items->incomplete = true;
    pfc_items_free(&all);
    return st;
}

/* The key parameters that the key encoder had in the last step are those of the state: float32 there, rounded by the next hook. */
static pfc_status moco_items(pfc_train *t, pfc_items *items)
{
    moco *m = t->state;
    int64_t K = pfc_param_int(t->settings.values, "queue_size");
    PFC_TRY(pfc_views_items(t, &m->views, items));
    pfc_settings_items(&t->settings, of_moco, items);
    PFC_TRY(key_items(m, items));
    float *queue = pfc_items_tensor(items, "queue", PFC_F32, K, m->views.D, 0, K);
    int64_t *ptr = pfc_items_memory(items, sizeof *ptr);
    if (!queue || !ptr) return PFC_OK; /* the list says so */
    pfc_items_add(items, pfc_item_int("queue_ptr", ptr, 0));
    return pfc_moco_get_queue(m->moco, pfc_view_make(queue, PFC_F32, K, m->views.D), ptr);
}

static pfc_status take_moco(pfc_train *t, const char *path, const pfc_items *items)
{
    moco *m = t->state;
    int64_t K = pfc_param_int(t->settings.values, "queue_size");
    PFC_TRY(pfc_views_take(t, &m->views, path, items));
    PFC_TRY(pfc_encoder_restore(m->key));
    pfc_view queue = pfc_view_make(pfc_items_data(items, "queue", true), PFC_F32, K, m->views.D);
    pfc_status st = pfc_moco_set_queue(m->moco, queue, *(int64_t *)pfc_items_data(items, "queue_ptr", false));
    if (st == PFC_OK && m->views.plan.steps > 0) { /* before the first step there is no key encoder yet: it will be a copy */
        st = pfc_encoder_get_params(m->key, m->params);
        if (st == PFC_OK) st = pfc_moco_set_params(m->moco, m->params);
    }
    return pfc_agree(t->ctx, st);
}

const pfc_task pfc_task_moco = {
    .name = "moco",
    .settings = tables,
    .open = open_moco,
    .facts = moco_facts,
    .step = step_moco,
    .evaluate = evaluate_moco,
    .items = moco_items,
    .take = take_moco,
    .close = close_moco,
};
