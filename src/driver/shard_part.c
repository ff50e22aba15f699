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

/* Whose part, and the input that cuts axis N (NULL: the table does). */
typedef struct owner {
    int rank, ranks;
    const pfc_tensor *rows;
} owner;

static bool by_rows(const owner *o, const pfc_tensor_spec *spec) { return o->rows && spec->cut == 'N'; }

/* What the rank holds of an axis of the whole tensor, which this process read alone. */
static pfc_shard part_of(const owner *o, const pfc_tensor_spec *spec, const pfc_tensor *whole, int axis)
{
    pfc_tensor t = *whole;
    t.axis = axis;
    if (!by_rows(o, spec)) return pfc_tensor_shard(&t, o->ranks, o->rank);
    pfc_shard s = { 0, ((const int64_t *)o->rows->data)[o->rank] };
    for (int r = 0; r < o->rank; r++) s.start += ((const int64_t *)o->rows->data)[r];
    return s;
}

/* rows: one number for each rank, which make up the axis. */
static int check_rows(const owner *o, const pfc_tensor *t, int axis, pfc_diag *diag)
{
    const pfc_tensor *rows = o->rows;
    int64_t left = t->dims[axis];
    if (rows->dtype != PFC_I64 || rows->ndim != 1) return pfc_diag_fail(diag, PFC_EXIT_FILE, "/in/%s: expected one integer for each rank", rows->name);
    if (rows->dims[0] != o->ranks)
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "/in/%s: found %lld ranks, expected --of %d", rows->name, (long long)rows->dims[0], o->ranks);
    for (int r = 0; r < o->ranks; r++) {
        int64_t count = ((const int64_t *)rows->data)[r];
        if (count < 0 || count > left) return pfc_diag_fail(diag, PFC_EXIT_FILE, "/in/%s: found %lld at (%d)", rows->name, (long long)count, r);
        left -= count;
    }
    if (left == 0) return 0;
    return pfc_diag_fail(diag, PFC_EXIT_FILE, "/in/%s: found a sum of %lld, expected %lld as in %s", rows->name, (long long)(t->dims[axis] - left),
                         (long long)t->dims[axis], t->name);
}

/* The axis that is cut; -1: every rank has all of it. */
static int cut_axis(const pfc_tensor_spec *spec, const pfc_tensor *t) { return spec && spec->dist != PFC_DIST_NONE ? pfc_shape_axis(spec, t->ndim) : -1; }

static int check_one(const owner *o, const pfc_tensor_spec *spec, const pfc_tensor *t, pfc_diag *diag)
{
    int axis = cut_axis(spec, t);
    if (axis < 0) return 0;
    if (by_rows(o, spec)) return check_rows(o, t, axis, diag);
    int64_t length = t->dims[axis];
    if (spec->dist == PFC_DIST_BATCH && length % o->ranks)
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: axis of %lld is not divisible by --of %d", t->name, (long long)length, o->ranks);
    if (spec->dist == PFC_DIST_RANK && length != o->ranks)
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: axis of %lld ranks, expected --of %d", t->name, (long long)length, o->ranks);
    return 0;
}

static int cut_one(const owner *o, const pfc_tensor_spec *spec, pfc_tensor *t, pfc_diag *diag)
{
    int axis = cut_axis(spec, t);
    if (axis < 0) return 0;
    pfc_shard s = part_of(o, spec, t, axis);
    return keep_part(t, axis, s.start, s.count, diag);
}

/* A bound has its tensor's shape, or is broadcast along an axis of length 1; then that axis stays. `whole` is the tensor before it was cut. */
static int cut_bound(const owner *o, const pfc_tensor_spec *spec, const pfc_tensor *whole, pfc_tensor *bound, pfc_diag *diag)
{
    int axis = cut_axis(spec, whole), lead = whole->ndim - bound->ndim;
    if (axis < 0 || axis < lead || bound->dims[axis - lead] != whole->dims[axis]) return 0;
    pfc_shard s = part_of(o, spec, whole, axis);
    return keep_part(bound, axis - lead, s.start, s.count, diag);
}

