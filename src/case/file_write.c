/* file_write.c: writes a case, result or golden so that its bytes depend on nothing but the case.
 *
 * To a temporary name in the same folder; closed, opened again, every rank compares its part with memory; synced; renamed; folder synced. So the
 * name holds either the old file or a complete new one. Times are off in all three places (root, groups, datasets), data is contiguous
 * and allocated at once, objects are made in the order of the tables. */
#include "case/internal.h"
#include "file/new_file.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct writer {
    MPI_Comm comm; /* a plain duplicate, never cartesian (Open MPI #12718) */
    int rank, ranks;
    hid_t file, gcpl, dcpl;
    const char *path;
    char temporary[1100];
    bool made; /* the temporary exists; rank 0 */
    pfc_case *c;
    pfc_diag *diag;
} writer;

static int fail_write(const writer *w, const char *item, const char *reason)
{
    char label[PFC_LABEL];
    return pfc_diag_fail(w->diag, PFC_EXIT_RUNTIME, "%s: %s: cannot be written: %s", pfc_label(w->path, label), item, reason);
}

static int fail_h5(const writer *w, const char *item)
{
    char reason[160];
    return fail_write(w, item, pfc_h5_reason(reason, sizeof reason));
}

/* ---- the header. Collective, the same on all ranks. ---- */

static bool put_params(const writer *w, hid_t group)
{
    const pfc_case *c = w->c;
    const pfc_param_spec *specs = c->algorithm->params;
    bool ok = true;
    for (int k = 0; specs && specs[k].name && ok; k++) {
        const pfc_param *p = &c->param[k];
        if (!p->present) continue;
        if (specs[k].type == PFC_PARAM_INT) ok = pfc_h5_put_int(group, specs[k].name, p->i);
        if (specs[k].type == PFC_PARAM_REAL) ok = pfc_h5_put(group, specs[k].name, H5T_IEEE_F64LE, &p->r);
        if (specs[k].type == PFC_PARAM_WORD) ok = pfc_h5_put_text(group, specs[k].name, p->word);
    }
    if (ok && (c->world >= 0 || c->depends_on_world)) ok = pfc_h5_put_int(group, "world", w->ranks);
    return ok && pfc_h5_put_int(group, "allow_nonfinite", c->allow_nonfinite);
}

static int put_header(const writer *w)
{
    bool ok = pfc_h5_put_text(w->file, "format", "pfc-case") && pfc_h5_put_int(w->file, "format_version", 1) &&
              pfc_h5_put_text(w->file, "algorithm", w->c->algorithm->name);
    if (ok && w->c->spec[0]) ok = pfc_h5_put_text(w->file, "spec", w->c->spec);
    hid_t group = ok ? H5Gcreate2(w->file, "param", H5P_DEFAULT, w->gcpl, H5P_DEFAULT) : -1;
    ok = group >= 0 && put_params(w, group);
    if (!ok) fail_h5(w, "/param");
    if (group >= 0) H5Gclose(group);
    return pfc_diag_agree(w->comm, w->diag);
}

/* ---- tensors ---- */

/* Rows of this rank's block of the first axis. A tensor that all ranks hold is written by rank 0. */
static int64_t own_rows(const writer *w, const pfc_tensor *t)
{
    if (t->dist == PFC_DIST_NONE) return w->rank == 0 ? (t->ndim ? t->dims[0] : 1) : 0;
    return t->axis == 0 ? t->count : t->dims[0];
}

/* Independent transfers of bounded size: when a disk fills up, the rank that sees it can say so, and no other waits for it inside MPI-IO. */
static int put_data(const writer *w, hid_t dataset, const char *item, const pfc_tensor *t)
{
    int64_t most, step = pfc_h5_slab_rows(t, w->ranks, &most), rows = own_rows(w, t), at = 0, n;
    hid_t space = H5Dget_space(dataset), type = pfc_h5_memory_type(t->dtype);
    pfc_mpi_file_errors_return(true);
    for (int64_t first = 0; first < rows && !w->diag->exit_status; first += step, at += n) {
        herr_t bad = pfc_h5_select(space, t, first, rows - first < step ? rows - first : step, &n);
        if (bad >= 0 && n == 0) break; /* C < P: nothing is mine */
        hsize_t count = (hsize_t)n;
        hid_t memory = bad < 0 ? -1 : H5Screate_simple(1, &count, NULL);
        if (memory < 0 || H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, (const char *)t->data + (size_t)at * pfc_dtype_size(t->dtype)) < 0)
            fail_h5(w, item);
        if (memory >= 0) H5Sclose(memory);
    }
    pfc_mpi_file_errors_return(false);
    H5Sclose(space);
    return pfc_diag_agree(w->comm, w->diag);
}

