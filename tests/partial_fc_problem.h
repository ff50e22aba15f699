/* partial_fc_problem.h: one PartialFC problem, run by the library on any communicator and by the dense equations, with the results of all ranks
 * put together on each. */
#ifndef PARTIAL_FC_PROBLEM_H
#define PARTIAL_FC_PROBLEM_H

#include "dense/dense.h"

#include <pfc/pfc.h>

/* Inputs, the same on all ranks: float32 values held as doubles. */
typedef struct problem {
    pfc_partial_fc_config cfg; /* C and D are in it */
    int64_t n, steps;
    double *x;                 /* (steps,N,D) */
    int64_t *labels;           /* (steps,N) */
    double *keys;              /* (steps,C) or NULL: own keys */
    double *weight, *momentum; /* (C,D) */
} problem;

/* Random inputs from the counter-based generator: features and weights normal, labels in [0,C). with_keys: sample keys too. */
problem *problem_new(const pfc_partial_fc_config *cfg, int64_t n, int64_t steps, bool with_keys, int64_t seed);
void problem_free(problem *p);
/* Defaults of the library with sizes; xgrad_scale 1, scale 16. */
pfc_partial_fc_config problem_config(int64_t c, int64_t d);

/* Results, whole, on every rank, as doubles. The last five are of the last step. */
enum { LOSS, X_GRAD, WEIGHT_GRAD, WEIGHT, MOMENTUM, SAMPLED, COSINE, LOGITS, ROW_MAX, ROW_SUM, PROB_TARGET, DLOGITS, RESULTS };
extern const char *const RESULT_NAMES[RESULTS];

typedef struct outcome {
    pfc_status status; /* of the library; the arrays are valid where it is PFC_OK */
    int64_t size[RESULTS];
    double *v[RESULTS];
    bool labels_kept; /* the caller's labels are as they were */
} outcome;

/* Collective over the context's communicator `comm`. halves: pfc_partial_fc_start and _finish instead of _step. */
outcome *problem_library(MPI_Comm comm, pfc_ctx *ctx, const problem *p, bool halves);
/* ranks: how many the equations imagine. status PFC_ERR_DATA where labels are refused. */
outcome *problem_dense(const problem *p, int ranks);
void outcome_free(outcome *o);

/* Largest |a - b| over the largest finite |b|, or over `floor` if that is larger; +inf where NaN or infinities differ. */
double worst(const double *a, const double *b, int64_t count, double floor);
/* The same bits. */
bool same_bits(const double *a, const double *b, int64_t count);
/* Index of the first result whose bits differ, or -1. */
int first_difference(const outcome *a, const outcome *b);

/* A context or a failed assertion. engine may be NULL. */
pfc_ctx *make_ctx(MPI_Comm comm, pfc_mode mode, const char *engine, int threads);

#endif
