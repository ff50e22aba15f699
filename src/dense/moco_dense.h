/* moco_dense.h: momentum contrast as the textbook has it, serial, in double: the tests' second opinion (semantics.md section 6). Row-major, plain loops. */
#ifndef PFC_MOCO_DENSE_H
#define PFC_MOCO_DENSE_H

#include <stdbool.h>
#include <stdint.h>

/* permutation (n): the row numbers in the order of their keys, ties by row number (6.3, case-format.md). */
void pfc_dense_moco_permutation(int64_t seed, uint32_t step, int64_t n, int64_t *permutation);
/* out_i = x_permutation[i], rows of m numbers. */
void pfc_dense_moco_pick(const double *x, const int64_t *permutation, int64_t n, int64_t m, double *out);

/* theta_k (n) <- mu theta_k + (1 - mu) theta_q, or theta_q on the first call (6.2). */
void pfc_dense_moco_update(double mu, bool first_call, const double *theta_q, int64_t n, double *theta_k);

typedef struct pfc_dense_moco {
    int64_t rows, width, keys; /* N, D, K */
    int ranks;                 /* P: each has N/P rows and a loss of its own */
    double temperature;
    const double *query, *key; /* (N,D) before normalisation */
    double *queue;             /* (K,D) in, and out */
    int64_t ptr;               /* in and out */
    double *query_unit;        /* (N,D) out */
    double *key_unit;          /* (N,D) out */
    double *logits;            /* (N,1+K) out */
    double *loss;              /* (P) out */
    double *query_grad;        /* (N,D) out: of each rank's own loss */
} pfc_dense_moco;

/* Loss, gradient, then the keys into the ring: row (ptr + i) mod K <- key i, in this order (6.4, A.8). */
void pfc_dense_moco_step(pfc_dense_moco *m);

#endif
