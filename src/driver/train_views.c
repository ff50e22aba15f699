/* train_views.c: views of a batch, and the encoder that sees them. */
#include "driver/train_views.h"
#include "case/internal.h"
#include <stdlib.h>

static int64_t pixels(const pfc_views *v) { return v->glyphs.glyphs->size * v->glyphs.glyphs->size; }

int pfc_views_open(pfc_train *t, pfc_views *v, int count)
{
    v->count = count;
    if (pfc_settings_check_effect(&t->settings, t->diag) || pfc_glyph_data_open(t, &v->glyphs) || pfc_encoder_config_of(t, &v->glyphs, &v->config) ||
        pfc_train_length(t))
        return t->diag->exit_status;
    if (pfc_train_failed(t, pfc_plan_open(&v->plan, t->ctx, &t->settings.config), "train")) return t->diag->exit_status;
    t->plan = &v->plan;
    v->b = pfc_plan_rows(&v->plan);
    v->D = v->config.widths[v->config.layers];
    if (pfc_train_failed(t, pfc_encoder_create(t->ctx, &v->config, &v->encoder), "encoder")) return t->diag->exit_status;
    v->images = malloc((size_t)(count * v->b * pixels(v)) * sizeof *v->images);
    if (!v->images) pfc_diag_fail(t->diag, PFC_EXIT_RUNTIME, "out of memory");
    return pfc_diag_agree(t->cli->comm, t->diag);
}

void pfc_views_close(pfc_views *v)
{
    free(v->images);
    pfc_encoder_destroy(&v->encoder);
    pfc_plan_close(&v->plan);
    pfc_glyph_data_close(&v->glyphs);
}

pfc_view pfc_views_images(const pfc_views *v, int view) { return pfc_view_make(v->images + view * v->b * pixels(v), PFC_F32, v->b, pixels(v)); }

int pfc_views_fetch(pfc_train *t, pfc_views *v, pfc_train_step *step)
{
    double start = MPI_Wtime();
    for (int k = 0; k < v->count; k++)
        if (pfc_glyph_data_rows(t, &v->glyphs, step->examples, k, pfc_views_images(v, k).data)) return t->diag->exit_status;
    step->data_time = MPI_Wtime() - start;
    return 0;
}

int pfc_views_learn(pfc_train *t, pfc_views *v, pfc_view grad, double lr)
{
    pfc_status st = pfc_encoder_backward(v->encoder, grad, t->cli->ranks, (pfc_view){ 0 });
    if (st == PFC_OK) st = pfc_encoder_update(v->encoder, lr);
    return pfc_train_failed(t, st, "encoder");
}

int pfc_views_mean(pfc_train *t, double *x, int64_t count)
{
    pfc_status st = pfc_agree(t->ctx, pfc_comm_sum(&t->ctx->comm, x, count, PFC_F64));
    for (int64_t i = 0; i < count; i++) x[i] /= t->cli->ranks;
    return pfc_train_failed(t, st, "step");
}

pfc_status pfc_views_items(pfc_train *t, pfc_views *v, pfc_items *items)
{
    pfc_plan_items(&v->plan, items);
    pfc_glyph_data_items(t, &v->glyphs, items);
    pfc_settings_items(&t->settings, pfc_settings_of_encoder, items);
    return pfc_encoder_items_of(v->encoder, "encoder", items);
}

pfc_status pfc_views_take(pfc_train *t, pfc_views *v, const char *path, const pfc_items *items)
{
    PFC_TRY(pfc_agree(t->ctx, pfc_plan_take(&v->plan, path, items)));
    return pfc_encoder_restore(v->encoder);
}
