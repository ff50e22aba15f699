/* cpu_common.c: memory, lanes and moving rows: the entries that all cpu tables share. */
#include <config.h>

#include "backend/cpu/cpu_common.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* Arrays from this size on lie on huge pages where the system gives them: fewer faults when they are first touched, and rows picked from a large
 * matrix otherwise miss the TLB one by one. */
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

/* ---- rows of any type ---- */

static char *row_at(pfc_view v, int64_t i) { return (char *)v.data + (size_t)(i * v.ld) * pfc_dtype_size(v.dtype); }
static size_t row_bytes(pfc_view v) { return (size_t)v.cols * pfc_dtype_size(v.dtype); }

pfc_status pfc_cpu_copy_rows(pfc_backend *be, pfc_view from, pfc_view to)
{
    (void)be;
    if (from.ld == from.cols && to.ld == to.cols)
        memmove(to.data, from.data, (size_t)from.rows * row_bytes(from));
    else
        for (int64_t i = 0; i < from.rows; i++) memcpy(row_at(to, i), row_at(from, i), row_bytes(from));
    return PFC_OK;
}

pfc_status pfc_cpu_zero(pfc_backend *be, pfc_view to)
{
    (void)be;
    for (int64_t i = 0; i < to.rows; i++) memset(row_at(to, i), 0, row_bytes(to));
    return PFC_OK;
}
