/* exact_acc.c: accumulators of exact mode: lanes of integers, limbs on the wire, one rounding at the end (doc/exact-v1.md section 1). */
#include "backend/cpu/cpu_common.h"
#include "backend/cpu/exact.h"
#include "backend/host_sums.h"

#include <stdlib.h>

static void free_lanes(pfc_acc *acc)
{
    exact_acc_state *s = acc->state;
    for (int i = 0; s && s->product && i < acc->lanes; i++) {
        free(s->product[i].level);
        free(s->product[i].high);
        free(s->product[i].limb);
        free(s->product[i].sum);
        free(s->product[i].mark);
        free(s->product[i].max);
    }
    for (int i = 0; s && s->scalar && i < acc->lanes; i++) {
        free(s->scalar[i].a);
        free(s->scalar[i].b);
        free(s->scalar[i].mark);
        free(s->scalar[i].max);
    }
    if (s) {
        free(s->product);
        free(s->scalar);
    }
    free(s);
    acc->state = NULL;
}

void *pfc_exact_zeros(void *p, int64_t count) { return p ? p : calloc((size_t)count + 1, 8); }

enum { MAX_PENDING = 1000 }; /* terms of less than 2^53 added to words that start below 2^32 */

/* Words below the first back to [0, 2^32). */
static void carry_words(int64_t *sum, int64_t size)
{
    for (int i = 3; i > 0; i--) {
        int64_t *low = sum + i * size, *high = low - size;
        for (int64_t j = 0; j < size; j++) {
            high[j] += low[j] >> 32;
            low[j] &= 0xffffffff;
        }
    }
}

pfc_status pfc_exact_sum_words(exact_product_acc *acc, int64_t size, int64_t chunks)
{
    acc->sum = pfc_exact_zeros(acc->sum, 4 * size);
    if (!acc->sum) return PFC_ERR_NOMEM;
    if (acc->pending + chunks > MAX_PENDING) {
        carry_words(acc->sum, size);
        acc->pending = 0;
    }
    acc->pending += chunks;
    return PFC_OK;
}

static bool make_lanes(pfc_acc *acc)
{
    size_t rows = (size_t)acc->rows + 1;
    exact_acc_state *s = acc->state = calloc(1, sizeof *s);
    if (!s) return false;
    if (acc->kind == PFC_ACC_PRODUCT) { /* the large parts are made when a lane is first used */
        s->product = calloc((size_t)acc->lanes, sizeof *s->product);
        for (int i = 0; s->product && i < acc->lanes; i++)
            if (!(s->product[i].max = calloc(rows, sizeof(double)))) return false;
        return s->product != NULL;
    }
    s->scalar = calloc((size_t)acc->lanes, sizeof *s->scalar);
    for (int i = 0; s->scalar && i < acc->lanes; i++) {
        exact_scalar_acc *a = &s->scalar[i];
        a->a = calloc(rows, sizeof *a->a);
        a->b = calloc(rows, sizeof *a->b);
        a->mark = calloc(rows, 1);
        a->max = malloc(rows * sizeof *a->max);
        if (!a->a || !a->b || !a->mark || !a->max) return false;
        for (size_t n = 0; n < rows; n++) a->max[n] = -PX_INF; /* below every logit; a dot's |term| replaces it as well */
    }
    return s->scalar != NULL;
}

pfc_status pfc_exact_acc_create(pfc_backend *be, int kind, int64_t rows, int64_t cols, pfc_acc **out)
{
    *out = NULL;
    pfc_acc *acc = calloc(1, sizeof *acc);
    if (!acc) return pfc_cpu_nomem(be, sizeof *acc);
    acc->kind = kind;
    acc->rows = rows;
    acc->cols = cols;
    acc->lanes = exact_of(be)->lanes;
    acc->words = kind == PFC_ACC_PRODUCT ? PFC_LIMBS : 2;
    acc->wire = PFC_I64;
    acc->data = calloc((size_t)(rows * cols * acc->words) + 1, sizeof(int64_t));
    acc->expo = malloc(((size_t)rows + 1) * sizeof *acc->expo);
    if (!acc->data || !acc->expo || !make_lanes(acc)) {
        pfc_exact_acc_destroy(be, acc);
        return pfc_cpu_nomem(be, (size_t)(rows * cols) * 8);
    }
    for (int64_t i = 0; i < rows; i++) acc->expo[i] = PFC_EXPO_MIN;
    *out = acc;
    return PFC_OK;
}

