/* swav.h (internal): the SwAV layer object. */
#ifndef PFC_ALGO_SWAV_H
#define PFC_ALGO_SWAV_H

#include "core/ctx.h"

#include <pfc/swav.h>

struct pfc_swav {
    pfc_ctx *ctx;
    pfc_swav_config cfg;
    int64_t *assign;                     /* (A) */
    pfc_view prototypes, momentum, grad; /* (K,D) real, in the place, the same on every rank */
    pfc_view queue;                      /* (A*L, D) real; rows i*L .. of crop assign[i], newest first; without data: none */
    int64_t L;
    bool use_the_queue;
    bool has_prototypes; /* given, or made when first needed */
    bool stepped;        /* the state is of an earlier step: round it before the next */
    bool has_grad;       /* of the last step, not frozen */
    bool any_step;
};

/* Prototypes that nobody has given. Local. */
pfc_status pfc_swav_initial_prototypes(pfc_swav *layer);

#endif
