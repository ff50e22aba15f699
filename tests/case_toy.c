/* case_toy.c: see case_toy.h. */
#include "case_toy.h"

#include <string.h>

static const pfc_param_spec params[] = {
    { "head", PFC_PARAM_WORD, NULL, "linear|cos|arc", "required word" },
    { "scale", PFC_PARAM_REAL, "64", NULL, "real with default" },
    { "count", PFC_PARAM_INT, "", NULL, "optional integer" },
    { "nesterov", PFC_PARAM_INT, "0", "0|1", "switch" },
    { "steps", PFC_PARAM_INT, "1", NULL, "names an axis" },
    { NULL, PFC_PARAM_INT, NULL, NULL, NULL },
};

static const pfc_tensor_spec inputs[] = {
    { "features", PFC_KIND_REAL, "N,D|steps,N,D", PFC_DIST_BATCH, 'N', false, "" },
    { "labels", PFC_KIND_INT, "N|steps,N", PFC_DIST_BATCH, 'N', false, "" },
    { "weight", PFC_KIND_REAL, "C,D", PFC_DIST_CLASS, 'C', false, "" },
    { "keys", PFC_KIND_REAL64, "C", PFC_DIST_CLASS, 'C', true, "" },
    { "table", PFC_KIND_REAL, "", PFC_DIST_NONE, 0, true, "a scalar" },
    { "queue", PFC_KIND_REAL, "P,2", PFC_DIST_RANK, 'P', true, "" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec outputs[] = {
    { "loss", PFC_KIND_REAL, "", PFC_DIST_NONE, 0, false, "" },         { "x_grad", PFC_KIND_REAL, "N,D|steps,N,D", PFC_DIST_BATCH, 'N', false, "" },
    { "weight", PFC_KIND_REAL, "C,D", PFC_DIST_CLASS, 'C', false, "" }, { "sampled", PFC_KIND_INT, "C", PFC_DIST_CLASS, 'C', false, "" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

static const pfc_tensor_spec steps[] = {
    { "logits", PFC_KIND_REAL, "N,C", PFC_DIST_CLASS, 'C', false, "" },
    { "row_sum_<t>", PFC_KIND_REAL, "N", PFC_DIST_NONE, 0, false, "" },
    { "scores", PFC_KIND_REAL, "P,V*bs,D", PFC_DIST_RANK, 'P', true, "" },
    { NULL, PFC_KIND_REAL, NULL, PFC_DIST_NONE, 0, false, NULL },
};

const pfc_algorithm case_toy = { .name = "toy", .help = "tables for tests", .params = params, .in = inputs, .out = outputs, .step = steps };
const pfc_algorithm *const case_toy_table[] = { &case_toy, NULL };

double case_toy_value(const char *name, int64_t index)
{
    if (strcmp(name, "labels") == 0 || strcmp(name, "sampled") == 0) return (double)(7 * index % 11);
    return (double)(index % 97) / 64.0 + (double)strlen(name); /* float32 holds it */
}

static void fill(pfc_tensor *t)
{
    int64_t n = pfc_tensor_local(t);
    for (int64_t i = 0; i < n; i++) {
        double x = case_toy_value(t->name, pfc_tensor_global_index(t, i));
        if (t->dtype == PFC_F32) ((float *)t->data)[i] = (float)x;
        if (t->dtype == PFC_F64) ((double *)t->data)[i] = x;
        if (t->dtype == PFC_I64) ((int64_t *)t->data)[i] = (int64_t)x;
    }
}

static void add(MPI_Comm comm, pfc_tensor_list *list, const char *name, pfc_dtype dtype, int ndim, const int64_t *dims, pfc_dist dist, int axis)
{
    pfc_tensor *t = pfc_tensor_add(comm, list, name, dtype, ndim, dims, dist, axis);
    if (t) fill(t);
}

pfc_case *case_toy_make(MPI_Comm comm, int64_t rows, int64_t classes)
{
    int ranks;
    MPI_Comm_size(comm, &ranks);
    int64_t features[2] = { rows, 3 }, weight[2] = { classes, 3 }, queue[2] = { ranks, 2 };
    pfc_diag diag = { 0 };
    pfc_case *c = pfc_case_new(&case_toy);
    if (!c || pfc_case_set_param(c, "head", "arc", &diag)) return c;
    strcpy(c->name, "made");
    /* not in the table's order: files have that order all the same */
    add(comm, &c->in, "weight", PFC_F32, 2, weight, PFC_DIST_CLASS, 0);
    add(comm, &c->in, "features", PFC_F32, 2, features, PFC_DIST_BATCH, 0);
    add(comm, &c->in, "labels", PFC_I64, 1, features, PFC_DIST_BATCH, 0);
    add(comm, &c->in, "keys", PFC_F64, 1, weight, PFC_DIST_CLASS, 0);
    add(comm, &c->in, "table", PFC_F32, 0, NULL, PFC_DIST_NONE, 0);
    add(comm, &c->in, "queue", PFC_F32, 2, queue, PFC_DIST_RANK, 0);
    return c;
}

void case_toy_results(MPI_Comm comm, pfc_case *c)
{
    int64_t n = c->size['N' - 'A'], classes = c->size['C' - 'A'], d = c->size['D' - 'A'];
    int64_t x[2] = { n, d }, w[2] = { classes, d }, logits[2] = { n, classes }, row[2] = { 1, d };
    strcpy(c->spec, "exact-v1");
    add(comm, &c->out, "loss", PFC_F64, 0, NULL, PFC_DIST_NONE, 0);
    add(comm, &c->out, "x_grad", PFC_F64, 2, x, PFC_DIST_BATCH, 0);
    add(comm, &c->out, "weight", PFC_F64, 2, w, PFC_DIST_CLASS, 0);
    add(comm, &c->out, "sampled", PFC_I64, 1, w, PFC_DIST_CLASS, 0);
    add(comm, &c->step, "row_sum_0", PFC_F64, 1, x, PFC_DIST_NONE, 0);
    add(comm, &c->step, "row_sum_1", PFC_F64, 1, x, PFC_DIST_NONE, 0);
    add(comm, &c->step, "logits", PFC_F64, 2, logits, PFC_DIST_CLASS, 1);
    add(comm, &c->bound_out, "weight", PFC_F64, 2, w, PFC_DIST_CLASS, 0);
    add(comm, &c->bound_out, "x_grad", PFC_F64, 2, row, PFC_DIST_NONE, 0);
    add(comm, &c->bound_step, "logits", PFC_F64, 2, logits, PFC_DIST_CLASS, 1);
}
