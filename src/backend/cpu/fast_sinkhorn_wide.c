/* fast_sinkhorn_wide.c: Sinkhorn iterations on a matrix of doubles, in the published arrangement, for fast mode where float32 cannot hold what float64
 * can: masses far apart, and what becomes 0 or infinite in float64 itself. Slow and rare. */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/fast.h"
#include "backend/cpu/fast_sinkhorn.h"
#include "backend/shoot_infs.h"
#include "core/px.h"

#include <stdlib.h>

static double *row(const pfc_sinkhorn_plan *p, int64_t j) { return p->wide + j * p->q.cols; }

pfc_status pfc_fast_wide_exp(pfc_backend *be, pfc_sinkhorn_plan *plan, double shift)
{
    int64_t K = plan->q.cols, n = plan->q.rows;
    plan->wide = malloc((size_t)(n * K) * sizeof *plan->wide + 1);
    if (!plan->wide) return pfc_cpu_nomem(be, (size_t)(n * K) * sizeof *plan->wide);
#pragma omp parallel for num_threads(be->threads)
    for (int64_t j = 0; j < n; j++)
        for (int64_t i = 0; i < K; i++) row(plan, j)[i] = px_exp((double)pfc_fast_at(plan->scores, j)[i] / plan->cfg.epsilon - shift);
    if (pfc_replaces_infinities(&plan->cfg)) pfc_shoot_infs(plan->wide, n, K, K);
    return PFC_OK;
}

pfc_status pfc_fast_wide_sums(pfc_backend *be, const pfc_sinkhorn_plan *plan, double *sums)
{
    int64_t K = plan->q.cols, n = plan->q.rows;
    double *part = calloc((size_t)(FAST_LANES * K), sizeof *part);
    if (!part) return pfc_cpu_nomem(be, (size_t)(FAST_LANES * K) * sizeof *part);
#pragma omp parallel for num_threads(be->threads)
    for (int lane = 0; lane < FAST_LANES; lane++)
        for (int64_t j = n * lane / FAST_LANES; j < n * (lane + 1) / FAST_LANES; j++)
            for (int64_t i = 0; i < K; i++) part[lane * K + i] += row(plan, j)[i];
    sums[K] = 0.0;
    for (int64_t i = 0; i < K; i++) {
        sums[i] = 0.0;
        for (int lane = 0; lane < FAST_LANES; lane++) sums[i] += part[lane * K + i];
        sums[K] += sums[i];
    }
    free(part);
    return PFC_OK;
}

void pfc_fast_wide_each(pfc_backend *be, pfc_sinkhorn_plan *plan, double divisor, double add)
{
#pragma omp parallel for num_threads(be->threads)
    for (int64_t j = 0; j < plan->q.rows; j++)
        for (int64_t i = 0; i < plan->q.cols; i++) row(plan, j)[i] = row(plan, j)[i] / divisor + add;
}

static double mass(const double *x, int64_t n)
{
    double s = 0.0;
    for (int64_t i = 0; i < n; i++) s += x[i];
    return s;
}

pfc_status pfc_fast_wide_scale(pfc_backend *be, pfc_sinkhorn_plan *plan, const double *sums)
{
    int64_t K = plan->q.cols;
    double c = 1.0 / plan->total, *u = malloc((size_t)K * sizeof *u);
    if (!u) return pfc_cpu_nomem(be, (size_t)K * sizeof *u);
    for (int64_t i = 0; i < K; i++) u[i] = 1.0 / (double)K / sums[i];
    if (pfc_replaces_infinities(&plan->cfg)) pfc_shoot_infs(u, 1, K, K);
#pragma omp parallel for num_threads(be->threads)
    for (int64_t j = 0; j < plan->q.rows; j++) {
        double *x = row(plan, j);
        for (int64_t i = 0; i < K; i++) x[i] = plan->cfg.version == PFC_SINKHORN_V2 ? x[i] / sums[i] / (double)K : x[i] * u[i];
        double s = mass(x, K), b = plan->cfg.version == PFC_SINKHORN_V2 ? s : c / s;
        for (int64_t i = 0; i < K; i++) x[i] = plan->cfg.version == PFC_SINKHORN_V2 ? x[i] / b / plan->total : x[i] * b;
    }
    free(u);
    return PFC_OK;
}

void pfc_fast_wide_finish(pfc_backend *be, pfc_sinkhorn_plan *plan)
{
    int64_t K = plan->q.cols;
#pragma omp parallel for num_threads(be->threads)
    for (int64_t j = 0; j < plan->q.rows; j++) {
        double *x = row(plan, j), s = mass(x, K);
        for (int64_t i = 0; i < K; i++) pfc_fast_at(plan->q, j)[i] = (float)(plan->cfg.version == PFC_SINKHORN_V2 ? x[i] * plan->total : x[i] / s);
    }
}
