/* host_rows.c: the caller's matrices to and from the table's place, row by row. */
#include "algo/host_rows.h"

#include <stdlib.h>
#include <string.h>

static double element(pfc_view v, int64_t i) { return v.dtype == PFC_F64 ? ((const double *)v.data)[i] : (double)((const float *)v.data)[i]; }

static void put_element(pfc_view v, int64_t i, double x)
{
    if (v.dtype == PFC_F64)
        ((double *)v.data)[i] = x;
    else
        ((float *)v.data)[i] = (float)x;
}

static void *row_of(pfc_view v, int64_t r) { return (char *)v.data + (size_t)(r * v.ld) * pfc_dtype_size(v.dtype); }

static bool as_it_is(const pfc_ctx *ctx, pfc_view v) { return ctx->be->ops->place == PFC_HOST && v.dtype == ctx->be->ops->real && v.ld == v.cols; }

/* in: caller to place, through one row of the place's type. */
static pfc_status copy(pfc_ctx *ctx, pfc_view caller, pfc_view place, bool in, bool narrow)
{
    pfc_backend *be = ctx->be;
    size_t bytes = (size_t)place.cols * pfc_dtype_size(place.dtype);
    pfc_view row = pfc_view_make(malloc(bytes + 8), place.dtype, 1, place.cols);
    pfc_status st = row.data ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    for (int64_t r = 0; st == PFC_OK && r < place.rows; r++) {
        pfc_view mine = caller;
        mine.data = row_of(caller, r);
        if (!in) st = be->ops->download(be, row.data, row_of(place, r), bytes);
        for (int64_t i = 0; i < place.cols; i++) {
            if (in)
                put_element(row, i, narrow ? (double)(float)element(mine, i) : element(mine, i));
            else
                put_element(mine, i, element(row, i));
        }
        if (in) st = be->ops->upload(be, row_of(place, r), row.data, bytes);
    }
    free(row.data);
    return st;
}

pfc_status pfc_host_in(pfc_ctx *ctx, pfc_view caller, bool narrow, pfc_view place) { return copy(ctx, caller, place, true, narrow); }
pfc_status pfc_host_out(pfc_ctx *ctx, pfc_view place, pfc_view caller) { return copy(ctx, caller, place, false, false); }

pfc_status pfc_host_take(pfc_ctx *ctx, pfc_view caller, bool narrow, pfc_host_rows *out)
{
    *out = (pfc_host_rows){ caller, false };
    if (as_it_is(ctx, caller) && !(narrow && caller.dtype == PFC_F64)) return PFC_OK;
    out->owned = true;
    PFC_TRY(pfc_ws_view(ctx, ctx->be->ops->real, caller.rows, caller.cols, &out->v));
    return pfc_host_in(ctx, caller, narrow, out->v);
}

pfc_status pfc_host_room(pfc_ctx *ctx, pfc_view caller, pfc_host_rows *out)
{
    *out = (pfc_host_rows){ caller, false };
    if (as_it_is(ctx, caller)) return PFC_OK;
    out->owned = true;
    return pfc_ws_view(ctx, ctx->be->ops->real, caller.rows, caller.cols, &out->v);
}

pfc_status pfc_host_give(pfc_ctx *ctx, const pfc_host_rows *from, pfc_view caller) { return from->owned ? pfc_host_out(ctx, from->v, caller) : PFC_OK; }

void pfc_host_release(pfc_ctx *ctx, pfc_host_rows *rows)
{
    if (rows->owned) pfc_ws_free(ctx, &rows->v);
    rows->owned = false;
}

pfc_status pfc_tap_numbers(pfc_ctx *ctx, const char *name, const double *x, int64_t count)
{
    if (!ctx->tap) return PFC_OK;
    pfc_view v = pfc_view_make(malloc((size_t)count * 8 + 8), ctx->be->ops->real, count, 1);
    pfc_status st = pfc_agree(ctx, v.data ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory"));
    for (int64_t i = 0; st == PFC_OK && i < count; i++) put_element(v, i, x[i]);
    if (st == PFC_OK) ctx->tap(ctx->tap_user, name, v, PFC_REPLICATED);
    free(v.data);
    return st;
}

pfc_status pfc_tap_matrix(pfc_ctx *ctx, const char *name, pfc_view v, pfc_layout layout)
{
    if (!ctx->tap) return PFC_OK;
    size_t bytes = (size_t)(v.rows * v.cols) * pfc_dtype_size(v.dtype);
    pfc_view host = pfc_view_make(malloc(bytes + 8), v.dtype, v.rows, v.cols);
    pfc_status st = host.data ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = ctx->be->ops->download(ctx->be, host.data, v.data, bytes);
    st = pfc_agree(ctx, st);
    if (st == PFC_OK) ctx->tap(ctx->tap_user, name, host, layout);
    free(host.data);
    return st;
}
