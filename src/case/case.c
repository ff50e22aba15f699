/* case.c: a case in memory: making it, freeing it, and the checks that follow from the tables alone. */
#include "case/internal.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

pfc_case *pfc_case_new(const pfc_algorithm *algorithm)
{
    pfc_case *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    int n = 0;
    while (algorithm->params && algorithm->params[n].name) n++;
    c->algorithm = algorithm;
    c->param = calloc((size_t)n + 1, sizeof *c->param);
    c->world = -1;
    for (int k = 0; k < 26; k++) c->size[k] = -1;
    if (c->param) return c;
    free(c);
    return NULL;
}

void pfc_case_free(pfc_case *c)
{
    if (!c) return;
    pfc_tensor_list_free(&c->in);
    pfc_tensor_list_free(&c->out);
    pfc_tensor_list_free(&c->step);
    pfc_tensor_list_free(&c->bound_out);
    pfc_tensor_list_free(&c->bound_step);
    for (int k = 0; k < c->kept_count; k++) {
        pfc_tensor_list_free(&c->kept[k].out);
        pfc_tensor_list_free(&c->kept[k].step);
    }
    free(c->param);
    free(c);
}

void pfc_case_keep_bounds(pfc_case *c, const pfc_precision *precision)
{
    c->kept[c->kept_count++] = (pfc_bound_set){ precision, c->bound_out, c->bound_step };
    c->bound_out = c->bound_step = (pfc_tensor_list){ 0 };
}

const pfc_algorithm *pfc_algorithm_find_in(const pfc_algorithm *const *table, const char *name)
{
    for (; *table; table++)
        if (strcmp((*table)->name, name) == 0) return *table;
    return NULL;
}

static pfc_dtype input_dtype(pfc_tensor_kind kind) { return kind == PFC_KIND_INT ? PFC_I64 : kind == PFC_KIND_REAL64 ? PFC_F64 : PFC_F32; }

static int check_presence(const pfc_case *c, pfc_diag *diag)
{
    char item[PFC_MAX_NAME + 8];
    for (const pfc_tensor_spec *s = c->algorithm->in; s && s->name; s++) {
        const pfc_tensor *t = pfc_tensor_find(&c->in, s->name);
        snprintf(item, sizeof item, "/in/%.63s", s->name);
        if (!t && !s->optional) return pfc_case_fail(c, diag, item, "found nothing, expected a dataset of shape (%s)", s->shape);
        if (t && t->dtype != input_dtype(s->kind))
            return pfc_case_fail(c, diag, item, "found another element type, expected %s", s->kind == PFC_KIND_INT ? "integers" : "real numbers");
    }
    for (int k = 0; k < c->in.count; k++) {
        snprintf(item, sizeof item, "/in/%s", c->in.items[k].name);
        if (!pfc_spec_find(c->algorithm->in, c->in.items[k].name))
            return pfc_case_fail(c, diag, item, "found an unknown input, expected one of those of %s", c->algorithm->name);
    }
    return 0;
}

int pfc_case_check_form(pfc_case *c, int ranks, pfc_diag *diag)
{
    if (pfc_case_apply_defaults(c, diag)) return diag->exit_status;
    if (c->world >= 0 && c->world != ranks)
        return pfc_case_fail(c, diag, "/param/world", "found %d ranks, expected the %lld that this case is defined for", ranks, (long long)c->world);
    if (check_presence(c, diag)) return diag->exit_status;
    return pfc_case_check_shapes(c, ranks, diag);
}

/* Does this rank hold the block that the table gives it? A mistake of the caller, not of the file. */
static int check_blocks(const pfc_case *c, int ranks, int rank, pfc_diag *diag)
{
    for (int k = 0; k < c->in.count; k++) {
        const pfc_tensor *t = &c->in.items[k];
        const pfc_tensor_spec *s = pfc_spec_find(c->algorithm->in, t->name);
        int axis = pfc_shape_axis(s, t->ndim);
        pfc_tensor want = *t;
        want.unit = pfc_shape_unit(c, s, t->ndim);
        pfc_tensor_cut(&want, axis < 0 ? PFC_DIST_NONE : s->dist, axis, ranks, rank);
        if (want.dist != t->dist || want.axis != t->axis || want.start != t->start || want.count != t->count || !t->data)
            return pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: input %s is not cut over the ranks as its table says", c->algorithm->name, t->name);
    }
    return 0;
}

static int check_finite(const pfc_case *c, pfc_diag *diag)
{
    for (int k = 0; k < c->in.count && !c->allow_nonfinite; k++) {
        const pfc_tensor *t = &c->in.items[k];
        int64_t n = t->dtype == PFC_I64 ? 0 : pfc_tensor_local(t);
        for (int64_t i = 0; i < n; i++) {
            double x = pfc_tensor_get(t, i);
            if (isfinite(x)) continue;
            char item[PFC_MAX_NAME + 8], place[160];
            snprintf(item, sizeof item, "/in/%s", t->name);
            return pfc_case_fail(c, diag, item, "found %s at %s, expected finite numbers (allow_nonfinite is 0)",
                                 isnan(x) ? "nan"
                                 : x > 0  ? "inf"
                                          : "-inf",
                                 pfc_tensor_place_text(t, i, place, sizeof place));
        }
    }
    return 0;
}

int pfc_case_check(MPI_Comm comm, pfc_case *c, pfc_diag *diag)
{
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    if (!pfc_case_check_form(c, ranks, diag)) check_blocks(c, ranks, rank, diag);
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    check_finite(c, diag);
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    if (c->algorithm->check) c->algorithm->check(comm, c, diag);
    return pfc_diag_agree(comm, diag);
}