void pfc_exact_acc_destroy(pfc_backend *be, pfc_acc *acc)
{
    (void)be;
    if (!acc) return;
    free_lanes(acc);
    free(acc->data);
    free(acc->expo);
    free(acc->special);
    free(acc);
}

pfc_status pfc_exact_acc_expo_fold(pfc_backend *be, pfc_acc *acc)
{
    (void)be;
    exact_acc_state *s = acc->state;
    for (int64_t n = 0; n < acc->rows; n++)
        for (int i = 0; i < acc->lanes; i++) {
            double m = acc->kind == PFC_ACC_PRODUCT ? s->product[i].max[n] : s->scalar[i].max[n];
            int32_t e = m > 0.0 ? px_expo(m) : PFC_EXPO_MIN;
            if (e > acc->expo[n]) acc->expo[n] = e;
        }
    return PFC_OK;
}

static void fold_product(pfc_exact *ex, pfc_acc *acc, exact_product_acc *lane)
{
    int64_t size = acc->rows * acc->cols, *data = acc->data;
    if (lane->level) {
        ex->k->flush_levels(lane->level, lane->high, size, size, 5);
        lane->pending = 0;
    }
    for (int64_t i = 0; i < size; i++) {
        int64_t *limb = data + i * PFC_LIMBS;
        if (lane->high) pfc_limbs_add_levels(limb, lane->high + i, size);
        if (lane->sum) pfc_limbs_add_words(limb, lane->sum + i, size);
        for (int j = 0; lane->limb && j < PFC_LIMBS; j++) limb[j] += lane->limb[i * PFC_LIMBS + j];
        pfc_limbs_normalise(limb);
    }
}

/* Joins the marks of a lane; the array is made only when there is one. */
static pfc_status fold_marks(pfc_backend *be, pfc_acc *acc, const unsigned char *mark)
{
    int64_t size = acc->rows * acc->cols;
    for (int64_t i = 0; mark && i < size; i++) {
        if (!mark[i]) continue;
        if (!acc->special) acc->special = calloc((size_t)size, 1);
        if (!acc->special) return pfc_cpu_nomem(be, (size_t)size);
        acc->special[i] |= mark[i];
    }
    return PFC_OK;
}

pfc_status pfc_exact_acc_fold(pfc_backend *be, pfc_acc *acc, const pfc_rows_info *rows)
{
    (void)rows;
    exact_acc_state *s = acc->state;
    int64_t *data = acc->data;
    for (int i = 0; i < acc->lanes; i++) {
        if (acc->kind == PFC_ACC_PRODUCT) {
            fold_product(exact_of(be), acc, &s->product[i]);
            PFC_TRY(fold_marks(be, acc, s->product[i].mark));
            continue;
        }
        for (int64_t n = 0; n < acc->rows; n++) {
            data[2 * n] += s->scalar[i].a[n];
            data[2 * n + 1] += s->scalar[i].b[n];
        }
        PFC_TRY(fold_marks(be, acc, s->scalar[i].mark));
    }
    free_lanes(acc);
    return PFC_OK;
}

pfc_status pfc_exact_acc_value(pfc_backend *be, const pfc_acc *acc, int64_t first, int64_t count, pfc_view out)
{
    (void)be;
    for (int64_t r = 0; r < count; r++)
        for (int64_t c = 0; c < acc->cols; c++) exact_at(out, r)[c] = pfc_acc_number(acc, (first + r) * acc->cols + c);
    return PFC_OK;
}
