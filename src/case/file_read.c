/* file_read.c: reads a case, result or golden. Every rank reads the metadata and its own part of the data.
 *
 * Everything that can be wrong without looking at numbers is checked before memory is taken. Errors found by one rank are agreed by all
 * before the next collective call. */
#include "case/reader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- opening ---- */

static int fail_file(const pfc_reader *r, const char *format, const char *detail)
{
    char label[PFC_LABEL], text[256];
    snprintf(text, sizeof text, format, detail);
    return pfc_diag_fail(r->diag, PFC_EXIT_FILE, "%s: %s", pfc_label(r->path, label), text);
}

/* Rank 0 looks first, with the serial driver: so a bad file is refused before anything collective. */
static void look_at_file(const pfc_reader *r)
{
    struct stat s;
    char reason[160];
    if (stat(r->path, &s) != 0 || access(r->path, R_OK) != 0) {
        fail_file(r, "found nothing readable (%s), expected a case file", strerror(errno));
        return;
    }
    if (!S_ISREG(s.st_mode)) {
        fail_file(r, "found %s, expected a case file", S_ISDIR(s.st_mode) ? "a directory" : "a device or pipe");
        return;
    }
    const char *fault = pfc_probe(r->path, reason, sizeof reason);
    if (fault) {
        fail_file(r, "found a damaged file (%s), expected a case file", fault);
        return;
    }
    hid_t fapl = pfc_h5_access(MPI_COMM_NULL, false);
    hid_t file = fapl < 0 ? -1 : H5Fopen(r->path, H5F_ACC_RDONLY, fapl);
    if (file < 0) fail_file(r, "found no intact HDF5 file (%s), expected a case file", pfc_h5_reason(reason, sizeof reason));
    if (file >= 0) H5Fclose(file);
    if (fapl >= 0) H5Pclose(fapl);
}

static int open_file(pfc_reader *r)
{
    char reason[160];
    if (r->rank == 0) look_at_file(r);
    if (pfc_diag_agree(r->comm, r->diag)) return r->diag->exit_status;
    hid_t fapl = pfc_h5_access(r->comm, false);
    r->file = fapl < 0 ? -1 : H5Fopen(r->path, H5F_ACC_RDONLY, fapl);
    if (r->file < 0) fail_file(r, "cannot be opened by MPI-IO (%s)", pfc_h5_reason(reason, sizeof reason));
    if (fapl >= 0) H5Pclose(fapl);
    return pfc_diag_agree(r->comm, r->diag);
}

/* ---- root attributes and parameters ---- */

static int root_attribute(const pfc_reader *r, const char *name, const char *expected, pfc_value *value)
{
    char found[160], label[PFC_LABEL];
    if (pfc_h5_read_attribute(r->file, name, value, found, sizeof found) == 0) return 0;
    return pfc_diag_fail(r->diag, PFC_EXIT_FILE, "%s: attribute %s: found %s, expected %s", pfc_label(r->path, label), name, found, expected);
}

static int read_header(pfc_reader *r)
{
    pfc_value v;
    char label[PFC_LABEL], found[160];
    pfc_label(r->path, label);
    if (root_attribute(r, "format", "\"pfc-case\"", &v)) return r->diag->exit_status;
    if (v.kind != PFC_VALUE_TEXT || strcmp(v.text, "pfc-case") != 0)
        return pfc_diag_fail(r->diag, PFC_EXIT_FILE, "%s: attribute format: found %s, expected \"pfc-case\"", label, pfc_value_text(&v, found, sizeof found));
    if (root_attribute(r, "format_version", "1", &v)) return r->diag->exit_status;
    if (v.kind == PFC_VALUE_REAL && v.r == 1.0) v.i = 1;
    if (v.kind == PFC_VALUE_TEXT || v.i != 1)
        return pfc_diag_fail(r->diag, PFC_EXIT_FILE, "%s: attribute format_version: found %s, expected 1", label, pfc_value_text(&v, found, sizeof found));
    if (root_attribute(r, "algorithm", "the name of an algorithm", &v)) return r->diag->exit_status;
    const pfc_algorithm *a = v.kind == PFC_VALUE_TEXT ? pfc_algorithm_find_in(r->table, v.text) : NULL;
    if (!a)
        return pfc_diag_fail(r->diag, PFC_EXIT_FILE, "%s: attribute algorithm: found %s, expected a known algorithm (see pfc_ref list)", label,
                             pfc_value_text(&v, found, sizeof found));
    r->c = pfc_case_new(a);
    if (!r->c) return pfc_diag_fail(r->diag, PFC_EXIT_RUNTIME, "%s: out of memory while reading", label);
    const char *base = strrchr(r->path, '/');
    base = base ? base + 1 : r->path;
    const char *dot = strrchr(base, '.');
    snprintf(r->c->name, sizeof r->c->name, "%.*s", dot && dot != base ? (int)(dot - base) : (int)strlen(base), base);
    snprintf(r->c->path, sizeof r->c->path, "%s", r->path);
    if (H5Aexists(r->file, "spec") > 0 && root_attribute(r, "spec", "a name", &v) == 0 && v.kind == PFC_VALUE_TEXT)
        snprintf(r->c->spec, sizeof r->c->spec, "%.15s", v.text);
    return r->diag->exit_status;
}

