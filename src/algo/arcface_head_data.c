/* arcface_head_data.c: rows and columns between the caller's host memory and the backend's place. */
#include "algo/arcface_head.h"
#include "algo/host_rows.h"

#include <stdlib.h>

static float element(pfc_view v, int64_t row, int64_t col)
{
    int64_t i = row * v.ld + col;
    return v.dtype == PFC_F64 ? (float)((const double *)v.data)[i] : ((const float *)v.data)[i];
}

pfc_status pfc_arcface_upload(pfc_ctx *ctx, pfc_view host, int64_t rows, int64_t cols, bool transposed, pfc_view *out)
{
    const pfc_ops *ops = ctx->be->ops;
    size_t bytes = (size_t)cols * pfc_dtype_size(ops->real);
    PFC_TRY(pfc_ws_view(ctx, ops->real, rows, cols, out));
    if (!transposed) return pfc_host_in(ctx, host, true, *out);
    void *row = malloc(bytes + 8);
    pfc_status st = row ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    for (int64_t i = 0; st == PFC_OK && i < rows; i++) {
        for (int64_t j = 0; j < cols; j++) {
            float x = element(host, j, i);
            if (ops->real == PFC_F64)
                ((double *)row)[j] = (double)x;
            else
                ((float *)row)[j] = x;
        }
        st = ops->upload(ctx->be, (char *)out->data + (size_t)i * bytes, row, bytes);
    }
    free(row);
    return st;
}

/* Row i of the backend's matrix into column i of the host's. */
static void put_column(pfc_view host, int64_t column, const void *row, pfc_dtype dtype)
{
    for (int64_t n = 0; n < host.rows; n++) {
        int64_t at = n * host.ld + column;
        if (dtype == PFC_I32)
            ((int64_t *)host.data)[at] = ((const int32_t *)row)[n];
        else if (dtype == PFC_F64)
            ((double *)host.data)[at] = ((const double *)row)[n];
        else
            ((float *)host.data)[at] = ((const float *)row)[n];
    }
}

pfc_status pfc_arcface_download_classes(pfc_ctx *ctx, pfc_view classes, pfc_view host)
{
    size_t bytes = (size_t)classes.cols * pfc_dtype_size(classes.dtype);
    if (!host.data) return PFC_OK;
    void *row = malloc(bytes + 8);
    pfc_status st = row ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    for (int64_t c = 0; st == PFC_OK && c < classes.rows; c++) {
        st = ctx->be->ops->download(ctx->be, row, (const char *)classes.data + (size_t)c * bytes, bytes);
        if (st == PFC_OK) put_column(host, c, row, classes.dtype);
    }
    free(row);
    return st;
}

pfc_status pfc_arcface_tap(pfc_ctx *ctx, const char *name, pfc_view classes)
{
    pfc_view host = pfc_view_make(malloc((size_t)(classes.rows * classes.cols) * 8 + 8), classes.dtype, classes.cols, classes.rows);
    pfc_status st = host.data ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = pfc_arcface_download_classes(ctx, classes, host);
    st = pfc_agree(ctx, st);
    if (st == PFC_OK) ctx->tap(ctx->tap_user, name, host, PFC_CLASS_COLS);
    free(host.data);
    return st;
}
