/* train_array.c: one rank's part of a user's array, from .npy or HDF5. */
#include "case/internal.h"
#include "driver/train.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct array {
    const char *path, *name; /* as given; what to look for */
    char file[1024], dataset[256];
    bool real;
    int rank, ranks;
    pfc_diag *diag;
} array;

static int refuse(const array *a, const char *found, const char *expected)
{
    char label[PFC_LABEL];
    return pfc_diag_fail(a->diag, PFC_EXIT_FILE, "%s: found %s, expected %s", pfc_label(a->path, label), found, expected);
}

/* FILE:/dataset, unless a file has that whole name. */
static void split_path(array *a)
{
    const char *colon = strrchr(a->path, ':');
    snprintf(a->file, sizeof a->file, "%s", a->path);
    if (!colon || access(a->path, F_OK) == 0) return;
    snprintf(a->file, sizeof a->file, "%.*s", (int)(colon - a->path), a->path);
    snprintf(a->dataset, sizeof a->dataset, "%s", colon + 1);
}

static bool is_npy(const char *file)
{
    char magic[6] = "";
    FILE *f = fopen(file, "rb");
    bool npy = f && fread(magic, 1, sizeof magic, f) == sizeof magic && memcmp(magic, "\x93NUMPY", 6) == 0;
    if (f) fclose(f);
    return npy;
}

/* The dataset that was named, or /NAME, or /in/NAME of a case. */
static hid_t open_dataset(array *a, hid_t file)
{
    char tries[2][80];
    const char *which;
    snprintf(tries[0], sizeof tries[0], "/%s", a->name);
    snprintf(tries[1], sizeof tries[1], "/in/%s", a->name);
    for (int k = 0; k < 2 && !a->dataset[0]; k++)
        if ((k == 0 || pfc_h5_link(file, "in", &which) > 0) && pfc_h5_link(file, tries[k], &which) > 0) snprintf(a->dataset, sizeof a->dataset, "%s", tries[k]);
    hid_t object = a->dataset[0] ? H5Oopen(file, a->dataset, H5P_DEFAULT) : -1;
    if (object >= 0 && H5Iget_type(object) == H5I_DATASET) return object;
    if (object >= 0) H5Oclose(object);
    char expected[300];
    snprintf(expected, sizeof expected, "a dataset %s", a->dataset[0] ? a->dataset : tries[0]);
    refuse(a, "none of that name", expected);
    return -1;
}

/* Type and shape; memory for the part, and the part. */
static int read_dataset(array *a, hid_t dataset, pfc_tensor_list *list, int64_t *rows)
{
    char found[160], reason[160];
    hsize_t extent[H5S_MAX_RANK] = { 0 };
    hid_t space = H5Dget_space(dataset), type = H5Dget_type(dataset);
    const char *stored = pfc_h5_stored(type, found, sizeof found), *fault = pfc_h5_storage_fault(dataset);
    int n = H5Sget_simple_extent_dims(space, extent, NULL);
    bool is_real = stored[0] == 'f' || stored[0] == 'b', known = strcmp(stored, "other") != 0;
    H5Tclose(type);
    if (!known || is_real != a->real)
        refuse(a, found, a->real ? "real numbers" : "integers");
    else if (fault || n < 1 || n > 2)
        refuse(a, fault ? fault : "a shape of other than 1 or 2 axes", a->real ? "(rows, width)" : "(rows)");
    if (!a->diag->exit_status) {
        pfc_shard part = pfc_shard_of((int64_t)extent[0], a->ranks, a->rank);
        int64_t dims[2] = { part.count, (int64_t)extent[1] };
        hsize_t start[2] = { (hsize_t)part.start, 0 }, count[2] = { (hsize_t)part.count, extent[1] }, elements = count[0] * (n > 1 ? count[1] : 1);
        double memory = (double)sysconf(_SC_PHYS_PAGES) * (double)sysconf(_SC_PAGESIZE);
        *rows = (int64_t)extent[0];
        if ((double)part.count * (n > 1 ? (double)extent[1] : 1) * 8 > memory)
            return H5Sclose(space), refuse(a, "more data than this machine's memory holds", "less");
        pfc_tensor *t = pfc_tensor_add(MPI_COMM_SELF, list, a->name, a->real ? PFC_F32 : PFC_I64, n, dims, PFC_DIST_NONE, 0);
        hid_t slab = H5Screate_simple(1, &elements, NULL);
        if (!t)
            pfc_diag_fail(a->diag, PFC_EXIT_RUNTIME, "%s: out of memory", a->path);
        else if (elements && (H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) < 0 ||
                              H5Dread(dataset, pfc_h5_memory_type(t->dtype), slab, space, H5P_DEFAULT, t->data) < 0))
            refuse(a, pfc_h5_reason(reason, sizeof reason), "data that can be read");
        H5Sclose(slab);
    }
    H5Sclose(space);
    return a->diag->exit_status;
}

static int read_h5(array *a, pfc_tensor_list *list, int64_t *rows)
{
    char reason[160];
    hid_t fapl = pfc_h5_access(MPI_COMM_NULL, false), file = fapl < 0 ? -1 : H5Fopen(a->file, H5F_ACC_RDONLY, fapl);
    if (file < 0) refuse(a, pfc_h5_reason(reason, sizeof reason), "a .npy or HDF5 file");
    hid_t dataset = file < 0 ? -1 : open_dataset(a, file);
    if (dataset >= 0) {
        read_dataset(a, dataset, list, rows);
        H5Dclose(dataset);
    }
    if (file >= 0) H5Fclose(file);
    if (fapl >= 0) H5Pclose(fapl);
    return a->diag->exit_status;
}

/* float64 to float32, to nearest. */
static int narrow(const array *a, pfc_tensor *t)
{
    int64_t n = pfc_tensor_elements(t);
    if (a->real != (t->dtype != PFC_I64)) return refuse(a, t->stored, a->real ? "real numbers" : "integers");
    if (t->dtype != PFC_F64) return 0;
    float *to = malloc((size_t)n * sizeof *to + 1);
    if (!to) return pfc_diag_fail(a->diag, PFC_EXIT_RUNTIME, "%s: out of memory", a->path);
    for (int64_t i = 0; i < n; i++) to[i] = (float)((const double *)t->data)[i];
    free(t->data);
    t->data = to;
    t->dtype = PFC_F32;
    return 0;
}

int pfc_array_read(const pfc_cli *cli, const char *path, const char *name, bool real, pfc_tensor_list *list, int64_t *rows, pfc_diag *diag)
{
    array a = { .path = path, .name = name, .real = real, .rank = cli->rank, .ranks = cli->ranks, .diag = diag };
    char text[160];
    int before = list->count;
    split_path(&a);
    if (is_npy(a.file)) {
        if (!pfc_npy_read_part(a.file, name, a.rank, a.ranks, list, rows, diag)) narrow(&a, &list->items[before]);
        return diag->exit_status;
    }
    const char *fault = NULL;
    if (a.rank == 0 && access(a.file, R_OK) == 0)
        fault = a.dataset[0] ? pfc_probe_dataset(a.file, a.dataset, text, sizeof text) : pfc_probe(a.file, text, sizeof text);
    if (fault) refuse(&a, fault, "a file that is not damaged");
    if (pfc_diag_agree(cli->comm, diag)) return diag->exit_status;
    return read_h5(&a, list, rows);
}
