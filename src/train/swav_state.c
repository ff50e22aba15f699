/* swav_state.c: the state of a SwAV layer as items of a checkpoint. */
#include "train/swav_state.h"

#include "algo/swav.h"
#include "train/checkpoint.h"

#include <stdlib.h>
#include <string.h>

/* A rank's queue (A, G, b, D) and its part of the global one (b, A, G, D). */
typedef struct layout {
    int64_t b, A, G, D;
} layout;

static layout layout_of(const pfc_swav *l, int64_t batch)
{
    int ranks = pfc_ctx_ranks(l->ctx);
    layout q = { .b = batch / ranks, .A = l->cfg.num_assign, .D = l->cfg.embedding_size };
    q.G = q.b ? pfc_swav_queue_rows(l->cfg.queue_length, q.b, ranks) / q.b : 0;
    return q;
}

static int64_t rows_of(const layout *q) { return q->b * q->A * q->G; }

/* to_global: part <- queue; else queue <- part. */
static void reorder(const layout *q, float *queue, float *part, bool to_global)
{
    size_t bytes = (size_t)q->D * sizeof *queue;
    int64_t generations = q->A * q->G;
    for (int64_t n = 0; n < q->b; n++)
        for (int64_t g = 0; g < generations; g++) {
            float *one = queue + (g * q->b + n) * q->D, *other = part + (n * generations + g) * q->D;
            memcpy(to_global ? other : one, to_global ? one : other, bytes);
        }
}

static void switch_item(pfc_items *items, const char *name, int64_t value)
{
    int64_t *copy = pfc_items_memory(items, sizeof *copy);
    if (!copy) return;
    *copy = value;
    pfc_items_add(items, pfc_item_int(name, copy, 0));
}

static pfc_status queue_items(pfc_swav *l, int64_t batch, pfc_items *items)
{
    layout q = layout_of(l, batch);
    int64_t rows = rows_of(&q);
    int in_use = 0;
    if (!q.G) return PFC_OK;
    float *part = pfc_items_tensor(items, "swav.queue", PFC_F32, rows * pfc_ctx_ranks(l->ctx), q.D, q.A * q.G, rows);
    float *queue = malloc((size_t)(rows * q.D) * sizeof *queue);
    bool made = pfc_swav_queue_length(l) > 0;
    pfc_status st = part && queue ? PFC_OK : pfc_fail(l->ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK && made) st = pfc_swav_get_queue(l, pfc_view_make(queue, PFC_F32, rows, q.D), &in_use);
    if (st == PFC_OK && made) reorder(&q, queue, part, true);
    free(queue);
    switch_item(items, "queue_made", made);
    switch_item(items, "use_the_queue", made && in_use);
    return st;
}

pfc_status pfc_swav_items(pfc_swav *l, int64_t batch, pfc_items *items)
{
    int64_t K = l->cfg.num_prototypes, D = l->cfg.embedding_size;
    float *prototypes = pfc_items_tensor(items, "swav.prototypes", PFC_F32, K, D, 0, K);
    float *momentum = pfc_items_tensor(items, "swav.momentum", PFC_F32, K, D, 0, K);
    if (!prototypes || !momentum) return pfc_fail(l->ctx, PFC_ERR_NOMEM, "out of memory");
    PFC_TRY(pfc_swav_get_prototypes(l, pfc_view_make(prototypes, PFC_F32, K, D), pfc_view_make(momentum, PFC_F32, K, D)));
    return queue_items(l, batch, items);
}

static pfc_status read_switch(pfc_swav *l, const char *path, const pfc_items *items, const char *name, int64_t most, int64_t *value)
{
    char item[PFC_ITEM_NAME + 8];
    *value = *(const int64_t *)pfc_items_data(items, name, false);
    snprintf(item, sizeof item, "/fact/%s", name);
    if (*value >= 0 && *value <= most) return PFC_OK;
    return pfc_checkpoint_fail(l->ctx, PFC_ERR_DATA, path, item, "found %lld, expected %s", (long long)*value, most ? "0 or 1" : "0, as there is no queue yet");
}

static pfc_status take_queue(pfc_swav *l, const layout *q, float *part, bool made, bool in_use)
{
    int64_t rows = rows_of(q);
    if (!made) return pfc_swav_set_queue(l, pfc_view_make(NULL, PFC_F32, 0, 0), 0);
    float *queue = malloc((size_t)(rows * q->D) * sizeof *queue);
    if (!queue) return pfc_fail(l->ctx, PFC_ERR_NOMEM, "out of memory");
    reorder(q, queue, part, false);
    pfc_status st = pfc_swav_set_queue(l, pfc_view_make(queue, PFC_F32, rows, q->D), in_use);
    free(queue);
    return st;
}

pfc_status pfc_swav_take(pfc_swav *l, int64_t batch, const char *path, const pfc_items *items)
{
    int64_t K = l->cfg.num_prototypes, D = l->cfg.embedding_size, made = 0, in_use = 0;
    layout q = layout_of(l, batch);
    if (q.G) PFC_TRY(read_switch(l, path, items, "queue_made", 1, &made));
    if (q.G) PFC_TRY(read_switch(l, path, items, "use_the_queue", made, &in_use));
    PFC_TRY(take_queue(l, &q, pfc_items_data(items, "swav.queue", true), made, in_use));
    return pfc_swav_set_prototypes(l, pfc_view_make(pfc_items_data(items, "swav.prototypes", true), PFC_F32, K, D),
                                   pfc_view_make(pfc_items_data(items, "swav.momentum", true), PFC_F32, K, D));
}
