/* batch_norm_problem.h: one batch_norm layer with its inputs and results, for the tests of the library. */
#ifndef BATCH_NORM_PROBLEM_H
#define BATCH_NORM_PROBLEM_H

#include <pfc/pfc.h>
#include <stdbool.h>

/* Inputs and results as doubles; in fast mode the layer works on copies in float32. */
typedef struct bn {
    pfc_ctx *ctx;
    pfc_batch_norm *layer;
    int64_t n, inner, channels;
    double *x, *g, *y, *dx, *dw, *db;
    float *single[6]; /* fast mode: the same six */
} bn;

/* What bn_backward_part asks for. */
enum { BN_X_GRAD = 1, BN_WEIGHT_GRAD = 2, BN_BIAS_GRAD = 4, BN_ALL = 7 };

pfc_ctx *bn_ctx(MPI_Comm comm, pfc_mode mode, int threads);
pfc_batch_norm_config bn_config(pfc_bn_kind kind, int64_t channels);
/* A layer for n samples of this rank, all zeros. */
void bn_open(bn *b, pfc_ctx *ctx, pfc_batch_norm_config cfg, int64_t n, int64_t inner);
void bn_close(bn *b); /* and the context */
/* x and g from the generator, as if sample 0 were number `first` of a batch. */
void bn_fill(bn *b, int64_t first);

pfc_status bn_forward(bn *b, int training);
pfc_status bn_backward(bn *b);
/* Results that are not asked for stay as they were. */
pfc_status bn_backward_part(bn *b, int results);
void bn_running(const bn *b, double *mean, double *var);

bool bn_near(double got, double want, double tolerance);
double bn_number(int64_t seed, int64_t i); /* a float32 value */

#endif
