/* tensor.c: global tensors of which each rank holds one block along one axis. */
#include "case/internal.h"

#include <pfc/shard.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

enum {
    MESSAGE_BYTES = 1 << 26, /* MPI counts are int; messages stay well below */
    LIST_BLOCK = 64          /* lists grow in such steps, so that pointers into a list stay valid while a usual one is filled */
};

bool pfc_dims_elements(int ndim, const int64_t *dims, int64_t *elements)
{
    int64_t n = 1, bytes;
    bool empty = false;
    for (int k = 0; k < ndim; k++) {
        if (dims[k] < 0) return false;
        if (dims[k] == 0) empty = true;
        if (dims[k] > 0 && __builtin_mul_overflow(n, dims[k], &n)) return false;
    }
    if (__builtin_mul_overflow(n, (int64_t)8, &bytes)) return false;
    *elements = empty ? 0 : n;
    return true;
}

pfc_block pfc_tensor_block(const pfc_tensor *t)
{
    pfc_block b = { 1, 1 };
    for (int k = 0; k < t->ndim; k++) {
        if (k < t->axis) b.outer *= t->dims[k];
        if (k > t->axis) b.inner *= t->dims[k];
    }
    return b;
}

pfc_shard pfc_tensor_shard(const pfc_tensor *t, int ranks, int rank)
{
    int64_t length = t->ndim ? t->dims[t->axis] : 1, unit = t->unit > 1 && length % t->unit == 0 ? t->unit : 1;
    pfc_shard s = pfc_shard_of(length / unit, ranks, rank);
    return (pfc_shard){ s.start * unit, s.count * unit };
}

void pfc_tensor_cut(pfc_tensor *t, pfc_dist dist, int axis, int ranks, int rank)
{
    if (t->ndim == 0) dist = PFC_DIST_NONE;
    t->dist = dist;
    t->axis = dist == PFC_DIST_NONE ? 0 : axis;
    int64_t length = t->ndim ? t->dims[t->axis] : 1;
    /* One formula for all: for N divisible by P it is the batch block, for an axis of length P one slice each. */
    pfc_shard s = { 0, length };
    if (dist != PFC_DIST_NONE) s = pfc_tensor_shard(t, ranks, rank);
    t->start = s.start;
    t->count = s.count;
}

pfc_tensor *pfc_tensor_describe(pfc_tensor_list *list, const char *name, pfc_dtype dtype, int ndim, const int64_t *dims)
{
    int64_t elements;
    if (ndim < 0 || ndim > PFC_MAX_DIMS || strlen(name) >= PFC_MAX_NAME || !pfc_dims_elements(ndim, dims, &elements)) return NULL;
    if (list->count % LIST_BLOCK == 0) {
        pfc_tensor *items = realloc(list->items, (size_t)(list->count + LIST_BLOCK) * sizeof *items);
        if (!items) return NULL;
        list->items = items;
    }
    pfc_tensor *t = &list->items[list->count];
    memset(t, 0, sizeof *t);
    memcpy(t->name, name, strlen(name) + 1);
    t->dtype = dtype;
    t->ndim = ndim;
    t->unit = 1;
    t->rms = PX_NAN;
    for (int k = 0; k < ndim; k++) t->dims[k] = dims[k];
    t->order = list->count;
    pfc_tensor_cut(t, PFC_DIST_NONE, 0, 1, 0);
    list->count++;
    return t;
}

bool pfc_tensor_allocate(pfc_tensor *t)
{
    int64_t n = pfc_tensor_local(t);
    t->data = calloc(n > 0 ? (size_t)n : 1, pfc_dtype_size(t->dtype));
    return t->data != NULL;
}

