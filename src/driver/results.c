/* results.c: files looked at without running them: what a case is (peek), and the results in a golden or in a port's file. One rank, plain HDF5.
 *
 * `check` needs neither the parameters nor the inputs nor the case's number of ranks, and a port's file may hold nothing but /out. */
#include "case/internal.h"
#include "driver/driver.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- opening ---- */

static hid_t open_file(const char *path, pfc_diag *diag)
{
    struct stat s;
    char reason[160];
    if (stat(path, &s) != 0) {
        pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found nothing readable (%s), expected a case file", path, strerror(errno));
        return -1;
    }
    const char *fault = S_ISREG(s.st_mode) ? pfc_probe(path, reason, sizeof reason) : NULL;
    if (fault) {
        pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found a damaged file (%s), expected a case file", path, fault);
        return -1;
    }
    hid_t fapl = pfc_h5_access(MPI_COMM_NULL, false);
    hid_t file = fapl < 0 || !S_ISREG(s.st_mode) ? -1 : H5Fopen(path, H5F_ACC_RDONLY, fapl);
    if (file < 0) /* the next call of HDF5 forgets the reason */
        pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: found no intact HDF5 file (%s), expected a case file", path,
                      S_ISREG(s.st_mode) ? pfc_h5_reason(reason, sizeof reason) : "not a regular file");
    if (fapl >= 0) H5Pclose(fapl);
    return file;
}

/* A group that is there; negative if absent or something else. */
static hid_t open_group(hid_t where, const char *name)
{
    const char *which;
    hid_t object = pfc_h5_link(where, name, &which) > 0 ? H5Oopen(where, name, H5P_DEFAULT) : -1;
    if (object < 0 || H5Iget_type(object) == H5I_GROUP) return object;
    H5Oclose(object);
    return -1;
}

static bool text_attribute(hid_t object, const char *name, char *text, size_t size)
{
    pfc_value v;
    char found[160];
    text[0] = 0;
    if (pfc_h5_read_attribute(object, name, &v, found, sizeof found) || v.kind != PFC_VALUE_TEXT) return false;
    snprintf(text, size, "%.*s", (int)size - 1, v.text);
    return true;
}

static int64_t world_of(hid_t file)
{
    pfc_value v;
    char found[160];
    hid_t group = open_group(file, "param");
    int64_t world = -1;
    if (group < 0) return world;
    if (pfc_h5_read_attribute(group, "world", &v, found, sizeof found) == 0)
        world = v.kind == PFC_VALUE_INT ? v.i : v.kind == PFC_VALUE_REAL ? (int64_t)v.r : -1;
    H5Gclose(group);
    return world;
}

/* ---- peek ---- */

static int dataset_dims(hid_t group, const char *name, int64_t dims[PFC_MAX_DIMS])
{
    hsize_t extent[H5S_MAX_RANK];
    const char *which;
    if (pfc_h5_link(group, name, &which) <= 0) return -1;
    hid_t dataset = H5Dopen2(group, name, H5P_DEFAULT);
    hid_t space = dataset < 0 ? -1 : H5Dget_space(dataset);
    int n = space < 0 ? -1 : H5Sget_simple_extent_dims(space, extent, NULL);
    if (n > PFC_MAX_DIMS) n = -1;
    for (int i = 0; i < n; i++) dims[i] = (int64_t)extent[i];
    if (space >= 0) H5Sclose(space);
    if (dataset >= 0) H5Dclose(dataset);
    return n;
}

/* Axes of the first alternative of a shape with ndim axes: their letters, 0 for anything longer. False: none. */
static bool shape_letters(const char *shape, int ndim, char letters[PFC_MAX_DIMS])
{
    for (const char *p = shape; p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL) {
        int n = 0;
        for (const char *q = p; *q && *q != '|' && n < PFC_MAX_DIMS;) {
            size_t length = strcspn(q, ",|");
            if (strncmp(q, "...", 3) == 0) { /* any further axes */
                for (; n < ndim; n++) letters[n] = 0;
                break;
            }
            letters[n++] = length == 1 && isupper((unsigned char)*q) ? *q : 0;
            q += length + (q[length] == ',');
        }
        if (n == ndim) return true;
    }
    return false;
}

