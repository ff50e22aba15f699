/* swav_dense.h: Sinkhorn, SwAV and the learning-rate schedule as in the textbook: serial, in double, libm (semantics.md section 5).
 *
 * P imagined ranks; letters as in include/pfc/swav.h. All matrices are row-major and hold the ranks one after the other. */
#ifndef PFC_SWAV_DENSE_H
#define PFC_SWAV_DENSE_H

#include <pfc/swav.h>
#include <stdbool.h>

/* q (P*n,K) of scores (P*n,K). False: out of memory. */
bool pfc_dense_sinkhorn(const pfc_sinkhorn_config *cfg, int ranks, int64_t n, int64_t K, const double *scores, double *q);

/* One iteration on P imagined ranks; only the fields of cfg that a step needs are read. */
typedef struct pfc_dense_swav {
    const pfc_swav_config *cfg;
    int ranks;     /* P */
    int64_t bs, L; /* L 0: no queue */
    int frozen;
    const double *embedding; /* (P, V*bs, D) */
    double *prototypes;      /* (K,D) in and out */
    double *queue;           /* (P, A, L, D) in and out, NULL if L is 0 */
    int64_t use_the_queue;   /* in and out */
    double *loss;            /* (P) */
    double *assignment;      /* (P, A, bs, K) */
    double *embedding_grad;  /* (P, V*bs, D) */
    double *prototypes_grad; /* (K,D) */
    bool same_answer;        /* out: the ranks agreed on the use of the queue; if not nothing else is valid */
} pfc_dense_swav;

/* False: out of memory. */
bool pfc_dense_swav_step(pfc_dense_swav *s);

/* Loss of one rank with given assignments q (A,bs,K): of embeddings h (V*bs,D), not normalised, and prototypes C (K,D) as they are. */
double pfc_dense_swav_loss(const pfc_swav_config *cfg, int64_t bs, const double *h, const double *C, const double *q);

/* (epochs*steps_per_epoch) */
void pfc_dense_lr_schedule(const pfc_lr_config *cfg, double *lr);

#endif
