/* dense_encoder.h: the encoder in double by plain loops, for all ranks at once: what tests/test_encoder.c compares with. */
#ifndef DENSE_ENCODER_H
#define DENSE_ENCODER_H

#include <pfc/encoder.h>
#include <stdbool.h>

enum { DENSE_ROWS = 240, DENSE_WIDTH = 8, DENSE_LAYERS = 3, DENSE_RANKS = 8, DENSE_SPLITS = 2, DENSE_SIZE = DENSE_ROWS * DENSE_WIDTH };
enum { DENSE_PARAMS = DENSE_LAYERS * (DENSE_WIDTH * DENSE_WIDTH + 2 * DENSE_WIDTH) };

typedef struct dense_statistics {
    double mean[DENSE_RANKS * DENSE_WIDTH], var[DENSE_RANKS * DENSE_WIDTH];
    double split_mean[DENSE_RANKS * DENSE_SPLITS * DENSE_WIDTH], split_var[DENSE_RANKS * DENSE_SPLITS * DENSE_WIDTH];
} dense_statistics;

/* DENSE_ROWS rows, the same number on each of `ranks`. */
typedef struct dense_encoder {
    pfc_encoder_config cfg;
    int ranks;
    bool round; /* what goes from layer to layer, and the state, to float32 */
    int64_t params;
    double param[DENSE_PARAMS], momentum[DENSE_PARAMS], grad[DENSE_PARAMS];
    double x[DENSE_LAYERS + 1][DENSE_SIZE], z[DENSE_LAYERS][DENSE_SIZE]; /* inputs of the layers, and the output; products */
    dense_statistics statistics[DENSE_LAYERS];
} dense_encoder;

/* A valid configuration; parameters are the caller's, statistics are the first ones. */
void dense_encoder_open(dense_encoder *e, const pfc_encoder_config *cfg, int ranks);
/* x (DENSE_ROWS, in) to e->x[layers]. */
void dense_encoder_forward(dense_encoder *e, const double *x, bool training);
/* g (DENSE_ROWS, out) to e->grad; x_grad may be NULL. */
void dense_encoder_backward(dense_encoder *e, const double *g, double divisor, double *x_grad);
void dense_encoder_update(dense_encoder *e, double lr);

#endif
