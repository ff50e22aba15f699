/* fast_step.h: one step of partial_fc on one rank, driven straight through a table of operations, for tests/test_fast_kernels.c; and the same in double by
 * plain loops. */
#ifndef FAST_STEP_H
#define FAST_STEP_H

#include "backend/backend.h"

/* Inputs. Rows of x, z, h, dw have `slack` unused floats behind them; w and momentum are 2*c rows of which the step takes every other one if gather is set. */
typedef struct fast_problem {
    int64_t n, d, c, slack, block;
    int gather;
    int fused; /* weight_update in the place of weight_grad and sgd_rows; weight_grad is asked for dw beforehand all the same */
    pfc_head head;
    pfc_sgd sgd;
    float *x, *w, *momentum;
    int64_t *target, *index;
    unsigned char *valid;
    double valid_rows;
} fast_problem;

/* Everything a step gives, as flat arrays; shapes in fast_result_shape. */
enum { R_XNORM, R_WNORM, R_Z, R_MAX, R_SUM, R_TARGET, R_H, R_WDOT, R_DOT, R_FEATURE, R_DW, R_XGRAD, R_W, R_MOMENTUM, R_L, R_G, R_COUNT };
extern const char *const FAST_RESULT_NAMES[R_COUNT];

typedef struct fast_result {
    float *v[R_COUNT];
    double loss;
} fast_result;

/* Values from seed; targets: two of three rows have one, every seventh row is ignored. */
void fast_problem_make(fast_problem *p, int64_t n, int64_t d, int64_t c, unsigned seed);
void fast_problem_free(fast_problem *p);
typedef struct fast_shape {
    int64_t rows, cols, ld;
} fast_shape;
fast_shape fast_result_shape(const fast_problem *p, int which);
int64_t fast_result_size(const fast_problem *p, int which); /* rows * ld */
void fast_result_free(fast_result *r);

/* The step by the table; p is not changed. Fails the running test on an error. */
void fast_step(const pfc_ops *ops, int threads, const fast_problem *p, fast_result *r);

/* The step in double; magnitude: for each element the sum of the absolute terms, what a rounding error is relative to.
 * target_logit is NaN where there is no target. */
typedef struct fast_reference {
    double *v[R_COUNT], *magnitude[R_COUNT];
    double loss;
} fast_reference;
void fast_reference_step(const fast_problem *p, fast_reference *r);
void fast_reference_free(fast_reference *r);

#endif
