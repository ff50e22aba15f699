/* explain_example.c: the small inputs of the examples: numbers that a reader can follow, the same for any number of ranks. */
#include "driver/explain.h"

#include "case/internal.h"

bool pfc_ex_given(const pfc_case *c, const char *name)
{
    int i = pfc_param_index(c->algorithm, name);
    return i >= 0 && c->param[i].present;
}

int pfc_ex_set(pfc_case *c, const char *name, const char *value, pfc_diag *diag)
{
    if (!diag->exit_status && !pfc_ex_given(c, name)) pfc_case_set_param(c, name, value, diag);
    return diag->exit_status;
}

int64_t pfc_ex_rows(int ranks, int64_t least) { return (least + ranks - 1) / ranks * ranks; }

static pfc_dist dist_of(const pfc_tensor_spec *spec, int axis) { return axis < 0 ? PFC_DIST_NONE : spec->dist; }

pfc_tensor *pfc_ex_input(MPI_Comm comm, pfc_case *c, const char *name, int ndim, const int64_t *dims, double (*at)(int64_t i), pfc_diag *diag)
{
    const pfc_tensor_spec *spec = pfc_spec_find(c->algorithm->in, name);
    if (!spec || diag->exit_status) return NULL;
    int axis = pfc_shape_axis(spec, ndim);
    pfc_dtype dtype = spec->kind == PFC_KIND_INT ? PFC_I64 : spec->kind == PFC_KIND_REAL64 ? PFC_F64 : PFC_F32;
    pfc_tensor *t = pfc_tensor_add_units(comm, &c->in, name, dtype, ndim, dims, dist_of(spec, axis), axis < 0 ? 0 : axis, pfc_shape_unit(c, spec, ndim));
    if (!t) {
        pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "explain: out of memory");
        return NULL;
    }
    for (int64_t i = 0; i < pfc_tensor_local(t); i++) {
        double x = at(pfc_tensor_global_index(t, i));
        if (dtype == PFC_I64)
            ((int64_t *)t->data)[i] = (int64_t)x;
        else if (dtype == PFC_F64)
            ((double *)t->data)[i] = x;
        else
            ((float *)t->data)[i] = (float)x;
    }
    return t;
}
