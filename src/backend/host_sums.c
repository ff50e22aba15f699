/* host_sums.c: numbers from accumulators in host memory. */
#include "backend/host_sums.h"

#include "core/moments.h"

static pfc_scalar_sum scalar_at(const pfc_acc *acc, int64_t i)
{
    const int64_t *word = (const int64_t *)acc->data + 2 * i;
    pfc_scalar_sum s = { word[0], word[1], (unsigned char)(acc->special ? acc->special[i] : 0) };
    return s;
}

double pfc_acc_number(const pfc_acc *acc, int64_t i)
{
    if (acc->wire == PFC_F64) return ((const double *)acc->data)[i];
    int32_t expo = acc->expo[i / acc->cols];
    unsigned char mark = acc->special ? acc->special[i] : 0;
    if (acc->kind == PFC_ACC_SCALAR) {
        pfc_scalar_sum s = scalar_at(acc, i);
        return pfc_scalar_value(&s, expo);
    }
    return mark ? pfc_mark_value(mark) : px_scale(pfc_limbs_round((const int64_t *)acc->data + i * PFC_LIMBS), expo - 124);
}

void pfc_acc_total(const pfc_acc *acc, double *sums, double *total)
{
    int32_t e = PFC_MASS_EXPO_MIN;
    pfc_scalar_sum all = { 0, 0, 0 };
    *total = 0.0;
    for (int64_t i = 0; i < acc->rows; i++) {
        sums[i] = pfc_acc_number(acc, i);
        if (px_finite(sums[i]) && pfc_mass_expo(sums[i]) > e) e = pfc_mass_expo(sums[i]);
    }
    for (int64_t i = 0; i < acc->rows; i++) {
        if (acc->wire == PFC_F64)
            *total += sums[i];
        else
            pfc_scalar_add(&all, sums[i], e);
    }
    if (acc->wire != PFC_F64) *total = pfc_scalar_value(&all, e);
}

void pfc_fast_moments(double first, double second, double grid, double count, double *mean, double *var)
{
    double d = first / count, v = second / count - d * d;
    *mean = pfc_fast_shift(grid) + d;
    *var = v < 0.0 ? 0.0 : px_finite(*mean) ? v : PX_NAN;
}

void pfc_acc_moments(const pfc_acc *acc, const double *grid, int64_t count, double *mean, double *var)
{
    int64_t units = acc->rows / 2;
    for (int64_t u = 0; u < units; u++) {
        if (acc->wire == PFC_F64) {
            pfc_fast_moments(pfc_acc_number(acc, u), pfc_acc_number(acc, units + u), grid[u], (double)count, &mean[u], &var[u]);
            continue;
        }
        pfc_scalar_sum first = scalar_at(acc, u), second = scalar_at(acc, units + u);
        pfc_moments(&first, &second, count, px_expo(grid[u]), &mean[u], &var[u]);
    }
}

void pfc_acc_bn_values(const pfc_acc *acc, int64_t channels, int64_t splits, int joined, double *out)
{
    for (int64_t i = 0; i < 2 * channels * (joined ? 1 : splits); i++) {
        int64_t row = joined ? i / channels * channels * splits + i % channels : i;
        pfc_scalar_sum all = { 0, 0, 0 };
        out[i] = 0.0;
        for (int64_t s = 0; s < (joined ? splits : 1); s++) {
            if (acc->wire == PFC_F64) {
                out[i] += pfc_acc_number(acc, row + s * channels);
                continue;
            }
            pfc_scalar_sum part = scalar_at(acc, row + s * channels);
            all.a += part.a, all.b += part.b, all.mark |= part.mark;
        }
        if (acc->wire != PFC_F64) out[i] = pfc_scalar_value(&all, acc->expo[row]);
    }
}
