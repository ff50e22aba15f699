/* wrap_core.c: memory, control, rows and accumulators. */
#include "backend/checked/checked.h"

/* ---- memory ---- */

static pfc_status checked_upload(pfc_backend *be, void *dst, const void *host, size_t bytes)
{
    BEGIN(upload);
    HOST_IN(host), ARRAY_OUT(dst, PFC_U8, (int64_t)bytes);
    END(upload, dst, host, bytes);
}

static pfc_status checked_download(pfc_backend *be, void *host, const void *src, size_t bytes)
{
    BEGIN(download);
    HOST_IN(host), ARRAY_IN(src, PFC_U8, (int64_t)bytes);
    END(download, host, src, bytes);
}

static pfc_status checked_sync(pfc_backend *be)
{
    BEGIN(sync);
    if (call.status == PFC_OK) call.status = call.inner->ops->sync(call.inner);
    pfc_status st = checked_end(&call);
    return st == PFC_OK ? pfc_checked_guards(be) : st;
}

/* ---- control ---- */

static void checked_for_lanes(pfc_backend *be, int lanes, pfc_lane_fn fn, void *arg)
{
    pfc_backend *inner = checked_of(be)->inner;
    inner->ops->for_lanes(inner, lanes, fn, arg);
}

/* ---- accumulators: host memory and the inner backend's own ---- */

static pfc_status checked_acc_create(pfc_backend *be, int kind, int64_t rows, int64_t cols, pfc_acc **out)
{
    BEGIN(acc_create);
    END(acc_create, kind, rows, cols, out);
}

static void checked_acc_destroy(pfc_backend *be, pfc_acc *acc)
{
    pfc_backend *inner = checked_of(be)->inner;
    inner->ops->acc_destroy(inner, acc);
}

static pfc_status checked_acc_expo_fold(pfc_backend *be, pfc_acc *acc)
{
    BEGIN(acc_expo_fold);
    END(acc_expo_fold, acc);
}

static pfc_status checked_acc_fold(pfc_backend *be, pfc_acc *acc, const pfc_rows_info *rows)
{
    BEGIN(acc_fold);
    ROWS_INFO(rows, CHECKED_IN);
    END(acc_fold, acc, rows);
}

static pfc_status checked_acc_value(pfc_backend *be, const pfc_acc *acc, int64_t first, int64_t count, pfc_view out)
{
    BEGIN(acc_value);
    OUT(out);
    END(acc_value, acc, first, count, out);
}

void pfc_checked_wrap_core(pfc_ops *table)
{
    table->alloc = pfc_checked_alloc;
    table->free = pfc_checked_free;
    SET(upload);
    SET(download);
    SET(sync);
    SET(for_lanes);
    SET(acc_create);
    SET(acc_destroy);
    SET(acc_expo_fold);
    SET(acc_fold);
    SET(acc_value);
}