static int cut_all(const owner *o, const pfc_tensor_spec *specs, pfc_tensor_list *list, pfc_tensor_list *bounds, pfc_diag *diag)
{
    for (int i = 0; i < list->count && !diag->exit_status; i++) {
        pfc_tensor *t = &list->items[i], *bound = pfc_tensor_find(bounds, t->name);
        const pfc_tensor_spec *spec = pfc_spec_find(specs, t->name);
        if (check_one(o, spec, t, diag)) break;
        if (bound) cut_bound(o, spec, t, bound, diag);
        if (!diag->exit_status) cut_one(o, spec, t, diag);
    }
    return diag->exit_status;
}

/* Shapes, to find elements in the whole later. */
static bool keep_shapes(const pfc_tensor_list *list, pfc_tensor_list *shapes)
{
    for (int i = 0; i < list->count; i++) {
        const pfc_tensor *t = &list->items[i];
        pfc_tensor *whole = pfc_tensor_describe(shapes, t->name, t->dtype, t->ndim, t->dims);
        if (!whole) return false;
        whole->unit = t->unit;
    }
    return true;
}

int pfc_cut_results(pfc_result_file *file, int rank, int ranks, pfc_diag *diag)
{
    const pfc_algorithm *a = pfc_algorithm_find(file->algorithm);
    const owner o = { rank, ranks, file->rows.count ? file->rows.items : NULL };
    pfc_tensor_list none = { 0 };
    if (!keep_shapes(&file->out, &file->whole_out) || !keep_shapes(&file->step, &file->whole_step))
        return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", file->path);
    if (cut_all(&o, a->out, &file->out, &file->bound_out, diag) || cut_all(&o, a->step, &file->step, &file->bound_step, diag)) return diag->exit_status;
    return cut_all(&o, a->in, &file->in, &none, diag);
}

/* ---- where an element lies ---- */

/* Index of an element of a part in the whole, or of the whole in a part. length, length_there: of the cut axis; shift: added to the position on it. */
static int64_t move_index(const pfc_tensor *t, int axis, int64_t length, int64_t length_there, int64_t shift, int64_t index)
{
    int64_t inner = 1;
    for (int i = axis + 1; i < t->ndim; i++) inner *= t->dims[i];
    int64_t at = index / inner % length, outer = index / inner / length;
    return (outer * length_there + at + shift) * inner + index % inner;
}

/* The part that has this position of the axis; -1: none. */
static int find_owner(owner *o, const pfc_tensor_spec *spec, const pfc_tensor *whole, int axis, int64_t at, pfc_shard *part)
{
    for (o->rank = 0; o->rank < o->ranks; o->rank++) {
        *part = part_of(o, spec, whole, axis);
        if (at >= part->start && at < part->start + part->count) return o->rank;
    }
    return -1;
}

void pfc_find_place(const pfc_result_file *file, bool step, const char *name, int64_t index, int rank, int ranks, pfc_owned *place)
{
    const pfc_algorithm *a = pfc_algorithm_find(file->algorithm);
    const pfc_tensor *whole = rank < 0 ? NULL : pfc_tensor_find(step ? &file->whole_step : &file->whole_out, name);
    const pfc_tensor_spec *spec = pfc_spec_find(step ? a->step : a->out, name);
    owner o = { rank, ranks, file->rows.count ? file->rows.items : NULL };
    pfc_diag ignored = { 0 };
    if (!whole) whole = pfc_tensor_find(step ? &file->step : &file->out, name);
    *place = (pfc_owned){ .index = index, .rank = rank };
    int axis = cut_axis(spec, whole);
    pfc_tensor part = *whole;
    if (axis >= 0 && ranks > 0 && !check_one(&o, spec, whole, &ignored)) {
        pfc_shard s = { 0, 0 };
        int64_t length = whole->dims[axis], inner = 1;
        for (int i = axis + 1; i < whole->ndim; i++) inner *= whole->dims[i];
        if (rank >= 0) s = part_of(&o, spec, whole, axis);
        if (rank < 0) place->rank = find_owner(&o, spec, whole, axis, index / inner % length, &s);
        part.dims[axis] = s.count;
        if (rank >= 0 && s.count > 0) place->index = move_index(whole, axis, s.count, length, s.start, index);
        if (rank < 0 && place->rank >= 0) index = move_index(whole, axis, length, s.count, -s.start, index);
    }
    pfc_index_text(whole, place->index, place->whole, sizeof place->whole);
    pfc_index_text(&part, index, place->local, sizeof place->local);
}
