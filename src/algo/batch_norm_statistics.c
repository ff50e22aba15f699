/* batch_norm_statistics.c: formulas of batch normalisation on vectors of one number per channel (semantics.md 7.2, 7.3, 7.6; exact-v1 7.3-7.5). */
#include "algo/batch_norm.h"
#include "core/exactint.h"

#include <stdlib.h>

void pfc_bn_inverse(const double *var, double eps, int64_t n, double *inv)
{
    for (int64_t i = 0; i < n; i++) inv[i] = 1.0 / PX_SQRT(var[i] + eps);
}

bool pfc_bn_merge(const double *moments, int64_t ranks, int64_t n, double *mean, double *var)
{
    double *term = malloc((size_t)(ranks + 1) * sizeof *term);
    for (int64_t i = 0; term && i < n; i++) {
        for (int64_t r = 0; r < ranks; r++) term[r] = moments[2 * r * n + i];
        mean[i] = pfc_scalar_sum_of(term, ranks) / (double)ranks;
        for (int64_t r = 0; r < ranks; r++) {
            double d = term[r] - mean[i];
            term[r] = PX_FMA(d, d, moments[(2 * r + 1) * n + i]);
        }
        var[i] = pfc_scalar_sum_of(term, ranks) / (double)ranks;
    }
    free(term);
    return term != NULL;
}

void pfc_bn_update(const double *mean, const double *var, int64_t n, double momentum, bool unbiased, int64_t count, double *running_mean, double *running_var)
{
    double m = (double)count;
    for (int64_t i = 0; i < n; i++) {
        double v = unbiased ? (var[i] * m) / (m - 1.0) : var[i];
        running_mean[i] = PX_FMA(momentum, mean[i], (1.0 - momentum) * running_mean[i]); /* momentum 1 keeps nothing of the old value, not even its rounding */
        if (!unbiased || count > 1) running_var[i] = PX_FMA(momentum, v, (1.0 - momentum) * running_var[i]);
    }
}

bool pfc_bn_aggregate(const double *split_mean, const double *split_var, int64_t splits, int64_t channels, double *mean, double *var)
{
    double *moments = malloc((size_t)(2 * splits * channels + 1) * sizeof *moments);
    if (!moments) return false;
    for (int64_t s = 0; s < splits; s++)
        for (int64_t c = 0; c < channels; c++) {
            moments[2 * s * channels + c] = split_mean[s * channels + c];
            moments[(2 * s + 1) * channels + c] = split_var[s * channels + c];
        }
    bool ok = pfc_bn_merge(moments, splits, channels, mean, var);
    free(moments);
    return ok;
}

void pfc_bn_divide(const double *a, double d, int64_t n, double *out)
{
    for (int64_t i = 0; i < n; i++) out[i] = a[i] / d;
}

void pfc_bn_join(const double *a, int64_t splits, int64_t channels, double *out)
{
    for (int64_t i = 0; i < 2 * channels; i++) {
        out[i] = 0.0;
        for (int64_t s = 0; s < splits; s++) out[i] += a[(i / channels * splits + s) * channels + i % channels];
    }
}

void pfc_bn_round(double *a, int64_t n)
{
    for (int64_t i = 0; i < n; i++) a[i] = (double)(float)a[i];
}
