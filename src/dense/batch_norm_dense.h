/* batch_norm_dense.h: batch normalisation and GroupGather on P imagined ranks, serial, in double (semantics.md section 7). */
#ifndef PFC_DENSE_BATCH_NORM_H
#define PFC_DENSE_BATCH_NORM_H

#include <pfc/batch_norm.h>
#include <stdbool.h>

/* Letters: N samples in rank order, rows[r] of them on rank r; C channels; L elements; S splits; U = S*C units if the splits count (sub, training),
 * else C. The configuration must be a valid one: num_splits 1 but for sub, local_size and num_sync_devices resolved. */
typedef struct pfc_dense_batch_norm {
    pfc_batch_norm_config cfg;
    int ranks;
    const int64_t *rows; /* (P) */
    int64_t l;
    bool training, aggregate;
    int64_t batches;                    /* num_batches_tracked before */
    const double *x, *g;                /* (N,C,L); g NULL: forward only */
    const double *weight, *bias;        /* (C) */
    double *running_mean, *running_var; /* (P,C) before, and after */
    double *split_mean, *split_var;     /* (P,S*C) likewise; sub */
    /* Results, room for them by the caller. */
    double *y, *x_grad;                  /* (N,C,L) */
    double *weight_grad, *bias_grad;     /* (P,C) */
    double *mean, *var, *sum_g, *sum_gx; /* (P,U) what a rank normalised with; sums over all that shares it */
    double *divisor;                     /* (P) of the mean gradients; 0: no statistics of a batch */
    double *count;                       /* (P) elements of a unit over all that share its statistics */
    double *work;                        /* (2U) */
} pfc_dense_batch_norm;

void pfc_dense_batch_norm_run(pfc_dense_batch_norm *p);
/* The units of a rank in this call: C, or S*C. */
int64_t pfc_dense_batch_norm_units(const pfc_dense_batch_norm *p);
/* First and last rank, [first, end), that share statistics with rank r. */
void pfc_dense_batch_norm_group(const pfc_dense_batch_norm *p, int r, int *first, int *end);

/* out (P,M) = sums of in (P,M) over groups (7.5). */
void pfc_dense_group_gather(int ranks, int64_t num_sync_devices, int64_t num_groups, int64_t local_size, int64_t m, const double *in, double *out);

#endif
