/* arcface_problem.h: one ArcFace problem, run by the library on any communicator and by the dense equations, with the results of all ranks put together
 * on each. */
#ifndef ARCFACE_PROBLEM_H
#define ARCFACE_PROBLEM_H

#include "dense/arcface_head_dense.h"

#include <pfc/pfc.h>

/* Inputs, the same on all ranks: float32 values held as doubles. */
typedef struct arc_problem {
    pfc_arcface_config cfg; /* C, D and k are in it */
    int64_t n;
    bool eval;
    double *x, *weight; /* (N,D) (C*k,D) */
    int64_t *labels;
    double *bias, *margins, *soft, *class_weight; /* (C*k) (C) (N,C) (C), or NULL */
} arc_problem;

enum { ARC_BIAS = 1, ARC_MARGINS = 2, ARC_SOFT = 4, ARC_CLASS_WEIGHT = 8 };

/* Random inputs from the counter-based generator; optional: which of the optional inputs. */
arc_problem *arc_problem_new(const pfc_arcface_config *cfg, int64_t n, int optional, int64_t seed);
void arc_problem_free(arc_problem *p);
/* Defaults of the library with sizes; scale 16, so that rows are not certain. */
pfc_arcface_config arc_config(int64_t c, int64_t d, int64_t k);

/* Results, whole, on every rank, as doubles. */
enum { ARC_LOGITS, ARC_SUBCENTER, ARC_LOSS, ARC_X_GRAD, ARC_WEIGHT_GRAD, ARC_BIAS_GRAD, ARC_COSINE, ARC_PROB, ARC_RESULTS };
extern const char *const ARC_NAMES[ARC_RESULTS];

typedef struct arc_outcome {
    pfc_status status; /* of the library; the arrays are valid where it is PFC_OK */
    int64_t size[ARC_RESULTS];
    double *v[ARC_RESULTS];
} arc_outcome;

/* Collective over the context's communicator `comm`. */
arc_outcome *arc_library(MPI_Comm comm, pfc_ctx *ctx, const arc_problem *p);
arc_outcome *arc_dense(const arc_problem *p);
void arc_outcome_free(arc_outcome *o);

/* Largest |a - b| over the largest finite |b|; +inf where NaN or infinities differ. */
double arc_worst(const double *a, const double *b, int64_t count);
/* Index of the first result whose bits differ, or -1. */
int arc_first_difference(const arc_outcome *a, const arc_outcome *b);

/* A context or a failed assertion. engine may be NULL. */
pfc_ctx *arc_ctx(MPI_Comm comm, pfc_mode mode, const char *engine, int threads);

#endif
