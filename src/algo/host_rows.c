/* host_rows.c: the caller's matrices to and from the table's place, some rows at a time. */
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

/* Rows of the place that travel at once: a call to a device takes longer than a row. */
static int64_t piece_rows(pfc_view place)
{
    size_t bytes = (size_t)place.cols * pfc_dtype_size(place.dtype);
    int64_t rows = bytes ? (int64_t)(((size_t)1 << 20) / bytes) : place.rows;
    return rows < 1 || place.ld != place.cols ? 1 : rows < place.rows ? rows : place.rows;
}

/* Rows [first, first + rows) between the caller and a piece of the place's type. */
static void convert(pfc_view caller, int64_t first, pfc_view piece, int64_t rows, bool in, bool narrow)
{
    for (int64_t r = 0; r < rows; r++) {
        pfc_view mine = caller, here = piece;
        mine.data = row_of(caller, first + r);
        here.data = row_of(piece, r);
        for (int64_t i = 0; i < piece.cols; i++) {
            if (in)
                put_element(here, i, narrow ? (double)(float)element(mine, i) : element(mine, i));
            else
                put_element(mine, i, element(here, i));
        }
    }
}

/* Between matrices of one type, nothing in between. */
static pfc_status copy_as_it_is(pfc_ctx *ctx, pfc_view caller, pfc_view place, bool in)
{
    pfc_backend *be = ctx->be;
    bool dense = caller.ld == caller.cols && place.ld == place.cols;
    int64_t rows = dense ? place.rows : 1;
    size_t bytes = (size_t)(rows * place.cols) * pfc_dtype_size(place.dtype);
    for (int64_t r = 0; r < place.rows; r += rows)
        PFC_TRY(in ? be->ops->upload(be, row_of(place, r), row_of(caller, r), bytes) : be->ops->download(be, row_of(caller, r), row_of(place, r), bytes));
    return PFC_OK;
}

/* in: caller to place, through a piece of the place's type. */
static pfc_status copy(pfc_ctx *ctx, pfc_view caller, pfc_view place, bool in, bool narrow)
{
    pfc_backend *be = ctx->be;
    if (place.rows == 0 || place.cols == 0) return PFC_OK;
    if (caller.dtype == place.dtype && !(in && narrow && caller.dtype == PFC_F64)) return copy_as_it_is(ctx, caller, place, in);
    int64_t piece = piece_rows(place);
    size_t bytes = (size_t)place.cols * pfc_dtype_size(place.dtype);
    pfc_view part = pfc_view_make(malloc((size_t)piece * bytes + 8), place.dtype, piece, place.cols);
    pfc_status st = part.data ? PFC_OK : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    for (int64_t r = 0; st == PFC_OK && r < place.rows; r += piece) {
        int64_t rows = place.rows - r < piece ? place.rows - r : piece;
        if (!in) st = be->ops->download(be, part.data, row_of(place, r), (size_t)rows * bytes);
        convert(caller, r, part, rows, in, narrow);
        if (in) st = be->ops->upload(be, row_of(place, r), part.data, (size_t)rows * bytes);
    }
    free(part.data);
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
