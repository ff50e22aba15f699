/* file_describe.c: what the datasets of a file look like, before any memory is taken: where their data lies, element types, shapes. Local. */
#include "case/reader.h"

#include <string.h>

/* A dataset that is a hard link, with all of its data in this file. */
hid_t pfc_reader_open_dataset(const pfc_reader *r, hid_t group, const char *name, const char *item)
{
    const char *which = "nothing";
    int link = pfc_h5_link(group, name, &which);
    hid_t object = link > 0 ? H5Oopen(group, name, H5P_DEFAULT) : -1;
    if (link > 0 && object < 0) which = "an object that cannot be opened";
    if (object >= 0 && H5Iget_type(object) == H5I_DATASET) return object;
    if (object >= 0) which = "another object";
    if (object >= 0) H5Oclose(object);
    pfc_case_fail(r->c, r->diag, item, "found %s, expected a dataset in this file", which);
    return -1;
}

static int check_storage(const pfc_reader *r, hid_t dataset, const char *item)
{
    const char *fault = pfc_h5_storage_fault(dataset);
    return fault ? pfc_case_fail(r->c, r->diag, item, "found %s", fault) : 0;
}

static int read_shape(const pfc_reader *r, hid_t dataset, const char *item, int *ndim, int64_t dims[PFC_MAX_DIMS])
{
    hsize_t extent[H5S_MAX_RANK];
    int64_t elements;
    char text[160];
    hid_t space = H5Dget_space(dataset);
    H5S_class_t class = H5Sget_simple_extent_type(space);
    int n = class == H5S_NULL ? -1 : H5Sget_simple_extent_dims(space, extent, NULL);
    H5Sclose(space);
    if (n < 0) return pfc_case_fail(r->c, r->diag, item, "found a dataset without a shape, expected values");
    if (n > PFC_MAX_DIMS) return pfc_case_fail(r->c, r->diag, item, "found %d axes, expected at most %d", n, PFC_MAX_DIMS);
    for (int k = 0; k < n; k++) dims[k] = extent[k] > (hsize_t)INT64_MAX ? INT64_MAX : (int64_t)extent[k];
    if (!pfc_dims_elements(n, dims, &elements))
        return pfc_case_fail(r->c, r->diag, item, "found shape %s, expected fewer elements than this machine can count",
                             pfc_dims_text(n, dims, text, sizeof text));
    *ndim = n;
    return 0;
}

/* The element type kept in memory; false: this one is not accepted there. */
static bool choose_dtype(pfc_purpose p, pfc_tensor_kind kind, const char *stored, pfc_dtype *dtype)
{
    bool f32 = strcmp(stored, "f32") == 0, f64 = strcmp(stored, "f64") == 0;
    bool small = strcmp(stored, "f16") == 0 || strcmp(stored, "bf16") == 0, integer = stored[0] == 'i' || stored[0] == 'u';
    *dtype = integer ? PFC_I64 : f64 ? PFC_F64 : PFC_F32;
    if (p == PFC_FOR_RESULT) return integer || f32 || f64 || small; /* a wrong class is the comparison's verdict */
    if (p == PFC_FOR_INPUT && kind == PFC_KIND_INT) return integer;
    if (p == PFC_FOR_BOUND || kind == PFC_KIND_REAL64)
        *dtype = PFC_F64;
    else
        *dtype = PFC_F32;
    return f32 || f64;
}

/* order and sha256, where a writer left them. */
static void read_notes(hid_t dataset, pfc_tensor *t)
{
    pfc_value v;
    char found[160];
    if (pfc_h5_read_attribute(dataset, "order", &v, found, sizeof found) == 0 && v.kind == PFC_VALUE_INT) t->order = (int)v.i;
    if (pfc_h5_read_attribute(dataset, "sha256", &v, found, sizeof found) == 0 && v.kind == PFC_VALUE_TEXT)
        snprintf(t->sha256, sizeof t->sha256, "%.64s", v.text);
}

/* Along the axis of the table; a bound that is broadcast there is held by every rank. */
static void cut(const pfc_reader *r, const pfc_folder *folder, const pfc_tensor_spec *spec, pfc_tensor *t)
{
    int axis = pfc_shape_axis(spec, t->ndim);
    if (axis >= 0 && folder->purpose == PFC_FOR_BOUND) {
        const pfc_tensor *like = pfc_tensor_find(folder->like, t->name);
        if (!like || like->ndim != t->ndim || like->dims[axis] != t->dims[axis]) axis = -1;
    }
    t->unit = pfc_shape_unit(r->c, spec, t->ndim);
    pfc_tensor_cut(t, axis < 0 ? PFC_DIST_NONE : spec->dist, axis < 0 ? 0 : axis, r->ranks, r->rank);
}

