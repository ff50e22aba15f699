/* family.c: what the case layer of every family needs (family.h). */
#include "case/family.h"
#include "case/internal.h"
#include "core/ctx.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int pfc_case_status(pfc_diag *diag, pfc_status status, const pfc_ctx *ctx, const pfc_case *c)
{
    return status == PFC_OK ? 0 : pfc_diag_from_status(diag, status, ctx, c->path[0] ? c->path : c->name);
}

/* ---- results ---- */

int pfc_case_check_memory(pfc_ctx *ctx, const pfc_case *c, const char *item, const char *what, double numbers, pfc_diag *diag)
{
    int rank, here;
    if (pfc_comm_machine(&ctx->comm, &rank, &here) != PFC_OK) return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s", ctx->comm.error);
    double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    double bytes = numbers * (double)pfc_dtype_size(pfc_ctx_real(ctx)) * here / ctx->comm.ranks;
    if (memory > 0 && bytes > memory)
        pfc_case_fail(c, diag, item, "found sizes for which %s would take %.1f GiB, expected at most the %.1f GiB of this machine's memory", what,
                      bytes / 0x1p30, memory / 0x1p30);
    return pfc_diag_agree(ctx->comm.mpi, diag);
}

pfc_tensor *pfc_case_add_out(pfc_ctx *ctx, pfc_case *c, const char *name, int ndim, const int64_t *dims, pfc_diag *diag)
{
    const pfc_tensor_spec *spec = pfc_spec_find(c->algorithm->out, name);
    int64_t shape[PFC_MAX_DIMS];
    if (!spec || (!dims && pfc_shape_dims(c, spec, pfc_ctx_ranks(ctx), &ndim, shape) != 0)) {
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: result %s: %s", c->algorithm->name, name, spec ? "its shape is not known" : "not in the table");
        return NULL;
    }
    pfc_dtype dtype = spec->kind == PFC_KIND_INT ? PFC_I64 : spec->kind == PFC_KIND_REAL64 ? PFC_F64 : pfc_ctx_real(ctx);
    int axis = pfc_shape_axis(spec, ndim);
    pfc_tensor *t = pfc_tensor_add_units(ctx->comm.mpi, &c->out, name, dtype, ndim, dims ? dims : shape, axis < 0 ? PFC_DIST_NONE : spec->dist, axis,
                                         pfc_shape_unit(c, spec, ndim));
    if (!t) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory for result %s", c->name, name);
    return t;
}

pfc_view pfc_tensor_view(const pfc_tensor *t)
{
    int64_t local = pfc_tensor_local(t), cols = t->ndim == 0 ? 1 : t->axis == t->ndim - 1 ? t->count : t->dims[t->ndim - 1];
    return pfc_view_make(t->data, t->dtype, cols ? local / cols : 0, cols);
}

pfc_view pfc_case_input_view(const pfc_case *c, const char *name)
{
    const pfc_tensor *t = pfc_tensor_find(&c->in, name);
    return t ? pfc_tensor_view(t) : pfc_view_make(NULL, PFC_F32, 0, 0);
}

void pfc_tensor_set(pfc_tensor *t, int64_t i, double value)
{
    if (t->dtype == PFC_F32)
        ((float *)t->data)[i] = (float)value;
    else if (t->dtype == PFC_F64)
        ((double *)t->data)[i] = value;
    else
        ((int64_t *)t->data)[i] = (int64_t)value;
}

static bool listed(const char *const *names, const char *name)
{
    while (names && *names)
        if (strcmp(*names++, name) == 0) return true;
    return false;
}

void pfc_case_canonical(pfc_case *c, const char *const *moved)
{
    for (int k = 0; k < c->out.count; k++)
        if (!listed(moved, c->out.items[k].name)) pfc_tensor_canonical(&c->out.items[k]);
    for (int k = 0; k < c->step.count; k++)
        if (!listed(moved, c->step.items[k].name)) pfc_tensor_canonical(&c->step.items[k]);
}

/* ---- intermediate results ---- */

/* The one unknown axis of a tensor that is not cut by class, from the number of elements that this rank holds. False: not one, or none fits. */
static bool find_axis(const pfc_tensor_spec *spec, int axis, int ranks, int ndim, int64_t *dims, int64_t local)
{
    int unknown = -1;
    int64_t known = 1;
    for (int k = 0; k < ndim; k++) {
        if (dims[k] < 0 && unknown >= 0) return false;
        if (dims[k] < 0)
            unknown = k;
        else
            known *= k == axis && spec->dist == PFC_DIST_RANK ? 1 : dims[k];
    }
    if (unknown < 0) return true;
    if (known == 0 || local % known || (axis >= 0 && spec->dist == PFC_DIST_CLASS)) return false;
    dims[unknown] = local / known * (unknown == axis ? ranks : 1);
    return true;
}

