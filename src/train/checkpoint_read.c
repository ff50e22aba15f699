/* checkpoint_read.c: reads a checkpoint, or says what is wrong with it. Every rank opens the file by itself, read-only; what one finds, all return.
 *
 * Order: the file, facts, the list of tensors with shapes and types; only then numbers, and their digests. */
#include "train/checkpoint.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

typedef struct reader {
    pfc_ctx *ctx;
    const char *path;
    hid_t file;
    const pfc_item *items;
    int count;
    pfc_value *values; /* of facts, by item */
} reader;

static pfc_status refuse(const reader *r, const char *item, const char *found, const char *expected)
{
    return pfc_checkpoint_fail(r->ctx, PFC_ERR_DATA, r->path, item, "found %s, expected %s", found, expected);
}

/* ---- the file ---- */

static pfc_status open_file(reader *r)
{
    struct stat s;
    char reason[160], found[200];
    if (stat(r->path, &s) != 0 || access(r->path, R_OK) != 0) {
        snprintf(found, sizeof found, "nothing readable (%s)", strerror(errno));
        return refuse(r, NULL, found, "a checkpoint");
    }
    if (!S_ISREG(s.st_mode)) return refuse(r, NULL, S_ISDIR(s.st_mode) ? "a folder" : "a device or pipe", "a checkpoint");
    hid_t fapl = pfc_h5_access(MPI_COMM_NULL, false);
    r->file = fapl < 0 ? -1 : H5Fopen(r->path, H5F_ACC_RDONLY, fapl);
    if (r->file < 0) snprintf(found, sizeof found, "no intact HDF5 file (%s)", pfc_h5_reason(reason, sizeof reason));
    if (fapl >= 0) H5Pclose(fapl);
    return r->file < 0 ? refuse(r, NULL, found, "a checkpoint") : PFC_OK;
}

static pfc_status check_format(const reader *r)
{
    static const char quoted[] = "\"" PFC_CHECKPOINT_FORMAT "\"";
    pfc_value v;
    char found[200];
    if (pfc_h5_read_attribute(r->file, "format", &v, found, sizeof found)) return refuse(r, "attribute format", found, quoted);
    if (strcmp(pfc_value_text(&v, found, sizeof found), quoted)) return refuse(r, "attribute format", found, quoted);
    if (pfc_h5_read_attribute(r->file, "format_version", &v, found, sizeof found)) return refuse(r, "attribute format_version", found, "1");
    return v.kind == PFC_VALUE_INT && v.i == 1 ? PFC_OK : refuse(r, "attribute format_version", pfc_value_text(&v, found, sizeof found), "1");
}

/* Links that lead elsewhere are no part of a checkpoint. */
static pfc_status open_object(const reader *r, const char *path, H5I_type_t kind, const char *expected, hid_t *object)
{
    const char *found = "nothing";
    int link = pfc_h5_link(r->file, path, &found);
    *object = link > 0 ? H5Oopen(r->file, path, H5P_DEFAULT) : -1;
    if (*object >= 0 && H5Iget_type(*object) == kind) return PFC_OK;
    if (link > 0) found = *object < 0 ? "an object that cannot be opened" : "another object";
    if (*object >= 0) H5Oclose(*object);
    *object = -1;
    return refuse(r, path, found, expected);
}

/* ---- facts ---- */

static pfc_value fact_value(const pfc_item *item)
{
    pfc_value v = { .kind = PFC_VALUE_INT };
    if (item->kind == PFC_ITEM_INT) v.i = *(const int64_t *)item->data;
    if (item->kind == PFC_ITEM_REAL) v.kind = PFC_VALUE_REAL, v.r = *(const double *)item->data;
    if (item->kind == PFC_ITEM_TEXT) {
        v.kind = PFC_VALUE_TEXT;
        snprintf(v.text, sizeof v.text, "%s", (const char *)item->data);
    }
    return v;
}

static bool equal(const pfc_value *a, const pfc_value *b)
{
    if (a->kind == PFC_VALUE_INT) return a->i == b->i;
    if (a->kind == PFC_VALUE_REAL) return a->r == b->r || (isnan(a->r) && isnan(b->r));
    return strcmp(a->text, b->text) == 0;
}

static pfc_status read_fact(const reader *r, hid_t group, int i)
{
    const pfc_item *item = &r->items[i];
    pfc_value *v = &r->values[i], mine = fact_value(item);
    char name[PFC_ITEM_NAME + 8], found[200], expected[200];
    const char *kind = mine.kind == PFC_VALUE_INT ? "an integer" : mine.kind == PFC_VALUE_REAL ? "a real" : "a text";
    pfc_item_path(item, name);
    pfc_value_text(&mine, expected, sizeof expected);
    if (pfc_h5_read_attribute(group, item->name, v, found, sizeof found)) return refuse(r, name, found, item->fixed ? expected : kind);
    if (v->kind != mine.kind) return refuse(r, name, pfc_value_text(v, found, sizeof found), item->fixed ? expected : kind);
    return !item->fixed || equal(v, &mine) ? PFC_OK : refuse(r, name, pfc_value_text(v, found, sizeof found), expected);
}