static int describe_open(pfc_reader *r, const pfc_folder *folder, hid_t dataset, const char *item, const char *name, const pfc_tensor_spec *spec)
{
    char found[160];
    int ndim = 0;
    int64_t dims[PFC_MAX_DIMS];
    pfc_dtype dtype;
    bool integers = folder->purpose == PFC_FOR_INPUT && spec->kind == PFC_KIND_INT;
    hid_t type = H5Dget_type(dataset);
    const char *stored = pfc_h5_stored(type, found, sizeof found);
    H5Tclose(type);
    if (!choose_dtype(folder->purpose, spec->kind, stored, &dtype))
        return pfc_case_fail(r->c, r->diag, item, "found %s, expected %s", found, integers ? "integers (i32 or i64)" : "real numbers (f32 or f64)");
    if (read_shape(r, dataset, item, &ndim, dims)) return r->diag->exit_status;
    if (spec->shape[0] == '\0' && ndim == 1 && dims[0] == 1) ndim = 0; /* a scalar is () ; (1,) is accepted */
    pfc_tensor *t = pfc_tensor_describe(folder->list, name, dtype, ndim, dims);
    if (!t) return pfc_diag_fail(r->diag, PFC_EXIT_RUNTIME, "%s: out of memory while reading", item);
    snprintf(t->stored, sizeof t->stored, "%s", stored);
    cut(r, folder, spec, t);
    if (folder->purpose == PFC_FOR_RESULT) read_notes(dataset, t);
    return check_storage(r, dataset, item);
}

static int describe(pfc_reader *r, const pfc_folder *folder, hid_t group, const char *name, const pfc_tensor_spec *spec)
{
    char item[160];
    snprintf(item, sizeof item, "%s/%.100s", folder->path, name);
    hid_t dataset = pfc_reader_open_dataset(r, group, name, item);
    if (dataset < 0) return r->diag->exit_status;
    describe_open(r, folder, dataset, item, name, spec);
    H5Dclose(dataset);
    return r->diag->exit_status;
}

static int refuse_unknown(const pfc_reader *r, const pfc_folder *folder, hid_t group)
{
    H5G_info_t info = { 0 };
    char name[128], item[160];
    if (H5Gget_info(group, &info) < 0) return pfc_case_fail(r->c, r->diag, folder->path, "the group cannot be read");
    for (hsize_t i = 0; i < info.nlinks; i++) {
        if (!pfc_reader_link_name(group, i, name, sizeof name)) return pfc_case_fail(r->c, r->diag, folder->path, "the name of an object cannot be read");
        snprintf(item, sizeof item, "%s/%.127s", folder->path, name);
        if (!pfc_spec_find(folder->specs, name))
            return pfc_case_fail(r->c, r->diag, item, "found an unknown input, expected one of those of %s", r->c->algorithm->name);
    }
    return 0;
}

/* One table entry; "row_sum_<t>" stands for row_sum_0, row_sum_1, ... */
static int describe_spec(pfc_reader *r, const pfc_folder *folder, hid_t group, const pfc_tensor_spec *spec)
{
    const char *which, *mark = strstr(spec->name, "<t>");
    for (int t = 0; t == 0 || mark; t++) {
        char name[PFC_MAX_NAME];
        int n = mark ? (int)(mark - spec->name) : (int)strlen(spec->name);
        int used = snprintf(name, sizeof name, "%.*s", n, spec->name);
        if (mark) snprintf(name + used, sizeof name - (size_t)used, "%d", t);
        if (pfc_h5_link(group, name, &which) == 0) return 0;
        if (describe(r, folder, group, name, spec)) return r->diag->exit_status;
    }
    return 0;
}

int pfc_reader_describe(pfc_reader *r, const pfc_folder *folder)
{
    hid_t group;
    if (pfc_reader_open_group(r, folder->path, &group) <= 0) return r->diag->exit_status;
    if (folder->purpose == PFC_FOR_INPUT) refuse_unknown(r, folder, group);
    for (const pfc_tensor_spec *s = folder->specs; s && s->name && !r->diag->exit_status; s++) describe_spec(r, folder, group, s);
    H5Gclose(group);
    return r->diag->exit_status;
}
