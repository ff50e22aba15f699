/* cpu_common.c: memory, lanes and the loss of the cpu tables. */
#include <config.h>

#include "backend/cpu/cpu_common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Arrays from this size on lie on huge pages where the system gives them: rows picked from a large matrix otherwise miss the TLB one by one. */
enum { HUGE_PAGE = 2 << 20, HUGE_FROM = 2 * HUGE_PAGE };

pfc_status pfc_cpu_nomem(pfc_backend *be, size_t bytes)
{
    snprintf(be->error, sizeof be->error, "out of memory: %zu bytes", bytes);
    return PFC_ERR_NOMEM;
}

pfc_status pfc_cpu_alloc(pfc_backend *be, size_t bytes, void **out)
{
    size_t unit = bytes >= HUGE_FROM ? HUGE_PAGE : 64, rounded = (bytes + unit - 1) / unit * unit;
    *out = aligned_alloc(unit, rounded ? rounded : unit);
#ifdef MADV_HUGEPAGE
    if (*out && unit == HUGE_PAGE) madvise(*out, rounded, MADV_HUGEPAGE); /* only advice: failure does not matter */
#endif
    return *out ? PFC_OK : pfc_cpu_nomem(be, bytes);
}

void pfc_cpu_free(pfc_backend *be, void *p)
{
    (void)be;
    free(p);
}

pfc_status pfc_cpu_upload(pfc_backend *be, void *dst, const void *host, size_t bytes)
{
    (void)be;
    if (bytes) memcpy(dst, host, bytes);
    return PFC_OK;
}

pfc_status pfc_cpu_download(pfc_backend *be, void *host, const void *src, size_t bytes)
{
    (void)be;
    if (bytes) memcpy(host, src, bytes);
    return PFC_OK;
}

pfc_status pfc_cpu_sync(pfc_backend *be)
{
    (void)be;
    return PFC_OK;
}

void pfc_cpu_for_lanes(pfc_backend *be, int lanes, pfc_lane_fn fn, void *arg)
{
#pragma omp parallel for schedule(dynamic, 1) num_threads(be->threads)
    for (int lane = 0; lane < lanes; lane++) fn(arg, lane);
}
