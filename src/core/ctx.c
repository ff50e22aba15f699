/* ctx.c: creating a context, failing, agreeing. */
#include "core/ctx.h"

#include "backend/emulate/emulate.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

static pfc_status open_backend(pfc_ctx *ctx, const pfc_options *options)
{
    pfc_site site = { .alone = ctx->comm.ranks == 1, .device_mpi = pfc_comm_takes_device() };
    int local_ranks;
    pfc_status st = pfc_agree(ctx, pfc_comm_machine(&ctx->comm, &site.local_rank, &local_ranks));
    if (st == PFC_OK) st = pfc_backend_open_at(options, site, &ctx->be, ctx->error, sizeof ctx->error);
    return pfc_agree(ctx, st);
}

pfc_status pfc_ctx_create(MPI_Comm comm, const pfc_options *options, pfc_ctx **out, char *why, size_t size)
{
    *out = NULL;
    pfc_comm opened;
    pfc_status st = pfc_comm_open(&opened, comm);
    pfc_ctx *ctx = st == PFC_OK ? calloc(1, sizeof *ctx) : NULL;
    int missing = ctx ? 0 : (int)PFC_ERR_NOMEM;
    char text[64] = "out of memory";
    if (st == PFC_OK) st = pfc_comm_first_failure(&opened, &missing, text, sizeof text);
    if (st != PFC_OK || missing) {
        if (why && size) snprintf(why, size, "%s", st != PFC_OK ? opened.error : text);
        pfc_comm_close(&opened);
        free(ctx);
        return st != PFC_OK ? st : (pfc_status)missing;
    }
    ctx->comm = opened;
    ctx->rng = pfc_rng_best();
    st = open_backend(ctx, options);
    if (st != PFC_OK) {
        if (why && size) snprintf(why, size, "%s", ctx->error);
        pfc_ctx_destroy(&ctx);
        return st;
    }
    *out = ctx;
    return PFC_OK;
}

pfc_status pfc_ctx_close(pfc_ctx **ctx, char *why, size_t size)
{
    if (!ctx || !*ctx) return PFC_OK;
    pfc_status st = pfc_backend_finish((*ctx)->be, (*ctx)->error, sizeof(*ctx)->error);
    (*ctx)->be = NULL;
    st = pfc_agree(*ctx, st);
    if (st != PFC_OK && why && size) snprintf(why, size, "%s", (*ctx)->error);
    pfc_comm_close(&(*ctx)->comm);
    free(*ctx);
    *ctx = NULL;
    return st;
}

void pfc_ctx_destroy(pfc_ctx **ctx)
{
    if (!ctx || !*ctx) return;
    pfc_backend_close((*ctx)->be);
    pfc_comm_close(&(*ctx)->comm);
    free(*ctx);
    *ctx = NULL;
}

int pfc_ctx_rank(const pfc_ctx *ctx) { return ctx->comm.rank; }
int pfc_ctx_ranks(const pfc_ctx *ctx) { return ctx->comm.ranks; }
pfc_mode pfc_ctx_mode(const pfc_ctx *ctx) { return ctx->be->ops->mode; }
pfc_dtype pfc_ctx_real(const pfc_ctx *ctx) { return ctx->be->ops->real; }
const char *pfc_ctx_isa(const pfc_ctx *ctx) { return ctx->be->ops->isa; }
const char *pfc_ctx_backend_name(const pfc_ctx *ctx) { return ctx->be->ops->name; }
const char *pfc_ctx_engine_name(const pfc_ctx *ctx) { return ctx->be->engine ? ctx->be->engine : "none"; }
const char *pfc_ctx_transport(const pfc_ctx *ctx) { return ctx->be->transport ? ctx->be->transport : "host"; }
const char *pfc_ctx_error(const pfc_ctx *ctx) { return ctx->error; }

pfc_status pfc_ctx_emulate(pfc_ctx *ctx, const pfc_format *format, int how) { return pfc_agree(ctx, pfc_emulate(ctx->be, format, how)); }

