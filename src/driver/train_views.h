/* train_views.h: what tasks that learn without labels share: several views of every glyph of a batch, and an encoder for them whose gradients are averaged over
 * the ranks, as each rank has a loss of its own. Letters: b images of a step on this rank, V views of each, S pixels a side, D width of an embedding. */
#ifndef PFC_DRIVER_TRAIN_VIEWS_H
#define PFC_DRIVER_TRAIN_VIEWS_H

#include "driver/train_network.h"

typedef struct pfc_views {
    pfc_plan plan;
    pfc_glyph_data glyphs;
    pfc_encoder_config config;
    pfc_encoder *encoder;
    int count; /* V */
    int64_t b, D;
    float *images; /* (V*b, S*S), view after view */
} pfc_views;

/* Glyphs, plan and encoder from the settings. v begins as zeros; close it also after a failure. */
int pfc_views_open(pfc_train *t, pfc_views *v, int count);
void pfc_views_close(pfc_views *v);

/* images <- all views of the step's examples; sets data_time. */
int pfc_views_fetch(pfc_train *t, pfc_views *v, pfc_train_step *step);
/* (b, S*S) of one view. Local. */
pfc_view pfc_views_images(const pfc_views *v, int view);

/* One update of the encoder by the mean over the ranks of each one's gradient (semantics.md 1.8). grad: of this rank's loss by its last training forward's
 * output. */
int pfc_views_learn(pfc_train *t, pfc_views *v, pfc_view grad, double lr);
/* x (count) <- mean over the ranks, the same bits on all. */
int pfc_views_mean(pfc_train *t, double *x, int64_t count);

/* For a task's items (local) and take (collective): plan, glyphs and encoder. */
pfc_status pfc_views_items(pfc_train *t, pfc_views *v, pfc_items *items);
pfc_status pfc_views_take(pfc_train *t, pfc_views *v, const char *path, const pfc_items *items);

#endif
