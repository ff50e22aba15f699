/* exact_slices.c: operands as three 21-bit slices in doubles, for the engines dgemm and int128. */
#include "backend/cpu/exact.h"

#include <stdlib.h>
#include <string.h>

pfc_status pfc_slice_operand(exact_lane *lane, pfc_operand *op)
{
    int64_t n = op->n, d = op->d;
    op->storage = aligned_alloc(64, ((size_t)(7 * n * d) * sizeof(double) + 64) / 64 * 64);
    op->wide_index = malloc((size_t)(n + 1) * sizeof *op->wide_index);
    if (!op->storage || !op->wide_index) return PFC_ERR_NOMEM;
    double *rows = op->storage, *cols = rows + 3 * n * d;
    for (int64_t i = 0; i < n; i++) {
        const double *x = exact_at(op->x, i);
        double *r = rows + i * 3 * d;
        if (lane->k->slice(x, d, px_pow2(20 - op->expo[i]), r + 2 * d, r + d, r)) op->wide_index[op->rows.wide++] = i;
        for (int place = 0; place < 3; place++) memcpy(cols + (place * n + i) * d, r + place * d, (size_t)d * sizeof *r);
    }
    op->rows.p = rows;
    op->rows.plane = d;
    op->rows.ld = 3 * d;
    op->cols.p = cols;
    op->cols.plane = n * d;
    op->cols.ld = d;
    op->cols.by_k = true;
    op->rows.reversed = op->cols.reversed = true;
    op->cols.wide = op->rows.wide;
    op->rows.wide_index = op->cols.wide_index = op->wide_index;
    return PFC_OK;
}

pfc_status pfc_slice_rows(exact_lane *lane, int which, pfc_rowset w, const int32_t *expo, bool by_k, exact_slices *out)
{
    int64_t d = w.base.cols, c = w.count;
    double *p = pfc_exact_scratch(lane, which, 3 * c * d + c);
    if (!p) return PFC_ERR_NOMEM;
    int64_t *wide = (int64_t *)(p + 3 * c * d), count = 0;
    for (int64_t i = 0; i < c; i++) {
        double scale = px_pow2(20 - expo[i]), *at = by_k ? p + i * d : p + i * 3 * d;
        int64_t plane = by_k ? c * d : d;
        int third = by_k ? lane->k->slice(exact_row(w, i), d, scale, at + 2 * plane, at + plane, at)
                         : lane->k->slice(exact_row(w, i), d, scale, at, at + plane, at + 2 * plane);
        if (third) wide[count++] = i;
    }
    exact_slices s = { p, by_k ? c * d : d, by_k ? d : 3 * d, by_k, by_k, NULL, 0, count, wide };
    *out = s;
    return PFC_OK;
}

pfc_status pfc_slice_columns(exact_lane *lane, int which, pfc_rowset h, const int32_t *grid, exact_slices *out)
{
    int64_t c = h.count, n = h.base.cols;
    double *p = pfc_exact_scratch(lane, which, 3 * c * n), *scale = pfc_exact_scratch(lane, SCRATCH_ROWS, n);
    if (!p || !scale) return PFC_ERR_NOMEM;
    for (int64_t i = 0; i < n; i++) scale[i] = px_pow2(20 - grid[i]);
    for (int64_t i = 0; i < c; i++) lane->k->slice_each(exact_row(h, i), scale, n, p + i * n, p + (c + i) * n, p + (2 * c + i) * n);
    exact_slices s = { p, c * n, n, false, true, NULL, 0, 0, NULL };
    *out = s;
    return PFC_OK;
}
