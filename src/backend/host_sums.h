/* host_sums.h (internal): what the tables make of accumulators in host memory (after acc_fold and the sum over the ranks). The wire says which mode it is:
 * integers (doc/exact-v1.md), or doubles. The same for every backend. */
#ifndef PFC_HOST_SUMS_H
#define PFC_HOST_SUMS_H

#include "backend/backend.h"
#include "core/exactint.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Element i of rows*cols, rounded (exact-v1 1.2, 1.3). */
double pfc_acc_number(const pfc_acc *acc, int64_t i);

/* sinkhorn_total (exact-v1 5.2). */
void pfc_acc_total(const pfc_acc *acc, double *sums, double *total);

/* bn_moments and bn_values (exact-v1 7.2, 7.6). */
void pfc_acc_moments(const pfc_acc *acc, const double *grid, int64_t count, double *mean, double *var);
void pfc_acc_bn_values(const pfc_acc *acc, int64_t channels, int64_t splits, int joined, double *out);

/* What fast mode subtracts from the values of a unit, and the moments from the sums of what is left and of its square. */
static inline double pfc_fast_shift(double grid) { return px_finite(grid) ? grid : 0.0; }
void pfc_fast_moments(double first, double second, double grid, double count, double *mean, double *var);

#ifdef __cplusplus
}
#endif
#endif
