/* fast_acc.c: accumulators of fast mode. Lanes are added in lane order in double; one double per element goes over the wire. */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/fast.h"
#include "core/px.h"

#include <stdlib.h>
#include <string.h>

enum { FOLD_PARALLEL = 1 << 14 }; /* elements from which threads pay: each is a sum over the lanes */

void pfc_fast_acc_destroy(pfc_backend *be, pfc_acc *acc)
{
    if (!acc) return;
    fast_acc *s = pfc_fast_acc_of(acc);
    if (s) {
        pfc_fast_free(be, s->product);
        free(s->sum);
        free(s->max);
        free(s->seen);
        free(s);
    }
    pfc_fast_free(be, acc->data);
    free(acc);
}

/* The lanes' memory: false when there is none. */
static bool fill_state(pfc_backend *be, pfc_acc *acc, fast_acc *s)
{
    s->seen = calloc((size_t)acc->lanes, 1);
    if (!s->seen) return false;
    if (acc->kind == PFC_ACC_PRODUCT) {
        void *p;
        s->ld = pfc_round16(acc->cols);
        size_t bytes = (size_t)acc->lanes * (size_t)acc->rows * (size_t)s->ld * sizeof(float);
        if (pfc_fast_alloc(be, bytes ? bytes : 1, &p) != PFC_OK) return false;
        s->product = p;
        return true;
    }
    s->ld = pfc_round16(acc->rows);
    size_t max = (size_t)acc->lanes * (size_t)s->ld;
    s->sum = calloc((size_t)acc->lanes * (size_t)(acc->rows * acc->cols) + 1, sizeof *s->sum);
    s->max = malloc((max + 1) * sizeof *s->max);
    if (!s->sum || !s->max) return false;
    for (size_t i = 0; i < max; i++) s->max[i] = -__builtin_inff();
    return true;
}

float *pfc_fast_lane_product(pfc_acc *acc, int lane)
{
    fast_acc *s = pfc_fast_acc_of(acc);
    float *product = s->product + lane * acc->rows * s->ld;
    if (!s->seen[lane]) memset(product, 0, (size_t)(acc->rows * s->ld) * sizeof *product);
    s->seen[lane] = 1;
    return product;
}

pfc_status pfc_fast_acc_create(pfc_backend *be, int kind, int64_t rows, int64_t cols, pfc_acc **out)
{
    pfc_acc *acc = calloc(1, sizeof *acc);
    *out = NULL;
    if (!acc) return pfc_cpu_nomem(be, sizeof *acc);
    acc->kind = kind, acc->rows = rows, acc->cols = cols, acc->lanes = FAST_LANES;
    acc->words = 1, acc->wire = PFC_F64;
    acc->state = calloc(1, sizeof(fast_acc));
    if (!acc->state || pfc_fast_alloc(be, (size_t)(rows * cols + 1) * sizeof(double), &acc->data) != PFC_OK || !fill_state(be, acc, acc->state)) {
        pfc_fast_acc_destroy(be, acc);
        return pfc_cpu_nomem(be, FAST_LANES * (size_t)(rows * cols) * sizeof(float));
    }
    *out = acc;
    return PFC_OK;
}

static void fold_product(pfc_backend *be, pfc_acc *acc)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
    const fast_acc *s = pfc_fast_acc_of(acc);
#pragma omp parallel for schedule(static) num_threads(be->threads) if (acc->rows * acc->cols > FOLD_PARALLEL)
    for (int64_t i = 0; i < acc->rows; i++) {
        const float *part[FAST_LANES];
        int parts = 0;
        for (int lane = 0; lane < acc->lanes; lane++)
            if (s->seen[lane]) part[parts++] = s->product + (lane * acc->rows + i) * s->ld;
        k->add_rows(part, parts, acc->cols, (double *)acc->data + i * acc->cols);
    }
}

/* Sums of exp(l - m_lane) brought to the global maximum. A maximum that is not finite makes the sum NaN where there is any class (exact-v1 3.5). */
static double fold_row_sum(const pfc_acc *acc, int64_t i, double max)
{
    const fast_acc *s = pfc_fast_acc_of(acc);
    double sum = 0.0;
    for (int lane = 0; lane < acc->lanes; lane++) {
        if (!s->seen[lane]) continue;
        if (!px_finite(max)) return PX_NAN;
        sum += s->sum[lane * acc->rows + i] * px_exp((double)s->max[lane * s->ld + i] - max);
    }
    return sum;
}

pfc_status pfc_fast_acc_fold(pfc_backend *be, pfc_acc *acc, const pfc_rows_info *rows)
{
    const fast_acc *s = pfc_fast_acc_of(acc);
    if (acc->kind == PFC_ACC_PRODUCT) {
        fold_product(be, acc);
        return PFC_OK;
    }
    int64_t count = acc->rows * acc->cols;
    for (int64_t i = 0; i < count; i++) {
        double sum = 0.0;
        if (rows)
            sum = fold_row_sum(acc, i, (double)*pfc_fast_at(rows->max, i));
        else
            for (int lane = 0; lane < acc->lanes; lane++) sum += s->sum[lane * count + i];
        ((double *)acc->data)[i] = sum;
    }
    return PFC_OK;
}

pfc_status pfc_fast_acc_value(pfc_backend *be, const pfc_acc *acc, int64_t first, int64_t count, pfc_view out)
{
    const pfc_fast_kernels *k = pfc_fast_kernels_of(be);
    for (int64_t i = 0; i < count; i++) k->round_row((const double *)acc->data + (first + i) * acc->cols, acc->cols, pfc_fast_at(out, i));
    return PFC_OK;
}

pfc_status pfc_fast_row_max_fold(pfc_backend *be, pfc_acc *sum, pfc_view max)
{
    const fast_acc *s = pfc_fast_acc_of(sum);
    (void)be;
    for (int64_t i = 0; i < sum->rows; i++) {
        float m = -__builtin_inff();
        for (int lane = 0; lane < sum->lanes; lane++) m = pfc_fast_larger(m, s->max[lane * s->ld + i]);
        *pfc_fast_at(max, i) = m;
    }
    return PFC_OK;
}