/* One link of a path; 1: opened, 0: absent, -1: no group there. */
static int open_step(hid_t where, const char *name, hid_t *group, const char **which)
{
    int link = pfc_h5_link(where, name, which);
    if (link <= 0) return link;
    hid_t object = H5Oopen(where, name, H5P_DEFAULT);
    *which = object < 0 ? "an object that cannot be opened" : "another object";
    if (object >= 0 && H5Iget_type(object) == H5I_GROUP) {
        *group = object;
        return 1;
    }
    if (object >= 0) H5Oclose(object);
    return -1;
}

int pfc_reader_open_group(const pfc_reader *r, const char *path, hid_t *group)
{
    const char *which = NULL;
    hid_t at = r->file;
    int state = 1;
    while (state > 0 && *path) {
        char name[PFC_MAX_NAME], item[PFC_MAX_NAME + 1];
        size_t n = strcspn(path + 1, "/");
        snprintf(name, sizeof name, "%.*s", (int)n, path + 1);
        snprintf(item, sizeof item, "/%s", name);
        hid_t next = -1;
        state = open_step(at, name, &next, &which);
        if (at != r->file) H5Gclose(at);
        at = next;
        path += n + 1;
        if (state < 0) pfc_case_fail(r->c, r->diag, item, "found %s, expected a group", which);
    }
    *group = at;
    return state;
}

static herr_t read_param(hid_t group, const char *name, const H5A_info_t *info, void *data)
{
    (void)info;
    const pfc_reader *r = data;
    pfc_value v;
    char found[160], item[160];
    snprintf(item, sizeof item, "/param/%.140s", name);
    if (pfc_h5_read_attribute(group, name, &v, found, sizeof found))
        return pfc_case_fail(r->c, r->diag, item, "found %s, expected one number or string", found) ? -1 : 0;
    return pfc_case_set_value(r->c, name, &v, r->diag) ? -1 : 0;
}

bool pfc_reader_link_name(hid_t group, hsize_t i, char *name, size_t size)
{
    return H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, size, H5P_DEFAULT) >= 0;
}

static int read_params(pfc_reader *r)
{
    hid_t group;
    char name[128];
    if (pfc_reader_open_group(r, "/param", &group) <= 0) return r->diag->exit_status;
    hsize_t index = 0;
    H5G_info_t info = { 0 };
    herr_t bad = H5Aiterate2(group, H5_INDEX_NAME, H5_ITER_INC, &index, read_param, r);
    if (bad < 0 && !r->diag->exit_status) pfc_case_fail(r->c, r->diag, "/param", "cannot be read: %s", pfc_h5_reason(name, sizeof name));
    /* A parameter stored as a dataset must not pass unseen, its default silently in its place. */
    if (!r->diag->exit_status && H5Gget_info(group, &info) >= 0 && info.nlinks > 0 && pfc_reader_link_name(group, 0, name, sizeof name)) {
        char item[160];
        snprintf(item, sizeof item, "/param/%.127s", name);
        pfc_case_fail(r->c, r->diag, item, "found an object, expected parameters to be attributes of /param");
    }
    H5Gclose(group);
    return r->diag->exit_status;
}

/* ---- reading ---- */

/* Tensors of all ranks of this machine against its memory, before any is taken. Collective. */
static int check_memory(pfc_reader *r, const pfc_folder *folders, int n)
{
    char item[160] = "/in", text[160], largest[160] = "()";
    double bytes = 0, most = -1, sum = 0, memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
    for (int f = 0; f < n; f++) {
        for (int k = 0; k < folders[f].list->count; k++) {
            const pfc_tensor *t = &folders[f].list->items[k];
            double size = (double)pfc_tensor_local(t) * (double)pfc_dtype_size(t->dtype);
            bytes += size;
            if (size <= most) continue;
            most = size;
            snprintf(item, sizeof item, "%s/%s", folders[f].path, t->name);
            snprintf(largest, sizeof largest, "%s", pfc_dims_text(t->ndim, t->dims, text, sizeof text));
        }
    }
    MPI_Comm node;
    MPI_Comm_split_type(r->comm, MPI_COMM_TYPE_SHARED, r->rank, MPI_INFO_NULL, &node);
    MPI_Allreduce(&bytes, &sum, 1, MPI_DOUBLE, MPI_SUM, node);
    MPI_Comm_free(&node);
    if (memory > 0 && sum > memory)
        pfc_case_fail(r->c, r->diag, item, "found shape %s in a case of %.1f GiB, expected at most the %.1f GiB of this machine's memory", largest,
                      sum / 0x1p30, memory / 0x1p30);
    return pfc_diag_agree(r->comm, r->diag);
}

