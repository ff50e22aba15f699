/* shoot_infs.h (internal): what versions v1 and vissl of Sinkhorn do to infinities (doc/exact-v1.md 5.1), in host memory. The same for every backend. */
#ifndef PFC_SHOOT_INFS_H
#define PFC_SHOOT_INFS_H

#include "core/px.h"

#include <pfc/sinkhorn.h>
#include <stdbool.h>

static inline bool pfc_replaces_infinities(const pfc_sinkhorn_config *cfg) { return cfg->version == PFC_SINKHORN_V1 || cfg->version == PFC_SINKHORN_VISSL; }

static inline bool pfc_infinite(double x) { return x == PX_INF || x == -PX_INF; }

/* The source's shoot_infs on rows of n elements, ld apart: infinities become the largest of the others and 0; NaN wins. */
static inline void pfc_shoot_infs(double *x, int64_t rows, int64_t n, int64_t ld)
{
    bool any = false;
    double m = 0.0;
    for (int64_t j = 0; j < rows; j++)
        for (int64_t i = 0; i < n; i++) {
            double v = x[j * ld + i];
            if (pfc_infinite(v))
                any = true;
            else
                m = px_larger(v, m);
        }
    for (int64_t j = 0; any && j < rows; j++)
        for (int64_t i = 0; i < n; i++)
            if (pfc_infinite(x[j * ld + i])) x[j * ld + i] = m;
}

#endif
