/* cpu_common.h (internal): what every cpu table shares: memory, lanes, moving rows. backend.h has the meaning of the entries. */
#ifndef PFC_CPU_COMMON_H
#define PFC_CPU_COMMON_H

#include "backend/backend.h"

pfc_status pfc_cpu_alloc(pfc_backend *be, size_t bytes, void **out);
void pfc_cpu_free(pfc_backend *be, void *p);
pfc_status pfc_cpu_upload(pfc_backend *be, void *dst, const void *host, size_t bytes);
pfc_status pfc_cpu_download(pfc_backend *be, void *host, const void *src, size_t bytes);
pfc_status pfc_cpu_sync(pfc_backend *be);
void pfc_cpu_for_lanes(pfc_backend *be, int lanes, pfc_lane_fn fn, void *arg);
pfc_status pfc_cpu_copy_rows(pfc_backend *be, pfc_view from, pfc_view to);
pfc_status pfc_cpu_zero(pfc_backend *be, pfc_view to);

/* PFC_ERR_NOMEM with a text. */
pfc_status pfc_cpu_nomem(pfc_backend *be, size_t bytes);

#endif
