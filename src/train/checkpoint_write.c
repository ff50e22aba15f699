/* checkpoint_write.c: a new file beside the old one; whole, read back and on disk before it gets the name. */
#include "train/checkpoint.h"

#include "file/new_file.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef struct writer {
    pfc_ctx *ctx;
    pfc_comm comm; /* HDF5's own, without a topology (Open MPI #12718) */
    const char *path;
    char temporary[PFC_CHECKPOINT_PATH + 100];
    bool made; /* the temporary exists; rank 0 */
    hid_t file, gcpl, dcpl;
    const pfc_item *items;
    int count;
} writer;

static pfc_status fail_io(const writer *w, const char *item, const char *reason)
{
    return pfc_checkpoint_fail(w->ctx, PFC_ERR_IO, w->path, item, "cannot be written: %s", reason);
}

static pfc_status fail_h5(const writer *w, const char *item)
{
    char reason[160];
    return fail_io(w, item, pfc_h5_reason(reason, sizeof reason));
}

/* ---- the file ---- */

static void tell(const writer *w, bool begun)
{
    if (w->ctx->unfinished && w->temporary[0]) w->ctx->unfinished(w->temporary, begun);
}

static pfc_status make_temporary(writer *w)
{
    char why[160];
    double need = 1 << 16;
    pfc_status st = PFC_OK;
    for (int i = 0; i < w->count; i++)
        if (w->items[i].kind == PFC_ITEM_TENSOR) need += 1024.0 + (double)w->items[i].rows * (double)pfc_item_row_bytes(&w->items[i]);
    if (w->ctx->comm.rank == 0) {
        w->made = pfc_new_file_make(w->path, w->temporary, sizeof w->temporary, why, sizeof why);
        if (w->made) tell(w, true);
        if (!w->made)
            st = fail_io(w, NULL, why);
        else if (!pfc_new_file_room(w->temporary, need))
            st = fail_io(w, NULL, strerror(ENOSPC));
    }
    PFC_TRY(pfc_agree(w->ctx, st));
    PFC_TRY(pfc_comm_broadcast(&w->ctx->comm, w->temporary, (int64_t)sizeof w->temporary, PFC_U8, 0));
    if (w->ctx->comm.rank > 0) tell(w, true); /* whoever is left takes it away */
    return PFC_OK;
}

static pfc_status create_file(writer *w)
{
    hid_t fapl = pfc_h5_access(w->comm.mpi, true), fcpl = pfc_h5_creation_list(H5P_FILE_CREATE, false);
    w->gcpl = pfc_h5_creation_list(H5P_GROUP_CREATE, false);
    w->dcpl = pfc_h5_creation_list(H5P_DATASET_CREATE, true);
    bool ok = fapl >= 0 && fcpl >= 0 && w->gcpl >= 0 && w->dcpl >= 0;
    pfc_status st = pfc_agree(w->ctx, ok ? PFC_OK : fail_h5(w, NULL));
    if (st == PFC_OK) {
        w->file = H5Fcreate(w->temporary, H5F_ACC_TRUNC, fcpl, fapl);
        st = pfc_agree(w->ctx, w->file >= 0 ? PFC_OK : fail_h5(w, NULL));
    }
    if (fapl >= 0) H5Pclose(fapl);
    if (fcpl >= 0) H5Pclose(fcpl);
    return st;
}

static pfc_status close_file(writer *w)
{
    pfc_status st = PFC_OK;
    if (w->file >= 0 && H5Fflush(w->file, H5F_SCOPE_GLOBAL) < 0) st = fail_h5(w, NULL);
    if (w->file >= 0 && H5Fclose(w->file) < 0) st = fail_h5(w, NULL);
    if (w->gcpl >= 0) H5Pclose(w->gcpl);
    if (w->dcpl >= 0) H5Pclose(w->dcpl);
    w->file = w->gcpl = w->dcpl = -1;
    return pfc_agree(w->ctx, st);
}

/* ---- facts. Collective, the same on all ranks ---- */

static bool put_fact(hid_t group, const pfc_item *item)
{
    if (item->kind == PFC_ITEM_INT) return pfc_h5_put_int(group, item->name, *(const int64_t *)item->data);
    if (item->kind == PFC_ITEM_REAL) return pfc_h5_put(group, item->name, H5T_IEEE_F64LE, item->data);
    return item->kind == PFC_ITEM_TENSOR || pfc_h5_put_text(group, item->name, item->data);
}