typedef struct folder {
    char path[48];
    const pfc_tensor_spec *specs;
    pfc_tensor_list *list;
    bool digest, order;
} folder;

static int put_tensor(const writer *w, hid_t group, const folder *f, pfc_tensor *t)
{
    char item[160];
    hsize_t dims[PFC_MAX_DIMS];
    snprintf(item, sizeof item, "%.47s/%s", f->path, t->name);
    for (int k = 0; k < t->ndim; k++) dims[k] = (hsize_t)t->dims[k];
    hid_t space = t->ndim ? H5Screate_simple(t->ndim, dims, NULL) : H5Screate(H5S_SCALAR);
    hid_t dataset = H5Dcreate2(group, t->name, pfc_h5_file_type(t->dtype), space, H5P_DEFAULT, w->dcpl, H5P_DEFAULT);
    if (dataset < 0) fail_h5(w, item);
    if (!pfc_diag_agree(w->comm, w->diag)) {
        bool ok = (!f->digest || pfc_h5_put_text(dataset, "sha256", t->sha256)) && (!f->order || pfc_h5_put_int(dataset, "order", t->order));
        if (ok && !isnan(t->rms)) ok = pfc_h5_put(dataset, "rms", H5T_IEEE_F64LE, &t->rms);
        if (!ok) fail_h5(w, item);
        if (!pfc_diag_agree(w->comm, w->diag)) put_data(w, dataset, item, t);
    }
    if (dataset >= 0 && H5Dclose(dataset) < 0) fail_h5(w, item);
    if (space >= 0) H5Sclose(space);
    return pfc_diag_agree(w->comm, w->diag);
}

/* The tensors of a list in the order of its table; names that stand for several ("row_sum_<t>") keep the list's order. */
static int put_list(const writer *w, hid_t group, const folder *f)
{
    for (const pfc_tensor_spec *s = f->specs; s && s->name; s++)
        for (int k = 0; k < f->list->count; k++) {
            pfc_tensor *t = &f->list->items[k];
            if (pfc_spec_find(s, t->name) == s && put_tensor(w, group, f, t)) return w->diag->exit_status;
        }
    return 0;
}

static hid_t make_group(const writer *w, const char *path)
{
    hid_t at = w->file;
    for (const char *p = path; *p && at >= 0;) { /* each level by itself: intermediate groups made by HDF5 would carry times */
        char name[PFC_MAX_NAME];
        size_t n = strcspn(p + 1, "/");
        snprintf(name, sizeof name, "%.*s", (int)n, p + 1);
        hid_t next = H5Lexists(at, name, H5P_DEFAULT) > 0 ? H5Gopen2(at, name, H5P_DEFAULT) : H5Gcreate2(at, name, H5P_DEFAULT, w->gcpl, H5P_DEFAULT);
        if (at != w->file) H5Gclose(at);
        at = next;
        p += n + 1;
    }
    return at;
}

static int put_folder(const writer *w, const folder *f)
{
    char reason[160];
    for (int k = 0; k < f->list->count; k++) {
        pfc_tensor *t = &f->list->items[k];
        if (!pfc_spec_find(f->specs, t->name)) fail_write(w, t->name, "the tables do not know it");
        if (f->digest && pfc_tensor_digest(w->comm, t, w->diag)) return w->diag->exit_status;
    }
    hid_t group = make_group(w, f->path);
    if (group < 0) fail_write(w, f->path, pfc_h5_reason(reason, sizeof reason));
    if (!pfc_diag_agree(w->comm, w->diag)) put_list(w, group, f);
    if (group >= 0 && H5Gclose(group) < 0) fail_h5(w, f->path);
    return pfc_diag_agree(w->comm, w->diag);
}