static bool listed(const reader *r, const char *name, bool tensor)
{
    for (int i = 0; i < r->count; i++)
        if ((r->items[i].kind == PFC_ITEM_TENSOR) == tensor && strcmp(r->items[i].name, name) == 0) return true;
    return false;
}

static herr_t unknown_fact(hid_t group, const char *name, const H5A_info_t *info, void *data)
{
    (void)group;
    (void)info;
    reader *r = data;
    if (listed(r, name, false)) return 0;
    char item[PFC_ITEM_NAME + 80];
    snprintf(item, sizeof item, "/fact/%.100s", name);
    refuse(r, item, "a fact of that name", "none: this run has no such fact");
    return 1;
}

static pfc_status read_facts(reader *r)
{
    hid_t group;
    char name[128];
    hsize_t at = 0;
    PFC_TRY(open_object(r, "/fact", H5I_GROUP, "a group", &group));
    pfc_status st = PFC_OK;
    for (int i = 0; i < r->count && st == PFC_OK; i++)
        if (r->items[i].kind != PFC_ITEM_TENSOR) st = read_fact(r, group, i);
    if (st == PFC_OK) {
        herr_t bad = H5Aiterate2(group, H5_INDEX_NAME, H5_ITER_INC, &at, unknown_fact, r);
        if (bad > 0) st = PFC_ERR_DATA;
        if (bad < 0) st = refuse(r, "/fact", pfc_h5_reason(name, sizeof name), "facts");
    }
    H5Gclose(group);
    return st;
}

/* ---- tensors: what they are ---- */

static const char *type_name(pfc_dtype dtype) { return dtype == PFC_F32 ? "f32" : dtype == PFC_F64 ? "f64" : dtype == PFC_U8 ? "u8" : "i64"; }

static const char *shape_found(hid_t dataset, char *text, size_t size)
{
    hsize_t dims[H5S_MAX_RANK];
    hid_t space = H5Dget_space(dataset);
    int n = space < 0 ? -1 : H5Sget_simple_extent_dims(space, dims, NULL);
    size_t used = (size_t)snprintf(text, size, "(");
    for (int k = 0; k < n && used < size; k++) used += (size_t)snprintf(text + used, size - used, "%s%llu", k ? "," : "", (unsigned long long)dims[k]);
    if (used < size) snprintf(text + used, size - used, n < 0 ? "?)" : ")");
    if (space >= 0) H5Sclose(space);
    return text;
}

static pfc_status check_dataset(const reader *r, const pfc_item *item, const char *name, hid_t dataset, char sha256[PFC_SHA256_TEXT])
{
    pfc_value v;
    char found[200], expected[48];
    hid_t type = H5Dget_type(dataset);
    const char *stored = type < 0 ? "other" : pfc_h5_stored(type, found, sizeof found);
    if (type >= 0) H5Tclose(type);
    if (strcmp(stored, type_name(item->dtype))) return refuse(r, name, strcmp(stored, "other") ? stored : found, type_name(item->dtype));
    if (strcmp(shape_found(dataset, found, sizeof found), pfc_item_shape(item, expected))) return refuse(r, name, found, expected);
    const char *fault = pfc_h5_storage_fault(dataset);
    if (fault) return pfc_checkpoint_fail(r->ctx, PFC_ERR_DATA, r->path, name, "found %s", fault);
    if (pfc_h5_read_attribute(dataset, "unit", &v, found, sizeof found) || v.kind != PFC_VALUE_INT || v.i != item->unit) {
        snprintf(expected, sizeof expected, "unit %lld", (long long)item->unit);
        return refuse(r, name, v.kind == PFC_VALUE_INT ? pfc_value_text(&v, found, sizeof found) : found, expected);
    }
    if (pfc_h5_read_attribute(dataset, "sha256", &v, found, sizeof found)) return refuse(r, name, found, "an attribute sha256");
    if (v.kind != PFC_VALUE_TEXT || strlen(v.text) != PFC_SHA256_TEXT - 1) return refuse(r, name, "no digest", "an attribute sha256");
    memcpy(sha256, v.text, PFC_SHA256_TEXT);
    return PFC_OK;
}

static pfc_status open_tensor(const reader *r, const pfc_item *item, const char *name, hid_t *dataset)
{
    char expected[64], shape[48];
    snprintf(expected, sizeof expected, "%s %s", type_name(item->dtype), pfc_item_shape(item, shape));
    return open_object(r, name, H5I_DATASET, expected, dataset);
}