void pfc_ctx_set_tap(pfc_ctx *ctx, pfc_tap_fn tap, void *user)
{
    ctx->tap = tap;
    ctx->tap_user = user;
}

pfc_status pfc_fail(pfc_ctx *ctx, pfc_status status, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(ctx->error, sizeof ctx->error, format, args);
    va_end(args);
    return status;
}

pfc_status pfc_agree(pfc_ctx *ctx, pfc_status mine)
{
    if (mine != PFC_OK && ctx->be && ctx->be->error[0]) snprintf(ctx->error, sizeof ctx->error, "%s", ctx->be->error);
    if (mine != PFC_OK && ctx->comm.error[0]) snprintf(ctx->error, sizeof ctx->error, "%s", ctx->comm.error);
    if (ctx->be) ctx->be->error[0] = 0;
    ctx->comm.error[0] = 0;
    int status = mine;
    pfc_status st = pfc_comm_first_failure(&ctx->comm, &status, ctx->error, sizeof ctx->error);
    if (st != PFC_OK) snprintf(ctx->error, sizeof ctx->error, "%s", ctx->comm.error);
    return st != PFC_OK ? st : (pfc_status)status;
}

pfc_status pfc_check_terms(pfc_ctx *ctx, pfc_status status, const char *name, int64_t a, int64_t b)
{
    const int64_t most = PFC_MAX_TERMS;
    char times[32] = "";
    if (ctx->be->ops->mode != PFC_EXACT || a <= most / b) return PFC_OK;
    if (b > 1) snprintf(times, sizeof times, " x %lld", (long long)b);
    return pfc_fail(ctx, status, "%s: found %lld%s, exact mode takes up to %lld: the length of a sum", name, (long long)a, times, (long long)most);
}

pfc_status pfc_ws_view(pfc_ctx *ctx, pfc_dtype dtype, int64_t rows, int64_t cols, pfc_view *out)
{
    const pfc_ops *ops = ctx->be->ops;
    *out = pfc_view_make(NULL, dtype, rows, cols);
    out->place = ops->place;
    if (rows < 0 || cols < 0 || (cols > 0 && rows > INT64_MAX / 64 / cols))
        return pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory: %lld x %lld elements", (long long)rows, (long long)cols);
    return ops->alloc(ctx->be, (size_t)rows * (size_t)cols * pfc_dtype_size(dtype), &out->data);
}

void pfc_ws_free(pfc_ctx *ctx, pfc_view *view)
{
    if (view->data) ctx->be->ops->free(ctx->be, view->data);
    view->data = NULL;
}

pfc_status pfc_max_over_ranks(pfc_ctx *ctx, pfc_view x)
{
    const pfc_ops *ops = ctx->be->ops;
    size_t bytes = (size_t)x.rows * pfc_dtype_size(x.dtype);
    if (x.place == PFC_HOST) return pfc_comm_max(&ctx->comm, x.data, x.rows, x.dtype);
    void *host = malloc(bytes + 8);
    pfc_status st = host ? ops->download(ctx->be, host, x.data, bytes) : pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    st = pfc_agree(ctx, st);
    if (st == PFC_OK) st = pfc_comm_max(&ctx->comm, host, x.rows, x.dtype);
    if (st == PFC_OK) st = ops->upload(ctx->be, x.data, host, bytes);
    free(host);
    return pfc_agree(ctx, st);
}

pfc_status pfc_download_f64(pfc_ctx *ctx, pfc_view x, double *host)
{
    size_t bytes = (size_t)x.rows * pfc_dtype_size(x.dtype);
    if (x.dtype == PFC_F64) return ctx->be->ops->download(ctx->be, host, x.data, bytes);
    float *part = malloc(bytes + 8);
    if (!part) return pfc_fail(ctx, PFC_ERR_NOMEM, "out of memory");
    pfc_status st = ctx->be->ops->download(ctx->be, part, x.data, bytes);
    for (int64_t i = 0; st == PFC_OK && i < x.rows; i++) host[i] = (double)part[i];
    free(part);
    return st;
}
