/* batch_norm.h (internal): the layer object, and its vectors' formulas. */
#ifndef PFC_ALGO_BATCH_NORM_H
#define PFC_ALGO_BATCH_NORM_H

#include "algo/host_rows.h"
#include "core/ctx.h"

#include <pfc/batch_norm.h>

/* What the last forward used, for the backward. U = S*C units; host. */
typedef struct pfc_bn_last {
    bool done, batch; /* batch: statistics of the batch, not running ones */
    bool shared;      /* they were taken over the group */
    pfc_bn_shape shape;
    int64_t count;            /* elements of a unit over the ranks that share it */
    bool unequal;             /* with equal weighting: these ranks have different numbers of them */
    double divisor;           /* of this rank's mean gradients */
    double *mean, *var, *inv; /* (U) */
    float *shown;             /* (U) what a tap sees of a vector in fast mode */
} pfc_bn_last;

struct pfc_batch_norm {
    pfc_ctx *ctx;
    pfc_batch_norm_config cfg;
    bool grouped;   /* sync over a machine of more than one rank */
    pfc_comm group; /* of the ranks that share statistics; open if grouped */
    int64_t batches;
    bool aggregated;                    /* the running statistics are fresh from aggregate, part of the same step: not rounded to float32 yet */
    double *weight, *bias;              /* (C) host */
    double *running_mean, *running_var; /* (C) */
    double *split_mean, *split_var;     /* (S*C), sub only */
    pfc_bn_last last;
};

/* ---- tensors of the last batch in and out, a whole sample at a time (batch_norm_layer.c); free with pfc_host_release ---- */

/* The caller's tensor rounded to float32, in the table's place. */
pfc_status pfc_bn_take(const pfc_batch_norm *bn, pfc_view caller, pfc_host_rows *out);
/* Memory for a result, and what is in it to the caller. */
pfc_status pfc_bn_room(const pfc_batch_norm *bn, pfc_view caller, pfc_host_rows *out);
pfc_status pfc_bn_give(const pfc_batch_norm *bn, const pfc_host_rows *from, pfc_view caller);

/* ---- vectors of statistics on the host, in double, the same in both modes (batch_norm_statistics.c; exact-v1 7.3-7.5) ---- */

/* inv_i = 1 / sqrt(var_i + eps). */
void pfc_bn_inverse(const double *var, double eps, int64_t n, double *inv);
/* Ranks' moments (ranks, 2, n), means and variances, into the mean of means and the variance about it: every rank the same weight. */
bool pfc_bn_merge(const double *moments, int64_t ranks, int64_t n, double *mean, double *var);
/* running += momentum (new - running), the variance times count/(count-1) if unbiased (count 1: the variance stays as it is). */
void pfc_bn_update(const double *mean, const double *var, int64_t n, double momentum, bool unbiased, int64_t count, double *running_mean, double *running_var);
/* aggregate_stats. false: out of memory. */
bool pfc_bn_aggregate(const double *split_mean, const double *split_var, int64_t splits, int64_t channels, double *mean, double *var);
/* out_i = a_i / d. */
void pfc_bn_divide(const double *a, double d, int64_t n, double *out);
/* out (2, C) = a (2, S, C) summed over the splits in order. */
void pfc_bn_join(const double *a, int64_t splits, int64_t channels, double *out);
/* a_i <- float32(a_i). */
void pfc_bn_round(double *a, int64_t n);

#endif
