/* shard_part.c: cuts a whole tensor to the part of one rank, for ports that write one file per rank. */
#include "case/internal.h"
#include "driver/driver.h"
#include <stdlib.h>
#include <string.h>

/* Keeps [start, start + count) of an axis. */
static int keep_part(pfc_tensor *t, int axis, int64_t start, int64_t count, pfc_diag *diag)
{
    int64_t outer = 1, inner = 1, length = t->dims[axis];
    for (int i = 0; i < t->ndim; i++) {
        if (i < axis) outer *= t->dims[i];
        if (i > axis) inner *= t->dims[i];
    }
    size_t element = pfc_dtype_size(t->dtype), row = (size_t)inner * element;
    char *part = malloc((size_t)(outer * count) * row + 1);
    if (!part) return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", t->name);
    for (int64_t o = 0; o < outer; o++) memcpy(part + (size_t)(o * count) * row, (char *)t->data + (size_t)(o * length + start) * row, (size_t)count * row);
    free(t->data);
    t->data = part;
    t->dims[axis] = count;
    if (axis == 0) t->count = count;
    t->sha256[0] = 0; /* it was of the whole */
    return 0;
}

/* What a rank holds of an axis of the whole tensor, which this process read alone. */
static pfc_shard part_of(const pfc_tensor *whole, int axis, int rank, int ranks)
{
    pfc_tensor t = *whole;
    t.axis = axis;
    return pfc_tensor_shard(&t, ranks, rank);
}

static int cut_one(const pfc_tensor_spec *spec, pfc_tensor *t, int rank, int ranks, pfc_diag *diag)
{
    int axis = spec ? pfc_shape_axis(spec, t->ndim) : -1;
    if (axis < 0 || spec->dist == PFC_DIST_NONE) return 0; /* every rank has all of it */
    int64_t length = t->dims[axis];
    if (spec->dist == PFC_DIST_BATCH && length % ranks)
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: axis of %lld is not divisible by --of %d", t->name, (long long)length, ranks);
    if (spec->dist == PFC_DIST_RANK && length != ranks)
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: axis of %lld ranks, expected --of %d", t->name, (long long)length, ranks);
    pfc_shard s = part_of(t, axis, rank, ranks);
    return keep_part(t, axis, s.start, s.count, diag);
}

/* A bound has its tensor's shape, or is broadcast along an axis of length 1; then that axis stays. `whole` is the tensor before it was cut. */
static int cut_bound(const pfc_tensor_spec *spec, const pfc_tensor *whole, pfc_tensor *bound, int rank, int ranks, pfc_diag *diag)
{
    int axis = spec ? pfc_shape_axis(spec, whole->ndim) : -1, lead = whole->ndim - bound->ndim;
    if (axis < 0 || spec->dist == PFC_DIST_NONE || axis < lead || bound->dims[axis - lead] != whole->dims[axis]) return 0;
    pfc_shard s = part_of(whole, axis, rank, ranks);
    return keep_part(bound, axis - lead, s.start, s.count, diag);
}

int pfc_cut_results(const pfc_tensor_spec *specs, pfc_tensor_list *list, pfc_tensor_list *bounds, int rank, int ranks, pfc_diag *diag)
{
    for (int i = 0; i < list->count && !diag->exit_status; i++) {
        pfc_tensor *t = &list->items[i], *bound = pfc_tensor_find(bounds, t->name);
        const pfc_tensor_spec *spec = pfc_spec_find(specs, t->name);
        if (bound) cut_bound(spec, t, bound, rank, ranks, diag);
        if (!diag->exit_status) cut_one(spec, t, rank, ranks, diag);
    }
    return diag->exit_status;
}
