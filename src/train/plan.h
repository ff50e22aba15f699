/* plan.h (internal): which examples a step takes and at what rate, whatever it is that trains: epochs, order, schedule, steps done. */
#ifndef PFC_TRAIN_PLAN_H
#define PFC_TRAIN_PLAN_H

#include "train/items.h"

#include <pfc/train.h>

typedef struct pfc_plan {
    pfc_ctx *ctx;
    pfc_train_config cfg; /* layer, num_classes, embedding_size, partial_fc and arcface are the trainer's and not looked at here */
    int64_t steps;        /* done; whoever does a step adds 1 */
    double *lr;           /* total_steps */
    int64_t *order;       /* examples of epoch `epoch` */
    int64_t epoch;        /* -1: none yet */
} pfc_plan;

/* Nothing done yet. Errors, which name the field: as pfc_trainer_create. After one there is nothing to close. Collective. */
pfc_status pfc_plan_open(pfc_plan *plan, pfc_ctx *ctx, const pfc_train_config *cfg);
void pfc_plan_close(pfc_plan *plan);

int64_t pfc_plan_epoch_steps(const pfc_plan *plan);
int64_t pfc_plan_rows(const pfc_plan *plan); /* b = N/P, of a step on this rank */
/* The epoch of the next step. */
int64_t pfc_plan_epoch(const pfc_plan *plan);
/* The rate of the next step. Errors: PFC_ERR_ARG (all steps are done). Local. */
pfc_status pfc_plan_rate(const pfc_plan *plan, double *lr);
/* The examples (b) of the next step on this rank: the shuffled epoch's next N, of which rank r has the r-th part. Local. Errors: PFC_ERR_NOMEM. */
pfc_status pfc_plan_batch(pfc_plan *plan, int64_t *numbers);

/* ---- checkpoints: fixed facts mode, batch, examples, seed, the schedule and SGD; and step ---- */

void pfc_plan_items(const pfc_plan *plan, pfc_items *items);
/* The step that reading has put into the list. Local. Errors: PFC_ERR_DATA (beyond this run), the plan is as it was. */
pfc_status pfc_plan_take(pfc_plan *plan, const char *path, const pfc_items *items);

#endif