static pfc_status put_facts(const writer *w)
{
    bool ok = pfc_h5_put_text(w->file, "format", PFC_CHECKPOINT_FORMAT) && pfc_h5_put_int(w->file, "format_version", 1);
    hid_t group = ok ? H5Gcreate2(w->file, "fact", H5P_DEFAULT, w->gcpl, H5P_DEFAULT) : -1;
    ok = group >= 0;
    for (int i = 0; i < w->count && ok; i++) ok = put_fact(group, &w->items[i]);
    pfc_status st = ok ? PFC_OK : fail_h5(w, "/fact");
    if (group >= 0) H5Gclose(group);
    return pfc_agree(w->ctx, st);
}

/* ---- tensors ---- */

/* Whose rows a rank writes: of a tensor that all hold, rank 0's. */
static pfc_shard written_rows(const writer *w, const pfc_item *item)
{
    if (!item->unit && w->ctx->comm.rank) return (pfc_shard){ 0, 0 };
    return pfc_item_rows(w->ctx, item);
}

/* An error of this rank's file alone is returned, while no other rank waits for it, whatever the program does with such errors elsewhere. */
static MPI_File errors_return(hid_t file, MPI_Errhandler *old)
{
    void *handle = NULL;
    if (H5Fget_vfd_handle(file, H5P_DEFAULT, &handle) < 0 || !handle) return MPI_FILE_NULL;
    MPI_File f = *(MPI_File *)handle;
    MPI_File_get_errhandler(f, old);
    MPI_File_set_errhandler(f, MPI_ERRORS_RETURN);
    return f;
}

/* Independent transfers: when a disk fills up, the rank that sees it can say so, and no other waits for it inside MPI-IO. */
static pfc_status put_rows(const writer *w, hid_t dataset, const pfc_item *item, const char *name)
{
    MPI_Errhandler old;
    MPI_File f = errors_return(w->file, &old);
    pfc_status st = pfc_item_transfer(dataset, item, written_rows(w, item), item->data, true) ? PFC_OK : fail_h5(w, name);
    if (f != MPI_FILE_NULL) {
        MPI_File_set_errhandler(f, old);
        MPI_Errhandler_free(&old);
    }
    return pfc_agree(w->ctx, st);
}

static pfc_status put_tensor(const writer *w, hid_t group, const pfc_item *item)
{
    char name[PFC_ITEM_NAME + 8], sha256[PFC_SHA256_TEXT];
    hsize_t dims[2] = { (hsize_t)item->rows, (hsize_t)item->cols };
    pfc_item_path(item, name);
    PFC_TRY(pfc_item_digest(w->ctx, item, item->data, sha256));
    hid_t space = H5Screate_simple(item->cols ? 2 : 1, dims, NULL);
    hid_t dataset = H5Dcreate2(group, item->name, pfc_h5_file_type(item->dtype), space, H5P_DEFAULT, w->dcpl, H5P_DEFAULT);
    pfc_status st = pfc_agree(w->ctx, dataset >= 0 ? PFC_OK : fail_h5(w, name));
    if (st == PFC_OK) {
        bool ok = pfc_h5_put_text(dataset, "sha256", sha256) && pfc_h5_put_int(dataset, "unit", item->unit);
        st = pfc_agree(w->ctx, ok ? PFC_OK : fail_h5(w, name));
    }
    if (st == PFC_OK) st = put_rows(w, dataset, item, name);
    bool closed = dataset < 0 || H5Dclose(dataset) >= 0;
    if (space >= 0) H5Sclose(space);
    return pfc_agree(w->ctx, st != PFC_OK || closed ? st : fail_h5(w, name));
}

static pfc_status put_tensors(const writer *w)
{
    hid_t group = H5Gcreate2(w->file, "state", H5P_DEFAULT, w->gcpl, H5P_DEFAULT);
    pfc_status st = pfc_agree(w->ctx, group >= 0 ? PFC_OK : fail_h5(w, "/state"));
    for (int i = 0; i < w->count && st == PFC_OK; i++)
        if (w->items[i].kind == PFC_ITEM_TENSOR) st = put_tensor(w, group, &w->items[i]);
    if (group >= 0) H5Gclose(group);
    return st;
}

/* ---- reading back ---- */