/* ---- the file ---- */

/* A new empty file beside the target, on rank 0; its name on all. */
static int make_temporary(writer *w)
{
    char why[160];
    if (w->rank == 0) {
        w->made = pfc_new_file_make(w->path, w->temporary, sizeof w->temporary, why, sizeof why);
        if (!w->made) fail_write(w, "a new file", why);
    }
    if (w->made) pfc_temporary_add(w->temporary);
    MPI_Bcast(w->temporary, (int)sizeof w->temporary, MPI_CHAR, 0, w->comm);
    if (w->rank > 0) pfc_temporary_add(w->temporary); /* whoever is left takes it away */
    return pfc_diag_agree(w->comm, w->diag);
}

/* A disk that fills up in the middle of MPI-IO is reported late and badly: asked before, on rank 0. */
static int check_room(writer *w, const folder *folders, int n)
{
    double need = 1 << 15;
    for (int f = 0; f < n; f++)
        for (int k = 0; k < folders[f].list->count; k++) {
            const pfc_tensor *t = &folders[f].list->items[k];
            need += 1024.0 + (double)pfc_tensor_elements(t) * (double)pfc_dtype_size(t->dtype);
        }
    if (w->rank == 0 && !pfc_new_file_room(w->temporary, need)) fail_write(w, "the file", strerror(ENOSPC));
    return pfc_diag_agree(w->comm, w->diag);
}

static int create_file(writer *w)
{
    hid_t fapl = pfc_h5_access(w->comm, true), fcpl = pfc_h5_creation_list(H5P_FILE_CREATE, false);
    w->gcpl = pfc_h5_creation_list(H5P_GROUP_CREATE, false);
    w->dcpl = pfc_h5_creation_list(H5P_DATASET_CREATE, true);
    bool ok = fapl >= 0 && fcpl >= 0 && w->gcpl >= 0 && w->dcpl >= 0;
    if (!ok) fail_h5(w, "the file");
    if (!pfc_diag_agree(w->comm, w->diag)) {
        w->file = H5Fcreate(w->temporary, H5F_ACC_TRUNC, fcpl, fapl);
        if (w->file < 0) fail_h5(w, "the file");
    }
    if (fapl >= 0) H5Pclose(fapl);
    if (fcpl >= 0) H5Pclose(fcpl);
    return pfc_diag_agree(w->comm, w->diag);
}

static int close_file(writer *w)
{
    if (w->file >= 0 && H5Fflush(w->file, H5F_SCOPE_GLOBAL) < 0) fail_h5(w, "the file");
    if (w->file >= 0 && H5Fclose(w->file) < 0) fail_h5(w, "the file");
    if (w->gcpl >= 0) H5Pclose(w->gcpl);
    if (w->dcpl >= 0) H5Pclose(w->dcpl);
    w->file = w->gcpl = w->dcpl = -1;
    return pfc_diag_agree(w->comm, w->diag);
}

/* ---- reading back ---- */

/* Every rank reads its own part into fresh memory and compares all bytes: stronger than comparing digests. Local. */
static void read_back(const writer *w, hid_t file, const folder *f, const pfc_tensor *t)
{
    char item[160];
    snprintf(item, sizeof item, "%.47s/%s", f->path, t->name);
    hid_t dataset = H5Dopen2(file, item, H5P_DEFAULT);
    if (dataset < 0) {
        fail_h5(w, item);
        return;
    }
    pfc_tensor copy = *t;
    bool mine = t->dist != PFC_DIST_NONE || w->rank == 0;
    copy.data = NULL;
    copy.stored[0] = '\0';
    if (mine && !pfc_tensor_allocate(&copy)) fail_write(w, item, "out of memory while reading back");
    pfc_diag reading = { 0 };
    if (copy.data && pfc_h5_read_block(dataset, w->c, item, &copy, NULL, &reading))
        fail_write(w, item, "it cannot be read back");
    else if (copy.data && memcmp(copy.data, t->data, (size_t)pfc_tensor_local(t) * pfc_dtype_size(t->dtype)) != 0)
        fail_write(w, item, "what was read back differs from what was written");
    free(copy.data);
    H5Dclose(dataset);
}