/* Sizes of the letters, and what keeps the case from running on `ranks` ranks. */
static void peek_inputs(const pfc_algorithm *a, hid_t group, int ranks, pfc_peek *peek)
{
    int64_t size[26], dims[PFC_MAX_DIMS];
    char letters[PFC_MAX_DIMS];
    for (int i = 0; i < 26; i++) size[i] = -1;
    for (const pfc_tensor_spec *s = a->in; s && s->name; s++) {
        int n = dataset_dims(group, s->name, dims);
        if (n < 0 || !shape_letters(s->shape, n, letters)) continue;
        int axis = pfc_shape_axis(s, n);
        for (int i = 0; i < n; i++) {
            if (!letters[i] || size[letters[i] - 'A'] >= 0) continue;
            size_t used = strlen(peek->sizes);
            size[letters[i] - 'A'] = dims[i];
            snprintf(peek->sizes + used, sizeof peek->sizes - used, "%s%c=%lld", used ? " " : "", letters[i], (long long)dims[i]);
        }
        if (axis < 0 || peek->unfit[0]) continue;
        if (s->dist == PFC_DIST_BATCH && dims[axis] % ranks)
            snprintf(peek->unfit, sizeof peek->unfit, "%c=%lld not divisible by %d ranks", s->cut, (long long)dims[axis], ranks);
        if (s->dist == PFC_DIST_RANK && dims[axis] != ranks) snprintf(peek->unfit, sizeof peek->unfit, "for %lld ranks", (long long)dims[axis]);
    }
}

static void peek_open(hid_t file, int ranks, pfc_peek *peek)
{
    hid_t group;
    text_attribute(file, "algorithm", peek->algorithm, sizeof peek->algorithm);
    text_attribute(file, "spec", peek->spec, sizeof peek->spec);
    peek->world = world_of(file);
    if (peek->world > 0 && peek->world != ranks)
        snprintf(peek->unfit, sizeof peek->unfit, "for %lld rank%s", (long long)peek->world, peek->world == 1 ? "" : "s");
    const pfc_algorithm *a = pfc_algorithm_find(peek->algorithm);
    if (a && (group = open_group(file, "in")) >= 0) {
        peek_inputs(a, group, ranks, peek);
        H5Gclose(group);
    }
    bool *const has[] = { &peek->has_out, &peek->has_step, &peek->has_bound };
    static const char *const names[] = { "out", "step", "bound" };
    for (int i = 0; i < 3; i++) {
        group = open_group(file, names[i]);
        *has[i] = group >= 0;
        if (group >= 0) H5Gclose(group);
    }
}

void pfc_peek_file(const pfc_cli *cli, const char *path, pfc_peek *peek)
{
    memset(peek, 0, sizeof *peek);
    peek->world = -1;
    if (cli->rank == 0) {
        pfc_diag ignored = { 0 };
        pfc_h5_quiet quiet = pfc_h5_quiet_begin();
        hid_t file = open_file(path, &ignored);
        if (file >= 0) {
            peek_open(file, cli->ranks, peek);
            H5Fclose(file);
        }
        pfc_h5_quiet_end(quiet);
    }
    MPI_Bcast(peek, (int)sizeof *peek, MPI_BYTE, 0, cli->comm);
}

/* ---- results ---- */

typedef struct reader {
    const char *path, *folder; /* folder: "/out", for messages */
    hid_t group;
    pfc_tensor_list *list;
    pfc_case label; /* carries the path into messages of the case code */
    pfc_diag *diag;
    bool bound;
} reader;

static int read_shape(reader *r, hid_t dataset, const char *item, int *ndim, int64_t dims[PFC_MAX_DIMS])
{
    hsize_t extent[H5S_MAX_RANK];
    int64_t elements = 0;
    hid_t space = H5Dget_space(dataset);
    int n = H5Sget_simple_extent_type(space) == H5S_NULL ? -1 : H5Sget_simple_extent_dims(space, extent, NULL);
    H5Sclose(space);
    if (n < 0 || n > PFC_MAX_DIMS) return pfc_case_fail(&r->label, r->diag, item, "found a dataset of %d axes, expected 0 to %d", n, PFC_MAX_DIMS);
    for (int i = 0; i < n; i++) dims[i] = extent[i] > (hsize_t)INT64_MAX ? INT64_MAX : (int64_t)extent[i];
    int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * (int64_t)sysconf(_SC_PAGESIZE);
    if (!pfc_dims_elements(n, dims, &elements) || elements > memory / 8)
        return pfc_case_fail(&r->label, r->diag, item, "found more elements than this machine's memory holds");
    const char *fault = pfc_h5_storage_fault(dataset);
    if (fault) return pfc_case_fail(&r->label, r->diag, item, "found %s", fault);
    *ndim = n;
    return 0;
}

