/* mean_loss.c: the mean loss of a batch from the probabilities at the targets (doc/exact-v1.md 3.7), on the host. */
#include "backend/mean_loss.h"

#include "core/exactint.h"

/* -log(max(p, 1e-30)) with NaN passing, or log S - (l_t - M). */
static double row_loss(pfc_loss_kind kind, double prob, double sum, double shifted)
{
    if (kind == PFC_LOSS_LSE) return px_log(sum) - shifted;
    return -px_log(prob < 1e-30 ? 1e-30 : prob);
}

double pfc_mean_loss(pfc_loss_kind kind, const double *prob, const double *sum, const double *shifted, const unsigned char *valid, int64_t n_rows, double n)
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
