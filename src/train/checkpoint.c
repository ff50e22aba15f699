/* checkpoint.c: items: checks, shapes, whose rows are whose, digests, transfers. */
#include "train/checkpoint.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { SLAB_BYTES = 1 << 25 }; /* of one transfer */

pfc_status pfc_checkpoint_fail(pfc_ctx *ctx, pfc_status status, const char *path, const char *item, const char *format, ...)
{
    char text[500];
    size_t length = strlen(path);
    int used = item ? snprintf(text, sizeof text, "%.90s: ", item) : 0;
    va_list args;
    va_start(args, format);
    vsnprintf(text + used, sizeof text - (size_t)used, format, args);
    va_end(args);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = '?'; /* what comes from a file must not break the line */
    return pfc_fail(ctx, status, "%s%s: %s", length > 200 ? "..." : "", length > 200 ? path + length - 200 : path, text);
}

const char *pfc_item_path(const pfc_item *item, char text[PFC_ITEM_NAME + 8])
{
    snprintf(text, PFC_ITEM_NAME + 8, "/%s/%.*s", item->kind == PFC_ITEM_TENSOR ? "state" : "fact", PFC_ITEM_NAME - 1, item->name);
    return text;
}

const char *pfc_item_shape(const pfc_item *item, char text[48])
{
    if (item->cols)
        snprintf(text, 48, "(%lld,%lld)", (long long)item->rows, (long long)item->cols);
    else
        snprintf(text, 48, "(%lld)", (long long)item->rows);
    return text;
}

pfc_shard pfc_item_rows(const pfc_ctx *ctx, const pfc_item *item)
{
    if (!item->unit) return (pfc_shard){ 0, item->rows };
    pfc_shard s = pfc_shard_of(item->rows / item->unit, ctx->comm.ranks, ctx->comm.rank);
    return (pfc_shard){ s.start * item->unit, s.count * item->unit };
}

size_t pfc_item_row_bytes(const pfc_item *item) { return (size_t)(item->cols ? item->cols : 1) * pfc_dtype_size(item->dtype); }

/* ---- checks ---- */

static const char *fault_of(const pfc_item *item)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-.";
    size_t n = item->name ? strlen(item->name) : 0;
    if (n < 1 || n >= PFC_ITEM_NAME || strspn(item->name, letters) != n || item->name[0] == '.') return "a name that is not allowed";
    if (item->kind == PFC_ITEM_TEXT && item->data && memchr(item->data, 0, PFC_ITEM_TEXT_SIZE) == NULL) return "a text without an end";
    if (item->kind != PFC_ITEM_TENSOR) return item->data ? NULL : "no value";
    if (item->rows < 1 || item->cols < 0 || item->rows > INT64_MAX / 64 / (item->cols ? item->cols : 1)) return "a shape that is not allowed";
    if (item->dtype != PFC_F32 && item->dtype != PFC_F64 && item->dtype != PFC_I64 && item->dtype != PFC_U8) return "a type that is not allowed";
    if (item->unit < 0 || (item->unit && item->rows % item->unit)) return "rows that are no multiple of unit";
    return NULL;
}

static bool same_place(const pfc_item *a, const pfc_item *b)
{
    return (a->kind == PFC_ITEM_TENSOR) == (b->kind == PFC_ITEM_TENSOR) && strcmp(a->name, b->name) == 0;
}

static uint64_t hash_bytes(uint64_t hash, const void *data, size_t bytes)
{
    const unsigned char *p = data;
    for (size_t i = 0; i < bytes; i++) hash = (hash ^ p[i]) * 0x100000001b3u; /* FNV-1a */
    return hash;
}