static pfc_status unknown_tensors(const reader *r, hid_t group)
{
    H5G_info_t info = { 0 };
    char name[PFC_ITEM_NAME + 64], item[PFC_ITEM_NAME + 80];
    if (H5Gget_info(group, &info) < 0) return refuse(r, "/state", "a group that cannot be read", "tensors");
    for (hsize_t i = 0; i < info.nlinks; i++) {
        if (H5Lget_name_by_idx(group, ".", H5_INDEX_NAME, H5_ITER_INC, i, name, sizeof name, H5P_DEFAULT) < 0)
            return refuse(r, "/state", "a group that cannot be read", "tensors");
        snprintf(item, sizeof item, "/state/%s", name);
        if (!listed(r, name, true)) return refuse(r, item, "a tensor of that name", "none: this run has no such tensor");
    }
    return PFC_OK;
}

static pfc_status check_tensors(const reader *r, char (*sha256)[PFC_SHA256_TEXT])
{
    hid_t group, dataset;
    char name[PFC_ITEM_NAME + 8];
    PFC_TRY(open_object(r, "/state", H5I_GROUP, "a group", &group));
    pfc_status st = PFC_OK;
    for (int i = 0; i < r->count && st == PFC_OK; i++) {
        if (r->items[i].kind != PFC_ITEM_TENSOR) continue;
        st = open_tensor(r, &r->items[i], pfc_item_path(&r->items[i], name), &dataset);
        if (st == PFC_OK) st = check_dataset(r, &r->items[i], name, dataset, sha256[i]);
        if (dataset >= 0) H5Dclose(dataset);
    }
    if (st == PFC_OK) st = unknown_tensors(r, group);
    H5Gclose(group);
    return st;
}

/* ---- tensors: numbers ---- */

/* Collective. */
static pfc_status read_tensor(const reader *r, const pfc_item *item, const char *expected)
{
    char name[PFC_ITEM_NAME + 8], reason[160], digest[PFC_SHA256_TEXT], found[200], want[200];
    hid_t dataset = H5Dopen2(r->file, pfc_item_path(item, name), H5P_DEFAULT);
    pfc_status st = PFC_OK;
    if (dataset < 0 || !pfc_item_transfer(dataset, item, pfc_item_rows(r->ctx, item), item->data, false)) {
        snprintf(found, sizeof found, "data that cannot be read (%s)", pfc_h5_reason(reason, sizeof reason));
        st = refuse(r, name, found, "its numbers");
    }
    if (dataset >= 0) H5Dclose(dataset);
    PFC_TRY(pfc_agree(r->ctx, st));
    PFC_TRY(pfc_item_digest(r->ctx, item, item->data, digest));
    snprintf(found, sizeof found, "data with SHA-256 %s", digest);
    snprintf(want, sizeof want, "%s: it is damaged", expected);
    return pfc_agree(r->ctx, strcmp(digest, expected) ? refuse(r, name, found, want) : PFC_OK);
}

static void set_facts(const reader *r)
{
    for (int i = 0; i < r->count; i++) {
        const pfc_item *item = &r->items[i];
        if (item->fixed || item->kind == PFC_ITEM_TENSOR) continue;
        if (item->kind == PFC_ITEM_INT) *(int64_t *)item->data = r->values[i].i;
        if (item->kind == PFC_ITEM_REAL) *(double *)item->data = r->values[i].r;
        if (item->kind == PFC_ITEM_TEXT) snprintf(item->data, PFC_ITEM_TEXT_SIZE, "%s", r->values[i].text);
    }
}

static pfc_status read_items(reader *r)
{
    char(*sha256)[PFC_SHA256_TEXT] = calloc((size_t)r->count + 1, sizeof *sha256);
    r->values = calloc((size_t)r->count + 1, sizeof *r->values);
    pfc_status st = sha256 && r->values ? PFC_OK : pfc_fail(r->ctx, PFC_ERR_NOMEM, "out of memory");
    if (st == PFC_OK) st = open_file(r);
    if (st == PFC_OK) st = check_format(r);
    if (st == PFC_OK) st = read_facts(r);
    if (st == PFC_OK) st = check_tensors(r, sha256);
    st = pfc_agree(r->ctx, st);
    for (int i = 0; i < r->count && st == PFC_OK; i++)
        if (r->items[i].kind == PFC_ITEM_TENSOR) st = read_tensor(r, &r->items[i], sha256[i]);
    if (st == PFC_OK) set_facts(r);
    free(sha256);
    free(r->values);
    return st;
}

pfc_status pfc_checkpoint_read(pfc_ctx *ctx, const char *path, const pfc_item *items, int count)
{
    reader r = { .ctx = ctx, .path = path, .file = -1, .items = items, .count = count };
    PFC_TRY(pfc_checkpoint_check_items(ctx, path, items, count));
    pfc_h5_quiet saved = pfc_h5_quiet_begin();
    pfc_status st = read_items(&r);
    if (r.file >= 0) H5Fclose(r.file);
    pfc_h5_quiet_end(saved);
    return st;
}
