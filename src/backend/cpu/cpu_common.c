/* cpu_common.c: memory, lanes and the loss of the cpu tables. */
#include "backend/cpu/cpu_common.h"

#include "core/exactint.h"
#include "core/px.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

pfc_status pfc_cpu_nomem(pfc_backend *be, size_t bytes)
{
    snprintf(be->error, sizeof be->error, "out of memory: %zu bytes", bytes);
    return PFC_ERR_NOMEM;
}

pfc_status pfc_cpu_alloc(pfc_backend *be, size_t bytes, void **out)
{
    size_t rounded = (bytes + 63) / 64 * 64;
    *out = aligned_alloc(64, rounded ? rounded : 64);
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

/* -log(max(p, 1e-30)) with NaN passing, or log S - (l_t - M). */
static double row_loss(pfc_loss_kind kind, double prob, double sum, double shifted)
{
    if (kind == PFC_LOSS_LSE) return px_log(sum) - shifted;
    return -px_log(prob < 1e-30 ? 1e-30 : prob);
}

double pfc_cpu_mean_loss(pfc_loss_kind kind, const double *prob, const double *sum, const double *shifted, const unsigned char *valid, int64_t n_rows, double n)
{
    if (n == 0.0) return 0.0;
    int32_t e = PFC_EXPO_MIN;
    for (int64_t i = 0; i < n_rows; i++) {
        if (!valid[i]) continue;
        double x = row_loss(kind, prob[i], sum[i], shifted ? shifted[i] : 0.0);
        if (px_finite(x) && px_expo(x) > e) e = px_expo(x);
    }
    pfc_scalar_sum s = { 0, 0, 0 };
    for (int64_t i = 0; i < n_rows; i++)
        if (valid[i]) pfc_scalar_add(&s, row_loss(kind, prob[i], sum[i], shifted ? shifted[i] : 0.0), e);
    return pfc_scalar_value(&s, e) / n;
}
