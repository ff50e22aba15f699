/* stored_file.c: lists a file and checks its digests. */
#include "driver/stored_file.h"
#include "case/internal.h"
#include "file/sha256.h"
#include <dirent.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SLAB_BYTES = 1 << 24 };

typedef struct walk {
    const char *path;
    pfc_stored_file *file;
    pfc_diag *diag;
    const char *group; /* of the attributes */
} walk;

static int refuse(const char *path, pfc_diag *diag, const char *item, const char *found, const char *expected)
{
    char label[PFC_LABEL];
    return pfc_diag_fail(diag, PFC_EXIT_FILE, "%s: %s%sfound %s, expected %s", pfc_label(path, label), item, item[0] ? ": " : "", found, expected);
}

static int no_memory(const walk *w) { return pfc_diag_fail(w->diag, PFC_EXIT_RUNTIME, "%s: out of memory", w->path); }

const char *pfc_stored_shape(const pfc_stored_tensor *t, char *text, size_t size) { return pfc_dims_text(t->ndim, t->dims, text, size); }

/* ---- values ---- */

void pfc_stored_json(const pfc_stored_value *v, pfc_json *j)
{
    if (v->value.kind == PFC_VALUE_INT) pfc_json_int(j, v->name, v->value.i);
    if (v->value.kind == PFC_VALUE_REAL) pfc_json_real(j, v->name, v->value.r);
    if (v->value.kind == PFC_VALUE_TEXT) pfc_json_text(j, v->name, v->value.text);
}

static herr_t add_value(hid_t object, const char *name, const H5A_info_t *info, void *data)
{
    (void)info;
    walk *w = data;
    pfc_stored_file *f = w->file;
    char found[160], item[160];
    pfc_stored_value *longer = realloc(f->values, ((size_t)f->value_count + 1) * sizeof *longer);
    if (!longer) return no_memory(w) ? -1 : 0;
    f->values = longer;
    pfc_stored_value *v = &longer[f->value_count];
    snprintf(v->group, sizeof v->group, "%s", w->group);
    snprintf(v->name, sizeof v->name, "%s", name);
    snprintf(item, sizeof item, "%s/%.100s", w->group, name);
    if (pfc_h5_read_attribute(object, name, &v->value, found, sizeof found)) return refuse(w->path, w->diag, item, found, "a number or a text") ? -1 : 0;
    f->value_count++;
    return 0;
}

static int read_values(walk *w, hid_t object, const char *group)
{
    char reason[160];
    hsize_t at = 0;
    w->group = group;
    if (H5Aiterate2(object, H5_INDEX_NAME, H5_ITER_INC, &at, add_value, w) < 0 && !w->diag->exit_status)
        refuse(w->path, w->diag, group, pfc_h5_reason(reason, sizeof reason), "attributes that can be read");
    return w->diag->exit_status;
}

/* Of the root those that a case, a golden or a checkpoint has; by name, as the disposable process did it before. */
static int read_header(walk *w, hid_t file)
{
    static const char *const names[] = { "format", "format_version", "algorithm", "spec", NULL };
    w->group = "";
    for (int k = 0; names[k] && !w->diag->exit_status; k++)
        if (H5Aexists(file, names[k]) > 0) add_value(file, names[k], NULL, w);
    return w->diag->exit_status;
}

/* ---- tensors ---- */

static hid_t type_of(const char *name)
{
    static const char *const names[] = { "f32", "f64", "i8", "i16", "i32", "i64", "u8", "u16", "u32", "u64", NULL };
    const hid_t types[] = { H5T_IEEE_F32LE, H5T_IEEE_F64LE, H5T_STD_I8LE,  H5T_STD_I16LE, H5T_STD_I32LE,
                            H5T_STD_I64LE,  H5T_STD_U8LE,   H5T_STD_U16LE, H5T_STD_U32LE, H5T_STD_U64LE };
    for (int k = 0; names[k]; k++)
        if (strcmp(names[k], name) == 0) return types[k];
    return -1;
}

