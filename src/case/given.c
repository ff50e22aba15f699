/* given.c: inputs that are given beside a case's file (`--in NAME=FILE.txt`): they take the place of the file's. */
#include "case/internal.h"

#include <stdlib.h>
#include <string.h>

static void remove_tensor(pfc_tensor_list *list, const char *name)
{
    pfc_tensor *t = pfc_tensor_find(list, name);
    if (!t) return;
    free(t->data);
    memmove(t, t + 1, (size_t)(list->items + list->count - (t + 1)) * sizeof *t);
    list->count--;
}

/* Local element i of an input from the given numbers; false: float32 cannot hold it. */
static bool take_number(const pfc_tensor *given, pfc_tensor *t, int64_t i, int64_t *rounded)
{
    int64_t from = pfc_tensor_global_index(t, i);
    if (t->dtype == PFC_I64) {
        ((int64_t *)t->data)[i] = ((const int64_t *)given->data)[from];
        return true;
    }
    double x = pfc_tensor_get(given, from);
    if (t->dtype == PFC_F64) {
        ((double *)t->data)[i] = x;
        return true;
    }
    float f = (float)x;
    ((float *)t->data)[i] = f;
    *rounded += (double)f != x && x == x;
    return f - f == 0.0f || !(x - x == 0.0);
}

int pfc_case_put_input(MPI_Comm comm, pfc_case *c, const pfc_tensor *given, pfc_diag *diag)
{
    int rank, ranks;
    int64_t ignored = 0; /* what every rank holds is counted once */
    char item[PFC_MAX_NAME + 8];
    const pfc_tensor_spec *spec = pfc_spec_find(c->algorithm->in, given->name);
    snprintf(item, sizeof item, "/in/%s", given->name);
    if (!spec) return pfc_case_fail(c, diag, item, "found an unknown input, expected one of those of %s", c->algorithm->name);
    if (spec->kind == PFC_KIND_INT && given->dtype != PFC_I64) return pfc_case_fail(c, diag, item, "found real numbers, expected integers");
    pfc_dtype dtype = spec->kind == PFC_KIND_INT ? PFC_I64 : spec->kind == PFC_KIND_REAL64 ? PFC_F64 : PFC_F32;
    remove_tensor(&c->in, given->name);
    pfc_tensor *t = pfc_tensor_describe(&c->in, given->name, dtype, given->ndim, given->dims);
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    int axis = pfc_shape_axis(spec, given->ndim);
    if (t) t->unit = pfc_shape_unit(c, spec, given->ndim);
    if (t) pfc_tensor_cut(t, axis < 0 ? PFC_DIST_NONE : spec->dist, axis < 0 ? 0 : axis, ranks, rank);
    if (!t || !pfc_tensor_allocate(t)) return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", item);
    for (int64_t i = 0; i < pfc_tensor_local(t); i++)
        if (!take_number(given, t, i, t->dist != PFC_DIST_NONE || rank == 0 ? &c->rounded : &ignored))
            return pfc_case_fail(c, diag, item, "found a number beyond float32 at element %lld", (long long)i);
    return 0;
}
