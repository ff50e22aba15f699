/* trainer.h (internal): the trainer's inside. */
#ifndef PFC_TRAIN_TRAINER_H
#define PFC_TRAIN_TRAINER_H

#include "core/ctx.h"

#include <pfc/shard.h>
#include <pfc/train.h>

struct pfc_trainer {
    pfc_ctx *ctx;
    pfc_train_config cfg;
    pfc_shard rows;        /* of the weight: C_r*k, first row */
    int64_t steps;         /* done */
    double *lr;            /* total_steps */
    int64_t *order;        /* examples of epoch `epoch` */
    int64_t epoch;         /* -1: none yet */
    pfc_partial_fc *layer; /* or */
    pfc_arcface *head;     /* and its state, (C_r*k, D) real, host */
    pfc_view weight, momentum;
};

int64_t pfc_train_subcenters(const pfc_train_config *cfg);

/* The ArcFace head's weights, which nobody else keeps (arcface_state.c). Local. */
pfc_status pfc_train_arcface_state(pfc_trainer *t);
/* to <- from, matrices of one shape. */
void pfc_train_convert(pfc_view from, pfc_view to);
/* As a port stores it between steps: float32. */
void pfc_train_round(pfc_view v);
/* v = g + decay w; m = momentum m + v; w -= lr m (nesterov: lr (v + momentum m)): exact-v1's update, element by element. */
void pfc_train_sgd(const pfc_train_config *cfg, double lr, pfc_view grad, pfc_view weight, pfc_view momentum);

#endif
