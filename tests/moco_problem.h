/* moco_problem.h: one moco problem, run by the library on any ranks and by the textbook, with the results of all ranks put together on each. */
#ifndef MOCO_PROBLEM_H
#define MOCO_PROBLEM_H

#include "pfc_test.h"

#include <pfc/pfc.h>

/* Inputs: whole on every rank, as float32 values; results whole on every rank, as doubles. */
typedef struct problem {
    int64_t n, k, d, params, ptr; /* N, K, D */
    double mu, tau;
    int wrap;
    float *query, *key, *queue, *params_q, *params_k;
} problem;

typedef struct outcome {
    pfc_status status;
    int64_t ptr;
    double *key, *grad, *queue, *params, *loss; /* (N,D) (N,D) (K,D) (n) (P) */
    int64_t *correct;                           /* (P) */
} outcome;

/* A context or a failed assertion. */
pfc_ctx *make_ctx(MPI_Comm comm, pfc_mode mode, int threads);

/* Random inputs of (N, K, D), 17 parameters, momentum 0.9, temperature 0.2, a ring that wraps. */
problem *problem_new(int64_t n, int64_t k, int64_t d);
void problem_free(problem *p);
void outcome_free(outcome *o);

/* An encoder that works row by row: the keys are the images. user: NULL, or where to copy the images. */
int row_wise(void *user, pfc_view params_k, pfc_view images, pfc_view keys);
/* The problem's state as an object; with_params: key parameters too. Collective. */
pfc_moco *object(pfc_ctx *ctx, const problem *p, bool with_params);

/* Hook and step. weights: rank r has weights[r]/sum of the rows; NULL: equal. Collective over the context's communicator. */
outcome *library_rows(pfc_ctx *ctx, const problem *p, int shuffle, const int *weights);
outcome *library(MPI_Comm comm, const problem *p, pfc_mode mode, int threads, int shuffle);
/* ranks: how many the equations imagine. */
outcome *textbook(const problem *p, int ranks);

/* Largest |a - b| over the largest |b|, or over 0.01 if that is larger: a loss of nearly certain rows, and its gradient, are differences of numbers near 1.
 * +inf where NaN or infinities differ. */
double worst(const double *a, const double *b, int64_t count);
double worst_of_all(const outcome *a, const outcome *b, const problem *p, int ranks);
bool same_bits(const outcome *a, const outcome *b, const problem *p, int ranks);

#endif