static int read_dataset(reader *r, hid_t dataset, const char *name, const char *item)
{
    char found[160];
    int ndim = 0;
    int64_t dims[PFC_MAX_DIMS], rounded = 0;
    hid_t type = H5Dget_type(dataset);
    const char *stored = pfc_h5_stored(type, found, sizeof found);
    H5Tclose(type);
    if (strcmp(stored, "other") == 0) return pfc_case_fail(&r->label, r->diag, item, "found %s, expected real numbers or integers", found);
    if (read_shape(r, dataset, item, &ndim, dims)) return r->diag->exit_status;
    bool integer = stored[0] == 'i' || stored[0] == 'u';
    pfc_dtype dtype = r->bound || strcmp(stored, "f64") == 0 ? PFC_F64 : integer ? PFC_I64 : PFC_F32;
    pfc_tensor *t = pfc_tensor_add(MPI_COMM_SELF, r->list, name, dtype, ndim, dims, PFC_DIST_NONE, 0);
    if (!t) return pfc_case_fail(&r->label, r->diag, item, "out of memory, or a name too long");
    snprintf(t->stored, sizeof t->stored, "%.7s", stored);
    pfc_value v;
    if (pfc_h5_read_attribute(dataset, "order", &v, found, sizeof found) == 0 && v.kind == PFC_VALUE_INT) t->order = (int)v.i;
    if (r->bound && pfc_h5_read_attribute(dataset, "rms", &v, found, sizeof found) == 0 && v.kind == PFC_VALUE_REAL) t->rms = v.r;
    text_attribute(dataset, "sha256", t->sha256, sizeof t->sha256);
    return pfc_h5_read_block(dataset, &r->label, item, t, &rounded, r->diag);
}

static int by_order(const void *a, const void *b) { return ((const pfc_tensor *)a)->order - ((const pfc_tensor *)b)->order; }

/* One object of r->group. */
static int read_member(reader *r, const char *name)
{
    char item[160];
    const char *which = "an object that is no dataset";
    snprintf(item, sizeof item, "/%s/%.64s", r->folder, name);
    hid_t object = pfc_h5_link(r->group, name, &which) > 0 ? H5Oopen(r->group, name, H5P_DEFAULT) : -1;
    if (object >= 0 && H5Iget_type(object) == H5I_DATASET)
        read_dataset(r, object, name, item);
    else
        pfc_case_fail(&r->label, r->diag, item, "found %s, expected a dataset", which);
    if (object >= 0) H5Oclose(object);
    return r->diag->exit_status;
}

/* All datasets of a group, or the one of that name (`only`); it may be absent. */
static int read_group(reader *r, hid_t file, const char *folder, const char *only, pfc_tensor_list *list)
{
    H5G_info_t info = { 0 };
    char name[PFC_MAX_NAME + 1];
    r->folder = folder;
    r->list = list;
    r->group = open_group(file, folder);
    if (r->group < 0) return 0;
    H5Gget_info(r->group, &info);
    for (hsize_t i = 0; i < info.nlinks && !r->diag->exit_status; i++) {
        if (H5Lget_name_by_idx(r->group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT) < 0) break;
        if (!only || strcmp(only, name) == 0) read_member(r, name);
    }
    H5Gclose(r->group);
    if (list->count > 1) qsort(list->items, (size_t)list->count, sizeof *list->items, by_order);
    return r->diag->exit_status;
}

/* Group inside group, level by level: every level must be a hard link. */
static int read_bounds(reader *r, hid_t file, const char *dtype, const char *kind, pfc_tensor_list *list)
{
    hid_t bound = open_group(file, "bound");
    hid_t typed = bound < 0 ? -1 : open_group(bound, dtype);
    r->bound = true;
    if (typed >= 0) read_group(r, typed, kind, NULL, list);
    r->bound = false;
    if (typed >= 0) H5Gclose(typed);
    if (bound >= 0) H5Gclose(bound);
    return r->diag->exit_status;
}

static int read_header(hid_t h, bool golden, pfc_result_file *file, pfc_diag *diag)
{
    char format[32];
    bool has = H5Aexists(h, "format") > 0;
    text_attribute(h, "format", format, sizeof format);
    if ((has || golden) && strcmp(format, "pfc-case"))
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: attribute format: found \"%s\", expected \"pfc-case\"", file->path, format);
    has = H5Aexists(h, "algorithm") > 0;
    text_attribute(h, "algorithm", file->algorithm, sizeof file->algorithm);
    if ((has || golden) && !pfc_algorithm_find(file->algorithm))
        return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: attribute algorithm: found \"%s\", expected one of pfc_ref list", file->path, file->algorithm);
    text_attribute(h, "spec", file->spec, sizeof file->spec);
    file->world = world_of(h);
    return 0;
}

