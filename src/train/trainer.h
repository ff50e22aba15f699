/* trainer.h (internal): the trainer's inside. */
#ifndef PFC_TRAIN_TRAINER_H
#define PFC_TRAIN_TRAINER_H

#include "train/nearest.h"
#include "train/plan.h"

#include <pfc/shard.h>

struct pfc_trainer {
    pfc_ctx *ctx;
    pfc_plan plan;         /* with the configuration */
    pfc_shard rows;        /* of the weight: C_r*k, first row */
    pfc_partial_fc *layer; /* or */
    pfc_arcface *head;     /* and its state, (C_r*k, D) real, host */
    pfc_view weight, momentum;
};

int64_t pfc_train_subcenters(const pfc_train_config *cfg);

/* All of the trainer's checkpoint items, with copies of its tensors. Local. */
pfc_status pfc_trainer_items(pfc_trainer *t, pfc_items *items);
/* Goes on from what reading has put into the list. Local. Errors: as pfc_trainer_load; the trainer is as it was. */
pfc_status pfc_trainer_take(pfc_trainer *t, const char *path, const pfc_items *items);

/* The rows of the weights as centres, a copy; free(centres->rows.data), after an error, too. Local. */
pfc_status pfc_trainer_centres(pfc_trainer *t, pfc_centres *centres);

/* The ArcFace head's weights, which nobody else keeps (arcface_state.c). Local. */
pfc_status pfc_train_arcface_state(pfc_trainer *t);
/* to <- from, matrices of one shape. */
void pfc_train_convert(pfc_view from, pfc_view to);
/* As a port stores it between steps: float32. */
void pfc_train_round(pfc_view v);
/* v = g + decay w; m = momentum m + v; w -= lr m (nesterov: lr (v + momentum m)): exact-v1's update, element by element. */
void pfc_train_sgd(const pfc_train_config *cfg, double lr, pfc_view grad, pfc_view weight, pfc_view momentum);

#endif