static int verify(const writer *w, const folder *folders, int n)
{
    hid_t fapl = pfc_h5_access(w->comm, false);
    hid_t file = fapl < 0 ? -1 : H5Fopen(w->temporary, H5F_ACC_RDONLY, fapl);
    if (file < 0) fail_h5(w, "the file, read back");
    if (fapl >= 0) H5Pclose(fapl);
    for (int f = 0; f < n && file >= 0; f++)
        for (int k = 0; k < folders[f].list->count && !w->diag->exit_status; k++) read_back(w, file, &folders[f], &folders[f].list->items[k]);
    if (file >= 0) H5Fclose(file);
    return pfc_diag_agree(w->comm, w->diag);
}

/* Rank 0: on disk, then under its name. */
static int publish(writer *w)
{
    char why[160];
    if (w->rank == 0) {
        bool renamed = false;
        if (!pfc_new_file_publish(w->temporary, w->path, &renamed, why, sizeof why)) fail_write(w, "the file", why);
        w->made = !renamed;
    }
    return pfc_diag_agree(w->comm, w->diag);
}

/* The two folders of one precision's bounds; without those that are empty. Returns how many there are. */
static int bound_folders(const pfc_algorithm *a, const char *precision, pfc_tensor_list *out, pfc_tensor_list *step, folder *all)
{
    int n = 0;
    folder of_out = { "", a->out, out, false, false }, of_step = { "", a->step, step, false, false };
    snprintf(of_out.path, sizeof of_out.path, "/bound/%s/out", precision);
    snprintf(of_step.path, sizeof of_step.path, "/bound/%s/step", precision);
    if (out->count > 0) all[n++] = of_out;
    if (step->count > 0) all[n++] = of_step;
    return n;
}

/* What the file gets, in its order: the inputs (even if there are none), results, steps, bounds. Returns how many folders these are. */
enum { MAX_FOLDERS = 3 + 2 * (PFC_PRECISIONS + 1) };
static int choose_folders(pfc_case *c, int what, folder all[MAX_FOLDERS])
{
    const pfc_algorithm *a = c->algorithm;
    int n = 0;
    if (what & PFC_WRITE_INPUTS) all[n++] = (folder){ "/in", a->in, &c->in, false, false };
    if (c->out.count > 0) all[n++] = (folder){ "/out", a->out, &c->out, true, false };
    if ((what & PFC_WRITE_STEPS) && c->step.count > 0) all[n++] = (folder){ "/step", a->step, &c->step, true, true };
    if (!(what & PFC_WRITE_BOUNDS)) return n;
    for (int k = 0; k < c->kept_count; k++) n += bound_folders(a, c->kept[k].precision->name, &c->kept[k].out, &c->kept[k].step, all + n);
    if (c->kept_count == 0) n += bound_folders(a, "f32", &c->bound_out, &c->bound_step, all + n);
    return n;
}

static int write_case(writer *w, int what)
{
    folder all[MAX_FOLDERS];
    int n = choose_folders(w->c, what, all);
    if (make_temporary(w) || check_room(w, all, n)) return w->diag->exit_status;
    if (!create_file(w) && !put_header(w))
        for (int k = 0; k < n; k++)
            if (put_folder(w, &all[k])) break;
    if (close_file(w) || verify(w, all, n)) return w->diag->exit_status;
    return publish(w);
}

int pfc_case_write(MPI_Comm comm, const char *path, pfc_case *c, int what, pfc_diag *diag)
{
    writer w = { .file = -1, .gcpl = -1, .dcpl = -1, .path = path, .c = c, .diag = diag };
    if (pfc_diag_agree(comm, diag)) return diag->exit_status;
    MPI_Comm_dup(comm, &w.comm);
    MPI_Comm_rank(comm, &w.rank);
    MPI_Comm_size(comm, &w.ranks);
    pfc_h5_quiet saved = pfc_h5_quiet_begin();
    write_case(&w, what);
    if (w.made) unlink(w.temporary);
    pfc_temporary_drop(w.temporary);
    pfc_h5_quiet_end(saved);
    MPI_Comm_free(&w.comm);
    return diag->exit_status;
}