static void keep(void *user, const char *name, pfc_view local, pfc_layout layout)
{
    pfc_capture *k = user;
    pfc_case *c = k->c;
    const pfc_tensor_spec *spec = pfc_spec_find(c->algorithm->step, name);
    int64_t dims[PFC_MAX_DIMS];
    int ndim = k->dims ? k->dims(c, name, dims) : -1, ranks = pfc_ctx_ranks(k->ctx);
    bool given = ndim >= 0, ok = spec && (given || pfc_shape_dims(c, spec, ranks, &ndim, dims) >= 0);
    int axis = ok ? pfc_shape_axis(spec, ndim) : -1;
    size_t size = pfc_dtype_size(local.dtype);
    if (ok && !given) ok = find_axis(spec, layout == PFC_REPLICATED ? -1 : axis, ranks, ndim, dims, local.rows * local.cols);
    if (!ok) {
        pfc_diag_fail(&k->diag, PFC_EXIT_RUNTIME, "%s: step %s: not in the table, or its shape is not known", c->algorithm->name, name);
        return;
    }
    pfc_dist dist = axis < 0 || layout == PFC_REPLICATED ? PFC_DIST_NONE : spec->dist;
    pfc_tensor *t = pfc_tensor_add_units(k->ctx->comm.mpi, &c->step, name, local.dtype, ndim, dims, dist, axis < 0 ? 0 : axis, pfc_shape_unit(c, spec, ndim));
    if (!t) {
        pfc_diag_fail(&k->diag, PFC_EXIT_RUNTIME, "%s: out of memory for step %s", c->name, name);
        return;
    }
    if (pfc_tensor_local(t) != local.rows * local.cols) {
        pfc_diag_fail(&k->diag, PFC_EXIT_RUNTIME, "%s: step %s: found %lld x %lld numbers, expected %lld", c->algorithm->name, name, (long long)local.rows,
                      (long long)local.cols, (long long)pfc_tensor_local(t));
        return;
    }
    for (int64_t i = 0; i < local.rows; i++)
        memcpy((char *)t->data + (size_t)(i * local.cols) * size, (const char *)local.data + (size_t)(i * local.ld) * size, (size_t)local.cols * size);
}

void pfc_capture_begin(pfc_capture *k, pfc_ctx *ctx, pfc_case *c, int (*dims)(const pfc_case *c, const char *name, int64_t dims[PFC_MAX_DIMS]))
{
    *k = (pfc_capture){ .ctx = ctx, .c = c, .dims = dims };
    pfc_ctx_set_tap(ctx, keep, k);
}

int pfc_capture_end(pfc_capture *k, pfc_diag *diag)
{
    pfc_ctx_set_tap(k->ctx, NULL, NULL);
    if (k->diag.exit_status) pfc_diag_fail(diag, k->diag.exit_status, "%s", k->diag.text);
    return diag->exit_status;
}

/* ---- inputs ---- */

int pfc_case_gather_ints(MPI_Comm comm, const pfc_case *c, const char *name, int64_t **out, pfc_diag *diag)
{
    const pfc_tensor *t = pfc_tensor_find(&c->in, name);
    void *whole = NULL;
    if (t) pfc_tensor_gather(comm, t, &whole, diag);
    *out = whole;
    return diag->exit_status;
}

int pfc_case_gather_reals(MPI_Comm comm, const pfc_case *c, const char *name, double **out, pfc_diag *diag)
{
    const pfc_tensor *t = pfc_tensor_find(&c->in, name);
    void *whole = NULL;
    *out = NULL;
    if (!t || pfc_tensor_gather(comm, t, &whole, diag)) return diag->exit_status;
    if (whole && t->dtype == PFC_F64) {
        *out = whole;
    } else if (whole) {
        int64_t count = pfc_tensor_elements(t);
        *out = malloc((size_t)(count + 1) * sizeof **out);
        if (!*out) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", name);
        for (int64_t k = 0; *out && k < count; k++) (*out)[k] = t->dtype == PFC_F32 ? (double)((float *)whole)[k] : (double)((int64_t *)whole)[k];
        free(whole);
    }
    return pfc_diag_agree(comm, diag);
}

/* ---- bounds ---- */

pfc_tensor *pfc_case_add_like(MPI_Comm comm, const pfc_tensor_list *of, pfc_tensor_list *list, const char *name, pfc_diag *diag)
{
    const pfc_tensor *t = pfc_tensor_find(of, name);
    if (!t) return NULL;
    pfc_tensor *like = pfc_tensor_add(comm, list, name, t->dtype == PFC_I64 ? PFC_I64 : PFC_F64, t->ndim, t->dims, PFC_DIST_NONE, 0);
    if (!like) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "out of memory for a second %s", name);
    return like;
}

int pfc_bounds_begin(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    const pfc_tensor_list *from[] = { &c->out, &c->step };
    pfc_tensor_list *to[] = { &c->bound_out, &c->bound_step };
    for (int l = 0; l < 2; l++) {
        pfc_tensor_list_free(to[l]);
        for (int k = 0; k < from[l]->count; k++)
            if (from[l]->items[k].dtype != PFC_I64) pfc_case_add_like(comm, from[l], to[l], from[l]->items[k].name, diag);
    }
    return pfc_diag_agree(comm, diag);
}

void pfc_bound_put(pfc_tensor_list *list, const char *name, const double *e, int64_t offset, int64_t count)
{
    pfc_tensor *t = pfc_tensor_find(list, name);
    if (t) memcpy((double *)t->data + offset, e, (size_t)count * sizeof(double));
}

/* In pieces that an int can count. */
static void share(MPI_Comm comm, pfc_tensor_list *list)
{
    const int64_t piece = 1 << 24;
    for (int k = 0; k < list->count; k++) {
        int64_t total = pfc_tensor_elements(&list->items[k]);
        double *data = list->items[k].data;
        for (int64_t at = 0; at < total; at += piece) MPI_Bcast(data + at, (int)(total - at < piece ? total - at : piece), MPI_DOUBLE, 0, comm);
    }
}

int pfc_bounds_share(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    share(comm, &c->bound_out);
    share(comm, &c->bound_step);
    return 0;
}
