/* mean_loss.h (internal): an entry that every table shares. */
#ifndef PFC_MEAN_LOSS_H
#define PFC_MEAN_LOSS_H

#include "backend/backend.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Mean row loss in double (exact-v1 3.7); both modes use it. Host. */
double pfc_mean_loss(pfc_loss_kind kind, const double *prob, const double *sum, const double *shifted, const unsigned char *valid, int64_t n_rows, double n);

#ifdef __cplusplus
}
#endif
#endif
