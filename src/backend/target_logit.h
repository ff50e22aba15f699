/* target_logit.h (internal): logit and slope of a row's own class in exact mode (doc/exact-v1.md 3.3 and 8.4), for hosts and devices. The other classes are in
 * cpu/exact_kernels.inc. */
#ifndef PFC_TARGET_LOGIT_H
#define PFC_TARGET_LOGIT_H

#include "backend/backend.h"
#include "core/px.h"

/* Head of partial_fc (3.3). */
PX_FN void pfc_target_logit(const pfc_head *head, double z, double *logit, double *slope)
{
    double s = head->scale, m = head->margin;
    double v = head->cos_clamp ? (z < -1.0 ? -1.0 : z > 1.0 ? 1.0 : z) : z;
    double gate = !head->cos_clamp || (z >= -1.0 && z <= 1.0) ? 1.0 : 0.0, d = s, l = s * v;
    switch (head->kind) {
    case PFC_HEAD_LINEAR: break;
    case PFC_HEAD_COS: l = s * (v - m); break;
    case PFC_HEAD_CIRCLE: {
        double ap = (1.0 + m) - v;
        ap = ap < 0.0 ? 0.0 : ap;
        l = (s * ap) * (v - (1.0 - m));
        d = s * ap;
        break;
    }
    case PFC_HEAD_ARC: {
        double q = PX_SQRT((1.0 - v) * (1.0 + v)), phi = PX_FMA(v, head->cos_m, -(q * head->sin_m));
        double rise = head->cos_m + (v * head->sin_m) / q;
        int pole = v == 1.0 || v == -1.0;
        if (pole && head->cos_clamp) rise = 0.0;
        if (head->arc_fallback == PFC_FALLBACK_LINEAR && v <= -head->cos_m) {
            phi = v - head->mm;
            rise = 1.0;
        } else if (head->arc_fallback == PFC_FALLBACK_EASY && !(v > 0.0)) {
            phi = v;
            rise = 1.0;
        }
        if (head->arc_gradient == PFC_ARC_STRAIGHT_THROUGH)
            rise = 1.0;
        else if (pole && !head->cos_clamp)
            rise = PX_NAN;
        l = v > 1.0 || v < -1.0 ? PX_NAN : s * phi;
        d = s * rise;
        break;
    }
    }
    *logit = l;
    *slope = gate == 0.0 ? 0.0 : d;
}

/* Angular margins (8.4). c: cos m, sin m, threshold, m sin m. */
PX_FN void pfc_angular_target_logit(const pfc_angular *head, const double *c, double z, double *logit, double *slope)
{
    double v = head->cos_clamp ? (z < -1.0 ? -1.0 : z > 1.0 ? 1.0 : z) : z;
    double q = PX_SQRT((1.0 - v) * (1.0 + v)), phi = PX_FMA(v, c[0], -(q * c[1])), rise = c[0] + (v * c[1]) / q;
    if (head->cos_clamp && (v == 1.0 || v == -1.0)) rise = 0.0;
    if (!(head->easy ? v > 0.0 : v > c[2])) {
        phi = head->easy ? v : v - c[3];
        rise = 1.0;
    }
    if (!px_finite(v)) phi = PX_NAN;
    if (!head->cos_clamp && (!(v > -1.0 && v < 1.0) || px_nan(c[0]))) rise = PX_NAN; /* 0*inf or worse, whatever the branch */
    *logit = head->scale * phi;
    *slope = head->cos_clamp && !(z >= -1.0 && z <= 1.0) ? 0.0 : head->scale * rise;
}

#endif
