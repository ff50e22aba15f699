/* moco.h (internal): the inside of a moco object and of one step. moco_state.c keeps the state, moco_hook.c is the hook, moco.c the loss and the queue,
 * moco_step.c what is around them. */
#ifndef PFC_ALGO_MOCO_H
#define PFC_ALGO_MOCO_H

#include "core/ctx.h"

#include <pfc/moco.h>

struct pfc_moco {
    pfc_ctx *ctx;
    pfc_moco_config cfg;
    pfc_view params; /* (1,n) real: theta_k */
    bool has_params;
    pfc_view queue; /* (K,D) real, one key per row */
    bool has_queue; /* false: the initial one is made when it is first needed */
    int64_t ptr;
    pfc_view norm, expo;        /* (K,1): lengths and grid exponents of the rows that are not fresh */
    int64_t fresh, fresh_count; /* rows fresh, fresh + 1, ... (mod K) were written since the last step */
};

/* The queue exists, is float32, and norm and expo are those of its rows. Local. */
pfc_status pfc_moco_queue_ready(pfc_moco *moco);
/* Rows ptr, ptr + 1, ... of the ring <- the keys (N,D) of type real in host memory; of more than K keys the last K. ptr moves on by N. Local. */
pfc_status pfc_moco_enqueue(pfc_moco *moco, const void *keys, int64_t n);

/* Everything of one step that more than one function sees. */
typedef struct pfc_moco_pass {
    pfc_moco *moco;
    pfc_ctx *ctx;
    const pfc_ops *ops;
    pfc_backend *be;
    int64_t b, N, D, K;
    pfc_head head;               /* linear, scale 1/tau */
    pfc_view x, xnorm, xexpo;    /* (b,D), (b,1): queries as given; then x holds g and dx */
    pfc_view q, qnorm, qexpo;    /* (b,D), (b,1): unit queries */
    pfc_view k;                  /* (b,D) */
    pfc_operand *operand;        /* q for the products */
    pfc_view Z;                  /* (K,b) */
    pfc_view positive, max, sum; /* (b,1) */
    void *target, *valid;        /* (b) i64 -1, u8 1: no row has a target, all count */
    pfc_rows_info rows;
    pfc_acc *sum_acc, *feature_acc;
    int64_t lane_rows; /* rows of H that belong to one lane: the largest block */
    pfc_view H;        /* (lanes*lane_rows, b) */
    pfc_moco_result *result;
} pfc_moco_pass;

/* Steps 1 to 7: every rank by itself. Local. */
pfc_status pfc_moco_pass_loss(pfc_moco_pass *s, pfc_view query, pfc_view keys);
/* Steps 8 and 9; start: pfc_moco_rows_of_ranks. Collective. */
pfc_status pfc_moco_pass_queue(pfc_moco_pass *s, const int64_t *start);

#endif
