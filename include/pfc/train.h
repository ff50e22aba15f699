/* train.h: training a class-sharded softmax layer, or an ArcFace head, step by step on the caller's features: order of the examples, learning rate, SGD,
 * checkpoints, accuracy.
 *
 * A trainer is the layer and what a run needs around it. The caller brings the features: from a file, or from a network that it trains with the gradient of
 * the features that each step returns. All ranks call everything together, unless a comment says Local.
 *
 *     for (int64_t step = pfc_trainer_steps(t); step < total; step++) {
 *         pfc_trainer_batch(t, numbers);                   which examples are this rank's: b of them
 *         ... features (b,D) and labels (b) of these examples ...
 *         pfc_trainer_step(t, features, labels, &result);  loss, gradient of the features; the layer's weights have moved
 *         if (step % 100 == 99) pfc_trainer_save(t, "checkpoints", 3, NULL, 0, NULL, 0);
 *     }
 *
 * In exact mode with sample_rule global (or without sampling) and features that do not depend on it, nothing depends on the number of ranks: n steps, a
 * checkpoint, and n steps on another number of ranks give the bits of 2n steps. In fast mode the same number of ranks gives the same bits.
 *
 * Letters: P ranks, N rows of a batch on all ranks, b = N/P, D width, C classes, k sub-centers (1 but for the ArcFace head). */
#ifndef PFC_TRAIN_H
#define PFC_TRAIN_H

#include <pfc/arcface_head.h>
#include <pfc/checkpoint.h>
#include <pfc/partial_fc.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pfc_train_layer { PFC_TRAIN_PARTIAL_FC, PFC_TRAIN_ARCFACE } pfc_train_layer;

/* After the warm-up, t steps of T into the rest: base_lr; final_lr + (base_lr - final_lr)/2 (1 + cos(pi t/T)); final_lr + (base_lr - final_lr)(1 - t/T)^power. */
typedef enum pfc_train_schedule { PFC_SCHEDULE_CONSTANT, PFC_SCHEDULE_COSINE, PFC_SCHEDULE_POLYNOMIAL } pfc_train_schedule;

/* [global in] Every field must be equal on all ranks. Defaults: pfc_train_defaults. */
typedef struct pfc_train_config {
    pfc_train_layer layer;
    int64_t num_classes, embedding_size; /* C, D */
    int64_t examples;                    /* of an epoch; floor(examples/batch) steps of it, in a new order every time; what is left over sits this epoch out */
    int64_t batch;                       /* N, a multiple of the number of ranks */
    int64_t seed;                        /* of initial weights, sampling and the order of the examples */
    pfc_train_schedule schedule;
    double base_lr, final_lr, power;
    int64_t total_steps;  /* the schedule's length; with constant only a memory of the run's plan */
    int64_t warmup_steps; /* linear from start_lr to base_lr */
    double start_lr;
    double momentum, weight_decay;
    int nesterov;
    /* The layer's own settings. Their fields of the names above, lr, seed and first_step are not looked at. */
    pfc_partial_fc_config partial_fc;
    pfc_arcface_config arcface;
} pfc_train_config;

/* partial_fc with its defaults, but xgrad_scale 1; constant lr 0.1, momentum 0.9, batch 128, power 1. C, D, examples, total_steps are 0 and must be set. */
pfc_train_config pfc_train_defaults(void);

/* The learning rate of every step into lr (total_steps). The same bits everywhere. Local. Errors: PFC_ERR_ARG. */
pfc_status pfc_train_rates(const pfc_train_config *cfg, double *lr);

/* The order of the examples in an epoch into order (count): sorted by (Philox key of (seed, epoch, example), example), so the same for every number of
 * ranks. Local. Errors: PFC_ERR_NOMEM, PFC_ERR_ARG (epoch outside [0, 2^32), count outside [0, 2^57)). */
pfc_status pfc_train_order(int64_t seed, int64_t epoch, int64_t count, int64_t *order);

typedef struct pfc_trainer pfc_trainer;

/* Weights N(0, 0.01^2) from (seed, element), momentum zero, no step done. The trainer keeps a pointer to ctx. Errors: PFC_ERR_ARG (the text names the field),
 * PFC_ERR_SHAPE (batch is no multiple of the number of ranks), PFC_ERR_NOMEM. */
pfc_status pfc_trainer_create(pfc_ctx *ctx, const pfc_train_config *cfg, pfc_trainer **out);
void pfc_trainer_destroy(pfc_trainer **trainer); /* NULL-safe; before the context. Local */

int64_t pfc_trainer_steps(const pfc_trainer *trainer);       /* done so far. Local */
int64_t pfc_trainer_epoch_steps(const pfc_trainer *trainer); /* steps of an epoch. Local */

/* The examples (b) that the next step wants from this rank, numbered from 0 to examples - 1: a shuffled epoch's next N, rank r's are the r-th N/P of them.
 * Local. Errors: PFC_ERR_NOMEM. */
pfc_status pfc_trainer_batch(pfc_trainer *trainer, int64_t *numbers);

typedef struct pfc_train_result {
    double loss;     /* [global out] mean over the batch, before the step */
    double lr;       /* [global out] of this step */
    pfc_view x_grad; /* [local out] (b, D) pfc_ctx_real: gradient of the features; NULL data: not wanted */
} pfc_train_result;

/* One step. features [local in] (b, D) f32 or f64 (rounded to f32); labels [local in] (b, 1) i64, 0 <= y < C (partial_fc: see unowned_label).
 * Errors: as pfc_partial_fc_step and pfc_arcface_step; PFC_ERR_SHAPE (another b); PFC_ERR_ARG (total_steps are done). */
pfc_status pfc_trainer_step(pfc_trainer *trainer, pfc_view features, pfc_view labels, pfc_train_result *result);

/* For every row of features (m, D), f32 or f64, m of each rank its own (0 too), the class whose centre is nearest: the largest cosine with a row of the
 * weights (head linear, or without norms: the largest product), the first of equal ones; -1 where a NaN makes it unknown. classes: m.
 * Errors: PFC_ERR_SHAPE (another width or type), PFC_ERR_NOMEM. */
pfc_status pfc_trainer_nearest(pfc_trainer *trainer, pfc_view features, int64_t *classes);

/* This rank's rows of the weights and the momentum, (C_r*k, D) f32 or f64; NULL data: not wanted. Local. Errors: PFC_ERR_SHAPE. */
pfc_status pfc_trainer_state(pfc_trainer *trainer, pfc_view weight, pfc_view momentum);

/* ---- checkpoints ----
 * The settings are fixed facts; step is one that is not; the tensors are head.weight and head.momentum. With schedule constant total_steps is no fact, so that a
 * run may be made longer. `more` are items of the caller: its network, its data's digest; their names must differ from those of the trainer. Both calls take memory
 * for the weights and the momentum once more. */

/* Writes FOLDER/step-....h5 by pfc_checkpoint_save, whose errors it has. */
pfc_status pfc_trainer_save(pfc_trainer *trainer, const char *folder, int keep, const pfc_item *more, int more_count, char *path, size_t size);
/* Goes on where the checkpoint was. Errors: those of pfc_checkpoint_read; PFC_ERR_DATA (a step beyond total_steps). After an error the trainer is as it was;
 * tensors of `more` are undefined. */
pfc_status pfc_trainer_load(pfc_trainer *trainer, const char *path, const pfc_item *more, int more_count);

#ifdef __cplusplus
}
#endif
#endif