int pfc_results_read(const char *path, bool golden, const char *bound, pfc_result_file *file, pfc_diag *diag)
{
    memset(file, 0, sizeof *file);
    snprintf(file->path, sizeof file->path, "%s", path);
    reader r = { .path = path, .diag = diag };
    snprintf(r.label.path, sizeof r.label.path, "%s", path);
    pfc_h5_quiet quiet = pfc_h5_quiet_begin();
    hid_t h = open_file(path, diag);
    if (h >= 0) {
        if (!read_header(h, golden, file, diag) && !read_group(&r, h, "out", NULL, &file->out)) read_group(&r, h, "step", NULL, &file->step);
        const pfc_algorithm *a = golden && !diag->exit_status ? pfc_algorithm_find(file->algorithm) : NULL;
        if (a && a->rows && !diag->exit_status) read_group(&r, h, "in", a->rows, &file->rows);
        if (!diag->exit_status && bound && !read_bounds(&r, h, bound, "out", &file->bound_out)) read_bounds(&r, h, bound, "step", &file->bound_step);
        H5Fclose(h);
    }
    pfc_h5_quiet_end(quiet);
    if (!diag->exit_status && file->out.count == 0) pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: /out: found nothing, expected results", path);
    if (diag->exit_status) pfc_results_free(file);
    return diag->exit_status;
}

/* ---- what only check needs ---- */

/* Parameters that the file has. */
static int read_settings(hid_t h, pfc_result_file *file, pfc_diag *diag)
{
    pfc_value v;
    char found[160];
    const pfc_algorithm *a = pfc_algorithm_find(file->algorithm);
    hid_t group = open_group(h, "param");
    file->settings = pfc_case_new(a);
    if (!file->settings) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory", file->path);
    for (const pfc_param_spec *p = a->params; group >= 0 && p && p->name && !diag->exit_status; p++)
        if (pfc_h5_read_attribute(group, p->name, &v, found, sizeof found) == 0) pfc_case_set_value(file->settings, p->name, &v, diag);
    if (group >= 0) H5Gclose(group);
    return diag->exit_status;
}

/* Rows of one class stay together when a tensor is cut. */
static void set_units(const pfc_case *settings, const pfc_tensor_spec *specs, pfc_tensor_list *list)
{
    for (int i = 0; i < list->count; i++) {
        const pfc_tensor_spec *spec = pfc_spec_find(specs, list->items[i].name);
        if (spec) list->items[i].unit = pfc_shape_unit(settings, spec, list->items[i].ndim);
    }
}

int pfc_results_more(pfc_result_file *file, const pfc_precision *precision, pfc_diag *diag)
{
    const pfc_algorithm *a = pfc_algorithm_find(file->algorithm);
    reader r = { .path = file->path, .diag = diag };
    snprintf(r.label.path, sizeof r.label.path, "%s", file->path);
    pfc_h5_quiet quiet = pfc_h5_quiet_begin();
    hid_t h = open_file(file->path, diag);
    if (h >= 0) {
        if (!read_settings(h, file, diag)) read_group(&r, h, "in", NULL, &file->in);
        if (precision && !diag->exit_status && !read_bounds(&r, h, precision->name, "out", &file->bound_out))
            read_bounds(&r, h, precision->name, "step", &file->bound_step);
        if (precision && precision->u > 0 && !diag->exit_status && !read_bounds(&r, h, "f32", "out", &file->f32_out))
            read_bounds(&r, h, "f32", "step", &file->f32_step);
        H5Fclose(h);
    }
    pfc_h5_quiet_end(quiet);
    if (diag->exit_status) return diag->exit_status;
    set_units(file->settings, a->in, &file->in);
    set_units(file->settings, a->out, &file->out);
    set_units(file->settings, a->step, &file->step);
    return 0;
}

const char *pfc_results_bounds(const char *path, char *text, size_t size)
{
    pfc_diag ignored = { 0 };
    pfc_h5_quiet quiet = pfc_h5_quiet_begin();
    hid_t file = open_file(path, &ignored), bound = file < 0 ? -1 : open_group(file, "bound");
    size_t used = 0;
    text[0] = 0;
    for (const pfc_precision *p = pfc_precisions; p->name && bound >= 0 && used < size; p++) {
        hid_t typed = open_group(bound, p->name);
        if (typed < 0) continue;
        used += (size_t)snprintf(text + used, size - used, "%s%s", used ? ", " : "", p->name);
        H5Gclose(typed);
    }
    if (bound >= 0) H5Gclose(bound);
    if (file >= 0) H5Fclose(file);
    pfc_h5_quiet_end(quiet);
    return text;
}

void pfc_results_free(pfc_result_file *file)
{
    pfc_tensor_list_free(&file->out);
    pfc_tensor_list_free(&file->step);
    pfc_tensor_list_free(&file->bound_out);
    pfc_tensor_list_free(&file->bound_step);
    pfc_tensor_list_free(&file->rows);
    pfc_tensor_list_free(&file->in);
    pfc_tensor_list_free(&file->f32_out);
    pfc_tensor_list_free(&file->f32_step);
    pfc_tensor_list_free(&file->whole_out);
    pfc_tensor_list_free(&file->whole_step);
    pfc_case_free(file->settings);
    file->settings = NULL;
}