/* This rank's rows into fresh memory, some at a time; all bytes compared, which says more than a digest. Local. */
static pfc_status compare_rows(const writer *w, hid_t dataset, const pfc_item *item, const char *name)
{
    enum { PIECE = 1 << 24 };
    pfc_shard rows = written_rows(w, item);
    size_t bytes = pfc_item_row_bytes(item);
    int64_t step = bytes < PIECE ? (int64_t)(PIECE / bytes) : 1;
    void *copy = malloc((size_t)(rows.count < step ? rows.count : step) * bytes + 1);
    if (!copy) return pfc_checkpoint_fail(w->ctx, PFC_ERR_NOMEM, w->path, name, "out of memory while reading back");
    pfc_status st = PFC_OK;
    for (int64_t at = 0; at < rows.count && st == PFC_OK; at += step) {
        pfc_shard part = { rows.start + at, rows.count - at < step ? rows.count - at : step };
        if (!pfc_item_transfer(dataset, item, part, copy, false))
            st = fail_h5(w, name);
        else if (memcmp(copy, (const char *)item->data + (size_t)at * bytes, (size_t)part.count * bytes) != 0)
            st = fail_io(w, name, "what was read back differs from what was written");
    }
    free(copy);
    return st;
}

static bool same_fact(hid_t group, const pfc_item *item)
{
    pfc_value v;
    char found[160];
    if (pfc_h5_read_attribute(group, item->name, &v, found, sizeof found)) return false;
    if (item->kind == PFC_ITEM_INT) return v.kind == PFC_VALUE_INT && v.i == *(const int64_t *)item->data;
    if (item->kind == PFC_ITEM_REAL) return v.kind == PFC_VALUE_REAL && memcmp(&v.r, item->data, sizeof v.r) == 0;
    return v.kind == PFC_VALUE_TEXT && strcmp(v.text, item->data) == 0;
}

static pfc_status compare_facts(const writer *w, hid_t file)
{
    hid_t group = H5Gopen2(file, "fact", H5P_DEFAULT);
    pfc_status st = group >= 0 ? PFC_OK : fail_h5(w, "/fact");
    for (int i = 0; i < w->count && st == PFC_OK; i++) {
        char name[PFC_ITEM_NAME + 8];
        if (w->items[i].kind != PFC_ITEM_TENSOR && !same_fact(group, &w->items[i]))
            st = fail_io(w, pfc_item_path(&w->items[i], name), "what was read back differs from what was written");
    }
    if (group >= 0) H5Gclose(group);
    return st;
}

static pfc_status read_back(const writer *w)
{
    hid_t fapl = pfc_h5_access(MPI_COMM_NULL, false), file = fapl < 0 ? -1 : H5Fopen(w->temporary, H5F_ACC_RDONLY, fapl);
    pfc_status st = file >= 0 ? compare_facts(w, file) : fail_h5(w, "reading back");
    for (int i = 0; i < w->count && st == PFC_OK; i++) {
        char name[PFC_ITEM_NAME + 8];
        if (w->items[i].kind != PFC_ITEM_TENSOR) continue;
        hid_t dataset = H5Dopen2(file, pfc_item_path(&w->items[i], name), H5P_DEFAULT);
        st = dataset >= 0 ? compare_rows(w, dataset, &w->items[i], name) : fail_h5(w, name);
        if (dataset >= 0) H5Dclose(dataset);
    }
    if (file >= 0) H5Fclose(file);
    if (fapl >= 0) H5Pclose(fapl);
    return pfc_agree(w->ctx, st);
}

static pfc_status publish(writer *w)
{
    char why[160];
    bool renamed = false;
    pfc_status st = PFC_OK;
    if (w->ctx->comm.rank == 0) {
        if (!pfc_new_file_publish(w->temporary, w->path, &renamed, why, sizeof why)) st = fail_io(w, NULL, why);
        w->made = !renamed;
    }
    return pfc_agree(w->ctx, st);
}

static pfc_status write_items(writer *w)
{
    PFC_TRY(make_temporary(w));
    pfc_status st = create_file(w);
    if (st == PFC_OK) st = put_facts(w);
    if (st == PFC_OK) st = put_tensors(w);
    pfc_status closed = close_file(w);
    if (st == PFC_OK) st = closed;
    if (st == PFC_OK) st = read_back(w);
    return st == PFC_OK ? publish(w) : st;
}

pfc_status pfc_checkpoint_write(pfc_ctx *ctx, const char *path, const pfc_item *items, int count)
{
    writer w = { .ctx = ctx, .comm = pfc_comm_none(), .path = path, .file = -1, .gcpl = -1, .dcpl = -1, .items = items, .count = count };
    PFC_TRY(pfc_checkpoint_check_items(ctx, path, items, count));
    pfc_status st = pfc_agree(ctx, pfc_comm_split(&ctx->comm, 0, &w.comm));
    pfc_h5_quiet saved = pfc_h5_quiet_begin();
    if (st == PFC_OK) st = write_items(&w);
    if (w.made) unlink(w.temporary);
    tell(&w, false);
    pfc_h5_quiet_end(saved);
    pfc_comm_close(&w.comm);
    return st;
}
