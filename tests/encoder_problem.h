/* encoder_problem.h: an encoder, its made-up batches and a step on them, for the tests of the encoder through the public interface. */
#ifndef ENCODER_PROBLEM_H
#define ENCODER_PROBLEM_H

#include "dense_encoder.h"

#include <mpi.h>
#include <pfc/pfc.h>

enum { IN = 5, OUT = 4, N = DENSE_ROWS, KINDS = 4 };

/* What a step gives on this rank; gradients and parameters are those of all. */
typedef struct encoder_results {
    double y[DENSE_SIZE], x_grad[DENSE_SIZE], grad[DENSE_PARAMS], param[DENSE_PARAMS];
} encoder_results;

pfc_ctx *encoder_ctx(MPI_Comm comm, pfc_mode mode);
/* Up to 3 layers from IN to OUT, synchronised batch norm over all ranks. */
pfc_encoder_config encoder_config(int64_t layers);
/* The same with batch norm of kind 0 to KINDS - 1: synchronised, plain, splits, synchronised in groups where the ranks are even. */
pfc_encoder_config encoder_config_of(int64_t layers, int kind, int ranks);
pfc_encoder *encoder_make(pfc_ctx *ctx, const pfc_encoder_config *c);

/* Element i of the rows and of the gradients of all steps. */
double encoder_input(int64_t i);
double encoder_gradient(int64_t i);

/* Rows [first, first + b) of the batch of a step, through a buffer of the mode's type. */
void encoder_forward(pfc_ctx *ctx, pfc_encoder *e, int step, int64_t first, int64_t b, int training, double *y);
/* Forward, backward, update of these rows. */
void encoder_step(pfc_ctx *ctx, pfc_encoder *e, int number, int64_t first, int64_t b, encoder_results *r);

#endif
