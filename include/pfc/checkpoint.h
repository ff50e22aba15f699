/* checkpoint.h: the state of a training run in one file, for any number of ranks.
 *
 * A checkpoint is one HDF5 file with global arrays: every rank writes its own rows into them and reads its own rows from them, so the number of ranks
 * may change in between, and nothing has to be merged. What is in it is a list of items that the caller keeps:
 *
 *     /                attributes: format = "pfc-checkpoint", format_version = 1
 *     /fact/<name>     attributes of the group: integers, reals (float64), texts
 *     /state/<name>    tensors of one or two axes, little endian, contiguous; attributes: sha256, the digest of the row-major bytes, and unit
 *
 * Writing: to a temporary name in the same folder, closed, read back and compared by every rank, synced, renamed, the folder synced. So under the name there
 * is a whole file at any time, even after kill -9, and its bytes do not depend on the number of ranks.
 * Reading: all items or none of it counts. The list has to match: a fact that is `fixed` and differs, an item that is missing, one that is in the file but not
 * in the list, another shape or type, data that does not have its digest, are errors (PFC_ERR_DATA) that name file, item, found, expected. Nothing is ever
 * filled in. */
#ifndef PFC_CHECKPOINT_H
#define PFC_CHECKPOINT_H

#include <pfc/ctx.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum pfc_item_kind { PFC_ITEM_TENSOR, PFC_ITEM_INT, PFC_ITEM_REAL, PFC_ITEM_TEXT } pfc_item_kind;

enum { PFC_ITEM_NAME = 64, PFC_ITEM_TEXT_SIZE = 128 }; /* bytes with the end */

typedef struct pfc_item {
    const char *name; /* letters, digits, '_', '-', '.'; fewer than PFC_ITEM_NAME of them; unique among facts, and among tensors: "head.weight" */
    pfc_item_kind kind;
    int fixed; /* facts: 1: a file with another value is refused; 0: reading sets *data */
    /* Facts: int64_t *, double *, or char * of PFC_ITEM_TEXT_SIZE bytes; equal on all ranks.
     * Tensors: host memory, contiguous rows: all of them, or with unit > 0 this rank's. */
    void *data;
    pfc_dtype dtype;    /* tensors: PFC_F32, PFC_F64, PFC_I64 or PFC_U8 */
    int64_t rows, cols; /* tensors: global; cols = 0: one axis */
    /* 0: every rank holds all of it (rank 0's is written). u > 0: rows are cut over the ranks, u of them staying together: pfc_shard_of(rows / u, ...)
     * of these; rows is a multiple of u. u = 1: by classes; the number of sub-centers: by classes of so many rows. */
    int64_t unit;
} pfc_item;

/* Facts and tensors, for lists written down in code. Local. */
static inline pfc_item pfc_item_int(const char *name, int64_t *value, int fixed)
{
    pfc_item item = { name, PFC_ITEM_INT, fixed, value, PFC_I64, 0, 0, 0 };
    return item;
}
static inline pfc_item pfc_item_real(const char *name, double *value, int fixed)
{
    pfc_item item = { name, PFC_ITEM_REAL, fixed, value, PFC_F64, 0, 0, 0 };
    return item;
}
static inline pfc_item pfc_item_text(const char *name, char *value, int fixed)
{
    pfc_item item = { name, PFC_ITEM_TEXT, fixed, value, PFC_U8, 0, 0, 0 };
    return item;
}
static inline pfc_item pfc_item_tensor(const char *name, void *data, pfc_dtype dtype, int64_t rows, int64_t cols, int64_t unit)
{
    pfc_item item = { name, PFC_ITEM_TENSOR, 0, data, dtype, rows, cols, unit };
    return item;
}

/* The calls below are collective over the context's ranks, which pass the same list. */

/* Writes the items. Errors: PFC_ERR_ARG (an item of the list is wrong; the text names it), PFC_ERR_IO, PFC_ERR_NOMEM: nothing new is left, an existing file of
 * that name is untouched. */
pfc_status pfc_checkpoint_write(pfc_ctx *ctx, const char *path, const pfc_item *items, int count);

/* Reads the items. Facts, names, shapes and types are checked before any memory is touched; after an error tensors are undefined and facts as they were.
 * Errors: PFC_ERR_DATA (not such a file, damaged, or not this list), PFC_ERR_ARG, PFC_ERR_NOMEM. */
pfc_status pfc_checkpoint_read(pfc_ctx *ctx, const char *path, const pfc_item *items, int count);

/* ---- a folder of checkpoints: DIR/step-000000000123.h5 ---- */

/* Writes the checkpoint of a step, makes the folder if it is not there; then removes all but the `keep` (0: all stay) with the highest steps, and what killed
 * runs have left unfinished. One run at a time writes to a folder. path (size bytes; may be NULL) is what was written.
 * Errors: PFC_ERR_ARG (a step outside [0, 10^12), an item, a path of more than 1000 bytes), PFC_ERR_IO, PFC_ERR_NOMEM: all earlier checkpoints are there. */
pfc_status pfc_checkpoint_save(pfc_ctx *ctx, const char *folder, int64_t step, int keep, const pfc_item *items, int count, char *path, size_t size);

/* The checkpoint with the highest step; step (may be NULL) is it. Errors: PFC_ERR_DATA (none, or no such folder), PFC_ERR_ARG (no room for
 * the path: the folder's and 24 bytes). */
pfc_status pfc_checkpoint_latest(pfc_ctx *ctx, const char *folder, char *path, size_t size, int64_t *step);

#ifdef __cplusplus
}
#endif
#endif
