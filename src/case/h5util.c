/* h5util.c: which part of a dataset is whose. */
#include "case/internal.h"

enum { SLAB_BYTES = 8 * PFC_SLAB_ELEMENTS };

int64_t pfc_h5_slab_rows(const pfc_tensor *t, int ranks, int64_t *most_rows)
{
    int64_t row_bytes = 8, most = t->ndim ? t->dims[0] : 1;
    for (int k = 1; k < t->ndim; k++) {
        int64_t n = t->dims[k];
        if (k == t->axis && t->dist != PFC_DIST_NONE) n = (n + ranks - 1) / ranks;
        row_bytes *= n > 0 ? n : 1;
    }
    if (t->ndim && t->axis == 0 && t->dist != PFC_DIST_NONE) most = pfc_tensor_shard(t, ranks, 0).count; /* the first rank has the most */
    *most_rows = most;
    return row_bytes < SLAB_BYTES ? SLAB_BYTES / row_bytes : 1;
}

int pfc_h5_select(hid_t space, const pfc_tensor *t, int64_t first, int64_t rows, int64_t *elements)
{
    hsize_t start[PFC_MAX_DIMS], count[PFC_MAX_DIMS];
    int64_t n = rows > 0 ? 1 : 0;
    for (int k = 0; k < t->ndim; k++) {
        bool cut = k == t->axis && t->dist != PFC_DIST_NONE;
        int64_t length = k == 0 ? rows : cut ? t->count : t->dims[k];
        start[k] = (hsize_t)((cut ? t->start : 0) + (k == 0 ? first : 0));
        count[k] = (hsize_t)length;
        n *= length;
    }
    *elements = n;
    if (n == 0) return H5Sselect_none(space);
    if (t->ndim == 0) return H5Sselect_all(space); /* shape () or (1,) */
    return H5Sselect_hyperslab(space, H5S_SELECT_SET, start, NULL, count, NULL);
}
