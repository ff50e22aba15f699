/* cpu_common.c: memory, lanes and the loss of the cpu tables. */
#include "backend/cpu/cpu_common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

pfc_status pfc_cpu_nomem(pfc_backend *be, size_t bytes)
{
    snprintf(be->error, sizeof be->error, "out of memory: %zu bytes", bytes);
    return PFC_ERR_NOMEM;
}

/* Large memory asks for huge pages: fewer faults when it is first touched, fewer misses when rows are picked from it. */
pfc_status pfc_cpu_alloc(pfc_backend *be, size_t bytes, void **out)
{
    const size_t huge = (size_t)1 << 21, unit = bytes >= 4 * huge ? huge : 64;
    size_t rounded = (bytes + unit - 1) / unit * unit;
    *out = aligned_alloc(unit, rounded ? rounded : unit);
    if (!*out) return pfc_cpu_nomem(be, bytes);
#ifdef MADV_HUGEPAGE
    if (unit == huge) madvise(*out, rounded, MADV_HUGEPAGE); /* a hint: without it the pages are small */
#endif
    return PFC_OK;
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
