/* cpu_common.h: what every cpu table shares: memory, lanes. Signatures of the contract (backend.h). */
#ifndef PFC_CPU_COMMON_H
#define PFC_CPU_COMMON_H

#include "backend/backend.h"

pfc_status pfc_cpu_alloc(pfc_backend *be, size_t bytes, void **out);
void pfc_cpu_free(pfc_backend *be, void *p);
pfc_status pfc_cpu_upload(pfc_backend *be, void *dst, const void *host, size_t bytes);
pfc_status pfc_cpu_download(pfc_backend *be, void *host, const void *src, size_t bytes);
pfc_status pfc_cpu_sync(pfc_backend *be);
void pfc_cpu_for_lanes(pfc_backend *be, int lanes, pfc_lane_fn fn, void *arg);

/* Mean row loss in double (exact-v1 3.7); both modes use it. */
double pfc_cpu_mean_loss(pfc_loss_kind kind, const double *prob, const double *sum, const double *shifted, const unsigned char *valid, int64_t n_rows,
                         double n);

/* PFC_ERR_NOMEM with a text. */
pfc_status pfc_cpu_nomem(pfc_backend *be, size_t bytes);

#endif