bool pfc_stored_rows(const char *path, hid_t file, const pfc_stored_tensor *t, int64_t first, int64_t rows, pfc_stored_sink fn, void *user, pfc_diag *diag)
{
    char reason[160];
    hid_t dataset = H5Dopen2(file, t->path, H5P_DEFAULT), space = dataset < 0 ? -1 : H5Dget_space(dataset), type = type_of(t->type);
    size_t row = type < 0 ? 0 : H5Tget_size(type);
    for (int k = 1; k < t->ndim; k++) row *= (size_t)t->dims[k];
    int64_t step = row > 0 && row < SLAB_BYTES ? (int64_t)(SLAB_BYTES / row) : 1;
    char *data = row ? malloc((size_t)(rows < step ? rows : step) * row + 1) : NULL;
    bool good = space >= 0 && data;
    for (int64_t at = 0; at < rows && good; at += step) {
        hsize_t start[PFC_MAX_DIMS] = { (hsize_t)(first + at) }, count[PFC_MAX_DIMS], n = rows - at < step ? (hsize_t)(rows - at) : (hsize_t)step;
        hsize_t elements = n * row / H5Tget_size(type);
        for (int k = 0; k < t->ndim; k++) count[k] = k ? (hsize_t)t->dims[k] : n;
        hid_t memory = H5Screate_simple(1, &elements, NULL);
        good = (t->ndim ? H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) : H5Sselect_all(space)) >= 0;
        good = good && H5Dread(dataset, type, memory, space, H5P_DEFAULT, data) >= 0;
        H5Sclose(memory);
        if (!good) refuse(path, diag, t->path, pfc_h5_reason(reason, sizeof reason), "data that can be read");
        good = good && fn(user, data, (size_t)n * row);
    }
    if (!data || space < 0) refuse(path, diag, t->path, "rows that cannot be read, or that no memory holds", "smaller ones");
    free(data);
    if (space >= 0) H5Sclose(space);
    if (dataset >= 0) H5Dclose(dataset);
    return good;
}

static bool hash_rows(void *user, const void *data, size_t bytes)
{
    pfc_sha256_add(user, data, bytes);
    return true;
}

static int check_digest(walk *w, hid_t file, pfc_stored_tensor *t)
{
    pfc_sha256 h;
    char digest[PFC_SHA256_TEXT];
    pfc_sha256_begin(&h);
    int64_t elements;
    if (!pfc_dims_elements(t->ndim, t->dims, &elements)) return refuse(w->path, w->diag, t->path, "a shape beyond all memory", "a smaller one");
    if (elements && !pfc_stored_rows(w->path, file, t, 0, t->ndim ? t->dims[0] : 1, hash_rows, &h, w->diag)) return w->diag->exit_status;
    pfc_sha256_end(&h, digest);
    t->intact = strcmp(digest, t->sha256) == 0;
    return 0;
}

static int add_tensor(walk *w, hid_t file, hid_t dataset, const char *path)
{
    pfc_stored_file *f = w->file;
    pfc_value v;
    char found[160];
    hsize_t dims[H5S_MAX_RANK];
    pfc_stored_tensor *longer = realloc(f->tensors, ((size_t)f->tensor_count + 1) * sizeof *longer);
    if (!longer) return no_memory(w);
    f->tensors = longer;
    pfc_stored_tensor *t = &longer[f->tensor_count];
    memset(t, 0, sizeof *t);
    snprintf(t->path, sizeof t->path, "%s", path);
    hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);
    snprintf(t->type, sizeof t->type, "%.7s", type < 0 ? "other" : pfc_h5_stored(type, found, sizeof found));
    t->ndim = space < 0 ? -1 : H5Sget_simple_extent_ndims(space);
    const char *fault = t->ndim < 0 || t->ndim > PFC_MAX_DIMS ? "a shape that cannot be read" : pfc_h5_storage_fault(dataset);
    if (!fault) H5Sget_simple_extent_dims(space, dims, NULL);
    for (int k = 0; k < t->ndim && !fault; k++) t->dims[k] = (int64_t)dims[k];
    if (space >= 0) H5Sclose(space);
    if (type >= 0) H5Tclose(type);
    if (fault) return refuse(w->path, w->diag, path, fault, "a tensor");
    t->unit = pfc_h5_read_attribute(dataset, "unit", &v, found, sizeof found) == 0 && v.kind == PFC_VALUE_INT ? v.i : -1;
    if (pfc_h5_read_attribute(dataset, "sha256", &v, found, sizeof found) == 0 && v.kind == PFC_VALUE_TEXT && strlen(v.text) == 64)
        snprintf(t->sha256, sizeof t->sha256, "%.64s", v.text);
    f->tensor_count++;
    return t->sha256[0] && type_of(t->type) >= 0 ? check_digest(w, file, t) : 0;
}

