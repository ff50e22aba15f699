/* adaptive_margins.c: margins from the class counts.
 *
 * SetAdaptiveMarginsHook of mmpretrain (ee7f2e8), after the third place solution of Google Landmark Recognition 2020
 * (arXiv:2010.05350): rare classes get large margins.
 * semantics.md 8.6 and A.10; values: doc/exact-v1.md section 8.
 *
 *   1  f_c = max(n_c, 1)^power, n_c the training rows of class c
 *   2  range of f
 *   3  margins: m_c = (f_c - min f)/(max f - min f) * (margin_max - margin_min) + margin_min
 *
 * C numbers: every caller has all of them, nothing is moved. */
#include <pfc/arcface_head.h>

#include "core/px.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

pfc_adaptive_margins_config pfc_adaptive_margins_defaults(void) { return (pfc_adaptive_margins_config){ -0.25, 0.05, 0.5, PFC_EQUAL_SOURCE }; }

static pfc_status fail(pfc_status status, char *why, size_t size, const char *format, ...) __attribute__((format(printf, 4, 5)));
static pfc_status fail(pfc_status status, char *why, size_t size, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    if (why && size) vsnprintf(why, size, format, args);
    va_end(args);
    return status;
}

static double frequency(int64_t count, double power) { return px_pow((double)(count < 1 ? 1 : count), power); }

pfc_status pfc_adaptive_margins(const pfc_adaptive_margins_config *cfg, const int64_t *counts, int64_t classes, double *margins, char *why, size_t size)
{
    if (!isfinite(cfg->power) || !isfinite(cfg->margin_min) || !isfinite(cfg->margin_max))
        return fail(PFC_ERR_ARG, why, size, "power, margin_min or margin_max: found a number that is not finite");
    if (fabs(cfg->power) > 1e100) return fail(PFC_ERR_ARG, why, size, "power: found %g, expected a number up to 1e100", cfg->power);
    if (classes < 1) return fail(PFC_ERR_DATA, why, size, "class_counts: found no class");
    for (int64_t c = 0; c < classes; c++)
        if (counts[c] < 0) return fail(PFC_ERR_DATA, why, size, "class_counts: class %lld: found %lld, expected 0 or more", (long long)c, (long long)counts[c]);

    double least = PX_INF, most = -PX_INF; /* 1, 2 */
    for (int64_t c = 0; c < classes; c++) {
        double f = frequency(counts[c], cfg->power);
        least = f < least ? f : least;
        most = f > most ? f : most;
    }
    double range = most - least, spread = cfg->margin_max - cfg->margin_min;
    for (int64_t c = 0; c < classes; c++) { /* 3 */
        double share = (frequency(counts[c], cfg->power) - least) / range;
        margins[c] = range == 0.0 && cfg->equal_counts == PFC_EQUAL_MIN ? cfg->margin_min : share * spread + cfg->margin_min;
    }
    return PFC_OK;
}
