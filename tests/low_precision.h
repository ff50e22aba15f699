/* low_precision.h: plain ports of products and families in tf32, bf16 and f16, for the tests of their bounds (doc/numerics.md section 14). */
#ifndef PFC_LOW_PRECISION_H
#define PFC_LOW_PRECISION_H

#include "case/precision.h"

#include <pfc/pfc.h>

/* How a port holds what enters a product, and whether it stores results of products so, too. */
typedef struct low_port {
    const pfc_precision *type;
    bool stores;
    int fault; /* 0: none; what others are is the port's affair */
} low_port;

/* x in the port's type, by libm: a second opinion on src/case/round.c. */
double low_round(const pfc_precision *type, double x);

enum { LOW_KEY_LEFT_OUT = 1, LOW_ROWS_SHIFTED, LOW_NO_PROJECTION, LOW_NO_MEAN };

/* A MoCo step in float32 but for its products (semantics.md 6.4): logits (N,1+K), loss (P), query_grad (N,D). */
void low_moco(const low_port *port, int ranks, int64_t N, int64_t K, int64_t D, double temperature, const double *query, const double *key, const double *queue,
              double *logits, double *loss, double *query_grad);

/* A SwAV step without a queue, two crops, each the other's target (5.2, 5.3): scores, dscores (P*2*bs,K), loss (P), embedding_grad, prototypes_grad.
 * Its Sinkhorn is the dense one. */
void low_swav(const low_port *port, int ranks, const pfc_sinkhorn_config *cfg, double temperature, int64_t bs, int64_t K, int64_t D, const double *embedding,
              const double *prototypes, double *scores, double *dscores, double *loss, double *embedding_grad, double *prototypes_grad);

#endif
