/* encoder_state.c: the encoder as a list of checkpoint items, copies of its state, and the way back. */
#include "algo/host_rows.h"
#include "train/encoder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PREFIX = 20 };

int64_t pfc_encoder_statistics(const pfc_encoder *e, const pfc_encoder_layer *l)
{
    if (!l->norm || !e->cfg.norm.track_running_stats) return 0;
    return e->cfg.norm.kind == PFC_BN_SUB ? e->cfg.norm.num_splits * l->out : l->out;
}

pfc_batch_norm_state pfc_encoder_running(const pfc_encoder *e, const pfc_encoder_layer *l, void *mean, void *var, pfc_dtype dtype)
{
    int64_t n = pfc_encoder_statistics(e, l);
    bool sub = e->cfg.norm.kind == PFC_BN_SUB;
    pfc_batch_norm_state s = { .num_batches_tracked = -1 };
    *(sub ? &s.split_mean : &s.running_mean) = pfc_view_make(mean, dtype, n, 1);
    *(sub ? &s.split_var : &s.running_var) = pfc_view_make(var, dtype, n, 1);
    return s;
}

/* ---- copies ---- */

static pfc_status make_copies(pfc_encoder *e)
{
    int64_t count = 2 * e->params, at = count;
    if (e->copy) return PFC_OK;
    for (int64_t i = 0; i < e->cfg.layers; i++) count += 2 * pfc_encoder_statistics(e, &e->layer[i]);
    e->names = malloc(PFC_ENCODER_ITEMS * sizeof *e->names);
    e->copy = e->names ? malloc((size_t)count * sizeof *e->copy) : NULL;
    if (!e->copy) {
        free(e->names);
        e->names = NULL;
        return pfc_fail(e->ctx, PFC_ERR_NOMEM, "out of memory");
    }
    for (int64_t i = 0; i < e->cfg.layers; i++) {
        pfc_encoder_layer *l = &e->layer[i];
        int64_t n = pfc_encoder_statistics(e, l);
        l->copy_mean = e->copy + at;
        l->copy_var = e->copy + at + n;
        at += 2 * n;
    }
    return PFC_OK;
}

static pfc_view copy_of(const pfc_encoder *e, int momentum) { return pfc_view_make(e->copy + momentum * e->params, PFC_F32, 1, e->params); }

static pfc_status fill_copies(pfc_encoder *e)
{
    PFC_TRY(pfc_host_out(e->ctx, e->param, copy_of(e, 0)));
    PFC_TRY(pfc_host_out(e->ctx, e->momentum, copy_of(e, 1)));
    for (int64_t i = 0; i < e->cfg.layers; i++) {
        pfc_encoder_layer *l = &e->layer[i];
        if (pfc_encoder_statistics(e, l) == 0) continue;
        pfc_batch_norm_state s = pfc_encoder_running(e, l, l->copy_mean, l->copy_var, PFC_F32);
        PFC_TRY(pfc_batch_norm_get_state(l->norm, &s));
        l->batches = s.num_batches_tracked;
    }
    return PFC_OK;
}

/* ---- the list ---- */

typedef struct list {
    pfc_encoder *e;
    const char *prefix;
    pfc_item *items;
    int max, count; /* count goes on beyond max */
    int names;
} list;

static void add(list *t, int64_t layer, const char *name, void *data, pfc_dtype dtype, int64_t rows, int64_t cols)
{
    char *text = t->e->names[t->names++];
    snprintf(text, PFC_ITEM_NAME, "%.*s.%d.%s", PREFIX, t->prefix, (int)layer, name);
    if (t->count < t->max) t->items[t->count] = pfc_item_tensor(text, data, dtype, rows, cols, 0);
    t->count++;
}

/* A part of the parameters and its momentum. */
static void add_pair(list *t, int64_t layer, const char *name, const char *momentum, int64_t at, int64_t rows, int64_t cols)
{
    add(t, layer, name, t->e->copy + at, PFC_F32, rows, cols);
    add(t, layer, momentum, t->e->copy + t->e->params + at, PFC_F32, rows, cols);
}

static void add_layer(list *t, int64_t i)
{
    pfc_encoder *e = t->e;
    pfc_encoder_layer *l = &e->layer[i];
    int64_t splits = e->cfg.norm.kind == PFC_BN_SUB ? e->cfg.norm.num_splits : 0;
    add_pair(t, i, "weight", "momentum", l->weight_at, l->out, l->in);
    if (l->norm_at >= 0) {
        add_pair(t, i, "norm_weight", "norm_weight_momentum", l->norm_at, l->out, 0);
        add_pair(t, i, "norm_bias", "norm_bias_momentum", l->norm_at + l->out, l->out, 0);
    }
    if (pfc_encoder_statistics(e, l) == 0) return;
    add(t, i, "running_mean", l->copy_mean, PFC_F32, splits ? splits : l->out, splits ? l->out : 0);
    add(t, i, "running_var", l->copy_var, PFC_F32, splits ? splits : l->out, splits ? l->out : 0);
    add(t, i, "batches", &l->batches, PFC_I64, 1, 0);
}

pfc_status pfc_encoder_items(pfc_encoder *e, const char *prefix, pfc_item *items, int max, int *count)
{
    list t = { e, prefix, items, max, *count, 0 };
    if (strlen(prefix) > PREFIX) return pfc_fail(e->ctx, PFC_ERR_ARG, "%.30s: found a prefix of more than %d bytes", prefix, PREFIX);
    PFC_TRY(make_copies(e));
    PFC_TRY(fill_copies(e));
    for (int64_t i = 0; i < e->cfg.layers; i++) add_layer(&t, i);
    if (t.count > max) return pfc_fail(e->ctx, PFC_ERR_ARG, "items: found room for %d, expected %d", max, t.count);
    *count = t.count;
    return PFC_OK;
}

/* ---- back ---- */

static pfc_status take_copies(pfc_encoder *e)
{
    PFC_TRY(pfc_host_in(e->ctx, copy_of(e, 0), false, e->param));
    PFC_TRY(pfc_host_in(e->ctx, copy_of(e, 1), false, e->momentum));
    for (int64_t i = 0; i < e->cfg.layers; i++) {
        pfc_encoder_layer *l = &e->layer[i];
        if (pfc_encoder_statistics(e, l) == 0) continue;
        pfc_batch_norm_state s = pfc_encoder_running(e, l, l->copy_mean, l->copy_var, PFC_F32);
        s.num_batches_tracked = l->batches;
        PFC_TRY(pfc_batch_norm_set_state(l->norm, &s));
    }
    return pfc_encoder_tell_norms(e);
}

pfc_status pfc_encoder_restore(pfc_encoder *e)
{
    if (!e->copy) return pfc_fail(e->ctx, PFC_ERR_ARG, "restore: found no items before it");
    e->has_grad = e->fresh = false;
    e->rows = -1;
    return pfc_agree(e->ctx, take_copies(e));
}