pfc_tensor *pfc_tensor_add_units(MPI_Comm comm, pfc_tensor_list *list, const char *name, pfc_dtype dtype, int ndim, const int64_t *dims, pfc_dist dist,
                                 int axis, int64_t unit)
{
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    if (dist != PFC_DIST_NONE && ndim > 0 && (axis < 0 || axis >= ndim)) return NULL;
    pfc_tensor *t = pfc_tensor_describe(list, name, dtype, ndim, dims);
    if (!t) return NULL;
    t->unit = unit;
    pfc_tensor_cut(t, dist, axis, ranks, rank);
    if (pfc_tensor_allocate(t)) return t;
    list->count--;
    return NULL;
}

pfc_tensor *pfc_tensor_add(MPI_Comm comm, pfc_tensor_list *list, const char *name, pfc_dtype dtype, int ndim, const int64_t *dims, pfc_dist dist, int axis)
{
    return pfc_tensor_add_units(comm, list, name, dtype, ndim, dims, dist, axis, 1);
}

pfc_tensor *pfc_tensor_find(const pfc_tensor_list *list, const char *name)
{
    for (int k = 0; k < list->count; k++)
        if (strcmp(list->items[k].name, name) == 0) return &list->items[k];
    return NULL;
}

void pfc_tensor_list_align(pfc_tensor_list *list)
{
    const size_t huge = (size_t)2 << 20;
    for (int k = 0; k < list->count; k++) {
        pfc_tensor *t = &list->items[k];
        size_t bytes = (size_t)pfc_tensor_local(t) * pfc_dtype_size(t->dtype), whole = (bytes + huge - 1) / huge * huge;
        void *p = bytes < huge / 4 ? NULL : aligned_alloc(bytes < huge ? 64 : huge, bytes < huge ? (bytes + 63) / 64 * 64 : whole);
        if (!p) continue;
        madvise(p, bytes / huge * huge, MADV_HUGEPAGE); /* advice: it may fail */
        memcpy(p, t->data, bytes);
        free(t->data);
        t->data = p;
    }
}

void pfc_tensor_list_free(pfc_tensor_list *list)
{
    for (int k = 0; k < list->count; k++) free(list->items[k].data);
    free(list->items);
    list->items = NULL;
    list->count = 0;
}

int64_t pfc_tensor_elements(const pfc_tensor *t)
{
    int64_t n = 1;
    for (int k = 0; k < t->ndim; k++) n *= t->dims[k];
    return n;
}

int64_t pfc_tensor_local(const pfc_tensor *t)
{
    pfc_block b = pfc_tensor_block(t);
    return b.outer * t->count * b.inner;
}

int64_t pfc_tensor_global_index(const pfc_tensor *t, int64_t local)
{
    if (t->ndim == 0) return local;
    pfc_block b = pfc_tensor_block(t);
    int64_t block = t->count * b.inner; /* elements of this rank per outer index */
    return local / block * (t->dims[t->axis] * b.inner) + t->start * b.inner + local % block;
}

double pfc_tensor_get(const pfc_tensor *t, int64_t local)
{
    if (t->dtype == PFC_F32) return (double)((const float *)t->data)[local];
    if (t->dtype == PFC_F64) return ((const double *)t->data)[local];
    return (double)((const int64_t *)t->data)[local];
}

const char *pfc_dims_text(int ndim, const int64_t *dims, char *buffer, size_t size)
{
    size_t used = (size_t)snprintf(buffer, size, "(");
    for (int k = 0; k < ndim && used < size; k++) used += (size_t)snprintf(buffer + used, size - used, "%s%lld", k ? "," : "", (long long)dims[k]);
    if (used < size) snprintf(buffer + used, size - used, ")");
    return buffer;
}

const char *pfc_tensor_place_text(const pfc_tensor *t, int64_t local, char *buffer, size_t size)
{
    int64_t at[PFC_MAX_DIMS], index = pfc_tensor_global_index(t, local);
    for (int k = t->ndim - 1; k >= 0; k--) {
        at[k] = index % t->dims[k];
        index /= t->dims[k];
    }
    return pfc_dims_text(t->ndim, at, buffer, size);
}

