/* nearest.h (internal): the class whose centre is nearest, over the classes of all ranks. */
#ifndef PFC_TRAIN_NEAREST_H
#define PFC_TRAIN_NEAREST_H

#include "core/ctx.h"

/* Centres of all classes, each rank with those of its shard. */
typedef struct pfc_centres {
    int64_t classes;    /* C on all ranks */
    int64_t subcenters; /* k centres of a class follow each other; its nearest one counts */
    bool cosine;        /* compare by cosine; else by product */
    pfc_view rows;      /* (C_r*k, D) f32 or f64, host */
} pfc_centres;

/* For every row of features (m, D), f32 or f64 (rounded to f32), m of each rank its own (0 too), the class with the largest cosine or product, the first of
 * equal ones; -1 where a NaN makes it unknown. classes: m. Takes memory for the centres once more. Collective. Errors: PFC_ERR_SHAPE, PFC_ERR_NOMEM. */
pfc_status pfc_nearest(pfc_ctx *ctx, const pfc_centres *centres, pfc_view features, int64_t *classes);

#endif