static int read_tensors(pfc_reader *r, const pfc_folder *folder)
{
    hid_t group;
    if (folder->list->count == 0 || pfc_reader_open_group(r, folder->path, &group) <= 0) return r->diag->exit_status;
    for (int k = 0; k < folder->list->count && !r->diag->exit_status; k++) {
        char item[160];
        pfc_tensor *t = &folder->list->items[k];
        if (t->data) continue; /* given */
        bool counts = folder->purpose == PFC_FOR_INPUT && (t->dist != PFC_DIST_NONE || r->rank == 0);
        snprintf(item, sizeof item, "%s/%s", folder->path, t->name);
        hid_t dataset = pfc_reader_open_dataset(r, group, t->name, item);
        if (dataset < 0) break;
        if (!pfc_tensor_allocate(t))
            pfc_diag_fail(r->diag, PFC_EXIT_RUNTIME, "%s: out of memory while reading", item);
        else
            pfc_h5_read_block(dataset, r->c, item, t, counts ? &r->c->rounded : NULL, r->diag);
        H5Dclose(dataset);
    }
    H5Gclose(group);
    return r->diag->exit_status;
}

/* Header, shapes, memory, numbers, checks; agreed after each. */
static int read_case(pfc_reader *r)
{
    if (!read_header(r)) read_params(r);
    if (pfc_diag_agree(r->comm, r->diag)) return r->diag->exit_status;
    pfc_case *c = r->c;
    const pfc_algorithm *a = c->algorithm;
    const pfc_folder folders[] = {
        { "/in", PFC_FOR_INPUT, PFC_READ_INPUTS, a->in, &c->in, NULL },
        { "/out", PFC_FOR_RESULT, PFC_READ_RESULTS, a->out, &c->out, NULL },
        { "/step", PFC_FOR_RESULT, PFC_READ_RESULTS, a->step, &c->step, NULL },
        { "/bound/f32/out", PFC_FOR_BOUND, PFC_READ_BOUNDS, a->out, &c->bound_out, &c->out },
        { "/bound/f32/step", PFC_FOR_BOUND, PFC_READ_BOUNDS, a->step, &c->bound_step, &c->step },
    };
    int n = (int)(sizeof folders / sizeof folders[0]);
    for (int f = 0; f < n && !r->diag->exit_status; f++)
        if (r->what & folders[f].what) pfc_reader_describe(r, &folders[f]);
    for (int k = 0; r->given && k < r->given->count && !r->diag->exit_status; k++) pfc_case_put_input(r->comm, c, &r->given->items[k], r->diag);
    if (!r->diag->exit_status && (r->what & PFC_READ_INPUTS)) pfc_case_check_form(c, r->ranks, r->diag);
    if (pfc_diag_agree(r->comm, r->diag) || check_memory(r, folders, n)) return r->diag->exit_status;
    for (int f = 0; f < n; f++)
        if (read_tensors(r, &folders[f])) break;
    if (pfc_diag_agree(r->comm, r->diag)) return r->diag->exit_status;
    MPI_Allreduce(MPI_IN_PLACE, &c->rounded, 1, MPI_INT64_T, MPI_SUM, r->comm);
    return r->what & PFC_READ_INPUTS ? pfc_case_check(r->comm, c, r->diag) : 0;
}

int pfc_case_read_from(MPI_Comm comm, const char *path, int what, const pfc_algorithm *const *table, const pfc_tensor_list *given, pfc_case **out,
                       pfc_diag *diag)
{
    pfc_reader r = { .what = what, .file = -1, .path = path, .table = table, .given = given, .diag = diag };
    *out = NULL;
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    MPI_Comm_dup(comm, &r.comm);
    MPI_Comm_rank(comm, &r.rank);
    MPI_Comm_size(comm, &r.ranks);
    pfc_h5_quiet saved = pfc_h5_quiet_begin();
    if (!open_file(&r)) read_case(&r);
    if (r.file >= 0) H5Fclose(r.file);
    pfc_h5_quiet_end(saved);
    MPI_Comm_free(&r.comm);
    if (diag->exit_status)
        pfc_case_free(r.c);
    else
        *out = r.c;
    return diag->exit_status;
}