static int64_t hash_items(const pfc_item *items, int count)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (int i = 0; i < count; i++) {
        const pfc_item *t = &items[i];
        int64_t numbers[6] = { t->kind, t->fixed != 0, t->dtype, t->rows, t->cols, t->unit };
        h = hash_bytes(h, t->name, strlen(t->name) + 1);
        h = hash_bytes(h, numbers, sizeof numbers);
        if (t->kind != PFC_ITEM_TENSOR) h = hash_bytes(h, t->data, t->kind == PFC_ITEM_TEXT ? strlen(t->data) : 8);
    }
    return (int64_t)(h >> 2);
}

pfc_status pfc_checkpoint_check_items(pfc_ctx *ctx, const char *path, const pfc_item *items, int count)
{
    pfc_status st = PFC_OK;
    if (strlen(path) > PFC_CHECKPOINT_PATH) st = pfc_checkpoint_fail(ctx, PFC_ERR_ARG, path, NULL, "a path of more than %d bytes", PFC_CHECKPOINT_PATH);
    for (int i = 0; i < count && st == PFC_OK; i++) {
        const char *fault = fault_of(&items[i]);
        if (!fault && items[i].kind == PFC_ITEM_TENSOR && pfc_item_rows(ctx, &items[i]).count && !items[i].data) fault = "no data";
        for (int k = 0; k < i && !fault; k++)
            if (same_place(&items[i], &items[k])) fault = "the same name twice";
        if (fault) st = pfc_checkpoint_fail(ctx, PFC_ERR_ARG, path, items[i].name ? items[i].name : "an item", "%s", fault);
    }
    PFC_TRY(pfc_agree(ctx, st));
    int64_t hash = hash_items(items, count), both[2] = { hash, -hash };
    PFC_TRY(pfc_comm_max(&ctx->comm, both, 2, PFC_I64));
    return both[0] == -both[1] ? PFC_OK : pfc_checkpoint_fail(ctx, PFC_ERR_ARG, path, NULL, "the ranks do not have the same items and facts");
}

/* ---- data ---- */

/* The hash's state goes from rank to rank: the parts follow each other. */
pfc_status pfc_item_digest(pfc_ctx *ctx, const pfc_item *item, const void *data, char text[PFC_SHA256_TEXT])
{
    pfc_sha256 h;
    size_t bytes = (size_t)pfc_item_rows(ctx, item).count * pfc_item_row_bytes(item);
    int last = item->unit ? ctx->comm.ranks : 1;
    pfc_sha256_begin(&h);
    for (int r = 0; r < last; r++) {
        if (r == ctx->comm.rank && bytes) pfc_sha256_add(&h, data, bytes);
        PFC_TRY(pfc_comm_broadcast(&ctx->comm, &h, (int64_t)sizeof h, PFC_U8, r));
    }
    pfc_sha256_end(&h, text);
    return PFC_OK;
}

bool pfc_item_transfer(hid_t dataset, const pfc_item *item, pfc_shard rows, void *data, bool write)
{
    size_t bytes = pfc_item_row_bytes(item);
    int64_t step = bytes < SLAB_BYTES ? (int64_t)(SLAB_BYTES / bytes) : 1;
    hid_t space = H5Dget_space(dataset), type = pfc_h5_memory_type(item->dtype);
    bool ok = space >= 0;
    for (int64_t at = 0; at < rows.count && ok; at += step) {
        hsize_t start[2] = { (hsize_t)(rows.start + at), 0 }, count[2] = { (hsize_t)(rows.count - at < step ? rows.count - at : step), (hsize_t)item->cols };
        hsize_t elements = count[0] * (item->cols ? count[1] : 1);
        hid_t memory = H5Screate_simple(1, &elements, NULL);
        char *part = (char *)data + (size_t)at * bytes;
        ok = memory >= 0 && H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL) >= 0;
        if (ok) ok = (write ? H5Dwrite(dataset, type, memory, space, H5P_DEFAULT, part) : H5Dread(dataset, type, memory, space, H5P_DEFAULT, part)) >= 0;
        if (memory >= 0) H5Sclose(memory);
    }
    if (space >= 0) H5Sclose(space);
    return ok;
}
