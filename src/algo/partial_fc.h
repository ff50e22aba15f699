/* partial_fc.h (internal): the layer object and the pieces of a step. */
#ifndef PFC_ALGO_PARTIAL_FC_H
#define PFC_ALGO_PARTIAL_FC_H

#include "core/ctx.h"

#include <pfc/partial_fc.h>
#include <pfc/shard.h>

/* Memory of the sampling, C_r of each, kept from step to step. */
typedef struct pfc_sampler {
    double *keys;
    int64_t *index;
    unsigned char *positive; /* somebody's label */
} pfc_sampler;

struct pfc_partial_fc {
    pfc_ctx *ctx;
    pfc_partial_fc_config cfg;
    pfc_head head;
    pfc_shard shard;           /* this rank's classes */
    pfc_view weight, momentum; /* (C_r, D) real, in the backend's place */
    pfc_view store;            /* memory of the cosines, kept from step to step: fresh pages cost as much as a pass */
    pfc_sampler sampler;
    bool has_weight, has_momentum; /* given, or made; the initial state is made when it is first needed */
    int64_t steps_done;
    /* between start and finish */
    bool started;
    pfc_comm_request request; /* of the labels */
    int64_t batch;            /* b */
    int64_t *labels;          /* N, host, of all ranks */
};

/* Which classes of this rank take part in a step. */
typedef struct pfc_sampled {
    bool sampling;
    int64_t count;      /* n_r */
    int64_t *index;     /* local class ids, ascending; NULL if all take part; the sampler's */
    int64_t *target;    /* N: position of the row's label in index (or local id), -1 if not here */
    const double *keys; /* C_r, NULL if not sampling; the sampler's */
} pfc_sampled;

/* Labels (N) to targets, and the classes of this step (semantics 2.4, A.4). keys_in: C_r checked keys or NULL data. Collective. */
pfc_status pfc_partial_fc_sample(pfc_partial_fc *layer, const int64_t *labels, int64_t n_rows, pfc_view keys_in, pfc_sampled *out);
void pfc_partial_fc_sample_free(pfc_sampled *s);
void pfc_partial_fc_sampler_free(pfc_sampler *m);

/* Weights and momentum that nobody has given: N(0, 0.01^2) and zero. Local. */
pfc_status pfc_partial_fc_initial_state(pfc_partial_fc *layer);

/* The head's constants (exact-v1 section 3). */
pfc_head pfc_head_make(const pfc_partial_fc_config *cfg);

/* Everything of one step that more than one function sees. */
typedef struct pfc_step {
    pfc_partial_fc *layer;
    pfc_ctx *ctx;
    const pfc_ops *ops;
    pfc_backend *be;
    int64_t N, b, D;
    pfc_sampled sampled;
    int64_t *index;  /* sampled.index in the backend's place */
    int64_t *target; /* likewise */
    unsigned char *valid, *valid_host;
    float *mine;              /* (b,D) features of this rank, then (N,D) of all: the gather's buffers */
    pfc_comm_request gather;  /* of the features */
    pfc_view X, xnorm, xexpo; /* (N,D), (N,1) real, (N,1) i32 */
    pfc_operand *operand;
    pfc_view wnorm, wexpo; /* (n_r,1) */
    pfc_view Z;            /* (n_r, N) cosines, class-major; recompute: (lanes*lane_rows, N) */
    pfc_rows_info rows;
    pfc_view target_logit, max, sum; /* (N,1) real */
    pfc_acc *sum_acc, *feature_acc, *dot_acc;
    int64_t lane_rows;                 /* rows of H and dW that belong to one lane: the largest block */
    pfc_view H, dW, wdot;              /* (lanes*lane_rows, N), (lanes*lane_rows, D), (lanes*lane_rows, 1) */
    double *prob, *sum_host, *shifted; /* N, host */
    pfc_partial_fc_result *result;
    const pfc_sgd *sgd;
} pfc_step;

/* Steps 3 to 11 on a prepared step (partial_fc.c); step 1 and 2 and the memory are partial_fc_step.c's. Collective; the caller agrees on the
 * status, which may be one rank's only if it failed after the last exchange. */
pfc_status pfc_partial_fc_run_step(pfc_step *s);
/* Step 3 begins before step 2: collective, features (b,D) of this rank. s->gather must have ended before s->mine goes. */
pfc_status pfc_partial_fc_gather_start(pfc_step *s, pfc_view features);

/* Whether momentum and weight are moved as the weight gradient is formed, without dW. */
static inline bool pfc_partial_fc_fused(const pfc_step *s) { return s->ops->weight_update && !s->result->weight_grad.data; }

/* The cosines of sampled positions [c0, c0 + count), at most a block, after step 4. Not inside a class loop. */
pfc_status pfc_partial_fc_cosines(pfc_step *s, int64_t c0, int64_t count, pfc_view *z);

/* Sends the named intermediate results to the context's tap. Collective in the sense that all ranks must call it. */
pfc_status pfc_partial_fc_taps(pfc_step *s);

#endif