void pfc_tensor_canonical(pfc_tensor *t)
{
    static const uint32_t nan32 = 0x7fc00000u;
    static const uint64_t nan64 = 0x7ff8000000000000u;
    int64_t n = pfc_tensor_local(t);
    for (int64_t i = 0; t->dtype == PFC_F32 && i < n; i++) {
        float *x = (float *)t->data + i;
        if (*x != *x) memcpy(x, &nan32, sizeof *x);
        if (*x == 0.0f) *x = 0.0f;
    }
    for (int64_t i = 0; t->dtype == PFC_F64 && i < n; i++) {
        double *x = (double *)t->data + i;
        if (*x != *x) memcpy(x, &nan64, sizeof *x);
        if (*x == 0.0) *x = 0.0;
    }
}

/* Blocking transfer of any number of bytes to rank 0. */
static void send_bytes(MPI_Comm comm, const char *data, int64_t bytes)
{
    for (int64_t at = 0; at < bytes; at += MESSAGE_BYTES) {
        int64_t left = bytes - at;
        MPI_Send(data + at, (int)(left < MESSAGE_BYTES ? left : MESSAGE_BYTES), MPI_BYTE, 0, 0, comm);
    }
}

static void receive_bytes(MPI_Comm comm, int from, char *data, int64_t bytes)
{
    for (int64_t at = 0; at < bytes; at += MESSAGE_BYTES) {
        int64_t left = bytes - at;
        MPI_Recv(data + at, (int)(left < MESSAGE_BYTES ? left : MESSAGE_BYTES), MPI_BYTE, from, 0, comm, MPI_STATUS_IGNORE);
    }
}

/* Puts the block of `rank` (rows of count * inner elements) where it belongs in the whole tensor. */
static void place_block(const pfc_tensor *t, pfc_block b, pfc_shard s, const char *block, char *whole)
{
    size_t es = pfc_dtype_size(t->dtype);
    size_t part = (size_t)(s.count * b.inner) * es, full = (size_t)(t->dims[t->axis] * b.inner) * es, skip = (size_t)(s.start * b.inner) * es;
    for (int64_t o = 0; o < b.outer && part; o++) memcpy(whole + (size_t)o * full + skip, block + (size_t)o * part, part);
}

int pfc_tensor_gather(MPI_Comm comm, const pfc_tensor *t, void **whole, pfc_diag *diag)
{
    int rank, ranks;
    MPI_Comm_rank(comm, &rank);
    MPI_Comm_size(comm, &ranks);
    *whole = NULL;
    size_t es = pfc_dtype_size(t->dtype);
    pfc_block b = pfc_tensor_block(t);
    char *block = NULL;
    if (rank == 0) {
        *whole = malloc((size_t)pfc_tensor_elements(t) * es + 1);
        block = malloc((size_t)(b.outer * (t->dist == PFC_DIST_NONE ? 0 : pfc_tensor_shard(t, ranks, 0).count) * b.inner) * es + 1);
        if (!*whole || !block) pfc_diag_fail(diag, PFC_EXIT_RUNTIME, "%s: out of memory while gathering the tensor on rank 0", t->name);
    }
    if (pfc_diag_agree(comm, diag) == 0) {
        if (rank == 0 && t->ndim)
            place_block(t, b, (pfc_shard){ t->start, t->count }, t->data, *whole);
        else if (rank == 0)
            memcpy(*whole, t->data, es);
        else if (t->dist != PFC_DIST_NONE)
            send_bytes(comm, t->data, pfc_tensor_local(t) * (int64_t)es);
        for (int r = 1; rank == 0 && t->dist != PFC_DIST_NONE && r < ranks; r++) {
            pfc_shard s = pfc_tensor_shard(t, ranks, r);
            receive_bytes(comm, r, block, b.outer * s.count * b.inner * (int64_t)es);
            place_block(t, b, s, block, *whole);
        }
    } else {
        free(*whole);
        *whole = NULL;
    }
    free(block);
    return diag->exit_status;
}
