/* swav_problem.h: one SwAV iteration, run by the library on any ranks and by the dense equations, with the results of all ranks put together on each. */
#ifndef SWAV_PROBLEM_H
#define SWAV_PROBLEM_H

#include "dense/swav_dense.h"
#include "pfc_test.h"

enum { MAX_V = 4, MAX_A = 3, MAX_BS = 4, MAX_K = 11, MAX_D = 6, MAX_L = 8, MAX_P = 8 };
enum { MAX_ROWS = MAX_P * MAX_V * MAX_BS };

typedef struct problem {
    pfc_swav_config cfg;
    int64_t crops[MAX_A], bs, L;
    int use, frozen;
    double embedding[MAX_ROWS * MAX_D], prototypes[MAX_K * MAX_D], queue[MAX_P * MAX_A * MAX_L * MAX_D];
} problem;

typedef struct results {
    pfc_status status;
    double loss[MAX_P], assignment[MAX_P * MAX_A * MAX_BS * MAX_K], embedding_grad[MAX_ROWS * MAX_D], prototypes[MAX_K * MAX_D];
    double prototypes_grad[MAX_K * MAX_D], queue[MAX_P * MAX_A * MAX_L * MAX_D];
    int64_t use;
} results;

/* A context or a failed assertion. */
pfc_ctx *context(MPI_Comm comm, pfc_mode mode, int threads);
/* A normal number, rounded to float32. */
double random_float(int64_t seed, int64_t i);
/* Largest difference over the largest value; infinite where NaN or infinities differ. */
double distance(const double *a, const double *b, int64_t count);

/* A crops of V, bs samples, L rows of queue (0: none); filled: random rows, else zeros. */
void make_problem(problem *p, int64_t V, int64_t A, int64_t bs, int64_t L, bool filled, int64_t seed);
/* The problem's state as a layer. Collective. */
pfc_swav *make_layer(pfc_ctx *ctx, problem *p);
void library(MPI_Comm comm, pfc_mode mode, int threads, problem *p, results *r);
/* ranks: how many the equations imagine. */
void dense(int ranks, const problem *p, results *r);
/* Largest relative difference over all results. */
double worst(const problem *p, int ranks, const results *a, const results *b);
/* Both modes, on all ranks, against the equations: exact mode to 1e-9, fast mode to `tolerance`. exact: what exact mode gave. */
void compare(problem *p, results *exact, double tolerance);

#endif