/* What a disposable process has looked at before (src/case/probe.c): of our files these groups, of others the datasets of the root. */
static bool ours(hid_t file, const char *item, int depth, bool group)
{
    static const char *const groups[] = { "/param", "/in", "/out", "/step", "/bound", "/fact", "/state", NULL };
    if (depth > 0) return true;
    if (!group) return H5Aexists(file, "format") <= 0;
    for (int k = 0; groups[k]; k++)
        if (strcmp(groups[k], item) == 0) return true;
    return false;
}

static int walk_group(walk *w, hid_t file, hid_t group, const char *path, int depth)
{
    H5G_info_t info = { 0 };
    char name[128], item[160];
    const char *which;
    if (depth > 3 || H5Gget_info(group, &info) < 0) return refuse(w->path, w->diag, path, "a group that cannot be read", "one that can");
    for (hsize_t i = 0; i < info.nlinks && !w->diag->exit_status; i++) {
        if (H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT) < 0)
            return refuse(w->path, w->diag, path, "a link that cannot be read", "names");
        if (snprintf(item, sizeof item, "%s/%s", path, name) >= (int)sizeof item || pfc_h5_link(group, name, &which) <= 0) continue;
        hid_t object = H5Oopen(group, name, H5P_DEFAULT);
        if (object < 0) return refuse(w->path, w->diag, item, "an object that cannot be opened", "a tensor or a group");
        H5I_type_t kind = H5Iget_type(object);
        if (!ours(file, item, depth, kind == H5I_GROUP)) {
            H5Oclose(object);
            continue;
        }
        bool named = strcmp(item, "/param") == 0 || strcmp(item, "/fact") == 0;
        if (kind == H5I_GROUP && named) read_values(w, object, item);
        if (kind == H5I_GROUP && !w->diag->exit_status) walk_group(w, file, object, item, depth + 1);
        if (kind == H5I_DATASET) add_tensor(w, file, object, item);
        H5Oclose(object);
    }
    return w->diag->exit_status;
}

/* A folder where a checkpoint is expected: the message names the newest. Names of checkpoints sort by step. */
static const char *file_in_folder(const char *path, char *text, size_t size)
{
    char newest[64] = "";
    DIR *folder = opendir(path);
    for (const struct dirent *e = folder ? readdir(folder) : NULL; e; e = readdir(folder)) {
        size_t n = strlen(e->d_name);
        if (n > 8 && n < sizeof newest && strncmp(e->d_name, "step-", 5) == 0 && strcmp(e->d_name + n - 3, ".h5") == 0 && strcmp(e->d_name, newest) > 0)
            memcpy(newest, e->d_name, n + 1);
    }
    if (folder) closedir(folder);
    snprintf(text, size, "a file%s%s", newest[0] ? "; its newest checkpoint is " : "", newest);
    return text;
}

int pfc_stored_read(const char *path, pfc_stored_file *file, pfc_diag *diag)
{
    walk w = { .path = path, .file = file, .diag = diag };
    char reason[160];
    struct stat s;
    memset(file, 0, sizeof *file);
    if (stat(path, &s)) return refuse(path, diag, "", strerror(errno), "a file");
    if (S_ISDIR(s.st_mode)) return refuse(path, diag, "", "a folder", file_in_folder(path, reason, sizeof reason));
    if (!S_ISREG(s.st_mode)) return refuse(path, diag, "", "a device or pipe", "a file");
    const char *fault = pfc_probe(path, reason, sizeof reason);
    if (fault) return refuse(path, diag, "", fault, "a file that is not damaged");
    hid_t fapl = pfc_h5_access(MPI_COMM_NULL, false), h5 = fapl < 0 ? -1 : H5Fopen(path, H5F_ACC_RDONLY, fapl);
    if (h5 < 0) refuse(path, diag, "", pfc_h5_reason(reason, sizeof reason), "an intact HDF5 file");
    if (h5 >= 0 && !read_header(&w, h5)) walk_group(&w, h5, h5, "", 0);
    if (h5 >= 0) H5Fclose(h5);
    if (fapl >= 0) H5Pclose(fapl);
    for (int i = 0; i < file->value_count; i++)
        if (!file->values[i].group[0] && strcmp(file->values[i].name, "format") == 0 && file->values[i].value.kind == PFC_VALUE_TEXT)
            snprintf(file->format, sizeof file->format, "%.63s", file->values[i].value.text);
    return diag->exit_status;
}

void pfc_stored_free(pfc_stored_file *file)
{
    free(file->values);
    free(file->tensors);
    memset(file, 0, sizeof *file);
}
